//! ListPartitionReassignments (46) (KIP-455).

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Which replicas are moving?
    message ListPartitionReassignmentsRequest [0-0] flexible [0+] {
        /// Milliseconds that the broker may take.
        timeout_ms: i32 [0+], default 60000;
        /// Partitions that are asked about; null for all.
        topics: Option<Vec<ListPartitionReassignmentsTopics>> [0+], null [0+];
    }

    /// One topic that is asked about.
    struct ListPartitionReassignmentsTopics {
        /// Name of the topic.
        name: StrBytes [0+];
        /// Numbers of the partitions.
        partition_indexes: Vec<i32> [0+];
    }

    /// The moves.
    message ListPartitionReassignmentsResponse [0-0] flexible [0+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
        /// How it went.
        error_code: ErrorCode [0+];
        /// What went wrong, for people; null if nothing did.
        error_message: Option<StrBytes> [0+], null [0+];
        /// One entry for each topic.
        topics: Vec<OngoingTopicReassignment> [0+];
    }

    /// One topic.
    struct OngoingTopicReassignment {
        /// Name of the topic.
        name: StrBytes [0+];
        /// One entry for each partition.
        partitions: Vec<OngoingPartitionReassignment> [0+];
    }

    /// One partition.
    struct OngoingPartitionReassignment {
        /// Number of the partition.
        partition_index: i32 [0+];
        /// Brokers with a replica now.
        replicas: Vec<i32> [0+];
        /// Brokers being added.
        adding_replicas: Vec<i32> [0+];
        /// Brokers being removed.
        removing_replicas: Vec<i32> [0+];
    }
}
