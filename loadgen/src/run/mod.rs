//! One run from plan to result: set up, start the workers, wait, drain, judge.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use crate::admin::{Admin, TopicMap, error_name};
use crate::clock;
use crate::collect::{self, Collected, Parcel, Role, StageSum};
use crate::consume::{self, Consumed, ReaderSpec, Targets};
use crate::environment::Environment;
use crate::histogram::{Latency, Series};
use crate::pace::{Offer, Stage};
use crate::payload::Filler;
use crate::plan::{Consume, Load, Plan};
use crate::produce::{self, Effort, LaneSpec, Produced};
use crate::recorder::{Recorder, Window};
use crate::report::{Backlog, Flow, RunResult, StageResult, ThreadUse};
use crate::verify::{Oddities, Seen, Verdict};
use crate::warnings::{self, Signs, Warning, Weight};

/// Intervals that may wait for the collector.
const PARCELS_MAX: usize = 1024;
/// Time for the workers to connect before the first intended time, plus per connection.
const HEAD_START_NS: u64 = 150_000_000;
const HEAD_START_PER_CONNECTION_NS: u64 = 300_000;

/// What set-up found and decided.
struct Ground {
    plan: Arc<Plan>,
    run: u32,
    lanes: Vec<LaneSpec>,
    readers: Vec<ReaderSpec>,
    durability: String,
}

/// Run `plan`. `stop` is set on Ctrl-C: the run then ends early and still reports.
///
/// # Errors
/// Says what kept the run from being made at all.
pub fn run(mut plan: Plan, stop: &Arc<AtomicBool>) -> Result<RunResult, String> {
    plan.check()?;
    let mut admin = Admin::connect(&plan.bootstrap_server)?;
    let map = admin.ensure_topic(&plan.topic, plan.partitions, plan.replication_factor)?;
    plan.partitions = map.leaders.len() as u32;
    plan.check()?;
    let ground = prepare(plan, map, &mut admin)?;
    let plan = ground.plan.clone();

    let connections = (ground.lanes.len() + ground.readers.len()) as u64;
    let head_start = HEAD_START_NS + connections * HEAD_START_PER_CONNECTION_NS;
    let start_ns = clock::monotonic_ns() + head_start;
    let warm_ns = start_ns + (plan.warmup_s * 1e9) as u64;
    let window = Window { start_ns, warm_ns, end_ns: warm_ns + (plan.duration_s * 1e9) as u64 };
    let wall_offset = clock::wall_offset_ns();

    let (parcels, collected) = sync_channel(PARCELS_MAX);
    let stages = stage_sums(&plan);
    let collector = thread::spawn(move || collect::collect(&collected, stages, &mut []));
    let targets = Arc::new(Targets::new(plan.partitions));
    let lanes = ground.lanes.len() as u32;
    let consumers = |window: Window| {
        let jobs = split(&ground.readers, plan.consumer_threads).map(|readers| consume::Job {
            plan: plan.clone(),
            run: ground.run,
            producers: lanes,
            readers,
            recorder: Recorder::new(window, Role::Consumer, parcels.clone()),
            targets: targets.clone(),
            stop: stop.clone(),
        });
        jobs.collect::<Vec<_>>().into_iter()
    };
    let mut reading = Vec::new();
    if plan.consume == Consume::During {
        reading = spawn("consumer", consumers(window), consume::run)?;
    }
    let produced = produce_all(&ground, window, &parcels, stop)?;
    let fatal = produced.iter().find_map(|p| p.fatal.clone());

    let drain_from = clock::monotonic_ns();
    let ends = produced.iter().flat_map(|p| &p.sent).map(|s| (s.partition, s.acked_end));
    let ends = ends.chain(unacknowledged_ends(&plan, &mut admin));
    targets.set(ends, drain_from + (plan.drain_s * 1e9) as u64);
    if plan.consume == Consume::After {
        // Nothing of a backlog's age is a latency: its window measures no intended time.
        let window = Window { start_ns: drain_from, warm_ns: drain_from, end_ns: u64::MAX };
        reading = spawn("consumer", consumers(window), consume::run)?;
    }
    let consumed = join(reading)?;
    drop(parcels);
    let collected = collector.join().map_err(|_| "the collector panicked".to_owned())?;
    let clock_step_ns = clock::wall_offset_ns() - wall_offset;

    let fatal = fatal.or_else(|| consumed.iter().find_map(|c| c.fatal.clone()));
    let end = End { produced, consumed, collected, drain_from, clock_step_ns, fatal };
    Ok(conclude(&ground, end, stop.load(Ordering::Relaxed)))
}

