//! `thalweg group reset-offsets`: let a group go on from another place.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{ArgGroup, Args};
use serde_json::json;

use super::Failure;
use super::broker::{Output, print_json, print_table, stdout};
use super::group::{Groups, TopicScope};
use super::place::parse_time;
use crate::client::{Client, CommittedOffset, OffsetSpec};
use crate::model::{Offset, PartitionIndex, TimestampMs};

/// Let groups go on from another place
///
/// Shows what would be committed; --execute commits it. The group must have no members. An offset
/// outside the log becomes the nearest one inside; a time after the last record becomes the end.
///
/// Examples:
///   thalweg group reset-offsets billing --topic orders --to-earliest --execute
///   thalweg group reset-offsets billing --all-topics --shift-by -100
///   thalweg group reset-offsets billing --topic orders:0,1 --by-duration PT15M --execute
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
#[command(group(ArgGroup::new("place").required(true).args([
    "to_earliest", "to_latest", "to_current", "to_offset", "shift_by", "by_duration",
    "to_datetime", "from_file",
])))]
pub(super) struct ResetArguments {
    #[command(flatten)]
    groups: Groups,

    /// Topic, or partitions of it: TOPIC[:P,..]; may be given several times
    #[arg(long, value_name = "TOPIC[:P,..]")]
    topic: Vec<TopicScope>,

    /// All topics that the group has committed offsets of
    #[arg(long, conflicts_with = "topic")]
    all_topics: bool,

    /// To the first record
    #[arg(long)]
    to_earliest: bool,

    /// Behind the last record
    #[arg(long)]
    to_latest: bool,

    /// To where it is: useful to write a file of it
    #[arg(long)]
    to_current: bool,

    /// To this offset
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    to_offset: Option<Offset>,

    /// So many records forward, or back if negative
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    shift_by: Option<i64>,

    /// To the first record of this last while: PnDTnHnMnS, as in PT15M
    #[arg(long, value_name = "DURATION", value_parser = iso_duration)]
    by_duration: Option<i64>,

    /// To the first record at or after a time: 2026-11-21T03:00:00.000 (UTC without a zone)
    #[arg(long, value_name = "TIME", value_parser = date_time)]
    to_datetime: Option<TimestampMs>,

    /// To the offsets of a file with lines TOPIC,PARTITION,OFFSET, or GROUP,TOPIC,PARTITION,OFFSET
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,

    /// Show and change nothing; this is the default
    #[arg(long, conflicts_with = "execute")]
    dry_run: bool,

    /// Commit the new offsets
    #[arg(long)]
    execute: bool,

    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

/// One partition and where it goes on.
type Target = (String, PartitionIndex, Offset);

pub(super) fn run(
    connect: impl FnOnce() -> Result<Client, Failure>,
    arguments: &ResetArguments,
) -> Result<(), Failure> {
    arguments.groups.check()?;
    if arguments.topic.is_empty() && !arguments.all_topics && arguments.from_file.is_none() {
        return Err(Failure::Usage("give --topic, --all-topics or --from-file".into()));
    }
    let file = match &arguments.from_file {
        Some(path) => Some(read_file(path)?),
        None => None,
    };
    let mut client = connect()?;
    let mut plan = Vec::new();
    for group in arguments.groups.chosen(&mut client)? {
        let info = client.describe_group(&group)?;
        if !info.is_inactive() {
            return Err(Failure::Error(format!(
                "group {group:?} is {}: its members would go on from their own places; stop them \
                 first",
                info.state
            )));
        }
        let targets = match &file {
            Some(lines) => of_file(&mut client, lines, &group)?,
            None => targets(&mut client, arguments, &group)?,
        };
        plan.push((group, targets));
    }
    if arguments.execute {
        for (group, targets) in &plan {
            let offsets: Vec<_> = targets.iter().map(to_commit).collect();
            client.commit_offsets(group, &offsets)?;
        }
    }
    print(&plan, arguments.output)
}

fn to_commit((topic, partition, offset): &Target) -> CommittedOffset {
    CommittedOffset {
        topic: topic.clone(),
        partition: *partition,
        offset: *offset,
        leader_epoch: -1,
        metadata: String::new(),
    }
}

/// Where each partition in the scope of the arguments goes on.
fn targets(
    client: &mut Client,
    arguments: &ResetArguments,
    group: &str,
) -> Result<Vec<Target>, Failure> {
    let committed = client.committed_offsets(group)?;
    let current: BTreeMap<(&str, PartitionIndex), Offset> =
        committed.iter().map(|c| ((c.topic.as_str(), c.partition), c.offset)).collect();
    let mut scope: BTreeMap<String, Vec<PartitionIndex>> = BTreeMap::new();
    if arguments.all_topics {
        for (topic, partition) in current.keys() {
            scope.entry((*topic).to_owned()).or_default().push(*partition);
        }
    }
    for named in &arguments.topic {
        scope.entry(named.topic.clone()).or_default().extend(named.resolve(client)?);
    }
    let mut targets = Vec::new();
    for (topic, mut partitions) in scope {
        partitions.sort_unstable();
        partitions.dedup();
        let logs = Logs::ask(client, &topic, partitions, time(arguments))?;
        for log in &logs.0 {
            let current = current.get(&(topic.as_str(), log.partition)).copied();
            let target = target(arguments, group, &topic, log, current)?;
            targets.push((topic.clone(), log.partition, target.clamp(log.start, log.end)));
        }
    }
    Ok(targets)
}

/// The time that is asked for, if it is one.
fn time(arguments: &ResetArguments) -> Option<TimestampMs> {
    let before_now = |ago: i64| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(now.as_millis()).unwrap_or(i64::MAX).saturating_sub(ago)
    };
    arguments.to_datetime.or_else(|| arguments.by_duration.map(before_now))
}

