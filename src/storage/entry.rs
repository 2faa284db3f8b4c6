//! What a journal tells about: one entry per append, roll, start, swap, creation and deletion.
//!
//! An entry names its log by topic id, partition and *incarnation* (a partition that was deleted
//! and created again is another log in the same place). Its checksum is that of the frame it
//! lies in (`frame.rs`), which also carries shard and generation.

use bytes::{BufMut, Bytes, BytesMut};

use super::checkpoint_file::SegmentRecord;
use super::cursor::{Reader, Short, len_u32};
use super::format::Pooled;
use crate::model::{Offset, TimestampMs, TopicPartition, Uuid};

/// Which life of which partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LogKey {
    pub(crate) id: TopicPartition,
    /// Unique per creation in one data directory.
    pub(crate) incarnation: u64,
}

/// One batch and where its bytes are.
///
/// ```text
/// position          batch_position                 extent.start          extent.end     end
/// | parked bytes again | first bytes of the batch | written directly ... | last bytes |
/// '---------------- head (here) ----------------' '-- in the segment --' '-- tail (here)
/// ```
/// A small batch is all head and has no extent. A large one that follows no parked tail has no
/// head, and its extent begins *before* it, at the start of the block it shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DataEntry {
    pub(crate) segment_base: Offset,
    /// Where the head starts in the segment.
    pub(crate) position: u64,
    /// Where the batch starts in the segment.
    pub(crate) batch_position: u64,
    pub(crate) base_offset: Offset,
    pub(crate) last_offset: Offset,
    pub(crate) max_timestamp: TimestampMs,
    /// One or two pieces.
    pub(crate) head: [Bytes; 2],
    /// Blocks written to the segment at the same time as this entry to the journal: they may be
    /// missing if the broker died.
    pub(crate) extent: Option<Extent>,
    pub(crate) tail: Bytes,
}

/// Whole blocks of the segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// First 61 bytes of the batch as stored: what the bytes in the segment must begin with,
    /// checksum included.
    pub(crate) header: Bytes,
}

impl DataEntry {
    /// Bytes of the head.
    pub(crate) fn head_len(&self) -> usize {
        self.head[0].len() + self.head[1].len()
    }

    /// Where the batch ends in the segment.
    pub(crate) fn end_position(&self) -> u64 {
        let before_tail = match &self.extent {
            Some(extent) => extent.end,
            None => self.position + self.head_len() as u64,
        };
        before_tail + self.tail.len() as u64
    }
}

/// What happened to a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A batch was appended.
    Data(DataEntry),
    /// The log came to be.
    Create,
    /// The log and its files are gone.
    Delete,
    /// The active segment was sealed at this length, on the device; another one follows.
    Roll { sealed_base: Offset, sealed_bytes: u64, sealed_max_timestamp: TimestampMs, base: Offset },
    /// Records below this offset are deleted.
    Start { offset: Offset },
    /// The sealed segments from `from` up to the one at `until` were cleaned, and `cleaned` take
    /// their place: on the device, each under the name it has in the pool until it is renamed.
    Swap { from: Offset, until: Offset, cleaned: Vec<Cleaned> },
}

/// A segment that a cleaning has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cleaned {
    pub(crate) segment: SegmentRecord,
    pub(crate) pooled: Pooled,
}

/// One entry of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) log: LogKey,
    pub(crate) change: Change,
}

const KIND_DATA: u8 = 1;
const KIND_CREATE: u8 = 2;
const KIND_DELETE: u8 = 3;
const KIND_ROLL: u8 = 4;
const KIND_START: u8 = 5;
const KIND_SWAP: u8 = 6;

/// Length, kind, padding, topic id, partition, incarnation.
const PREFIX_LEN: usize = 4 + 1 + 3 + 16 + 4 + 8;
/// Fixed fields of a data entry.
const DATA_LEN: usize = 8 * 6 + 4 + 8 + 8 + 4 + 4;

/// Bytes of a cleaned segment in a swap entry: base, bytes, timestamp, generation, shard, number.
const CLEANED_LEN: usize = 8 + 8 + 8 + 8 + 2 + 8;

/// Bytes of a batch header in a data entry with an extent.
pub(crate) const HEADER_LEN: usize = 61;

