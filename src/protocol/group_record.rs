//! Records of `__consumer_offsets`: what a group coordinator remembers.
//!
//! A key begins with its type, a value with its version, both 16 bits. The schemas are those of
//! Apache Kafka 4.4 (`group-coordinator/src/main/resources/common/message`), written in the
//! versions that Kafka writes, so that its tools read them. A key of a type that is not here
//! belongs to somebody else (share and Streams groups) and decodes to nothing.

use bytes::Bytes;

use crate::model::Uuid;
use crate::wire::{DecodeError, EncodeError, Message, Reader, StrBytes, Writer, schema};

schema! {
    /// Key of a committed offset: types 0 and 1.
    message OffsetCommitKey [0-0] flexible [none] {
        /// Id of the group.
        group: StrBytes [0+];
        /// Name of the topic.
        topic: StrBytes [0+];
        /// Number of the partition.
        partition: i32 [0+];
    }

    /// A committed offset.
    message OffsetCommitValue [0-4] flexible [4+] {
        /// Offset of the next record to read.
        offset: i64 [0+];
        /// Leader epoch of the last record read; -1 if unknown.
        leader_epoch: i32 [3+], default -1, ignorable;
        /// Text of the client's own.
        metadata: StrBytes [0+];
        /// When it was committed.
        commit_timestamp: i64 [0+];
        /// When it goes; -1 for the broker's rule.
        expire_timestamp: i64 [1], default -1, ignorable;
    } & tagged {
        /// Id of the topic; zero if unknown.
        0: topic_id: Uuid [4+], ignorable;
    }

    /// Key of a classic group: type 2.
    message GroupMetadataKey [0-0] flexible [none] {
        /// Id of the group.
        group: StrBytes [0+];
    }

    /// A generation of a classic group.
    message GroupMetadataValue [0-4] flexible [4+] {
        /// Kind of protocol, such as `consumer`.
        protocol_type: StrBytes [0+];
        /// Generation of the group.
        generation: i32 [0+];
        /// Protocol that all members share; null without members.
        protocol: Option<StrBytes> [0+], null [0+];
        /// Member id of the leader; null without members.
        leader: Option<StrBytes> [0+], null [0+];
        /// When the state was entered; -1 if unknown.
        current_state_timestamp: i64 [2+], default -1, ignorable;
        /// The members.
        members: Vec<MemberMetadata> [0+];
    }

    /// One member of a classic group.
    struct MemberMetadata {
        /// Id of the member.
        member_id: StrBytes [0+];
        /// Instance id of a static member (KIP-345); null for a dynamic one.
        group_instance_id: Option<StrBytes> [3+], null [3+], ignorable;
        /// Client id of the member.
        client_id: StrBytes [0+];
        /// Address of the member.
        client_host: StrBytes [0+];
        /// Milliseconds that the member has to join again; -1 if unknown.
        rebalance_timeout: i32 [1+], default -1, ignorable;
        /// Milliseconds without a heartbeat after which the member is dead.
        session_timeout: i32 [0+];
        /// What the member said when it joined, in the client's encoding.
        subscription: Bytes [0+];
        /// What the member has been assigned, in the client's encoding.
        assignment: Bytes [0+];
    }

    /// Key of a consumer group (KIP-848): type 3.
    message ConsumerGroupMetadataKey [0-0] flexible [none] {
        /// Id of the group.
        group_id: StrBytes [0+];
    }

    /// A consumer group.
    message ConsumerGroupMetadataValue [0-0] flexible [0+] {
        /// Epoch of the group.
        epoch: i32 [0+];
    } & tagged {
        /// Hash of the topics the group subscribes to (KIP-1101).
        0: metadata_hash: i64 [0+];
    }

    /// Key of the topics of a consumer group, as Kafka 4.0 wrote them: type 4.
    message ConsumerGroupPartitionMetadataKey [0-0] flexible [none] {
        /// Id of the group.
        group_id: StrBytes [0+];
    }

    /// The topics of a consumer group, as Kafka 4.0 wrote them.
    message ConsumerGroupPartitionMetadataValue [0-0] flexible [0+] {
        /// One entry for each topic.
        topics: Vec<TopicMetadata> [0+];
    }

    /// One topic.
    struct TopicMetadata {
        /// Id of the topic.
        topic_id: Uuid [0+];
        /// Name of the topic.
        topic_name: StrBytes [0+];
        /// How many partitions it has.
        num_partitions: i32 [0+];
        /// Racks of the partitions; empty if unknown.
        partition_metadata: Vec<PartitionMetadata> [0+];
    }

    /// One partition.
    struct PartitionMetadata {
        /// Number of the partition.
        partition: i32 [0+];
        /// Racks of its replicas.
        racks: Vec<StrBytes> [0+];
    }

    /// Key of a member of a consumer group: type 5.
    message ConsumerGroupMemberMetadataKey [0-0] flexible [none] {
        /// Id of the group.
        group_id: StrBytes [0+];
        /// Id of the member.
        member_id: StrBytes [0+];
    }

    /// A member of a consumer group.
    message ConsumerGroupMemberMetadataValue [0-0] flexible [0+] {
        /// Instance id of a static member; null for a dynamic one.
        instance_id: Option<StrBytes> [0+], null [0+];
        /// Rack of the member; null without one.
        rack_id: Option<StrBytes> [0+], null [0+];
        /// Client id of the member.
        client_id: StrBytes [0+];
        /// Address of the member.
        client_host: StrBytes [0+];
        /// Topics the member subscribes to.
        subscribed_topic_names: Vec<StrBytes> [0+];
        /// Expression of the topics the member subscribes to.
        subscribed_topic_regex: Option<StrBytes> [0+], null [0+];
        /// Milliseconds to give up revoked partitions.
        rebalance_timeout_ms: i32 [0+], default -1;
        /// Assignor the member wishes for; null without a wish.
        server_assignor: Option<StrBytes> [0+], null [0+];
    } & tagged {
        /// What a member of the classic protocol has said; null for the consumer protocol.
        0: classic_member_metadata: Option<ClassicMemberMetadata> [0+], null [0+];
    }

    /// A member of a consumer group that speaks the classic protocol.
    struct ClassicMemberMetadata {
        /// Milliseconds without a heartbeat after which the member is dead.
        session_timeout_ms: i32 [0+];
        /// Protocols of the member, best first.
        supported_protocols: Vec<ClassicProtocol> [0+];
    }

    /// One protocol of the member.
    struct ClassicProtocol {
        /// Name of the protocol.
        name: StrBytes [0+];
        /// What the member says to the leader, in the client's encoding.
        metadata: Bytes [0+];
    }

    /// Key of the target assignment of a consumer group: type 6.
    message ConsumerGroupTargetAssignmentMetadataKey [0-0] flexible [none] {
        /// Id of the group.
        group_id: StrBytes [0+];
    }

    /// The target assignment of a consumer group.
    message ConsumerGroupTargetAssignmentMetadataValue [0-0] flexible [0+] {
        /// Epoch of the assignment.
        assignment_epoch: i32 [0+];
    } & tagged {
        /// When it was computed (KIP-1263).
        0: assignment_timestamp: i64 [0+], ignorable;
    }

    /// Key of what one member shall have: type 7.
    message ConsumerGroupTargetAssignmentMemberKey [0-0] flexible [none] {
        /// Id of the group.
        group_id: StrBytes [0+];
        /// Id of the member.
        member_id: StrBytes [0+];
    }

    /// What one member shall have.
    message ConsumerGroupTargetAssignmentMemberValue [0-0] flexible [0+] {
        /// One entry for each topic.
        topic_partitions: Vec<TopicPartition> [0+];
    }

    /// Partitions of one topic.
    struct TopicPartition {
        /// Id of the topic.
        topic_id: Uuid [0+];
        /// Numbers of the partitions.
        partitions: Vec<i32> [0+];
    }

    /// Key of what one member has: type 8.
    message ConsumerGroupCurrentMemberAssignmentKey [0-0] flexible [none] {
        /// Id of the group.
        group_id: StrBytes [0+];
        /// Id of the member.
        member_id: StrBytes [0+];
    }

    /// What one member has.
    message ConsumerGroupCurrentMemberAssignmentValue [0-0] flexible [0+] {
        /// Epoch of the member.
        member_epoch: i32 [0+];
        /// The epoch before: its answer may have been lost.
        previous_member_epoch: i32 [0+];
        /// 0 stable, 1 has partitions to revoke, 2 waits for partitions of others.
        state: i8 [0+];
        /// What it owns.
        assigned_partitions: Vec<TopicPartitions> [0+];
        /// What it must give up.
        partitions_pending_revocation: Vec<TopicPartitions> [0+];
    }

    /// Partitions of one topic, with the epochs in which they were given.
    struct TopicPartitions {
        /// Id of the topic.
        topic_id: Uuid [0+];
        /// Numbers of the partitions.
        partitions: Vec<i32> [0+];
    } & tagged {
        /// Epoch of each partition, in their order; null in records of Kafka before 4.3.
        0: assignment_epochs: Option<Vec<i32>> [0+], null [0+];
    }

    /// Key of a resolved expression: type 16.
    message ConsumerGroupRegularExpressionKey [0-0] flexible [none] {
        /// Id of the group.
        group_id: StrBytes [0+];
        /// The expression.
        regular_expression: StrBytes [0+];
    }

    /// The topics that an expression stands for.
    message ConsumerGroupRegularExpressionValue [0-0] flexible [0+] {
        /// Names of the topics.
        topics: Vec<StrBytes> [0+];
        /// Version of the metadata that was looked at.
        version: i64 [0+];
        /// When it was looked at.
        timestamp: i64 [0+];
    }
}

