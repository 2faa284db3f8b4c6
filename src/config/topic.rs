//! Settings of a topic: one table, and the typed form that the rest of the broker reads.
//!
//! Names, types, defaults and bounds follow Kafka's `TopicConfig` and `LogConfig`. A value that
//! cannot be honoured is refused by name; a value that can have no effect here is kept and said
//! to have none. Order of precedence: the topic's own value, the broker's, the default.

use std::collections::BTreeMap;

use super::entry::{ConfigEntry, Source, Synonym};
use super::error::ConfigError;
use super::key::{Check, Default, Form, Key, Kind, Treatment, Unit};
use super::{Config, Durability};
use crate::model::TimestampType;

/// One row: the topic's key and the broker keys that set its default, finest unit first, each
/// with the factor from its unit to the topic key's unit. The last one carries the default.
#[derive(Debug)]
pub struct TopicKey {
    /// The topic's own key.
    pub key: Key,
    /// Broker names and factors.
    pub synonyms: &'static [(&'static str, i64)],
}

const TIERED: &str = "tiered storage is not there";
const NEVER: &str = "9223372036854775807";

#[expect(clippy::too_many_arguments, reason = "one argument per column of the table")]
const fn row(
    name: &'static str,
    kind: Kind,
    unit: Unit,
    default: &'static str,
    check: Check,
    synonyms: &'static [(&'static str, i64)],
    treatment: Treatment,
    doc: &'static str,
) -> TopicKey {
    let default = Default::Text(default);
    TopicKey { key: Key { name, kind, unit, default, check, treatment, doc }, synonyms }
}

use Kind::{Boolean, Double, Int, List, Long, String as Text};
use Treatment::{DefaultOnly, Honoured, Inert};
use Unit::{Bytes, Millis, Plain};

const ANY: Check = Check::Any;
const FROM_0: Check = Check::Range(0, i64::MAX);
const FROM_MINUS_1: Check = Check::Range(-1, i64::MAX);

