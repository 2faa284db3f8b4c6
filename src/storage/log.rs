//! One partition's log in memory: marks, segments, and how far its bytes have come.
//!
//! Positions are of the active segment. Always true:
//! `landed <= end_position`, everything below `landed` is in the segment (its write completed);
//! chunks are contiguous, the last one ends at the log's end, and all bytes from `landed` on are
//! in them; every whole block below `submitted` has been handed to the disk or stands in
//! `behind`; a block that holds acknowledged bytes whose journal copy may be gone is named by
//! `parked` or in `gates` and is not written before its entry is flushed (the one rule).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};

use bytes::Bytes;

use super::checkpoint_file::NO_RUN;
use super::chunk::Chunk;
use super::core::Core;
use super::entry::LogKey;
use super::journal::Ordinal;
use super::segment::Segment;
use super::stats::{add, sub};
use super::{LogConfig, LogObserver, SegmentInfo, StorageError};
use crate::disk::{BLOCK_U64, block_floor};
use crate::model::{Offset, TimestampMs, TopicPartition};
use crate::runtime::Runtime;
use crate::runtime::wait::TurnLock;

/// One partition's log.
pub struct Log<R: Runtime> {
    pub(crate) core: Rc<Core<R>>,
    me: Weak<Self>,
    pub(crate) key: LogKey,
    pub(crate) state: RefCell<LogState<R>>,
    observer: RefCell<Option<Rc<dyn LogObserver>>>,
    written: Cell<Offset>,
    flushed: Cell<Offset>,
    in_unflushed: Cell<bool>,
    told: Cell<(Offset, Offset)>,
    /// Stands in the list of logs changed since the last checkpoint.
    in_changed: Cell<bool>,
    pub(crate) in_behind: Cell<bool>,
    /// One write behind at a time: the order of writes to one block.
    pub(crate) behind_turn: TurnLock,
    /// One room-maker (allocate, roll) at a time.
    pub(crate) room_turn: TurnLock,
    /// One who renames or removes files of sealed segments at a time.
    pub(crate) front_turn: TurnLock,
    /// A cleaning found something in it that does not check: it is left as it is.
    pub(crate) is_uncleanable: Cell<bool>,
    /// Why this log takes and gives nothing, if so.
    pub(crate) broken: RefCell<Option<StorageError>>,
    /// As in [`super::checkpoint_file::LogRecord`].
    pub(crate) kept_run: Cell<u64>,
    pub(crate) deleted: Cell<bool>,
    /// The checkpoint round that last found it changed.
    pub(crate) changed_in: Cell<u64>,
    /// Snapshot and headers as recovered, until there is an observer.
    pub(crate) replayed: RefCell<(Bytes, Bytes)>,
    /// Record of this log in the last checkpoint, reused while nothing changes.
    pub(crate) checkpoint_record: RefCell<Bytes>,
}

/// Bytes of a block already in the segment, kept to be journalled and written again.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    /// Start of the block.
    pub(crate) position: u64,
    pub(crate) bytes: Bytes,
}

/// A block that may be written again only after an entry is flushed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gate {
    pub(crate) block: u64,
    pub(crate) ordinal: Ordinal,
}

/// An append whose write has not completed.
pub(crate) struct Unwritten {
    /// Of its entry.
    pub(crate) ordinal: Ordinal,
    /// Behind its last record.
    pub(crate) end: Offset,
    /// Whether somebody waits for its flush.
    pub(crate) flush: bool,
    /// Its direct write is under way.
    pub(crate) is_arriving: bool,
}

