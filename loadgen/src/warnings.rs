//! Doubts about our own numbers. A measurement that the generator itself, the clock or the
//! sample size has spoilt must say so, with what to do about it.

use serde::Serialize;

use crate::histogram::{Percentile, Summary};
use crate::observe::pauses::Pauses;

/// How much a doubt weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// Worth knowing when the figures are read.
    Note,
    /// The figures may be off.
    Suspect,
    /// The figures are not the broker's: the command ends with exit code 3.
    Invalid,
}

/// One doubt.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Warning {
    /// Lanes that were free to send did so late.
    ScheduleLag {
        /// 99 in 100 batches left within this.
        p99_ns: u64,
        /// The produce latency beside it.
        produce_p99_ns: u64,
    },
    /// A thread of the generator was near the end of its core.
    GeneratorSaturated {
        /// `producer` or `consumer`.
        role: &'static str,
        /// Share of a core, 0..1.
        share: f64,
        /// Whether the load was offered open loop.
        open_loop: bool,
    },
    /// A thread of the generator was ready to run and had to wait for a core.
    WaitedForCpu {
        /// `producer` or `consumer`.
        role: &'static str,
        /// Share of the time, 0..1.
        share: f64,
    },
    /// The broker did not take the offered rate.
    NotSustained {
        /// Records per second offered.
        offered: f64,
        /// Records per second acknowledged.
        achieved: f64,
        /// Records that were due and unsent when the load ended.
        backlog: u64,
    },
    /// Too few completions for the tail.
    TooFewSamples {
        /// Which series.
        series: &'static str,
        /// Completions there were.
        have: u64,
        /// Completions that p99 needs.
        needed: u64,
    },
    /// Somebody set the wall clock.
    ClockStepped {
        /// By this many nanoseconds.
        by_ns: i64,
    },
    /// The kernel's clock source is slow or coarse.
    ClockSource {
        /// Its name.
        name: String,
    },
    /// Records came from the future: producer and consumer have different clocks.
    FromTheFuture {
        /// How many.
        records: u64,
    },
    /// Control groups held the generator back.
    Throttled {
        /// For this long, all its threads together.
        for_ns: u64,
    },
    /// A hypervisor gave CPU time to others.
    Stolen {
        /// Share of all CPUs' time, 0..1.
        share: f64,
    },
    /// The machine stood still for longer than the tail that is reported. A disk that does is part
    /// of what is measured: it may be the broker that flushes.
    Paused {
        /// Its longest pause.
        longest_ns: u64,
        /// All its pauses.
        total_ns: u64,
        /// Which latency has that tail.
        series: &'static str,
        /// The tail.
        p999_ns: u64,
    },
    /// A figure rose or fell for most of the measured time.
    NotSteady {
        /// Which.
        what: &'static str,
        /// Its last third beside its first, as a share of the first.
        change: f64,
    },
    /// This loadgen was built without optimisation.
    DebugBuild,
    /// Nothing was read back.
    NotVerified,
    /// acks=0 promises nothing, so nothing can be called lost.
    AcksZero,
    /// The CRC of batches was not checked.
    CrcUnchecked,
    /// Reading back stopped at its time limit.
    ReadIncomplete {
        /// The limit in seconds.
        limit_s: f64,
        /// Acknowledged records that nobody has read, and that the broker may have.
        unread: u64,
    },
    /// Connections broke.
    Disconnects {
        /// How often.
        count: u64,
    },
    /// The broker answered records with an error: it did less than was asked of it.
    Refused {
        /// How many.
        records: u64,
        /// Kafka's names of the errors.
        errors: Vec<String>,
    },
    /// The broker answered fetches with an error.
    FetchErrors {
        /// How many.
        count: u64,
        /// Kafka's names of the errors.
        errors: Vec<String>,
    },
    /// Records had no answer when nobody waited any longer.
    Overdue {
        /// How many of the measured time.
        records: u64,
    },
    /// A closed loop waits for answers: its latency is that of the load it happened to make.
    ClosedLoop,
    /// The load was ended by hand.
    Stopped {
        /// Seconds that were measured.
        measured_s: f64,
        /// Seconds that should have been.
        of_s: f64,
    },
    /// The broker has deleted records before they were read.
    DeletedUnread {
        /// How many offsets.
        offsets: u64,
    },
    /// More was moved than a ceiling says can be.
    CeilingPassed {
        /// Which ceiling.
        of: &'static str,
        /// The throughput as a share of it; 1 is all of it.
        share: f64,
    },
    /// The broker's files are in memory.
    NoDevice {
        /// What they are on.
        file_system: String,
    },
    /// Reading back was ended by hand.
    ReadingStopped {
        /// Acknowledged records that nobody has read.
        unread: u64,
    },
}

