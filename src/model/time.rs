//! Wall-clock time as Kafka counts it.

/// Milliseconds since 1970-01-01T00:00:00Z; -1 means "no timestamp".
pub type TimestampMs = i64;

/// Who sets the timestamp of a record (`message.timestamp.type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TimestampType {
    /// The producer's own time; attribute bit 3 is 0.
    #[default]
    CreateTime,
    /// The broker's time at append; attribute bit 3 is 1.
    LogAppendTime,
}
