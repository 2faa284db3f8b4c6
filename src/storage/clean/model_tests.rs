//! The two passes against a model: random produce, tombstone, roll, time, cleaning, deletion and
//! restart on a log in memory; after every cleaning the log must still say what was acknowledged.

use std::collections::{BTreeMap, HashMap};

use futures_util::FutureExt;

use super::filter::{CleanFacts, Filter, Kept, LastRecord, Mapping, Uncleanable};
use super::key_map::KeyMap;
use super::range::{Compaction, Dirt, groups};
use crate::disk::sim_time::SimRandom;
use crate::model::Offset;
use crate::record::{
    BatchBuilder, BatchView, Batches, Codec, ControlKind, Records, control_batch, decompress, patch,
};
use crate::runtime::wait::Pace;
use crate::storage::SegmentInfo;

const RETENTION_MS: i64 = 100;
const UNLIMITED: usize = 1 << 20;

/// One record as it was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Acked {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    time: i64,
}

/// A log in memory: each segment its base and its batches' bytes; the last one is active.
struct Model {
    segments: Vec<(Offset, Vec<u8>)>,
    end: Offset,
    start: Offset,
    cleaned_to: Offset,
    now: i64,
    /// Everything that was ever acknowledged.
    acked: BTreeMap<Offset, Acked>,
    /// When a cleaning first met each tombstone that it kept.
    met: BTreeMap<Offset, i64>,
    producers: HashMap<i64, LastRecord>,
    sequences: HashMap<i64, i32>,
    rules: Compaction,
    cleanings: usize,
    dropped: usize,
}

impl Model {
    fn new(random: &mut SimRandom) -> Self {
        let lag_ms_min = if random.below(4) == 0 { 30 } else { 0 };
        Self {
            segments: vec![(0, Vec::new())],
            end: 0,
            start: 0,
            cleaned_to: 0,
            now: 1_000_000,
            acked: BTreeMap::new(),
            met: BTreeMap::new(),
            producers: HashMap::new(),
            sequences: HashMap::new(),
            rules: Compaction {
                dirty_ratio_min: 0.0,
                lag_ms_min,
                lag_ms_max: i64::MAX,
                delete_retention_ms: RETENTION_MS,
            },
            cleanings: 0,
            dropped: 0,
        }
    }

    fn active(&mut self) -> &mut Vec<u8> {
        &mut self.segments.last_mut().expect("there is an active segment").1
    }

    fn produce(&mut self, random: &mut SimRandom) {
        let codec = match random.below(24) {
            0 => Codec::Gzip,
            1 => Codec::Snappy,
            2 => Codec::Lz4,
            3 => Codec::Zstd,
            _ => Codec::None,
        };
        let mut builder = BatchBuilder::new(codec);
        builder.set_place(self.end, 5);
        let count = 1 + random.below(4) as i32;
        let producer = random.below(4) as i64;
        if producer > 0 {
            let sequence = self.sequences.entry(producer).or_default();
            builder.set_producer(producer, 0, *sequence);
            *sequence += count;
            let last = LastRecord { data_offset: Some(self.end + i64::from(count) - 1), epoch: 0 };
            self.producers.insert(producer, last);
        }
        for _ in 0..count {
            let key = vec![b'a' + random.below(6) as u8];
            let value = (random.below(3) > 0).then(|| self.end.to_be_bytes().to_vec());
            let time = self.now - random.below(5) as i64;
            builder.append(time, Some(&key), value.as_deref(), &[]).unwrap();
            self.acked.insert(self.end, Acked { key, value, time });
            self.end += 1;
        }
        let bytes = builder.finish().unwrap().to_vec();
        self.active().extend(bytes);
    }

    /// A marker of a transaction without records: it may go, but not at once.
    fn mark(&mut self) {
        let mut bytes = control_batch(ControlKind::Commit, 99, 0, 0, self.now);
        patch(&mut bytes, self.end, 5);
        self.active().extend(bytes);
        self.end += 1;
    }

    fn roll(&mut self) {
        if !self.active().is_empty() {
            let end = self.end;
            self.segments.push((end, Vec::new()));
        }
    }

    /// Raise the start; whole segments below it go.
    fn delete_records(&mut self, to: Offset) {
        self.start = self.start.max(to.min(self.end));
        while self.segments.len() > 1 && self.segments[1].0 <= self.start {
            self.segments.remove(0);
        }
    }

    fn infos(&self) -> Vec<SegmentInfo> {
        let info = |(base, bytes): &(Offset, Vec<u8>)| SegmentInfo {
            base_offset: *base,
            bytes: bytes.len() as u64,
            max_timestamp: Batches::new(bytes).map(|b| b.max_timestamp()).max().unwrap_or(-1),
        };
        self.segments.iter().map(info).collect()
    }

