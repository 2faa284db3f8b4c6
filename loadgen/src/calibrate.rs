//! Whether this instrument measures right on this machine: latencies against a stub broker that
//! delays its answers by known amounts and records what it really did, and the pacing error at
//! three rates.
//!
//! The stub counts from a request's arrival in the kernel until its answer is written; loadgen
//! from the send (or the intended time) until it has read the answer. What is between them, the
//! loopback and one wake-up, is allowed 2 % or 50 us.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::clock;
use crate::cost::{self, Cost};
use crate::histogram::{Latency, Summary};
use crate::interrupt;
use crate::plan::{Consume, Load, Plan};
use crate::report::text::{grouped, latency, megabytes, millis};
use crate::run;
use crate::sink::{Delay, Sink, Store};

/// What may be between what the stub did and what is reported.
const SHARE_MAX: f64 = 0.02;
const DIFFERENCE_MAX_NS: u64 = 50_000;
const RATE: f64 = 2000.0;
const CONNECTIONS: u32 = 8;
/// So many that a stall holds nothing back.
const IN_FLIGHT: u32 = 8192;
/// Without p90: stalls fill a tenth of the time, so it lies on the edge of a cliff.
const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];
const ATTEMPTS_MAX: u32 = 4;
/// CPU time of each of the slices in which the cost of verification is measured.
const COST_SLICE_NS: u64 = 5_000_000;
const PACES: [f64; 3] = [1_000.0, 10_000.0, 100_000.0];

/// How to calibrate.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Seconds per case; a stall's period is twice as many, and there are three of them.
    pub seconds: f64,
    /// Whether threads ask for a real-time scheduling class, so that neighbours do not count.
    pub is_real_time: bool,
}

/// One quantile three times.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Line {
    /// Its name, `p99`.
    pub quantile: &'static str,
    /// What the stub recorded.
    pub stub_ns: u64,
    /// What is reported, from the intended time.
    pub reported_ns: u64,
    /// The same from the actual send: uncorrected.
    pub uncorrected_ns: u64,
}

impl Line {
    fn is_within(&self) -> bool {
        let allowed = ((self.stub_ns as f64 * SHARE_MAX) as u64).max(DIFFERENCE_MAX_NS);
        self.stub_ns.abs_diff(self.reported_ns) <= allowed
    }
}

/// One case.
#[derive(Clone, Debug, Serialize)]
pub struct Case {
    /// What the stub did.
    pub name: String,
    /// The quantiles behind which there are enough samples.
    pub lines: Vec<Line>,
    /// How often it was measured; it is repeated when it is off.
    pub attempts: u32,
    /// Whether each reported one is within 2 % or 50 us of what the stub recorded.
    pub is_accurate: bool,
}

/// Pacing at one rate, one record a request.
#[derive(Clone, Debug, Serialize)]
pub struct Pace {
    /// Records per second.
    pub rate: f64,
    /// How late each was sent although nothing held it back.
    pub error: Summary,
    /// CPU share of the sending thread.
    pub cpu_share: f64,
}

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Calibration {
    /// See [`crate::report::FORMAT`].
    pub format: u32,
    /// Known delays, nothing held back.
    pub cases: Vec<Case>,
    /// The stall again with one request in flight per connection, as a closed loop would have
    /// it: its uncorrected column is wrong.
    pub held_back: Option<Case>,
    /// Pacing.
    pub paces: Vec<Pace>,
    /// What verification costs.
    pub verification: Vec<Cost>,
    /// Whether all cases are; false, too, when some were not measured.
    pub is_accurate: bool,
    /// Whether a signal ended it early: what is missing was not measured.
    pub interrupted: bool,
}

/// Do it all; `told` is given a line as each part of it ends. A signal ends it with what was
/// measured until then.
///
/// # Errors
/// What kept it from being done.
pub fn calibrate(
    settings: &Settings,
    stop: &Arc<AtomicBool>,
    told: impl FnMut(&str),
) -> Result<Calibration, String> {
    let mut found = Calibration {
        format: crate::report::FORMAT,
        cases: Vec::new(),
        held_back: None,
        paces: Vec::new(),
        verification: Vec::new(),
        is_accurate: false,
        interrupted: false,
    };
    let done = fill(&mut found, settings, stop, told);
    found.interrupted = stop.load(Ordering::Relaxed);
    if !found.interrupted {
        done?;
        let is_accurate = found.all_cases().all(|case| case.is_accurate);
        found.is_accurate = is_accurate;
    }
    Ok(found)
}

