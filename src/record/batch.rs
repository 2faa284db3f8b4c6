//! The header of a batch, read and patched in place, and whole batches cut from a run of bytes.
//!
//! A [`BatchView`] always covers exactly one structurally whole batch: magic 2, and a length
//! field that agrees with its bytes. Its checksum and its records are not yet checked; that is
//! `crc_matches` and `validate`.

use std::fmt;

use zerocopy::byteorder::big_endian::{I16, I32, I64, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Codec;
use super::record::Records;
use crate::model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TimestampMs, TimestampType};

/// Bytes of a batch before its records.
pub const BATCH_HEADER_BYTES: usize = 61;
/// Bytes of a batch that its length field does not count: base offset and the field itself.
pub const LENGTH_PREFIX_BYTES: usize = 12;
/// The only version of the format that is read or written.
pub const MAGIC: i8 = 2;

/// Where the part begins that the checksum covers.
const CRC_FROM: usize = 21;
/// Smallest value of the length field: the rest of an empty batch's header.
const BATCH_LENGTH_MIN: usize = BATCH_HEADER_BYTES - LENGTH_PREFIX_BYTES;

/// The 61 bytes before the records, in wire order; see the picture in [`super`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[expect(missing_docs, reason = "each field is drawn in the module's picture")]
pub struct BatchHeader {
    pub base_offset: I64,
    pub batch_length: I32,
    pub partition_leader_epoch: I32,
    pub magic: i8,
    pub crc: U32,
    pub attributes: I16,
    pub last_offset_delta: I32,
    pub base_timestamp: I64,
    pub max_timestamp: I64,
    pub producer_id: I64,
    pub producer_epoch: I16,
    pub base_sequence: I32,
    pub record_count: I32,
}

const _: () = assert!(size_of::<BatchHeader>() == BATCH_HEADER_BYTES);

/// The attribute bits of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Attributes(pub i16);

impl Attributes {
    pub(super) const CODEC: i16 = 0x07;
    const LOG_APPEND_TIME: i16 = 0x08;
    const TRANSACTIONAL: i16 = 0x10;
    const CONTROL: i16 = 0x20;
    pub(super) const DELETE_HORIZON: i16 = 0x40;
    const KNOWN: i16 = 0x7f;

    /// Attributes with these bits set.
    pub fn new(codec: Codec, transactional: bool, control: bool) -> Self {
        let bit = |set: bool, bit: i16| if set { bit } else { 0 };
        Self(
            codec.id() as i16
                | bit(transactional, Self::TRANSACTIONAL)
                | bit(control, Self::CONTROL),
        )
    }

    /// The codec's number, 0 to 7; [`Attributes::codec`] knows 0 to 4.
    pub fn codec_id(self) -> u8 {
        (self.0 & Self::CODEC) as u8
    }

    /// How the records are compressed; `None` for a number that nobody has defined.
    pub fn codec(self) -> Option<Codec> {
        Codec::from_id(self.codec_id())
    }

    /// Whose clock the timestamps come from.
    pub fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME != 0 {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        }
    }

    /// Part of a transaction.
    pub fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Written by the broker itself (transaction markers); consumers do not see its record.
    pub fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// baseTimestamp holds the time after which tombstones may go; only the log cleaner sets it.
    pub fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }

    /// Bits that no version of Kafka has given a meaning.
    pub fn reserved_bits(self) -> i16 {
        self.0 & !Self::KNOWN
    }
}

/// Why bytes do not begin with a whole batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchFault {
    /// The bytes end inside the batch: normal for the last batch of a fetch response.
    Truncated {
        /// Bytes that are needed to go on.
        needed: usize,
        /// Bytes that are there.
        available: usize,
    },
    /// The length field is smaller than an empty batch's.
    Length(i32),
    /// Another version of the format: 0 and 1 are the message sets of before Kafka 0.11.
    Magic(i8),
}

impl fmt::Display for BatchFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { needed, available } => {
                write!(f, "the batch needs {needed} bytes, {available} are there")
            }
            Self::Length(length) => {
                write!(f, "the batch's length field says {length}; the least is {BATCH_LENGTH_MIN}")
            }
            Self::Magic(magic) => {
                write!(f, "the batch has magic {magic}; only magic {MAGIC} is supported")
            }
        }
    }
}

impl std::error::Error for BatchFault {}

/// One whole batch, borrowed.
#[derive(Clone, Copy)]
pub struct BatchView<'a> {
    bytes: &'a [u8],
    header: &'a BatchHeader,
}

impl<'a> BatchView<'a> {
    /// The whole batch at the front of `bytes`; what follows it is left alone.
    ///
    /// # Errors
    /// When the front of `bytes` is no whole batch of magic 2. The checksum is not looked at.
    #[inline]
    pub fn first(bytes: &'a [u8]) -> Result<Self, BatchFault> {
        // The magic is in the same place in all versions: name a foreign one before judging its
        // length by our rules.
        if let Some(magic) = bytes.get(16).map(|b| *b as i8)
            && magic != MAGIC
        {
            return Err(BatchFault::Magic(magic));
        }
        if let Some(field) = bytes.get(8..LENGTH_PREFIX_BYTES) {
            let length = i32::from_be_bytes([field[0], field[1], field[2], field[3]]);
            let length_bytes = usize::try_from(length).unwrap_or(0);
            if length_bytes < BATCH_LENGTH_MIN {
                return Err(BatchFault::Length(length));
            }
            let needed = LENGTH_PREFIX_BYTES + length_bytes;
            if let Some(batch) = bytes.get(..needed)
                && let Ok((header, _)) = BatchHeader::ref_from_prefix(batch)
            {
                return Ok(Self { bytes: batch, header });
            }
            return Err(BatchFault::Truncated { needed, available: bytes.len() });
        }
        Err(BatchFault::Truncated { needed: BATCH_HEADER_BYTES, available: bytes.len() })
    }

