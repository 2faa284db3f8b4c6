//! The registry of APIs: key, name, messages, and which versions are advertised.
//!
//! One table says it all; `docs/PROTOCOL.md` is compared with it by a test. Versions with a schema
//! are those of the messages; a version is advertised only when its handler keeps the promises of
//! that version.

use super::messages as m;
use crate::wire::{
    DecodeError, EncodeError, Message, Reader, StructSchema, Versions, Writer, schema,
};

/// A request message: the API it belongs to and what answers it.
pub trait Request: Message {
    /// The API.
    const KEY: ApiKey;
    /// The message that answers.
    type Response: Message;
}

macro_rules! registry {
    ($($key:literal $name:ident $advertised:tt in $module:ident:
        $request:ident => $response:ident;)*) => {
        /// An API with a schema here. The number is the protocol's.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i16)]
        #[allow(missing_docs, reason = "the names are Kafka's, the messages say what they do")]
        pub enum ApiKey {
            $($name = $key,)*
        }

        impl ApiKey {
            /// Every API, in order of the keys.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Kafka's name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// Versions with a schema, so versions that can be decoded.
            pub const fn versions(self) -> Versions {
                match self { $(Self::$name => <m::$module::$request as Message>::VERSIONS,)* }
            }

            /// Flexible versions (KIP-482).
            pub const fn flexible(self) -> Versions {
                match self { $(Self::$name => <m::$module::$request as Message>::FLEXIBLE,)* }
            }

            /// Versions that ApiVersions tells clients of; [`Versions::NONE`] for an API without a
            /// handler. For Produce this starts at 0, below what is decoded (KAFKA-18659).
            pub const fn advertised(self) -> Versions {
                match self { $(Self::$name => schema!(@versions $advertised),)* }
            }

            /// The request as data.
            pub const fn request_schema(self) -> &'static StructSchema {
                match self { $(Self::$name => <m::$module::$request as Message>::SCHEMA,)* }
            }

            /// The response as data.
            pub const fn response_schema(self) -> &'static StructSchema {
                match self { $(Self::$name => <m::$module::$response as Message>::SCHEMA,)* }
            }
        }

        impl TryFrom<i16> for ApiKey {
            type Error = i16;

            fn try_from(key: i16) -> Result<Self, i16> {
                match key {
                    $($key => Ok(Self::$name),)*
                    _ => Err(key),
                }
            }
        }

        $(impl Request for m::$module::$request {
            const KEY: ApiKey = ApiKey::$name;
            type Response = m::$module::$response;
        })*

        /// Any request.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, reason = "one variant for each API")]
        pub enum RequestBody {
            $($name(m::$module::$request),)*
        }

        impl RequestBody {
            /// Read the body of a request; the frame must end with it.
            ///
            /// # Errors
            /// When there is no such version or the bytes are no such request.
            pub fn decode(
                key: ApiKey,
                reader: &mut Reader,
                version: i16,
            ) -> Result<Self, DecodeError> {
                let body = match key {
                    $(ApiKey::$name => Message::decode(reader, version).map(Self::$name)?,)*
                };
                reader.finish().map_err(|e| e.in_field(key.name()))?;
                Ok(body)
            }

            /// Write the body.
            ///
            /// # Errors
            /// When the version cannot say what the body says.
            pub fn encode(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
                match self { $(Self::$name(body) => Message::encode(body, writer, version),)* }
            }

            /// Its API.
            pub const fn key(&self) -> ApiKey {
                match self { $(Self::$name(_) => ApiKey::$name,)* }
            }
        }

        /// Any response.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, reason = "one variant for each API")]
        pub enum ResponseBody {
            $($name(m::$module::$response),)*
        }

        impl ResponseBody {
            /// Read the body of a response; the frame must end with it.
            ///
            /// # Errors
            /// When there is no such version or the bytes are no such response.
            pub fn decode(
                key: ApiKey,
                reader: &mut Reader,
                version: i16,
            ) -> Result<Self, DecodeError> {
                let body = match key {
                    $(ApiKey::$name => Message::decode(reader, version).map(Self::$name)?,)*
                };
                reader.finish().map_err(|e| e.in_field(key.name()))?;
                Ok(body)
            }

            /// Write the body.
            ///
            /// # Errors
            /// When the version cannot say what the body says.
            pub fn encode(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
                match self { $(Self::$name(body) => Message::encode(body, writer, version),)* }
            }

            /// Its API.
            pub const fn key(&self) -> ApiKey {
                match self { $(Self::$name(_) => ApiKey::$name,)* }
            }
        }

        $(impl From<m::$module::$response> for ResponseBody {
            fn from(body: m::$module::$response) -> Self {
                Self::$name(body)
            }
        })*
    };
}

