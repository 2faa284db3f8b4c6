//! The flags of `run`, which `replay`, `find` and `ab` share in part, and the plan they become.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::load;
use crate::batch::{Headers, Keys, Sizes, Template};
use crate::pace::Arrivals;
use crate::plan::{Compression, Consume, Groups, Plan};
use crate::slo::Objective;

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
