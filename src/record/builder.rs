//! Building a batch from records: for the commands, the load generator, tests and control batches.
//!
//! Records are written once, in place, behind room for the header; the builder is reused, so a
//! steady load allocates nothing. The result always passes `validate_produced` (control batches
//! aside, which clients may not send).

use std::fmt;

use zerocopy::IntoBytes;

use super::batch::{
    Attributes, BATCH_HEADER_BYTES, BatchHeader, LENGTH_PREFIX_BYTES, MAGIC, write_crc,
};
use super::compression::{Codec, CompressionError, compress};
use super::varint::{varlong_len, write_varlong};
use crate::model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TimestampMs};

/// A batch's length field is an int32.
const BATCH_BYTES_MAX: usize = i32::MAX as usize;

/// Why a batch could not be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// No record was appended.
    Empty,
    /// The batch would have more bytes than its length field can say.
    TooLarge(usize),
    /// The difference of two timestamps has no 64 bits.
    Timestamp(TimestampMs),
    /// The encoder refused.
    Compression(CompressionError),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a batch needs at least one record"),
            Self::TooLarge(bytes) => {
                write!(f, "a batch of {bytes} bytes is too large; the most is {BATCH_BYTES_MAX}")
            }
            Self::Timestamp(timestamp) => {
                write!(f, "timestamp {timestamp} is too far from the first record's of its batch")
            }
            Self::Compression(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for BuildError {}

/// Gathers records and writes batches of them.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    /// Room for the header, then the records, uncompressed.
    plain: Vec<u8>,
    /// The compressed batch, when there is a codec.
    packed: Vec<u8>,
    codec: Codec,
    level: Option<i32>,
    count: i32,
    base_timestamp: TimestampMs,
    max_timestamp: TimestampMs,
    producer_id: ProducerId,
    producer_epoch: ProducerEpoch,
    base_sequence: i32,
    is_transactional: bool,
    is_control: bool,
    base_offset: Offset,
    leader_epoch: LeaderEpoch,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new(Codec::None)
    }
}

impl BatchBuilder {
    /// An empty batch: base offset 0, no leader epoch, no producer.
    pub fn new(codec: Codec) -> Self {
        Self {
            plain: vec![0; BATCH_HEADER_BYTES],
            packed: Vec::new(),
            codec,
            level: None,
            count: 0,
            base_timestamp: -1,
            max_timestamp: -1,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            is_transactional: false,
            is_control: false,
            base_offset: 0,
            leader_epoch: -1,
        }
    }

    /// Make room for a batch of this many bytes at once.
    pub fn reserve(&mut self, bytes: usize) {
        self.plain.reserve(bytes.saturating_sub(self.plain.len()));
    }

    /// Compress at this level instead of the codec's default; see [`compress`].
    pub fn set_level(&mut self, level: Option<i32>) {
        self.level = level;
    }

    /// Who produces, and the sequence number of the first record (idempotent producers).
    pub fn set_producer(&mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: i32) {
        (self.producer_id, self.producer_epoch, self.base_sequence) = (id, epoch, base_sequence);
    }

    /// Mark the batch as part of a transaction.
    pub fn set_transactional(&mut self, is_transactional: bool) {
        self.is_transactional = is_transactional;
    }

    /// What the broker would stamp: for segments made by hand.
    pub fn set_place(&mut self, base_offset: Offset, leader_epoch: LeaderEpoch) {
        (self.base_offset, self.leader_epoch) = (base_offset, leader_epoch);
    }

    /// Records so far.
    pub fn count(&self) -> i32 {
        self.count
    }

    /// Bytes of the batch so far, before compression, header included.
    pub fn plain_bytes(&self) -> usize {
        self.plain.len()
    }

    /// Forget the records; keep the settings and the memory.
    pub fn clear(&mut self) {
        self.plain.truncate(BATCH_HEADER_BYTES);
        self.count = 0;
        (self.base_timestamp, self.max_timestamp) = (-1, -1);
    }

    /// Bytes that one more record with these lengths would add, before compression. Its
    /// timestamp and place are taken as the longest, so the answer is an upper bound.
    pub fn record_bytes_max(key: Option<usize>, value: Option<usize>) -> usize {
        let field = |len: Option<usize>| 5 + len.unwrap_or(0);
        // Length, attributes, timestamp and offset deltas, key, value, header count.
        5 + 1 + 10 + 5 + field(key) + field(value) + 1
    }

