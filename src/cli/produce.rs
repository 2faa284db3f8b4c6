//! `thalweg produce`: records from arguments, lines or a file into a topic of any Kafka cluster.
//!
//! Keyed records go where Kafka's Java client would send them (murmur2 of the key), so that both
//! can be used on one topic; records without a key go to one partition per batch, in turn.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clap::{Args, ValueEnum};

use super::Failure;
use super::broker::BrokerArguments;
use super::topic::{key_and_value, plural};
use crate::client::{Acks, Client};
use crate::model::{PartitionIndex, TimestampMs};
use crate::record::{BatchBuilder, BuildError, Codec};

/// Longest line that is read as one record.
const LINE_BYTES_MAX: u64 = 64 << 20;

/// Most bytes of records that wait for their batches to be full, of all partitions together (as
/// `buffer.memory` of Kafka's producer).
const GATHERED_BYTES_MAX: usize = 32 << 20;

/// Write records to a topic
///
/// Without --value each line of standard input (or of --file) is the value of one record.
///
/// Examples:
///   thalweg produce orders --value hello
///   thalweg produce orders --key-separator : < lines.txt
///   thalweg produce orders --value-file body.json --key k1 --header source=import -z zstd
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct ProduceArguments {
    #[command(flatten)]
    broker: BrokerArguments,

    /// Topic to write to
    topic: String,

    /// The value of a record; may be given several times
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["file", "value_file", "tombstone"])]
    value: Vec<String>,

    /// Read lines from this file instead of standard input
    #[arg(long, value_name = "PATH", conflicts_with_all = ["value_file", "tombstone"])]
    file: Option<PathBuf>,

    /// Send the whole content of this file as one value
    #[arg(long, value_name = "PATH", conflicts_with = "tombstone")]
    value_file: Option<PathBuf>,

    /// Send one record with --key and a null value: deletes the key in a compacted topic
    #[arg(long, requires = "key")]
    tombstone: bool,

    /// The key of every record
    #[arg(short, long, value_name = "TEXT")]
    key: Option<String>,

    /// What stands between key and value in each line; \t is a tab
    #[arg(short = 'K', long, value_name = "TEXT")]
    #[arg(conflicts_with_all = ["key", "value", "value_file"])]
    key_separator: Option<String>,

    /// A header of every record; may be given several times
    #[arg(short = 'H', long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    header: Vec<(String, String)>,

    /// Partition to write to; without it keys decide, else it changes with each batch
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,

    /// Timestamp of every record in milliseconds since 1970; without it the present time
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    timestamp: Option<TimestampMs>,

    /// Which acknowledgement to wait for: all in-sync replicas, the leader only, none
    #[arg(long, value_enum, default_value = "all")]
    acks: AcksArgument,

    /// How to compress: none, gzip, snappy, lz4 or zstd
    #[arg(short = 'z', long, value_name = "CODEC", default_value = "none")]
    compression: Codec,

    /// Send a batch when it has this many bytes
    #[arg(long, value_name = "BYTES", default_value_t = 512 * 1024)]
    batch_bytes: usize,

    /// Do not say where the records went
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AcksArgument {
    #[value(alias = "-1")]
    All,
    #[value(name = "1")]
    One,
    #[value(name = "0")]
    Zero,
}

pub(super) fn run(arguments: &ProduceArguments) -> Result<(), Failure> {
    if arguments.key_separator.as_deref() == Some("") {
        return Err(Failure::Usage("--key-separator must not be empty".into()));
    }
    let source = open_source(arguments)?;
    let client = arguments.broker.connect()?;
    let mut producer = Producer::new(client, arguments)?;
    let outcome = feed(&mut producer, source, arguments);
    // Also after an error: what was acknowledged before it stays in the topic.
    if !arguments.quiet {
        producer.report()?;
    }
    outcome
}

