//! How fast a cleaning may go: never more than its share of the core, never more bytes than
//! `log.cleaner.io.max.bytes.per.second`.

use std::time::Duration;

/// Work that is done at a stretch; then others get at least as long.
const STRETCH: Duration = Duration::from_micros(500);
/// Shortest rest: what a timer can tell apart.
const REST_MIN: Duration = Duration::from_millis(1);

/// See the file's comment. Time is the caller's.
#[derive(Clone, Debug)]
pub struct Throttle {
    bytes_per_second: f64,
    /// When the stretch under way began.
    began: Duration,
    /// Until when the bytes so far have to take, at the allowed speed.
    paid_until: Duration,
}

impl Throttle {
    /// Begin at `now`.
    pub fn new(bytes_per_second: f64, now: Duration) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1.0), began: now, paid_until: now }
    }

    /// `bytes` more have been read or written; how long to rest before going on, if at all.
    pub fn step(&mut self, now: Duration, bytes: u64) -> Option<Duration> {
        let seconds = (bytes as f64 / self.bytes_per_second).min(86_400.0);
        // What was not used of the past is not saved up.
        self.paid_until = self.paid_until.max(self.began) + Duration::from_secs_f64(seconds);
        let worked = now.saturating_sub(self.began);
        let owed = self.paid_until.saturating_sub(now);
        if worked < STRETCH && owed < REST_MIN {
            return None;
        }
        let rest = worked.clamp(REST_MIN, 10 * REST_MIN).max(owed);
        self.began = now + rest;
        Some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_work_rests_as_long_and_bytes_take_their_time() {
        let ms = Duration::from_millis;
        let mut free = Throttle::new(f64::MAX, ms(0));
        assert_eq!(free.step(Duration::from_micros(100), 1 << 30), None);
        assert_eq!(free.step(ms(3), 1 << 30), Some(ms(3)));
        assert_eq!(free.step(ms(6), 1), None, "a new stretch began behind the rest");
        // A thousand bytes a second: 500 take half a second.
        let mut slow = Throttle::new(1000.0, ms(0));
        assert_eq!(slow.step(ms(0), 500), Some(ms(500)));
        assert_eq!(slow.step(ms(500), 250), Some(ms(250)));
        assert_eq!(slow.step(ms(9000), 0), Some(ms(10)), "long idle, not paid back");
    }
}
