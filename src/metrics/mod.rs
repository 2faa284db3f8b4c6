//! What the broker counts, and how it is shown.
//!
//! Owns the one table of metric names (`METRICS`), each shard's cells, and the exposition text.
//! Always true: counting is a plain add in the shard's own memory, with no lock and no shared
//! atomic; what leaves a shard is a [`ShardSnapshot`], plain numbers that may travel. Leaves to
//! others: asking the shards for snapshots, reading clocks, and the socket of the page.

mod histogram;
mod http;
mod text;

use std::cell::Cell;
use std::time::Duration;

pub use histogram::{BOUNDS_MICROS, Histogram, HistogramSnapshot};
pub use http::{HEAD_BYTES_MAX, Head, Page, parse_head, response};
pub use text::{ProcessSnapshot, health, render};

use crate::model::ShardId;

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts per bucket.
    Histogram,
}

/// What the stored number is; decides how it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A number of things.
    Count,
    /// Bytes.
    Bytes,
    /// Stored as microseconds, shown as seconds.
    Micros,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Name on the page.
    pub name: &'static str,
    /// How it behaves.
    pub shape: Shape,
    /// What it counts in.
    pub unit: Unit,
    /// One sentence.
    pub help: &'static str,
}

macro_rules! values {
    ($($variant:ident $name:literal $label:expr, $shape:ident $unit:ident $help:literal;)*) => {
        /// A number that each shard keeps.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Value { $(#[doc = $help] $variant,)* }

        /// Name, fixed label, and row of each [`Value`], in its order.
        static VALUES: &[(Value, Option<(&str, &str)>, Metric)] = &[$((
            Value::$variant,
            $label,
            Metric { name: $name, shape: Shape::$shape, unit: Unit::$unit, help: $help },
        ),)*];
    };
}

const fn label(name: &'static str, value: &'static str) -> Option<(&'static str, &'static str)> {
    Some((name, value))
}

