//! OffsetDelete (47): forget committed offsets (KIP-496).

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Forget these offsets.
    message OffsetDeleteRequest [0-0] flexible [none] {
        /// Id of the group.
        group_id: StrBytes [0+];
        /// One entry for each topic.
        topics: Vec<OffsetDeleteRequestTopic> [0+];
    }

    /// One topic.
    struct OffsetDeleteRequestTopic {
        /// Name of the topic.
        name: StrBytes [0+];
        /// One entry for each partition.
        partitions: Vec<OffsetDeleteRequestPartition> [0+];
    }

    /// One partition.
    struct OffsetDeleteRequestPartition {
        /// Number of the partition.
        partition_index: i32 [0+];
    }

    /// What became of it.
    message OffsetDeleteResponse [0-0] flexible [none] {
        /// How it went.
        error_code: ErrorCode [0+];
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
        /// One entry for each topic.
        topics: Vec<OffsetDeleteResponseTopic> [0+];
    }

    /// One topic.
    struct OffsetDeleteResponseTopic {
        /// Name of the topic.
        name: StrBytes [0+];
        /// One entry for each partition.
        partitions: Vec<OffsetDeleteResponsePartition> [0+];
    }

    /// One partition.
    struct OffsetDeleteResponsePartition {
        /// Number of the partition.
        partition_index: i32 [0+];
        /// How it went.
        error_code: ErrorCode [0+];
    }
}
