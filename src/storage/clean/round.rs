//! One cleaning of one log: read what is dirty, then write every group of segments anew.
//!
//! Appends go on all the while: only sealed segments are touched. Whatever ends a cleaning early
//! (a stop, a deletion, a full disk) costs its work and nothing else.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::filter::{CleanFacts, Filter, Kept, Mapping};
use super::key_map::KeyMap;
use super::output::{Output, Stay};
use super::range::{Dirt, groups};
use super::throttle::Throttle;
use crate::disk::Disk;
use crate::model::{Offset, TimestampMs};
use crate::record::{BatchView, TURN_BYTES};
use crate::runtime::Runtime;
use crate::runtime::wait::Pace;
use crate::storage::scan::Scan;
use crate::storage::segment::{Segment, SegmentFile};
use crate::storage::stats::add;
use crate::storage::{Log, ReadError, SegmentInfo, StorageError};

/// What a cleaning may use.
#[derive(Clone, Copy, Debug)]
pub struct CleanLimits {
    /// Bytes of the map of keys (`log.cleaner.dedupe.buffer.size`).
    pub map_bytes: u64,
    /// How full that map may get (`log.cleaner.io.buffer.load.factor`).
    pub load_factor: f64,
    /// Bytes read or written at once (`log.cleaner.io.buffer.size`).
    pub io_bytes: usize,
}

/// What a cleaning has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CleanOutcome {
    /// The log is clean up to here.
    pub cleaned_to: Offset,
    /// Different keys found in what was dirty.
    pub keys: usize,
    /// Bytes looked at, and left of them.
    pub bytes_before: u64,
    /// See above.
    pub bytes_after: u64,
}

/// Why a cleaning was not finished.
#[derive(Clone, Debug)]
pub enum CleanError {
    /// The log holds something that no cleaning may touch; it is left as it is.
    Uncleanable(String),
    /// The log changed or the store is closing: the next cleaning begins again.
    Interrupted,
    /// Space is missing, or the store is offline.
    Storage(StorageError),
}

impl From<StorageError> for CleanError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// A segment to be read, its file held open whatever becomes of its name.
pub(crate) struct Source<R: Runtime> {
    pub(crate) info: SegmentInfo,
    /// Base of the segment behind it.
    next: Offset,
    pub(crate) file: Rc<SegmentFile<R>>,
    open: Rc<<R::Disk as Disk>::File>,
}

/// One cleaning under way.
struct Round<'a, R: Runtime> {
    log: &'a Log<R>,
    limits: CleanLimits,
    throttle: &'a mut Throttle,
    turns: Pace,
    outcome: CleanOutcome,
}

impl<R: Runtime> Log<R> {
    /// How much of this log waits to be cleaned, if its topic is compacted and nothing in it is
    /// known that cannot be cleaned.
    pub fn dirt(&self, stable_end: Offset, now_ms: TimestampMs) -> Option<Dirt> {
        if self.is_uncleanable.get() {
            return None;
        }
        let compaction = self.state.borrow().config.compaction?;
        let segments = self.segments();
        let state = self.state.borrow();
        let cleaned_to = match state.cleaned_to {
            to if to > state.end_offset => state.start_offset,
            to => to.max(state.start_offset),
        };
        Some(Dirt::of(&segments, cleaned_to, stable_end, &compaction, now_ms))
    }

    /// Whether this log is known to hold something that cannot be cleaned.
    pub fn is_uncleanable(&self) -> bool {
        self.is_uncleanable.get()
    }

    /// Whether so much is dirty that `min.cleanable.dirty.ratio` asks for a cleaning.
    pub fn is_dirty_enough(&self, dirt: &Dirt) -> bool {
        let compaction = self.state.borrow().config.compaction;
        compaction.is_some_and(|compaction| dirt.ratio() > compaction.dirty_ratio_min)
    }

    /// Whether its topic is compacted.
    pub fn is_compacted(&self) -> bool {
        self.state.borrow().config.compaction.is_some()
    }

