//! All logs of one shard: opening what recovery found, creating, deleting, closing.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::checkpoint::for_each_concurrent;
use super::checkpoint_file::LogRecord;
use super::core::Core;
use super::entry::{Change, Entry, LogKey};
use super::index::Index;
use super::log::LogState;
use super::retention::tolerate_missing;
use super::segment::Segment;
use super::stats::sub;
use super::{
    Log, LogConfig, Replay, ShardStart, StorageConfig, StorageError, StoreStats, StoreStatus,
};
use crate::disk::{Disk, block_floor};
use crate::model::TopicPartition;
use crate::runtime::{Queue, Runtime};

/// Tasks that write behind.
const BEHIND_WRITERS: usize = 4;

/// A log with what its partition has to rebuild itself from.
type Recovered<R> = (Rc<Log<R>>, Replay);

/// All logs of one shard.
pub struct Store<R: Runtime> {
    core: Rc<Core<R>>,
    recovered: RefCell<Vec<Recovered<R>>>,
}

impl<R: Runtime> Store<R> {
    /// Open what recovery found for this shard.
    ///
    /// # Errors
    /// When the first journal file cannot be made.
    pub async fn open(
        runtime: R,
        config: StorageConfig,
        start: ShardStart,
    ) -> Result<Rc<Self>, StorageError> {
        let core = Rc::new(Core::new(runtime, &config, &start));
        // Recovery wrote the first checkpoint of this run.
        core.checkpoint.sequence.set(1);
        core.make_journal_file().await?;
        let mut recovered = Vec::with_capacity(start.logs.len());
        for log in start.logs {
            let opened = open_log(&core, log.record, log.config);
            core.logs.borrow_mut().insert(opened.id(), Rc::clone(&opened));
            recovered.push((opened, log.replay));
        }
        core.runtime.spawn(Queue::Log, Rc::clone(&core).run_journal_writer());
        core.runtime.spawn(Queue::Log, Rc::clone(&core).run_journal_flusher());
        for _ in 0..BEHIND_WRITERS {
            core.runtime.spawn(Queue::Log, Rc::clone(&core).run_behind_writer());
        }
        core.runtime.spawn(Queue::Background, Rc::clone(&core).run_checkpoints());
        core.runtime.spawn(Queue::Background, Rc::clone(&core).run_flush_timer());
        Ok(Rc::new(Self { core, recovered: RefCell::new(recovered) }))
    }

    /// Logs found at recovery; each is given once.
    pub fn take_recovered(&self) -> Vec<(Rc<Log<R>>, Replay)> {
        std::mem::take(&mut *self.recovered.borrow_mut())
    }

    /// What this store counts.
    pub fn stats(&self) -> &StoreStats {
        &self.core.stats
    }

    /// Whether it takes writes.
    pub fn status(&self) -> StoreStatus {
        self.core.status()
    }

    /// Give the space of used files back when the disk has little left: another shard's appends may
    /// want it. And notice when a disk that was full is so no more.
    ///
    /// # Errors
    /// What the disk says.
    pub async fn give_way(&self) -> Result<(), StorageError> {
        if self.core.stats.pool_bytes.get() > 0 && !self.core.has_space_to_spare() {
            self.core.empty_pool().await?;
        }
        self.core.look_for_room();
        Ok(())
    }

    /// Create an empty log, durably. Its files come with the first append.
    ///
    /// # Errors
    /// When the store is offline.
    pub async fn create_log(
        &self,
        id: TopicPartition,
        config: LogConfig,
    ) -> Result<Rc<Log<R>>, StorageError> {
        self.core.check_online()?;
        if let Some(known) = self.core.logs.borrow().get(&id) {
            return Err(StorageError::Io(format!(
                "log {id:?} exists already and ends at offset {}: delete it first",
                known.end_offset()
            )));
        }
        let key = LogKey { id, incarnation: self.core.new_incarnation() };
        let record = LogRecord::empty(key);
        let log = open_log(&self.core, record, config);
        self.core.logs.borrow_mut().insert(id, Rc::clone(&log));
        log.note_changed();
        self.core.journal_durably(key, Change::Create).await?;
        Ok(log)
    }

    /// Remove a log, durably; readers that hold pieces keep them.
    ///
    /// # Errors
    /// When the store is offline or its files cannot be removed.
    pub async fn delete_log(&self, id: TopicPartition) -> Result<(), StorageError> {
        self.core.check_online()?;
        let Some(log) = self.core.logs.borrow_mut().remove(&id) else { return Ok(()) };
        log.forget_everything();
        let entry = Entry { log: log.key, change: Change::Delete };
        let ordinal = self.core.journal.enqueue(entry);
        self.core.flushed(ordinal).await?;
        // A swap under way must not put a file into another life of this log.
        let _front = log.front_turn.turn().await;
        let (sealed, active) = {
            let mut state = log.state.borrow_mut();
            let active = state.segments.len() - 1;
            (state.segments.drain(..active).collect::<Vec<_>>(), state.active().base)
        };
        let (disk, layout) = (self.core.runtime.disk(), &self.core.layout);
        let worth = log.pool_worth();
        for segment in sealed {
            self.core.let_file_go(&segment, worth).await?;
        }
        // Never kept: a write to it may still be under way.
        tolerate_missing(disk.release_file(&layout.segment(id, active)).await)?;
        disk.remove_dir_all(&layout.log(id)).await?;
        Ok(())
    }

