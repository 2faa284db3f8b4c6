//! Restoring one log: check what was written directly, write what only the journal holds.

use std::collections::BTreeSet;
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;

use super::StorageError;
use super::batch::batch_checks;
use super::checkpoint_file::{LogRecord, NO_RUN};
use super::chunk::to_usize;
use super::entry::{DataEntry, batch_header};
use super::format::Layout;
use super::recover::finish;
use super::replay::LogPlan;
use crate::disk::{BLOCK, BLOCK_U64, BlockBuffer, Disk, DiskError, DiskFile, block_floor};
use crate::model::TopicPartition;

/// Most bytes written at once.
const WRITE_BYTES_MAX: u64 = 1 << 20;

/// A log as it stands on the device now.
pub(crate) struct Restored {
    pub(crate) record: LogRecord,
    /// The journal had something about it.
    pub(crate) is_touched: bool,
}

/// See the file's comment.
pub(crate) struct Restore<'a, D: Disk> {
    pub(crate) disk: &'a D,
    pub(crate) layout: &'a Layout,
}

impl<D: Disk> Restore<'_, D> {
    /// Bring one log to the device up to the last append that arrived.
    pub(crate) async fn log(&self, mut plan: LogPlan) -> Result<Restored, StorageError> {
        let is_touched = plan.is_touched;
        self.finish_swaps(&plan).await?;
        plan.record.is_cut &= !is_touched;
        if !plan.record.broken.is_empty() {
            plan.appends.clear();
            finish(&mut plan);
            return Ok(Restored { record: plan.record, is_touched });
        }
        plan.record.kept_run = NO_RUN;
        if let Some((why, run)) = self.damage(&mut plan).await? {
            let id = plan.record.log.id;
            plan.record.broken = offline(&why, &self.layout.log(id));
            plan.record.kept_run = run;
            plan.appends.clear();
        } else if let Some(why) = &plan.found_before {
            let TopicPartition { topic_id, partition } = plan.record.log.id;
            tracing::warn!(%topic_id, partition, "this log was offline; a start finds nothing \
                wrong with it any more and takes it up again. What was found: {why}");
        }
        finish(&mut plan);
        Ok(Restored { record: plan.record, is_touched })
    }

    /// Restore the appends, or say what is damaged and which run's journal is still needed.
    async fn damage(&self, plan: &mut LogPlan) -> Result<Option<(String, u64)>, StorageError> {
        if let Some(why) = plan.damage.take() {
            return Ok(Some((why, plan.run)));
        }
        let run = if plan.appends.is_empty() { NO_RUN } else { plan.run };
        // Only then: a start does not look at every segment of every log.
        if plan.found_before.is_some()
            && let Some(why) = self.short_segment(&plan.record).await?
        {
            return Ok(Some((why, run)));
        }
        if plan.appends.is_empty() {
            return Ok(None);
        }
        Ok(self.restore_appends(plan).await?.map(|why| (why, run)))
    }

    /// What is wrong with the lengths of the segments, if anything is.
    async fn short_segment(&self, record: &LogRecord) -> Result<Option<String>, StorageError> {
        for segment in record.segments.iter().filter(|segment| segment.bytes > 0) {
            let path = self.layout.segment(record.log.id, segment.base);
            let len = match self.disk.open(&path, false).await {
                Ok(file) => Some(file.len()?),
                Err(DiskError::NotFound(_)) => None,
                Err(error) => return Err(error.into()),
            };
            if len.is_none_or(|len| len < segment.bytes) {
                return Ok(Some(short(&path, len, segment.bytes)));
            }
        }
        Ok(None)
    }

    /// Give cleaned segments their names, as far as that was not done before the crash. Their
    /// files were on the device before the journal told of them.
    async fn finish_swaps(&self, plan: &LogPlan) -> Result<(), StorageError> {
        let id = plan.record.log.id;
        let mut is_renamed = false;
        for (base, pooled) in &plan.pooled {
            for (from, to) in self.layout.cleaned(*pooled, id, *base) {
                match self.disk.rename(&from, &to).await {
                    Ok(()) => is_renamed = true,
                    Err(DiskError::NotFound(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        if is_renamed {
            self.disk.sync_dir(&self.layout.log(id)).await?;
            self.disk.sync_dir(&self.layout.pool()).await?;
        }
        Ok(())
    }

    /// Check and write the appends of the active segment; says what is damaged, if anything is.
    async fn restore_appends(&self, plan: &mut LogPlan) -> Result<Option<String>, StorageError> {
        let id = plan.record.log.id;
        let active = plan.record.segments.last().copied().unwrap_or_else(|| {
            unreachable!("a record without segments is refused when it is decoded")
        });
        let path = self.layout.segment(id, active.base);
        let is_new = active.bytes == 0;
        if is_new {
            for dir in [self.layout.topic(id.topic_id), self.layout.log(id)] {
                self.disk.create_dir(&dir).await?;
            }
        }
        let file = match self.disk.open(&path, is_new).await {
            Ok(file) => file,
            Err(DiskError::NotFound(_)) => {
                return Ok(Some(short(&path, None, active.bytes)));
            }
            Err(error) => return Err(error.into()),
        };
        let len = file.len()?;
        if len < active.bytes {
            return Ok(Some(short(&path, Some(len), active.bytes)));
        }
        let mut accepted = plan.appends.len();
        for (number, (sequence, data)) in plan.appends.iter().enumerate() {
            if self.has_arrived(&file, data).await? {
                continue;
            }
            if *sequence <= plan.flushed_sequence {
                return Ok(Some(format!(
                    "the batch with offset {} at position {} of {} does not check though it was \
                     flushed",
                    data.base_offset,
                    data.batch_position,
                    path.display()
                )));
            }
            accepted = number;
            break;
        }
        plan.appends.truncate(accepted);
        self.write_inline(&file, &plan.appends).await?;
        file.flush().await?;
        if is_new {
            self.sync_names(plan).await?;
        }
        let record = &mut plan.record;
        for (_, data) in plan.appends.drain(..) {
            record.end_offset = data.last_offset + 1;
            if let Some(last) = record.segments.last_mut() {
                last.bytes = data.end_position();
                // When it grew is not in the journal: without timestamps it is -1 now.
                last.max_timestamp = last.max_timestamp.max(data.max_timestamp.max(-1));
            }
            plan.headers.push(batch_header(&data));
        }
        Ok(None)
    }

    async fn sync_names(&self, plan: &LogPlan) -> Result<(), StorageError> {
        let id = plan.record.log.id;
        for dir in [self.layout.logs(), self.layout.topic(id.topic_id), self.layout.log(id)] {
            self.disk.sync_dir(&dir).await?;
        }
        Ok(())
    }

    /// Whether the bytes of an append that the journal does not hold are in the segment.
    async fn has_arrived(&self, file: &D::File, data: &DataEntry) -> Result<bool, StorageError> {
        let Some(extent) = &data.extent else { return Ok(true) };
        let read = file.read_at(extent.start, to_usize(extent.end - extent.start)).await?;
        if read.len() as u64 != extent.end - extent.start {
            return Ok(false);
        }
        let before = to_usize(data.batch_position.saturating_sub(extent.start));
        let skip = to_usize(data.batch_position - data.position);
        let head: Vec<u8> = data.head.iter().flatten().skip(skip).copied().collect();
        let pieces = [Bytes::from(head), read.slice(before..), data.tail.clone()];
        Ok(batch_checks(&extent.header, &pieces))
    }

    /// Write what the entries hold themselves into its blocks, leaving the rest of each block.
    async fn write_inline(
        &self,
        file: &D::File,
        appends: &[(u64, DataEntry)],
    ) -> Result<(), StorageError> {
        let Some(end) = appends.last().map(|(_, data)| data.end_position()) else {
            return Ok(());
        };
        let pieces = inline_pieces(appends);
        let mut blocks = BTreeSet::new();
        for (position, bytes) in &pieces {
            let last = position + bytes.len() as u64;
            blocks.extend((block_floor(*position)..last).step_by(BLOCK));
        }
        let mut blocks = blocks.into_iter().peekable();
        // Pieces are in the order of their positions, except that parked bytes come again.
        let mut from = 0;
        while let Some(start) = blocks.next() {
            let mut stop = start + BLOCK_U64;
            while stop - start < WRITE_BYTES_MAX && blocks.next_if_eq(&stop).is_some() {
                stop += BLOCK_U64;
            }
            while pieces.get(from).is_some_and(|(at, b)| at + b.len() as u64 + BLOCK_U64 <= start) {
                from += 1;
            }
            self.write_run(file, (start, stop), end, &pieces[from..]).await?;
        }
        Ok(())
    }

    async fn write_run(
        &self,
        file: &D::File,
        (start, stop): (u64, u64),
        end: u64,
        pieces: &[(u64, Bytes)],
    ) -> Result<(), StorageError> {
        let present = file.read_at(start, to_usize(stop - start)).await?;
        let mut buffer = self.disk.buffer(to_usize(stop - start));
        let out = buffer.bytes_mut();
        out[..present.len()].copy_from_slice(&present);
        out[present.len()..].fill(0);
        for (position, bytes) in pieces {
            if *position >= stop {
                break;
            }
            let (from, to) = ((*position).max(start), (*position + bytes.len() as u64).min(stop));
            if from < to {
                out[to_usize(from - start)..to_usize(to - start)]
                    .copy_from_slice(&bytes[to_usize(from - position)..to_usize(to - position)]);
            }
        }
        if end < stop {
            out[to_usize(end.max(start) - start)..].fill(0);
        }
        // Equal bytes are not written again: a crash in here must not tear what is right.
        if buffer.bytes() == &present[..] {
            return Ok(());
        }
        file.write_at(start, Rc::new(buffer)).await?;
        Ok(())
    }
}

/// What to tell of a log that is offline as damaged.
pub(crate) fn offline(why: &str, dir: &Path) -> String {
    format!(
        "{why}; the log is offline and its files are untouched: stop the broker, restore {} as it \
         was and start the broker, which looks again at each start; or delete the topic",
        dir.display()
    )
}

/// Says that a segment does not have the bytes that were flushed.
pub(crate) fn short(path: &Path, len: Option<u64>, flushed: u64) -> String {
    match len {
        Some(len) => format!(
            "the segment {} has {len} bytes, shorter than the {flushed} that were flushed",
            path.display()
        ),
        None => format!("the segment {} is missing", path.display()),
    }
}

/// Bytes that the entries hold themselves, in their order. Parked bytes that come again start at
/// most a block before where the one before ended.
fn inline_pieces(appends: &[(u64, DataEntry)]) -> Vec<(u64, Bytes)> {
    let mut pieces = Vec::new();
    for (_, data) in appends {
        let mut position = data.position;
        for part in &data.head {
            pieces.push((position, part.clone()));
            position += part.len() as u64;
        }
        if let Some(extent) = &data.extent {
            pieces.push((extent.end, data.tail.clone()));
        }
    }
    pieces.retain(|(_, bytes)| !bytes.is_empty());
    pieces
}
