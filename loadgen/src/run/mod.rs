//! One run from plan to result: set up, start the workers, wait, drain, judge.

mod conclude;
mod groups;
mod layout;
mod steady;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use crate::admin::{Admin, BrokerFacts, TopicMap};
use crate::clock;
use crate::collect::{self, Parcel, Role, StageSum, Watcher};
use crate::consume::{self, Consumed, ReaderSpec, Targets};
use crate::environment;
use crate::folder::Folder;
use crate::live::{self, Live};
use crate::observe::Observer;
use crate::observe::find::{self, Found};
use crate::pace::Stage;
use crate::plan::{Consume, Load, Plan};
use crate::produce::{self, LaneSpec, Produced};
use crate::recorder::{Recorder, Window};
use crate::report::RunResult;
use conclude::{End, conclude};
use groups::Groups;
use layout::{lanes, readers};

/// Intervals that may wait for the collector.
const PARCELS_MAX: usize = 1024;
/// Time for the workers to connect before the first intended time, plus per connection.
const HEAD_START_NS: u64 = 150_000_000;
const HEAD_START_PER_CONNECTION_NS: u64 = 300_000;
/// Who ends a run by hand does not want to wait for long until everything is read back.
const DRAIN_BY_HAND_S: f64 = 10.0;

/// What set-up found and decided.
struct Ground {
    plan: Arc<Plan>,
    run: u32,
    lanes: Vec<LaneSpec>,
    readers: Vec<ReaderSpec>,
    durability: String,
    facts: BrokerFacts,
    process: Option<Found>,
    groups: Option<Groups>,
}

/// What a run leaves besides its result.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extras<'a> {
    /// Where its histograms go.
    pub folder: Option<&'a Folder>,
    /// Whether broker and machine are observed.
    pub observes: bool,
    /// How it is shown while it goes on, if at all.
    pub live: Option<live::Wanted>,
}

/// Run `plan`. `stop` is set on Ctrl-C: the run then ends early and still reports.
///
/// # Errors
/// Says what kept the run from being made at all.
pub fn run(plan: Plan, stop: &Arc<AtomicBool>) -> Result<RunResult, String> {
    run_with(plan, stop, Extras::default())
}

/// The same, leaving `extras`.
///
/// # Errors
/// Says what kept the run from being made at all.
pub fn run_with(
    mut plan: Plan,
    stop: &Arc<AtomicBool>,
    extras: Extras<'_>,
) -> Result<RunResult, String> {
    plan.check()?;
    let mut admin = Admin::connect(&plan.bootstrap_server)?;
    let map = admin.ensure_topic(&plan)?;
    plan.partitions = map.leaders.len() as u32;
    plan.check()?;
    let leader = map.leaders.first().copied();
    let mut ground = prepare(plan, map, &mut admin)?;
    if extras.observes {
        ground.facts = admin.broker_facts();
        ground.process = leader.and_then(find::listener);
    }
    let plan = ground.plan.clone();

    if let Some(groups) = &mut ground.groups {
        groups.join()?;
        groups.await_all(plan.partitions, stop)?;
    }
    let connections = (ground.lanes.len() + ground.readers.len()) as u64;
    let head_start = HEAD_START_NS + connections * HEAD_START_PER_CONNECTION_NS;
    let start_ns = clock::monotonic_ns() + head_start;
    let warm_ns = start_ns + (plan.warmup_s * 1e9) as u64;
    let window = Window { start_ns, warm_ns, end_ns: warm_ns + (plan.duration_s * 1e9) as u64 };
    let wall_offset = clock::wall_offset_ns();
    let throttled = environment::throttled();

    let (parcels, collected) = sync_channel(PARCELS_MAX);
    let stages = stage_sums(&plan);
    let mut watchers: Vec<Box<dyn Watcher>> = Vec::new();
    if let Some(folder) = extras.folder {
        watchers.push(folder.watcher(Duration::from_nanos(head_start))?);
    }
    let live = match extras.live {
        Some(wanted) => Live::start(wanted, plan.clone(), window, stop.clone())?,
        None => None,
    };
    watchers.extend(live.as_ref().map(Live::watcher));
    let collector = thread::spawn(move || collect::collect(&collected, stages, &mut watchers));
    let observer = extras.observes.then(|| Observer::start(start_ns, ground.process.clone()));
    let observer = observer.transpose().map_err(|error| format!("observing: {error}"))?;
    let mut done = work(&ground, window, parcels, stop, &mut admin)?;
    let collected = collector.join().map_err(|_| "the collector panicked".to_owned())?;
    drop(live);
    let clock_step_ns = clock::wall_offset_ns() - wall_offset;

    let mut groups = Vec::new();
    if let Some(mut members) = ground.groups.take() {
        groups = members.finish(&mut admin);
        done.fatal = done.fatal.or_else(|| members.fatal());
        if let Some(consumed) = done.consumed.first_mut() {
            consumed.seen.extend(members.left_behind());
        }
    }
    let end = End {
        done,
        groups,
        collected,
        window,
        clock_step_ns,
        throttled_ns: throttled_since(throttled),
        samples: observer.map(Observer::finish).unwrap_or_default(),
    };
    Ok(conclude(&ground, end))
}

