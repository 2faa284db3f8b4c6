//! `thalweg group`: list, describe and delete groups of any Kafka cluster; move their offsets.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use clap::{Args, Subcommand};
use serde_json::json;

use super::Failure;
use super::broker::{BrokerArguments, Output, print_json, print_table, stdout};
use super::group_reset::{self, ResetArguments};
use crate::client::{
    Client, ClientError, CommittedOffset, GroupInfo, GroupListing, GroupMember, OffsetSpec,
};
use crate::model::{Offset, PartitionIndex};

/// List, describe and delete groups; move their offsets
#[derive(Debug, Args)]
pub(super) struct GroupArguments {
    #[command(flatten)]
    broker: BrokerArguments,

    #[command(subcommand)]
    command: GroupCommand,
}

#[derive(Debug, Subcommand)]
enum GroupCommand {
    List(ListArguments),
    Describe(DescribeArguments),
    ResetOffsets(ResetArguments),
    Delete(DeleteArguments),
    DeleteOffsets(DeleteOffsetsArguments),
}

/// The groups a command is about: positional, or --group as Kafka's own tool has it.
#[derive(Debug, Args)]
pub(super) struct Groups {
    /// Groups
    #[arg(value_name = "GROUP")]
    groups: Vec<String>,

    /// The same as naming the group (as in kafka-consumer-groups)
    #[arg(long = "group", value_name = "GROUP")]
    more: Vec<String>,

    /// All groups
    #[arg(long, conflicts_with_all = ["groups", "more"])]
    all_groups: bool,
}

impl Groups {
    /// The ids, each once, in order.
    pub(super) fn chosen(&self, client: &mut Client) -> Result<Vec<String>, Failure> {
        if self.all_groups {
            return Ok(client.list_groups()?.into_iter().map(|group| group.group).collect());
        }
        let named: BTreeSet<&String> = self.groups.iter().chain(&self.more).collect();
        Ok(named.into_iter().cloned().collect())
    }

    /// Fail when no group is named.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if !self.all_groups && self.groups.is_empty() && self.more.is_empty() {
            return Err(Failure::Usage("name a group, or give --all-groups".into()));
        }
        Ok(())
    }
}

/// List groups
///
/// Example: thalweg group list --state empty
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
struct ListArguments {
    /// Only groups in one of these states, such as stable,empty; without a value all
    #[arg(long, value_name = "STATE", value_delimiter = ',', num_args = 0..)]
    state: Vec<String>,

    /// Only groups of one of these types: classic, consumer
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',', num_args = 0..)]
    kind: Vec<String>,

    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

/// Show the offsets of groups and how far they lag behind, or their members, or their states
///
/// Offsets that nobody has committed, and offsets of nobody, are shown as "-".
///
/// Examples:
///   thalweg group describe billing
///   thalweg group describe --all-groups --members --verbose
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
struct DescribeArguments {
    #[command(flatten)]
    groups: Groups,

    /// Offsets, lag and owner of each partition; this is the default
    #[arg(long)]
    offsets: bool,

    /// The members and how many partitions each has
    #[arg(long, conflicts_with = "offsets")]
    members: bool,

    /// State, assignor, coordinator and number of members
    #[arg(long, conflicts_with_all = ["offsets", "members"])]
    state: bool,

    /// With --members: which partitions each has
    #[arg(long)]
    verbose: bool,

    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

/// Delete groups with their offsets
///
/// A group with members cannot be deleted.
///
/// Example: thalweg group delete billing
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
struct DeleteArguments {
    #[command(flatten)]
    groups: Groups,
}

/// Forget the offsets of topics, which nobody in the group may be subscribed to
///
/// Example: thalweg group delete-offsets billing --topic orders:0,1
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
struct DeleteOffsetsArguments {
    #[command(flatten)]
    groups: Groups,