pub(crate) struct LogState<R: Runtime> {
    pub(crate) config: LogConfig,
    pub(crate) start_offset: Offset,
    pub(crate) end_offset: Offset,
    /// Oldest first; the last one is active.
    pub(crate) segments: Vec<Segment<R>>,
    /// Whether directory and active file exist on disk.
    pub(crate) is_materialized: bool,
    /// Space known to be claimed for the active segment.
    pub(crate) allocated: u64,
    /// Whether the active file is cut to its length, with nothing claimed behind.
    pub(crate) is_cut: bool,
    /// Everything below was cleaned before.
    pub(crate) cleaned_to: Offset,
    /// How often something went: records below a new start, segments that were cleaned.
    pub(crate) removals: u64,
    /// No appends while the active segment is being sealed.
    pub(crate) is_rolling: bool,
    pub(crate) end_position: u64,
    pub(crate) submitted: u64,
    pub(crate) landed: u64,
    /// Block ranges below `submitted` still to be written from memory.
    pub(crate) behind: VecDeque<(u64, u64)>,
    /// Writes under way.
    pub(crate) inflight: Vec<(u64, u64)>,
    pub(crate) parked: Option<u64>,
    pub(crate) gates: Vec<Gate>,
    /// Block whose zero-padded write is under way.
    pub(crate) parking: Option<u64>,
    /// Where the last zero-padded write that completed ends.
    pub(crate) park_end: u64,
    /// One per block that is parked, or was and has not been written again since.
    pub(crate) tails: Vec<Tail>,
    pub(crate) chunks: VecDeque<Chunk>,
    /// How many chunks at the front are in the segment and may be evicted.
    pub(crate) evictable: usize,
    /// In the order of their offsets.
    pub(crate) unwritten: VecDeque<Unwritten>,
    /// Time of the first append to the active segment, for `segment.ms`.
    pub(crate) active_since: Option<TimestampMs>,
}

impl<R: Runtime> LogState<R> {
    pub(crate) fn active(&self) -> &Segment<R> {
        self.segments.last().expect("a log always has an active segment")
    }

    pub(crate) fn active_mut(&mut self) -> &mut Segment<R> {
        self.segments.last_mut().expect("a log always has an active segment")
    }

    /// Pieces of the active segment in memory that end behind `from`, in order of position.
    fn pieces(&self, from: u64) -> impl Iterator<Item = (u64, &Bytes)> {
        let base = self.active().base;
        let tails = self.tails.iter().map(|tail| (tail.position, &tail.bytes));
        // The cache holds many small batches: the first one is searched, not walked to.
        let first = self.chunks.partition_point(|c| (c.segment_base, c.end()) <= (base, from));
        tails.chain(self.chunks.range(first..).flat_map(|chunk| {
            let mut position = chunk.position;
            chunk.pieces.iter().map(move |piece| {
                let at = position;
                position += piece.len() as u64;
                (at, piece)
            })
        }))
    }

    /// The parked bytes, if they are in memory.
    pub(crate) fn parked_tail(&self) -> Option<Bytes> {
        let block = self.parked?;
        self.tails.iter().find(|tail| tail.position == block).map(|tail| tail.bytes.clone())
    }

    /// Keep the bytes of a parked block.
    pub(crate) fn keep_tail(&mut self, tail: Tail) {
        self.tails.retain(|known| known.position != tail.position);
        self.tails.push(tail);
    }

    /// Copy a range of the active segment from memory; all of it must be there.
    pub(crate) fn copy_range(&self, from: u64, to: u64, out: &mut [u8]) {
        let found = super::chunk::gather(self.pieces(from), from..to, out);
        assert_eq!(found, to - from, "bytes that are not in the segment yet are in memory");
    }

    /// Whether the block at `block` must not be written now.
    pub(crate) fn is_blocked(&self, block: u64, is_flushed: impl Fn(Ordinal) -> bool) -> bool {
        self.parked == Some(block)
            || self.parking == Some(block)
            || self.gates.iter().any(|gate| gate.block == block && !is_flushed(gate.ordinal))
    }

    /// Recompute how far the segment is complete.
    fn advance_landed(&mut self) {
        let behind = self.behind.iter().map(|(start, _)| *start).min();
        let inflight = self.inflight.iter().map(|(start, _)| *start).min();
        let open = [behind, inflight].into_iter().flatten().min();
        // The parked bytes are there, but writes of earlier blocks may still be under way.
        let complete = self.submitted.max(self.park_end).min(self.end_position);
        let reached = open.unwrap_or(u64::MAX).min(complete);
        self.landed = self.landed.max(reached);
        let (landed, parked) = (self.landed, self.parked);
        self.tails.retain(|t| parked == Some(t.position) || landed < t.position + BLOCK_U64);
    }
}

impl<R: Runtime> Log<R> {
    pub(crate) fn new(core: Rc<Core<R>>, key: LogKey, state: LogState<R>) -> Rc<Self> {
        let end = state.end_offset;
        Rc::new_cyclic(|me| Self {
            core,
            me: Weak::clone(me),
            key,
            state: RefCell::new(state),
            observer: RefCell::new(None),
            written: Cell::new(end),
            flushed: Cell::new(end),
            in_unflushed: Cell::new(false),
            told: Cell::new((end, end)),
            in_changed: Cell::new(false),
            in_behind: Cell::new(false),
            behind_turn: TurnLock::default(),
            room_turn: TurnLock::default(),
            front_turn: TurnLock::default(),
            is_uncleanable: Cell::new(false),
            broken: RefCell::new(None),
            kept_run: Cell::new(NO_RUN),
            deleted: Cell::new(false),
            changed_in: Cell::new(0),
            replayed: RefCell::default(),
            checkpoint_record: RefCell::default(),
        })
    }

