//! Idempotent producers of one partition: which batch may come next, which one came already.
//!
//! Rules as Apache Kafka's (`ProducerStateManager`, `ProducerAppendInfo`): up to five last
//! batches per producer are remembered, because clients keep at most five in flight; a batch
//! that repeats one of them is answered with the original offsets and not appended; a batch
//! that does not continue the last one is refused; a new epoch starts at sequence 0; a producer
//! that is not known (expired, or its records deleted) may start anywhere. Sequences wrap from
//! 2^31-1 to 0.
//!
//! State is bounded: beyond [`ProducerLimits::producers_max`] the producer unseen for longest is
//! forgotten, which costs it nothing but the recognition of a repeated batch. What all partitions
//! of a shard hold is counted in [`ProducerLimits::held`]; their shard sees to that limit.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::model::{Offset, ProducerEpoch, ProducerId, TimestampMs};

/// Batches remembered per producer (`max.in.flight.requests.per.connection` of clients).
pub const BATCHES_REMEMBERED: usize = 5;

/// Version of the snapshot's layout; another one is refused.
const SNAPSHOT_VERSION: u8 = 1;

/// How much producer state a partition keeps.
#[derive(Clone, Debug)]
pub struct ProducerLimits {
    /// Producers per partition.
    pub producers_max: usize,
    /// Producers of all partitions that were given this counter.
    pub held: Rc<Cell<usize>>,
}

/// The producer fields of a batch header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequenced {
    /// Producer id; -1 is "not idempotent".
    pub producer_id: ProducerId,
    /// Its incarnation.
    pub epoch: ProducerEpoch,
    /// Sequence of the first record.
    pub base_sequence: i32,
    /// Records in the batch, as last offset delta + 1.
    pub records: i32,
}

impl Sequenced {
    /// Sequence of the last record.
    fn last_sequence(&self) -> i32 {
        advance(self.base_sequence, self.records - 1)
    }
}

/// `sequence + by`, wrapping from 2^31-1 to 0 (Kafka's `DefaultRecordBatch.incrementSequence`).
fn advance(sequence: i32, by: i32) -> i32 {
    let sum = i64::from(sequence) + i64::from(by);
    (sum % (i64::from(i32::MAX) + 1)) as i32
}

/// A batch that was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RememberedBatch {
    /// Sequence of its first record.
    pub base_sequence: i32,
    /// Sequence of its last record.
    pub last_sequence: i32,
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// Its largest timestamp.
    pub timestamp_ms: TimestampMs,
}

/// State of one producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    /// Its newest incarnation seen.
    pub epoch: ProducerEpoch,
    /// Its last batches, oldest first; at most [`BATCHES_REMEMBERED`].
    pub batches: VecDeque<RememberedBatch>,
    /// Wall-clock time of its last append, for expiry.
    pub seen_ms: TimestampMs,
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Append it.
    New,
    /// It was appended before: answer so.
    Duplicate(RememberedBatch),
}

/// Why a batch is refused. Error choice is part of correctness: clients bump their epoch and
/// send again on the wrong one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// OUT_OF_ORDER_SEQUENCE_NUMBER: `expected` was due.
    OutOfOrder {
        /// The sequence that would have continued the last batch.
        expected: i32,
        /// The sequence that came.
        got: i32,
    },
    /// INVALID_PRODUCER_EPOCH: a newer incarnation has written already.
    StaleEpoch {
        /// The newest epoch seen.
        current: ProducerEpoch,
        /// The epoch that came.
        got: ProducerEpoch,
    },
}

/// All producers of one partition.
#[derive(Debug)]
pub struct Producers {
    by_id: HashMap<ProducerId, Producer>,
    limits: ProducerLimits,
    /// Of [`ProducerLimits::held`], what is counted for this partition.
    counted: usize,
}

impl Producers {
    /// No producers yet.
    pub fn new(limits: ProducerLimits) -> Self {
        Self { by_id: HashMap::new(), limits, counted: 0 }
    }

    /// Decide about a batch; changes nothing.
    ///
    /// # Errors
    /// When the batch neither continues nor repeats what was appended.
    pub fn admit(&self, batch: &Sequenced) -> Result<Admission, Refusal> {
        if batch.producer_id < 0 {
            return Ok(Admission::New);
        }
        let Some(producer) = self.by_id.get(&batch.producer_id) else {
            return Ok(Admission::New);
        };
        if batch.epoch < producer.epoch {
            return Err(Refusal::StaleEpoch { current: producer.epoch, got: batch.epoch });
        }
        let expected = if batch.epoch > producer.epoch {
            0
        } else {
            let last_sequence = batch.last_sequence();
            let repeated = producer.batches.iter().find(|b| {
                b.base_sequence == batch.base_sequence && b.last_sequence == last_sequence
            });
            if let Some(original) = repeated {
                return Ok(Admission::Duplicate(*original));
            }
            match producer.batches.back() {
                Some(last) => advance(last.last_sequence, 1),
                None => return Ok(Admission::New),
            }
        };
        if batch.base_sequence == expected {
            Ok(Admission::New)
        } else {
            Err(Refusal::OutOfOrder { expected, got: batch.base_sequence })
        }
    }

