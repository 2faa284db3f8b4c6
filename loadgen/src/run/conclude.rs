//! From what the workers found to the result: verdict, figures, doubts.

use std::collections::{BTreeMap, BTreeSet};

use super::{Done, Ground, steady};
use crate::admin::error_name;
use crate::collect::{Collected, StageSum};
use crate::consume::group::GroupResult;
use crate::environment::{Disk, Environment};
use crate::histogram::{Latency, Series};
use crate::observe::Sample;
use crate::observe::pauses::Pauses;
use crate::pace::Stage;
use crate::plan::{Consume, Load, Plan};
use crate::produce::Effort;
use crate::recorder::Window;
use crate::report::text::grouped;
use crate::report::{Backlog, Flow, RunResult, StageResult, ThreadUse, Validity};
use crate::verify::{Oddities, Pair, Reading, Seen, Verdict};
use crate::warnings::{self, Signs, Warning};

/// Everything there is when the workers have ended.
pub struct End {
    pub done: Done,
    pub groups: Vec<GroupResult>,
    pub collected: Collected,
    /// As it was planned.
    pub window: Window,
    pub clock_step_ns: i64,
    pub throttled_ns: u64,
    pub samples: Vec<Sample>,
    pub pauses: Pauses,
}

fn judge(ground: &Ground, end: &End) -> Verdict {
    let mut seen: BTreeMap<(u32, u32), &Vec<Seen>> = BTreeMap::new();
    let mut broken_off: BTreeSet<(u32, u32)> = BTreeSet::new();
    let mut oddities = Oddities::default();
    for consumed in &end.done.consumed {
        oddities.add(&consumed.oddities);
        seen.extend(consumed.seen.iter().map(|(place, seen)| (*place, seen)));
        broken_off.extend(&consumed.broken_off);
    }
    let reading = if ground.share.plan.consume == Consume::Never || !ground.share.plan.check_order {
        Reading::Not
    } else if end.done.consumed.iter().any(|c| c.cut_short) {
        Reading::CutShort
    } else {
        Reading::Whole
    };
    let judge = |subscription: u32| {
        let of = |producer: u32, partition: u32| {
            seen.get(&(subscription, partition))?.get(producer as usize)
        };
        let sent = end.done.produced.iter().flat_map(|p| &p.sent);
        let pairs = sent.map(|s| Pair {
            ledger: &s.ledger,
            seen: of(s.producer, s.partition),
            is_broken_off: broken_off.contains(&(subscription, s.partition)),
        });
        Verdict::judge(pairs, oddities, reading)
    };
    let mut verdict = judge(0);
    (1..ground.share.plan.subscriptions).for_each(|other| verdict.add_readers(&judge(other)));
    verdict.incomplete = end.done.consumed.iter().any(|c| c.incomplete);
    verdict
}

/// The result.
pub fn conclude(ground: &Ground, end: End) -> RunResult {
    let plan = &ground.share.plan;
    let measured_s = match end.done.cut_ns {
        Some(cut) => cut.saturating_sub(end.window.warm_ns) as f64 / 1e9,
        None => plan.duration_s,
    };
    let verdict = judge(ground, &end);
    let mut produced = Flow::default();
    let mut consumed = Flow::default();
    end.done.produced.iter().for_each(|p| produced.add(&p.counts));
    end.done.consumed.iter().for_each(|c| consumed.add(&c.counts));
    produced.per_second(measured_s);
    let mut backlog = None;
    if plan.consume == Consume::After {
        let mut all = Flow::default();
        end.done.consumed.iter().for_each(|c| all.add(&c.all));
        let last = end.done.consumed.iter().map(|c| c.last_ns).max().unwrap_or(0);
        let seconds = last.saturating_sub(end.done.drain_from) as f64 / 1e9;
        all.per_second(seconds);
        backlog = Some(Backlog { seconds, read: all });
        consumed = Flow::default();
    } else {
        consumed.per_second(measured_s);
    }
    let summary = |series: Series| {
        let latency = end.collected.of(series);
        (!latency.is_empty()).then(|| latency.summary())
    };
    let is_open = plan.load != Load::Max;
    let failure = end.done.fatal.clone().or_else(|| nothing_taken(plan, &verdict, &end.done));
    let mut result = RunResult {
        format: crate::report::FORMAT,
        environment: Environment { disk: disk(ground), ..Environment::capture() },
        broker: ground.facts.clone(),
        broker_process: ground.process.clone(),
        device: None,
        objectives: Vec::new(),
        samples: end.samples.clone(),
        pauses: end.pauses,
        plan: plan.clone(),
        durability: ground.durability.clone(),
        measured_s,
        produced,
        consumed,
        backlog,
        produce_latency: summary(Series::Produce).filter(|_| is_open),
        produce_latency_from_send: summary(Series::ProduceSent),
        end_to_end_latency: summary(Series::EndToEnd),
        schedule_lag: summary(Series::Lag),
        send_delay: summary(Series::SendDelay),
        fetch_latency: summary(Series::Fetch),
        caught_up_s: caught_up(ground, &end),
        stages: stage_results(plan, &end.collected.stages),
        groups: end.groups.clone(),
        verdict,
        errors: by_name(end.done.refusals().chain(end.done.failed_fetches())),
        disconnects: end.done.produced.iter().map(|p| p.disconnects).sum::<u64>()
            + end.done.consumed.iter().map(|c| c.disconnects).sum::<u64>(),
        threads: threads(&end),
        warnings: Vec::new(),
        doubts: Vec::new(),
        valid: true,
        validity: Validity::Ok,
        failure,
        seconds: end.collected.seconds.clone(),
    };
    result.doubt(doubts(&result, &end));
    result
}

