//! Groups: who coordinates them, what they look like, which offsets they have committed.
//!
//! Every broker lists the groups that it coordinates; everything else about a group is asked of its
//! coordinator, again and again while that one is being chosen or is loading.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::cluster::RETRY_PAUSE;
use super::topics::accept;
use super::{BrokerAddress, Client, ClientError};
use crate::model::{LeaderEpoch, NodeId, Offset, PartitionIndex};
use crate::protocol::consumer_protocol::{self, ConsumerProtocolAssignment};
use crate::protocol::messages::consumer_group_describe::{
    ConsumerGroupDescribeRequest, DescribedGroup as DescribedConsumerGroup,
};
use crate::protocol::messages::delete_groups::DeleteGroupsRequest;
use crate::protocol::messages::describe_groups::{DescribeGroupsRequest, DescribedGroup};
use crate::protocol::messages::find_coordinator::FindCoordinatorRequest;
use crate::protocol::messages::list_groups::ListGroupsRequest;
use crate::protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use crate::protocol::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use crate::protocol::messages::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestGroup};
use crate::protocol::{ApiKey, ErrorCode};
use crate::wire::StrBytes;

/// The newest version of OffsetCommit and OffsetFetch that names topics.
const BY_NAME_MAX: i16 = 9;

/// A group as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupListing {
    /// Its id.
    pub group: String,
    /// `classic`, `consumer` and others; empty from brokers that do not say.
    pub kind: String,
    /// `Stable`, `Empty` and others; empty from brokers that do not say.
    pub state: String,
    /// Kind of its members' protocol, such as `consumer`.
    pub protocol_type: String,
}

/// A group with its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupInfo {
    /// Its id.
    pub group: String,
    /// `classic` or `consumer`.
    pub kind: &'static str,
    /// `Stable`, `Empty`, `Dead` (there is none) and others.
    pub state: String,
    /// How partitions are assigned.
    pub assignor: String,
    /// Who coordinates it.
    pub coordinator: (NodeId, BrokerAddress),
    /// Its members.
    pub members: Vec<GroupMember>,
}

impl GroupInfo {
    /// Whether nobody is in it, so that its offsets may be changed from outside.
    pub fn is_inactive(&self) -> bool {
        self.members.is_empty() && matches!(self.state.as_str(), "Empty" | "Dead")
    }
}

/// One member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// Its id.
    pub id: String,
    /// Its `group.instance.id`, if it is static.
    pub instance_id: Option<String>,
    /// Its `client.id`.
    pub client_id: String,
    /// Its address.
    pub host: String,
    /// Topics and partitions that it has.
    pub assignment: BTreeMap<String, Vec<PartitionIndex>>,
}

/// An offset that a group has committed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommittedOffset {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: PartitionIndex,
    /// Next offset to read.
    pub offset: Offset,
    /// Leader epoch of the last record read; -1 if unknown.
    pub leader_epoch: LeaderEpoch,
    /// Text that the consumer left with it.
    pub metadata: String,
}

impl Client {
    /// The groups of all brokers, by id.
    ///
    /// # Errors
    /// When a broker cannot be asked.
    pub fn list_groups(&mut self) -> Result<Vec<GroupListing>, ClientError> {
        let mut groups = Vec::new();
        for (node, address) in self.brokers() {
            let found = self.again_while_it_may_heal(|client| {
                let reply = client.connection(node)?.call(&ListGroupsRequest::default())?;
                accept(reply.error_code, None, || format!("list the groups of {address}"))?;
                Ok(reply.groups)
            })?;
            groups.extend(found.into_iter().map(|group| GroupListing {
                group: group.group_id.to_string(),
                kind: group.group_type.to_string(),
                state: group.group_state.to_string(),
                protocol_type: group.protocol_type.to_string(),
            }));
        }
        groups.sort();
        Ok(groups)
    }

