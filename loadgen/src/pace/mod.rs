//! Intended send times. A schedule is fixed before the first record is sent and never waits for
//! an answer: that is what makes the load open and the latency honest (a late answer delays no
//! later record's intended time, so the wait it causes is counted).
//!
//! Pure arithmetic on `now`; the clock is read elsewhere.

mod alarm;
mod drawn;
mod even;
mod staged;

use serde::{Deserialize, Serialize};

use drawn::Drawn;
use even::Even;
use staged::Staged;

pub use alarm::Alarm;
pub use staged::Stage;

/// How records come within the rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// One after the other at equal distances.
    #[default]
    Uniform,
    /// Independently of each other, as from many devices.
    Poisson,
    /// All records of an interval of this many nanoseconds at once, at its begin.
    Bursts(u64),
}

/// What one lane is to offer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Offer {
    /// Its share of the run's rate, from the run's start on.
    pub stages: Vec<Stage>,
    /// How its records come within that rate.
    pub arrivals: Arrivals,
    /// Shift of its schedule within a step, 0..1, so that lanes do not fire in the same instant.
    pub phase: f64,
    /// Of its random draws.
    pub seed: u64,
}

/// The intended times of one lane's records, by index from 0.
#[derive(Clone, Debug)]
pub struct Schedule {
    times: Times,
    start_ns: u64,
    /// Bursts come at multiples of this; 0 without bursts.
    burst_ns: u64,
}

#[derive(Clone, Debug)]
enum Times {
    Even(Even),
    Staged(Staged),
    Drawn(Drawn),
}

impl Schedule {
    /// What `offer` says, from `start_ns` until before `end_ns`.
    pub fn new(start_ns: u64, end_ns: u64, offer: &Offer) -> Self {
        let burst_ns = if let Arrivals::Bursts(every) = offer.arrivals { every } else { 0 };
        let staged = |phase| Staged::new(start_ns, end_ns, &offer.stages, phase);
        let is_even = offer.stages.windows(2).all(|pair| pair[0].to == pair[1].from)
            && offer.stages.iter().all(|stage| stage.from == stage.to);
        let times = match (offer.arrivals, offer.stages.first()) {
            (Arrivals::Poisson, _) => Times::Drawn(Drawn::new(staged(0.0), end_ns, offer.seed)),
            (_, Some(first)) if is_even => {
                Times::Even(Even::new(start_ns, end_ns, first.from, offer.phase))
            }
            _ => Times::Staged(staged(offer.phase)),
        };
        Self { times, start_ns, burst_ns }
    }

    /// An unchanging rate with even distances.
    #[cfg(test)]
    pub fn even(start_ns: u64, end_ns: u64, rate: f64) -> Self {
        let times = Times::Even(Even::new(start_ns, end_ns, rate, 0.0));
        Self { times, start_ns, burst_ns: 0 }
    }

    /// Prepare for questions about records up to `index`.
    #[inline]
    pub fn reach(&mut self, index: u64) {
        if let Times::Drawn(drawn) = &mut self.times {
            drawn.reach(index);
        }
    }

    /// There will be no questions about records before `index`.
    #[inline]
    pub fn forget(&mut self, index: u64) {
        if let Times::Drawn(drawn) = &mut self.times {
            drawn.forget(index);
        }
    }

    /// How many records the schedule has in all; `u64::MAX` while nobody knows.
    pub fn count(&self) -> u64 {
        match &self.times {
            Times::Even(even) => even.count(),
            Times::Staged(staged) => staged.count(),
            Times::Drawn(drawn) => drawn.count(),
        }
    }

    /// Intended time of record `index`.
    #[inline]
    pub fn intended_ns(&self, index: u64) -> u64 {
        let at = match &self.times {
            Times::Even(even) => even.intended_ns(index),
            Times::Staged(staged) => staged.intended_ns(index),
            Times::Drawn(drawn) => drawn.intended_ns(index),
        };
        if self.burst_ns == 0 { at } else { at - (at - self.start_ns) % self.burst_ns }
    }

    /// How many records have an intended time at or before `now_ns`.
    pub fn due(&self, now_ns: u64) -> u64 {
        let now_ns = match now_ns.checked_sub(self.start_ns) {
            None => return 0,
            Some(_) if self.burst_ns == 0 => now_ns,
            // Everything of the burst that has begun.
            Some(passed) => now_ns - passed % self.burst_ns + self.burst_ns - 1,
        };
        match &self.times {
            Times::Even(even) => even.due(now_ns),
            Times::Staged(staged) => staged.due(now_ns),
            Times::Drawn(drawn) => drawn.due(now_ns),
        }
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
    fn a_late_answer_delays_no_intended_time() {
        // 1000 records/s, one record a batch. The lane was blocked for 50 ms: all 50 records
        // are due at once, each with its own intended time.
        let schedule = Schedule::even(0, SECOND, 1000.0);
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
        let schedule = Schedule::even(0, SECOND, 1000.0);
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
        let schedule = Schedule::even(0, 10_000_000, 1000.0);
        assert_eq!(schedule.count(), 10);
        assert_eq!(
            step(&schedule, 8, 9_000_000, 16, SECOND),
            Step::Send { records: 2, due_ns: 9_000_000 }
        );
        assert_eq!(step(&schedule, 10, 9_000_000, 16, SECOND), Step::Done);
        assert_eq!(Schedule::even(5, 5, 10.0).count(), 0);
    }

    fn offer(arrivals: Arrivals) -> Offer {
        Offer { stages: vec![Stage::steady(1000.0, 1.0)], arrivals, phase: 0.5, seed: 1 }
    }

    #[test]
    fn a_burst_holds_the_records_of_its_interval_and_the_rate_stays() {
        let schedule = Schedule::new(5, SECOND + 5, &offer(Arrivals::Bursts(100_000_000)));
        assert_eq!(schedule.count(), 1000);
        assert_eq!(schedule.due(4), 0);
        assert_eq!(schedule.due(5), 100, "the first burst comes at the start");
        assert_eq!(schedule.due(100_000_004), 100);
        assert_eq!(schedule.due(100_000_005), 200);
        assert_eq!(schedule.intended_ns(99), 5);
        assert_eq!(schedule.intended_ns(100), 100_000_005);
    }

    #[test]
    fn a_poisson_schedule_steps_like_any_other() {
        let mut schedule = Schedule::new(0, SECOND, &offer(Arrivals::Poisson));
        let (mut next, mut now, mut sent) = (0, 0, Vec::new());
        loop {
            schedule.reach(next + 8);
            match step(&schedule, next, now, 8, 1_000_000) {
                Step::Send { records, due_ns } => {
                    let last = schedule.intended_ns(next + u64::from(records) - 1);
                    assert!(due_ns <= now && last <= now, "nothing before its time");
                    sent.push(records);
                    next += u64::from(records);
                    schedule.forget(next);
                }
                Step::Wait { until_ns } => {
                    assert!(until_ns > now);
                    now = until_ns;
                }
                Step::Done => break,
            }
        }
        assert_eq!(next, schedule.count());
        assert!((800..1200).contains(&next), "{next}");
        assert!(sent.contains(&1) && sent.iter().any(|n| *n > 2), "batches of many sizes");
    }
}
