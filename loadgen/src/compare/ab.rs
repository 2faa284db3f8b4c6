//! Two targets against each other: rounds of A, B and A again in shuffled order, each with a
//! fresh directory and process (or a fresh topic, where only an address is given). The two A of
//! a round tell the noise of this machine; B is judged by its ratio to them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use serde_json::Value;

use super::stats::{self, Interval, Verdict};
use super::{METRICS, Metric};
use crate::admin::Admin;
use crate::child::Broker;
use crate::payload::Filler;
use crate::plan::Plan;
use crate::report::RunResult;
use crate::run::{self, Extras};

/// What is measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A broker that runs already.
    Address(String),
    /// A broker to start: the binary, and what is added to `serve`.
    Command {
        /// The binary.
        binary: PathBuf,
        /// Further arguments.
        more: Vec<String>,
    },
}

impl Target {
    /// `HOST:PORT`, or a binary with further arguments behind spaces.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace().map(str::to_owned);
        let first = words.next().unwrap_or_default();
        let binary = PathBuf::from(&first);
        let more: Vec<String> = words.collect();
        if binary.is_file() {
            return Ok(Self::Command { binary, more });
        }
        let is_address =
            first.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        if is_address && more.is_empty() {
            return Ok(Self::Address(first));
        }
        Err(format!("{text:?} is neither HOST:PORT nor a file that could be started"))
    }
}

/// What to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The one that is compared with.
    pub a: Target,
    /// The one that is judged.
    pub b: Target,
    /// Rounds of three runs.
    pub rounds: usize,
    /// Where directories of started brokers are made.
    pub dir: PathBuf,
    /// The run, for both.
    pub plan: Plan,
}

/// One figure judged.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    /// Its name.
    pub metric: &'static str,
    /// Median of A's runs.
    pub a: f64,
    /// Median of B's.
    pub b: f64,
    /// B beside the mean of A's two runs of the same round.
    pub ratio: Interval,
    /// A beside A, later beside earlier.
    pub same: Interval,
    /// How far two measurements of the same lie apart here, as a share.
    pub noise: f64,
    /// What follows.
    pub verdict: Verdict,
    /// `better`, `worse`, or `no difference proven`.
    pub word: &'static str,
    /// B/A of each round.
    pub rounds: Vec<f64>,
}

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// See [`crate::report::FORMAT`].
    pub format: u32,
    /// A.
    pub a: Target,
    /// B.
    pub b: Target,
    /// The run's plan.
    pub plan: Plan,
    /// The figures.
    pub judged: Vec<Judged>,
    /// Runs that were not OK: round, which, validity or failure.
    pub doubtful: Vec<String>,
    /// All results: per round A, B, A again.
    pub rounds: Vec<[Value; 3]>,
}

/// The three runs of a round.
const NAMES: [&str; 3] = ["A", "B", "A again"];

/// Do it; `progress` is told each run as it ends.
///
/// # Errors
/// What kept a run from being made.
pub fn compare(
    settings: &Settings,
    stop: &Arc<AtomicBool>,
    mut progress: impl FnMut(usize, &str, &RunResult),
) -> Result<Comparison, String> {
    let mut random = Filler::new(settings.plan.seed);
    let mut rounds = Vec::new();
    let mut doubtful = Vec::new();
    for round in 0..settings.rounds {
        let mut order = [0, 1, 2];
        for last in (1..order.len()).rev() {
            order.swap(last, (random.next_u64() % (last as u64 + 1)) as usize);
        }
        let mut results = [Value::Null, Value::Null, Value::Null];
        for which in order {
            let target = if which == 1 { &settings.b } else { &settings.a };
            let result = one(settings, target, round * 3 + which, stop)?;
            if stop.load(Ordering::Relaxed) {
                return Err("stopped by hand".into());
            }
            progress(round, NAMES[which], &result);
            match result.exit_code() {
                0 => {}
                3 => doubtful.push(format!("round {}, {}: not valid", round + 1, NAMES[which])),
                code => {
                    return Err(format!(
                        "round {}, {}: the run ended with {code}; {}",
                        round + 1,
                        NAMES[which],
                        result.failure.as_deref().unwrap_or("records were lost or damaged")
                    ));
                }
            }
            results[which] = serde_json::to_value(&result).map_err(|e| e.to_string())?;
        }
        rounds.push(results);
    }
    let judged = METRICS.iter().filter_map(|metric| judge(metric, &rounds)).collect();
    Ok(Comparison {
        format: crate::report::FORMAT,
        a: settings.a.clone(),
        b: settings.b.clone(),
        plan: settings.plan.clone(),
        judged,
        doubtful,
        rounds,
    })
}

