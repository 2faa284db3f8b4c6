//! AddPartitionsToTxn (24). Clients send versions 0 to 3; 4 and 5 are for brokers (KIP-890).

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Add partitions to a transaction.
    message AddPartitionsToTxnRequest [0-5] flexible [3+] {
        /// One entry for each transaction (brokers only).
        transactions: Vec<AddPartitionsToTxnTransaction> [4+];
        /// Transactional id.
        v3_and_below_transactional_id: StrBytes [0-3];
        /// Producer id.
        v3_and_below_producer_id: i64 [0-3];
        /// Epoch of the producer.
        v3_and_below_producer_epoch: i16 [0-3];
        /// Partitions to add.
        v3_and_below_topics: Vec<AddPartitionsToTxnTopic> [0-3];
    }

    /// One transaction.
    struct AddPartitionsToTxnTransaction {
        /// Transactional id.
        transactional_id: StrBytes [4+];
        /// Producer id.
        producer_id: i64 [4+];
        /// Epoch of the producer.
        producer_epoch: i16 [4+];
        /// Ask whether the partitions belong to the transaction, add nothing (KIP-890).
        verify_only: bool [4+];
        /// One entry for each topic.
        topics: Vec<AddPartitionsToTxnTopic> [4+];
    }

    /// Partitions of one topic.
    struct AddPartitionsToTxnTopic {
        /// Name of the topic.
        name: StrBytes [0+];
        /// Numbers of the partitions.
        partitions: Vec<i32> [0+];
    }

    /// What became of it.
    message AddPartitionsToTxnResponse [0-5] flexible [3+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
        /// How it went.
        error_code: ErrorCode [4+], ignorable;
        /// Results of each transaction.
        results_by_transaction: Vec<AddPartitionsToTxnResult> [4+];
        /// Results, topic by topic.
        results_by_topic_v3_and_below: Vec<AddPartitionsToTxnTopicResult> [0-3];
    }

    /// One transaction.
    struct AddPartitionsToTxnResult {
        /// Transactional id.
        transactional_id: StrBytes [4+];
        /// Results, topic by topic.
        topic_results: Vec<AddPartitionsToTxnTopicResult> [4+];
    }

    /// One topic.
    struct AddPartitionsToTxnTopicResult {
        /// Name of the topic.
        name: StrBytes [0+];
        /// Results, partition by partition.
        results_by_partition: Vec<AddPartitionsToTxnPartitionResult> [0+];
    }

    /// One partition.
    struct AddPartitionsToTxnPartitionResult {
        /// Number of the partition.
        partition_index: i32 [0+];
        /// How it went.
        partition_error_code: ErrorCode [0+];
    }
}
