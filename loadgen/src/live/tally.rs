//! What the view shows, added up from intervals as they come: counts and a column of the heat map
//! per second, histograms of the last few seconds and of everything so far.
//!
//! Always true: its size does not grow with the run.

use std::collections::BTreeMap;

use super::threads::Effort;
use crate::collect::Role;
use crate::histogram::{Interval, Latency, Series};

/// Seconds whose columns are kept: more than fit any terminal.
const SECONDS_MAX: usize = 256;
/// Seconds that keep their histograms, for workers that hand over late.
const RECENT_MAX: usize = 4;

/// One second.
#[derive(Debug, Default)]
pub struct Tick {
    /// Records acknowledged.
    pub produced: u64,
    /// Bytes of their batches.
    pub produced_bytes: u64,
    /// Records read.
    pub consumed: u64,
    /// Bytes of their batches.
    pub consumed_bytes: u64,
    /// Records at the consumer by row of the heat map.
    pub end_to_end: BTreeMap<i32, u64>,
    /// Records acknowledged, likewise.
    pub produce: BTreeMap<i32, u64>,
}

/// Histograms of a second or of all.
#[derive(Debug, Default)]
pub struct Latencies {
    /// From intended time (in a closed loop from the send) to the acknowledgement.
    pub produce: Latency,
    /// From intended time to the consumer.
    pub end_to_end: Latency,
    /// The generator's own lateness.
    pub lag: Latency,
}

impl Latencies {
    fn add(&mut self, interval: &Interval) {
        let parts = [
            (&mut self.produce, Series::Produce),
            (&mut self.end_to_end, Series::EndToEnd),
            (&mut self.lag, Series::Lag),
        ];
        for (sum, series) in parts {
            let part = &interval.series[series as usize];
            if !part.is_empty() {
                sum.add(part);
            }
        }
    }
}

/// Everything that is shown.
#[derive(Debug, Default)]
pub struct Tally {
    /// By second since the start of the run.
    pub seconds: BTreeMap<u64, Tick>,
    recent: BTreeMap<u64, Latencies>,
    /// Everything so far.
    pub all: Latencies,
    /// Records acknowledged so far, warm-up included.
    pub produced: u64,
    /// Records read so far.
    pub consumed: u64,
    /// Records refused so far.
    pub refused: u64,
    begun: BTreeMap<u64, Effort>,
    /// Role, CPU share, and share of waiting for a core, of each measuring thread.
    pub shares: Vec<(&'static str, f64, f64)>,
}

fn add_rows(rows: &mut BTreeMap<i32, u64>, latency: &Latency) {
    latency.rows().for_each(|(row, records)| *rows.entry(row).or_default() += records);
}

impl Tally {
    /// Add what a worker saw in one second.
    pub fn add(&mut self, role: Role, interval: &Interval) {
        self.all.add(interval);
        let tick = self.seconds.entry(interval.second).or_default();
        match role {
            Role::Producer => {
                tick.produced += interval.records;
                tick.produced_bytes += interval.bytes;
                self.produced += interval.records;
                self.refused += interval.errors;
            }
            Role::Consumer => {
                tick.consumed += interval.records;
                tick.consumed_bytes += interval.bytes;
                self.consumed += interval.records;
            }
        }
        add_rows(&mut tick.produce, &interval.series[Series::Produce as usize]);
        add_rows(&mut tick.end_to_end, &interval.series[Series::EndToEnd as usize]);
        self.recent.entry(interval.second).or_default().add(interval);
        while self.recent.len() > RECENT_MAX {
            self.recent.pop_first();
        }
        while self.seconds.len() > SECONDS_MAX {
            self.seconds.pop_first();
        }
    }

    /// The last second that no worker is expected to add to, at `at_s` seconds of the run.
    pub fn last(&self, at_s: f64) -> Option<(u64, &Tick, &Latencies)> {
        // A worker hands a second over when it looks up in the next one.
        let whole = (at_s - 0.2).max(0.0) as u64;
        let (second, latencies) = self.recent.range(..whole).next_back()?;
        Some((*second, self.seconds.get(second)?, latencies))
    }

    /// Records acknowledged per second, and over how many seconds, in the whole seconds after
    /// `from_s` that are complete at `at_s`.
    pub fn achieved(&self, from_s: f64, at_s: f64) -> Option<(f64, f64)> {
        let (last, ..) = self.last(at_s)?;
        let measured = self.seconds.range(from_s.ceil() as u64..).take_while(|(s, _)| **s <= last);
        let (records, seconds) = measured.fold((0, 0u64), |(r, s), (_, t)| (r + t.produced, s + 1));
        (seconds > 0).then(|| (records as f64 / seconds as f64, seconds as f64))
    }

    /// What the measuring threads have used by now.
    pub fn threads(&mut self, efforts: Vec<Effort>) {
        self.shares.clear();
        for now in efforts {
            let begun = self.begun.entry(now.id).or_insert_with(|| now.clone());
            let wall = now.at_ns.saturating_sub(begun.at_ns) as f64;
            if wall > 0.0 {
                let share = |now: u64, then: u64| now.saturating_sub(then) as f64 / wall;
                let waited = share(now.waited_ns, begun.waited_ns);
                self.shares.push((now.role, share(now.cpu_ns, begun.cpu_ns), waited));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(second: u64, records: u64) -> Interval {
        let mut interval = Interval { second, records, bytes: records, ..Interval::default() };
        interval.of(Series::Produce).completion();
        interval.of(Series::Produce).record(1_000_000, records);
        interval
    }

    #[test]
    fn a_second_is_shown_when_all_have_told_and_late_parts_count() {
        let mut tally = Tally::default();
        tally.add(Role::Producer, &interval(0, 10));
        tally.add(Role::Producer, &interval(1, 20));
        tally.add(Role::Consumer, &interval(1, 5));
        assert!(tally.last(0.9).is_none(), "second 0 is not over");
        assert_eq!(tally.last(1.3).unwrap().0, 0);
        let (second, tick, latencies) = tally.last(2.5).unwrap();
        assert_eq!((second, tick.produced, tick.consumed), (1, 20, 5));
        assert_eq!(latencies.produce.records(), 25);
        tally.add(Role::Producer, &interval(1, 7));
        assert_eq!(tally.last(2.5).unwrap().1.produced, 27);
        assert_eq!(tally.achieved(1.0, 2.5), Some((27.0, 1.0)));
        assert_eq!(tally.achieved(5.0, 2.5), None);
    }

    #[test]
    fn it_does_not_grow_with_the_run() {
        let mut tally = Tally::default();
        for second in 0..2000 {
            tally.add(Role::Producer, &interval(second, 1));
        }
        assert_eq!((tally.seconds.len(), tally.recent.len()), (SECONDS_MAX, RECENT_MAX));
        assert_eq!((tally.produced, tally.all.produce.records()), (2000, 2000));
    }

    #[test]
    fn shares_are_of_the_time_since_a_thread_was_first_seen() {
        let mut tally = Tally::default();
        let effort =
            |at_ns, cpu_ns| Effort { role: "producer", id: 3, at_ns, cpu_ns, waited_ns: 0 };
        tally.threads(vec![effort(1000, 500)]);
        assert!(tally.shares.is_empty(), "no time has passed");
        tally.threads(vec![effort(2000, 1250)]);
        assert_eq!(tally.shares, [("producer", 0.75, 0.0)]);
    }
}