/// Most bytes an entry adds to the batch bytes it carries.
pub(crate) const ENTRY_OVERHEAD_MAX: usize = PREFIX_LEN + DATA_LEN + HEADER_LEN;

impl Entry {
    /// Bytes this entry takes in a frame.
    pub(crate) fn encoded_len(&self) -> usize {
        PREFIX_LEN
            + match &self.change {
                Change::Data(data) => {
                    let header = data.extent.as_ref().map_or(0, |e| e.header.len());
                    DATA_LEN + header + data.head_len() + data.tail.len()
                }
                Change::Create | Change::Delete => 0,
                Change::Roll { .. } => 32,
                Change::Start { .. } => 8,
                Change::Swap { cleaned, .. } => 8 + 8 + 4 + cleaned.len() * CLEANED_LEN,
            }
    }

    /// Append to a frame's body.
    pub(crate) fn encode(&self, out: &mut impl BufMut) {
        let kind = match &self.change {
            Change::Data(_) => KIND_DATA,
            Change::Create => KIND_CREATE,
            Change::Delete => KIND_DELETE,
            Change::Roll { .. } => KIND_ROLL,
            Change::Start { .. } => KIND_START,
            Change::Swap { .. } => KIND_SWAP,
        };
        out.put_u32_le(len_u32(self.encoded_len()));
        out.put_u8(kind);
        out.put_slice(&[0; 3]);
        out.put_slice(&self.log.id.topic_id.0);
        out.put_i32_le(self.log.id.partition);
        out.put_u64_le(self.log.incarnation);
        match &self.change {
            Change::Data(data) => encode_data(data, out),
            Change::Create | Change::Delete => {}
            Change::Roll { sealed_base, sealed_bytes, sealed_max_timestamp, base } => {
                out.put_i64_le(*sealed_base);
                out.put_u64_le(*sealed_bytes);
                out.put_i64_le(*sealed_max_timestamp);
                out.put_i64_le(*base);
            }
            Change::Start { offset } => out.put_i64_le(*offset),
            Change::Swap { from, until, cleaned } => {
                out.put_i64_le(*from);
                out.put_i64_le(*until);
                out.put_u32_le(len_u32(cleaned.len()));
                cleaned.iter().for_each(|cleaned| cleaned.encode(out));
            }
        }
    }

    /// Take one entry off the front of a frame's body. The frame's checksum was right, so an
    /// error here means another version or a bug; it is still only an error.
    pub(crate) fn decode(body: &mut Reader) -> Result<Self, Short> {
        let len = body.u32()? as usize;
        let mut fields = Reader::new(body.bytes(len.checked_sub(4).ok_or(Short)?)?);
        let kind = fields.u8()?;
        fields.bytes(3)?;
        let topic_id = Uuid(fields.id()?);
        let partition = fields.i32()?;
        let incarnation = fields.u64()?;
        let change = match kind {
            KIND_DATA => Change::Data(decode_data(&mut fields)?),
            KIND_CREATE => Change::Create,
            KIND_DELETE => Change::Delete,
            KIND_ROLL => Change::Roll {
                sealed_base: fields.i64()?,
                sealed_bytes: fields.u64()?,
                sealed_max_timestamp: fields.i64()?,
                base: fields.i64()?,
            },
            KIND_START => Change::Start { offset: fields.i64()? },
            KIND_SWAP => decode_swap(&mut fields)?,
            _ => return Err(Short),
        };
        let log = LogKey { id: TopicPartition { topic_id, partition }, incarnation };
        Ok(Self { log, change })
    }
}

impl Cleaned {
    fn encode(&self, out: &mut impl BufMut) {
        out.put_i64_le(self.segment.base);
        out.put_u64_le(self.segment.bytes);
        out.put_i64_le(self.segment.max_timestamp);
        out.put_u64_le(self.pooled.generation);
        out.put_u16_le(self.pooled.shard);
        out.put_u64_le(self.pooled.number);
    }
}

