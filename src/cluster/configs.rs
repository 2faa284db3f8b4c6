//! Which changes a request to alter configurations leads to (KIP-133, KIP-339). Pure: reads an
//! image and the broker's configuration; the caller makes the changes durable.

use std::collections::{BTreeMap, HashSet};

use crate::config::{
    Config, ConfigError, Durability, Kind, TopicConfig, broker_kind, check_dynamic, check_group,
    check_override, group_key, topic_key,
};
use crate::model::TopicName;

use super::change::{Change, ConfigResource};
use super::controller::ControlError;
use super::image::{ConfigOverrides, Image, Topic};

/// Groups that may have settings of their own.
pub const CONFIGURED_GROUPS_MAX: usize = 10_000;

/// Longest value of a setting: lists grow by APPEND.
pub const VALUE_BYTES_MAX: usize = 16 << 10;

/// Longest id of a group, and of one that may have settings of its own.
pub const GROUP_ID_BYTES_MAX: usize = 1024;

/// What is to happen to one setting (`AlterConfigOp.OpType`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It gets this value.
    Set(String),
    /// It gets its default back.
    Delete,
    /// These words are added to its list.
    Append(String),
    /// These words are taken from its list.
    Subtract(String),
}

/// What is to happen to one resource.
#[derive(Clone, Debug)]
pub struct Alteration {
    /// Whose configuration.
    pub resource: ConfigResource,
    /// Setting by setting; none is named twice.
    pub operations: Vec<(String, Operation)>,
    /// Whether what is not named gets its default back (AlterConfigs).
    pub replaces_all: bool,
}

/// Changes that carry out `alteration`; `config` is the broker's.
///
/// # Errors
/// When the resource does not exist or a setting cannot be taken: then nothing of it is.
pub fn alter_configs(
    image: &Image,
    config: &Config,
    alteration: &Alteration,
) -> Result<Vec<Change>, ControlError> {
    let Alteration { resource, operations, replaces_all } = alteration;
    let none = ConfigOverrides::new();
    let before = image.overrides(resource).unwrap_or(&none);
    let mut after = if *replaces_all { none.clone() } else { before.clone() };
    for (key, operation) in operations {
        match operation {
            Operation::Set(value) => drop(after.insert(key.clone(), value.clone())),
            Operation::Delete => drop(after.remove(key)),
            Operation::Append(words) | Operation::Subtract(words) => {
                let is_append = matches!(operation, Operation::Append(_));
                let old = listed(resource, key, before, config, is_append)?;
                after.insert(key.clone(), combine(&old, words, is_append));
            }
        }
    }
    check_values(&after)?;
    let named: Vec<&str> = operations.iter().map(|(key, _)| key.as_str()).collect();
    let after = check(image, config, resource, before, after, &named)?;
    let gone = before.keys().filter(|key| !after.contains_key(*key)).map(|key| (key, None));
    let set = after.iter().filter(|(key, value)| before.get(*key) != Some(*value));
    let changed = gone.chain(set.map(|(key, value)| (key, Some(value.clone()))));
    let change = |(key, value): (&String, Option<String>)| Change::Config {
        resource: resource.clone(),
        key: key.clone(),
        value,
    };
    Ok(changed.map(change).collect())
}

/// Whether no value is too long to be kept.
///
/// # Errors
/// Names the setting whose value is.
pub fn check_values(overrides: &ConfigOverrides) -> Result<(), ControlError> {
    match overrides.iter().find(|(_, value)| value.len() > VALUE_BYTES_MAX) {
        Some((key, value)) => Err(ControlError::InvalidConfig(format!(
            "{key} would have a value of {} bytes; the most is {VALUE_BYTES_MAX}",
            value.len()
        ))),
        None => Ok(()),
    }
}

/// The broker's configuration with the settings that `image` holds above those of its file and
/// flags. They were checked when they were set, maybe by another build: what cannot be taken is
/// left out and returned.
pub fn live(config: &Config, image: &Image) -> (Config, Vec<ConfigError>) {
    let own = config.node_id.to_string();
    config.with_dynamic(image.broker_overrides(""), image.broker_overrides(&own))
}

/// Whether a topic has `thalweg.durability=write` of its own.
pub fn is_relaxed(topic: &Topic) -> bool {
    let word = topic.overrides.get("thalweg.durability");
    word.is_some_and(|word| Durability::from_word(word) == Durability::Write)
}

