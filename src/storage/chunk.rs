//! Batches in memory: what was appended, as slices that readers share.

use std::ops::Range;

use bytes::Bytes;

use crate::model::{LeaderEpoch, Offset, TimestampMs};

/// What a batch costs in memory besides its bytes.
const CHUNK_OVERHEAD: usize = 192;

/// One stored batch in memory.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    /// Segment it belongs to.
    pub(crate) segment_base: Offset,
    /// Where it starts in that segment.
    pub(crate) position: u64,
    pub(crate) base_offset: Offset,
    pub(crate) last_offset: Offset,
    pub(crate) max_timestamp: TimestampMs,
    /// Its bytes in up to three pieces: journalled head, direct blocks, journalled tail.
    pub(crate) pieces: [Bytes; 3],
}

impl Chunk {
    /// Bytes of the batch.
    pub(crate) fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// Bytes it is accounted with.
    pub(crate) fn cost(&self) -> usize {
        self.len() + CHUNK_OVERHEAD
    }

    /// Where it ends in its segment.
    pub(crate) fn end(&self) -> u64 {
        self.position + self.len() as u64
    }
}

/// Copy the bytes of `range` (positions in a segment) out of `pieces` (position, bytes) into
/// `out`, whose first byte is `range.start`. Returns how many bytes of the range were found.
pub(crate) fn gather<'a>(
    pieces: impl Iterator<Item = (u64, &'a Bytes)>,
    range: Range<u64>,
    out: &mut [u8],
) -> u64 {
    let mut reached = range.start;
    for (position, bytes) in pieces {
        let end = position + bytes.len() as u64;
        let (from, to) = (position.max(reached), end.min(range.end));
        if from > reached || from >= to {
            continue;
        }
        let source = &bytes[to_usize(from - position)..to_usize(to - position)];
        out[to_usize(from - range.start)..to_usize(to - range.start)].copy_from_slice(source);
        reached = to;
    }
    reached - range.start
}

/// A distance inside one buffer.
pub(crate) fn to_usize(distance: u64) -> usize {
    usize::try_from(distance).expect("64-bit targets only")
}

/// The first 16 bytes of a stored batch: base offset, length as it came, leader epoch. Both
/// stamped fields lie outside the batch's checksum (Kafka's `DefaultRecordBatch`).
pub(crate) struct Stamp([u8; 16]);

impl Stamp {
    pub(crate) fn new(batch: &[u8], base_offset: Offset, epoch: LeaderEpoch) -> Self {
        let mut first = [0u8; 16];
        first.copy_from_slice(&batch[..16]);
        first[0..8].copy_from_slice(&base_offset.to_be_bytes());
        first[12..16].copy_from_slice(&epoch.to_be_bytes());
        Self(first)
    }

    /// Copy `range` of the stamped batch into `out`, which is as long as the range.
    pub(crate) fn copy(&self, batch: &[u8], range: Range<usize>, out: &mut [u8]) {
        out.copy_from_slice(&batch[range.clone()]);
        if range.start < self.0.len() {
            let end = range.end.min(self.0.len());
            out[..end - range.start].copy_from_slice(&self.0[range.start..end]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gather_joins_pieces_and_says_where_they_end() {
        let pieces = [(10u64, Bytes::from_static(b"abc")), (13, Bytes::from_static(b"defg"))];
        let mut out = [0u8; 5];
        let found = gather(pieces.iter().map(|(p, b)| (*p, b)), 11..16, &mut out);
        assert_eq!((found, &out), (5, b"bcdef"));
        let found = gather(pieces.iter().map(|(p, b)| (*p, b)), 15..20, &mut out);
        assert_eq!((found, &out[..2]), (2, &b"fg"[..]));
        let found = gather(pieces.iter().map(|(p, b)| (*p, b)), 5..10, &mut out);
        assert_eq!(found, 0);
    }

    #[test]
    fn stamping_changes_offset_and_epoch_and_nothing_else() {
        let batch: Vec<u8> = (0..64).collect();
        let stamp = Stamp::new(&batch, 0x0102, 7);
        let mut whole = [0; 64];
        // In two parts that cut through the stamped bytes.
        stamp.copy(&batch, 0..5, &mut whole[0..5]);
        stamp.copy(&batch, 5..64, &mut whole[5..64]);
        assert_eq!(whole[0..8], 0x0102i64.to_be_bytes());
        assert_eq!(whole[8..12], batch[8..12]);
        assert_eq!(whole[12..16], 7i32.to_be_bytes());
        assert_eq!(whole[16..], batch[16..]);
    }
}
