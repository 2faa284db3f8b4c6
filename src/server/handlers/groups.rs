//! Everything about groups: JoinGroup (11), SyncGroup (14), Heartbeat (12), LeaveGroup (13),
//! OffsetCommit (8), OffsetFetch (9), OffsetDelete (47), ListGroups (16), DescribeGroups (15),
//! DeleteGroups (42), ConsumerGroupHeartbeat (68), ConsumerGroupDescribe (69).
//!
//! The rules are the coordinators'. What differs here is how many groups a request names: [`one`],
//! [`many`] (split by group, joined again in the order asked), or [`all`]. What commits or deletes
//! very many offsets goes in parts, for a coordinator takes each request in one go; each partition
//! of it has its own answer.

use std::rc::Rc;

use futures_util::future::join_all;

use crate::protocol::ErrorCode;
use crate::protocol::messages::{
    consumer_group_describe::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse},
    consumer_group_heartbeat::ConsumerGroupHeartbeatRequest,
    delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse},
    describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse},
    heartbeat::HeartbeatRequest,
    join_group::JoinGroupRequest,
    leave_group::LeaveGroupRequest,
    list_groups::{ListGroupsRequest, ListGroupsResponse},
    offset_commit::{
        OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
        OffsetCommitResponse,
    },
    offset_delete::{
        OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
        OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
    },
    offset_fetch::{OffsetFetchRequest, OffsetFetchResponse},
    sync_group::SyncGroupRequest,
};
use crate::runtime::Runtime;
use crate::runtime::wait::Pace;
use crate::server::dispatch::check_answer;
use crate::server::groups::{self, OfCoordinator};
use crate::server::operations;
use crate::server::request::{Caller, Hangup};
use crate::wire::{Field, StrBytes};

/// OffsetFetch versions below this one name one group (KIP-709).
const OFFSET_FETCH_OF_MANY: i16 = 8;

/// Offsets that a coordinator takes in one go.
const OFFSETS_AT_ONCE: usize = 4000;

/// Groups of one request that are asked at the same time.
const GROUPS_AT_ONCE: usize = 64;

/// A request about one group.
pub trait OfOneGroup: OfCoordinator {
    /// Its id.
    fn group_id(&self) -> &StrBytes;
}

macro_rules! of_one_group {
    ($($request:ident)*) => {
        $(impl OfOneGroup for $request {
            fn group_id(&self) -> &StrBytes {
                &self.group_id
            }
        })*
    };
}

of_one_group! {
    JoinGroupRequest SyncGroupRequest HeartbeatRequest LeaveGroupRequest
    OffsetCommitRequest OffsetDeleteRequest ConsumerGroupHeartbeatRequest OffsetFetchRequest
}

/// A request about several groups.
pub trait OfManyGroups: OfCoordinator {
    /// One request for each group, in order.
    fn split(self) -> Vec<(StrBytes, Self)>;

    /// The responses to those, as one.
    fn join(parts: Vec<Self::Response>) -> Self::Response;
}

impl OfManyGroups for DescribeGroupsRequest {
    fn split(mut self) -> Vec<(StrBytes, Self)> {
        let groups = std::mem::take(&mut self.groups).into_iter();
        groups.map(|id| (id.clone(), Self { groups: vec![id], ..self.clone() })).collect()
    }

    fn join(parts: Vec<DescribeGroupsResponse>) -> DescribeGroupsResponse {
        let groups = parts.into_iter().flat_map(|part| part.groups).collect();
        DescribeGroupsResponse { groups, ..Default::default() }
    }
}

impl OfManyGroups for DeleteGroupsRequest {
    fn split(self) -> Vec<(StrBytes, Self)> {
        let groups = self.groups_names.into_iter();
        groups.map(|id| (id.clone(), Self { groups_names: vec![id] })).collect()
    }

    fn join(parts: Vec<DeleteGroupsResponse>) -> DeleteGroupsResponse {
        let results = parts.into_iter().flat_map(|part| part.results).collect();
        DeleteGroupsResponse { results, ..Default::default() }
    }
}

impl OfManyGroups for ConsumerGroupDescribeRequest {
    fn split(mut self) -> Vec<(StrBytes, Self)> {
        let groups = std::mem::take(&mut self.group_ids).into_iter();
        groups.map(|id| (id.clone(), Self { group_ids: vec![id], ..self.clone() })).collect()
    }

    fn join(parts: Vec<ConsumerGroupDescribeResponse>) -> ConsumerGroupDescribeResponse {
        let groups = parts.into_iter().flat_map(|part| part.groups).collect();
        ConsumerGroupDescribeResponse { groups, ..Default::default() }
    }
}

impl OfManyGroups for OffsetFetchRequest {
    fn split(mut self) -> Vec<(StrBytes, Self)> {
        let groups = std::mem::take(&mut self.groups).into_iter();
        let one = |group| Self { groups: vec![group], ..self.clone() };
        groups.map(|group| (group.group_id.clone(), one(group))).collect()
    }

