//! From records of the log to state.

use std::fmt;

use bytes::Bytes;

use crate::model::TimestampMs;
use crate::protocol::group_record::GroupRecord;
use crate::wire::{DecodeError, StrBytes};

use super::Coordinator;
use super::classic::ClassicGroup;
use super::consumer::ConsumerGroup;
use super::group::Group;
use super::offsets::CommittedOffset;

/// A record that cannot be understood.
#[derive(Debug)]
pub struct RecordError(DecodeError);

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a record of __consumer_offsets cannot be read: {}; it is damaged, or a newer version \
             wrote it: start that version, or delete the group with it",
            self.0
        )
    }
}

impl std::error::Error for RecordError {}

impl Coordinator {
    /// One record of the log, in their order, while loading. Keys of unknown types are counted
    /// and skipped.
    ///
    /// # Errors
    /// When the record cannot be understood.
    pub fn replay(
        &mut self,
        key: Bytes,
        value: Option<Bytes>,
        _timestamp_ms: TimestampMs,
    ) -> Result<(), RecordError> {
        match GroupRecord::decode(key, value).map_err(RecordError)? {
            Some(record) => self.apply(record),
            None => self.skipped += 1,
        }
        Ok(())
    }

    fn apply(&mut self, record: GroupRecord) {
        match record {
            GroupRecord::OffsetCommit(key, Some(value)) => {
                self.classic_unless_there(&key.group);
                let offset = CommittedOffset::from_value(value);
                self.offsets.put(&key.group, &key.topic, key.partition, offset);
            }
            GroupRecord::OffsetCommit(key, None) => {
                self.offsets.remove(&key.group, &key.topic, key.partition);
            }
            GroupRecord::GroupMetadata(key, Some(value)) => {
                let id = key.group.detached();
                let group = ClassicGroup::load(&self.desk.memory, id.clone(), value);
                self.groups.insert(id.clone(), Group::Classic(group));
            }
            GroupRecord::GroupMetadata(key, None) => {
                if let Some(Group::Classic(_)) = self.groups.get(&key.group) {
                    self.groups.remove(&key.group);
                }
            }
            GroupRecord::ConsumerGroupMetadata(key, None) => {
                if let Some(Group::Consumer(_)) = self.groups.get(&key.group_id) {
                    self.groups.remove(&key.group_id);
                }
            }
            record => self.apply_to_consumer_group(record),
        }
    }

    fn apply_to_consumer_group(&mut self, record: GroupRecord) {
        let Some((id, is_tombstone)) = consumer_group_of(&record) else { return };
        // A classic group in its place was made for its offsets, or has gone without leaving its
        // tombstone in the log.
        if !matches!(self.groups.get(id), Some(Group::Consumer(_))) {
            if is_tombstone {
                return;
            }
            let id = id.detached();
            let group = ConsumerGroup::new(&self.desk.memory, id.clone());
            self.groups.insert(id, Group::Consumer(group));
        }
        if let Some(Group::Consumer(group)) = self.groups.get_mut(id) {
            group.apply(record);
        }
    }

    fn classic_unless_there(&mut self, id: &StrBytes) {
        if !self.groups.contains_key(id) {
            self.classic_group(id);
        }
    }

    /// The classic group of that id, made if it is not there.
    pub(super) fn classic_group(&mut self, id: &StrBytes) -> &mut Group {
        let id = id.detached();
        let Self { groups, desk, .. } = self;
        let new = || Group::Classic(ClassicGroup::new(&desk.memory, id.clone()));
        groups.entry(id.clone()).or_insert_with(new)
    }
}

/// The consumer group that a record belongs to, and whether it is a tombstone.
fn consumer_group_of(record: &GroupRecord) -> Option<(&StrBytes, bool)> {
    Some(match record {
        GroupRecord::ConsumerGroupMetadata(key, value) => (&key.group_id, value.is_none()),
        GroupRecord::ConsumerGroupPartitionMetadata(key, value) => (&key.group_id, value.is_none()),
        GroupRecord::ConsumerGroupMemberMetadata(key, value) => (&key.group_id, value.is_none()),
        GroupRecord::ConsumerGroupTargetAssignmentMetadata(key, value) => {
            (&key.group_id, value.is_none())
        }
        GroupRecord::ConsumerGroupTargetAssignmentMember(key, value) => {
            (&key.group_id, value.is_none())
        }
        GroupRecord::ConsumerGroupCurrentMemberAssignment(key, value) => {
            (&key.group_id, value.is_none())
        }
        GroupRecord::ConsumerGroupRegularExpression(key, value) => (&key.group_id, value.is_none()),
        GroupRecord::OffsetCommit(..) | GroupRecord::GroupMetadata(..) => return None,
    })
}