    /// This log as its tasks hold it.
    pub(crate) fn shared(&self) -> Rc<Self> {
        self.me.upgrade().expect("whoever borrows a log holds it")
    }

    /// Which partition this is.
    pub fn id(&self) -> TopicPartition {
        self.key.id
    }

    /// Who hears of progress. Set once, right after creation or recovery.
    pub fn set_observer(&self, observer: Rc<dyn LogObserver>) {
        *self.observer.borrow_mut() = Some(observer);
        *self.replayed.borrow_mut() = Default::default();
    }

    /// First offset that may be read.
    pub fn start_offset(&self) -> Offset {
        self.state.borrow().start_offset
    }

    /// Base offset of the segment that takes appends.
    pub fn active_segment(&self) -> Offset {
        self.state.borrow().segments.last().map_or(0, |segment| segment.base)
    }

    /// Offset the next record gets.
    pub fn end_offset(&self) -> Offset {
        self.state.borrow().end_offset
    }

    /// Everything below has completed its write (survives kill -9).
    pub fn written_offset(&self) -> Offset {
        self.written.get()
    }

    /// Everything below is on the device.
    pub fn flushed_offset(&self) -> Offset {
        self.flushed.get()
    }

    /// Take a changed topic configuration.
    pub fn set_config(&self, config: LogConfig) {
        if self.in_unflushed.get() {
            self.core.flush_in_time(&config);
        }
        self.state.borrow_mut().config = config;
    }

