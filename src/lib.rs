//! Thalweg: a Kafka-protocol broker for Linux, one shard per core on io_uring.
//!
//! A folder is a layer; a layer imports only from layers above it in this list
//! (`tests/tidy/layers.rs` checks it):
//!
//! | layer | folder | owns |
//! |---|---|---|
//! | 0 | [`model`] | the trade's nouns as types |
//! | 0 | [`wire`] | primitives of the Kafka encoding and the schema language for messages |
//! | 1 | [`record`] | record batches, version 2: check, iterate, build, compress |
//! | 1 | [`config`] | settings, defaults, limits |
//! | 1 | [`metrics`] | counters, their names, the exposition text |
//! | 2 | [`protocol`] | Kafka's messages as schemas, API keys, error codes |
//! | 2 | [`runtime`] | the seams clock, spawn and sleep; glommio and simulated twins |
//! | 2 | [`disk`] | the seam to files; direct I/O and simulated twins |
//! | 3 | [`storage`] | journal, segments, indexes, recovery: one shard's logs on one disk |
//! | 4 | [`partition`] | the rules around one log: producers, high watermark, waiting readers |
//! | 4 | [`cluster`] | metadata: the image, the records that change it, placement |
//! | 5 | [`coordinator`] | groups: members, assignments, committed offsets |
//! | 6 | [`shard`] | one core and everything it owns; calls between cores |
//! | 6 | [`client`] | a small Kafka client for the commands and loadgen's set-up |
//! | 7 | [`server`] | sockets, request order, one handler per API |
//! | 8 | [`cli`] | the `thalweg` command |

pub mod model;
pub mod wire;

pub mod config;
pub mod metrics;
pub mod record;

pub mod disk;
pub mod protocol;
pub mod runtime;

pub mod storage;

pub mod cluster;
pub mod partition;

pub mod coordinator;

pub mod client;
pub mod shard;

pub mod server;

pub mod cli;