fn feed(
    producer: &mut Producer<'_>,
    source: Source,
    arguments: &ProduceArguments,
) -> Result<(), Failure> {
    let key = arguments.key.as_deref().map(str::as_bytes);
    match source {
        Source::Values(values) => {
            for value in values {
                producer.take(key, value.as_deref())?;
            }
        }
        Source::Lines(mut reader) => {
            let separator =
                arguments.key_separator.as_deref().map(|text| text.replace("\\t", "\t"));
            let fed = each_line(&mut reader, |line, is_last| {
                let (key, value) = match &separator {
                    None => (key, line),
                    Some(separator) => split_key(line, separator.as_bytes())?,
                };
                producer.take(key, Some(value))?;
                // Someone types, or a slow program writes: do not wait for more.
                if is_last { producer.send_all() } else { Ok(()) }
            });
            // The lines before one that cannot be taken are as good as any.
            let sent = producer.send_all();
            return fed.and(sent);
        }
    }
    producer.send_all()
}

/// Where the records come from.
enum Source {
    Values(Vec<Option<Vec<u8>>>),
    Lines(BufReader<Box<dyn Read>>),
}

fn open_source(arguments: &ProduceArguments) -> Result<Source, Failure> {
    let failed = |path: &PathBuf, error: io::Error| {
        Failure::Error(format!("cannot read {}: {error}", path.display()))
    };
    if !arguments.value.is_empty() {
        let values = arguments.value.iter().map(|value| Some(value.clone().into_bytes()));
        return Ok(Source::Values(values.collect()));
    }
    if arguments.tombstone {
        return Ok(Source::Values(vec![None]));
    }
    if let Some(path) = &arguments.value_file {
        let mut value = Vec::new();
        let file = File::open(path).map_err(|error| failed(path, error))?;
        file.take(LINE_BYTES_MAX + 1)
            .read_to_end(&mut value)
            .map_err(|error| failed(path, error))?;
        if value.len() as u64 > LINE_BYTES_MAX {
            return Err(too_long(&path.display().to_string()));
        }
        return Ok(Source::Values(vec![Some(value)]));
    }
    let reader: Box<dyn Read> = match &arguments.file {
        Some(path) => Box::new(File::open(path).map_err(|error| failed(path, error))?),
        None => Box::new(io::stdin()),
    };
    Ok(Source::Lines(BufReader::with_capacity(256 * 1024, reader)))
}

/// Give each line without its end to `take`, and whether no more input is at hand right now.
fn each_line(
    reader: &mut BufReader<Box<dyn Read>>,
    mut take: impl FnMut(&[u8], bool) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader
            .by_ref()
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)
            .map_err(|error| Failure::Error(format!("cannot read the input: {error}")))?;
        if read == 0 {
            return Ok(());
        }
        if line.last() == Some(&b'\n') {
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
        } else if read as u64 == LINE_BYTES_MAX {
            return Err(too_long("a line"));
        }
        take(&line, reader.buffer().is_empty())?;
    }
}

fn too_long(what: &str) -> Failure {
    Failure::Error(format!(
        "{what} is longer than {LINE_BYTES_MAX} bytes, the most that this command sends as one \
         record; split it (topics take about 1 MiB unless their max.message.bytes says otherwise)"
    ))
}

fn split_key<'a>(
    line: &'a [u8],
    separator: &[u8],
) -> Result<(Option<&'a [u8]>, &'a [u8]), Failure> {
    let at = line.windows(separator.len()).position(|window| window == separator);
    match at {
        Some(at) => Ok((Some(&line[..at]), &line[at + separator.len()..])),
        None => Err(Failure::Error(format!(
            "the line {:?} has no key separator {:?}",
            String::from_utf8_lossy(&line[..line.len().min(80)]),
            String::from_utf8_lossy(separator)
        ))),
    }
}

/// What went to a partition: records, first and last offset.
type Sent = (usize, i64, i64);

/// One unfinished batch for each partition that has records.
#[derive(Default)]
struct Gathered {
    batches: BTreeMap<PartitionIndex, BatchBuilder>,
    /// Of all batches, before compression.
    bytes: usize,
}

