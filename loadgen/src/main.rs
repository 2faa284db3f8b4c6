//! The `loadgen` command: arguments to plan, run, report.

// They panic when nobody reads: `print` has what to use instead.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod admin;
mod batch;
mod calibrate;
mod child;
mod cli;
mod clock;
mod collect;
mod commands;
mod compare;
mod compress;
mod connection;
mod consume;
mod cost;
mod device;
mod environment;
mod find;
mod folder;
mod histogram;
mod interrupt;
mod live;
mod observe;
mod pace;
mod payload;
mod plan;
mod poll;
mod print;
mod produce;
mod quick;
mod recorder;
mod report;
mod request;
mod run;
mod sink;
mod slo;
mod verify;
mod warnings;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use commands::{BAD_CONFIGURATION, FAILED};

fn main() -> ExitCode {
    let arguments = match cli::workload::expand(std::env::args_os().collect()) {
        Ok(arguments) => arguments,
        Err(why) => {
            print::aside(format_args!("loadgen: {why}"));
            return BAD_CONFIGURATION.into();
        }
    };
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let printed = error.print();
            if error.use_stderr() {
                return BAD_CONFIGURATION.into();
            }
            print::keep(printed);
            return end(0);
        }
    };
    let ended = match cli.command {
        Command::Run(args) => commands::run(&args),
        Command::Find(args) => commands::find(&args),
        Command::Ab(args) => commands::ab(&args),
        Command::Compare(args) => commands::compare(&args),
        Command::Scenarios(args) => commands::scenarios(&args),
        Command::Completions(args) => commands::completions(&args),
        Command::Man(args) => commands::man(&args),
        Command::Replay(args) => commands::replay(&args),
        Command::Report(args) => commands::report(&args),
        Command::Sink(args) => commands::sink(&args),
        Command::Quick(args) => commands::quick(&args),
        Command::Calibrate(args) => commands::calibrate(&args),
        Command::Device(args) => commands::device(&args),
        Command::Part => commands::part(),
    };
    match ended {
        Ok(code) => end(code),
        Err((code, why)) => {
            print::aside(format_args!("loadgen: {why}"));
            end(code)
        }
    }
}

/// Exit with `code`, which cannot be success if not all could be printed.
fn end(code: u8) -> ExitCode {
    let Some(why) = print::failure() else { return code.into() };
    print::aside(format_args!("loadgen: {why}"));
    if code == 0 { FAILED.into() } else { code.into() }
}
