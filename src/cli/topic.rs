//! `thalweg topic`: create, list, describe, alter and delete topics of any Kafka cluster.

use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::json;

use super::Failure;
use super::broker::{BrokerArguments, Output, print_json, print_table, stdout};
use crate::client::{
    Client, ConfigChange, ConfigEntity, ConfigSetting, ConfigSource, NewTopic, OffsetSpec,
    TopicInfo,
};
use crate::model::Offset;
use crate::protocol::ErrorCode;

/// Create, list, describe, alter and delete topics
#[derive(Debug, Args)]
pub(super) struct TopicArguments {
    #[command(flatten)]
    broker: BrokerArguments,

    #[command(subcommand)]
    command: TopicCommand,
}

#[derive(Debug, Subcommand)]
enum TopicCommand {
    Create(CreateArguments),
    List(ListArguments),
    Describe(DescribeArguments),
    Alter(AlterArguments),
    Delete(DeleteArguments),
}

/// The topics a command is about: positional, or --topic as Kafka's own tools have it.
#[derive(Debug, Args)]
struct Names {
    /// Topics
    #[arg(value_name = "TOPIC")]
    topics: Vec<String>,

    /// The same as naming the topic (as in kafka-topics)
    #[arg(long = "topic", value_name = "TOPIC")]
    more: Vec<String>,
}

impl Names {
    fn all(&self) -> Result<Vec<&str>, Failure> {
        let names: Vec<&str> = self.topics.iter().chain(&self.more).map(String::as_str).collect();
        if names.is_empty() {
            return Err(Failure::Usage("name a topic".into()));
        }
        Ok(names)
    }
}

/// Create topics
///
/// Example: thalweg topic create orders -p 12 --config retention.ms=86400000
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
struct CreateArguments {
    #[command(flatten)]
    names: Names,

    /// Number of partitions; without it the broker decides (num.partitions)
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,

    /// Replicas of each partition; without it the broker decides (default.replication.factor)
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,

    /// A setting of the topic; may be given several times
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    config: Vec<(String, String)>,

    /// Do not fail when the topic exists
    #[arg(long)]
    if_not_exists: bool,

    /// Let the broker check everything and create nothing
    #[arg(long)]
    validate_only: bool,
}

/// List topics
///
/// Example: thalweg topic list -b broker:9092 --output json
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
struct ListArguments {
    /// Leave out the broker's own topics
    #[arg(long)]
    exclude_internal: bool,

    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

/// Show partitions, leaders, offsets and settings of topics
///
/// Without a name: of all topics. Offsets that cannot be asked are shown as "-".
///
/// Example: thalweg topic describe orders
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
struct DescribeArguments {
    #[command(flatten)]
    names: Names,

    /// Show defaults too, not only what was set for the topic
    #[arg(long)]
    all_configs: bool,

    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

/// Change settings of topics, or add partitions
///
/// Keys of keyed records move to other partitions when a topic grows.
///
/// Example: thalweg topic alter orders --config retention.ms=3600000 --delete-config segment.bytes
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
struct AlterArguments {
    #[command(flatten)]
    names: Names,

    /// A setting to change; may be given several times
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    config: Vec<(String, String)>,

    /// A setting to put back to the broker's default; may be given several times
    #[arg(long, value_name = "KEY")]
    delete_config: Vec<String>,

    /// The new number of partitions, more than now
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
}

/// Delete topics with all their records
///
/// Example: thalweg topic delete orders
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
struct DeleteArguments {
    #[command(flatten)]
    names: Names,

    /// Do not fail when there is no such topic
    #[arg(long)]
    if_exists: bool,
}

pub(super) fn run(arguments: &TopicArguments) -> Result<(), Failure> {
    let connect = || arguments.broker.connect();
    match &arguments.command {
        TopicCommand::Create(arguments) => create(connect, arguments),
        TopicCommand::List(arguments) => list(&mut connect()?, arguments),
        TopicCommand::Describe(arguments) => describe(&mut connect()?, arguments),
        TopicCommand::Alter(arguments) => alter(connect, arguments),
        TopicCommand::Delete(arguments) => delete(connect, arguments),
    }
}

/// `key=value`; the value may be empty or have more `=` in it.
pub(super) fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".into()),
    }
}

