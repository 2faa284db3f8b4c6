//! What consumers of classic groups say inside JoinGroup and SyncGroup: the embedded protocol
//! `consumer` (KIP-54, KIP-429, KIP-792, KIP-881).
//!
//! A coordinator of classic groups need not read it; who may forget which offset, and groups that
//! change from one protocol to the other, do. Both messages begin with their version. A version
//! that is newer than those here is read as the newest of them, as Kafka does.

use bytes::Bytes;

use crate::wire::{
    DecodeError, DecodeErrorKind, EncodeError, Message, Reader, StrBytes, Writer, schema,
};

/// The protocol type of consumers in JoinGroup.
pub const PROTOCOL_TYPE: &str = "consumer";

schema! {
    /// What a consumer wants.
    message ConsumerProtocolSubscription [0-3] flexible [none] {
        /// Topics it subscribes to.
        topics: Vec<StrBytes> [0+];
        /// Bytes of the assignor's own.
        user_data: Option<Bytes> [0+], null [0+];
        /// What it owns at the moment (KIP-429).
        owned_partitions: Vec<TopicPartition> [1+], ignorable;
        /// The generation in which it got them (KIP-792); -1 if unknown.
        generation_id: i32 [2+], default -1, ignorable;
        /// Rack of the consumer (KIP-881); null without one.
        rack_id: Option<StrBytes> [3+], null [3+], ignorable;
    }

    /// What a consumer gets.
    message ConsumerProtocolAssignment [0-3] flexible [none] {
        /// One entry for each topic.
        assigned_partitions: Vec<TopicPartition> [0+];
        /// Bytes of the assignor's own.
        user_data: Option<Bytes> [0+], null [0+];
    }

    /// Partitions of one topic.
    struct TopicPartition {
        /// Name of the topic.
        topic: StrBytes [0+];
        /// Numbers of the partitions.
        partitions: Vec<i32> [0+];
    }
}

/// The version in front of a message of this protocol.
///
/// # Errors
/// When there is none or it is negative.
pub fn version_of(bytes: &Bytes) -> Result<i16, DecodeError> {
    let mut reader = Reader::new(bytes.clone());
    let version = reader.i16()?;
    if version < 0 {
        return Err(reader.error(DecodeErrorKind::UnknownVersion { version }));
    }
    Ok(version)
}

/// Read a message with its version in front. Bytes behind it are ignored, for newer versions may
/// say more.
///
/// # Errors
/// When the bytes are no such message.
pub fn read<M: Message>(bytes: Bytes) -> Result<M, DecodeError> {
    let version = version_of(&bytes)?.min(M::VERSIONS.max);
    let mut reader = Reader::new(bytes);
    reader.i16()?;
    M::decode(&mut reader, version)
}

/// The bytes of a message with its version in front; a version that is too new here becomes the
/// newest one.
///
/// # Errors
/// When a text is longer than its length field allows.
pub fn write<M: Message>(message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let version = version.clamp(M::VERSIONS.min, M::VERSIONS.max);
    let mut writer = Writer::with_capacity(message.size_hint() + 2);
    writer.i16(version);
    message.encode(&mut writer, version)?;
    Ok(writer.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_are_read_in_every_version() {
        let subscription = ConsumerProtocolSubscription {
            topics: vec!["a".into()],
            user_data: None,
            owned_partitions: vec![TopicPartition { topic: "a".into(), partitions: vec![3] }],
            generation_id: 7,
            rack_id: Some("r".into()),
        };
        for version in 0..=3 {
            let bytes = write(&subscription, version).unwrap();
            let read: ConsumerProtocolSubscription = read(bytes).unwrap();
            assert_eq!(read.topics, subscription.topics);
            assert_eq!(read.owned_partitions.is_empty(), version == 0);
            assert_eq!(read.rack_id.is_some(), version == 3);
        }
        let mut newer = write(&subscription, 3).unwrap().to_vec();
        newer[1] = 9;
        newer.push(1);
        assert_eq!(read::<ConsumerProtocolSubscription>(newer.into()).unwrap(), subscription);
        for bad in [&b""[..], b"\0", b"\xff\xff\0\0\0\0", b"\0\0\0\0\0\x01"] {
            assert!(read::<ConsumerProtocolSubscription>(Bytes::from_static(bad)).is_err());
        }
    }
}