impl Done {
    /// Records that were answered with an error, by its code.
    fn refusals(&self) -> impl Iterator<Item = (&i16, &u64)> {
        self.produced.iter().flat_map(|p| &p.errors)
    }

    /// Fetches that were answered with an error, by its code.
    fn failed_fetches(&self) -> impl Iterator<Item = (&i16, &u64)> {
        self.consumed.iter().flat_map(|c| &c.errors)
    }
}

fn by_name<'a>(errors: impl Iterator<Item = (&'a i16, &'a u64)>) -> BTreeMap<String, u64> {
    let mut named: BTreeMap<String, u64> = BTreeMap::new();
    for (code, count) in errors {
        *named.entry(error_name(*code)).or_default() += count;
    }
    named
}

/// Why a run has failed of which the broker took nothing: there is nothing that it measured.
fn nothing_taken(plan: &Plan, verdict: &Verdict, done: &Done) -> Option<String> {
    if plan.acks == 0 || verdict.sent == 0 || verdict.acknowledged > 0 {
        return None;
    }
    let errors: Vec<String> = by_name(done.refusals()).into_keys().collect();
    let what = format!("not one of {} records was acknowledged", grouped(verdict.sent));
    Some(if errors.is_empty() {
        format!(
            "{what}: the broker answered nothing until --drain ({} s) was over; look into its log",
            plan.drain_s
        )
    } else {
        let remedy = warnings::refusal_remedy(&errors);
        format!("{what}: the broker answered {}; {remedy}", errors.join(", "))
    })
}

/// The disk that matters: the broker's, if its process was found.
fn disk(ground: &Ground) -> Option<Disk> {
    Disk::of(ground.process.as_ref()?.data_dir.as_ref()?)
}

/// The measured seconds that are whole, without the one after the warm-up.
fn measured_seconds(result: &RunResult) -> (usize, usize) {
    let plan = &result.plan;
    let from = plan.warmup_s.ceil() as usize + 1;
    (from, (plan.warmup_s + result.measured_s).floor() as usize)
}

/// Trends of throughput and of the median latency over the measured seconds; none for a load
/// that is meant to change.
fn trends(result: &RunResult) -> Vec<(&'static str, f64)> {
    if matches!(result.plan.load, Load::Stages(_)) {
        return Vec::new();
    }
    let (from, to) = measured_seconds(result);
    let seconds = result.seconds.iter().filter(|s| (from..to).contains(&(s.second as usize)));
    let records: Vec<f64> = seconds.clone().map(|s| s.produced_records as f64).collect();
    let median = |brief: &Option<crate::collect::Brief>| {
        brief.as_ref().and_then(|b| b.p50.known_ns()).map(|ns| ns as f64)
    };
    let produce: Vec<f64> = seconds.clone().filter_map(|s| median(&s.produce)).collect();
    let end_to_end: Vec<f64> = seconds.filter_map(|s| median(&s.end_to_end)).collect();
    [("throughput", records), ("produce p50", produce), ("end to end p50", end_to_end)]
        .into_iter()
        .filter_map(|(name, values)| Some((name, steady::trend(&values)?)))
        .collect()
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    if count == 0 { 0.0 } else { sum / f64::from(count) }
}

/// How long consumers that began late took to catch up; none if they did not.
fn caught_up(ground: &Ground, end: &End) -> Option<f64> {
    let delay_ns = (ground.share.plan.consumer_delay_s * 1e9) as u64;
    let all: Option<Vec<u64>> = end.done.consumed.iter().map(|c| c.caught_up_ns).collect();
    let last = all?.into_iter().max().filter(|_| delay_ns > 0)?;
    Some(last.saturating_sub(end.window.start_ns + delay_ns) as f64 / 1e9)
}

