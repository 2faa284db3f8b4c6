//! What a produced batch must satisfy before it is appended.
//!
//! Owns the whole judgement on one partition's entry of a Produce request, in one pass and, but
//! for a batch that takes more than a turn, without allocating. The rules are Kafka's
//! (`LogValidator`, `UnifiedLog.append`, `ProduceRequest.validateRecords`), with two differences: a
//! batch that Kafka would silently rebuild (offset deltas with holes) is refused, because stored
//! bytes are wire bytes; and
//! compressed batches are opened only when a rule needs their records
//! (`docs/decisions/2026-11-21-compressed-batches-stay-closed.md`).
//! Sequence numbers against earlier ones, transactions and leadership are the partition's matter;
//! which error code a kind becomes is the server's.

use std::fmt;

use super::batch::{Attributes, BatchFault, BatchView};
use super::compression::{Codec, CompressionError};
use super::record::{RECORD_BODY_BYTES_MIN, RecordFault};
use super::stream::{RecordShape, RecordStream, StreamFault, Walked};
use crate::model::{ProducerEpoch, ProducerId, TimestampMs, TimestampType};

/// What the topic's configuration asks of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceRules {
    /// `max.message.bytes`: the whole batch as it came, header included.
    pub max_message_bytes: usize,
    /// `message.timestamp.type`; with LogAppendTime the records' own times do not matter.
    pub timestamp_type: TimestampType,
    /// Wall clock at the check.
    pub now_ms: TimestampMs,
    /// `message.timestamp.before.max.ms`; `i64::MAX` is no bound.
    pub before_max_ms: i64,
    /// `message.timestamp.after.max.ms`; `i64::MAX` is no bound.
    pub after_max_ms: i64,
    /// Each record needs a key: `cleanup.policy` contains `compact`.
    pub require_keys: bool,
}

/// What the append path needs to know of a batch that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSummary {
    /// Records in the batch, at least one.
    pub records: i32,
    /// Offset of the last record minus that of the first: always `records - 1`.
    pub last_offset_delta: i32,
    /// What the records' timestamp deltas add to.
    pub base_timestamp: TimestampMs,
    /// The largest timestamp: of the records where they were read, else the header's (within the
    /// topic's bounds); with LogAppendTime the rules' `now_ms`. -1 is "no timestamp".
    pub max_timestamp: TimestampMs,
    /// The records were read, and the header claims another largest timestamp than
    /// `max_timestamp`: it is to be corrected (`set_max_timestamp`) before it is stored.
    pub header_lies: bool,
    /// -1 when the producer is not idempotent.
    pub producer_id: ProducerId,
    /// -1 when the producer is not idempotent.
    pub producer_epoch: ProducerEpoch,
    /// -1 when the producer is not idempotent.
    pub base_sequence: i32,
    /// How the records are compressed. Zstd needs Produce version 7, which the server checks.
    pub codec: Codec,
    /// Part of a transaction.
    pub is_transactional: bool,
}

/// Which of Kafka's errors a refusal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchErrorKind {
    /// CORRUPT_MESSAGE (2): the bytes are damaged; retriable for clients.
    CorruptMessage,
    /// MESSAGE_TOO_LARGE (10).
    MessageTooLarge,
    /// INVALID_TIMESTAMP (32).
    InvalidTimestamp,
    /// INVALID_REQUEST (42): fields that contradict each other.
    InvalidRequest,
    /// UNSUPPORTED_COMPRESSION_TYPE (76).
    UnsupportedCompressionType,
    /// INVALID_RECORD (87): the batch breaks a rule.
    InvalidRecord,
}

/// Why a batch is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchError {
    /// Which error.
    pub kind: BatchErrorKind,
    /// The record at fault, from 0, where one is (Produce version 8 reports it: KIP-467).
    pub record_index: Option<i32>,
    /// For the producer: what, with which value, and what would be right.
    pub message: String,
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for BatchError {}

