//! A run as data: what is offered, to whom, for how long and how it is checked. Made from the
//! command line, checked once, printed back in every report.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use thalweg::record::Codec;

use crate::batch::{Headers, Keys, RECORDS_MAX, Shape, Sizes, Template};
use crate::clock;
use crate::pace::{Arrivals, Stage};
use crate::payload::HEAD_BYTES;

/// How much is offered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// Open loop: this many records per second, whatever the broker does.
    Rate(f64),
    /// Open loop with a rate that changes: ramps and steps over the measured time. The warm-up
    /// has the rate of the first one's begin.
    Stages(Vec<Stage>),
    /// Closed loop: as many as the answers allow, with a bounded number in flight.
    Max,
}

/// When records are read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Consume {
    /// While they are produced, and on until all are seen: the tail and end-to-end latency.
    During,
    /// Afterwards: production is measured alone, then the reading of a backlog.
    After,
    /// Never: nothing is verified, and the report says so.
    Never,
}

/// How batches are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip
    Gzip,
    /// snappy, in Java's framing
    Snappy,
    /// LZ4 frames
    Lz4,
    /// Zstandard
    Zstd,
}

impl Compression {
    /// The codec; none without compression.
    pub fn codec(self) -> Option<Codec> {
        match self {
            Self::None => None,
            Self::Gzip => Some(Codec::Gzip),
            Self::Snappy => Some(Codec::Snappy),
            Self::Lz4 => Some(Codec::Lz4),
            Self::Zstd => Some(Codec::Zstd),
        }
    }
}

/// How consumers behave as members of groups.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Groups {
    /// Milliseconds from one commit to the next.
    pub commit_every_ms: u32,
    /// Seconds from one member's leaving to the next one's, each back after half of them; 0:
    /// nobody leaves.
    pub churn_s: f64,
}

/// Everything a run needs to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// The workload it came from, if any; everything in it stands below.
    pub workload: Option<String>,
    /// `HOST:PORT` of any broker of the cluster.
    pub bootstrap_server: String,
    /// Topic to use; created if absent.
    pub topic: String,
    /// Partitions of the topic if it has to be created; otherwise what it has.
    pub partitions: u32,
    /// Replication factor if it has to be created; -1 leaves it to the broker.
    pub replication_factor: i16,
    /// What is offered.
    pub load: Load,
    /// How records come within the rate (open loop only).
    pub arrivals: Arrivals,
    /// Of everything drawn at random.
    pub seed: u64,
    /// 0, 1, or -1 for all.
    pub acks: i16,
    /// Settings of the topic if it has to be created.
    pub topic_configs: Vec<(String, String)>,
    /// Bytes of records' values.
    pub record_bytes: Sizes,
    /// Headers of each record; none by default.
    pub headers: Option<Headers>,
    /// Where the bodies of values come from, instead of random bytes.
    pub payload_file: Option<PathBuf>,
    /// Records of a full batch.
    pub records_per_batch: u32,
    /// How long a batch waits for more records, in nanoseconds (open loop only).
    pub linger_ns: u64,
    /// Producers; each keeps an own connection per leader and connection number.
    pub producers: u32,
    /// Connections per producer and leader; its partitions are divided among them.
    pub connections: u32,
    /// Most unanswered requests per connection.
    pub in_flight: u32,
    /// Consumers; the partitions are divided among them.
    pub consumers: u32,
    /// Sets of consumers; each reads everything.
    pub subscriptions: u32,
    /// Real consumer groups, one for each set of consumers; otherwise partitions are dealt out
    /// here.
    pub groups: Option<Groups>,
    /// How long after the start of the run they begin, seconds: what was written until then is a
    /// backlog that they catch up with beside the load (`during` only).
    pub consumer_delay_s: f64,
    /// When they read.
    pub consume: Consume,
    /// Processes that make the load; lanes and readers are dealt out to them.
    pub parts: u32,
    /// Threads that produce.
    pub producer_threads: u32,
    /// Threads that consume.
    pub consumer_threads: u32,
    /// Seconds that are measured.
    pub duration_s: f64,
    /// Seconds before them that are not.
    pub warmup_s: f64,
    /// Compression of batches.
    pub compression: Compression,
    /// Kafka's idempotent producer.
    pub idempotent: bool,
    /// Keys; none by default.
    pub keys: Option<Keys>,
    /// Share of each value that is random, the rest is one letter.
    pub random_share: f64,
    /// Most bytes of a Fetch answer.
    pub fetch_bytes: u32,
    /// Most bytes of one partition in it.
    pub fetch_partition_bytes: u32,
    /// How long a Fetch may wait for bytes, milliseconds.
    pub fetch_wait_ms: u32,
    /// Whether the CRC-32C of every batch read is checked.
    pub check_crc: bool,
    /// Request timeout handed to the broker, milliseconds.
    pub request_timeout_ms: u32,
    /// Whether the generator's threads ask for a real-time scheduling class.
    pub is_real_time: bool,
    /// Seconds to wait at the end for answers, and again for the last records to be read.
    pub drain_s: f64,
    /// Whether the records read are this run's own, in order. False against a source that
    /// repeats itself (`loadgen sink`): then only shapes and checksums are checked.
    pub check_order: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            workload: None,
            bootstrap_server: "127.0.0.1:9092".into(),
            topic: "loadgen".into(),
            partitions: 4,
            replication_factor: -1,
            load: Load::Max,
            arrivals: Arrivals::Uniform,
            seed: 1,
            acks: -1,
            topic_configs: Vec::new(),
            record_bytes: Sizes::Fixed(1024),
            headers: None,
            payload_file: None,
            records_per_batch: Template::records_for(16_384, 1024, None),
            linger_ns: 0,
            producers: 1,
            connections: 1,
            in_flight: 5,
            consumers: 1,
            subscriptions: 1,
            groups: None,
            consumer_delay_s: 0.0,
            consume: Consume::During,
            parts: 1,
            producer_threads: 1,
            consumer_threads: 1,
            duration_s: 10.0,
            warmup_s: 2.0,
            compression: Compression::None,
            idempotent: false,
            keys: None,
            random_share: 1.0,
            fetch_bytes: 4 << 20,
            fetch_partition_bytes: 1 << 20,
            fetch_wait_ms: 500,
            check_crc: true,
            request_timeout_ms: 30_000,
            is_real_time: false,
            drain_s: 30.0,
            check_order: true,
        }
    }
}

