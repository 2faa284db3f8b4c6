//! Names and places: every path below the data directory is formed here, and nowhere else.
//!
//! ```text
//! CURRENT                                  which run's journals and checkpoints count
//! runs/<generation>/shard-<n>/journal-<k>  the journal's files, written round and round
//! runs/<generation>/shard-<n>/journals     which of them there are
//! runs/<generation>/shard-<n>/checkpoint-a and -b
//! runs/<generation>/KEEP                   the run is kept for a log that is offline
//! logs/<topic id>/<partition>/<base offset, 20 digits>.log .index .timeindex
//! logs/<topic id>/<partition>-stray-<generation>  kept aside: nobody knew whose it is
//! pool/<generation>-<shard>-<n>            written files of deleted segments, to be used again;
//!                                          cleaned segments and their indexes, until renamed
//! ```
//! Directories of topics are named by id, never by name: a name is a stranger's input.

use std::path::{Path, PathBuf};

use crate::model::{Offset, ShardId, TopicPartition, Uuid};

/// Version of every format below; a reader refuses versions it does not know.
pub(crate) const FORMAT_VERSION: u16 = 1;

/// Where everything of one data directory is.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self { root: data_dir.to_owned() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn current(&self) -> PathBuf {
        self.root.join("CURRENT")
    }

    /// Written in full before it takes the place of [`Layout::current`].
    pub(crate) fn current_next(&self) -> PathBuf {
        self.root.join("CURRENT.next")
    }

    pub(crate) fn runs(&self) -> PathBuf {
        self.root.join("runs")
    }

    pub(crate) fn run(&self, generation: u64) -> PathBuf {
        self.runs().join(generation.to_string())
    }

    /// Marks a run that is kept although another one is current (a log could not be recovered
    /// from it), and says how it is read.
    pub(crate) fn run_kept(&self, generation: u64) -> PathBuf {
        self.run(generation).join("KEEP")
    }

    pub(crate) fn shard(&self, generation: u64, shard: ShardId) -> PathBuf {
        self.run(generation).join(format!("shard-{shard}"))
    }

    pub(crate) fn journal(&self, generation: u64, shard: ShardId, number: u32) -> PathBuf {
        self.shard(generation, shard).join(format!("journal-{number}"))
    }

    pub(crate) fn journal_list(&self, generation: u64, shard: ShardId) -> PathBuf {
        self.shard(generation, shard).join("journals")
    }

    pub(crate) fn checkpoint(&self, generation: u64, shard: ShardId, sequence: u64) -> PathBuf {
        let side = if sequence.is_multiple_of(2) { "checkpoint-a" } else { "checkpoint-b" };
        self.shard(generation, shard).join(side)
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    pub(crate) fn topic(&self, topic_id: Uuid) -> PathBuf {
        self.logs().join(topic_id.to_string())
    }

    pub(crate) fn log(&self, id: TopicPartition) -> PathBuf {
        self.topic(id.topic_id).join(id.partition.to_string())
    }

    /// Where a log is put that nobody knows the owner of, by the run that found it.
    pub(crate) fn stray(&self, id: TopicPartition, generation: u64) -> PathBuf {
        self.topic(id.topic_id).join(format!("{}-stray-{generation}", id.partition))
    }

    pub(crate) fn segment(&self, id: TopicPartition, base: Offset) -> PathBuf {
        self.log(id).join(format!("{base:020}.log"))
    }

    pub(crate) fn offset_index(&self, id: TopicPartition, base: Offset) -> PathBuf {
        self.log(id).join(format!("{base:020}.index"))
    }

    pub(crate) fn time_index(&self, id: TopicPartition, base: Offset) -> PathBuf {
        self.log(id).join(format!("{base:020}.timeindex"))
    }

    pub(crate) fn pool(&self) -> PathBuf {
        self.root.join("pool")
    }

    pub(crate) fn pooled(&self, name: Pooled) -> PathBuf {
        let Pooled { generation, shard, number } = name;
        self.pool().join(format!("{generation}-{shard}-{number}"))
    }

    /// The three files of a cleaned segment: where they were written, and where they belong.
    pub(crate) fn cleaned(
        &self,
        pooled: Pooled,
        id: TopicPartition,
        base: Offset,
    ) -> [(PathBuf, PathBuf); 3] {
        let [offset_index, time_index, whole] = self.pooled_files(pooled);
        [
            (offset_index, self.offset_index(id, base)),
            (time_index, self.time_index(id, base)),
            (whole, self.segment(id, base)),
        ]
    }

    /// The three files of a cleaned segment in the pool: its indexes, then itself.
    pub(crate) fn pooled_files(&self, pooled: Pooled) -> [PathBuf; 3] {
        let whole = self.pooled(pooled);
        [whole.with_extension("index"), whole.with_extension("timeindex"), whole]
    }
}

/// A name in the pool, given once in the life of a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pooled {
    pub(crate) generation: u64,
    pub(crate) shard: ShardId,
    pub(crate) number: u64,
}

/// The base offset that a file of a log is named by, if it is one of ours.
pub(crate) fn base_offset_of(name: &str) -> Option<Offset> {
    let (digits, suffix) = name.split_once('.')?;
    if !matches!(suffix, "log" | "index" | "timeindex") || digits.len() != 20 {
        return None;
    }
    digits.parse().ok().filter(|base| *base >= 0)
}

/// `shard-<n>` as a number.
pub(crate) fn shard_of(name: &str) -> Option<ShardId> {
    name.strip_prefix("shard-")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_read_back() {
        assert_eq!(base_offset_of("00000000000000000042.log"), Some(42));
        assert_eq!(base_offset_of("00000000000000000042.timeindex"), Some(42));
        for other in
            ["42.log", "00000000000000000042.snapshot", "x.log", "-0000000000000000042.log"]
        {
            assert_eq!(base_offset_of(other), None, "{other}");
        }
        assert_eq!(shard_of("shard-7"), Some(7));
        assert_eq!(shard_of("shard-x"), None);
    }
}
