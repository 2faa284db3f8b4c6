//! Writing behind: what the journal holds goes to its segment in whole blocks, later, in few
//! large writes; and parking: the unfinished last block goes there too, zero-padded.

use std::rc::Rc;

use futures_util::future::try_join_all;

use super::chunk::to_usize;
use super::core::Core;
use super::journal::Ordinal;
use super::log::Tail;
use super::segment::SegmentFile;
use super::stats::{add, sub};
use super::{Log, StorageError};
use crate::disk::{BLOCK, BLOCK_U64, BlockBuffer, Disk, DiskFile, block_floor};
use crate::model::Offset;
use crate::runtime::Runtime;

/// Writes under way at once for one log.
const WRITES_MAX: usize = 4;

impl<R: Runtime> Core<R> {
    /// Have a log written behind by the next free writer.
    pub(crate) fn write_behind_soon(&self, log: &Rc<Log<R>>) {
        if !log.in_behind.replace(true) {
            self.behind.borrow_mut().push_back(Rc::clone(log));
            self.behind_wake.wake_all();
        }
    }

    /// One of the tasks that write behind, until the store closes or goes offline.
    pub(crate) async fn run_behind_writer(self: Rc<Self>) {
        loop {
            let next = || {
                if self.is_stopping() {
                    return Some(None);
                }
                self.behind.borrow_mut().pop_front().map(Some)
            };
            let Some(log) = self.behind_wake.until(next).await else { return };
            log.in_behind.set(false);
            if let Err(error) = log.write_behind(None).await {
                // The file of a deleted log may have gone under the write.
                if !log.deleted.get() {
                    self.fail(&error);
                    return;
                }
            }
        }
    }

    /// Too much stands in memory: write what can be written. What cannot, because it is less
    /// than a block per log, is parked by a checkpoint.
    pub(crate) fn relieve_pending(&self) {
        let logs: Vec<Rc<Log<R>>> = self.changed.borrow().clone();
        let mut writable = 0;
        for log in logs {
            let bytes = log.behind_bytes();
            if bytes > 0 {
                writable += bytes;
                self.write_behind_soon(&log);
            }
        }
        let inflight = self.inflight_bytes.get();
        if 2 * (writable + inflight) < self.stats.pending_bytes.get() {
            self.want_checkpoint();
        }
    }
}

/// One write to be made.
struct Piece<B> {
    range: (u64, u64),
    buffer: Rc<B>,
}

impl<R: Runtime> Log<R> {
    /// Write every whole block that stands only in memory; with `park`, also the unfinished block
    /// that this position of this segment lies in, zero-padded behind it, unless the segment has
    /// been sealed meanwhile. Writes by others that were under way stay under way.
    pub(crate) async fn write_behind(
        self: &Rc<Self>,
        park: Option<(Offset, u64)>,
    ) -> Result<(), StorageError> {
        let _turn = self.behind_turn.turn().await;
        loop {
            self.collect_ranges();
            let park_block = park.map(|(_, end)| block_floor(end));
            if let Some(gate) = self.closed_gate(park_block) {
                // The bytes in the gated block are not flushed in the journal yet.
                self.core.flushed(gate).await?;
                continue;
            }
            // File and pieces are taken in one step: the segment may be another one next time.
            let (file, pieces) = self.take_pieces();
            if pieces.is_empty() {
                break;
            }
            let open = self.core.open_segment(&file).await?;
            let writes = pieces.into_iter().map(|piece| self.write_piece(&file, &open, piece));
            try_join_all(writes).await?;
        }
        match park {
            Some((base, end)) => self.park(base, end).await,
            None => Ok(()),
        }
    }

    async fn write_piece(
        self: &Rc<Self>,
        file: &Rc<SegmentFile<R>>,
        open: &<R::Disk as Disk>::File,
        piece: Piece<<R::Disk as Disk>::Buffer>,
    ) -> Result<(), StorageError> {
        let (start, end) = piece.range;
        let kept = Rc::clone(&piece.buffer);
        open.write_at(start, piece.buffer).await.map_err(|e| self.core.offline(e))?;
        self.core.memory.give_back(kept);
        self.core.note_write(file);
        add(&self.core.stats.behind_bytes, end - start);
        sub(&self.core.inflight_bytes, end - start);
        self.write_completed(piece.range);
        Ok(())
    }

