//! Sockets and requests.
//!
//! [`start`] brings a broker up and down: [`process`] is set up, the directory's [`lock`] taken,
//! the shards joined by [`channels`]; each becomes a [`serving`] one.
//!
//! The life of a request: [`listener`] accepts a connection and hands it to the shard that
//! [`admissions`] names; [`frames`] cuts the byte stream into frames, within [`memory`] and as fast
//! as others can bear ([`transfer`]); [`connection`] keeps the order of answers; [`dispatch`]
//! decodes a frame and calls the one handler of its API in [`handlers`], which asks the shards that
//! own what it is about; [`errors`] is the only translation from our errors to Kafka's;
//! [`configs`], [`features`], [`owners`] and [`operations`] are what several handlers share;
//! [`socket`] sends the answer without copying the batches in it, and [`readiness`] says when it
//! can.

pub mod admissions;
pub mod channels;
pub mod configs;
pub mod connection;
pub mod dispatch;
pub mod errors;
pub mod features;
pub mod fetch_session;
pub mod frames;
pub mod groups;
pub mod handlers;
pub mod http;
pub mod leaders;
pub mod listener;
pub mod lock;
pub mod memory;
pub mod operations;
pub mod owners;
pub mod process;
pub mod readiness;
pub mod request;
pub mod serving;
pub mod signal;
pub mod socket;
pub mod start;
pub mod transfer;
#[cfg(test)]
mod turns_tests;
