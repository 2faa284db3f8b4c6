//! Gathers the workers' intervals: one line of time series per second, totals at the end.
//! Counts are added, percentiles are taken from the sums.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender};

use serde::{Deserialize, Serialize};

use crate::histogram::{Interval, Latency, Percentile, SERIES, Series};

/// Who measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// A producing worker.
    Producer,
    /// A consuming worker.
    Consumer,
}

/// An interval on its way to the collector.
#[derive(Debug)]
pub struct Parcel {
    /// Who measured.
    pub role: Role,
    /// What.
    pub interval: Box<Interval>,
    /// Where the emptied interval goes back to.
    pub back: Sender<Box<Interval>>,
}

/// One second of the run, all workers together.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Second {
    /// Seconds since the start of the run, warm-up included.
    pub second: u64,
    /// Records acknowledged.
    pub produced_records: u64,
    /// Bytes of their batches.
    pub produced_bytes: u64,
    /// Records refused.
    pub refused_records: u64,
    /// Records read.
    pub consumed_records: u64,
    /// Bytes of their batches.
    pub consumed_bytes: u64,
    /// Produce latency of this second.
    pub produce: Option<Brief>,
    /// End-to-end latency of this second.
    pub end_to_end: Option<Brief>,
}

/// A latency in three numbers.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Brief {
    /// Half of the records were faster.
    pub p50: Percentile,
    /// 99 in a hundred were faster.
    pub p99: Percentile,
    /// The slowest.
    pub max_ns: u64,
}

impl Brief {
    fn of(latency: &Latency) -> Option<Self> {
        let summary = (!latency.is_empty()).then(|| latency.summary())?;
        Some(Self { p50: summary.p50, p99: summary.p99, max_ns: summary.max_ns })
    }
}

/// Everything the workers measured.
#[derive(Debug, Default)]
pub struct Collected {
    /// One per [`Series`].
    pub series: [Latency; SERIES],
    /// The time series.
    pub seconds: Vec<Second>,
    /// One per stage of the load that was asked about.
    pub stages: Vec<StageSum>,
}

/// Seconds of the run that are summed for themselves.
#[derive(Clone, Debug, Default)]
pub struct StageSum {
    /// The first second that belongs to it.
    pub from: u64,
    /// The second behind its last.
    pub to: u64,
    /// Records acknowledged in these seconds.
    pub produced_records: u64,
    /// Produce latency.
    pub produce: Latency,
    /// End-to-end latency.
    pub end_to_end: Latency,
}

impl StageSum {
    /// For the whole seconds between two times of the run. The first second of a longer stage
    /// is left out: the rate before still echoes in it.
    pub fn between(from_s: f64, to_s: f64) -> Self {
        let settle = if to_s - from_s >= 3.0 { 1.0 } else { 0.0 };
        let (from, to) = ((from_s + settle).ceil() as u64, to_s.floor() as u64);
        Self { from, to, ..Self::default() }
    }

    fn add(&mut self, second: u64, role: Role, interval: &Interval) {
        if !(self.from..self.to).contains(&second) {
            return;
        }
        if role == Role::Producer {
            self.produced_records += interval.records;
        }
        self.produce.add(&interval.series[Series::Produce as usize]);
        self.end_to_end.add(&interval.series[Series::EndToEnd as usize]);
    }
}

/// Somebody who wants the full histograms: of each second as soon as no worker is expected to
/// add to it (a late worker's part comes as a second call for the same second: counts add), or of
/// each worker and second at once.
pub trait Watcher: Send {
    /// A second, or a late part of one.
    fn part(&mut self, _second: u64, _series: &[Latency; SERIES]) {}

    /// What one worker saw in one second, as soon as it is told.
    fn heard(&mut self, _role: Role, _interval: &Interval) {}
}

impl Collected {
    /// The latencies of `series`.
    pub fn of(&self, series: Series) -> &Latency {
        &self.series[series as usize]
    }
}

/// Seconds whose histograms are kept open for workers that hand over late.
const OPEN_MAX: usize = 4;

/// A second that workers may still add to.
#[derive(Default)]
struct Open {
    second: Second,
    series: Box<[Latency; SERIES]>,
}

