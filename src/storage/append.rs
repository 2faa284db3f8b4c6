//! Taking a batch: its place is fixed here, in one step that never waits.
//!
//! A small batch goes whole into the journal and to its segment later. Of a large one the whole
//! blocks are written straight to the segment and the rest goes through the journal, both at the
//! same time: it counts as written when both have arrived, and recovery looks whether they did. If
//! it waits for a flush, its blocks are written durably, so that the flush that follows has only
//! the journal to cover.

use std::rc::Rc;

use bytes::Bytes;

use super::chunk::{Chunk, Stamp, to_usize};
use super::entry::{Change, DataEntry, ENTRY_OVERHEAD_MAX, Entry, Extent, HEADER_LEN};
use super::journal::Ordinal;
use super::log::{Gate, LogState, Unwritten};
use super::segment::grown_at;
use super::stats::add;
use super::{Append, AppendError, Log, StorageError};
use crate::disk::{BLOCK_U64, BlockBuffer, Disk, DiskFile, block_ceil, block_floor};
use crate::model::TimestampMs;
use crate::runtime::{Queue, Runtime};

/// Why a batch cannot be taken right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// Directory or file do not exist yet.
    NotMaterialized,
    /// The active segment is full or too old.
    SegmentEnds,
    /// The active segment is being sealed.
    Rolling,
    /// No space is claimed where the batch would go.
    NotAllocated,
    /// The parked bytes to be journalled again are not in memory.
    TailMissing,
    /// Too much stands in memory.
    Pending,
    /// The journal has to be checkpointed first.
    JournalFull,
}

impl<R: Runtime> Log<R> {
    /// Take a batch: its place in the order is fixed when this returns `Ok`. Never waits.
    ///
    /// # Errors
    /// `NoRoom` when [`Log::room`] has to be awaited first; otherwise the store takes nothing.
    pub fn append(&self, batch: &Append) -> Result<(), AppendError> {
        self.check().and_then(|()| self.core.check_open()).map_err(AppendError::Storage)?;
        let mut state = self.state.borrow_mut();
        let len = batch.bytes.len();
        if len < HEADER_LEN
            || batch.base_offset < state.end_offset
            || batch.last_offset < batch.base_offset
        {
            return Err(AppendError::Storage(StorageError::Io(format!(
                "append of {len} bytes with offsets {}..={} to log {:?} that ends at {}: the \
                 caller must pass whole batches in order",
                batch.base_offset, batch.last_offset, self.key.id, state.end_offset
            ))));
        }
        let now_ms = self.core.runtime.wall_ms();
        if let Some(obstacle) = self.obstacle(&state, len, batch.last_offset, now_ms) {
            drop(state);
            self.help_with(obstacle);
            return Err(AppendError::NoRoom);
        }
        let stamp = Stamp::new(&batch.bytes, batch.base_offset, batch.leader_epoch);
        state.active_since.get_or_insert(now_ms);
        let taken = Taken { batch, stamp };
        let extent = self.extent_of(&state, len, batch.flush);
        match extent {
            Some(extent) => self.append_direct(&mut state, &taken, extent),
            None => self.append_small(&mut state, &taken),
        }
        drop(state);
        add(&self.core.stats.append_bytes, len as u64);
        self.note_pending(len);
        let me = self.shared();
        me.note_changed();
        me.offer_behind();
        Ok(())
    }

    /// What stands in the way of an append of `len` bytes at `now_ms`.
    pub(crate) fn obstacle(
        &self,
        state: &LogState<R>,
        len: usize,
        last_offset: i64,
        now_ms: TimestampMs,
    ) -> Option<Obstacle> {
        let core = &self.core;
        if state.is_rolling {
            return Some(Obstacle::Rolling);
        }
        if !state.is_materialized {
            return Some(Obstacle::NotMaterialized);
        }
        let end = state.end_position + len as u64;
        let too_old = state
            .active_since
            .is_some_and(|since| now_ms.saturating_sub(since) >= state.config.segment_ms);
        let too_far = last_offset - state.active().base > i64::from(i32::MAX);
        if state.end_position > 0 && (end > state.config.segment_bytes || too_old || too_far) {
            return Some(Obstacle::SegmentEnds);
        }
        if block_ceil(end) > state.allocated {
            return Some(Obstacle::NotAllocated);
        }
        if state.parked.is_some() && state.parked_tail().is_none() {
            return Some(Obstacle::TailMissing);
        }
        let pending = core.stats.pending_bytes.get();
        if pending > 0 && pending + len as u64 > core.limits.pending_bytes_max {
            return Some(Obstacle::Pending);
        }
        // Whether it waits for a flush is not known here: as if it were journalled whole.
        let limits = &core.limits;
        let direct_min = limits.direct_min(true).max(limits.direct_min(false));
        let journalled = len.min(direct_min + 2 * crate::disk::BLOCK);
        let bytes = (journalled + 2 * crate::disk::BLOCK + ENTRY_OVERHEAD_MAX) as u64;
        (!core.journal.has_room(limits, bytes)).then_some(Obstacle::JournalFull)
    }

