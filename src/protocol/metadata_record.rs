//! Records of the metadata log, as in KRaft.
//!
//! A value is framed: frame version 1, record type and version as unsigned varints, then the body.
//! The types and versions are those of Apache Kafka 4.4
//! (`metadata/src/main/resources/common/metadata`) that a cluster of one node needs; an unknown
//! type is an error, for an image must not miss a change in silence.

use bytes::Bytes;

use crate::model::Uuid;
use crate::wire::{
    DecodeError, DecodeErrorKind, EncodeError, Message, Reader, StrBytes, Versions, Writer, schema,
};

schema! {
    /// A broker has joined, or come back.
    message RegisterBrokerRecord [0-4] flexible [0+] {
        /// Id of the broker.
        broker_id: i32 [0+];
        /// Whether the broker is migrating from ZooKeeper; never here.
        is_migrating_zk_broker: bool [2+];
        /// Id of the broker process: another after each start.
        incarnation_id: Uuid [0+];
        /// Epoch of the registration: the offset of its record.
        broker_epoch: i64 [0+];
        /// Where the broker listens.
        end_points: Vec<BrokerEndpoint> [0+];
        /// Features this broker could run with.
        features: Vec<BrokerFeature> [0+];
        /// Rack of the broker; null without one.
        rack: Option<StrBytes> [0+], null [0+];
        /// Whether the broker takes no leadership yet.
        fenced: bool [0+], default true;
        /// Whether the broker is on its way out.
        in_controlled_shutdown: bool [1+];
    } & tagged {
        /// Ids of the log directories that are online.
        0: log_dirs: Vec<Uuid> [3+];
        /// Ids of the log directories that get no new partitions; null until the broker has said.
        1: cordoned_log_dirs: Option<Vec<Uuid>> [4+], null [4+];
    }

    /// One listener.
    struct BrokerEndpoint {
        /// Name of the listener.
        name: StrBytes [0+];
        /// Name or address to connect to.
        host: StrBytes [0+];
        /// Port to connect to.
        port: u16 [0+];
        /// 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
        security_protocol: i16 [0+];
    }

    /// One feature.
    struct BrokerFeature {
        /// Name of the feature.
        name: StrBytes [0+];
        /// Lowest level that is supported.
        min_supported_version: i16 [0+];
        /// Highest level that is supported.
        max_supported_version: i16 [0+];
    }

    /// A topic has been created.
    message TopicRecord [0-0] flexible [0+] {
        /// Name of the topic.
        name: StrBytes [0+];
        /// Id of the topic (KIP-516).
        topic_id: Uuid [0+];
    }

    /// A partition has been created.
    message PartitionRecord [0-2] flexible [0+] {
        /// Number of the partition.
        partition_id: i32 [0+], default -1;
        /// Id of the topic (KIP-516).
        topic_id: Uuid [0+];
        /// Brokers with a replica; the first is the preferred leader.
        replicas: Vec<i32> [0+];
        /// Brokers whose replica is in sync.
        isr: Vec<i32> [0+];
        /// Brokers whose replica is going away.
        removing_replicas: Vec<i32> [0+];
        /// Brokers that get a replica.
        adding_replicas: Vec<i32> [0+];
        /// Broker that leads; -1 for none.
        leader: i32 [0+], default -1;
        /// Epoch of the leader.
        leader_epoch: i32 [0+], default -1;
        /// Grows with each change of the partition.
        partition_epoch: i32 [0+], default -1;
        /// Log directory of each replica, in the order of `replicas`.
        directories: Vec<Uuid> [1+];
    } & tagged {
        /// 1 while the partition recovers from an unclean election.
        0: leader_recovery_state: i8 [0+];
        /// Brokers outside the in-sync set that may lead (KIP-966).
        1: eligible_leader_replicas: Option<Vec<i32>> [2+], null [2+];
        /// Last known eligible leaders.
        2: last_known_elr: Option<Vec<i32>> [2+], null [2+];
    }

    /// A configuration key has been set or removed.
    message ConfigRecord [0-0] flexible [0+] {
        /// Kind of resource: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group.
        resource_type: i8 [0+];
        /// Name of the resource: a topic, a broker's id, empty for the default of all brokers.
        resource_name: StrBytes [0+];
        /// Configuration key.
        name: StrBytes [0+];
        /// Its value; null to remove it.
        value: Option<StrBytes> [0+], null [0+];
    }

    /// A partition has changed; what is null or at its default has not.
    message PartitionChangeRecord [0-2] flexible [0+] {
        /// Number of the partition.
        partition_id: i32 [0+], default -1;
        /// Id of the topic (KIP-516).
        topic_id: Uuid [0+];
    } & tagged {
        /// Brokers whose replica is in sync; null if unchanged.
        0: isr: Option<Vec<i32>> [0+], null [0+];
        /// Broker that leads, -1 for none; -2 if unchanged.
        1: leader: i32 [0+], default -2;
        /// Brokers with a replica; null if unchanged.
        2: replicas: Option<Vec<i32>> [0+], null [0+];
        /// Brokers whose replica is going away; null if unchanged.
        3: removing_replicas: Option<Vec<i32>> [0+], null [0+];
        /// Brokers that get a replica; null if unchanged.
        4: adding_replicas: Option<Vec<i32>> [0+], null [0+];
        /// 1 while the partition recovers from an unclean election, 0 if not; -1 if unchanged.
        5: leader_recovery_state: i8 [0+], default -1;
        /// Brokers outside the in-sync set that may lead; null if unchanged.
        6: eligible_leader_replicas: Option<Vec<i32>> [2+], null [2+];
        /// Last known eligible leaders; null if unchanged.
        7: last_known_elr: Option<Vec<i32>> [2+], null [2+];
        /// Log directory of each replica; null if unchanged.
        8: directories: Option<Vec<Uuid>> [1+], null [1+];
    }

    /// A topic has been deleted.
    message RemoveTopicRecord [0-0] flexible [0+] {
        /// Id of the topic; its partitions go with it.
        topic_id: Uuid [0+];
    }

    /// A feature level has been finalized.
    message FeatureLevelRecord [0-0] flexible [0+] {
        /// Name of the feature.
        name: StrBytes [0+];
        /// Level the cluster has agreed on; 0 removes the feature.
        feature_level: i16 [0+];
    }

    /// A client quota has been set or removed.
    message ClientQuotaRecord [0-0] flexible [0+] {
        /// The parts of the entity.
        entity: Vec<EntityData> [0+];
        /// Quota, such as `producer_byte_rate`.
        key: StrBytes [0+];
        /// Its new value; nothing if it is removed.
        value: f64 [0+];
        /// Whether the quota is removed.
        remove: bool [0+];
    }

    /// One part of an entity.
    struct EntityData {
        /// `user`, `client-id` or `ip`.
        entity_type: StrBytes [0+];
        /// Name of this part; null for the default.
        entity_name: Option<StrBytes> [0+], null [0+];
    }

    /// A block of producer ids has been given to a broker.
    message ProducerIdsRecord [0-0] flexible [0+] {
        /// Broker that gets the block of ids.
        broker_id: i32 [0+];
        /// Epoch of that broker.
        broker_epoch: i64 [0+], default -1;
        /// First producer id of the next block.
        next_producer_id: i64 [0+];
    }
}

