//! Waiting on one thread: a list of wakers and a condition that is looked at again.
//!
//! Owns no state of its own: whoever changes what a condition reads must call
//! [`WaitList::wake_all`]. A waiter that is dropped leaves a stale waker behind until the next
//! wake, which costs one spurious poll at most.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use futures_util::future::select;

/// Tasks of one thread that wait for a condition to become true.
#[derive(Default)]
pub struct WaitList {
    wakers: RefCell<Vec<Waker>>,
}

impl WaitList {
    /// Wait until `ready` gives a value; it is asked once now and once after every wake.
    pub fn until<'a, T, F>(&'a self, mut ready: F) -> impl Future<Output = T> + use<'a, T, F>
    where
        F: FnMut() -> Option<T>,
    {
        poll_fn(move |context| {
            if let Some(value) = ready() {
                return Poll::Ready(value);
            }
            let mut wakers = self.wakers.borrow_mut();
            if !wakers.iter().any(|known| known.will_wake(context.waker())) {
                wakers.push(context.waker().clone());
            }
            Poll::Pending
        })
    }

    /// Let every waiter look at its condition again.
    pub fn wake_all(&self) {
        if self.wakers.borrow().is_empty() {
            return;
        }
        // Taken out first: a waker may run code that waits on this list again.
        let wakers = std::mem::take(&mut *self.wakers.borrow_mut());
        for waker in wakers {
            waker.wake();
        }
    }
}

/// The earliest of the times that something is due at, for the task that waits for it.
pub struct Earliest<T> {
    at: Cell<Option<T>>,
    moved: WaitList,
}

impl<T> Default for Earliest<T> {
    fn default() -> Self {
        Self { at: Cell::new(None), moved: WaitList::default() }
    }
}

impl<T: Copy + Ord> Earliest<T> {
    /// When it is; `None` while nothing is due.
    pub fn get(&self) -> Option<T> {
        self.at.get()
    }

    /// Something is due at `at`.
    pub fn expect(&self, at: T) {
        if self.at.get().is_none_or(|known| at < known) {
            self.at.set(Some(at));
            self.moved.wake_all();
        }
    }

    /// Nothing is due any more.
    pub fn clear(&self) {
        self.at.set(None);
    }

    /// Wait until it is another time than `known`, or `sleep` is over.
    pub async fn change(&self, known: Option<T>, sleep: Option<impl Future<Output = ()>>) {
        let changed = pin!(self.moved.until(|| (self.at.get() != known).then_some(())));
        match sleep {
            Some(sleep) => {
                select(pin!(sleep), changed).await;
            }
            None => changed.await,
        }
    }
}

/// Let everybody else who can go on go first.
pub async fn step_aside() {
    let mut is_second = false;
    poll_fn(|context| {
        if std::mem::replace(&mut is_second, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Cheap things, of about a microsecond each, that are done before others go first.
pub const ITEMS_AT_ONCE: usize = 1000;

/// How often long work lets others go first: whatever takes time in proportion to what somebody
/// asked for has one, and says what it did between two independent things.
///
/// Anything may have happened while [`Pace::worked`] waited.
#[derive(Debug)]
pub struct Pace {
    every: usize,
    done: usize,
}

impl Pace {
    /// After each `every` units of work, which should take about a millisecond.
    pub fn new(every: usize) -> Self {
        Self { every, done: 0 }
    }

    /// So much was done: step aside when it is time to.
    #[inline]
    pub async fn worked(&mut self, units: usize) {
        self.done += units;
        if self.done >= self.every {
            self.done = 0;
            step_aside().await;
        }
    }
}

/// A lock that tasks of one thread wait for in no particular order.
#[derive(Clone, Default)]
pub struct TurnLock {
    inner: Rc<TurnLockState>,
}

#[derive(Default)]
struct TurnLockState {
    taken: Cell<bool>,
    waiting: WaitList,
}

/// Possession of a [`TurnLock`]; dropping it passes the turn on.
pub struct Turn {
    inner: Rc<TurnLockState>,
}

impl TurnLock {
    /// Wait for the turn.
    pub async fn turn(&self) -> Turn {
        self.inner.waiting.until(|| (!self.inner.taken.replace(true)).then_some(())).await;
        Turn { inner: Rc::clone(&self.inner) }
    }

    /// Whether somebody has the turn now.
    pub fn is_taken(&self) -> bool {
        self.inner.taken.get()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.inner.taken.set(false);
        self.inner.waiting.wake_all();
    }
}

/// What comes of a future that only steps aside, and how often it has to be asked: a time would
/// say more of the machine.
#[cfg(test)]
pub(crate) fn in_turns<T>(future: impl Future<Output = T>) -> (usize, T) {
    let mut future = pin!(future);
    let mut cx = std::task::Context::from_waker(Waker::noop());
    let mut turns = 0;
    loop {
        turns += 1;
        if let Poll::Ready(done) = future.as_mut().poll(&mut cx) {
            return (turns, done);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(future: impl Future<Output = ()>) -> usize {
        in_turns(future).0
    }

    #[test]
    fn others_go_first_after_so_much_work_and_not_before() {
        let work = |times: usize, units| async move {
            let mut pace = Pace::new(100);
            for _ in 0..times {
                pace.worked(units).await;
            }
        };
        assert_eq!(turns(work(99, 1)), 1);
        assert_eq!(turns(work(1000, 1)), 11);
        assert_eq!(turns(work(10, 60)), 6, "what is too much for one turn is not saved up");
        assert_eq!(turns(work(5, 1000)), 6);
        assert_eq!(turns(work(1000, 0)), 1);
    }
}
