//! Kafka's error codes: number, name, whether a client may retry, and a default text.
//!
//! The numbers and names are the protocol's (`org.apache.kafka.common.protocol.Errors`, 4.4); the
//! texts are ours. Which error a failure becomes is decided in `server`, and in `coordinator` for
//! groups, where the answer is the rule itself; nowhere else.

use std::fmt;

use crate::wire::{DecodeError, EncodeError, Field, Kind, Reader, Shape, Writer};

/// An error code as it travels: 0 is success. Numbers that this list does not know are kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ErrorCode(pub i16);

macro_rules! error_codes {
    ($($code:literal $name:ident $class:ident $text:literal;)*) => {
        impl ErrorCode {
            $(#[doc = $text]
            pub const $name: Self = Self($code);)*

            /// Every code of the list, in order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The protocol's name, if the number is known.
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($code => Some(stringify!($name)),)*
                    _ => None,
                }
            }

            /// A sentence for people, for replies that carry a message.
            pub fn text(self) -> &'static str {
                match self.0 {
                    $($code => $text,)*
                    _ => "An error that this version does not know.",
                }
            }

            /// Whether the client may send the same request again and hope. Clients decide by
            /// this, so a wrong choice of code loses or doubles records.
            pub fn is_retriable(self) -> bool {
                match self.0 {
                    $($code => error_codes!(@$class),)*
                    _ => false,
                }
            }
        }
    };
    (@fatal) => { false };
    (@retry) => { true };
}

