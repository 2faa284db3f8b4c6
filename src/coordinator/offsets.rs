//! Committed offsets: group, topic, partition.
//!
//! Always true: no topic or group without an offset has an entry. Which offset may be committed
//! or forgotten is decided elsewhere.

use std::collections::BTreeMap;

use crate::model::{LeaderEpoch, Offset, PartitionIndex, TimestampMs, Uuid};
use crate::protocol::group_record::{GroupRecord, OffsetCommitKey, OffsetCommitValue};
use crate::wire::StrBytes;

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

    /// Whether its time is over: the client's own, or `retention_ms` after `since`.
    pub fn is_expired(&self, now: TimestampMs, since: TimestampMs, retention_ms: i64) -> bool {
        match self.expire_timestamp {
            Some(at) => now >= at,
            None => now.saturating_sub(since) >= retention_ms,
        }
    }
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Offsets {
    groups: BTreeMap<StrBytes, GroupOffsets>,
    /// How many offsets there are of each topic, so that a look at the metadata need not look at
    /// every offset.
    topics: BTreeMap<(StrBytes, Uuid), usize>,
}

impl Offsets {
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

    /// Remember an offset. Names that are new are copied: what they were cut from goes.
    pub fn put(
        &mut self,
        group: &StrBytes,
        topic: &StrBytes,
        partition: PartitionIndex,
        offset: CommittedOffset,
    ) {
        if !self.groups.contains_key(group) {
            self.groups.insert(group.detached(), GroupOffsets::default());
        }
        let Some(group) = self.groups.get_mut(group) else { return };
        // The group's own copy of the name, or a shared one.
        let name = group.topics.get_key_value(topic).map(|(name, _)| name.clone());
        let name = name.unwrap_or_else(|| topic.detached());
        let id = offset.topic_id;
        let before = group.topics.entry(name.clone()).or_default().insert(partition, offset);
        match before {
            None => group.count += 1,
            Some(before) => uncount(&mut self.topics, &name, before.topic_id),
        }
        *self.topics.entry((name, id)).or_default() += 1;
    }

    /// Forget an offset.
    pub fn remove(&mut self, group: &StrBytes, topic: &StrBytes, partition: PartitionIndex) {
        let Some(entry) = self.groups.get_mut(group) else { return };
        let Some(partitions) = entry.topics.get_mut(topic) else { return };
        if let Some(offset) = partitions.remove(&partition) {
            entry.count -= 1;
            uncount(&mut self.topics, topic, offset.topic_id);
        }
        if partitions.is_empty() {
            entry.topics.remove(topic);
        }
        if entry.topics.is_empty() {
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
