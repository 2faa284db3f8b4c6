//! One member of a consumer group, and its records.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::protocol::group_record::{
    ClassicMemberMetadata, ClassicProtocol, ConsumerGroupCurrentMemberAssignmentKey,
    ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataKey,
    ConsumerGroupMemberMetadataValue, GroupRecord,
};
use crate::wire::StrBytes;

use super::partitions::{Owned, from_current_value, to_current_value};
use crate::coordinator::memory;

/// Epoch of a member that has left.
pub(super) const LEFT: i32 = -1;
/// Epoch of a static member that has left and will come back.
pub(super) const LEFT_FOR_A_WHILE: i32 = -2;

/// What an entry of a list costs beside its text, so that many short names count, too.
const ENTRY_BYTES: usize = 32;

/// Where a member is on the way from what it has to what it shall have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::coordinator) enum MemberState {
    /// It has what the target of its epoch gives it.
    Stable,
    /// It must give up partitions before it may go on.
    UnrevokedPartitions,
    /// It waits for partitions that others have not given up.
    UnreleasedPartitions,
    /// A newer version knows what.
    Unknown,
}

impl MemberState {
    fn code(self) -> i8 {
        match self {
            Self::Stable => 0,
            Self::UnrevokedPartitions => 1,
            Self::UnreleasedPartitions => 2,
            Self::Unknown => 127,
        }
    }

    fn from_code(code: i8) -> Self {
        match code {
            0 => Self::Stable,
            1 => Self::UnrevokedPartitions,
            2 => Self::UnreleasedPartitions,
            _ => Self::Unknown,
        }
    }
}

/// One member.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::coordinator) struct ConsumerMember {
    pub id: StrBytes,
    pub epoch: i32,
    /// The epoch before: its answer may have been lost, so the member may still use it.
    pub previous_epoch: i32,
    pub state: MemberState,
    pub instance_id: Option<StrBytes>,
    pub rack_id: Option<StrBytes>,
    pub client_id: StrBytes,
    pub client_host: StrBytes,
    pub rebalance_timeout_ms: i32,
    pub topics: BTreeSet<StrBytes>,
    /// Expression of further topics; null or empty without.
    pub regex: Option<StrBytes>,
    pub server_assignor: Option<StrBytes>,
    /// What it said when it joined with the classic protocol.
    pub classic: Option<ClassicMemberMetadata>,
    /// What it owns.
    pub assigned: Owned,
    /// What it must give up.
    pub revoking: Owned,
}

impl ConsumerMember {
    /// A member of which nothing is known but its id.
    pub fn new(id: StrBytes) -> Self {
        Self {
            id,
            epoch: 0,
            previous_epoch: -1,
            state: MemberState::Stable,
            instance_id: None,
            rack_id: None,
            client_id: StrBytes::default(),
            client_host: StrBytes::default(),
            rebalance_timeout_ms: -1,
            topics: BTreeSet::new(),
            regex: None,
            server_assignor: None,
            classic: None,
            assigned: Owned::new(),
            revoking: Owned::new(),
        }
    }

    /// Its expression, if it has one.
    pub fn regex(&self) -> Option<&StrBytes> {
        self.regex.as_ref().filter(|regex| !regex.is_empty())
    }

    /// Whether it speaks the classic protocol.
    pub fn is_classic(&self) -> bool {
        self.classic.is_some()
    }

    /// What it said in the first of its classic protocols.
    pub fn classic_protocol(&self) -> Option<&ClassicProtocol> {
        self.classic.as_ref()?.supported_protocols.first()
    }

    /// Whether it has all that the target of `epoch` gives it.
    pub fn is_reconciled_to(&self, epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == epoch
    }

    /// Bytes that it makes the group keep.
    pub fn bytes(&self) -> usize {
        let topics: usize = self.topics.iter().map(|topic| topic.len() + ENTRY_BYTES).sum();
        let classic = self.classic.iter().flat_map(|classic| &classic.supported_protocols);
        let classic: usize = classic.map(|each| each.name.len() + each.metadata.len()).sum();
        topics + classic + self.regex.as_ref().map_or(0, |regex| regex.len())
    }

