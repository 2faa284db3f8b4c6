//! What the parts of one store share: runtime, limits, journal, logs, and whether it still works.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};
use std::time::Duration;

use super::format::Layout;
use super::frame::Salt;
use super::index::Index;
use super::journal::Journal;
use super::limits::Limits;
use super::memory::Memory;
use super::pool::Pool;
use super::readahead::Readahead;
use super::segment::OpenFiles;
use super::stats::StoreStats;
use super::status::Status;
use super::{Log, ShardStart, StorageError, StoreStatus};
use crate::disk::{Disk, DiskError, DiskFile};
use crate::model::{ShardId, TopicPartition};
use crate::runtime::Runtime;
use crate::runtime::wait::{Earliest, TurnLock, WaitList};

/// See the file's comment.
pub(crate) struct Core<R: Runtime> {
    pub(crate) runtime: R,
    pub(crate) limits: Limits,
    pub(crate) layout: Layout,
    pub(crate) shard: ShardId,
    pub(crate) generation: u64,
    pub(crate) salt: Salt,
    pub(crate) journal: Journal<R>,
    pub(crate) memory: Memory<R>,
    pub(crate) files: OpenFiles<R>,
    pub(crate) readahead: Readahead,
    /// Indexes that can be dropped from memory, with the bytes they cover, oldest first.
    pub(crate) loaded_indexes: RefCell<VecDeque<(Weak<RefCell<Index>>, u64)>>,
    pub(crate) stats: StoreStats,
    pub(crate) logs: RefCell<BTreeMap<TopicPartition, Rc<Log<R>>>>,
    pub(crate) next_incarnation: Cell<u64>,
    /// Woken whenever anything that somebody may wait for has moved.
    pub(crate) progress: WaitList,
    /// Logs with enough bytes to write behind.
    pub(crate) behind: RefCell<VecDeque<Rc<Log<R>>>>,
    pub(crate) behind_wake: WaitList,
    /// Bytes of segment writes under way.
    pub(crate) inflight_bytes: Cell<u64>,
    /// Logs that changed since the last checkpoint.
    pub(crate) changed: RefCell<Vec<Rc<Log<R>>>>,
    pub(crate) checkpoint: CheckpointState,
    /// Logs that the last checkpoint parked.
    pub(crate) parked_logs: RefCell<Vec<Rc<Log<R>>>>,
    /// When `flush.ms` of a log with unflushed records is over.
    pub(crate) flush_due: Earliest<Duration>,
    pub(crate) pool: Pool,
    status: Status,
    /// What was claimed last without success, by our own sum.
    missing_bytes: Cell<Option<u64>>,
    stopping: Cell<bool>,
    /// No more appends: the store is being closed.
    closing: Cell<bool>,
}

/// Where checkpoints stand.
#[derive(Default)]
pub(crate) struct CheckpointState {
    /// One at a time.
    pub(crate) turn: TurnLock,
    /// Sequence of the last one written.
    pub(crate) sequence: Cell<u64>,
    /// Counts cuts, for telling which logs changed since the last one.
    pub(crate) round: Cell<u64>,
    pub(crate) wanted: Cell<bool>,
    pub(crate) wake: WaitList,
    /// Bytes written straight to segments since the last one.
    pub(crate) direct_bytes: Cell<u64>,
}

impl<R: Runtime> Core<R> {
    pub(crate) fn new(runtime: R, config: &super::StorageConfig, start: &ShardStart) -> Self {
        Self {
            memory: Memory::new(runtime.disk().clone(), config.cache_bytes_max),
            runtime,
            limits: Limits::new(config),
            layout: Layout::new(&config.data_dir),
            shard: start.shard,
            generation: start.generation,
            salt: start.salt,
            journal: Journal::new(),
            files: OpenFiles::default(),
            readahead: Readahead::default(),
            loaded_indexes: RefCell::default(),
            stats: StoreStats::default(),
            logs: RefCell::default(),
            next_incarnation: Cell::new(start.next_incarnation),
            progress: WaitList::default(),
            behind: RefCell::default(),
            behind_wake: WaitList::default(),
            inflight_bytes: Cell::new(0),
            changed: RefCell::default(),
            checkpoint: CheckpointState::default(),
            parked_logs: RefCell::default(),
            flush_due: Earliest::default(),
            pool: Pool::default(),
            status: Status::new(start.shard),
            missing_bytes: Cell::default(),
            stopping: Cell::new(false),
            closing: Cell::new(false),
        }
    }

