//! The command line: one definition per flag with its unit, and what it becomes in the plan.

mod load;
mod omb;
mod run;
pub mod workload;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::compare::ab::Target;
use crate::find;
use crate::plan::{Load, Plan};
use crate::sink::{Delay, Fault};
use crate::slo::Objective;

pub use run::{LoadArgs, ResultArgs, RunArgs};

/// An open-loop load generator for Kafka-protocol brokers that verifies what it writes and
/// doubts what it measures.
///
/// Exit codes: 0 fine, 1 the run failed or no record was accepted, 3 the figures are not valid (the
/// broker refused some, for one), 4 the broker lost, duplicated, reordered or damaged records, 78
/// the command line makes no sense, 99 an objective was missed, 130 or 143 ended by Ctrl-C or
/// SIGTERM before the answer was there.
///
/// Ctrl-C and SIGTERM end in good order: what was measured until then is printed and stored, marked
/// as interrupted, and what was started is ended and removed. A second one ends at once.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a broker of its own and measure it in about 30 s; needs nothing else running.
    #[command(after_help = "Example: loadgen quick --dir /var/tmp")]
    Quick(QuickArgs),
    /// Measure any Kafka-protocol broker.
    #[command(after_help = "Examples:\
        \n  loadgen run -b 127.0.0.1:9092 --rate 20000 --duration 60 --out runs/first\
        \n  loadgen run -b 127.0.0.1:9092 -w steady --slo 'e2e.p99<5ms'")]
    Run(Box<RunArgs>),
    /// Search the highest rate that keeps an objective; the answer is an interval.
    #[command(after_help = "Example:\
        \n  loadgen find -b 127.0.0.1:9092 --slo 'e2e.p99<5ms' -- -w steady")]
    Find(FindArgs),
    /// Compare two brokers: interleaved rounds, noise measured, intervals, a plain verdict.
    #[command(after_help = "Example:\
        \n  loadgen ab --a old/thalweg --b new/thalweg --out ab -- -w steady --duration 20")]
    Ab(AbArgs),
    /// Put two stored runs side by side.
    #[command(after_help = "Example: loadgen compare runs/first runs/again")]
    Compare(CompareArgs),
    /// List the workloads that come with loadgen, or print one of them.
    #[command(after_help = "Examples:\n  loadgen scenarios\
        \n  loadgen scenarios steady > mine.toml")]
    Scenarios(ScenariosArgs),
    /// Print completions for a shell, e.g. `loadgen completions bash > loadgen.bash`.
    #[command(after_help = "Example: loadgen completions bash > loadgen.bash")]
    Completions(CompletionsArgs),
    /// Print the man page (roff) of loadgen or of one command, e.g. `loadgen man run | man -l -`.
    #[command(after_help = "Example: loadgen man run | man -l -")]
    Man(ManArgs),
    /// Repeat a run from its folder, with the same plan and the same random draws.
    #[command(after_help = "Example: loadgen replay runs/first --out runs/again")]
    Replay(ReplayArgs),
    /// Make the page of a run's folder again.
    #[command(after_help = "Example: loadgen report runs/first")]
    Report(ReportArgs),
    /// Be a broker that does nothing: the ceiling of any generator on this path.
    #[command(after_help = "Examples:\n  loadgen sink --keep-bytes 1000000000 --fault drop\
        \n  loadgen sink --delay bimodal:1ms,20ms,0.05")]
    Sink(SinkArgs),
    /// Check this instrument on this machine: latencies against a stub of known delays, pacing
    /// error at three rates.
    #[command(after_help = "Example: loadgen calibrate --seconds 10")]
    Calibrate(CalibrateArgs),
    /// Measure the disk: direct writes with and without flushes, direct reads.
    #[command(after_help = "Example: loadgen device --dir /var/tmp")]
    Device(DeviceArgs),
    /// One process of `run --parts`, started by it.
    #[command(hide = true)]
    Part,
}

