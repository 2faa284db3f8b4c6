//! DescribeLogDirs (35): sizes by log directory (KIP-113, KIP-827).

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// What lies in the log directories?
    message DescribeLogDirsRequest [1-5] flexible [2+] {
        /// Topics to describe; null for all.
        topics: Option<Vec<DescribableLogDirTopic>> [0+], null [0+], default Some(Vec::new());
    }

    /// One topic that is asked about.
    struct DescribableLogDirTopic {
        /// Name of the topic.
        topic: StrBytes [0+];
        /// Numbers of the partitions.
        partitions: Vec<i32> [0+];
    }

    /// The log directories.
    message DescribeLogDirsResponse [1-5] flexible [2+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
        /// How it went.
        error_code: ErrorCode [3+], ignorable;
        /// Results, one by one.
        results: Vec<DescribeLogDirsResult> [0+];
    }

    /// One log directory.
    struct DescribeLogDirsResult {
        /// How it went.
        error_code: ErrorCode [0+];
        /// Path of the log directory.
        log_dir: StrBytes [0+];
        /// One entry for each topic.
        topics: Vec<DescribeLogDirsTopic> [0+];
        /// Size of the volume in bytes; -1 if unknown.
        total_bytes: i64 [4+], default -1, ignorable;
        /// Free bytes of the volume; -1 if unknown.
        usable_bytes: i64 [4+], default -1, ignorable;
        /// Whether no new partitions are placed here.
        is_cordoned: bool [5+], ignorable;
    }

    /// One topic in it.
    struct DescribeLogDirsTopic {
        /// Name of the topic.
        name: StrBytes [0+];
        /// One entry for each partition.
        partitions: Vec<DescribeLogDirsPartition> [0+];
    }

    /// One partition in it.
    struct DescribeLogDirsPartition {
        /// Number of the partition.
        partition_index: i32 [0+];
        /// Bytes of the partition's segments.
        partition_size: i64 [0+];
        /// How many offsets the log is behind.
        offset_lag: i64 [0+];
        /// Whether the log is being moved here.
        is_future_key: bool [0+];
    }
}