    /// A group with its members. One that does not exist is `Dead` and empty.
    ///
    /// # Errors
    /// When its coordinator cannot be found or asked.
    pub fn describe_group(&mut self, group: &str) -> Result<GroupInfo, ClientError> {
        self.again_while_it_may_heal(|client| {
            let node = client.coordinator(group)?;
            let connection = client.connection(node)?;
            let coordinator = (node, connection.address().clone());
            if connection.advertised(ApiKey::ConsumerGroupDescribe).is_some() {
                let request = ConsumerGroupDescribeRequest {
                    group_ids: vec![group.into()],
                    include_authorized_operations: false,
                };
                let reply = connection.call(&request)?;
                let found = only(reply.groups, &coordinator.1)?;
                // Not of this kind, or not there: the other description says which.
                if found.error_code != ErrorCode::GROUP_ID_NOT_FOUND {
                    refusal(found.error_code, found.error_message.as_ref(), "describe", group)?;
                    return Ok(of_consumer_group(found, coordinator));
                }
            }
            let groups = vec![group.into()];
            let request = DescribeGroupsRequest { groups, ..Default::default() };
            let found = only(connection.call(&request)?.groups, &coordinator.1)?;
            // From version 6 on a group that does not exist is an error.
            if found.error_code != ErrorCode::GROUP_ID_NOT_FOUND {
                refusal(found.error_code, found.error_message.as_ref(), "describe", group)?;
            }
            Ok(of_classic_group(found, coordinator))
        })
    }

    /// All offsets that a group has committed, by topic and partition.
    ///
    /// # Errors
    /// When its coordinator cannot be found or asked.
    pub fn committed_offsets(&mut self, group: &str) -> Result<Vec<CommittedOffset>, ClientError> {
        let mut offsets = self.again_while_it_may_heal(|client| {
            let node = client.coordinator(group)?;
            let connection = client.connection(node)?;
            let version = connection.version_up_to::<OffsetFetchRequest>(BY_NAME_MAX)?;
            let mut request = OffsetFetchRequest::default();
            if version >= 8 {
                let group_id = group.into();
                let asked =
                    OffsetFetchRequestGroup { group_id, topics: None, ..Default::default() };
                request.groups = vec![asked];
            } else {
                (request.group_id, request.topics) = (group.into(), None);
            }
            let reply = connection.call_at(version, &request, Duration::ZERO)?;
            if version < 8 {
                refusal(reply.error_code, None, "ask the offsets of", group)?;
                let topics = reply.topics.iter();
                return topics
                    .flat_map(|t| t.partitions.iter().map(move |p| (&t.name, p)))
                    .map(|(topic, p)| {
                        let at = (p.committed_offset, p.committed_leader_epoch);
                        committed(topic, p.partition_index, p.error_code, at, p.metadata.as_ref())
                    })
                    .collect();
            }
            let address = connection.address().clone();
            let found = only(reply.groups, &address)?;
            refusal(found.error_code, None, "ask the offsets of", group)?;
            let topics = found.topics.iter();
            topics
                .flat_map(|t| t.partitions.iter().map(move |p| (&t.name, p)))
                .map(|(topic, p)| {
                    let at = (p.committed_offset, p.committed_leader_epoch);
                    committed(topic, p.partition_index, p.error_code, at, p.metadata.as_ref())
                })
                .collect::<Result<Vec<_>, _>>()
        })?;
        offsets.retain(|offset| offset.offset >= 0);
        offsets.sort();
        Ok(offsets)
    }

    /// Commit offsets from outside the group.
    ///
    /// # Errors
    /// When a partition's is refused, for example because the group has members.
    pub fn commit_offsets(
        &mut self,
        group: &str,
        offsets: &[CommittedOffset],
    ) -> Result<(), ClientError> {
        let request = commit_request(group, offsets);
        self.again_while_it_may_heal(|client| {
            let node = client.coordinator(group)?;
            client.commit_once(node, &request)
        })
    }

