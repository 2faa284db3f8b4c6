//! A produced batch on its way into the log.
//!
//! Batches of one partition are taken strictly in the order in which [`Partition::append`] was
//! called. When the log has no room (its write-behind memory is full, or space must be
//! allocated first), batches queue here and one task brings them in as room appears; the queue
//! is bounded by the bytes that connections may have in flight.

use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use futures_channel::oneshot;

use crate::model::{Offset, TimestampMs};
use crate::runtime::{Queue, Runtime};
use crate::storage::{Append, AppendError, StorageError};

use super::producers::{Admission, Refusal, Sequenced};
use super::waiters::{Need, ProduceWaiter};
use super::{Closed, Partition, State};

/// What a producer asks to be promised (`acks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// 0: no answer.
    None,
    /// 1: answered when written.
    Leader,
    /// -1: answered when flushed (and, once replicated, on every in-sync replica).
    All,
}

/// A validated batch.
#[derive(Clone, Debug)]
pub struct ProduceBatch {
    /// As it came from the wire.
    pub bytes: Bytes,
    /// Producer fields and number of records.
    pub sequenced: Sequenced,
    /// Largest timestamp that can be believed.
    pub max_timestamp: TimestampMs,
    /// Time stamped by the broker (LogAppendTime), else -1.
    pub log_append_time_ms: TimestampMs,
}

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// As in [`ProduceBatch`].
    pub log_append_time_ms: TimestampMs,
    /// The batch had been appended before; these are the original's offsets.
    pub duplicate: bool,
}

/// Why a batch was not appended or not made durable.
#[derive(Clone, Debug)]
pub enum AppendFailure {
    /// The producer's sequence or epoch does not fit.
    Refused(Refusal),
    /// The topic was deleted.
    Deleted,
    /// The log cannot take it.
    Storage(StorageError),
}

impl From<Closed> for AppendFailure {
    fn from(why: Closed) -> Self {
        match why {
            Closed::Deleted => Self::Deleted,
            Closed::Storage(error) => Self::Storage(error),
        }
    }
}

/// The end at which a producer hears what became of its batch.
pub type AppendAnswer = oneshot::Receiver<Result<Appended, AppendFailure>>;

/// A batch that waits for room.
pub struct QueuedBatch {
    batch: ProduceBatch,
    acks: Acks,
    answer: oneshot::Sender<Result<Appended, AppendFailure>>,
}

impl QueuedBatch {
    /// It will not be appended.
    pub fn fail(self, why: AppendFailure) {
        let _ = self.answer.send(Err(why));
    }
}

/// Batches that wait for room, oldest first.
#[derive(Default)]
pub struct AppendQueue {
    waiting: VecDeque<QueuedBatch>,
    /// One task brings the waiting batches in.
    draining: bool,
}

impl AppendQueue {
    /// All waiting batches, to be failed.
    pub fn drain(&mut self) -> Vec<QueuedBatch> {
        self.waiting.drain(..).collect()
    }
}

/// What one attempt to append came to.
enum Attempt {
    /// Answered, parked or refused: done with.
    Done,
    /// No room: the batch comes back.
    NoRoom(QueuedBatch),
}

impl<R: Runtime> Partition<R> {
    /// Take `batch`; its place in the order is fixed when this returns. The answer comes when
    /// the batch is as durable as `acks` promises, at once for [`Acks::None`].
    pub fn append(self: &Rc<Self>, batch: ProduceBatch, acks: Acks) -> AppendAnswer {
        let (answer, heard) = oneshot::channel();
        let queued = QueuedBatch { batch, acks, answer };
        let mut queue = self.queue.borrow_mut();
        if !queue.waiting.is_empty() || queue.draining {
            queue.waiting.push_back(queued);
            return heard;
        }
        if let Attempt::NoRoom(queued) = self.attempt(queued) {
            queue.waiting.push_back(queued);
            queue.draining = true;
            drop(queue);
            let partition = self.clone();
            self.runtime.spawn(Queue::Log, async move { partition.bring_in().await });
        }
        heard
    }