    /// Memory that it takes, its timers too. What it owns is counted with what it shall have.
    pub fn memory(&self) -> usize {
        let texts = [&self.instance_id, &self.rack_id, &self.regex, &self.server_assignor];
        let texts: usize = texts.into_iter().flatten().map(|text| text.len()).sum();
        let topics: usize = self.topics.iter().map(memory::of_text).sum();
        let classic = self.classic.iter().flat_map(|classic| &classic.supported_protocols);
        let protocols: usize = classic
            .map(|each| memory::PROTOCOL_BYTES + each.name.len() + each.metadata.len())
            .sum();
        let revoking = self.revoking.values().map(|indexes| {
            memory::REVOKED_TOPIC_BYTES + indexes.len() * memory::REVOKED_PARTITION_BYTES
        });
        memory::of_member(&self.id)
            + texts
            + self.client_id.len()
            + self.client_host.len()
            + topics
            + protocols
            + revoking.sum::<usize>()
    }

    /// Record of what it wants.
    pub fn subscription_record(&self, group: &StrBytes) -> GroupRecord {
        let value = ConsumerGroupMemberMetadataValue {
            instance_id: self.instance_id.clone(),
            rack_id: self.rack_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            subscribed_topic_names: self.topics.iter().cloned().collect(),
            subscribed_topic_regex: self.regex.clone(),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            server_assignor: self.server_assignor.clone(),
            classic_member_metadata: self.classic.clone(),
        };
        subscription(group, &self.id, Some(value))
    }

    /// Take over what a record says it wants. Texts are copied: what they were cut from goes.
    pub fn set_subscription(&mut self, value: ConsumerGroupMemberMetadataValue) {
        let own = |text: Option<StrBytes>| text.map(|text| text.detached());
        self.instance_id = own(value.instance_id);
        self.rack_id = own(value.rack_id);
        self.client_id = value.client_id.detached();
        self.client_host = value.client_host.detached();
        self.topics = value.subscribed_topic_names.iter().map(StrBytes::detached).collect();
        self.regex = own(value.subscribed_topic_regex);
        self.rebalance_timeout_ms = value.rebalance_timeout_ms;
        self.server_assignor = own(value.server_assignor);
        self.classic = value.classic_member_metadata.map(|classic| ClassicMemberMetadata {
            session_timeout_ms: classic.session_timeout_ms,
            supported_protocols: classic
                .supported_protocols
                .into_iter()
                .map(|each| ClassicProtocol {
                    name: each.name.detached(),
                    metadata: Bytes::copy_from_slice(&each.metadata),
                })
                .collect(),
        });
    }

    /// Record of what it has.
    pub fn current_record(&self, group: &StrBytes) -> GroupRecord {
        let value = ConsumerGroupCurrentMemberAssignmentValue {
            member_epoch: self.epoch,
            previous_member_epoch: self.previous_epoch,
            state: self.state.code(),
            assigned_partitions: to_current_value(&self.assigned),
            partitions_pending_revocation: to_current_value(&self.revoking),
        };
        current(group, &self.id, Some(value))
    }

    /// Take over what a record says it has.
    pub fn set_current(&mut self, value: &ConsumerGroupCurrentMemberAssignmentValue) {
        self.epoch = value.member_epoch;
        self.previous_epoch = value.previous_member_epoch;
        self.state = MemberState::from_code(value.state);
        self.assigned = from_current_value(&value.assigned_partitions, value.member_epoch);
        self.revoking =
            from_current_value(&value.partitions_pending_revocation, value.member_epoch);
    }

    /// Go on to `epoch`.
    pub fn advance(&mut self, epoch: i32) {
        self.previous_epoch = std::mem::replace(&mut self.epoch, epoch);
    }
}

/// Record of what a member wants, or that it is gone.
pub(super) fn subscription(
    group: &StrBytes,
    member: &StrBytes,
    value: Option<ConsumerGroupMemberMetadataValue>,
) -> GroupRecord {
    let key = ConsumerGroupMemberMetadataKey { group_id: group.clone(), member_id: member.clone() };
    GroupRecord::ConsumerGroupMemberMetadata(key, value)
}

/// Record of what a member has, or that it has nothing.
pub(super) fn current(
    group: &StrBytes,
    member: &StrBytes,
    value: Option<ConsumerGroupCurrentMemberAssignmentValue>,
) -> GroupRecord {
    let key = ConsumerGroupCurrentMemberAssignmentKey {
        group_id: group.clone(),
        member_id: member.clone(),
    };
    GroupRecord::ConsumerGroupCurrentMemberAssignment(key, value)
}
