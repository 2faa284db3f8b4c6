//! CreatePartitions (37).

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Give these topics more partitions.
    message CreatePartitionsRequest [0-3] flexible [2+] {
        /// One entry for each topic.
        topics: Vec<CreatePartitionsTopic> [0+];
        /// Milliseconds that the broker may take.
        timeout_ms: i32 [0+];
        /// Check and answer, change nothing.
        validate_only: bool [0+];
    }

    /// One topic.
    struct CreatePartitionsTopic {
        /// Name of the topic.
        name: StrBytes [0+];
        /// Number of partitions afterwards.
        count: i32 [0+];
        /// Replicas of each new partition; null to let the controller choose.
        assignments: Option<Vec<CreatePartitionsAssignment>> [0+],
            null [0+], default Some(Vec::new());
    }

    /// Replicas of one new partition.
    struct CreatePartitionsAssignment {
        /// Brokers that hold a replica; the first is the preferred leader.
        broker_ids: Vec<i32> [0+];
    }

    /// What became of it.
    message CreatePartitionsResponse [0-3] flexible [2+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
        /// Results, one by one.
        results: Vec<CreatePartitionsTopicResult> [0+];
    }

    /// One topic.
    struct CreatePartitionsTopicResult {
        /// Name of the topic.
        name: StrBytes [0+];
        /// How it went.
        error_code: ErrorCode [0+];
        /// What went wrong, for people; null if nothing did.
        error_message: Option<StrBytes> [0+], null [0+];
    }
}