    /// Append a record. `headers` keep their order; their keys should be UTF-8.
    ///
    /// # Errors
    /// When the batch would outgrow its length field; the record is then not in it.
    pub fn append(
        &mut self,
        timestamp: TimestampMs,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> Result<(), BuildError> {
        let headers_bytes: usize = headers
            .iter()
            .map(|(k, v)| field_len(Some(k.len())) + field_len(v.map(<[u8]>::len)))
            .sum();
        let tail =
            field_len(value.map(<[u8]>::len)) + varlong_len(as_int(headers.len())) + headers_bytes;
        self.begin_record(timestamp, key, tail)?;
        write_field(&mut self.plain, value);
        write_varlong(&mut self.plain, as_int(headers.len()));
        for (key, value) in headers {
            write_field(&mut self.plain, Some(key));
            write_field(&mut self.plain, *value);
        }
        self.count += 1;
        Ok(())
    }

    /// Append a record without headers whose value of `value_bytes` is written in place by
    /// `fill`; it is handed zeroes.
    ///
    /// # Errors
    /// As [`BatchBuilder::append`].
    pub fn append_with(
        &mut self,
        timestamp: TimestampMs,
        key: Option<&[u8]>,
        value_bytes: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), BuildError> {
        self.begin_record(timestamp, key, field_len(Some(value_bytes)) + 1)?;
        write_varlong(&mut self.plain, as_int(value_bytes));
        let start = self.plain.len();
        self.plain.resize(start + value_bytes, 0);
        fill(&mut self.plain[start..]);
        self.plain.push(0);
        self.count += 1;
        Ok(())
    }

    /// Write a record up to its key; `tail` bytes must follow.
    fn begin_record(
        &mut self,
        timestamp: TimestampMs,
        key: Option<&[u8]>,
        tail: usize,
    ) -> Result<(), BuildError> {
        let base = if self.count == 0 { timestamp } else { self.base_timestamp };
        let delta = timestamp.checked_sub(base).ok_or(BuildError::Timestamp(timestamp))?;
        let place = i64::from(self.count);
        let body =
            1 + varlong_len(delta) + varlong_len(place) + field_len(key.map(<[u8]>::len)) + tail;
        let bytes = self.plain.len() + varlong_len(as_int(body)) + body;
        if bytes > BATCH_BYTES_MAX {
            return Err(BuildError::TooLarge(bytes));
        }
        self.base_timestamp = base;
        self.max_timestamp =
            if self.count == 0 { timestamp } else { self.max_timestamp.max(timestamp) };
        write_varlong(&mut self.plain, as_int(body));
        self.plain.push(0);
        write_varlong(&mut self.plain, delta);
        write_varlong(&mut self.plain, place);
        write_field(&mut self.plain, key);
        Ok(())
    }

    /// The finished batch. May be called again after more records or other settings;
    /// [`BatchBuilder::clear`] begins the next batch.
    ///
    /// # Errors
    /// When there is no record, or the encoder refuses.
    pub fn finish(&mut self) -> Result<&[u8], BuildError> {
        if self.count == 0 {
            return Err(BuildError::Empty);
        }
        if self.codec != Codec::None {
            self.packed.clear();
            self.packed.resize(BATCH_HEADER_BYTES, 0);
            let records = &self.plain[BATCH_HEADER_BYTES..];
            compress(self.codec, self.level, records, &mut self.packed)
                .map_err(BuildError::Compression)?;
        }
        let bytes = if self.codec == Codec::None { self.plain.len() } else { self.packed.len() };
        let batch_length =
            i32::try_from(bytes - LENGTH_PREFIX_BYTES).map_err(|_| BuildError::TooLarge(bytes))?;
        let attributes = Attributes::new(self.codec, self.is_transactional, self.is_control);
        let header = BatchHeader {
            base_offset: self.base_offset.into(),
            batch_length: batch_length.into(),
            partition_leader_epoch: self.leader_epoch.into(),
            magic: MAGIC,
            crc: 0.into(),
            attributes: attributes.0.into(),
            last_offset_delta: (self.count - 1).into(),
            base_timestamp: self.base_timestamp.into(),
            max_timestamp: self.max_timestamp.into(),
            producer_id: self.producer_id.into(),
            producer_epoch: self.producer_epoch.into(),
            base_sequence: self.base_sequence.into(),
            record_count: self.count.into(),
        };
        let batch = if self.codec == Codec::None { &mut self.plain } else { &mut self.packed };
        batch[..BATCH_HEADER_BYTES].copy_from_slice(header.as_bytes());
        write_crc(batch);
        Ok(batch)
    }
}

/// What a transaction marker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub enum ControlKind {
    /// The transaction's records are void.
    Abort = 0,
    /// The transaction's records count.
    Commit = 1,
}

/// A control batch that ends a transaction in one partition
/// (`MemoryRecords.withEndTransactionMarker`): one record, key int16 version 0 and int16 kind,
/// value int16 version 0 and int32 coordinator epoch.
pub fn control_batch(
    kind: ControlKind,
    producer_id: ProducerId,
    producer_epoch: ProducerEpoch,
    coordinator_epoch: i32,
    now: TimestampMs,
) -> Vec<u8> {
    let mut key = [0; 4];
    key[2..].copy_from_slice(&(kind as i16).to_be_bytes());
    let mut value = [0; 6];
    value[2..].copy_from_slice(&coordinator_epoch.to_be_bytes());
    let mut builder = BatchBuilder::new(Codec::None);
    builder.set_producer(producer_id, producer_epoch, -1);
    (builder.is_transactional, builder.is_control) = (true, true);
    // One small record cannot outgrow anything.
    let appended = builder.append(now, Some(&key), Some(&value), &[]);
    debug_assert!(appended.is_ok());
    builder.finish().map(<[u8]>::to_vec).unwrap_or_default()
}

/// A length or count as it is written; those that do not fit were refused by their sum.
fn as_int(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

fn field_len(len: Option<usize>) -> usize {
    len.map_or(1, |len| varlong_len(as_int(len)) + len)
}

fn write_field(out: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        None => write_varlong(out, -1),
        Some(bytes) => {
            write_varlong(out, as_int(bytes.len()));
            out.extend_from_slice(bytes);
        }
    }
}
