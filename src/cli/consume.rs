//! `thalweg consume`: records of a topic of any Kafka cluster, printed.
//!
//! Without `--group` partitions and places are the command's, and nothing is committed. With one
//! the group says which partitions, goes on where it was, and what was printed is committed; a
//! signal to stop ends the membership, too.
//! Without `--follow` it ends where the topic ended when it began, so that it can stand in a
//! script.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::time::Duration;

use clap::Args;

use super::Failure;
use super::broker::{BrokerArguments, stdout};
use super::follow::{Outage, is_out_of_range, return_to_range};
use super::format::{FORMAT_HELP, Format, Shown, print_json_line};
use super::interrupt;
use super::place::Place;
use crate::client::{
    Client, ClientError, CommittedOffset, FetchOptions, FetchPosition, Fetched, Membership,
    OffsetSpec, TopicInfo,
};
use crate::model::{Offset, PartitionIndex, TimestampType};
use crate::record::{BatchView, Batches, Codec, Records, decompress};

/// How long a fetch waits for records; a member of a group says between two that it is alive.
const MAX_WAIT: Duration = Duration::from_millis(500);
/// Most bytes that one batch may decompress to.
const DECOMPRESSED_BYTES_MAX: usize = 512 << 20;

/// Print the records of a topic
///
/// Reads from the start (or --offset) to where the topic ends now; --follow goes on waiting for
/// more. Records are in order within a partition, partitions are mixed.
///
/// Examples:
///   thalweg consume orders -f '%p %o %k %v\n'
///   thalweg consume orders --offset -10 --follow
///   thalweg consume orders --offset @2026-11-21T03:00:00Z --json -n 100
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = FORMAT_HELP)]
pub(super) struct ConsumeArguments {
    #[command(flatten)]
    broker: BrokerArguments,

    /// Topic to read
    pub(super) topic: String,

    /// Partitions to read, with commas between them; without it all
    #[arg(short, long, value_name = "N", value_delimiter = ',')]
    partition: Vec<PartitionIndex>,

    /// Read as a member of this group: go on where it was, and commit what was printed
    #[arg(short, long, value_name = "GROUP", conflicts_with = "partition")]
    group: Option<String>,

    /// Where to begin, with --group where nothing is committed: start, end, an offset, -N for N
    /// before the end, @TIME for the first record at or after a time (milliseconds since 1970,
    /// -15m, 2026-11-21T03:00:00Z)
    #[arg(short, long, value_name = "PLACE", default_value = "start", allow_hyphen_values = true)]
    pub(super) offset: Place,

    /// The same as --offset start (as in kafka-console-consumer)
    #[arg(long, conflicts_with = "offset")]
    from_beginning: bool,

    /// Go on at the end and wait for more, also when the broker goes away and comes back. Where
    /// records were deleted before they were read, goes on at the first one there is (with
    /// --offset end: at the end). Both are told on standard error
    #[arg(long)]
    follow: bool,

    /// Stop after this many records
    #[arg(short = 'n', long, value_name = "N")]
    max_records: Option<u64>,

    /// How to print a record; see below
    #[arg(short, long, value_name = "FORMAT", default_value = "%v\\n")]
    format: Format,

    /// Print each record as a line of JSON
    #[arg(long, conflicts_with = "format")]
    json: bool,

    /// Leave out records of transactions that are open or were aborted
    #[arg(long)]
    pub(super) read_committed: bool,

    /// Most bytes to fetch of each partition at a time
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20,
          value_parser = clap::value_parser!(i32).range(1..))]
    partition_max_bytes: i32,
}

pub(super) fn run(arguments: &ConsumeArguments) -> Result<(), Failure> {
    let mut printer = Printer { arguments, out: stdout(), left: arguments.max_records };
    if let Some(group) = &arguments.group {
        interrupt::install();
        let mut client = arguments.broker.connect_until(Some(|| interrupt::came().is_some()))?;
        client.topic(&arguments.topic)?;
        read_in_group(&mut client, group, &mut printer)?;
    } else {
        let mut client = arguments.broker.connect()?;
        let topic = client.topic(&arguments.topic)?;
        let partitions = chosen(arguments, &topic)?;
        let mut readers = place(&mut client, arguments, &partitions)?;
        let mut outage = Outage::default();
        loop {
            match read_on(&mut client, &mut readers, &mut printer) {
                Ok(true) => outage.end(),
                Ok(false) => break,
                Err(failure) if arguments.follow => {
                    outage.bear(&mut client, &arguments.topic, failure)?;
                }
                Err(failure) => return Err(failure),
            }
        }
    }
    Ok(printer.out.flush()?)
}

