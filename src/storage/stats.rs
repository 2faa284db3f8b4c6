//! What a store counts for the metrics page. Plain cells: one shard, one thread.

use std::cell::Cell;

use crate::metrics::Histogram;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters of one store; all only grow, except those that say *now*.
        #[derive(Default)]
        pub struct StoreStats {
            $($(#[$doc])* pub $name: Cell<u64>,)*
            /// How long each write of a frame took.
            pub journal_write_time: Histogram,
            /// How long each flush took that acknowledgements wait for.
            pub journal_flush_time: Histogram,
        }

        impl StoreStats {
            /// Every counter by name.
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)*]
            }
        }
    };
}

counters! {
    /// Batches taken whose bytes went whole into the journal.
    small_appends,
    /// Batches taken whose whole blocks went straight to their segment.
    direct_appends,
    /// Bytes of batches taken.
    append_bytes,
    /// Frames written to the journal.
    group_commits,
    /// Bytes of those frames.
    journal_bytes,
    /// Times the journal began again in its first file.
    journal_wraps,
    /// fdatasync calls for journal files.
    journal_flushes,
    /// fdatasync calls for segments on behalf of acknowledgements.
    segment_flushes,
    /// fdatasync calls of checkpoints and seals, segments and checkpoint files.
    checkpoint_flushes,
    /// Checkpoints completed.
    checkpoints,
    /// Bytes written to segments behind their appends.
    behind_bytes,
    /// Bytes now that only journal and memory hold, or whose write is under way.
    pending_bytes,
    /// Bytes now of written batches kept for readers.
    cached_bytes,
    /// Reads answered from memory.
    cache_hits,
    /// Reads answered from a read-ahead buffer.
    readahead_hits,
    /// Reads from the device.
    cold_reads,
    /// Bytes of those.
    cold_read_bytes,
    /// Segments rolled.
    rolls,
    /// Segments deleted.
    segments_deleted,
    /// Segment files taken from the pool of used ones.
    segments_recycled,
    /// Bytes now of removed segments' files kept to be written again.
    pool_bytes,
    /// Cleanings of compacted logs completed.
    cleanings,
    /// Bytes of segments that cleanings replaced.
    cleaned_bytes,
    /// Bytes of the segments that took their place.
    cleaned_kept_bytes,
    /// Logs now that cannot be cleaned because something in them does not check.
    uncleanable_logs,
    /// Dirty share now of the dirtiest log, in percent of what may be cleaned of it.
    dirtiest_log_percent,
}

/// Add to a counter.
pub(crate) fn add(counter: &Cell<u64>, by: u64) {
    counter.set(counter.get().wrapping_add(by));
}

/// Subtract from a counter that says *now*.
pub(crate) fn sub(counter: &Cell<u64>, by: u64) {
    counter.set(counter.get().saturating_sub(by));
}
