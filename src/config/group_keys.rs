//! Settings of a group: one table (Kafka's `GroupConfig`). The broker's settings give the default
//! and the bounds of each.

use std::collections::BTreeMap;

use super::entry::{ConfigEntry, Source, Synonym};
use super::error::ConfigError;
use super::key::{Check, Default, Form, Key, Kind, Treatment, Unit};
use super::{Config, suggest};

/// One row.
#[derive(Debug)]
pub struct GroupKey {
    /// The group's own key.
    pub key: Key,
    /// The broker setting of its default.
    pub synonym: &'static str,
    /// The broker settings of its bounds, both included.
    pub bounds: (&'static str, &'static str),
}

const fn row(
    name: &'static str,
    default: &'static str,
    synonym: &'static str,
    bounds: (&'static str, &'static str),
    doc: &'static str,
) -> GroupKey {
    GroupKey {
        key: Key {
            name,
            kind: Kind::Int,
            unit: Unit::Millis,
            default: Default::Text(default),
            check: Check::Range(1, i32::MAX as i64),
            treatment: Treatment::Honoured,
            doc,
        },
        synonym,
        bounds,
    }
}

const HEARTBEAT: &str = "consumer.heartbeat.interval.ms";
const SESSION: &str = "consumer.session.timeout.ms";

/// Every group setting, by name.
pub static GROUP_KEYS: &[GroupKey] = &[
    row(
        HEARTBEAT,
        "5000",
        "group.consumer.heartbeat.interval.ms",
        ("group.consumer.min.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms"),
        "How often members of a consumer group (KIP-848) send a heartbeat.",
    ),
    row(
        SESSION,
        "45000",
        "group.consumer.session.timeout.ms",
        ("group.consumer.min.session.timeout.ms", "group.consumer.max.session.timeout.ms"),
        "How long a member of a consumer group (KIP-848) may be silent.",
    ),
];

/// The row of a group setting.
pub fn group_key(name: &str) -> Option<&'static GroupKey> {
    GROUP_KEYS.iter().find(|row| row.key.name == name)
}

/// Check all settings of a group together and give their normal forms.
///
/// # Errors
/// The first that is unknown, out of the broker's bounds, or contradicts another.
pub fn check_group(
    overrides: &BTreeMap<String, String>,
    config: &Config,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut normal = BTreeMap::new();
    for (name, value) in overrides {
        let Some(row) = group_key(name) else {
            let names = GROUP_KEYS.iter().map(|row| row.key.name);
            return Err(suggest::unknown("group", name, value, names));
        };
        let value = row.key.normalize(value, Form::Wire, &config.machine)?;
        normal.insert(name.clone(), value);
    }
    for row in GROUP_KEYS {
        let (name, value) = (row.key.name, number(row, &normal, config));
        let refuse = |rule: &str, bound: &str, limit: i64| {
            let (cause, fix) = (
                format!("it must be {rule} {bound}, which is {limit}"),
                format!("choose another value, or change {bound}"),
            );
            Err(ConfigError::new(name, value.to_string(), cause, fix))
        };
        let (min, max) = row.bounds;
        if let Some(limit) = config.number(min).filter(|limit| value < *limit) {
            return refuse("greater than or equal to", min, limit);
        }
        if let Some(limit) = config.number(max).filter(|limit| value > *limit) {
            return refuse("less than or equal to", max, limit);
        }
    }
    let of = |name: &str| group_key(name).map_or(0, |row| number(row, &normal, config));
    if of(SESSION) <= of(HEARTBEAT) {
        return Err(ConfigError::new(
            SESSION,
            of(SESSION).to_string(),
            format!("it must be greater than {HEARTBEAT}, which is {}", of(HEARTBEAT)),
            "raise it, or lower the interval",
        ));
    }
    Ok(normal)
}

fn number(row: &GroupKey, overrides: &BTreeMap<String, String>, config: &Config) -> i64 {
    let own = overrides.get(row.key.name).and_then(|value| value.parse().ok());
    own.or_else(|| config.number(row.synonym))
        .or_else(|| row.key.default_value(&config.machine)?.parse().ok())
        .unwrap_or(0)
}

/// Every setting of a group with value, source and synonyms, for DescribeConfigs.
pub fn describe_group(overrides: &BTreeMap<String, String>, config: &Config) -> Vec<ConfigEntry> {
    let describe = |row: &GroupKey| {
        let value = Some(number(row, overrides, config).to_string());
        let mut synonyms = Vec::new();
        let mut push = |name: &str, value: &str, source| {
            synonyms.push(Synonym { name: name.into(), value: Some(value.into()), source });
        };
        if let Some(own) = overrides.get(row.key.name) {
            push(row.key.name, own, Source::Group);
        }
        for (source, value) in config.layers(row.synonym) {
            push(row.synonym, value, source);
        }
        if let Default::Text(default) = row.key.default {
            push(row.synonym, default, Source::Default);
        }
        let layer = synonyms.first().map_or(Source::Default, |strongest| strongest.source);
        ConfigEntry {
            name: row.key.name,
            value,
            source: layer,
            is_read_only: false,
            is_sensitive: false,
            kind: row.key.kind,
            documentation: row.key.documentation(),
            synonyms,
        }
    };
    GROUP_KEYS.iter().map(describe).collect()
}