fn fill(
    found: &mut Calibration,
    settings: &Settings,
    stop: &Arc<AtomicBool>,
    mut told: impl FnMut(&str),
) -> Result<(), String> {
    let seconds = settings.seconds;
    let ms = |ms: f64| (ms * 1e6) as u64;
    let (stall_ns, every_ns) = (ms(seconds * 200.0), ms(seconds * 2000.0));
    // Without a usual delay: with one request in flight it must keep up with the rate between
    // stalls, and be comparable.
    let stall = Delay::Stall { base_ns: 0, stall_ns, every_ns };
    let bimodal = Delay::Bimodal { fast_ns: ms(10.0), slow_ns: ms(40.0), slow_share: 0.05 };
    let stall_name =
        format!("at once, {:.1} s of every {:.0} s nothing", seconds * 0.2, seconds * 2.0);
    for (name, delay, seconds) in [
        ("1 ms each".to_owned(), Delay::Fixed(ms(1.0)), seconds),
        ("10 ms each".to_owned(), Delay::Fixed(ms(10.0)), seconds),
        ("10 ms, one in twenty 40 ms".to_owned(), bimodal, seconds),
        (stall_name.clone(), stall, seconds * 6.0),
    ] {
        let case = repeat(|| {
            let (stub, reported) = measure(settings, delay, seconds, IN_FLIGHT, stop)?;
            Ok(Case::new(name.clone(), &stub, &reported))
        })?;
        told(&case.name);
        found.cases.push(case);
    }
    let truth: Vec<Line> = found.cases.last().map(|case| case.lines.clone()).unwrap_or_default();
    let name = format!("{stall_name}, 1 in flight");
    let held_back = repeat(|| {
        let (_, reported) = measure(settings, stall, seconds * 6.0, 1, stop)?;
        Ok(Case::against(name.clone(), &truth, &reported))
    })?;
    told(&held_back.name);
    found.held_back = Some(held_back);
    for rate in PACES {
        found.paces.push(pace(settings, rate, stop)?);
        told(&format!("pacing at {}/s", grouped(rate as u64)));
    }
    found.verification = cost::measure(COST_SLICE_NS);
    Ok(())
}

impl Calibration {
    fn all_cases(&self) -> impl Iterator<Item = &Case> {
        self.cases.iter().chain(&self.held_back)
    }
}

/// A neighbour's burst of work spoils a case; an instrument that is wrong is wrong each time.
fn repeat(measure: impl Fn() -> Result<Case, String>) -> Result<Case, String> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let case = Case { attempts, ..measure()? };
        if case.is_accurate || attempts == ATTEMPTS_MAX {
            return Ok(case);
        }
    }
}

/// What loadgen reported: from the intended time and from the send.
struct Reported {
    corrected: Summary,
    uncorrected: Summary,
}

impl Case {
    fn new(name: String, stub: &Latency, reported: &Reported) -> Self {
        let truth = QUANTILES.iter().filter_map(|(quantile, share)| {
            let stub_ns = stub.percentile(*share).known_ns()?;
            Some(Line { quantile, stub_ns, reported_ns: 0, uncorrected_ns: 0 })
        });
        Self::against(name, &truth.collect::<Vec<_>>(), reported)
    }

    fn against(name: String, truth: &[Line], reported: &Reported) -> Self {
        let lines = truth.iter().filter_map(|line| {
            Some(Line {
                reported_ns: reported.corrected.named(line.quantile)?,
                uncorrected_ns: reported.uncorrected.named(line.quantile)?,
                ..*line
            })
        });
        let lines: Vec<Line> = lines.collect();
        let is_accurate = !lines.is_empty() && lines.iter().all(Line::is_within);
        Self { name, lines, attempts: 1, is_accurate }
    }
}

