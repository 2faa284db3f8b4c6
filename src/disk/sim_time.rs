//! Simulated time and chance: what the simulated disk and the simulated runtime share.
//!
//! Time moves only when the runtime says so; chance comes from one seed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// A small generator (SplitMix64): the only source of chance in a simulation.
#[derive(Clone, Debug)]
pub struct SimRandom(u64);

impl SimRandom {
    /// Begin with a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end` (0 when `end` is 0).
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.bits() % end }
    }
}

/// What all parts of one world share.
pub(crate) struct World {
    pub(crate) now: Cell<Duration>,
    pub(crate) random: RefCell<SimRandom>,
    timers: RefCell<BTreeMap<(Duration, u64), Waker>>,
    timer_count: Cell<u64>,
    pub(crate) halted: Cell<bool>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now: Cell::new(Duration::ZERO),
            random: RefCell::new(SimRandom::new(seed)),
            timers: RefCell::default(),
            timer_count: Cell::new(0),
            halted: Cell::new(false),
        }
    }

    /// The next timer in order of time, if any is set.
    pub(crate) fn pop_timer(&self) -> Option<(Duration, Waker)> {
        self.timers.borrow_mut().pop_first().map(|((at, _), waker)| (at, waker))
    }

    pub(crate) fn sleep(self: &Rc<Self>, duration: Duration) -> Sleep {
        Sleep { world: Rc::clone(self), until: self.now.get() + duration, number: None }
    }
}

/// Completes when the world's time has come.
pub(crate) struct Sleep {
    world: Rc<World>,
    until: Duration,
    number: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.world.now.get() >= self.until {
            return Poll::Ready(());
        }
        let number = self.number.unwrap_or_else(|| {
            let number = self.world.timer_count.get();
            self.world.timer_count.set(number + 1);
            number
        });
        self.number = Some(number);
        let key = (self.until, number);
        self.world.timers.borrow_mut().insert(key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.world.timers.borrow_mut().remove(&(self.until, number));
        }
    }
}
