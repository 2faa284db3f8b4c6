//! Two targets against each other. First A against A: rounds of two runs in shuffled order, whose
//! ratios say how far two measurements of the same thing lie apart here (the noise floor). Then
//! A against B in the same design. Each run has a fresh directory and process (or a fresh topic,
//! where only an address is given).

mod judge;
mod target;

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use serde_json::Value;

use super::METRICS;
use crate::folder::Folder;
use crate::payload::Filler;
use crate::plan::Plan;
use crate::report::RunResult;

pub use judge::{Floor, Judged};
pub use target::Target;

/// What to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The one that is compared with.
    pub a: Target,
    /// The one that is judged.
    pub b: Target,
    /// Rounds of two runs in each part.
    pub rounds: usize,
    /// Where directories of started brokers are made.
    pub dir: PathBuf,
    /// The run, for both.
    pub plan: Plan,
}

/// The two halves of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// A against A.
    Noise,
    /// A against B.
    Compare,
}

/// One run of a comparison.
#[derive(Clone, Debug, Serialize)]
pub struct OneRun {
    /// The half it belongs to.
    pub part: Part,
    /// Its round in that half, from 1.
    pub round: usize,
    /// `A`, `B`, or `A again` (the second A of a round of A against A).
    pub which: &'static str,
    /// 1 or 2: its place in the round, which was drawn.
    pub place: usize,
    /// Its folder within the comparison's; none without one.
    pub folder: Option<String>,
    /// All about it, as `loadgen run` gives it.
    pub result: Value,
}

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// See [`crate::report::FORMAT`].
    pub format: u32,
    /// `ab`: what a reader of a folder tells it from a run's by.
    pub kind: &'static str,
    /// A.
    pub a: Target,
    /// B.
    pub b: Target,
    /// The run's plan.
    pub plan: Plan,
    /// Rounds of each half, as planned.
    pub rounds: usize,
    /// Whether a signal ended it before all of them were made.
    pub interrupted: bool,
    /// What A against A gave.
    pub floor: Vec<Floor>,
    /// The figures of A against B.
    pub judged: Vec<Judged>,
    /// What follows, in one line.
    pub verdict: String,
    /// Why it might not: runs that were not valid, a machine that changed between the halves.
    pub doubtful: Vec<String>,
    /// All runs, in the order in which they were made.
    pub runs: Vec<OneRun>,
}

/// What happens meanwhile.
pub enum Progress<'a> {
    /// A run has ended.
    Run(&'a OneRun, &'a RunResult),
    /// The noise is known.
    Floor(&'a [Floor]),
}

/// Do it; `progress` is told each step as it ends.
///
/// # Errors
/// What kept a run from being made. After a signal there is what the runs until then say.
pub fn compare(
    settings: &Settings,
    folder: Option<&Folder>,
    stop: &Arc<AtomicBool>,
    mut progress: impl FnMut(Progress<'_>),
) -> Result<Comparison, String> {
    let mut random = Filler::new(settings.plan.seed);
    let mut runs: Vec<OneRun> = Vec::new();
    let mut doubtful = Vec::new();
    let mut floor: Vec<Floor> = Vec::new();
    let mut interrupted = false;
    let floor_of = |runs: &[OneRun]| -> Vec<Floor> {
        METRICS.iter().filter_map(|metric| Floor::of(metric, runs)).collect()
    };
    'parts: for part in [Part::Noise, Part::Compare] {
        for round in 1..=settings.rounds {
            let mut order = match part {
                Part::Noise => [("A", &settings.a), ("A again", &settings.a)],
                Part::Compare => [("A", &settings.a), ("B", &settings.b)],
            };
            if random.next_u64() & 1 == 1 {
                order.swap(0, 1);
            }
            for (place, (which, target)) in order.into_iter().enumerate() {
                let number = runs.len();
                let name = format!("runs/{:03}-{}", number + 1, which.replace(' ', "-"));
                let inner = folder.map(|folder| folder.inner(&name)).transpose()?;
                let plan = settings.plan.clone();
                let result = target.measure(plan, &settings.dir, number, inner.as_ref(), stop);
                if stop.load(Ordering::Relaxed) {
                    // Its own folder tells of the run that was cut short; nothing is judged by it.
                    let planned = settings.rounds * 4;
                    doubtful.push(format!("interrupted after {number} of {planned} runs"));
                    interrupted = true;
                    leave(inner.as_ref(), result.ok().as_ref())?;
                    break 'parts;
                }
                let result = result?;
                leave(inner.as_ref(), Some(&result))?;
                let name_of_run = format!("round {round} of {part}, {which}");
                match result.exit_code() {
                    0 => {}
                    3 => doubtful.push(format!("{name_of_run}: not valid")),
                    code => return Err(format!("{name_of_run}: {}", why_ended(&result, code))),
                }
                let one = OneRun {
                    part,
                    round,
                    which,
                    place: place + 1,
                    folder: inner.is_some().then_some(name),
                    result: serde_json::to_value(&result).map_err(|e| e.to_string())?,
                };
                progress(Progress::Run(&one, &result));
                runs.push(one);
            }
        }
        if part == Part::Noise {
            floor = floor_of(&runs);
            progress(Progress::Floor(&floor));
        }
    }
    if floor.is_empty() {
        floor = floor_of(&runs);
    }
    let judged: Vec<Judged> =
        METRICS.iter().filter_map(|metric| Judged::of(metric, &runs, &floor)).collect();
    doubtful.extend(judge::drift(&judged));
    Ok(Comparison {
        format: crate::report::FORMAT,
        kind: "ab",
        a: settings.a.clone(),
        b: settings.b.clone(),
        plan: settings.plan.clone(),
        rounds: settings.rounds,
        interrupted,
        verdict: verdict(interrupted, &judged),
        floor,
        judged,
        doubtful,
        runs,
    })
}

