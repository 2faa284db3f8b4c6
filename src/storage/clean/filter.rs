//! The two passes of a cleaning over the batches of a log, without I/O, clock or chance.
//!
//! [`Mapping`] reads the dirty part and learns the latest offset of every key; [`Filter`] then
//! judges every batch from the log's first one on: kept as it is, built anew of some of its
//! records, or gone. A batch may open to much: others go first all the while, in `turns` of
//! [`TURN_BYTES`]. The rules are Kafka's (`Cleaner`). Always true: a record at or behind
//! [`Filter::end`] stays; the latest value of a key stays; nothing is judged by a batch that does
//! not check.

use std::borrow::Cow;
use std::collections::HashMap;

use super::key_map::KeyMap;
use super::transactions::{AbortedTransaction, Transactions};
use crate::model::{Offset, ProducerEpoch, ProducerId, TimestampMs};
use crate::record::{
    self, BatchView, BuildError, Codec, CompressionError, Decompression, Record, Records,
    Remainder, TURN_BYTES,
};
use crate::runtime::wait::Pace;

/// Why a log cannot be cleaned, as a sentence about one of its batches.
pub(crate) type Uncleanable = String;

/// The end of what a producer has in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastRecord {
    /// Offset of its last record that is no marker, if it is known to have one.
    pub data_offset: Option<Offset>,
    /// Its newest epoch.
    pub epoch: ProducerEpoch,
}

/// What a cleaning is told about the log besides its batches.
#[derive(Clone, Debug, Default)]
pub struct CleanFacts {
    /// Wall-clock time of the cleaning.
    pub now_ms: TimestampMs,
    /// `delete.retention.ms`, which the log fills in.
    pub delete_retention_ms: i64,
    /// Producers whose state the broker keeps: the batch with the last sequence of each stays,
    /// if only as a header.
    pub producers: HashMap<ProducerId, LastRecord>,
    /// Transactions known to be aborted.
    pub aborted: Vec<AbortedTransaction>,
    /// Bytes that one batch may decompress to.
    pub decompressed_bytes_max: usize,
}

/// The first pass.
pub(crate) struct Mapping<'a> {
    facts: &'a CleanFacts,
    map: KeyMap,
    from: Offset,
    end: Offset,
    order: Order,
    transactions: Transactions,
}

impl<'a> Mapping<'a> {
    /// Begin at the first dirty offset.
    pub(crate) fn new(facts: &'a CleanFacts, map: KeyMap, from: Offset) -> Self {
        let transactions = Transactions::new(&facts.aborted);
        Self { facts, map, from, end: from, order: Order::default(), transactions }
    }

    /// Learn a batch's keys; false when the map is full, and the mapping ends before this batch.
    pub(crate) async fn batch(
        &mut self,
        batch: &BatchView<'_>,
        turns: &mut Pace,
    ) -> Result<bool, Uncleanable> {
        self.order.check(batch)?;
        let counts_for_nothing = self.transactions.pass(batch);
        if batch.last_offset() < self.from {
            return Ok(true);
        }
        if !batch.attributes().is_control() && !counts_for_nothing {
            let plain = plain_records(batch, self.facts, turns).await?;
            for record in checked_records(batch, &plain) {
                let (record, offset) = record?;
                turns.worked(record.turn_bytes()).await;
                if let Some(key) = record.key
                    && offset >= self.from
                    && !self.map.put(key, offset)
                {
                    return Ok(false);
                }
            }
        }
        self.end = self.end.max(batch.last_offset() + 1);
        Ok(true)
    }

    /// A segment was learnt to its end: what lies between its last batch and the next segment
    /// is a gap.
    pub(crate) fn segment_done(&mut self, next_base: Offset) {
        self.end = self.end.max(next_base);
    }

    /// Go on to the second pass over a log that may be cleaned up to `until`.
    pub(crate) fn finish(self, until: Offset) -> Filter<'a> {
        Filter {
            facts: self.facts,
            map: self.map,
            end: self.end,
            until,
            order: Order::default(),
            transactions: Transactions::new(&self.facts.aborted),
        }
    }
}

/// What becomes of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It stays byte for byte.
    Whole,
    /// These bytes take its place.
    Changed(Vec<u8>),
    /// Nothing.
    Nothing,
}

/// The second pass.
pub(crate) struct Filter<'a> {
    facts: &'a CleanFacts,
    map: KeyMap,
    end: Offset,
    until: Offset,
    order: Order,
    transactions: Transactions,
}

