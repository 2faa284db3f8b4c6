//! Groups whose members assign among themselves: JoinGroup, SyncGroup, Heartbeat, LeaveGroup.
//!
//! A generation begins with a join phase, in which every member says which protocols it speaks,
//! and a sync phase, in which the leader hands out the assignment. Assignments are opaque here.
//!
//! Always true: a settled generation (Stable, or Empty after it had members) is in the log;
//! the phases in between are in memory only, and begin anew after loading.

mod join;
mod leave;
mod member;
mod rebalance;
mod sync;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::model::TimestampMs;
use crate::protocol::ErrorCode;
use crate::protocol::consumer_protocol::{self, ConsumerProtocolSubscription};
use crate::protocol::group_record::{
    GroupMetadataKey, GroupMetadataValue, GroupRecord, MemberMetadata,
};
use crate::protocol::messages::describe_groups::{DescribedGroup, DescribedGroupMember};
use crate::wire::StrBytes;

use super::Notice;
use super::desk::Desk;
use super::expiry::Ages;
use super::memory::{self, Charge, GroupMemory};
pub(super) use join::{Join, MEMBER_ID_REQUIRED_MIN};
pub(super) use member::{ClassicMember, Protocol, Waiting};

/// Where a classic group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No members.
    Empty,
    /// Members join; earlier ones are waited for.
    PreparingRebalance,
    /// All have joined; the leader's assignment is waited for.
    CompletingRebalance,
    /// Every member has its assignment.
    Stable,
}

impl State {
    /// As Kafka names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// One classic group.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::coordinator) struct ClassicGroup {
    pub id: StrBytes,
    pub state: State,
    /// The join phase follows on an empty group: more members are waited for.
    is_initial: bool,
    /// A member has joined since the initial wait was last extended.
    has_new_member: bool,
    /// How long the initial wait was last set to.
    initial_delay_ms: i64,
    /// What is left of the initial wait's extensions.
    initial_remaining_ms: i64,
    /// When the state was entered; nothing if unknown.
    pub state_since: Option<TimestampMs>,
    pub generation: i32,
    pub protocol_type: Option<StrBytes>,
    pub protocol: Option<StrBytes>,
    pub leader: Option<StrBytes>,
    pub members: BTreeMap<StrBytes, ClassicMember>,
    /// Static members: instance id to member id.
    static_members: BTreeMap<StrBytes, StrBytes>,
    /// Member ids that were given out and have not joined.
    pending: BTreeSet<StrBytes>,
    /// Members that have not asked for their assignment.
    pending_sync: BTreeSet<StrBytes>,
    /// How many members speak each protocol.
    protocols: BTreeMap<StrBytes, usize>,
    /// Topics the members read, if they are consumers that can be understood.
    subscribed: Option<BTreeSet<StrBytes>>,
    /// What all of this takes.
    charge: Charge,
}

impl ClassicGroup {
    /// An empty group.
    pub fn new(memory: &GroupMemory, id: StrBytes) -> Self {
        Self {
            charge: Charge::new(memory, memory::of_group(&id)),
            id,
            state: State::Empty,
            is_initial: false,
            has_new_member: false,
            initial_delay_ms: 0,
            initial_remaining_ms: 0,
            state_since: None,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            protocols: BTreeMap::new(),
            subscribed: None,
        }
    }

    /// The group that its record tells of.
    pub fn load(memory: &GroupMemory, id: StrBytes, value: GroupMetadataValue) -> Self {
        let mut group = Self::new(memory, id);
        group.generation = value.generation;
        group.state = if value.members.is_empty() { State::Empty } else { State::Stable };
        group.state_since =
            (value.current_state_timestamp != -1).then_some(value.current_state_timestamp);
        let protocol_type = value.protocol_type.detached();
        group.set_protocol_type((!protocol_type.is_empty()).then(|| protocol_type.clone()));
        group.protocol = value.protocol.map(|name| name.detached());
        group.leader = value.leader.map(|id| id.detached());
        let name = group.protocol.clone().unwrap_or_default();
        for member in value.members {
            group.add(ClassicMember::load(member, &protocol_type, &name));
        }
        group.read_subscriptions(usize::MAX);
        group
    }