    /// Remember an appended batch.
    pub fn appended(
        &mut self,
        batch: &Sequenced,
        base_offset: Offset,
        timestamp_ms: TimestampMs,
        seen_ms: TimestampMs,
    ) {
        if batch.producer_id < 0 {
            return;
        }
        if !self.by_id.contains_key(&batch.producer_id)
            && self.by_id.len() >= self.limits.producers_max
        {
            self.forget_oldest();
        }
        let producer = self.by_id.entry(batch.producer_id).or_insert_with(|| Producer {
            epoch: batch.epoch,
            batches: VecDeque::with_capacity(BATCHES_REMEMBERED),
            seen_ms,
        });
        if batch.epoch != producer.epoch {
            producer.epoch = batch.epoch;
            producer.batches.clear();
        }
        if producer.batches.len() == BATCHES_REMEMBERED {
            producer.batches.pop_front();
        }
        producer.batches.push_back(RememberedBatch {
            base_sequence: batch.base_sequence,
            last_sequence: batch.last_sequence(),
            base_offset,
            last_offset: base_offset + i64::from(batch.records) - 1,
            timestamp_ms,
        });
        producer.seen_ms = seen_ms;
        self.count();
    }

    /// Bring the shard's count up to date.
    fn count(&mut self) {
        let held = &self.limits.held;
        held.set(held.get() + self.by_id.len() - self.counted);
        self.counted = self.by_id.len();
    }

    /// Remember the batch of a 61-byte header found at recovery.
    pub fn replay(&mut self, mut header: &[u8]) {
        if header.len() < 61 {
            return;
        }
        let base_offset = header.get_i64();
        header.advance(23 - 8);
        let records = header.get_i32().saturating_add(1);
        header.advance(8);
        let max_timestamp = header.get_i64();
        let batch = Sequenced {
            producer_id: header.get_i64(),
            epoch: header.get_i16(),
            base_sequence: header.get_i32(),
            records,
        };
        if records > 0 {
            self.appended(&batch, base_offset, max_timestamp, max_timestamp);
        }
    }

    /// Forget producers not seen since `before_ms` (`producer.id.expiration.ms`).
    pub fn expire(&mut self, before_ms: TimestampMs) {
        self.by_id.retain(|_, p| p.seen_ms >= before_ms);
        self.count();
    }

    /// Producers with state.
    pub fn iter(&self) -> impl Iterator<Item = (ProducerId, &Producer)> {
        self.by_id.iter().map(|(id, p)| (*id, p))
    }

    /// Forget the producers unseen for longest, an eighth at a time so that a flood of new
    /// producers costs amortised constant time each.
    fn forget_oldest(&mut self) {
        let mut seen: Vec<TimestampMs> = self.by_id.values().map(|p| p.seen_ms).collect();
        let nth = seen.len() / 8;
        let (_, cut, _) = seen.select_nth_unstable(nth);
        let cut = *cut;
        let mut excess = nth + 1;
        self.by_id.retain(|_, p| {
            let goes = excess > 0 && p.seen_ms <= cut;
            excess -= usize::from(goes);
            !goes
        });
    }

    /// The state as bytes, to be kept with a checkpoint. Ids ascend, so that equal states have
    /// equal bytes.
    pub fn encode(&self) -> Bytes {
        if self.by_id.is_empty() {
            return Bytes::new();
        }
        let mut ids: Vec<_> = self.by_id.keys().copied().collect();
        ids.sort_unstable();
        let mut out = BytesMut::with_capacity(5 + ids.len() * 60);
        out.put_u8(SNAPSHOT_VERSION);
        out.put_u32(ids.len() as u32);
        for id in ids {
            let producer = &self.by_id[&id];
            out.put_i64(id);
            out.put_i16(producer.epoch);
            out.put_i64(producer.seen_ms);
            out.put_u8(producer.batches.len() as u8);
            for b in &producer.batches {
                out.put_i32(b.base_sequence);
                out.put_i32(b.last_sequence);
                out.put_i64(b.base_offset);
                out.put_i64(b.last_offset);
                out.put_i64(b.timestamp_ms);
            }
        }
        out.freeze()
    }

