//! The highest rate that keeps its objectives: short trials find the place, long ones confirm
//! it, and the answer is an interval, because no rate is a border to the record.
//!
//! [`Search`] decides and knows no clock; [`find`] runs what it asks for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::admin::Admin;
use crate::interrupt;
use crate::plan::{Load, Plan};
use crate::report::RunResult;
use crate::report::text::objective;
use crate::run::{self, Extras};
use crate::slo::Objective;

/// A rate to try.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Trial {
    /// Records per second.
    pub rate: f64,
    /// Whether it is a long one.
    pub confirms: bool,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Next {
    /// Run this.
    Try(Trial),
    /// Done: `low` was confirmed to keep the objectives, `high` does not keep them.
    Found {
        /// Kept, in a long trial.
        low: f64,
        /// Missed.
        high: f64,
    },
    /// Even the lowest rate that was tried does not keep them.
    Nothing {
        /// That rate.
        tried: f64,
    },
    /// The highest rate allowed still keeps them.
    Beyond {
        /// That rate, confirmed.
        kept: f64,
    },
}

/// Trials until then are given up: the objective and the broker do not agree with themselves.
const TRIALS_MAX: usize = 60;
/// Below this there is nothing to find.
const RATE_MIN: f64 = 1.0;

/// The search's state.
#[derive(Clone, Debug)]
pub struct Search {
    /// Where it begins.
    start: f64,
    /// Not beyond this.
    limit: f64,
    /// The interval is narrow enough when `high / low` is below this.
    ratio: f64,
    kept: Option<f64>,
    missed: Option<f64>,
    confirmed: Option<f64>,
}

impl Search {
    /// From `start` records per second, up to `limit`, until the interval is narrower than
    /// `precision` (0.1: a tenth).
    pub fn new(start: f64, limit: f64, precision: f64) -> Self {
        let ratio = 1.0 + precision;
        Self { start: start.min(limit), limit, ratio, kept: None, missed: None, confirmed: None }
    }

    /// What to do, given all that was tried.
    pub fn next(&self) -> Next {
        let short = |rate: f64| Next::Try(Trial { rate, confirms: false });
        match (self.kept, self.missed) {
            (None, None) => short(self.start),
            (None, Some(missed)) if missed <= RATE_MIN => Next::Nothing { tried: missed },
            (None, Some(missed)) => short((missed / 4.0).max(RATE_MIN)),
            (Some(kept), None) if kept >= self.limit => {
                if self.confirmed == Some(kept) {
                    Next::Beyond { kept }
                } else {
                    Next::Try(Trial { rate: kept, confirms: true })
                }
            }
            (Some(kept), None) => short((kept * 2.0).min(self.limit)),
            (Some(kept), Some(missed)) if missed / kept > self.ratio => {
                // Halfway by ratio.
                short((kept * missed).sqrt())
            }
            (Some(kept), Some(missed)) => {
                if self.confirmed == Some(kept) {
                    Next::Found { low: kept, high: missed }
                } else {
                    Next::Try(Trial { rate: kept, confirms: true })
                }
            }
        }
    }

    /// What is known before the search has ended, in words.
    fn standing(&self) -> String {
        let kept = match self.kept {
            Some(kept) if self.confirmed == Some(kept) => format!("{kept:.0} kept, confirmed"),
            Some(kept) => format!("{kept:.0} kept in a short trial"),
            None => "none kept".into(),
        };
        let missed =
            self.missed.map_or("none missed".into(), |missed| format!("{missed:.0} missed"));
        format!("{kept}, {missed}")
    }

    /// A trial has ended.
    pub fn tried(&mut self, trial: Trial, is_kept: bool) {
        if is_kept {
            self.kept = Some(self.kept.map_or(trial.rate, |kept| kept.max(trial.rate)));
            if trial.confirms {
                self.confirmed = Some(trial.rate);
            }
        } else {
            self.missed = Some(self.missed.map_or(trial.rate, |missed| missed.min(trial.rate)));
            // A short trial was too kind: what it said about this rate and above is void.
            if self.kept.is_some_and(|kept| kept >= trial.rate) {
                self.kept = None;
            }
        }
    }
}