fn create(
    connect: impl FnOnce() -> Result<Client, Failure>,
    arguments: &CreateArguments,
) -> Result<(), Failure> {
    let names = arguments.names.all()?;
    let mut client = connect()?;
    let mut out = stdout();
    for name in names {
        let topic = NewTopic {
            name: name.to_owned(),
            partitions: arguments.partitions,
            replication_factor: arguments.replication_factor,
            configs: arguments.config.clone(),
        };
        match client.create_topic(&topic, arguments.validate_only) {
            Ok(()) if arguments.validate_only => writeln!(out, "{name} could be created")?,
            Ok(()) => {
                let info = client.await_topic(name)?;
                let partitions = plural(info.partitions.len(), "partition");
                writeln!(out, "created {name} with {partitions}")?;
            }
            Err(error)
                if arguments.if_not_exists
                    && error.code() == Some(ErrorCode::TOPIC_ALREADY_EXISTS) =>
            {
                writeln!(out, "{name} exists already")?;
            }
            Err(error) => {
                out.flush()?;
                return Err(error.into());
            }
        }
    }
    Ok(out.flush()?)
}

fn list(client: &mut Client, arguments: &ListArguments) -> Result<(), Failure> {
    let mut topics = client.all_topics()?;
    topics.retain(|topic| !(arguments.exclude_internal && topic.is_internal));
    let replicas = |topic: &TopicInfo| {
        topic.partitions.first().map_or(0, |partition| partition.replicas.len())
    };
    let mut out = stdout();
    match arguments.output {
        Output::Table => {
            let row = |topic: &TopicInfo| {
                vec![
                    topic.name.clone(),
                    topic.partitions.len().to_string(),
                    replicas(topic).to_string(),
                ]
            };
            let rows: Vec<_> = topics.iter().map(row).collect();
            print_table(&mut out, &["TOPIC", "PARTITIONS", "REPLICAS"], &rows)?;
        }
        Output::Json => {
            let entry = |topic: &TopicInfo| {
                json!({
                    "topic": topic.name,
                    "id": topic.id.to_string(),
                    "internal": topic.is_internal,
                    "partitions": topic.partitions.len(),
                    "replicas": replicas(topic),
                })
            };
            print_json(&mut out, &topics.iter().map(entry).collect())?;
        }
    }
    Ok(out.flush()?)
}

/// One topic with what had to be asked for besides.
struct Description {
    topic: TopicInfo,
    start: Vec<Option<Offset>>,
    end: Vec<Option<Offset>>,
    configs: Vec<ConfigSetting>,
}

fn describe(client: &mut Client, arguments: &DescribeArguments) -> Result<(), Failure> {
    let topics = match arguments.names.all() {
        Ok(names) => names.into_iter().map(|name| client.topic(name)).collect::<Result<_, _>>()?,
        Err(_) => client.all_topics()?,
    };
    let mut descriptions = Vec::new();
    for topic in topics {
        let mut offsets = |spec| {
            let one = |index: i32| {
                // Each for itself: a partition without a leader must not hide the others.
                client.list_offsets(&topic.name, &[(index, spec)], false)
            };
            let all = topic.partitions.iter().map(|p| (p.index, p.leader));
            all.map(ask_if_led(one)).collect()
        };
        let (start, end) = (offsets(OffsetSpec::Earliest), offsets(OffsetSpec::Latest));
        let mut configs = client.configs(&ConfigEntity::Topic(topic.name.clone()))?;
        configs.retain(|config| config.source == ConfigSource::Own || arguments.all_configs);
        descriptions.push(Description { topic, start, end, configs });
    }
    let mut out = stdout();
    match arguments.output {
        Output::Table => {
            for (i, description) in descriptions.iter().enumerate() {
                if i > 0 {
                    writeln!(out)?;
                }
                print_description(&mut out, description)?;
            }
        }
        Output::Json => {
            print_json(&mut out, &descriptions.iter().map(description_json).collect())?;
        }
    }
    Ok(out.flush()?)
}

/// Asks for a partition's offset unless nobody leads it.
fn ask_if_led<E>(
    mut ask: impl FnMut(i32) -> Result<Vec<Option<Offset>>, E>,
) -> impl FnMut((i32, i32)) -> Option<Offset> {
    move |(index, leader)| {
        if leader < 0 {
            return None;
        }
        ask(index).ok().and_then(|found| found.first().copied().flatten())
    }
}

