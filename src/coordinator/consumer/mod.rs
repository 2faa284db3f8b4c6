//! Groups whose partitions the coordinator assigns: ConsumerGroupHeartbeat (KIP-848).
//!
//! Three layers, each with an epoch: what the members want (`epoch`), what each shall have
//! (`target_epoch`), what each has (the epoch of the member). A change of the first leads to
//! another target, and each member is brought from what it has to its target by its heartbeats:
//! it gives up first, and it gets a partition only when nobody else has it.
//!
//! Always true: the state is what its records say ([`ConsumerGroup::apply`] is the only way to
//! change it, before and after a restart), except what begins with "soft".

mod assignor;
mod classic_members;
mod commit;
mod describe;
mod heartbeat;
mod member;
mod migrate;
mod partitions;
mod reconcile;
mod regex;
mod room;
mod target;

pub use regex::{Matched, Matching};

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::image::Image;
use crate::model::{PartitionIndex, TimestampMs, Uuid};
use crate::protocol::ErrorCode;
use crate::protocol::group_record::{
    ConsumerGroupMetadataKey, ConsumerGroupMetadataValue, ConsumerGroupPartitionMetadataKey,
    ConsumerGroupTargetAssignmentMemberKey, ConsumerGroupTargetAssignmentMetadataKey,
    ConsumerGroupTargetAssignmentMetadataValue, GroupRecord,
};
use crate::wire::StrBytes;

use super::desk::Desk;
use super::memory::{self, Charge, GroupMemory};
pub(super) use heartbeat::Heartbeat;
pub(super) use member::ConsumerMember;
use partitions::{Partitions, each_owned, from_target_value};

/// An error with words for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::coordinator) struct Refusal {
    pub code: ErrorCode,
    pub message: String,
}

impl Refusal {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Topics that an expression stood for when it was last looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::coordinator) struct Resolved {
    pub topics: BTreeSet<StrBytes>,
    /// Version of the metadata.
    pub version: i64,
    /// When.
    pub timestamp: TimestampMs,
}

/// One consumer group.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::coordinator) struct ConsumerGroup {
    pub id: StrBytes,
    pub epoch: i32,
    /// Hash of the topics that the members read; zero without topics.
    pub metadata_hash: i64,
    pub members: BTreeMap<StrBytes, ConsumerMember>,
    /// Static members: instance id to member id.
    static_members: BTreeMap<StrBytes, StrBytes>,
    pub target_epoch: i32,
    target_timestamp: TimestampMs,
    pub target: BTreeMap<StrBytes, Partitions>,
    pub regexes: BTreeMap<StrBytes, Resolved>,
    /// How many members own or must give up each partition.
    claims: BTreeMap<(Uuid, PartitionIndex), usize>,
    /// There is a record of the kind that Kafka 4.0 wrote.
    has_partition_metadata: bool,
    /// What all of this takes.
    charge: Charge,
    /// Soft: when there was no memory for another target.
    no_room_at: Option<TimestampMs>,
    /// Soft: version of the metadata that `metadata_hash` was last compared with.
    checked_version: Option<u64>,
    /// Soft: version of the metadata, and when, the expressions were last resolved.
    resolved_at: Option<(u64, TimestampMs)>,
}

impl ConsumerGroup {
    /// An empty group.
    pub fn new(memory: &GroupMemory, id: StrBytes) -> Self {
        Self {
            charge: Charge::new(memory, memory::of_group(&id)),
            no_room_at: None,
            id,
            epoch: 0,
            metadata_hash: 0,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            target_epoch: 0,
            target_timestamp: 0,
            target: BTreeMap::new(),
            regexes: BTreeMap::new(),
            claims: BTreeMap::new(),
            has_partition_metadata: false,
            checked_version: None,
            resolved_at: None,
        }
    }