impl Warning {
    /// How much it weighs.
    pub fn weight(&self) -> Weight {
        match self {
            Self::ScheduleLag { p99_ns, produce_p99_ns } if p99_ns * 2 >= *produce_p99_ns => {
                Weight::Invalid
            }
            Self::GeneratorSaturated { open_loop: true, .. }
            | Self::FromTheFuture { .. }
            | Self::Refused { .. } => Weight::Invalid,
            Self::Stopped { measured_s, .. } if *measured_s <= 0.0 => Weight::Invalid,
            // The slowest records are missing from every figure about reading.
            Self::ReadIncomplete { unread, .. } if *unread > 0 => Weight::Invalid,
            Self::NotVerified
            | Self::AcksZero
            | Self::CrcUnchecked
            | Self::ClosedLoop
            | Self::DebugBuild => Weight::Note,
            Self::TooFewSamples { .. } => Weight::Note,
            _ => Weight::Suspect,
        }
    }

    /// What is the matter.
    pub fn text(&self) -> String {
        match self {
            Self::ScheduleLag { p99_ns, produce_p99_ns } => format!(
                "the generator itself sent late: p99 {} beside a produce p99 of {}",
                millis(*p99_ns),
                millis(*produce_p99_ns)
            ),
            Self::GeneratorSaturated { role, share, .. } => {
                format!("a {role} thread used {:.0} % of its core", share * 100.0)
            }
            Self::WaitedForCpu { role, share } => {
                format!("a {role} thread waited for a core for {:.0} % of the time", share * 100.0)
            }
            Self::NotSustained { offered, achieved, backlog } => format!(
                "offered {offered:.0} records/s, {achieved:.0} were acknowledged, {backlog} were \
                 still unsent at the end: latencies grow with the duration"
            ),
            Self::TooFewSamples { series, have, needed } => {
                format!("{series}: {have} completions, p99 needs {needed}")
            }
            Self::ClockStepped { by_ns } => {
                format!("the wall clock was set by {} ms during the run", by_ns / 1_000_000)
            }
            Self::ClockSource { name } => format!("the kernel's clock source is {name}"),
            Self::FromTheFuture { records } => {
                format!("{records} records were read before they were sent")
            }
            Self::Throttled { for_ns } => {
                format!("control groups held the generator back for {}", millis(*for_ns))
            }
            Self::Stolen { share } => {
                format!("the hypervisor took {:.0} % of the CPU time for others", share * 100.0)
            }
            Self::Paused { longest_ns, total_ns, series, p999_ns } => {
                let [longest, all, p999] = [longest_ns, total_ns, p999_ns].map(|ns| millis(*ns));
                format!(
                    "the machine did not wake a thread that was due for up to {longest} ({all} in \
                     all); the {series} p99.9 of {p999} and what is beyond may be its own and not \
                     the broker's"
                )
            }
            Self::NotSteady { what, change } => format!(
                "not steady: {what} changed by {:+.0} % from the first third of the measured time \
                 to the last",
                change * 100.0
            ),
            Self::DebugBuild => "this loadgen was built without optimisation".into(),
            Self::NotVerified => "nothing was read back, so nothing is verified".into(),
            Self::AcksZero => "acks=0: the broker promised nothing, nothing can be lost".into(),
            Self::CrcUnchecked => "the CRC of batches read was not checked".into(),
            Self::ReadIncomplete { limit_s, unread: 0 } => format!(
                "reading back stopped after {limit_s} s: the broker was asked for the missing \
                 records and did not give them; they count as lost"
            ),
            Self::ReadIncomplete { limit_s, unread } => format!(
                "reading back stopped after {limit_s} s, before {unread} acknowledged records were \
                 read: nobody knows whether they are there"
            ),
            Self::Disconnects { count } => format!("connections broke {count} times"),
            Self::Refused { records, errors } if errors.is_empty() => {
                format!("the broker refused {records} records")
            }
            Self::Refused { records, errors } => {
                format!("the broker refused {records} records: {}", errors.join(", "))
            }
            Self::FetchErrors { count, errors } => {
                format!("the broker answered {count} fetches with {}", errors.join(", "))
            }
            Self::Overdue { records } => format!(
                "{records} records had no answer when waiting for them was over; they count with \
                 their age then, so latencies are lower bounds"
            ),
            Self::ClosedLoop => {
                "closed loop: latency is from the actual send and says nothing about another load"
                    .into()
            }
            Self::Stopped { measured_s, of_s } => {
                format!("cut short by hand: {measured_s:.1} s of {of_s} s were measured")
            }
            Self::DeletedUnread { offsets } => format!(
                "{offsets} offsets were deleted before they were read; what was acknowledged of \
                 them counts as lost"
            ),
            Self::CeilingPassed { of, share } => format!(
                "{:.0} % of {of}: what should bound it was measured too low, and the share says \
                 nothing",
                share * 100.0
            ),
            Self::NoDevice { file_system } => format!(
                "the broker's files are on {file_system}, which is memory: no device is measured, \
                 and a flush keeps nothing through a power cut, whatever is said of it"
            ),
            Self::ReadingStopped { unread } => format!(
                "reading back was cut short by hand: {unread} acknowledged records were not read"
            ),
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::ScheduleLag { .. } | Self::GeneratorSaturated { .. } => {
                "lower --rate, raise --producer-threads or --consumer-threads, or give the \
                 generator cores of its own"
            }
            Self::WaitedForCpu { .. } => {
                "leave a core to the generator (taskset), or run it on another host"
            }
            Self::NotSustained { .. } => "lower --rate until the backlog stays at zero",
            Self::TooFewSamples { .. } => "raise --duration or --rate, or use smaller batches",
            Self::ClockStepped { .. } => "stop time synchronisation from stepping during a run",
            Self::ClockSource { .. } => "boot with clocksource=tsc if the machine allows it",
            Self::FromTheFuture { .. } => {
                "produce and consume on one host; end-to-end latency across hosts means nothing"
            }
            Self::Throttled { .. } => "raise the CPU limit of this container or slice",
            Self::Stolen { .. } => "measure on a machine of your own, or at a quieter time",
            Self::Paused { .. } => {
                "leave cores idle (fewer threads, taskset), or measure on a machine of your own or \
                 at a quieter time"
            }
            Self::NotSteady { .. } => {
                "warm up for longer (--warmup), measure for longer, and look at the time series"
            }
            Self::DebugBuild => "build it with --release: its ceilings are far lower without",
            Self::NotVerified => "drop --consume never",
            Self::AcksZero => "use --acks 1 or all to have losses counted",
            Self::CrcUnchecked => "drop --no-check-crc",
            Self::ReadIncomplete { .. } => "raise --drain, or find out why reading is slow",
            Self::Disconnects { .. } => "look into the broker's log",
            Self::Refused { errors, .. } => refusal_remedy(errors),
            Self::FetchErrors { .. } => LOOK_UP,
            Self::Overdue { .. } => "lower --rate, or raise --drain",
            Self::ClosedLoop => "use --rate for latencies",
            Self::DeletedUnread { .. } => {
                "raise the topic's retention, let consumers begin earlier, and let nobody delete \
                 records meanwhile"
            }
            Self::CeilingPassed { of: "source", .. } => {
                "measure again at a quieter time; the source has one thread, which a broker of \
                 several shards can pass for good reason"
            }
            Self::CeilingPassed { .. } => "measure again at a quieter time",
            Self::NoDevice { .. } => "give the broker a folder on a disk (--dir, --data-dir)",
            Self::Stopped { .. } | Self::ReadingStopped { .. } => "let it finish",
        }
    }
}