    /// Topic, or partitions of it: TOPIC[:P,..]; may be given several times
    #[arg(long, value_name = "TOPIC[:P,..]", required = true)]
    topic: Vec<TopicScope>,
}

/// A topic, or some partitions of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TopicScope {
    pub(super) topic: String,
    /// Empty: all.
    pub(super) partitions: Vec<PartitionIndex>,
}

impl std::str::FromStr for TopicScope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write it as TOPIC or TOPIC:P,P".to_owned();
        let (topic, partitions) = text.split_once(':').unwrap_or((text, ""));
        let partitions = partitions.split(',').filter(|p| !p.is_empty() || text.ends_with(':'));
        let partitions: Vec<PartitionIndex> =
            partitions.map(|p| p.parse().map_err(|_| wrong())).collect::<Result<_, _>>()?;
        if topic.is_empty() || partitions.iter().any(|p| *p < 0) {
            return Err(wrong());
        }
        Ok(Self { topic: topic.to_owned(), partitions })
    }
}

impl TopicScope {
    /// The partitions that it stands for.
    pub(super) fn resolve(&self, client: &mut Client) -> Result<Vec<PartitionIndex>, Failure> {
        if !self.partitions.is_empty() {
            return Ok(self.partitions.clone());
        }
        Ok(client.topic(&self.topic)?.partitions.iter().map(|p| p.index).collect())
    }
}

pub(super) fn run(arguments: &GroupArguments) -> Result<(), Failure> {
    let connect = || arguments.broker.connect();
    match &arguments.command {
        GroupCommand::List(arguments) => list(&mut connect()?, arguments),
        GroupCommand::Describe(arguments) => describe(connect, arguments),
        GroupCommand::ResetOffsets(arguments) => group_reset::run(connect, arguments),
        GroupCommand::Delete(arguments) => delete(connect, arguments),
        GroupCommand::DeleteOffsets(arguments) => delete_offsets(connect, arguments),
    }
}

fn list(client: &mut Client, arguments: &ListArguments) -> Result<(), Failure> {
    let mut groups = client.list_groups()?;
    let is_among = |words: &[String], word: &str| {
        words.is_empty() || words.iter().any(|known| known.eq_ignore_ascii_case(word))
    };
    groups.retain(|g| is_among(&arguments.state, &g.state) && is_among(&arguments.kind, &g.kind));
    let mut out = stdout();
    match arguments.output {
        Output::Table => {
            let or_dash = |text: &str| if text.is_empty() { "-".into() } else { text.to_owned() };
            let row = |g: &GroupListing| {
                vec![
                    g.group.clone(),
                    or_dash(&g.kind),
                    or_dash(&g.state),
                    or_dash(&g.protocol_type),
                ]
            };
            let rows: Vec<_> = groups.iter().map(row).collect();
            print_table(&mut out, &["GROUP", "TYPE", "STATE", "PROTOCOL"], &rows)?;
        }
        Output::Json => {
            let entry = |g: &GroupListing| {
                json!({
                    "group": g.group,
                    "type": g.kind.to_lowercase(),
                    "state": g.state,
                    "protocol_type": g.protocol_type,
                })
            };
            print_json(&mut out, &groups.iter().map(entry).collect())?;
        }
    }
    Ok(out.flush()?)
}

/// One partition of a group: who has it and how far it is.
struct Progress<'a> {
    topic: &'a str,
    partition: PartitionIndex,
    committed: Option<Offset>,
    end: Option<Offset>,
    owner: Option<&'a GroupMember>,
}

impl Progress<'_> {
    fn lag(&self) -> Option<i64> {
        Some((self.end? - self.committed?).max(0))
    }
}

