//! Settings that change while the broker runs (KIP-226): which, and how they are layered.
//!
//! A [`Config`] holds two dynamic layers above its file and flags: what was set for this broker,
//! and below it what was set for all brokers. [`Config::with_dynamic`] makes the next `Config`
//! when they change; whoever acts on such a setting reads the newest one.

use std::collections::BTreeMap;

use super::entry::Source;
use super::error::ConfigError;
use super::key::Form;
use super::topic::TOPIC_KEYS;
use super::{Config, Layers, broker};

/// Broker settings that may be changed at run time, besides those that set a topic default
/// (`DynamicBrokerConfig.AllDynamicConfigs`, as far as this broker has them).
const DYNAMIC: &[&str] = &[
    "background.threads",
    "follower.replication.throttled.rate",
    "leader.replication.throttled.rate",
    "log.cleaner.backoff.ms",
    "log.cleaner.dedupe.buffer.size",
    "log.cleaner.io.buffer.load.factor",
    "log.cleaner.io.buffer.size",
    "log.cleaner.io.max.bytes.per.second",
    "log.cleaner.threads",
    "max.connections",
    "max.connections.per.ip",
    "num.io.threads",
    "num.network.threads",
    "num.recovery.threads.per.data.dir",
    "num.replica.fetchers",
    "producer.id.expiration.ms",
    "replica.alter.log.dirs.io.max.bytes.per.second",
];

/// Whether a broker setting can be changed at run time. Of the keys that set one topic default it
/// is the one in the finest unit, as in Kafka: `log.retention.ms`, not `log.retention.hours`.
pub fn is_dynamic(name: &str) -> bool {
    let is_finest =
        |row: &super::TopicKey| row.synonyms.first().is_some_and(|(finest, _)| *finest == name);
    DYNAMIC.contains(&name) || TOPIC_KEYS.iter().any(is_finest)
}

/// The two dynamic layers, in normal form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Dynamic {
    /// Of this broker.
    own: BTreeMap<&'static str, String>,
    /// Of all brokers.
    default: BTreeMap<&'static str, String>,
}

impl Dynamic {
    /// Take `name` out of the strongest layer that has it; whether one had.
    fn remove(&mut self, name: &str) -> bool {
        self.own.remove(name).or_else(|| self.default.remove(name)).is_some()
    }

    /// Where and to what `name` is set, strongest first.
    pub(super) fn layers(&self, name: &str) -> impl Iterator<Item = (Source, &str)> {
        let both =
            [(Source::DynamicBroker, &self.own), (Source::DynamicDefaultBroker, &self.default)];
        both.into_iter()
            .filter_map(move |(source, layer)| Some((source, layer.get(name)?.as_str())))
    }
}

/// Check one dynamic setting as it comes from IncrementalAlterConfigs and give its normal form.
///
/// # Errors
/// Unknown, refused, or not to be changed while the broker runs.
pub fn check_dynamic(name: &str, value: &str, config: &Config) -> Result<String, ConfigError> {
    normal(name, value, config).map(|(_, value)| value)
}

fn normal(name: &str, value: &str, config: &Config) -> Result<(&'static str, String), ConfigError> {
    let Some(key) = broker::broker_key(name) else { return Err(broker::unknown(name, value)) };
    if !is_dynamic(name) {
        return Err(ConfigError::new(
            name,
            value,
            "it cannot be changed while the broker runs",
            "set it by file or flag and start the broker again",
        ));
    }
    Ok((key.name, key.normalize(value, Form::Wire, &config.machine)?))
}

impl Config {
    /// This configuration with other dynamic layers: `default` for all brokers, `own` for this
    /// one. What cannot be taken is left out and returned.
    pub fn with_dynamic(
        &self,
        default: Option<&BTreeMap<String, String>>,
        own: Option<&BTreeMap<String, String>>,
    ) -> (Self, Vec<ConfigError>) {
        let mut errors = Vec::new();
        let mut layer = |given: Option<&BTreeMap<String, String>>| {
            let mut taken = BTreeMap::new();
            for (name, value) in given.into_iter().flatten() {
                match normal(name, value, self) {
                    Ok((name, value)) => drop(taken.insert(name, value)),
                    Err(error) => errors.push(error),
                }
            }
            taken
        };
        let mut dynamic = Dynamic { default: layer(default), own: layer(own) };
        loop {
            let (machine, set) = (self.machine.clone(), self.set.clone());
            let layers = Layers { machine, set, dynamic: dynamic.clone(), errors: Vec::new() };
            match layers.finish() {
                Ok(config) => return (config, errors),
                // Without any dynamic setting it has been checked at the start.
                Err(_) if dynamic == Dynamic::default() => return (self.clone(), errors),
                Err(together) => {
                    let mut is_removed = false;
                    for error in together {
                        is_removed |= dynamic.remove(&error.key);
                        errors.push(error);
                    }
                    if !is_removed {
                        dynamic = Dynamic::default();
                    }
                }
            }
        }
    }
}