#[derive(Debug, Args)]
pub struct QuickArgs {
    /// Directory on the disk to measure; a fresh directory is made in it and removed afterwards.
    /// E.g. /var/tmp.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub dir: PathBuf,
    /// The thalweg binary; by default the one beside this executable, or built by cargo.
    /// E.g. target/release/thalweg.
    #[arg(long, value_name = "FILE")]
    pub broker: Option<PathBuf>,
    /// Keep the broker's directory and log.
    #[arg(long)]
    pub keep: bool,
    /// Bytes of a record's value. E.g. 100.
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    pub record_size: usize,
    /// Records per second of the latency phases. E.g. 20000.
    #[arg(long, value_name = "RECORDS/S", default_value_t = 5000.0)]
    #[arg(value_parser = load::number)]
    pub rate: f64,
    /// Write the whole result as JSON to this file. E.g. quick.json.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct FindArgs {
    /// HOST:PORT of any broker of the cluster. E.g. 127.0.0.1:9092.
    #[arg(long, short = 'b', value_name = "HOST:PORT")]
    pub bootstrap_server: String,
    /// What has to be kept, e.g. e2e.p99<5ms; may be given again. That the offered rate is
    /// acknowledged goes without saying.
    #[arg(long, value_name = "OBJECTIVE", required = true)]
    pub slo: Vec<Objective>,
    /// Records per second to begin at. E.g. 5000.
    #[arg(long, value_name = "RECORDS/S", default_value_t = 1000.0)]
    #[arg(value_parser = load::positive)]
    pub start: f64,
    /// Records per second that are not exceeded. E.g. 500000.
    #[arg(long, value_name = "RECORDS/S", default_value_t = 1e8)]
    #[arg(value_parser = load::positive)]
    pub limit: f64,
    /// How narrow the interval has to be, as a share of the rate. E.g. 0.05.
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    #[arg(value_parser = load::positive)]
    pub precision: f64,
    /// Seconds of a short trial; doubled, up to --long, while it has too few answers for a
    /// percentile (p99 needs 1,000). E.g. 10.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    #[arg(value_parser = load::positive)]
    pub short: f64,
    /// Seconds of a trial that confirms. E.g. 60.
    #[arg(long, value_name = "SECONDS", default_value_t = 20.0)]
    #[arg(value_parser = load::positive)]
    pub long: f64,
    /// Write the answer and all trials as JSON; `-` is standard output. E.g. find.json.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Further flags of `loadgen run` behind `--`; a load and a duration among them are replaced.
    /// E.g. -- -w steady.
    #[arg(last = true, value_name = "RUN FLAGS")]
    pub run: Vec<OsString>,
}

impl FindArgs {
    /// What is searched, not yet checked.
    ///
    /// # Errors
    /// When the flags behind `--` make no sense.
    pub fn settings(&self) -> Result<find::Settings, String> {
        let mut plan = run_plan(&self.run)?;
        plan.bootstrap_server.clone_from(&self.bootstrap_server);
        plan.load = Load::Rate(self.start);
        plan.duration_s = self.short;
        Ok(find::Settings {
            plan,
            objectives: self.slo.clone(),
            start: self.start,
            limit: self.limit,
            precision: self.precision.max(0.01),
            short_s: self.short,
            long_s: self.long,
        })
    }
}

/// The plan of flags of `loadgen run` that came behind `--`, for a broker to be named later.
fn run_plan(flags: &[OsString]) -> Result<Plan, String> {
    let begin = ["loadgen", "run", "-b", "127.0.0.1:1"].map(OsString::from);
    let mut all = workload::expand(begin.into_iter().chain(flags.iter().cloned()).collect())?;
    let is_load = |word: &OsString| {
        let word = word.to_str().unwrap_or("");
        ["--rate", "--ramp", "--steps", "--sweep", "--max"]
            .iter()
            .any(|flag| word == *flag || word.starts_with(&format!("{flag}=")))
    };
    if !all.iter().any(is_load) {
        all.insert(2, "--max".into());
    }
    let cli = Cli::try_parse_from(all).map_err(|error| error.to_string())?;
    match cli.command {
        Command::Run(args) => Ok(args.plan()),
        _ => Err("give flags of `loadgen run` behind --".into()),
    }
}