    /// One cleaning, cut into the same steps as the real one; may be broken off between groups.
    fn clean(&mut self, random: &mut SimRandom) {
        let infos = self.infos();
        let cleaned_to = self.cleaned_to.max(self.start);
        let dirt = Dirt::of(&infos, cleaned_to, self.end, &self.rules, self.now);
        if dirt.dirty_bytes == 0 {
            return;
        }
        let facts = CleanFacts {
            now_ms: self.now,
            delete_retention_ms: RETENTION_MS,
            producers: self.producers.clone(),
            aborted: Vec::new(),
            decompressed_bytes_max: UNLIMITED,
        };
        // Three keys of six fit a small map.
        let slots_bytes = if random.below(4) == 0 { 0 } else { 1 << 12 };
        let load = if slots_bytes == 0 { 3.0 / 16.0 + 0.001 } else { 0.9 };
        let mut mapping = Mapping::new(&facts, KeyMap::new(slots_bytes, load, 1 << 20), dirt.from);
        'segments: for (number, (base, bytes)) in self.segments.iter().enumerate() {
            let next = self.segments.get(number + 1).map_or(self.end, |s| s.0);
            if next <= dirt.from || *base >= dirt.until {
                continue;
            }
            for batch in Batches::new(bytes) {
                if !learn(&mut mapping, &batch).unwrap() {
                    break 'segments;
                }
            }
            mapping.segment_done(next);
        }
        let mut filter = mapping.finish(dirt.until);
        let end = filter.end();
        assert!(end >= dirt.from && end <= dirt.until);
        self.note_met(end);
        let segment_bytes = 300 + random.below(700);
        let mut after = Vec::new();
        let groups = groups(&infos, end, segment_bytes);
        let cut = if random.below(6) == 0 { random.below(4) as usize } else { usize::MAX };
        for group in groups.iter().take(cut) {
            let sources = self.segments[group.clone()].to_vec();
            let bytes = self.clean_group(&sources, &mut filter);
            if !bytes.is_empty() {
                after.push((sources[0].0, bytes));
            }
        }
        let done = groups.iter().take(cut).map(|g| g.end).max().unwrap_or(0);
        after.extend_from_slice(&self.segments[done..]);
        self.segments = after;
        if cut >= groups.len() {
            self.cleaned_to = end;
            self.latest_alone(end);
        }
        self.cleanings += 1;
        self.check(dirt.until);
    }

    fn clean_group(&mut self, sources: &[(Offset, Vec<u8>)], filter: &mut Filter<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        for (_, bytes) in sources {
            for batch in Batches::new(bytes) {
                match judge(filter, &batch) {
                    Kept::Whole => out.extend_from_slice(batch.bytes()),
                    Kept::Changed(bytes) => {
                        assert!(bytes != batch.bytes(), "unchanged bytes are kept as they are");
                        out.extend(bytes);
                    }
                    Kept::Nothing => self.dropped += 1,
                }
            }
        }
        out
    }

    /// Tombstones that this cleaning meets begin their time, wherever they lie in a segment of it.
    fn note_met(&mut self, end: Offset) {
        let present = self.present();
        let touched = self.segments.iter().take_while(|s| s.0 < end).count();
        let limit = self.segments.get(touched).map_or(self.end, |s| s.0);
        for (offset, acked) in present.range(..limit) {
            if acked.value.is_none() {
                self.met.entry(*offset).or_insert(self.now);
            }
        }
    }

    /// Every record in the log, each checked against what was acknowledged.
    fn present(&self) -> BTreeMap<Offset, Acked> {
        let mut found = BTreeMap::new();
        let mut next = 0;
        for (base, bytes) in &self.segments {
            let mut batches = Batches::new(bytes);
            for batch in batches.by_ref() {
                assert!(batch.crc_matches() && batch.base_offset() >= next.max(*base));
                next = batch.last_offset() + 1;
                if batch.attributes().is_control() {
                    continue;
                }
                for (offset, acked) in records(&batch) {
                    assert_eq!(self.acked.get(&offset), Some(&acked), "offset {offset}");
                    assert!(found.insert(offset, acked).is_none());
                }
            }
            assert_eq!(batches.fault(), None);
        }
        assert!(next <= self.end);
        found
    }

    /// What must hold after a cleaning up to `until`.
    fn check(&self, until: Offset) {
        let present = self.present();
        let mut latest: BTreeMap<&[u8], (Offset, &Acked)> = BTreeMap::new();
        for (offset, acked) in self.acked.range(self.start..) {
            latest.insert(&acked.key, (*offset, acked));
        }
        for (key, (offset, acked)) in latest {
            let is_there = present.contains_key(&offset);
            let horizon = self.met.get(&offset).map(|met| met + RETENTION_MS);
            let may_be_gone =
                acked.value.is_none() && horizon.is_some_and(|horizon| self.now >= horizon);
            assert!(is_there || may_be_gone, "key {key:?} lost its latest record at {offset}");
            let older = present.range(self.start..offset).find(|(_, other)| other.key == acked.key);
            assert!(is_there || older.is_none(), "key {key:?}: {older:?} is back from the dead");
        }
        let ends: Vec<(i64, Offset, i32)> = self
            .segments
            .iter()
            .flat_map(|(_, bytes)| Batches::new(bytes))
            .map(|b| (b.producer_id(), b.last_offset(), b.base_sequence() + b.last_offset_delta()))
            .collect();
        for (id, last) in &self.producers {
            let offset = last.data_offset.unwrap();
            let whole = (*id, offset, self.sequences[id] - 1);
            let is_below = offset < self.segments[0].0.max(self.start);
            assert!(
                ends.contains(&whole) || is_below,
                "the last sequence of producer {id} is gone"
            );
        }
        if until > self.segments[0].0.max(self.start) {
            assert!(
                ends.iter().any(|(_, last, _)| last + 1 == until),
                "a reader sticks below {until}"
            );
        }
    }

    /// Below `end` each key has one record at most.
    fn latest_alone(&self, end: Offset) {
        let mut seen = BTreeMap::new();
        for (offset, acked) in self.present().range(self.start..end) {
            if let Some(before) = seen.insert(acked.key.clone(), *offset) {
                panic!("offsets {before} and {offset} have one key, cleaned up to {end}");
            }
        }
    }
}

