//! Who may commit and fetch offsets as a member of a consumer group.

use crate::model::{PartitionIndex, Uuid};
use crate::protocol::ErrorCode;
use crate::wire::StrBytes;

use super::ConsumerGroup;
use super::member::ConsumerMember;
use super::partitions::epoch_of;

/// The first version of OffsetCommit that knows member epochs.
const MEMBER_EPOCH_MIN: i16 = 9;

impl ConsumerGroup {
    /// Whether this member may commit to these partitions. With an epoch that has passed it may,
    /// for partitions that it already had then.
    ///
    /// # Errors
    /// As Kafka's.
    pub fn may_commit(
        &self,
        version: i16,
        member_id: &StrBytes,
        epoch: i32,
        mut partitions: impl Iterator<Item = (Uuid, PartitionIndex)>,
    ) -> Result<(), ErrorCode> {
        if epoch < 0 && self.members.is_empty() {
            return Ok(());
        }
        let member = self.members.get(member_id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if !member.is_classic() && version < MEMBER_EPOCH_MIN {
            return Err(ErrorCode::UNSUPPORTED_VERSION);
        }
        if epoch == member.epoch {
            return Ok(());
        }
        let had_it = |(topic, index)| {
            let since = epoch_of(&member.assigned, topic, index)
                .or_else(|| epoch_of(&member.revoking, topic, index));
            since.is_some_and(|since| epoch >= since)
        };
        if epoch < member.epoch && partitions.all(had_it) {
            return Ok(());
        }
        Err(stale(member))
    }

    /// Whether this member may fetch offsets; anybody may who does not claim to be one.
    ///
    /// # Errors
    /// As Kafka's.
    pub fn may_fetch(&self, member_id: Option<&StrBytes>, epoch: i32) -> Result<(), ErrorCode> {
        let Some(member_id) = member_id.filter(|id| !id.is_empty() || epoch >= 0) else {
            return Ok(());
        };
        let member = self.members.get(member_id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if epoch == member.epoch { Ok(()) } else { Err(stale(member)) }
    }
}

/// The epoch is not the member's, in the words of its protocol.
fn stale(member: &ConsumerMember) -> ErrorCode {
    if member.is_classic() { ErrorCode::ILLEGAL_GENERATION } else { ErrorCode::STALE_MEMBER_EPOCH }
}
