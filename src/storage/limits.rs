//! Sizes of one store that follow from its configuration.

use super::StorageConfig;
use crate::disk::{BLOCK, block_floor};

/// Segment files held open whatever is configured: what a few tasks have in hand at once.
const OPEN_FILES_MIN: usize = 16;

/// See the fields.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Bytes of one journal file.
    pub(crate) journal_file_bytes: u64,
    /// Journal files of one shard.
    pub(crate) journal_files_max: usize,
    /// Bytes of one frame.
    pub(crate) frame_bytes_max: usize,
    /// Appends of at least this size that wait for a flush go straight to their segment.
    pub(crate) direct_append_bytes_min: usize,
    /// The same for appends that wait for no flush.
    pub(crate) direct_unflushed_append_bytes_min: usize,
    /// Bytes that only journal and memory hold.
    pub(crate) pending_bytes_max: u64,
    /// Bytes one log gathers before they are written behind: with more at a time the journal's
    /// writes, which acknowledgements wait for, stand longer in the device's queue.
    pub(crate) behind_bytes: u64,
    /// Bytes of one write behind.
    pub(crate) write_bytes_max: u64,
    /// First and largest step by which a segment's space is claimed.
    pub(crate) allocate_step_min: u64,
    pub(crate) allocate_step_max: u64,
    /// Bytes written straight to segments after which a checkpoint is due: recovery reads them
    /// all again to see that they arrived.
    pub(crate) direct_bytes_per_checkpoint: u64,
    /// Bytes of one read from a segment.
    pub(crate) read_bytes: usize,
    /// Segment files kept open.
    pub(crate) open_files_max: usize,
    /// Bytes of removed segments' files kept to be written again.
    pub(crate) pool_bytes_max: u64,
    /// Bytes of the disk that appends leave free.
    pub(crate) space_reserve_bytes: u64,
    /// Indexes of sealed segments kept in memory.
    pub(crate) loaded_indexes_max: usize,
}

impl Limits {
    /// Bytes from which on an append goes straight to its segment.
    pub(crate) fn direct_min(&self, flush: bool) -> usize {
        if flush { self.direct_append_bytes_min } else { self.direct_unflushed_append_bytes_min }
    }

    pub(crate) fn new(config: &StorageConfig) -> Self {
        let journal_file_bytes =
            block_floor((config.journal_bytes_max / 8).clamp(64 << 10, 8 << 20));
        let files = (config.journal_bytes_max / journal_file_bytes).clamp(4, 1024);
        let frame_bytes_max =
            usize::try_from((journal_file_bytes / 4).min(1 << 20)).unwrap_or(1 << 20);
        // A whole batch must fit a frame beside the parked bytes it may carry.
        let direct = |min: usize| min.clamp(2 * BLOCK, (frame_bytes_max / 2).max(2 * BLOCK));
        let pending = (config.pending_bytes_max as u64).max(64 << 10);
        Self {
            journal_file_bytes,
            journal_files_max: usize::try_from(files).unwrap_or(4),
            frame_bytes_max,
            direct_append_bytes_min: direct(config.direct_append_bytes_min),
            direct_unflushed_append_bytes_min: direct(config.direct_unflushed_append_bytes_min),
            pending_bytes_max: pending,
            behind_bytes: (64 << 10).min(pending / 4),
            write_bytes_max: 1 << 20,
            allocate_step_min: 1 << 20,
            allocate_step_max: 64 << 20,
            direct_bytes_per_checkpoint: 256 << 20,
            read_bytes: 512 << 10,
            open_files_max: config.open_files_max.max(OPEN_FILES_MIN),
            pool_bytes_max: config.pool_bytes_max,
            space_reserve_bytes: config.space_reserve_bytes,
            loaded_indexes_max: 64,
        }
    }
}
