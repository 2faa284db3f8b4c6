//! `thalweg config`: read and change settings of topics, brokers and groups of any Kafka cluster.

use std::io::Write;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::Failure;
use super::broker::{BrokerArguments, Output, print_json, print_table, stdout};
use super::topic::{key_and_value, plural};
use crate::client::{Client, ConfigChange, ConfigEntity, ConfigSetting, ConfigSource};
use crate::model::NodeId;

/// Read and change settings of topics, brokers and groups
#[derive(Debug, Args)]
pub(super) struct ConfigArguments {
    #[command(flatten)]
    broker: BrokerArguments,

    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    #[command(visible_alias = "describe")]
    Get(GetArguments),
    #[command(visible_alias = "alter")]
    Set(SetArguments),
}

/// Whose settings: one of the short flags, or those of kafka-configs.
#[derive(Debug, Args)]
struct Entity {
    /// Of this topic
    #[arg(long, value_name = "TOPIC", conflicts_with_all = ["broker", "group", "all_brokers"])]
    topic: Option<String>,

    /// Of this broker
    #[arg(long, value_name = "ID", conflicts_with_all = ["group", "all_brokers"])]
    broker: Option<NodeId>,

    /// Of this group
    #[arg(long, value_name = "GROUP", conflicts_with = "all_brokers")]
    group: Option<String>,

    /// What is set at run time for all brokers
    #[arg(long = "broker-defaults", id = "all_brokers")]
    all_brokers: bool,

    /// What kind of thing has the settings (as in kafka-configs)
    #[arg(long, value_enum, conflicts_with_all = ["topic", "broker", "group", "all_brokers"])]
    entity_type: Option<EntityType>,

    /// Its name or number (as in kafka-configs)
    #[arg(long, value_name = "NAME", requires = "entity_type")]
    entity_name: Option<String>,

    /// All brokers (as in kafka-configs)
    #[arg(long, requires = "entity_type", conflicts_with = "entity_name")]
    entity_default: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum EntityType {
    Topics,
    Brokers,
    Groups,
}

impl Entity {
    fn entity(&self) -> Result<ConfigEntity, Failure> {
        if let Some(topic) = &self.topic {
            return Ok(ConfigEntity::Topic(topic.clone()));
        }
        if let Some(id) = self.broker {
            return Ok(ConfigEntity::Broker(id));
        }
        if let Some(group) = &self.group {
            return Ok(ConfigEntity::Group(group.clone()));
        }
        if self.all_brokers {
            return Ok(ConfigEntity::AllBrokers);
        }
        let usage = |text: &str| Err(Failure::Usage(text.into()));
        match (self.entity_type, &self.entity_name) {
            (Some(EntityType::Topics), Some(name)) => Ok(ConfigEntity::Topic(name.clone())),
            (Some(EntityType::Groups), Some(name)) => Ok(ConfigEntity::Group(name.clone())),
            (Some(EntityType::Brokers), Some(name)) => match name.parse() {
                Ok(id) => Ok(ConfigEntity::Broker(id)),
                Err(_) => usage("--entity-name of a broker is its number"),
            },
            (Some(EntityType::Brokers), None) if self.entity_default => {
                Ok(ConfigEntity::AllBrokers)
            }
            _ => usage("say whose settings: --topic, --broker, --broker-defaults or --group"),
        }
    }
}

/// Show settings
///
/// Without --all: what was set for the very thing that is asked about.
///
/// Example: thalweg config get --topic orders --all
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
struct GetArguments {
    #[command(flatten)]
    entity: Entity,

    /// Only these keys, wherever their values come from
    #[arg(value_name = "KEY")]
    keys: Vec<String>,

    /// Show defaults and what the broker was started with, too
    #[arg(long)]
    all: bool,

