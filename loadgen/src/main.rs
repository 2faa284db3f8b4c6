//! The `loadgen` command: arguments to plan, run, report.

mod admin;
mod batch;
mod calibrate;
mod child;
mod cli;
mod clock;
mod collect;
mod compress;
mod connection;
mod consume;
mod device;
mod environment;
mod histogram;
mod interrupt;
mod pace;
mod payload;
mod plan;
mod poll;
mod produce;
mod quick;
mod recorder;
mod report;
mod request;
mod run;
mod sink;
mod verify;
mod warnings;

use std::process::ExitCode;

use clap::Parser;

use cli::{CalibrateArgs, Cli, Command, DeviceArgs, QuickArgs, RunArgs, SinkArgs};

/// The command line makes no sense (EX_CONFIG of sysexits.h).
const BAD_CONFIGURATION: u8 = 78;
const FAILED: u8 = 1;
/// The figures are not to be trusted.
const INVALID: u8 = 3;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { BAD_CONFIGURATION.into() } else { ExitCode::SUCCESS };
        }
    };
    let ended = match cli.command {
        Command::Run(args) => run(&args),
        Command::Sink(args) => sink(&args),
        Command::Quick(args) => quick(&args),
        Command::Calibrate(args) => calibrate(&args),
        Command::Device(args) => device(&args),
    };
    match ended {
        Ok(code) => code.into(),
        Err((code, why)) => {
            eprintln!("loadgen: {why}");
            code.into()
        }
    }
}

type Ended = Result<u8, (u8, String)>;

fn run(args: &RunArgs) -> Ended {
    let plan = args.plan();
    plan.check().map_err(|why| (BAD_CONFIGURATION, why))?;
    let stop = interrupt::install();
    let result = run::run(plan, &stop).map_err(|why| (FAILED, why))?;
    if args.json.as_deref() != Some("-".as_ref()) {
        print!("{}", report::text::run(&result));
    }
    if let Some(path) = &args.json {
        report::json::write(path, &result).map_err(|why| (FAILED, why))?;
    }
    Ok(result.exit_code())
}

fn sink(args: &SinkArgs) -> Ended {
    let store = match args.keep_bytes {
        Some(bytes_max) => sink::Store::Keep { bytes_max, fault: args.fault },
        None => sink::Store::Discard {
            batch_bytes: args.batch_bytes,
            record_bytes: args.record_size.max(payload::HEAD_BYTES),
        },
    };
    let stop = interrupt::install();
    let sink = sink::Sink::start_with(&args.listen, store, args.delay, clock::sharpen_timers)
        .map_err(|error| (FAILED, format!("cannot listen on {}: {error}", args.listen)))?;
    println!("sink listening on {}", sink.address);
    let caused = sink.wait(&stop).map_err(|error| (FAILED, error.to_string()))?;
    if let Some(caused) = caused {
        println!("delayed by    {}", report::text::latency(&caused.summary()));
        if let Some(path) = &args.json {
            report::json::write(path, &caused.summary()).map_err(|why| (FAILED, why))?;
        }
    }
    Ok(0)
}

fn calibrate(args: &CalibrateArgs) -> Ended {
    let stop = interrupt::install();
    let settings = calibrate::Settings { seconds: args.seconds, is_real_time: !args.no_realtime };
    let result = calibrate::calibrate(&settings, &stop).map_err(|why| (FAILED, why))?;
    if args.json.as_deref() != Some("-".as_ref()) {
        print!("{}", calibrate::text(&result));
    }
    if let Some(path) = &args.json {
        report::json::write(path, &result).map_err(|why| (FAILED, why))?;
    }
    Ok(if result.is_accurate { 0 } else { INVALID })
}

fn quick(args: &QuickArgs) -> Ended {
    quick::check(args).map_err(|why| (BAD_CONFIGURATION, why))?;
    let stop = interrupt::install();
    let result = quick::quick(args, &stop).map_err(|why| (FAILED, why))?;
    if let Some(path) = &args.json {
        report::json::write(path, &result).map_err(|why| (FAILED, why))?;
    }
    Ok(result.exit_code)
}

fn device(args: &DeviceArgs) -> Ended {
    let settings = device::Settings {
        dir: args.dir.clone(),
        file_bytes: args.file_bytes,
        seconds: args.seconds,
    };
    let stop = interrupt::install();
    let device = device::measure(&settings, &stop).map_err(|why| (FAILED, why))?;
    if args.json.as_deref() != Some("-".as_ref()) {
        for (name, text) in device::lines(&device) {
            println!("{name:<13} {text}");
        }
    }
    if let Some(path) = &args.json {
        report::json::write(path, &device).map_err(|why| (FAILED, why))?;
    }
    Ok(0)
}