/// Every topic setting, by name.
#[rustfmt::skip]
pub static TOPIC_KEYS: &[TopicKey] = &[
    row("cleanup.policy", List, Plain, "delete",
        Check::Words { allowed: &["compact", "delete"], refused: &[] },
        &[("log.cleanup.policy", 1)], Honoured,
        "What happens to old records: delete removes segments by age and size, compact keeps the \
         latest record of every key."),
    row("compression.gzip.level", Int, Plain, "-1", ANY, &[("compression.gzip.level", 1)],
        DefaultOnly("the broker does not compress"), "Level of gzip when the broker compresses."),
    row("compression.lz4.level", Int, Plain, "9", ANY, &[("compression.lz4.level", 1)],
        DefaultOnly("the broker does not compress"), "Level of lz4 when the broker compresses."),
    row("compression.type", Text, Plain, "producer",
        Check::Words { allowed: &["producer"], refused: &[
            ("uncompressed", "batches are stored as they came"),
            ("gzip", "batches are stored as they came; compress in the producer"),
            ("snappy", "batches are stored as they came; compress in the producer"),
            ("lz4", "batches are stored as they came; compress in the producer"),
            ("zstd", "batches are stored as they came; compress in the producer"),
        ] },
        &[("compression.type", 1)], Honoured,
        "Compression of stored batches: producer keeps each as its producer made it. Nothing else \
        is accepted: the broker does not compress."),
    row("compression.zstd.level", Int, Plain, "3", ANY, &[("compression.zstd.level", 1)],
        DefaultOnly("the broker does not compress"), "Level of zstd when the broker compresses."),
    row("delete.retention.ms", Long, Millis, "86400000", FROM_0,
        &[("log.cleaner.delete.retention.ms", 1)], Honoured,
        "How long a tombstone outlives its first compaction."),
    row("errors.deadletterqueue.group.enable", Boolean, Plain, "false", ANY, &[],
        DefaultOnly("share groups are not there"),
        "Whether share groups may use it for dead letters."),
    row("file.delete.delay.ms", Long, Millis, "60000", FROM_0,
        &[("log.segment.delete.delay.ms", 1)],
        Inert("readers hold what they read, so files go at once"),
        "How long a removed segment's file stays."),
    row("flush.messages", Long, Plain, NEVER, Check::Range(1, i64::MAX),
        &[("log.flush.interval.messages", 1)], Honoured,
        "Flush after this many records, also for acks=1; acks=all is flushed anyway."),
    row("flush.ms", Long, Millis, NEVER, FROM_0, &[("log.flush.interval.ms", 1)], Honoured,
        "Flush at least this often, also for acks=1; acks=all is flushed anyway."),
    row("follower.replication.throttled.replicas", List, Plain, "", ANY, &[],
        Inert("one broker replicates nothing"), "Replicas whose following is throttled."),
    row("index.interval.bytes", Int, Bytes, "4096", FROM_0, &[("log.index.interval.bytes", 1)],
        Honoured, "Bytes of batches between two entries of the offset index."),
    row("leader.replication.throttled.replicas", List, Plain, "", ANY, &[],
        Inert("one broker replicates nothing"), "Replicas whose leading is throttled."),
    row("local.retention.bytes", Long, Bytes, "-2", Check::Range(-2, i64::MAX),
        &[("log.local.retention.bytes", 1)], Inert("it acts on tiered topics only"),
        "Bytes kept on local disks."),
    row("local.retention.ms", Long, Millis, "-2", Check::Range(-2, i64::MAX),
        &[("log.local.retention.ms", 1)], Inert("it acts on tiered topics only"),
        "Time kept on local disks."),
    row("max.compaction.lag.ms", Long, Millis, NEVER, Check::Range(1, i64::MAX),
        &[("log.cleaner.max.compaction.lag.ms", 1)], Honoured,
        "Longest time a record of a compacted topic waits before it may be compacted."),
    row("max.message.bytes", Int, Bytes, "1048588", Check::Range(0, i32::MAX as i64),
        &[("message.max.bytes", 1)], Honoured, "Largest record batch, as sent."),
    row("message.timestamp.after.max.ms", Long, Millis, "3600000", FROM_0,
        &[("log.message.timestamp.after.max.ms", 1)], Honoured,
        "How far a record's timestamp may lie after the broker's time."),
    row("message.timestamp.before.max.ms", Long, Millis, NEVER, FROM_0,
        &[("log.message.timestamp.before.max.ms", 1)], Honoured,
        "How far a record's timestamp may lie before the broker's time."),
    row("message.timestamp.type", Text, Plain, "CreateTime",
        Check::Words { allowed: &["CreateTime", "LogAppendTime"], refused: &[] },
        &[("log.message.timestamp.type", 1)], Honoured, "Whose time a record carries."),
    row("min.cleanable.dirty.ratio", Double, Plain, "0.5", Check::Ratio(0.0, 1.0),
        &[("log.cleaner.min.cleanable.ratio", 1)], Honoured,
        "Uncompacted share of a log above which it is compacted."),
    row("min.compaction.lag.ms", Long, Millis, "0", FROM_0,
        &[("log.cleaner.min.compaction.lag.ms", 1)], Honoured,
        "Shortest time a record stays uncompacted."),
    row("min.insync.replicas", Int, Plain, "1", ANY, &[("min.insync.replicas", 1)],
        DefaultOnly("there is one replica, so acks=all could never be answered"),
        "Replicas that must have an acks=all record."),
    row("preallocate", Boolean, Plain, "false", ANY, &[("log.preallocate", 1)],
        Inert("segments are always allocated ahead, in steps"),
        "Whether a new segment's file is allocated at once."),
    row("remote.log.copy.disable", Boolean, Plain, "false", ANY, &[], DefaultOnly(TIERED),
        "Whether a tiered topic stops copying."),
    row("remote.log.delete.on.disable", Boolean, Plain, "false", ANY, &[], DefaultOnly(TIERED),
        "Whether leaving tiered storage deletes what is there."),
    row("remote.storage.enable", Boolean, Plain, "false", ANY, &[], DefaultOnly(TIERED),
        "Whether the topic is tiered."),
    row("retention.bytes", Long, Bytes, "-1", FROM_MINUS_1, &[("log.retention.bytes", 1)],
        Honoured, "Bytes kept per partition; -1 is unlimited."),
    row("retention.ms", Long, Millis, "604800000", FROM_MINUS_1,
        &[("log.retention.ms", 1), ("log.retention.minutes", 60_000),
          ("log.retention.hours", 3_600_000)],
        Honoured, "How long records are kept; -1 is unlimited."),
    row("segment.bytes", Int, Bytes, "1073741824", Check::Range(1_048_576, i32::MAX as i64),
        &[("log.segment.bytes", 1)], Honoured,
        "Size at which a segment is sealed; no batch of a producer may be larger."),
    row("segment.index.bytes", Int, Bytes, "10485760", Check::Range(4, i32::MAX as i64),
        &[("log.index.size.max.bytes", 1)], Inert("indexes grow as needed"),
        "Largest offset index of a segment."),
    row("segment.jitter.ms", Long, Millis, "0", FROM_0,
        &[("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", 3_600_000)],
        DefaultOnly("segments are sealed exactly at segment.ms"),
        "Random time taken off segment.ms."),
    row("segment.ms", Long, Millis, "604800000", Check::Range(1, i64::MAX),
        &[("log.roll.ms", 1), ("log.roll.hours", 3_600_000)], Honoured,
        "Age at which a segment is sealed."),
    row("thalweg.durability", Text, Plain, "flush",
        Check::Words { allowed: &["flush", "write"], refused: &[] },
        &[("thalweg.durability", 1)], Honoured,
        "What acks=all waits for: flush is safe from a power cut, write only from kill -9."),
    row("unclean.leader.election.enable", Boolean, Plain, "false", ANY,
        &[("unclean.leader.election.enable", 1)], Inert("one replica is always in sync"),
        "Whether a replica out of sync may lead."),
];