    /// Start what removes an obstacle, as far as it helps others too.
    fn help_with(&self, obstacle: Obstacle) {
        match obstacle {
            Obstacle::JournalFull => self.core.want_checkpoint(),
            Obstacle::Pending => self.core.relieve_pending(),
            _ => {}
        }
    }

    /// The blocks that an append of `len` bytes would write directly, if it is large.
    fn extent_of(&self, state: &LogState<R>, len: usize, flush: bool) -> Option<(u64, u64)> {
        if len < self.core.limits.direct_min(flush) {
            return None;
        }
        let first = block_floor(state.end_position);
        let blocked = state.is_blocked(first, |ordinal| self.core.journal.is_flushed(ordinal));
        let start = if blocked { first + BLOCK_U64 } else { first };
        let end = block_floor(state.end_position + len as u64);
        (end > start).then_some((start, end))
    }

    fn append_small(&self, state: &mut LogState<R>, taken: &Taken<'_>) {
        let len = taken.batch.bytes.len();
        let bytes = self.copy_part(taken, 0, len);
        let at = state.end_position;
        let parked = state.parked_tail().unwrap_or_default();
        let (position, head, gate) = match state.parked.take() {
            Some(block) => (block, [parked, bytes.clone()], Some(block)),
            None => (at, [bytes.clone(), Bytes::new()], None),
        };
        add(&self.core.stats.small_appends, 1);
        let pieces = [bytes, Bytes::new(), Bytes::new()];
        self.push(state, taken, pieces, Place { position, head, extent: None, gate });
    }

    fn append_direct(&self, state: &mut LogState<R>, taken: &Taken<'_>, extent: (u64, u64)) {
        let (start, end) = extent;
        let at = state.end_position;
        let len = taken.batch.bytes.len();
        let first = block_floor(at);
        if state.submitted < first {
            let range = (state.submitted, first);
            state.behind.push_back(range);
        }
        // The first block is not to be written yet: the journal carries what goes into it.
        let head_len = to_usize(start.saturating_sub(at));
        let mut gate = None;
        let mut position = at;
        let mut head = [Bytes::new(), Bytes::new()];
        let mut head_piece = Bytes::new();
        if start > first {
            head_piece = self.copy_part(taken, 0, head_len);
            head[1] = head_piece.clone();
            let parked = state.parked_tail().unwrap_or_default();
            if let Some(block) = state.parked.take() {
                head[0] = parked;
                position = block;
                gate = Some(block);
            }
            state.behind.push_back((first, start));
        }
        let mut buffer = self.core.memory.buffer(to_usize(end - start));
        let shared = to_usize(at.saturating_sub(start));
        let direct_end = to_usize(end - at);
        let bytes = buffer.bytes_mut();
        if shared > 0 {
            state.copy_range(start, at, &mut bytes[..shared]);
        }
        taken.stamp.copy(&taken.batch.bytes, head_len..direct_end, &mut bytes[shared..]);
        let (buffer, lent) = self.core.memory.lend(buffer);
        let tail = self.copy_part(taken, direct_end, len);
        state.submitted = end;
        state.inflight.push(extent);
        add(&self.core.inflight_bytes, end - start);
        add(&self.core.stats.direct_appends, 1);
        let header = {
            let mut header = [0u8; HEADER_LEN];
            taken.stamp.copy(&taken.batch.bytes, 0..HEADER_LEN, &mut header);
            Bytes::copy_from_slice(&header)
        };
        let pieces = [head_piece, lent.slice(shared..), tail];
        let extent = Some(Extent { start, end, header });
        let ordinal = self.push(state, taken, pieces, Place { position, head, extent, gate });
        self.write_direct(state, ordinal, (start, end), buffer, taken.batch.flush);
    }

