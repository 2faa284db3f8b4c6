//! Settings of log compaction: what the cleaner of one shard reads.
//!
//! Each field names its key in `broker.rs`, where its default and bounds are. What is set for the
//! whole broker is divided among the shards. The memory for keys is in `limits.rs`.

/// Least time between two looks for dirty logs.
const BACKOFF_MS_MIN: u64 = 100;
/// Least bytes that are read or written at once.
const IO_BYTES_MIN: usize = 256 << 10;

/// Settings of the cleaner of one shard, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CleanerSettings {
    /// `log.cleaner.enable`
    pub enabled: bool,
    /// `log.cleaner.io.buffer.load.factor`, in percent.
    pub load_percent: u8,
    /// `log.cleaner.io.buffer.size`: this shard's part.
    pub io_bytes: usize,
    /// `log.cleaner.io.max.bytes.per.second`: this shard's part.
    pub bytes_per_second: u64,
    /// `log.cleaner.backoff.ms`
    pub backoff_ms: u64,
}

impl CleanerSettings {
    /// Read every setting through `text`, which knows the resolved settings.
    pub(super) fn read(text: &mut dyn FnMut(&'static str) -> String, shards: usize) -> Self {
        let shards = shards.max(1) as u64;
        let enabled = text("log.cleaner.enable") == "true";
        let mut number = |name| text(name).parse::<f64>().unwrap_or(0.0);
        // Casts saturate, which is what is meant: no number is above the largest.
        let mut whole = |name| number(name) as u64;
        let io = whole("log.cleaner.io.buffer.size");
        let bytes_per_second = whole("log.cleaner.io.max.bytes.per.second") / shards;
        let backoff_ms = whole("log.cleaner.backoff.ms").max(BACKOFF_MS_MIN);
        Self {
            enabled,
            load_percent: (number("log.cleaner.io.buffer.load.factor") * 100.0) as u8,
            io_bytes: usize::try_from(io / shards).unwrap_or(usize::MAX).max(IO_BYTES_MIN),
            bytes_per_second: bytes_per_second.max(1),
            backoff_ms,
        }
    }
}