#[derive(Debug, Args)]
pub struct AbArgs {
    /// What is compared with: HOST:PORT of a running broker; a thalweg binary to start, with
    /// further arguments of `serve` behind spaces; or kafka:FOLDER, an unpacked release of Apache
    /// Kafka to start, with settings behind spaces, e.g. 'kafka:kafka_2.13-4.3.1 num.io.threads=4'.
    #[arg(long, value_name = "TARGET", value_parser = Target::parse)]
    pub a: Target,
    /// What is judged. E.g. 127.0.0.1:9092.
    #[arg(long, value_name = "TARGET", value_parser = Target::parse)]
    pub b: Target,
    /// Rounds of two runs in shuffled order: as many of A against A, for the noise floor, and then
    /// of A against B. Three at least for a verdict. E.g. 10.
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub rounds: u16,
    /// Folder on the disk to measure; each started broker gets a fresh folder in it. E.g. /var/tmp.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub dir: PathBuf,
    /// Leave a new folder with the result, a page to read, and the folder of each run. E.g.
    /// runs/ab.
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Write everything as JSON; `-` is standard output. E.g. ab.json.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Flags of `loadgen run` behind `--`, without -b; every run is made with them.
    /// E.g. -- -w steady --duration 20.
    #[arg(last = true, required = true, value_name = "RUN FLAGS")]
    pub run: Vec<OsString>,
}

impl AbArgs {
    /// The plan that the flags behind `--` describe, not yet checked.
    ///
    /// # Errors
    /// When they make no sense.
    pub fn plan(&self) -> Result<Plan, String> {
        run_plan(&self.run)
    }
}

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Folder of a run. E.g. runs/first.
    #[arg(value_name = "FOLDER")]
    pub a: PathBuf,
    /// Folder of another. E.g. runs/again.
    #[arg(value_name = "FOLDER")]
    pub b: PathBuf,
}

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    pub shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub struct ManArgs {
    /// A command; loadgen itself without one. E.g. run.
    #[arg(value_name = "COMMAND")]
    pub command: Option<String>,
}

#[derive(Debug, Args)]
pub struct ScenariosArgs {
    /// Print the file of this one: a beginning for one's own. E.g. steady.
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The folder that `run --out` has left. E.g. runs/first.
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
    /// Run it against this broker instead. E.g. 127.0.0.1:9092.
    #[arg(long, short = 'b', value_name = "HOST:PORT")]
    pub bootstrap_server: Option<String>,
    #[command(flatten)]
    pub results: ResultArgs,
}

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The folder that `run --out` has left. E.g. runs/first.
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
}