fn describe(
    connect: impl FnOnce() -> Result<Client, Failure>,
    arguments: &DescribeArguments,
) -> Result<(), Failure> {
    arguments.groups.check()?;
    let mut client = connect()?;
    let mut infos = Vec::new();
    for group in arguments.groups.chosen(&mut client)? {
        let info = client.describe_group(&group)?;
        let offsets = client.committed_offsets(&group)?;
        if info.state == "Dead" && offsets.is_empty() && !arguments.groups.all_groups {
            let what = format!("group {group:?} does not exist");
            return Err(Failure::Error(what));
        }
        infos.push((info, offsets));
    }
    let mut out = stdout();
    let mut documents = Vec::new();
    for (at, (info, offsets)) in infos.iter().enumerate() {
        let progress = if arguments.members || arguments.state {
            Vec::new()
        } else {
            progress(&mut client, info, offsets)
        };
        if arguments.output == Output::Json {
            documents.push(description_json(info, &progress));
            continue;
        }
        if at > 0 {
            writeln!(out)?;
        }
        if arguments.members {
            print_members(&mut out, info, arguments.verbose)?;
        } else if arguments.state {
            print_state(&mut out, info)?;
        } else {
            print_progress(&mut out, info, &progress)?;
        }
    }
    if arguments.output == Output::Json {
        print_json(&mut out, &documents.into())?;
    }
    Ok(out.flush()?)
}

/// Every partition that is committed or owned, with the end of its log.
fn progress<'a>(
    client: &mut Client,
    info: &'a GroupInfo,
    offsets: &'a [CommittedOffset],
) -> Vec<Progress<'a>> {
    let mut found: BTreeMap<(&str, PartitionIndex), Progress<'a>> = BTreeMap::new();
    let none =
        |topic, partition| Progress { topic, partition, committed: None, end: None, owner: None };
    for offset in offsets {
        let (topic, partition) = (offset.topic.as_str(), offset.partition);
        let progress = found.entry((topic, partition)).or_insert(none(topic, partition));
        progress.committed = Some(offset.offset);
    }
    for member in &info.members {
        for (topic, partitions) in &member.assignment {
            for partition in partitions {
                let progress = found.entry((topic, *partition));
                progress.or_insert(none(topic, *partition)).owner = Some(member);
            }
        }
    }
    let mut all: Vec<_> = found.into_values().collect();
    for of_topic in all.chunk_by_mut(|a, b| a.topic == b.topic) {
        let wanted: Vec<_> = of_topic.iter().map(|p| (p.partition, OffsetSpec::Latest)).collect();
        let Some(topic) = of_topic.first().map(|p| p.topic) else { continue };
        // A topic that is gone has no end; the group's offsets are shown all the same.
        if let Ok(ends) = client.list_offsets(topic, &wanted, false) {
            for (progress, end) in of_topic.iter_mut().zip(ends) {
                progress.end = end;
            }
        }
    }
    all
}

fn number(offset: Option<i64>) -> String {
    offset.map_or("-".into(), |offset| offset.to_string())
}

fn print_progress(
    out: &mut impl Write,
    info: &GroupInfo,
    progress: &[Progress<'_>],
) -> Result<(), Failure> {
    let row = |p: &Progress<'_>| {
        let of_owner = |field: fn(&GroupMember) -> &str| {
            p.owner.map_or("-".to_owned(), |member| field(member).to_owned())
        };
        vec![
            info.group.clone(),
            p.topic.to_owned(),
            p.partition.to_string(),
            number(p.committed),
            number(p.end),
            number(p.lag()),
            of_owner(|m| &m.id),
            of_owner(|m| &m.host),
            of_owner(|m| &m.client_id),
        ]
    };
    let rows: Vec<_> = progress.iter().map(row).collect();
    let titles =
        ["GROUP", "TOPIC", "PARTITION", "OFFSET", "END", "LAG", "MEMBER", "HOST", "CLIENT"];
    Ok(print_table(out, &titles, &rows)?)
}

