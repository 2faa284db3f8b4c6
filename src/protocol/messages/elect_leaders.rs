//! ElectLeaders (43): preferred and unclean elections (KIP-460).

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Elect leaders.
    message ElectLeadersRequest [0-2] flexible [2+] {
        /// 0 preferred replica, 1 any live replica, clean or not.
        election_type: i8 [1+];
        /// Partitions to elect leaders for; null for all.
        topic_partitions: Option<Vec<TopicPartitions>> [0+], null [0+], default Some(Vec::new());
        /// Milliseconds that the broker may take.
        timeout_ms: i32 [0+], default 60000;
    }

    /// Partitions of one topic.
    struct TopicPartitions {
        /// Name of the topic.
        topic: StrBytes [0+];
        /// Numbers of the partitions.
        partitions: Vec<i32> [0+];
    }

    /// What became of it.
    message ElectLeadersResponse [0-2] flexible [2+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
        /// How it went.
        error_code: ErrorCode [1+];
        /// Results, topic by topic.
        replica_election_results: Vec<ReplicaElectionResult> [0+];
    }

    /// One topic.
    struct ReplicaElectionResult {
        /// Name of the topic.
        topic: StrBytes [0+];
        /// Results, partition by partition.
        partition_result: Vec<PartitionResult> [0+];
    }

    /// One partition.
    struct PartitionResult {
        /// Number of the partition.
        partition_id: i32 [0+];
        /// How it went.
        error_code: ErrorCode [0+];
        /// What went wrong, for people; null if nothing did.
        error_message: Option<StrBytes> [0+], null [0+];
    }
}
