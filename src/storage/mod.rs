//! One shard's logs on one disk: journal, segments, indexes, recovery.
//!
//! This file is the seam to `partition`; see `docs/STORAGE.md` for the rules behind it.

use std::future::Future;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::rc::Rc;

use bytes::Bytes;

use crate::model::{LeaderEpoch, Offset, ShardId, TimestampMs, TopicPartition};
use crate::runtime::Runtime;

/// Limits and places of a store. Every field has a documented default in `config`.
#[derive(Clone, Debug)]
pub struct StorageConfig {
    /// The data directory.
    pub data_dir: PathBuf,
    /// Bytes of journal files per shard, all files together.
    pub journal_bytes_max: u64,
    /// Appends of at least this many bytes go straight to their segment.
    pub direct_append_bytes_min: usize,
    /// Bytes per shard that only journal and memory hold; beyond it `append` says `NoRoom`.
    pub pending_bytes_max: usize,
    /// Bytes per shard of written batches kept in memory for readers of the tail.
    pub cache_bytes_max: usize,
}

/// What a topic's configuration says about each of its logs.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// `flush.messages`; `i64::MAX` is never.
    pub flush_messages: i64,
    /// `flush.ms`; `i64::MAX` is never.
    pub flush_ms: i64,
    /// Whether `cleanup.policy` contains `delete`.
    pub delete: bool,
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
    /// Largest believable timestamp in it.
    pub max_timestamp: TimestampMs,
}

/// What one shard starts with; made by [`recover`], moved to the shard's thread.
#[derive(Debug)]
pub struct ShardStart {
    /// The shard it is for.
    pub shard: ShardId,
}

/// Replay the last run's journals into their segments and begin a new run.
///
/// `owner` tells which shard a log belongs to now; `None` deletes the log (its topic is gone).
pub async fn recover<R: Runtime>(
    runtime: &R,
    config: &StorageConfig,
    shards: ShardId,
    owner: &dyn Fn(TopicPartition) -> Option<(ShardId, LogConfig)>,
) -> Result<Vec<ShardStart>, StorageError> {
    let _ = (runtime, config, shards, owner);
    Err(StorageError::Io("storage has not landed".into()))
}

/// All logs of one shard.
pub struct Store<R: Runtime> {
    _runtime: PhantomData<R>,
}

/// One partition's log.
pub struct Log<R: Runtime> {
    _runtime: PhantomData<R>,
}

#[expect(unused_variables, reason = "the seam before the storage work lands")]
impl<R: Runtime> Store<R> {
    /// Open what recovery found for this shard.
    pub async fn open(
        runtime: R,
        config: StorageConfig,
        start: ShardStart,
    ) -> Result<Rc<Self>, StorageError> {
        Err(StorageError::Io("storage has not landed".into()))
    }
    /// Logs found at recovery; each is given once.
    pub fn take_recovered(&self) -> Vec<(Rc<Log<R>>, Replay)> {
        Vec::new()
    }
    /// Create an empty log, durably.
    pub async fn create_log(
        &self,
        id: TopicPartition,
        config: LogConfig,
    ) -> Result<Rc<Log<R>>, StorageError> {
        Err(StorageError::Io("storage has not landed".into()))
    }
    /// Remove a log, durably; readers that hold pieces keep them.
    pub async fn delete_log(&self, id: TopicPartition) -> Result<(), StorageError> {
        Ok(())
    }
    /// Write behind everything, flush, checkpoint, make every segment readable by other tools.
    pub async fn close(&self) -> Result<(), StorageError> {
        Ok(())
    }
}

#[expect(unused_variables, reason = "the seam before the storage work lands")]
impl<R: Runtime> Log<R> {
    /// Which partition this is.
    pub fn id(&self) -> TopicPartition {
        unreachable!("storage has not landed")
    }
    /// Who hears of progress. Set once, right after creation or recovery.
    pub fn set_observer(&self, observer: Rc<dyn LogObserver>) {}
    /// Take a batch: its place in the order is fixed when this returns `Ok`. Never waits.
    pub fn append(&self, batch: &Append) -> Result<(), AppendError> {
        Err(AppendError::NoRoom)
    }
    /// Wait (allocate, write behind) until `append` of `bytes` is likely to be taken.
    pub fn room(&self, bytes: usize) -> impl Future<Output = Result<(), StorageError>> + use<R> {
        async { Err(StorageError::Io("storage has not landed".into())) }
    }
    /// First offset that may be read.
    pub fn start_offset(&self) -> Offset {
        0
    }
    /// Offset the next record gets.
    pub fn end_offset(&self) -> Offset {
        0
    }
    /// Whole batches from the one that contains `from`, below `limit`, from memory alone;
    /// `None` when they have to be read from disk. At least one batch whatever its size when
    /// `at_least_one`.
    pub fn read_cached(
        &self,
        from: Offset,
        limit: Offset,
        bytes_max: usize,
        at_least_one: bool,
    ) -> Result<Option<ReadBatches>, ReadError> {
        Ok(None)
    }
    /// As [`Log::read_cached`], reading from disk what is not in memory.
    pub async fn read(
        &self,
        from: Offset,
        limit: Offset,
        bytes_max: usize,
        at_least_one: bool,
    ) -> Result<ReadBatches, ReadError> {
        Err(ReadError::OutOfRange)
    }
    /// Base offset of the first batch whose largest timestamp is at least `timestamp`, below
    /// `limit`; the caller looks inside the batch.
    pub async fn batch_by_timestamp(
        &self,
        timestamp: TimestampMs,
        limit: Offset,
    ) -> Result<Option<Offset>, ReadError> {
        Ok(None)
    }
    /// Base offset of the batch with the largest timestamp.
    pub async fn batch_of_max_timestamp(&self, limit: Offset) -> Result<Option<Offset>, ReadError> {
        Ok(None)
    }
    /// Raise the start offset, durably (DeleteRecords); whole segments below it go.
    pub async fn set_start_offset(&self, offset: Offset) -> Result<(), StorageError> {
        Ok(())
    }
    /// Roll an expired active segment and delete what retention no longer keeps.
    pub async fn apply_retention(
        &self,
        high_watermark: Offset,
        wall_ms: TimestampMs,
    ) -> Result<usize, StorageError> {
        Ok(0)
    }
    /// Take a changed topic configuration.
    pub fn set_config(&self, config: LogConfig) {}
    /// The segments, oldest first.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        Vec::new()
    }
}
