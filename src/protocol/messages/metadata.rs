//! Metadata (3): brokers, topics, leaders.

use crate::model::Uuid;
use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Where are these topics?
    message MetadataRequest [0-13] flexible [9+] {
        /// Topics to describe; null for all. In version 0 an empty list means all.
        topics: Option<Vec<MetadataRequestTopic>> [0+], null [1+], default Some(Vec::new());
        /// Whether the broker may create topics that are missing; implied before version 4.
        allow_auto_topic_creation: bool [4+], default true;
        /// Whether to list what the client may do with the cluster.
        include_cluster_authorized_operations: bool [8-10];
        /// Whether to list what the client may do with each topic.
        include_topic_authorized_operations: bool [8+];
    }

    /// One topic to describe.
    struct MetadataRequestTopic {
        /// Id of the topic, to look it up by id (from version 12); zero to use the name.
        topic_id: Uuid [10+], ignorable;
        /// Name of the topic; null to use the id.
        name: Option<StrBytes> [0+], null [10+];
    }

    /// Brokers, topics, and who leads which partition.
    message MetadataResponse [0-13] flexible [9+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [3+], ignorable;
        /// The brokers of the cluster.
        brokers: Vec<MetadataResponseBroker> [0+];
        /// Id of the cluster.
        cluster_id: Option<StrBytes> [2+], null [2+], ignorable;
        /// Broker to send admin requests to; -1 if there is none.
        controller_id: i32 [1+], default -1, ignorable;
        /// One entry for each topic.
        topics: Vec<MetadataResponseTopic> [0+];
        /// Bits of the operations that the client may do; `i32::MIN` if not asked for.
        cluster_authorized_operations: i32 [8-10], default i32::MIN;
        /// How the whole request went.
        error_code: ErrorCode [13+], ignorable;
    }

    /// One broker.
    struct MetadataResponseBroker {
        /// Id of the broker.
        node_id: i32 [0+];
        /// Name or address to connect to.
        host: StrBytes [0+];
        /// Port to connect to.
        port: i32 [0+];
        /// Rack of the broker; null without one.
        rack: Option<StrBytes> [1+], null [1+], ignorable;
    }

    /// One topic.
    struct MetadataResponseTopic {
        /// How it went.
        error_code: ErrorCode [0+];
        /// Name of the topic; null when an id was asked for that is not known.
        name: Option<StrBytes> [0+], null [12+];
        /// Id of the topic; zero when a name was asked for that is not known.
        topic_id: Uuid [10+], ignorable;
        /// Whether the topic belongs to the broker itself.
        is_internal: bool [1+], ignorable;
        /// One entry for each partition.
        partitions: Vec<MetadataResponsePartition> [0+];
        /// Bits of the operations that the client may do; `i32::MIN` if not asked for.
        topic_authorized_operations: i32 [8+], default i32::MIN;
    }

    /// One partition.
    struct MetadataResponsePartition {
        /// How it went.
        error_code: ErrorCode [0+];
        /// Number of the partition.
        partition_index: i32 [0+];
        /// Node that leads; -1 if none is known.
        leader_id: i32 [0+];
        /// Epoch of the leader.
        leader_epoch: i32 [7+], default -1, ignorable;
        /// Brokers that hold a replica.
        replica_nodes: Vec<i32> [0+];
        /// Brokers whose replica is in sync.
        isr_nodes: Vec<i32> [0+];
        /// Brokers whose replica is offline.
        offline_replicas: Vec<i32> [5+], ignorable;
    }
}