    /// The group of these members, who agree on what they have been assigned; written at once.
    pub fn from_members(
        desk: &mut Desk,
        id: StrBytes,
        generation: i32,
        members: Vec<ClassicMember>,
    ) -> Self {
        let mut group = Self::new(&desk.memory, id);
        group.generation = generation;
        for member in members {
            group.add(member);
        }
        group.protocol = group.select_protocol();
        group.read_subscriptions(desk.memory.room());
        group.state = State::Stable;
        group.state_since = Some(desk.now);
        desk.write(&group.to_record());
        for id in group.members.keys() {
            group.restart_session(desk, id);
        }
        group
    }

    /// Say that it rebalances, or, without a reason, that it has settled.
    fn notice(&self, desk: &mut Desk, reason: Option<&'static str>) {
        desk.step.notices.push(Notice {
            group: self.id.clone(),
            generation: self.generation,
            members: self.members.len(),
            reason,
        });
    }

    /// Whether nobody is in it, or on the way in with a whole join.
    pub fn is_empty(&self) -> bool {
        self.state == State::Empty
    }

    /// Whether its members are consumers.
    pub fn speaks_consumer(&self) -> bool {
        self.protocol_type.as_ref().is_some_and(|kind| *kind == consumer_protocol::PROTOCOL_TYPE)
    }