/// The words of a list before it changes: its own, or its default's.
fn listed(
    resource: &ConfigResource,
    key: &str,
    before: &ConfigOverrides,
    config: &Config,
    is_append: bool,
) -> Result<String, ControlError> {
    let (kind, default) = match resource {
        ConfigResource::Topic(_) => {
            let default = |row: &crate::config::TopicKey| row.key.default_value(&config.machine);
            (topic_key(key).map(|row| row.key.kind), topic_key(key).and_then(default))
        }
        ConfigResource::Broker(_) => (broker_kind(key), None),
        ConfigResource::Group(_) => (group_key(key).map(|row| row.key.kind), None),
    };
    if kind != Some(Kind::List) {
        let verb = if is_append { "APPEND" } else { "SUBTRACT" };
        return Err(ControlError::InvalidConfig(format!(
            "Can't {verb} to key {key} because its type is not LIST."
        )));
    }
    Ok(before.get(key).cloned().or(default).unwrap_or_default())
}

fn combine(old: &str, words: &str, is_append: bool) -> String {
    let mut list: Vec<&str> = old.split(',').filter(|word| !word.is_empty()).collect();
    let words = words.split(',').map(str::trim);
    if is_append {
        let mut known: HashSet<&str> = list.iter().copied().collect();
        list.extend(words.filter(|word| known.insert(word)));
    } else {
        let gone: HashSet<&str> = words.collect();
        list.retain(|word| !gone.contains(word));
    }
    list.join(",")
}

/// Everything that the resource would have, in normal form.
fn check(
    image: &Image,
    config: &Config,
    resource: &ConfigResource,
    before: &ConfigOverrides,
    after: ConfigOverrides,
    named: &[&str],
) -> Result<ConfigOverrides, ControlError> {
    let invalid = |error: ConfigError| ControlError::InvalidConfig(error.to_string());
    match resource {
        ConfigResource::Topic(name) => {
            if name.is_empty() {
                let text = "Default topic resources are not allowed.";
                return Err(ControlError::InvalidRequest(text.into()));
            }
            TopicName::new(name).map_err(|e| ControlError::InvalidTopic(e.to_string()))?;
            if image.topic(name).is_none() {
                let text = format!("The topic '{name}' does not exist.");
                return Err(ControlError::UnknownTopic(text));
            }
            let after = normal(after, named, |key, value| check_override(key, value, config))
                .map_err(invalid)?;
            let errors = |overrides| TopicConfig::forgiving(overrides, config).1;
            new_error(errors(&after), &errors(before)).map_or(Ok(after), |e| Err(invalid(e)))
        }
        ConfigResource::Broker(name) => {
            // What is set already is not judged again, so that it can be removed.
            let after = normal(after, named, |key, value| check_dynamic(key, value, config))
                .map_err(invalid)?;
            let id = config.node_id.to_string();
            let errors = |overrides| {
                let (default, own) = if name.is_empty() {
                    (Some(overrides), image.broker_overrides(&id))
                } else {
                    (image.broker_overrides(""), Some(overrides))
                };
                config.with_dynamic(default, own).1
            };
            new_error(errors(&after), &errors(before)).map_or(Ok(after), |e| Err(invalid(e)))
        }
        ConfigResource::Group(name) => {
            if name.is_empty() {
                let text = "Default group resources are not allowed.";
                return Err(ControlError::InvalidRequest(text.into()));
            }
            if name.len() > GROUP_ID_BYTES_MAX {
                return Err(ControlError::InvalidRequest(format!(
                    "The id of the group has {} bytes; the most with settings of its own is \
                     {GROUP_ID_BYTES_MAX}",
                    name.len()
                )));
            }
            let is_new = before.is_empty() && !after.is_empty();
            if is_new && image.configured_groups().len() >= CONFIGURED_GROUPS_MAX {
                return Err(ControlError::OverLimit(format!(
                    "{CONFIGURED_GROUPS_MAX} groups have settings of their own, which is the \
                     limit: delete the settings of some."
                )));
            }
            check_group(&after, config).map_err(invalid)
        }
    }
}

/// What a change brings with it: an error that stood `before` must not keep another setting from
/// being changed, nor itself from being mended.
fn new_error(after: Vec<ConfigError>, before: &[ConfigError]) -> Option<ConfigError> {
    after.into_iter().find(|error| !before.contains(error))
}