    /// Nothing but what is done anyway (as in kafka-configs)
    #[arg(long, hide = true)]
    describe: bool,

    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

/// Change settings, all of them or none
///
/// Examples:
///   thalweg config set --topic orders retention.ms=3600000 --delete-config segment.bytes
///   thalweg config set --broker-defaults log.retention.ms=86400000
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
struct SetArguments {
    #[command(flatten)]
    entity: Entity,

    /// Settings to change
    #[arg(value_name = "KEY=VALUE", value_parser = key_and_value)]
    settings: Vec<(String, String)>,

    /// The same, with commas between them; [a,b] holds a value with commas (as in kafka-configs)
    #[arg(long, value_name = "K=V,K=[V,V]", value_parser = settings_of_kafka_configs)]
    add_config: Vec<Settings>,

    /// Settings to put back to the default, with commas between them
    #[arg(long, value_name = "KEY", value_delimiter = ',')]
    delete_config: Vec<String>,

    /// Let the broker check everything and change nothing
    #[arg(long)]
    validate_only: bool,

    /// Nothing but what is done anyway (as in kafka-configs)
    #[arg(long, hide = true)]
    alter: bool,
}

/// Several settings in one argument.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Settings(Vec<(String, String)>);

/// `k1=v1,k2=[v1,v2],k3=v3`.
fn settings_of_kafka_configs(text: &str) -> Result<Settings, String> {
    let mut settings = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=').ok_or("write it as KEY=VALUE,KEY=VALUE")?;
        if key.trim().is_empty() {
            return Err("write it as KEY=VALUE,KEY=VALUE".into());
        }
        let (value, next) = match after.strip_prefix('[') {
            Some(list) => {
                let (value, next) = list.split_once(']').ok_or("a bracket is not closed")?;
                let is_end = next.is_empty() || next.starts_with(',');
                if !is_end {
                    return Err("something follows a closing bracket; put a comma there".into());
                }
                (value, next.strip_prefix(',').unwrap_or(""))
            }
            None => after.split_once(',').unwrap_or((after, "")),
        };
        settings.push((key.trim().to_owned(), value.to_owned()));
        rest = next;
    }
    Ok(Settings(settings))
}

pub(super) fn run(arguments: &ConfigArguments) -> Result<(), Failure> {
    match &arguments.command {
        ConfigCommand::Get(get) => {
            let entity = get.entity.entity()?;
            show(&mut arguments.broker.connect()?, &entity, get)
        }
        ConfigCommand::Set(set) => {
            let entity = set.entity.entity()?;
            let added = set.add_config.iter().flat_map(|settings| &settings.0);
            let changes: Vec<ConfigChange> = set
                .settings
                .iter()
                .chain(added)
                .map(|(key, value)| ConfigChange::Set(key.clone(), value.clone()))
                .chain(set.delete_config.iter().cloned().map(ConfigChange::Reset))
                .collect();
            if changes.is_empty() {
                let text = "nothing to change; give KEY=VALUE or --delete-config";
                return Err(Failure::Usage(text.into()));
            }
            arguments.broker.connect()?.alter_configs(&entity, &changes, set.validate_only)?;
            let count = plural(changes.len(), "setting");
            let verb = if set.validate_only { "could change" } else { "changed" };
            let mut out = stdout();
            writeln!(out, "{verb} {count} of {entity}")?;
            Ok(out.flush()?)
        }
    }
}

fn show(
    client: &mut Client,
    entity: &ConfigEntity,
    arguments: &GetArguments,
) -> Result<(), Failure> {
    let mut settings = client.configs(entity)?;
    if let Some(key) = arguments.keys.iter().find(|key| settings.iter().all(|s| s.name != **key)) {
        return Err(Failure::Error(match entity {
            ConfigEntity::AllBrokers => format!("{key:?} is not set for all brokers"),
            _ => format!("{entity} has no setting {key:?}; --all lists what it has"),
        }));
    }
    let own = match entity {
        ConfigEntity::AllBrokers => ConfigSource::AllBrokers,
        _ => ConfigSource::Own,
    };
    settings.retain(|setting| match &arguments.keys[..] {
        [] => arguments.all || setting.source == own,
        keys => keys.contains(&setting.name),
    });
    let mut out = stdout();
    match arguments.output {
        Output::Table => {
            let row = |setting: &ConfigSetting| {
                let value = setting.value.clone().unwrap_or_else(|| "-".into());
                let change = if setting.is_read_only { "restart" } else { "any time" };
                vec![setting.name.clone(), value, source(entity, setting), change.into()]
            };
            let rows: Vec<_> = settings.iter().map(row).collect();
            print_table(&mut out, &["KEY", "VALUE", "SET BY", "CHANGES"], &rows)?;
        }
        Output::Json => {
            let entry = |setting: &ConfigSetting| {
                json!({
                    "key": setting.name,
                    "value": setting.value,
                    "set_by": source(entity, setting),
                    "read_only": setting.is_read_only,
                })
            };
            print_json(&mut out, &settings.iter().map(entry).collect())?;
        }
    }
    Ok(out.flush()?)
}

/// Who gave a setting its value, in one word.
fn source(entity: &ConfigEntity, setting: &ConfigSetting) -> String {
    let text = match (setting.source, entity) {
        (ConfigSource::Own, ConfigEntity::Topic(_)) => "topic",
        (ConfigSource::Own, ConfigEntity::Group(_)) => "group",
        (ConfigSource::Own, _) => "broker",
        (ConfigSource::AllBrokers, _) => "all brokers",
        (ConfigSource::File, _) => "file or flag",
        (ConfigSource::Default, _) => "default",
        (ConfigSource::Other(code), _) => return format!("source {code}"),
    };
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Harness {
        #[command(flatten)]
        config: ConfigArguments,
    }

    fn entity(line: &str) -> Result<ConfigEntity, String> {
        let words = std::iter::once("x").chain(line.split_whitespace());
        let harness = Harness::try_parse_from(words).map_err(|e| e.to_string())?;
        let entity = match &harness.config.command {
            ConfigCommand::Get(get) => get.entity.entity(),
            ConfigCommand::Set(set) => set.entity.entity(),
        };
        entity.map_err(|e| format!("{e:?}"))
    }

    #[test]
    fn entities_are_named_in_two_ways() {
        let topic = || Ok(ConfigEntity::Topic("t".into()));
        assert_eq!(entity("get --topic t"), topic());
        assert_eq!(entity("describe --describe --entity-type topics --entity-name t"), topic());
        assert_eq!(entity("set --broker 1 a=b"), Ok(ConfigEntity::Broker(1)));
        let broker = "alter --alter --entity-type brokers --entity-name 1 --add-config a=b";
        assert_eq!(entity(broker), Ok(ConfigEntity::Broker(1)));
        assert_eq!(entity("get --broker-defaults"), Ok(ConfigEntity::AllBrokers));
        let all = "get --entity-type brokers --entity-default";
        assert_eq!(entity(all), Ok(ConfigEntity::AllBrokers));
        let group = "get --entity-type groups --entity-name g";
        assert_eq!(entity(group), Ok(ConfigEntity::Group("g".into())));
        for wrong in [
            "get",
            "get --topic t --broker 1",
            "get --topic t --entity-type topics",
            "get --entity-type brokers --entity-name x",
            "get --entity-type topics",
            "get --entity-type topics --entity-default",
            "get --entity-name t",
        ] {
            assert!(entity(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lists_of_settings_are_read_as_kafka_configs_reads_them() {
        let read = |text| settings_of_kafka_configs(text).map(|settings| settings.0);
        let pairs = |list: &[(&str, &str)]| -> Result<Vec<(String, String)>, String> {
            Ok(list.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect())
        };
        assert_eq!(read("a=1"), pairs(&[("a", "1")]));
        assert_eq!(read("a=1,b=[x,y],c="), pairs(&[("a", "1"), ("b", "x,y"), ("c", "")]));
        for wrong in ["a", "=1", "a=[x", "a=[x]y"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
