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
    ($($key:literal $name:ident $request:path => $response:path, advertised $advertised:tt;)*) => {
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
                match self { $(Self::$name => <$request as Message>::VERSIONS,)* }
            }

            /// Flexible versions (KIP-482).
            pub const fn flexible(self) -> Versions {
                match self { $(Self::$name => <$request as Message>::FLEXIBLE,)* }
            }

            /// Versions that ApiVersions tells clients of; [`Versions::NONE`] for an API without a
            /// handler. For Produce this starts at 0, below what is decoded (KAFKA-18659).
            pub const fn advertised(self) -> Versions {
                match self { $(Self::$name => schema!(@versions $advertised),)* }
            }

            /// The request as data.
            pub const fn request_schema(self) -> &'static StructSchema {
                match self { $(Self::$name => <$request as Message>::SCHEMA,)* }
            }

            /// The response as data.
            pub const fn response_schema(self) -> &'static StructSchema {
                match self { $(Self::$name => <$response as Message>::SCHEMA,)* }
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

        $(impl Request for $request {
            const KEY: ApiKey = ApiKey::$name;
            type Response = $response;
        })*

        /// Any request.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs, reason = "one variant for each API")]
        pub enum RequestBody {
            $($name($request),)*
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
            $($name($response),)*
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

        $(impl From<$response> for ResponseBody {
            fn from(body: $response) -> Self {
                Self::$name(body)
            }
        })*
    };
}

registry! {
    0 Produce m::produce::ProduceRequest => m::produce::ProduceResponse, advertised [0-13];
    1 Fetch m::fetch::FetchRequest => m::fetch::FetchResponse, advertised [4-17];
    2 ListOffsets m::list_offsets::ListOffsetsRequest => m::list_offsets::ListOffsetsResponse, advertised [1-10];
    3 Metadata m::metadata::MetadataRequest => m::metadata::MetadataResponse, advertised [0-13];
    10 FindCoordinator m::find_coordinator::FindCoordinatorRequest => m::find_coordinator::FindCoordinatorResponse, advertised [none];
    18 ApiVersions m::api_versions::ApiVersionsRequest => m::api_versions::ApiVersionsResponse, advertised [0-4];
    19 CreateTopics m::create_topics::CreateTopicsRequest => m::create_topics::CreateTopicsResponse, advertised [2-7];
    20 DeleteTopics m::delete_topics::DeleteTopicsRequest => m::delete_topics::DeleteTopicsResponse, advertised [1-6];
    22 InitProducerId m::init_producer_id::InitProducerIdRequest => m::init_producer_id::InitProducerIdResponse, advertised [0-5];
    23 OffsetForLeaderEpoch m::offset_for_leader_epoch::OffsetForLeaderEpochRequest => m::offset_for_leader_epoch::OffsetForLeaderEpochResponse, advertised [2-4];
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