impl BatchError {
    #[cold]
    fn new(kind: BatchErrorKind, message: impl Into<String>) -> Self {
        Self { kind, record_index: None, message: message.into() }
    }

    #[cold]
    fn at(kind: BatchErrorKind, index: i32, message: impl Into<String>) -> Self {
        Self { kind, record_index: Some(index), message: message.into() }
    }
}

impl From<RecordFault> for BatchError {
    fn from(fault: RecordFault) -> Self {
        Self::at(BatchErrorKind::InvalidRecord, fault.index, fault.to_string())
    }
}

impl From<CompressionError> for BatchError {
    fn from(error: CompressionError) -> Self {
        Self::new(BatchErrorKind::InvalidRecord, error.to_string())
    }
}

/// How many bytes a compressed batch may decompress to when it has to be opened: 64 for each
/// compressed one, which text never reaches, plus room for small batches of constant bytes.
pub fn decompressed_bytes_max(compressed_bytes: usize, max_message_bytes: usize) -> usize {
    const EXPANSION_MAX: usize = 64;
    const SLACK_BYTES: usize = 1 << 20;
    compressed_bytes
        .saturating_mul(EXPANSION_MAX)
        .saturating_add(max_message_bytes.saturating_mul(2))
        .saturating_add(SLACK_BYTES)
}

/// Uncompressed batches up to so many bytes are judged in one go, the largest that a topic takes
/// by default among them: a few milliseconds if each record is as small as can be.
const AT_ONCE_BYTES_MAX: usize = 1 << 21;

/// Judge the records of one partition in a Produce request: exactly one batch.
///
/// # Errors
/// The first rule that the batch breaks.
pub fn validate_produced(bytes: &[u8], rules: &ProduceRules) -> Result<BatchSummary, BatchError> {
    let mut validation = Validation::begin(bytes, rules)?;
    loop {
        if let Some(summary) = validation.go_on()? {
            return Ok(summary);
        }
    }
}

/// The judgement on one batch, as [`validate_produced`], for a caller that has others to let go
/// first: a batch may be large, and a compressed one open to far more than came.
pub struct Validation<'a> {
    batch: BatchView<'a>,
    codec: Codec,
    rules: &'a ProduceRules,
    check: RecordCheck,
    records: Judged<'a>,
}

/// How a batch's records are read.
enum Judged<'a> {
    AtOnce,
    InTurns(Box<RecordStream<'a>>),
    /// They are not.
    Closed,
}

impl<'a> Validation<'a> {
    /// Judge the batch up to its first record.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn begin(bytes: &'a [u8], rules: &'a ProduceRules) -> Result<Self, BatchError> {
        let batch = whole_batch(bytes, rules)?;
        let codec = check_header(&batch)?;
        let check = RecordCheck::new(&batch, rules);
        check.header_max_timestamp(batch.max_timestamp())?;
        let records = match codec {
            Codec::None if bytes.len() <= AT_ONCE_BYTES_MAX => Judged::AtOnce,
            Codec::None => {
                let (input, count) = (batch.records_bytes(), batch.record_count());
                Judged::InTurns(Box::new(RecordStream::new(codec, input, count, input.len())?))
            }
            _ => open_compressed(&batch, codec, rules)?,
        };
        Ok(Self { batch, codec, rules, check, records })
    }

    /// Judge some of its records; nothing while others are left. To be called until it says more.
    ///
    /// # Errors
    /// The first rule that the batch breaks.
    pub fn go_on(&mut self) -> Result<Option<BatchSummary>, BatchError> {
        match &mut self.records {
            Judged::AtOnce => {
                for record in self.batch.records() {
                    let record = record?;
                    self.check.see(RecordShape {
                        timestamp_delta: record.timestamp_delta,
                        offset_delta: record.offset_delta,
                        has_key: record.key.is_some(),
                    })?;
                }
            }
            Judged::InTurns(stream) => loop {
                match stream.next() {
                    Ok(Walked::Record(record)) => self.check.see(record)?,
                    Ok(Walked::Pause) => return Ok(None),
                    Ok(Walked::End) => break,
                    Err(StreamFault::Record(fault)) => return Err(fault.into()),
                    Err(StreamFault::Compression(error)) => return Err(error.into()),
                }
            },
            Judged::Closed => {}
        }
        Ok(Some(self.summary()))
    }

    fn summary(&self) -> BatchSummary {
        let (batch, claimed) = (&self.batch, self.batch.max_timestamp());
        let was_read = !matches!(self.records, Judged::Closed);
        let max_timestamp = match self.rules.timestamp_type {
            TimestampType::LogAppendTime => self.rules.now_ms,
            TimestampType::CreateTime if was_read => self.check.max_timestamp,
            TimestampType::CreateTime => claimed,
        };
        let believes_records = self.rules.timestamp_type == TimestampType::CreateTime && was_read;
        BatchSummary {
            records: batch.record_count(),
            last_offset_delta: batch.last_offset_delta(),
            base_timestamp: batch.base_timestamp(),
            max_timestamp,
            header_lies: believes_records && max_timestamp != claimed,
            producer_id: batch.producer_id(),
            producer_epoch: batch.producer_epoch(),
            base_sequence: batch.base_sequence(),
            codec: self.codec,
            is_transactional: batch.attributes().is_transactional(),
        }
    }
}