/// Nobody else is there to go first.
fn in_one_turn<T>(work: impl AsyncFnOnce(&mut Pace) -> T) -> T {
    work(&mut Pace::new(usize::MAX)).now_or_never().expect("it waits for nothing")
}

fn learn(mapping: &mut Mapping<'_>, batch: &BatchView<'_>) -> Result<bool, Uncleanable> {
    in_one_turn(async |turns| mapping.batch(batch, turns).await)
}

fn judge(filter: &mut Filter<'_>, batch: &BatchView<'_>) -> Kept {
    in_one_turn(async |turns| filter.batch(batch, turns).await).unwrap()
}

fn records(batch: &BatchView<'_>) -> Vec<(Offset, Acked)> {
    let codec = batch.attributes().codec().unwrap();
    let plain = decompress(codec, batch.records_bytes(), UNLIMITED).unwrap();
    let each = Records::new(&plain, batch.record_count()).map(|record| {
        let record = record.unwrap();
        let acked = Acked {
            key: record.key.unwrap().to_vec(),
            value: record.value.map(<[u8]>::to_vec),
            time: record.timestamp(batch.base_timestamp()).unwrap(),
        };
        (record.offset(batch.base_offset()).unwrap(), acked)
    });
    each.collect()
}

fn sequence(seed: u64) -> Model {
    let mut random = SimRandom::new(seed);
    let mut model = Model::new(&mut random);
    for _ in 0..10 + random.below(30) {
        match random.below(20) {
            0..9 => model.produce(&mut random),
            9 => model.mark(),
            10..13 => model.roll(),
            13..15 => model.now += random.below(80) as i64,
            15..18 => model.clean(&mut random),
            18 => {
                let to = model.start + random.below(6) as i64;
                model.delete_records(to);
            }
            // A restart may have lost how far the log was cleaned.
            _ => {
                if random.below(2) == 0 {
                    model.cleaned_to = random.below(model.cleaned_to as u64 + 1) as i64;
                }
            }
        }
    }
    model.roll();
    model.now += 50;
    model.clean(&mut random);
    model
}

#[test]
fn ten_thousand_sequences_lose_no_latest_value_and_keep_offsets_and_order() {
    let (mut cleanings, mut dropped) = (0, 0);
    for seed in 0..10_000 {
        let result = std::panic::catch_unwind(|| sequence(seed));
        let model = result.unwrap_or_else(|_| panic!("seed {seed}"));
        cleanings += model.cleanings;
        dropped += model.dropped;
    }
    assert!(cleanings > 20_000 && dropped > 20_000, "{cleanings} cleanings dropped {dropped}");
}

#[test]
fn what_does_not_check_is_refused_with_its_offsets() {
    let facts = CleanFacts { decompressed_bytes_max: UNLIMITED, ..CleanFacts::default() };
    let mut builder = BatchBuilder::new(Codec::Gzip);
    builder.set_place(40, 0);
    builder.append(1, Some(b"key"), Some(&[0; 5000]), &[]).unwrap();
    let whole = builder.finish().unwrap().to_vec();
    let refusal = |bytes: &[u8], facts: &CleanFacts| {
        let mut mapping = Mapping::new(facts, KeyMap::new(1 << 12, 0.9, 10), 0);
        learn(&mut mapping, &BatchView::first(bytes).unwrap()).unwrap_err()
    };
    let mut torn = whole.clone();
    torn[70] ^= 1;
    assert!(refusal(&torn, &facts).contains("40..=40: its checksum"));
    let tight = CleanFacts { decompressed_bytes_max: 100, ..facts.clone() };
    assert!(refusal(&whole, &tight).contains("more than the 100 bytes"));
    let mut mapping = Mapping::new(&facts, KeyMap::new(1 << 12, 0.9, 10), 0);
    let view = BatchView::first(&whole).unwrap();
    assert_eq!(learn(&mut mapping, &view), Ok(true));
    assert!(learn(&mut mapping, &view).unwrap_err().contains("offset 41 at least is due"));
}
