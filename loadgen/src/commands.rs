//! What each command does: from its flags to its exit code.

use crate::cli::workload::{SCENARIOS, Workload};
use std::path::{Path, PathBuf};

use clap::CommandFactory;

use crate::cli::{
    AbArgs, CalibrateArgs, Cli, CompareArgs, CompletionsArgs, DeviceArgs, FindArgs, ManArgs,
    QuickArgs, ReplayArgs, ReportArgs, ResultArgs, RunArgs, ScenariosArgs, SinkArgs,
};
use crate::compare::{self, ab};
use crate::folder::Folder;
use crate::plan::Plan;
use crate::slo::Objective;
use crate::{
    calibrate, clock, device, find, interrupt, live, payload, print, quick, report, run, sink,
};

/// The command line makes no sense (EX_CONFIG of sysexits.h).
pub const BAD_CONFIGURATION: u8 = 78;
/// It could not be done.
pub const FAILED: u8 = 1;
/// The figures are not to be trusted.
const INVALID: u8 = 3;
/// How a disk's ceiling is measured before a run.
const CEILING_BYTES: u64 = 512 << 20;
const CEILING_S: f64 = 0.6;

/// An exit code, or one with a reason to print.
pub type Ended = Result<u8, (u8, String)>;

/// Refuse a result file that could not be written, before anything is measured.
fn check_file(flag: &str, path: Option<&PathBuf>) -> Result<(), (u8, String)> {
    let checked = path.map_or(Ok(()), |path| report::json::check(flag, path));
    checked.map_err(|why| (BAD_CONFIGURATION, why))
}

/// Refuse objectives that a run of `plan` does not measure.
fn check_objectives(objectives: &[Objective], plan: &Plan) -> Result<(), (u8, String)> {
    let checked = objectives.iter().try_for_each(|objective| objective.check(plan));
    checked.map_err(|why| (BAD_CONFIGURATION, why))
}

/// How to end when there is nothing to report: by the signal, if one came.
fn failed(why: String) -> (u8, String) {
    match interrupt::exit_code() {
        Some(code) => (code, format!("interrupted, nothing is reported ({why})")),
        None => (FAILED, why),
    }
}

/// How to end when a signal came before the whole answer was there.
fn interrupted() -> u8 {
    interrupt::exit_code().unwrap_or(FAILED)
}

/// See the command's help.
///
/// # Errors
/// The exit code and why.
pub fn run(args: &RunArgs) -> Ended {
    let plan = args.plan();
    plan.check().map_err(|why| (BAD_CONFIGURATION, why))?;
    measure(plan, &args.results)
}

/// See the command's help.
///
/// # Errors
/// The exit code and why.
pub fn scenarios(args: &ScenariosArgs) -> Ended {
    let Some(name) = &args.name else {
        for scenario in SCENARIOS {
            let workload = Workload::parse(scenario.text).map_err(|why| (FAILED, why))?;
            let (name, title) = (scenario.name, workload.title);
            print::line(format_args!("{name:<16} {title}\n{:<16} {}", "", workload.about));
        }
        return Ok(0);
    };
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name);
    let unknown =
        || (BAD_CONFIGURATION, format!("{name}: no such scenario; see the list without a name"));
    print::out(scenario.ok_or_else(unknown)?.text);
    Ok(0)
}

/// See the command's help.
///
/// # Errors
/// The exit code and why.
pub fn find(args: &FindArgs) -> Ended {
    let settings = args.settings().map_err(|why| (BAD_CONFIGURATION, why))?;
    settings.plan.check().map_err(|why| (BAD_CONFIGURATION, why))?;
    check_objectives(&settings.objectives, &settings.plan)?;
    check_file("--json", args.json.as_ref())?;
    let stop = interrupt::install_aloud();
    let told = |tried: &find::Tried| {
        let word = if tried.is_kept { "kept  " } else { "missed" };
        let kind = if tried.trial.confirms { "long " } else { "short" };
        let rate = report::text::per_second(tried.trial.rate);
        let again = match tried.attempts {
            1 => String::new(),
            attempts => format!(" (attempt {attempts})"),
        };
        let why = &tried.why;
        print::aside(format_args!("{kind} {rate:>12} records/s  {word}  {why}{again}"));
    };
    let answer = find::find(&settings, &stop, told).map_err(failed)?;
    if args.json.as_deref() != Some("-".as_ref()) {
        print::line(format_args!("highest rate  {}", answer.text));
    }
    if let Some(path) = &args.json {
        report::json::write(path, &answer).map_err(|why| (FAILED, why))?;
    }
    Ok(match answer.low {
        _ if answer.interrupted => interrupted(),
        Some(_) => 0,
        None => report::OBJECTIVE_MISSED,
    })
}

