//! What `quick` runs, in order: plans as data.

use std::ops::RangeInclusive;

use super::SinkCeiling;
use crate::batch::Template;
use crate::cli::QuickArgs;
use crate::payload::HEAD_BYTES;
use crate::plan::{Consume, Load, Plan};
use crate::report::{Flow, RunResult};
use crate::sink::Store;

/// Batches of the throughput phases.
pub const BATCH_BYTES: usize = 256 << 10;
const PARTITIONS: u32 = 8;
const PRODUCERS: u32 = 4;
const CONSUMERS: u32 = 4;
const THROUGHPUT_S: f64 = 3.0;
const BESIDE_S: f64 = 2.0;
const LATENCY_S: f64 = 4.0;
const WARMUP_S: f64 = 0.5;
const SINK_S: f64 = 1.2;

/// What stands in the broker's memory to be read: less than one shard keeps for readers of the
/// tail (`thalweg.cache.bytes.max`) with a gigabyte of memory or more, and more than a
/// processor's caches hold.
const TAIL_BYTES: f64 = 96e6;
/// How long it takes to offer them.
const TAIL_FILL_S: f64 = 1.0;
/// How long they should be read about, by the pace at which the sink takes bytes.
const TAIL_READ_S: f64 = 0.6;
/// Sets of consumers that read them at the same time.
const TAIL_SETS: RangeInclusive<u32> = 2..=32;

/// What bounds a throughput.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ceiling {
    /// Nothing to compare with.
    None,
    /// The lower of device writes and the sink.
    Write,
    /// The same with flushes.
    WriteFlush,
    /// A source that keeps the same records in memory.
    Fetch,
}

/// One phase.
pub struct PhasePlan {
    /// Its name in the report.
    pub name: &'static str,
    /// The plan, without the broker's address.
    pub plan: Plan,
    /// What bounds it.
    pub ceiling: Ceiling,
    /// Which of its throughputs counts; none where latency is the subject.
    pub moved: Option<fn(&RunResult) -> Flow>,
}

/// Refuse what would make no sense.
///
/// # Errors
/// Says what.
pub fn check(args: &QuickArgs) -> Result<(), String> {
    if args.record_size < HEAD_BYTES || args.record_size > BATCH_BYTES {
        return Err(format!(
            "--record-size {}: give {HEAD_BYTES} to {BATCH_BYTES}",
            args.record_size
        ));
    }
    latency("latency-check", -1, args).check()
}

fn throughput(topic: &str, acks: i16, args: &QuickArgs) -> Plan {
    Plan {
        topic: topic.into(),
        partitions: PARTITIONS,
        replication_factor: 1,
        load: Load::Max,
        acks,
        record_bytes: args.record_size.into(),
        records_per_batch: Template::records_for(BATCH_BYTES, args.record_size, None),
        producers: PRODUCERS,
        in_flight: 4,
        consumers: CONSUMERS,
        consume: Consume::After,
        duration_s: THROUGHPUT_S,
        warmup_s: WARMUP_S,
        drain_s: 20.0,
        fetch_partition_bytes: 2 << 20,
        ..Plan::default()
    }
}

fn latency(topic: &str, acks: i16, args: &QuickArgs) -> Plan {
    Plan {
        load: Load::Rate(args.rate),
        records_per_batch: Template::records_for(16 << 10, args.record_size, None),
        producers: 2,
        in_flight: 5,
        consumers: 1,
        consume: Consume::During,
        duration_s: LATENCY_S,
        ..throughput(topic, acks, args)
    }
}

/// A bounded number of records, all of them written and in memory before they are read by
/// `sets` of consumers at once: reading alone, and no disk.
fn tail(args: &QuickArgs, sets: u32) -> Plan {
    let record_bytes = args.record_size as f64;
    Plan {
        load: Load::Rate((TAIL_BYTES / record_bytes / TAIL_FILL_S).max(1.0)),
        // One producer, and time enough for its batches to fill.
        linger_ns: 50_000_000,
        producers: 1,
        subscriptions: sets,
        duration_s: TAIL_FILL_S,
        warmup_s: 0.0,
        // More would measure how fast the memory of so many connections can be had.
        fetch_bytes: 1 << 20,
        fetch_partition_bytes: 1 << 20,
        ..throughput("quick-tail", 1, args)
    }
}

/// How many sets of consumers read for about [`TAIL_READ_S`] where the sink takes so many bytes
/// per second: a slow machine, or a build that is not optimised, reads less and not longer.
fn tail_sets(sink_bytes_per_s: f64) -> u32 {
    let sets = sink_bytes_per_s * TAIL_READ_S / TAIL_BYTES;
    (sets as u32).clamp(*TAIL_SETS.start(), *TAIL_SETS.end())
}

/// What was read afterwards.
fn read_back(result: &RunResult) -> Flow {
    result.backlog.map(|backlog| backlog.read).unwrap_or_default()
}