#[derive(Debug, Args)]
pub struct SinkArgs {
    /// Address to listen on; port 0 finds a free one. E.g. 127.0.0.1:0.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9093")]
    pub listen: String,
    /// Bytes of the batch that readers are given again and again. E.g. 16384.
    #[arg(long, value_name = "BYTES", default_value_t = 65_536)]
    pub batch_bytes: usize,
    /// Bytes of each record's value in it. E.g. 100.
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    pub record_size: usize,
    /// Keep up to this many bytes in memory and give them back, instead of discarding.
    /// E.g. 1000000000.
    #[arg(long, value_name = "BYTES")]
    pub keep_bytes: Option<usize>,
    /// Make this mistake with every 50th batch kept: see whether verification notices.
    #[arg(long, value_enum, requires = "keep_bytes")]
    pub fault: Option<Fault>,
    /// Answer Produce requests late, by a delay that is known, e.g. fixed:5ms,
    /// bimodal:1ms,20ms,0.05 (the last is the share of slow ones), or stall:1s,10s (no answer
    /// during the last second of every ten). Units ns, us, ms, s.
    #[arg(long, value_name = "DELAY")]
    pub delay: Option<Delay>,
    /// Write the delays that were really caused as JSON when stopped. E.g. delays.json.
    #[arg(long, value_name = "FILE", requires = "delay")]
    pub json: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct CalibrateArgs {
    /// Seconds of each case with a fixed or bimodal delay, and of each pacing rate; the two cases
    /// with stalls take six times as long each. E.g. 10.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    #[arg(value_parser = load::positive)]
    pub seconds: f64,
    /// Leave the scheduling class of the threads as it is; otherwise real-time, if allowed, for
    /// all but the highest pacing rate.
    #[arg(long)]
    pub no_realtime: bool,
    /// Write the result as JSON; `-` is standard output. E.g. calibrate.json.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct DeviceArgs {
    /// Directory on the disk to measure. E.g. /var/tmp.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub dir: PathBuf,
    /// Bytes of the file that is written and read. E.g. 4294967296.
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30)]
    pub file_bytes: u64,
    /// Seconds per measurement. E.g. 5.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    #[arg(value_parser = load::positive)]
    pub seconds: f64,
    /// Write the result as JSON; `-` is standard output. E.g. device.json.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a flag's value is counted in, or what it is.
    const VALUES: [&str; 22] = [
        "BYTES",
        "COMMAND",
        "COUNT",
        "DELAY",
        "EXPONENT",
        "FILE",
        "FOLDER",
        "FROM:TO",
        "FROM:TO:COUNT",
        "HOST:PORT",
        "KEY=VALUE",
        "MS",
        "NAME",
        "NAME|FILE",
        "NUMBER",
        "OBJECTIVE",
        "RECORDS/S",
        "RECORDS/S,...",
        "RUN FLAGS",
        "SECONDS",
        "SHARE",
        "TARGET",
    ];

    #[test]
    fn every_flag_of_every_command_tells_its_unit_and_an_example() {
        use clap::CommandFactory;
        let mut wrong = Vec::new();
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            let has_example = command
                .get_after_help()
                .is_some_and(|text| text.to_string().contains(&format!("loadgen {name}")));
            if !has_example {
                wrong.push(format!("{name}: no example"));
            }
            for flag in command.get_arguments() {
                let id = flag.get_id();
                let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
                if help.is_empty() {
                    wrong.push(format!("{name} {id}: no help"));
                }
                // A switch has no value, and listed values are examples of themselves.
                let takes_value = flag.get_action().takes_values();
                if !takes_value || !flag.get_possible_values().is_empty() {
                    continue;
                }
                let named = flag.get_value_names().unwrap_or_default();
                if !named.iter().all(|name| VALUES.contains(&name.as_str())) || named.is_empty() {
                    wrong.push(format!("{name} {id}: {named:?} is no unit"));
                }
                if !help.to_lowercase().contains("e.g. ") {
                    wrong.push(format!("{name} {id}: no example: {help}"));
                }
            }
        }
        assert_eq!(wrong, Vec::<String>::new());
    }

    #[test]
    fn no_flag_takes_a_number_that_cannot_be_reckoned_with() {
        use clap::CommandFactory;
        let units = ["EXPONENT", "MS", "RECORDS/S", "RECORDS/S,...", "SECONDS", "SHARE"];
        let mut flags = 0;
        for command in Cli::command().get_subcommands() {
            for flag in command.get_arguments() {
                let unit = flag.get_value_names().and_then(|names| names.first());
                let Some(unit) = unit.filter(|unit| units.contains(&unit.as_str())) else {
                    continue;
                };
                let (name, long) = (command.get_name(), flag.get_long().unwrap());
                flags += 1;
                for value in ["nan", "inf", "-inf", "-1", "1e300"] {
                    let given = format!("--{long}={value}");
                    let error = Cli::try_parse_from(["loadgen", name, &given]).unwrap_err();
                    assert_eq!(
                        error.kind(),
                        clap::error::ErrorKind::ValueValidation,
                        "{name} {given}"
                    );
                    assert!(error.to_string().contains(long), "{name} {given} {unit}: {error}");
                }
            }
        }
        assert!(flags > 15, "{flags}");
    }

    #[test]
    fn the_definition_is_sound_and_the_defaults_make_a_good_plan() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
        let cli = Cli::try_parse_from(["loadgen", "run", "-b", "h:1", "--rate", "10"]).unwrap();
        let Command::Run(args) = cli.command else { panic!("run") };
        let plan = args.plan();
        plan.check().unwrap();
        assert_eq!((plan.load, plan.acks), (Load::Rate(10.0), -1));
        let both = ["loadgen", "run", "-b", "h:1", "--rate", "10", "--max"];
        assert!(Cli::try_parse_from(both).is_err());
        assert!(Cli::try_parse_from(["loadgen", "run", "-b", "h:1"]).is_err());
    }
}