/// What the workers found.
#[derive(Debug, Default)]
struct Done {
    produced: Vec<Produced>,
    consumed: Vec<Consumed>,
    /// When the load was ended by hand, if it was.
    cut_ns: Option<u64>,
    /// When reading back began.
    drain_from: u64,
    fatal: Option<String>,
}

/// Produce and consume, from connecting to the last record read back.
fn work(
    ground: &Ground,
    window: Window,
    parcels: SyncSender<Parcel>,
    stop: &Arc<AtomicBool>,
    admin: &mut Admin,
) -> Result<Done, String> {
    let plan = &ground.plan;
    let targets = Arc::new(Targets::new(plan.partitions));
    let consumers = |window: Window| {
        let jobs = split(&ground.readers, plan.consumer_threads).map(|readers| consume::Job {
            plan: plan.clone(),
            run: ground.run,
            producers: ground.lanes.len() as u32,
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
    ground.groups.iter().for_each(|groups| groups.begin(window));
    let produced = produce_all(ground, window, &parcels, stop)?;
    ground.groups.iter().for_each(Groups::settle);

    let drain_from = clock::monotonic_ns();
    let is_cut = stop.load(Ordering::Relaxed);
    let cut_ns = produced.iter().map(|p| p.ended_ns).max();
    let cut_ns = cut_ns.filter(|ended| is_cut && *ended < window.end_ns);
    let drain_s = if is_cut { plan.drain_s.min(DRAIN_BY_HAND_S) } else { plan.drain_s };
    let ends = produced.iter().flat_map(|p| &p.sent).map(|s| (s.partition, s.acked_end));
    let ends = ends.chain(unacknowledged_ends(plan, admin));
    targets.set(ends, drain_from + (drain_s * 1e9) as u64, is_cut);
    if plan.consume == Consume::After {
        // Nothing of a backlog's age is a latency: its window measures no intended time.
        let window = Window { start_ns: drain_from, warm_ns: drain_from, end_ns: u64::MAX };
        reading = spawn("consumer", consumers(window), consume::run)?;
    }
    let consumed = join(reading)?;
    let fatal = produced.iter().find_map(|p| p.fatal.clone());
    let fatal = fatal.or_else(|| consumed.iter().find_map(|c| c.fatal.clone()));
    Ok(Done { produced, consumed, cut_ns, drain_from, fatal })
}

/// For how long control groups have held this process back since `before`.
fn throttled_since(before: Option<(u64, u64)>) -> u64 {
    match (before, environment::throttled()) {
        (Some((_, before)), Some((_, now))) => now.saturating_sub(before),
        _ => 0,
    }
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
    let run = u32::from_ne_bytes(random);
    let groups = Groups::new(&plan, run, &map, &starts);
    let readers = match &groups {
        Some(groups) => groups.readers(),
        None => readers(&plan, &map, &starts),
    };
    let durability = admin.durability(&plan.topic);
    Ok(Ground {
        plan: Arc::new(plan),
        run,
        lanes,
        readers,
        durability,
        facts: BrokerFacts::default(),
        process: None,
        groups,
    })
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

#[cfg(test)]
mod tests;
