//! What a sink does with batches.
//!
//! [`Store::Discard`] counts offsets and repeats one prepared batch to readers; it is the
//! ceiling. [`Store::Keep`] holds batches in memory up to a limit and gives them back, damaged
//! on purpose if asked: it is how verification itself is tested.

use bytes::Bytes;
use thalweg::protocol::RequestBody;

use crate::batch::{BatchFields, HEADER_BYTES, Shape, Template};

/// What becomes of batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// Discard what is produced; give readers one prepared batch again and again.
    Discard {
        /// Bytes of the prepared batch.
        batch_bytes: usize,
        /// Bytes of each record's value in it.
        record_bytes: usize,
    },
    /// Keep batches and give them back.
    Keep {
        /// Beyond this many bytes, produce requests are refused.
        bytes_max: usize,
        /// What to do wrong.
        fault: Option<Fault>,
    },
}

/// A broker's mistake, made with every 50th batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// Acknowledge it and forget it.
    Drop,
    /// Store it twice.
    Duplicate,
    /// Store it behind its successor.
    Reorder,
    /// Flip a bit in it.
    Corrupt,
    /// Store it in the next partition.
    Misdirect,
    /// Store it and close the connection instead of answering.
    HangUp,
    /// Store it and delete everything before it.
    Trim,
}

/// One batch in this many is mistreated.
pub const FAULT_EVERY: u64 = 50;

/// One partition.
#[derive(Debug, Default)]
pub struct Partition {
    /// Offset of the next record.
    pub next_offset: i64,
    /// Offset of the first record that has not been deleted.
    pub start_offset: i64,
    /// Last offset of each batch, and the batch.
    pub batches: Vec<(i64, Bytes)>,
    /// A batch that waits for its successor, for [`Fault::Reorder`].
    pub held: Option<Bytes>,
}

impl Partition {
    /// Put a batch at the end.
    pub fn store(&mut self, batch: &Bytes) {
        let mut stamped = batch.to_vec();
        stamped[..8].copy_from_slice(&self.next_offset.to_be_bytes());
        self.next_offset += i64::from(records_of(batch).unwrap_or(1));
        self.batches.push((self.next_offset - 1, Bytes::from(stamped)));
    }

    /// Delete all batches but the last; returns the bytes that this frees.
    pub fn trim(&mut self) -> usize {
        let last = self.batches.len().saturating_sub(1);
        let gone = self.batches.drain(..last);
        let (end, bytes) = gone.fold((None, 0), |(_, sum), (end, b)| (Some(end), sum + b.len()));
        self.start_offset = end.map_or(self.start_offset, |end| end + 1);
        bytes
    }
}

/// The record count of a batch; `None` for what cannot be one.
pub fn records_of(batch: &[u8]) -> Option<i32> {
    let header = batch.first_chunk::<HEADER_BYTES>()?;
    let count = i32::from_be_bytes([header[57], header[58], header[59], header[60]]);
    (header[16] == 2 && count > 0 && batch.len() > HEADER_BYTES + 9).then_some(count)
}

/// The records of a Produce request; 0 for any other.
pub fn records_in(body: &RequestBody) -> u64 {
    let RequestBody::Produce(request) = body else { return 0 };
    let parts = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
    let count = |records: Bytes| records_of(&records).map_or(0, |count| count as u64);
    parts.map(|part| count(part.records.clone().into_bytes())).sum()
}

/// One valid batch without its base offset, and its records.
pub fn repeated_batch(batch_bytes: usize, record_bytes: usize) -> (Bytes, i64) {
    let records = Template::records_for(batch_bytes, record_bytes, None);
    let template = Template::new(
        0,
        records,
        &Shape { sizes: Some(record_bytes.into()), random_share: 1.0, ..Shape::default() },
    );
    let mut bytes = template.bytes().to_vec();
    let fields = BatchFields {
        producer: 0,
        partition: 0,
        records,
        first_sequence: 0,
        timestamp_ms: crate::clock::wall_ms(),
        producer_id: -1,
        producer_epoch: -1,
    };
    let now = crate::clock::monotonic_ns();
    template.patch(&mut bytes, &fields, |_| now);
    (Bytes::from(bytes).slice(8..), i64::from(records))
}