/// Most producers times connections, and most consumers.
const CONNECTIONS_MAX: u32 = 65_536;
/// Largest payload file: it is held in memory.
const PAYLOAD_BYTES_MAX: u64 = 256 << 20;
/// Most requests of a connection without an answer: each is remembered.
const IN_FLIGHT_MAX: u32 = 65_536;
/// Most sets of consumers.
const SUBSCRIPTIONS_MAX: u32 = 1024;
/// Most bytes of a fetch's answer: each connection has so much memory.
const FETCH_BYTES_MAX: u32 = 512 << 20;
/// The largest number of the protocol's 32 bits: beyond it a number would be sent as negative.
const WIRE_MAX: u32 = i32::MAX as u32;
/// Most processes of a run.
const PARTS_MAX: u32 = 64;
/// Most members of groups: each has a thread of its own, which mostly sleeps.
const MEMBERS_MAX: u32 = 512;
/// Most stages of a load.
const STAGES_MAX: usize = 1000;
/// Largest batch we prepare: far above what brokers take, far below what would hurt.
const BATCH_BYTES_MAX: usize = 256 << 20;

impl Plan {
    /// Check every number.
    ///
    /// # Errors
    /// Says which value cannot be and what would do.
    pub fn check(&self) -> Result<(), String> {
        let refuse = |what: String| Err(what);
        thalweg::model::TopicName::new(&self.topic).map_err(|e| format!("--topic: {e}"))?;
        self.check_load()?;
        if self.record_bytes.least() < HEAD_BYTES {
            return refuse(format!(
                "--record-size {}: a record carries {HEAD_BYTES} bytes that identify and check \
                 it; give at least {HEAD_BYTES}",
                self.record_bytes
            ));
        }
        if !(1..=RECORDS_MAX).contains(&self.records_per_batch) {
            return refuse(format!(
                "--records-per-batch {}: give 1 to {RECORDS_MAX}",
                self.records_per_batch
            ));
        }
        let headers = self.headers.map_or(0, |h| h.count as usize * (h.bytes as usize + 12));
        let most = self.record_bytes.most().saturating_add(headers);
        if most.saturating_mul(self.records_per_batch as usize) > BATCH_BYTES_MAX {
            return refuse(format!(
                "{} records of {} bytes make a batch of more than {} MiB; lower \
                 --records-per-batch or --record-size",
                self.records_per_batch,
                self.record_bytes,
                BATCH_BYTES_MAX >> 20
            ));
        }
        self.check_counts()?;
        if self.consumers == 0 && self.consume != Consume::Never {
            return refuse(
                "--consumers 0: nobody would verify; say --consume never if that is meant".into(),
            );
        }
        if self.producers.saturating_mul(self.connections) > CONNECTIONS_MAX
            || self.consumers.saturating_mul(self.subscriptions) > CONNECTIONS_MAX
        {
            return refuse(format!("more than {CONNECTIONS_MAX} connections; use fewer producers"));
        }
        if self.idempotent && (self.acks != -1 || self.in_flight > 5) {
            return refuse(
                "--idempotent needs --acks all and --in-flight 5 or less: brokers remember the \
                 last five batches of a producer"
                    .into(),
            );
        }
        if let Some(keys) = self.keys {
            let digits = keys.space.saturating_sub(1).max(1).ilog10() + 1;
            if keys.bytes < digits || keys.bytes > 1024 {
                return refuse(format!(
                    "--key-size {}: {} keys need {digits} to 1024 digits",
                    keys.bytes, keys.space
                ));
            }
            if !(0.0..=10.0).contains(&keys.zipf) {
                return refuse(format!("--key-zipf {}: give an exponent of 0 to 10", keys.zipf));
            }
            if keys.space < u64::from(self.partitions) {
                return refuse(format!(
                    "--key-space {}: give at least one key per partition ({})",
                    keys.space, self.partitions
                ));
            }
        }
        self.check_payload_file()?;
        self.check_groups()?;
        self.check_numbers()?;
        if !(0.0..1e7).contains(&self.consumer_delay_s)
            || (self.consumer_delay_s > 0.0 && self.consume != Consume::During)
        {
            return refuse(format!(
                "--consumer-delay {}: give seconds, and --consume during",
                self.consumer_delay_s
            ));
        }
        let seconds = self.duration_s + self.warmup_s;
        if !(self.duration_s > 0.0 && self.warmup_s >= 0.0 && seconds < 1e7) {
            return refuse(format!(
                "--duration {} s with --warmup {} s: give a positive duration",
                self.duration_s, self.warmup_s
            ));
        }
        Ok(())
    }

