//! Making room for an append: files, space, a new segment, memory, journal. Everything that an
//! append needs and that takes time happens here, before the append.

use std::future::Future;
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;

use super::append::Obstacle;
use super::chunk::to_usize;
use super::entry::{Change, Entry};
use super::index::Index;
use super::log::Tail;
use super::restore::{offline, short};
use super::segment::{Segment, SegmentFile};
use super::stats::add;
use super::{Log, StorageError};
use crate::disk::{BLOCK, BlockBuffer, Disk, DiskError, DiskFile, block_ceil};
use crate::runtime::Runtime;

/// Bytes of one write of an index file.
const INDEX_WRITE_BYTES: usize = 1 << 20;

impl<R: Runtime> Log<R> {
    /// Wait (allocate, write behind, roll) until an `append` of `bytes` whose last offset is
    /// `offsets` - 1 behind its first is likely to be taken.
    ///
    /// # Errors
    /// `Full` when space is missing: try again when there is some.
    pub fn room(
        &self,
        bytes: usize,
        offsets: i64,
    ) -> impl Future<Output = Result<(), StorageError>> + use<R> {
        let log = self.shared();
        async move {
            loop {
                log.check()?;
                let Some(obstacle) = log.obstacle_now(bytes, offsets) else { return Ok(()) };
                match log.remove_obstacle(obstacle, bytes, offsets).await {
                    // Used files are kept only while nothing else needs their space.
                    Err(StorageError::Full(_)) if log.core.empty_pool().await? => {}
                    other => other?,
                }
            }
        }
    }

    /// Exactly what the append itself will ask, or a batch would go round between the two for
    /// ever.
    fn obstacle_now(&self, bytes: usize, offsets: i64) -> Option<Obstacle> {
        let state = self.state.borrow();
        let last_offset = state.end_offset.saturating_add(offsets - 1);
        self.obstacle(&state, bytes, last_offset, self.core.runtime.wall_ms())
    }

    async fn remove_obstacle(
        self: &Rc<Self>,
        obstacle: Obstacle,
        bytes: usize,
        offsets: i64,
    ) -> Result<(), StorageError> {
        let core = &self.core;
        let gone = || (self.obstacle_now(bytes, offsets) != Some(obstacle)).then_some(());
        match obstacle {
            Obstacle::Pending => {
                core.relieve_pending();
                let look = || {
                    let is_gone = gone();
                    if is_gone.is_none() && core.inflight_bytes.get() == 0 {
                        // What was being written is; what is left may be tails of less than a
                        // block, and nobody else may come to look.
                        core.relieve_pending();
                    }
                    is_gone
                };
                return core.wait(look).await;
            }
            Obstacle::JournalFull => {
                let before = core.stats.checkpoints.get();
                core.want_checkpoint();
                if core.journal.may_grow(&core.limits) {
                    return core.make_journal_file().await;
                }
                // One that had begun before may not have helped: then another one is asked for.
                let is_made = || (core.stats.checkpoints.get() > before).then_some(());
                return core.wait(|| gone().or_else(is_made)).await;
            }
            _ => {}
        }
        let _turn = self.room_turn.turn().await;
        // Somebody else may have done it meanwhile.
        if gone().is_some() {
            return Ok(());
        }
        let done = match obstacle {
            Obstacle::NotMaterialized => self.materialize().await,
            Obstacle::SegmentEnds => self.roll().await,
            Obstacle::NotAllocated => self.allocate(bytes).await,
            Obstacle::TailMissing => self.load_tail().await,
            Obstacle::Rolling | Obstacle::Pending | Obstacle::JournalFull => Ok(()),
        };
        match &done {
            Err(StorageError::Full(why)) => core.note_full(why),
            Ok(()) => core.note_room(),
            Err(_) => {}
        }
        done
    }

