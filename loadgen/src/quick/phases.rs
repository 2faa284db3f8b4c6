//! What `quick` runs, in order: plans as data.

use crate::batch::Template;
use crate::cli::QuickArgs;
use crate::payload::HEAD_BYTES;
use crate::plan::{Consume, Load, Plan};
use crate::report::{Flow, RunResult};

/// Batches of the throughput phases.
pub const BATCH_BYTES: usize = 256 << 10;
const PARTITIONS: u32 = 8;
const PRODUCERS: u32 = 4;
const CONSUMERS: u32 = 4;
const THROUGHPUT_S: f64 = 3.0;
const LATENCY_S: f64 = 4.0;
const WARMUP_S: f64 = 0.5;
const SINK_S: f64 = 1.2;

/// What bounds a throughput.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ceiling {
    /// Nothing to compare with.
    None,
    /// The lower of device writes and the sink.
    Write,
    /// The same with flushes.
    WriteFlush,
    /// The source in memory.
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
    /// Which of its throughputs counts.
    pub moved: fn(&RunResult) -> Flow,
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

/// All phases against the broker.
pub fn all(args: &QuickArgs) -> Vec<PhasePlan> {
    let tail = Plan { consume: Consume::During, ..throughput("quick-tail", 1, args) };
    vec![
        PhasePlan {
            name: "produce acks=1",
            plan: throughput("quick-acks-1", 1, args),
            ceiling: Ceiling::Write,
            moved: |result| result.produced,
        },
        PhasePlan {
            name: "produce acks=all",
            plan: throughput("quick-acks-all", -1, args),
            ceiling: Ceiling::WriteFlush,
            moved: |result| result.produced,
        },
        PhasePlan {
            name: "fetch tail",
            plan: tail,
            ceiling: Ceiling::Fetch,
            moved: |result| result.consumed,
        },
        PhasePlan {
            name: "latency acks=1",
            plan: latency("quick-latency-1", 1, args),
            ceiling: Ceiling::None,
            moved: |result| result.produced,
        },
        PhasePlan {
            name: "latency acks=all",
            plan: latency("quick-latency-all", -1, args),
            ceiling: Ceiling::None,
            moved: |result| result.produced,
        },
    ]
}

/// The two plans against the sink: produce, and fetch from memory.
pub fn sink(args: &QuickArgs) -> [Plan; 2] {
    let short = Plan { duration_s: SINK_S, warmup_s: 0.2, ..throughput("ceiling", 1, args) };
    let produce = Plan { consume: Consume::Never, ..short.clone() };
    // The source repeats itself without end; a trickle of records keeps the run's clock.
    let fetch = Plan {
        load: Load::Rate(10.0),
        records_per_batch: 1,
        producers: 1,
        consume: Consume::During,
        check_order: false,
        drain_s: 1.0,
        ..short
    };
    [produce, fetch]
}

/// CPU seconds per 10^9 bytes: what was produced and read, warm-up included.
pub fn cpu_per_gb(result: &RunResult, cpu_s: f64) -> Option<f64> {
    let seconds = &result.seconds;
    let bytes: u64 = seconds.iter().map(|s| s.produced_bytes + s.consumed_bytes).sum();
    (bytes > 100_000_000).then(|| cpu_s / (bytes as f64 / 1e9))
}
