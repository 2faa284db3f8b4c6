//! DescribeQuorum (55): state of the controller quorum (KIP-595, KIP-836, KIP-853).

use crate::model::Uuid;
use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// How is the controller quorum?
    message DescribeQuorumRequest [0-2] flexible [0+] {
        /// One entry for each topic.
        topics: Vec<DescribeQuorumRequestTopic> [0+];
    }

    /// One topic that is asked about.
    struct DescribeQuorumRequestTopic {
        /// Name of the topic.
        topic_name: StrBytes [0+];
        /// One entry for each partition.
        partitions: Vec<DescribeQuorumRequestPartition> [0+];
    }

    /// One partition that is asked about.
    struct DescribeQuorumRequestPartition {
        /// Number of the partition.
        partition_index: i32 [0+];
    }

    /// Its leader, voters and observers.
    message DescribeQuorumResponse [0-2] flexible [0+] {
        /// How it went.
        error_code: ErrorCode [0+];
        /// What went wrong, for people; null if nothing did.
        error_message: Option<StrBytes> [2+], null [2+], ignorable;
        /// One entry for each topic.
        topics: Vec<TopicData> [0+];
        /// Addresses of the voters.
        nodes: Vec<Node> [2+];
    }

    /// One topic.
    struct TopicData {
        /// Name of the topic.
        topic_name: StrBytes [0+];
        /// One entry for each partition.
        partitions: Vec<PartitionData> [0+];
    }

    /// One partition.
    struct PartitionData {
        /// Number of the partition.
        partition_index: i32 [0+];
        /// How it went.
        error_code: ErrorCode [0+];
        /// What went wrong, for people; null if nothing did.
        error_message: Option<StrBytes> [2+], null [2+], ignorable;
        /// Node that leads; -1 if none is known.
        leader_id: i32 [0+];
        /// Epoch of the leader.
        leader_epoch: i32 [0+];
        /// High watermark.
        high_watermark: i64 [0+];
        /// The voters.
        current_voters: Vec<ReplicaState> [0+];
        /// The observers.
        observers: Vec<ReplicaState> [0+];
    }

    /// One voter.
    struct Node {
        /// Id of the broker.
        node_id: i32 [2+];
        /// Where the voter listens.
        listeners: Vec<Listener> [2+];
    }

    /// One address.
    struct Listener {
        /// Name of the listener.
        name: StrBytes [2+];
        /// Name or address to connect to.
        host: StrBytes [2+];
        /// Port to connect to.
        port: u16 [2+];
    }

    /// One replica.
    struct ReplicaState {
        /// Id of the replica.
        replica_id: i32 [0+];
        /// Log directory of the replica.
        replica_directory_id: Uuid [2+];
        /// Last known log end offset; -1 if unknown.
        log_end_offset: i64 [0+];
        /// When it last fetched; -1 for the leader or if unknown.
        last_fetch_timestamp: i64 [1+], default -1, ignorable;
        /// When it was last caught up; -1 if unknown.
        last_caught_up_timestamp: i64 [1+], default -1, ignorable;
    }
}