fn plan(server: &Sink, rate: f64, seconds: f64, in_flight: u32) -> Plan {
    Plan {
        bootstrap_server: server.address.to_string(),
        topic: "calibrate".into(),
        partitions: CONNECTIONS,
        load: Load::Rate(rate),
        acks: 1,
        record_bytes: 100.into(),
        // One, unless it is late.
        records_per_batch: 16,
        connections: CONNECTIONS,
        in_flight,
        consume: Consume::Never,
        duration_s: seconds,
        warmup_s: 0.0,
        ..Plan::default()
    }
}

fn measure(
    settings: &Settings,
    delay: Delay,
    seconds: f64,
    in_flight: u32,
    stop: &Arc<AtomicBool>,
) -> Result<(Latency, Reported), String> {
    let place = Place::take();
    let server = sink(settings, &place.0, Some(delay))?;
    let plan =
        Plan { is_real_time: settings.is_real_time, ..plan(&server, RATE, seconds, in_flight) };
    let result = run::run(plan, stop)?;
    interrupt::go_on(stop)?;
    let caused = server.finish().map_err(|error| format!("the stub: {error}"))?;
    let (Some(caused), Some(corrected), Some(uncorrected)) =
        (caused, result.produce_latency, result.produce_latency_from_send)
    else {
        return Err("the stub was sent nothing".into());
    };
    Ok((caused, Reported { corrected, uncorrected }))
}

/// The CPUs this thread had before it made room for a stub; it has them again afterwards.
struct Place(Vec<usize>);

impl Place {
    fn take() -> Self {
        Self(clock::allowed_cpus())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        clock::stay_on(&self.0);
    }
}

fn sink(settings: &Settings, cpus: &[usize], delay: Option<Delay>) -> Result<Sink, String> {
    let store = Store::Discard { batch_bytes: 4096, record_bytes: 100 };
    // Stub and generator must not compete for a core: the stub gets the last one, this thread
    // and the workers it starts the others.
    let (rest, last) = cpus.split_at(cpus.len().saturating_sub(1));
    let (last, is_real_time) = (last.to_vec(), settings.is_real_time);
    let prepare = move || {
        clock::stay_on(&last);
        if is_real_time { clock::go_real_time() } else { clock::sharpen_timers() }
    };
    let server = Sink::start_with("127.0.0.1:0", store, delay, prepare);
    clock::stay_on(if rest.is_empty() { cpus } else { rest });
    server.map_err(|error| format!("the stub: {error}"))
}

/// From this rate on a pacing thread hardly sleeps; in a real-time class the kernel would then
/// take its core away for up to 50 ms of a second, for the sake of others.
const SLEEPLESS_RATE: f64 = 50_000.0;

fn pace(settings: &Settings, rate: f64, stop: &Arc<AtomicBool>) -> Result<Pace, String> {
    let is_real_time = settings.is_real_time && rate < SLEEPLESS_RATE;
    let settings = &Settings { is_real_time, ..*settings };
    let place = Place::take();
    let server = sink(settings, &place.0, None)?;
    let plan = Plan {
        is_real_time: settings.is_real_time,
        warmup_s: 0.5,
        ..plan(&server, rate, settings.seconds, 64)
    };
    let result = run::run(plan, stop)?;
    interrupt::go_on(stop)?;
    let error = result.schedule_lag.ok_or("nothing was sent")?;
    Ok(Pace { rate, error, cpu_share: result.threads.first().map_or(0.0, |t| t.cpu_share) })
}

