//! Signals that ask a process to stop, counted as those who send them mean them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The same signal so soon after the first one is its echo.
const ECHO_WITHIN: Duration = Duration::from_millis(500);
/// The first signal's number stands above the time at which it came.
const NUMBER_SHIFT: u32 = 56;

/// The first signal that came, and when.
///
/// `timeout` of coreutils signals its command and then the command's whole process group, and so do
/// some supervisors: the command hears one wish twice within a millisecond. The second wish, which
/// ends it at once, comes from somebody who has waited, or is another signal.
#[derive(Debug, Default)]
pub struct FirstSignal(AtomicU64);

impl FirstSignal {
    /// None has come.
    pub const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Note that this signal came at `now`, counted from any moment; whether it is the echo of the
    /// first one. A handler of signals may ask.
    pub fn is_echoed(&self, signal: i32, now: Duration) -> bool {
        let number = u64::try_from(signal).unwrap_or_default() << NUMBER_SHIFT;
        let now_ms = u64::try_from(now.as_millis()).unwrap_or_default();
        let came = number | now_ms;
        match self.0.compare_exchange(0, came, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => false,
            // Of another signal the difference is longer than anybody waits.
            Err(first) => u128::from(came.abs_diff(first)) < ECHO_WITHIN.as_millis(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_signal_soon_after_the_first_is_its_echo() {
        const INTERRUPT: i32 = 2;
        const TERMINATE: i32 = 15;
        let first = FirstSignal::new();
        let is_echoed = |ms, signal| first.is_echoed(signal, Duration::from_millis(ms));
        assert!(!is_echoed(7_000, TERMINATE), "the first");
        assert!(is_echoed(7_000, TERMINATE) && is_echoed(7_499, TERMINATE));
        assert!(!is_echoed(7_001, INTERRUPT), "another signal");
        assert!(!is_echoed(7_500, TERMINATE), "somebody has waited");
    }
}
