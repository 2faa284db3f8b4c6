//! Checkpoints: bring everything that the journal holds up to a cut into the segments, record
//! that, and use the journal's files again.

use std::rc::Rc;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::checkpoint_file::{CheckpointHeader, LogRecord, SegmentRecord, encode_checkpoint};
use super::core::Core;
use super::format::Layout;
use super::stats::add;
use super::{Log, StorageError};
use crate::disk::{BLOCK, BlockBuffer, Disk, DiskError, DiskFile};
use crate::runtime::Runtime;
use crate::runtime::wait::{ITEMS_AT_ONCE, Pace};

/// Logs written behind and files flushed at once.
const CONCURRENT_MAX: usize = 32;
/// Least space claimed for a checkpoint.
const CLAIM_BYTES_MIN: u64 = 64 << 10;
/// Bytes of one write of a checkpoint file.
const WRITE_BYTES: usize = 1 << 20;

impl<R: Runtime> Core<R> {
    /// Ask for a checkpoint soon.
    pub(crate) fn want_checkpoint(&self) {
        if !self.checkpoint.wanted.replace(true) {
            self.checkpoint.wake.wake_all();
        }
    }

    /// The task that makes checkpoints when asked, until the store closes or goes offline.
    pub(crate) async fn run_checkpoints(self: Rc<Self>) {
        loop {
            let has_work = || {
                if self.is_stopping() {
                    return Some(false);
                }
                self.checkpoint.wanted.get().then_some(true)
            };
            if !self.checkpoint.wake.until(has_work).await {
                return;
            }
            match self.checkpoint_now().await {
                Ok(()) => self.note_room(),
                Err(StorageError::Full(_)) if self.empty_pool().await.unwrap_or(false) => {
                    self.want_checkpoint();
                }
                Err(StorageError::Full(why)) => {
                    // Appends stop when the journal is full; space may come back.
                    self.note_full(&why);
                    self.runtime.sleep(std::time::Duration::from_secs(1)).await;
                    // Those who wait for it are not asked again.
                    self.want_checkpoint();
                }
                Err(error) => {
                    self.fail(&error);
                    return;
                }
            }
        }
    }

    /// One checkpoint of everything queued in the journal up to now.
    pub(crate) async fn checkpoint_now(self: &Rc<Self>) -> Result<(), StorageError> {
        let _turn = self.checkpoint.turn.turn().await;
        // The cut. Each record below is of one moment, but not all of the same: a record that is
        // taken later covers entries behind the cut, and replay sees that they lie below the
        // recorded end. Entries queued but not in a frame yet are such entries, too.
        self.checkpoint.wanted.set(false);
        self.checkpoint.direct_bytes.set(0);
        let cut = self.journal.last_sequence();
        let next_incarnation = self.next_incarnation.get();
        let changed = std::mem::take(&mut *self.changed.borrow_mut());
        self.drop_idle_tails(&changed);
        let targets = take_targets(&changed).await;
        let done = self.bring_down(&targets).await;
        let written = match done {
            Ok(()) => self.write_records(cut, next_incarnation, &targets).await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            // The next one has to look at these again.
            changed.iter().for_each(|log| log.note_changed());
            return Err(error);
        }
        self.journal.release(cut);
        add(&self.stats.checkpoints, 1);
        self.progress.wake_all();
        Ok(())
    }

    /// The tails of logs that were parked before and not touched since leave memory.
    fn drop_idle_tails(&self, changed: &[Rc<Log<R>>]) {
        let round = self.checkpoint.round.get() + 1;
        self.checkpoint.round.set(round);
        changed.iter().for_each(|log| log.changed_in.set(round));
        let before = std::mem::replace(&mut *self.parked_logs.borrow_mut(), changed.to_vec());
        before.iter().filter(|log| log.changed_in.get() != round).for_each(|log| log.drop_tail());
    }

