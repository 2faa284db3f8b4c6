//! Cleaned segments take the place of others: one entry of the journal, then names.
//!
//! Always true: the cleaned segments are on the device before the entry exists; no name changes
//! before the entry is on the device; no checkpoint falls between the entry and the last name, so
//! a journal that was let go never leaves a name undone. A crash at any point leaves either the
//! old segments or, when recovery has finished the names, the new ones.

use std::rc::Rc;

use super::output::{Output, in_swap, remove_pooled};
use super::round::{CleanError, Source};
use crate::disk::{BLOCK_U64, Disk, DiskError};
use crate::model::Offset;
use crate::runtime::Runtime;
use crate::runtime::wait::Turn;
use crate::storage::entry::{Change, Cleaned, Entry};
use crate::storage::journal::Ordinal;
use crate::storage::segment::Segment;
use crate::storage::stats::{add, sub};
use crate::storage::{Log, StorageError};

impl<R: Runtime> Log<R> {
    /// Put `outputs` (on the device, named in the pool) in the place of `sources`, which lie
    /// behind one another up to `until`.
    pub(crate) async fn swap(
        &self,
        sources: &[Source<R>],
        until: Offset,
        outputs: Vec<Output<R>>,
    ) -> Result<(), CleanError> {
        let core = &self.core;
        let pool = core.layout.pool();
        core.runtime.disk().sync_dir(&pool).await.map_err(|e| core.offline(e))?;
        let _front = self.front_turn.turn().await;
        let cleaned: Vec<Cleaned> = outputs.iter().map(|output| output.cleaned).collect();
        let from = sources.first().map_or(until, |source| source.info.base_offset);
        let entry =
            Entry { log: self.key, change: Change::Swap { from, until, cleaned: cleaned.clone() } };
        // Opened by its new name before it has it, a segment would be the old one.
        let _pinned: Vec<_> = outputs.iter().map(|output| Rc::clone(&output.file)).collect();
        let turn = self.turn_with_room(&entry).await.map_err(CleanError::Storage);
        let begun = turn.and_then(|turn| {
            let replaced = self.replace(sources, outputs, entry);
            replaced.map(|replaced| (turn, replaced)).ok_or(CleanError::Interrupted)
        });
        let (_no_checkpoint, (ordinal, replaced)) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                for cleaned in &cleaned {
                    remove_pooled(core, cleaned.pooled).await;
                }
                return Err(error);
            }
        };
        let kept: u64 = cleaned.iter().map(|cleaned| cleaned.segment.bytes).sum();
        add(&core.stats.cleaned_bytes, replaced.iter().map(|segment| segment.bytes).sum());
        add(&core.stats.cleaned_kept_bytes, kept);
        core.flushed(ordinal).await?;
        self.rename_cleaned(&cleaned).await?;
        self.remove_replaced(replaced, &cleaned).await?;
        self.sync_names().await?;
        self.let_indexes_go(&cleaned);
        Ok(())
    }

    /// Keep checkpoints away, with room in the journal for the entry whatever else happens: a
    /// checkpoint that would make room could not be made.
    async fn turn_with_room(&self, entry: &Entry) -> Result<Turn, StorageError> {
        let core = &self.core;
        let bytes = entry.encoded_len() as u64 + BLOCK_U64;
        loop {
            let turn = core.checkpoint.turn.turn().await;
            if core.journal.has_room(&core.limits, bytes) {
                return Ok(turn);
            }
            drop(turn);
            core.want_checkpoint();
            let has_room = || core.journal.has_room(&core.limits, bytes).then_some(());
            if core.journal.may_grow(&core.limits) {
                core.make_journal_file().await?;
            } else {
                core.wait(has_room).await?;
            }
        }
    }

    /// The swap as everybody here sees it, and its entry, in one step. `None` when the log has
    /// changed so that the cleaning no longer fits: then nothing has happened.
    fn replace(
        &self,
        sources: &[Source<R>],
        outputs: Vec<Output<R>>,
        entry: Entry,
    ) -> Option<(Ordinal, Vec<Segment<R>>)> {
        if self.check().is_err() || self.core.check_open().is_err() {
            return None;
        }
        let mut state = self.state.borrow_mut();
        let first = state.segments.iter().position(|s| Rc::ptr_eq(&s.file, &sources[0].file))?;
        let present = state.segments.get(first..first + sources.len())?;
        let is_same =
            |(segment, source): (&Segment<R>, &Source<R>)| Rc::ptr_eq(&segment.file, &source.file);
        if !present.iter().zip(sources).all(is_same)
            || first + sources.len() >= state.segments.len()
        {
            return None;
        }
        let behind = state.segments[first + sources.len()].base;
        // Their batches in memory, if there still are any, are the oldest: all can be forgotten.
        while state.chunks.front().is_some_and(|chunk| chunk.segment_base < behind) {
            if state.evictable == 0 {
                return None;
            }
            state.evictable -= 1;
            if let Some(chunk) = state.chunks.pop_front() {
                sub(&self.core.stats.cached_bytes, chunk.cost() as u64);
            }
        }
        let fresh: Vec<Segment<R>> = outputs
            .into_iter()
            .map(|output| {
                let record = output.cleaned.segment;
                let mut segment = Segment::new(self.key.id, record.base, output.index);
                (segment.bytes, segment.max_timestamp) = (record.bytes, record.max_timestamp);
                self.core.adopt_open(&segment.file, output.file);
                segment
            })
            .collect();
        let range = first..first + sources.len();
        let replaced: Vec<Segment<R>> = state.segments.splice(range, fresh).collect();
        state.removals += 1;
        drop(state);
        replaced.iter().for_each(|segment| segment.file.is_gone.set(true));
        let bases = sources[0].info.base_offset..behind;
        self.core.readahead.forget_segments(self.key.incarnation, bases);
        self.shared().note_changed();
        Some((self.core.journal.enqueue(entry), replaced))
    }

    /// Give the cleaned segments their names.
    async fn rename_cleaned(&self, cleaned: &[Cleaned]) -> Result<(), StorageError> {
        let core = &self.core;
        let (disk, layout) = (core.runtime.disk(), &core.layout);
        for cleaned in cleaned {
            for (from, to) in layout.cleaned(cleaned.pooled, self.key.id, cleaned.segment.base) {
                match disk.rename(&from, &to).await {
                    Ok(()) => {}
                    // The log was deleted while the entry was on its way.
                    Err(DiskError::NotFound(_)) if self.deleted.get() => return Ok(()),
                    Err(error) => return Err(in_swap(core, error)),
                }
            }
        }
        Ok(())
    }

    /// The names as they are now are on the device.
    async fn sync_names(&self) -> Result<(), StorageError> {
        let core = &self.core;
        for dir in [core.layout.log(self.key.id), core.layout.pool()] {
            match core.runtime.disk().sync_dir(&dir).await {
                Ok(()) => {}
                Err(DiskError::NotFound(_)) if self.deleted.get() => {}
                Err(error) => return Err(in_swap(core, error)),
            }
        }
        Ok(())
    }

    /// Remove the files of segments that no cleaned one has taken the name of.
    async fn remove_replaced(
        &self,
        replaced: Vec<Segment<R>>,
        cleaned: &[Cleaned],
    ) -> Result<(), StorageError> {
        let worth = self.pool_worth();
        for segment in replaced {
            if cleaned.iter().any(|cleaned| cleaned.segment.base == segment.base) {
                segment.file.open.borrow_mut().take();
            } else {
                self.core.remove_segment(segment, worth).await?;
            }
        }
        Ok(())
    }

    /// From now on the indexes can be read from their files again.
    fn let_indexes_go(&self, cleaned: &[Cleaned]) {
        let state = self.state.borrow();
        for cleaned in cleaned {
            let found = state.segments.iter().find(|s| s.base == cleaned.segment.base);
            if let Some(segment) = found {
                self.core.note_loaded(&segment.index, cleaned.segment.bytes);
            }
        }
    }
}
