//! `loadgen quick`: one command, nothing else running, about 30 s. The ceilings of disk and
//! loopback are measured in the same run as the broker, and every throughput is put beside the
//! ceiling that bounds it.

mod phases;
mod show;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::admin::Admin;
use crate::child::{self, Broker};
use crate::cli::QuickArgs;
use crate::device::{self, Device};
use crate::environment::{Disk, Environment};
use crate::interrupt;
use crate::plan::Plan;
use crate::print;
use crate::report::{Doubt, Flow, RunResult, text};
use crate::run::{self, Extras};
use crate::sink::Sink;
use crate::warnings::Warning;
use phases::Ceiling;

pub use phases::check;

/// What the run needs at most; less would make the broker's disk-full handling the subject.
const FREE_BYTES_MIN: u64 = 10 << 30;
const DEVICE_FILE_BYTES: u64 = 512 << 20;
const DEVICE_SECONDS: f64 = 0.4;

/// Noise aside, nothing moves more than this share of what bounds it.
const SHARE_MAX: f64 = 1.1;

/// What loopback and generator allow without any broker's work.
#[derive(Clone, Debug, Serialize)]
pub struct SinkCeiling {
    /// Requests read, thrown away and answered.
    pub produce: Flow,
    /// The records of the phase "fetch tail" kept, sent from memory, received and verified.
    pub fetch: Flow,
}

/// A throughput beside what bounds it.
#[derive(Clone, Debug, Serialize)]
pub struct Share {
    /// Which ceiling.
    pub of: &'static str,
    /// Bytes per second.
    pub ceiling_bytes_per_s: f64,
    /// 0..1.
    pub share: f64,
}

/// One phase and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Phase {
    /// Its name in the report.
    pub name: &'static str,
    /// The throughput that counts beside its ceiling; none for latency phases.
    pub share: Option<Share>,
    /// The same beside writes into blocks that nobody has written, which is what a log that grows
    /// makes; none where nothing is written or the sink is the lower one.
    pub share_of_new_blocks: Option<Share>,
    /// CPU seconds of the broker per 10^9 bytes, reading back not included.
    pub broker_cpu_s_per_gb: Option<f64>,
    /// Bytes that the broker read from disk meanwhile; none where the kernel does not tell.
    pub broker_read_bytes: Option<u64>,
    /// The run.
    pub result: RunResult,
}

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct QuickResult {
    /// See [`crate::report::FORMAT`].
    pub format: u32,
    /// Where.
    pub environment: Environment,
    /// What the broker promises, in its own words.
    pub durability: String,
    /// The broker's largest resident memory, bytes.
    pub broker_peak_bytes: u64,
    /// Whether a signal ended it early: what is missing was not measured.
    pub interrupted: bool,
    /// What kept the rest from being measured, when something did.
    pub failure: Option<String>,
    /// The disk.
    pub device: Option<Device>,
    /// Loopback and generator.
    pub sink: Option<SinkCeiling>,
    /// The phases; the last one of an interrupted `quick` in part.
    pub phases: Vec<Phase>,
    /// Doubts about all of it; each phase has its own besides.
    pub warnings: Vec<Warning>,
    /// The same in words.
    pub doubts: Vec<Doubt>,
    /// What loadgen should exit with.
    pub exit_code: u8,
}

/// A fresh directory, removed when dropped unless it is to be kept.
struct Place {
    path: PathBuf,
    is_kept: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_kept {
            let place = self.path.display();
            print::aside(format_args!("loadgen: the broker's data and log are in {place}"));
        } else if let Err(error) = fs::remove_dir_all(&self.path) {
            print::aside(format_args!("loadgen: cannot remove {}: {error}", self.path.display()));
        }
    }
}

/// Do it all, printing as it goes. A signal ends it with what was measured until then, and so does
/// what goes wrong later than in the first phase: records that were lost are told whatever came
/// of the rest.
///
/// # Errors
/// What kept the first phase from being done.
pub fn quick(args: &QuickArgs, stop: &Arc<AtomicBool>) -> Result<QuickResult, String> {
    let binary = child::find_broker(args.broker.as_deref())?;
    let place = make_place(args)?;
    let environment = Environment { disk: Disk::of(&place.path), ..Environment::capture() };
    show::opening(&environment, args);
    let warnings = doubts(environment.disk.as_ref());
    let mut result = QuickResult {
        format: crate::report::FORMAT,
        environment,
        durability: String::new(),
        broker_peak_bytes: 0,
        interrupted: false,
        failure: None,
        device: None,
        sink: None,
        phases: Vec::new(),
        doubts: warnings.iter().map(Doubt::from).collect(),
        warnings,
        exit_code: 0,
    };
    let done = measure(args, &binary, &place.path, stop, &mut result);
    result.interrupted = stop.load(Ordering::Relaxed);
    result.failure = done.err().filter(|_| !result.interrupted);
    if let Some(why) = result.failure.take_if(|_| result.phases.is_empty()) {
        return Err(why);
    }
    let mut codes: Vec<u8> = result.phases.iter().map(|phase| phase.result.exit_code()).collect();
    codes.extend(result.failure.as_ref().map(|_| 1));
    result.exit_code = worst(&codes, interrupt::exit_code().filter(|_| result.interrupted));
    show::closing(&result);
    Ok(result)
}