    /// Everything up to the targets' ends is in the segments and flushed.
    async fn bring_down(self: &Rc<Self>, targets: &[Target<R>]) -> Result<(), StorageError> {
        // What is empty is complete: with many new logs that is most of them.
        let targets = targets.iter().filter(|target| target.end > 0);
        let down = |target: &Target<R>| {
            let (log, base, end) = (Rc::clone(&target.log), target.base, target.end);
            async move { log.bring_down(base, end).await }
        };
        for_each_concurrent(targets.map(down)).await?;
        let files = self.take_checkpoint_dirty();
        let flush = |file: &Rc<super::segment::SegmentFile<R>>| {
            let file = Rc::clone(file);
            async move { self.checkpoint_flush(&file).await }
        };
        for_each_concurrent(files.iter().map(flush)).await?;
        // Until now these had to stay open.
        self.close_above_limit(usize::MAX);
        Ok(())
    }

    async fn write_records(
        self: &Rc<Self>,
        cut: u64,
        next_incarnation: u64,
        targets: &[Target<R>],
    ) -> Result<(), StorageError> {
        let mut pace = Pace::new(ITEMS_AT_ONCE);
        for target in targets {
            pace.worked(1).await;
            *target.log.checkpoint_record.borrow_mut() = target.record.clone();
        }
        // One that is deleted meanwhile is so in the journal behind the cut.
        let logs: Vec<Rc<Log<R>>> = self.logs.borrow().values().cloned().collect();
        let mut records = Vec::with_capacity(logs.len());
        for log in logs {
            pace.worked(1).await;
            let record = log.checkpoint_record.borrow().clone();
            // A log created behind the cut is in the journal behind the cut.
            if !record.is_empty() {
                records.push(record);
            }
        }
        let sequence = self.checkpoint.sequence.get() + 1;
        let header = CheckpointHeader {
            shard: self.shard,
            generation: self.generation,
            sequence,
            cut,
            next_incarnation,
        };
        let bytes = encode_checkpoint(&header, &records);
        write_checkpoint(self.runtime.disk(), &self.layout, &header, &bytes).await.map_err(
            |error| match error {
                DiskError::Full(why) => StorageError::Full(why),
                other => self.offline(other),
            },
        )?;
        add(&self.stats.checkpoint_flushes, 1);
        self.checkpoint.sequence.set(sequence);
        Ok(())
    }
}

/// What a checkpoint is to cover of each of these logs, each as of one moment: others go first in
/// between, for there may be very many.
async fn take_targets<R: Runtime>(changed: &[Rc<Log<R>>]) -> Vec<Target<R>> {
    let mut targets = Vec::with_capacity(changed.len());
    let mut pace = Pace::new(ITEMS_AT_ONCE);
    for log in changed {
        pace.worked(1).await;
        log.take_changed();
        if log.deleted.get() {
            continue;
        }
        let record = log.record();
        targets.push(Target {
            log: Rc::clone(log),
            base: record.segments.last().map_or(0, |s| s.base),
            end: record.segments.last().map_or(0, |s| s.bytes),
            record: record.encode(),
        });
        // In the same step: what is appended from here on goes beside a parked tail.
        log.mark_parked();
    }
    targets
}

/// A log and how much of it a checkpoint covers.
struct Target<R: Runtime> {
    log: Rc<Log<R>>,
    base: i64,
    end: u64,
    record: Bytes,
}

impl<R: Runtime> Log<R> {
    /// What a checkpoint records about this log as of now.
    pub(crate) fn record(&self) -> LogRecord {
        let (snapshot, headers) = match self.snapshot() {
            Some(snapshot) => (snapshot, Bytes::new()),
            // Nobody has taken over what recovery found: keep it for the next recovery.
            None => self.replayed.borrow().clone(),
        };
        let broken = match &*self.broken.borrow() {
            None => String::new(),
            Some(StorageError::Corrupt(why)) => why.clone(),
            Some(other) => other.to_string(),
        };
        let state = self.state.borrow();
        let last = state.segments.len() - 1;
        let segments = state.segments.iter().enumerate().map(|(i, segment)| SegmentRecord {
            base: segment.base,
            bytes: if i == last { state.end_position } else { segment.bytes },
            max_timestamp: segment.max_timestamp,
        });
        LogRecord {
            log: self.key,
            start_offset: state.start_offset,
            end_offset: state.end_offset,
            segments: segments.collect(),
            broken,
            kept_run: self.kept_run.get(),
            snapshot,
            headers,
            is_cut: state.is_cut,
            cleaned_to: state.cleaned_to,
        }
    }

