//! Latency as counts, never as averages of percentiles: HDR histograms in nanoseconds with three
//! significant digits, one set per worker and second, merged by adding.
//!
//! A percentile is only a number when enough completions stand behind it; otherwise it says how
//! many it would have needed. The maximum is always shown.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Below this, latencies are not told apart.
const LOWEST_NS: u64 = 100;
/// Above this, latencies are recorded as this; the true maximum is kept beside it.
const HIGHEST_NS: u64 = 600_000_000_000;
const DIGITS: u8 = 3;
/// Rows of a heat map per factor of ten.
pub const ROWS_PER_DECADE: f64 = 12.0;

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Series {
    /// From a record's intended send time to the produce answer.
    Produce = 0,
    /// From the actual send to the produce answer: what a closed loop would have reported.
    ProduceSent = 1,
    /// From a record's intended send time to the moment a consumer has it.
    EndToEnd = 2,
    /// How late a lane that was free to send did send: the generator's own lateness.
    Lag = 3,
    /// From a record's intended send time to its actual send, whoever is to blame.
    SendDelay = 4,
    /// From a Fetch request that brought records to its answer, the broker's wait included.
    Fetch = 5,
}

/// How many kinds of [`Series`] there are.
pub const SERIES: usize = 6;

impl Series {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; SERIES] =
        [Self::Produce, Self::ProduceSent, Self::EndToEnd, Self::Lag, Self::SendDelay, Self::Fetch];

    /// Its name in files: the tag of a histogram log, the begin of a column.
    pub fn name(self) -> &'static str {
        match self {
            Self::Produce => "produce",
            Self::ProduceSent => "produce_from_send",
            Self::EndToEnd => "end_to_end",
            Self::Lag => "schedule_lag",
            Self::SendDelay => "send_delay",
            Self::Fetch => "fetch",
        }
    }
}

/// One series of latencies.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Told", into = "Told")]
pub struct Latency {
    counts: Histogram<u64>,
    max_ns: u64,
    completions: u64,
}

impl Default for Latency {
    fn default() -> Self {
        let counts = Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, DIGITS)
            .expect("the bounds are constants that the histogram accepts");
        Self { counts, max_ns: 0, completions: 0 }
    }
}

impl Latency {
    /// One completion (answer, fetch) is about to be recorded, with any number of records.
    #[inline]
    pub fn completion(&mut self) {
        self.completions += 1;
    }

    /// `records` records took `ns`.
    #[inline]
    pub fn record(&mut self, ns: u64, records: u64) {
        self.max_ns = self.max_ns.max(ns);
        self.counts.saturating_record_n(ns, records);
    }

    /// Add another series' counts.
    pub fn add(&mut self, other: &Self) {
        self.counts.add(&other.counts).expect("all histograms have the same bounds");
        self.max_ns = self.max_ns.max(other.max_ns);
        self.completions += other.completions;
    }

