//! The command line: one definition per flag with its unit, and what it becomes in the plan.

mod load;
mod omb;
pub mod workload;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::batch::{Headers, Keys, Sizes, Template};
use crate::compare::ab::Target;
use crate::find;
use crate::pace::Arrivals;
use crate::plan::{Compression, Consume, Groups, Load, Plan};
use crate::sink::{Delay, Fault};
use crate::slo::Objective;

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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Acks {
    /// The broker answers nothing.
    #[value(name = "0")]
    Zero,
    /// The leader has written it.
    #[value(name = "1")]
    One,
    /// All in-sync replicas have it; what that means for the disk is the broker's to say.
    #[value(name = "all", alias = "-1")]
    All,
}

/// The load of a run: exactly one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct LoadArgs {
    /// Open loop: offer this many records per second, whatever the broker does. E.g. 20000.
    #[arg(long, value_name = "RECORDS/S")]
    #[arg(value_parser = load::number)]
    pub rate: Option<f64>,
    /// Open loop: a rate that rises or falls evenly over --duration, e.g. 1000:50000.
    #[arg(long, value_name = "FROM:TO", value_parser = load::ramp)]
    pub ramp: Option<load::Ramp>,
    /// Open loop: these rates one after the other, each for its part of --duration, e.g.
    /// 1000,5000,20000.
    #[arg(long, value_name = "RECORDS/S,...", value_delimiter = ',')]
    #[arg(value_parser = load::number)]
    pub steps: Vec<f64>,
    /// Open loop: this many rates between two, evenly spaced by their ratio, in shuffled order
    /// so that nothing that drifts looks like an effect of the rate, e.g. 1000:64000:7.
    #[arg(long, value_name = "FROM:TO:COUNT", value_parser = load::sweep)]
    pub sweep: Option<load::Sweep>,
    /// Closed loop: as many as answers allow.
    #[arg(long)]
    pub max: bool,
}

