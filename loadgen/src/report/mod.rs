//! The result of a run, defined once; [`text`] prints it for people, [`json`] writes it for
//! programs. `loadgen/docs/RESULT.md` documents the JSON fields.

pub mod html;
pub mod json;
pub mod text;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::admin::BrokerFacts;
use crate::collect::Second;
use crate::consume::group::GroupResult;
use crate::device::Device;
use crate::environment::Environment;
use crate::histogram::Summary;
use crate::observe::Sample;
use crate::observe::find::Found;
use crate::observe::pauses::Pauses;
use crate::pace::Stage;
use crate::plan::Plan;
use crate::recorder::Counts;
use crate::slo::{Judged, Objective};
use crate::verify::Verdict;
use crate::warnings::{Warning, Weight};

/// Version of the JSON format; grows when a field changes its meaning or goes.
pub const FORMAT: u32 = 1;

/// Records and bytes over the measured window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Flow {
    /// Records.
    pub records: u64,
    /// Bytes of their batches, as sent.
    pub bytes: u64,
    /// Answers that acknowledged or brought them.
    pub answers: u64,
    /// Records per second.
    pub records_per_s: f64,
    /// Bytes of batches per second.
    pub bytes_per_s: f64,
    /// Answers per second.
    pub answers_per_s: f64,
}

impl Flow {
    /// Add a worker's counts.
    pub fn add(&mut self, counts: &Counts) {
        self.records += counts.records;
        self.bytes += counts.bytes;
        self.answers += counts.answers;
    }

    /// Divide by the time it took.
    pub fn per_second(&mut self, seconds: f64) {
        if seconds > 0.0 {
            self.records_per_s = self.records as f64 / seconds;
            self.bytes_per_s = self.bytes as f64 / seconds;
            self.answers_per_s = self.answers as f64 / seconds;
        }
    }
}

/// Reading everything back after production has ended.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Backlog {
    /// From the first request to the last record.
    pub seconds: f64,
    /// What was read.
    pub read: Flow,
}

/// How one worker thread fared while load was offered.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ThreadUse {
    /// `producer` or `consumer`.
    pub role: &'static str,
    /// CPU time as a share of the time, 0..1.
    pub cpu_share: f64,
    /// Time spent ready to run without a core, as a share.
    pub waited_share: f64,
    /// CPU time spent on verification, as a share of the time: part of `cpu_share`.
    pub verify_share: f64,
}

/// One stage of a changing load. Its latencies are those of the whole seconds in it; of a stage
/// of 3 s or more the first second is left out.
#[derive(Clone, Debug, Serialize)]
pub struct StageResult {
    /// What was offered.
    pub stage: Stage,
    /// Records acknowledged per second.
    pub produced_per_s: f64,
    /// From intended send time to answer.
    pub produce_latency: Option<Summary>,
    /// From intended send time to the consumer.
    pub end_to_end_latency: Option<Summary>,
}

