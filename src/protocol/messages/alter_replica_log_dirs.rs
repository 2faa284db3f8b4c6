//! AlterReplicaLogDirs (34): move replicas to another log directory of their broker (KIP-113).

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Keep these replicas in these log directories.
    message AlterReplicaLogDirsRequest [1-2] flexible [2+] {
        /// Where to, one by one.
        dirs: Vec<AlterReplicaLogDir> [0+];
    }

    /// What shall be in one log directory.
    struct AlterReplicaLogDir {
        /// Absolute path of the log directory.
        path: StrBytes [0+];
        /// Topics to keep in it.
        topics: Vec<AlterReplicaLogDirTopic> [0+];
    }

    /// One topic of it.
    struct AlterReplicaLogDirTopic {
        /// Name of the topic.
        name: StrBytes [0+];
        /// Numbers of the partitions.
        partitions: Vec<i32> [0+];
    }

    /// How each went.
    message AlterReplicaLogDirsResponse [1-2] flexible [2+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
        /// One entry for each topic.
        results: Vec<AlterReplicaLogDirTopicResult> [0+];
    }

    /// How one topic went.
    struct AlterReplicaLogDirTopicResult {
        /// Name of the topic.
        topic_name: StrBytes [0+];
        /// One entry for each partition.
        partitions: Vec<AlterReplicaLogDirPartitionResult> [0+];
    }

    /// How one partition went.
    struct AlterReplicaLogDirPartitionResult {
        /// Number of the partition.
        partition_index: i32 [0+];
        /// How it went.
        error_code: ErrorCode [0+];
    }
}