/// A directory that goes when it is dropped.
struct Fresh(PathBuf);

impl Drop for Fresh {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("loadgen: cannot remove {}: {error}", self.0.display());
        }
    }
}

fn fresh(dir: &Path, number: usize) -> Result<Fresh, String> {
    let path = dir.join(format!("loadgen-ab-{}-{number}", std::process::id()));
    fs::create_dir(&path).map_err(|error| format!("--dir {}: {error}", dir.display()))?;
    Ok(Fresh(path))
}

fn one(
    settings: &Settings,
    target: &Target,
    number: usize,
    stop: &Arc<AtomicBool>,
) -> Result<RunResult, String> {
    let mut plan = settings.plan.clone();
    let extras = Extras { observes: true, ..Extras::default() };
    match target {
        Target::Command { binary, more } => {
            let place = fresh(&settings.dir, number)?;
            let broker = Broker::start_with(binary, more, &place.0, stop)?;
            plan.bootstrap_server = broker.address.to_string();
            run::run_with(plan, stop, extras)
        }
        Target::Address(address) => {
            plan.bootstrap_server.clone_from(address);
            plan.topic = format!("{}-ab-{}-{number}", plan.topic, std::process::id());
            let topic = plan.topic.clone();
            let result = run::run_with(plan, stop, extras);
            Admin::connect(address)?.delete_topic(&topic)?;
            result
        }
    }
}

fn judge(metric: &Metric, rounds: &[[Value; 3]]) -> Option<Judged> {
    let values: Option<Vec<[f64; 3]>> = rounds
        .iter()
        .map(|[a, b, again]| Some([metric.of(a)?, metric.of(b)?, metric.of(again)?]))
        .collect();
    let values = values?;
    let ratios: Vec<f64> = values.iter().map(|[a, b, again]| b / ((a + again) / 2.0)).collect();
    let same: Vec<f64> = values.iter().map(|[a, _, again]| again / a).collect();
    let (ratio, same) = (stats::bootstrap(&ratios, 1)?, stats::bootstrap(&same, 2)?);
    let noise = stats::noise(&same);
    let verdict = stats::verdict(&ratio, noise);
    let word = match verdict {
        Verdict::Unproven => "no difference proven",
        Verdict::Larger if metric.more_is_better => "better",
        Verdict::Smaller if !metric.more_is_better => "better",
        Verdict::Larger | Verdict::Smaller => "worse",
    };
    let in_a: Vec<f64> = values.iter().flat_map(|[a, _, again]| [*a, *again]).collect();
    let in_b: Vec<f64> = values.iter().map(|[_, b, _]| *b).collect();
    Some(Judged {
        metric: metric.name,
        a: stats::median(&in_a)?,
        b: stats::median(&in_b)?,
        ratio,
        same,
        noise,
        verdict,
        word,
        rounds: ratios,
    })
}