/// See the command's help.
///
/// # Errors
/// The exit code and why.
pub fn ab(args: &AbArgs) -> Ended {
    let plan = args.plan().map_err(|why| (BAD_CONFIGURATION, why))?;
    plan.check().map_err(|why| (BAD_CONFIGURATION, why))?;
    let settings = ab::Settings {
        a: args.a.clone(),
        b: args.b.clone(),
        rounds: usize::from(args.rounds),
        dir: args.dir.clone(),
        plan,
    };
    let stop = interrupt::install_aloud();
    let folder = args.out.as_deref().map(Folder::create).transpose();
    let folder = folder.map_err(|why| (BAD_CONFIGURATION, why))?;
    // Behind the folder, in which the file may be.
    check_file("--json", args.json.as_ref())?;
    let told = |step: ab::Progress<'_>| match step {
        ab::Progress::Run(one, result) => {
            let flow = report::text::flow(&result.produced);
            let latency = result.produce_latency.as_ref().map(report::text::latency);
            let (round, part, which) = (one.round, one.part, one.which);
            let latency = latency.unwrap_or_default();
            print::aside(format_args!("{part} {round} {which:<8} {flow}  {latency}"));
        }
        ab::Progress::Floor(floor) => {
            print::aside(format_args!("noise floor: {}", ab::floor_text(floor)));
        }
    };
    let found = ab::compare(&settings, folder.as_ref(), &stop, told).map_err(failed)?;
    if args.json.as_deref() != Some("-".as_ref()) {
        print::out(ab::text(&found));
    }
    if let Some(path) = &args.json {
        report::json::write(path, &found).map_err(|why| (FAILED, why))?;
    }
    if let Some(folder) = &folder {
        folder.finish_comparison(&found).map_err(|why| (FAILED, why))?;
        print::aside(format_args!("report      {}", folder.report_path().display()));
    }
    let is_valid = found.runs.iter().all(|run| run.result["valid"] == true);
    Ok(match is_valid {
        _ if found.interrupted => interrupted(),
        true => 0,
        false => INVALID,
    })
}

/// See the command's help.
///
/// # Errors
/// The exit code and why.
pub fn compare(args: &CompareArgs) -> Ended {
    let result = |path: &Path| Folder::open(path).and_then(|folder| folder.run());
    let a = result(&args.a).map_err(|why| (BAD_CONFIGURATION, why))?;
    let b = result(&args.b).map_err(|why| (BAD_CONFIGURATION, why))?;
    print::out(compare::runs(&a, &b));
    Ok(0)
}

/// See the command's help.
///
/// # Errors
/// The exit code and why.
pub fn completions(args: &CompletionsArgs) -> Ended {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "loadgen", &mut text);
    print::out(String::from_utf8_lossy(&text));
    Ok(0)
}

/// See the command's help.
///
/// # Errors
/// The exit code and why.
pub fn man(args: &ManArgs) -> Ended {
    let mut command = Cli::command();
    command.build();
    if let Some(name) = &args.command {
        let found = command.find_subcommand(name).cloned();
        let unknown =
            || (BAD_CONFIGURATION, format!("{name}: no such command; see loadgen --help"));
        command = found.ok_or_else(unknown)?;
    }
    let mut text = Vec::new();
    let rendered = clap_mangen::Man::new(command).render(&mut text);
    rendered.map_err(|error| (FAILED, error.to_string()))?;
    print::out(String::from_utf8_lossy(&text));
    Ok(0)
}

/// See the command's help.
///
/// # Errors
/// The exit code and why.
pub fn replay(args: &ReplayArgs) -> Ended {
    let stored = Folder::open(&args.folder).map_err(|why| (BAD_CONFIGURATION, why))?;
    let mut plan = stored.plan().map_err(|why| (BAD_CONFIGURATION, why))?;
    if let Some(server) = &args.bootstrap_server {
        plan.bootstrap_server.clone_from(server);
    }
    plan.check().map_err(|why| (BAD_CONFIGURATION, why))?;
    measure(plan, &args.results)
}

/// See the command's help.
///
/// # Errors
/// The exit code and why.
pub fn report(args: &ReportArgs) -> Ended {
    let folder = Folder::open(&args.folder).map_err(|why| (BAD_CONFIGURATION, why))?;
    folder.report().map_err(|why| (FAILED, why))?;
    print::line(format_args!("report      {}", folder.report_path().display()));
    Ok(0)
}

/// One process of a run in several parts; its parent speaks to it.
///
/// # Errors
/// The exit code and why.
pub fn part() -> Ended {
    run::parts::be_part().map(|()| 0).map_err(|why| (FAILED, why))
}