fn decode_swap(fields: &mut Reader) -> Result<Change, Short> {
    let (from, until) = (fields.i64()?, fields.i64()?);
    let count = fields.u32()? as usize;
    if count > fields.left() / CLEANED_LEN {
        return Err(Short);
    }
    let mut cleaned: Vec<Cleaned> = Vec::with_capacity(count);
    for _ in 0..count {
        let segment = SegmentRecord {
            base: fields.i64()?,
            bytes: fields.u64()?,
            max_timestamp: fields.i64()?,
        };
        let pooled =
            Pooled { generation: fields.u64()?, shard: fields.u16()?, number: fields.u64()? };
        let least = cleaned.last().map_or(from, |before| before.segment.base + 1);
        if !(least..until).contains(&segment.base) || segment.bytes >= 1 << 62 {
            return Err(Short);
        }
        cleaned.push(Cleaned { segment, pooled });
    }
    if from < 0 { Err(Short) } else { Ok(Change::Swap { from, until, cleaned }) }
}

fn encode_data(data: &DataEntry, out: &mut impl BufMut) {
    out.put_i64_le(data.segment_base);
    out.put_u64_le(data.position);
    out.put_u64_le(data.batch_position);
    out.put_i64_le(data.base_offset);
    out.put_i64_le(data.last_offset);
    out.put_i64_le(data.max_timestamp);
    out.put_u32_le(len_u32(data.head_len()));
    let (start, end, header) = match &data.extent {
        Some(extent) => (extent.start, extent.end, extent.header.as_ref()),
        None => (0, 0, &[][..]),
    };
    out.put_u64_le(start);
    out.put_u64_le(end);
    out.put_u32_le(len_u32(header.len()));
    out.put_u32_le(len_u32(data.tail.len()));
    out.put_slice(header);
    out.put_slice(&data.head[0]);
    out.put_slice(&data.head[1]);
    out.put_slice(&data.tail);
}

fn decode_data(fields: &mut Reader) -> Result<DataEntry, Short> {
    let segment_base = fields.i64()?;
    let position = fields.u64()?;
    let batch_position = fields.u64()?;
    let base_offset = fields.i64()?;
    let last_offset = fields.i64()?;
    let max_timestamp = fields.i64()?;
    let head_len = fields.u32()? as usize;
    let (start, end) = (fields.u64()?, fields.u64()?);
    let header_len = fields.u32()? as usize;
    let tail_len = fields.u32()? as usize;
    let header = fields.bytes(header_len)?;
    let head = fields.bytes(head_len)?;
    let tail = fields.bytes(tail_len)?;
    let extent = (end > start).then_some(Extent { start, end, header });
    let data = DataEntry {
        segment_base,
        position,
        batch_position,
        base_offset,
        last_offset,
        max_timestamp,
        head: [head, Bytes::new()],
        extent,
        tail,
    };
    // What arithmetic elsewhere relies on.
    let sane = segment_base >= 0
        && base_offset >= segment_base
        && (base_offset..Offset::MAX).contains(&last_offset)
        && end < 1 << 62
        && end.saturating_sub(start) < 1 << 31
        && batch_position < 1 << 62
        && position <= batch_position
        && batch_position < data.end_position()
        && match &data.extent {
            Some(e) => {
                e.header.len() == HEADER_LEN
                    && data.end_position() - batch_position >= HEADER_LEN as u64
                    && (head_len == 0 || position + head_len as u64 == e.start)
                    && (head_len != 0 || (position == batch_position && e.start <= position))
                    && e.end > batch_position
            }
            None => tail_len == 0 && head_len >= HEADER_LEN,
        };
    if sane { Ok(data) } else { Err(Short) }
}

/// The 61-byte header of the batch an entry tells about.
pub(crate) fn batch_header(data: &DataEntry) -> Bytes {
    if let Some(extent) = &data.extent {
        return extent.header.clone();
    }
    let skip = usize::try_from(data.batch_position - data.position).unwrap_or(usize::MAX);
    let mut whole = BytesMut::with_capacity(data.head_len());
    whole.put_slice(&data.head[0]);
    whole.put_slice(&data.head[1]);
    let whole = whole.freeze();
    let end = skip.saturating_add(HEADER_LEN).min(whole.len());
    // Copied: the header must not keep the whole journal frame in memory.
    Bytes::copy_from_slice(whole.get(skip..end).unwrap_or_default())
}