    /// Write behind everything, flush, checkpoint, make every segment readable by other tools.
    /// The caller has stopped appending.
    ///
    /// # Errors
    /// When the store is offline or goes offline.
    pub async fn close(&self) -> Result<(), StorageError> {
        let core = &self.core;
        core.check_online()?;
        core.begin_closing();
        let logs: Vec<Rc<Log<R>>> = core.logs.borrow().values().cloned().collect();
        let unsealed = logs.into_iter().filter(|log| {
            let state = log.state.borrow();
            state.is_materialized && !state.is_cut && log.broken.borrow().is_none()
        });
        let seal = |log: Rc<Log<R>>| async move {
            let _turn = log.room_turn.turn().await;
            log.note_changed();
            match log.seal().await {
                Err(_) if log.deleted.get() => Ok(()),
                other => other,
            }
        };
        for_each_concurrent(unsealed.map(seal)).await?;
        core.flushed(core.journal.last_queued()).await?;
        core.checkpoint_now().await?;
        core.stop();
        Ok(())
    }
}

impl<R: Runtime> Drop for Store<R> {
    fn drop(&mut self) {
        self.core.stop();
        // Logs hold the core; without this neither would ever go.
        self.core.logs.borrow_mut().clear();
        self.core.journal.clear();
        self.core.changed.borrow_mut().clear();
        self.core.behind.borrow_mut().clear();
        self.core.parked_logs.borrow_mut().clear();
    }
}

fn open_log<R: Runtime>(core: &Rc<Core<R>>, record: LogRecord, config: LogConfig) -> Rc<Log<R>> {
    let encoded = record.encode();
    let id = record.log.id;
    let last = record.segments.len() - 1;
    let segments: Vec<Segment<R>> = record
        .segments
        .iter()
        .map(|known| {
            let mut segment =
                Segment::new(id, known.base, Index::unloaded(known.base, known.bytes));
            segment.bytes = known.bytes;
            segment.max_timestamp = known.max_timestamp;
            segment
        })
        .collect();
    let end = record.segments[last].bytes;
    let state = LogState {
        config,
        start_offset: record.start_offset,
        end_offset: record.end_offset,
        segments,
        is_materialized: end > 0,
        allocated: 0,
        is_cut: record.is_cut,
        cleaned_to: record.cleaned_to,
        removals: 0,
        is_rolling: false,
        end_position: end,
        submitted: block_floor(end),
        landed: end,
        behind: VecDeque::new(),
        inflight: Vec::new(),
        parked: (block_floor(end) != end).then_some(block_floor(end)),
        gates: Vec::new(),
        parking: None,
        park_end: end,
        tails: Vec::new(),
        chunks: VecDeque::new(),
        evictable: 0,
        unwritten: VecDeque::new(),
        active_since: None,
    };
    let log = Log::new(Rc::clone(core), record.log, state);
    log.kept_run.set(record.kept_run);
    if !record.broken.is_empty() {
        log.note_broken(StorageError::Corrupt(record.broken));
    }
    *log.replayed.borrow_mut() = (record.snapshot, record.headers);
    *log.checkpoint_record.borrow_mut() = encoded;
    log
}

impl<R: Runtime> Log<R> {
    /// The log is deleted: nothing of it is written or kept any more.
    fn forget_everything(&self) {
        self.deleted.set(true);
        let mut state = self.state.borrow_mut();
        let evictable = state.evictable;
        for (number, chunk) in state.chunks.drain(..).enumerate() {
            let stats = &self.core.stats;
            if number < evictable {
                sub(&stats.cached_bytes, chunk.cost() as u64);
            } else {
                sub(&stats.pending_bytes, chunk.len() as u64);
            }
        }
        state.evictable = 0;
        state.segments.iter().for_each(|segment| segment.file.is_gone.set(true));
        state.behind.clear();
        state.gates.clear();
        state.parked = None;
        state.submitted = block_floor(state.end_position);
        state.unwritten.clear();
        state.tails.clear();
        drop(state);
        self.core.readahead.forget(self.key.incarnation);
        self.tell_failed(&StorageError::Offline(format!("log {:?} is deleted", self.key.id)));
        self.core.progress.wake_all();
    }
}