/// How to search.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The run; its load and duration are replaced.
    pub plan: Plan,
    /// What is to be kept; that the broker takes what is offered goes without saying.
    pub objectives: Vec<Objective>,
    /// Records per second to begin at.
    pub start: f64,
    /// Not beyond this.
    pub limit: f64,
    /// How narrow the interval has to be, as a share.
    pub precision: f64,
    /// Seconds of a short trial.
    pub short_s: f64,
    /// Seconds of a confirming one.
    pub long_s: f64,
}

/// One trial and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Tried {
    /// What was tried.
    pub trial: Trial,
    /// Whether the objectives were kept.
    pub is_kept: bool,
    /// Why not, or what was measured.
    pub why: String,
    /// How often it was made; it is repeated when it fell short by so little that a neighbour's
    /// burst of work may have been the reason.
    pub attempts: u32,
    /// Why this may not be the last word on the rate.
    #[serde(skip)]
    doubt: Option<Doubt>,
}

/// What may be wrong with a miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    /// Too few answers stand behind a percentile: a longer trial knows.
    TooFewAnswers,
    /// A little less than the offered rate was acknowledged. A few milliseconds without a core at
    /// the end of a trial do that; a broker that cannot bear the rate does it each time.
    NearlySustained,
}

/// The answer.
#[derive(Clone, Debug, Serialize)]
pub struct Answer {
    /// See [`crate::report::FORMAT`].
    pub format: u32,
    /// The highest rate that was confirmed, records per second.
    pub low: Option<f64>,
    /// The lowest rate that failed.
    pub high: Option<f64>,
    /// In words.
    pub text: String,
    /// Whether a signal ended the search before it had its answer.
    pub interrupted: bool,
    /// All trials in their order; not one that was cut short.
    pub trials: Vec<Tried>,
}

/// Of the offered rate at least this must be acknowledged.
const SUSTAINED: f64 = 0.99;
/// From this share on one miss is not believed...
const NEARLY_SUSTAINED: f64 = 0.9;
/// ...but so many in a row are.
const ATTEMPTS_MAX: u32 = 4;

/// Whether a trial may have missed `offered` records/s by acknowledging `achieved` only, and what
/// is to be thought of that.
fn shortfall(achieved: f64, offered: f64) -> Option<Option<Doubt>> {
    let is_near = achieved >= offered * NEARLY_SUSTAINED;
    (achieved < offered * SUSTAINED).then_some(is_near.then_some(Doubt::NearlySustained))
}

fn judge(settings: &Settings, trial: Trial, result: &RunResult) -> Tried {
    let judged: Vec<_> = settings.objectives.iter().map(|o| o.judge(result)).collect();
    let achieved = result.produced.records_per_s;
    let missed = judged.iter().find(|judged| judged.is_met == Some(false));
    let unknown = judged.iter().find(|judged| judged.is_met.is_none());
    let short = shortfall(achieved, trial.rate);
    let (is_kept, doubt, why) = if !result.verdict.is_clean() {
        (false, None, "records were lost or damaged".into())
    } else if result.verdict.unread > 0 {
        (false, None, format!("reading did not come to the end in {} s", result.plan.drain_s))
    } else if let Some(missed) = missed {
        (false, None, objective(missed))
    } else if let Some(doubt) = short {
        (false, doubt, format!("{achieved:.0} records/s were acknowledged"))
    } else if let Some(unknown) = unknown {
        (false, Some(Doubt::TooFewAnswers), objective(unknown))
    } else {
        (true, None, judged.iter().map(objective).collect::<Vec<_>>().join(", "))
    };
    Tried { trial, is_kept, why, attempts: 1, doubt }
}

/// Make `trial` with `measure`, which is given its seconds, until it is known what to think of it.
fn settle(
    settings: &Settings,
    trial: Trial,
    mut measure: impl FnMut(f64) -> Result<Tried, String>,
) -> Result<Tried, String> {
    let mut seconds = if trial.confirms { settings.long_s } else { settings.short_s };
    let mut attempts = 1;
    loop {
        let tried = Tried { attempts, ..measure(seconds)? };
        match tried.doubt {
            Some(Doubt::NearlySustained) if attempts < ATTEMPTS_MAX => attempts += 1,
            // A low rate needs longer until enough answers stand behind a percentile.
            Some(Doubt::TooFewAnswers) if seconds < settings.long_s => {
                seconds = (seconds * 2.0).min(settings.long_s);
            }
            Some(Doubt::TooFewAnswers) => {
                return Err(format!(
                    "{}: {seconds} s at {:.0} records/s are too short to know; give longer trials \
                     (--long) or a percentile that needs fewer answers",
                    tried.why, trial.rate
                ));
            }
            _ => return Ok(tried),
        }
    }
}

