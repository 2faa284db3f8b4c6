//! Who has what: cluster metadata as a log of changes.
//!
//! | file | owns |
//! |---|---|
//! | [`image`] | one immutable snapshot of all metadata; replaced whole |
//! | [`change`] | the steps from one image to the next |
//! | [`controller`] | which changes a request leads to; pure |
//! | [`configs`] | which changes a request to alter configurations leads to; pure |
//! | [`quotas`] | the same of client quotas |
//! | [`internal`] | `__consumer_offsets`: its settings, and where a group is in it |
//! | [`log`] | the file that makes changes durable |
//! | `replay` | the image that the bytes of that file lead to |
//! | `flushed_end` | how much of that file was acknowledged |
//! | [`properties`] | whose data directory it is |
//! | `files` | small files, replaced whole |
//! | [`record`] | the bytes of a change, KRaft's |
//! | [`placement`] | partition to shard |
//!
//! Always true: an image differs from its predecessor only by changes that are durable in the
//! log. Every shard holds the image; on one machine an embedded controller on shard 0 writes
//! the log.

pub mod change;
pub mod configs;
pub mod controller;
mod files;
mod flushed_end;
pub mod image;
pub mod internal;
pub mod log;
pub mod placement;
pub mod properties;
pub mod quotas;
pub mod record;
mod replay;
