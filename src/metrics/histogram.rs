//! Durations in fixed buckets: two per octave from 1 microsecond to about a minute.
//!
//! Coarse on purpose: recording is a search among 53 numbers in the shard's own memory, and
//! buckets of all shards add up. Exact percentiles are the load generator's business.

use std::cell::Cell;
use std::time::Duration;

/// Upper bounds of the buckets, inclusive, in microseconds; one more bucket takes the rest.
pub static BOUNDS_MICROS: [u64; 53] = bounds();

const fn bounds() -> [u64; 53] {
    let mut all = [1; 53];
    let mut i = 1;
    while i < all.len() {
        // 1, 2, 3, 4, 6, 8, 12, 16, 24, ...
        all[i] = match i {
            1 => 2,
            _ if i % 2 == 0 => 3 << (i / 2 - 1),
            _ => 4 << (i / 2 - 1),
        };
        i += 1;
    }
    all
}

/// Counts per bucket, live on one shard.
pub struct Histogram {
    counts: [Cell<u64>; BOUNDS_MICROS.len() + 1],
    sum_micros: Cell<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: std::array::from_fn(|_| Cell::new(0)), sum_micros: Cell::new(0) }
    }
}

impl Histogram {
    /// Count one duration, rounded up to whole microseconds.
    pub fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX);
        let bucket = BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        let cell = &self.counts[bucket];
        cell.set(cell.get() + 1);
        self.sum_micros.set(self.sum_micros.get().saturating_add(micros));
    }

    /// The counts now.
    pub fn snapshot(&self) -> HistogramSnapshot {
        HistogramSnapshot {
            counts: self.counts.iter().map(Cell::get).collect(),
            sum_micros: self.sum_micros.get(),
        }
    }
}

/// Counts per bucket at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistogramSnapshot {
    /// One per bound, and the rest.
    pub counts: Vec<u64>,
    /// Sum of all durations.
    pub sum_micros: u64,
}

impl HistogramSnapshot {
    /// Durations recorded.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_grow_and_end_above_a_minute() {
        assert_eq!(BOUNDS_MICROS[..9], [1, 2, 3, 4, 6, 8, 12, 16, 24]);
        assert!(BOUNDS_MICROS.is_sorted_by(|a, b| a < b));
        assert!(BOUNDS_MICROS[52] > 60_000_000, "{}", BOUNDS_MICROS[52]);
    }

    #[test]
    fn a_duration_lands_below_its_bound() {
        for (nanos, bound) in [(0, 1), (1000, 1), (1001, 2), (4_000, 4), (4_001, 6), (70_000, 96)] {
            let histogram = Histogram::default();
            histogram.record(Duration::from_nanos(nanos));
            let place = histogram.snapshot().counts.iter().position(|c| *c == 1).unwrap();
            assert_eq!(BOUNDS_MICROS[place], bound, "{nanos} ns");
        }
        let histogram = Histogram::default();
        histogram.record(Duration::MAX);
        histogram.record(Duration::from_secs(3600));
        assert_eq!(histogram.snapshot().counts[53], 2);
    }
}