/// What a topic's settings come to, typed.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    /// `segment.bytes`
    pub segment_bytes: u64,
    /// `segment.ms`
    pub segment_ms: i64,
    /// `retention.bytes`; -1 is unlimited.
    pub retention_bytes: i64,
    /// `retention.ms`; -1 is unlimited.
    pub retention_ms: i64,
    /// `index.interval.bytes`
    pub index_interval_bytes: u32,
    /// `flush.messages`; `i64::MAX` is never.
    pub flush_messages: i64,
    /// `flush.ms`; `i64::MAX` is never.
    pub flush_ms: i64,
    /// Whether `cleanup.policy` contains `delete`.
    pub delete: bool,
    /// Whether `cleanup.policy` contains `compact`.
    pub compact: bool,
    /// `min.cleanable.dirty.ratio`
    pub dirty_ratio_min: f64,
    /// `min.compaction.lag.ms`
    pub compaction_lag_ms_min: i64,
    /// `max.compaction.lag.ms`; `i64::MAX` is never.
    pub compaction_lag_ms_max: i64,
    /// `delete.retention.ms`
    pub delete_retention_ms: i64,
    /// `max.message.bytes`: largest batch on the wire.
    pub message_bytes_max: usize,
    /// `message.timestamp.type`
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`
    pub timestamp_before_ms_max: i64,
    /// `message.timestamp.after.max.ms`
    pub timestamp_after_ms_max: i64,
    /// `thalweg.durability`: what acks=all waits for.
    pub durability: Durability,
}

impl TopicConfig {
    /// The typed form of `overrides` over the broker's defaults. The overrides need not be checked
    /// before; values are read as the Kafka protocol has them (numbers in digits).
    ///
    /// # Errors
    /// The first override that is unknown or refused.
    pub fn new(overrides: &BTreeMap<String, String>, config: &Config) -> Result<Self, ConfigError> {
        for (name, value) in overrides {
            check_override(name, value, config)?;
        }
        let topic = Self::read(overrides, config);
        let (lag_min, lag_max) = (topic.compaction_lag_ms_min, topic.compaction_lag_ms_max);
        if lag_min > lag_max {
            let cause = format!("it is below min.compaction.lag.ms = {lag_min}");
            let fix = "raise it, or lower min.compaction.lag.ms";
            return Err(ConfigError::new("max.compaction.lag.ms", lag_max.to_string(), cause, fix));
        }
        Ok(topic)
    }

    /// The same for overrides that were checked when they were set, maybe by another build and
    /// maybe beside other defaults of the broker: what cannot be taken now is left out, with all
    /// else in force, and returned.
    pub fn forgiving(
        overrides: &BTreeMap<String, String>,
        config: &Config,
    ) -> (Self, Vec<ConfigError>) {
        let (mut taken, mut errors) = (overrides.clone(), Vec::new());
        loop {
            match Self::new(&taken, config) {
                Ok(topic) => return (topic, errors),
                Err(error) => {
                    let was_set = taken.remove(&error.key).is_some();
                    errors.push(error);
                    if !was_set {
                        // The broker's own default: records are kept back as long as is asked for.
                        let mut topic = Self::read(&taken, config);
                        topic.compaction_lag_ms_max =
                            topic.compaction_lag_ms_max.max(topic.compaction_lag_ms_min);
                        return (topic, errors);
                    }
                }
            }
        }
    }

    /// The typed form of what has been checked.
    fn read(overrides: &BTreeMap<String, String>, config: &Config) -> Self {
        let text = |name: &str| effective(name, overrides, config);
        // Checked, or the table's own: a number.
        let long = |name: &str| text(name).parse().unwrap_or(0_i64);
        let policy = text("cleanup.policy");
        let has_policy = |word: &str| policy.split(',').any(|known| known == word);
        let unsigned = |name: &str| long(name).max(0).unsigned_abs();
        Self {
            segment_bytes: unsigned("segment.bytes"),
            segment_ms: long("segment.ms"),
            retention_bytes: long("retention.bytes"),
            retention_ms: long("retention.ms"),
            index_interval_bytes: u32::try_from(unsigned("index.interval.bytes"))
                .unwrap_or(u32::MAX),
            flush_messages: long("flush.messages"),
            flush_ms: long("flush.ms"),
            delete: has_policy("delete"),
            compact: has_policy("compact"),
            dirty_ratio_min: text("min.cleanable.dirty.ratio").parse().unwrap_or(0.5),
            compaction_lag_ms_min: long("min.compaction.lag.ms"),
            compaction_lag_ms_max: long("max.compaction.lag.ms"),
            delete_retention_ms: long("delete.retention.ms"),
            message_bytes_max: usize::try_from(unsigned("max.message.bytes")).unwrap_or(usize::MAX),
            timestamp_type: match text("message.timestamp.type").as_str() {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            timestamp_before_ms_max: long("message.timestamp.before.max.ms"),
            timestamp_after_ms_max: long("message.timestamp.after.max.ms"),
            durability: Durability::from_word(&text("thalweg.durability")),
        }
    }
}

/// The row of a topic setting.
pub fn topic_key(name: &str) -> Option<&'static TopicKey> {
    let found = TOPIC_KEYS.binary_search_by(|row| row.key.name.cmp(name)).ok()?;
    Some(&TOPIC_KEYS[found])
}

/// Check one override as it comes from CreateTopics or IncrementalAlterConfigs and give its
/// normal form.
///
/// # Errors
/// Unknown (with the nearest known name) or refused, with the reason.
pub fn check_override(name: &str, value: &str, config: &Config) -> Result<String, ConfigError> {
    let Some(row) = topic_key(name) else {
        let names = TOPIC_KEYS.iter().map(|row| row.key.name);
        return Err(super::suggest::unknown("topic", name, value, names));
    };
    row.key.normalize(value, Form::Wire, &config.machine)
}

/// The value of a topic setting after all layers. `name` must be in the table.
fn effective(name: &str, overrides: &BTreeMap<String, String>, config: &Config) -> String {
    let Some(row) = topic_key(name) else { return String::new() };
    match overrides.get(name) {
        Some(value) => row
            .key
            .normalize(value, Form::Wire, &config.machine)
            .unwrap_or_else(|_| value.trim().to_owned()),
        None => match broker_default(row, config) {
            Some((_, value)) => value,
            None => row.key.default_value(&config.machine).unwrap_or_default(),
        },
    }
}

/// Where the broker sets this topic key's default, and the value in the topic key's unit.
fn broker_default(row: &TopicKey, config: &Config) -> Option<(Source, String)> {
    row.synonyms.iter().find_map(|(name, factor)| {
        let (source, value) = config.layers(name).next()?;
        Some((source, scale(value, *factor)))
    })
}

/// `value` in a finer unit; words and -1 (unlimited) stay as they are.
fn scale(value: &str, factor: i64) -> String {
    match value.parse::<i64>() {
        Ok(number) if factor != 1 && number >= 0 => number.saturating_mul(factor).to_string(),
        _ => value.to_owned(),
    }
}

/// Every setting of a topic with value, source and synonyms, for DescribeConfigs and
/// CreateTopics (version 5 and later).
pub fn describe_topic(overrides: &BTreeMap<String, String>, config: &Config) -> Vec<ConfigEntry> {
    TOPIC_KEYS.iter().map(|row| describe(row, overrides, config)).collect()
}

fn describe(row: &TopicKey, overrides: &BTreeMap<String, String>, config: &Config) -> ConfigEntry {
    let mut synonyms = Vec::new();
    let mut push = |name: &str, value: String, source| {
        synonyms.push(Synonym { name: name.to_owned(), value: Some(value), source });
    };
    if let Some(value) = overrides.get(row.key.name) {
        push(row.key.name, value.clone(), Source::Topic);
    }
    // Layer by layer, and in each the finest unit first.
    for layer in [Source::DynamicBroker, Source::DynamicDefaultBroker, Source::StaticBroker] {
        for (name, _) in row.synonyms {
            if let Some((_, value)) = config.layers(name).find(|(source, _)| *source == layer) {
                push(name, value.to_owned(), layer);
            }
        }
    }
    if let (Some((name, factor)), Some(default)) =
        (row.synonyms.last(), row.key.default_value(&config.machine))
    {
        push(name, coarse(&default, *factor), Source::Default);
    }
    let source = if overrides.contains_key(row.key.name) {
        Source::Topic
    } else {
        broker_default(row, config).map_or(Source::Default, |(source, _)| source)
    };
    ConfigEntry {
        name: row.key.name,
        value: Some(effective(row.key.name, overrides, config)),
        source,
        is_read_only: false,
        is_sensitive: false,
        kind: row.key.kind,
        documentation: row.key.documentation(),
        synonyms,
    }
}

/// A default in the unit of its coarsest synonym: 604800000 ms are 168 hours.
pub(super) fn coarse(value: &str, factor: i64) -> String {
    match value.parse::<i64>() {
        Ok(number) if factor > 1 && number > 0 => (number / factor).to_string(),
        _ => value.to_owned(),
    }
}
