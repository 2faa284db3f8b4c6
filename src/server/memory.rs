//! Memory for frames and for answers, one budget of each per shard.
//!
//! A frame leases memory as its bytes arrive, never for the length it announces. When the budget
//! is used up, frames wait; so that frames that are half received cannot starve each other for
//! ever, one of them at a time is favoured and may exceed the budget until it has been answered.
//! Memory is therefore bounded by the budget plus one frame of the largest size.
//!
//! An answer's size is known only when it has been read: a fetch waits for room before it reads,
//! then leases what it read without waiting. Beyond the budget there is at most one answer for
//! each fetch that was let in while there was room.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use futures_channel::oneshot;

/// The budget of one shard.
#[derive(Debug)]
pub struct FrameMemory {
    max: usize,
    used: Cell<usize>,
    is_favour_taken: Cell<bool>,
    waiting: RefCell<VecDeque<oneshot::Sender<()>>>,
}

/// What one frame has leased; given back when dropped.
#[derive(Debug)]
pub struct Lease {
    memory: Rc<FrameMemory>,
    bytes: usize,
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

    /// A lease of nothing yet.
    pub fn lease(self: &Rc<Self>) -> Lease {
        Lease { memory: self.clone(), bytes: 0, is_favoured: false }
    }

    /// Wait until the budget is not used up.
    pub async fn room(&self) {
        while self.used.get() >= self.max {
            let (room, heard) = oneshot::channel();
            self.waiting.borrow_mut().push_back(room);
            let _ = heard.await;
        }
    }

    /// Lease `bytes` at once, beyond the budget if need be.
    pub fn lease_now(self: &Rc<Self>, bytes: usize) -> Lease {
        self.used.set(self.used.get() + bytes);
        Lease { memory: self.clone(), bytes, is_favoured: false }
    }

    /// Bytes leased now.
    pub fn used(&self) -> usize {
        self.used.get()
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
    /// Lease until the lease holds `bytes`, waiting while the budget is used up.
    pub async fn grow_to(&mut self, bytes: usize) {
        while bytes > self.bytes {
            let more = bytes - self.bytes;
            let memory = &self.memory;
            if !self.is_favoured && memory.used.get() + more > memory.max {
                if memory.is_favour_taken.replace(true) {
                    let (room, heard) = oneshot::channel();
                    memory.waiting.borrow_mut().push_back(room);
                    let _ = heard.await;
                    continue;
                }
                self.is_favoured = true;
            }
            memory.used.set(memory.used.get() + more);
            self.bytes = bytes;
        }
    }

    /// Whether this frame exceeds the budget while others wait for it.
    pub fn is_favoured(&self) -> bool {
        self.is_favoured
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.is_favoured {
            self.memory.is_favour_taken.set(false);
        }
        if self.bytes > 0 || self.is_favoured {
            self.memory.release(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn answers_wait_for_room_but_not_for_their_own_size() {
        let memory = FrameMemory::new(100);
        memory.room().now_or_never().expect("nothing is used");
        let answer = memory.lease_now(1000);
        assert!(memory.room().now_or_never().is_none());
        drop(answer);
        memory.room().now_or_never().expect("all was given back");
    }

    #[test]
    fn one_frame_at_a_time_may_exceed_the_budget_and_the_others_follow() {
        let memory = FrameMemory::new(100);
        let mut first = memory.lease();
        let mut second = memory.lease();
        let mut third = memory.lease();
        first.grow_to(60).now_or_never().unwrap();
        second.grow_to(60).now_or_never().expect("the first to find no room is favoured");
        assert!(third.grow_to(10).now_or_never().is_none(), "the next waits");
        second.grow_to(500).now_or_never().expect("a favoured frame makes progress");
        assert_eq!(memory.used(), 560);
        drop(second);
        third.grow_to(10).now_or_never().expect("room again");
        drop((first, third));
        assert_eq!(memory.used(), 0);
        assert!(!memory.is_favour_taken.get());
    }
}
