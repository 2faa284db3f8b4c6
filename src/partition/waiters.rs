//! Who waits: produces for durability, fetches for bytes.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use futures_channel::oneshot;

use crate::model::Offset;

use super::append::{AppendFailure, Appended};

/// The durability that a produce waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The write has completed: survives kill -9.
    Written,
    /// On the device: survives a power cut.
    Flushed,
}

/// A produce that waits until everything below `end` is as safe as it was promised.
pub struct ProduceWaiter {
    /// One past the batch's last offset.
    pub end: Offset,
    /// What it was promised.
    pub appended: Appended,
    /// Where the answer goes; a dropped receiver (closed connection) is no error.
    pub answer: oneshot::Sender<Result<Appended, AppendFailure>>,
}

impl ProduceWaiter {
    /// Durable as promised.
    pub fn succeed(self) {
        let _ = self.answer.send(Ok(self.appended));
    }

    /// It will never be.
    pub fn fail(self, why: AppendFailure) {
        let _ = self.answer.send(Err(why));
    }
}

/// Waiting produces of one partition; bounded by the requests that may be in flight.
#[derive(Default)]
pub struct ProduceWaiters {
    written: VecDeque<ProduceWaiter>,
    flushed: VecDeque<ProduceWaiter>,
}

impl ProduceWaiters {
    /// Park `waiter`.
    pub fn park(&mut self, need: Need, waiter: ProduceWaiter) {
        let queue = match need {
            Need::Written => &mut self.written,
            Need::Flushed => &mut self.flushed,
        };
        // A retried duplicate waits for an older end: keep the order by end.
        let at = queue.partition_point(|w| w.end <= waiter.end);
        if at == queue.len() {
            queue.push_back(waiter);
        } else {
            queue.insert(at, waiter);
        }
    }

    /// The next one whose promise is kept now.
    pub fn pop_ready(&mut self, written: Offset, flushed: Offset) -> Option<ProduceWaiter> {
        let next = self.written.pop_front_if(|waiter| waiter.end <= written);
        next.or_else(|| self.flushed.pop_front_if(|waiter| waiter.end <= flushed))
    }

    /// All of them, to be failed.
    pub fn drain(&mut self) -> Vec<ProduceWaiter> {
        self.written.drain(..).chain(self.flushed.drain(..)).collect()
    }
}

/// One fetch that waits for any of its partitions to move. Fires once.
pub struct FetchWaiter {
    answer: Cell<Option<oneshot::Sender<()>>>,
}

impl FetchWaiter {
    /// A waiter and the end at which its firing is heard.
    pub fn new() -> (Rc<Self>, oneshot::Receiver<()>) {
        let (answer, heard) = oneshot::channel();
        (Rc::new(Self { answer: Cell::new(Some(answer)) }), heard)
    }

    /// Wake the fetch; later calls do nothing.
    pub fn fire(&self) {
        if let Some(answer) = self.answer.take() {
            let _ = answer.send(());
        }
    }

    /// Whether nobody listens any more.
    fn is_done(&self) -> bool {
        let answer = self.answer.take();
        let done = answer.as_ref().is_none_or(oneshot::Sender::is_canceled);
        self.answer.set(answer);
        done
    }
}

/// Fetches parked at one partition.
#[derive(Default)]
pub struct FetchWaiters {
    parked: Vec<Rc<FetchWaiter>>,
    /// Length at which finished waiters are swept out, so that an idle partition that is polled
    /// for ever does not collect them.
    sweep_at: usize,
}

impl FetchWaiters {
    /// Park `waiter`.
    pub fn park(&mut self, waiter: Rc<FetchWaiter>) {
        if self.parked.len() >= self.sweep_at {
            self.parked.retain(|w| !w.is_done());
            self.sweep_at = (self.parked.len() * 2).max(8);
        }
        self.parked.push(waiter);
    }

    /// All parked fetches, to be woken.
    pub fn take_all(&mut self) -> Vec<Rc<FetchWaiter>> {
        std::mem::take(&mut self.parked)
    }

    /// How many are parked, finished ones included.
    pub fn len(&self) -> usize {
        self.parked.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.parked.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finished_fetch_waiters_are_swept() {
        let mut waiters = FetchWaiters::default();
        for _ in 0..10_000 {
            let (waiter, heard) = FetchWaiter::new();
            waiters.park(waiter);
            drop(heard);
        }
        assert!(waiters.len() <= 16, "{} dead waiters are kept", waiters.len());
    }

    #[test]
    fn produce_waiters_are_ready_in_order_of_their_need() {
        let mut waiters = ProduceWaiters::default();
        let mut park = |need, end| {
            let (answer, _) = oneshot::channel();
            let appended =
                Appended { base_offset: end - 1, log_append_time_ms: -1, duplicate: false };
            waiters.park(need, ProduceWaiter { end, appended, answer });
        };
        park(Need::Written, 5);
        park(Need::Flushed, 6);
        park(Need::Written, 9);
        park(Need::Written, 3); // a retried duplicate
        let mut ends = |written, flushed| {
            let ready = std::iter::from_fn(|| waiters.pop_ready(written, flushed));
            ready.map(|waiter| waiter.end).collect::<Vec<_>>()
        };
        assert_eq!(ends(5, 5), [3, 5]);
        assert_eq!(ends(9, 6), [9, 6]);
        assert!(waiters.drain().is_empty());
    }
}