/// A run and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct RunResult {
    /// See [`FORMAT`].
    pub format: u32,
    /// Where.
    pub environment: Environment,
    /// What the broker tells about itself.
    pub broker: BrokerFacts,
    /// Its process, when it runs on this host and may be looked at.
    pub broker_process: Option<Found>,
    /// The ceilings of a disk, if they were asked for.
    pub device: Option<Device>,
    /// What was asked, with every default filled in.
    pub plan: Plan,
    /// What the broker says about flushing before it answers.
    pub durability: String,
    /// Seconds that were measured: as planned, or fewer when somebody or a failure ended the load.
    pub measured_s: f64,
    /// Acknowledged in the measured window.
    pub produced: Flow,
    /// Read in the measured window (`--consume during`).
    pub consumed: Flow,
    /// Read afterwards (`--consume after`).
    pub backlog: Option<Backlog>,
    /// From intended send time to answer; open loop only.
    pub produce_latency: Option<Summary>,
    /// From actual send to answer.
    pub produce_latency_from_send: Option<Summary>,
    /// From intended send time to the consumer.
    pub end_to_end_latency: Option<Summary>,
    /// The generator's own lateness: its pacing error.
    pub schedule_lag: Option<Summary>,
    /// From intended send time to actual send; open loop only.
    pub send_delay: Option<Summary>,
    /// From a Fetch request to its answer with records.
    pub fetch_latency: Option<Summary>,
    /// How long consumers that began late (`--consumer-delay`) took to catch up, seconds; none
    /// if they did not.
    pub caught_up_s: Option<f64>,
    /// The parts of a load that changes, in its order.
    pub stages: Vec<StageResult>,
    /// Consumer groups (`--groups`): rebalances, commits, lags.
    pub groups: Vec<GroupResult>,
    /// Lost, duplicated, reordered and so on.
    pub verdict: Verdict,
    /// Kafka errors by name: refused records, failed fetches.
    pub errors: BTreeMap<String, u64>,
    /// Broken connections.
    pub disconnects: u64,
    /// The generator's threads.
    pub threads: Vec<ThreadUse>,
    /// Doubts.
    pub warnings: Vec<Warning>,
    /// The same doubts in words.
    pub doubts: Vec<Doubt>,
    /// False when a doubt makes the figures worthless.
    pub valid: bool,
    /// The same in three grades.
    pub validity: Validity,
    /// Objectives that were given, and whether they were kept.
    pub objectives: Vec<Judged>,
    /// Why the run failed, if it did: it ended early, or nothing was accepted.
    pub failure: Option<String>,
    /// The time series.
    pub seconds: Vec<Second>,
    /// What broker and machine did meanwhile, on the same time axis.
    pub samples: Vec<Sample>,
    /// How long machine and disk stood still while it was measured.
    pub pauses: Pauses,
}

/// A doubt in words.
#[derive(Clone, Debug, Serialize)]
pub struct Doubt {
    /// How much it weighs.
    pub weight: Weight,
    /// What is the matter.
    pub text: String,
    /// What to do about it.
    pub remedy: &'static str,
}

impl From<&Warning> for Doubt {
    fn from(warning: &Warning) -> Self {
        Self { weight: warning.weight(), text: warning.text(), remedy: warning.remedy() }
    }
}

/// Whether the figures can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Validity {
    /// No doubt that matters.
    Ok,
    /// The figures may be off; the warnings say why.
    Suspect,
    /// They are not the broker's figures.
    Invalid,
}

/// An objective was missed (as k6 has it).
pub const OBJECTIVE_MISSED: u8 = 99;

/// The grade that these doubts leave.
pub fn validity(warnings: &[Warning]) -> Validity {
    match warnings.iter().map(Warning::weight).max() {
        None | Some(Weight::Note) => Validity::Ok,
        Some(Weight::Suspect) => Validity::Suspect,
        Some(Weight::Invalid) => Validity::Invalid,
    }
}

impl RunResult {
    /// Doubt it for these reasons, too.
    pub fn doubt(&mut self, warnings: Vec<Warning>) {
        self.doubts.extend(warnings.iter().map(Doubt::from));
        self.warnings.extend(warnings);
        self.validity = validity(&self.warnings);
        self.valid = self.validity != Validity::Invalid;
    }

    /// Hold the result against `objectives`. A percentile that cannot be known is neither kept
    /// nor missed: it makes the run invalid as an answer.
    pub fn hold_against(&mut self, objectives: &[Objective]) {
        self.objectives = objectives.iter().map(|objective| objective.judge(self)).collect();
    }

    /// What the process should exit with: 4 a promise was broken, 1 failed, 3 not valid, 99 an
    /// objective was missed, 0 fine. What was lost before a failure is lost: who takes a failure
    /// for bad luck must not miss it.
    pub fn exit_code(&self) -> u8 {
        if !self.verdict.is_clean() {
            4
        } else if self.failure.is_some() {
            1
        } else if !self.valid || self.objectives.iter().any(|judged| judged.is_met.is_none()) {
            3
        } else if self.objectives.iter().any(|judged| judged.is_met == Some(false)) {
            OBJECTIVE_MISSED
        } else {
            0
        }
    }
}