    /// From here on the unfinished last block counts as parked: its acknowledged bytes may soon
    /// have no journal copy, so the next append journals them again before anything writes the
    /// block once more.
    pub(crate) fn mark_parked(&self) {
        let mut state = self.state.borrow_mut();
        let (end, block) = (state.end_position, block_floor(state.end_position));
        if end == block || state.parked == Some(block) {
            return;
        }
        let mut bytes = vec![0; to_usize(end - block)];
        // The block may have been parked before, with its first bytes only in `tail`.
        state.copy_range(block, end, &mut bytes);
        state.keep_tail(Tail { position: block, bytes: bytes.into() });
        state.parked = Some(block);
    }

    /// Everything whole below the end becomes a range to be written.
    fn collect_ranges(&self) {
        let mut state = self.state.borrow_mut();
        let whole = block_floor(state.end_position);
        if state.submitted < whole {
            let range = (state.submitted, whole);
            state.behind.push_back(range);
            state.submitted = whole;
        }
    }

    /// A gate in the way of the ranges to be written (or of the parked block).
    fn closed_gate(&self, park_block: Option<u64>) -> Option<Ordinal> {
        let mut state = self.state.borrow_mut();
        let journal = &self.core.journal;
        state.gates.retain(|gate| !journal.is_flushed(gate.ordinal));
        let wanted = |block: u64| {
            park_block == Some(block)
                || state.behind.iter().any(|(start, end)| (*start..*end).contains(&block))
        };
        state.gates.iter().find(|gate| wanted(gate.block)).map(|gate| gate.ordinal)
    }

    /// Copy out the next few writes.
    fn take_pieces(&self) -> (Rc<SegmentFile<R>>, Vec<Piece<<R::Disk as Disk>::Buffer>>) {
        let mut state = self.state.borrow_mut();
        let file = Rc::clone(&state.active().file);
        if self.deleted.get() {
            return (file, Vec::new());
        }
        let mut pieces = Vec::new();
        while pieces.len() < WRITES_MAX {
            let Some((start, end)) = state.behind.pop_front() else { break };
            let cut = end.min(start + self.core.limits.write_bytes_max);
            if cut < end {
                state.behind.push_front((cut, end));
            }
            let mut buffer = self.core.memory.buffer(to_usize(cut - start));
            state.copy_range(start, cut, buffer.bytes_mut());
            state.inflight.push((start, cut));
            add(&self.core.inflight_bytes, cut - start);
            pieces.push(Piece { range: (start, cut), buffer: Rc::new(buffer) });
        }
        (file, pieces)
    }

    /// Write the unfinished block that `end` lies in, unless more than that is written already.
    async fn park(self: &Rc<Self>, base: Offset, end: u64) -> Result<(), StorageError> {
        let (file, block, buffer) = {
            let mut state = self.state.borrow_mut();
            let block = block_floor(end);
            let is_sealed = state.active().base != base || self.deleted.get();
            if is_sealed || state.landed >= end || state.submitted > block || block == end {
                return Ok(());
            }
            let mut buffer = self.core.memory.buffer(BLOCK);
            let used = to_usize(end - block);
            state.copy_range(block, end, &mut buffer.bytes_mut()[..used]);
            buffer.bytes_mut()[used..].fill(0);
            state.parking = Some(block);
            (Rc::clone(&state.active().file), block, Rc::new(buffer))
        };
        let open = self.core.open_segment(&file).await?;
        let kept = Rc::clone(&buffer);
        open.write_at(block, buffer).await.map_err(|e| self.core.offline(e))?;
        self.core.memory.give_back(kept);
        self.core.note_write(&file);
        add(&self.core.stats.behind_bytes, BLOCK_U64);
        self.park_completed(end);
        Ok(())
    }
}
