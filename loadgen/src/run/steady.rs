//! Whether the measured time was steady: a trend in throughput or latency means that the figures
//! depend on when one looked. Pure arithmetic on one value per second.

/// A trend is believed when this share of all pairs of seconds agrees on its direction...
const AGREEMENT: f64 = 0.5;
/// ...and its last third differs from its first by this much.
const CHANGE: f64 = 0.25;
/// With fewer seconds nothing can be said.
const SECONDS_MIN: usize = 9;
/// With more, neighbours are averaged: the pairs would be too many.
const POINTS_MAX: usize = 300;

/// How much the last third differs from the first, as a share of the first, when `values` rise or
/// fall for most of the time; none when they are steady or too few.
pub fn trend(values: &[f64]) -> Option<f64> {
    if values.len() < SECONDS_MIN {
        return None;
    }
    let group = values.len().div_ceil(POINTS_MAX);
    let points: Vec<f64> = values.chunks(group).map(mean).collect();
    let third = points.len() / 3;
    let (first, last) = (mean(&points[..third]), mean(&points[points.len() - third..]));
    let change = if first > 0.0 { last / first - 1.0 } else { return None };
    (kendall(&points).abs() > AGREEMENT && change.abs() > CHANGE).then_some(change)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Kendall's rank correlation with time: 1 when every later value is larger, -1 when smaller.
fn kendall(points: &[f64]) -> f64 {
    let (mut sum, mut pairs) = (0i64, 0i64);
    for (index, earlier) in points.iter().enumerate() {
        for later in &points[index + 1..] {
            pairs += 1;
            sum += i64::from(later > earlier) - i64::from(later < earlier);
        }
    }
    sum as f64 / pairs.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trend_that_matters_is_one() {
        let rising: Vec<f64> = (0..30).map(|i| 100.0 + 3.0 * f64::from(i)).collect();
        assert!(trend(&rising).unwrap() > 0.4);
        let falling: Vec<f64> = rising.iter().rev().copied().collect();
        assert!(trend(&falling).unwrap() < -0.25);
        let flat: Vec<f64> = (0..30).map(|i| 100.0 + f64::from(i % 2)).collect();
        assert_eq!(trend(&flat), None);
        let noisy: Vec<f64> = (0..30).map(|i| f64::from((i * 7919) % 31)).collect();
        assert_eq!(trend(&noisy), None, "large changes without a direction");
        let slight: Vec<f64> = (0..30).map(|i| 100.0 + 0.1 * f64::from(i)).collect();
        assert_eq!(trend(&slight), None, "a direction without a change that matters");
        assert_eq!(trend(&rising[..5]), None);
        let long: Vec<f64> = (0..100_000).map(f64::from).collect();
        assert!(trend(&long).is_some());
    }
}