// Rows of one name stand together: the page prints their help once.
values! {
    ConnectionsOpen "thalweg_connections_open" None, Gauge Count "Connections open.";
    ConnectionsAccepted "thalweg_connections_accepted_total" None, Counter Count
        "Connections accepted.";
    ConnectionsRefused "thalweg_connections_refused_total" None, Counter Count
        "Connections closed at once because a limit was reached.";
    ConnectionsIdleClosed "thalweg_connections_idle_closed_total" None, Counter Count
        "Connections closed after connections.max.idle.ms.";
    ConnectionsSlowClosed "thalweg_connections_slow_closed_total" None, Counter Count
        "Connections closed because a frame or an answer stood still, or others waited for it.";
    FramesRefused "thalweg_frames_refused_total" None, Counter Count
        "Connections closed for a frame that is too large or cannot be decoded.";
    FrameBytes "thalweg_frame_memory_bytes" None, Gauge Bytes
        "Request bytes held until they are answered.";
    AppendsJournal "thalweg_appends_total" label("path", "journal"), Counter Count
        "Record batches appended, by whether the journal took them whole.";
    AppendsDirect "thalweg_appends_total" label("path", "direct"), Counter Count
        "Record batches appended, by whether the journal took them whole.";
    AppendBytes "thalweg_append_bytes_total" None, Counter Bytes "Bytes of appended batches.";
    AppendRecords "thalweg_append_records_total" None, Counter Count "Records appended.";
    GroupCommits "thalweg_group_commits_total" None, Counter Count
        "Group commits: one journal write for everything that waited.";
    FlushesJournal "thalweg_flushes_total" label("file", "journal"), Counter Count
        "Flushes to the device, by what they flushed.";
    FlushesSegment "thalweg_flushes_total" label("file", "segment"), Counter Count
        "Flushes to the device, by what they flushed.";
    FlushesCheckpoint "thalweg_flushes_total" label("file", "checkpoint"), Counter Count
        "Flushes to the device, by what they flushed.";
    JournalBytes "thalweg_journal_bytes_total" None, Counter Bytes
        "Bytes written to the journal, padding included.";
    JournalWraps "thalweg_journal_wraps_total" None, Counter Count
        "Times that the journal began again with its first file.";
    Checkpoints "thalweg_checkpoints_total" None, Counter Count "Checkpoints completed.";
    BehindBytes "thalweg_behind_bytes_total" None, Counter Bytes
        "Bytes written to segments behind their acknowledgement.";
    PendingBytes "thalweg_pending_bytes" None, Gauge Bytes
        "Bytes that only journal and memory hold.";
    CacheBytes "thalweg_cache_bytes" None, Gauge Bytes
        "Bytes of batches kept for readers of the tail.";
    CacheHits "thalweg_cache_hits_total" None, Counter Count "Reads answered from memory.";
    ReadaheadHits "thalweg_readahead_hits_total" None, Counter Count
        "Reads answered from what was read ahead.";
    ColdReads "thalweg_cold_reads_total" None, Counter Count "Reads that went to the disk.";
    ColdReadBytes "thalweg_cold_read_bytes_total" None, Counter Bytes "Bytes read from the disk.";
    WaitingFetches "thalweg_waiting_fetches" None, Gauge Count
        "Fetches that wait for bytes or for time.";
    MeshCalls "thalweg_mesh_calls_total" None, Counter Count "Calls sent to another shard.";
    CorePinned "thalweg_shard_pinned" None, Gauge Count
        "1 while the shard keeps to its core, 0 while others want it.";
    CoreWait "thalweg_core_wait_seconds_total" None, Counter Micros
        "Time that the shard could have run and something else had its core.";
    Partitions "thalweg_partitions" None, Gauge Count "Partitions owned.";
    PartitionsRelaxed "thalweg_partitions_relaxed" None, Gauge Count
        "Partitions whose acks=all is answered before the flush (thalweg.durability=write).";
    Groups "thalweg_groups" None, Gauge Count "Groups coordinated.";
    GroupMembers "thalweg_group_members" None, Gauge Count "Members of all groups.";
    CommittedOffsets "thalweg_committed_offsets" None, Gauge Count
        "Offsets that groups have committed.";
    GroupsMemory "thalweg_groups_memory_bytes" None, Gauge Bytes
        "Memory of groups, members, assignments and offsets, by a cautious count.";
    OffsetCommits "thalweg_offset_commits_total" None, Counter Count
        "Offsets committed, each partition counted.";
    GroupRebalances "thalweg_group_rebalances_total" None, Counter Count
        "Generations and target assignments of groups.";
    GroupLoad "thalweg_group_load_seconds" None, Gauge Micros
        "Longest time that loading the groups of one partition took.";
    SegmentsRolled "thalweg_segments_rolled_total" None, Counter Count "Segments sealed.";
    SegmentsDeleted "thalweg_segments_deleted_total" None, Counter Count "Segments removed.";
    SegmentsRecycled "thalweg_segments_recycled_total" None, Counter Count
        "Segments begun in the file of a removed one.";
    PoolBytes "thalweg_pool_bytes" None, Gauge Bytes
        "Files of removed segments kept to be written again.";
    Cleanings "thalweg_cleanings_total" None, Counter Count
        "Cleanings of compacted logs completed.";
    CleanedBytes "thalweg_cleaned_bytes_total" label("segments", "replaced"), Counter Bytes
        "Bytes of segments that compaction replaced, and of those that took their place.";
    CleanedKeptBytes "thalweg_cleaned_bytes_total" label("segments", "written"), Counter Bytes
        "Bytes of segments that compaction replaced, and of those that took their place.";
    UncleanableLogs "thalweg_uncleanable_logs" None, Gauge Count
        "Compacted logs left as they are because something in them does not check.";
    DirtiestLogPercent "thalweg_dirtiest_log_percent" None, Gauge Count
        "Uncompacted share of the dirtiest compacted log of a shard, in percent.";
    LongestStall "thalweg_longest_stall_seconds" None, Gauge Micros
        "Longest time since start that the shard could not turn to other work.";
    StoreStatus "thalweg_store_status" None, Gauge Count
        "0 takes appends, 1 waits for space, 2 is offline for writing after an I/O error.";
}

