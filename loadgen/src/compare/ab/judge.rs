//! From the runs of a comparison to its verdict: the noise floor from A against A, then each
//! figure of B beside it. Pure arithmetic over results.

use serde::Serialize;

use super::{OneRun, Part};
use crate::compare::Metric;
use crate::compare::stats::{self, Interval, Verdict};

/// Fewer rounds show nothing: any two runs differ by something.
pub const ROUNDS_MIN: usize = 3;

/// How far two measurements of the same thing lie apart.
#[derive(Clone, Debug, Serialize)]
pub struct Floor {
    /// Of which figure.
    pub metric: &'static str,
    /// A again beside A, and its interval.
    pub ratio: Interval,
    /// How far that reaches from 1, as a share, and 0.02 at least.
    pub noise: f64,
    /// The ratio of each round.
    pub rounds: Vec<f64>,
    /// Median of all these runs of A.
    pub a: f64,
}

/// One figure judged.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// Its name.
    pub metric: &'static str,
    /// Whether more of it is better.
    pub more_is_better: bool,
    /// Median of A's runs beside B.
    pub a: f64,
    /// Median of B's.
    pub b: f64,
    /// B beside A of the same round.
    pub ratio: Interval,
    /// The noise floor: see [`Floor::noise`].
    pub noise: f64,
    /// A beside B's runs over A in the rounds of A against A: 1 if the machine stayed the same.
    pub drift: f64,
    /// What follows.
    pub verdict: Verdict,
    /// `better`, `worse`, `no difference shown`, or `too few rounds`.
    pub word: &'static str,
    /// B/A of each round.
    pub rounds: Vec<f64>,
}

/// The figure in the run `which` of each round of `part`; none when a run lacks it.
fn values(metric: &Metric, runs: &[OneRun], part: Part, which: &str) -> Option<Vec<f64>> {
    let of_part = runs.iter().filter(|run| run.part == part && run.which == which);
    let mut of_part: Vec<&OneRun> = of_part.collect();
    of_part.sort_by_key(|run| run.round);
    of_part.into_iter().map(|run| metric.of(&run.result)).collect()
}

fn ratios(of: &[f64], over: &[f64]) -> Vec<f64> {
    of.iter().zip(over).map(|(of, over)| of / over).collect()
}

impl Floor {
    /// From the rounds of A against A; none when a run lacks the figure.
    pub fn of(metric: &Metric, runs: &[OneRun]) -> Option<Self> {
        let first = values(metric, runs, Part::Noise, "A")?;
        let again = values(metric, runs, Part::Noise, "A again")?;
        let rounds = ratios(&again, &first);
        let ratio = stats::bootstrap(&rounds, 2)?;
        let noise = stats::noise(&ratio);
        let a = stats::median(&[first, again].concat())?;
        Some(Self { metric: metric.name, ratio, noise, rounds, a })
    }
}

impl Judged {
    /// From the rounds of A against B and the noise; none when a run lacks the figure.
    pub fn of(metric: &Metric, runs: &[OneRun], floor: &[Floor]) -> Option<Self> {
        let floor = floor.iter().find(|floor| floor.metric == metric.name)?;
        let in_a = values(metric, runs, Part::Compare, "A")?;
        let in_b = values(metric, runs, Part::Compare, "B")?;
        let rounds = ratios(&in_b, &in_a);
        let ratio = stats::bootstrap(&rounds, 1)?;
        let is_enough = rounds.len() >= ROUNDS_MIN;
        let verdict =
            if is_enough { stats::verdict(&ratio, floor.noise) } else { Verdict::Unproven };
        let word = match verdict {
            _ if !is_enough => "too few rounds",
            Verdict::Unproven => "no difference shown",
            Verdict::Larger if metric.more_is_better => "better",
            Verdict::Smaller if !metric.more_is_better => "better",
            Verdict::Larger | Verdict::Smaller => "worse",
        };
        let a = stats::median(&in_a)?;
        Some(Self {
            metric: metric.name,
            more_is_better: metric.more_is_better,
            a,
            b: stats::median(&in_b)?,
            ratio,
            noise: floor.noise,
            drift: a / floor.a,
            verdict,
            word,
            rounds,
        })
    }

    /// How far A itself moved between the halves, if that is more than the noise.
    fn drifted(&self) -> Option<String> {
        let drift = self.drift - 1.0;
        let is_far = drift.abs() > self.noise && self.rounds.len() >= ROUNDS_MIN;
        is_far.then(|| format!("{} {:+.1} %", self.metric, drift * 100.0))
    }
}

