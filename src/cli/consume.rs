//! `thalweg consume`: records of a topic of any Kafka cluster, printed.
//!
//! Without a group: partitions and places are the command's, nothing is committed. Without
//! `--follow` it ends where the topic ended when it began, so that it can stand in a script.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::time::Duration;

use clap::Args;

use super::Failure;
use super::broker::{BrokerArguments, stdout};
use super::format::{FORMAT_HELP, Format, Shown, print_json_line};
use super::place::Place;
use crate::client::{
    Client, ClientError, FetchOptions, FetchPosition, Fetched, OffsetSpec, TopicInfo,
};
use crate::model::{Offset, PartitionIndex, TimestampType};
use crate::record::{BatchView, Batches, Codec, Records, decompress};

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
    topic: String,

    /// Partitions to read, with commas between them; without it all
    #[arg(short, long, value_name = "N", value_delimiter = ',')]
    partition: Vec<PartitionIndex>,

    /// Where to begin: start, end, an offset, -N for N before the end, @TIME for the first record
    /// at or after a time (milliseconds since 1970, -15m, 2026-11-21T03:00:00Z)
    #[arg(short, long, value_name = "PLACE", default_value = "start", allow_hyphen_values = true)]
    offset: Place,

    /// The same as --offset start (as in kafka-console-consumer)
    #[arg(long, conflicts_with = "offset")]
    from_beginning: bool,

    /// Go on at the end and wait for more
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
    read_committed: bool,

    /// Most bytes to fetch of each partition at a time
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20,
          value_parser = clap::value_parser!(i32).range(1..))]
    partition_max_bytes: i32,
}

pub(super) fn run(arguments: &ConsumeArguments) -> Result<(), Failure> {
    let mut client = arguments.broker.connect()?;
    let topic = client.topic(&arguments.topic)?;
    let partitions = chosen(arguments, &topic)?;
    let mut readers = place(&mut client, arguments, &partitions)?;
    let mut printer = Printer { arguments, out: stdout(), left: arguments.max_records };
    let options = FetchOptions {
        max_wait: Duration::from_millis(500),
        partition_max_bytes: arguments.partition_max_bytes,
        read_committed: arguments.read_committed,
        ..FetchOptions::default()
    };
    while printer.left != Some(0) {
        let positions: Vec<FetchPosition> = readers
            .iter()
            .filter(|(_, reader)| reader.end.is_none_or(|end| reader.next < end))
            .map(|(partition, reader)| FetchPosition { partition: *partition, offset: reader.next })
            .collect();
        if positions.is_empty() {
            break;
        }
        for fetched in client.fetch(&arguments.topic, &positions, &options)? {
            if let Some(reader) = readers.get_mut(&fetched.partition) {
                reader.print(&fetched, &mut printer)?;
            }
        }
        printer.out.flush()?;
    }
    Ok(printer.out.flush()?)
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
        readers.insert(*partition, Reader { partition: *partition, next, end, aborted });
    }
    Ok(readers)
}

/// Prints until it has printed enough.
struct Printer<'a, W: Write> {
    arguments: &'a ConsumeArguments,
    out: W,
    left: Option<u64>,
}

/// One partition's progress.
struct Reader {
    partition: PartitionIndex,
    /// Next offset to fetch.
    next: Offset,
    /// Where to stop, unless following.
    end: Option<Offset>,
    /// Producers whose transaction at this place was aborted.
    aborted: HashSet<i64>,
}

impl Reader {
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
            if printer.left == Some(0) {
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
        }
        Ok(())
    }
}
