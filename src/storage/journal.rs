//! The journal of one shard: a queue of entries, the ring of files they are written to, and the
//! two tasks that write and flush them.
//!
//! Always true: entries are written in the order they were queued, one frame at a time; what is
//! queued while a frame is being written goes into the next one (that is the group commit); a
//! flush covers exactly what had completed when it was submitted, and an entry counts as flushed
//! only with the blocks that it names and with every entry before it; a failed write or flush is
//! never retried.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use futures_util::future::try_join_all;

use super::core::Core;
use super::entry::{Change, Entry, LogKey};
use super::frame::{FRAME_HEADER_LEN, FrameHeader, encode_frame, frame_len};
use super::journal_list::{Listed, list_file};
use super::limits::Limits;
use super::stats::add;
use super::{Log, StorageError};
use crate::disk::{BlockBuffer, Disk, DiskFile};
use crate::model::Offset;
use crate::runtime::wait::{TurnLock, WaitList};
use crate::runtime::{Queue, Runtime};

/// Files made whatever stays free on the disk: one to write to and one ahead of it.
const FILES_TO_START: u32 = 2;
/// Bytes of one write when a new journal file is filled with zeros.
const ZERO_WRITE_BYTES: u64 = 1 << 20;

/// Place of an entry in the order of the journal, from 1.
pub(crate) type Ordinal = u64;

/// One file of the ring.
pub(crate) struct JournalFile<R: Runtime> {
    file: <R::Disk as Disk>::File,
    /// From 1, in the order in which they were made.
    number: usize,
    /// Written since the last flush was submitted.
    dirty: Cell<bool>,
}

struct Queued<R: Runtime> {
    entry: Entry,
    /// Whose written mark it moves.
    log: Option<Rc<Log<R>>>,
}

struct Ring<R: Runtime> {
    current: Option<Rc<JournalFile<R>>>,
    position: u64,
    /// Ready to be written from the start.
    free: VecDeque<Rc<JournalFile<R>>>,
    /// Written, with the last sequence in each; oldest first.
    full: VecDeque<(Rc<JournalFile<R>>, u64)>,
    /// Files that exist.
    created: usize,
}

/// See the file's comment.
pub(crate) struct Journal<R: Runtime> {
    queue: RefCell<VecDeque<Queued<R>>>,
    queued_bytes: Cell<u64>,
    queued: Cell<Ordinal>,
    written: Cell<Ordinal>,
    flushed: Cell<Ordinal>,
    flush_wanted: Cell<Ordinal>,
    /// A flush of what is complete is wanted, whatever its ordinals.
    flush_due: Cell<bool>,
    /// Entries whose direct writes are under way.
    arriving: RefCell<BTreeSet<Ordinal>>,
    /// Sequence of the last frame formed.
    sequence: Cell<u64>,
    /// Last entry and sequence of each frame written since the last flush or checkpoint.
    frames: RefCell<VecDeque<(Ordinal, u64)>>,
    flushed_sequence: Cell<u64>,
    ring: RefCell<Ring<R>>,
    /// Whoever adds a file to the ring.
    making: TurnLock,
    writer_wake: WaitList,
    flusher_wake: WaitList,
    /// Logs with written but not flushed entries.
    unflushed: RefCell<Vec<Rc<Log<R>>>>,
}

impl<R: Runtime> Journal<R> {
    pub(crate) fn new() -> Self {
        Self {
            queue: RefCell::default(),
            queued_bytes: Cell::new(0),
            queued: Cell::new(0),
            written: Cell::new(0),
            flushed: Cell::new(0),
            flush_wanted: Cell::new(0),
            flush_due: Cell::new(false),
            arriving: RefCell::default(),
            sequence: Cell::new(0),
            frames: RefCell::default(),
            flushed_sequence: Cell::new(0),
            ring: RefCell::new(Ring {
                current: None,
                position: 0,
                free: VecDeque::new(),
                full: VecDeque::new(),
                created: 0,
            }),
            making: TurnLock::default(),
            writer_wake: WaitList::default(),
            flusher_wake: WaitList::default(),
            unflushed: RefCell::default(),
        }
    }

