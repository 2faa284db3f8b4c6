//! The `thalweg` command: parse, run, set the exit code.
//!
//! Exit codes: 0 done, 1 failed (`error: ...` on standard error), 2 wrong usage.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    thalweg::cli::run(&thalweg::cli::Arguments::parse())
}