    /// The whole batch, header included.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The raw header.
    pub fn header(&self) -> &'a BatchHeader {
        self.header
    }

    /// Bytes of the whole batch.
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty: it has a header")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Offset of the first record (of the first one before compaction).
    pub fn base_offset(&self) -> Offset {
        self.header.base_offset.get()
    }

    /// Offset of the last record; saturates where a hostile base offset would overflow.
    pub fn last_offset(&self) -> Offset {
        self.base_offset().saturating_add(i64::from(self.last_offset_delta()))
    }

    /// Offset of the last record minus the base offset.
    pub fn last_offset_delta(&self) -> i32 {
        self.header.last_offset_delta.get()
    }

    /// Epoch of the leader that appended it.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.header.partition_leader_epoch.get()
    }

    /// The attribute bits.
    pub fn attributes(&self) -> Attributes {
        Attributes(self.header.attributes.get())
    }

    /// What the records' timestamp deltas add to; the delete horizon when that bit is set.
    pub fn base_timestamp(&self) -> TimestampMs {
        self.header.base_timestamp.get()
    }

    /// The largest timestamp as the header states it.
    pub fn max_timestamp(&self) -> TimestampMs {
        self.header.max_timestamp.get()
    }

    /// The idempotent producer's id; -1 for none.
    pub fn producer_id(&self) -> ProducerId {
        self.header.producer_id.get()
    }

    /// The idempotent producer's epoch; -1 for none.
    pub fn producer_epoch(&self) -> ProducerEpoch {
        self.header.producer_epoch.get()
    }

    /// Sequence number of the first record; -1 for none.
    pub fn base_sequence(&self) -> i32 {
        self.header.base_sequence.get()
    }

    /// Number of records as the header states it.
    pub fn record_count(&self) -> i32 {
        self.header.record_count.get()
    }

    /// The records as stored: compressed unless the codec is none.
    pub fn records_bytes(&self) -> &'a [u8] {
        self.bytes.get(BATCH_HEADER_BYTES..).unwrap_or_default()
    }

    /// The records of an uncompressed batch. Of a compressed one, give [`Records::new`] what
    /// [`super::decompress`] returns.
    pub fn records(&self) -> Records<'a> {
        Records::new(self.records_bytes(), self.record_count())
    }

    /// The checksum of the bytes as they are.
    pub fn crc_computed(&self) -> u32 {
        crc32c::crc32c(self.bytes.get(CRC_FROM..).unwrap_or_default())
    }

    /// Whether the stored checksum is that of the bytes.
    pub fn crc_matches(&self) -> bool {
        self.crc_computed() == self.header.crc.get()
    }
}

impl fmt::Debug for BatchView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchView")
            .field("bytes", &self.bytes.len())
            .field("header", self.header)
            .finish()
    }
}

/// The whole batches at the front of a run of bytes, in order: a piece of a segment, or the
/// records of a fetch response, whose last batch may be cut off.
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    bytes: &'a [u8],
    consumed: usize,
    fault: Option<BatchFault>,
}

impl<'a> Batches<'a> {
    /// Over the batches that `bytes` begin with.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, consumed: 0, fault: None }
    }

    /// Bytes of the batches given so far. After the last one: where whole batches end.
    pub fn consumed(&self) -> usize {
        self.consumed
    }

    /// Why the iteration ended before the bytes did; `None` when they were used up (or while
    /// there is more to come).
    pub fn fault(&self) -> Option<BatchFault> {
        self.fault
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = BatchView<'a>;

    fn next(&mut self) -> Option<BatchView<'a>> {
        let rest = self.bytes.get(self.consumed..).unwrap_or_default();
        if rest.is_empty() || self.fault.is_some() {
            return None;
        }
        match BatchView::first(rest) {
            Ok(batch) => {
                self.consumed += batch.len();
                Some(batch)
            }
            Err(fault) => {
                self.fault = Some(fault);
                None
            }
        }
    }
}

impl std::iter::FusedIterator for Batches<'_> {}

/// Stamp what the broker decides at append. Neither field is covered by the checksum.
///
/// # Panics
/// When `batch` is shorter than a header; callers have validated it.
#[inline]
pub fn patch(batch: &mut [u8], base_offset: Offset, leader_epoch: LeaderEpoch) {
    batch[0..8].copy_from_slice(&base_offset.to_be_bytes());
    batch[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// Make `batch` one whose timestamps are the broker's: sets the attribute bit, sets maxTimestamp
/// to `now` and computes the checksum anew. The records keep their deltas; readers ignore them
/// (as Kafka does: `DefaultRecordBatch.setMaxTimestamp`).
///
/// # Panics
/// When `batch` is shorter than a header; callers have validated it.
pub fn set_log_append_time(batch: &mut [u8], now: TimestampMs) {
    batch[22] |= Attributes::LOG_APPEND_TIME as u8;
    batch[35..43].copy_from_slice(&now.to_be_bytes());
    write_crc(batch);
}

/// Correct the header's largest timestamp, and the checksum with it.
///
/// # Panics
/// When `batch` is shorter than a header; callers have validated it.
pub fn set_max_timestamp(batch: &mut [u8], max: TimestampMs) {
    batch[35..43].copy_from_slice(&max.to_be_bytes());
    write_crc(batch);
}

/// Compute and store the checksum.
///
/// # Panics
/// When `batch` is shorter than a header.
pub(super) fn write_crc(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[CRC_FROM..]);
    batch[17..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
}