/// Run one trial on a topic of its own.
fn attempt(
    settings: &Settings,
    trial: Trial,
    seconds: f64,
    topic: String,
    stop: &Arc<AtomicBool>,
) -> Result<Tried, String> {
    let mut plan = settings.plan.clone();
    plan.load = Load::Rate(trial.rate);
    plan.duration_s = seconds;
    plan.topic = topic.clone();
    interrupt::go_on(stop)?;
    let result = run::run_with(plan, stop, Extras::default());
    // An interrupted one, too, must leave nothing behind.
    let admin = Admin::connect(&settings.plan.bootstrap_server);
    let deleted = admin.and_then(|mut admin| admin.delete_topic(&topic));
    let result = result?;
    deleted?;
    // A trial that was cut short says nothing about its rate.
    interrupt::go_on(stop)?;
    match result.failure {
        Some(why) => Err(why),
        None => Ok(judge(settings, trial, &result)),
    }
}

/// Search. `progress` is told each trial as it ends.
///
/// # Errors
/// What kept a trial from being made, or that there is no end to it. After a signal there is an
/// answer as far as it is known.
pub fn find(
    settings: &Settings,
    stop: &Arc<AtomicBool>,
    mut progress: impl FnMut(&Tried),
) -> Result<Answer, String> {
    let mut search = Search::new(settings.start, settings.limit, settings.precision);
    let mut trials: Vec<Tried> = Vec::new();
    let topic = settings.plan.topic.clone();
    loop {
        let trial = match search.next() {
            Next::Try(trial) => trial,
            other => return Ok(answer(other, trials)),
        };
        if trials.len() >= TRIALS_MAX {
            return Err(format!(
                "{TRIALS_MAX} trials and no end: the same rate keeps the objectives at one time \
                 and misses them at another; give a kinder objective or a coarser --precision"
            ));
        }
        let topic = format!("{topic}-find-{}-{}", std::process::id(), trials.len());
        let tried = settle(settings, trial, |seconds| {
            attempt(settings, trial, seconds, topic.clone(), stop)
        });
        if stop.load(Ordering::Relaxed) {
            if let Ok(tried) = tried {
                search.tried(trial, tried.is_kept);
                progress(&tried);
                trials.push(tried);
            }
            return Ok(interrupted(&search, trials));
        }
        let tried = tried?;
        search.tried(trial, tried.is_kept);
        progress(&tried);
        trials.push(tried);
    }
}

fn answer(next: Next, trials: Vec<Tried>) -> Answer {
    let (low, high, text) = match next {
        Next::Found { low, high } => (
            Some(low),
            Some(high),
            format!("between {low:.0} records/s (kept, confirmed) and {high:.0} (missed)"),
        ),
        Next::Beyond { kept } => {
            (Some(kept), None, format!("{kept:.0} records/s or more: --limit was reached"))
        }
        Next::Nothing { tried } => {
            (None, Some(tried), format!("none: {tried:.0} records/s already misses an objective"))
        }
        Next::Try(_) => (None, None, "not finished".into()),
    };
    Answer { format: crate::report::FORMAT, low, high, text, interrupted: false, trials }
}