    /// Send a commit to the coordinator and look at every partition's answer.
    pub(super) fn commit_once(
        &mut self,
        node: NodeId,
        request: &OffsetCommitRequest,
    ) -> Result<(), ClientError> {
        let connection = self.connection(node)?;
        let version = connection.version_up_to::<OffsetCommitRequest>(BY_NAME_MAX)?;
        let reply = connection.call_at(version, request, Duration::ZERO)?;
        for topic in &reply.topics {
            for p in &topic.partitions {
                accept(p.error_code, None, || {
                    let (name, index) = (&*topic.name, p.partition_index);
                    let group = &*request.group_id;
                    format!("commit an offset of {name}-{index} for group {group:?}")
                })?;
            }
        }
        Ok(())
    }

    /// Delete a group with its offsets; it must have no members.
    ///
    /// # Errors
    /// When there is none, or it has members.
    pub fn delete_group(&mut self, group: &str) -> Result<(), ClientError> {
        self.again_while_it_may_heal(|client| {
            let node = client.coordinator(group)?;
            let connection = client.connection(node)?;
            let reply =
                connection.call(&DeleteGroupsRequest { groups_names: vec![group.into()] })?;
            let address = connection.address().clone();
            refusal(only(reply.results, &address)?.error_code, None, "delete", group)
        })
    }

    /// Forget offsets of a group; nobody in it may be subscribed to the topic.
    ///
    /// # Errors
    /// When the group or one of the partitions is refused.
    pub fn delete_offsets(
        &mut self,
        group: &str,
        topic: &str,
        partitions: &[PartitionIndex],
    ) -> Result<(), ClientError> {
        let one = |index: &PartitionIndex| OffsetDeleteRequestPartition { partition_index: *index };
        let partitions = partitions.iter().map(one).collect();
        let topics = vec![OffsetDeleteRequestTopic { name: topic.into(), partitions }];
        let request = OffsetDeleteRequest { group_id: group.into(), topics };
        self.again_while_it_may_heal(|client| {
            let node = client.coordinator(group)?;
            let reply = client.connection(node)?.call(&request)?;
            refusal(reply.error_code, None, "delete offsets of", group)?;
            for p in reply.topics.iter().flat_map(|topic| &topic.partitions) {
                accept(p.error_code, None, || {
                    let index = p.partition_index;
                    format!("delete the offset of {topic}-{index} of group {group:?}")
                })?;
            }
            Ok(())
        })
    }

    /// The broker that coordinates a group.
    pub(super) fn coordinator(&mut self, group: &str) -> Result<NodeId, ClientError> {
        let connection = self.any_broker()?;
        let version = connection.version::<FindCoordinatorRequest>()?;
        let mut request = FindCoordinatorRequest::default();
        if version >= 4 {
            request.coordinator_keys = vec![group.into()];
        } else {
            request.key = group.into();
        }
        let reply = connection.call_at(version, &request, Duration::ZERO)?;
        let address = connection.address().clone();
        let (code, message, node) = if version >= 4 {
            let found = only(reply.coordinators, &address)?;
            (found.error_code, found.error_message, found.node_id)
        } else {
            (reply.error_code, reply.error_message, reply.node_id)
        };
        refusal(code, message.as_ref(), "find the coordinator of", group)?;
        Ok(node)
    }

    /// Whether the caller waits for groups no longer.
    fn has_given_up(&self) -> bool {
        self.options.connection.gives_up.is_some_and(|gives_up| gives_up())
    }

    /// Ask until the answer is not "not now", or the patience is over.
    pub(super) fn again_while_it_may_heal<T>(
        &mut self,
        mut ask: impl FnMut(&mut Self) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let deadline = Instant::now() + self.options.retry_for;
        loop {
            match ask(self) {
                // Whoever gives up gets the last answer.
                Err(error)
                    if is_passing(&error) && Instant::now() < deadline && !self.has_given_up() =>
                {
                    std::thread::sleep(RETRY_PAUSE);
                }
                other => return other,
            }
        }
    }
}