/// Frame version of a record value; there is no other (`AbstractApiMessageSerde`).
const FRAME_VERSION: u32 = 1;

macro_rules! metadata_records {
    ($($kind:literal $name:ident($record:ident);)*) => {
        /// Any record of the metadata log.
        #[derive(Clone, Debug, PartialEq)]
        pub enum MetadataRecord {
            $(#[allow(missing_docs, reason = "the record says what it is")]
            $name($record),)*
        }

        impl MetadataRecord {
            /// Type of the record, as Kafka numbers them (`apiKey`).
            pub const fn kind(&self) -> u32 {
                match self { $(Self::$name(_) => $kind,)* }
            }

            /// Versions with a schema.
            pub const fn versions(&self) -> Versions {
                match self { $(Self::$name(_) => <$record as Message>::VERSIONS,)* }
            }

            /// The value of a log record, in `version` of the record's type.
            ///
            /// # Errors
            /// When that version cannot say what the record says.
            pub fn encode(&self, version: i16) -> Result<Bytes, EncodeError> {
                let mut writer = Writer::with_capacity(128);
                writer.uvarint(FRAME_VERSION);
                writer.uvarint(self.kind());
                writer.uvarint(version as u32);
                match self { $(Self::$name(record) => record.encode(&mut writer, version)?,)* }
                Ok(writer.into_bytes())
            }

            fn decode_body(
                kind: u32,
                reader: &mut Reader,
                version: i16,
            ) -> Result<Self, DecodeError> {
                match kind {
                    $($kind => $record::decode(reader, version).map(Self::$name),)*
                    value => {
                        let what = "metadata record type";
                        Err(reader.error(DecodeErrorKind::UnknownRecord { what, value }))
                    }
                }
            }
        }

        $(impl From<$record> for MetadataRecord {
            fn from(record: $record) -> Self {
                Self::$name(record)
            }
        })*
    };
}

metadata_records! {
    0 RegisterBroker(RegisterBrokerRecord);
    2 Topic(TopicRecord);
    3 Partition(PartitionRecord);
    4 Config(ConfigRecord);
    5 PartitionChange(PartitionChangeRecord);
    9 RemoveTopic(RemoveTopicRecord);
    12 FeatureLevel(FeatureLevelRecord);
    14 ClientQuota(ClientQuotaRecord);
    15 ProducerIds(ProducerIdsRecord);
}

impl MetadataRecord {
    /// Read the value of a log record.
    ///
    /// # Errors
    /// When frame version, type or version are unknown, the bytes are no such record, or bytes
    /// follow it.
    pub fn decode(value: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(value);
        let frame_version = reader.uvarint()?;
        if frame_version != FRAME_VERSION {
            let what = "metadata frame version";
            let value = frame_version;
            return Err(reader.error(DecodeErrorKind::UnknownRecord { what, value }));
        }
        let kind = reader.uvarint()?;
        let version = reader.uvarint()?;
        let version = i16::try_from(version).map_err(|_| {
            let what = "metadata record version";
            reader.error(DecodeErrorKind::UnknownRecord { what, value: version })
        })?;
        let record = Self::decode_body(kind, &mut reader, version)?;
        reader.finish()?;
        Ok(record)
    }

    /// The value of a log record in the newest version of its type.
    ///
    /// # Errors
    /// When a text or list is too long for its length field.
    pub fn encode_latest(&self) -> Result<Bytes, EncodeError> {
        self.encode(self.versions().max)
    }
}