/// All phases against the broker; `sink` is what was measured before.
pub fn all(args: &QuickArgs, sink: &SinkCeiling) -> Vec<PhasePlan> {
    let beside = Plan {
        consume: Consume::During,
        duration_s: BESIDE_S,
        ..throughput("quick-beside", 1, args)
    };
    vec![
        PhasePlan {
            name: "produce acks=1",
            plan: throughput("quick-acks-1", 1, args),
            ceiling: Ceiling::Write,
            moved: Some(|result| result.produced),
        },
        PhasePlan {
            name: "produce acks=all",
            plan: throughput("quick-acks-all", -1, args),
            ceiling: Ceiling::WriteFlush,
            moved: Some(|result| result.produced),
        },
        PhasePlan {
            name: "fetch tail",
            plan: tail(args, tail_sets(sink.produce.bytes_per_s)),
            ceiling: Ceiling::Fetch,
            moved: Some(read_back),
        },
        // Readers that follow producers cannot be faster than they: no ceiling of its own.
        PhasePlan {
            name: "fetch + produce",
            plan: beside,
            ceiling: Ceiling::None,
            moved: Some(|result| result.consumed),
        },
        PhasePlan {
            name: "latency acks=1",
            plan: latency("quick-latency-1", 1, args),
            ceiling: Ceiling::None,
            moved: None,
        },
        PhasePlan {
            name: "latency acks=all",
            plan: latency("quick-latency-all", -1, args),
            ceiling: Ceiling::None,
            moved: None,
        },
    ]
}

/// What the sink can do: `against` runs a plan against a fresh one with that store.
///
/// # Errors
/// What `against` says.
pub fn sink(
    args: &QuickArgs,
    against: impl Fn(Store, Plan) -> Result<RunResult, String>,
) -> Result<SinkCeiling, String> {
    let discard = Store::Discard { batch_bytes: BATCH_BYTES, record_bytes: args.record_size };
    let produce = Plan {
        consume: Consume::Never,
        duration_s: SINK_S,
        warmup_s: 0.2,
        ..throughput("ceiling", 1, args)
    };
    let produce = against(discard, produce)?.produced;
    let keep = Store::Keep { bytes_max: 4 * TAIL_BYTES as usize, fault: None };
    let result = against(keep, tail(args, tail_sets(produce.bytes_per_s)))?;
    Ok(SinkCeiling { produce, fetch: read_back(&result) })
}

/// CPU seconds per 10^9 bytes: what was produced and read, warm-up included.
pub fn cpu_per_gb(result: &RunResult, cpu_s: f64) -> Option<f64> {
    let seconds = &result.seconds;
    let bytes: u64 = seconds.iter().map(|s| s.produced_bytes + s.consumed_bytes).sum();
    (bytes > 100_000_000).then(|| cpu_s / (bytes as f64 / 1e9))
}

#[cfg(test)]
pub mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::run::run;
    use crate::sink::{Fault, Sink};

    pub fn args() -> QuickArgs {
        QuickArgs {
            dir: ".".into(),
            broker: None,
            keep: false,
            record_size: 1024,
            rate: 5000.0,
            json: None,
        }
    }

    pub fn short(fault: Option<Fault>, sets: u32) -> RunResult {
        let store = Store::Keep { bytes_max: 64 << 20, fault };
        let sink = Sink::start("127.0.0.1:0", store).unwrap();
        let bootstrap_server = sink.address.to_string();
        let plan = Plan { bootstrap_server, duration_s: 0.2, ..tail(&args(), sets) };
        run(plan, &std::sync::Arc::default()).unwrap()
    }

    #[test]
    fn what_is_read_from_memory_is_bounded_whatever_the_record_size() {
        for record_size in [HEAD_BYTES, 100, 1024, BATCH_BYTES] {
            let plan = tail(&QuickArgs { record_size, ..args() }, 4);
            plan.check().unwrap();
            let Load::Rate(rate) = plan.load else { panic!("{:?}", plan.load) };
            let bytes = rate * plan.duration_s * record_size as f64;
            assert!((0.9 * TAIL_BYTES..=TAIL_BYTES).contains(&bytes), "{record_size}: {bytes}");
        }
        let sets = [0.0, 1e9, 5e9, 1e12].map(tail_sets);
        assert_eq!((sets[0], sets[3]), (*TAIL_SETS.start(), *TAIL_SETS.end()));
        assert!(sets.is_sorted() && sets[1] < sets[2], "{sets:?}");
    }

    #[test]
    fn the_tail_is_read_by_every_set_after_it_was_written_and_each_record_is_verified() {
        let result = short(None, 3);
        let verdict = &result.verdict;
        assert!(verdict.is_clean() && verdict.checked && verdict.acknowledged > 10_000);
        assert_eq!(read_back(&result).records, 3 * verdict.acknowledged, "{verdict:?}");
        assert_eq!(result.consumed, Flow::default(), "nothing was read while it was written");
        for fault in [Fault::Drop, Fault::Duplicate, Fault::Reorder, Fault::Corrupt] {
            let verdict = short(Some(fault), 3).verdict;
            assert!(!verdict.is_clean(), "{fault:?}: {verdict:?}");
        }
    }

    #[test]
    fn the_ceiling_of_the_tail_is_the_same_plan_against_a_source_that_keeps_it() {
        let ran = RefCell::new(Vec::new());
        let found = sink(&args(), |store, plan| {
            ran.borrow_mut().push((store, plan));
            Ok(short(None, 2))
        });
        let (found, ran) = (found.unwrap(), ran.into_inner());
        assert!(found.fetch.records > found.produce.records && found.produce.records > 0);
        let phases = all(&args(), &found);
        let wanted = phases.iter().find(|phase| phase.ceiling == Ceiling::Fetch).unwrap();
        assert!(matches!(ran[0].0, Store::Discard { .. }), "{ran:?}");
        assert!(matches!(ran[1].0, Store::Keep { fault: None, .. }), "{ran:?}");
        assert_eq!(ran[1].1, wanted.plan);
    }
}