/// The one batch that `bytes` are, with a checksum that matches.
fn whole_batch<'a>(bytes: &'a [u8], rules: &ProduceRules) -> Result<BatchView<'a>, BatchError> {
    use BatchErrorKind::{CorruptMessage, InvalidRecord, MessageTooLarge};
    if bytes.is_empty() {
        return Err(BatchError::new(InvalidRecord, "no record batch; there must be exactly one"));
    }
    let batch = BatchView::first(bytes).map_err(|fault| {
        let kind = match fault {
            // What Kafka 4 answers to the formats of before record batches.
            BatchFault::Magic(0 | 1) => InvalidRecord,
            BatchFault::Magic(_) | BatchFault::Truncated { .. } | BatchFault::Length(_) => {
                CorruptMessage
            }
        };
        BatchError::new(kind, fault.to_string())
    })?;
    if batch.len() < bytes.len() {
        let left = bytes.len() - batch.len();
        return Err(BatchError::new(
            InvalidRecord,
            format!("{left} bytes follow the record batch; there must be exactly one batch"),
        ));
    }
    if bytes.len() > rules.max_message_bytes {
        return Err(BatchError::new(
            MessageTooLarge,
            format!(
                "the record batch has {} bytes; max.message.bytes of the topic is {}",
                bytes.len(),
                rules.max_message_bytes
            ),
        ));
    }
    let (computed, stored) = (batch.crc_computed(), batch.header().crc.get());
    if computed != stored {
        return Err(BatchError::new(
            CorruptMessage,
            format!(
                "the record batch's checksum is {computed:#010x}, its header says {stored:#010x}: \
                 the bytes were damaged on their way"
            ),
        ));
    }
    Ok(batch)
}