    /// Whether an entry of `bytes` can be written whatever happens before the next checkpoint.
    pub(crate) fn has_room(&self, limits: &Limits, bytes: u64) -> bool {
        let ring = self.ring.borrow();
        let file = limits.journal_file_bytes;
        let frame = limits.frame_bytes_max as u64;
        // Files that exist: one that is still to be made may find no space.
        let fresh = ring.free.len() as u64;
        let rest = if ring.current.is_some() { file - ring.position } else { 0 };
        // A frame that does not fit what is left of a file wastes it.
        let usable = fresh * (file - frame) + rest.saturating_sub(frame);
        let wanted = self.queued_bytes.get() + bytes;
        // Twice for frame headers and padding, and two frames for rolls and deletions, which
        // are never refused.
        usable >= 2 * wanted + 2 * frame
    }

    /// Whether so much is used that a checkpoint should free some of it.
    pub(crate) fn is_half_used(&self, limits: &Limits) -> bool {
        let ring = self.ring.borrow();
        2 * (ring.full.len() + 1) > limits.journal_files_max
    }

    /// Whether another file may be added to the ring.
    pub(crate) fn may_grow(&self, limits: &Limits) -> bool {
        self.ring.borrow().created < limits.journal_files_max
    }

    /// Put an entry that is no append at the end of the order.
    pub(crate) fn enqueue(&self, entry: Entry) -> Ordinal {
        self.push(Queued { entry, log: None })
    }

    /// Put an append at the end of the order; `is_arriving` until [`Self::arrived`] if blocks of
    /// it are being written to the segment.
    pub(crate) fn enqueue_append(
        &self,
        entry: Entry,
        log: Rc<Log<R>>,
        is_arriving: bool,
    ) -> Ordinal {
        let ordinal = self.push(Queued { entry, log: Some(log) });
        if is_arriving {
            self.arriving.borrow_mut().insert(ordinal);
        }
        ordinal
    }

    fn push(&self, queued: Queued<R>) -> Ordinal {
        let ordinal = self.queued.get() + 1;
        self.queued.set(ordinal);
        self.queued_bytes.set(self.queued_bytes.get() + queued.entry.encoded_len() as u64);
        self.queue.borrow_mut().push_back(queued);
        self.writer_wake.wake_all();
        ordinal
    }

    /// The direct write that belongs to an entry has completed, and its file counts as dirty.
    pub(crate) fn arrived(&self, ordinal: Ordinal) {
        self.arriving.borrow_mut().remove(&ordinal);
        self.flusher_wake.wake_all();
    }

    /// Every entry up to here is written, and so is what it names.
    fn complete(&self) -> Ordinal {
        let arriving = self.arriving.borrow().first().copied();
        self.written.get().min(arriving.map_or(Ordinal::MAX, |first| first - 1))
    }

    /// Whether the frame of this entry is written.
    pub(crate) fn is_written(&self, ordinal: Ordinal) -> bool {
        self.written.get() >= ordinal
    }

    /// Ordinal of the last entry queued.
    pub(crate) fn last_queued(&self) -> Ordinal {
        self.queued.get()
    }

    /// Sequence of the last frame formed: every later entry goes into a later frame.
    pub(crate) fn last_sequence(&self) -> u64 {
        self.sequence.get()
    }

    pub(crate) fn is_flushed(&self, ordinal: Ordinal) -> bool {
        self.flushed.get() >= ordinal
    }

    /// Ask for everything that is complete now to be flushed soon.
    pub(crate) fn flush_soon(&self) {
        self.flush_due.set(true);
        self.flusher_wake.wake_all();
    }

    /// The next flush has to tell this log.
    pub(crate) fn note_unflushed(&self, log: &Rc<Log<R>>) {
        self.unflushed.borrow_mut().push(Rc::clone(log));
    }

    /// Ask for everything up to `ordinal` to be flushed soon.
    pub(crate) fn want_flush(&self, ordinal: Ordinal) {
        if ordinal > self.flush_wanted.get() {
            self.flush_wanted.set(ordinal);
            self.flusher_wake.wake_all();
        }
    }

    /// Files whose frames all have a sequence of at most `sequence` may be written again.
    pub(crate) fn release(&self, sequence: u64) {
        let mut ring = self.ring.borrow_mut();
        while ring.full.front().is_some_and(|(_, last)| *last <= sequence) {
            if let Some((file, _)) = ring.full.pop_front() {
                ring.free.push_back(file);
            }
        }
        drop(ring);
        // A checkpoint covers them: no flush has to.
        let mut frames = self.frames.borrow_mut();
        while frames.pop_front_if(|(_, frame)| *frame <= sequence).is_some() {}
        drop(frames);
        self.writer_wake.wake_all();
    }

