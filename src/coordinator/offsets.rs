//! Committed offsets: group, topic, partition.
//!
//! Always true: no topic or group without an offset has an entry. Which offset may be committed
//! or forgotten is decided elsewhere.

use std::collections::BTreeMap;

use crate::model::{LeaderEpoch, Offset, PartitionIndex, TimestampMs, Uuid};
use crate::protocol::group_record::{GroupRecord, OffsetCommitKey, OffsetCommitValue};
use crate::wire::StrBytes;

use super::memory::{self, Charge, GroupMemory};

/// One committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CommittedOffset {
    pub offset: Offset,
    /// -1 if unknown.
    pub leader_epoch: LeaderEpoch,
    pub metadata: StrBytes,
    pub commit_timestamp: TimestampMs,
    /// When the client wants it to go; without, the broker's retention decides.
    pub expire_timestamp: Option<TimestampMs>,
    /// Zero if unknown: committed before topics had ids.
    pub topic_id: Uuid,
}

impl CommittedOffset {
    pub fn from_value(value: OffsetCommitValue) -> Self {
        Self {
            offset: value.offset,
            leader_epoch: value.leader_epoch,
            metadata: value.metadata.detached(),
            commit_timestamp: value.commit_timestamp,
            expire_timestamp: (value.expire_timestamp != -1).then_some(value.expire_timestamp),
            topic_id: value.topic_id,
        }
    }

    /// The record that says so.
    pub fn to_record(
        &self,
        group: &StrBytes,
        topic: &StrBytes,
        partition: PartitionIndex,
    ) -> GroupRecord {
        let value = OffsetCommitValue {
            offset: self.offset,
            leader_epoch: self.leader_epoch,
            metadata: self.metadata.clone(),
            commit_timestamp: self.commit_timestamp,
            expire_timestamp: self.expire_timestamp.unwrap_or(-1),
            topic_id: self.topic_id,
        };
        GroupRecord::OffsetCommit(key(group, topic, partition), Some(value))
    }

    /// Bytes that it takes.
    fn memory(&self) -> usize {
        memory::OFFSET_BYTES + of_metadata(&self.metadata)
    }

    /// Whether its time is over: the client's own, or `retention_ms` after `since`.
    pub fn is_expired(&self, now: TimestampMs, since: TimestampMs, retention_ms: i64) -> bool {
        match self.expire_timestamp {
            Some(at) => now >= at,
            None => now.saturating_sub(since) >= retention_ms,
        }
    }
}

fn of_metadata(metadata: &StrBytes) -> usize {
    if metadata.is_empty() { 0 } else { memory::of_text(metadata) }
}

/// What the first offset of a group takes, its metadata aside.
pub(super) fn memory_of_first(group: &StrBytes, topic: &StrBytes) -> usize {
    memory::OFFSETS_BYTES
        + group.len()
        + memory::OFFSETS_TOPIC_BYTES
        + topic.len()
        + memory::OFFSET_BYTES
}

fn key(group: &StrBytes, topic: &StrBytes, partition: PartitionIndex) -> OffsetCommitKey {
    OffsetCommitKey { group: group.clone(), topic: topic.clone(), partition }
}

/// The record that forgets an offset.
pub(super) fn tombstone(
    group: &StrBytes,
    topic: &StrBytes,
    partition: PartitionIndex,
) -> GroupRecord {
    GroupRecord::OffsetCommit(key(group, topic, partition), None)
}

/// Offsets of one topic.
pub(super) type TopicOffsets = BTreeMap<PartitionIndex, CommittedOffset>;

/// Offsets of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct GroupOffsets {
    pub topics: BTreeMap<StrBytes, TopicOffsets>,
    count: usize,
}

/// Offsets of all groups of a coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offsets {
    groups: BTreeMap<StrBytes, GroupOffsets>,
    /// How many offsets there are of each topic, so that a look at the metadata need not look at
    /// every offset.
    topics: BTreeMap<(StrBytes, Uuid), usize>,
    charge: Charge,
}

impl Offsets {
    /// None yet.
    pub fn new(memory: &GroupMemory) -> Self {
        let (groups, topics) = (BTreeMap::new(), BTreeMap::new());
        Self { groups, topics, charge: Charge::new(memory, 0) }
    }

    /// Offsets of one group; nothing if it has none.
    pub fn of(&self, group: &StrBytes) -> Option<&GroupOffsets> {
        self.groups.get(group)
    }

