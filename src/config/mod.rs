//! Settings, their defaults, and every limit of the system.
//!
//! Owns: the tables of settings (`broker.rs`, `topic.rs`, `group_keys.rs`), the layers default <
//! file < flag, above them what was set at run time for all brokers and for this one
//! (`dynamic.rs`), and the typed [`Config`] that the rest of the broker reads. Always true: a
//! `Config` that exists has been checked as a whole, and each value knows where it came from.
//! Leaves to others: acting on the values, and keeping what is set at run time (`cluster`).

mod broker;
mod cleaner;
mod dynamic;
mod entry;
mod error;
mod file;
mod group_keys;
mod groups;
mod key;
mod limits;
mod machine;
mod suggest;
mod topic;
mod units;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

pub use broker::{BROKER_KEYS, broker_kind, describe_broker, describe_dynamic_default};
pub use cleaner::CleanerSettings;
pub use dynamic::{check_dynamic, is_dynamic};
pub use entry::{ConfigEntry, Source, Synonym};
pub use error::ConfigError;
pub use group_keys::{GROUP_KEYS, GroupKey, check_group, describe_group, group_key};
pub use groups::{GroupSettings, MigrationPolicy};
pub use key::{Check, Default, Form, Key, Kind, Treatment, Unit};
pub use limits::Limits;
pub use machine::Machine;
pub use topic::{TOPIC_KEYS, TopicConfig, TopicKey, check_override, describe_topic, topic_key};
pub use units::{HostPort, parse_bytes, parse_millis, show_bytes};

use crate::model::NodeId;

/// What an acks=all answer waits for (`thalweg.durability`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The flush to the device: safe from a power cut.
    Flush,
    /// The completed write: safe from kill -9 only, as brokers that do not flush have it.
    Write,
}

impl Durability {
    /// The word of the setting.
    pub fn word(self) -> &'static str {
        match self {
            Self::Flush => "flush",
            Self::Write => "write",
        }
    }

    /// The setting in its normal form.
    pub fn from_word(word: &str) -> Self {
        match word {
            "write" => Self::Write,
            _ => Self::Flush,
        }
    }
}

/// Which layer set a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody: the default, possibly derived from the machine.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// The command line.
    Flag,
}

/// One value and its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// In normal form: numbers in digits.
    pub value: String,
    /// The strongest layer that set it.
    pub origin: Origin,
}

/// The settings of one broker, checked and typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `node.id`
    pub node_id: NodeId,
    /// `broker.rack`
    pub rack: Option<String>,
    /// `listeners`
    pub listen: HostPort,
    /// `advertised.listeners`; see [`Config::advertised`].
    pub advertise: Option<HostPort>,
    /// `log.dirs`
    pub data_dir: PathBuf,
    /// Core of each shard; as many as there are shards.
    pub cores: Vec<usize>,
    /// `thalweg.shards.pinned`: shards keep to their cores whoever else wants them.
    pub keeps_cores: bool,
    /// `thalweg.metrics.listener`
    pub metrics_listen: Option<HostPort>,
    /// `auto.create.topics.enable`
    pub auto_create_topics: bool,
    /// `delete.topic.enable`
    pub delete_topics: bool,
    /// `num.partitions`
    pub num_partitions: i32,
    /// `offsets.topic.num.partitions`
    pub offsets_topic_partitions: i32,
    /// `offsets.topic.segment.bytes`
    pub offsets_topic_segment_bytes: i64,
    /// `log.retention.check.interval.ms`
    pub retention_check_interval_ms: u64,
    /// `producer.id.expiration.ms`
    pub producer_id_expiration_ms: i64,
    /// `thalweg.durability` of the broker; topics may differ.
    pub durability: Durability,
    /// Consumer groups: shared by every coordinator.
    pub groups: Arc<GroupSettings>,
    /// Compaction, of one shard.
    pub cleaner: CleanerSettings,
    /// Every limit.
    pub limits: Limits,
    /// What the kernel lets us use; `cores` are those of the shards.
    pub machine: Machine,
    /// Every value that a file or flag set.
    set: BTreeMap<&'static str, Setting>,
    /// What was set at run time.
    dynamic: dynamic::Dynamic,
}

impl Config {
    /// Defaults, then `file`, then `flags` in their order; all checked together.
    ///
    /// # Errors
    /// Every setting that is wrong, not only the first.
    pub fn load(
        machine: Machine,
        file: Option<&std::path::Path>,
        flags: &[(String, String)],
    ) -> Result<Self, Vec<ConfigError>> {
        let (set, dynamic) = (BTreeMap::new(), dynamic::Dynamic::default());
        let mut layers = Layers { machine, set, dynamic, errors: Vec::new() };
        if let Some(path) = file {
            match file::read(path) {
                Ok(pairs) => {
                    for (key, value) in pairs {
                        layers.put(&key, &value, Origin::File(path.to_owned()));
                    }
                }
                Err(error) => layers.errors.push(error),
            }
        }
        for (key, value) in flags {
            layers.put(key, value, Origin::Flag);
        }
        layers.finish()
    }

