//! DescribeProducers (61): producer state of partitions (KIP-664).

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Which producers do these partitions know?
    message DescribeProducersRequest [0-0] flexible [0+] {
        /// One entry for each topic.
        topics: Vec<TopicRequest> [0+];
    }

    /// One topic that is asked about.
    struct TopicRequest {
        /// Name of the topic.
        name: StrBytes [0+];
        /// Numbers of the partitions.
        partition_indexes: Vec<i32> [0+];
    }

    /// The producers.
    message DescribeProducersResponse [0-0] flexible [0+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
        /// One entry for each topic.
        topics: Vec<TopicResponse> [0+];
    }

    /// One topic.
    struct TopicResponse {
        /// Name of the topic.
        name: StrBytes [0+];
        /// One entry for each partition.
        partitions: Vec<PartitionResponse> [0+];
    }

    /// One partition.
    struct PartitionResponse {
        /// Number of the partition.
        partition_index: i32 [0+];
        /// How it went.
        error_code: ErrorCode [0+];
        /// What went wrong, for people; null if nothing did.
        error_message: Option<StrBytes> [0+], null [0+];
        /// Producers with state in this partition.
        active_producers: Vec<ProducerState> [0+];
    }

    /// One producer.
    struct ProducerState {
        /// Producer id.
        producer_id: i64 [0+];
        /// Epoch of the producer.
        producer_epoch: i32 [0+];
        /// Last sequence number; -1 for none.
        last_sequence: i32 [0+], default -1;
        /// Timestamp of the last batch; -1 for none.
        last_timestamp: i64 [0+], default -1;
        /// Epoch of the transaction coordinator; -1 for none.
        coordinator_epoch: i32 [0+];
        /// First offset of the open transaction; -1 for none.
        current_txn_start_offset: i64 [0+], default -1;
    }
}
