//! Memory for frames and for answers, one budget of each per shard.
//!
//! A frame leases memory as its bytes arrive, never for the length it announces. When the budget
//! is used up, frames wait; so that frames that are half received cannot starve each other for
//! ever, one of them at a time is favoured: it has memory of its own beside the budget until it
//! has been answered. A part of the budget is for small frames alone: whatever large ones do, the
//! many small requests that make up a broker's day go past them. Memory is therefore bounded by
//! the budget plus one frame of the largest size.
//!
//! An answer's size is known only when it has been read: a fetch waits for room before it reads,
//! then leases what it read without waiting. It may read a quarter of what is free, so that a few
//! connections never use up the budget. Beyond it there is at most one answer for each fetch that
//! was let in while there was room, and one for each connection that asked for something else.
//!
//! Who holds memory that others wait for must get on: see [`super::transfer`].

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use futures_channel::oneshot;

/// A frame of at most this size is small.
pub const SMALL_BYTES: usize = 64 * 1024;
/// The part of the budget that only small frames may use.
const SMALL_SHARE: usize = 8;
/// The part of what is free that one fetch may read.
const ANSWER_SHARE: usize = 4;

/// The budget of one shard.
#[derive(Debug)]
pub struct FrameMemory {
    max: usize,
    used: Cell<usize>,
    is_favour_taken: Cell<bool>,
    waiting: RefCell<VecDeque<oneshot::Sender<()>>>,
}

/// What one frame or answer has leased; given back when dropped.
#[derive(Debug)]
pub struct Lease {
    memory: Rc<FrameMemory>,
    bytes: usize,
    /// How much of the budget may be in use when this has grown.
    most: usize,
    is_favoured: bool,
}

impl FrameMemory {
    /// A budget of `max` bytes.
    pub fn new(max: usize) -> Rc<Self> {
        Rc::new(Self {
            max,
            used: Cell::new(0),
            is_favour_taken: Cell::new(false),
            waiting: RefCell::default(),
        })
    }

    /// A lease of nothing yet, for a frame of `length` bytes.
    pub fn lease(self: &Rc<Self>, length: usize) -> Lease {
        let is_small = length <= SMALL_BYTES;
        let most = if is_small { self.max } else { self.max - self.max / SMALL_SHARE };
        Lease { memory: self.clone(), bytes: 0, most, is_favoured: false }
    }

    /// Wait until the budget is not used up.
    pub async fn room(&self) {
        while self.used.get() >= self.max {
            self.wait().await;
        }
    }

    /// Bytes that one fetch may read now.
    pub fn share(&self) -> usize {
        (self.max.saturating_sub(self.used.get()) / ANSWER_SHARE).max(1)
    }

    /// Whether somebody waits, or the next one would have to.
    pub fn is_wanted(&self) -> bool {
        self.used.get() >= self.max || self.waiting.borrow().iter().any(|w| !w.is_canceled())
    }

    /// Lease `bytes` at once, beyond the budget if need be.
    pub fn lease_now(self: &Rc<Self>, bytes: usize) -> Lease {
        self.used.set(self.used.get() + bytes);
        Lease { memory: self.clone(), bytes, most: self.max, is_favoured: false }
    }

    /// Bytes of the budget that are leased now.
    pub fn used(&self) -> usize {
        self.used.get()
    }

    async fn wait(&self) {
        let (room, heard) = oneshot::channel();
        self.waiting.borrow_mut().push_back(room);
        let _ = heard.await;
    }

    fn release(&self, bytes: usize) {
        self.used.set(self.used.get() - bytes);
        // Everybody looks again, in order; those who still find no room queue again.
        for waiting in self.waiting.borrow_mut().drain(..) {
            let _ = waiting.send(());
        }
    }
}

impl Lease {
    /// Lease until the lease holds `bytes`, waiting while the budget is used up. Whether it had to
    /// wait.
    pub async fn grow_to(&mut self, bytes: usize) -> bool {
        let mut has_waited = false;
        while bytes > self.bytes {
            let more = bytes - self.bytes;
            let memory = &self.memory;
            if self.is_favoured {
                self.bytes = bytes;
            } else if memory.used.get() + more <= self.most {
                memory.used.set(memory.used.get() + more);
                self.bytes = bytes;
            } else if memory.is_favour_taken.replace(true) {
                memory.wait().await;
                has_waited = true;
            } else {
                // From here on beside the budget; what it had is free for others.
                self.is_favoured = true;
                memory.release(self.bytes);
            }
        }
        has_waited
    }

    /// Whether somebody wants memory like what this holds.
    pub fn is_in_the_way(&self) -> bool {
        self.bytes > 0 && self.memory.is_wanted()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.is_favoured {
            self.memory.is_favour_taken.set(false);
            self.memory.release(0);
        } else if self.bytes > 0 {
            self.memory.release(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const SMALL: usize = 10;
    const LARGE: usize = SMALL_BYTES + 1;

    #[test]
    fn answers_wait_for_room_but_not_for_their_own_size() {
        let memory = FrameMemory::new(100);
        memory.room().now_or_never().expect("nothing is used");
        let answer = memory.lease_now(1000);
        assert!(memory.room().now_or_never().is_none());
        assert!(answer.is_in_the_way());
        drop(answer);
        memory.room().now_or_never().expect("all was given back");
    }

    #[test]
    fn a_few_fetches_do_not_use_up_what_there_is() {
        let memory = FrameMemory::new(1 << 20);
        let answers: Vec<_> = (0..14).map(|_| memory.lease_now(memory.share())).collect();
        memory.room().now_or_never().expect("something is left for the next one");
        assert!(!answers[0].is_in_the_way());
        assert_eq!(answers[0].bytes, 1 << 18);
        assert_eq!(FrameMemory::new(0).share(), 1, "the first batch comes whatever its size");
    }

    #[test]
    fn one_frame_at_a_time_may_exceed_the_budget_and_the_others_follow() {
        let memory = FrameMemory::new(100);
        let mut first = memory.lease(SMALL);
        let mut second = memory.lease(LARGE);
        let mut third = memory.lease(LARGE);
        assert_eq!(first.grow_to(60).now_or_never(), Some(false));
        assert!(!first.is_in_the_way(), "nobody waits");
        second.grow_to(60).now_or_never().expect("the first to find no room is favoured");
        assert_eq!(memory.used(), 60, "beside the budget");
        assert!(third.grow_to(50).now_or_never().is_none(), "the next waits");
        second.grow_to(500).now_or_never().expect("a favoured frame makes progress");
        let mut waiting = Box::pin(third.grow_to(50));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(first.is_in_the_way() && second.is_in_the_way());
        drop(second);
        assert_eq!(waiting.as_mut().now_or_never(), Some(true), "favoured in its turn");
        drop(waiting);
        drop((first, third));
        assert_eq!(memory.used(), 0);
        assert!(!memory.is_favour_taken.get() && !memory.is_wanted());
    }

    #[test]
    fn small_frames_go_past_large_ones_that_have_taken_what_they_may() {
        let memory = FrameMemory::new(80);
        let mut large: Vec<_> = (0..3).map(|_| memory.lease(LARGE)).collect();
        assert_eq!(large[0].grow_to(70).now_or_never(), Some(false));
        assert_eq!(large[1].grow_to(1000).now_or_never(), Some(false), "favoured");
        assert!(large[2].grow_to(1).now_or_never().is_none());
        let mut small = memory.lease(SMALL);
        assert_eq!(small.grow_to(SMALL).now_or_never(), Some(false));
        drop((large, small));
        assert_eq!(memory.used(), 0);
    }
}
