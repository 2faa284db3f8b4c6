//! OffsetForLeaderEpoch (23): where leadership epochs ended, to find truncated logs (KIP-101,
//! KIP-320).

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Where did these epochs end?
    message OffsetForLeaderEpochRequest [2-4] flexible [4+] {
        /// Broker that asks as a replica; -1 for a client.
        replica_id: i32 [3+], default -2, ignorable;
        /// One entry for each topic.
        topics: Vec<OffsetForLeaderTopic> [0+];
    }

    /// Questions about one topic.
    struct OffsetForLeaderTopic {
        /// Name of the topic.
        topic: StrBytes [0+];
        /// One entry for each partition.
        partitions: Vec<OffsetForLeaderPartition> [0+];
    }

    /// Question about one partition.
    struct OffsetForLeaderPartition {
        /// Number of the partition.
        partition: i32 [0+];
        /// Leader epoch as the client knows it, to fence old metadata; -1 if unknown.
        current_leader_epoch: i32 [0+], default -1;
        /// Epoch whose end is wanted.
        leader_epoch: i32 [0+];
    }

    /// Ends of epochs.
    message OffsetForLeaderEpochResponse [2-4] flexible [4+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
        /// One entry for each topic.
        topics: Vec<OffsetForLeaderTopicResult> [0+];
    }

    /// Answers about one topic.
    struct OffsetForLeaderTopicResult {
        /// Name of the topic.
        topic: StrBytes [0+];
        /// One entry for each partition.
        partitions: Vec<EpochEndOffset> [0+];
    }

    /// Answer about one partition.
    struct EpochEndOffset {
        /// How it went.
        error_code: ErrorCode [0+];
        /// Number of the partition.
        partition: i32 [0+];
        /// Greatest epoch at or below the one asked for; -1 for none.
        leader_epoch: i32 [0+], default -1;
        /// First offset behind that epoch; -1 for none.
        end_offset: i64 [0+], default -1;
    }
}
