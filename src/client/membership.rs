//! Membership of a classic group: join, stay, commit, leave.
//!
//! No thread of its own: whoever reads says now and then that it is alive, and joins again when it
//! hears that the group rebalances. As leader it shares the partitions out by ranges, as Kafka's
//! `range` assignor does, so that it may meet other clients in a group.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Client, ClientError, CommittedOffset};
use crate::model::{NodeId, PartitionIndex};
use crate::protocol::ErrorCode;
use crate::protocol::consumer_protocol::{
    self, ConsumerProtocolAssignment, ConsumerProtocolSubscription, TopicPartition,
};
use crate::protocol::messages::heartbeat::HeartbeatRequest;
use crate::protocol::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse, JoinGroupResponseMember,
};
use crate::protocol::messages::leave_group::{LeaveGroupRequest, MemberIdentity};
use crate::protocol::messages::offset_commit::OffsetCommitRequest;
use crate::protocol::messages::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use crate::wire::StrBytes;

use super::topics::accept;

/// Silence after which the group goes on without us.
const SESSION: Duration = Duration::from_secs(45);
/// How long a rebalance waits for us: longer than one answer takes to be printed.
const REBALANCE: Duration = Duration::from_secs(60);
const HEARTBEAT: Duration = Duration::from_secs(3);
/// The name that all members share.
const ASSIGNOR: &str = "range";
/// Version of what we say to the leader; the first one is understood by all.
const SUBSCRIPTION_VERSION: i16 = 0;

/// A member of a group, in one generation of it.
#[derive(Debug)]
pub struct Membership {
    group: String,
    node: NodeId,
    member_id: StrBytes,
    generation: i32,
    partitions: Vec<PartitionIndex>,
    heard: Instant,
}

impl Membership {
    /// The partitions of the topic that this member has.
    pub fn partitions(&self) -> &[PartitionIndex] {
        &self.partitions
    }

    /// The group's generation: it grows with every rebalance.
    pub fn generation(&self) -> i32 {
        self.generation
    }
}

impl Client {
    /// Join a group to read a topic, and wait until the group has shared it out. `before` is the
    /// membership that ended with a rebalance, or with the connection.
    ///
    /// # Errors
    /// When the group does not take us: its members share another protocol, it is full.
    /// [`ClientError::GivenUp`] when the wait was ([`ConnectionOptions::gives_up`]), and then
    /// this is no member any more.
    ///
    /// [`ConnectionOptions::gives_up`]: super::ConnectionOptions::gives_up
    pub fn join_group(
        &mut self,
        group: &str,
        topic: &str,
        before: Option<&Membership>,
    ) -> Result<Membership, ClientError> {
        let mut member_id = before.map(|before| before.member_id.clone()).unwrap_or_default();
        let joined = self.again_while_it_may_heal(|client| {
            loop {
                let node = client.coordinator(group)?;
                let joined = client.join_once(node, group, topic, &member_id)?;
                match joined.error_code {
                    ErrorCode::MEMBER_ID_REQUIRED => member_id = joined.member_id,
                    ErrorCode::UNKNOWN_MEMBER_ID => member_id = StrBytes::default(),
                    code => {
                        accept(code, None, || format!("join group {group:?}"))?;
                        member_id = joined.member_id.clone();
                        if let Some(membership) = client.sync(node, group, topic, joined)? {
                            return Ok(membership);
                        }
                    }
                }
            }
        });
        if matches!(joined, Err(ClientError::GivenUp(..))) && !member_id.is_empty() {
            let node = self.coordinator(group)?;
            self.leave(node, group, &member_id)?;
        }
        joined
    }