/// Fetch once and print what came; false when everything that was wanted is printed.
fn read_on<W: Write>(
    client: &mut Client,
    readers: &mut BTreeMap<PartitionIndex, Reader>,
    printer: &mut Printer<'_, W>,
) -> Result<bool, Failure> {
    let arguments = printer.arguments;
    let options = FetchOptions {
        max_wait: MAX_WAIT,
        partition_max_bytes: arguments.partition_max_bytes,
        read_committed: arguments.read_committed,
        ..FetchOptions::default()
    };
    let positions: Vec<FetchPosition> = readers
        .iter()
        .filter(|(_, reader)| reader.end.is_none_or(|end| reader.next < end))
        .map(|(partition, reader)| FetchPosition { partition: *partition, offset: reader.next })
        .collect();
    if positions.is_empty() || printer.is_done() {
        return Ok(false);
    }
    let fetched = match client.fetch(&arguments.topic, &positions, &options) {
        Err(error) if arguments.follow && is_out_of_range(&error) => {
            return_to_range(client, arguments, readers)?;
            return Ok(true);
        }
        Err(error) if is_out_of_range(&error) => return Err(out_of_range(arguments, &error)),
        fetched => fetched?,
    };
    for fetched in fetched {
        if let Some(reader) = readers.get_mut(&fetched.partition) {
            reader.print(&fetched, printer)?;
        }
    }
    printer.out.flush()?;
    Ok(true)
}

/// Without --follow nothing is skipped unasked.
fn out_of_range(arguments: &ConsumeArguments, error: &ClientError) -> Failure {
    let fix = match &arguments.group {
        Some(group) => format!(
            "run \"thalweg group reset-offsets {group} --topic {} --to-earliest --execute\"",
            arguments.topic
        ),
        None => "begin again with --offset start".into(),
    };
    Failure::Error(format!(
        "{error} Records were deleted before they were read. To go on at the first one there is, \
         {fix}, or use --follow"
    ))
}

/// Join, read what the group gives us, join again when it rebalances.
fn read_in_group<W: Write>(
    client: &mut Client,
    group: &str,
    printer: &mut Printer<'_, W>,
) -> Result<(), Failure> {
    let arguments = printer.arguments;
    let mut before = None;
    let mut outage = Outage::default();
    loop {
        let joined = client.join_group(group, &arguments.topic, before.as_ref());
        let mut member = match joined {
            Ok(member) => member,
            Err(error) => match (error, interrupt::came()) {
                (_, Some(signal)) => return Err(Failure::Signal(signal)),
                (error, _) if arguments.follow => {
                    outage.bear(client, &arguments.topic, error.into())?;
                    continue;
                }
                (error, _) => return Err(error.into()),
            },
        };
        let read = read_as_member(client, group, &mut member, &mut outage, printer);
        match read {
            Ok(Ended::Generation) => {
                before = Some(member);
                continue;
            }
            Err(Failure::Client(error))
                if arguments.follow && error.may_pass() && interrupt::came().is_none() =>
            {
                // The group remembers us for a while, and where we were.
                before = Some(member);
                outage.bear(client, &arguments.topic, error.into())?;
                continue;
            }
            _ => {}
        }
        // However it ended, the others need not wait until our session is over.
        let left = client.leave_group(&member);
        if let Some(signal) = interrupt::came() {
            return Err(Failure::Signal(signal));
        }
        read?;
        return left.map_err(Failure::from);
    }
}

/// Why a member stopped to read.
enum Ended {
    /// All that was wanted is printed, or a signal came.
    Reading,
    /// The group goes on with another generation.
    Generation,
}

/// Print, and commit what is printed, as long as the generation lasts.
fn read_as_member<W: Write>(
    client: &mut Client,
    group: &str,
    member: &mut Membership,
    outage: &mut Outage,
    printer: &mut Printer<'_, W>,
) -> Result<Ended, Failure> {
    let arguments = printer.arguments;
    let mut readers = place(client, arguments, member.partitions())?;
    for committed in client.committed_offsets(group)? {
        if committed.topic == arguments.topic
            && let Some(reader) = readers.get_mut(&committed.partition)
        {
            reader.next = committed.offset;
            (reader.printed, reader.committed) = (committed.offset, committed.offset);
        }
    }
    loop {
        let goes_on = read_on(client, &mut readers, printer)?;
        let is_ours = commit(client, member, arguments, &mut readers)?;
        outage.end();
        if printer.is_done() || !goes_on && !arguments.follow {
            return Ok(Ended::Reading);
        }
        if !goes_on {
            // A member without partitions waits for its turn.
            std::thread::sleep(MAX_WAIT);
        }
        if !is_ours || !client.stay_in_group(member)? {
            return Ok(Ended::Generation);
        }
    }
}

