//! The trade's nouns as types, in Kafka's own words. No I/O, no dependencies.
//!
//! Two numbers that mean different things have different types: an [`Offset`] is a
//! logical place in a partition, a [`Position`] a byte place in a file.

mod address;
mod ids;
mod offset;
mod stop;
mod time;
mod topic;

pub use address::{show_address, split_address};
pub use ids::{NodeId, ProducerEpoch, ProducerId, ShardId, Uuid};
pub use offset::{LeaderEpoch, Offset, Position};
pub use stop::FirstSignal;
pub use time::{TimestampMs, TimestampType};
pub use topic::{
    CLUSTER_METADATA, CONSUMER_OFFSETS, PartitionIndex, TopicName, TopicNameError, TopicPartition,
};
