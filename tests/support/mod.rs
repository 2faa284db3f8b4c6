//! The harness of the end-to-end tests: a broker as a process, and a client for it.
//!
//! Owns: starting, killing and stopping brokers (`broker`), and speaking the protocol through an
//! implementation that is not ours (`wire`), so that one mistake in the codec cannot hide on both
//! sides. Knows nothing of what is tested. Every wait in here has an end.

#![allow(dead_code, reason = "each test binary uses its own part of the harness")]

pub mod broker;
pub mod wire;

pub use broker::{Broker, Options};
pub use wire::Connection;