    /// Its state, as Kafka names it.
    pub fn state(&self) -> &'static str {
        let is_reconciled = |member: &ConsumerMember| member.is_reconciled_to(self.target_epoch);
        if self.members.is_empty() {
            "Empty"
        } else if self.epoch > self.target_epoch {
            "Assigning"
        } else if self.members.values().all(is_reconciled) {
            "Stable"
        } else {
            "Reconciling"
        }
    }

    /// Whether any member reads `topic`.
    pub fn is_subscribed_to(&self, topic: &StrBytes) -> bool {
        self.members.values().any(|member| member.topics.contains(topic))
            || self.regexes.values().any(|resolved| resolved.topics.contains(topic))
    }

    /// Do what a record says, now and in the log.
    fn commit(&mut self, desk: &mut Desk, record: GroupRecord) {
        desk.write(&record);
        self.apply(record);
    }

    /// Do what a record of this group says. Texts are copied.
    pub fn apply(&mut self, record: GroupRecord) {
        match record {
            GroupRecord::ConsumerGroupMetadata(_, Some(value)) => {
                self.epoch = value.epoch;
                self.metadata_hash = value.metadata_hash;
            }
            GroupRecord::ConsumerGroupPartitionMetadata(_, value) => {
                self.has_partition_metadata = value.is_some();
            }
            GroupRecord::ConsumerGroupMemberMetadata(key, Some(value)) => {
                let mut member = self.take_member(&key.member_id);
                member.set_subscription(value);
                self.put_member(member);
            }
            GroupRecord::ConsumerGroupMemberMetadata(key, None) => {
                drop(self.take_member(&key.member_id));
                if self.members.is_empty() {
                    // Else they keep their first leaves.
                    self.members.clear();
                    self.static_members.clear();
                    self.claims.clear();
                }
            }
            GroupRecord::ConsumerGroupTargetAssignmentMetadata(_, value) => {
                let value = value.unwrap_or(ConsumerGroupTargetAssignmentMetadataValue {
                    assignment_epoch: -1,
                    ..Default::default()
                });
                self.target_epoch = value.assignment_epoch;
                self.target_timestamp = value.assignment_timestamp;
            }
            GroupRecord::ConsumerGroupTargetAssignmentMember(key, Some(value)) => {
                self.set_target(key.member_id.detached(), Some(from_target_value(&value)));
            }
            GroupRecord::ConsumerGroupTargetAssignmentMember(key, None) => {
                self.set_target(key.member_id, None);
            }
            GroupRecord::ConsumerGroupCurrentMemberAssignment(key, Some(value)) => {
                let mut member = self.take_member(&key.member_id);
                member.set_current(&value);
                self.put_member(member);
            }
            GroupRecord::ConsumerGroupCurrentMemberAssignment(key, None) => {
                if self.members.contains_key(&key.member_id) {
                    let mut member = self.take_member(&key.member_id);
                    (member.epoch, member.previous_epoch) = (member::LEFT, member::LEFT);
                    member.assigned.clear();
                    member.revoking.clear();
                    self.put_member(member);
                }
            }
            GroupRecord::ConsumerGroupRegularExpression(key, Some(value)) => {
                let resolved = Resolved {
                    topics: value.topics.iter().map(StrBytes::detached).collect(),
                    version: value.version,
                    timestamp: value.timestamp,
                };
                self.set_resolved(key.regular_expression.detached(), Some(resolved));
            }
            GroupRecord::ConsumerGroupRegularExpression(key, None) => {
                self.set_resolved(key.regular_expression, None);
            }
            // The end of the group is its owner's affair; the others are no records of it.
            GroupRecord::ConsumerGroupMetadata(_, None)
            | GroupRecord::OffsetCommit(..)
            | GroupRecord::GroupMetadata(..) => {}
        }
    }

    fn set_target(&mut self, member: StrBytes, target: Option<Partitions>) {
        if let Some(target) = &target {
            self.charge.add(memory_of_target(&member, target));
        }
        let before = match target {
            Some(target) => self.target.insert(member.clone(), target),
            None => self.target.remove(&member),
        };
        if let Some(before) = before {
            self.charge.sub(memory_of_target(&member, &before));
        }
    }

    fn set_resolved(&mut self, regex: StrBytes, resolved: Option<Resolved>) {
        if let Some(resolved) = &resolved {
            self.charge.add(memory_of_expression(&regex, &resolved.topics));
        }
        let before = match resolved {
            Some(resolved) => self.regexes.insert(regex.clone(), resolved),
            None => self.regexes.remove(&regex),
        };
        if let Some(before) = before {
            self.charge.sub(memory_of_expression(&regex, &before.topics));
        }
    }

    /// Take a member out of the book, or make one.
    fn take_member(&mut self, id: &StrBytes) -> ConsumerMember {
        let Some(member) = self.members.remove(id) else {
            return ConsumerMember::new(id.detached());
        };
        self.charge.sub(member.memory());
        if self.members.is_empty() {
            self.charge.sub(memory::MEMBERS_BYTES);
        }
        if let Some(instance_id) = &member.instance_id
            && self.static_members.get(instance_id) == Some(&member.id)
        {
            self.static_members.remove(instance_id);
        }
        for partition in each_owned(&member.assigned).chain(each_owned(&member.revoking)) {
            if let Some(count) = self.claims.get_mut(&partition) {
                *count -= 1;
                if *count == 0 {
                    self.claims.remove(&partition);
                }
            }
        }
        member
    }

    fn put_member(&mut self, member: ConsumerMember) {
        if let Some(instance_id) = &member.instance_id {
            self.static_members.insert(instance_id.clone(), member.id.clone());
        }
        for partition in each_owned(&member.assigned).chain(each_owned(&member.revoking)) {
            *self.claims.entry(partition).or_default() += 1;
        }
        self.charge.add(member.memory());
        if self.members.is_empty() {
            self.charge.add(memory::MEMBERS_BYTES);
        }
        self.members.insert(member.id.clone(), member);
    }

    fn is_claimed(&self, topic: Uuid, index: PartitionIndex) -> bool {
        self.claims.contains_key(&(topic, index))
    }

    /// The static member of that instance.
    fn static_member(&self, instance_id: &StrBytes) -> Option<&ConsumerMember> {
        self.members.get(self.static_members.get(instance_id)?)
    }

    fn epoch_record(&self, epoch: i32, metadata_hash: i64) -> GroupRecord {
        let key = ConsumerGroupMetadataKey { group_id: self.id.clone() };
        let value = ConsumerGroupMetadataValue { epoch, metadata_hash };
        GroupRecord::ConsumerGroupMetadata(key, Some(value))
    }

    fn target_epoch_record(&self, epoch: i32, timestamp: TimestampMs) -> GroupRecord {
        let key = ConsumerGroupTargetAssignmentMetadataKey { group_id: self.id.clone() };
        let value = ConsumerGroupTargetAssignmentMetadataValue {
            assignment_epoch: epoch,
            assignment_timestamp: timestamp,
        };
        GroupRecord::ConsumerGroupTargetAssignmentMetadata(key, Some(value))
    }

    fn target_record(&self, member: &StrBytes, target: Option<&Partitions>) -> GroupRecord {
        let key = ConsumerGroupTargetAssignmentMemberKey {
            group_id: self.id.clone(),
            member_id: member.clone(),
        };
        let value = target.map(partitions::to_target_value);
        GroupRecord::ConsumerGroupTargetAssignmentMember(key, value)
    }

    /// Write that the whole group is gone, in the order in which Kafka does it.
    pub fn write_tombstones(&self, desk: &mut Desk) {
        for id in self.members.keys() {
            desk.write(&member::current(&self.id, id, None));
        }
        for id in self.target.keys() {
            desk.write(&self.target_record(id, None));
        }
        let key = ConsumerGroupTargetAssignmentMetadataKey { group_id: self.id.clone() };
        desk.write(&GroupRecord::ConsumerGroupTargetAssignmentMetadata(key, None));
        for id in self.members.keys() {
            desk.write(&member::subscription(&self.id, id, None));
        }
        for regex in self.regexes.keys() {
            desk.write(&self.regex_record(regex, None));
        }
        let key = ConsumerGroupPartitionMetadataKey { group_id: self.id.clone() };
        desk.write(&GroupRecord::ConsumerGroupPartitionMetadata(key, None));
        let key = ConsumerGroupMetadataKey { group_id: self.id.clone() };
        desk.write(&GroupRecord::ConsumerGroupMetadata(key, None));
    }

    /// Names of all topics that any member reads.
    fn subscribed_topics(&self) -> BTreeSet<&StrBytes> {
        let by_name = self.members.values().flat_map(|member| &member.topics);
        let by_regex = self.regexes.values().flat_map(|resolved| &resolved.topics);
        by_name.chain(by_regex).collect()
    }

    /// Hash of what the metadata says of these topics: another one when a topic comes, goes or
    /// grows. Zero without topics.
    fn hash_topics(&self, image: &Image) -> i64 {
        // FNV-1a over name, id and number of partitions.
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        let mut put = |bytes: &[u8]| {
            for byte in bytes {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        let mut has_any = false;
        for name in self.subscribed_topics() {
            has_any = true;
            put(name.as_bytes());
            let Some(topic) = image.topic(name) else {
                put(&[0]);
                continue;
            };
            put(&topic.id.0);
            put(&(topic.partitions.len() as u64).to_be_bytes());
        }
        if has_any { hash as i64 } else { 0 }
    }

    /// Session timeout of members, in milliseconds; the group's own setting wins.
    fn session_timeout_ms(&self, desk: &Desk, image: &Image) -> i64 {
        let own = own_setting(image, &self.id, "consumer.session.timeout.ms");
        own.unwrap_or(i64::from(desk.settings.consumer_session_timeout_ms))
    }

    /// What members are told to wait between heartbeats, in milliseconds.
    fn heartbeat_interval_ms(&self, desk: &Desk, image: &Image) -> i32 {
        let own = own_setting(image, &self.id, "consumer.heartbeat.interval.ms");
        let own = own.and_then(|value| i32::try_from(value).ok());
        own.unwrap_or(desk.settings.consumer_heartbeat_interval_ms)
    }
}

/// Memory of what a member shall have, and of owning it.
fn memory_of_target(member: &StrBytes, target: &Partitions) -> usize {
    let topics = target.values().map(|indexes| memory_of_topic(indexes.len()));
    memory::of_text(member) + topics.sum::<usize>()
}

/// Memory of so many partitions of one topic that a member shall have.
fn memory_of_topic(partitions: usize) -> usize {
    memory::TARGET_TOPIC_BYTES + partitions * memory::TARGET_PARTITION_BYTES
}

/// Memory of the topics that an expression stands for.
fn memory_of_expression(regex: &StrBytes, topics: &BTreeSet<StrBytes>) -> usize {
    memory::of_text(regex) + topics.iter().map(memory::of_text).sum::<usize>()
}

/// A setting of the group itself, if it has one.
fn own_setting(image: &Image, group: &StrBytes, key: &str) -> Option<i64> {
    image.group_overrides(group)?.get(key)?.parse().ok()
}

#[cfg(test)]
impl ConsumerGroup {
    /// Take over from `other` what is in no record.
    pub fn copy_soft(&mut self, other: &Self) {
        self.checked_version = other.checked_version;
        self.resolved_at = other.resolved_at;
        self.no_room_at = other.no_room_at;
    }

    /// What it takes, by its charge and counted anew.
    pub fn memory(&self) -> (usize, usize) {
        let members: usize = self.members.values().map(ConsumerMember::memory).sum();
        let target = self.target.iter().map(|(id, target)| memory_of_target(id, target));
        let topics = self.regexes.iter().map(|(id, known)| memory_of_expression(id, &known.topics));
        let first = if self.members.is_empty() { 0 } else { memory::MEMBERS_BYTES };
        let parts = first + members + target.sum::<usize>() + topics.sum::<usize>();
        (self.charge.bytes(), memory::of_group(&self.id) + parts)
    }
}
