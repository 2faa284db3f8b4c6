//! The bytes of a change: KRaft's metadata records, framed as in `__cluster_metadata`.
//!
//! A record's value is an unsigned varint frame version (1), an unsigned varint record type, an
//! unsigned varint version, then the body in flexible encoding
//! (`org.apache.kafka.server.common.ApiMessageAndVersion`, `MetadataRecordSerde`). Kafka's own
//! `kafka-dump-log --cluster-metadata-decoder` reads the file.

use bytes::Bytes;

use crate::model::{TopicName, Uuid};
use crate::wire::{Message, Reader, StrBytes, Writer, schema};

use super::change::{Change, ConfigResource};
use super::image::PartitionState;

const FRAME_VERSION: u32 = 1;
const TOPIC: u32 = 2;
const PARTITION: u32 = 3;
const CONFIG: u32 = 4;
const REMOVE_TOPIC: u32 = 9;
const PRODUCER_IDS: u32 = 15;

/// `org.apache.kafka.common.config.ConfigResource.Type`
const RESOURCE_TOPIC: i8 = 2;
const RESOURCE_BROKER: i8 = 4;

schema! {
    /// A topic is created.
    message TopicRecord [0-0] flexible [0+] {
        /// Its name.
        name: StrBytes [0+];
        /// Its id.
        topic_id: Uuid [0+];
    }

    /// A partition is created.
    message PartitionRecord [0-1] flexible [0+] {
        /// Its number.
        partition_id: i32 [0+], default -1;
        /// Its topic.
        topic_id: Uuid [0+];
        /// Brokers that hold it.
        replicas: Vec<i32> [0+];
        /// Those in sync.
        isr: Vec<i32> [0+];
        /// Replicas on their way out.
        removing_replicas: Vec<i32> [0+];
        /// Replicas on their way in.
        adding_replicas: Vec<i32> [0+];
        /// The leader.
        leader: i32 [0+], default -1;
        /// Changes of leadership so far.
        leader_epoch: i32 [0+], default -1;
        /// Changes of any kind so far.
        partition_epoch: i32 [0+], default -1;
        /// Log directory of each replica.
        directories: Vec<Uuid> [1+];
    }

    /// A topic is deleted.
    message RemoveTopicRecord [0-0] flexible [0+] {
        /// Its id.
        topic_id: Uuid [0+];
    }

    /// A configuration key is set or removed.
    message ConfigRecord [0-0] flexible [0+] {
        /// Whose kind.
        resource_type: i8 [0+];
        /// Whose.
        resource_name: StrBytes [0+];
        /// The key.
        name: StrBytes [0+];
        /// The value; null removes it.
        value: Option<StrBytes> [0+], null [0+];
    }

    /// Producer ids were reserved.
    message ProducerIdsRecord [0-0] flexible [0+] {
        /// For which broker.
        broker_id: i32 [0+];
        /// In which incarnation.
        broker_epoch: i64 [0+], default -1;
        /// The first id that was not reserved.
        next_producer_id: i64 [0+];
    }
}

/// The record value of `change`.
///
/// # Errors
/// When a text in it is longer than its length field allows.
pub fn encode(change: &Change) -> Result<Bytes, String> {
    match change {
        Change::Topic { id, name } => {
            framed(TOPIC, 0, &TopicRecord { name: name.as_str().into(), topic_id: *id })
        }
        Change::Partition { topic_id, index, state } => framed(
            PARTITION,
            0,
            &PartitionRecord {
                partition_id: *index,
                topic_id: *topic_id,
                replicas: state.replicas.clone(),
                isr: state.in_sync.clone(),
                leader: state.leader,
                leader_epoch: state.leader_epoch,
                partition_epoch: state.partition_epoch,
                ..Default::default()
            },
        ),
        Change::RemoveTopic { id } => framed(REMOVE_TOPIC, 0, &RemoveTopicRecord { topic_id: *id }),
        Change::Config { resource, key, value } => {
            let (resource_type, resource_name) = match resource {
                ConfigResource::Topic(name) => (RESOURCE_TOPIC, name),
                ConfigResource::Broker(name) => (RESOURCE_BROKER, name),
            };
            framed(
                CONFIG,
                0,
                &ConfigRecord {
                    resource_type,
                    resource_name: resource_name.as_str().into(),
                    name: key.as_str().into(),
                    value: value.as_deref().map(Into::into),
                },
            )
        }
        Change::ProducerIds { next } => framed(
            PRODUCER_IDS,
            0,
            &ProducerIdsRecord { broker_id: 1, broker_epoch: -1, next_producer_id: *next },
        ),
    }
}

fn framed<M: Message>(kind: u32, version: i16, body: &M) -> Result<Bytes, String> {
    let mut writer = Writer::with_capacity(64);
    writer.uvarint(FRAME_VERSION);
    writer.uvarint(kind);
    writer.uvarint(version.unsigned_abs().into());
    body.encode(&mut writer, version).map_err(|e| e.to_string())?;
    Ok(Bytes::from(writer.into_pieces().concat()))
}

/// The change in a record value.
///
/// # Errors
/// When it is of a kind or version that this build does not know, or damaged.
pub fn decode(value: Bytes) -> Result<Change, String> {
    let mut reader = Reader::new(value);
    let frame = reader.uvarint().map_err(|e| e.to_string())?;
    let kind = reader.uvarint().map_err(|e| e.to_string())?;
    let version = reader.uvarint().map_err(|e| e.to_string())?;
    let unknown = || {
        format!(
            "a metadata record of frame version {frame}, type {kind}, version {version} is not \
             known to this build: start the version of thalweg that wrote it"
        )
    };
    let version = i16::try_from(version).map_err(|_| unknown())?;
    if frame != FRAME_VERSION {
        return Err(unknown());
    }
    let text = |s: &StrBytes| s.to_string();
    Ok(match kind {
        TOPIC => {
            let record: TopicRecord = body(&mut reader, version)?;
            let name = TopicName::new(&record.name).map_err(|e| e.to_string())?;
            Change::Topic { id: record.topic_id, name }
        }
        PARTITION => {
            let record: PartitionRecord = body(&mut reader, version)?;
            Change::Partition {
                topic_id: record.topic_id,
                index: record.partition_id,
                state: PartitionState {
                    leader: record.leader,
                    leader_epoch: record.leader_epoch,
                    partition_epoch: record.partition_epoch,
                    replicas: record.replicas,
                    in_sync: record.isr,
                },
            }
        }
        REMOVE_TOPIC => {
            let record: RemoveTopicRecord = body(&mut reader, version)?;
            Change::RemoveTopic { id: record.topic_id }
        }
        CONFIG => {
            let record: ConfigRecord = body(&mut reader, version)?;
            let resource = match record.resource_type {
                RESOURCE_TOPIC => ConfigResource::Topic(text(&record.resource_name)),
                RESOURCE_BROKER => ConfigResource::Broker(text(&record.resource_name)),
                _ => return Err(unknown()),
            };
            Change::Config {
                resource,
                key: text(&record.name),
                value: record.value.as_ref().map(text),
            }
        }
        PRODUCER_IDS => {
            let record: ProducerIdsRecord = body(&mut reader, version)?;
            Change::ProducerIds { next: record.next_producer_id }
        }
        _ => return Err(unknown()),
    })
}

fn body<M: Message>(reader: &mut Reader, version: i16) -> Result<M, String> {
    M::decode(reader, version)
        .and_then(|record| reader.finish().map(|()| record))
        .map_err(|e| format!("a {} cannot be read: {e}", M::NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

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
