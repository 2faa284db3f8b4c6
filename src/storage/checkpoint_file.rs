//! The format of a checkpoint: what is known to be on the device for every log of a shard.
//!
//! ```text
//! 0  magic u32 "TWCP"   4 version u16   6 shard u16   8 generation u64   16 sequence u64
//! 24 cut u64            32 next incarnation u64       40 logs u32        44 crc32c u32
//! 48 body bytes u64     56 zero u64     64 records, each with a length of 32 bits
//! ```
//! Two files are written in turn, so that a torn one leaves the other. *Cut* is the journal
//! sequence up to which every entry is covered. The checksum covers header (with the checksum as
//! zero) and body.

use bytes::{BufMut, Bytes, BytesMut};

use super::cursor::{Reader, Short, len_u32, put_sized};
use super::entry::{HEADER_LEN, LogKey};
use super::format::FORMAT_VERSION;
use crate::model::{Offset, ShardId, TimestampMs, TopicPartition, Uuid};

const MAGIC: u32 = u32::from_le_bytes(*b"TWCP");

/// Bytes before the records.
pub(crate) const CHECKPOINT_HEADER_LEN: usize = 64;

/// The record is all there is about a log.
pub(crate) const NO_RUN: u64 = 0;
/// An earlier version kept a run for a log and did not say how to read it.
pub(crate) const LOST_RUN: u64 = u64::MAX;

/// Which checkpoint it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CheckpointHeader {
    pub(crate) shard: ShardId,
    pub(crate) generation: u64,
    pub(crate) sequence: u64,
    pub(crate) cut: u64,
    pub(crate) next_incarnation: u64,
}

/// One segment in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentRecord {
    pub(crate) base: Offset,
    pub(crate) bytes: u64,
    /// As in [`super::segment::Segment`].
    pub(crate) max_timestamp: TimestampMs,
}

/// What a checkpoint says about one log. Everything below the end is on the device: a batch
/// there that does not check is damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogRecord {
    pub(crate) log: LogKey,
    pub(crate) start_offset: Offset,
    pub(crate) end_offset: Offset,
    /// Oldest first; the last one is active and ends at the verified position.
    pub(crate) segments: Vec<SegmentRecord>,
    /// Why the log is offline, if it is.
    pub(crate) broken: String,
    /// The run whose journal holds what could not be recovered; see [`NO_RUN`] and [`LOST_RUN`].
    pub(crate) kept_run: u64,
    /// The partition's state as of some batch of the log.
    pub(crate) snapshot: Bytes,
    /// Headers of the batches behind that, one after another: at the start of a run nobody has
    /// made a newer snapshot yet.
    pub(crate) headers: Bytes,
    /// Whether the active file is cut to its length (a clean stop), with nothing claimed behind.
    pub(crate) is_cut: bool,
    /// How far a compacted log was cleaned; too low costs work and nothing else.
    pub(crate) cleaned_to: Offset,
}

impl LogRecord {
    /// A log that was just created.
    pub(crate) fn empty(log: LogKey) -> Self {
        Self {
            log,
            start_offset: 0,
            end_offset: 0,
            segments: vec![SegmentRecord { base: 0, bytes: 0, max_timestamp: -1 }],
            broken: String::new(),
            kept_run: NO_RUN,
            snapshot: Bytes::new(),
            headers: Bytes::new(),
            is_cut: false,
            cleaned_to: 0,
        }
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_slice(&self.log.id.topic_id.0);
        out.put_i32_le(self.log.id.partition);
        out.put_u64_le(self.log.incarnation);
        out.put_i64_le(self.start_offset);
        out.put_i64_le(self.end_offset);
        out.put_u32_le(len_u32(self.segments.len()));
        for segment in &self.segments {
            out.put_i64_le(segment.base);
            out.put_u64_le(segment.bytes);
            out.put_i64_le(segment.max_timestamp);
        }
        put_sized(&mut out, self.broken.as_bytes());
        put_sized(&mut out, &self.snapshot);
        put_sized(&mut out, &self.headers);
        out.put_u8(u8::from(self.is_cut));
        out.put_i64_le(self.cleaned_to);
        out.put_u64_le(self.kept_run);
        out.freeze()
    }

