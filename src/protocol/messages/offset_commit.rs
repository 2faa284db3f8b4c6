//! OffsetCommit (8): topics by name up to version 9, by id in version 10.

use crate::model::Uuid;
use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Remember these offsets.
    message OffsetCommitRequest [2-10] flexible [8+] {
        /// Id of the group.
        group_id: StrBytes [0+];
        /// Generation of a classic group or member epoch of a consumer group; -1 from outside a
        /// group.
        generation_id_or_member_epoch: i32 [0+], default -1;
        /// Id of the member.
        member_id: StrBytes [0+];
        /// Instance id of a static member (KIP-345); null for a dynamic one.
        group_instance_id: Option<StrBytes> [7+], null [7+];
        /// Milliseconds to keep the offsets; -1 for the broker's default.
        retention_time_ms: i64 [0-4], default -1, ignorable;
        /// One entry for each topic.
        topics: Vec<OffsetCommitRequestTopic> [0+];
    }

    /// One topic.
    struct OffsetCommitRequestTopic {
        /// Name of the topic.
        name: StrBytes [0-9], ignorable;
        /// Id of the topic (KIP-516).
        topic_id: Uuid [10+], ignorable;
        /// One entry for each partition.
        partitions: Vec<OffsetCommitRequestPartition> [0+];
    }

    /// One partition.
    struct OffsetCommitRequestPartition {
        /// Number of the partition.
        partition_index: i32 [0+];
        /// Offset of the next record to read; -1 if there is none.
        committed_offset: i64 [0+];
        /// Leader epoch of the last record read; -1 if unknown.
        committed_leader_epoch: i32 [6+], default -1, ignorable;
        /// Text of the client's own, kept beside the offset.
        committed_metadata: Option<StrBytes> [0+], null [0+];
    }

    /// What became of it.
    message OffsetCommitResponse [2-10] flexible [8+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [3+], ignorable;
        /// One entry for each topic.
        topics: Vec<OffsetCommitResponseTopic> [0+];
    }

    /// One topic.
    struct OffsetCommitResponseTopic {
        /// Name of the topic.
        name: StrBytes [0-9], ignorable;
        /// Id of the topic (KIP-516).
        topic_id: Uuid [10+], ignorable;
        /// One entry for each partition.
        partitions: Vec<OffsetCommitResponsePartition> [0+];
    }

    /// One partition.
    struct OffsetCommitResponsePartition {
        /// Number of the partition.
        partition_index: i32 [0+];
        /// How it went.
        error_code: ErrorCode [0+];
    }
}