    pub(crate) fn wake(&self) {
        self.writer_wake.wake_all();
        self.flusher_wake.wake_all();
    }

    /// Forget what refers to logs (they refer back).
    pub(crate) fn clear(&self) {
        self.queue.borrow_mut().clear();
        self.unflushed.borrow_mut().clear();
    }
}

impl<R: Runtime> Core<R> {
    /// Queue an entry that is no append and wait until it is on the device.
    pub(crate) async fn journal_durably(
        &self,
        log: LogKey,
        change: Change,
    ) -> Result<(), StorageError> {
        let ordinal = self.journal.enqueue(Entry { log, change });
        self.flushed(ordinal).await
    }

    /// Wait until everything up to `ordinal` is on the device.
    pub(crate) async fn flushed(&self, ordinal: Ordinal) -> Result<(), StorageError> {
        self.journal.want_flush(ordinal);
        self.wait(|| self.journal.is_flushed(ordinal).then_some(())).await
    }

    /// The task that writes frames, until the store closes or goes offline.
    pub(crate) async fn run_journal_writer(self: Rc<Self>) {
        loop {
            let journal = &self.journal;
            let has_work = || {
                if self.is_stopping() {
                    Some(false)
                } else {
                    (!journal.queue.borrow().is_empty()).then_some(true)
                }
            };
            if !journal.writer_wake.until(has_work).await {
                return;
            }
            if let Err(error) = self.write_frame().await {
                self.fail(&error);
                return;
            }
        }
    }

    async fn write_frame(self: &Rc<Self>) -> Result<(), StorageError> {
        let journal = &self.journal;
        let file = self.file_for_frame().await?;
        let (batch, len) = self.take_frame();
        let mut buffer = self.runtime.disk().buffer(len);
        let sequence = journal.sequence.get() + 1;
        journal.sequence.set(sequence);
        let header = FrameHeader {
            shard: self.shard,
            generation: self.generation,
            sequence,
            flushed_sequence: journal.flushed_sequence.get(),
        };
        encode_frame(buffer.bytes_mut(), header, self.salt, batch.iter().map(|q| &q.entry));
        let position = {
            let mut ring = journal.ring.borrow_mut();
            let position = ring.position;
            ring.position += len as u64;
            position
        };
        // Counted as free again only now that it lies in a frame's space.
        let bytes: usize = batch.iter().map(|q| q.entry.encoded_len()).sum();
        journal.queued_bytes.set(journal.queued_bytes.get().saturating_sub(bytes as u64));
        let begun = self.runtime.now();
        file.file.write_at(position, Rc::new(buffer)).await.map_err(|e| self.offline(e))?;
        self.stats.journal_write_time.record(self.runtime.now().saturating_sub(begun));
        file.dirty.set(true);
        let last = journal.written.get() + batch.len() as u64;
        journal.written.set(last);
        journal.frames.borrow_mut().push_back((last, sequence));
        add(&self.stats.group_commits, 1);
        add(&self.stats.journal_bytes, len as u64);
        // A flush already wanted may have waited for this write.
        journal.flusher_wake.wake_all();
        let logs = batch.into_iter().filter_map(|queued| queued.log);
        // The marks first: whoever is told may append.
        let touched: Vec<Rc<Log<R>>> = logs.filter(Log::advance_written).collect();
        touched.iter().for_each(|log| log.tell_progress());
        if journal.is_half_used(&self.limits) {
            self.want_checkpoint();
        }
        self.progress.wake_all();
        Ok(())
    }

    /// Entries from the front of the queue that fit one frame, and the frame's length.
    fn take_frame(&self) -> (Vec<Queued<R>>, usize) {
        let mut queue = self.journal.queue.borrow_mut();
        let ring = self.journal.ring.borrow();
        let left = self.limits.journal_file_bytes - ring.position;
        let most = self.limits.frame_bytes_max.min(usize::try_from(left).unwrap_or(usize::MAX));
        let (mut count, mut body) = (0, 0);
        for queued in queue.iter() {
            let len = queued.entry.encoded_len();
            if count > 0 && FRAME_HEADER_LEN + body + len > most {
                break;
            }
            body += len;
            count += 1;
        }
        (queue.drain(..count).collect(), frame_len(body))
    }

