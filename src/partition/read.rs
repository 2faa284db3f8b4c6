//! What readers may see: everything from the log start to the high watermark.

use std::rc::Rc;

use crate::model::{LeaderEpoch, Offset};
use crate::runtime::Runtime;
use crate::storage::{ReadBatches, ReadError};

use super::waiters::FetchWaiter;
use super::{Closed, Partition};

/// What a read found, with the marks it was read under.
#[derive(Clone, Debug)]
pub struct ReadOutcome {
    /// Whole batches; empty when there is nothing new.
    pub batches: ReadBatches,
    /// The mark the reader may not pass.
    pub high_watermark: Offset,
    /// First offset that may be read.
    pub log_start: Offset,
    /// What was left below the mark.
    pub lag: Lag,
}

/// How far below the high watermark a read stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lag {
    /// It reached the mark.
    None,
    /// Its limit of bytes ended it.
    SameSegment,
    /// The same, and a segment has ended since: the reader is far behind.
    OlderSegment,
}

/// Why a read was refused.
#[derive(Clone, Debug)]
pub enum ReadRefusal {
    /// The offset is outside the log; the marks tell where it is.
    OutOfRange {
        /// First offset that may be read.
        log_start: Offset,
        /// The end of what may be read.
        high_watermark: Offset,
    },
    /// The reader's leader epoch is older than ours (FENCED_LEADER_EPOCH).
    FencedEpoch,
    /// The reader's leader epoch is newer than ours (UNKNOWN_LEADER_EPOCH).
    UnknownEpoch,
    /// The topic was deleted.
    Deleted,
    /// The bytes could not be read.
    Storage(crate::storage::StorageError),
}

impl<R: Runtime> Partition<R> {
    /// Compare a request's `current_leader_epoch` (-1: not stated) with ours (KIP-320).
    ///
    /// # Errors
    /// Says on which side the difference is.
    pub fn check_epoch(&self, epoch: LeaderEpoch) -> Result<(), ReadRefusal> {
        match epoch {
            -1 => Ok(()),
            e if e < self.leader_epoch() => Err(ReadRefusal::FencedEpoch),
            e if e > self.leader_epoch() => Err(ReadRefusal::UnknownEpoch),
            _ => Ok(()),
        }
    }

    /// Whole batches from the one that holds `from`, at most `bytes_max` bytes, one batch
    /// whatever its size when `at_least_one` (KIP-74).
    ///
    /// # Errors
    /// When `from` is outside the log or its bytes cannot be read.
    pub async fn read(
        self: &Rc<Self>,
        from: Offset,
        bytes_max: usize,
        at_least_one: bool,
    ) -> Result<ReadOutcome, ReadRefusal> {
        let (high_watermark, log_start) = self.readable()?;
        let outcome = |batches: ReadBatches| {
            let lag = match batches.is_cut {
                false => Lag::None,
                true if from < self.log.active_segment() => Lag::OlderSegment,
                true => Lag::SameSegment,
            };
            ReadOutcome { batches, high_watermark, log_start, lag }
        };
        if from >= self.log.end_offset() {
            self.check_end()?;
        }
        if from < log_start || from > self.log.end_offset() {
            return Err(ReadRefusal::OutOfRange { log_start, high_watermark });
        }
        if from >= high_watermark || (bytes_max == 0 && !at_least_one) {
            let is_cut = from < high_watermark;
            return Ok(outcome(ReadBatches { is_cut, ..Default::default() }));
        }
        let refuse = |error| match error {
            // The start may have risen (retention) since it was looked at.
            ReadError::OutOfRange => {
                ReadRefusal::OutOfRange { log_start: self.log.start_offset(), high_watermark }
            }
            ReadError::Storage(error) => ReadRefusal::Storage(error),
        };
        let cached = self.log.read_cached(from, high_watermark, bytes_max, at_least_one);
        let batches = match cached.map_err(refuse)? {
            Some(batches) => batches,
            None => self
                .log
                .read(from, high_watermark, bytes_max, at_least_one)
                .await
                .map_err(refuse)?,
        };
        Ok(outcome(batches))
    }

    /// (high watermark, log start).
    ///
    /// # Errors
    /// When the topic is gone. A log that takes no appends is still read.
    pub fn readable(&self) -> Result<(Offset, Offset), ReadRefusal> {
        let state = self.state.borrow();
        if let Some(Closed::Deleted) = state.closed {
            return Err(ReadRefusal::Deleted);
        }
        Ok((state.marks.high_watermark(), self.log.start_offset()))
    }

    /// Whether it is known where this log ends. Of one that is offline as damaged it is not:
    /// whoever heard of an end below its own position would begin anew (Kafka's consumers reset).
    ///
    /// # Errors
    /// Says why it is offline.
    pub fn check_end(&self) -> Result<(), ReadRefusal> {
        self.log.broken().map_or(Ok(()), |why| Err(ReadRefusal::Storage(why)))
    }

    /// Park `waiter` until the high watermark passes `seen`; fires at once if it has already, or if
    /// the topic is gone. A log that takes no appends is waited for in vain, but not in a circle.
    pub fn park_fetch(&self, seen: Offset, waiter: &Rc<FetchWaiter>) {
        let mut state = self.state.borrow_mut();
        let passed =
            state.marks.high_watermark() > seen || matches!(state.closed, Some(Closed::Deleted));
        if passed {
            drop(state);
            waiter.fire();
        } else {
            state.fetch_waiters.park(waiter.clone());
        }
    }
}