    /// Defaults and `pairs` on this machine; for tests and tools.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_pairs(pairs: &[(&str, &str)]) -> Result<Self, Vec<ConfigError>> {
        let flags: Vec<(String, String)> =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Self::load(Machine::detect(), None, &flags)
    }

    /// Number of shards.
    pub fn shards(&self) -> usize {
        self.cores.len()
    }

    /// The one log directory as clients know it: `log.dirs` as an absolute path.
    pub fn log_dir(&self) -> String {
        let path = std::path::absolute(&self.data_dir).unwrap_or_else(|_| self.data_dir.clone());
        path.display().to_string()
    }

    /// What a file or flag set for a broker key.
    pub fn setting(&self, name: &str) -> Option<&Setting> {
        self.set.get(name)
    }

    /// Where and to what a broker key is set, strongest first; nothing when it has its default.
    fn layers(&self, name: &str) -> impl Iterator<Item = (Source, &str)> {
        let fixed = self.set.get(name).filter(|s| s.origin != Origin::Default);
        self.dynamic.layers(name).chain(fixed.map(|s| (Source::StaticBroker, s.value.as_str())))
    }

    /// The value in force of a broker key that is a number.
    fn number(&self, name: &str) -> Option<i64> {
        if let Some((_, value)) = self.layers(name).next() {
            return value.parse().ok();
        }
        broker::broker_key(name)?.default_value(&self.machine)?.parse().ok()
    }

    /// The address that clients are told, once the listener is bound to `bound`: what was
    /// configured (port 0 there means the bound port), else the address listened on, else, when
    /// that is every address, this machine's name.
    pub fn advertised(&self, bound: SocketAddr) -> HostPort {
        let (host, port) = match &self.advertise {
            Some(given) => (given.host.clone(), given.port),
            None => (self.listen.host.clone(), 0),
        };
        let chosen = HostPort { host, port: if port == 0 { bound.port() } else { port } };
        if !chosen.is_wildcard() {
            return chosen;
        }
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let name = name.trim();
        let host = if name.is_empty() { "localhost" } else { name };
        HostPort { host: host.to_owned(), port: chosen.port }
    }
}

/// Settings while they are being put together.
struct Layers {
    machine: Machine,
    set: BTreeMap<&'static str, Setting>,
    dynamic: dynamic::Dynamic,
    errors: Vec<ConfigError>,
}

impl Layers {
    fn put(&mut self, name: &str, value: &str, origin: Origin) {
        let Some(key) = broker::broker_key(name) else {
            self.errors.push(broker::unknown(name, value));
            return;
        };
        match key.normalize(value, Form::Human, &self.machine) {
            Ok(value) => {
                self.set.insert(key.name, Setting { value, origin });
            }
            Err(error) => self.errors.push(error),
        }
    }

    fn text(&self, name: &'static str) -> Option<String> {
        if let Some((_, value)) = self.dynamic.layers(name).next() {
            return Some(value.to_owned());
        }
        match self.set.get(name) {
            Some(setting) => Some(setting.value.clone()),
            None => broker::broker_key(name)?.default_value(&self.machine),
        }
    }