    /// The segments, oldest first.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let state = self.state.borrow();
        let last = state.segments.len() - 1;
        let infos = state.segments.iter().enumerate().map(|(i, segment)| SegmentInfo {
            base_offset: segment.base,
            bytes: if i == last { state.end_position } else { segment.bytes },
            max_timestamp: segment.max_timestamp,
        });
        infos.collect()
    }

    /// Its bytes do not check: offline from here on. The first finding is told, no other.
    pub(crate) fn note_broken(&self, error: StorageError) {
        if self.broken.borrow().is_some() {
            return;
        }
        let TopicPartition { topic_id, partition } = self.key.id;
        tracing::error!(%topic_id, partition, "{error}");
        self.broken.replace(Some(error));
    }

    /// An error on its way out: one that says that bytes do not check takes the log offline.
    pub(crate) fn noting(&self, error: StorageError) -> StorageError {
        if matches!(error, StorageError::Corrupt(_)) && !self.deleted.get() {
            self.note_broken(error.clone());
            // So that the next start says so, too.
            self.shared().note_changed();
        }
        error
    }

    /// Why it is offline as damaged, if it is: then nobody knows where it ends.
    pub fn broken(&self) -> Option<StorageError> {
        self.broken.borrow().clone()
    }

    pub(crate) fn check(&self) -> Result<(), StorageError> {
        if let Some(broken) = &*self.broken.borrow() {
            return Err(broken.clone());
        }
        self.check_there()
    }

    /// The same, whatever its bytes are.
    pub(crate) fn check_there(&self) -> Result<(), StorageError> {
        if self.deleted.get() {
            return Err(StorageError::Offline(format!("log {:?} is deleted", self.key.id)));
        }
        self.core.check_online()
    }

    /// The direct write of the append with this entry has completed.
    pub(crate) fn direct_completed(self: &Rc<Self>, ordinal: Ordinal) {
        {
            let mut state = self.state.borrow_mut();
            let found = state.unwritten.binary_search_by_key(&ordinal, |append| append.ordinal);
            if let Ok(found) = found {
                state.unwritten[found].is_arriving = false;
            }
        }
        if self.advance_written() {
            self.tell_progress();
        }
    }

    /// Let the written mark pass every append whose frame and blocks have both been written, and
    /// ask for the flush that somebody waits for; whether it moved.
    pub(crate) fn advance_written(self: &Rc<Self>) -> bool {
        let journal = &self.core.journal;
        let (mut moved, mut flush) = (false, false);
        let mut state = self.state.borrow_mut();
        let is_written =
            |append: &mut Unwritten| !append.is_arriving && journal.is_written(append.ordinal);
        while let Some(append) = state.unwritten.pop_front_if(is_written) {
            self.written.set(append.end);
            moved = true;
            flush |= append.flush;
        }
        if moved && !self.in_unflushed.replace(true) {
            journal.note_unflushed(self);
            self.core.flush_in_time(&state.config);
        }
        drop(state);
        if flush {
            journal.flush_soon();
        }
        moved
    }

    /// Have what was appended up to `end` flushed soon, although nobody was promised that when it
    /// was taken.
    pub fn flush_through(&self, end: Offset) {
        let mut state = self.state.borrow_mut();
        match state.unwritten.iter_mut().find(|append| append.end >= end) {
            Some(append) => append.flush = true,
            None => self.core.journal.flush_soon(),
        }
    }

    /// What the flush about to be submitted covers.
    pub(crate) fn take_unflushed(&self) -> Offset {
        self.in_unflushed.set(false);
        self.written.get()
    }

    pub(crate) fn note_flushed(&self, end: Offset) {
        self.flushed.set(self.flushed.get().max(end));
    }

    /// Call the observer if there is news. Nothing is borrowed while it runs: it may append.
    pub(crate) fn tell_progress(&self) {
        let now = (self.written.get(), self.flushed.get());
        if self.told.replace(now) == now {
            return;
        }
        let observer = self.observer.borrow().clone();
        if let Some(observer) = observer {
            observer.progressed(now.0, now.1);
        }
    }

    pub(crate) fn tell_failed(&self, error: &StorageError) {
        let observer = self.observer.borrow().clone();
        if let Some(observer) = observer {
            observer.failed(error);
        }
    }

    /// The observer's state to keep with a checkpoint.
    pub(crate) fn snapshot(&self) -> Option<Bytes> {
        let observer = self.observer.borrow().clone();
        observer.map(|observer| observer.snapshot())
    }

    /// Add to the logs the next checkpoint looks at.
    pub(crate) fn note_changed(self: &Rc<Self>) {
        if !self.in_changed.replace(true) {
            self.core.changed.borrow_mut().push(Rc::clone(self));
        }
    }

    /// A checkpoint looks at it now.
    pub(crate) fn take_changed(&self) {
        self.in_changed.set(false);
    }

    /// Forget the oldest batch kept for readers; what it cost.
    pub(crate) fn evict_oldest(&self) -> usize {
        let mut state = self.state.borrow_mut();
        if state.evictable == 0 {
            return 0;
        }
        state.evictable -= 1;
        state.chunks.pop_front().map_or(0, |chunk| chunk.cost())
    }

    /// A write of these blocks has completed.
    pub(crate) fn write_completed(self: &Rc<Self>, range: (u64, u64)) {
        let mut state = self.state.borrow_mut();
        if let Some(found) = state.inflight.iter().position(|r| *r == range) {
            state.inflight.swap_remove(found);
        }
        state.advance_landed();
        drop(state);
        self.release_landed();
    }

    /// The unfinished block is in the segment up to `end`, zero-padded.
    pub(crate) fn park_completed(self: &Rc<Self>, end: u64) {
        let mut state = self.state.borrow_mut();
        state.parking = None;
        state.park_end = end;
        state.advance_landed();
        drop(state);
        self.release_landed();
    }

    /// Make landed batches evictable.
    fn release_landed(self: &Rc<Self>) {
        let mut costs = Vec::new();
        {
            let mut state = self.state.borrow_mut();
            let (base, landed) = (state.active().base, state.landed);
            let from = state.evictable;
            for chunk in state.chunks.range(from..) {
                if chunk.segment_base == base && chunk.end() > landed {
                    break;
                }
                costs.push((chunk.len(), chunk.cost()));
            }
            state.evictable += costs.len();
        }
        for (len, cost) in costs {
            sub(&self.core.stats.pending_bytes, len as u64);
            self.core.memory.cached(self, cost, &self.core.stats);
        }
        self.core.progress.wake_all();
    }

    /// Count a batch that is now pending.
    pub(crate) fn note_pending(&self, len: usize) {
        add(&self.core.stats.pending_bytes, len as u64);
    }

    /// Bytes of whole blocks that could be written behind now.
    pub(crate) fn behind_bytes(&self) -> u64 {
        let state = self.state.borrow();
        let ranges: u64 = state.behind.iter().map(|(start, end)| end - start).sum();
        ranges + block_floor(state.end_position).saturating_sub(state.submitted)
    }
}