    /// Bring waiting batches into the log as room appears, until none waits.
    async fn bring_in(self: Rc<Self>) {
        loop {
            let (bytes, records, next) = {
                let mut queue = self.queue.borrow_mut();
                match queue.waiting.pop_front() {
                    Some(next) => {
                        let records = i64::from(next.batch.sequenced.records);
                        (next.batch.bytes.len(), records, next)
                    }
                    None => {
                        queue.draining = false;
                        return;
                    }
                }
            };
            let mut waiting = Some(next);
            while let Some(batch) = waiting.take() {
                match self.attempt(batch) {
                    Attempt::Done => {}
                    Attempt::NoRoom(batch) => match self.log.room(bytes, records).await {
                        Ok(()) => waiting = Some(batch),
                        // A full disk refuses this batch; the next one may find space again.
                        Err(error) => batch.fail(AppendFailure::Storage(error)),
                    },
                }
            }
        }
    }

    /// One attempt to append, without waiting.
    fn attempt(&self, queued: QueuedBatch) -> Attempt {
        let mut state = self.state.borrow_mut();
        if let Some(why) = &state.closed {
            let why = why.clone();
            drop(state);
            queued.fail(why.into());
            return Attempt::Done;
        }
        match state.producers.admit(&queued.batch.sequenced) {
            Err(refusal) => {
                drop(state);
                queued.fail(AppendFailure::Refused(refusal));
                return Attempt::Done;
            }
            Ok(Admission::Duplicate(original)) => {
                let log_append_time_ms = match queued.batch.log_append_time_ms {
                    -1 => -1,
                    // When the original was stamped, not now.
                    _ => original.timestamp_ms,
                };
                let appended = Appended {
                    base_offset: original.base_offset,
                    log_append_time_ms,
                    duplicate: true,
                };
                let end = original.last_offset + 1;
                let mut need = state.need(queued.acks);
                if need == Need::Written && state.marks.owes_flush(end) {
                    // The original was promised more than this retry asks for.
                    need = Need::Flushed;
                }
                if need == Need::Flushed && state.marks.flushed() < end {
                    // Nobody else may: the original may have been promised less than this.
                    self.log.flush_through(end);
                }
                state.answer_when(need, queued.acks, end, appended, queued.answer);
                return Attempt::Done;
            }
            Ok(Admission::New) => {}
        }
        let sequenced = queued.batch.sequenced;
        let mut need = state.need(queued.acks);
        let messages = state.messages_since_flush.saturating_add(i64::from(sequenced.records));
        if messages >= state.flush_messages {
            need = Need::Flushed;
        }
        let base_offset = self.log.end_offset();
        let end = base_offset + i64::from(sequenced.records);
        let append = Append {
            bytes: queued.batch.bytes.clone(),
            base_offset,
            last_offset: end - 1,
            leader_epoch: self.leader_epoch.get(),
            max_timestamp: queued.batch.max_timestamp,
            flush: need == Need::Flushed,
        };
        match self.log.append(&append) {
            Ok(()) => {}
            Err(AppendError::NoRoom) => return Attempt::NoRoom(queued),
            Err(AppendError::Storage(error)) => {
                drop(state);
                queued.fail(AppendFailure::Storage(error));
                return Attempt::Done;
            }
        }
        let now = self.runtime.wall_ms();
        state.producers.appended(&sequenced, base_offset, queued.batch.max_timestamp, now);
        if need == Need::Flushed {
            state.marks.promise_flush(base_offset, end);
            state.messages_since_flush = 0;
        } else {
            state.messages_since_flush = messages;
        }
        let appended = Appended {
            base_offset,
            log_append_time_ms: queued.batch.log_append_time_ms,
            duplicate: false,
        };
        state.answer_when(need, queued.acks, end, appended, queued.answer);
        Attempt::Done
    }
}

impl State {
    /// What `acks` means under this partition's durability setting.
    fn need(&self, acks: Acks) -> Need {
        match acks {
            Acks::All if !self.relaxed => Need::Flushed,
            _ => Need::Written,
        }
    }

    /// Answer now if the promise is kept already or none was asked for, else park.
    fn answer_when(
        &mut self,
        need: Need,
        acks: Acks,
        end: Offset,
        appended: Appended,
        answer: oneshot::Sender<Result<Appended, AppendFailure>>,
    ) {
        let kept = match need {
            Need::Written => self.marks.written() >= end,
            Need::Flushed => self.marks.flushed() >= end,
        };
        if kept || acks == Acks::None {
            let _ = answer.send(Ok(appended));
        } else {
            self.produce_waiters.park(need, ProduceWaiter { end, appended, answer });
        }
    }
}