    fn long(&self, name: &'static str) -> i64 {
        self.text(name).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    fn address(&self, name: &'static str) -> Option<HostPort> {
        HostPort::parse(&self.text(name)?).ok()
    }

    fn finish(mut self) -> Result<Config, Vec<ConfigError>> {
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        // Shares of memory depend on the number of shards, so cores come first.
        let shards = usize::try_from(self.long("thalweg.shards")).unwrap_or(1).max(1);
        let usable = self.machine.cores.clone();
        let cores: Vec<usize> = usable.iter().copied().cycle().take(shards).collect();
        self.machine.cores.clone_from(&cores);
        self.raise_frame_memory();
        self.check_together();
        self.check_listeners();
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        let data_dir = self.text("log.dirs").unwrap_or_default().into();
        let word = self.text("thalweg.durability").unwrap_or_default();
        let positive = |name| self.long(name).max(0).unsigned_abs();
        let listen = self.address("listeners").unwrap_or(HostPort { host: String::new(), port: 0 });
        Ok(Config {
            node_id: i32::try_from(self.long("node.id")).unwrap_or(0),
            rack: self.text("broker.rack").filter(|rack| !rack.is_empty()),
            listen,
            advertise: self.address("advertised.listeners"),
            data_dir,
            cores,
            keeps_cores: self.text("thalweg.shards.pinned").as_deref() == Some("always"),
            metrics_listen: self.address("thalweg.metrics.listener"),
            auto_create_topics: self.text("auto.create.topics.enable").as_deref() == Some("true"),
            delete_topics: self.text("delete.topic.enable").as_deref() == Some("true"),
            num_partitions: i32::try_from(self.long("num.partitions")).unwrap_or(1),
            offsets_topic_partitions: i32::try_from(self.long("offsets.topic.num.partitions"))
                .unwrap_or(50),
            offsets_topic_segment_bytes: self.long("offsets.topic.segment.bytes"),
            retention_check_interval_ms: positive("log.retention.check.interval.ms"),
            producer_id_expiration_ms: self.long("producer.id.expiration.ms"),
            durability: Durability::from_word(&word),
            groups: Arc::new(GroupSettings::read(&mut |name| self.text(name).unwrap_or_default())),
            cleaner: CleanerSettings::read(&mut |name| self.text(name).unwrap_or_default(), shards),
            limits: Limits::read(&mut |name| self.long(name)),
            machine: self.machine,
            set: self.set,
            dynamic: self.dynamic,
        })
    }

    /// A shard that cannot hold one whole frame would refuse what `socket.request.max.bytes`
    /// allows; the default follows.
    fn raise_frame_memory(&mut self) {
        let name = "thalweg.frame.memory.bytes.max";
        let frame = self.long("socket.request.max.bytes");
        if !self.set.contains_key(name) && self.long(name) < frame {
            let setting = Setting { value: frame.to_string(), origin: Origin::Default };
            self.set.insert(name, setting);
        }
    }

    /// The metrics page beside the broker, not in its place.
    fn check_listeners(&mut self) {
        let both = (self.address("listeners"), self.address("thalweg.metrics.listener"));
        if let (Some(broker), Some(page)) = both
            && page.overlaps(&broker)
        {
            let cause = format!("the broker itself listens there (listeners = {broker})");
            let key = "thalweg.metrics.listener";
            let error = ConfigError::new(key, page.to_string(), cause, "give another port");
            self.errors.push(error);
        }
    }

    /// Rules between settings.
    fn check_together(&mut self) {
        let mut at_most = |small: &'static str, large: &'static str, why: &str| {
            let (value, bound) = (self.long(small), self.long(large));
            if value <= bound {
                return;
            }
            let is_dynamic = |name| self.dynamic.layers(name).next().is_some();
            // The one that was set while the broker ran is the one that can be left out.
            self.errors.push(if is_dynamic(large) && !is_dynamic(small) {
                let fix = format!("raise it to {value}, or lower {small}");
                let cause = format!("it is below {small} = {value}: {why}");
                ConfigError::new(large, bound.to_string(), cause, fix)
            } else {
                let fix = format!("lower it to {bound}, or raise {large}");
                let cause = format!("it is above {large} = {bound}: {why}");
                ConfigError::new(small, value.to_string(), cause, fix)
            });
        };
        at_most(
            "socket.request.max.bytes",
            "thalweg.frame.memory.bytes.max",
            "a shard could never hold such a frame",
        );
        at_most(
            "message.max.bytes",
            "socket.request.max.bytes",
            "no request could carry such a batch",
        );
        at_most("num.partitions", "thalweg.partitions.max", "no topic could be created");
        at_most(
            "log.cleaner.min.compaction.lag.ms",
            "log.cleaner.max.compaction.lag.ms",
            "a record would have to be compacted before it may be",
        );
        let why = "no member could join";
        at_most("group.min.session.timeout.ms", "group.max.session.timeout.ms", why);
        let why = "it is the default of what these two bound";
        for (min, value, max) in CONSUMER_BOUNDS {
            at_most(min, value, why);
            at_most(value, max, why);
        }
        self.check_descriptors();
    }

    /// Connections admitted while the broker runs must leave descriptors to the logs; at the start
    /// the pre-flight check asks the kernel itself.
    fn check_descriptors(&mut self) {
        let name = "max.connections";
        if self.dynamic.layers(name).next().is_none() {
            return;
        }
        let limit = self.machine.open_files;
        let logs = self.long("thalweg.open.files.max").max(0).unsigned_abs();
        let left = limit.saturating_sub(self.machine.files_of_shards()).saturating_sub(logs);
        let value = self.long(name);
        if value.max(0).unsigned_abs() > left {
            let cause = format!(
                "open files are limited to {limit}, and the shards and thalweg.open.files.max \
                 leave {left}"
            );
            let fix = "lower it, or raise the hard limit (LimitNOFILE) and start the broker again";
            self.errors.push(ConfigError::new(name, value.to_string(), cause, fix));
        }
    }
}

/// Settings of consumer groups with their bounds: least, default, largest.
const CONSUMER_BOUNDS: [(&str, &str, &str); 2] = [
    (
        "group.consumer.min.session.timeout.ms",
        "group.consumer.session.timeout.ms",
        "group.consumer.max.session.timeout.ms",
    ),
    (
        "group.consumer.min.heartbeat.interval.ms",
        "group.consumer.heartbeat.interval.ms",
        "group.consumer.max.heartbeat.interval.ms",
    ),
];

#[cfg(test)]
mod tests;