    /// Whether its members read `topic`. Of consumers that cannot be understood it is assumed.
    pub fn is_subscribed_to(&self, topic: &StrBytes) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.speaks_consumer(),
        }
    }

    /// How offsets of this group age (KIP-211).
    pub fn offsets_age(&self) -> Ages {
        match (&self.protocol_type, self.state) {
            // Nobody ever joined: offsets were committed from outside.
            (None, _) => Ages::SinceCommit,
            (Some(_), State::Empty) => Ages::Since(self.state_since),
            (Some(_), State::Stable) if self.speaks_consumer() && self.subscribed.is_some() => {
                Ages::SinceCommit
            }
            _ => Ages::Never,
        }
    }

    /// Whether this member may commit; a commit says that it is alive, too.
    ///
    /// # Errors
    /// As Kafka's.
    pub fn may_commit(
        &self,
        desk: &mut Desk,
        member_id: &StrBytes,
        instance_id: Option<&StrBytes>,
        generation: i32,
    ) -> Result<(), ErrorCode> {
        if generation < 0 && self.is_empty() {
            return Ok(());
        }
        if generation >= 0 || !member_id.is_empty() || instance_id.is_some() {
            self.check_member(member_id, instance_id)?;
            if generation != self.generation {
                return Err(ErrorCode::ILLEGAL_GENERATION);
            }
        } else if !self.is_empty() {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        match self.state {
            State::CompletingRebalance => return Err(ErrorCode::REBALANCE_IN_PROGRESS),
            State::Stable | State::PreparingRebalance => self.restart_session(desk, member_id),
            State::Empty => {}
        }
        Ok(())
    }

    /// Whether offsets may be deleted while it has members: only of topics that they do not read,
    /// which only consumers tell.
    ///
    /// # Errors
    /// `NON_EMPTY_GROUP` when members are no consumers.
    pub fn may_delete_offsets(&self) -> Result<(), ErrorCode> {
        if self.is_empty() || self.speaks_consumer() {
            return Ok(());
        }
        Err(ErrorCode::NON_EMPTY_GROUP)
    }

    /// Whether `member_id` is a member, and the one that has `instance_id` if that is given.
    fn check_member(
        &self,
        member_id: &StrBytes,
        instance_id: Option<&StrBytes>,
    ) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            match self.static_members.get(instance_id) {
                None => return Err(ErrorCode::UNKNOWN_MEMBER_ID),
                Some(owner) if owner != member_id => return Err(ErrorCode::FENCED_INSTANCE_ID),
                Some(_) => {}
            }
        }
        if !self.members.contains_key(member_id) {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        Ok(())
    }

    /// Find out what the members read, if they are consumers that can be understood. What does not
    /// fit into `room` is as if it could not be.
    fn read_subscriptions(&mut self, room: usize) {
        self.charge.sub(memory_of_topics(&self.subscribed));
        self.subscribed = self.subscriptions(room);
        self.charge.add(memory_of_topics(&self.subscribed));
    }

    fn subscriptions(&self, room: usize) -> Option<BTreeSet<StrBytes>> {
        if !self.speaks_consumer() {
            return None;
        }
        let (mut topics, mut bytes) = (BTreeSet::new(), 0);
        if self.members.is_empty() {
            return Some(topics);
        }
        let protocol = self.protocol.as_ref()?;
        for member in self.members.values() {
            let metadata = member.metadata(protocol);
            // An old or strange consumer: what it reads is not known, so nothing is.
            let subscription: ConsumerProtocolSubscription =
                consumer_protocol::read(metadata).ok()?;
            for topic in &subscription.topics {
                if !topics.contains(topic) {
                    bytes += memory::of_text(topic);
                    if bytes > room {
                        return None;
                    }
                    topics.insert(topic.detached());
                }
            }
        }
        Some(topics)
    }

    /// Record of the generation, with these assignments.
    fn to_record(&self) -> GroupRecord {
        let protocol = self.protocol.clone().unwrap_or_default();
        let members = self.members.values().map(|member| MemberMetadata {
            member_id: member.id.clone(),
            group_instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout: member.rebalance_timeout_ms,
            session_timeout: member.session_timeout_ms,
            subscription: member.metadata(&protocol),
            assignment: member.assignment.clone(),
        });
        let value = GroupMetadataValue {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            current_state_timestamp: self.state_since.unwrap_or(-1),
            members: members.collect(),
        };
        GroupRecord::GroupMetadata(self.key(), Some(value))
    }

    fn key(&self) -> GroupMetadataKey {
        GroupMetadataKey { group: self.id.clone() }
    }

    /// Write that the group is there, without members and generation.
    pub fn write_founding(&self, desk: &mut Desk) {
        let value = GroupMetadataValue {
            current_state_timestamp: self.state_since.unwrap_or(-1),
            ..Default::default()
        };
        desk.write(&GroupRecord::GroupMetadata(self.key(), Some(value)));
    }

    /// Write that the group is gone.
    pub fn write_tombstone(&self, desk: &mut Desk) {
        desk.write(&GroupRecord::GroupMetadata(self.key(), None));
    }

    /// The group as DescribeGroups shows it.
    pub fn describe(&self) -> DescribedGroup {
        let settled = if self.state == State::Stable { self.protocol.clone() } else { None };
        let members = self.members.values().map(|member| DescribedGroupMember {
            member_id: member.id.clone(),
            group_instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            member_metadata: settled.as_ref().map_or(Bytes::new(), |name| member.metadata(name)),
            member_assignment: member.assignment.clone(),
        });
        DescribedGroup {
            group_id: self.id.clone(),
            group_state: self.state.name().into(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            members: members.collect(),
            protocol_data: settled.clone().unwrap_or_default(),
            ..Default::default()
        }
    }
}

fn memory_of_topics(topics: &Option<BTreeSet<StrBytes>>) -> usize {
    topics.iter().flatten().map(memory::of_text).sum()
}

#[cfg(test)]
impl ClassicGroup {
    /// What it takes, by its charge and counted anew.
    pub fn memory(&self) -> (usize, usize) {
        let members: usize = self.members.values().map(ClassicMember::memory).sum();
        let pending: usize = self.pending.iter().map(memory::of_member).sum();
        let kind = self.protocol_type.as_ref().map_or(0, |kind| kind.len());
        let topics = memory_of_topics(&self.subscribed);
        let first = if self.members.is_empty() { 0 } else { memory::MEMBERS_BYTES };
        let counted = memory::of_group(&self.id) + first + members + pending + kind + topics;
        (self.charge.bytes(), counted)
    }
}