/// What is doubtful before anything is measured.
fn doubts(disk: Option<&Disk>) -> Vec<Warning> {
    let memory = disk.filter(|disk| disk.is_memory());
    memory
        .map(|disk| Warning::NoDevice { file_system: disk.file_system.clone() })
        .into_iter()
        .collect()
}

/// Fill `result` in the order in which it is printed.
fn measure(
    args: &QuickArgs,
    binary: &Path,
    place: &Path,
    stop: &Arc<AtomicBool>,
    result: &mut QuickResult,
) -> Result<(), String> {
    let settings = device::Settings {
        dir: place.to_owned(),
        file_bytes: DEVICE_FILE_BYTES,
        seconds: DEVICE_SECONDS,
    };
    let device = device::measure(&settings, stop)?;
    interrupt::go_on(stop)?;
    show::device(&device);
    result.device = Some(device.clone());
    go_on(args, stop)?;
    let sink = sink_ceiling(args, stop)?;
    interrupt::go_on(stop)?;
    show::sink(&sink);
    result.sink = Some(sink.clone());
    go_on(args, stop)?;

    let mut broker = Broker::start(binary, place, stop)?;
    show::broker(&broker.banner);
    for phase in phases::all(args, &sink) {
        let plan = Plan { bootstrap_server: broker.address.to_string(), ..phase.plan.clone() };
        let before = broker.usage();
        let extras = Extras { files: Some(place), ..Extras::default() };
        let ended = run::run_with(plan.clone(), stop, extras);
        let after = broker.usage();
        let read = after.read_bytes.zip(before.read_bytes);
        let mut ended = ended.map_err(|why| broker.has_ended().unwrap_or(why))?;
        if ended.measured_s <= 0.0 && ended.failure.is_none() {
            return interrupt::go_on(stop);
        }
        result.durability.clone_from(&ended.durability);
        result.broker_peak_bytes = after.peak_bytes;
        let moved = phase.moved.map(|moved| moved(&ended));
        let (share, share_of_new_blocks) = moved.map_or((None, None), |moved| {
            hold_against(&phase.ceiling, moved, &device, &sink, &mut ended)
        });
        let done = Phase {
            name: phase.name,
            share,
            share_of_new_blocks,
            broker_cpu_s_per_gb: phases::cpu_per_gb(&ended, after.cpu_s - before.cpu_s),
            broker_read_bytes: read.map(|(after, before)| after.saturating_sub(before)),
            result: ended,
        };
        show::phase(&done, moved);
        result.phases.push(done);
        go_on(args, stop)?;
        Admin::connect(&plan.bootstrap_server)?.delete_topic(&plan.topic)?;
    }
    Ok(())
}

/// Go on while there is somebody to measure for: whoever has read enough (`quick | head`) would
/// wait for figures that nobody sees, unless they are to be stored.
///
/// # Errors
/// When there is nobody, or a signal has come.
fn go_on(args: &QuickArgs, stop: &AtomicBool) -> Result<(), String> {
    if args.json.is_none() && print::has_no_reader() {
        interrupt::end_by(libc::SIGPIPE, stop);
    }
    interrupt::go_on(stop)
}

/// A broken promise outranks a failure, which outranks a signal and doubtful figures.
fn worst(codes: &[u8], by_signal: Option<u8>) -> u8 {
    let ranked = [Some(4), Some(1), by_signal, Some(3)];
    let applies = |code: &u8| codes.contains(code) || by_signal == Some(*code);
    ranked.into_iter().flatten().find(applies).unwrap_or(0)
}

fn make_place(args: &QuickArgs) -> Result<Place, String> {
    let failed = |what: &str, error: std::io::Error| {
        format!("--dir {}: {what}: {error}", args.dir.display())
    };
    let dir = fs::canonicalize(&args.dir).map_err(|e| failed("there is no such directory", e))?;
    let free = free_bytes(&dir).map_err(|e| failed("cannot ask for free space", e))?;
    if free < FREE_BYTES_MIN {
        return Err(format!(
            "--dir {}: {} GiB are free there, quick needs {}; choose another disk",
            dir.display(),
            free >> 30,
            FREE_BYTES_MIN >> 30
        ));
    }
    let path = dir.join(format!("loadgen-quick-{}", std::process::id()));
    fs::create_dir(&path).map_err(|e| failed("cannot make a directory in it", e))?;
    Ok(Place { path, is_kept: args.keep })
}