/// Commit what was printed since the last time; false when the group has gone on without us.
fn commit(
    client: &mut Client,
    member: &Membership,
    arguments: &ConsumeArguments,
    readers: &mut BTreeMap<PartitionIndex, Reader>,
) -> Result<bool, Failure> {
    let moved = readers.values_mut().filter(|reader| reader.printed != reader.committed);
    let offsets: Vec<CommittedOffset> = moved
        .map(|reader| {
            reader.committed = reader.printed;
            CommittedOffset {
                topic: arguments.topic.clone(),
                partition: reader.partition,
                offset: reader.printed,
                leader_epoch: -1,
                metadata: String::new(),
            }
        })
        .collect();
    Ok(offsets.is_empty() || client.commit_as_member(member, &offsets)?)
}

fn chosen(arguments: &ConsumeArguments, topic: &TopicInfo) -> Result<Vec<PartitionIndex>, Failure> {
    let all: Vec<_> = topic.partitions.iter().map(|p| p.index).collect();
    if arguments.partition.is_empty() {
        return Ok(all);
    }
    match arguments.partition.iter().find(|index| !all.contains(index)) {
        None => Ok(arguments.partition.clone()),
        Some(index) => Err(Failure::Error(format!(
            "partition {index} of {} does not exist; it has {}",
            topic.name,
            super::topic::plural(all.len(), "partition")
        ))),
    }
}

/// Where to read in each partition.
fn place(
    client: &mut Client,
    arguments: &ConsumeArguments,
    partitions: &[PartitionIndex],
) -> Result<BTreeMap<PartitionIndex, Reader>, Failure> {
    let mut ask = |spec: OffsetSpec| {
        let wanted: Vec<_> = partitions.iter().map(|index| (*index, spec)).collect();
        client.list_offsets(&arguments.topic, &wanted, arguments.read_committed)
    };
    let start = ask(OffsetSpec::Earliest)?;
    let end = ask(OffsetSpec::Latest)?;
    let at_time = match arguments.offset {
        Place::Time(time) => Some(ask(OffsetSpec::At(time))?),
        _ => None,
    };
    let known = |list: &[Option<Offset>], i: usize| list.get(i).copied().flatten();
    let mut readers = BTreeMap::new();
    for (i, partition) in partitions.iter().enumerate() {
        let (start, end) = (known(&start, i).unwrap_or(0), known(&end, i).unwrap_or(0));
        let next = match arguments.offset {
            Place::Start => start,
            Place::End => end,
            Place::Offset(offset) if (start..=end).contains(&offset) => offset,
            Place::Offset(offset) => {
                return Err(Failure::Error(format!(
                    "offset {offset} is outside {}-{partition}, which has {start} to {end}",
                    arguments.topic
                )));
            }
            Place::BeforeEnd(count) => end.saturating_sub(count).max(start),
            Place::Time(_) => at_time.as_deref().and_then(|list| known(list, i)).unwrap_or(end),
        };
        let end = if arguments.follow { None } else { Some(end) };
        let aborted = HashSet::new();
        let (printed, committed) = (next, next);
        let partition = *partition;
        let reader = Reader { partition, next, printed, committed, end, aborted };
        readers.insert(partition, reader);
    }
    Ok(readers)
}

/// Prints until it has printed enough.
struct Printer<'a, W: Write> {
    arguments: &'a ConsumeArguments,
    out: W,
    left: Option<u64>,
}

impl<W: Write> Printer<'_, W> {
    /// Whether nothing more is to be printed: it was enough, or a signal came.
    fn is_done(&self) -> bool {
        self.left == Some(0) || interrupt::came().is_some()
    }
}

/// One partition's progress.
pub(super) struct Reader {
    partition: PartitionIndex,
    /// Next offset to fetch.
    pub(super) next: Offset,
    /// Behind the last record that was printed or is none to print.
    printed: Offset,
    /// What the group has of it.
    committed: Offset,
    /// Where to stop, unless following.
    end: Option<Offset>,
    /// Producers whose transaction at this place was aborted.
    aborted: HashSet<i64>,
}

impl Reader {
    /// Go on at another offset. What was aborted here says nothing of transactions there.
    pub(super) fn go_to(&mut self, next: Offset) {
        self.next = next;
        self.aborted.clear();
    }