    /// Groups with offsets.
    pub fn groups(&self) -> impl Iterator<Item = (&StrBytes, &GroupOffsets)> {
        self.groups.iter()
    }

    /// Topics that have offsets, with their ids; zero for offsets without.
    pub fn topics(&self) -> impl Iterator<Item = &(StrBytes, Uuid)> {
        self.topics.keys()
    }

    /// How many offsets a group has.
    pub fn count(&self, group: &StrBytes) -> usize {
        self.of(group).map_or(0, |group| group.count)
    }

    /// One offset.
    pub fn get(
        &self,
        group: &StrBytes,
        topic: &StrBytes,
        partition: PartitionIndex,
    ) -> Option<&CommittedOffset> {
        self.of(group)?.topics.get(topic)?.get(&partition)
    }

    /// Bytes that one more offset takes, or one with longer metadata than that in its place.
    pub fn growth(
        &self,
        group: &StrBytes,
        topic: &StrBytes,
        partition: PartitionIndex,
        metadata: &StrBytes,
    ) -> usize {
        let new = memory::OFFSET_BYTES + of_metadata(metadata);
        let of_topic = || memory::OFFSETS_TOPIC_BYTES + topic.len();
        match self.of(group).map(|of| of.topics.get(topic)) {
            None => memory::OFFSETS_BYTES + group.len() + of_topic() + new,
            Some(None) => of_topic() + new,
            Some(Some(offsets)) => {
                new.saturating_sub(offsets.get(&partition).map_or(0, CommittedOffset::memory))
            }
        }
    }

    /// Remember an offset. Names that are new are copied: what they were cut from goes.
    pub fn put(
        &mut self,
        group: &StrBytes,
        topic: &StrBytes,
        partition: PartitionIndex,
        offset: CommittedOffset,
    ) {
        if !self.groups.contains_key(group) {
            self.charge.add(memory::OFFSETS_BYTES + group.len());
            self.groups.insert(group.detached(), GroupOffsets::default());
        }
        let Some(group) = self.groups.get_mut(group) else { return };
        // The group's own copy of the name, or a shared one.
        let name = group.topics.get_key_value(topic).map(|(name, _)| name.clone());
        let name = name.unwrap_or_else(|| topic.detached());
        let id = offset.topic_id;
        self.charge.add(offset.memory());
        let of_topic = group.topics.entry(name.clone()).or_insert_with(|| {
            self.charge.add(memory::OFFSETS_TOPIC_BYTES + topic.len());
            TopicOffsets::new()
        });
        match of_topic.insert(partition, offset) {
            None => group.count += 1,
            Some(before) => {
                self.charge.sub(before.memory());
                uncount(&mut self.topics, &name, before.topic_id);
            }
        }
        *self.topics.entry((name, id)).or_default() += 1;
    }

    /// Forget an offset.
    pub fn remove(&mut self, group: &StrBytes, topic: &StrBytes, partition: PartitionIndex) {
        let Some(entry) = self.groups.get_mut(group) else { return };
        let Some(partitions) = entry.topics.get_mut(topic) else { return };
        if let Some(offset) = partitions.remove(&partition) {
            entry.count -= 1;
            self.charge.sub(offset.memory());
            uncount(&mut self.topics, topic, offset.topic_id);
        }
        if partitions.is_empty() {
            self.charge.sub(memory::OFFSETS_TOPIC_BYTES + topic.len());
            entry.topics.remove(topic);
        }
        if entry.topics.is_empty() {
            self.charge.sub(memory::OFFSETS_BYTES + group.len());
            self.groups.remove(group);
        }
    }
}

fn uncount(topics: &mut BTreeMap<(StrBytes, Uuid), usize>, name: &StrBytes, id: Uuid) {
    let key = (name.clone(), id);
    if let Some(count) = topics.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            topics.remove(&key);
        }
    }
}

#[cfg(test)]
impl Offsets {
    /// What they take, by their charge and counted anew.
    pub fn memory(&self) -> (usize, usize) {
        let of_topic = |(name, offsets): (&StrBytes, &TopicOffsets)| {
            let each: usize = offsets.values().map(CommittedOffset::memory).sum();
            memory::OFFSETS_TOPIC_BYTES + name.len() + each
        };
        let groups = self.groups.iter().map(|(id, of)| {
            memory::OFFSETS_BYTES + id.len() + of.topics.iter().map(of_topic).sum::<usize>()
        });
        (self.charge.bytes(), groups.sum())
    }
}
