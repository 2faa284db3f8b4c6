//! Which transactions a cleaning has passed, so that a marker outlives its transaction's records.
//!
//! Kafka's rules (`CleanedTransactionMetadata`): records of an aborted transaction count for
//! nothing and may go; a marker may go only when the cleaning met no batch of its transaction.

use std::collections::{HashMap, HashSet};

use crate::model::{Offset, ProducerId};
use crate::record::{BatchView, ControlKind};

/// Transactions of a log that one cleaning may meet between their first batch and their marker.
/// Beyond it markers are kept, which costs their bytes.
const OPEN_MAX: usize = 100_000;

/// A transaction that was aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose.
    pub producer_id: ProducerId,
    /// Offset of its first record.
    pub first_offset: Offset,
    /// Offset of its marker.
    pub last_offset: Offset,
}

/// See the file's comment.
pub(crate) struct Transactions {
    /// By producer, in the order of their offsets, the next one last.
    aborted: HashMap<ProducerId, Vec<AbortedTransaction>>,
    /// Producers of which a transactional batch was met, with no marker since.
    open: HashSet<ProducerId>,
}

impl Transactions {
    pub(crate) fn new(aborted: &[AbortedTransaction]) -> Self {
        let mut by_producer: HashMap<_, Vec<AbortedTransaction>> = HashMap::new();
        for transaction in aborted {
            by_producer.entry(transaction.producer_id).or_default().push(*transaction);
        }
        for list in by_producer.values_mut() {
            list.sort_by_key(|t| std::cmp::Reverse(t.first_offset));
        }
        Self { aborted: by_producer, open: HashSet::new() }
    }

    /// Pass a batch; whether its transaction leaves nothing of it to keep: the records of an
    /// aborted one, or the marker of one that has no batches any more.
    pub(crate) fn pass(&mut self, batch: &BatchView<'_>) -> bool {
        let producer = batch.producer_id();
        if batch.attributes().is_control() {
            return self.pass_control(batch);
        }
        if !batch.attributes().is_transactional() {
            return false;
        }
        if self.open.len() < OPEN_MAX {
            self.open.insert(producer);
        }
        let Some(list) = self.aborted.get_mut(&producer) else { return false };
        while list.last().is_some_and(|t| t.last_offset < batch.base_offset()) {
            list.pop();
        }
        list.last().is_some_and(|t| t.first_offset <= batch.base_offset())
    }

    fn pass_control(&mut self, batch: &BatchView<'_>) -> bool {
        let is_full = self.open.len() >= OPEN_MAX;
        if batch.record_count() == 0 {
            // Emptied by an earlier cleaning.
            return true;
        }
        let key = batch.records().next().and_then(Result::ok).and_then(|record| record.key);
        // Version and kind, both int16 (`ControlRecordType`).
        let kind = key.and_then(|key| key.get(2..4)).map(|k| i16::from_be_bytes([k[0], k[1]]));
        let ends = [ControlKind::Abort as i16, ControlKind::Commit as i16];
        if !kind.is_some_and(|kind| ends.contains(&kind)) {
            return false;
        }
        let had_batches = self.open.remove(&batch.producer_id());
        !had_batches && !is_full
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BatchBuilder, control_batch, patch};

    fn data(producer: i64, base: i64) -> Vec<u8> {
        let mut builder = BatchBuilder::default();
        builder.set_producer(producer, 0, 0);
        builder.set_transactional(true);
        builder.set_place(base, 0);
        builder.append(1, Some(b"k"), None, &[]).unwrap();
        builder.finish().unwrap().to_vec()
    }

    fn marker(kind: ControlKind, producer: i64, base: i64) -> Vec<u8> {
        let mut bytes = control_batch(kind, producer, 0, 0, 1);
        patch(&mut bytes, base, 0);
        bytes
    }

    #[test]
    fn a_marker_goes_after_its_records_and_aborted_records_count_for_nothing() {
        let aborted = AbortedTransaction { producer_id: 1, first_offset: 10, last_offset: 20 };
        let mut passed = Transactions::new(&[aborted]);
        let mut pass = |bytes: &[u8]| passed.pass(&BatchView::first(bytes).unwrap());
        assert!(!pass(&data(1, 5)), "committed before");
        assert!(!pass(&marker(ControlKind::Commit, 1, 6)));
        assert!(pass(&data(1, 10)) && pass(&data(1, 12)), "aborted");
        assert!(!pass(&data(2, 13)), "another producer");
        assert!(!pass(&marker(ControlKind::Abort, 1, 20)), "its batches were met");
        assert!(!pass(&data(1, 21)), "committed after");
        assert!(!pass(&marker(ControlKind::Commit, 1, 22)));
        assert!(pass(&marker(ControlKind::Commit, 1, 23)), "nothing of it is left");
        assert!(!pass(&marker(ControlKind::Commit, 2, 24)));
    }
}
