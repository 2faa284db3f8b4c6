//! Fetch (1): read record batches.
//!
//! Names address topics up to version 12, ids from 13 on (KIP-516). Version 18 is for replicas
//! (KIP-1166).

use crate::model::Uuid;
use crate::protocol::ErrorCode;
use crate::wire::{Records, StrBytes, schema};

schema! {
    /// Send records from these offsets on.
    message FetchRequest [4-18] flexible [12+] {
        /// Broker that replicates; -1 for a consumer. From version 15 see `replica_state`.
        replica_id: i32 [0-14], default -1;
        /// Milliseconds to wait for `min_bytes`.
        max_wait_ms: i32 [0+];
        /// Fewest bytes that make the broker answer before `max_wait_ms`.
        min_bytes: i32 [0+];
        /// Most bytes of records in the reply; the first batch comes even if it is longer (KIP-74).
        max_bytes: i32 [0+], default i32::MAX;
        /// 0 reads everything below the high watermark, 1 only what is committed.
        isolation_level: i8 [0+];
        /// Fetch session (KIP-227); 0 for none.
        session_id: i32 [7+], ignorable;
        /// Number of the request in its session; -1 to close, 0 to start one.
        session_epoch: i32 [7+], default -1, ignorable;
        /// One entry for each topic.
        topics: Vec<FetchTopic> [0+];
        /// Partitions to drop from the session.
        forgotten_topics_data: Vec<ForgottenTopic> [7+];
        /// Rack of the consumer, to choose a near replica (KIP-392).
        rack_id: StrBytes [11+], ignorable;
    } & tagged {
        /// Cluster id, if the replica knows it.
        0: cluster_id: Option<StrBytes> [12+], null [12+], ignorable;
        /// Who replicates, if it is a broker.
        1: replica_state: ReplicaState [15+];
    }

    /// Who replicates.
    struct ReplicaState {
        /// Broker that replicates; -1 for a consumer.
        replica_id: i32 [15+], default -1;
        /// Epoch of that broker; -1 if unknown.
        replica_epoch: i64 [15+], default -1;
    }

    /// What is wanted of one topic.
    struct FetchTopic {
        /// Name of the topic.
        topic: StrBytes [0-12], ignorable;
        /// Id of the topic (KIP-516).
        topic_id: Uuid [13+], ignorable;
        /// One entry for each partition.
        partitions: Vec<FetchPartition> [0+];
    }

    /// What is wanted of one partition.
    struct FetchPartition {
        /// Number of the partition.
        partition: i32 [0+];
        /// Leader epoch as the client knows it, to fence old metadata; -1 if unknown.
        current_leader_epoch: i32 [9+], default -1, ignorable;
        /// First offset that is wanted.
        fetch_offset: i64 [0+];
        /// Epoch of the last record the replica has; -1 for none.
        last_fetched_epoch: i32 [12+], default -1;
        /// First offset of the replica's log; -1 from a consumer.
        log_start_offset: i64 [5+], default -1, ignorable;
        /// Most bytes of this partition; the first batch comes even if it is longer (KIP-74).
        partition_max_bytes: i32 [0+];
    } & tagged {
        /// Log directory of the replica.
        0: replica_directory_id: Uuid [17+], ignorable;
        /// High watermark as the replica knows it (KIP-1166); -1 if it is not known yet, `i64::MAX`
        /// from replicas that do not send it.
        1: high_watermark: i64 [18+], default i64::MAX, ignorable;
    }

    /// Partitions of one topic that leave the session.
    struct ForgottenTopic {
        /// Name of the topic.
        topic: StrBytes [7-12], ignorable;
        /// Id of the topic (KIP-516).
        topic_id: Uuid [13+], ignorable;
        /// Numbers of the partitions.
        partitions: Vec<i32> [7+];
    }

    /// Records as stored.
    message FetchResponse [4-18] flexible [12+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
        /// How the whole request went, sessions included.
        error_code: ErrorCode [7+], ignorable;
        /// Fetch session (KIP-227); 0 for none.
        session_id: i32 [7+];
        /// Results, topic by topic.
        responses: Vec<FetchableTopicResponse> [0+];
    } & tagged {
        /// Addresses of the leaders that `current_leader` names (KIP-951). A hint, left out where
        /// the version has no place for it.
        0: node_endpoints: Vec<NodeEndpoint> [16+], ignorable;
    }

    /// Results of one topic.
    struct FetchableTopicResponse {
        /// Name of the topic.
        topic: StrBytes [0-12], ignorable;
        /// Id of the topic (KIP-516).
        topic_id: Uuid [13+], ignorable;
        /// One entry for each partition.
        partitions: Vec<PartitionData> [0+];
    }

    /// Result of one partition.
    struct PartitionData {
        /// Number of the partition.
        partition_index: i32 [0+];
        /// How it went.
        error_code: ErrorCode [0+];
        /// High watermark.
        high_watermark: i64 [0+];
        /// First offset of the oldest open transaction, or the high watermark; -1 if not known.
        last_stable_offset: i64 [0+], default -1;
        /// First offset of the log.
        log_start_offset: i64 [5+], default -1, ignorable;
        /// Aborted transactions among the records; null for isolation level 0.
        aborted_transactions: Option<Vec<AbortedTransaction>> [0+],
            null [0+], default Some(Vec::new());
        /// Replica to read from instead; -1 for none (KIP-392).
        preferred_read_replica: i32 [11+], default -1;
        /// Whole record batches, as stored; in pieces when encoding.
        records: Records [0+], null [0+];
    } & tagged {
        /// Where the replica's log leaves the leader's; then there are no records.
        0: diverging_epoch: EpochEndOffset [12+];
        /// Who leads, when this broker does not (KIP-951). A hint, left out where the version has
        /// no place for it.
        1: current_leader: LeaderIdAndEpoch [12+], ignorable;
        /// Snapshot to read when the offset lies before the log (metadata log only).
        2: snapshot_id: SnapshotId [12+];
    }

    /// An epoch and where it ends.
    struct EpochEndOffset {
        /// The epoch.
        epoch: i32 [12+], default -1;
        /// First offset behind the epoch.
        end_offset: i64 [12+], default -1;
    }

    /// Who leads, since when.
    struct LeaderIdAndEpoch {
        /// Node that leads; -1 if none is known.
        leader_id: i32 [12+], default -1;
        /// Epoch of the leader.
        leader_epoch: i32 [12+], default -1;
    }

    /// A snapshot of the metadata log.
    struct SnapshotId {
        /// First offset behind the snapshot.
        end_offset: i64 [0+], default -1;
        /// Epoch of its last record.
        epoch: i32 [0+], default -1;
    }

    /// One aborted transaction.
    struct AbortedTransaction {
        /// Producer id.
        producer_id: i64 [0+];
        /// First offset of the transaction.
        first_offset: i64 [0+];
    }

    /// Address of a broker.
    struct NodeEndpoint {
        /// Id of the broker.
        node_id: i32 [16+];
        /// Name or address to connect to.
        host: StrBytes [16+];
        /// Port to connect to.
        port: i32 [16+];
        /// Rack of the broker; null without one.
        rack: Option<StrBytes> [16+], null [16+];
    }
}
