//! DescribeTopicPartitions (75): topics page by page, with eligible leaders (KIP-966).

use crate::model::Uuid;
use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Describe topics page by page.
    message DescribeTopicPartitionsRequest [0-0] flexible [0+] {
        /// One entry for each topic.
        topics: Vec<TopicRequest> [0+];
        /// Most partitions in the reply.
        response_partition_limit: i32 [0+], default 2000;
        /// Where to go on; null for the start.
        cursor: Option<Cursor> [0+], null [0+];
    }

    /// One topic that is asked about.
    struct TopicRequest {
        /// Name of the topic.
        name: StrBytes [0+];
    }

    /// A place between two pages.
    struct Cursor {
        /// Topic to go on with.
        topic_name: StrBytes [0+];
        /// Partition to go on with.
        partition_index: i32 [0+];
    }

    /// One page.
    message DescribeTopicPartitionsResponse [0-0] flexible [0+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
        /// One entry for each topic.
        topics: Vec<DescribeTopicPartitionsResponseTopic> [0+];
        /// Where the next request goes on; null at the end.
        next_cursor: Option<Cursor> [0+], null [0+];
    }

    /// One topic.
    struct DescribeTopicPartitionsResponseTopic {
        /// How it went.
        error_code: ErrorCode [0+];
        /// Name of the topic.
        name: Option<StrBytes> [0+], null [0+];
        /// Id of the topic (KIP-516).
        topic_id: Uuid [0+];
        /// Whether the topic belongs to the broker itself.
        is_internal: bool [0+];
        /// One entry for each partition.
        partitions: Vec<DescribeTopicPartitionsResponsePartition> [0+];
        /// Bits of the operations that the client may do; `i32::MIN` if not asked for.
        topic_authorized_operations: i32 [0+], default i32::MIN;
    }

    /// One partition.
    struct DescribeTopicPartitionsResponsePartition {
        /// How it went.
        error_code: ErrorCode [0+];
        /// Number of the partition.
        partition_index: i32 [0+];
        /// Node that leads; -1 if none is known.
        leader_id: i32 [0+];
        /// Epoch of the leader.
        leader_epoch: i32 [0+], default -1;
        /// Brokers that hold a replica.
        replica_nodes: Vec<i32> [0+];
        /// Brokers whose replica is in sync.
        isr_nodes: Vec<i32> [0+];
        /// Brokers outside the in-sync set that have all committed records (KIP-966).
        eligible_leader_replicas: Option<Vec<i32>> [0+], null [0+];
        /// Last known eligible leaders.
        last_known_elr: Option<Vec<i32>> [0+], null [0+];
        /// Brokers whose replica is offline.
        offline_replicas: Vec<i32> [0+];
    }
}