/// Values of `thalweg_store_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum StoreStatus {
    /// Takes appends.
    Ok = 0,
    /// The disk is full; appends resume when there is space.
    Full = 1,
    /// A write or flush failed; nothing is written until a restart.
    Offline = 2,
}

/// The value that shows a counter of the store, by the store's name for it.
pub fn store_value(name: &str) -> Option<Value> {
    Some(match name {
        "small_appends" => Value::AppendsJournal,
        "direct_appends" => Value::AppendsDirect,
        "append_bytes" => Value::AppendBytes,
        "group_commits" => Value::GroupCommits,
        "journal_bytes" => Value::JournalBytes,
        "journal_wraps" => Value::JournalWraps,
        "journal_flushes" => Value::FlushesJournal,
        "segment_flushes" => Value::FlushesSegment,
        "checkpoint_flushes" => Value::FlushesCheckpoint,
        "checkpoints" => Value::Checkpoints,
        "behind_bytes" => Value::BehindBytes,
        "pending_bytes" => Value::PendingBytes,
        "cached_bytes" => Value::CacheBytes,
        "cache_hits" => Value::CacheHits,
        "readahead_hits" => Value::ReadaheadHits,
        "cold_reads" => Value::ColdReads,
        "cold_read_bytes" => Value::ColdReadBytes,
        "rolls" => Value::SegmentsRolled,
        "segments_deleted" => Value::SegmentsDeleted,
        "segments_recycled" => Value::SegmentsRecycled,
        "pool_bytes" => Value::PoolBytes,
        "cleanings" => Value::Cleanings,
        "cleaned_bytes" => Value::CleanedBytes,
        "cleaned_kept_bytes" => Value::CleanedKeptBytes,
        "uncleanable_logs" => Value::UncleanableLogs,
        "dirtiest_log_percent" => Value::DirtiestLogPercent,
        _ => return None,
    })
}

/// A duration that each shard keeps as a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latency {
    /// Produce, from the decoded request to the finished answer.
    Produce,
    /// Fetch, from the decoded request to the finished answer, waiting included.
    Fetch,
    /// One write of a frame to the journal.
    JournalWrite,
    /// One flush of what an acknowledgement waits for: journal and segments together.
    JournalFlush,
}

/// Row of each [`Latency`], in its order.
static LATENCIES: [(Latency, Metric); 4] = [
    (
        Latency::Produce,
        histogram("thalweg_produce_seconds", "From decoded produce to finished answer."),
    ),
    (
        Latency::Fetch,
        histogram("thalweg_fetch_seconds", "From decoded fetch to finished answer, waiting too."),
    ),
    (
        Latency::JournalWrite,
        histogram("thalweg_journal_write_seconds", "One write of a group commit to the journal."),
    ),
    (
        Latency::JournalFlush,
        histogram(
            "thalweg_journal_flush_seconds",
            "One flush of journal and segments that acknowledgements wait for.",
        ),
    ),
];

const fn histogram(name: &'static str, help: &'static str) -> Metric {
    Metric { name, shape: Shape::Histogram, unit: Unit::Micros, help }
}

/// Rows with a label for the API.
static API_METRICS: [Metric; 4] = [
    per_api("thalweg_requests_total", Unit::Count, "Requests decoded."),
    per_api("thalweg_request_bytes_total", Unit::Bytes, "Request bytes, frame headers included."),
    per_api("thalweg_response_bytes_total", Unit::Bytes, "Answer bytes, frame headers included."),
    per_api(
        "thalweg_errors_total",
        Unit::Count,
        "Produce and Fetch answers with an error for any partition.",
    ),
];

const fn per_api(name: &'static str, unit: Unit, help: &'static str) -> Metric {
    Metric { name, shape: Shape::Counter, unit, help }
}

