//! Files of removed segments, kept to be written again: their blocks are written already, and a
//! device takes writes into such blocks about twice as fast as into claimed ones.
//!
//! Owns which files are kept. What is in them counts for nothing: recovery removes them all.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::core::Core;
use super::format::Pooled;
use super::retention::tolerate_missing;
use super::segment::Segment;
use super::stats::{add, sub};
use super::{Log, StorageError};
use crate::disk::{BLOCK_U64, Disk, DiskError, block_floor};
use crate::runtime::Runtime;

/// Files of one pool, however small they are.
const FILES_MAX: usize = 1024;

/// See the file's comment.
#[derive(Default)]
pub(crate) struct Pool {
    files: RefCell<Vec<PooledFile>>,
    /// Files on their way in.
    entering: Cell<usize>,
    /// Of the next name.
    number: Cell<u64>,
}

struct PooledFile {
    path: PathBuf,
    bytes: u64,
}

impl Pool {
    /// Take out the largest file in which a segment of `segment_bytes` wastes nothing.
    fn take(&self, segment_bytes: u64) -> Option<PooledFile> {
        let mut files = self.files.borrow_mut();
        let fitting = files.iter().enumerate().filter(|(_, f)| f.bytes <= segment_bytes);
        let (number, _) = fitting.max_by_key(|(_, file)| file.bytes)?;
        Some(files.swap_remove(number))
    }
}

#[cfg(test)]
impl Pool {
    /// Bytes of the files that it holds.
    pub(crate) fn held(&self) -> u64 {
        self.files.borrow().iter().map(|file| file.bytes).sum()
    }
}

impl<R: Runtime> Log<R> {
    /// Bytes from which on a removed segment's file is kept to be written again.
    pub(crate) fn pool_worth(&self) -> u64 {
        let half = self.state.borrow().config.segment_bytes / 2;
        half.min(self.core.limits.allocate_step_max)
    }
}

impl<R: Runtime> Core<R> {
    /// Remove a segment's files, or keep the large one of at least `worth` bytes.
    pub(crate) async fn remove_segment(
        &self,
        segment: Segment<R>,
        worth: u64,
    ) -> Result<(), StorageError> {
        let disk = self.runtime.disk();
        let (id, base) = (segment.file.id, segment.base);
        self.let_file_go(&segment, worth).await?;
        for path in [self.layout.offset_index(id, base), self.layout.time_index(id, base)] {
            tolerate_missing(disk.remove_file(&path).await)?;
        }
        add(&self.stats.segments_deleted, 1);
        Ok(())
    }

    /// Keep the file of a segment that is no more, if it has at least `worth` bytes, or give its
    /// space back.
    pub(crate) async fn let_file_go(
        &self,
        segment: &Segment<R>,
        worth: u64,
    ) -> Result<(), StorageError> {
        if self.keep_file(segment, worth).await? {
            return Ok(());
        }
        let path = self.layout.segment(segment.file.id, segment.base);
        tolerate_missing(self.runtime.disk().release_file(&path).await)
    }

    /// Take the file of a segment that is no more into the pool, if it has at least `worth` bytes,
    /// nobody reads it and there is place; whether that was done.
    async fn keep_file(&self, segment: &Segment<R>, worth: u64) -> Result<bool, StorageError> {
        // A reader that still has it open must not see another log's bytes in it.
        segment.file.is_gone.set(true);
        let open = segment.file.open.borrow_mut().take();
        let is_read = open.is_some_and(|file| Rc::strong_count(&file) > 1);
        if segment.bytes < worth || is_read || !self.enter_pool(segment.bytes) {
            return Ok(false);
        }
        let path = self.layout.pooled(self.new_pooled());
        let moved = self.move_to_pool(segment, &path).await;
        self.pool.entering.set(self.pool.entering.get() - 1);
        if matches!(moved, Ok(true)) {
            self.pool.files.borrow_mut().push(PooledFile { path, bytes: segment.bytes });
        } else {
            // Should it have its new name, nobody writes to it; recovery removes it.
            sub(&self.stats.pool_bytes, segment.bytes);
        }
        moved
    }

    /// Give a segment's file its name in the pool, durably; whether it was there.
    async fn move_to_pool(&self, segment: &Segment<R>, path: &Path) -> Result<bool, StorageError> {
        let (disk, id) = (self.runtime.disk(), segment.file.id);
        match disk.rename(&self.layout.segment(id, segment.base), path).await {
            Err(DiskError::NotFound(_)) => return Ok(false),
            other => other?,
        }
        // The old name must not come back beside a new one.
        disk.sync_dir(&self.layout.log(id)).await?;
        Ok(true)
    }

    /// Count a file in, if it has place.
    fn enter_pool(&self, bytes: u64) -> bool {
        let pool = &self.pool;
        let is_free = pool.files.borrow().len() + pool.entering.get() < FILES_MAX
            && self.stats.pool_bytes.get() + bytes <= self.limits.pool_bytes_max
            && self.has_space_to_spare();
        if is_free {
            pool.entering.set(pool.entering.get() + 1);
            add(&self.stats.pool_bytes, bytes);
        }
        is_free
    }

    /// A name in the pool that no file has or had.
    pub(crate) fn new_pooled(&self) -> Pooled {
        let number = self.pool.number.get();
        self.pool.number.set(number + 1);
        Pooled { generation: self.generation, shard: self.shard, number }
    }

    /// A file to begin a segment in that will grow to `segment_bytes`, if there is one.
    pub(crate) fn take_pooled(&self, segment_bytes: u64) -> Option<PathBuf> {
        let most = block_floor(segment_bytes) + BLOCK_U64;
        let file = self.pool.take(most)?;
        sub(&self.stats.pool_bytes, file.bytes);
        Some(file.path)
    }

    /// Give the space of all kept files back; whether there were any.
    pub(crate) async fn empty_pool(&self) -> Result<bool, StorageError> {
        let mut found = false;
        loop {
            let Some(file) = self.pool.files.borrow_mut().pop() else { return Ok(found) };
            sub(&self.stats.pool_bytes, file.bytes);
            tolerate_missing(self.runtime.disk().remove_file(&file.path).await)?;
            found = true;
        }
    }
}
