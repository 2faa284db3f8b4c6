//! AlterPartitionReassignments (45): move replicas (KIP-455).

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Move replicas, or stop moving them.
    message AlterPartitionReassignmentsRequest [0-1] flexible [0+] {
        /// Milliseconds that the broker may take.
        timeout_ms: i32 [0+], default 60000;
        /// Whether the number of replicas may change.
        allow_replication_factor_change: bool [1+], default true;
        /// One entry for each topic.
        topics: Vec<ReassignableTopic> [0+];
    }

    /// One topic.
    struct ReassignableTopic {
        /// Name of the topic.
        name: StrBytes [0+];
        /// One entry for each partition.
        partitions: Vec<ReassignablePartition> [0+];
    }

    /// One partition.
    struct ReassignablePartition {
        /// Number of the partition.
        partition_index: i32 [0+];
        /// Brokers to move to; null to cancel a move.
        replicas: Option<Vec<i32>> [0+], null [0+];
    }

    /// What became of it.
    message AlterPartitionReassignmentsResponse [0-1] flexible [0+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
        /// Whether the number of replicas may change.
        allow_replication_factor_change: bool [1+], default true, ignorable;
        /// How it went.
        error_code: ErrorCode [0+];
        /// What went wrong, for people; null if nothing did.
        error_message: Option<StrBytes> [0+], null [0+];
        /// Results, one by one.
        responses: Vec<ReassignableTopicResponse> [0+];
    }

    /// One topic.
    struct ReassignableTopicResponse {
        /// Name of the topic.
        name: StrBytes [0+];
        /// One entry for each partition.
        partitions: Vec<ReassignablePartitionResponse> [0+];
    }

    /// One partition.
    struct ReassignablePartitionResponse {
        /// Number of the partition.
        partition_index: i32 [0+];
        /// How it went.
        error_code: ErrorCode [0+];
        /// What went wrong, for people; null if nothing did.
        error_message: Option<StrBytes> [0+], null [0+];
    }
}