/// `overrides` with those `named` brought to their normal form.
fn normal(
    mut overrides: ConfigOverrides,
    named: &[&str],
    check: impl Fn(&str, &str) -> Result<String, ConfigError>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    for (key, value) in &mut overrides {
        if named.contains(&key.as_str()) {
            *value = check(key, value)?;
        }
    }
    Ok(overrides)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Uuid;

    fn image() -> Image {
        let mut image = Image::default();
        let name = TopicName::new("t").unwrap();
        image.apply(&Change::Topic { id: Uuid::random(), name }).unwrap();
        image
    }

    fn alter(
        image: &mut Image,
        resource: ConfigResource,
        operations: &[(&str, Operation)],
    ) -> Result<usize, ControlError> {
        let operations = operations.iter().map(|(key, o)| ((*key).to_owned(), o.clone())).collect();
        let config = Config::from_pairs(&[]).unwrap();
        let alteration = Alteration { resource, operations, replaces_all: false };
        let changes = alter_configs(image, &config, &alteration)?;
        for change in &changes {
            image.apply(change).unwrap();
        }
        Ok(changes.len())
    }

    fn set(value: &str) -> Operation {
        Operation::Set(value.into())
    }

    #[test]
    fn settings_are_set_removed_and_replaced() {
        let mut image = image();
        let topic = || ConfigResource::Topic("t".into());
        let two = [("retention.ms", set("60000")), ("segment.bytes", set(" 1048576 "))];
        assert_eq!(alter(&mut image, topic(), &two), Ok(2));
        assert_eq!(image.topic("t").unwrap().overrides["segment.bytes"], "1048576");
        assert_eq!(alter(&mut image, topic(), &two), Ok(0), "nothing new is nothing to log");
        assert_eq!(alter(&mut image, topic(), &[("retention.ms", Operation::Delete)]), Ok(1));
        assert_eq!(alter(&mut image, topic(), &[("no.such", Operation::Delete)]), Ok(0));
        let config = Config::from_pairs(&[]).unwrap();
        let all = Alteration {
            resource: topic(),
            operations: vec![("flush.ms".into(), set("1000"))],
            replaces_all: true,
        };
        for change in alter_configs(&image, &config, &all).unwrap() {
            image.apply(&change).unwrap();
        }
        let keys: Vec<_> = image.topic("t").unwrap().overrides.keys().cloned().collect();
        assert_eq!(keys, ["flush.ms"]);
    }

    #[test]
    fn lists_grow_and_shrink() {
        let mut image = image();
        let topic = || ConfigResource::Topic("t".into());
        let key = "leader.replication.throttled.replicas";
        let append = |words: &str| [(key, Operation::Append(words.into()))];
        let subtract = |words: &str| [(key, Operation::Subtract(words.into()))];
        let value = |image: &Image| image.topic("t").unwrap().overrides[key].clone();
        alter(&mut image, topic(), &append("0:1,1:1")).unwrap();
        alter(&mut image, topic(), &append("1:1,2:1")).unwrap();
        assert_eq!(value(&image), "0:1,1:1,2:1");
        alter(&mut image, topic(), &subtract("0:1,2:1")).unwrap();
        assert_eq!(value(&image), "1:1");
        let long = "0:1,".repeat(VALUE_BYTES_MAX / 8) + "0:2";
        let longer =
            (0..VALUE_BYTES_MAX / 4).map(|n| format!("{n}:1")).collect::<Vec<_>>().join(",");
        assert_eq!(alter(&mut image, topic(), &append(&long)), Ok(1), "each word once");
        let refused = alter(&mut image, topic(), &append(&longer)).unwrap_err();
        assert!(matches!(refused, ControlError::InvalidConfig(text) if text.contains("bytes")));
        let no_list = [("retention.ms", Operation::Append("1".into()))];
        let refused = alter(&mut image, topic(), &no_list).unwrap_err();
        assert!(matches!(refused, ControlError::InvalidConfig(text) if text.contains("not LIST")));
    }

    #[test]
    fn what_cannot_be_taken_is_refused_as_kafka_refuses_it() {
        use ControlError::*;
        let mut image = image();
        let mut refuse =
            |resource, key, value| alter(&mut image, resource, &[(key, set(value))]).unwrap_err();
        let topic = |name: &str| ConfigResource::Topic(name.into());
        let broker = |name: &str| ConfigResource::Broker(name.into());
        let group = |name: &str| ConfigResource::Group(name.into());
        assert!(matches!(refuse(topic(""), "retention.ms", "1"), InvalidRequest(_)));
        assert!(matches!(refuse(topic("x/y"), "retention.ms", "1"), InvalidTopic(_)));
        assert!(matches!(refuse(topic("u"), "retention.ms", "1"), UnknownTopic(_)));
        assert!(matches!(refuse(topic("t"), "retention.ms", "x"), InvalidConfig(_)));
        assert!(matches!(refuse(topic("t"), "retention", "1"), InvalidConfig(_)));
        assert!(matches!(refuse(broker("1"), "node.id", "2"), InvalidConfig(_)));
        assert!(matches!(refuse(broker(""), "log.retention.ms", "-2"), InvalidConfig(_)));
        assert!(matches!(refuse(broker(""), "message.max.bytes", "2147483647"), InvalidConfig(_)));
        assert!(matches!(refuse(group(""), "consumer.session.timeout.ms", "1"), InvalidRequest(_)));
        let long = "g".repeat(GROUP_ID_BYTES_MAX + 1);
        let key = "consumer.session.timeout.ms";
        assert!(matches!(refuse(group(&long), key, "50000"), InvalidRequest(_)));
        assert!(matches!(refuse(group("g"), "share.session.timeout.ms", "1"), InvalidConfig(_)));
        assert_eq!(alter(&mut image, broker("1"), &[("node.id", Operation::Delete)]), Ok(0));
        let taken = alter(&mut image, broker(""), &[("log.retention.ms", set("1000"))]);
        assert_eq!(taken, Ok(1));
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused_whichever_is_named() {
        let mut image = image();
        let topic = || ConfigResource::Topic("t".into());
        let (min, max) = ("min.compaction.lag.ms", "max.compaction.lag.ms");
        let mut refuse = |resource: ConfigResource, operations: &[(&str, Operation)]| {
            let refused = alter(&mut image, resource, operations).unwrap_err();
            assert!(matches!(refused, ControlError::InvalidConfig(_)), "{refused:?}");
        };
        refuse(topic(), &[(min, set("6")), (max, set("5"))]);
        let (low, high) =
            ("log.cleaner.min.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms");
        for name in ["", "1"] {
            let broker = || ConfigResource::Broker(name.into());
            refuse(broker(), &[(low, set("6")), (high, set("5"))]);
        }
        assert_eq!(alter(&mut image, ConfigResource::Broker("".into()), &[(low, set("6"))]), Ok(1));
        let own = [(high, set("5"))];
        assert!(alter(&mut image, ConfigResource::Broker("1".into()), &own).is_err());
        // What another build took can be removed, and does not keep anything else from changing.
        let (resource, value) = (topic(), Some("5".into()));
        image.apply(&Change::Config { resource, key: max.into(), value }).unwrap();
        let (resource, value) = (topic(), Some("6".into()));
        image.apply(&Change::Config { resource, key: min.into(), value }).unwrap();
        assert_eq!(alter(&mut image, topic(), &[("retention.ms", set("1000"))]), Ok(1));
        assert_eq!(alter(&mut image, topic(), &[(max, Operation::Delete)]), Ok(1));
    }

    #[test]
    fn only_so_many_groups_have_settings_of_their_own() {
        let mut image = image();
        let key = "consumer.session.timeout.ms";
        let group = |name: &str| ConfigResource::Group(name.into());
        for number in 0..CONFIGURED_GROUPS_MAX {
            let (resource, value) = (group(&format!("g{number}")), Some("50000".into()));
            image.apply(&Change::Config { resource, key: key.into(), value }).unwrap();
        }
        let one_more = alter(&mut image, group("more"), &[(key, set("50000"))]);
        assert!(matches!(one_more, Err(ControlError::OverLimit(_))), "{one_more:?}");
        assert_eq!(alter(&mut image, group("g7"), &[(key, set("51000"))]), Ok(1), "it has its own");
        assert_eq!(alter(&mut image, group("g7"), &[(key, Operation::Delete)]), Ok(1));
        assert_eq!(alter(&mut image, group("more"), &[(key, set("50000"))]), Ok(1));
    }
}