    /// Whether a record below `dirt.until` has waited for longer than `max.compaction.lag.ms`.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub async fn is_overdue(&self, dirt: &Dirt, now_ms: TimestampMs) -> Result<bool, CleanError> {
        let lag_max = match &self.state.borrow().config.compaction {
            Some(compaction) => compaction.lag_ms_max,
            None => return Ok(false),
        };
        if lag_max == i64::MAX || dirt.dirty_bytes == 0 {
            return Ok(false);
        }
        for (info, next) in self.sealed_segments() {
            if next <= dirt.from || info.base_offset >= dirt.until {
                continue;
            }
            let first = self.first_timestamp(info).await;
            let first = self.remember(first)?;
            if first > 0 && first < now_ms.saturating_sub(lag_max) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Clean this log up to where it may be. Only one cleaning of a log at a time.
    ///
    /// # Errors
    /// See [`CleanError`]; the log is as good as before.
    pub async fn clean(
        &self,
        mut facts: CleanFacts,
        stable_end: Offset,
        limits: CleanLimits,
        throttle: &mut Throttle,
    ) -> Result<CleanOutcome, CleanError> {
        self.check()?;
        let Some(dirt) = self.dirt(stable_end, facts.now_ms).filter(|dirt| dirt.dirty_bytes > 0)
        else {
            return Ok(CleanOutcome::default());
        };
        let compaction = self.state.borrow().config.compaction;
        facts.delete_retention_ms = compaction.map_or(0, |c| c.delete_retention_ms);
        let outcome = CleanOutcome::default();
        let mut round =
            Round { log: self, limits, throttle, turns: Pace::new(TURN_BYTES), outcome };
        let cleaned = round.run(&facts, dirt).await;
        self.remember(cleaned)?;
        add(&self.core.stats.cleanings, 1);
        Ok(round.outcome)
    }

    /// A log that cannot be cleaned is not tried again before the next start.
    fn remember<T>(&self, done: Result<T, CleanError>) -> Result<T, CleanError> {
        if let Err(CleanError::Uncleanable(_)) = done {
            self.is_uncleanable.set(true);
        }
        done
    }

    /// Sealed segments, each with the base of the next one.
    fn sealed_segments(&self) -> Vec<(SegmentInfo, Offset)> {
        let segments = self.segments();
        let pairs = segments.windows(2).map(|pair| (pair[0], pair[1].base_offset));
        pairs.collect()
    }

    async fn first_timestamp(&self, info: SegmentInfo) -> Result<TimestampMs, CleanError> {
        let known = {
            let state = self.state.borrow();
            let segment = state.segments.iter().find(|s| s.base == info.base_offset);
            segment.and_then(|segment| segment.first_timestamp)
        };
        if let Some(known) = known {
            return Ok(known);
        }
        let source = self.source(info).await?;
        let mut scan = self.scan_source(&source);
        let first = scan.header().await.map_err(unreadable)?.map_or(-1, |h| h.max_timestamp);
        let mut state = self.state.borrow_mut();
        if let Some(segment) =
            state.segments.iter_mut().find(|segment| Rc::ptr_eq(&segment.file, &source.file))
        {
            segment.first_timestamp = Some(first);
        }
        Ok(first)
    }

    async fn source(&self, info: SegmentInfo) -> Result<Source<R>, CleanError> {
        let (file, next) = {
            let state = self.state.borrow();
            let is_it = |s: &Segment<R>| s.base == info.base_offset && s.bytes == info.bytes;
            let Some([found, next]) = state.segments.array_windows().find(|pair| is_it(&pair[0]))
            else {
                return Err(CleanError::Interrupted);
            };
            (Rc::clone(&found.file), next.base)
        };
        let open = match self.core.open_segment(&file).await {
            Ok(open) => open,
            Err(_) if file.is_gone.get() => return Err(CleanError::Interrupted),
            Err(error) => return Err(unreadable(ReadError::Storage(error))),
        };
        Ok(Source { info, next, file, open })
    }

    fn scan_source(&self, source: &Source<R>) -> Scan<'_, R> {
        let base = source.info.base_offset;
        let name = self.core.layout.segment(self.key.id, base).display().to_string();
        Scan::new(&self.core, Rc::clone(&source.open), name, 0, source.info.bytes)
    }
}