impl Gathered {
    /// The batch of a partition, so far.
    fn batch_bytes(&self, partition: PartitionIndex) -> usize {
        self.batches.get(&partition).map_or(0, BatchBuilder::plain_bytes)
    }

    /// Let `append` put a record into the partition's batch.
    fn add(
        &mut self,
        partition: PartitionIndex,
        codec: Codec,
        append: impl FnOnce(&mut BatchBuilder) -> Result<(), BuildError>,
    ) -> Result<(), BuildError> {
        let before = self.batch_bytes(partition);
        let batch = self.batches.entry(partition).or_insert_with(|| BatchBuilder::new(codec));
        let appended = append(batch);
        self.bytes = self.bytes - before + batch.plain_bytes();
        appended
    }

    /// Take a partition's batch out, with its memory.
    fn remove(&mut self, partition: PartitionIndex) -> Option<BatchBuilder> {
        let batch = self.batches.remove(&partition)?;
        self.bytes -= batch.plain_bytes();
        Some(batch)
    }
}

/// Gathers records in one batch for each partition and sends those that are full, or all when
/// they take too much memory together.
struct Producer<'a> {
    client: Client,
    arguments: &'a ProduceArguments,
    headers: Vec<(&'a [u8], Option<&'a [u8]>)>,
    partitions: i32,
    /// Where records without a key go until the batch there is sent.
    keyless: PartitionIndex,
    gathered: Gathered,
    sent: BTreeMap<PartitionIndex, Sent>,
}

impl<'a> Producer<'a> {
    fn new(mut client: Client, arguments: &'a ProduceArguments) -> Result<Self, Failure> {
        let topic = client.topic(&arguments.topic)?;
        let partitions = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        if let Some(partition) = arguments.partition
            && partition >= partitions
        {
            return Err(Failure::Error(format!(
                "partition {partition} of {} does not exist; it has {}",
                arguments.topic,
                plural(topic.partitions.len(), "partition")
            )));
        }
        let headers =
            arguments.header.iter().map(|(k, v)| (k.as_bytes(), Some(v.as_bytes()))).collect();
        Ok(Self {
            client,
            arguments,
            headers,
            partitions,
            // Runs of one record each should not all hit the same partition.
            keyless: i32::try_from(now_ms().rem_euclid(i64::from(partitions.max(1)))).unwrap_or(0),
            gathered: Gathered::default(),
            sent: BTreeMap::new(),
        })
    }