/// Rows of the process as a whole.
static PROCESS_METRICS: [Metric; 3] = [
    Metric {
        name: "thalweg_uptime_seconds",
        shape: Shape::Gauge,
        unit: Unit::Micros,
        help: "Time since the broker was ready.",
    },
    Metric {
        name: "thalweg_build_info",
        shape: Shape::Gauge,
        unit: Unit::Count,
        help: "Always 1; the label carries the version.",
    },
    Metric {
        name: "thalweg_durability_info",
        shape: Shape::Gauge,
        unit: Unit::Count,
        help: "Always 1; the label says what acks=all waits for by default: flush or write.",
    },
];

/// Every name on the page, once, for documents and checks.
pub fn all_metrics() -> Vec<Metric> {
    let mut all: Vec<Metric> = PROCESS_METRICS.to_vec();
    all.extend(API_METRICS);
    all.extend(VALUES.iter().map(|(_, _, metric)| *metric));
    all.extend(LATENCIES.iter().map(|(_, metric)| *metric));
    all.dedup_by_key(|metric| metric.name);
    all
}

/// API keys that are counted each for itself; Kafka's end at 94, the rest share the last cell.
const APIS: usize = 128;

#[derive(Default)]
struct ApiCells {
    requests: Cell<u64>,
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
    errors: Cell<u64>,
}

/// The live numbers of one shard. Belongs to its thread; share it there by `Rc`.
pub struct ShardMetrics {
    shard: ShardId,
    values: Vec<Cell<u64>>,
    apis: Vec<ApiCells>,
    latencies: [Histogram; LATENCIES.len()],
}

impl ShardMetrics {
    /// All zero.
    pub fn new(shard: ShardId) -> Self {
        Self {
            shard,
            values: VALUES.iter().map(|_| Cell::new(0)).collect(),
            apis: (0..APIS).map(|_| ApiCells::default()).collect(),
            latencies: Default::default(),
        }
    }

    /// Count `more`.
    pub fn add(&self, value: Value, more: u64) {
        let cell = &self.values[value as usize];
        cell.set(cell.get().wrapping_add(more));
    }

    /// Take `less` from a gauge, down to zero.
    pub fn sub(&self, value: Value, less: u64) {
        let cell = &self.values[value as usize];
        cell.set(cell.get().saturating_sub(less));
    }

    /// Count one more in a gauge until what this returns is dropped.
    pub fn during(&self, value: Value) -> During<'_> {
        self.add(value, 1);
        During { metrics: self, value }
    }

    /// Set a gauge, or a counter that is kept elsewhere.
    pub fn set(&self, value: Value, now: u64) {
        self.values[value as usize].set(now);
    }

    /// Raise a gauge to `seen` when that is more.
    pub fn raise(&self, value: Value, seen: u64) {
        let cell = &self.values[value as usize];
        cell.set(cell.get().max(seen));
    }

    /// The number now.
    pub fn get(&self, value: Value) -> u64 {
        self.values[value as usize].get()
    }

    /// A request of `bytes` was decoded.
    pub fn request(&self, api_key: i16, bytes: usize) {
        let cells = &self.apis[api_index(api_key)];
        cells.requests.set(cells.requests.get() + 1);
        cells.bytes_in.set(cells.bytes_in.get() + bytes as u64);
    }

    /// An answer of `bytes` was made; `has_error` is counted for Produce and Fetch.
    pub fn response(&self, api_key: i16, bytes: usize, has_error: bool) {
        let cells = &self.apis[api_index(api_key)];
        cells.bytes_out.set(cells.bytes_out.get() + bytes as u64);
        cells.errors.set(cells.errors.get() + u64::from(has_error));
    }

    /// Something took this long.
    pub fn record(&self, latency: Latency, took: Duration) {
        self.latencies[latency as usize].record(took);
    }

    /// The numbers now, as plain data that may leave the shard. `kept` are durations that are
    /// recorded elsewhere on the shard.
    pub fn snapshot(&self, kept: &[(Latency, &Histogram)]) -> ShardSnapshot {
        let mut latencies: Vec<_> = self.latencies.iter().map(Histogram::snapshot).collect();
        for (latency, histogram) in kept {
            latencies[*latency as usize] = histogram.snapshot();
        }
        let apis = self.apis.iter().enumerate().filter(|(_, cells)| cells.requests.get() > 0);
        ShardSnapshot {
            shard: self.shard,
            values: self.values.iter().map(Cell::get).collect(),
            apis: apis
                .map(|(key, cells)| ApiSnapshot {
                    api_key: key as i16,
                    requests: cells.requests.get(),
                    bytes_in: cells.bytes_in.get(),
                    bytes_out: cells.bytes_out.get(),
                    errors: cells.errors.get(),
                })
                .collect(),
            latencies,
        }
    }
}