    /// Read what [`Producers::encode`] wrote; empty bytes are no producers.
    ///
    /// # Errors
    /// When the bytes are of another version or cut short.
    pub fn decode(mut bytes: &[u8], limits: ProducerLimits) -> Result<Self, String> {
        let mut producers = Self::new(limits);
        if bytes.is_empty() {
            return Ok(producers);
        }
        let short = |_| "the producer snapshot of a checkpoint is cut short".to_string();
        let version = bytes.try_get_u8().map_err(short)?;
        if version != SNAPSHOT_VERSION {
            return Err(format!(
                "the producer snapshot has version {version}; this build reads {SNAPSHOT_VERSION}: \
                 start the version that wrote it"
            ));
        }
        let count = bytes.try_get_u32().map_err(short)?;
        for _ in 0..count {
            let id = bytes.try_get_i64().map_err(short)?;
            let epoch = bytes.try_get_i16().map_err(short)?;
            let seen_ms = bytes.try_get_i64().map_err(short)?;
            let batches = bytes.try_get_u8().map_err(short)?;
            let mut producer = Producer { epoch, seen_ms, batches: VecDeque::with_capacity(5) };
            for _ in 0..batches {
                producer.batches.push_back(RememberedBatch {
                    base_sequence: bytes.try_get_i32().map_err(short)?,
                    last_sequence: bytes.try_get_i32().map_err(short)?,
                    base_offset: bytes.try_get_i64().map_err(short)?,
                    last_offset: bytes.try_get_i64().map_err(short)?,
                    timestamp_ms: bytes.try_get_i64().map_err(short)?,
                });
            }
            producers.by_id.insert(id, producer);
            producers.count();
        }
        Ok(producers)
    }
}

impl Drop for Producers {
    fn drop(&mut self) {
        self.by_id.clear();
        self.count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> ProducerLimits {
        ProducerLimits { producers_max: 100, held: Rc::default() }
    }

    fn batch(id: i64, epoch: i16, base_sequence: i32, records: i32) -> Sequenced {
        Sequenced { producer_id: id, epoch, base_sequence, records }
    }

    fn feed(producers: &mut Producers, b: Sequenced, offset: i64) {
        assert_eq!(producers.admit(&b), Ok(Admission::New));
        producers.appended(&b, offset, 1, 1);
    }

    #[test]
    fn the_five_last_batches_are_recognised_and_nothing_else() {
        let mut p = Producers::new(limits());
        for i in 0..7 {
            feed(&mut p, batch(1, 0, i * 10, 10), i64::from(i) * 10);
        }
        for i in 2..7 {
            let Ok(Admission::Duplicate(original)) = p.admit(&batch(1, 0, i * 10, 10)) else {
                panic!("batch {i} is not recognised")
            };
            assert_eq!(original.base_offset, i64::from(i) * 10);
        }
        for (base, records) in [(0, 10), (10, 10), (60, 5), (80, 1), (71, 1)] {
            assert_eq!(
                p.admit(&batch(1, 0, base, records)),
                Err(Refusal::OutOfOrder { expected: 70, got: base })
            );
        }
    }

    #[test]
    fn epochs_fence_and_start_at_zero() {
        let mut p = Producers::new(limits());
        feed(&mut p, batch(1, 5, 100, 1), 0); // unknown producers start anywhere
        assert_eq!(p.admit(&batch(1, 4, 101, 1)), Err(Refusal::StaleEpoch { current: 5, got: 4 }));
        assert_eq!(
            p.admit(&batch(1, 6, 101, 1)),
            Err(Refusal::OutOfOrder { expected: 0, got: 101 })
        );
        feed(&mut p, batch(1, 6, 0, 3), 1);
        feed(&mut p, batch(1, 6, 3, 1), 4);
    }

    #[test]
    fn sequences_wrap() {
        let mut p = Producers::new(limits());
        feed(&mut p, batch(1, 0, i32::MAX - 1, 4), 0); // MAX-1, MAX, 0, 1
        assert!(matches!(p.admit(&batch(1, 0, i32::MAX - 1, 4)), Ok(Admission::Duplicate(_))));
        feed(&mut p, batch(1, 0, 2, 1), 4);
    }

    #[test]
    fn state_is_bounded_and_snapshots_round_trip() {
        let mut p = Producers::new(limits());
        for id in 0..1000 {
            p.appended(&batch(id, 1, 0, 1), id, id, id);
        }
        assert!(p.by_id.len() <= 100);
        assert!(p.by_id.contains_key(&999), "the newest stays");
        let again = Producers::decode(&p.encode(), limits()).unwrap();
        assert_eq!(again.by_id, p.by_id);
        assert_eq!(again.encode(), p.encode());
        let bytes = p.encode();
        for cut in 1..bytes.len() {
            assert!(Producers::decode(&bytes[..cut], limits()).is_err(), "cut at {cut}");
        }
        p.expire(990);
        assert_eq!(p.by_id.len(), 10);
        assert_eq!(p.limits.held.get(), 10);
        let held = p.limits.held.clone();
        drop(p);
        assert_eq!(held.get(), 0);
    }
}