    /// Forget everything, keep the memory.
    pub fn clear(&mut self) {
        if !self.is_empty() {
            self.counts.reset();
        }
        self.max_ns = 0;
        self.completions = 0;
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Records behind the counts.
    pub fn records(&self) -> u64 {
        self.counts.len()
    }

    /// The counts themselves, nanoseconds.
    pub fn counts(&self) -> &Histogram<u64> {
        &self.counts
    }

    /// Rows of a heat map, upwards on a log scale, with their records; a row may come again.
    pub fn rows(&self) -> impl Iterator<Item = (i32, u64)> {
        self.counts.iter_recorded().map(|value| {
            let ns = value.value_iterated_to().max(1) as f64;
            let row = (ns.log10() * ROWS_PER_DECADE).floor() as i32;
            (row, value.count_since_last_iteration())
        })
    }

    /// From counts that were stored; how many completions brought them is not known any more.
    ///
    /// # Errors
    /// When they have other bounds.
    pub fn from_counts(counts: &Histogram<u64>) -> Result<Self, String> {
        let mut latency = Self { max_ns: counts.max(), ..Self::default() };
        latency.counts.add(counts).map_err(|error| format!("other bounds: {error}"))?;
        Ok(latency)
    }

    /// The value below which a share `quantile` of the records lies, however few there are.
    pub fn value_at(&self, quantile: f64) -> u64 {
        self.counts.value_at_quantile(quantile).min(self.max_ns)
    }

    /// The value below which a share `quantile` of the records lies, if enough completions
    /// stand behind it. Records of one batch complete together, so completions are what counts.
    pub fn percentile(&self, quantile: f64) -> Percentile {
        let needed = samples_needed(quantile);
        if self.completions < needed {
            return Percentile::TooFew { have: self.completions, needed };
        }
        Percentile::Known { ns: self.counts.value_at_quantile(quantile).min(self.max_ns) }
    }

    /// The figures that reports show.
    pub fn summary(&self) -> Summary {
        Summary {
            records: self.records(),
            completions: self.completions,
            p50: self.percentile(0.5),
            p90: self.percentile(0.9),
            p99: self.percentile(0.99),
            p999: self.percentile(0.999),
            p9999: self.percentile(0.9999),
            max_ns: self.max_ns,
            mean_ns: if self.is_empty() { 0.0 } else { self.counts.mean() },
        }
    }
}

/// A latency on its way to another process: only the counts that are not zero.
#[derive(Serialize, Deserialize)]
struct Told {
    max_ns: u64,
    completions: u64,
    /// Values in nanoseconds, and how many.
    counts: Vec<(u64, u64)>,
}

impl From<Latency> for Told {
    fn from(latency: Latency) -> Self {
        let recorded = latency.counts.iter_recorded();
        let counts = recorded.map(|v| (v.value_iterated_to(), v.count_since_last_iteration()));
        let counts = counts.collect();
        Self { max_ns: latency.max_ns, completions: latency.completions, counts }
    }
}

impl From<Told> for Latency {
    fn from(told: Told) -> Self {
        let mut latency = Self::default();
        told.counts.iter().for_each(|(ns, records)| latency.record(*ns, *records));
        (latency.max_ns, latency.completions) = (told.max_ns, told.completions);
        latency
    }
}

/// Completions that must stand behind a percentile: ten beyond it, so p99 needs 1,000.
pub fn samples_needed(quantile: f64) -> u64 {
    (10.0 / (1.0 - quantile)).round() as u64
}

/// A percentile, or the honest absence of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Percentile {
    /// Enough completions.
    Known {
        /// Nanoseconds.
        ns: u64,
    },
    /// Not enough completions to say.
    TooFew {
        /// Completions there were.
        have: u64,
        /// Completions it takes.
        needed: u64,
    },
}

impl Percentile {
    /// The number, if there is one.
    pub fn known_ns(self) -> Option<u64> {
        match self {
            Self::Known { ns } => Some(ns),
            Self::TooFew { .. } => None,
        }
    }
}

/// One series as reports show it.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Records.
    pub records: u64,
    /// Answers or fetches that brought them.
    pub completions: u64,
    /// Half of the records were faster.
    pub p50: Percentile,
    /// Nine in ten were faster.
    pub p90: Percentile,
    /// 99 in a hundred were faster.
    pub p99: Percentile,
    /// 999 in a thousand were faster.
    pub p999: Percentile,
    /// 9,999 in ten thousand were faster.
    pub p9999: Percentile,
    /// The slowest record, exact.
    pub max_ns: u64,
    /// The arithmetic mean.
    pub mean_ns: f64,
}

impl Summary {
    /// The percentile of this name, `p50` to `p99.99`, if it is known.
    pub fn named(&self, name: &str) -> Option<u64> {
        let percentile = match name {
            "p50" => self.p50,
            "p90" => self.p90,
            "p99" => self.p99,
            "p99.9" => self.p999,
            "p99.99" => self.p9999,
            "max" => return (self.records > 0).then_some(self.max_ns),
            _ => return None,
        };
        percentile.known_ns()
    }
}

/// What one worker saw in one second of the run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Interval {
    /// Second since the start of the run.
    pub second: u64,
    /// Records acknowledged (producer) or read (consumer).
    pub records: u64,
    /// Bytes of batches acknowledged or read, headers of batches included.
    pub bytes: u64,
    /// Produce answers or fetch answers.
    pub answers: u64,
    /// Records that were refused.
    pub errors: u64,
    /// One per [`Series`].
    pub series: [Latency; SERIES],
}