fn api_index(api_key: i16) -> usize {
    usize::try_from(api_key).map_or(APIS - 1, |key| key.min(APIS - 1))
}

/// Numbers of one API on one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiSnapshot {
    /// Kafka's number of the API; 127 stands for all unknown ones.
    pub api_key: i16,
    /// Requests decoded.
    pub requests: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Bytes of the answers.
    pub bytes_out: u64,
    /// Answers with an error code.
    pub errors: u64,
}

/// The numbers of one shard at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardSnapshot {
    /// The shard.
    pub shard: ShardId,
    values: Vec<u64>,
    /// APIs that were asked for at least once.
    pub apis: Vec<ApiSnapshot>,
    latencies: Vec<HistogramSnapshot>,
}

impl ShardSnapshot {
    /// One number.
    pub fn get(&self, value: Value) -> u64 {
        self.values[value as usize]
    }

    /// One histogram.
    pub fn latency(&self, latency: Latency) -> &HistogramSnapshot {
        &self.latencies[latency as usize]
    }
}

/// One that a gauge counts, however it ends.
pub struct During<'a> {
    metrics: &'a ShardMetrics,
    value: Value,
}

impl Drop for During<'_> {
    fn drop(&mut self) {
        self.metrics.sub(self.value, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_send<T: Send>(_: &T) {}

    #[test]
    fn tables_and_enums_have_one_order() {
        for (place, (value, ..)) in VALUES.iter().enumerate() {
            assert_eq!(*value as usize, place);
        }
        for (place, (latency, _)) in LATENCIES.iter().enumerate() {
            assert_eq!(*latency as usize, place);
        }
    }

    #[test]
    fn names_are_unique_and_follow_prometheus() {
        let all = all_metrics();
        let mut names: Vec<&str> = all.iter().map(|m| m.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all.len(), "rows of one name must stand together");
        for metric in all {
            assert!(metric.name.starts_with("thalweg_"), "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
            let is_counter = metric.shape == Shape::Counter;
            assert_eq!(metric.name.ends_with("_total"), is_counter, "{}", metric.name);
        }
    }

    #[test]
    fn a_snapshot_holds_what_was_counted_and_may_travel() {
        let live = ShardMetrics::new(3);
        live.add(Value::AppendsDirect, 2);
        live.set(Value::PendingBytes, 10);
        live.sub(Value::PendingBytes, 11);
        live.raise(Value::LongestStall, 7);
        live.raise(Value::LongestStall, 5);
        live.request(0, 100);
        live.response(0, 50, true);
        live.request(-7, 1);
        live.record(Latency::Produce, Duration::from_micros(3));
        let seen = live.snapshot(&[]);
        is_send(&seen);
        live.add(Value::AppendsDirect, 1);
        assert_eq!((seen.shard, seen.get(Value::AppendsDirect)), (3, 2));
        assert_eq!((seen.get(Value::PendingBytes), seen.get(Value::LongestStall)), (0, 7));
        let [produce, unknown] = seen.apis[..] else { panic!("{:?}", seen.apis) };
        assert_eq!((produce.requests, produce.bytes_in, produce.bytes_out), (1, 100, 50));
        assert_eq!((produce.errors, unknown.api_key), (1, 127));
        assert_eq!(seen.latency(Latency::Produce).count(), 1);
    }
}
