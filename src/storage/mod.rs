//! One shard's logs on one disk: journal, segments, indexes, recovery.
//!
//! This file is the seam to `partition`; see `docs/STORAGE.md` for the rules behind it.

mod append;
mod batch;
mod behind;
mod checkpoint;
mod checkpoint_file;
mod chunk;
mod clean;
mod core;
mod cursor;
mod entry;
mod flush_timer;
mod format;
mod frame;
mod hostile;
mod index;
mod journal;
mod journal_list;
mod kept;
mod limits;
mod log;
#[cfg(test)]
mod loss_tests;
mod memory;
mod on_disk;
mod pool;
#[cfg(test)]
mod pool_tests;
mod read;
mod readahead;
mod recover;
mod replay;
mod restore;
mod retention;
#[cfg(test)]
mod retention_tests;
mod room;
#[cfg(test)]
mod room_tests;
mod run_files;
mod scan;
mod segment;
mod stats;
mod status;
mod store;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;

use bytes::Bytes;

use crate::config::Config;
use crate::disk::DiskError;
use crate::model::{LeaderEpoch, Offset, ShardId, TimestampMs};

pub use clean::{
    AbortedTransaction, CleanError, CleanFacts, CleanLimits, CleanOutcome, Compaction, Dirt,
    LastRecord, Throttle,
};
pub use hostile::parse_unknown;
pub use log::Log;
pub use on_disk::{holds_logs, unknown_topics};
pub use recover::recover;
pub use stats::StoreStats;
pub use status::StoreStatus;
pub use store::Store;

/// Limits and places of a store. Every field has a documented default in `config`.
#[derive(Clone, Debug)]
pub struct StorageConfig {
    /// The data directory.
    pub data_dir: PathBuf,
    /// Bytes of journal files per shard, all files together.
    pub journal_bytes_max: u64,
    /// Appends of at least this many bytes that wait for a flush go straight to their segment.
    pub direct_append_bytes_min: usize,
    /// The same for appends that wait for no flush: what a flush of many files costs is not theirs.
    pub direct_unflushed_append_bytes_min: usize,
    /// Bytes per shard that only journal and memory hold; beyond it `append` says `NoRoom`.
    pub pending_bytes_max: usize,
    /// Bytes per shard of written batches kept in memory for readers of the tail.
    pub cache_bytes_max: usize,
    /// Segment files per shard held open at a time.
    pub open_files_max: usize,
    /// Bytes per shard of removed segments' files that are kept to be written again.
    pub pool_bytes_max: u64,
    /// Bytes of the disk that appends leave free, for all shards together.
    pub space_reserve_bytes: u64,
}

impl From<&Config> for StorageConfig {
    /// The part of each shard in what the broker's settings allow.
    fn from(config: &Config) -> Self {
        let (limits, shards) = (&config.limits, config.shards());
        Self {
            data_dir: config.data_dir.clone(),
            journal_bytes_max: limits.journal_bytes_max,
            direct_append_bytes_min: limits.direct_append_bytes_min,
            direct_unflushed_append_bytes_min: limits.direct_unflushed_append_bytes_min,
            pending_bytes_max: limits.pending_bytes_max,
            cache_bytes_max: limits.cache_bytes_max,
            open_files_max: limits.open_files_max / shards,
            pool_bytes_max: limits.pool_bytes_max / shards as u64,
            space_reserve_bytes: limits.space_reserve_bytes * shards as u64,
        }
    }
}

/// What a topic's configuration says about each of its logs.
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    /// `segment.bytes`
    pub segment_bytes: u64,
    /// `segment.ms`
    pub segment_ms: i64,
    /// `retention.bytes`; -1 is unlimited.
    pub retention_bytes: i64,
    /// `retention.ms`; -1 is unlimited.
    pub retention_ms: i64,
    /// `index.interval.bytes`
    pub index_interval_bytes: u32,
    /// `flush.ms`; `i64::MAX` is never.
    pub flush_ms: i64,
    /// Whether `cleanup.policy` contains `delete`.
    pub delete: bool,
    /// How its logs are compacted, when `cleanup.policy` contains `compact`.
    pub compaction: Option<Compaction>,
}