    fn check_counts(&self) -> Result<(), String> {
        for (flag, value, most) in [
            ("--partitions", self.partitions, WIRE_MAX),
            ("--producers", self.producers, CONNECTIONS_MAX),
            ("--connections", self.connections, CONNECTIONS_MAX),
            ("--in-flight", self.in_flight, IN_FLIGHT_MAX),
            ("--subscriptions", self.subscriptions, SUBSCRIPTIONS_MAX),
            ("--parts", self.parts, PARTS_MAX),
            ("--producer-threads", self.producer_threads, CONNECTIONS_MAX),
            ("--consumer-threads", self.consumer_threads, CONNECTIONS_MAX),
            ("--fetch-bytes", self.fetch_bytes, FETCH_BYTES_MAX),
            ("--fetch-partition-bytes", self.fetch_partition_bytes, FETCH_BYTES_MAX),
            // Not to wait at all is somebody's wish.
            ("--fetch-wait", self.fetch_wait_ms.max(1), WIRE_MAX),
        ] {
            if !(1..=most).contains(&value) {
                return Err(format!("{flag} {value}: give 1 to {most}"));
            }
        }
        Ok(())
    }

    fn check_groups(&self) -> Result<(), String> {
        let Some(groups) = self.groups else { return Ok(()) };
        if self.parts > 1 {
            return Err(
                "--groups with --parts: members live in one process; drop one of them".into()
            );
        }
        if self.consume != Consume::During || self.consumer_delay_s > 0.0 {
            return Err("--groups: members read from the begin on; say --consume during and no \
                        --consumer-delay"
                .into());
        }
        if self.consumers.saturating_mul(self.subscriptions) > MEMBERS_MAX {
            return Err(format!(
                "--groups with {} times {} members: {MEMBERS_MAX} are the most; lower --consumers \
                 or --subscriptions",
                self.subscriptions, self.consumers
            ));
        }
        if groups.commit_every_ms == 0 {
            return Err("--commit-every 0: give at least 1 ms".into());
        }
        if !(0.0..1e6).contains(&groups.churn_s) || (groups.churn_s > 0.0 && groups.churn_s < 0.1) {
            return Err(format!("--churn {}: give 0, or 0.1 s and more", groups.churn_s));
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.random_share) {
            return Err(format!("--random-share {}: give a share of 0 to 1", self.random_share));
        }
        if !(0.0..1e7).contains(&self.drain_s) {
            return Err(format!("--drain {}: give seconds, 0 to 1e7", self.drain_s));
        }
        Ok(())
    }