#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub struct RunArgs {
    /// Take flags from a scenario (`loadgen scenarios`), a TOML file, or a workload of the
    /// OpenMessaging Benchmark (.yaml); those given here win. E.g. steady.
    #[arg(long, short = 'w', value_name = "NAME|FILE")]
    pub workload: Option<String>,
    /// HOST:PORT of any broker of the cluster. E.g. 127.0.0.1:9092.
    #[arg(long, short = 'b', value_name = "HOST:PORT")]
    pub bootstrap_server: String,
    #[command(flatten)]
    pub load: LoadArgs,
    /// Records of an open loop at random distances, as from many independent devices.
    #[arg(long, conflicts_with = "max")]
    pub poisson: bool,
    /// Milliseconds from one burst to the next: all records of that time come at once. E.g. 100.
    #[arg(long, value_name = "MS", conflicts_with_all = ["max", "poisson"])]
    #[arg(value_parser = load::number)]
    pub burst_every: Option<f64>,
    /// Seed of everything drawn at random; a fresh one by default. E.g. 7.
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// Topic; created if absent. E.g. orders.
    #[arg(long, value_name = "NAME", default_value = "loadgen")]
    pub topic: String,
    /// Partitions of the topic if it has to be created. E.g. 16.
    #[arg(long, value_name = "COUNT", default_value_t = 4)]
    pub partitions: u32,
    /// Replication factor if it has to be created; -1 is the broker's default. E.g. 3.
    #[arg(long, value_name = "COUNT", default_value_t = -1, allow_hyphen_values = true)]
    pub replication_factor: i16,
    /// Acknowledgement asked for.
    #[arg(long, value_enum, default_value = "all")]
    pub acks: Acks,
    /// Setting of the topic if it has to be created, e.g. retention.bytes=100000000. May be given
    /// again.
    #[arg(long, value_name = "KEY=VALUE", value_parser = load::setting)]
    pub topic_config: Vec<(String, String)>,
    /// Bytes of a record's value, 36 at least: all alike (100), evenly between two (100..2000),
    /// or several with their shares, e.g. 100:9,10000:1.
    #[arg(long, value_name = "BYTES", default_value = "1024")]
    pub record_size: Sizes,
    /// Headers of each record. E.g. 2.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub headers: u32,
    /// Bytes of each header's value. E.g. 32.
    #[arg(long, value_name = "BYTES", default_value_t = 16)]
    pub header_size: u32,
    /// Take the bodies of values from this file, in stretches from random places. E.g. orders.json.
    #[arg(long, value_name = "FILE")]
    pub payload_file: Option<PathBuf>,
    /// Most bytes of a batch; it holds one record at least. E.g. 65536.
    #[arg(long, value_name = "BYTES", default_value_t = 16_384)]
    pub batch_bytes: usize,
    /// Most records of a batch; overrides --batch-bytes. E.g. 1.
    #[arg(long, value_name = "COUNT")]
    pub records_per_batch: Option<u32>,
    /// Milliseconds an incomplete batch waits for more records (with --rate). E.g. 2.5.
    #[arg(long, value_name = "MS", default_value_t = 0.0)]
    #[arg(value_parser = load::number)]
    pub linger: f64,
    /// Producers; each has connections of its own. E.g. 4.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub producers: u32,
    /// Connections per producer and leader; the partitions are divided among them. E.g. 2.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub connections: u32,
    /// Most unanswered requests per connection. E.g. 1.
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    pub in_flight: u32,
    /// Consumers; the partitions are divided among them. E.g. 4.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub consumers: u32,
    /// Sets of consumers: each reads and verifies everything. E.g. 3.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub subscriptions: u32,
    /// Consumers join real consumer groups, one for each set: the broker hands partitions out,
    /// members commit. The report tells rebalances and lags.
    #[arg(long)]
    pub groups: bool,
    /// Milliseconds from one commit of a group's member to the next. E.g. 1000.
    #[arg(long, value_name = "MS", default_value_t = 5000, requires = "groups")]
    pub commit_every: u32,
    /// Seconds from one member's leaving its group to the next one's; each is back after half of
    /// them. With 0 nobody leaves. E.g. 10.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0, requires = "groups")]
    #[arg(value_parser = load::number)]
    pub churn: f64,
    /// Seconds after the start of the run at which consumers begin: they catch up beside the load.
    /// E.g. 30.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    #[arg(value_parser = load::number)]
    pub consumer_delay: f64,
    /// When records are read back and verified.
    #[arg(long, value_enum, default_value = "during")]
    pub consume: Consume,
    /// Processes that make the load together: they begin at one time, and there is one report.
    /// Connections are dealt out to them; threads are counted per process. E.g. 2.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub parts: u32,
    /// Threads that produce. E.g. 2.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub producer_threads: u32,
    /// Threads that consume. E.g. 2.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub consumer_threads: u32,
    /// Seconds to measure. E.g. 60.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    #[arg(value_parser = load::number)]
    pub duration: f64,
    /// Seconds before that are not measured. E.g. 5.
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    #[arg(value_parser = load::number)]
    pub warmup: f64,
    /// Compression of batches.
    #[arg(long, value_enum, default_value = "none")]
    pub compression: Compression,
    /// Kafka's idempotent producer.
    #[arg(long)]
    pub idempotent: bool,
    /// Bytes of each record's key; no keys by default. E.g. 12.
    #[arg(long, value_name = "BYTES")]
    pub key_size: Option<u32>,
    /// Number of different keys. E.g. 1000000.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, requires = "key_size")]
    pub key_space: u64,
    /// Exponent of Zipf's law by which keys are used, e.g. 0.99; 0 all alike. Partitions of
    /// frequent keys get more records.
    #[arg(long, value_name = "EXPONENT", default_value_t = 0.0, requires = "key_size")]
    #[arg(value_parser = load::number)]
    pub key_zipf: f64,
    /// Share of each value that is random, 0 to 1; the rest compresses away. E.g. 0.5.
    #[arg(long, value_name = "SHARE", default_value_t = 1.0)]
    #[arg(value_parser = load::share)]
    pub random_share: f64,
    /// Most bytes of a Fetch answer. E.g. 16777216.
    #[arg(long, value_name = "BYTES", default_value_t = 4 << 20)]
    pub fetch_bytes: u32,
    /// Most bytes of one partition in a Fetch answer. E.g. 4194304.
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20)]
    pub fetch_partition_bytes: u32,
    /// Milliseconds a Fetch may wait for bytes. E.g. 100.
    #[arg(long, value_name = "MS", default_value_t = 500)]
    pub fetch_wait: u32,
    /// Do not check the CRC of the batches read.
    #[arg(long)]
    pub no_check_crc: bool,
    /// Do not compare sequences: for a source that repeats itself, like `loadgen sink`.
    #[arg(long)]
    pub no_check_order: bool,
    /// Give the generator's threads a real-time scheduling class, if allowed: neighbours then
    /// disturb it less, but a broker on the same cores has less of them. Not for rates at which a
    /// thread never sleeps: the kernel takes up to 50 ms of each second from it then.
    #[arg(long)]
    pub realtime: bool,
    /// Seconds to wait at the end for answers, and again for the last records. E.g. 300.
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0)]
    #[arg(value_parser = load::number)]
    pub drain: f64,
    #[command(flatten)]
    pub results: ResultArgs,
}

