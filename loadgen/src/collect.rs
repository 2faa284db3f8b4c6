//! Gathers the workers' intervals: one line of time series per second, totals at the end.
//! Counts are added, percentiles are taken from the sums.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, Sender};

use serde::Serialize;

use crate::histogram::{Interval, Latency, Percentile, Series};

/// Who measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    pub series: [Latency; 4],
    /// The time series.
    pub seconds: Vec<Second>,
}

impl Collected {
    /// The latencies of `series`.
    pub fn of(&self, series: Series) -> &Latency {
        &self.series[series as usize]
    }
}

/// Seconds whose histograms are kept open for workers that hand over late.
const OPEN_MAX: usize = 4;

/// Gather until all workers have hung up.
pub fn collect(parcels: &Receiver<Parcel>) -> Collected {
    let mut collected = Collected::default();
    let mut open: BTreeMap<u64, (Second, [Latency; 2])> = BTreeMap::new();
    let mut closed: BTreeMap<u64, Second> = BTreeMap::new();
    for Parcel { role, mut interval, back } in parcels {
        for (total, part) in collected.series.iter_mut().zip(&interval.series) {
            if !part.is_empty() {
                total.add(part);
            }
        }
        let number = interval.second;
        if let Some(late) = closed.get_mut(&number) {
            count(late, role, &interval);
        } else {
            let (second, latencies) = open.entry(number).or_default();
            second.second = number;
            count(second, role, &interval);
            latencies[0].add(&interval.series[Series::Produce as usize]);
            latencies[1].add(&interval.series[Series::EndToEnd as usize]);
        }
        while open.len() > OPEN_MAX {
            close_first(&mut open, &mut closed);
        }
        interval.restart(0);
        // A worker that has ended needs no more intervals.
        let _ = back.send(interval);
    }
    while !open.is_empty() {
        close_first(&mut open, &mut closed);
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
    open: &mut BTreeMap<u64, (Second, [Latency; 2])>,
    closed: &mut BTreeMap<u64, Second>,
) {
    if let Some((number, (mut second, [produce, end_to_end]))) = open.pop_first() {
        second.produce = Brief::of(&produce);
        second.end_to_end = Brief::of(&end_to_end);
        closed.insert(number, second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

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
        let collected = collect(&parcels);
        assert_eq!(collected.seconds.len(), 8);
        assert_eq!(collected.seconds[0].produced_records, 15);
        let last = &collected.seconds[7];
        assert_eq!((last.produced_records, last.consumed_records), (10, 4));
        assert_eq!(collected.of(Series::Produce).records(), 89);
        assert!(collected.seconds[3].produce.unwrap().max_ns == 4000);
    }
}