    fn print<W: Write>(
        &mut self,
        fetched: &Fetched,
        printer: &mut Printer<'_, W>,
    ) -> Result<(), Failure> {
        let what = format!("{}-{}", printer.arguments.topic, self.partition);
        let mut aborted: Vec<_> = fetched.aborted.iter().map(|(id, first)| (*first, *id)).collect();
        aborted.sort_unstable();
        let mut aborted = aborted.into_iter().peekable();
        let mut batches = Batches::new(&fetched.records);
        let mut is_first = true;
        for batch in batches.by_ref() {
            if !batch.crc_matches() {
                return Err(Failure::Error(format!(
                    "the batch at offset {} of {what} has a wrong checksum: damaged on the way or \
                     on the broker's disk",
                    batch.base_offset()
                )));
            }
            is_first = false;
            while let Some((_, id)) = aborted.next_if(|(first, _)| *first <= batch.last_offset()) {
                self.aborted.insert(id);
            }
            self.print_batch(&batch, printer)?;
            self.next = self.next.max(batch.last_offset().saturating_add(1));
            if !printer.is_done() {
                self.printed = self.next;
            }
        }
        match batches.fault() {
            // A cut-off batch comes again, from its start. Not if it is the only one: the broker
            // owes a first batch whole.
            Some(fault) if is_first => {
                Err(ClientError::BadBatch(format!("{what} at {}", self.next), fault).into())
            }
            _ => Ok(()),
        }
    }

