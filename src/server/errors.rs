//! Our errors to Kafka's: the only translation. The choice is part of correctness: clients retry,
//! refresh metadata, bump their epoch or give up according to the number.

use crate::cluster::controller::ControlError;
use crate::partition::append::AppendFailure;
use crate::partition::producers::Refusal;
use crate::partition::read::ReadRefusal;
use crate::protocol::ErrorCode;
use crate::record::BatchErrorKind;
use crate::shard::call::{FetchRefusal, GroupRefusal, OffsetRefusal, ProduceRefusal};
use crate::storage::StorageError;

/// A code and, where a client shows it, a sentence.
pub type Refused = (ErrorCode, Option<String>);

/// Why a batch was not valid.
pub fn batch(kind: BatchErrorKind) -> ErrorCode {
    match kind {
        BatchErrorKind::CorruptMessage => ErrorCode::CORRUPT_MESSAGE,
        BatchErrorKind::MessageTooLarge => ErrorCode::MESSAGE_TOO_LARGE,
        BatchErrorKind::InvalidTimestamp => ErrorCode::INVALID_TIMESTAMP,
        BatchErrorKind::InvalidRequest => ErrorCode::INVALID_REQUEST,
        BatchErrorKind::UnsupportedCompressionType => ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
        BatchErrorKind::InvalidRecord => ErrorCode::INVALID_RECORD,
    }
}

/// Why a valid batch was not appended.
pub fn produce(refusal: &ProduceRefusal) -> Refused {
    match refusal {
        ProduceRefusal::UnknownPartition | ProduceRefusal::Append(AppendFailure::Deleted) => {
            (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, None)
        }
        ProduceRefusal::Append(AppendFailure::Refused(Refusal::OutOfOrder { expected, got })) => (
            ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
            Some(format!("Out of order sequence number: {got} came, {expected} was due")),
        ),
        ProduceRefusal::Append(AppendFailure::Refused(Refusal::StaleEpoch { current, got })) => (
            ErrorCode::INVALID_PRODUCER_EPOCH,
            Some(format!("Epoch {got} is older than the last known epoch {current}")),
        ),
        ProduceRefusal::Append(AppendFailure::Storage(error)) => {
            (ErrorCode::KAFKA_STORAGE_ERROR, Some(storage_text(error)))
        }
    }
}

/// Why nothing was read.
pub fn fetch(refusal: &FetchRefusal) -> ErrorCode {
    match refusal {
        FetchRefusal::UnknownPartition => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        FetchRefusal::Read(refusal) => read(refusal),
    }
}

/// Why an offset operation was refused.
pub fn offset(refusal: &OffsetRefusal) -> ErrorCode {
    match refusal {
        OffsetRefusal::UnknownPartition => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        OffsetRefusal::OutOfRange => ErrorCode::OFFSET_OUT_OF_RANGE,
        OffsetRefusal::Policy => ErrorCode::POLICY_VIOLATION,
        OffsetRefusal::Read(refusal) => read(refusal),
    }
}

fn read(refusal: &ReadRefusal) -> ErrorCode {
    match refusal {
        ReadRefusal::OutOfRange { .. } => ErrorCode::OFFSET_OUT_OF_RANGE,
        ReadRefusal::FencedEpoch => ErrorCode::FENCED_LEADER_EPOCH,
        ReadRefusal::UnknownEpoch => ErrorCode::UNKNOWN_LEADER_EPOCH,
        ReadRefusal::Deleted => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        ReadRefusal::Storage(_) => ErrorCode::KAFKA_STORAGE_ERROR,
    }
}

/// Why no coordinator answered.
pub fn group(refusal: GroupRefusal) -> ErrorCode {
    match refusal {
        GroupRefusal::Loading => ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
        GroupRefusal::NotHere => ErrorCode::NOT_COORDINATOR,
        GroupRefusal::NotAvailable => ErrorCode::COORDINATOR_NOT_AVAILABLE,
    }
}

/// Why metadata was not changed.
pub fn control(error: &ControlError) -> Refused {
    use ControlError as E;
    let (code, text) = match error {
        E::TopicExists(text) => (ErrorCode::TOPIC_ALREADY_EXISTS, text),
        E::InvalidTopic(text) => (ErrorCode::INVALID_TOPIC_EXCEPTION, text),
        E::UnknownTopic(text) => (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, text),
        E::UnknownTopicId(text) => (ErrorCode::UNKNOWN_TOPIC_ID, text),
        E::InvalidPartitions(text) => (ErrorCode::INVALID_PARTITIONS, text),
        E::InvalidReplicationFactor(text) => (ErrorCode::INVALID_REPLICATION_FACTOR, text),
        E::InvalidAssignment(text) => (ErrorCode::INVALID_REPLICA_ASSIGNMENT, text),
        E::InvalidConfig(text) => (ErrorCode::INVALID_CONFIG, text),
        E::InvalidRequest(text) => (ErrorCode::INVALID_REQUEST, text),
        E::OverLimit(text) => (ErrorCode::POLICY_VIOLATION, text),
        E::Storage(text) => (ErrorCode::KAFKA_STORAGE_ERROR, text),
    };
    (code, Some(text.clone()))
}

/// What a client is told about a storage failure; the log line says more.
fn storage_text(error: &StorageError) -> String {
    match error {
        StorageError::Full(_) => {
            "The disk is full; produce is refused until there is space.".into()
        }
        StorageError::Offline(_) => "The log directory is offline for writing.".into(),
        StorageError::Corrupt(_) => "The log is offline: its files do not check.".into(),
        StorageError::Io(_) => "The log could not be read or written.".into(),
    }
}
