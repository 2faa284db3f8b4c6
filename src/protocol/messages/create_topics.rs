//! CreateTopics (19).

use crate::model::Uuid;
use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Create these topics.
    message CreateTopicsRequest [2-7] flexible [5+] {
        /// One entry for each topic.
        topics: Vec<CreatableTopic> [0+];
        /// Milliseconds that the broker may take.
        timeout_ms: i32 [0+], default 60000;
        /// Check and answer, change nothing.
        validate_only: bool [0+];
    }

    /// One topic to create.
    struct CreatableTopic {
        /// Name of the topic.
        name: StrBytes [0+];
        /// Number of partitions; -1 for the broker's default or with `assignments`.
        num_partitions: i32 [0+];
        /// Number of replicas; -1 for the broker's default or with `assignments`.
        replication_factor: i16 [0+];
        /// Replicas chosen by hand; empty to let the controller choose.
        assignments: Vec<CreatableReplicaAssignment> [0+];
        /// One entry for each configuration key.
        configs: Vec<CreatableTopicConfig> [0+];
    }

    /// Replicas of one partition.
    struct CreatableReplicaAssignment {
        /// Number of the partition.
        partition_index: i32 [0+];
        /// Brokers that hold a replica; the first is the preferred leader.
        broker_ids: Vec<i32> [0+];
    }

    /// One configuration key to set.
    struct CreatableTopicConfig {
        /// Configuration key.
        name: StrBytes [0+];
        /// Its value.
        value: Option<StrBytes> [0+], null [0+];
    }

    /// The topics as created, or why not.
    message CreateTopicsResponse [2-7] flexible [5+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
        /// One entry for each topic.
        topics: Vec<CreatableTopicResult> [0+];
    }

    /// One topic.
    struct CreatableTopicResult {
        /// Name of the topic.
        name: StrBytes [0+];
        /// Id of the topic (KIP-516).
        topic_id: Uuid [7+], ignorable;
        /// How it went.
        error_code: ErrorCode [0+];
        /// What went wrong, for people; null if nothing did.
        error_message: Option<StrBytes> [0+], null [0+];
        /// Number of partitions; -1 if it may not be shown.
        num_partitions: i32 [5+], default -1, ignorable;
        /// Number of replicas; -1 if it may not be shown.
        replication_factor: i16 [5+], default -1, ignorable;
        /// The topic's effective configuration; null if it may not be shown.
        configs: Option<Vec<CreatableTopicConfigs>> [5+],
            null [5+], default Some(Vec::new()), ignorable;
    } & tagged {
        /// Why `configs` is null.
        0: topic_config_error_code: ErrorCode [5+], ignorable;
    }

    /// One effective configuration key.
    struct CreatableTopicConfigs {
        /// Configuration key.
        name: StrBytes [5+];
        /// Its value; null if it is sensitive.
        value: Option<StrBytes> [5+], null [5+];
        /// Whether the key can be changed.
        read_only: bool [5+];
        /// Where the value comes from: 1 topic, 2 dynamic broker, 3 dynamic default of all brokers,
        /// 4 broker file, 5 built-in default, 6 dynamic broker logger, 7 client metrics, 8 group.
        config_source: i8 [5+], default -1, ignorable;
        /// Whether the value is a secret and therefore hidden.
        is_sensitive: bool [5+];
    }
}