    fn join(parts: Vec<OffsetFetchResponse>) -> OffsetFetchResponse {
        let groups = parts.into_iter().flat_map(|part| part.groups).collect();
        OffsetFetchResponse { groups, ..Default::default() }
    }
}

/// Ask the coordinator of the request's group.
pub async fn one<R: Runtime, Q: OfOneGroup>(
    caller: Rc<Caller<R>>,
    version: i16,
    request: Q,
) -> Result<Q::Response, Hangup> {
    let group = request.group_id().clone();
    groups::ask(&caller, version, &group, request).await
}

/// Ask the coordinator of each group.
pub async fn many<R: Runtime, Q: OfManyGroups>(
    caller: Rc<Caller<R>>,
    version: i16,
    request: Q,
) -> Result<Q::Response, Hangup> {
    let parts = request.split();
    let caller = &caller;
    let ask = |(group, part): (StrBytes, Q)| async move {
        groups::ask(caller, version, &group, part).await
    };
    let (mut answers, mut bytes) = (Vec::new(), 0);
    let mut parts = parts.into_iter();
    let mut pace = Pace::new(GROUPS_AT_ONCE);
    while parts.len() > 0 {
        for answer in join_all(parts.by_ref().take(GROUPS_AT_ONCE).map(ask)).await {
            let answer = answer?;
            bytes += answer.size_hint();
            answers.push(answer);
        }
        check_answer(bytes)?;
        pace.worked(GROUPS_AT_ONCE).await;
    }
    Ok(Q::join(answers))
}

/// OffsetCommit: in parts, if it is long.
pub async fn offset_commit<R: Runtime>(
    caller: Rc<Caller<R>>,
    version: i16,
    mut request: OffsetCommitRequest,
) -> Result<OffsetCommitResponse, Hangup> {
    if request.topics.iter().map(|topic| topic.partitions.len()).sum::<usize>() <= OFFSETS_AT_ONCE {
        return one(caller, version, request).await;
    }
    let mut response = OffsetCommitResponse::default();
    let mut pace = Pace::new(OFFSETS_AT_ONCE);
    for (topics, goes_on) in in_parts(std::mem::take(&mut request.topics)) {
        let part = OffsetCommitRequest { topics, ..request.clone() };
        let answer = one(caller.clone(), version, part).await?;
        response.throttle_time_ms = answer.throttle_time_ms;
        add(&mut response.topics, answer.topics, goes_on, |begun, rest| {
            begun.partitions.extend(rest.partitions);
        });
        pace.worked(OFFSETS_AT_ONCE).await;
    }
    Ok(response)
}

/// OffsetDelete: in parts, if it is long. What is wrong with the group is wrong with all partitions
/// of a later part: those before are done.
pub async fn offset_delete<R: Runtime>(
    caller: Rc<Caller<R>>,
    version: i16,
    mut request: OffsetDeleteRequest,
) -> Result<OffsetDeleteResponse, Hangup> {
    let mut response = OffsetDeleteResponse::default();
    let mut pace = Pace::new(OFFSETS_AT_ONCE);
    let mut parts = in_parts(std::mem::take(&mut request.topics)).peekable();
    if parts.peek().is_none() {
        return one(caller, version, request).await;
    }
    let mut is_first = true;
    for (topics, goes_on) in parts {
        let part = OffsetDeleteRequest { topics, ..request.clone() };
        let asked = part.topics.clone();
        let mut answer = one(caller.clone(), version, part).await?;
        if !answer.error_code.is_ok() {
            if is_first {
                return Ok(answer);
            }
            answer.topics = asked.into_iter().map(|t| refused(t, answer.error_code)).collect();
        }
        is_first = false;
        add(&mut response.topics, answer.topics, goes_on, |begun, rest| {
            begun.partitions.extend(rest.partitions);
        });
        pace.worked(OFFSETS_AT_ONCE).await;
    }
    Ok(response)
}

fn refused(topic: OffsetDeleteRequestTopic, error_code: ErrorCode) -> OffsetDeleteResponseTopic {
    let partitions = topic.partitions.into_iter().map(|partition| OffsetDeleteResponsePartition {
        partition_index: partition.partition_index,
        error_code,
    });
    OffsetDeleteResponseTopic { name: topic.name, partitions: partitions.collect() }
}

/// A topic of a request and the partitions that it names.
trait OfPartitions: Sized {
    type Partition;

    fn take_partitions(&mut self) -> Vec<Self::Partition>;

    /// The same topic with these.
    fn with(&self, partitions: Vec<Self::Partition>) -> Self;
}

impl OfPartitions for OffsetCommitRequestTopic {
    type Partition = OffsetCommitRequestPartition;