fn free_bytes(dir: &Path) -> std::io::Result<u64> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(dir.as_os_str().as_bytes())?;
    // SAFETY: all-zero bytes are a valid statvfs, which the call then fills.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: `path` is a terminated string and `found` a statvfs, both valid during the call.
    let done = unsafe { libc::statvfs(path.as_ptr(), &mut found) };
    if done != 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(found.f_bavail * found.f_frsize)
}

fn sink_ceiling(args: &QuickArgs, stop: &Arc<AtomicBool>) -> Result<SinkCeiling, String> {
    phases::sink(args, |store, plan| {
        let sink = Sink::start("127.0.0.1:0", store).map_err(|e| format!("the sink: {e}"))?;
        let result = run::run(Plan { bootstrap_server: sink.address.to_string(), ..plan }, stop)?;
        match &result.failure {
            Some(why) => Err(format!("against the sink: {why}")),
            None if result.verdict.is_clean() => Ok(result),
            None => Err(format!("against the sink: {}", text::verdict(&result.verdict))),
        }
    })
}

/// What a run has moved beside its ceilings; it is doubted when it has passed one.
fn hold_against(
    ceiling: &Ceiling,
    moved: Flow,
    device: &Device,
    sink: &SinkCeiling,
    run: &mut RunResult,
) -> (Option<Share>, Option<Share>) {
    let share = share(ceiling, moved, device, sink);
    run.doubt(share.as_ref().and_then(Share::doubt).into_iter().collect());
    (share, share_of_new_blocks(ceiling, moved, device, sink))
}

fn share(ceiling: &Ceiling, moved: Flow, device: &Device, sink: &SinkCeiling) -> Option<Share> {
    let (write, flush) = (device::best(&device.write), device::best(&device.write_flush));
    let lower = |of, device: f64, sink: f64| {
        if device < sink { (of, device) } else { ("sink", sink) }
    };
    let (of, bytes_per_s) = match ceiling {
        Ceiling::None => return None,
        Ceiling::Write => lower("device write", write, sink.produce.bytes_per_s),
        Ceiling::WriteFlush => lower("device write + fdatasync", flush, sink.produce.bytes_per_s),
        Ceiling::Fetch => ("source", sink.fetch.bytes_per_s),
    };
    Some(Share::new(of, moved, bytes_per_s))
}

fn share_of_new_blocks(
    ceiling: &Ceiling,
    moved: Flow,
    device: &Device,
    sink: &SinkCeiling,
) -> Option<Share> {
    let (of, rates) = match ceiling {
        Ceiling::None | Ceiling::Fetch => return None,
        Ceiling::Write => ("device new blocks", &device.write_claimed),
        Ceiling::WriteFlush => ("device new + fdatasync", &device.write_claimed_flush),
    };
    let bytes_per_s = device::best(rates);
    (bytes_per_s < sink.produce.bytes_per_s).then(|| Share::new(of, moved, bytes_per_s))
}

impl Share {
    fn new(of: &'static str, moved: Flow, ceiling_bytes_per_s: f64) -> Self {
        Self { of, ceiling_bytes_per_s, share: moved.bytes_per_s / ceiling_bytes_per_s.max(1.0) }
    }