    /// The current file, or the next one when the first entry no longer fits.
    async fn file_for_frame(self: &Rc<Self>) -> Result<Rc<JournalFile<R>>, StorageError> {
        let journal = &self.journal;
        let first = journal.queue.borrow().front().map_or(0, |q| q.entry.encoded_len());
        let needed = frame_len(first) as u64;
        {
            let mut ring = journal.ring.borrow_mut();
            if let Some(current) = &ring.current {
                if ring.position + needed <= self.limits.journal_file_bytes {
                    return Ok(Rc::clone(current));
                }
                let last = journal.sequence.get();
                if let Some(current) = ring.current.take() {
                    ring.full.push_back((current, last));
                }
            }
        }
        if journal.ring.borrow().free.is_empty() {
            match self.make_journal_file().await {
                // A checkpoint may free a file; appends wait for it.
                Err(StorageError::Full(why)) => self.note_full(&why),
                other => other?,
            }
        }
        let next = loop {
            if let Some(file) = journal.ring.borrow_mut().free.pop_front() {
                break file;
            }
            self.want_checkpoint();
            let freed = || {
                let none = journal.ring.borrow().free.is_empty();
                (!none || self.is_stopping()).then_some(())
            };
            journal.writer_wake.until(freed).await;
            self.check_online()?;
        };
        let mut ring = journal.ring.borrow_mut();
        // It is the first one taken, too, before there is any frame.
        if next.number == 1 && journal.sequence.get() > 0 {
            add(&self.stats.journal_wraps, 1);
        }
        ring.current = Some(Rc::clone(&next));
        ring.position = 0;
        let ahead = ring.free.is_empty() && ring.created < self.limits.journal_files_max;
        drop(ring);
        if ahead {
            let core = Rc::clone(self);
            self.runtime.spawn(Queue::Background, async move {
                // Without the file ahead the writer makes it itself and reports the error.
                let _ = core.make_journal_file().await;
            });
        }
        Ok(next)
    }

    /// Add a zero-written file to the ring if there may be one more. Written once, so that no
    /// flush later has to convert or allocate blocks.
    pub(crate) async fn make_journal_file(self: &Rc<Self>) -> Result<(), StorageError> {
        // One after the other: were one to fail while the next is made, a third would get the
        // next one's number, and zero a file that is in use.
        let _turn = self.journal.making.turn().await;
        let number = self.journal.ring.borrow().created + 1;
        if number > self.limits.journal_files_max {
            return Ok(());
        }
        let file = self.zero_journal_file(u32::try_from(number).unwrap_or(u32::MAX)).await?;
        let mut ring = self.journal.ring.borrow_mut();
        ring.created = number;
        ring.free.push_back(Rc::new(JournalFile { file, number, dirty: Cell::new(false) }));
        drop(ring);
        self.journal.writer_wake.wake_all();
        self.progress.wake_all();
        Ok(())
    }

    async fn zero_journal_file(
        &self,
        number: u32,
    ) -> Result<<R::Disk as Disk>::File, StorageError> {
        let disk = self.runtime.disk();
        let path = self.layout.journal(self.generation, self.shard, number);
        let file = disk.open(&path, true).await.map_err(|e| self.offline(e))?;
        let total = self.limits.journal_file_bytes;
        // Without the first ones there is no start.
        let claimed = if number <= FILES_TO_START {
            file.allocate(total).await
        } else {
            self.claim(&file, 0, total).await
        };
        claimed.map_err(StorageError::from)?;
        let mut position = 0;
        while position < total {
            let len = ZERO_WRITE_BYTES.min(total - position);
            let mut buffer = disk.buffer(usize::try_from(len).unwrap_or(crate::disk::BLOCK));
            buffer.bytes_mut().fill(0);
            file.write_at(position, Rc::new(buffer)).await.map_err(|e| self.offline(e))?;
            position += len;
        }
        file.flush().await.map_err(|e| self.offline(e))?;
        let dir = self.layout.shard(self.generation, self.shard);
        disk.sync_dir(&dir).await.map_err(|e| self.offline(e))?;
        let (shard, generation) = (self.shard, self.generation);
        let listed = Listed { shard, generation, number, bytes: total };
        list_file(disk, &self.layout, listed).await.map_err(|e| self.offline(e))?;
        Ok(file)
    }