    fn take_partitions(&mut self) -> Vec<Self::Partition> {
        std::mem::take(&mut self.partitions)
    }

    fn with(&self, partitions: Vec<Self::Partition>) -> Self {
        Self { name: self.name.clone(), topic_id: self.topic_id, partitions }
    }
}

impl OfPartitions for OffsetDeleteRequestTopic {
    type Partition = OffsetDeleteRequestPartition;

    fn take_partitions(&mut self) -> Vec<Self::Partition> {
        std::mem::take(&mut self.partitions)
    }

    fn with(&self, partitions: Vec<Self::Partition>) -> Self {
        Self { name: self.name.clone(), partitions }
    }
}

/// These topics in parts of few offsets; of each topic of a part, whether it goes on with the last
/// one of the part before.
fn in_parts<T: OfPartitions>(topics: Vec<T>) -> impl Iterator<Item = (Vec<T>, Vec<bool>)> {
    let mut pieces = topics.into_iter().flat_map(pieces).peekable();
    std::iter::from_fn(move || {
        pieces.peek()?;
        let (mut room, mut goes_on, mut part) = (OFFSETS_AT_ONCE, Vec::new(), Vec::new());
        while room > 0
            && let Some((is_rest, count, piece)) = pieces.next()
        {
            // A topic without partitions takes room, too.
            room = room.saturating_sub(count.max(1));
            goes_on.push(is_rest);
            part.push(piece);
        }
        Some((part, goes_on))
    })
}

/// A topic in pieces of few offsets; of each, whether it goes on with the one before, and how many
/// it has.
fn pieces<T: OfPartitions>(mut topic: T) -> Vec<(bool, usize, T)> {
    let mut left = topic.take_partitions().into_iter();
    let mut pieces = Vec::new();
    loop {
        let partitions: Vec<_> = left.by_ref().take(OFFSETS_AT_ONCE).collect();
        pieces.push((!pieces.is_empty(), partitions.len(), topic.with(partitions)));
        if left.len() == 0 {
            return pieces;
        }
    }
}

/// Add the topics of a part's answer to those before; one that goes on has the rest of the last.
fn add<T>(topics: &mut Vec<T>, part: Vec<T>, goes_on: Vec<bool>, append: impl Fn(&mut T, T)) {
    for (topic, is_rest) in part.into_iter().zip(goes_on) {
        match topics.last_mut().filter(|_| is_rest) {
            Some(begun) => append(begun, topic),
            None => topics.push(topic),
        }
    }
}

/// A description of groups that says, if asked, also what the caller may do with each (KIP-430).
pub trait Describes: OfManyGroups {
    /// Whether it is asked.
    fn asks_operations(&self) -> bool;

    /// Of each group that was described, the field for it.
    fn operations(response: &mut Self::Response) -> impl Iterator<Item = &mut i32>;
}

macro_rules! describes {
    ($($request:ident)*) => {
        $(impl Describes for $request {
            fn asks_operations(&self) -> bool {
                self.include_authorized_operations
            }

            fn operations(response: &mut Self::Response) -> impl Iterator<Item = &mut i32> {
                let described = response.groups.iter_mut().filter(|g| g.error_code.is_ok());
                described.map(|group| &mut group.authorized_operations)
            }
        })*
    };
}

describes! { DescribeGroupsRequest ConsumerGroupDescribeRequest }

/// Ask the coordinator of each group for its description.
pub async fn describe<R: Runtime, Q: Describes>(
    caller: Rc<Caller<R>>,
    version: i16,
    request: Q,
) -> Result<Q::Response, Hangup> {
    let is_asked = request.asks_operations();
    let mut response = many(caller, version, request).await?;
    if is_asked {
        Q::operations(&mut response).for_each(|field| *field = operations::GROUP);
    }
    Ok(response)
}

/// OffsetFetch: of one group or of several.
pub async fn offset_fetch<R: Runtime>(
    caller: Rc<Caller<R>>,
    version: i16,
    request: OffsetFetchRequest,
) -> Result<OffsetFetchResponse, Hangup> {
    if version < OFFSET_FETCH_OF_MANY {
        one(caller, version, request).await
    } else {
        many(caller, version, request).await
    }
}

/// ListGroups: ask every coordinator. While one of them loads, nothing is listed, as in Kafka.
pub async fn all<R: Runtime>(
    caller: Rc<Caller<R>>,
    version: i16,
    request: ListGroupsRequest,
) -> Result<ListGroupsResponse, Hangup> {
    let mut response = ListGroupsResponse::default();
    match groups::ask_all(&caller, version, request).await? {
        Ok(parts) => {
            for part in parts {
                if !part.error_code.is_ok() {
                    response.error_code = part.error_code;
                }
                response.groups.extend(part.groups);
            }
        }
        Err(code) => response.error_code = code,
    }
    Ok(response)
}
