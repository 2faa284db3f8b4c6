//! What a journal says about its logs: entries applied over a checkpoint, without any I/O.
//!
//! Entries come in the order of their journal. One that a checkpoint covers already changes
//! nothing, so replaying the same journal over a newer checkpoint gives the same logs.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::checkpoint_file::{LogRecord, NO_RUN, SegmentRecord};
use super::entry::{Change, Cleaned, DataEntry, Entry, batch_header};
use super::format::Pooled;
use crate::model::{Offset, TopicPartition};

/// One log as checkpoint and journal describe it.
#[derive(Clone, Debug)]
pub(crate) struct LogPlan {
    /// As in the checkpoint, with rolls and starts applied; its last segment ends at the
    /// verified position.
    pub(crate) record: LogRecord,
    /// Appends behind the verified position, with the sequence of their frames, in order.
    pub(crate) appends: Vec<(u64, DataEntry)>,
    /// Headers of batches behind the snapshot that need no more checking.
    pub(crate) headers: Vec<Bytes>,
    /// The first frame with something about this log that does not fit, and what.
    pub(crate) misfit: Option<(u64, String)>,
    /// Whether the journal has something about it.
    pub(crate) is_touched: bool,
    /// What is wrong with it for good.
    pub(crate) damage: Option<String>,
    /// The run whose journal this is from.
    pub(crate) run: u64,
    /// What an earlier start or run found damaged, if this one looks again.
    pub(crate) found_before: Option<String>,
    /// Sequence up to which its journal is known to have been flushed.
    pub(crate) flushed_sequence: u64,
    /// Cleaned segments that may still have their names in the pool, by base.
    pub(crate) pooled: BTreeMap<Offset, Pooled>,
}

impl LogPlan {
    fn new(record: LogRecord) -> Self {
        Self {
            record,
            appends: Vec::new(),
            headers: Vec::new(),
            misfit: None,
            is_touched: false,
            damage: None,
            run: NO_RUN,
            found_before: None,
            flushed_sequence: 0,
            pooled: BTreeMap::new(),
        }
    }

    /// Base of the active segment, and the end of the log in it.
    fn end(&self) -> (Offset, u64) {
        let active = self.record.segments.last().map_or((0, 0), |s| (s.base, s.bytes));
        (active.0, self.appends.last().map_or(active.1, |(_, data)| data.end_position()))
    }

    fn end_offset(&self) -> Offset {
        self.appends.last().map_or(self.record.end_offset, |(_, data)| data.last_offset + 1)
    }

    fn append(&mut self, sequence: u64, data: DataEntry) {
        let (base, end) = self.end();
        if data.segment_base < base
            || (data.segment_base == base && data.end_position() <= end)
            || self.misfit.is_some()
        {
            return;
        }
        let fits = data.segment_base == base
            && data.batch_position == end
            && data.base_offset >= self.end_offset();
        if fits {
            self.appends.push((sequence, data));
        } else {
            self.misfit = Some((
                sequence,
                format!(
                    "the journal appends offset {} at position {} of segment {}, but the log \
                     ends at position {end} of segment {base}",
                    data.base_offset, data.batch_position, data.segment_base
                ),
            ));
        }
    }

    fn roll(&mut self, sequence: u64, sealed: SegmentRecord, base: Offset) {
        let (active, end) = self.end();
        if sealed.base < active || self.misfit.is_some() {
            return;
        }
        if sealed.base != active || sealed.bytes != end || base < self.end_offset() {
            let why = format!(
                "the journal seals segment {} at {} bytes, but the log ends at position {end} \
                 of segment {active}",
                sealed.base, sealed.bytes
            );
            self.misfit = Some((sequence, why));
            return;
        }
        // A roll is journalled after the sealed segment was flushed whole.
        self.record.end_offset = self.end_offset().max(base);
        self.headers.extend(self.appends.drain(..).map(|(_, data)| batch_header(&data)));
        if let Some(last) = self.record.segments.last_mut() {
            *last = sealed;
        }
        self.record.segments.push(SegmentRecord { base, bytes: 0, max_timestamp: -1 });
    }

    fn swap(&mut self, sequence: u64, from: Offset, until: Offset, cleaned: Vec<Cleaned>) {
        if self.misfit.is_some() {
            return;
        }
        let segments = &mut self.record.segments;
        let place = |base| segments.iter().position(|segment| segment.base == base);
        // The segment at `until` is there too: the active one is never cleaned.
        let places = place(from).zip(place(until)).filter(|(first, behind)| first < behind);
        let Some((first, behind)) = places else {
            let why = format!(
                "the journal replaces the segments from {from} up to {until}, but the log has no \
                 segments that begin there"
            );
            self.misfit = Some((sequence, why));
            return;
        };
        segments.splice(first..behind, cleaned.iter().map(|cleaned| cleaned.segment));
        self.pooled.retain(|base, _| !(from..until).contains(base));
        self.pooled.extend(cleaned.iter().map(|cleaned| (cleaned.segment.base, cleaned.pooled)));
    }
}

