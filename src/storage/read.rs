//! Reading: from the batches in memory, else from a segment by index and walk.

use std::cell::RefCell;
use std::ops::{ControlFlow, Range};
use std::rc::Rc;

use super::batch::BatchHeader;
use super::chunk::to_usize;
use super::core::Core;
use super::index::Index;
use super::readahead::Window;
use super::scan::Scan;
use super::segment::{Segment, SegmentFile};
use super::stats::add;
use super::{Log, ReadBatches, ReadError, StorageError};
use crate::disk::{Disk, DiskFile, block_ceil};
use crate::model::{Offset, TimestampMs};
use crate::runtime::Runtime;

/// Largest index file read: one entry per batch of a largest segment would still be less.
const INDEX_BYTES_MAX: u64 = 64 << 20;

/// One segment to read from, owned: nothing of the log is borrowed while the device works.
struct Source<R: Runtime> {
    base: Offset,
    file: Rc<SegmentFile<R>>,
    index: Rc<RefCell<Index>>,
    /// Where the bytes that may be read from disk end.
    end: u64,
}

impl<R: Runtime> Log<R> {
    /// Whole batches from the one that contains `from`, below `limit`, from memory alone;
    /// `None` when they have to be read from disk. At least one batch whatever its size when
    /// `at_least_one`.
    ///
    /// # Errors
    /// `OutOfRange` when `from` is below the start or above the end.
    pub fn read_cached(
        &self,
        from: Offset,
        limit: Offset,
        bytes_max: usize,
        at_least_one: bool,
    ) -> Result<Option<ReadBatches>, ReadError> {
        let state = self.state.borrow();
        if from < state.start_offset || from > state.end_offset {
            return Err(ReadError::OutOfRange);
        }
        let mut found = ReadBatches::default();
        if from >= limit || from == state.end_offset {
            return Ok(Some(found));
        }
        if state.chunks.front().is_none_or(|first| from < first.base_offset) {
            return Ok(None);
        }
        let first = state.chunks.partition_point(|chunk| chunk.last_offset < from);
        for chunk in state.chunks.range(first..) {
            let len = chunk.len();
            let too_much = found.bytes + len > bytes_max;
            let is_allowed = found.bytes == 0 && at_least_one;
            if chunk.last_offset >= limit {
                break;
            }
            if too_much && !is_allowed {
                found.is_cut = true;
                break;
            }
            found.bytes += len;
            found.pieces.extend(chunk.pieces.iter().filter(|p| !p.is_empty()).cloned());
        }
        add(&self.core.stats.cache_hits, 1);
        Ok(Some(found))
    }

    /// As [`Log::read_cached`], reading from disk what is not in memory.
    ///
    /// # Errors
    /// As there, and when the bytes cannot be read or make no sense.
    pub async fn read(
        &self,
        from: Offset,
        limit: Offset,
        bytes_max: usize,
        at_least_one: bool,
    ) -> Result<ReadBatches, ReadError> {
        let mut from = from;
        loop {
            if let Some(found) = self.read_cached(from, limit, bytes_max, at_least_one)? {
                return Ok(found);
            }
            let source = self.source_of(from);
            match self.read_source(&source, from, limit, bytes_max, at_least_one).await {
                Ok(ControlFlow::Break(found)) => return Ok(found),
                _ if self.deleted.get() => return Err(ReadError::OutOfRange),
                // The segment was deleted or replaced while this looked at it: look again. What
                // comes next is another segment now, and it may hold what lay behind this one.
                _ if source.file.is_gone.get() => {}
                // No batch of this segment reaches `from`: it lies in a gap before the next.
                Ok(ControlFlow::Continue(next)) => from = next,
                Err(error) => return Err(self.noting_read(error)),
            }
        }
    }

    fn noting_read(&self, error: ReadError) -> ReadError {
        match error {
            ReadError::Storage(error) => ReadError::Storage(self.noting(error)),
            other => other,
        }
    }

    fn source_of(&self, offset: Offset) -> Source<R> {
        let state = self.state.borrow();
        let after = state.segments.partition_point(|segment| segment.base <= offset);
        self.source_at(&state, after.saturating_sub(1))
    }