impl<'a, R: Runtime> Round<'a, R> {
    async fn run(&mut self, facts: &CleanFacts, dirt: Dirt) -> Result<(), CleanError> {
        let records = (dirt.until - dirt.from).unsigned_abs();
        let map = KeyMap::new(self.limits.map_bytes, self.limits.load_factor, records);
        let mut mapping = Mapping::new(facts, map, dirt.from);
        self.learn(&mut mapping, &dirt).await?;
        let mut filter = mapping.finish(dirt.until);
        if filter.end() == dirt.from {
            return Err(CleanError::Uncleanable(format!(
                "the batch at offset {} has more different keys than the cleaner's memory holds; \
                 raise log.cleaner.dedupe.buffer.size",
                dirt.from
            )));
        }
        let segments = self.log.segments();
        let segment_bytes = self.log.state.borrow().config.segment_bytes;
        for group in groups(&segments, filter.end().min(dirt.until), segment_bytes) {
            let until = segments[group.end].base_offset;
            self.clean_group(&segments[group], until, &mut filter).await?;
        }
        let mut state = self.log.state.borrow_mut();
        state.cleaned_to = filter.end();
        drop(state);
        self.log.shared().note_changed();
        (self.outcome.cleaned_to, self.outcome.keys) = (filter.end(), filter.keys());
        Ok(())
    }

    /// The first pass: the keys of the dirty segments.
    async fn learn(&mut self, mapping: &mut Mapping<'_>, dirt: &Dirt) -> Result<(), CleanError> {
        for (info, next) in self.log.sealed_segments() {
            if next <= dirt.from || info.base_offset >= dirt.until {
                continue;
            }
            let source = self.log.source(info).await?;
            let mut scan = self.scan(&source);
            while let Some(batch) = self.next_batch(&mut scan, &source).await? {
                let learnt = mapping.batch(&view(&batch)?, &mut self.turns).await;
                if !learnt.map_err(|why| self.uncleanable(&info, &why))? {
                    return Ok(());
                }
                self.worked(batch.len()).await?;
            }
            mapping.segment_done(next);
        }
        Ok(())
    }

    /// The second pass over segments that become one.
    async fn clean_group(
        &mut self,
        group: &[SegmentInfo],
        until: Offset,
        filter: &mut Filter<'_>,
    ) -> Result<(), CleanError> {
        let mut outputs = Vec::new();
        let mut sources = Vec::with_capacity(group.len());
        let written = self.write_group(group, filter, &mut sources, &mut outputs).await;
        let is_worth_it = match written {
            Ok(is_changed) => Ok(is_changed || group.len() > 1),
            Err(error) => Err(error),
        };
        if let Ok(true) = is_worth_it {
            return self.log.swap(&sources, until, outputs).await;
        }
        for output in outputs {
            output.discard().await;
        }
        is_worth_it.map(drop)
    }

    /// Write what stays of a group; whether that differs from what there is.
    async fn write_group(
        &mut self,
        group: &[SegmentInfo],
        filter: &mut Filter<'_>,
        sources: &mut Vec<Source<R>>,
        outputs: &mut Vec<Output<R>>,
    ) -> Result<bool, CleanError> {
        let mut is_changed = false;
        for info in group {
            sources.push(self.log.source(*info).await?);
            let Some(source) = sources.last() else { continue };
            let mut scan = self.scan(source);
            while let Some(bytes) = self.next_batch(&mut scan, source).await? {
                let batch = view(&bytes)?;
                let kept = filter.batch(&batch, &mut self.turns).await;
                let kept = kept.map_err(|why| self.uncleanable(info, &why))?;
                self.outcome.bytes_before += bytes.len() as u64;
                let left = match &kept {
                    Kept::Whole => &bytes[..],
                    Kept::Changed(changed) => &changed[..],
                    Kept::Nothing => &[],
                };
                is_changed |= kept != Kept::Whole;
                if !left.is_empty() {
                    let base = group.first().map_or(0, |first| first.base_offset);
                    self.put(outputs, base, left, info).await?;
                }
                self.worked(bytes.len() + left.len()).await?;
            }
        }
        for output in outputs {
            output.finish(self.log).await?;
        }
        Ok(is_changed)
    }