    /// Create directory and active file, durably.
    async fn materialize(self: &Rc<Self>) -> Result<(), StorageError> {
        let layout = &self.core.layout;
        let id = self.key.id;
        let (logs, topic, dir) = (layout.logs(), layout.topic(id.topic_id), layout.log(id));
        let disk = self.core.runtime.disk();
        disk.create_dir(&topic).await?;
        disk.create_dir(&dir).await?;
        let base = self.state.borrow().active().base;
        let file = disk.open(&layout.segment(id, base), true).await?;
        // Whatever a crash left under this name was never part of the log.
        file.truncate(0).await?;
        for parent in [&logs as &Path, &topic, &dir] {
            disk.sync_dir(parent).await?;
        }
        let mut state = self.state.borrow_mut();
        self.core.adopt_open(&state.active().file, Rc::new(file));
        state.is_materialized = true;
        Ok(())
    }

    /// Claim space for an append of `bytes` in growing steps.
    async fn allocate(self: &Rc<Self>, bytes: usize) -> Result<(), StorageError> {
        let (file, wanted) = {
            let state = self.state.borrow();
            let limits = &self.core.limits;
            let needed = block_ceil(state.end_position + bytes as u64);
            let step = state.end_position.clamp(limits.allocate_step_min, limits.allocate_step_max);
            let most = block_ceil(state.config.segment_bytes).max(needed);
            (Rc::clone(&state.active().file), (needed + step).min(most))
        };
        let open = self.core.open_segment(&file).await.map_err(|error| self.noting(error))?;
        // A recycled file or one from before a restart may have the space already.
        let present = open.len()?;
        // No append has gone into it since the start: what is missing was flushed before.
        let end = self.state.borrow().end_position;
        if present < end {
            return Err(self.too_short(&file, present, end));
        }
        if present < wanted {
            self.core.claim(&open, present, wanted).await?;
        }
        let mut state = self.state.borrow_mut();
        state.is_cut = false;
        state.allocated = wanted.max(present / BLOCK as u64 * BLOCK as u64);
        Ok(())
    }

    /// Read the parked block back, to be journalled again.
    async fn load_tail(self: &Rc<Self>) -> Result<(), StorageError> {
        let (file, block, end) = {
            let state = self.state.borrow();
            let Some(block) = state.parked else { return Ok(()) };
            (Rc::clone(&state.active().file), block, state.end_position)
        };
        let open = self.core.open_segment(&file).await?;
        let read = open.read_at(block, BLOCK).await?;
        let used = to_usize(end - block);
        if read.len() < used {
            return Err(self.too_short(&file, block + read.len() as u64, end));
        }
        let mut state = self.state.borrow_mut();
        if state.parked == Some(block) && state.parked_tail().is_none() {
            state.keep_tail(Tail { position: block, bytes: Bytes::copy_from_slice(&read[..used]) });
        }
        Ok(())
    }

    /// The active file has lost its end: nothing may be written behind the hole.
    fn too_short(&self, file: &SegmentFile<R>, present: u64, end: u64) -> StorageError {
        let layout = &self.core.layout;
        let why = short(&layout.segment(file.id, file.base), Some(present), end);
        self.noting(StorageError::Corrupt(offline(&why, &layout.log(file.id))))
    }

    /// Seal the active segment and begin another one at the log's end.
    pub(crate) async fn roll(self: &Rc<Self>) -> Result<(), StorageError> {
        self.state.borrow_mut().is_rolling = true;
        let done = self.roll_quietly().await;
        self.state.borrow_mut().is_rolling = false;
        self.core.progress.wake_all();
        done
    }

