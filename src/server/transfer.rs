//! How fast a frame must arrive, or an answer leave, that is in others' way.
//!
//! Whoever is under way holds memory until it is through. While nobody else wants that memory it
//! may take its time. While somebody does, it must be through within half a minute, and is asked
//! each second whether it got on by its part: one that gets on is hardly ever cut off, and one
//! that stands still holds up nobody for more than two seconds.

use std::time::{Duration, Instant};

/// How often it is looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks within which everything must be through while others wait.
const LOOKS_MAX: usize = 32;
/// Less than this in one look is too little while others wait, however small the rest.
pub const STEP_BYTES_MIN: usize = 64 * 1024;

/// One frame that arrives or one answer that leaves, and how fast.
#[derive(Debug)]
pub struct Transfer {
    begun: Instant,
    bytes: usize,
    looked: Instant,
    left_then: usize,
    moved: Instant,
}

/// Why to go on no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slow {
    /// Nothing moved for so long.
    Stalled(Duration),
    /// Others waited, and fewer bytes than these moved in one look.
    InTheWay(usize),
}

impl Transfer {
    /// Of `bytes` of which none has moved.
    pub fn new(bytes: usize) -> Self {
        let now = Instant::now();
        Self { begun: now, bytes, looked: now, left_then: bytes, moved: now }
    }

    /// The time until now does not count: it was not the other side's.
    pub fn excuse(&mut self, left: usize) {
        let now = Instant::now();
        (self.looked, self.moved, self.left_then) = (now, now, left);
    }

    /// How long it is under way.
    pub fn age(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Look whether it gets on, if it is time to: `left` bytes have not moved yet.
    ///
    /// # Errors
    /// When it does not: nothing moved for `stalled`, or too little while it `is_in_the_way`.
    pub fn look(
        &mut self,
        stalled: Duration,
        left: impl FnOnce() -> usize,
        is_in_the_way: impl FnOnce() -> bool,
    ) -> Result<(), Slow> {
        self.look_at(Instant::now(), stalled, left, is_in_the_way)
    }

    fn look_at(
        &mut self,
        now: Instant,
        stalled: Duration,
        left: impl FnOnce() -> usize,
        is_in_the_way: impl FnOnce() -> bool,
    ) -> Result<(), Slow> {
        if now < self.looked + LOOK_EVERY {
            return Ok(());
        }
        let left = left();
        let moved = self.left_then.saturating_sub(left);
        (self.looked, self.left_then) = (now, left);
        if moved > 0 {
            self.moved = now;
        } else if now >= self.moved + stalled {
            return Err(Slow::Stalled(stalled));
        }
        let step = (self.bytes / LOOKS_MAX).max(STEP_BYTES_MIN);
        if moved < step && is_in_the_way() { Err(Slow::InTheWay(step)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;
    const STALLED: Duration = Duration::from_secs(30);

    /// Looks at 64 MiB once a second while each second `moves` bytes move: what ended it, when.
    fn watch(moves: usize, is_in_the_way: bool) -> (Option<Slow>, u64) {
        let mut transfer = Transfer::new(64 * MIB);
        let begun = transfer.begun;
        let mut left = 64 * MIB;
        for second in 1..=3600 {
            left = left.saturating_sub(moves);
            if left == 0 {
                return (None, second);
            }
            let now = begun + Duration::from_secs(second);
            if let Err(slow) = transfer.look_at(now, STALLED, || left, || is_in_the_way) {
                return (Some(slow), second);
            }
        }
        (None, 3600)
    }

    #[test]
    fn who_is_in_nobodys_way_may_take_its_time_but_not_stand_still() {
        assert_eq!(watch(64 * 1024, false), (None, 1024));
        assert_eq!(watch(0, false), (Some(Slow::Stalled(STALLED)), 30));
    }

    #[test]
    fn who_is_in_the_way_gets_on_or_is_cut_off_at_once() {
        assert_eq!(watch(0, true), (Some(Slow::InTheWay(2 * MIB)), 1));
        assert_eq!(watch(2 * MIB - 1, true), (Some(Slow::InTheWay(2 * MIB)), 1));
        assert_eq!(watch(2 * MIB, true), (None, 32));
    }

    #[test]
    fn a_look_is_taken_once_a_second_and_not_of_time_that_is_excused() {
        let mut transfer = Transfer::new(MIB);
        let now = transfer.begun + LOOK_EVERY / 2;
        let never = || -> usize { panic!("not yet") };
        transfer.look_at(now, STALLED, never, || true).expect("too early to tell");
        transfer.looked = now - 2 * LOOK_EVERY;
        transfer.excuse(MIB);
        transfer.look(STALLED, never, || true).expect("it waited for us");
    }
}