/// A doubt: A itself changed between the halves by more than the noise, so the floor may be too
/// low.
pub fn drift(judged: &[Judged]) -> Option<String> {
    let moved: Vec<String> = judged.iter().filter_map(Judged::drifted).collect();
    (!moved.is_empty()).then(|| {
        format!(
            "A itself moved from A against A to A against B by more than its noise ({}): the \
             machine changed, and the floor may be too low",
            moved.join(", ")
        )
    })
}

/// The verdict in one line.
pub fn conclusion(judged: &[Judged]) -> String {
    let rounds = judged.iter().map(|judged| judged.rounds.len()).min().unwrap_or(0);
    let of = |word: &str| {
        let names = judged.iter().filter(|judged| judged.word == word);
        names.map(|judged| judged.metric).collect::<Vec<_>>().join(", ")
    };
    match (of("better").as_str(), of("worse").as_str()) {
        _ if rounds < ROUNDS_MIN => {
            format!("none: {ROUNDS_MIN} rounds are the least that can show a difference")
        }
        ("", "") => "no difference shown".to_owned(),
        (better, "") => format!("B is better: {better}"),
        ("", worse) => format!("B is worse: {worse}"),
        (better, worse) => format!("B is better: {better}; worse: {worse}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::METRICS;
    use serde_json::json;

    fn runs(noise: &[(f64, f64)], compare: &[(f64, f64)]) -> Vec<OneRun> {
        let pair = |part, round: usize, [first, second]: [(&'static str, f64); 2]| {
            [first, second].map(|(which, ns)| OneRun {
                part,
                round: round + 1,
                which,
                place: 1,
                folder: None,
                result: json!({"produce_latency": {"p50": {"ns": ns}}}),
            })
        };
        let noise = noise.iter().enumerate().flat_map(|(round, (a, again))| {
            pair(Part::Noise, round, [("A again", *again), ("A", *a)])
        });
        let compare = compare
            .iter()
            .enumerate()
            .flat_map(|(round, (a, b))| pair(Part::Compare, round, [("A", *a), ("B", *b)]));
        noise.chain(compare).collect()
    }

    fn judge(noise: &[(f64, f64)], compare: &[(f64, f64)]) -> Judged {
        let metric = METRICS.iter().find(|metric| metric.name == "produce p50").unwrap();
        let runs = runs(noise, compare);
        let floor: Vec<Floor> = Floor::of(metric, &runs).into_iter().collect();
        Judged::of(metric, &runs, &floor).unwrap()
    }

    const QUIET: [(f64, f64); 3] = [(100.0, 101.0), (102.0, 101.0), (99.0, 100.0)];

    #[test]
    fn a_difference_beyond_the_noise_is_named_and_one_within_it_is_not() {
        let far = judge(&QUIET, &[(100.0, 150.0), (101.0, 149.0), (100.0, 152.0)]);
        assert_eq!((far.word, far.verdict), ("worse", Verdict::Larger), "{far:?}");
        let near = judge(&QUIET, &[(100.0, 80.0), (101.0, 81.0), (100.0, 79.0)]);
        assert_eq!(near.word, "better", "{near:?}");
        // The same 50 % on a machine where A itself differs by as much.
        let loud = [(100.0, 60.0), (100.0, 155.0), (100.0, 90.0)];
        let within = judge(&loud, &[(100.0, 150.0), (101.0, 149.0), (100.0, 152.0)]);
        assert_eq!(within.word, "no difference shown", "{within:?}");
        assert!((within.noise - 0.55).abs() < 1e-9, "{within:?}");
        let band = judge(&QUIET, &[(100.0, 101.5), (100.0, 101.6), (100.0, 101.7)]);
        assert_eq!((band.word, band.noise), ("no difference shown", stats::BAND_MIN));
    }

    #[test]
    fn two_rounds_show_nothing_and_say_so() {
        let few = judge(&QUIET[..2], &[(100.0, 300.0), (100.0, 310.0)]);
        assert_eq!(few.word, "too few rounds");
        assert!(conclusion(&[few]).starts_with("none: 3 rounds"), "said in words");
    }

    #[test]
    fn a_machine_that_changed_between_the_halves_is_doubted() {
        let same = judge(&QUIET, &[(100.0, 100.0); 3]);
        assert_eq!(drift(&[same]), None);
        let slower = judge(&QUIET, &[(130.0, 130.0); 3]);
        assert_eq!(slower.word, "no difference shown");
        let why = drift(&[slower]).unwrap();
        assert!(why.contains("+29.4 %") && why.contains("produce p50"), "{why}");
    }

    #[test]
    fn a_figure_that_a_run_lacks_is_left_out() {
        let metric = METRICS.iter().find(|metric| metric.name == "produce p99").unwrap();
        assert!(Floor::of(metric, &runs(&QUIET, &QUIET)).is_none());
    }
}