    async fn roll_quietly(self: &Rc<Self>) -> Result<(), StorageError> {
        self.seal().await?;
        let id = self.key.id;
        let base = self.end_offset();
        let layout = &self.core.layout;
        let disk = self.core.runtime.disk();
        let path = layout.segment(id, base);
        let segment_bytes = self.state.borrow().config.segment_bytes;
        let recycled = self.core.take_pooled(segment_bytes);
        if let Some(used) = &recycled {
            disk.rename(used, &path).await?;
            add(&self.core.stats.segments_recycled, 1);
        }
        let file = disk.open(&path, true).await?;
        if recycled.is_none() {
            // Claimed with the first append: an expired segment is rolled on a full disk, too.
            file.truncate(0).await?;
        }
        let allocated = file.len()? / BLOCK as u64 * BLOCK as u64;
        disk.sync_dir(&layout.log(id)).await?;
        if recycled.is_some() {
            disk.sync_dir(&layout.pool()).await?;
        }
        let next = Segment::new(id, base, Index::empty(base));
        self.core.adopt_open(&next.file, Rc::new(file));
        let mut state = self.state.borrow_mut();
        let end = state.end_position;
        let sealed = state.active_mut();
        sealed.bytes = end;
        let change = Change::Roll {
            sealed_base: sealed.base,
            sealed_bytes: end,
            sealed_max_timestamp: sealed.max_timestamp,
            base,
        };
        let sealed_index = Rc::clone(&sealed.index);
        state.segments.push(next);
        state.end_position = 0;
        state.submitted = 0;
        state.park_end = 0;
        state.landed = 0;
        state.allocated = allocated;
        state.is_cut = false;
        state.parked = None;
        state.tails.clear();
        state.gates.clear();
        state.active_since = None;
        drop(state);
        self.note_changed();
        self.core.journal.enqueue(Entry { log: self.key, change });
        self.core.note_loaded(&sealed_index, end);
        add(&self.core.stats.rolls, 1);
        Ok(())
    }

    /// Bring everything of the active segment to the device, cut the file to its exact length
    /// and write its indexes, so that other tools can read it.
    pub(crate) async fn seal(self: &Rc<Self>) -> Result<(), StorageError> {
        let (end, file, base) = {
            let state = self.state.borrow();
            (state.end_position, Rc::clone(&state.active().file), state.active().base)
        };
        self.mark_parked();
        self.write_behind(Some((base, end))).await?;
        self.core
            .wait(|| {
                // Nothing of a log that is deleted meanwhile is on its way any more.
                let has_landed = self.state.borrow().landed >= end;
                (has_landed || self.deleted.get()).then_some(())
            })
            .await?;
        self.check_there()?;
        let open = self.core.open_segment(&file).await?;
        open.truncate(end).await.map_err(|e| self.core.offline(e))?;
        add(&self.core.stats.checkpoint_flushes, 1);
        open.flush().await.map_err(|e| self.core.offline(e))?;
        {
            let mut state = self.state.borrow_mut();
            state.allocated = 0;
            state.is_cut = true;
        }
        self.write_indexes(base).await
    }

    /// Write the active segment's indexes in Kafka's format.
    async fn write_indexes(self: &Rc<Self>, base: i64) -> Result<(), StorageError> {
        let index = Rc::clone(&self.state.borrow().active().index);
        self.load_index(base).await?;
        index.borrow_mut().seal();
        let (offsets, times) = index.borrow().encode();
        let layout = &self.core.layout;
        let id = self.key.id;
        let kinds =
            [(layout.offset_index(id, base), offsets), (layout.time_index(id, base), times)];
        for (path, bytes) in kinds {
            match self.write_index(&path, &bytes).await {
                // Only a convenience: without it the next reader builds it again.
                Err(DiskError::Full(_)) => {}
                other => other.map_err(|e| self.core.offline(e))?,
            }
        }
        Ok(())
    }

    pub(crate) async fn write_index(&self, path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
        let disk = self.core.runtime.disk();
        let file = disk.open(path, true).await?;
        for (number, part) in bytes.chunks(INDEX_WRITE_BYTES).enumerate() {
            let mut buffer = disk.buffer(part.len().div_ceil(BLOCK) * BLOCK);
            buffer.bytes_mut()[..part.len()].copy_from_slice(part);
            buffer.bytes_mut()[part.len()..].fill(0);
            file.write_at((number * INDEX_WRITE_BYTES) as u64, Rc::new(buffer)).await?;
        }
        file.truncate(bytes.len() as u64).await
    }
}
