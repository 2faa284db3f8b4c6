//! TxnOffsetCommit (28): offsets that commit with a transaction (KIP-98, KIP-447).

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Commit offsets with a transaction.
    message TxnOffsetCommitRequest [0-5] flexible [3+] {
        /// Transactional id.
        transactional_id: StrBytes [0+];
        /// Id of the group.
        group_id: StrBytes [0+];
        /// Producer id.
        producer_id: i64 [0+];
        /// Epoch of the producer.
        producer_epoch: i16 [0+];
        /// Generation of a classic group or member epoch of a consumer group; -1 from outside a
        /// group.
        generation_id_or_member_epoch: i32 [3+], default -1;
        /// Id of the member.
        member_id: StrBytes [3+];
        /// Instance id of a static member (KIP-345); null for a dynamic one.
        group_instance_id: Option<StrBytes> [3+], null [3+];
        /// One entry for each topic.
        topics: Vec<TxnOffsetCommitRequestTopic> [0+];
    }

    /// One topic.
    struct TxnOffsetCommitRequestTopic {
        /// Name of the topic.
        name: StrBytes [0+];
        /// One entry for each partition.
        partitions: Vec<TxnOffsetCommitRequestPartition> [0+];
    }

    /// One partition.
    struct TxnOffsetCommitRequestPartition {
        /// Number of the partition.
        partition_index: i32 [0+];
        /// Offset of the next record to read; -1 if there is none.
        committed_offset: i64 [0+];
        /// Leader epoch of the last record read; -1 if unknown.
        committed_leader_epoch: i32 [2+], default -1, ignorable;
        /// Text of the client's own, kept beside the offset.
        committed_metadata: Option<StrBytes> [0+], null [0+];
    }

    /// What became of it.
    message TxnOffsetCommitResponse [0-5] flexible [3+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
        /// One entry for each topic.
        topics: Vec<TxnOffsetCommitResponseTopic> [0+];
    }

    /// One topic.
    struct TxnOffsetCommitResponseTopic {
        /// Name of the topic.
        name: StrBytes [0+];
        /// One entry for each partition.
        partitions: Vec<TxnOffsetCommitResponsePartition> [0+];
    }

    /// One partition.
    struct TxnOffsetCommitResponsePartition {
        /// Number of the partition.
        partition_index: i32 [0+];
        /// How it went.
        error_code: ErrorCode [0+];
    }
}
