//! One segment of a log: what is known of it, and its file, opened when needed.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::Path;
use std::rc::{Rc, Weak};
use std::time::Duration;

use super::StorageError;
use super::core::Core;
use super::index::Index;
use super::stats::add;
use crate::disk::{Disk, DiskError, DiskFile, DiskResult};
use crate::model::{Offset, TimestampMs, TopicPartition};
use crate::runtime::Runtime;
use crate::runtime::wait::TurnLock;

/// Open files looked at when one more is opened.
const CLOSE_LOOKS: usize = 16;
/// Rest between two attempts to open a file when no descriptor is left.
const DESCRIPTOR_RETRY: Duration = Duration::from_millis(100);

/// A segment as its log knows it.
pub(crate) struct Segment<R: Runtime> {
    pub(crate) base: Offset,
    /// Bytes of batches; of the active segment its log knows better.
    pub(crate) bytes: u64,
    /// Largest believable timestamp; below 0 there is none, and [`ages_from`] knows more.
    pub(crate) max_timestamp: TimestampMs,
    pub(crate) file: Rc<SegmentFile<R>>,
    pub(crate) index: Rc<RefCell<Index>>,
    /// Timestamp of its first batch, once a cleaning has asked for it.
    pub(crate) first_timestamp: Option<TimestampMs>,
}

impl<R: Runtime> Segment<R> {
    pub(crate) fn new(id: TopicPartition, base: Offset, index: Index) -> Self {
        Self {
            base,
            bytes: 0,
            max_timestamp: -1,
            file: Rc::new(SegmentFile {
                id,
                base,
                open: RefCell::new(None),
                opening: TurnLock::default(),
                is_gone: Cell::new(false),
                direct_dirty: Cell::new(false),
                checkpoint_dirty: Cell::new(false),
            }),
            index: Rc::new(RefCell::new(index)),
            first_timestamp: None,
        }
    }
}

/// What stands for the largest timestamp of a segment whose records have none: when it grew,
/// below -1, so that whoever looks for timestamps passes it by.
///
/// Kafka lets such a segment age by its file's time. Ours change when files are copied, written by
/// a recovery or used again; this travels with the segment through journal and checkpoints.
pub(crate) fn grown_at(wall_ms: TimestampMs) -> TimestampMs {
    -2 - wall_ms.clamp(0, TimestampMs::MAX - 2)
}

/// The time from which retention counts for a segment with this largest timestamp; nothing when
/// nobody noted it.
pub(crate) fn ages_from(max_timestamp: TimestampMs) -> Option<TimestampMs> {
    match max_timestamp {
        0.. => Some(max_timestamp),
        -1 => None,
        grown => Some(-(grown + 2)),
    }
}

/// Of two largest timestamps that of both together: without any, when the younger one grew.
pub(crate) fn larger(one: TimestampMs, other: TimestampMs) -> TimestampMs {
    match one.max(other) {
        timestamp @ 0.. => timestamp,
        _ => one.min(other),
    }
}

/// The `.log` file of a segment.
pub(crate) struct SegmentFile<R: Runtime> {
    pub(crate) id: TopicPartition,
    pub(crate) base: Offset,
    pub(crate) open: RefCell<Option<Rc<<R::Disk as Disk>::File>>>,
    opening: TurnLock,
    /// Its log or its segment is gone: the name may soon belong to another file.
    pub(crate) is_gone: Cell<bool>,
    /// Direct writes completed since its last flush was submitted.
    direct_dirty: Cell<bool>,
    /// Writes of either kind completed since a checkpoint's last flush of it was submitted.
    ///
    /// Two flags, each cleared by one flusher alone: a flush under way for the one says nothing
    /// to the other until it has completed.
    checkpoint_dirty: Cell<bool>,
}

impl<R: Runtime> SegmentFile<R> {
    fn is_dirty(&self) -> bool {
        self.direct_dirty.get() || self.checkpoint_dirty.get()
    }
}

/// Which segment files are open and which have unflushed writes.
pub(crate) struct OpenFiles<R: Runtime> {
    /// In order of opening.
    open: RefCell<VecDeque<Weak<SegmentFile<R>>>>,
    direct: RefCell<Vec<Rc<SegmentFile<R>>>>,
    checkpoint: RefCell<Vec<Rc<SegmentFile<R>>>>,
}

impl<R: Runtime> Default for OpenFiles<R> {
    fn default() -> Self {
        Self {
            open: RefCell::default(),
            direct: RefCell::default(),
            checkpoint: RefCell::default(),
        }
    }
}