    /// What is doubtful about it, if anything is.
    fn doubt(&self) -> Option<Warning> {
        let Self { of, share, .. } = *self;
        (share > SHARE_MAX).then_some(Warning::CeilingPassed { of, share })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Rate;
    use crate::histogram::Latency;
    use crate::report::{self, Validity};
    use phases::tests as phases;

    fn rates(bytes_per_s: &[f64]) -> Vec<Rate> {
        let rate = |bytes_per_s: &f64| Rate {
            call_bytes: 4096,
            depth: 1,
            bytes_per_s: *bytes_per_s,
            latency: Latency::default().summary(),
        };
        bytes_per_s.iter().map(rate).collect()
    }

    fn flow(bytes_per_s: f64) -> Flow {
        Flow { bytes_per_s, ..Flow::default() }
    }

    #[test]
    fn a_ceiling_that_is_passed_is_doubted() {
        let doubt = |moved: f64| Share::new("source", flow(moved), 100.0).doubt();
        assert_eq!((doubt(10.0), doubt(109.0)), (None, None));
        let doubt = doubt(211.0).unwrap();
        assert_eq!(report::validity(std::slice::from_ref(&doubt)), Validity::Suspect);
        assert!(doubt.text().starts_with("211 % of source"), "{}", doubt.text());
        assert!(doubt.remedy().contains("one thread"), "the source's own: {}", doubt.remedy());
        let disk = Share::new("device write", flow(211.0), 100.0).doubt().unwrap();
        assert!(!disk.remedy().contains("one thread"), "{}", disk.remedy());
    }

    #[test]
    fn a_broken_promise_outranks_a_failure_and_that_a_signal_and_doubtful_figures() {
        assert_eq!((worst(&[], None), worst(&[0, 0], None)), (0, 0));
        assert_eq!(worst(&[0, 3, 1, 4, 0], Some(130)), 4);
        assert_eq!(worst(&[3, 1, 0], Some(130)), 1);
        assert_eq!(worst(&[3, 0], Some(130)), 130);
        assert_eq!(worst(&[0, 3, 0], None), 3);
    }

    #[test]
    fn a_directory_that_cannot_be_measured_in_is_refused_before_anything_is_done() {
        let refused = |dir: &str| {
            let place = make_place(&QuickArgs { dir: dir.into(), ..phases::args() });
            place.map(|place| place.path.clone()).unwrap_err()
        };
        let absent = refused("/nonexistent");
        assert!(absent.contains("--dir /nonexistent: there is no such directory"), "{absent}");
        // Its file system is no place for files.
        let full = refused("/proc");
        assert!(full.contains("--dir /proc: 0 GiB are free there, quick needs 10"), "{full}");
    }

    #[test]
    fn memory_is_no_disk() {
        let disk = |file_system: &str| Disk { file_system: file_system.into(), ..Disk::default() };
        let found = doubts(Some(&disk("tmpfs")));
        assert_eq!(found, [Warning::NoDevice { file_system: "tmpfs".into() }]);
        assert_eq!(report::validity(&found), Validity::Suspect);
        assert_eq!((doubts(Some(&disk("ext4"))), doubts(None)), (vec![], vec![]));
    }

    fn device() -> Device {
        Device {
            dir: "/".into(),
            is_direct: true,
            fresh_write_bytes_per_s: 1.0,
            write_claimed: rates(&[100.0, 200.0]),
            write: rates(&[400.0, 300.0]),
            write_flush: rates(&[250.0]),
            write_claimed_flush: rates(&[125.0]),
            small_flush: rates(&[1.0]).remove(0),
            read: rates(&[1.0]),
        }
    }

    #[test]
    fn a_phase_that_has_passed_its_ceiling_is_suspect() {
        let sink = SinkCeiling { produce: flow(1000.0), fetch: flow(50.0) };
        for (moved, is_doubted) in [(399.0, false), (500.0, true)] {
            let mut run = phases::short(None, 1);
            let (share, _) = hold_against(&Ceiling::Write, flow(moved), &device(), &sink, &mut run);
            assert_eq!(share.unwrap().share, moved / 400.0);
            let passed = |w: &Warning| matches!(w, Warning::CeilingPassed { .. });
            assert_eq!(run.warnings.iter().any(passed), is_doubted, "{:?}", run.warnings);
        }
    }

    #[test]
    fn a_throughput_stands_beside_the_lower_of_its_ceilings_and_beside_new_blocks() {
        let device = device();
        let found = |ceiling: &Ceiling, sink: f64| {
            let sink = SinkCeiling { produce: flow(sink), fetch: flow(50.0) };
            let told = |share: Share| (share.of, share.ceiling_bytes_per_s, share.share);
            let all = share(ceiling, flow(100.0), &device, &sink).map(told);
            (all, share_of_new_blocks(ceiling, flow(100.0), &device, &sink).map(told))
        };
        let fast = (Some(("device write", 400.0, 0.25)), Some(("device new blocks", 200.0, 0.5)));
        assert_eq!(found(&Ceiling::Write, 1000.0), fast);
        let slow = (Some(("sink", 150.0, 100.0 / 150.0)), None);
        assert_eq!(found(&Ceiling::Write, 150.0), slow, "the sink is the lower one");
        let flushed = (
            Some(("device write + fdatasync", 250.0, 0.4)),
            Some(("device new + fdatasync", 125.0, 0.8)),
        );
        assert_eq!(found(&Ceiling::WriteFlush, 1000.0), flushed);
        assert_eq!(found(&Ceiling::Fetch, 1000.0), (Some(("source", 50.0, 2.0)), None));
        assert_eq!(found(&Ceiling::None, 1000.0), (None, None));
    }
}
