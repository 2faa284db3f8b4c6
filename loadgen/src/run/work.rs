//! The workers of one process: threads that produce, threads that consume, from connecting to the
//! last record read back. A run has one such set, or one in each of its parts ([`super::parts`]).

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::SyncSender;
use std::thread;

use serde::{Deserialize, Serialize};

use crate::clock;
use crate::collect::{Parcel, Role};
use crate::consume::{self, Consumed, ReaderSpec, Targets};
use crate::plan::{Consume, Plan};
use crate::produce::{self, LaneSpec, Produced};
use crate::recorder::{Recorder, Window};

/// What a process has to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Share {
    /// The run's plan.
    pub plan: Plan,
    /// The run's random number.
    pub run: u32,
    /// Producers of the whole run are numbered below this.
    pub producers: u32,
    /// This process's lanes.
    pub lanes: Vec<LaneSpec>,
    /// This process's readers.
    pub readers: Vec<ReaderSpec>,
}

/// How far records have to be read back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Aim {
    /// Partitions and the offsets behind their last records.
    pub ends: Vec<(u32, i64)>,
    /// When reading stops at the latest, monotonic nanoseconds.
    pub deadline_ns: u64,
    /// Whether the load was ended by hand already.
    pub is_cut: bool,
}

/// Do `share` within `window`. `aim` is called when production has ended.
///
/// # Errors
/// When a thread cannot be had or panicked, and what `aim` says.
pub fn work(
    share: &Share,
    window: Window,
    parcels: &SyncSender<Parcel>,
    stop: &Arc<AtomicBool>,
    aim: impl FnOnce(&mut Vec<Produced>) -> Result<Aim, String>,
) -> Result<(Vec<Produced>, Vec<Consumed>), String> {
    let plan = Arc::new(share.plan.clone());
    let targets = Arc::new(Targets::new(plan.partitions));
    let consumers = |window: Window| {
        let jobs = split(&share.readers, plan.consumer_threads).map(|readers| consume::Job {
            plan: plan.clone(),
            run: share.run,
            producers: share.producers,
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
    let jobs = split(&share.lanes, plan.producer_threads).map(|lanes| produce::Job {
        plan: plan.clone(),
        run: share.run,
        lanes,
        recorder: Recorder::new(window, Role::Producer, parcels.clone()),
        stop: stop.clone(),
    });
    let mut produced = join(spawn("producer", jobs, produce::run)?)?;
    let Aim { ends, deadline_ns, is_cut } = aim(&mut produced)?;
    targets.set(ends.into_iter(), deadline_ns, is_cut);
    if plan.consume == Consume::After {
        // Nothing of a backlog's age is a latency: its window measures no intended time. Its
        // seconds go on where those of the load ended.
        let window = Window { warm_ns: clock::monotonic_ns(), end_ns: u64::MAX, ..window };
        reading = spawn("consumer", consumers(window), consume::run)?;
    }
    Ok((produced, join(reading)?))
}

/// Deal `all` to at most `hands` workers; none gets nothing.
pub fn split<T: Clone>(all: &[T], hands: u32) -> impl Iterator<Item = Vec<T>> {
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
