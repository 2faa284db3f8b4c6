//! Arrivals at random: gaps drawn from an exponential distribution, so that records come as
//! they do from many independent devices (a Poisson process), over any profile of rates.
//!
//! Times are drawn once, in order, from a seed, and kept only while somebody may still ask:
//! from the oldest record in flight to the last of the batch that is being filled.

use std::collections::VecDeque;

use super::staged::Staged;
use crate::payload::Filler;

/// A Poisson process whose times are drawn as they are needed.
#[derive(Clone, Debug)]
pub struct Drawn {
    profile: Staged,
    end_ns: u64,
    random: Filler,
    /// Sum of the gaps so far, in units of records due.
    records: f64,
    /// Index of the first time kept.
    first: u64,
    times: VecDeque<u64>,
    ended: bool,
}

impl Drawn {
    /// Over `profile`, until before `end_ns`; the same seed draws the same times.
    pub fn new(profile: Staged, end_ns: u64, seed: u64) -> Self {
        let random = Filler::new(seed);
        let times = VecDeque::new();
        Self { profile, end_ns, random, records: 0.0, first: 0, times, ended: false }
    }

    /// Have the times of all records up to `index` ready.
    pub fn reach(&mut self, index: u64) {
        while !self.ended && self.first + self.times.len() as u64 <= index {
            // 53 random bits in (0, 1]: the logarithm is always finite.
            let uniform = ((self.random.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
            self.records -= uniform.ln();
            let at = self.profile.time_of(self.records);
            if at >= self.end_ns {
                self.ended = true;
            } else {
                self.times.push_back(at);
            }
        }
    }

    /// Nobody asks for records before `index` any more.
    pub fn forget(&mut self, index: u64) {
        let gone = index.saturating_sub(self.first).min(self.times.len() as u64);
        self.times.drain(..gone as usize);
        self.first += gone;
    }

    /// How many records there are in all, as far as that is known: everything, until the end
    /// was drawn.
    pub fn count(&self) -> u64 {
        if self.ended { self.first + self.times.len() as u64 } else { u64::MAX }
    }

    /// Intended time of record `index`, which [`Drawn::reach`] was asked for.
    #[inline]
    pub fn intended_ns(&self, index: u64) -> u64 {
        let at = self.times.get(index.saturating_sub(self.first) as usize);
        at.copied().unwrap_or(self.end_ns)
    }

    /// How many records have an intended time at or before `now_ns`.
    pub fn due(&self, now_ns: u64) -> u64 {
        let known = self.times.partition_point(|at| *at <= now_ns);
        if known < self.times.len() || self.ended {
            return self.first + known as u64;
        }
        // Asked once at the end of a run; what is drawn here is thrown away.
        let mut ahead = self.clone();
        loop {
            let next = ahead.first + ahead.times.len() as u64;
            ahead.forget(next);
            ahead.reach(next);
            if ahead.ended || ahead.times.back().is_none_or(|at| *at > now_ns) {
                return next;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::staged::Stage;
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn drawn(rate: f64, seconds: u64, seed: u64) -> Drawn {
        let end = seconds * SECOND;
        let stages = [Stage::steady(rate, seconds as f64)];
        Drawn::new(Staged::new(0, end, &stages, 0.0), end, seed)
    }

    #[test]
    fn gaps_are_exponential_and_the_rate_is_kept() {
        let mut drawn = drawn(1000.0, 100, 7);
        drawn.reach(u64::MAX - 1);
        let count = drawn.count() as f64;
        // A Poisson count of mean 100,000 lies within 5 deviations of 316.
        assert!((count - 100_000.0).abs() < 1600.0, "{count}");
        let times: Vec<u64> = drawn.times.iter().copied().collect();
        let gaps: Vec<f64> = times.windows(2).map(|w| (w[1] - w[0]) as f64 / 1e6).collect();
        // Exponential with mean 1 ms: 63.2 % are below it, 5 % above three times it.
        let below = gaps.iter().filter(|g| **g < 1.0).count() as f64 / gaps.len() as f64;
        let above = gaps.iter().filter(|g| **g > 3.0).count() as f64 / gaps.len() as f64;
        assert!((below - 0.632).abs() < 0.01 && (above - 0.0498).abs() < 0.005);
    }

    #[test]
    fn the_same_seed_draws_the_same_and_forgetting_changes_nothing() {
        let (mut whole, mut rolling) = (drawn(500.0, 4, 9), drawn(500.0, 4, 9));
        whole.reach(u64::MAX - 1);
        for index in 0..whole.count() {
            rolling.reach(index + 10);
            assert_eq!(rolling.intended_ns(index), whole.intended_ns(index), "{index}");
            rolling.forget(index);
            assert!(rolling.times.len() <= 11);
        }
        rolling.reach(whole.count());
        assert_eq!(rolling.count(), whole.count());
        assert_ne!(drawn(500.0, 4, 9).due(SECOND), drawn(500.0, 4, 10).due(SECOND));
        assert_eq!(drawn(500.0, 4, 9).due(SECOND), whole.due(SECOND));
    }
}
