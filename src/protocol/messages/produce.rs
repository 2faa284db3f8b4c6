//! Produce (0): append record batches.
//!
//! Versions 0 to 2 carry formats older than record batches; they are advertised, because old
//! librdkafka looks for them, and refused (KAFKA-18659).

use crate::model::Uuid;
use crate::protocol::ErrorCode;
use crate::wire::{Records, StrBytes, schema};

schema! {
    /// Append these batches.
    message ProduceRequest [3-13] flexible [9+] {
        /// Transactional id; null for a producer without transactions.
        transactional_id: Option<StrBytes> [0+], null [0+];
        /// 0: no reply; 1: the leader's write; -1: all in-sync replicas.
        acks: i16 [0+];
        /// Milliseconds that the broker may take.
        timeout_ms: i32 [0+];
        /// What to append, topic by topic.
        topic_data: Vec<TopicProduceData> [0+];
    }

    /// The batches of one topic.
    struct TopicProduceData {
        /// Name of the topic.
        name: StrBytes [0-12], ignorable;
        /// Id of the topic (KIP-516).
        topic_id: Uuid [13+], ignorable;
        /// What to append, partition by partition.
        partition_data: Vec<PartitionProduceData> [0+];
    }

    /// The batch of one partition.
    struct PartitionProduceData {
        /// Number of the partition.
        index: i32 [0+];
        /// Exactly one record batch, shared with the frame.
        records: Records [0+], null [0+];
    }

    /// Where the batches are, or why not.
    message ProduceResponse [3-13] flexible [9+] {
        /// Results, topic by topic.
        responses: Vec<TopicProduceResponse> [0+];
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
    } & tagged {
        /// Addresses of the leaders that `current_leader` names (KIP-951). A hint, left out where
        /// the version has no place for it.
        0: node_endpoints: Vec<NodeEndpoint> [10+], ignorable;
    }

    /// Results of one topic.
    struct TopicProduceResponse {
        /// Name of the topic.
        name: StrBytes [0-12], ignorable;
        /// Id of the topic (KIP-516).
        topic_id: Uuid [13+], ignorable;
        /// Results, partition by partition.
        partition_responses: Vec<PartitionProduceResponse> [0+];
    }

    /// Result of one partition.
    struct PartitionProduceResponse {
        /// Number of the partition.
        index: i32 [0+];
        /// How it went.
        error_code: ErrorCode [0+];
        /// Offset of the first record; -1 on an error.
        base_offset: i64 [0+];
        /// The broker's time of the append under LogAppendTime; -1 under CreateTime.
        log_append_time_ms: i64 [0+], default -1;
        /// First offset of the log.
        log_start_offset: i64 [5+], default -1, ignorable;
        /// Records that made the broker refuse the batch (KIP-467).
        record_errors: Vec<BatchIndexAndErrorMessage> [8+], ignorable;
        /// What went wrong, for people; null if nothing did.
        error_message: Option<StrBytes> [8+], null [8+], ignorable;
    } & tagged {
        /// Who leads, when this broker does not (KIP-951). A hint, left out where the version has
        /// no place for it.
        0: current_leader: LeaderIdAndEpoch [10+], ignorable;
    }

    /// One refused record.
    struct BatchIndexAndErrorMessage {
        /// Number of the record in its batch, from 0.
        batch_index: i32 [8+];
        /// What is wrong with this record.
        batch_index_error_message: Option<StrBytes> [8+], null [8+];
    }

    /// Who leads, since when.
    struct LeaderIdAndEpoch {
        /// Node that leads; -1 if none is known.
        leader_id: i32 [10+], default -1;
        /// Epoch of the leader.
        leader_epoch: i32 [10+], default -1;
    }

    /// Address of a broker.
    struct NodeEndpoint {
        /// Id of the broker.
        node_id: i32 [10+];
        /// Name or address to connect to.
        host: StrBytes [10+];
        /// Port to connect to.
        port: i32 [10+];
        /// Rack of the broker; null without one.
        rack: Option<StrBytes> [10+], null [10+];
    }
}