/// Logs by partition.
pub(crate) type Plans = BTreeMap<TopicPartition, LogPlan>;

/// Begin with what a checkpoint recorded.
pub(crate) fn plans_of(records: Vec<LogRecord>) -> Plans {
    records.into_iter().map(|record| (record.log.id, LogPlan::new(record))).collect()
}

/// Apply one entry.
pub(crate) fn apply(plans: &mut Plans, sequence: u64, entry: Entry) {
    let key = entry.log;
    let known = plans.get(&key.id).map(|plan| plan.record.log.incarnation);
    match (entry.change, known) {
        (Change::Create, Some(incarnation)) if incarnation >= key.incarnation => {}
        (Change::Create, _) => {
            plans.insert(key.id, LogPlan::new(LogRecord::empty(key)));
        }
        // Everything else is about a log that must be there, in this life of it.
        (_, known) if known != Some(key.incarnation) => {}
        (Change::Delete, _) => {
            plans.remove(&key.id);
        }
        (change, _) => {
            let Some(plan) = plans.get_mut(&key.id) else { return };
            plan.is_touched = true;
            match change {
                Change::Data(data) => plan.append(sequence, data),
                Change::Roll { sealed_base, sealed_bytes, sealed_max_timestamp, base } => {
                    let sealed = SegmentRecord {
                        base: sealed_base,
                        bytes: sealed_bytes,
                        max_timestamp: sealed_max_timestamp,
                    };
                    plan.roll(sequence, sealed, base);
                }
                Change::Start { offset } => {
                    plan.record.start_offset = plan.record.start_offset.max(offset);
                    // Now: the segment behind may be cleaned away by a later entry, and with it
                    // what tells that this one lies below the start.
                    drop_below_start(&mut plan.record);
                }
                Change::Swap { from, until, cleaned } => {
                    plan.swap(sequence, from, until, cleaned);
                }
                Change::Create | Change::Delete => {}
            }
        }
    }
}

/// Drop segments that lie wholly below the start; their files may be gone already.
pub(crate) fn drop_below_start(record: &mut LogRecord) {
    while record.segments.len() > 1 && record.segments[1].base <= record.start_offset {
        record.segments.remove(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Uuid;
    use crate::storage::entry::LogKey;

    fn segment(base: Offset) -> SegmentRecord {
        SegmentRecord { base, bytes: 100, max_timestamp: 1 }
    }

    fn replayed(changes: Vec<Change>) -> LogPlan {
        let id = TopicPartition { topic_id: Uuid([1; 16]), partition: 0 };
        let log = LogKey { id, incarnation: 1 };
        let mut record = LogRecord::empty(log);
        record.segments = [0, 10, 20, 30, 40].map(segment).to_vec();
        record.end_offset = 45;
        let mut plans = plans_of(vec![record]);
        for (change, sequence) in changes.into_iter().zip(1..) {
            apply(&mut plans, sequence, Entry { log, change });
        }
        plans.remove(&id).expect("the log is there")
    }

    fn swap(from: Offset, until: Offset, bases: &[Offset], number: u64) -> Change {
        let pooled = Pooled { generation: 1, shard: 0, number };
        let cleaned = bases.iter().map(|base| Cleaned { segment: segment(*base), pooled });
        Change::Swap { from, until, cleaned: cleaned.collect() }
    }

    fn bases(plan: &LogPlan) -> Vec<Offset> {
        plan.record.segments.iter().map(|segment| segment.base).collect()
    }

    #[test]
    fn swaps_replace_segments_and_the_last_name_of_each_counts() {
        let plan =
            replayed(vec![swap(0, 20, &[0], 7), swap(20, 40, &[20, 33], 8), swap(0, 33, &[0], 9)]);
        assert_eq!((bases(&plan), plan.misfit), (vec![0, 33, 40], None));
        let numbers: Vec<_> = plan.pooled.iter().map(|(base, p)| (*base, p.number)).collect();
        assert_eq!(numbers, [(0, 9), (33, 8)]);
    }

    #[test]
    fn a_segment_below_the_start_goes_although_the_one_behind_it_was_cleaned_away() {
        let plan = replayed(vec![Change::Start { offset: 12 }, swap(10, 30, &[], 7)]);
        assert_eq!((bases(&plan), plan.misfit), (vec![30, 40], None));
    }

    #[test]
    fn a_swap_of_segments_that_are_not_there_is_a_misfit() {
        for (from, until) in [(5, 20), (0, 25), (20, 10)] {
            let plan = replayed(vec![swap(from, until, &[], 7)]);
            assert_eq!(bases(&plan), [0, 10, 20, 30, 40]);
            assert!(plan.misfit.is_some(), "{from}..{until}");
        }
    }
}