/// For people.
pub fn text(calibration: &Calibration) -> String {
    let mut out = String::new();
    let title = ["milliseconds", "", "stub did", "reported", "uncorrected"];
    let _ = writeln!(
        out,
        "{:<46} {:<6} {:>10} {:>10} {:>12}",
        title[0], title[1], title[2], title[3], title[4]
    );
    for case in calibration.all_cases() {
        for (index, line) in case.lines.iter().enumerate() {
            let name = match (index, case.attempts) {
                (0, 1) => case.name.clone(),
                (0, attempts) => format!("{} (attempt {attempts})", case.name),
                _ => String::new(),
            };
            let _ = writeln!(
                out,
                "{name:<46} {:<6} {:>10} {:>10} {:>12}{}",
                line.quantile,
                millis(line.stub_ns),
                millis(line.reported_ns),
                millis(line.uncorrected_ns),
                if line.is_within() { "" } else { "  off" }
            );
        }
    }
    for pace in &calibration.paces {
        let _ = writeln!(
            out,
            "pacing error at {:>7}/s  {}  ({:.0} % of a core)",
            grouped(pace.rate as u64),
            latency(&pace.error),
            pace.cpu_share * 100.0
        );
    }
    for cost in &calibration.verification {
        let _ = writeln!(
            out,
            "{} {:>5} B records  {} a core without verification, {} with it: {:.1} ns a record",
            cost.side,
            grouped(cost.record_bytes as u64),
            megabytes(cost.bare_bytes_per_s),
            megabytes(cost.verified_bytes_per_s),
            cost.ns_per_record
        );
    }
    let word = if calibration.interrupted {
        "INTERRUPTED: what is missing above was not measured"
    } else if calibration.is_accurate {
        "accurate: within 2 % or 50 us of what the stub recorded"
    } else {
        "INVALID: this machine disturbs measurements more than 2 % or 50 us"
    };
    let _ = writeln!(out, "verdict     {word}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until_accurate(delay: Delay, seconds: f64) -> Case {
        let settings = Settings { seconds, is_real_time: true };
        let once = || {
            let (stub, reported) = measure(&settings, delay, seconds, IN_FLIGHT, &Arc::default())?;
            Ok(Case::new("test".into(), &stub, &reported))
        };
        // Two rounds of attempts: this runs beside other tests.
        let mut case = repeat(once).unwrap();
        if !case.is_accurate {
            case = repeat(once).unwrap();
        }
        assert!(case.is_accurate, "never accurate: {case:?}");
        case
    }

    #[test]
    fn reported_percentiles_are_the_delays_that_the_stub_recorded() {
        // Long delays: 2 % of them are more than what busy neighbours cost.
        let fixed = until_accurate(Delay::Fixed(40_000_000), 0.8);
        assert!(fixed.lines[0].stub_ns >= 40_000_000 && fixed.lines.len() == 2, "{fixed:?}");
        let bimodal = Delay::Bimodal { fast_ns: 30_000_000, slow_ns: 90_000_000, slow_share: 0.05 };
        let bimodal = until_accurate(bimodal, 0.8);
        let (p50, p99) = (bimodal.lines[0].reported_ns, bimodal.lines[1].reported_ns);
        assert!(p50 < 40_000_000 && p99 > 80_000_000, "{bimodal:?}");
    }

    #[test]
    fn a_stall_is_seen_in_full_from_intended_times_and_hidden_without() {
        let stall =
            Delay::Stall { base_ns: 30_000_000, stall_ns: 100_000_000, every_ns: 1_000_000_000 };
        let case = until_accurate(stall, 2.0);
        let p99 = case.lines[1];
        assert!(p99.stub_ns > 80_000_000, "10 % of the time stalls of up to 100 ms: {case:?}");
        let settings = Settings { seconds: 2.0, is_real_time: true };
        let stall = Delay::Stall { base_ns: 0, stall_ns: 100_000_000, every_ns: 1_000_000_000 };
        let (_, held) = measure(&settings, stall, 2.0, 1, &Arc::default()).unwrap();
        let (corrected, uncorrected) =
            (held.corrected.named("p99").unwrap(), held.uncorrected.named("p99").unwrap());
        // The stub of this one has no usual delay of 30 ms.
        assert!(corrected > (p99.stub_ns - 30_000_000) / 10 * 8, "{corrected} beside {p99:?}");
        assert!(uncorrected < p99.stub_ns / 2, "{uncorrected} beside {p99:?}");
    }

    #[test]
    fn a_report_that_is_off_is_called_so() {
        let line = Line { quantile: "p50", stub_ns: 10_000_000, reported_ns: 0, uncorrected_ns: 0 };
        assert!(Line { reported_ns: 10_200_000, ..line }.is_within());
        assert!(!Line { reported_ns: 10_200_001, ..line }.is_within());
        assert!(Line { stub_ns: 0, reported_ns: 50_000, ..line }.is_within());
        assert!(!Line { stub_ns: 0, reported_ns: 50_001, ..line }.is_within());
    }
}