impl Filter<'_> {
    /// Where the log is dirty from when this cleaning is done.
    pub(crate) fn end(&self) -> Offset {
        self.end
    }

    /// Keys that were learnt.
    pub(crate) fn keys(&self) -> usize {
        self.map.len()
    }

    /// Judge the next batch.
    pub(crate) async fn batch(
        &mut self,
        batch: &BatchView<'_>,
        turns: &mut Pace,
    ) -> Result<Kept, Uncleanable> {
        self.order.check(batch)?;
        let attributes = batch.attributes();
        let known_horizon = attributes.has_delete_horizon().then(|| batch.base_timestamp());
        let is_past = known_horizon.is_some_and(|horizon| horizon <= self.facts.now_ms);
        let counts_for_nothing = self.transactions.pass(batch);
        let is_control = attributes.is_control();
        // A marker waits as long as a tombstone before it goes.
        let loses_all = counts_for_nothing && (!is_control || is_past);
        let must_stay = self.is_last_of_producer(batch) || batch.last_offset() + 1 == self.until;
        if loses_all && !must_stay {
            return Ok(Kept::Nothing);
        }
        let plain = plain_records(batch, self.facts, turns).await?;
        let (mut remainder, mut has_tombstone) = (Remainder::new(batch, &plain), false);
        for record in checked_records(batch, &plain) {
            let (record, offset) = record?;
            let stays = !loses_all && (is_control || self.keeps(&record, offset, is_past));
            has_tombstone |= stays && record.value.is_none();
            remainder.judge(&record, stays);
            turns.worked(record.turn_bytes()).await;
        }
        if remainder.count() == 0 {
            return Ok(match must_stay {
                false => Kept::Nothing,
                true if batch.len() == record::BATCH_HEADER_BYTES => Kept::Whole,
                true => Kept::Changed(record::emptied(batch).to_vec()),
            });
        }
        let awaits_horizon = has_tombstone || (is_control && counts_for_nothing);
        let horizon = (awaits_horizon && known_horizon.is_none())
            .then(|| self.facts.now_ms.saturating_add(self.facts.delete_retention_ms));
        if remainder.is_whole() && horizon.is_none() {
            return Ok(Kept::Whole);
        }
        let rebuilt = rebuilt(remainder, horizon, turns).await;
        rebuilt.map(Kept::Changed).map_err(|error| about(batch, &error.to_string()))
    }

    /// Whether a record stays. One without a key, from before the topic was compacted, does not.
    fn keeps(&self, record: &Record<'_>, offset: Offset, is_past_horizon: bool) -> bool {
        if offset >= self.end {
            return true;
        }
        let Some(key) = record.key else { return false };
        let is_latest = self.map.get(key).is_none_or(|latest| offset >= latest);
        is_latest && (record.value.is_some() || !is_past_horizon)
    }

    fn is_last_of_producer(&self, batch: &BatchView<'_>) -> bool {
        let producer = self.facts.producers.get(&batch.producer_id());
        producer.is_some_and(|producer| match producer.data_offset {
            Some(offset) => batch.last_offset() == offset,
            None => batch.attributes().is_control() && batch.producer_epoch() == producer.epoch,
        })
    }
}

/// The order of batches, which every pass relies on.
#[derive(Default)]
struct Order {
    next: Offset,
}

impl Order {
    fn check(&mut self, batch: &BatchView<'_>) -> Result<(), Uncleanable> {
        if batch.base_offset() < self.next || batch.last_offset_delta() < 0 {
            return Err(about(batch, &format!("offset {} at least is due", self.next)));
        }
        if !batch.crc_matches() {
            return Err(about(batch, "its checksum does not match"));
        }
        self.next = batch.last_offset().saturating_add(1);
        Ok(())
    }
}

async fn plain_records<'a>(
    batch: &BatchView<'a>,
    facts: &CleanFacts,
    turns: &mut Pace,
) -> Result<Cow<'a, [u8]>, Uncleanable> {
    let attributes = batch.attributes();
    let Some(codec) = attributes.codec() else {
        return Err(about(batch, &format!("codec {} is unknown", attributes.codec_id())));
    };
    let plain = decompressed(codec, batch.records_bytes(), facts.decompressed_bytes_max, turns);
    plain.await.map_err(|error| about(batch, &error.to_string()))
}

async fn decompressed<'a>(
    codec: Codec,
    input: &'a [u8],
    output_max: usize,
    turns: &mut Pace,
) -> Result<Cow<'a, [u8]>, CompressionError> {
    if codec == Codec::None {
        return record::decompress(codec, input, output_max);
    }
    let mut decompression = Decompression::new(codec, input, output_max)?;
    while !decompression.step(TURN_BYTES)? {
        turns.worked(TURN_BYTES).await;
    }
    Ok(Cow::Owned(decompression.finish()))
}

async fn rebuilt(
    remainder: Remainder<'_>,
    horizon: Option<TimestampMs>,
    turns: &mut Pace,
) -> Result<Vec<u8>, BuildError> {
    let mut rebuild = remainder.build(horizon)?;
    while !rebuild.step()? {
        turns.worked(TURN_BYTES).await;
    }
    rebuild.finish()
}

/// The records with their offsets, which grow and stay inside the batch: a compressed batch may
/// never have been looked into before.
fn checked_records<'a>(
    batch: &'a BatchView<'a>,
    plain: &'a [u8],
) -> impl Iterator<Item = Result<(Record<'a>, Offset), Uncleanable>> {
    let mut least = 0;
    Records::new(plain, batch.record_count()).map(move |record| {
        let record = record.map_err(|fault| about(batch, &fault.to_string()))?;
        let delta = record.offset_delta;
        if delta < least || delta > batch.last_offset_delta() {
            return Err(about(batch, &format!("a record has offset delta {delta}")));
        }
        least = delta.saturating_add(1);
        Ok((record, batch.base_offset().saturating_add(i64::from(delta))))
    })
}

fn about(batch: &BatchView<'_>, what: &str) -> Uncleanable {
    format!("the batch with offsets {}..={}: {what}", batch.base_offset(), batch.last_offset())
}