fn print_members(out: &mut impl Write, info: &GroupInfo, verbose: bool) -> Result<(), Failure> {
    let row = |member: &GroupMember| {
        let count: usize = member.assignment.values().map(Vec::len).sum();
        let mut row = vec![
            info.group.clone(),
            member.id.clone(),
            member.instance_id.clone().unwrap_or_else(|| "-".into()),
            member.host.clone(),
            member.client_id.clone(),
            count.to_string(),
        ];
        if verbose {
            let of_topic = |(topic, partitions): (&String, &Vec<PartitionIndex>)| {
                let list: Vec<_> = partitions.iter().map(ToString::to_string).collect();
                format!("{topic}:{}", list.join(","))
            };
            let topics: Vec<_> = member.assignment.iter().map(of_topic).collect();
            row.push(if topics.is_empty() { "-".into() } else { topics.join(" ") });
        }
        row
    };
    let rows: Vec<_> = info.members.iter().map(row).collect();
    let titles = ["GROUP", "MEMBER", "INSTANCE", "HOST", "CLIENT", "PARTITIONS", "ASSIGNMENT"];
    let shown = if verbose { &titles[..] } else { &titles[..6] };
    Ok(print_table(out, shown, &rows)?)
}

fn print_state(out: &mut impl Write, info: &GroupInfo) -> Result<(), Failure> {
    let (node, address) = &info.coordinator;
    let assignor = if info.assignor.is_empty() { "-" } else { &info.assignor };
    let row = vec![
        info.group.clone(),
        info.kind.to_owned(),
        info.state.clone(),
        assignor.to_owned(),
        format!("{address} ({node})"),
        info.members.len().to_string(),
    ];
    let titles = ["GROUP", "TYPE", "STATE", "ASSIGNOR", "COORDINATOR", "MEMBERS"];
    Ok(print_table(out, &titles, &[row])?)
}

fn description_json(info: &GroupInfo, progress: &[Progress<'_>]) -> serde_json::Value {
    let members = info.members.iter().map(|member| {
        json!({
            "member": member.id,
            "instance": member.instance_id,
            "client_id": member.client_id,
            "host": member.host,
            "assignment": member.assignment,
        })
    });
    let partitions = progress.iter().map(|p| {
        json!({
            "topic": p.topic,
            "partition": p.partition,
            "offset": p.committed,
            "end": p.end,
            "lag": p.lag(),
            "member": p.owner.map(|member| &member.id),
        })
    });
    json!({
        "group": info.group,
        "type": info.kind,
        "state": info.state,
        "assignor": info.assignor,
        "coordinator": info.coordinator.0,
        "members": members.collect::<Vec<_>>(),
        "partitions": partitions.collect::<Vec<_>>(),
    })
}

fn delete(
    connect: impl FnOnce() -> Result<Client, Failure>,
    arguments: &DeleteArguments,
) -> Result<(), Failure> {
    arguments.groups.check()?;
    let mut client = connect()?;
    let groups = arguments.groups.chosen(&mut client)?;
    each(&groups, "deleted", |group| client.delete_group(group))
}

fn delete_offsets(
    connect: impl FnOnce() -> Result<Client, Failure>,
    arguments: &DeleteOffsetsArguments,
) -> Result<(), Failure> {
    arguments.groups.check()?;
    let mut client = connect()?;
    let groups = arguments.groups.chosen(&mut client)?;
    let mut scopes = Vec::new();
    for scope in &arguments.topic {
        scopes.push((scope.topic.as_str(), scope.resolve(&mut client)?));
    }
    each(&groups, "deleted the offsets of", |group| {
        scopes
            .iter()
            .try_for_each(|(topic, partitions)| client.delete_offsets(group, topic, partitions))
    })
}

/// Do something to each group and say so; ends at the first that fails.
fn each(
    groups: &[String],
    done: &str,
    mut act: impl FnMut(&str) -> Result<(), ClientError>,
) -> Result<(), Failure> {
    let mut out = stdout();
    for group in groups {
        if let Err(error) = act(group) {
            out.flush()?;
            return Err(error.into());
        }
        writeln!(out, "{done} {group}")?;
    }
    Ok(out.flush()?)
}
