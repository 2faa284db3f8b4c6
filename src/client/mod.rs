//! A small Kafka client for the commands and the load generator's set-up.
//!
//! Blocking sockets, one request at a time, no threads of its own: easy to follow and fast enough
//! for people and scripts. It speaks to any broker with a version of an API that both know.
//!
//! [`Connection`] is one broker: it negotiates versions and answers one typed request after the
//! other. [`Client`] is a cluster: it knows who leads what and sends each request there.
//!
//! Always true: replies are bounded in size and awaited up to a deadline; a reply that is no
//! reply ends its connection; every error names the broker's address, what was asked, and, where
//! one is likely, cause and fix.

mod address;
mod cluster;
mod configs;
mod connection;
mod error;
mod groups;
mod membership;
mod read;
mod topics;
mod write;

pub use address::BrokerAddress;
pub use cluster::{Client, ClientOptions, PartitionInfo, TopicInfo};
pub use configs::{ConfigChange, ConfigEntity, ConfigSetting, ConfigSource};
pub use connection::{Connection, ConnectionOptions};
pub use error::ClientError;
pub use groups::{CommittedOffset, GroupInfo, GroupListing, GroupMember};
pub use membership::Membership;
pub use read::{FetchOptions, FetchPosition, Fetched, OffsetSpec};
pub use topics::NewTopic;
pub use write::{Acknowledged, Acks, ProducerIdentity};

#[cfg(test)]
mod tests;
