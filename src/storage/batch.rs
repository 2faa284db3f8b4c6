//! The fields of a stored batch's header that storage needs. Stored bytes are checked for sense
//! before they are used: a segment may have been damaged.

use bytes::Bytes;

use super::entry::HEADER_LEN;
use crate::model::{Offset, TimestampMs};

/// Bytes before the ones that the length field counts: base offset and the length itself.
const LENGTH_PREFIX: u64 = 12;

/// What `RecordBatch` version 2 begins with (Kafka's `DefaultRecordBatch`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) base_offset: Offset,
    pub(crate) last_offset: Offset,
    /// Bytes of the whole batch.
    pub(crate) len: u64,
    pub(crate) max_timestamp: TimestampMs,
    pub(crate) crc: u32,
    /// Records in it; a cleaning may leave none.
    pub(crate) records: i32,
}

impl BatchHeader {
    /// Read a header, or say why it cannot be one.
    pub(crate) fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, &'static str> {
        let i32_at = |at: usize| {
            i32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let i64_at = |at: usize| (i64::from(i32_at(at)) << 32) | i64::from(i32_at(at + 4) as u32);
        let base_offset = i64_at(0);
        let len = u64::try_from(i32_at(8)).map_err(|_| "its length is negative")? + LENGTH_PREFIX;
        let delta = i64::from(i32_at(23));
        if bytes[16] != 2 {
            return Err("its magic is not 2");
        }
        if len < HEADER_LEN as u64 {
            return Err("its length is less than a header's");
        }
        // An offset always has a next one.
        if base_offset < 0 || delta < 0 || base_offset >= Offset::MAX - delta {
            return Err("its offsets are impossible");
        }
        Ok(Self {
            base_offset,
            last_offset: base_offset + delta,
            len,
            max_timestamp: i64_at(35),
            crc: i32_at(17) as u32,
            records: i32_at(57),
        })
    }
}

/// Whether `batch` (in pieces) begins with `header` and has the checksum that it names.
pub(crate) fn batch_checks(header: &Bytes, pieces: &[Bytes]) -> bool {
    let Some(expected) = header.first_chunk::<HEADER_LEN>() else { return false };
    let Ok(parsed) = BatchHeader::parse(expected) else { return false };
    let (mut at, mut crc) = (0usize, 0u32);
    for piece in pieces {
        let known = HEADER_LEN.saturating_sub(at).min(piece.len());
        if piece[..known] != expected[at.min(HEADER_LEN)..at.min(HEADER_LEN) + known] {
            return false;
        }
        // The checksum covers everything from the attributes (byte 21) on.
        let skip = 21usize.saturating_sub(at).min(piece.len());
        crc = crc32c::crc32c_append(crc, &piece[skip..]);
        at += piece.len();
    }
    at as u64 == parsed.len && crc == parsed.crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_last_offset_without_a_next_one_is_impossible() {
        let mut bytes = [0; HEADER_LEN];
        bytes[8..12].copy_from_slice(&49i32.to_be_bytes());
        bytes[16] = 2;
        for (base, is_possible) in [(Offset::MAX - 1, true), (Offset::MAX, false), (-1, false)] {
            bytes[..8].copy_from_slice(&base.to_be_bytes());
            assert_eq!(BatchHeader::parse(&bytes).is_ok(), is_possible, "{base}");
        }
        bytes[..8].copy_from_slice(&(Offset::MAX - 1).to_be_bytes());
        bytes[23..27].copy_from_slice(&1i32.to_be_bytes());
        assert!(BatchHeader::parse(&bytes).is_err(), "the last one of two");
    }
}