    /// Write the blocks of a large append, while its entry is on its way through the journal;
    /// `durably` if it waits for a flush.
    fn write_direct(
        &self,
        state: &LogState<R>,
        ordinal: Ordinal,
        range: (u64, u64),
        buffer: Rc<<R::Disk as Disk>::Buffer>,
        durably: bool,
    ) {
        let log = self.shared();
        let file = Rc::clone(&state.active().file);
        self.core.runtime.spawn(Queue::Log, async move {
            let core = &log.core;
            let written = match core.open_segment(&file).await {
                Ok(open) if durably => {
                    add(&core.stats.segment_flushes, 1);
                    open.write_durable_at(range.0, buffer).await.map_err(|e| core.offline(e))
                }
                Ok(open) => open.write_at(range.0, buffer).await.map_err(|e| core.offline(e)),
                Err(error) => Err(error),
            };
            // The file of a deleted log may have gone under the write.
            if let Err(error) = written
                && !log.deleted.get()
            {
                core.fail(&error);
                return;
            }
            super::stats::sub(&core.inflight_bytes, range.1 - range.0);
            let direct = &core.checkpoint.direct_bytes;
            direct.set(direct.get() + range.1 - range.0);
            if direct.get() > core.limits.direct_bytes_per_checkpoint {
                core.want_checkpoint();
            }
            if !durably {
                core.note_direct_write(&file);
            }
            core.journal.arrived(ordinal);
            log.write_completed(range);
            log.direct_completed(ordinal);
        });
    }

    fn copy_part(&self, taken: &Taken<'_>, from: usize, to: usize) -> Bytes {
        let batch = &taken.batch.bytes;
        self.core.memory.copy(to - from, |out| taken.stamp.copy(batch, from..to, out))
    }

    /// Put the batch at the end of the log and its entry at the end of the journal.
    fn push(
        &self,
        state: &mut LogState<R>,
        taken: &Taken<'_>,
        pieces: [Bytes; 3],
        place: Place,
    ) -> Ordinal {
        let batch = taken.batch;
        let position = state.end_position;
        let len = batch.bytes.len() as u64;
        let interval = state.config.index_interval_bytes;
        let segment = state.active_mut();
        let segment_base = segment.base;
        let newest = segment.max_timestamp.max(taken.batch.max_timestamp);
        segment.max_timestamp =
            if newest < 0 { grown_at(self.core.runtime.wall_ms()) } else { newest };
        segment.index.borrow_mut().note(
            interval,
            position,
            len,
            batch.last_offset,
            taken.batch.max_timestamp,
        );
        state.chunks.push_back(Chunk {
            segment_base,
            position,
            base_offset: batch.base_offset,
            last_offset: batch.last_offset,
            max_timestamp: taken.batch.max_timestamp,
            pieces: pieces.clone(),
        });
        state.end_position += len;
        state.end_offset = batch.last_offset + 1;
        let [_, _, tail] = pieces;
        let change = Change::Data(DataEntry {
            segment_base,
            position: place.position,
            batch_position: position,
            base_offset: batch.base_offset,
            last_offset: batch.last_offset,
            max_timestamp: taken.batch.max_timestamp,
            head: place.head,
            extent: place.extent,
            tail,
        });
        let is_arriving = matches!(&change, Change::Data(data) if data.extent.is_some());
        let entry = Entry { log: self.key, change };
        let ordinal = self.core.journal.enqueue_append(entry, self.shared(), is_arriving);
        if let Some(block) = place.gate {
            state.gates.push(Gate { block, ordinal });
        }
        let (end, flush) = (state.end_offset, batch.flush);
        state.unwritten.push_back(Unwritten { ordinal, end, flush, is_arriving });
        ordinal
    }

    /// Let the writers behind know when enough has gathered.
    fn offer_behind(self: &Rc<Self>) {
        let enough = self.core.limits.behind_bytes;
        let has_ranges = !self.state.borrow().behind.is_empty();
        if has_ranges || self.behind_bytes() >= enough {
            self.core.write_behind_soon(self);
        }
    }
}

/// A batch on its way in.
struct Taken<'a> {
    batch: &'a Append,
    stamp: Stamp,
}

/// Where the journal and the segment will hold it.
struct Place {
    position: u64,
    head: [Bytes; 2],
    extent: Option<Extent>,
    gate: Option<u64>,
}
