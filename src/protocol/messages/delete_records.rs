//! DeleteRecords (21): move the log start offset up.

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Forget the records before these offsets.
    message DeleteRecordsRequest [0-2] flexible [2+] {
        /// One entry for each topic.
        topics: Vec<DeleteRecordsTopic> [0+];
        /// Milliseconds that the broker may take.
        timeout_ms: i32 [0+];
    }

    /// One topic.
    struct DeleteRecordsTopic {
        /// Name of the topic.
        name: StrBytes [0+];
        /// One entry for each partition.
        partitions: Vec<DeleteRecordsPartition> [0+];
    }

    /// One partition.
    struct DeleteRecordsPartition {
        /// Number of the partition.
        partition_index: i32 [0+];
        /// First offset to keep; -1 for the high watermark.
        offset: i64 [0+];
    }

    /// Where the logs start now.
    message DeleteRecordsResponse [0-2] flexible [2+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
        /// One entry for each topic.
        topics: Vec<DeleteRecordsTopicResult> [0+];
    }

    /// One topic.
    struct DeleteRecordsTopicResult {
        /// Name of the topic.
        name: StrBytes [0+];
        /// One entry for each partition.
        partitions: Vec<DeleteRecordsPartitionResult> [0+];
    }

    /// One partition.
    struct DeleteRecordsPartitionResult {
        /// Number of the partition.
        partition_index: i32 [0+];
        /// First offset that is left; -1 on an error.
        low_watermark: i64 [0+];
        /// How it went.
        error_code: ErrorCode [0+];
    }
}