    fn check_payload_file(&self) -> Result<(), String> {
        if let Some(file) = &self.payload_file {
            let size = std::fs::metadata(file).map(|metadata| metadata.len());
            if !size.as_ref().is_ok_and(|size| (1..=PAYLOAD_BYTES_MAX).contains(size)) {
                return Err(format!(
                    "--payload-file {}: {}; give a file of 1 byte to {} MiB",
                    file.display(),
                    size.map_or_else(|error| error.to_string(), |size| format!("{size} bytes")),
                    PAYLOAD_BYTES_MAX >> 20
                ));
            }
        }
        Ok(())
    }

    fn check_load(&self) -> Result<(), String> {
        let is_rate = |rate: f64| rate.is_finite() && rate >= 0.0;
        match &self.load {
            Load::Rate(rate) if !(is_rate(*rate) && *rate > 0.0) => {
                return Err(format!("--rate {rate}: give a positive number of records per second"));
            }
            Load::Stages(stages) => {
                if stages.is_empty() || stages.len() > STAGES_MAX {
                    return Err(format!("{} stages: give 1 to {STAGES_MAX}", stages.len()));
                }
                for stage in stages {
                    let fits = is_rate(stage.from) && is_rate(stage.to) && stage.seconds > 0.0;
                    if !fits || stage.records() <= 0.0 {
                        return Err(format!(
                            "a stage from {} to {} records/s over {} s: give rates that are not \
                             negative, not both 0, and a time",
                            stage.from, stage.to, stage.seconds
                        ));
                    }
                }
                let seconds: f64 = stages.iter().map(|stage| stage.seconds).sum();
                if (seconds - self.duration_s).abs() > 1e-3 {
                    return Err(format!(
                        "stages of {seconds} s in a run of {} s: make them equal",
                        self.duration_s
                    ));
                }
                if self.warmup_s > 0.0 && stages[0].from == 0.0 {
                    return Err(
                        "a ramp from 0 has nothing to warm up with; say --warmup 0".to_owned()
                    );
                }
            }
            Load::Rate(_) | Load::Max => {}
        }
        if let Arrivals::Bursts(every_ns) = self.arrivals
            && !(100_000..=3_600_000_000_000).contains(&every_ns)
        {
            return Err(format!(
                "--burst-every {} ms: give 0.1 ms to an hour",
                every_ns as f64 / 1e6
            ));
        }
        Ok(())
    }

    /// The whole offered load from the start of the run, warm-up included; none in a closed loop.
    pub fn stages(&self) -> Option<Vec<Stage>> {
        match &self.load {
            Load::Max => None,
            Load::Rate(rate) => Some(vec![Stage::steady(*rate, self.warmup_s + self.duration_s)]),
            Load::Stages(stages) => {
                let warmup = Stage::steady(stages.first()?.from, self.warmup_s);
                let warmup = (self.warmup_s > 0.0).then_some(warmup);
                Some(warmup.into_iter().chain(stages.iter().copied()).collect())
            }
        }
    }

    /// Records per second offered on average over the first `measured_s` of the measured time;
    /// none in a closed loop.
    pub fn offered_per_s(&self, measured_s: f64) -> Option<f64> {
        match &self.load {
            Load::Max => None,
            Load::Rate(rate) => Some(*rate),
            Load::Stages(_) if measured_s <= 0.0 => Some(0.0),
            Load::Stages(stages) => {
                let mut left_s = measured_s;
                let begun = stages.iter().map(|stage| {
                    let seconds = stage.seconds.min(left_s).max(0.0);
                    left_s -= seconds;
                    stage.records_at(seconds)
                });
                Some(begun.sum::<f64>() / measured_s)
            }
        }
    }