    fn join_once(
        &mut self,
        node: NodeId,
        group: &str,
        topic: &str,
        member_id: &StrBytes,
    ) -> Result<JoinGroupResponse, ClientError> {
        let subscription =
            ConsumerProtocolSubscription { topics: vec![topic.into()], ..Default::default() };
        let connection = self.connection(node)?;
        let unsayable = |e| ClientError::Unsayable(connection.address().clone(), "JoinGroup", e);
        let metadata = consumer_protocol::write(&subscription, SUBSCRIPTION_VERSION);
        let metadata = metadata.map_err(unsayable)?;
        let request = JoinGroupRequest {
            group_id: group.into(),
            session_timeout_ms: SESSION.as_millis() as i32,
            rebalance_timeout_ms: REBALANCE.as_millis() as i32,
            member_id: member_id.clone(),
            protocol_type: consumer_protocol::PROTOCOL_TYPE.into(),
            protocols: vec![JoinGroupRequestProtocol { name: ASSIGNOR.into(), metadata }],
            ..Default::default()
        };
        let version = connection.version::<JoinGroupRequest>()?;
        connection.call_of_group(version, &request, REBALANCE + SESSION)
    }

    /// Hear what we have; `None` when the group rebalances once more.
    fn sync(
        &mut self,
        node: NodeId,
        group: &str,
        topic: &str,
        joined: JoinGroupResponse,
    ) -> Result<Option<Membership>, ClientError> {
        let is_leader = joined.leader == joined.member_id;
        let assignments = if is_leader { self.assign(node, &joined.members)? } else { Vec::new() };
        let request = SyncGroupRequest {
            group_id: group.into(),
            generation_id: joined.generation_id,
            member_id: joined.member_id.clone(),
            protocol_type: Some(consumer_protocol::PROTOCOL_TYPE.into()),
            protocol_name: Some(ASSIGNOR.into()),
            assignments,
            ..Default::default()
        };
        let connection = self.connection(node)?;
        let version = connection.version::<SyncGroupRequest>()?;
        let synced = connection.call_of_group(version, &request, REBALANCE + SESSION)?;
        if is_over(synced.error_code) {
            return Ok(None);
        }
        accept(synced.error_code, None, || format!("get an assignment of group {group:?}"))?;
        // A member without partitions may get no bytes at all.
        let assignment = consumer_protocol::read::<ConsumerProtocolAssignment>(synced.assignment);
        let topics = assignment.map(|a| a.assigned_partitions).unwrap_or_default();
        let ours = topics.into_iter().filter(|entry| *entry.topic == *topic);
        Ok(Some(Membership {
            group: group.to_owned(),
            node,
            member_id: joined.member_id,
            generation: joined.generation_id,
            partitions: ours.flat_map(|entry| entry.partitions).collect(),
            heard: Instant::now(),
        }))
    }

    /// Share out every topic that a member subscribes to.
    fn assign(
        &mut self,
        node: NodeId,
        members: &[JoinGroupResponseMember],
    ) -> Result<Vec<SyncGroupRequestAssignment>, ClientError> {
        let mut by_topic: BTreeMap<StrBytes, Vec<&StrBytes>> = BTreeMap::new();
        for member in members {
            let said = consumer_protocol::read::<ConsumerProtocolSubscription>;
            for topic in said(member.metadata.clone()).map(|s| s.topics).unwrap_or_default() {
                by_topic.entry(topic).or_default().push(&member.member_id);
            }
        }
        let mut shares: BTreeMap<&StrBytes, Vec<TopicPartition>> =
            members.iter().map(|member| (&member.member_id, Vec::new())).collect();
        for (topic, mut subscribed) in by_topic {
            // A topic that does not exist (yet) has nothing to share.
            let count = self.topic(&topic).map_or(0, |info| info.partitions.len());
            subscribed.sort_unstable();
            subscribed.dedup();
            for (member, partitions) in subscribed.iter().zip(ranges(count, subscribed.len())) {
                if let Some(share) = shares.get_mut(*member) {
                    share.push(TopicPartition { topic: topic.clone(), partitions });
                }
            }
        }
        let address = self.connection(node)?.address().clone();
        let encoded = shares.into_iter().map(|(member, assigned_partitions)| {
            let assignment = ConsumerProtocolAssignment { assigned_partitions, user_data: None };
            let bytes = consumer_protocol::write(&assignment, SUBSCRIPTION_VERSION)
                .map_err(|e| ClientError::Unsayable(address.clone(), "SyncGroup", e))?;
            Ok(SyncGroupRequestAssignment { member_id: member.clone(), assignment: bytes })
        });
        encoded.collect()
    }

