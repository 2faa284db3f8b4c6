//! Deleting from the front: DeleteRecords, retention by size and time.

use super::entry::{Change, Entry};
use super::segment::{Segment, ages_from, grown_at};
use super::{Log, LogConfig, StorageError};
use crate::disk::DiskError;
use crate::model::{Offset, TimestampMs};
use crate::runtime::Runtime;

impl<R: Runtime> Log<R> {
    /// Raise the start offset, durably (DeleteRecords); whole segments below it go.
    ///
    /// # Errors
    /// When the store is offline, or the offset is above the end.
    pub async fn set_start_offset(&self, offset: Offset) -> Result<(), StorageError> {
        // Of a damaged log, too: it may be what lies below the new start that is damaged.
        self.check_there()?;
        let (start, end) = (self.start_offset(), self.end_offset());
        if offset > end {
            return Err(StorageError::Io(format!(
                "records of log {:?} cannot be deleted up to offset {offset}: it ends at {end}",
                self.key.id
            )));
        }
        if offset <= start {
            return Ok(());
        }
        self.raise_start(offset).await.map(drop)
    }

    /// Roll an expired active segment and delete what retention no longer keeps; how many
    /// segments went.
    ///
    /// # Errors
    /// When the store is offline, or space for the next segment is missing.
    pub async fn apply_retention(
        &self,
        high_watermark: Offset,
        wall_ms: TimestampMs,
    ) -> Result<usize, StorageError> {
        self.check()?;
        self.begin_ageing(wall_ms);
        // What is sealed first: rolling may want space that this gives back.
        let sealed = self.drop_unretained(high_watermark, wall_ms).await?;
        self.roll_expired(high_watermark, wall_ms).await?;
        Ok(sealed + self.drop_unretained(high_watermark, wall_ms).await?)
    }

    /// Let segments age from now on of which nobody noted a timestamp or when they grew: a crash
    /// forgets it of the last appends.
    fn begin_ageing(&self, wall_ms: TimestampMs) {
        let mut state = self.state.borrow_mut();
        let mut is_changed = false;
        let used = state.segments.len() - usize::from(state.end_position == 0);
        for segment in &mut state.segments[..used] {
            if ages_from(segment.max_timestamp).is_none() {
                segment.max_timestamp = grown_at(wall_ms);
                is_changed = true;
            }
        }
        drop(state);
        if is_changed {
            self.shared().note_changed();
        }
    }

    /// Delete the sealed segments that retention does not keep; how many.
    async fn drop_unretained(
        &self,
        high_watermark: Offset,
        wall_ms: TimestampMs,
    ) -> Result<usize, StorageError> {
        match self.retained_from(high_watermark, wall_ms) {
            Some(start) => self.raise_start(start).await,
            None => Ok(0),
        }
    }

    /// Seal the active segment if it is expired.
    ///
    /// # Errors
    /// As [`Log::apply_retention`].
    pub async fn roll_expired(
        &self,
        high_watermark: Offset,
        wall_ms: TimestampMs,
    ) -> Result<(), StorageError> {
        self.check()?;
        if self.active_expired(high_watermark, wall_ms) {
            let log = self.shared();
            let _turn = self.room_turn.turn().await;
            if self.active_expired(high_watermark, wall_ms) {
                log.roll().await?;
            }
        }
        Ok(())
    }

    /// Whether the active segment should not grow any more: older than `segment.ms`, or all of
    /// it beyond retention.
    fn active_expired(&self, high_watermark: Offset, wall_ms: TimestampMs) -> bool {
        let state = self.state.borrow();
        if state.end_position == 0 || state.is_rolling {
            return false;
        }
        let config = &state.config;
        let newest = state.active().max_timestamp;
        let since = state.active_since.or(ages_from(newest));
        let is_old = since.is_some_and(|s| wall_ms.saturating_sub(s) >= config.segment_ms);
        // By size it goes only where nothing is to be kept: the rest is never below the limit.
        let is_beyond = config.retention_bytes == 0 || is_past_retention(config, newest, wall_ms);
        is_old || config.delete && is_beyond && high_watermark >= state.end_offset
    }

    /// The base offset of the first segment that retention keeps, if any goes.
    fn retained_from(&self, high_watermark: Offset, wall_ms: TimestampMs) -> Option<Offset> {
        let state = self.state.borrow();
        if !state.config.delete {
            return None;
        }
        let config = &state.config;
        let sealed = state.segments.len() - 1;
        let mut total: u64 =
            state.segments[..sealed].iter().map(|s| s.bytes).sum::<u64>() + state.end_position;
        let mut start = None;
        for number in 0..sealed {
            let (segment, next) = (&state.segments[number], &state.segments[number + 1]);
            let is_old = is_past_retention(config, segment.max_timestamp, wall_ms);
            let left = total.saturating_sub(segment.bytes);
            let is_too_much = u64::try_from(config.retention_bytes).is_ok_and(|keep| left >= keep);
            if !(is_old || is_too_much) || next.base > high_watermark {
                break;
            }
            total = left;
            start = Some(next.base);
        }
        start
    }

    /// Move the start, then remove the segments below it; how many.
    async fn raise_start(&self, offset: Offset) -> Result<usize, StorageError> {
        let log = self.shared();
        let change = Change::Start { offset };
        let gone: Vec<Segment<R>> = {
            let mut state = self.state.borrow_mut();
            state.start_offset = state.start_offset.max(offset);
            let sealed = &state.segments[1..];
            let below = sealed.iter().take_while(|next| next.base <= offset).count();
            state.removals += 1;
            state.segments.drain(..below).collect()
        };
        log.note_changed();
        let entry = Entry { log: self.key, change };
        let ordinal = self.core.journal.enqueue(entry);
        // Only when this is on the device may the files go: until then recovery needs them.
        self.core.flushed(ordinal).await?;
        let _front = self.front_turn.turn().await;
        let count = gone.len();
        let worth = self.pool_worth();
        for segment in gone {
            self.core.remove_segment(segment, worth).await?;
        }
        Ok(count)
    }
}

/// Whether `retention.ms` keeps no segment with this largest timestamp.
fn is_past_retention(config: &LogConfig, newest: TimestampMs, wall_ms: TimestampMs) -> bool {
    let is_past = |newest| wall_ms.saturating_sub(newest) > config.retention_ms;
    config.retention_ms >= 0 && ages_from(newest).is_some_and(is_past)
}

pub(crate) fn tolerate_missing(result: Result<(), DiskError>) -> Result<(), StorageError> {
    match result {
        Err(DiskError::NotFound(_)) => Ok(()),
        other => Ok(other?),
    }
}