/// Run `plan` and leave its results where they are wanted.
fn measure(plan: Plan, wanted: &ResultArgs) -> Ended {
    check_objectives(&wanted.slo, &plan)?;
    let folder = wanted.out.as_deref().map(Folder::create).transpose();
    let folder = folder.map_err(|why| (BAD_CONFIGURATION, why))?;
    // Behind the folder, in which the files may be.
    check_file("--json", wanted.json.as_ref())?;
    check_file("--omb-result", wanted.omb_result.as_ref())?;
    let stop = interrupt::install();
    let device = wanted.ceiling.as_ref().map(|dir| {
        let settings =
            device::Settings { dir: dir.clone(), file_bytes: CEILING_BYTES, seconds: CEILING_S };
        device::measure(&settings, &stop)
    });
    let device = device.transpose().map_err(failed)?;
    interrupt::go_on(&stop).map_err(failed)?;
    let live = Some(live::Wanted { lines_s: wanted.progress });
    let extras = run::Extras { folder: folder.as_ref(), observes: true, live, ..<_>::default() };
    let mut result = run::run_with(plan, &stop, extras).map_err(failed)?;
    result.device = device;
    result.hold_against(&wanted.slo);
    if wanted.json.as_deref() != Some("-".as_ref()) {
        print::out(report::text::run(&result));
    }
    if let Some(path) = &wanted.json {
        report::json::write(path, &result).map_err(|why| (FAILED, why))?;
    }
    if let Some(folder) = &folder {
        folder.finish(&result).map_err(|why| (FAILED, why))?;
        if let Some(path) = &wanted.omb_result {
            folder.omb_result(path, &result).map_err(|why| (FAILED, why))?;
        }
        print::aside(format_args!("report      {}", folder.report_path().display()));
    }
    Ok(result.exit_code())
}

/// See the command's help.
///
/// # Errors
/// The exit code and why.
pub fn sink(args: &SinkArgs) -> Ended {
    let store = match args.keep_bytes {
        Some(bytes_max) => sink::Store::Keep { bytes_max, fault: args.fault },
        None => sink::Store::Discard {
            batch_bytes: args.batch_bytes,
            record_bytes: args.record_size.max(payload::HEAD_BYTES),
        },
    };
    check_file("--json", args.json.as_ref())?;
    let stop = interrupt::install();
    let sink = sink::Sink::start_with(&args.listen, store, args.delay, clock::sharpen_timers)
        .map_err(|error| (FAILED, format!("cannot listen on {}: {error}", args.listen)))?;
    print::line(format_args!("sink listening on {}", sink.address));
    let caused = sink.wait(&stop).map_err(|error| (FAILED, error.to_string()))?;
    if let Some(caused) = caused {
        let delays = report::text::latency(&caused.summary());
        print::line(format_args!("delayed by    {delays}"));
        if let Some(path) = &args.json {
            report::json::write(path, &caused.summary()).map_err(|why| (FAILED, why))?;
        }
    }
    Ok(0)
}

/// See the command's help.
///
/// # Errors
/// The exit code and why.
pub fn calibrate(args: &CalibrateArgs) -> Ended {
    check_file("--json", args.json.as_ref())?;
    let stop = interrupt::install_aloud();
    let settings = calibrate::Settings { seconds: args.seconds, is_real_time: !args.no_realtime };
    let told = |what: &str| print::aside(format_args!("measured    {what}"));
    let result = calibrate::calibrate(&settings, &stop, told).map_err(failed)?;
    if args.json.as_deref() != Some("-".as_ref()) {
        print::out(calibrate::text(&result));
    }
    if let Some(path) = &args.json {
        report::json::write(path, &result).map_err(|why| (FAILED, why))?;
    }
    Ok(match result.is_accurate {
        _ if result.interrupted => interrupted(),
        true => 0,
        false => INVALID,
    })
}

/// See the command's help.
///
/// # Errors
/// The exit code and why.
pub fn quick(args: &QuickArgs) -> Ended {
    quick::check(args).map_err(|why| (BAD_CONFIGURATION, why))?;
    check_file("--json", args.json.as_ref())?;
    let stop = interrupt::install_aloud();
    let result = quick::quick(args, &stop).map_err(failed)?;
    if let Some(path) = &args.json {
        report::json::write(path, &result).map_err(|why| (FAILED, why))?;
    }
    Ok(result.exit_code)
}

/// See the command's help.
///
/// # Errors
/// The exit code and why.
pub fn device(args: &DeviceArgs) -> Ended {
    let settings = device::Settings {
        dir: args.dir.clone(),
        file_bytes: args.file_bytes,
        seconds: args.seconds,
    };
    check_file("--json", args.json.as_ref())?;
    let stop = interrupt::install();
    let device = device::measure(&settings, &stop).map_err(failed)?;
    interrupt::go_on(&stop).map_err(failed)?;
    if args.json.as_deref() != Some("-".as_ref()) {
        for (name, text) in device::lines(&device) {
            print::line(format_args!("{name:<13} {text}"));
        }
    }
    if let Some(path) = &args.json {
        report::json::write(path, &device).map_err(|why| (FAILED, why))?;
    }
    Ok(0)
}