    /// Append a batch to the last output, or to a new one where it would grow too large.
    async fn put(
        &mut self,
        outputs: &mut Vec<Output<R>>,
        base: Offset,
        bytes: &[u8],
        source: &SegmentInfo,
    ) -> Result<(), CleanError> {
        let batch = view(bytes)?;
        self.outcome.bytes_after += bytes.len() as u64;
        let (interval, segment_bytes) = {
            let config = &self.log.state.borrow().config;
            (config.index_interval_bytes, config.segment_bytes.max(source.bytes))
        };
        let is_full = |output: &Output<R>| {
            let segment = &output.cleaned.segment;
            segment.bytes + bytes.len() as u64 > segment_bytes
                || batch.last_offset() - segment.base > i64::from(i32::MAX)
        };
        if outputs.last().is_none_or(is_full) {
            let base = if outputs.is_empty() { base } else { batch.base_offset() };
            outputs.push(Output::create(&self.log.core, base).await?);
        }
        // A batch that lied about its time was not believed when it came, and is not now.
        let max_timestamp = batch.max_timestamp().max(-1).min(source.max_timestamp);
        let stay = Stay { last_offset: batch.last_offset(), max_timestamp };
        if let Some(output) = outputs.last_mut() {
            output.add(bytes, stay, interval, self.limits.io_bytes).await?;
        }
        Ok(())
    }

    fn scan(&self, source: &Source<R>) -> Scan<'a, R> {
        self.log.scan_source(source).with_read_bytes(self.limits.io_bytes as u64)
    }

    /// The next whole batch of a segment, in one piece.
    async fn next_batch(
        &self,
        scan: &mut Scan<'_, R>,
        source: &Source<R>,
    ) -> Result<Option<Bytes>, CleanError> {
        let Some(header) = scan.header().await.map_err(unreadable)? else { return Ok(None) };
        let (base, next) = (source.info.base_offset, source.next);
        // No checksum covers the base offset. Believed, a wrong one would put the batch into a
        // segment that has no place in the log.
        if header.base_offset < base || header.last_offset >= next {
            let (first, last) = (header.base_offset, header.last_offset);
            let why = format!("offsets {first}..={last} do not belong between {base} and {next}");
            return Err(self.uncleanable(&source.info, &why));
        }
        let mut pieces = Vec::new();
        scan.take(&header, &mut pieces).await.map_err(unreadable)?;
        Ok(Some(match pieces.len() {
            1 => pieces.swap_remove(0),
            _ => pieces.concat().into(),
        }))
    }

    /// Some work is done: rest if it is time to, and see whether going on makes sense.
    async fn worked(&mut self, bytes: usize) -> Result<(), CleanError> {
        let runtime = &self.log.core.runtime;
        let rest: Option<Duration> = self.throttle.step(runtime.now(), bytes as u64);
        if let Some(rest) = rest {
            runtime.sleep(rest).await;
            self.log.check()?;
            self.log.core.check_open().map_err(|_| CleanError::Interrupted)?;
        }
        Ok(())
    }

    fn uncleanable(&self, info: &SegmentInfo, why: &str) -> CleanError {
        let path = self.log.core.layout.segment(self.log.key.id, info.base_offset);
        CleanError::Uncleanable(format!("{}: {why}", path.display()))
    }
}

fn view(bytes: &[u8]) -> Result<BatchView<'_>, CleanError> {
    BatchView::first(bytes).map_err(|fault| CleanError::Uncleanable(fault.to_string()))
}

fn unreadable(error: ReadError) -> CleanError {
    match error {
        ReadError::OutOfRange => CleanError::Interrupted,
        ReadError::Storage(error) => CleanError::Uncleanable(error.to_string()),
    }
}
