//! A change as a KRaft metadata record and back. The bytes are `protocol::metadata_record`'s, so
//! Kafka's own `kafka-dump-log --cluster-metadata-decoder` reads the file.

use bytes::Bytes;

use crate::model::TopicName;
use crate::protocol::metadata_record::{
    ConfigRecord, MetadataRecord, PartitionRecord, ProducerIdsRecord, RemoveTopicRecord,
    TopicRecord,
};
use crate::wire::StrBytes;

use super::change::{Change, ConfigResource};
use super::image::PartitionState;

/// `org.apache.kafka.common.config.ConfigResource.Type`
const RESOURCE_TOPIC: i8 = 2;
const RESOURCE_BROKER: i8 = 4;

/// The record value of `change`.
///
/// # Errors
/// When a text in it is longer than its length field allows.
pub fn encode(change: &Change) -> Result<Bytes, String> {
    let record = match change {
        Change::Topic { id, name } => {
            MetadataRecord::Topic(TopicRecord { name: name.as_str().into(), topic_id: *id })
        }
        Change::Partition { topic_id, index, state } => {
            MetadataRecord::Partition(PartitionRecord {
                partition_id: *index,
                topic_id: *topic_id,
                replicas: state.replicas.clone(),
                isr: state.in_sync.clone(),
                leader: state.leader,
                leader_epoch: state.leader_epoch,
                partition_epoch: state.partition_epoch,
                ..Default::default()
            })
        }
        Change::RemoveTopic { id } => {
            MetadataRecord::RemoveTopic(RemoveTopicRecord { topic_id: *id })
        }
        Change::Config { resource, key, value } => {
            let (resource_type, resource_name) = match resource {
                ConfigResource::Topic(name) => (RESOURCE_TOPIC, name),
                ConfigResource::Broker(name) => (RESOURCE_BROKER, name),
            };
            MetadataRecord::Config(ConfigRecord {
                resource_type,
                resource_name: resource_name.as_str().into(),
                name: key.as_str().into(),
                value: value.as_deref().map(Into::into),
            })
        }
        Change::ProducerIds { next } => MetadataRecord::ProducerIds(ProducerIdsRecord {
            next_producer_id: *next,
            ..Default::default()
        }),
    };
    // Version 0 of every kind says all that is in a change, and every Kafka 4 reads it.
    record.encode(0).map_err(|e| e.to_string())
}

/// The change in a record value.
///
/// # Errors
/// When it is of a kind that this build does not know, or damaged.
pub fn decode(value: Bytes) -> Result<Change, String> {
    let text = |s: &StrBytes| s.to_string();
    let record = MetadataRecord::decode(value).map_err(|e| {
        format!("{e}; if a newer version of thalweg wrote this metadata, start that one")
    })?;
    Ok(match record {
        MetadataRecord::Topic(record) => {
            let name = TopicName::new(&record.name).map_err(|e| e.to_string())?;
            Change::Topic { id: record.topic_id, name }
        }
        MetadataRecord::Partition(record) => Change::Partition {
            topic_id: record.topic_id,
            index: record.partition_id,
            state: PartitionState {
                leader: record.leader,
                leader_epoch: record.leader_epoch,
                partition_epoch: record.partition_epoch,
                replicas: record.replicas,
                in_sync: record.isr,
            },
        },
        MetadataRecord::RemoveTopic(record) => Change::RemoveTopic { id: record.topic_id },
        MetadataRecord::Config(record) => {
            let resource = match record.resource_type {
                RESOURCE_TOPIC => ConfigResource::Topic(text(&record.resource_name)),
                RESOURCE_BROKER => ConfigResource::Broker(text(&record.resource_name)),
                other => return Err(format!("resource type {other} is not known to this build")),
            };
            Change::Config {
                resource,
                key: text(&record.name),
                value: record.value.as_ref().map(text),
            }
        }
        MetadataRecord::ProducerIds(record) => {
            Change::ProducerIds { next: record.next_producer_id }
        }
        other => return Err(format!("metadata records of kind {} are not used yet", other.kind())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Uuid;

    #[test]
    fn changes_round_trip_and_damage_is_an_error() {
        let id = Uuid::random();
        let state = PartitionState {
            leader: 1,
            leader_epoch: 2,
            partition_epoch: 3,
            replicas: vec![1],
            in_sync: vec![1],
        };
        for change in [
            Change::Topic { id, name: TopicName::new("t").unwrap() },
            Change::Partition { topic_id: id, index: 7, state },
            Change::RemoveTopic { id },
            Change::Config {
                resource: ConfigResource::Broker(String::new()),
                key: "k".into(),
                value: None,
            },
            Change::ProducerIds { next: 5000 },
        ] {
            let value = encode(&change).unwrap();
            assert_eq!(decode(value.clone()).unwrap(), change);
            for cut in 0..value.len() {
                assert!(decode(value.slice(..cut)).is_err());
            }
        }
    }
}