    fn print_batch<W: Write>(
        &mut self,
        batch: &BatchView<'_>,
        printer: &mut Printer<'_, W>,
    ) -> Result<(), Failure> {
        let attributes = batch.attributes();
        if attributes.is_control() {
            self.aborted.remove(&batch.producer_id());
            return Ok(());
        }
        let is_void = attributes.is_transactional() && self.aborted.contains(&batch.producer_id());
        if printer.arguments.read_committed && is_void {
            return Ok(());
        }
        let bad = |why: &dyn std::fmt::Display| {
            Failure::Error(format!(
                "the batch at offset {} of {}-{}: {why}",
                batch.base_offset(),
                printer.arguments.topic,
                self.partition
            ))
        };
        let codec = attributes.codec().ok_or_else(|| bad(&"an unknown codec"))?;
        let plain = match codec {
            Codec::None => batch.records_bytes().into(),
            codec => decompress(codec, batch.records_bytes(), DECOMPRESSED_BYTES_MAX)
                .map_err(|error| bad(&error))?,
        };
        for record in Records::new(&plain, batch.record_count()) {
            let record = record.map_err(|fault| bad(&fault))?;
            let offset =
                record.offset(batch.base_offset()).ok_or_else(|| bad(&"an offset overflows"))?;
            if offset < self.next || self.end.is_some_and(|end| offset >= end) {
                continue;
            }
            if printer.is_done() {
                return Ok(());
            }
            let timestamp = match attributes.timestamp_type() {
                TimestampType::LogAppendTime => batch.max_timestamp(),
                TimestampType::CreateTime => record
                    .timestamp(batch.base_timestamp())
                    .ok_or_else(|| bad(&"a timestamp overflows"))?,
            };
            let shown = Shown {
                topic: &printer.arguments.topic,
                partition: self.partition,
                offset,
                timestamp,
                leader_epoch: batch.leader_epoch(),
                key: record.key,
                value: record.value,
                headers: record.headers,
            };
            if printer.arguments.json {
                print_json_line(&mut printer.out, &shown)?;
            } else {
                printer.arguments.format.print(&mut printer.out, &shown)?;
            }
            printer.left = printer.left.map(|left| left - 1);
            self.printed = offset.saturating_add(1);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use clap::Parser;

    use super::*;
    use crate::record::{BatchBuilder, ControlKind, control_batch, patch};

    #[derive(Debug, Parser)]
    struct Just {
        #[command(flatten)]
        arguments: ConsumeArguments,
    }

    fn arguments(line: &str) -> ConsumeArguments {
        let words = ["consume", "t", "-f", "%o "].into_iter().chain(line.split_whitespace());
        Just::try_parse_from(words).unwrap().arguments
    }

    /// A batch of `count` records at an offset; of a transaction where there is a producer.
    fn batch(base_offset: Offset, count: usize, producer: i64, codec: Codec) -> Vec<u8> {
        let mut builder = BatchBuilder::new(codec);
        for _ in 0..count {
            builder.append(5, None, Some(b"v"), &[]).unwrap();
        }
        if producer >= 0 {
            builder.set_producer(producer, 0, 0);
            builder.set_transactional(true);
        }
        builder.set_place(base_offset, 0);
        builder.finish().unwrap().to_vec()
    }

    fn marker(offset: Offset, producer: i64, kind: ControlKind) -> Vec<u8> {
        let mut bytes = control_batch(kind, producer, 0, 0, 5);
        patch(&mut bytes, offset, 0);
        bytes
    }

    /// A reader that stands at an offset, and will stop at another if one is given.
    fn reader((next, end): (Offset, Option<Offset>)) -> Reader {
        let (printed, committed, aborted) = (next, next, HashSet::new());
        Reader { partition: 0, next, printed, committed, end, aborted }
    }

    /// What a reader prints of these bytes.
    fn print_with(
        reader: &mut Reader,
        line: &str,
        records: Vec<u8>,
        aborted: Vec<(i64, Offset)>,
    ) -> Result<String, Failure> {
        let arguments = arguments(line);
        let mut printer =
            Printer { arguments: &arguments, out: Vec::new(), left: arguments.max_records };
        let fetched = Fetched {
            partition: 0,
            high_watermark: 100,
            last_stable_offset: 100,
            log_start_offset: 0,
            records: Bytes::from(records),
            aborted,
        };
        reader.print(&fetched, &mut printer)?;
        Ok(String::from_utf8(printer.out).unwrap())
    }

    /// What is printed of these bytes, and where the reader then stands.
    fn print(
        line: &str,
        range: (Offset, Option<Offset>),
        records: Vec<u8>,
        aborted: Vec<(i64, Offset)>,
    ) -> Result<(String, Offset), Failure> {
        let mut reader = reader(range);
        let printed = print_with(&mut reader, line, records, aborted)?;
        Ok((printed, reader.next))
    }

    #[test]
    fn only_what_was_wanted_of_a_batch_is_printed() {
        let bytes = || [batch(10, 5, -1, Codec::None), batch(15, 5, -1, Codec::Lz4)].concat();
        let all = print("", (12, Some(17)), bytes(), vec![]).unwrap();
        assert_eq!(all, ("12 13 14 15 16 ".into(), 20));
        let some = print("-n 2", (10, None), bytes(), vec![]).unwrap();
        assert_eq!(some.0, "10 11 ");
        // A cut-off last batch waits for the next fetch.
        let cut = bytes()[..bytes().len() - 1].to_vec();
        assert_eq!(print("", (10, None), cut, vec![]).unwrap(), ("10 11 12 13 14 ".into(), 15));
        // A first batch that is cut off would be asked for without end.
        let alone = batch(10, 5, -1, Codec::None)[..80].to_vec();
        assert!(print("", (10, None), alone, vec![]).is_err());
        let mut damaged = batch(10, 5, -1, Codec::None);
        *damaged.last_mut().unwrap() ^= 1;
        let error = print("", (10, None), damaged, vec![]);
        assert!(matches!(error, Err(Failure::Error(text)) if text.contains("offset 10 of t-0")));
    }

    #[test]
    fn aborted_transactions_are_left_out_up_to_their_marker() {
        let bytes = [
            batch(0, 2, 7, Codec::None),
            batch(2, 1, 8, Codec::None),
            batch(3, 1, -1, Codec::None),
            marker(4, 7, ControlKind::Abort),
            batch(5, 1, 7, Codec::None),
            marker(6, 8, ControlKind::Commit),
            marker(7, 7, ControlKind::Commit),
        ]
        .concat();
        let committed = print("--read-committed", (0, None), bytes.clone(), vec![(7, 0)]).unwrap();
        assert_eq!(committed, ("2 3 5 ".into(), 8));
        // Reading everything, markers are still nothing to print.
        assert_eq!(print("", (0, None), bytes, vec![]).unwrap(), ("0 1 2 3 5 ".into(), 8));
    }

    /// The marker of an aborted transaction may be deleted before it is read.
    #[test]
    fn behind_deleted_records_no_transaction_is_aborted_any_more() {
        let mut reader = reader((0, None));
        let print = |reader: &mut Reader, records, aborted| {
            print_with(reader, "--read-committed", records, aborted).unwrap()
        };
        assert_eq!(print(&mut reader, batch(0, 2, 7, Codec::None), vec![(7, 0)]), "");
        reader.go_to(20);
        assert_eq!(print(&mut reader, batch(20, 2, 7, Codec::None), vec![]), "20 21 ");
    }
}