impl<R: Runtime> Core<R> {
    /// The open file of a segment, which must exist.
    pub(crate) async fn open_segment(
        &self,
        file: &Rc<SegmentFile<R>>,
    ) -> Result<Rc<<R::Disk as Disk>::File>, StorageError> {
        if let Some(open) = file.open.borrow().as_ref() {
            return Ok(Rc::clone(open));
        }
        let _turn = file.opening.turn().await;
        if let Some(open) = file.open.borrow().as_ref() {
            return Ok(Rc::clone(open));
        }
        let path = self.layout.segment(file.id, file.base);
        let opened = self.open_when_possible(&path).await.map_err(|e| match e {
            DiskError::NotFound(_) => StorageError::Corrupt(format!(
                "the segment {} is missing; restore it and restart the broker, or delete the topic",
                path.display()
            )),
            other => StorageError::from(other),
        })?;
        if file.is_gone.get() {
            return Err(StorageError::Io(format!("{} was deleted", path.display())));
        }
        let opened = Rc::new(opened);
        self.adopt_open(file, Rc::clone(&opened));
        Ok(opened)
    }

    /// Open a file that exists. When no descriptor is left, wait for one: the writes that need it
    /// have their place in the journal, and a store must not go offline because of connections.
    async fn open_when_possible(&self, path: &Path) -> DiskResult<<R::Disk as Disk>::File> {
        let mut waited = false;
        loop {
            match self.runtime.disk().open(path, false).await {
                Err(DiskError::Full(why)) if !self.is_stopping() => {
                    waited = true;
                    self.note_full(&why);
                    self.runtime.sleep(DESCRIPTOR_RETRY).await;
                }
                other => {
                    if waited && other.is_ok() {
                        self.note_descriptor();
                    }
                    return other;
                }
            }
        }
    }

    /// Remember an open file, closing the longest open ones above the limit.
    pub(crate) fn adopt_open(
        &self,
        file: &Rc<SegmentFile<R>>,
        opened: Rc<<R::Disk as Disk>::File>,
    ) {
        *file.open.borrow_mut() = Some(opened);
        self.files.open.borrow_mut().push_back(Rc::downgrade(file));
        self.close_above_limit(CLOSE_LOOKS);
    }

    /// Close the longest open files above the limit that nobody uses and no flush waits for,
    /// looking at so many.
    pub(crate) fn close_above_limit(&self, looks: usize) {
        let mut open = self.files.open.borrow_mut();
        for _ in 0..looks.min(open.len()) {
            if open.len() <= self.limits.open_files_max {
                return;
            }
            let Some(oldest) = open.pop_front() else { return };
            let Some(oldest) = oldest.upgrade() else { continue };
            let in_use = oldest.open.borrow().as_ref().is_some_and(|f| Rc::strong_count(f) > 1);
            if in_use || oldest.is_dirty() {
                open.push_back(Rc::downgrade(&oldest));
            } else {
                oldest.open.borrow_mut().take();
            }
        }
    }

    /// A direct write to this file has completed.
    pub(crate) fn note_direct_write(&self, file: &Rc<SegmentFile<R>>) {
        if !file.direct_dirty.replace(true) {
            self.files.direct.borrow_mut().push(Rc::clone(file));
        }
        self.note_write(file);
    }

    /// A write of any kind to this file has completed.
    pub(crate) fn note_write(&self, file: &Rc<SegmentFile<R>>) {
        if !file.checkpoint_dirty.replace(true) {
            self.files.checkpoint.borrow_mut().push(Rc::clone(file));
        }
    }

    /// Files that an acknowledgement's flush has to cover; their flush is about to be submitted.
    pub(crate) fn take_direct_dirty(&self) -> Vec<Rc<SegmentFile<R>>> {
        let files = std::mem::take(&mut *self.files.direct.borrow_mut());
        files.iter().for_each(|file| file.direct_dirty.set(false));
        files
    }

    /// Files that a checkpoint's flush has to cover; their flush is about to be submitted.
    pub(crate) fn take_checkpoint_dirty(&self) -> Vec<Rc<SegmentFile<R>>> {
        let files = std::mem::take(&mut *self.files.checkpoint.borrow_mut());
        files.iter().for_each(|file| file.checkpoint_dirty.set(false));
        files
    }

    /// Flush one segment, unless it was deleted: then nobody waits for its bytes.
    pub(crate) async fn flush_if_there(
        &self,
        file: &Rc<SegmentFile<R>>,
    ) -> Result<(), StorageError> {
        // Of a log that is being deleted, too: until that is on the device it may come back.
        match self.open_segment(file).await {
            Ok(open) => open.flush().await.map_err(|e| self.offline(e)),
            Err(_) if file.is_gone.get() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The same outside the path of an acknowledgement.
    pub(crate) async fn checkpoint_flush(
        &self,
        file: &Rc<SegmentFile<R>>,
    ) -> Result<(), StorageError> {
        add(&self.stats.checkpoint_flushes, 1);
        self.flush_if_there(file).await
    }
}