    fn source_at(&self, state: &super::log::LogState<R>, number: usize) -> Source<R> {
        let segment = &state.segments[number];
        let is_active = number + 1 == state.segments.len();
        let in_memory = state.chunks.iter().find(|c| c.segment_base == segment.base);
        let end = match in_memory {
            // The rest is answered from memory.
            Some(chunk) => chunk.position,
            None if is_active => state.end_position,
            None => segment.bytes,
        };
        Source {
            base: segment.base,
            file: Rc::clone(&segment.file),
            index: Rc::clone(&segment.index),
            end,
        }
    }

    /// Read from one segment; `Continue` names the offset to go on at when it has nothing.
    async fn read_source(
        &self,
        source: &Source<R>,
        from: Offset,
        limit: Offset,
        bytes_max: usize,
        at_least_one: bool,
    ) -> Result<ControlFlow<ReadBatches, Offset>, ReadError> {
        let core = &self.core;
        let known = core.readahead.take(self.key.incarnation, source.base, from);
        let mut scan = match known {
            Some(window) => {
                add(&core.stats.readahead_hits, 1);
                self.scan(source, window.next_position)
                    .await?
                    .with_window(window.position, window.bytes)
            }
            None => {
                let start = self.position_of(source, from).await?;
                self.scan(source, start).await?
            }
        }
        .with_read_bytes(bytes_max as u64);
        let mut found = ReadBatches::default();
        let mut next_offset = from;
        while let Some(header) = scan.header().await? {
            if header.last_offset < from {
                scan.skip(&header);
                continue;
            }
            let len = to_usize(header.len);
            let too_much = found.bytes + len > bytes_max;
            let is_allowed = found.bytes == 0 && at_least_one;
            if header.last_offset >= limit {
                break;
            }
            if too_much && !is_allowed {
                found.is_cut = true;
                break;
            }
            scan.take(&header, &mut found.pieces).await?;
            found.bytes += len;
            next_offset = header.last_offset + 1;
        }
        let is_end = scan.position >= source.end;
        let next_position = scan.position;
        let (position, bytes) = scan.into_window();
        if !source.file.is_gone.get() {
            core.readahead.put(Window {
                incarnation: self.key.incarnation,
                segment_base: source.base,
                next_offset,
                next_position,
                position,
                bytes,
            });
        }
        if found.bytes == 0 && is_end {
            let state = self.state.borrow();
            let after = state.segments.iter().find(|s| s.base > source.base).map(|s| s.base);
            let in_memory = state.chunks.iter().find(|c| c.last_offset >= from);
            let next = match (in_memory, after) {
                (Some(chunk), _) if chunk.segment_base == source.base => chunk.base_offset,
                (_, Some(base)) => base,
                _ => return Ok(ControlFlow::Break(found)),
            };
            return Ok(ControlFlow::Continue(next.max(from + 1)));
        }
        // A segment ended: what lies behind it is another read's.
        found.is_cut |= is_end && next_offset < limit;
        Ok(ControlFlow::Break(found))
    }