    pub(crate) fn decode(record: Bytes) -> Result<Self, Short> {
        let mut fields = Reader::new(record);
        let topic_id = Uuid(fields.id()?);
        let partition = fields.i32()?;
        let incarnation = fields.u64()?;
        let start_offset = fields.i64()?;
        let end_offset = fields.i64()?;
        let count = fields.u32()? as usize;
        // Every segment takes 24 bytes: nothing is allocated for more than there can be.
        if count == 0 || count > fields.left() / 24 {
            return Err(Short);
        }
        let mut segments = Vec::with_capacity(count);
        for _ in 0..count {
            let base = fields.i64()?;
            let segment =
                SegmentRecord { base, bytes: fields.u64()?, max_timestamp: fields.i64()? };
            let grows = segments.last().is_none_or(|s: &SegmentRecord| s.base < base);
            if base < 0 || !grows || segment.bytes >= 1 << 62 {
                return Err(Short);
            }
            segments.push(segment);
        }
        let broken = String::from_utf8(fields.sized()?.to_vec()).map_err(|_| Short)?;
        let snapshot = Bytes::copy_from_slice(&fields.sized()?);
        let headers = Bytes::copy_from_slice(&fields.sized()?);
        let is_cut = fields.u8()? == 1;
        // Records of before compaction end here.
        let cleaned_to = if fields.left() == 0 { 0 } else { fields.i64()? };
        let kept_run = match fields.left() {
            0 if broken.is_empty() => NO_RUN,
            0 => LOST_RUN,
            _ => fields.u64()?,
        };
        let log = LogKey { id: TopicPartition { topic_id, partition }, incarnation };
        if start_offset < 0
            || end_offset < start_offset
            || !headers.len().is_multiple_of(HEADER_LEN)
        {
            return Err(Short);
        }
        Ok(Self {
            log,
            start_offset,
            end_offset,
            segments,
            broken,
            kept_run,
            snapshot,
            headers,
            is_cut,
            cleaned_to,
        })
    }
}

/// The file's bytes.
pub(crate) fn encode_checkpoint(header: &CheckpointHeader, records: &[Bytes]) -> Bytes {
    let body_len: usize = records.iter().map(|r| 4 + r.len()).sum();
    let mut out = BytesMut::with_capacity(CHECKPOINT_HEADER_LEN + body_len);
    out.put_u32_le(MAGIC);
    out.put_u16_le(FORMAT_VERSION);
    out.put_u16_le(header.shard);
    out.put_u64_le(header.generation);
    out.put_u64_le(header.sequence);
    out.put_u64_le(header.cut);
    out.put_u64_le(header.next_incarnation);
    out.put_u32_le(len_u32(records.len()));
    out.put_u32_le(0);
    out.put_u64_le(body_len as u64);
    out.put_u64_le(0);
    for record in records {
        put_sized(&mut out, record);
    }
    let crc = crc32c::crc32c(&out);
    out[44..48].copy_from_slice(&crc.to_le_bytes());
    out.freeze()
}

/// Read a checkpoint back; `None` when it is not whole.
pub(crate) fn decode_checkpoint(bytes: &Bytes) -> Option<(CheckpointHeader, Vec<LogRecord>)> {
    let head = bytes.get(..CHECKPOINT_HEADER_LEN)?;
    let mut fields = Reader::new(bytes.slice(..CHECKPOINT_HEADER_LEN));
    if fields.u32().ok()? != MAGIC || fields.u16().ok()? != FORMAT_VERSION {
        return None;
    }
    let header = CheckpointHeader {
        shard: fields.u16().ok()?,
        generation: fields.u64().ok()?,
        sequence: fields.u64().ok()?,
        cut: fields.u64().ok()?,
        next_incarnation: fields.u64().ok()?,
    };
    let count = fields.u32().ok()?;
    let crc = fields.u32().ok()?;
    let body_len = usize::try_from(fields.u64().ok()?).ok()?;
    let end = CHECKPOINT_HEADER_LEN.checked_add(body_len)?;
    let body = bytes.get(CHECKPOINT_HEADER_LEN..end)?;
    let mut zeroed = [0u8; CHECKPOINT_HEADER_LEN];
    zeroed.copy_from_slice(head);
    zeroed[44..48].fill(0);
    if crc32c::crc32c_append(crc32c::crc32c(&zeroed), body) != crc {
        return None;
    }
    let mut body = Reader::new(bytes.slice(CHECKPOINT_HEADER_LEN..end));
    let mut records = Vec::new();
    for _ in 0..count {
        records.push(LogRecord::decode(body.sized().ok()?).ok()?);
    }
    Some((header, records))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_comes_back_and_any_flipped_bit_is_noticed() {
        let id = TopicPartition { topic_id: Uuid([7; 16]), partition: 3 };
        let record = LogRecord {
            log: LogKey { id, incarnation: 9 },
            start_offset: 5,
            end_offset: 80,
            segments: vec![
                SegmentRecord { base: 0, bytes: 4000, max_timestamp: 17 },
                SegmentRecord { base: 50, bytes: 123, max_timestamp: -1 },
            ],
            broken: "rotten".into(),
            kept_run: 7,
            snapshot: Bytes::from_static(b"producers"),
            headers: Bytes::from_static(&[3; 2 * HEADER_LEN]),
            is_cut: true,
            cleaned_to: 33,
        };
        let header =
            CheckpointHeader { shard: 1, generation: 2, sequence: 3, cut: 4, next_incarnation: 10 };
        let bytes = encode_checkpoint(&header, &[record.encode()]);
        let (back, records) = decode_checkpoint(&bytes).unwrap();
        assert_eq!((back, records), (header, vec![record]));
        for at in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 0x10;
            assert!(decode_checkpoint(&damaged.into()).is_none(), "byte {at}");
        }
    }
}