/// Leave a run's files in its folder; a run that never came to be leaves no folder.
fn leave(folder: Option<&Folder>, result: Option<&RunResult>) -> Result<(), String> {
    match (folder, result) {
        (Some(folder), Some(result)) => folder.finish(result),
        (Some(folder), None) => folder.discard(),
        (None, _) => Ok(()),
    }
}

fn verdict(interrupted: bool, judged: &[Judged]) -> String {
    let verdict = judge::conclusion(judged);
    if interrupted { format!("interrupted; until then {verdict}") } else { verdict }
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Noise => "A against A",
            Self::Compare => "A against B",
        })
    }
}

fn why_ended(result: &RunResult, code: u8) -> String {
    let why = result.failure.as_deref().unwrap_or("records were lost or damaged");
    format!("the run ended with {code}; {why}")
}

/// The noise floor in one line.
pub fn floor_text(floor: &[Floor]) -> String {
    let parts = floor.iter().map(|f| format!("{} {:.1} %", f.metric, f.noise * 100.0));
    parts.collect::<Vec<_>>().join(", ")
}

/// For people.
pub fn text(comparison: &Comparison) -> String {
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
    if comparison.judged.is_empty() && !comparison.floor.is_empty() {
        let _ = writeln!(out, "noise floor          {}", floor_text(&comparison.floor));
    }
    for doubt in &comparison.doubtful {
        let _ = writeln!(out, "doubtful             {doubt}");
    }
    let rounds = comparison.rounds;
    let planned = if comparison.interrupted { "planned: " } else { "" };
    let _ = writeln!(
        out,
        "verdict              {} ({planned}{rounds} rounds of A against A, then {rounds} of A \
         against B)",
        comparison.verdict
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::{Delay, Sink, Store};

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
        let place = tempfile::tempdir().unwrap();
        let run = |b: &Sink, folder: Option<&Folder>| {
            let (a, b, dir) = (target(&fast), target(b), ".".into());
            let settings = Settings { a, b, rounds: 3, dir, plan: plan.clone() };
            let mut told = Vec::new();
            let told_of = |step: Progress<'_>| {
                told.push(match step {
                    Progress::Run(one, _) => format!("{} {}", one.part, one.which),
                    Progress::Floor(floor) => floor_text(floor),
                });
            };
            (compare(&settings, folder, &Arc::default(), told_of).unwrap(), told)
        };
        let folder = Folder::create(&place.path().join("ab")).unwrap();
        let (found, told) = run(&slow, Some(&folder));
        let p50 = found.judged.iter().find(|judged| judged.metric == "produce p50").unwrap();
        assert!((2.0..4.0).contains(&p50.ratio.median), "{}", text(&found));
        // On a machine so busy that A differs from A by as much as from B nothing is shown.
        if p50.noise < 0.5 {
            assert_eq!(p50.word, "worse", "{}", text(&found));
            let (_, worse) = found.verdict.split_once("worse: ").unwrap();
            assert!(worse.starts_with("produce p50"), "{}", found.verdict);
        } else {
            assert_ne!(p50.word, "better", "{}", text(&found));
        }
        // First A against A, six runs, then what they say, then A against B.
        assert!(told[..6].iter().all(|step| step.starts_with("A against A A")), "{told:?}");
        assert!(told[6].contains("produce p50 ") && told[7].starts_with("A against B"), "{told:?}");
        assert_eq!(found.runs.iter().filter(|run| run.which == "B").count(), 3);
        for run in &found.runs {
            let inner = place.path().join("ab").join(run.folder.as_ref().unwrap());
            assert!(inner.join("report.html").is_file() && inner.join("latency.hlog").is_file());
        }
        let (same, _) = run(&fast, None);
        let p50 = same.judged.iter().find(|judged| judged.metric == "produce p50").unwrap();
        assert_eq!(p50.word, "no difference shown", "{}", text(&same));
    }
}