fn produce_all(
    ground: &Ground,
    window: Window,
    parcels: &SyncSender<Parcel>,
    stop: &Arc<AtomicBool>,
) -> Result<Vec<Produced>, String> {
    let jobs = split(&ground.lanes, ground.plan.producer_threads).map(|lanes| produce::Job {
        plan: ground.plan.clone(),
        run: ground.run,
        lanes,
        recorder: Recorder::new(window, Role::Producer, parcels.clone()),
        stop: stop.clone(),
    });
    join(spawn("producer", jobs, produce::run)?)
}

/// With acks=0 nothing says how far to read: what the broker has when production has ended.
fn unacknowledged_ends(plan: &Plan, admin: &mut Admin) -> Vec<(u32, i64)> {
    if plan.acks != 0 {
        return Vec::new();
    }
    // The last requests may still be in sockets; there is no event to wait for.
    thread::sleep(std::time::Duration::from_millis(300));
    let ends = admin.end_offsets(&plan.topic, plan.partitions).unwrap_or_default();
    (0..).zip(ends).collect()
}

fn prepare(plan: Plan, map: TopicMap, admin: &mut Admin) -> Result<Ground, String> {
    let mut random = [0u8; 4];
    getrandom::fill(&mut random).map_err(|e| format!("no random number from the kernel: {e}"))?;
    let mut lanes = lanes(&plan, &map);
    if plan.idempotent {
        for lane in &mut lanes {
            lane.identity = admin.producer_id()?;
        }
    }
    let starts = admin.end_offsets(&plan.topic, plan.partitions)?;
    let readers = readers(&plan, &map, &starts);
    let durability = admin.durability(&plan.topic);
    Ok(Ground { plan: Arc::new(plan), run: u32::from_ne_bytes(random), lanes, readers, durability })
}

/// Partitions by the leader that serves them.
fn by_leader(map: &TopicMap) -> BTreeMap<SocketAddr, Vec<u32>> {
    let mut groups: BTreeMap<SocketAddr, Vec<u32>> = BTreeMap::new();
    for (partition, leader) in map.leaders.iter().enumerate() {
        groups.entry(*leader).or_default().push(partition as u32);
    }
    groups
}

/// One lane per producer, leader and connection, with a share of the rate that follows its
/// share of the partitions.
fn lanes(plan: &Plan, map: &TopicMap) -> Vec<LaneSpec> {
    let mut lanes: Vec<LaneSpec> = Vec::new();
    for producer in 0..plan.producers {
        for (leader, partitions) in by_leader(map) {
            let connections = plan.connections.min(partitions.len() as u32) as usize;
            for connection in 0..connections {
                let mut mine: Vec<u32> =
                    partitions.iter().copied().skip(connection).step_by(connections).collect();
                // Producers begin at different partitions, or all would hit the same one.
                let turn = producer as usize % mine.len();
                mine.rotate_left(turn);
                lanes.push(LaneSpec {
                    producer: lanes.len() as u32,
                    address: leader,
                    partitions: mine,
                    identity: (-1, -1),
                    offer: None,
                });
            }
        }
    }
    if let Some(stages) = plan.stages() {
        let all: usize = lanes.iter().map(|lane| lane.partitions.len()).sum();
        let count = lanes.len() as f64;
        let mut seeds = Filler::new(plan.seed);
        for (index, lane) in lanes.iter_mut().enumerate() {
            let share = lane.partitions.len() as f64 / all as f64;
            let mine = |stage: &Stage| Stage {
                from: stage.from * share,
                to: stage.to * share,
                seconds: stage.seconds,
            };
            lane.offer = Some(Offer {
                stages: stages.iter().map(mine).collect(),
                arrivals: plan.arrivals,
                phase: index as f64 / count,
                seed: seeds.next_u64(),
            });
        }
    }
    lanes
}