/// The rules that the header alone can break; the codec it names.
fn check_header(batch: &BatchView<'_>) -> Result<Codec, BatchError> {
    use BatchErrorKind::{InvalidRecord, InvalidRequest, InvalidTimestamp};
    let refuse = |kind, message: String| Err(BatchError::new(kind, message));
    let attributes = batch.attributes();
    let Some(codec) = attributes.codec() else {
        return refuse(
            BatchErrorKind::UnsupportedCompressionType,
            format!("the record batch names codec {}; known are 0 to 4", attributes.codec_id()),
        );
    };
    if attributes.reserved_bits() != 0 || attributes.has_delete_horizon() {
        return refuse(
            InvalidRecord,
            format!("attributes {:#06x} have bits that producers must not set", attributes.0),
        );
    }
    if attributes.is_control() {
        return refuse(InvalidRecord, "control batches are written by brokers only".into());
    }
    if attributes.timestamp_type() == TimestampType::LogAppendTime {
        return refuse(
            InvalidTimestamp,
            "the timestamp type is LogAppendTime, which producers must not set".into(),
        );
    }
    if batch.base_offset() != 0 {
        return refuse(
            InvalidRecord,
            format!("the base offset is {}; producers send 0", batch.base_offset()),
        );
    }
    let (count, last_delta) = (batch.record_count(), batch.last_offset_delta());
    if count <= 0 || i64::from(last_delta) + 1 != i64::from(count) {
        return refuse(
            InvalidRecord,
            format!(
                "the record count is {count} and the last offset delta {last_delta}; the count \
                 must be at least 1 and one more than the delta"
            ),
        );
    }
    if batch.records_bytes().is_empty() {
        return refuse(InvalidRecord, format!("no bytes for {count} records"));
    }
    check_producer(batch, attributes).map_err(|(kind, message)| BatchError::new(kind, message))?;
    return Ok(codec);

    fn check_producer(
        batch: &BatchView<'_>,
        attributes: Attributes,
    ) -> Result<(), (BatchErrorKind, String)> {
        let (id, epoch, sequence) =
            (batch.producer_id(), batch.producer_epoch(), batch.base_sequence());
        if id == -1 {
            return if attributes.is_transactional() {
                Err((InvalidRequest, "a transactional batch has no producer id".into()))
            } else {
                Ok(())
            };
        }
        if id < 0 || epoch < 0 || sequence < 0 {
            return Err((
                InvalidRecord,
                format!(
                    "producer id {id}, epoch {epoch}, base sequence {sequence}: an idempotent \
                     producer sets all three, others set -1"
                ),
            ));
        }
        Ok(())
    }
}

/// Open a compressed batch if a rule depends on its records. Closed or not, it cannot take more
/// offsets than records fit into it.
fn open_compressed<'a>(
    batch: &BatchView<'a>,
    codec: Codec,
    rules: &ProduceRules,
) -> Result<Judged<'a>, BatchError> {
    let input = batch.records_bytes();
    let output_max = decompressed_bytes_max(input.len(), rules.max_message_bytes);
    let (records, least) = (batch.record_count(), 1 + RECORD_BODY_BYTES_MIN);
    if usize::try_from(records).unwrap_or(0) > output_max / least {
        return Err(BatchError::new(
            BatchErrorKind::InvalidRecord,
            format!("{records} records cannot be in {} compressed bytes", input.len()),
        ));
    }
    let bounds_the_past =
        rules.timestamp_type == TimestampType::CreateTime && rules.before_max_ms != i64::MAX;
    if !rules.require_keys && !bounds_the_past {
        return Ok(Judged::Closed);
    }
    let stream = RecordStream::new(codec, input, batch.record_count(), output_max)?;
    Ok(Judged::InTurns(Box::new(stream)))
}

/// The rules for each record, and what is learnt on the way.
struct RecordCheck {
    base_timestamp: TimestampMs,
    timestamp_min: TimestampMs,
    timestamp_max: TimestampMs,
    bounds_apply: bool,
    require_keys: bool,
    next_delta: i32,
    max_timestamp: TimestampMs,
}

impl RecordCheck {
    fn new(batch: &BatchView<'_>, rules: &ProduceRules) -> Self {
        Self {
            base_timestamp: batch.base_timestamp(),
            timestamp_min: rules.now_ms.saturating_sub(rules.before_max_ms),
            timestamp_max: rules.now_ms.saturating_add(rules.after_max_ms),
            bounds_apply: rules.timestamp_type == TimestampType::CreateTime,
            require_keys: rules.require_keys,
            next_delta: 0,
            max_timestamp: -1,
        }
    }