// Key, name, versions advertised (`[none]` while there is no handler), file and messages.
registry! {
    0 Produce [0-13] in produce: ProduceRequest => ProduceResponse;
    1 Fetch [4-18] in fetch: FetchRequest => FetchResponse;
    2 ListOffsets [1-10] in list_offsets: ListOffsetsRequest => ListOffsetsResponse;
    3 Metadata [0-13] in metadata: MetadataRequest => MetadataResponse;
    8 OffsetCommit [2-10] in offset_commit: OffsetCommitRequest => OffsetCommitResponse;
    9 OffsetFetch [1-10] in offset_fetch: OffsetFetchRequest => OffsetFetchResponse;
    10 FindCoordinator [0-6] in find_coordinator:
        FindCoordinatorRequest => FindCoordinatorResponse;
    11 JoinGroup [0-9] in join_group: JoinGroupRequest => JoinGroupResponse;
    12 Heartbeat [0-4] in heartbeat: HeartbeatRequest => HeartbeatResponse;
    13 LeaveGroup [0-5] in leave_group: LeaveGroupRequest => LeaveGroupResponse;
    14 SyncGroup [0-5] in sync_group: SyncGroupRequest => SyncGroupResponse;
    15 DescribeGroups [0-6] in describe_groups: DescribeGroupsRequest => DescribeGroupsResponse;
    16 ListGroups [0-5] in list_groups: ListGroupsRequest => ListGroupsResponse;
    18 ApiVersions [0-4] in api_versions: ApiVersionsRequest => ApiVersionsResponse;
    19 CreateTopics [2-7] in create_topics: CreateTopicsRequest => CreateTopicsResponse;
    20 DeleteTopics [1-6] in delete_topics: DeleteTopicsRequest => DeleteTopicsResponse;
    21 DeleteRecords [0-2] in delete_records: DeleteRecordsRequest => DeleteRecordsResponse;
    22 InitProducerId [0-5] in init_producer_id: InitProducerIdRequest => InitProducerIdResponse;
    23 OffsetForLeaderEpoch [2-4] in offset_for_leader_epoch:
        OffsetForLeaderEpochRequest => OffsetForLeaderEpochResponse;
    24 AddPartitionsToTxn [none] in add_partitions_to_txn:
        AddPartitionsToTxnRequest => AddPartitionsToTxnResponse;
    25 AddOffsetsToTxn [none] in add_offsets_to_txn:
        AddOffsetsToTxnRequest => AddOffsetsToTxnResponse;
    26 EndTxn [none] in end_txn: EndTxnRequest => EndTxnResponse;
    28 TxnOffsetCommit [none] in txn_offset_commit:
        TxnOffsetCommitRequest => TxnOffsetCommitResponse;
    29 DescribeAcls [1-3] in describe_acls: DescribeAclsRequest => DescribeAclsResponse;
    30 CreateAcls [1-3] in create_acls: CreateAclsRequest => CreateAclsResponse;
    31 DeleteAcls [1-3] in delete_acls: DeleteAclsRequest => DeleteAclsResponse;
    32 DescribeConfigs [1-4] in describe_configs: DescribeConfigsRequest => DescribeConfigsResponse;
    33 AlterConfigs [0-2] in alter_configs: AlterConfigsRequest => AlterConfigsResponse;
    34 AlterReplicaLogDirs [1-2] in alter_replica_log_dirs:
        AlterReplicaLogDirsRequest => AlterReplicaLogDirsResponse;
    35 DescribeLogDirs [1-5] in describe_log_dirs:
        DescribeLogDirsRequest => DescribeLogDirsResponse;
    37 CreatePartitions [0-3] in create_partitions:
        CreatePartitionsRequest => CreatePartitionsResponse;
    42 DeleteGroups [0-2] in delete_groups: DeleteGroupsRequest => DeleteGroupsResponse;
    43 ElectLeaders [0-2] in elect_leaders: ElectLeadersRequest => ElectLeadersResponse;
    44 IncrementalAlterConfigs [0-1] in incremental_alter_configs:
        IncrementalAlterConfigsRequest => IncrementalAlterConfigsResponse;
    45 AlterPartitionReassignments [0-1] in alter_partition_reassignments:
        AlterPartitionReassignmentsRequest => AlterPartitionReassignmentsResponse;
    46 ListPartitionReassignments [0] in list_partition_reassignments:
        ListPartitionReassignmentsRequest => ListPartitionReassignmentsResponse;
    47 OffsetDelete [0-0] in offset_delete: OffsetDeleteRequest => OffsetDeleteResponse;
    48 DescribeClientQuotas [0-1] in describe_client_quotas:
        DescribeClientQuotasRequest => DescribeClientQuotasResponse;
    49 AlterClientQuotas [0-1] in alter_client_quotas:
        AlterClientQuotasRequest => AlterClientQuotasResponse;
    50 DescribeUserScramCredentials [0] in describe_user_scram_credentials:
        DescribeUserScramCredentialsRequest => DescribeUserScramCredentialsResponse;
    55 DescribeQuorum [0-2] in describe_quorum: DescribeQuorumRequest => DescribeQuorumResponse;
    57 UpdateFeatures [0-2] in update_features: UpdateFeaturesRequest => UpdateFeaturesResponse;
    60 DescribeCluster [0-2] in describe_cluster: DescribeClusterRequest => DescribeClusterResponse;
    61 DescribeProducers [0] in describe_producers:
        DescribeProducersRequest => DescribeProducersResponse;
    68 ConsumerGroupHeartbeat [0-1] in consumer_group_heartbeat:
        ConsumerGroupHeartbeatRequest => ConsumerGroupHeartbeatResponse;
    69 ConsumerGroupDescribe [0-1] in consumer_group_describe:
        ConsumerGroupDescribeRequest => ConsumerGroupDescribeResponse;
    74 ListConfigResources [0-1] in list_config_resources:
        ListConfigResourcesRequest => ListConfigResourcesResponse;
    75 DescribeTopicPartitions [0] in describe_topic_partitions:
        DescribeTopicPartitionsRequest => DescribeTopicPartitionsResponse;
}

impl ApiKey {
    /// Whether a request of `version` can be handled: it is advertised and has a schema.
    pub const fn serves(self, version: i16) -> bool {
        self.advertised().contains(version) && self.versions().contains(version)
    }

    /// Version of the request header in front of a request of `version`.
    pub const fn request_header_version(self, version: i16) -> i16 {
        if self.flexible().contains(version) { 2 } else { 1 }
    }

    /// Version of the response header in front of the response to a request of `version`.
    pub const fn response_header_version(self, version: i16) -> i16 {
        match self {
            Self::ApiVersions => 0,
            _ if self.flexible().contains(version) => 1,
            _ => 0,
        }
    }
}
