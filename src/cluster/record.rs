//! A change as a KRaft metadata record and back. The bytes are `protocol::metadata_record`'s, so
//! Kafka's own `kafka-dump-log --cluster-metadata-decoder` reads the file.

use bytes::Bytes;

use crate::model::TopicName;
use crate::protocol::metadata_record::{
    ClientQuotaRecord, ConfigRecord, EntityData, MetadataRecord, PartitionRecord,
    ProducerIdsRecord, RemoveTopicRecord, TopicRecord,
};
use crate::wire::StrBytes;

use super::change::{Change, ConfigResource, QuotaEntity};
use super::image::PartitionState;

/// The level of `metadata.version` whose records we write and read: 4.3-IV0 of
/// `org.apache.kafka.server.common.MetadataVersion`. It is the only one.
pub const METADATA_VERSION: i16 = 30;

/// `org.apache.kafka.common.config.ConfigResource.Type`
const RESOURCE_TOPIC: i8 = 2;
const RESOURCE_BROKER: i8 = 4;
const RESOURCE_GROUP: i8 = 32;

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
                directories: state.directories.clone(),
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
                ConfigResource::Group(name) => (RESOURCE_GROUP, name),
            };
            MetadataRecord::Config(ConfigRecord {
                resource_type,
                resource_name: resource_name.as_str().into(),
                name: key.as_str().into(),
                value: value.as_deref().map(Into::into),
            })
        }
        Change::ClientQuota { entity, key, value } => {
            let part = |(kind, name): (&String, &Option<String>)| EntityData {
                entity_type: kind.as_str().into(),
                entity_name: name.as_deref().map(Into::into),
            };
            MetadataRecord::ClientQuota(ClientQuotaRecord {
                entity: entity.iter().map(part).collect(),
                key: key.as_str().into(),
                value: value.unwrap_or(0.0),
                remove: value.is_none(),
            })
        }
        Change::ProducerIds { next } => MetadataRecord::ProducerIds(ProducerIdsRecord {
            next_producer_id: *next,
            ..Default::default()
        }),
    };
    record.encode(version(&record)).map_err(|e| e.to_string())
}

/// The version of a record's type that KRaft writes at [`METADATA_VERSION`].
fn version(record: &MetadataRecord) -> i16 {
    match record {
        // With directories (metadata.version 17) and eligible leaders (23).
        MetadataRecord::Partition(_) => 2,
        _ => 0,
    }
}

/// The change in a record value.
///
/// # Errors
/// When it is of a kind that this build does not know, or damaged.
pub fn decode(value: Bytes) -> Result<Change, String> {
    let text = |s: &StrBytes| s.to_string();
    let record = MetadataRecord::decode(value).map_err(|e| e.to_string())?;
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
                directories: record.directories,
            },
        },
        MetadataRecord::RemoveTopic(record) => Change::RemoveTopic { id: record.topic_id },
        MetadataRecord::Config(record) => {
            let resource = match record.resource_type {
                RESOURCE_TOPIC => ConfigResource::Topic(text(&record.resource_name)),
                RESOURCE_BROKER => ConfigResource::Broker(text(&record.resource_name)),
                RESOURCE_GROUP => ConfigResource::Group(text(&record.resource_name)),
                other => return Err(format!("resource type {other} is not known to this build")),
            };
            Change::Config {
                resource,
                key: text(&record.name),
                value: record.value.as_ref().map(text),
            }
        }
        MetadataRecord::ClientQuota(record) => Change::ClientQuota {
            entity: QuotaEntity::new(
                record
                    .entity
                    .iter()
                    .map(|part| (text(&part.entity_type), part.entity_name.as_ref().map(text)))
                    .collect(),
            ),
            key: text(&record.key),
            value: (!record.remove).then_some(record.value),
        },
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
            directories: vec![Uuid::random()],
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
            Change::Config {
                resource: ConfigResource::Group("g".into()),
                key: "k".into(),
                value: Some("v".into()),
            },
            Change::ClientQuota {
                entity: QuotaEntity::new(
                    [("user".into(), Some("u".into())), ("client-id".into(), None)].into(),
                ),
                key: "k".into(),
                value: Some(0.5),
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