fn print_description(out: &mut impl Write, description: &Description) -> Result<(), Failure> {
    let topic = &description.topic;
    writeln!(
        out,
        "topic       {}{}",
        topic.name,
        if topic.is_internal { " (internal)" } else { "" }
    )?;
    if !topic.id.is_zero() {
        writeln!(out, "id          {}", topic.id)?;
    }
    for (i, config) in description.configs.iter().enumerate() {
        let title = if i == 0 { "configs" } else { "" };
        let value = config.value.as_deref().unwrap_or("(hidden)");
        writeln!(out, "{title:<11} {}={value}", config.name)?;
    }
    let list = |nodes: &[i32]| nodes.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
    let number = |offset: Option<&Option<Offset>>| {
        offset.copied().flatten().map_or("-".into(), |offset: Offset| offset.to_string())
    };
    let rows: Vec<_> = topic
        .partitions
        .iter()
        .enumerate()
        .map(|(i, p)| {
            let leader = if p.leader < 0 { "none".into() } else { p.leader.to_string() };
            vec![
                p.index.to_string(),
                leader,
                p.leader_epoch.to_string(),
                list(&p.replicas),
                list(&p.in_sync),
                number(description.start.get(i)),
                number(description.end.get(i)),
            ]
        })
        .collect();
    let titles = ["PARTITION", "LEADER", "EPOCH", "REPLICAS", "IN-SYNC", "START", "END"];
    Ok(print_table(out, &titles, &rows)?)
}

fn description_json(description: &Description) -> serde_json::Value {
    let topic = &description.topic;
    let partitions = topic.partitions.iter().enumerate().map(|(i, p)| {
        json!({
            "partition": p.index,
            "leader": p.leader,
            "leader_epoch": p.leader_epoch,
            "replicas": p.replicas,
            "in_sync": p.in_sync,
            "offline": p.offline,
            "start_offset": description.start.get(i),
            "end_offset": description.end.get(i),
        })
    });
    let configs =
        description.configs.iter().map(|config| (config.name.clone(), json!(config.value)));
    json!({
        "topic": topic.name,
        "id": topic.id.to_string(),
        "internal": topic.is_internal,
        "configs": configs.collect::<serde_json::Map<_, _>>(),
        "partitions": partitions.collect::<Vec<_>>(),
    })
}

fn alter(
    connect: impl FnOnce() -> Result<Client, Failure>,
    arguments: &AlterArguments,
) -> Result<(), Failure> {
    let names = arguments.names.all()?;
    let set = arguments.config.iter().map(|(k, v)| ConfigChange::Set(k.clone(), v.clone()));
    let reset = arguments.delete_config.iter().cloned().map(ConfigChange::Reset);
    let changes: Vec<_> = set.chain(reset).collect();
    if changes.is_empty() && arguments.partitions.is_none() {
        let text = "nothing to alter; give --config, --delete-config or --partitions";
        return Err(Failure::Usage(text.into()));
    }
    let mut client = connect()?;
    let mut out = stdout();
    for name in names {
        if !changes.is_empty() {
            client.alter_configs(&ConfigEntity::Topic(name.to_owned()), &changes, false)?;
        }
        if let Some(count) = arguments.partitions {
            client.add_partitions(name, count)?;
        }
        writeln!(out, "altered {name}")?;
        out.flush()?;
    }
    Ok(())
}

fn delete(
    connect: impl FnOnce() -> Result<Client, Failure>,
    arguments: &DeleteArguments,
) -> Result<(), Failure> {
    let names = arguments.names.all()?;
    let mut client = connect()?;
    let mut out = stdout();
    for name in names {
        match client.delete_topic(name) {
            Ok(()) => writeln!(out, "deleted {name}")?,
            Err(error)
                if arguments.if_exists
                    && error.code() == Some(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) =>
            {
                writeln!(out, "{name} does not exist")?;
            }
            Err(error) => {
                out.flush()?;
                return Err(error.into());
            }
        }
    }
    Ok(out.flush()?)
}

/// "1 partition", "2 partitions".
pub(super) fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
