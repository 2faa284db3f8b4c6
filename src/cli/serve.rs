//! `thalweg serve`: run a broker.
//!
//! Owns the flags, the log lines' destination, the checks before the start and the banner. The
//! broker itself is the server's; signals are handled there, too.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Instant;

use tracing_subscriber::EnvFilter;

use super::{Failure, banner, preflight};
use crate::config::{Config, Machine, Origin, describe_broker};

/// Run a broker.
///
/// Every setting has a default; file beats default, flag beats file. Settings are named as in
/// Kafka where they mean the same; docs/OPERATIONS.md lists them all.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    thalweg serve\n  \
    thalweg serve --listen 0.0.0.0:9092 --advertise broker.example:9092 --data-dir /data\n  \
    thalweg serve --set num.partitions=12 --set log.retention.ms=7d\n  \
    thalweg serve --config broker.toml --check")]
pub struct ServeArguments {
    /// Address to listen on; :PORT means every address, port 0 lets the kernel choose
    /// [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Address that clients are told [default: the one listened on]
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Where records are kept [default: ./thalweg-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Shards, each with a core [default: one per usable core]
    #[arg(long, value_name = "N")]
    shards: Option<u16>,
    /// Serve /metrics and /healthz at this address [default: off]
    #[arg(long, value_name = "HOST:PORT")]
    metrics: Option<String>,
    /// Read settings from a TOML file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Any setting by name, as often as needed: log.segment.bytes=64MiB
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// What to log: error, warn, info, debug, or a filter such as warn,thalweg::storage=debug
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: String,
    /// Check settings and machine, print every setting with its origin, and stop
    #[arg(long)]
    check: bool,
}

/// Run the broker until it is told to stop.
pub fn run(arguments: &ServeArguments) -> Result<(), Failure> {
    let started = Instant::now();
    let config =
        Config::load(Machine::detect(), arguments.config.as_deref(), &flags(arguments)?)
            .map_err(|errors| Failure::Usage(in_lines("the settings cannot be used", &errors)))?;
    set_up_log(&arguments.log)?;
    let report = preflight::check(&config);
    if arguments.check {
        print_settings(&config)?;
    }
    if !report.problems.is_empty() {
        return Err(Failure::Error(in_lines("the broker cannot start here", &report.problems)));
    }
    let mut out = io::stdout().lock();
    if arguments.check {
        for warning in &report.warnings {
            writeln!(out, "# warning: {warning}")?;
        }
        return Ok(());
    }
    // A banner that nobody reads must not stop a broker.
    let _ = out.write_all(banner::opening(&config, &report).as_bytes());
    let _ = out.flush();
    drop(out);
    let shown = config.clone();
    crate::server::start::run(config, move |ready| {
        let text = banner::closing(&shown, ready, started.elapsed());
        let mut out = io::stdout().lock();
        let _ = out.write_all(text.as_bytes());
        let _ = out.flush();
    })
    .map_err(Failure::Error)
}

/// Flags as settings, the short names first.
fn flags(arguments: &ServeArguments) -> Result<Vec<(String, String)>, Failure> {
    let data_dir = arguments.data_dir.as_ref().map(|path| path.display().to_string());
    let shards = arguments.shards.map(|count| count.to_string());
    let short = [
        ("--listen", "listeners", &arguments.listen),
        ("--advertise", "advertised.listeners", &arguments.advertise),
        ("--data-dir", "log.dirs", &data_dir),
        ("--shards", "thalweg.shards", &shards),
        ("--metrics", "thalweg.metrics.listener", &arguments.metrics),
    ];
    let mut pairs: Vec<(String, String)> = Vec::new();
    for (_, key, value) in &short {
        pairs.extend(value.as_ref().map(|value| ((*key).to_owned(), value.clone())));
    }
    for setting in &arguments.settings {
        let Some((key, value)) = setting.split_once('=') else {
            let text = format!("--set {setting:?} has no '='; write --set KEY=VALUE");
            return Err(Failure::Usage(text));
        };
        let key = key.trim();
        if let Some((flag, ..)) = short.iter().find(|(_, k, v)| *k == key && v.is_some()) {
            let text = format!("{flag} and --set {key} say the same thing; keep one of them");
            return Err(Failure::Usage(text));
        }
        pairs.push((key.to_owned(), value.to_owned()));
    }
    Ok(pairs)
}

fn set_up_log(filter: &str) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        Failure::Usage(format!("--log {filter:?} is no filter ({error}); try --log info"))
    })?;
    let is_coloured = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let set = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(is_coloured)
        .try_init();
    // A second set-up in one process happens in tests only; the first one stays.
    drop(set);
    Ok(())
}

fn print_settings(config: &Config) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    for entry in describe_broker(config) {
        let origin = match config.setting(entry.name).map(|setting| &setting.origin) {
            None | Some(Origin::Default) => "default".into(),
            Some(Origin::File(path)) => path.display().to_string(),
            Some(Origin::Flag) => "flag".into(),
        };
        match entry.value {
            Some(value) => writeln!(out, "{:?} = {value:?}  # {origin}", entry.name)?,
            None => writeln!(out, "# {:?} is not set", entry.name)?,
        }
    }
    Ok(())
}

fn in_lines<T: std::fmt::Display>(head: &str, items: &[T]) -> String {
    let mut text = head.to_owned();
    for item in items {
        text.push_str("\n  ");
        text.push_str(&item.to_string().replace('\n', "\n  "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Harness {
        #[command(flatten)]
        serve: ServeArguments,
    }

    fn parse(line: &str) -> ServeArguments {
        Harness::try_parse_from(std::iter::once("x").chain(line.split_whitespace())).unwrap().serve
    }

    fn text(failure: Failure) -> String {
        match failure {
            Failure::Error(text) | Failure::Usage(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn short_flags_are_settings() {
        let arguments = parse(
            "--listen :0 --advertise h:1 --data-dir d --shards 2 --metrics :9 \
             --set log.segment.bytes=64MiB --set a=b=c",
        );
        let pairs = flags(&arguments).unwrap();
        let keys: Vec<&str> = pairs.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "listeners",
                "advertised.listeners",
                "log.dirs",
                "thalweg.shards",
                "thalweg.metrics.listener",
                "log.segment.bytes",
                "a"
            ]
        );
        assert_eq!(pairs[6].1, "b=c");
    }

    #[test]
    fn contradictions_are_refused() {
        assert!(text(flags(&parse("--set x")).unwrap_err()).contains("KEY=VALUE"));
        let twice = flags(&parse("--shards 2 --set thalweg.shards=3")).unwrap_err();
        assert!(text(twice).contains("--shards and --set thalweg.shards"));
    }

    #[test]
    fn every_wrong_setting_is_named_at_once() {
        let failure = run(&parse("--set num.partition=1 --set node.id=x")).unwrap_err();
        let text = text(failure);
        assert!(text.contains("num.partitions") && text.contains("node.id"), "{text}");
    }
}