/// For people.
pub fn text(comparison: &Comparison) -> String {
    use std::fmt::Write;
    let mut out = format!(
        "{:<20} {:>16} {:>16} {:>7} {:>17} {:>7}\n",
        "", "A", "B", "B/A", "95 % interval", "noise"
    );
    for judged in &comparison.judged {
        let Some(metric) = METRICS.iter().find(|metric| metric.name == judged.metric) else {
            continue;
        };
        let interval = format!("{:.3} to {:.3}", judged.ratio.low, judged.ratio.high);
        let _ = writeln!(
            out,
            "{:<20} {:>16} {:>16} {:>7.3} {interval:>17} {:>5.1} %  {}",
            judged.metric,
            metric.text(judged.a),
            metric.text(judged.b),
            judged.ratio.median,
            judged.noise * 100.0,
            judged.word
        );
    }
    for doubt in &comparison.doubtful {
        let _ = writeln!(out, "doubtful             {doubt}");
    }
    let of = |word: &str| {
        let names = comparison.judged.iter().filter(|judged| judged.word == word);
        names.map(|judged| judged.metric).collect::<Vec<_>>().join(", ")
    };
    let verdict = match (of("better").as_str(), of("worse").as_str()) {
        ("", "") => "no difference proven".to_owned(),
        (better, "") => format!("B is better: {better}"),
        ("", worse) => format!("B is worse: {worse}"),
        (better, worse) => format!("B is better: {better}; worse: {worse}"),
    };
    let rounds = comparison.rounds.len();
    let _ = writeln!(out, "verdict              {verdict} ({rounds} rounds of A, B and A again)");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::{Delay, Sink, Store};
    use serde_json::json;

    fn round(a: f64, b: f64, again: f64) -> [Value; 3] {
        [a, b, again].map(|ns| json!({"produce_latency": {"p50": {"ns": ns}}}))
    }

    #[test]
    fn a_difference_beyond_the_noise_is_named_and_one_within_it_is_not() {
        let metric = METRICS.iter().find(|metric| metric.name == "produce p50").unwrap();
        let apart: Vec<[Value; 3]> =
            (0..5).map(|i| round(100.0 + f64::from(i), 150.0, 101.0 + f64::from(i))).collect();
        let judged = judge(metric, &apart).unwrap();
        assert_eq!((judged.word, judged.verdict), ("worse", Verdict::Larger), "{judged:?}");
        let noisy: Vec<[Value; 3]> =
            (0..5).map(|i| round(100.0, 115.0, if i % 2 == 0 { 60.0 } else { 160.0 })).collect();
        assert_eq!(judge(metric, &noisy).unwrap().word, "no difference proven");
        assert!(judge(metric, &[[Value::Null, Value::Null, Value::Null]]).is_none());
    }

    #[test]
    fn a_slower_broker_is_found_out_and_the_same_one_is_not() {
        let store = Store::Keep { bytes_max: 256 << 20, fault: None };
        let sink = |delay: &str| {
            let delay: Delay = delay.parse().unwrap();
            let prepare = crate::clock::sharpen_timers;
            Sink::start_with("127.0.0.1:0", store, Some(delay), prepare).unwrap()
        };
        let (fast, slow) = (sink("fixed:20ms"), sink("fixed:60ms"));
        let target = |sink: &Sink| Target::Address(sink.address.to_string());
        let plan = Plan {
            topic: "t".into(),
            load: crate::plan::Load::Rate(500.0),
            record_bytes: 100.into(),
            records_per_batch: 1,
            in_flight: 1000,
            duration_s: 0.4,
            warmup_s: 0.1,
            ..Plan::default()
        };
        let run = |b: &Sink| {
            let (a, b, dir) = (target(&fast), target(b), ".".into());
            let settings = Settings { a, b, rounds: 3, dir, plan: plan.clone() };
            compare(&settings, &Arc::default(), |_, _, _| ()).unwrap()
        };
        let found = run(&slow);
        let p50 = found.judged.iter().find(|judged| judged.metric == "produce p50").unwrap();
        assert_eq!(p50.word, "worse", "{}", text(&found));
        assert!((2.0..4.0).contains(&p50.ratio.median), "{}", text(&found));
        let same = run(&fast);
        let p50 = same.judged.iter().find(|judged| judged.metric == "produce p50").unwrap();
        assert_eq!(p50.word, "no difference proven", "{}", text(&same));
    }

    #[test]
    fn targets_are_addresses_or_files() {
        assert_eq!(Target::parse("h:9092"), Ok(Target::Address("h:9092".into())));
        let own = std::env::current_exe().unwrap();
        let text = format!("{} --set a=b", own.display());
        let more = vec!["--set".to_owned(), "a=b".to_owned()];
        assert_eq!(Target::parse(&text), Ok(Target::Command { binary: own, more }));
        assert!(Target::parse("nothing").is_err() && Target::parse("h:9092 --x").is_err());
    }
}
