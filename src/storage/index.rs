//! The two indexes of a segment, in memory and in Kafka's file formats.
//!
//! `.index`: 8 bytes per entry, relative offset and position; `.timeindex`: 12 bytes, timestamp
//! and relative offset; all big-endian (`OffsetIndex`, `TimeIndex` of Apache Kafka). An entry
//! names the last offset of the batch at its position. Indexes are never trusted: what is loaded
//! is checked against the segment's bounds and order, and rebuilt from the segment when wrong.

use bytes::{BufMut, Bytes, BytesMut};

use crate::model::{Offset, TimestampMs};

/// See the file's comment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    base: Offset,
    /// Last offset of a batch relative to the base, position of that batch.
    offsets: Vec<(u32, u32)>,
    /// Largest timestamp so far, relative last offset of the batch that has it.
    times: Vec<(TimestampMs, u32)>,
    /// Whether everything from the start of the segment is in memory.
    pub(crate) is_complete: bool,
    /// From where on this index has noted batches itself.
    pub(crate) noted_from: u64,
    since_last: u64,
    max_timestamp: TimestampMs,
    max_timestamp_offset: u32,
}

impl Index {
    /// Of a segment without batches.
    pub(crate) fn empty(base: Offset) -> Self {
        Self { base, is_complete: true, max_timestamp: -1, ..Self::default() }
    }

    /// Of a segment whose first `noted_from` bytes are indexed on disk at best.
    pub(crate) fn unloaded(base: Offset, noted_from: u64) -> Self {
        Self { is_complete: noted_from == 0, noted_from, ..Self::empty(base) }
    }

    /// Note a batch at the end. An entry is made when more than `interval` bytes lie behind the
    /// last one, as Kafka does.
    pub(crate) fn note(
        &mut self,
        interval: u32,
        position: u64,
        len: u64,
        last_offset: Offset,
        max_timestamp: TimestampMs,
    ) {
        let (Ok(relative), Ok(position)) =
            (u32::try_from(last_offset - self.base), u32::try_from(position))
        else {
            return;
        };
        if max_timestamp > self.max_timestamp {
            self.max_timestamp = max_timestamp;
            self.max_timestamp_offset = relative;
        }
        if self.since_last > u64::from(interval) {
            self.offsets.push((relative, position));
            self.note_time();
            self.since_last = 0;
        }
        self.since_last += len;
    }

    fn note_time(&mut self) {
        let newest = self.times.last().map_or(-1, |(time, _)| *time);
        if self.max_timestamp > newest {
            self.times.push((self.max_timestamp, self.max_timestamp_offset));
        }
    }

    /// Where to begin looking for `offset`; `None` when the index has to be loaded first.
    pub(crate) fn position_of(&self, offset: Offset) -> Option<u64> {
        let relative = u32::try_from((offset - self.base).max(0)).unwrap_or(u32::MAX);
        let after = self.offsets.partition_point(|(last, _)| *last <= relative);
        match after.checked_sub(1) {
            Some(found) => Some(u64::from(self.offsets[found].1)),
            None => self.is_complete.then_some(0),
        }
    }

    /// Relative offset behind which the first record with at least `timestamp` lies.
    pub(crate) fn offset_before(&self, timestamp: TimestampMs) -> Offset {
        let after = self.times.partition_point(|(time, _)| *time < timestamp);
        let relative = after.checked_sub(1).map_or(0, |found| self.times[found].1);
        self.base + i64::from(relative)
    }

    /// Kafka closes a time index with the segment's largest timestamp.
    pub(crate) fn seal(&mut self) {
        self.note_time();
    }

    /// Put what was loaded or rebuilt for the part before `noted_from` in front.
    pub(crate) fn prepend(&mut self, mut before: Self) {
        if self.is_complete {
            return;
        }
        before.offsets.append(&mut self.offsets);
        let newest = before.max_timestamp.max(before.times.last().map_or(-1, |(time, _)| *time));
        before.times.extend(self.times.drain(..).filter(|(time, _)| *time > newest));
        self.offsets = before.offsets;
        self.times = before.times;
        if before.max_timestamp > self.max_timestamp {
            self.max_timestamp = before.max_timestamp;
            self.max_timestamp_offset = before.max_timestamp_offset;
        }
        self.is_complete = true;
    }

    /// Forget the entries for the first `bytes` bytes, which can be loaded again.
    pub(crate) fn unload_to(&mut self, bytes: u64) {
        self.offsets.retain(|(_, position)| u64::from(*position) >= bytes);
        self.offsets.shrink_to_fit();
        if self.offsets.is_empty() {
            // Of a sealed segment nothing stays: there are many of them.
            self.times = Vec::new();
        }
        self.is_complete = bytes == 0;
        self.noted_from = bytes;
    }