const LOOK_UP: &str = "look up the error; the broker's log says more";

/// What to do about records that the broker answered with these errors ([`error_name`]).
///
/// [`error_name`]: crate::admin::error_name
pub fn refusal_remedy(errors: &[String]) -> &'static str {
    let is = |code: &str| errors.iter().any(|name| name.ends_with(code));
    if is("(10)") || is("(18)") {
        "lower --record-size or --batch-bytes, or raise the topic's max.message.bytes"
    } else if is("(19)") {
        "bring the replicas back, or lower the topic's min.insync.replicas"
    } else if is("(17)") {
        "choose another --topic: this name is the broker's own"
    } else if is("(87)") {
        "give what the topic asks of its records, e.g. --key-size for one that is compacted"
    } else {
        LOOK_UP
    }
}

/// What a run noticed about itself.
#[derive(Clone, Debug, Default)]
pub struct Signs {
    /// Records per second offered; none in a closed loop.
    pub offered: Option<f64>,
    /// Records per second acknowledged.
    pub achieved: f64,
    /// Records per second that the broker answered with an error: not for want of time.
    pub refused: f64,
    /// Due and unsent at the end.
    pub backlog: u64,
    /// Worker threads: role, CPU share, share of waiting for a core.
    pub threads: Vec<(&'static str, f64, f64)>,
    /// The generator's own lateness.
    pub lag: Option<Summary>,
    /// Produce latency.
    pub produce: Option<Summary>,
    /// End-to-end latency.
    pub end_to_end: Option<Summary>,
    /// How far the wall clock moved against the monotonic one.
    pub clock_step_ns: i64,
    /// The kernel's clock source.
    pub clock_source: Option<String>,
    /// Records read before they were sent.
    pub from_the_future: u64,
    /// For how long control groups held the process back.
    pub throttled_ns: u64,
    /// Share of all CPU time that a hypervisor took away.
    pub stolen_share: f64,
    /// Figures that rose or fell, and by how much.
    pub trends: Vec<(&'static str, f64)>,
    /// How machine and disk stood still.
    pub pauses: Pauses,
    /// Seconds that were measured.
    pub measured_s: f64,
}

const SATURATED_SHARE: f64 = 0.92;
const WAITED_SHARE: f64 = 0.20;
const CLOCK_STEP_NS: i64 = 5_000_000;
const SUSTAINED_SHARE: f64 = 0.995;
/// A rate that is not sustained leaves more unsent than comes in so many seconds: whoever pauses
/// for a moment makes up for it, and what is only under way when the load ends is not late.
const BACKLOG_S_MIN: f64 = 0.1;
/// Being held back for less than this is of no account.
const THROTTLED_NS: u64 = 10_000_000;
const STOLEN_SHARE: f64 = 0.05;
/// Pauses of less than this share of the time leave p99.9 alone.
const PAUSED_SHARE: f64 = 0.001;
/// Lag below this never matters.
const LAG_FLOOR_NS: u64 = 200_000;

/// Draw the conclusions.
pub fn doubts(signs: &Signs) -> Vec<Warning> {
    let mut found = Vec::new();
    let open_loop = signs.offered.is_some();
    let p99 = |summary: &Option<Summary>| summary.as_ref().and_then(|s| s.p99.known_ns());
    if let (true, Some(lag), Some(produce)) = (open_loop, p99(&signs.lag), p99(&signs.produce))
        && lag > LAG_FLOOR_NS
        && lag * 5 >= produce
    {
        found.push(Warning::ScheduleLag { p99_ns: lag, produce_p99_ns: produce });
    }
    for (role, cpu, waited) in &signs.threads {
        if *cpu > SATURATED_SHARE {
            found.push(Warning::GeneratorSaturated { role, share: *cpu, open_loop });
        }
        if *waited > WAITED_SHARE {
            found.push(Warning::WaitedForCpu { role, share: *waited });
        }
    }
    match signs.offered {
        Some(offered)
            if signs.achieved + signs.refused < offered * SUSTAINED_SHARE
                && signs.backlog as f64 > offered * BACKLOG_S_MIN =>
        {
            found.push(Warning::NotSustained {
                offered,
                achieved: signs.achieved,
                backlog: signs.backlog,
            });
        }
        Some(_) => {}
        None => found.push(Warning::ClosedLoop),
    }
    if open_loop {
        for (series, summary) in [("produce", &signs.produce), ("end to end", &signs.end_to_end)] {
            if let Some(Percentile::TooFew { have, needed }) = summary.as_ref().map(|s| s.p99) {
                found.push(Warning::TooFewSamples { series, have, needed });
            }
        }
    }
    if signs.clock_step_ns.abs() > CLOCK_STEP_NS {
        found.push(Warning::ClockStepped { by_ns: signs.clock_step_ns });
    }
    if let Some(name) = &signs.clock_source
        && !["tsc", "kvm-clock", "arch_sys_counter"].contains(&name.as_str())
    {
        found.push(Warning::ClockSource { name: name.clone() });
    }
    if signs.throttled_ns > THROTTLED_NS {
        found.push(Warning::Throttled { for_ns: signs.throttled_ns });
    }
    if signs.stolen_share > STOLEN_SHARE {
        found.push(Warning::Stolen { share: signs.stolen_share });
    }
    found.extend(paused(signs));
    for (what, change) in &signs.trends {
        found.push(Warning::NotSteady { what, change: *change });
    }
    if signs.from_the_future > 0 {
        found.push(Warning::FromTheFuture { records: signs.from_the_future });
    }
    found
}

/// Pauses that are longer than a p99.9 and took enough of the time to have made it.
fn paused(signs: &Signs) -> Option<Warning> {
    let enough_ns = (signs.measured_s * PAUSED_SHARE * 1e9) as u64;
    let series = [("produce", &signs.produce), ("end to end", &signs.end_to_end)];
    let mut tails = Vec::new();
    for (series, summary) in series {
        tails.extend(summary.as_ref().and_then(|s| s.p999.known_ns()).map(|ns| (series, ns)));
    }
    let pause = signs.pauses.machine;
    let is_long = |tail: &&(&str, u64)| pause.longest_ns > tail.1;
    let &(series, p999_ns) = tails.iter().find(is_long)?;
    (pause.total_ns > enough_ns).then_some(Warning::Paused {
        longest_ns: pause.longest_ns,
        total_ns: pause.total_ns,
        series,
        p999_ns,
    })
}

fn millis(ns: u64) -> String {
    format!("{:.2} ms", ns as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Latency;
    use crate::observe::pauses::Stretches;

    fn summary(ns: u64, completions: u64) -> Option<Summary> {
        let mut latency = Latency::default();
        for _ in 0..completions {
            latency.completion();
            latency.record(ns, 1);
        }
        Some(latency.summary())
    }

    fn good() -> Signs {
        Signs {
            offered: Some(1000.0),
            achieved: 1000.0,
            threads: vec![("producer", 0.3, 0.01)],
            lag: summary(10_000, 2000),
            produce: summary(1_000_000, 2000),
            end_to_end: summary(1_500_000, 2000),
            clock_source: Some("tsc".into()),
            ..Signs::default()
        }
    }

    #[test]
    fn a_sound_run_raises_no_doubt() {
        assert_eq!(doubts(&good()), []);
    }

    #[test]
    fn a_late_generator_is_suspect_and_then_invalid() {
        let weigh = |lag_ns| {
            let found = doubts(&Signs { lag: summary(lag_ns, 2000), ..good() });
            found.first().map(Warning::weight)
        };
        assert_eq!(weigh(150_000), None, "below the floor");
        assert_eq!(weigh(250_000), Some(Weight::Suspect));
        assert_eq!(weigh(600_000), Some(Weight::Invalid));
    }

    #[test]
    fn pauses_longer_than_a_tail_that_they_can_have_made_are_doubted() {
        let told = |longest_ns, total_ns, p999_ns| {
            let machine = Stretches { longest_ns, count: 1, total_ns };
            let pauses = Pauses { machine, ..Pauses::default() };
            let produce = summary(p999_ns, 10_000);
            doubts(&Signs { pauses, measured_s: 4.0, produce, ..good() })
        };
        let (ms, exact) = (1_000_000, 1 << 23);
        assert_eq!(told(7 * ms, 7 * ms, exact), [], "shorter than p99.9");
        assert_eq!(told(9 * ms, 4 * ms, exact), [], "a thousandth of the time");
        let found = told(9 * ms, 9 * ms, exact);
        let [Warning::Paused { series: "produce", .. }] = found[..] else { panic!("{found:?}") };
        assert_eq!(found[0].weight(), Weight::Suspect);
        assert!(found[0].text().contains("for up to 9.00 ms"), "{}", found[0].text());
        let device = Some(Stretches { longest_ns: 9 * ms, count: 1, total_ns: 9 * ms });
        let pauses = Pauses { device, ..Pauses::default() };
        let signs = Signs { pauses, measured_s: 4.0, produce: summary(exact, 10_000), ..good() };
        assert_eq!(doubts(&signs), [], "the disk is part of what is measured");
    }

    #[test]
    fn a_full_core_spoils_an_open_loop_and_taints_a_closed_one() {
        let threads = vec![("producer", 0.99, 0.0)];
        let found = doubts(&Signs { threads: threads.clone(), ..good() });
        assert_eq!(found[0].weight(), Weight::Invalid);
        let found = doubts(&Signs { threads, offered: None, ..good() });
        assert_eq!(found[0].weight(), Weight::Suspect);
        assert!(found.contains(&Warning::ClosedLoop));
    }

    #[test]
    fn a_refusal_spoils_the_figures_and_its_remedy_follows_the_error() {
        let told = |error: i16| {
            let errors = vec![crate::admin::error_name(error)];
            let refused = Warning::Refused { records: 5, errors };
            assert_eq!(refused.weight(), Weight::Invalid);
            assert!(refused.text().contains("5 records"), "{}", refused.text());
            refused.remedy()
        };
        assert!(told(10).contains("--record-size") && told(10).contains("max.message.bytes"));
        assert!(told(17).contains("--topic"));
        assert!(told(19).contains("min.insync.replicas") && told(87).contains("--key-size"));
        assert_eq!(told(29), LOOK_UP);
        let fetches = Warning::FetchErrors { count: 2, errors: vec!["X (1)".into()] };
        assert_eq!(fetches.weight(), Weight::Suspect);
        assert!(fetches.text().contains("2 fetches with X (1)"), "{}", fetches.text());
    }

    #[test]
    fn each_other_sign_is_read() {
        let one = |signs: Signs| doubts(&signs).pop().unwrap();
        assert!(matches!(
            one(Signs { achieved: 990.0, backlog: 101, ..good() }),
            Warning::NotSustained { backlog: 101, .. }
        ));
        let pause = doubts(&Signs { achieved: 900.0, backlog: 100, ..good() });
        assert_eq!(pause, [], "it passes, and a longer run is not slower");
        assert!(matches!(
            one(Signs { end_to_end: summary(1_500_000, 900), ..good() }),
            Warning::TooFewSamples { have: 900, needed: 1000, .. }
        ));
        let step = one(Signs { clock_step_ns: -6_000_000, ..good() });
        assert!(matches!(step, Warning::ClockStepped { .. }));
        let source = one(Signs { clock_source: Some("acpi_pm".into()), ..good() });
        assert!(matches!(source, Warning::ClockSource { .. }));
        let future = one(Signs { from_the_future: 1, ..good() });
        assert_eq!(future.weight(), Weight::Invalid);
        let starved = one(Signs { threads: vec![("consumer", 0.1, 0.5)], ..good() });
        assert!(matches!(starved, Warning::WaitedForCpu { .. }));
        let throttled = one(Signs { throttled_ns: 11_000_000, ..good() });
        assert_eq!(throttled, Warning::Throttled { for_ns: 11_000_000 });
        let refused = doubts(&Signs { achieved: 600.0, refused: 400.0, backlog: 400, ..good() });
        assert_eq!(refused, [], "a lower --rate would not help");
        let stolen = one(Signs { stolen_share: 0.1, ..good() });
        assert_eq!(stolen.weight(), Weight::Suspect);
        let moving = one(Signs { trends: vec![("throughput", -0.4)], ..good() });
        assert!(moving.text().contains("throughput changed by -40 %"), "{}", moving.text());
        for warning in [step, source, future, starved, throttled, stolen, moving] {
            assert!(!warning.text().is_empty() && !warning.remedy().is_empty());
        }
    }
}
