//! Places: in a partition (offset), in a file (position), in leadership history (epoch).

/// Logical place of a record in its partition; the first record of a partition has offset 0.
pub type Offset = i64;

/// Byte place in a file.
pub type Position = u64;

/// How often the leadership of a partition has changed; stored in every batch (bytes 12..16).
pub type LeaderEpoch = i32;