    fn take(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<(), Failure> {
        let partition = match (self.arguments.partition, key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_of_key(key, self.partitions),
            (None, None) => self.keyless,
        };
        let timestamp = self.arguments.timestamp.unwrap_or_else(now_ms);
        let more = BatchBuilder::record_bytes_max(key.map(<[u8]>::len), value.map(<[u8]>::len));
        let have = self.gathered.batch_bytes(partition);
        if have > 0 && have + more > self.arguments.batch_bytes {
            self.send(partition)?;
        }
        if self.gathered.bytes + more > GATHERED_BYTES_MAX {
            self.send_all()?;
        }
        let headers = &self.headers;
        self.gathered
            .add(partition, self.arguments.compression, |batch| {
                batch.append(timestamp, key, value, headers)
            })
            .map_err(|error| Failure::Error(error.to_string()))
    }

    fn send_all(&mut self) -> Result<(), Failure> {
        let partitions: Vec<_> = self.gathered.batches.keys().copied().collect();
        partitions.into_iter().try_for_each(|partition| self.send(partition))
    }

    fn send(&mut self, partition: PartitionIndex) -> Result<(), Failure> {
        let Some(mut batch) = self.gathered.remove(partition) else { return Ok(()) };
        if batch.count() == 0 {
            return Ok(());
        }
        let records = usize::try_from(batch.count()).unwrap_or(0);
        let bytes = batch.finish().map_err(|error| Failure::Error(error.to_string()))?;
        let bytes = Bytes::copy_from_slice(bytes);
        drop(batch);
        let acks = match self.arguments.acks {
            AcksArgument::All => Acks::All,
            AcksArgument::One => Acks::Leader,
            AcksArgument::Zero => Acks::None,
        };
        let done = match self.client.produce(&self.arguments.topic, partition, acks, bytes) {
            Ok(done) => done,
            Err(error) => {
                // What fails here ends the command: nothing goes out behind what did not.
                self.gathered = Gathered::default();
                return Err(error.into());
            }
        };
        let last = done.base_offset.saturating_add(i64::try_from(records).unwrap_or(0) - 1);
        let sent = self.sent.entry(partition).or_insert((0, done.base_offset, last));
        (sent.0, sent.2) = (sent.0 + records, last);
        if partition == self.keyless {
            self.keyless = (self.keyless + 1) % self.partitions.max(1);
        }
        Ok(())
    }

    /// Say on standard error where the records went.
    fn report(&self) -> Result<(), Failure> {
        let mut out = io::stderr().lock();
        for (partition, (records, first, last)) in &self.sent {
            let place = match (self.arguments.acks, first == last) {
                (AcksArgument::Zero, _) => " (not acknowledged)".into(),
                (_, true) => format!(" at offset {first}"),
                (_, false) => format!(" at offsets {first} to {last}"),
            };
            let records = plural(*records, "record");
            writeln!(out, "produced {records} to {}-{partition}{place}", self.arguments.topic)?;
        }
        Ok(())
    }
}

fn now_ms() -> TimestampMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Where Kafka's Java client sends a key (`BuiltInPartitioner.partitionForKey`).
fn partition_of_key(key: &[u8], partitions: i32) -> PartitionIndex {
    (murmur2(key) & i32::MAX) % partitions.max(1)
}

/// Kafka's murmur2 (`org.apache.kafka.common.utils.Utils.murmur2`).
fn murmur2(bytes: &[u8]) -> i32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let mut hash = SEED ^ bytes.len() as u32;
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * i);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    (hash ^ (hash >> 15)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_where_kafkas_java_client_sends_them() {
        // The vectors of Kafka's own UtilsTest.testMurmur2.
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
        }
    }

    #[test]
    fn what_is_gathered_is_counted_until_it_is_taken_out() {
        let mut gathered = Gathered::default();
        let add = |gathered: &mut Gathered, partition| {
            let append = |batch: &mut BatchBuilder| batch.append(0, None, Some(&[b'x'; 1000]), &[]);
            gathered.add(partition, Codec::None, append).unwrap();
        };
        for partition in [0, 1, 1, 2] {
            add(&mut gathered, partition);
        }
        let all: usize = gathered.batches.values().map(BatchBuilder::plain_bytes).sum();
        assert!(all > 4000 && gathered.bytes == all);
        for (partition, count) in [(1, 2), (0, 1), (2, 1)] {
            assert_eq!(gathered.remove(partition).unwrap().count(), count);
        }
        assert!(gathered.remove(1).is_none());
        assert_eq!(gathered.bytes, 0);
        add(&mut gathered, 1);
        assert_eq!(gathered.bytes, gathered.batch_bytes(1));
    }

    #[test]
    fn a_line_is_split_at_the_first_separator() {
        assert_eq!(split_key(b"k::v::w", b"::").unwrap(), (Some(&b"k"[..]), &b"v::w"[..]));
        assert_eq!(split_key(b":v", b":").unwrap(), (Some(&b""[..]), &b"v"[..]));
        assert!(split_key(b"v", b":").is_err());
        assert!(split_key(b"", b"::").is_err());
    }

    #[test]
    fn lines_lose_their_ends_and_the_last_needs_none() {
        let input: Box<dyn Read> = Box::new(&b"a\r\n\nlast"[..]);
        let mut lines = Vec::new();
        each_line(&mut BufReader::new(input), |line, is_last| {
            lines.push((line.to_vec(), is_last));
            Ok(())
        })
        .unwrap();
        let want: [(&[u8], bool); 3] = [(b"a", false), (b"", false), (b"last", true)];
        assert_eq!(lines, want.map(|(line, last)| (line.to_vec(), last)));
    }
}
