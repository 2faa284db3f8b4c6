//! Where a worker writes what it measured: into the current second's interval, which it hands
//! over once a second without allocating, and into the totals of the measured window.

use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel};

use serde::{Deserialize, Serialize};

use crate::collect::{Parcel, Role};
use crate::histogram::Interval;

/// The times of a run, all monotonic nanoseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Window {
    /// The first intended time.
    pub start_ns: u64,
    /// Measured from here: the warm-up is over.
    pub warm_ns: u64,
    /// The offered load ends here.
    pub end_ns: u64,
}

impl Window {
    /// Whether something intended at `ns` counts.
    #[inline]
    pub fn measures(&self, ns: u64) -> bool {
        (self.warm_ns..self.end_ns).contains(&ns)
    }
}

/// Counts of the measured window: what completed between its begin and its end.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Records acknowledged or read.
    pub records: u64,
    /// Bytes of their batches.
    pub bytes: u64,
    /// Answers that brought them.
    pub answers: u64,
}

/// One worker's pen.
#[derive(Debug)]
pub struct Recorder {
    /// The run's times.
    pub window: Window,
    current: Box<Interval>,
    counts: Counts,
    role: Role,
    finished: SyncSender<Parcel>,
    recycled: Receiver<Box<Interval>>,
    back: Sender<Box<Interval>>,
}

impl Recorder {
    /// A pen that hands its intervals to the collector at the other end of `finished`.
    pub fn new(window: Window, role: Role, finished: SyncSender<Parcel>) -> Self {
        let (back, recycled) = channel();
        let counts = Counts::default();
        Self { window, current: Box::default(), counts, role, finished, recycled, back }
    }

    /// The interval of `now_ns`; hands over the last one when a second has passed.
    #[inline]
    pub fn at(&mut self, now_ns: u64) -> &mut Interval {
        let second = now_ns.saturating_sub(self.window.start_ns) / 1_000_000_000;
        if second != self.current.second {
            self.hand_over(second);
        }
        &mut self.current
    }

    #[cold]
    fn hand_over(&mut self, second: u64) {
        let fresh = self.recycled.try_recv().unwrap_or_default();
        let full = std::mem::replace(&mut self.current, fresh);
        self.current.restart(second);
        let parcel = Parcel { role: self.role, interval: full, back: self.back.clone() };
        // A collector that is behind loses no counts: they are added to the next interval.
        if let Err(TrySendError::Full(full)) = self.finished.try_send(parcel) {
            self.current.add(&full.interval);
        }
    }

    /// `answers` brought `records` in `bytes` at `now_ns`.
    #[inline]
    pub fn count(&mut self, now_ns: u64, records: u64, bytes: u64, answers: u64) {
        let interval = self.at(now_ns);
        interval.records += records;
        interval.bytes += bytes;
        interval.answers += answers;
        if self.window.measures(now_ns) {
            self.counts.records += records;
            self.counts.bytes += bytes;
            self.counts.answers += answers;
        }
    }

    /// The load has ended at `now_ns`, maybe before its time: nothing later is measured.
    pub fn cut(&mut self, now_ns: u64) {
        self.window.end_ns = self.window.end_ns.min(now_ns);
    }

    /// Hand over what is left; returns the totals of the measured window.
    pub fn finish(self) -> Counts {
        // The collector lives until all workers have finished; if it is gone, so is the reader.
        let parcel = Parcel { role: self.role, interval: self.current, back: self.back };
        let _ = self.finished.send(parcel);
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Series;
    use std::sync::mpsc::sync_channel;

    #[test]
    fn seconds_are_kept_apart_and_nothing_is_lost_when_the_collector_sleeps() {
        let second = 1_000_000_000;
        let window = Window { start_ns: 0, warm_ns: 2 * second, end_ns: 5 * second };
        let (finished, taken) = sync_channel(1);
        let mut recorder = Recorder::new(window, Role::Producer, finished);
        for at in 0..7 {
            recorder.count(at * second + 5, 10, 100, 1);
            let latency = recorder.at(at * second + 6).of(Series::Produce);
            latency.completion();
            latency.record(1000, 10);
        }
        // The channel holds one: intervals 1.. were folded into later ones.
        let first = taken.recv().unwrap().interval;
        assert_eq!((first.second, first.records), (0, 10));
        let rest =
            std::thread::spawn(move || taken.into_iter().map(|p| p.interval).collect::<Vec<_>>());
        let counts = recorder.finish();
        let rest = rest.join().unwrap();
        assert_eq!(rest.iter().map(|i| i.records).sum::<u64>(), 60);
        assert_eq!(rest.iter().map(|i| i.series[0].records()).sum::<u64>(), 60);
        assert_eq!((counts.records, counts.bytes, counts.answers), (30, 300, 3), "window only");
    }
}