    /// Say that this member is alive, if it is time to. False: the group goes on without this
    /// generation; join again.
    ///
    /// # Errors
    /// When the coordinator cannot be asked.
    pub fn stay_in_group(&mut self, membership: &mut Membership) -> Result<bool, ClientError> {
        if membership.heard.elapsed() < HEARTBEAT {
            return Ok(true);
        }
        let request = HeartbeatRequest {
            group_id: membership.group.as_str().into(),
            generation_id: membership.generation,
            member_id: membership.member_id.clone(),
            ..Default::default()
        };
        let code = self.connection(membership.node)?.call(&request)?.error_code;
        if is_over(code) {
            return Ok(false);
        }
        accept(code, None, || format!("stay in group {:?}", membership.group))?;
        membership.heard = Instant::now();
        Ok(true)
    }

    /// Commit offsets as a member. False, and nothing committed, when this generation is over.
    ///
    /// # Errors
    /// When a partition's is refused.
    pub fn commit_as_member(
        &mut self,
        membership: &Membership,
        offsets: &[CommittedOffset],
    ) -> Result<bool, ClientError> {
        let request = OffsetCommitRequest {
            generation_id_or_member_epoch: membership.generation,
            member_id: membership.member_id.clone(),
            ..super::groups::commit_request(&membership.group, offsets)
        };
        match self.commit_once(membership.node, &request) {
            // Told at the next heartbeat, too; while the group prepares, commits are taken.
            Err(error) if error.code().is_some_and(is_over) => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// Leave, so that the others need not wait for the session to end.
    ///
    /// # Errors
    /// When the coordinator cannot be asked.
    pub fn leave_group(&mut self, membership: &Membership) -> Result<(), ClientError> {
        self.leave(membership.node, &membership.group, &membership.member_id)
    }

    fn leave(
        &mut self,
        node: NodeId,
        group: &str,
        member_id: &StrBytes,
    ) -> Result<(), ClientError> {
        let connection = self.connection(node)?;
        let version = connection.version::<LeaveGroupRequest>()?;
        let mut request = LeaveGroupRequest { group_id: group.into(), ..Default::default() };
        let member_id = member_id.clone();
        if version >= 3 {
            request.members = vec![MemberIdentity { member_id, ..Default::default() }];
        } else {
            request.member_id = member_id;
        }
        let reply = connection.call_at(version, &request, Duration::ZERO)?;
        let of_member = reply.members.iter().map(|member| member.error_code);
        let mut codes = std::iter::once(reply.error_code).chain(of_member);
        // Who is no member any more has left.
        codes.try_for_each(|code| match code {
            ErrorCode::UNKNOWN_MEMBER_ID => Ok(()),
            code => accept(code, None, || format!("leave group {group:?}")),
        })
    }
}

/// Whether the group is on its way to another generation, or in it.
fn is_over(code: ErrorCode) -> bool {
    [ErrorCode::REBALANCE_IN_PROGRESS, ErrorCode::ILLEGAL_GENERATION, ErrorCode::UNKNOWN_MEMBER_ID]
        .contains(&code)
}

/// `count` partitions in `members` runs, the first ones longer by one if it does not divide.
fn ranges(count: usize, members: usize) -> Vec<Vec<PartitionIndex>> {
    let mut next = 0;
    let share = |nth: usize| {
        let len = count / members.max(1) + usize::from(nth < count % members.max(1));
        let run = (next..next + len).filter_map(|index| PartitionIndex::try_from(index).ok());
        let run: Vec<_> = run.collect();
        next += len;
        run
    };
    (0..members).map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_differ_by_one_and_leave_nothing_out() {
        assert_eq!(ranges(4, 2), [vec![0, 1], vec![2, 3]]);
        assert_eq!(ranges(5, 3), [vec![0, 1], vec![2, 3], vec![4]]);
        assert_eq!(ranges(1, 2), [vec![0], vec![]]);
        assert!(ranges(3, 0).is_empty());
    }
}