    /// The two files.
    pub(crate) fn encode(&self) -> (Bytes, Bytes) {
        let mut offsets = BytesMut::with_capacity(self.offsets.len() * 8);
        for (relative, position) in &self.offsets {
            offsets.put_u32(*relative);
            offsets.put_u32(*position);
        }
        let mut times = BytesMut::with_capacity(self.times.len() * 12);
        for (time, relative) in &self.times {
            times.put_i64(*time);
            times.put_u32(*relative);
        }
        (offsets.freeze(), times.freeze())
    }

    /// Read back the two files of a segment with `bytes` bytes of batches; `None` when they
    /// cannot belong to it. Trailing zeros (a padded last block) end a file.
    pub(crate) fn decode(base: Offset, bytes: u64, offsets: &[u8], times: &[u8]) -> Option<Self> {
        let mut index = Self::empty(base);
        let mut last = (0, 0);
        for entry in offsets.chunks_exact(8) {
            let entry = (be_u32(&entry[..4]), be_u32(&entry[4..]));
            if entry == (0, 0) {
                break;
            }
            let grows = index.offsets.is_empty() || (entry.0 > last.0 && entry.1 > last.1);
            if !grows || u64::from(entry.1) >= bytes {
                return None;
            }
            index.offsets.push(entry);
            last = entry;
        }
        for entry in times.chunks_exact(12) {
            let time = i64::from_be_bytes(entry[..8].try_into().ok()?);
            let relative = be_u32(&entry[8..]);
            if (time, relative) == (0, 0) {
                break;
            }
            if index.times.last().is_some_and(|(newest, at)| time <= *newest || relative < *at) {
                return None;
            }
            index.times.push((time, relative));
            index.max_timestamp = time;
            index.max_timestamp_offset = relative;
        }
        Some(index)
    }

    /// Position of the last entry.
    pub(crate) fn last_position(&self) -> u64 {
        self.offsets.last().map_or(0, |(_, position)| u64::from(*position))
    }
}

fn be_u32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |value, byte| (value << 8) | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> Index {
        let mut index = Index::empty(1000);
        for i in 0..100u32 {
            let at = u64::from(i) * 1000;
            index.note(4096, at, 1000, 1000 + i64::from(i) * 10 + 9, 5000 + i64::from(i));
        }
        index
    }

    #[test]
    fn lookups_never_start_behind_the_offset() {
        let index = filled();
        assert_eq!(index.position_of(1000), Some(0));
        // The entry at batch 5 names its last offset; a record inside that batch is not behind it.
        assert_eq!(index.position_of(1050), Some(0));
        assert_eq!(index.position_of(1059), Some(5000));
        assert_eq!(index.position_of(1_000_000), Some(95_000));
    }

    #[test]
    fn files_round_trip_and_damage_is_refused() {
        let mut index = filled();
        index.seal();
        let (offsets, times) = index.encode();
        let back = Index::decode(1000, 100_000, &offsets, &times).unwrap();
        assert_eq!((&back.offsets, &back.times), (&index.offsets, &index.times));
        assert!(Index::decode(1000, 50_000, &offsets, &times).is_none(), "beyond the segment");
        let mut swapped = offsets.to_vec();
        swapped.swap(0, 8);
        swapped.swap(3, 11);
        assert!(Index::decode(1000, 100_000, &swapped, &times).is_none(), "not growing");
        let padded = [&offsets[..], &[0; 800]].concat();
        assert_eq!(Index::decode(1000, 100_000, &padded, &times).unwrap().offsets, index.offsets);
    }

    #[test]
    fn an_unloaded_index_holds_no_entry_and_comes_back_from_its_files() {
        let mut index = filled();
        index.seal();
        let whole = index.clone();
        let (offsets, times) = index.encode();
        index.unload_to(100_000);
        assert_eq!((index.offsets.capacity(), index.times.capacity()), (0, 0));
        assert_eq!((index.position_of(1059), index.is_complete), (None, false));
        index.prepend(Index::decode(1000, 100_000, &offsets, &times).unwrap());
        assert_eq!((&index.offsets, &index.times), (&whole.offsets, &whole.times));
    }

    #[test]
    fn an_unloaded_index_answers_only_for_what_it_noted() {
        let mut index = Index::unloaded(0, 50_000);
        for i in 50..100u32 {
            index.note(4096, u64::from(i) * 1000, 1000, i64::from(i), 0);
        }
        assert_eq!(index.position_of(10), None);
        assert_eq!(index.position_of(99), Some(95_000));
    }
}