    /// The header's own claim is stored and later believed, so it must be possible. -1 is "none".
    fn header_max_timestamp(&self, claimed: TimestampMs) -> Result<(), BatchError> {
        if self.bounds_apply && claimed != -1 && self.is_outside(claimed) {
            return Err(BatchError::new(
                BatchErrorKind::InvalidTimestamp,
                format!("the batch's largest timestamp {claimed} {}", self.bounds()),
            ));
        }
        Ok(())
    }

    #[inline]
    fn is_outside(&self, timestamp: TimestampMs) -> bool {
        timestamp < self.timestamp_min || timestamp > self.timestamp_max
    }

    #[cold]
    fn bounds(&self) -> String {
        format!(
            "is outside {} to {} (message.timestamp.before.max.ms, message.timestamp.after.max.ms)",
            self.timestamp_min, self.timestamp_max
        )
    }

    #[inline]
    fn see(&mut self, record: RecordShape) -> Result<(), BatchError> {
        let index = self.next_delta;
        if record.offset_delta != index {
            return Err(BatchError::at(
                BatchErrorKind::InvalidRecord,
                index,
                format!("record {index} has offset delta {}", record.offset_delta),
            ));
        }
        if self.require_keys && !record.has_key {
            return Err(BatchError::at(
                BatchErrorKind::InvalidRecord,
                index,
                format!("record {index} has no key; a compacted topic needs one"),
            ));
        }
        let Some(timestamp) = self.base_timestamp.checked_add(record.timestamp_delta) else {
            return Err(BatchError::at(
                BatchErrorKind::InvalidRecord,
                index,
                format!("record {index} has a timestamp beyond 64 bits"),
            ));
        };
        if self.bounds_apply && timestamp != -1 && self.is_outside(timestamp) {
            return Err(BatchError::at(
                BatchErrorKind::InvalidTimestamp,
                index,
                format!("timestamp {timestamp} of record {index} {}", self.bounds()),
            ));
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        // The iterator ends at the record count, an int32.
        self.next_delta = self.next_delta.wrapping_add(1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BatchBuilder, TURN_BYTES};

    fn rules() -> ProduceRules {
        ProduceRules {
            max_message_bytes: 100 << 20,
            timestamp_type: TimestampType::CreateTime,
            now_ms: 0,
            before_max_ms: i64::MAX,
            after_max_ms: i64::MAX,
            require_keys: true,
        }
    }

    /// How often the judgement on such a batch pauses, and how many records it saw.
    fn pauses(codec: Codec, records: usize, value: usize, headers: usize) -> (usize, i32) {
        let mut builder = BatchBuilder::new(codec);
        let value = vec![b'v'; value];
        let headers = vec![(&b""[..], None); headers];
        for _ in 0..records {
            builder.append(0, Some(b"key"), Some(&value), &headers).expect("it fits");
        }
        let bytes = builder.finish().expect("a batch").to_vec();
        let rules = rules();
        let mut validation = Validation::begin(&bytes, &rules).expect("a good batch");
        let mut pauses = 0;
        loop {
            match validation.go_on().expect("a good batch") {
                Some(summary) => return (pauses, summary.records),
                None => pauses += 1,
            }
        }
    }

    /// However few bytes came, and in the midst of one record, too.
    #[test]
    fn a_judgement_that_takes_long_pauses() {
        let turns = |bytes: usize| bytes / TURN_BYTES - 1;
        for codec in Codec::ALL {
            let many = pauses(codec, 200_000, 20, 0);
            assert!(many.0 >= turns(200_000 * 28), "{codec}: {many:?}");
            assert_eq!(many.1, 200_000);
            // One chunk of the decoder comes at a time, but for snappy's whole blocks.
            let long = pauses(codec, 1, 8 << 20, 0);
            assert!(long.0 >= turns(8 << 20), "{codec}: {long:?}");
            let headers = pauses(codec, 1, 0, 2 << 20);
            assert!(headers.0 >= turns(4 << 20), "{codec}: {headers:?}");
        }
        assert_eq!(pauses(Codec::None, 50_000, 10, 0), (0, 50_000), "an ordinary one does not");
    }
}