fn target(
    arguments: &ResetArguments,
    group: &str,
    topic: &str,
    log: &LogEnds,
    current: Option<Offset>,
) -> Result<Offset, Failure> {
    if arguments.to_earliest {
        return Ok(log.start);
    }
    if arguments.to_latest {
        return Ok(log.end);
    }
    if let Some(offset) = arguments.to_offset {
        return Ok(offset);
    }
    if time(arguments).is_some() {
        return Ok(log.at_time.unwrap_or(log.end));
    }
    match (arguments.shift_by, current) {
        (Some(by), Some(current)) => Ok(current.saturating_add(by)),
        (None, Some(current)) => Ok(current),
        // As in Kafka's tool: where it has nothing committed, --to-current is the end.
        (None, None) => Ok(log.end),
        (Some(_), None) => Err(Failure::Error(format!(
            "group {group:?} has committed nothing for {topic}-{}, so there is nothing to shift; \
             use --to-earliest or another place",
            log.partition
        ))),
    }
}

/// Both ends of one partition's log.
struct LogEnds {
    partition: PartitionIndex,
    start: Offset,
    end: Offset,
    /// The first record at or after the time asked for.
    at_time: Option<Offset>,
}

struct Logs(Vec<LogEnds>);

impl Logs {
    fn ask(
        client: &mut Client,
        topic: &str,
        partitions: Vec<PartitionIndex>,
        time: Option<TimestampMs>,
    ) -> Result<Self, Failure> {
        let mut ask = |spec| {
            let wanted: Vec<_> = partitions.iter().map(|p| (*p, spec)).collect();
            client.list_offsets(topic, &wanted, false)
        };
        let (starts, ends) = (ask(OffsetSpec::Earliest)?, ask(OffsetSpec::Latest)?);
        let times = match time {
            Some(time) => ask(OffsetSpec::At(time))?,
            None => vec![None; partitions.len()],
        };
        let ends = partitions.into_iter().zip(starts).zip(ends).zip(times).map(
            |(((partition, start), end), at_time)| {
                let start = start.unwrap_or(0);
                LogEnds { partition, start, end: end.unwrap_or(start).max(start), at_time }
            },
        );
        Ok(Self(ends.collect()))
    }
}

/// A line of a file: for one group or, without, for every one.
type Line = (Option<String>, Target);

fn read_file(path: &PathBuf) -> Result<Vec<Line>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Failure::Error(format!("cannot read {}: {e}", path.display())))?;
    let numbered = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    numbered
        .map(|(number, line)| {
            parse_line(line).ok_or_else(|| {
                Failure::Error(format!(
                    "{}:{number}: {line:?} is neither TOPIC,PARTITION,OFFSET nor \
                     GROUP,TOPIC,PARTITION,OFFSET",
                    path.display()
                ))
            })
        })
        .collect()
}

fn parse_line(line: &str) -> Option<Line> {
    // Kafka's tool writes names in quotes.
    let fields: Vec<&str> = line.split(',').map(|field| field.trim().trim_matches('"')).collect();
    let (group, [topic, partition, offset]) = match fields.as_slice() {
        [topic, partition, offset] => (None, [topic, partition, offset]),
        [group, topic, partition, offset] => {
            (Some((*group).to_owned()), [topic, partition, offset])
        }
        _ => return None,
    };
    let partition = partition.parse().ok().filter(|p| *p >= 0)?;
    let offset = offset.parse().ok().filter(|o| *o >= 0)?;
    Some((group, ((*topic).to_owned(), partition, offset)))
}