    /// Whether the background tasks should end: the store is closed or offline.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    pub(crate) fn status(&self) -> StoreStatus {
        self.status.get()
    }

    pub(crate) fn check_online(&self) -> Result<(), StorageError> {
        match self.status.offline() {
            Some(why) => Err(StorageError::Offline(why)),
            None if self.stopping.get() => Err(StorageError::Offline("the store is closed".into())),
            None => Ok(()),
        }
    }

    /// Refuse appends from now on.
    pub(crate) fn begin_closing(&self) {
        self.closing.set(true);
    }

    pub(crate) fn check_open(&self) -> Result<(), StorageError> {
        if self.closing.get() {
            return Err(StorageError::Offline("the broker is stopping".into()));
        }
        Ok(())
    }

    /// A failed write or flush: what is on the device is unknown until recovery has looked.
    pub(crate) fn offline(&self, error: DiskError) -> StorageError {
        let error = match error {
            DiskError::Full(why) => return StorageError::Full(why),
            DiskError::NotFound(why) | DiskError::Failed(why) => StorageError::Offline(format!(
                "{why}; the data directory takes no more writes until the broker is restarted \
                 (check the device first)"
            )),
        };
        self.fail(&error);
        error
    }

    /// Go offline for writing: nothing is retried, nobody waits for ever. Reads go on.
    pub(crate) fn fail(&self, error: &StorageError) {
        if self.status.offline().is_some() || self.stopping.get() {
            return;
        }
        let why = match error {
            StorageError::Full(why) => format!(
                "{why}, though the space was claimed before: is the volume thinly provisioned? \
                 The data directory takes no more writes until the broker is restarted"
            ),
            other => other.to_string(),
        };
        self.status.go_offline(why.clone());
        self.stop();
        let logs: Vec<Rc<Log<R>>> = self.logs.borrow().values().cloned().collect();
        let error = StorageError::Offline(why);
        for log in logs {
            log.tell_failed(&error);
        }
    }

    /// Claim `wanted` bytes for a file that has `present` ones, leaving what a broker needs to
    /// start, and to delete, on a disk that is full.
    pub(crate) async fn claim(
        &self,
        file: &<R::Disk as Disk>::File,
        present: u64,
        wanted: u64,
    ) -> Result<(), DiskError> {
        let (grows, reserve) = (wanted.saturating_sub(present), self.limits.space_reserve_bytes);
        let usable = self.runtime.disk().usable();
        if usable < grows.saturating_add(reserve) {
            self.missing_bytes.set(Some(grows));
            return Err(DiskError::Full(format!(
                "{usable} bytes are free, {grows} are wanted, and thalweg.space.reserve.bytes \
                 keeps {reserve} for all shards"
            )));
        }
        file.allocate(wanted).await
    }

    /// Whether used files may be kept: not when another shard may want their space.
    pub(crate) fn has_space_to_spare(&self) -> bool {
        self.runtime.disk().usable() >= 2 * self.limits.space_reserve_bytes
    }

    /// Remember that space ran out.
    pub(crate) fn note_full(&self, why: &str) {
        self.status.note_full(why, self.layout.root(), self.runtime.now());
    }

    /// Remember that what was asked for found its space.
    pub(crate) fn note_room(&self) {
        self.missing_bytes.set(None);
        self.status.note_room();
    }

    /// Remember that a file could be opened again: nobody else may ask for what was missing. Space
    /// that is missing, too, is looked for apart.
    pub(crate) fn note_descriptor(&self) {
        if self.missing_bytes.get().is_none() {
            self.status.note_room();
        }
    }

    /// Look whether what found no space would find it now, for nobody may be asking again. Space
    /// that the system refused without our sum (a quota, no inodes) shows only when it is tried.
    pub(crate) fn look_for_room(&self) {
        let Some(grows) = self.missing_bytes.get() else { return };
        if self.runtime.disk().usable() >= grows.saturating_add(self.limits.space_reserve_bytes) {
            self.note_room();
        }
    }

    /// End the background tasks.
    pub(crate) fn stop(&self) {
        self.stopping.set(true);
        self.journal.wake();
        self.behind_wake.wake_all();
        self.checkpoint.wake.wake_all();
        // Its task sees what is up.
        self.flush_due.expect(Duration::ZERO);
        self.progress.wake_all();
    }

    /// Wait for a condition that `progress` reports, or for the store to go offline.
    pub(crate) async fn wait<T>(
        &self,
        mut ready: impl FnMut() -> Option<T>,
    ) -> Result<T, StorageError> {
        let outcome = || match ready() {
            Some(value) => Some(Ok(value)),
            None => self.check_online().err().map(Err),
        };
        self.progress.until(outcome).await
    }

    pub(crate) fn new_incarnation(&self) -> u64 {
        let next = self.next_incarnation.get();
        self.next_incarnation.set(next + 1);
        next
    }
}