    /// What its records look like; reads the payload file.
    ///
    /// # Errors
    /// When that file cannot be read.
    pub fn shape(&self) -> Result<Shape, String> {
        let file = self.payload_file.as_ref().map(|path| {
            let content = std::fs::read(path);
            let content = content.map_err(|e| format!("--payload-file {}: {e}", path.display()))?;
            Ok::<_, String>((path.clone(), content))
        });
        Ok(Shape {
            sizes: Some(self.record_bytes.clone()),
            keys: self.keys.map(|keys| (keys, u64::from(self.partitions))),
            headers: self.headers,
            random_share: self.random_share,
            file: file.transpose()?,
        })
    }

    /// Prepare the calling thread for measuring.
    pub fn prepare_thread(&self) {
        if self.is_real_time { clock::go_real_time() } else { clock::sharpen_timers() }
    }

    /// `acks` in Kafka's own words.
    pub fn acks_name(&self) -> &'static str {
        match self.acks {
            0 => "0",
            1 => "1",
            _ => "all",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_plan_is_good_and_each_bad_value_is_named() {
        Plan::default().check().unwrap();
        type Change = fn(&mut Plan);
        let bad: [(&str, Change); 31] = [
            ("--topic", |p| p.topic = "a b".into()),
            ("--rate", |p| p.load = Load::Rate(0.0)),
            ("--rate", |p| p.load = Load::Rate(f64::NAN)),
            ("--burst-every", |p| p.arrivals = Arrivals::Bursts(1)),
            ("not negative", |p| p.load = Load::Stages(vec![Stage::steady(-1.0, 10.0)])),
            ("equal", |p| p.load = Load::Stages(vec![Stage::steady(1.0, 3.0)])),
            ("--warmup", |p| {
                p.load = Load::Stages(vec![Stage { from: 0.0, to: 5.0, seconds: 10.0 }]);
            }),
            ("--record-size", |p| p.record_bytes = Sizes::Fixed(HEAD_BYTES - 1)),
            ("--records-per-batch", |p| p.records_per_batch = 0),
            ("--key-zipf", |p| p.keys = Some(Keys { zipf: -1.0, ..Keys::default() })),
            ("--payload-file", |p| p.payload_file = Some("/nowhere/at/all".into())),
            ("--subscriptions", |p| p.subscriptions = 0),
            ("--consumer-delay", |p| (p.consumer_delay_s, p.consume) = (1.0, Consume::After)),
            ("--commit-every", |p| {
                p.groups = Some(Groups { commit_every_ms: 0, churn_s: 0.0 });
            }),
            ("--churn", |p| p.groups = Some(Groups { commit_every_ms: 5, churn_s: 0.01 })),
            ("--in-flight", |p| p.in_flight = 0),
            ("--in-flight", |p| p.in_flight = u32::MAX),
            ("--partitions", |p| p.partitions = u32::MAX),
            ("--subscriptions", |p| {
                (p.subscriptions, p.consumers, p.consume) = (u32::MAX, 0, Consume::Never);
            }),
            ("--fetch-bytes", |p| p.fetch_bytes = 0),
            ("--fetch-partition-bytes", |p| p.fetch_partition_bytes = u32::MAX),
            ("--fetch-wait", |p| p.fetch_wait_ms = u32::MAX),
            ("--consumers", |p| p.consumers = 0),
            ("--idempotent", |p| (p.idempotent, p.acks) = (true, 1)),
            ("--key-size", |p| p.keys = Some(Keys { bytes: 2, space: 1000, zipf: 0.0 })),
            ("--duration", |p| p.duration_s = 0.0),
            ("--random-share", |p| p.random_share = 5.0),
            ("--random-share", |p| p.random_share = f64::NAN),
            ("--drain", |p| p.drain_s = -1.0),
            ("--drain", |p| p.drain_s = f64::INFINITY),
            ("--warmup", |p| p.warmup_s = f64::NAN),
        ];
        for (flag, change) in bad {
            let mut plan = Plan::default();
            change(&mut plan);
            let why = plan.check().unwrap_err();
            assert!(why.contains(flag), "{flag}: {why}");
        }
    }
}