/// What is known when a signal comes: a rate counts as kept when a long trial has confirmed it.
fn interrupted(search: &Search, trials: Vec<Tried>) -> Answer {
    let count = trials.len();
    Answer {
        format: crate::report::FORMAT,
        low: search.confirmed.filter(|confirmed| search.kept == Some(*confirmed)),
        high: search.missed,
        text: format!("not known, interrupted after {count} trials: {}", search.standing()),
        interrupted: true,
        trials,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Search against a broker that keeps its objectives up to `knee`, a little more in short
    /// trials.
    fn search(start: f64, limit: f64, knee: f64, kindness: f64) -> (Next, usize) {
        let mut search = Search::new(start, limit, 0.1);
        for count in 0..TRIALS_MAX {
            match search.next() {
                Next::Try(trial) => {
                    let bears = if trial.confirms { knee } else { knee * kindness };
                    search.tried(trial, trial.rate <= bears);
                }
                other => return (other, count),
            }
        }
        panic!("no end");
    }

    #[test]
    fn the_knee_lies_in_the_interval_from_wherever_one_begins() {
        for start in [1.0, 900.0, 1_000_000.0] {
            let (found, trials) = search(start, 1e9, 52_345.0, 1.0);
            let Next::Found { low, high } = found else { panic!("{found:?}") };
            assert!(low <= 52_345.0 && high > 52_345.0 && high / low <= 1.1, "{low} to {high}");
            assert!(trials < 30, "{trials} trials from {start}");
        }
    }

    #[test]
    fn short_trials_that_were_too_kind_are_corrected_by_long_ones() {
        let (found, _) = search(1000.0, 1e9, 50_000.0, 1.5);
        let Next::Found { low, high } = found else { panic!("{found:?}") };
        assert!(low <= 50_000.0 && high > 50_000.0, "{low} to {high}");
    }

    /// What `settle` makes of trials that end so one after the other, and their seconds.
    fn settled(ends: &[(bool, Option<Doubt>)]) -> (Result<Tried, String>, Vec<f64>) {
        let settings = Settings {
            plan: Plan::default(),
            objectives: Vec::new(),
            start: 100.0,
            limit: 100.0,
            precision: 0.1,
            short_s: 2.0,
            long_s: 5.0,
        };
        let trial = Trial { rate: 100.0, confirms: false };
        let mut lasted = Vec::new();
        let settled = settle(&settings, trial, |seconds| {
            let (is_kept, doubt) = ends[lasted.len()];
            lasted.push(seconds);
            Ok(Tried { trial, is_kept, why: "p99".into(), attempts: 1, doubt })
        });
        (settled, lasted)
    }

    #[test]
    fn a_trial_that_is_too_short_to_know_is_made_longer_and_is_no_miss() {
        let unknown = (false, Some(Doubt::TooFewAnswers));
        let (tried, lasted) = settled(&[unknown, unknown, (true, None)]);
        assert!(tried.unwrap().is_kept);
        assert_eq!(lasted, [2.0, 4.0, 5.0]);
        let (tried, lasted) = settled(&[unknown; 3]);
        let why = tried.unwrap_err();
        assert!(why.contains("too short to know") && why.contains("--long"), "{why}");
        assert_eq!(lasted.len(), 3);
    }

    #[test]
    fn one_burst_of_a_neighbour_is_no_miss_and_the_same_each_time_is() {
        let near = (false, Some(Doubt::NearlySustained));
        let (tried, lasted) = settled(&[near, near, (true, None)]);
        let tried = tried.unwrap();
        assert_eq!((tried.is_kept, tried.attempts), (true, 3));
        assert_eq!(lasted, [2.0; 3], "no longer than before");
        let (tried, lasted) = settled(&[near; 4]);
        let tried = tried.unwrap();
        assert_eq!((tried.is_kept, tried.attempts, lasted.len()), (false, 4, 4));
        let (tried, lasted) = settled(&[(false, None)]);
        assert_eq!((tried.unwrap().is_kept, lasted.len()), (false, 1), "far off is believed");
    }

    #[test]
    fn how_far_a_rate_falls_short_decides_what_is_thought_of_it() {
        assert_eq!(shortfall(990.0, 1000.0), None);
        assert_eq!(shortfall(989.0, 1000.0), Some(Some(Doubt::NearlySustained)));
        assert_eq!(shortfall(900.0, 1000.0), Some(Some(Doubt::NearlySustained)));
        assert_eq!(shortfall(899.0, 1000.0), Some(None));
    }

    #[test]
    fn no_rate_and_every_rate_are_answers_too() {
        assert_eq!(search(1000.0, 1e6, 0.5, 1.0).0, Next::Nothing { tried: 1.0 });
        assert_eq!(search(1000.0, 1e5, 1e9, 1.0).0, Next::Beyond { kept: 1e5 });
    }
}