/// Gather until all workers have hung up, summing `stages` on the way.
pub fn collect(
    parcels: &Receiver<Parcel>,
    stages: Vec<StageSum>,
    watchers: &mut [Box<dyn Watcher>],
) -> Collected {
    let mut collected = Collected { stages, ..Collected::default() };
    let mut open: BTreeMap<u64, Open> = BTreeMap::new();
    let mut closed: BTreeMap<u64, Second> = BTreeMap::new();
    for Parcel { role, mut interval, back } in parcels {
        for (total, part) in collected.series.iter_mut().zip(&interval.series) {
            if !part.is_empty() {
                total.add(part);
            }
        }
        let number = interval.second;
        watchers.iter_mut().for_each(|watcher| watcher.heard(role, &interval));
        collected.stages.iter_mut().for_each(|stage| stage.add(number, role, &interval));
        if let Some(late) = closed.get_mut(&number) {
            count(late, role, &interval);
            watchers.iter_mut().for_each(|watcher| watcher.part(number, &interval.series));
        } else {
            let entry = open.entry(number).or_default();
            entry.second.second = number;
            count(&mut entry.second, role, &interval);
            for (total, part) in entry.series.iter_mut().zip(&interval.series) {
                if !part.is_empty() {
                    total.add(part);
                }
            }
        }
        while open.len() > OPEN_MAX {
            close_first(&mut open, &mut closed, watchers);
        }
        interval.restart(0);
        // A worker that has ended needs no more intervals.
        let _ = back.send(interval);
    }
    while !open.is_empty() {
        close_first(&mut open, &mut closed, watchers);
    }
    collected.seconds = closed.into_values().collect();
    collected
}

fn count(second: &mut Second, role: Role, interval: &Interval) {
    match role {
        Role::Producer => {
            second.produced_records += interval.records;
            second.produced_bytes += interval.bytes;
            second.refused_records += interval.errors;
        }
        Role::Consumer => {
            second.consumed_records += interval.records;
            second.consumed_bytes += interval.bytes;
        }
    }
}

fn close_first(
    open: &mut BTreeMap<u64, Open>,
    closed: &mut BTreeMap<u64, Second>,
    watchers: &mut [Box<dyn Watcher>],
) {
    if let Some((number, Open { mut second, series })) = open.pop_first() {
        second.produce = Brief::of(&series[Series::Produce as usize]);
        second.end_to_end = Brief::of(&series[Series::EndToEnd as usize]);
        watchers.iter_mut().for_each(|watcher| watcher.part(number, &series));
        closed.insert(number, second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    struct Heard(std::sync::mpsc::Sender<(u64, u64)>);

    impl Watcher for Heard {
        fn part(&mut self, second: u64, series: &[Latency; SERIES]) {
            self.0.send((second, series[0].records())).unwrap();
        }
    }

    #[test]
    fn workers_of_the_same_second_are_added_even_when_one_is_late() {
        let (send, parcels) = channel();
        let (back, _emptied) = channel();
        let give = |role, second: u64, records| {
            let mut interval = Box::new(Interval { second, records, ..Interval::default() });
            interval.of(Series::Produce).completion();
            interval.of(Series::Produce).record(1000 * (second + 1), records);
            send.send(Parcel { role, interval, back: back.clone() }).unwrap();
        };
        (0..8).for_each(|second| give(Role::Producer, second, 10));
        give(Role::Consumer, 7, 4);
        give(Role::Producer, 0, 5);
        drop(send);
        let (heard, told) = channel();
        let stages = vec![StageSum::between(0.0, 2.0), StageSum::between(2.0, 8.0)];
        let collected = collect(&parcels, stages, &mut [Box::new(Heard(heard))]);
        let told: Vec<(u64, u64)> = told.iter().collect();
        assert_eq!(told.iter().map(|(_, records)| records).sum::<u64>(), 89, "each record once");
        assert_eq!(told.iter().filter(|(second, _)| *second == 0).count(), 2, "0 had a late part");
        let of = |stage: usize| collected.stages[stage].produced_records;
        assert_eq!((of(0), of(1)), (25, 50), "the first second of a long stage settles");
        assert_eq!(collected.seconds.len(), 8);
        assert_eq!(collected.seconds[0].produced_records, 15);
        let last = &collected.seconds[7];
        assert_eq!((last.produced_records, last.consumed_records), (10, 4));
        assert_eq!(collected.of(Series::Produce).records(), 89);
        assert!(collected.seconds[3].produce.unwrap().max_ns == 4000);
    }
}