    /// Have the segment `base` complete up to `end`. If it was sealed meanwhile, it is.
    async fn bring_down(self: &Rc<Self>, base: i64, end: u64) -> Result<(), StorageError> {
        let is_sealed = || self.state.borrow().active().base != base || self.deleted.get();
        if is_sealed() {
            return Ok(());
        }
        let done = self.write_behind(Some((base, end))).await;
        if self.deleted.get() {
            // Its file may have gone under the write.
            return Ok(());
        }
        done?;
        self.core.wait(|| (is_sealed() || self.state.borrow().landed >= end).then_some(())).await
    }

    fn drop_tail(&self) {
        let mut state = self.state.borrow_mut();
        if let Some(block) = state.parked
            && state.landed >= state.end_position
        {
            state.tails.retain(|tail| tail.position != block);
        }
    }
}

pub(crate) async fn for_each_concurrent<F>(
    jobs: impl Iterator<Item = F>,
) -> Result<(), StorageError>
where
    F: Future<Output = Result<(), StorageError>>,
{
    let mut running = FuturesUnordered::new();
    let mut pace = Pace::new(ITEMS_AT_ONCE);
    for job in jobs {
        // Not every job waits for something.
        pace.worked(1).await;
        if running.len() >= CONCURRENT_MAX
            && let Some(done) = running.next().await
        {
            done?;
        }
        running.push(job);
    }
    while let Some(done) = running.next().await {
        done?;
    }
    Ok(())
}

/// Write a checkpoint into the file whose turn it is, and flush it.
pub(crate) async fn write_checkpoint<D: Disk>(
    disk: &D,
    layout: &Layout,
    header: &CheckpointHeader,
    bytes: &Bytes,
) -> Result<(), DiskError> {
    let path = layout.checkpoint(header.generation, header.shard, header.sequence);
    let file = disk.open(&path, true).await?;
    claim(&file, bytes.len() as u64).await?;
    for (number, part) in bytes.chunks(WRITE_BYTES).enumerate() {
        let mut buffer = disk.buffer(part.len().div_ceil(BLOCK) * BLOCK);
        buffer.bytes_mut()[..part.len()].copy_from_slice(part);
        buffer.bytes_mut()[part.len()..].fill(0);
        file.write_at((number * WRITE_BYTES) as u64, Rc::new(buffer)).await?;
    }
    file.flush().await?;
    // The name was new the first two times.
    if header.sequence <= 2 {
        disk.sync_dir(&layout.shard(header.generation, header.shard)).await?;
    }
    Ok(())
}

/// Claim space for a checkpoint of `len` bytes and, if there is some, for one twice as large: on
/// a full disk the next checkpoints must still be possible, or nothing could be deleted.
async fn claim<F: DiskFile>(file: &F, len: u64) -> Result<(), DiskError> {
    let needed = crate::disk::block_ceil(len);
    let ample = (2 * needed).next_power_of_two().max(CLAIM_BYTES_MIN);
    let present = file.len()?;
    if present >= ample {
        return Ok(());
    }
    match file.allocate(ample).await {
        Err(DiskError::Full(_)) if present >= needed => Ok(()),
        Err(DiskError::Full(_)) => file.allocate(needed).await,
        other => other,
    }
}

/// Make the file of the next checkpoint, so that writing it needs no new space.
pub(crate) async fn prepare_checkpoint<D: Disk>(
    disk: &D,
    layout: &Layout,
    header: &CheckpointHeader,
    len: usize,
) -> Result<(), DiskError> {
    let path = layout.checkpoint(header.generation, header.shard, header.sequence + 1);
    let file = disk.open(&path, true).await?;
    claim(&file, len as u64).await
}