/// Types of keys, with what follows them and the version their values are written in.
macro_rules! group_records {
    ($($(#[$doc:meta])* $name:ident [$kind:literal $(, $other:literal)?] $key:ident $value:ident
        $version:expr;)*) =>
    {
        /// One record: a key, and a value or a tombstone.
        #[derive(Clone, Debug, PartialEq)]
        pub enum GroupRecord {
            $($(#[$doc])* $name($key, Option<$value>),)*
        }

        impl GroupRecord {
            /// Key and value as bytes.
            ///
            /// # Errors
            /// When a text in it is longer than its length field allows.
            pub fn encode(&self) -> Result<(Bytes, Option<Bytes>), EncodeError> {
                match self {
                    $(Self::$name(key, value) => {
                        let version = |value: &$value| -> i16 { ($version)(value) };
                        let key = framed($kind, key, 0)?;
                        let value = match value {
                            Some(value) => {
                                let version = version(value);
                                Some(framed(version, value, version)?)
                            }
                            None => None,
                        };
                        Ok((key, value))
                    })*
                }
            }

            /// The record in `key` and `value`; nothing when the type of the key is unknown.
            ///
            /// # Errors
            /// When the bytes are no such record.
            pub fn decode(
                key: Bytes,
                value: Option<Bytes>,
            ) -> Result<Option<Self>, DecodeError> {
                let mut reader = Reader::new(key);
                let kind = reader.i16()?;
                match kind {
                    $($kind $(| $other)? => {
                        let key = $key::decode(&mut reader, 0)?;
                        reader.finish()?;
                        Ok(Some(Self::$name(key, value.map(read_value::<$value>).transpose()?)))
                    })*
                    _ => Ok(None),
                }
            }
        }
    };
}

group_records! {
    /// A committed offset.
    OffsetCommit [1, 0] OffsetCommitKey OffsetCommitValue
        |value: &OffsetCommitValue| if value.expire_timestamp == -1 { 4 } else { 1 };
    /// A generation of a classic group.
    GroupMetadata [2] GroupMetadataKey GroupMetadataValue |_: &_| 3;
    /// A consumer group and its epoch.
    ConsumerGroupMetadata [3] ConsumerGroupMetadataKey ConsumerGroupMetadataValue |_: &_| 0;
    /// Topics of a consumer group; only tombstones are written.
    ConsumerGroupPartitionMetadata [4]
        ConsumerGroupPartitionMetadataKey ConsumerGroupPartitionMetadataValue |_: &_| 0;
    /// A member of a consumer group.
    ConsumerGroupMemberMetadata [5]
        ConsumerGroupMemberMetadataKey ConsumerGroupMemberMetadataValue |_: &_| 0;
    /// Epoch of a target assignment.
    ConsumerGroupTargetAssignmentMetadata [6]
        ConsumerGroupTargetAssignmentMetadataKey ConsumerGroupTargetAssignmentMetadataValue
        |_: &_| 0;
    /// What a member shall have.
    ConsumerGroupTargetAssignmentMember [7]
        ConsumerGroupTargetAssignmentMemberKey ConsumerGroupTargetAssignmentMemberValue |_: &_| 0;
    /// What a member has.
    ConsumerGroupCurrentMemberAssignment [8]
        ConsumerGroupCurrentMemberAssignmentKey ConsumerGroupCurrentMemberAssignmentValue
        |_: &_| 0;
    /// Topics of an expression.
    ConsumerGroupRegularExpression [16]
        ConsumerGroupRegularExpressionKey ConsumerGroupRegularExpressionValue |_: &_| 0;
}

fn framed<M: Message>(first: i16, message: &M, version: i16) -> Result<Bytes, EncodeError> {
    let mut writer = Writer::with_capacity(message.size_hint() + 2);
    writer.i16(first);
    message.encode(&mut writer, version)?;
    Ok(writer.into_bytes())
}

/// A version that is newer than those here is read as the newest of them, and what it says beyond
/// is left out, as in Kafka: a downgrade must not leave groups without a coordinator.
fn read_value<M: Message>(value: Bytes) -> Result<M, DecodeError> {
    let mut reader = Reader::new(value);
    let version = reader.i16()?;
    let message = M::decode(&mut reader, version.min(M::VERSIONS.max))?;
    if version <= M::VERSIONS.max {
        reader.finish()?;
    }
    Ok(message)
}
