//! ListOffsets (2): offsets by time.

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Which offset has this time?
    message ListOffsetsRequest [1-11] flexible [6+] {
        /// Broker that asks as a replica; -1 for a client.
        replica_id: i32 [0+];
        /// 0 reads everything below the high watermark, 1 only what is committed.
        isolation_level: i8 [2+];
        /// One entry for each topic.
        topics: Vec<ListOffsetsTopic> [0+];
        /// Milliseconds to wait for remote storage.
        timeout_ms: i32 [10+], ignorable;
    }

    /// Questions about one topic.
    struct ListOffsetsTopic {
        /// Name of the topic.
        name: StrBytes [0+];
        /// One entry for each partition.
        partitions: Vec<ListOffsetsPartition> [0+];
    }

    /// Question about one partition.
    struct ListOffsetsPartition {
        /// Number of the partition.
        partition_index: i32 [0+];
        /// Leader epoch as the client knows it, to fence old metadata; -1 if unknown.
        current_leader_epoch: i32 [4+], default -1, ignorable;
        /// First record at or after this time; -1 latest, -2 earliest, -3 of the greatest
        /// timestamp, -4 earliest local, -5 latest in remote storage.
        timestamp: i64 [0+];
    }

    /// The offsets found.
    message ListOffsetsResponse [1-11] flexible [6+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [2+], ignorable;
        /// One entry for each topic.
        topics: Vec<ListOffsetsTopicResponse> [0+];
    }

    /// Answers about one topic.
    struct ListOffsetsTopicResponse {
        /// Name of the topic.
        name: StrBytes [0+];
        /// One entry for each partition.
        partitions: Vec<ListOffsetsPartitionResponse> [0+];
    }

    /// Answer about one partition.
    struct ListOffsetsPartitionResponse {
        /// Number of the partition.
        partition_index: i32 [0+];
        /// How it went.
        error_code: ErrorCode [0+];
        /// Timestamp of the record found; -1 if none was asked for or found.
        timestamp: i64 [0+], default -1;
        /// Offset found; -1 for none.
        offset: i64 [0+], default -1;
        /// Leader epoch of the record found; -1 if unknown.
        leader_epoch: i32 [4+], default -1;
    }
}
