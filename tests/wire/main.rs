//! Does the codec speak Kafka's language, and does it survive strangers?
//!
//! - `oracle`: every API, every version, both ways, against an independent implementation
//!
//! The random bytes come from the schemas as data (`sample`), not from the encoder, so the encoder
//! is checked too. Every run uses the same seeds; a failure prints API, version and seed.

mod memory;
mod oracle;
mod sample;

#[global_allocator]
static ALLOCATOR: memory::Counting = memory::Counting;
