//! One unchanging rate in exact arithmetic: record `i` is due at `first + i * step`.

/// Bits behind the point of the step: an error of 2^-32 ns a record is 0.25 us after a
/// billion records.
const FRACTION_BITS: u32 = 32;

/// Evenly spaced intended times.
#[derive(Clone, Debug)]
pub struct Even {
    first_ns: u64,
    /// Nanoseconds between two records, with [`FRACTION_BITS`] bits behind the point.
    step: u128,
    /// Records whose intended time lies before the end.
    count: u64,
}

impl Even {
    /// `rate` records per second from `start_ns` until before `end_ns`; `phase` in 0..1 shifts
    /// them by a part of a step.
    ///
    /// # Panics
    /// When `rate` is not a positive number: the plan checks it.
    pub fn new(start_ns: u64, end_ns: u64, rate: f64, phase: f64) -> Self {
        assert!(rate.is_finite() && rate > 0.0, "rate {rate} must be positive");
        // Rounded up: a step that is a hair too short would fit one record too many.
        let step = (1e9 / rate * (1u64 << FRACTION_BITS) as f64).ceil() as u128;
        let step = step.max(1);
        let first_ns = start_ns + ((step as f64 * phase) as u128 >> FRACTION_BITS) as u64;
        let mut even = Self { first_ns, step, count: u64::MAX };
        even.count = if end_ns > first_ns { even.due(end_ns - 1) } else { 0 };
        even
    }

    /// How many records there are in all.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Intended time of record `index`.
    #[inline]
    pub fn intended_ns(&self, index: u64) -> u64 {
        self.first_ns + ((u128::from(index) * self.step) >> FRACTION_BITS) as u64
    }

    /// How many records have an intended time at or before `now_ns`.
    pub fn due(&self, now_ns: u64) -> u64 {
        let Some(passed) = now_ns.checked_sub(self.first_ns) else { return 0 };
        // The largest i with floor(i * step) <= passed.
        let i = (((u128::from(passed) + 1) << FRACTION_BITS) - 1) / self.step;
        u64::try_from(i + 1).unwrap_or(u64::MAX).min(self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_second_of_any_rate_holds_exactly_that_many_records() {
        for rate in [1.0, 3.0, 7.5, 1000.0, 333_333.0, 6_000_000.0] {
            let even = Even::new(5 * SECOND, 15 * SECOND, rate, 0.0);
            let got = even.count() as f64;
            assert!((got - rate * 10.0).abs() <= 1.0, "{rate}: {got} records in 10 s");
        }
        // 1/3000 s is no whole number of anything; 1.1 s of it is 3,300 records all the same.
        assert_eq!(Even::new(0, SECOND / 10 * 11, 3000.0, 0.0).count(), 3300);
    }

    #[test]
    fn due_is_the_inverse_of_intended() {
        for (rate, phase) in [(1.0, 0.0), (997.0, 0.3), (1_234_567.8, 0.99), (0.1, 0.5)] {
            let even = Even::new(42, u64::MAX / 2, rate, phase);
            for index in [0, 1, 2, 10, 99_999, 10_000_000] {
                let at = even.intended_ns(index);
                assert_eq!(even.due(at), index + 1, "at {rate}/s, record {index}");
                assert_eq!(even.due(at - 1), index, "just before, at {rate}/s, {index}");
            }
        }
    }

    #[test]
    fn the_schedule_does_not_drift() {
        let even = Even::new(0, u64::MAX / 2, 3.0, 0.0);
        let day = 86_400;
        assert!(even.intended_ns(3 * day).abs_diff(day * SECOND) < 1000);
    }
}