fn threads(end: &End) -> Vec<ThreadUse> {
    let one = |role, effort: &Effort| {
        let wall = effort.wall_ns.max(1) as f64;
        ThreadUse {
            role,
            cpu_share: effort.cpu_ns as f64 / wall,
            waited_share: effort.run_delay_ns as f64 / wall,
            verify_share: effort.verify_ns as f64 / wall,
        }
    };
    let producers = end.done.produced.iter().map(|p| one("producer", &p.effort));
    producers.chain(end.done.consumed.iter().map(|c| one("consumer", &c.effort))).collect()
}

fn doubts(result: &RunResult, end: &End) -> Vec<Warning> {
    let plan = &result.plan;
    let from_the_future = end.done.consumed.iter().map(|c| c.from_the_future).sum();
    // Not the verdict's: some errors leave open whether the records were stored.
    let refused: u64 = end.done.refusals().map(|(_, count)| count).sum();
    let signs = Signs {
        offered: plan.offered_per_s(result.measured_s),
        achieved: result.produced.records_per_s,
        refused: refused as f64 / (plan.warmup_s + result.measured_s).max(f64::MIN_POSITIVE),
        backlog: end.done.produced.iter().map(|p| p.backlog).sum(),
        threads: result.threads.iter().map(|t| (t.role, t.cpu_share, t.waited_share)).collect(),
        lag: result.schedule_lag.clone(),
        produce: result.produce_latency.clone(),
        end_to_end: result.end_to_end_latency.clone(),
        clock_step_ns: end.clock_step_ns,
        clock_source: Some(result.environment.clock_source.clone()),
        from_the_future,
        throttled_ns: end.throttled_ns,
        stolen_share: mean(end.samples.iter().filter_map(|sample| sample.host_stolen)),
        trends: trends(result),
        pauses: end.pauses,
        measured_s: result.measured_s,
    };
    let mut found = warnings::doubts(&signs);
    let overdue: u64 = end.done.produced.iter().map(|p| p.overdue).sum();
    if overdue > 0 {
        found.push(Warning::Overdue { records: overdue });
    }
    // What a failure has ended says so in its own words.
    if end.done.cut_ns.is_some() && end.done.fatal.is_none() {
        let (measured_s, of_s) = (result.measured_s, plan.duration_s);
        found.push(Warning::Stopped { measured_s, of_s });
    }
    if end.done.consumed.iter().any(|c| c.cut_short) {
        found.push(Warning::ReadingStopped { unread: result.verdict.unread });
    } else if result.verdict.incomplete {
        found
            .push(Warning::ReadIncomplete { limit_s: plan.drain_s, unread: result.verdict.unread });
    }
    if result.verdict.oddities.skipped > 0 {
        found.push(Warning::DeletedUnread { offsets: result.verdict.oddities.skipped });
    }
    if cfg!(debug_assertions) {
        found.push(Warning::DebugBuild);
    }
    if plan.consume == Consume::Never {
        found.push(Warning::NotVerified);
    } else if !plan.check_crc {
        found.push(Warning::CrcUnchecked);
    }
    if let Some(disk) = result.environment.disk.as_ref().filter(|disk| disk.is_memory()) {
        found.push(Warning::NoDevice { file_system: disk.file_system.clone() });
    }
    if plan.acks == 0 {
        found.push(Warning::AcksZero);
    }
    if result.disconnects > 0 {
        found.push(Warning::Disconnects { count: result.disconnects });
    }
    if refused > 0 {
        let errors = by_name(end.done.refusals()).into_keys().collect();
        found.push(Warning::Refused { records: refused, errors });
    }
    let fetches = by_name(end.done.failed_fetches());
    if !fetches.is_empty() {
        let count = fetches.values().sum();
        found.push(Warning::FetchErrors { count, errors: fetches.into_keys().collect() });
    }
    found
}

fn stage_results(plan: &Plan, sums: &[StageSum]) -> Vec<StageResult> {
    let Load::Stages(stages) = &plan.load else { return Vec::new() };
    let result = |(stage, sum): (&Stage, &StageSum)| {
        let seconds = sum.to.saturating_sub(sum.from).max(1) as f64;
        let summary = |latency: &Latency| (!latency.is_empty()).then(|| latency.summary());
        StageResult {
            stage: *stage,
            produced_per_s: sum.produced_records as f64 / seconds,
            produce_latency: summary(&sum.produce),
            end_to_end_latency: summary(&sum.end_to_end),
        }
    };
    stages.iter().zip(sums).map(result).collect()
}
