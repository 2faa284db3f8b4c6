//! The way from a request about groups to the coordinators that answer it.
//!
//! Owns: which shard a group's coordinator is on, and what a client is told when none answers.
//! Handlers see schema types only.

use std::rc::Rc;

use futures_util::future::join_all;

use crate::cluster::internal;
use crate::coordinator::{ClientInfo, Request as ToCoordinator, Response as FromCoordinator};
use crate::model::{CONSUMER_OFFSETS, TopicPartition};
use crate::protocol::messages::{
    consumer_group_describe::ConsumerGroupDescribeRequest,
    consumer_group_heartbeat::ConsumerGroupHeartbeatRequest, delete_groups::DeleteGroupsRequest,
    describe_groups::DescribeGroupsRequest, heartbeat::HeartbeatRequest,
    join_group::JoinGroupRequest, leave_group::LeaveGroupRequest, list_groups::ListGroupsRequest,
    offset_commit::OffsetCommitRequest, offset_delete::OffsetDeleteRequest,
    offset_fetch::OffsetFetchRequest, sync_group::SyncGroupRequest,
};
use crate::protocol::{ErrorCode, Request};
use crate::runtime::Runtime;
use crate::shard::call::{Call, GroupCall, Reply};

use super::errors;
use super::request::{Caller, Hangup};

/// A request that a coordinator answers.
pub trait OfCoordinator: Request {
    /// As the coordinator takes it.
    fn into_question(self) -> ToCoordinator;

    /// The response, out of the coordinator's answer to such a request.
    fn from_answer(answer: FromCoordinator) -> Option<Self::Response>;
}

macro_rules! of_coordinator {
    ($($request:ident => $variant:ident;)*) => {
        $(impl OfCoordinator for $request {
            fn into_question(self) -> ToCoordinator {
                ToCoordinator::$variant(self)
            }

            fn from_answer(answer: FromCoordinator) -> Option<Self::Response> {
                match answer {
                    FromCoordinator::$variant(response) => Some(response),
                    _ => None,
                }
            }
        })*
    };
}

of_coordinator! {
    JoinGroupRequest => JoinGroup;
    SyncGroupRequest => SyncGroup;
    HeartbeatRequest => Heartbeat;
    LeaveGroupRequest => LeaveGroup;
    OffsetCommitRequest => OffsetCommit;
    OffsetFetchRequest => OffsetFetch;
    OffsetDeleteRequest => OffsetDelete;
    ListGroupsRequest => ListGroups;
    DescribeGroupsRequest => DescribeGroups;
    DeleteGroupsRequest => DeleteGroups;
    ConsumerGroupHeartbeatRequest => ConsumerGroupHeartbeat;
    ConsumerGroupDescribeRequest => ConsumerGroupDescribe;
}

/// Ask the coordinator of `group`; a response in any case, as groups have it.
///
/// # Errors
/// When the coordinator answers another request than was asked, a fault of this broker.
pub async fn ask<R: Runtime, Q: OfCoordinator>(
    caller: &Rc<Caller<R>>,
    version: i16,
    group: &str,
    request: Q,
) -> Result<Q::Response, Hangup> {
    let shard = &caller.shard;
    let image = shard.image();
    let question = request.into_question();
    let place = image.topic(CONSUMER_OFFSETS).zip(internal::group_partition(&image, group));
    let answer = match place {
        // As of a broker that does not coordinate it: the client asks who does.
        None => question.refuse(version, ErrorCode::NOT_COORDINATOR),
        Some((topic, partition)) => {
            let owner = shard.owner(TopicPartition { topic_id: topic.id, partition });
            let client = client(caller);
            let call = GroupCall { partition, client, version, request: question.clone() };
            match shard.call(owner, Call::Group(Box::new(call))).await {
                Reply::Group(Ok(answer)) => *answer,
                Reply::Group(Err(refusal)) => question.refuse(version, errors::group(refusal)),
                _ => question.refuse(version, ErrorCode::COORDINATOR_NOT_AVAILABLE),
            }
        }
    };
    expect::<Q>(answer)
}

/// Ask every coordinator; their responses in no order.
///
/// # Errors
/// As [`ask`]; inside, the first refusal.
pub async fn ask_all<R: Runtime, Q: OfCoordinator + Clone>(
    caller: &Rc<Caller<R>>,
    version: i16,
    request: Q,
) -> Result<Result<Vec<Q::Response>, ErrorCode>, Hangup> {
    let shard = &caller.shard;
    let calls = (0..shard.shards).map(|to| {
        let question = request.clone().into_question();
        shard.call(to, Call::AllGroups(client(caller), version, Box::new(question)))
    });
    let mut responses = Vec::new();
    for reply in join_all(calls).await {
        let Reply::AllGroups(answers) = reply else {
            return Ok(Err(ErrorCode::COORDINATOR_NOT_AVAILABLE));
        };
        for answer in answers {
            match answer {
                Ok(answer) => responses.push(expect::<Q>(*answer)?),
                Err(refusal) => return Ok(Err(errors::group(refusal))),
            }
        }
    }
    Ok(Ok(responses))
}

fn client<R: Runtime>(caller: &Caller<R>) -> ClientInfo {
    ClientInfo {
        client_id: caller.client_id.borrow().as_str().into(),
        // As Kafka shows an address without a name.
        host: format!("/{}", caller.peer.ip().to_canonical()).as_str().into(),
    }
}

fn expect<Q: OfCoordinator>(answer: FromCoordinator) -> Result<Q::Response, Hangup> {
    Q::from_answer(answer).ok_or_else(|| {
        Hangup(format!(
            "{} was answered as another request (a fault of this broker)",
            Q::KEY.name()
        ))
    })
}