/// A commit from outside the group.
pub(super) fn commit_request(group: &str, offsets: &[CommittedOffset]) -> OffsetCommitRequest {
    let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for offset in offsets {
        topics.entry(&offset.topic).or_default().push(OffsetCommitRequestPartition {
            partition_index: offset.partition,
            committed_offset: offset.offset,
            committed_leader_epoch: offset.leader_epoch,
            committed_metadata: Some(offset.metadata.as_str().into()),
        });
    }
    let topics = topics.into_iter().map(|(name, partitions)| OffsetCommitRequestTopic {
        name: name.into(),
        partitions,
        ..Default::default()
    });
    OffsetCommitRequest { group_id: group.into(), topics: topics.collect(), ..Default::default() }
}

/// Whether the coordinator is being chosen, moves or loads.
fn is_passing(error: &ClientError) -> bool {
    let codes = [
        ErrorCode::COORDINATOR_NOT_AVAILABLE,
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode::NOT_COORDINATOR,
    ];
    error.code().is_some_and(|code| codes.contains(&code))
}

/// The one entry of a reply about one group.
fn only<T>(entries: Vec<T>, address: &BrokerAddress) -> Result<T, ClientError> {
    let mut entries = entries.into_iter();
    entries.next().ok_or_else(|| ClientError::Incomplete(address.clone(), "the group"))
}

fn refusal(
    code: ErrorCode,
    message: Option<&StrBytes>,
    verb: &str,
    group: &str,
) -> Result<(), ClientError> {
    accept(code, message.map(ToString::to_string), || format!("{verb} group {group:?}"))
}

fn committed(
    topic: &StrBytes,
    partition: PartitionIndex,
    code: ErrorCode,
    (offset, leader_epoch): (Offset, LeaderEpoch),
    metadata: Option<&StrBytes>,
) -> Result<CommittedOffset, ClientError> {
    accept(code, None, || format!("the committed offset of {}-{partition}", &**topic))?;
    let metadata = metadata.map(ToString::to_string).unwrap_or_default();
    Ok(CommittedOffset { topic: topic.to_string(), partition, offset, leader_epoch, metadata })
}

fn of_classic_group(found: DescribedGroup, coordinator: (NodeId, BrokerAddress)) -> GroupInfo {
    let members = found.members.into_iter().map(|member| {
        // Members of other protocols say something else there.
        let assignment: Option<ConsumerProtocolAssignment> =
            consumer_protocol::read(member.member_assignment).ok();
        let topics = assignment.map(|a| a.assigned_partitions).unwrap_or_default();
        GroupMember {
            id: member.member_id.to_string(),
            instance_id: member.group_instance_id.map(|id| id.to_string()),
            client_id: member.client_id.to_string(),
            host: member.client_host.to_string(),
            assignment: by_topic(topics.into_iter().map(|t| (t.topic, t.partitions))),
        }
    });
    let state = found.group_state.to_string();
    GroupInfo {
        group: found.group_id.to_string(),
        kind: "classic",
        state: if state.is_empty() { "Dead".into() } else { state },
        assignor: found.protocol_data.to_string(),
        coordinator,
        members: members.collect(),
    }
}

fn of_consumer_group(
    found: DescribedConsumerGroup,
    coordinator: (NodeId, BrokerAddress),
) -> GroupInfo {
    let members = found.members.into_iter().map(|member| GroupMember {
        id: member.member_id.to_string(),
        instance_id: member.instance_id.map(|id| id.to_string()),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        assignment: by_topic(
            member.assignment.topic_partitions.into_iter().map(|t| (t.topic_name, t.partitions)),
        ),
    });
    GroupInfo {
        group: found.group_id.to_string(),
        kind: "consumer",
        state: found.group_state.to_string(),
        assignor: found.assignor_name.to_string(),
        coordinator,
        members: members.collect(),
    }
}

fn by_topic(
    topics: impl Iterator<Item = (StrBytes, Vec<PartitionIndex>)>,
) -> BTreeMap<String, Vec<PartitionIndex>> {
    let mut all: BTreeMap<String, Vec<PartitionIndex>> = BTreeMap::new();
    for (topic, partitions) in topics {
        let known = all.entry(topic.to_string()).or_default();
        known.extend(partitions);
        known.sort_unstable();
    }
    all
}