    /// The task that flushes, until the store closes or goes offline.
    pub(crate) async fn run_journal_flusher(self: Rc<Self>) {
        loop {
            let journal = &self.journal;
            let has_work = || {
                if self.is_stopping() {
                    return Some(false);
                }
                let reachable = journal.flush_wanted.get().min(journal.complete());
                (journal.flush_due.get() || reachable > journal.flushed.get()).then_some(true)
            };
            if !journal.flusher_wake.until(has_work).await {
                return;
            }
            if let Err(error) = self.flush_journal().await {
                self.fail(&error);
                return;
            }
        }
    }

    async fn flush_journal(self: &Rc<Self>) -> Result<(), StorageError> {
        let journal = &self.journal;
        // Fixed before the flushes are submitted: only what is complete now is covered.
        journal.flush_due.set(false);
        let target = journal.complete();
        let files: Vec<Rc<JournalFile<R>>> = {
            let ring = journal.ring.borrow();
            let written = ring.full.iter().map(|(file, _)| file).chain(&ring.current);
            written.filter(|file| file.dirty.replace(false)).cloned().collect()
        };
        let segments = self.take_direct_dirty();
        let logs: Vec<(Rc<Log<R>>, Offset)> = {
            let mut unflushed = journal.unflushed.borrow_mut();
            unflushed.drain(..).map(|log| (Rc::clone(&log), log.take_unflushed())).collect()
        };
        add(&self.stats.journal_flushes, files.len() as u64);
        add(&self.stats.segment_flushes, segments.len() as u64);
        let begun = self.runtime.now();
        let journals = try_join_all(files.iter().map(|file| file.file.flush()));
        let data = try_join_all(segments.iter().map(|file| self.flush_if_there(file)));
        let (journals, data) = futures_util::join!(journals, data);
        journals.map_err(|e| self.offline(e))?;
        data?;
        self.stats.journal_flush_time.record(self.runtime.now().saturating_sub(begun));
        journal.flushed.set(target);
        let mut frames = journal.frames.borrow_mut();
        while let Some((_, sequence)) = frames.pop_front_if(|(last, _)| *last <= target) {
            journal.flushed_sequence.set(sequence);
        }
        drop(frames);
        for (log, written) in logs {
            log.note_flushed(written);
            log.tell_progress();
        }
        self.progress.wake_all();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use futures_util::future::join_all;

    use super::*;
    use crate::disk::sim::DiskImage;
    use crate::runtime::sim::{SimRandom, SimWorld};
    use crate::storage::pool_tests;

    /// Three make files at the same time, on a disk that is full every now and then: the file of a
    /// number that is given out again would be zeroed while it is in use.
    #[test]
    fn no_number_of_a_journal_file_is_given_out_twice_whichever_of_them_fail() {
        let mut failed = 0;
        for seed in 1..=50 {
            let world = SimWorld::new(seed, DiskImage::with_dir(Path::new("/data")));
            let (runtime, disk) = (world.runtime(), world.disk().clone());
            let refused = world.run(async move {
                let core = pool_tests::core(&runtime).await;
                let is_done = Rc::new(Cell::new(false));
                let (sleeper, over) = (runtime.clone(), Rc::clone(&is_done));
                runtime.spawn(Queue::Background, async move {
                    let mut random = SimRandom::new(seed);
                    for free in [0, 1 << 20].into_iter().cycle().take_while(|_| !over.get()) {
                        disk.set_capacity(1 << 40);
                        let used = (1 << 40) - disk.usable();
                        disk.set_capacity(used + free);
                        sleeper.sleep(Duration::from_micros(random.below(300))).await;
                    }
                });
                let makers = (0..3).map(|_| async {
                    let mut refused = 0;
                    while core.journal.may_grow(&core.limits) {
                        if core.make_journal_file().await.is_err() {
                            refused += 1;
                            runtime.sleep(Duration::from_micros(50)).await;
                        }
                    }
                    refused
                });
                let refused: usize = join_all(makers).await.into_iter().sum();
                is_done.set(true);
                assert!(core.check_online().is_ok(), "a full disk is no failure");
                let ring = core.journal.ring.borrow();
                let numbers: Vec<_> = ring.free.iter().map(|file| file.number).collect();
                let all: Vec<_> = (1..=core.limits.journal_files_max).collect();
                assert_eq!(numbers, all, "seed {seed}");
                refused
            });
            failed += refused.expect("the files are made");
        }
        assert!(failed > 100, "{failed} failed");
    }
}
