//! One run from plan to result: set up, start the workers, wait, drain, judge.

mod conclude;
mod groups;
mod layout;
pub mod parts;
mod steady;
mod work;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use crate::admin::{Admin, BrokerFacts, TopicMap};
use crate::clock;
use crate::collect::{self, Parcel, StageSum, Watcher};
use crate::consume::Consumed;
use crate::environment;
use crate::folder::Folder;
use crate::live::{self, Live};
use crate::observe::Observer;
use crate::observe::find::{self, Found};
use crate::pace::Stage;
use crate::plan::{Load, Plan};
use crate::produce::Produced;
use crate::recorder::Window;
use crate::report::RunResult;
use conclude::{End, conclude};
use groups::Groups;
use layout::{lanes, readers};
use parts::Team;
use work::{Aim, Share, work};

/// Intervals that may wait for the collector.
const PARCELS_MAX: usize = 1024;
/// Time for the workers to connect before the first intended time, plus per connection.
const HEAD_START_NS: u64 = 150_000_000;
const HEAD_START_PER_CONNECTION_NS: u64 = 300_000;
/// Who ends a run by hand does not want to wait for long until everything is read back.
const DRAIN_BY_HAND_S: f64 = 10.0;

/// What set-up found and decided.
struct Ground {
    share: Share,
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
    /// Where the broker keeps its files, of one that we have started ourselves.
    pub files: Option<&'a Path>,
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
    let plan = Arc::new(ground.share.plan.clone());
    let parts = plan.parts;
    let team = (parts > 1).then(|| Team::start(&ground.share, parts)).transpose()?;

    if let Some(groups) = &mut ground.groups {
        groups.join()?;
        groups.await_all(plan.partitions, stop)?;
    }
    let connections = (ground.share.lanes.len() + ground.share.readers.len()) as u64;
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
    let observer = extras.observes.then(|| Observer::seconds(start_ns, ground.process.clone()));
    let observer = observer.transpose().map_err(|error| format!("observing: {error}"))?;
    let device = extras.files.and_then(find::device_of);
    let device = device.or(ground.process.as_ref().and_then(|found| found.device.clone()));
    let pauses = Observer::pauses(window, device, stop.clone());
    let pauses = pauses.map_err(|error| format!("observing: {error}"))?;
    let mut done = go(&ground, team, window, parcels, stop, &mut admin)?;
    let collected = collector.join().map_err(|_| "the collector panicked".to_owned())?;
    drop(live);
    let clock_step_ns = clock::wall_offset_ns() - wall_offset;

    let mut groups = Vec::new();
    if let Some(mut members) = ground.groups.take() {
        groups = members.finish(&mut admin);
        done.fatal = done.fatal.or_else(|| members.fatal());
        let left = members.left_behind();
        if let Some(consumed) = done.consumed.first_mut() {
            // Whatever is missing there, nobody was left to ask for it.
            consumed.broken_off.extend(left.iter().map(|(place, _)| *place));
            consumed.seen.extend(left);
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
        pauses: pauses.finish(),
    };
    Ok(conclude(&ground, end))
}

/// What the workers found.
#[derive(Debug, Default)]
struct Done {
    produced: Vec<Produced>,
    consumed: Vec<Consumed>,
    /// When the load ended before its time, by hand or by a failure.
    cut_ns: Option<u64>,
    /// When reading back began.
    drain_from: u64,
    fatal: Option<String>,
}

/// Produce and consume, here or in the parts, from connecting to the last record read back.
fn go(
    ground: &Ground,
    team: Option<Team>,
    window: Window,
    parcels: SyncSender<Parcel>,
    stop: &Arc<AtomicBool>,
    admin: &mut Admin,
) -> Result<Done, String> {
    let plan = &ground.share.plan;
    let (mut drain_from, mut cut_ns) = (0, None);
    let aim = |produced: &mut Vec<Produced>| {
        ground.groups.iter().for_each(Groups::settle);
        drain_from = clock::monotonic_ns();
        let is_cut = stop.load(Ordering::Relaxed);
        let ended = produced.iter().map(|p| p.ended_ns).max();
        cut_ns = ended.filter(|ended| *ended < window.end_ns);
        let drain_s = if is_cut { plan.drain_s.min(DRAIN_BY_HAND_S) } else { plan.drain_s };
        let ends = produced.iter().flat_map(|p| &p.sent).map(|s| (s.partition, s.acked_end));
        let ends = ends.chain(unacknowledged_ends(plan, admin)).collect();
        Ok(Aim { ends, deadline_ns: drain_from + (drain_s * 1e9) as u64, is_cut })
    };
    ground.groups.iter().for_each(|groups| groups.begin(window));
    let (produced, consumed) = match team {
        Some(team) => team.work(window, &parcels, stop, aim),
        None => work(&ground.share, window, &parcels, stop, aim),
    }?;
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
        share: Share { plan, run, producers: lanes.len() as u32, lanes, readers },
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

#[cfg(test)]
mod tests;