error_codes! {
    -1 UNKNOWN_SERVER_ERROR fatal "The broker failed in a way it did not expect.";
    0 NONE fatal "Success.";
    1 OFFSET_OUT_OF_RANGE fatal "The offset is outside the log of this partition.";
    2 CORRUPT_MESSAGE retry "The batch is damaged: checksum, length or count do not fit.";
    3 UNKNOWN_TOPIC_OR_PARTITION retry "This broker has no such topic or partition.";
    4 INVALID_FETCH_SIZE fatal "The fetch size is not valid.";
    5 LEADER_NOT_AVAILABLE retry "The partition has no leader yet.";
    6 NOT_LEADER_OR_FOLLOWER retry
        "This broker does not lead the partition, or holds no replica of it.";
    7 REQUEST_TIMED_OUT retry "The request took longer than its timeout.";
    8 BROKER_NOT_AVAILABLE fatal "The broker is not available.";
    9 REPLICA_NOT_AVAILABLE retry "The replica of this partition is not available.";
    10 MESSAGE_TOO_LARGE fatal "The batch is larger than max.message.bytes.";
    11 STALE_CONTROLLER_EPOCH fatal "Another controller has taken over.";
    12 OFFSET_METADATA_TOO_LARGE fatal "The metadata string of an offset commit is too long.";
    13 NETWORK_EXCEPTION retry "The connection ended before the reply.";
    14 COORDINATOR_LOAD_IN_PROGRESS retry "The coordinator is still reading its state.";
    15 COORDINATOR_NOT_AVAILABLE retry "There is no coordinator at the moment.";
    16 NOT_COORDINATOR retry "This broker is not the coordinator; look it up again.";
    17 INVALID_TOPIC_EXCEPTION fatal
        "The topic name is not legal, or the topic may not be used so.";
    18 RECORD_LIST_TOO_LARGE fatal "The batch is larger than a segment may be.";
    19 NOT_ENOUGH_REPLICAS retry
        "Fewer replicas are in sync than min.insync.replicas asks; nothing was written.";
    20 NOT_ENOUGH_REPLICAS_AFTER_APPEND retry
        "Written, but then fewer replicas were in sync than required.";
    21 INVALID_REQUIRED_ACKS fatal "acks must be 0, 1 or -1 (all).";
    22 ILLEGAL_GENERATION fatal "The generation id is not the group's current one.";
    23 INCONSISTENT_GROUP_PROTOCOL fatal
        "The member's protocol type or protocols do not fit the group's.";
    24 INVALID_GROUP_ID fatal "The group id is not valid.";
    25 UNKNOWN_MEMBER_ID fatal "The group has no such member.";
    26 INVALID_SESSION_TIMEOUT fatal "The session timeout is outside the broker's limits.";
    27 REBALANCE_IN_PROGRESS fatal "The group rebalances; join again.";
    28 INVALID_COMMIT_OFFSET_SIZE fatal "The offset commit is too large.";
    29 TOPIC_AUTHORIZATION_FAILED fatal "Not allowed on this topic.";
    30 GROUP_AUTHORIZATION_FAILED fatal "Not allowed on this group.";
    31 CLUSTER_AUTHORIZATION_FAILED fatal "Not allowed on this cluster.";
    32 INVALID_TIMESTAMP fatal "A record's timestamp is outside the topic's limits.";
    33 UNSUPPORTED_SASL_MECHANISM fatal "The SASL mechanism is not supported.";
    34 ILLEGAL_SASL_STATE fatal "This request does not fit the state of the SASL exchange.";
    35 UNSUPPORTED_VERSION fatal "The version of this API is not supported.";
    36 TOPIC_ALREADY_EXISTS fatal "A topic of this name exists.";
    37 INVALID_PARTITIONS fatal "The number of partitions is not valid.";
    38 INVALID_REPLICATION_FACTOR fatal
        "The replication factor is below 1 or above the number of brokers.";
    39 INVALID_REPLICA_ASSIGNMENT fatal "The replica assignment is not valid.";
    40 INVALID_CONFIG fatal "A configuration key or value is not valid.";
    41 NOT_CONTROLLER retry "This broker is not the controller.";
    42 INVALID_REQUEST fatal "The request contradicts itself or the protocol.";
    43 UNSUPPORTED_FOR_MESSAGE_FORMAT fatal "The record format does not support this request.";
    44 POLICY_VIOLATION fatal "A policy of the broker forbids this.";
    45 OUT_OF_ORDER_SEQUENCE_NUMBER fatal
        "The sequence number does not follow the producer's last one.";
    46 DUPLICATE_SEQUENCE_NUMBER fatal "The sequence number was used before.";
    47 INVALID_PRODUCER_EPOCH fatal "The producer epoch is older than the one known here.";
    48 INVALID_TXN_STATE fatal "The transaction is not in a state for this operation.";
    49 INVALID_PRODUCER_ID_MAPPING fatal
        "The producer id does not belong to this transactional id.";
    50 INVALID_TRANSACTION_TIMEOUT fatal
        "The transaction timeout is above transaction.max.timeout.ms.";
    51 CONCURRENT_TRANSACTIONS retry "Another operation on this transaction is still running.";
    52 TRANSACTION_COORDINATOR_FENCED fatal "A newer transaction coordinator has taken over.";
    53 TRANSACTIONAL_ID_AUTHORIZATION_FAILED fatal "Not allowed on this transactional id.";
    54 SECURITY_DISABLED fatal "Security is not enabled on this broker.";
    55 OPERATION_NOT_ATTEMPTED fatal "Not tried, because another part of the request failed.";
    56 KAFKA_STORAGE_ERROR retry "The disk failed under this partition.";
    57 LOG_DIR_NOT_FOUND fatal "The broker has no such log directory.";
    58 SASL_AUTHENTICATION_FAILED fatal "SASL authentication failed.";
    59 UNKNOWN_PRODUCER_ID fatal "Nothing is known here about this producer id.";
    60 REASSIGNMENT_IN_PROGRESS fatal "A reassignment of this partition is running.";
    61 DELEGATION_TOKEN_AUTH_DISABLED fatal "Delegation tokens are not enabled.";
    62 DELEGATION_TOKEN_NOT_FOUND fatal "There is no such delegation token.";
    63 DELEGATION_TOKEN_OWNER_MISMATCH fatal "The principal neither owns nor may renew this token.";
    64 DELEGATION_TOKEN_REQUEST_NOT_ALLOWED fatal
        "Delegation tokens cannot be asked for on this channel.";
    65 DELEGATION_TOKEN_AUTHORIZATION_FAILED fatal "Not allowed on this delegation token.";
    66 DELEGATION_TOKEN_EXPIRED fatal "The delegation token has expired.";
    67 INVALID_PRINCIPAL_TYPE fatal "The principal type is not supported.";
    68 NON_EMPTY_GROUP fatal "The group still has members.";
    69 GROUP_ID_NOT_FOUND fatal "There is no such group.";
    70 FETCH_SESSION_ID_NOT_FOUND retry "There is no such fetch session; start a new one.";
    71 INVALID_FETCH_SESSION_EPOCH retry "The epoch is not the fetch session's next one.";
    72 LISTENER_NOT_FOUND retry "The leader has no listener of the name the request came in on.";
    73 TOPIC_DELETION_DISABLED fatal "delete.topic.enable is false.";
    74 FENCED_LEADER_EPOCH retry "The leader epoch of the request is older than the broker's.";
    75 UNKNOWN_LEADER_EPOCH retry "The leader epoch of the request is newer than the broker's.";
    76 UNSUPPORTED_COMPRESSION_TYPE fatal
        "The request's version does not know the compression of the batch.";
    77 STALE_BROKER_EPOCH fatal "The broker has registered again since.";
    78 OFFSET_NOT_AVAILABLE retry "The new leader does not know its high watermark yet.";
    79 MEMBER_ID_REQUIRED fatal "Join again with the member id of this reply.";
    80 PREFERRED_LEADER_NOT_AVAILABLE retry "The preferred leader is not available.";
    81 GROUP_MAX_SIZE_REACHED fatal "The group has as many members as it may.";
    82 FENCED_INSTANCE_ID fatal "Another consumer has taken this group instance id.";
    83 ELIGIBLE_LEADERS_NOT_AVAILABLE retry "No replica may become leader.";
    84 ELECTION_NOT_NEEDED retry "The partition has the leader it should have.";
    85 NO_REASSIGNMENT_IN_PROGRESS fatal "No reassignment of this partition is running.";
    86 GROUP_SUBSCRIBED_TO_TOPIC fatal "The group is subscribed to the topic, so its offsets stay.";
    87 INVALID_RECORD fatal "A record breaks a rule of the topic.";
    88 UNSTABLE_OFFSET_COMMIT retry "Offsets of an open transaction are not decided yet.";
    89 THROTTLING_QUOTA_EXCEEDED retry "The quota is used up; try again later.";
    90 PRODUCER_FENCED fatal "A newer producer uses this transactional id.";
    91 RESOURCE_NOT_FOUND fatal "There is no such resource.";
    92 DUPLICATE_RESOURCE fatal "The request names the same resource twice.";
    93 UNACCEPTABLE_CREDENTIAL fatal "The credential does not meet the requirements.";
    94 INCONSISTENT_VOTER_SET fatal "Sender and receiver differ about the voters.";
    95 INVALID_UPDATE_VERSION fatal "The state has changed since it was read.";
    96 FEATURE_UPDATE_FAILED fatal "The features could not be updated.";
    97 PRINCIPAL_DESERIALIZATION_FAILURE fatal
        "The principal of a forwarded request cannot be read.";
    98 SNAPSHOT_NOT_FOUND fatal "There is no such snapshot.";
    99 POSITION_OUT_OF_RANGE fatal "The position is outside the snapshot.";
    100 UNKNOWN_TOPIC_ID retry "This broker knows no topic of this id.";
    101 DUPLICATE_BROKER_REGISTRATION fatal "Another broker uses this id.";
    102 BROKER_ID_NOT_REGISTERED fatal "No broker of this id is registered.";
    103 INCONSISTENT_TOPIC_ID retry "The log belongs to another topic id.";
    104 INCONSISTENT_CLUSTER_ID fatal "The cluster id is another one.";
    105 TRANSACTIONAL_ID_NOT_FOUND fatal "There is no such transactional id.";
    106 FETCH_SESSION_TOPIC_ID_ERROR retry
        "The fetch session mixes requests with and without topic ids.";
    107 INELIGIBLE_REPLICA fatal "A replica of the new in-sync set may not be in it.";
    108 NEW_LEADER_ELECTED fatal "Done, and the partition has another leader now.";
    109 OFFSET_MOVED_TO_TIERED_STORAGE fatal "The offset lies in tiered storage.";
    110 FENCED_MEMBER_EPOCH fatal
        "The member epoch is fenced; give up all partitions and join again.";
    111 UNRELEASED_INSTANCE_ID fatal "Another member still holds this instance id.";
    112 UNSUPPORTED_ASSIGNOR fatal "The group does not support the assignor.";
    113 STALE_MEMBER_EPOCH fatal "The member epoch is old; try again with the next heartbeat's.";
    114 MISMATCHED_ENDPOINT_TYPE fatal "The request went to the wrong kind of endpoint.";
    115 UNSUPPORTED_ENDPOINT_TYPE fatal "This kind of endpoint is not supported.";
    116 UNKNOWN_CONTROLLER_ID fatal "There is no controller of this id.";
    117 UNKNOWN_SUBSCRIPTION_ID fatal "The telemetry subscription is not known or old.";
    118 TELEMETRY_TOO_LARGE fatal "The telemetry is larger than accepted.";
    119 INVALID_REGISTRATION fatal "The controller does not accept the broker's registration.";
    120 TRANSACTION_ABORTABLE fatal "The transaction has failed; abort it and go on.";
    121 INVALID_RECORD_STATE fatal "The record is not in a state to be acknowledged.";
    122 SHARE_SESSION_NOT_FOUND retry "There is no such share session.";
    123 INVALID_SHARE_SESSION_EPOCH retry "The epoch is not the share session's next one.";
    124 FENCED_STATE_EPOCH fatal "The state epoch is another one.";
    125 INVALID_VOTER_KEY fatal "The voter key is not the receiver's.";
    126 DUPLICATE_VOTER fatal "The voter is a voter already.";
    127 VOTER_NOT_FOUND fatal "There is no such voter.";
    128 INVALID_REGULAR_EXPRESSION fatal "The regular expression is not valid.";
    129 REBOOTSTRAP_REQUIRED fatal
        "The client's metadata is too old; start again from the bootstrap servers.";
    130 STREAMS_INVALID_TOPOLOGY fatal "The topology is not valid.";
    131 STREAMS_INVALID_TOPOLOGY_EPOCH fatal "The topology epoch is not valid.";
    132 STREAMS_TOPOLOGY_FENCED fatal "The topology epoch is old.";
    133 SHARE_SESSION_LIMIT_REACHED retry "There are as many share sessions as there may be.";
    134 GROUP_DELETION_FAILED fatal "The group could not be deleted; its message says why.";
    135 STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED fatal
        "The topology description could not be updated.";
    136 CONTROLLER_ID_NOT_REGISTERED fatal "No controller of this id is registered.";
}

impl ErrorCode {
    /// Whether this is [`ErrorCode::NONE`].
    pub fn is_ok(self) -> bool {
        self == Self::NONE
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => write!(f, "unknown error code {}", self.0),
        }
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Field for ErrorCode {
    const KIND: Kind = Kind::Int16;

    #[inline]
    fn bytes_min(_at: Shape) -> usize {
        2
    }

    #[inline]
    fn read(reader: &mut Reader, _at: Shape) -> Result<Self, DecodeError> {
        reader.i16().map(Self)
    }

    #[inline]
    fn write(&self, writer: &mut Writer, _at: Shape) -> Result<(), EncodeError> {
        writer.i16(self.0);
        Ok(())
    }

    #[inline]
    fn size_hint(&self) -> usize {
        2
    }
}