/// The parts of a changing load that are reported for themselves; none of an unchanging one.
fn stage_sums(plan: &Plan) -> Vec<StageSum> {
    let Load::Stages(stages) = &plan.load else { return Vec::new() };
    let mut from = plan.warmup_s;
    let sum = |stage: &Stage| {
        let begin = from;
        from += stage.seconds;
        StageSum::between(begin, from)
    };
    stages.iter().map(sum).collect()
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

fn readers(plan: &Plan, map: &TopicMap, starts: &[i64]) -> Vec<ReaderSpec> {
    let mut readers = Vec::new();
    if plan.consume == Consume::Never {
        return readers;
    }
    for (leader, partitions) in by_leader(map) {
        let consumers = plan.consumers.min(partitions.len() as u32) as usize;
        for consumer in 0..consumers {
            let mine = partitions.iter().skip(consumer).step_by(consumers);
            let start = |p: &u32| (*p, starts.get(*p as usize).copied().unwrap_or(0));
            readers.push(ReaderSpec { address: leader, partitions: mine.map(start).collect() });
        }
    }
    readers
}

/// Deal `all` to at most `hands` workers; none gets nothing.
fn split<T: Clone>(all: &[T], hands: u32) -> impl Iterator<Item = Vec<T>> {
    let hands = (hands as usize).min(all.len());
    (0..hands).map(move |hand| all.iter().skip(hand).step_by(hands).cloned().collect())
}

fn spawn<J: Send + 'static, R: Send + 'static>(
    name: &str,
    jobs: impl Iterator<Item = J>,
    work: fn(J) -> R,
) -> Result<Vec<thread::JoinHandle<R>>, String> {
    jobs.enumerate()
        .map(|(index, job)| {
            thread::Builder::new()
                .name(format!("{name}-{index}"))
                .spawn(move || work(job))
                .map_err(|error| format!("cannot start a {name} thread: {error}"))
        })
        .collect()
}

fn join<R>(threads: Vec<thread::JoinHandle<R>>) -> Result<Vec<R>, String> {
    let joined = threads.into_iter().map(thread::JoinHandle::join);
    joined.map(|r| r.map_err(|_| "a worker thread panicked".to_owned())).collect()
}

/// Everything there is when the workers have ended.
struct End {
    produced: Vec<Produced>,
    consumed: Vec<Consumed>,
    collected: Collected,
    drain_from: u64,
    clock_step_ns: i64,
    fatal: Option<String>,
}

fn judge(ground: &Ground, end: &End) -> Verdict {
    let mut seen: BTreeMap<u32, &Vec<Seen>> = BTreeMap::new();
    let mut oddities = Oddities::default();
    for consumed in &end.consumed {
        oddities.add(&consumed.oddities);
        seen.extend(consumed.seen.iter().map(|(partition, seen)| (*partition, seen)));
    }
    let of = |producer: u32, partition: u32| seen.get(&partition)?.get(producer as usize);
    let sent = end.produced.iter().flat_map(|p| &p.sent);
    let pairs = sent.map(|s| (&s.ledger, of(s.producer, s.partition)));
    let checked = ground.plan.consume != Consume::Never && ground.plan.check_order;
    let mut verdict = Verdict::judge(pairs, oddities, checked);
    verdict.incomplete = end.consumed.iter().any(|c| c.incomplete);
    verdict
}

fn conclude(ground: &Ground, end: End, stopped: bool) -> RunResult {
    let plan = &ground.plan;
    let verdict = judge(ground, &end);
    let mut produced = Flow::default();
    let mut consumed = Flow::default();
    end.produced.iter().for_each(|p| produced.add(&p.counts));
    end.consumed.iter().for_each(|c| consumed.add(&c.counts));
    produced.per_second(plan.duration_s);
    let mut backlog = None;
    if plan.consume == Consume::After {
        let mut all = Flow::default();
        end.consumed.iter().for_each(|c| all.add(&c.all));
        let last = end.consumed.iter().map(|c| c.last_ns).max().unwrap_or(0);
        let seconds = last.saturating_sub(end.drain_from) as f64 / 1e9;
        all.per_second(seconds);
        backlog = Some(Backlog { seconds, read: all });
        consumed = Flow::default();
    } else {
        consumed.per_second(plan.duration_s);
    }
    let summary = |series: Series| {
        let latency = end.collected.of(series);
        (!latency.is_empty()).then(|| latency.summary())
    };
    let is_open = plan.load != Load::Max;
    let mut errors: BTreeMap<String, u64> = BTreeMap::new();
    let refused = end.produced.iter().flat_map(|p| &p.errors);
    for (code, count) in refused.chain(end.consumed.iter().flat_map(|c| &c.errors)) {
        *errors.entry(error_name(*code)).or_default() += count;
    }
    let mut result = RunResult {
        format: crate::report::FORMAT,
        environment: Environment::capture(),
        plan: plan.as_ref().clone(),
        durability: ground.durability.clone(),
        produced,
        consumed,
        backlog,
        produce_latency: summary(Series::Produce).filter(|_| is_open),
        produce_latency_from_send: summary(Series::ProduceSent),
        end_to_end_latency: summary(Series::EndToEnd),
        schedule_lag: summary(Series::Lag),
        send_delay: summary(Series::SendDelay),
        fetch_latency: summary(Series::Fetch),
        stages: stage_results(plan, &end.collected.stages),
        verdict,
        errors,
        disconnects: end.produced.iter().map(|p| p.disconnects).sum::<u64>()
            + end.consumed.iter().map(|c| c.disconnects).sum::<u64>(),
        threads: threads(&end),
        warnings: Vec::new(),
        valid: true,
        failure: end.fatal.clone(),
        seconds: end.collected.seconds.clone(),
    };
    result.warnings = doubts(&result, &end, stopped);
    result.valid = result.warnings.iter().all(|w| w.weight() < Weight::Invalid);
    result
}

fn threads(end: &End) -> Vec<ThreadUse> {
    let one = |role, effort: &Effort| {
        let wall = effort.wall_ns.max(1) as f64;
        ThreadUse {
            role,
            cpu_share: effort.cpu_ns as f64 / wall,
            waited_share: effort.run_delay_ns as f64 / wall,
        }
    };
    let producers = end.produced.iter().map(|p| one("producer", &p.effort));
    producers.chain(end.consumed.iter().map(|c| one("consumer", &c.effort))).collect()
}

fn doubts(result: &RunResult, end: &End, stopped: bool) -> Vec<Warning> {
    let plan = &result.plan;
    let from_the_future = end.consumed.iter().map(|c| c.from_the_future).sum();
    let signs = Signs {
        offered: plan.offered_per_s(),
        achieved: result.produced.records_per_s,
        backlog: end.produced.iter().map(|p| p.backlog).sum(),
        threads: result.threads.iter().map(|t| (t.role, t.cpu_share, t.waited_share)).collect(),
        lag: result.schedule_lag.clone(),
        produce: result.produce_latency.clone(),
        end_to_end: result.end_to_end_latency.clone(),
        clock_step_ns: end.clock_step_ns,
        clock_source: Some(result.environment.clock_source.clone()),
        from_the_future,
    };
    let mut found = warnings::doubts(&signs);
    if stopped {
        found.push(Warning::Stopped);
    }
    if plan.consume == Consume::Never {
        found.push(Warning::NotVerified);
    } else if !plan.check_crc {
        found.push(Warning::CrcUnchecked);
    }
    if plan.acks == 0 {
        found.push(Warning::AcksZero);
    }
    if result.verdict.incomplete && !stopped {
        found.push(Warning::ReadIncomplete { limit_s: plan.drain_s });
    }
    if result.disconnects > 0 {
        found.push(Warning::Disconnects { count: result.disconnects });
    }
    if result.verdict.refused > 0 || !result.errors.is_empty() {
        found.push(Warning::Refused {
            records: result.verdict.refused,
            errors: result.errors.keys().cloned().collect(),
        });
    }
    found
}

#[cfg(test)]
mod tests;
