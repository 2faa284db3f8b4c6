//! Statistics of paired ratios: medians with bootstrap intervals. Nothing is assumed about how
//! figures are distributed; no round is left out as an outlier.

use serde::Serialize;

use crate::payload::Filler;

/// Resamples of the bootstrap.
const RESAMPLES: usize = 10_000;

/// An estimate with the interval that holds it with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The median of what was measured.
    pub median: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The median of `values`; none of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// The median of `values` with its percentile-bootstrap interval; none of nothing.
pub fn bootstrap(values: &[f64], seed: u64) -> Option<Interval> {
    let center = median(values)?;
    let mut random = Filler::new(seed);
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            let draw = |_| values[(random.next_u64() % values.len() as u64) as usize];
            median(&(0..values.len()).map(draw).collect::<Vec<f64>>())
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    let at = |share: f64| medians[((medians.len() - 1) as f64 * share).round() as usize];
    Some(Interval { median: center, low: at(0.025), high: at(0.975) })
}

/// Differences below this are of no interest, however certain.
pub const BAND_MIN: f64 = 0.02;

/// How far apart two measurements of the same thing lie here: the farther end of the interval of
/// their ratio from 1, at least [`BAND_MIN`].
pub fn noise(same: &Interval) -> f64 {
    (same.high - 1.0).abs().max((1.0 - same.low).abs()).max(BAND_MIN)
}

/// What an interval of ratios says beside the noise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// B is larger.
    Larger,
    /// B is smaller.
    Smaller,
    /// No difference is proven.
    Unproven,
}

/// Only an interval that lies wholly outside the noise is a difference.
pub fn verdict(ratio: &Interval, noise: f64) -> Verdict {
    if ratio.low > 1.0 + noise {
        Verdict::Larger
    } else if ratio.high < 1.0 - noise {
        Verdict::Smaller
    } else {
        Verdict::Unproven
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_intervals() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
        let interval = bootstrap(&[1.0, 1.1, 0.9, 1.05, 0.95], 1).unwrap();
        assert!(interval.low >= 0.9 && interval.high <= 1.1 && interval.median == 1.0);
        assert!(interval.low < 1.0 && interval.high > 1.0);
        assert_eq!(bootstrap(&[2.0], 1).unwrap(), Interval { median: 2.0, low: 2.0, high: 2.0 });
    }

    #[test]
    fn the_interval_holds_the_truth_about_as_often_as_it_says() {
        let mut random = Filler::new(5);
        let mut held = 0;
        for seed in 0..100 {
            // Skewed, as latencies are; the median of exp(N) is 1.
            let draw = |_| (0..12).map(|_| random.next_share()).sum::<f64>() - 6.0;
            let values: Vec<f64> = (0..15).map(draw).map(|z: f64| (0.2 * z).exp()).collect();
            let interval = bootstrap(&values, seed).unwrap();
            held += u32::from(interval.low <= 1.0 && interval.high >= 1.0);
        }
        assert!((85..=100).contains(&held), "{held} of 100");
    }

    #[test]
    fn only_what_lies_outside_the_noise_is_a_difference() {
        let interval = |low, high| Interval { median: (low + high) / 2.0, low, high };
        let band = noise(&interval(0.95, 1.01));
        assert!((band - 0.05).abs() < 1e-9);
        assert!((noise(&interval(0.999, 1.001)) - BAND_MIN).abs() < 1e-9);
        assert_eq!(verdict(&interval(1.06, 1.2), band), Verdict::Larger);
        assert_eq!(verdict(&interval(1.04, 1.2), band), Verdict::Unproven);
        assert_eq!(verdict(&interval(0.7, 0.9), band), Verdict::Smaller);
    }
}