    async fn scan<'a>(
        &'a self,
        source: &Source<R>,
        position: u64,
    ) -> Result<Scan<'a, R>, ReadError> {
        let open = self.core.open_segment(&source.file).await.map_err(ReadError::Storage)?;
        let path = self.core.layout.segment(self.key.id, source.base);
        Ok(Scan::new(&self.core, open, path.display().to_string(), position, source.end))
    }

    async fn position_of(&self, source: &Source<R>, offset: Offset) -> Result<u64, ReadError> {
        let known = source.index.borrow().position_of(offset);
        if let Some(position) = known {
            return Ok(position);
        }
        self.load_index(source.base).await.map_err(ReadError::Storage)?;
        if source.file.is_gone.get() {
            let gone = format!("segment {} was replaced", source.base);
            return Err(ReadError::Storage(StorageError::Io(gone)));
        }
        let known = source.index.borrow().position_of(offset);
        Ok(known.unwrap_or(0))
    }

    /// Have the whole index of a segment in memory: from its files as far as they are right,
    /// from the segment for the rest.
    pub(crate) async fn load_index(&self, base: Offset) -> Result<(), StorageError> {
        let (source, interval) = {
            let state = self.state.borrow();
            let Some(number) = state.segments.iter().position(|s| s.base == base) else {
                return Ok(());
            };
            (self.source_at(&state, number), state.config.index_interval_bytes)
        };
        let (is_complete, until) = {
            let index = source.index.borrow();
            (index.is_complete, index.noted_from)
        };
        if is_complete {
            return Ok(());
        }
        let layout = &self.core.layout;
        let offsets = self.read_file(&layout.offset_index(self.key.id, base)).await;
        let times = self.read_file(&layout.time_index(self.key.id, base)).await;
        let mut index =
            Index::decode(base, until, &offsets, &times).unwrap_or_else(|| Index::empty(base));
        // The files may end early; walk what they do not cover.
        let mut source = source;
        source.end = until;
        let mut scan = self.scan(&source, index.last_position()).await.map_err(read_failed)?;
        while let Some(header) = scan.header().await.map_err(read_failed)? {
            let at = scan.position;
            index.note(interval, at, header.len, header.last_offset, header.max_timestamp);
            scan.skip(&header);
        }
        // The index file may have been another segment's by now.
        if !source.file.is_gone.get() {
            source.index.borrow_mut().prepend(index);
            self.core.note_loaded(&source.index, until);
        }
        Ok(())
    }

    /// A small file of ours, empty when it cannot be read.
    async fn read_file(&self, path: &std::path::Path) -> bytes::Bytes {
        let Ok(file) = self.core.runtime.disk().open(path, false).await else {
            return bytes::Bytes::new();
        };
        match file.len() {
            Ok(len) if len > 0 && len <= INDEX_BYTES_MAX => {
                let read = file.read_at(0, to_usize(block_ceil(len))).await.unwrap_or_default();
                read.slice(..read.len().min(to_usize(len)))
            }
            _ => bytes::Bytes::new(),
        }
    }

    /// Base offset of the first batch with records whose largest timestamp is at least
    /// `timestamp`, with an offset in `range`; the caller looks inside the batch.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub async fn batch_by_timestamp(
        &self,
        timestamp: TimestampMs,
        range: Range<Offset>,
    ) -> Result<Option<Offset>, ReadError> {
        loop {
            let removals = self.state.borrow().removals;
            let found = self.find_by_timestamp(timestamp, &range).await;
            // A segment that is gone by now may have been passed over, or not have been there.
            if self.state.borrow().removals == removals {
                return found.map_err(|error| self.noting_read(error));
            }
        }
    }

    async fn find_by_timestamp(
        &self,
        timestamp: TimestampMs,
        range: &Range<Offset>,
    ) -> Result<Option<Offset>, ReadError> {
        for base in self.segments_at_least(timestamp, range.start) {
            let mut hit = None;
            let from = self.time_hint(base, timestamp).await?.max(range.start);
            self.pass(base, from, |batch| {
                if batch.base_offset >= range.end {
                    return ControlFlow::Break(());
                }
                if batch.last_offset >= self.start_offset() && batch.max_timestamp >= timestamp {
                    hit = Some(batch.base_offset);
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })
            .await?;
            if hit.is_some() {
                return Ok(hit);
            }
        }
        Ok(None)
    }

    /// Base offset of the batch with the largest timestamp.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub async fn batch_of_max_timestamp(&self, limit: Offset) -> Result<Option<Offset>, ReadError> {
        loop {
            let removals = self.state.borrow().removals;
            let found = self.find_max_timestamp(limit).await;
            if self.state.borrow().removals == removals {
                return found.map_err(|error| self.noting_read(error));
            }
        }
    }

    async fn find_max_timestamp(&self, limit: Offset) -> Result<Option<Offset>, ReadError> {
        let mut candidates = self.segments();
        candidates.retain(|s| s.max_timestamp >= 0 && s.base_offset < limit);
        // The earliest of equals, as in Kafka.
        candidates.sort_by_key(|s| (std::cmp::Reverse(s.max_timestamp), s.base_offset));
        for segment in candidates {
            let from = self.time_hint(segment.base_offset, segment.max_timestamp).await?;
            let mut best: Option<(TimestampMs, Offset)> = None;
            self.pass(segment.base_offset, from, |batch| {
                if batch.last_offset >= limit {
                    return ControlFlow::Break(());
                }
                if batch.last_offset >= self.start_offset()
                    && best.is_none_or(|(time, _)| batch.max_timestamp > time)
                {
                    best = Some((batch.max_timestamp, batch.base_offset));
                }
                ControlFlow::Continue(())
            })
            .await?;
            if let Some((_, offset)) = best {
                return Ok(Some(offset));
            }
        }
        Ok(None)
    }

    /// Bases of the segments that reach `timestamp` and do not end before `from`.
    fn segments_at_least(&self, timestamp: TimestampMs, from: Offset) -> Vec<Offset> {
        let state = self.state.borrow();
        let first = state.segments.iter().rposition(|s| s.base <= from).unwrap_or(0);
        let reaches = |s: &&Segment<R>| s.max_timestamp.max(-1) >= timestamp;
        let segments = state.segments.iter().skip(first).filter(reaches);
        segments.map(|s| s.base).collect()
    }

    /// An offset of the segment before which no batch reaches `timestamp`.
    async fn time_hint(&self, base: Offset, timestamp: TimestampMs) -> Result<Offset, ReadError> {
        self.load_index(base).await.map_err(ReadError::Storage)?;
        let state = self.state.borrow();
        let segment = state.segments.iter().find(|s| s.base == base);
        Ok(segment.map_or(base, |s| s.index.borrow().offset_before(timestamp)))
    }

    /// Walk over the batches of a segment from about `from` on, on disk, then in memory; those
    /// that a cleaning left without records are passed over.
    async fn pass(
        &self,
        base: Offset,
        from: Offset,
        mut visit: impl FnMut(&Passing) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let source = {
            let state = self.state.borrow();
            let Some(number) = state.segments.iter().position(|s| s.base == base) else {
                return Ok(());
            };
            self.source_at(&state, number)
        };
        let mut next = from;
        let start = self.position_of(&source, from).await?;
        if start < source.end {
            let mut scan = self.scan(&source, start).await?;
            while let Some(header) = scan.header().await? {
                next = header.last_offset + 1;
                let counts = header.last_offset >= from && header.records > 0;
                if counts && visit(&Passing::from(&header)).is_break() {
                    return Ok(());
                }
                scan.skip(&header);
            }
        }
        let state = self.state.borrow();
        let behind = state.chunks.iter().filter(|c| c.segment_base == base);
        let passing: Vec<Passing> = behind
            .filter(|c| c.last_offset >= next)
            .map(|c| Passing {
                base_offset: c.base_offset,
                last_offset: c.last_offset,
                max_timestamp: c.max_timestamp,
            })
            .collect();
        drop(state);
        for batch in &passing {
            if visit(batch).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// A batch as a walk sees it.
struct Passing {
    base_offset: Offset,
    last_offset: Offset,
    max_timestamp: TimestampMs,
}

impl From<&BatchHeader> for Passing {
    fn from(header: &BatchHeader) -> Self {
        Self {
            base_offset: header.base_offset,
            last_offset: header.last_offset,
            max_timestamp: header.max_timestamp,
        }
    }
}

fn read_failed(error: ReadError) -> StorageError {
    match error {
        ReadError::Storage(error) => error,
        ReadError::OutOfRange => StorageError::Io("a segment ended before its index".into()),
    }
}

impl<R: Runtime> Core<R> {
    /// An index of a sealed segment is in memory; the longest loaded ones go.
    pub(crate) fn note_loaded(&self, index: &Rc<RefCell<Index>>, bytes: u64) {
        let mut loaded = self.loaded_indexes.borrow_mut();
        loaded.push_back((Rc::downgrade(index), bytes));
        if loaded.len() > self.limits.loaded_indexes_max
            && let Some((oldest, bytes)) = loaded.pop_front()
            && let Some(oldest) = oldest.upgrade()
        {
            oldest.borrow_mut().unload_to(bytes);
        }
    }
}