/// Whose a log is, as far as whoever starts knows.
#[derive(Clone, Debug, PartialEq)]
pub enum Owner {
    /// This shard's, so configured.
    Shard(ShardId, LogConfig),
    /// Its topic was removed: what is left of it goes.
    Removed,
    /// Nobody's that is known: its files are kept aside.
    Unknown,
}

/// Why storage could not do what was asked.
#[derive(Clone, Debug)]
pub enum StorageError {
    /// No space left where it was to be allocated; resumes when space returns.
    Full(String),
    /// A write or flush failed: offline for writing until a restart.
    Offline(String),
    /// Bytes below the flushed end do not check: this log is offline, its files untouched.
    Corrupt(String),
    /// Anything else the operating system said.
    Io(String),
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(why) => write!(f, "no space left: {why}"),
            Self::Offline(why) => write!(f, "storage is offline: {why}"),
            Self::Corrupt(why) => write!(f, "damaged: {why}"),
            Self::Io(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for StorageError {}

impl From<DiskError> for StorageError {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::Full(why) => Self::Full(why),
            DiskError::NotFound(why) | DiskError::Failed(why) => Self::Io(why),
        }
    }
}

/// Why a batch was not taken by [`Log::append`].
#[derive(Clone, Debug)]
pub enum AppendError {
    /// Call [`Log::room`] and try again.
    NoRoom,
    /// The store cannot take it.
    Storage(StorageError),
}

/// A validated record batch whose place is decided.
#[derive(Clone, Debug)]
pub struct Append {
    /// The batch as it came from the wire; storage stamps base offset and leader epoch.
    pub bytes: Bytes,
    /// Offset of the first record; must equal the log's end offset (or more, after a gap).
    pub base_offset: Offset,
    /// Offset of the last record.
    pub last_offset: Offset,
    /// Epoch to stamp.
    pub leader_epoch: LeaderEpoch,
    /// Largest record timestamp that can be believed, for the time index and retention.
    pub max_timestamp: TimestampMs,
    /// Flush before this batch counts as safe (acks=all).
    pub flush: bool,
}

/// Told about progress of one log, synchronously, after each group commit that moved it.
pub trait LogObserver {
    /// Every record below `written` has completed its write (survives kill -9), every record
    /// below `flushed` is on the device. Both only grow.
    fn progressed(&self, written: Offset, flushed: Offset);
    /// Appends not yet reported as safe will never be; the log takes no more.
    fn failed(&self, error: &StorageError);
    /// State to keep with a checkpoint taken at the log's end as of this call (producer state).
    fn snapshot(&self) -> Bytes;
}

/// What was found for a log at recovery, for the partition to rebuild its own state.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    /// The last checkpointed [`LogObserver::snapshot`], empty if none.
    pub snapshot: Bytes,
    /// The 61-byte headers of every batch behind that snapshot, in order.
    pub headers: Vec<Bytes>,
}

/// Whole batches as stored, ready for the wire.
#[derive(Clone, Debug, Default)]
pub struct ReadBatches {
    /// Pieces that concatenated are whole batches; they may be sent from any shard.
    pub pieces: Vec<Bytes>,
    /// Sum of their lengths.
    pub bytes: usize,
    /// There is more below the limit than was read.
    pub is_cut: bool,
}

/// Why a read gave nothing.
#[derive(Clone, Debug)]
pub enum ReadError {
    /// The offset is below the start or above the end.
    OutOfRange,
    /// The bytes could not be read or do not check.
    Storage(StorageError),
}

/// One segment as others may see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Base offset, which names its file.
    pub base_offset: Offset,
    /// Bytes of batches in it.
    pub bytes: u64,
    /// Largest believable timestamp in it; below 0 there is none.
    pub max_timestamp: TimestampMs,
}

/// What one shard starts with; made by [`recover`], moved to the shard's thread.
#[derive(Debug)]
pub struct ShardStart {
    /// The shard it is for.
    pub shard: ShardId,
    generation: u64,
    salt: frame::Salt,
    next_incarnation: u64,
    logs: Vec<RecoveredLog>,
}

/// One log as recovery left it.
#[derive(Debug)]
struct RecoveredLog {
    record: checkpoint_file::LogRecord,
    config: LogConfig,
    replay: Replay,
    /// The journal had something about it.
    is_touched: bool,
}
