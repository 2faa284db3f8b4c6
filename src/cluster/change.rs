//! The steps from one image to the next. Kinds and meaning follow KRaft's metadata records, so
//! that the same image can later be fed by a quorum.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{PartitionIndex, ProducerId, TopicName, Uuid};

use super::image::PartitionState;

/// One durable change of the metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A topic is created (TopicRecord); its partitions follow.
    Topic {
        /// Its identity.
        id: Uuid,
        /// Its name.
        name: TopicName,
    },
    /// A partition is created (PartitionRecord).
    Partition {
        /// Its topic.
        topic_id: Uuid,
        /// Its number: the topic's next.
        index: PartitionIndex,
        /// Its replicas and leadership.
        state: PartitionState,
    },
    /// A topic is deleted with everything of it (RemoveTopicRecord).
    RemoveTopic {
        /// Its identity.
        id: Uuid,
    },
    /// An override is set, or removed when `value` is `None` (ConfigRecord).
    Config {
        /// Whose configuration.
        resource: ConfigResource,
        /// Kafka's dotted name.
        key: String,
        /// The new value.
        value: Option<String>,
    },
    /// A client quota is set, or removed when `value` is `None` (ClientQuotaRecord).
    ClientQuota {
        /// Whose quota.
        entity: QuotaEntity,
        /// Which one, as `producer_byte_rate`.
        key: String,
        /// The new value.
        value: Option<f64>,
    },
    /// Producer ids below `next` have been handed out (ProducerIdsRecord).
    ProducerIds {
        /// The first that was not.
        next: ProducerId,
    },
}

/// Whose configuration is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigResource {
    /// A topic, by name.
    Topic(String),
    /// A broker, by its id as text; empty for the cluster-wide default.
    Broker(String),
    /// A group, by its id.
    Group(String),
}

/// Whose quota: `user`, `client-id` or `ip`, each with a name or, as `None`, for all that have no
/// quota of their own (KIP-546). Shared by the images that have it.
pub type QuotaEntity = Arc<BTreeMap<String, Option<String>>>;