fn of_file(client: &mut Client, lines: &[Line], group: &str) -> Result<Vec<Target>, Failure> {
    let ours = lines.iter().filter(|(of, _)| of.as_deref().is_none_or(|of| of == group));
    let mut targets = Vec::new();
    for (_, (topic, partition, offset)) in ours {
        let logs = Logs::ask(client, topic, vec![*partition], None)?;
        let inside = logs.0.first().map_or(*offset, |log| (*offset).clamp(log.start, log.end));
        targets.push((topic.clone(), *partition, inside));
    }
    targets.sort();
    Ok(targets)
}

fn print(plan: &[(String, Vec<Target>)], output: Output) -> Result<(), Failure> {
    let mut out = stdout();
    let all = plan.iter().flat_map(|(group, targets)| targets.iter().map(move |t| (group, t)));
    match output {
        Output::Table => {
            let rows: Vec<_> = all
                .map(|(group, (topic, partition, offset))| {
                    vec![group.clone(), topic.clone(), partition.to_string(), offset.to_string()]
                })
                .collect();
            print_table(&mut out, &["GROUP", "TOPIC", "PARTITION", "NEW-OFFSET"], &rows)?;
        }
        Output::Json => {
            let entries = all.map(|(group, (topic, partition, offset))| {
                json!({
                    "group": group,
                    "topic": topic,
                    "partition": partition,
                    "new_offset": offset,
                })
            });
            print_json(&mut out, &entries.collect())?;
        }
    }
    Ok(out.flush()?)
}

/// An ISO 8601 duration of days and less, in milliseconds (`java.time.Duration.parse`).
fn iso_duration(text: &str) -> Result<i64, String> {
    let wrong = || "write it as PnDTnHnMnS, for example PT15M or P1DT12H".to_owned();
    let rest = text.strip_prefix('P').ok_or_else(wrong)?;
    let (days, time) = rest.split_once('T').map_or((rest, None), |(d, t)| (d, Some(t)));
    if rest.is_empty() || time == Some("") {
        return Err(wrong());
    }
    let mut total: i64 = 0;
    let mut take = |part: &str, units: &[(char, i64)]| -> Option<()> {
        let mut units = units.iter();
        let mut rest = part;
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit())?;
            let unit = rest.get(end..)?.chars().next()?;
            // Each unit once, the larger before the smaller.
            let (_, unit_ms) = units.find(|(name, _)| *name == unit)?;
            let count: i64 = rest.get(..end)?.parse().ok()?;
            total = total.checked_add(count.checked_mul(*unit_ms)?)?;
            rest = rest.get(end + unit.len_utf8()..)?;
        }
        Some(())
    };
    take(days, &[('D', 86_400_000)]).ok_or_else(wrong)?;
    take(time.unwrap_or(""), &[('H', 3_600_000), ('M', 60_000), ('S', 1000)]).ok_or_else(wrong)?;
    Ok(total)
}

/// A time as Kafka's tool takes it: with fractions of a second and with `Z` or without.
fn date_time(text: &str) -> Result<TimestampMs, String> {
    let wrong = || format!("{text:?}: write it as 2026-11-21T03:00:00.000");
    let plain = text.strip_suffix('Z').unwrap_or(text);
    let (seconds, fraction) = plain.split_once('.').unwrap_or((plain, "0"));
    if !seconds.contains('T') || fraction.len() > 3 || !fraction.bytes().all(|b| b.is_ascii_digit())
    {
        return Err(wrong());
    }
    let ms: i64 = format!("{fraction:0<3}").parse().map_err(|_| wrong())?;
    Ok(parse_time(&format!("{seconds}Z"), 0).map_err(|_| wrong())? + ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_times_are_kafkas() {
        assert_eq!(iso_duration("PT15M"), Ok(900_000));
        assert_eq!(iso_duration("P1DT2H3M4S"), Ok(93_784_000));
        assert_eq!(iso_duration("P2D"), Ok(172_800_000));
        for bad in
            ["", "P", "PT", "15m", "PT15", "PTM", "P1DT", "PT1S1H", "P1H", "PT9999999999999999H"]
        {
            assert!(iso_duration(bad).is_err(), "{bad}");
        }
        assert_eq!(date_time("1970-01-01T00:00:01.5"), Ok(1500));
        assert_eq!(date_time("1970-01-02T00:00:00.000Z"), Ok(86_400_000));
        for bad in ["", "1970-01-01", "1970-01-01T00:00:00.0000", "1970-01-01T00:00:00.x", "5"] {
            assert!(date_time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn files_have_three_fields_or_four() {
        let target = |topic: &str, partition, offset| (topic.to_owned(), partition, offset);
        assert_eq!(parse_line("t,1,5"), Some((None, target("t", 1, 5))));
        assert_eq!(parse_line("\"g\",\"t\",0,7"), Some((Some("g".into()), target("t", 0, 7))));
        for bad in ["t,1", "t,1,x", "t,-1,0", "g,t,1,-5", "a,b,c,d,e"] {
            assert_eq!(parse_line(bad), None, "{bad}");
        }
    }
}