/// What a run leaves, and what it is held against.
#[derive(Debug, Args)]
#[command(next_help_heading = "Results")]
pub struct ResultArgs {
    /// Leave a new folder with the result, histograms, a table of seconds and a page to read.
    /// E.g. runs/first.
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
    /// Write the whole result as JSON; `-` is standard output. E.g. run.json.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the result as the OpenMessaging Benchmark writes its own, for tools that read that.
    /// E.g. omb.json.
    #[arg(long, value_name = "FILE", requires = "out")]
    pub omb_result: Option<PathBuf>,
    /// An objective, e.g. e2e.p99<5ms, produce.p99.9<20ms, rate>=100000; exit code 99 when it is
    /// missed. May be given again.
    #[arg(long, value_name = "OBJECTIVE")]
    pub slo: Vec<Objective>,
    /// Seconds from one progress line to the next where no terminal can be drawn on, e.g. 1; with
    /// 0 neither lines nor the live view are shown.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    #[arg(value_parser = load::number)]
    pub progress: f64,
    /// Measure the disk that holds this folder before the run, for the ceiling in the report.
    /// E.g. /var/tmp.
    #[arg(long, value_name = "FOLDER")]
    pub ceiling: Option<PathBuf>,
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

impl RunArgs {
    /// The plan these flags describe, not yet checked.
    pub fn plan(&self) -> Plan {
        let batch = self.records_per_batch.unwrap_or_else(|| {
            let headers = self.headers as usize * (self.header_size as usize + 5);
            let record = self.record_size.mean().saturating_add(headers);
            Template::records_for(self.batch_bytes, record, self.key_size)
        });
        let seed = self.seed.unwrap_or_else(load::fresh_seed);
        Plan {
            workload: self.workload.clone(),
            bootstrap_server: self.bootstrap_server.clone(),
            topic: self.topic.clone(),
            partitions: self.partitions,
            replication_factor: self.replication_factor,
            load: self.load.load(self.duration, seed),
            arrivals: match self.burst_every {
                Some(ms) => Arrivals::Bursts((ms * 1e6) as u64),
                None if self.poisson => Arrivals::Poisson,
                None => Arrivals::Uniform,
            },
            seed,
            acks: match self.acks {
                Acks::Zero => 0,
                Acks::One => 1,
                Acks::All => -1,
            },
            topic_configs: self.topic_config.clone(),
            record_bytes: self.record_size.clone(),
            headers: (self.headers > 0)
                .then_some(Headers { count: self.headers, bytes: self.header_size }),
            payload_file: self.payload_file.clone(),
            subscriptions: self.subscriptions,
            groups: self
                .groups
                .then_some(Groups { commit_every_ms: self.commit_every, churn_s: self.churn }),
            consumer_delay_s: self.consumer_delay,
            records_per_batch: batch,
            linger_ns: (self.linger * 1e6) as u64,
            producers: self.producers,
            connections: self.connections,
            in_flight: self.in_flight,
            consumers: self.consumers,
            consume: self.consume,
            parts: self.parts,
            producer_threads: self.producer_threads,
            consumer_threads: self.consumer_threads,
            duration_s: self.duration,
            warmup_s: self.warmup,
            compression: self.compression,
            idempotent: self.idempotent,
            keys: self.key_size.map(|bytes| Keys {
                bytes,
                space: self.key_space,
                zipf: self.key_zipf,
            }),
            random_share: self.random_share,
            fetch_bytes: self.fetch_bytes,
            fetch_partition_bytes: self.fetch_partition_bytes,
            fetch_wait_ms: self.fetch_wait,
            check_crc: !self.no_check_crc,
            request_timeout_ms: 30_000,
            is_real_time: self.realtime,
            drain_s: self.drain,
            check_order: !self.no_check_order,
        }
    }
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
