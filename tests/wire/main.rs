//! Does the codec speak Kafka's language, and does it survive strangers?
//!
//! - `oracle`: every API, every version, both ways, against an independent implementation
//! - `golden`: fixed bytes for what that implementation does not know
//! - `hostile`: truncation, mutation, lengths that lie; memory stays in proportion to the frame
//! - `frames`: whole frames, split anywhere; batches stay shared pieces
//! - `registry`: `docs/PROTOCOL.md` says what the registry says
//!
//! The random bytes come from the schemas as data (`sample`), not from the encoder, so the encoder
//! is checked too. Every run uses the same seeds; a failure prints API, version and seed.

mod frames;
mod golden;
mod hostile;
mod memory;
mod oracle;
mod recorded;
mod registry;
mod sample;

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;
