//! Writing a cleaned segment, under a name in the pool: nothing refers to it before its swap.

use std::path::PathBuf;
use std::rc::Rc;

use crate::disk::{BLOCK, BlockBuffer, Disk, DiskError, DiskFile, block_floor};
use crate::model::{Offset, TimestampMs};
use crate::runtime::Runtime;
use crate::storage::checkpoint_file::SegmentRecord;
use crate::storage::chunk::to_usize;
use crate::storage::core::Core;
use crate::storage::entry::Cleaned;
use crate::storage::format::Pooled;
use crate::storage::index::Index;
use crate::storage::retention::tolerate_missing;
use crate::storage::segment::larger;
use crate::storage::{Log, StorageError};

/// A cleaned segment that is being written, or was.
pub(crate) struct Output<R: Runtime> {
    core: Rc<Core<R>>,
    pub(crate) cleaned: Cleaned,
    pub(crate) file: Rc<<R::Disk as Disk>::File>,
    pub(crate) index: Index,
    /// Bytes behind `written`.
    pending: Vec<u8>,
    written: u64,
    allocated: u64,
}

/// Where a batch belongs, for the index.
#[derive(Clone, Copy)]
pub(crate) struct Stay {
    pub(crate) last_offset: Offset,
    pub(crate) max_timestamp: TimestampMs,
}

impl<R: Runtime> Output<R> {
    /// Begin a segment that will be named by `base`.
    pub(crate) async fn create(core: &Rc<Core<R>>, base: Offset) -> Result<Self, StorageError> {
        let pooled = core.new_pooled();
        let path = core.layout.pooled(pooled);
        let file = core.runtime.disk().open(&path, true).await?;
        let segment = SegmentRecord { base, bytes: 0, max_timestamp: -1 };
        Ok(Self {
            core: Rc::clone(core),
            cleaned: Cleaned { segment, pooled },
            file: Rc::new(file),
            index: Index::empty(base),
            pending: Vec::new(),
            written: 0,
            allocated: 0,
        })
    }

    /// Append a batch; it is written when `write_bytes` have gathered.
    pub(crate) async fn add(
        &mut self,
        batch: &[u8],
        stay: Stay,
        index_interval: u32,
        write_bytes: usize,
    ) -> Result<(), StorageError> {
        let segment = &mut self.cleaned.segment;
        let len = batch.len() as u64;
        self.index.note(index_interval, segment.bytes, len, stay.last_offset, stay.max_timestamp);
        segment.bytes += len;
        segment.max_timestamp = larger(segment.max_timestamp, stay.max_timestamp);
        self.pending.extend_from_slice(batch);
        if self.pending.len() >= write_bytes {
            let whole = block_floor(self.pending.len() as u64);
            self.write(to_usize(whole)).await?;
        }
        Ok(())
    }

    /// Everything is on the device, the indexes beside it.
    pub(crate) async fn finish(&mut self, log: &Log<R>) -> Result<(), StorageError> {
        self.write(self.pending.len()).await?;
        let core = &self.core;
        self.file.truncate(self.cleaned.segment.bytes).await.map_err(|e| core.offline(e))?;
        self.file.flush().await.map_err(|e| core.offline(e))?;
        self.index.seal();
        let (offsets, times) = self.index.encode();
        let [offset_path, time_path, _] = self.paths();
        for (path, bytes) in [(offset_path, offsets), (time_path, times)] {
            log.write_index(&path, &bytes).await.map_err(|e| core.offline(e))?;
        }
        Ok(())
    }

    /// Remove what was written.
    pub(crate) async fn discard(self) {
        drop(self.file);
        remove_pooled(&self.core, self.cleaned.pooled).await;
    }

    fn paths(&self) -> [PathBuf; 3] {
        pooled_paths(&self.core, self.cleaned.pooled)
    }

    /// Write the first `len` pending bytes, zero-padded to whole blocks.
    async fn write(&mut self, len: usize) -> Result<(), StorageError> {
        if len == 0 {
            return Ok(());
        }
        let core = &self.core;
        let blocks = len.div_ceil(BLOCK) * BLOCK;
        let end = self.written + blocks as u64;
        if end > self.allocated {
            // Claimed before it is written: a full disk shows here, and nothing is lost.
            let step = end.clamp(core.limits.allocate_step_min, core.limits.allocate_step_max);
            core.claim(&self.file, self.allocated, end + step).await?;
            self.allocated = end + step;
        }
        let mut buffer = core.runtime.disk().buffer(blocks);
        buffer.bytes_mut()[..len].copy_from_slice(&self.pending[..len]);
        buffer.bytes_mut()[len..].fill(0);
        let written = self.file.write_at(self.written, Rc::new(buffer)).await;
        written.map_err(|error| core.offline(error))?;
        self.written += len as u64;
        self.pending.drain(..len);
        Ok(())
    }
}

/// Remove the files of a cleaned segment that are still in the pool; what cannot be removed goes
/// at the next start.
pub(crate) async fn remove_pooled<R: Runtime>(core: &Core<R>, pooled: Pooled) {
    for path in pooled_paths(core, pooled) {
        let removed = core.runtime.disk().remove_file(&path).await;
        if let Err(error) = tolerate_missing(removed) {
            tracing::warn!(%error, path = %path.display(),
                "a file of a cleaning could not be removed; it goes at the next start");
        }
    }
}

fn pooled_paths<R: Runtime>(core: &Core<R>, pooled: Pooled) -> [PathBuf; 3] {
    core.layout.pooled_files(pooled)
}

/// A disk error on the way to a swap that has begun: the names on the device are unknown.
pub(crate) fn in_swap<R: Runtime>(core: &Core<R>, error: DiskError) -> StorageError {
    let error = match error {
        DiskError::Full(why) => DiskError::Failed(why),
        other => other,
    };
    core.offline(error)
}
