//! Intended send times. A schedule is fixed before the first record is sent and never waits for
//! an answer: that is what makes the load open and the latency honest (a late answer delays no
//! later record's intended time, so the wait it causes is counted).
//!
//! Pure arithmetic on `now`; the clock is read elsewhere.

/// Bits behind the point of the step: an error of 2^-32 ns a record is 0.25 us after a
/// billion records.
const FRACTION_BITS: u32 = 32;

/// Evenly spaced intended times of one lane's records: record `i` is due at
/// `start + phase + i * step`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    first_ns: u64,
    /// Nanoseconds between two records, with [`FRACTION_BITS`] bits behind the point.
    step: u128,
    /// Records whose intended time lies before the end.
    count: u64,
}

impl Schedule {
    /// `rate` records per second from `start_ns` until before `end_ns`. `phase` in 0..1 shifts
    /// this lane by a part of a step, so that lanes do not all fire in the same instant.
    ///
    /// # Panics
    /// When `rate` is not a positive number: the plan checks it.
    pub fn new(start_ns: u64, end_ns: u64, rate: f64, phase: f64) -> Self {
        assert!(rate.is_finite() && rate > 0.0, "rate {rate} must be positive");
        // Rounded up: a step that is a hair too short would fit one record too many.
        let step = (1e9 / rate * (1u64 << FRACTION_BITS) as f64).ceil() as u128;
        let step = step.max(1);
        let first_ns = start_ns + ((step as f64 * phase) as u128 >> FRACTION_BITS) as u64;
        let mut schedule = Self { first_ns, step, count: u64::MAX };
        schedule.count = if end_ns > first_ns { schedule.due(end_ns - 1) } else { 0 };
        schedule
    }

    /// How many records the schedule has in all.
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

/// What a lane should do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send a batch of this many records; the batch was due at `due_ns`.
    Send {
        /// Records in the batch, at least one.
        records: u32,
        /// When the batch was complete: its last record or its linger.
        due_ns: u64,
    },
    /// Nothing to send before this time.
    Wait {
        /// When to ask again.
        until_ns: u64,
    },
    /// The schedule is at its end.
    Done,
}

/// Decide for a lane whose next record is `next`: a batch leaves when it holds `batch_max`
/// records or when its first record has waited for `linger_ns`, as in Kafka's own producer.
pub fn step(schedule: &Schedule, next: u64, now_ns: u64, batch_max: u32, linger_ns: u64) -> Step {
    let left = schedule.count() - next.min(schedule.count());
    if left == 0 {
        return Step::Done;
    }
    let full = u64::from(batch_max).min(left);
    let full_ns = schedule.intended_ns(next + full - 1);
    let first_ns = schedule.intended_ns(next);
    let due_ns = full_ns.min(first_ns + linger_ns);
    if now_ns < due_ns {
        return Step::Wait { until_ns: due_ns };
    }
    if now_ns >= full_ns {
        return Step::Send { records: full as u32, due_ns };
    }
    let records = (schedule.due(now_ns) - next).min(full).max(1);
    Step::Send { records: records as u32, due_ns }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_second_of_any_rate_holds_exactly_that_many_records() {
        for rate in [1.0, 3.0, 7.5, 1000.0, 333_333.0, 6_000_000.0] {
            let schedule = Schedule::new(5 * SECOND, 15 * SECOND, rate, 0.0);
            let got = schedule.count() as f64;
            assert!((got - rate * 10.0).abs() <= 1.0, "{rate}: {got} records in 10 s");
        }
        // 1/3000 s is no whole number of anything; 1.1 s of it is 3,300 records all the same.
        assert_eq!(Schedule::new(0, SECOND / 10 * 11, 3000.0, 0.0).count(), 3300);
    }

    #[test]
    fn due_is_the_inverse_of_intended() {
        for (rate, phase) in [(1.0, 0.0), (997.0, 0.3), (1_234_567.8, 0.99), (0.1, 0.5)] {
            let schedule = Schedule::new(42, u64::MAX / 2, rate, phase);
            for index in [0, 1, 2, 10, 99_999, 10_000_000] {
                let at = schedule.intended_ns(index);
                assert_eq!(schedule.due(at), index + 1, "at {rate}/s, record {index}");
                assert_eq!(schedule.due(at - 1), index, "just before, at {rate}/s, {index}");
            }
        }
    }

    #[test]
    fn the_schedule_does_not_drift() {
        let schedule = Schedule::new(0, u64::MAX / 2, 3.0, 0.0);
        let day = 86_400;
        assert!(schedule.intended_ns(3 * day).abs_diff(day * SECOND) < 1000);
    }

    #[test]
    fn a_late_answer_delays_no_intended_time() {
        // 1000 records/s, one record a batch. The lane was blocked for 50 ms: all 50 records
        // are due at once, each with its own intended time.
        let schedule = Schedule::new(0, SECOND, 1000.0, 0.0);
        let now = 50_000_000;
        for next in 0..=50 {
            assert_eq!(
                step(&schedule, next, now, 1, 0),
                Step::Send { records: 1, due_ns: next * 1_000_000 }
            );
        }
        assert_eq!(step(&schedule, 51, now, 1, 0), Step::Wait { until_ns: 51_000_000 });
    }

    #[test]
    fn a_batch_leaves_when_full_or_when_its_first_record_has_lingered() {
        let schedule = Schedule::new(0, SECOND, 1000.0, 0.0);
        let linger = 5_000_000;
        // Records 0..=4 by 4.9 ms; the linger of record 0 ends at 5 ms, when record 5 is due too.
        assert_eq!(step(&schedule, 0, 4_900_000, 16, linger), Step::Wait { until_ns: linger });
        assert_eq!(
            step(&schedule, 0, 5_000_000, 16, linger),
            Step::Send { records: 6, due_ns: linger }
        );
        // Full after three records, long before the linger.
        assert_eq!(
            step(&schedule, 0, 2_000_000, 3, linger),
            Step::Send { records: 3, due_ns: 2_000_000 }
        );
        // Late: the batch holds no more than it may.
        assert_eq!(
            step(&schedule, 0, 500_000_000, 3, linger),
            Step::Send { records: 3, due_ns: 2_000_000 }
        );
    }

    #[test]
    fn the_last_batch_does_not_wait_for_records_that_never_come() {
        let schedule = Schedule::new(0, 10_000_000, 1000.0, 0.0);
        assert_eq!(schedule.count(), 10);
        assert_eq!(
            step(&schedule, 8, 9_000_000, 16, SECOND),
            Step::Send { records: 2, due_ns: 9_000_000 }
        );
        assert_eq!(step(&schedule, 10, 9_000_000, 16, SECOND), Step::Done);
        assert_eq!(Schedule::new(5, 5, 10.0, 0.0).count(), 0);
    }
}