impl Interval {
    /// The latencies of `series`.
    #[inline]
    pub fn of(&mut self, series: Series) -> &mut Latency {
        &mut self.series[series as usize]
    }

    /// Two different series at once.
    #[inline]
    pub fn two(&mut self, one: Series, other: Series) -> [&mut Latency; 2] {
        let both = self.series.get_disjoint_mut([one as usize, other as usize]);
        both.expect("two different series")
    }

    /// Add what another worker saw in the same second.
    pub fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.bytes += other.bytes;
        self.answers += other.answers;
        self.errors += other.errors;
        for (mine, theirs) in self.series.iter_mut().zip(&other.series) {
            if !theirs.is_empty() {
                mine.add(theirs);
            }
        }
    }

    /// Empty it for the given second, keeping its memory.
    pub fn restart(&mut self, second: u64) {
        self.second = second;
        (self.records, self.bytes, self.answers, self.errors) = (0, 0, 0, 0);
        for series in &mut self.series {
            series.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: impl Iterator<Item = u64>) -> Latency {
        let mut latency = Latency::default();
        for value in values {
            latency.completion();
            latency.record(value, 1);
        }
        latency
    }

    #[test]
    fn percentiles_are_right_to_three_digits() {
        let latency = series((1..=100_000).map(|i| i * 1_000));
        for (quantile, expected) in [(0.5, 50_000_000), (0.99, 99_000_000), (0.999, 99_900_000)] {
            let got = latency.percentile(quantile).known_ns().unwrap();
            assert!(got.abs_diff(expected) < expected / 500, "{quantile}: {got}");
        }
    }

    #[test]
    fn too_few_completions_give_no_number() {
        let latency = series((0..999).map(|i| 1_000 + i));
        assert_eq!(latency.percentile(0.99), Percentile::TooFew { have: 999, needed: 1000 });
        assert!(latency.percentile(0.9).known_ns().is_some());
        let latency = series((0..1000).map(|i| 1_000 + i));
        assert!(latency.percentile(0.99).known_ns().is_some());
        assert_eq!(samples_needed(0.9999), 100_000);
    }

    #[test]
    fn a_big_batch_is_one_completion() {
        let mut latency = Latency::default();
        latency.completion();
        latency.record(5_000_000, 100_000);
        assert_eq!(latency.records(), 100_000);
        assert_eq!(latency.percentile(0.99), Percentile::TooFew { have: 1, needed: 1000 });
    }

    #[test]
    fn the_maximum_survives_clipping_and_merging() {
        let mut a = series([1_000, 2_000].into_iter());
        let b = series([HIGHEST_NS * 3].into_iter());
        a.add(&b);
        assert_eq!(a.summary().max_ns, HIGHEST_NS * 3);
        assert_eq!(a.records(), 3);
        a.clear();
        assert_eq!((a.records(), a.summary().max_ns), (0, 0));
    }

    #[test]
    fn another_process_hears_the_same_latency() {
        let latency = series((1..5000).map(|i| i * i * 37));
        let text = serde_json::to_string(&latency).unwrap();
        let heard: Latency = serde_json::from_str(&text).unwrap();
        assert_eq!(heard.counts(), latency.counts());
        let (heard, told) = (heard.summary(), latency.summary());
        assert_eq!((heard.max_ns, heard.completions), (told.max_ns, told.completions));
        assert_eq!((heard.p50, heard.p99), (told.p50, told.p99));
    }

    #[test]
    fn merging_adds_counts_and_never_averages() {
        // 990 fast ones here, 10 slow ones there: the median of all is fast, the p99.5 slow.
        let mut fast = series((0..19_900).map(|_| 1_000));
        let slow = series((0..100).map(|_| 1_000_000));
        fast.add(&slow);
        assert!(fast.percentile(0.5).known_ns().unwrap() < 1_100);
        assert!(fast.percentile(0.999).known_ns().unwrap() > 990_000);
    }
}
