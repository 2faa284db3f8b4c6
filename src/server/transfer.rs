//! How fast a frame must arrive, or an answer leave, that is in others' way.
//!
//! Whoever is under way holds memory until it is through. While nobody else wants that memory it
//! may take its time. While somebody does, it must be through within half a minute, and is asked
//! each second whether it got on by its part: one that gets on is hardly ever cut off, and one
//! that stands still holds up nobody for more than two seconds.
//!
//! Whatever others want, something must move now and then, and a frame must be whole in a time
//! that follows from its size: else a byte now and then would hold a connection for ever.

use std::time::{Duration, Instant};

/// How often it is looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks within which everything must be through while others wait.
const LOOKS_MAX: usize = 32;
/// Less than this in one look is too little while others wait, however small the rest.
const STEP_BYTES_MIN: usize = 64 * 1024;
/// A frame that has begun must go on arriving: longest time between two of its bytes, and what a
/// frame of any size may take beside its look for each [`STEP_BYTES_MIN`].
const FRAME_STALL_MAX: Duration = Duration::from_secs(30);

/// One frame that arrives or one answer that leaves, and how fast.
#[derive(Debug)]
pub struct Transfer {
    bytes: usize,
    /// Longest time in which nothing moves.
    stall_max: Duration,
    begun: Instant,
    /// Longest time until all has moved.
    whole_within: Option<Duration>,
    looked: Instant,
    left_then: usize,
    moved: Instant,
}

/// Why to go on no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slow {
    /// Nothing moved for so long.
    Stalled(Duration),
    /// It is not through after so long.
    Late(Duration),
    /// Others waited, and fewer bytes than these moved in one look.
    InTheWay(usize),
}

impl Transfer {
    /// A frame of `bytes`, of which none has come.
    pub fn frame(bytes: usize) -> Self {
        Self::frame_at(Instant::now(), bytes)
    }

    /// An answer of `bytes`, of which none has gone; something of it must go each `stall_max`.
    pub fn answer(bytes: usize, stall_max: Duration) -> Self {
        Self::new(Instant::now(), bytes, stall_max, None)
    }

    fn frame_at(now: Instant, bytes: usize) -> Self {
        let looks = u32::try_from(bytes / STEP_BYTES_MIN).unwrap_or(u32::MAX);
        let whole_within = FRAME_STALL_MAX + LOOK_EVERY * looks;
        Self::new(now, bytes, FRAME_STALL_MAX, Some(whole_within))
    }

    fn new(
        now: Instant,
        bytes: usize,
        stall_max: Duration,
        whole_within: Option<Duration>,
    ) -> Self {
        let (begun, looked, moved) = (now, now, now);
        Self { bytes, stall_max, begun, whole_within, looked, left_then: bytes, moved }
    }

    /// The time since the last look does not count: it was not the other side's.
    pub fn excuse(&mut self, left: usize) {
        self.excuse_at(Instant::now(), left);
    }

    fn excuse_at(&mut self, now: Instant, left: usize) {
        self.begun += now.saturating_duration_since(self.looked);
        (self.looked, self.moved, self.left_then) = (now, now, left);
    }

    /// Look whether it gets on, if it is time to: `left` bytes have not moved yet.
    ///
    /// # Errors
    /// When it does not: nothing moved for too long, too little while it `is_in_the_way`, or it
    /// should be through.
    pub fn look(
        &mut self,
        left: impl FnOnce() -> usize,
        is_in_the_way: impl FnOnce() -> bool,
    ) -> Result<(), Slow> {
        self.look_at(Instant::now(), left, is_in_the_way)
    }

    fn look_at(
        &mut self,
        now: Instant,
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
        } else if now >= self.moved + self.stall_max {
            return Err(Slow::Stalled(self.stall_max));
        }
        let step = (self.bytes / LOOKS_MAX).max(STEP_BYTES_MIN);
        if moved < step && is_in_the_way() {
            return Err(Slow::InTheWay(step));
        }
        let age = now.saturating_duration_since(self.begun);
        if self.whole_within.is_some_and(|most| age >= most) {
            Err(Slow::Late(age))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;
    const STALLED: Duration = Duration::from_secs(60);

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    /// Looks once a second while each second `moves` bytes move: what ended it, when.
    fn watch(mut transfer: Transfer, moves: usize, is_in_the_way: bool) -> (Option<Slow>, u64) {
        let begun = transfer.begun;
        let mut left = transfer.bytes;
        for second in 1..=7200 {
            left = left.saturating_sub(moves);
            if left == 0 {
                return (None, second);
            }
            let now = begun + seconds(second);
            if let Err(slow) = transfer.look_at(now, || left, || is_in_the_way) {
                return (Some(slow), second);
            }
        }
        (None, 7200)
    }

    fn answer() -> Transfer {
        Transfer::answer(64 * MIB, STALLED)
    }

    #[test]
    fn who_is_in_nobodys_way_may_take_its_time_but_not_stand_still() {
        assert_eq!(watch(answer(), 16 * 1024, false), (None, 4096));
        assert_eq!(watch(answer(), 0, false), (Some(Slow::Stalled(STALLED)), 60));
        let frame = Transfer::frame(64 * MIB);
        assert_eq!(watch(frame, 0, false), (Some(Slow::Stalled(seconds(30))), 30));
    }

    #[test]
    fn who_is_in_the_way_gets_on_or_is_cut_off_at_once() {
        for moves in [0, 2 * MIB - 1] {
            assert_eq!(watch(answer(), moves, true), (Some(Slow::InTheWay(2 * MIB)), 1));
        }
        assert_eq!(watch(answer(), 2 * MIB, true), (None, 32));
    }

    #[test]
    fn a_frame_has_half_a_minute_and_a_second_for_each_64_kib() {
        let late = |second| (Some(Slow::Late(seconds(second))), second);
        // A byte now and then is no standing still.
        assert_eq!(watch(Transfer::frame(100), 1, false), late(30));
        assert_eq!(watch(Transfer::frame(64 * 1024), 1, false), late(31));
        assert_eq!(watch(Transfer::frame(MIB), 1000, false), late(46));
        assert_eq!(watch(Transfer::frame(64 * MIB), 63_000, false), late(1054));
        assert_eq!(watch(Transfer::frame(64 * MIB), 64_000, false), (None, 1049));
    }

    #[test]
    fn a_frame_is_not_late_by_what_it_waited_for_us() {
        let mut transfer = Transfer::frame(MIB);
        let begun = transfer.begun;
        let look = |transfer: &mut Transfer, second, left| {
            transfer.look_at(begun + seconds(second), || left, || false)
        };
        assert_eq!(look(&mut transfer, 1, MIB - 1), Ok(()));
        transfer.excuse_at(begun + seconds(101), MIB - 1);
        assert_eq!(look(&mut transfer, 120, MIB - 2), Ok(()));
        assert_eq!(look(&mut transfer, 145, MIB - 3), Ok(()));
        assert_eq!(look(&mut transfer, 146, MIB - 4), Err(Slow::Late(seconds(46))));
    }

    #[test]
    fn a_look_is_taken_once_a_second_and_not_of_time_that_is_excused() {
        let mut transfer = Transfer::answer(MIB, STALLED);
        let begun = transfer.begun;
        let never = || -> usize { panic!("not yet") };
        transfer.look_at(begun + LOOK_EVERY / 2, never, || true).expect("too early to tell");
        transfer.excuse_at(begun + 2 * LOOK_EVERY, MIB);
        let soon = begun + 2 * LOOK_EVERY + LOOK_EVERY / 2;
        transfer.look_at(soon, never, || true).expect("it waited for us");
    }
}
