//! Cleaning a compacted log, with a crash at every disk call of it.
//!
//! A log of few keys is written, cleaned, deleted from, cleaned again and read all the while;
//! whatever a crash leaves, the latest value of every key must be there, nothing that was never
//! written, and no file that belongs to nothing.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use thalweg::disk::sim::{Crash, DiskImage};
use thalweg::model::{Offset, ShardId, TopicPartition};
use thalweg::record::{BatchBuilder, Batches, Codec, Records, decompress};
use thalweg::runtime::sim::{SimRandom, SimRuntime, SimWorld};
use thalweg::runtime::wait::WaitList;
use thalweg::runtime::{Queue, Runtime};
use thalweg::storage::{
    Append, AppendError, CleanError, CleanFacts, CleanLimits, CleanOutcome, Compaction, Log,
    LogConfig, LogObserver, Owner, StorageConfig, StorageError, Store, Throttle, recover,
};

use crate::check::{FoundLog, log_config, read_all, recover_in, recovered_twice};
use crate::script::id;
use crate::{CRASHES, config, data_dir};

/// Key, and value or tombstone.
type Said = (u8, Option<Offset>);

/// What was written, and what was promised of it.
#[derive(Default)]
struct History {
    records: RefCell<BTreeMap<Offset, Said>>,
    flushed: Cell<Offset>,
    start_begun: Cell<Offset>,
    start_done: Cell<Offset>,
    cleanings: Cell<usize>,
    shrunk: Cell<u64>,
    /// Disk calls before the first cleaning.
    cleaning_from: Cell<Option<u64>>,
    is_created: Cell<bool>,
    /// Told whenever written or flushed grows.
    progress: WaitList,
}

struct Observer(Rc<History>);

impl LogObserver for Observer {
    fn progressed(&self, _written: Offset, flushed: Offset) {
        self.0.flushed.set(self.0.flushed.get().max(flushed));
        self.0.progress.wake_all();
    }
    fn failed(&self, _error: &StorageError) {}
    fn snapshot(&self) -> Bytes {
        Bytes::new()
    }
}

/// Limits so small that checkpoints come all the time, during swaps too.
fn tight() -> StorageConfig {
    StorageConfig { journal_bytes_max: 256 << 10, pending_bytes_max: 64 << 10, ..config() }
}

fn compacted() -> LogConfig {
    LogConfig {
        segment_bytes: 12 << 10,
        delete: false,
        compaction: Some(Compaction {
            dirty_ratio_min: 0.0,
            lag_ms_min: 0,
            lag_ms_max: i64::MAX,
            delete_retention_ms: 1,
        }),
        ..log_config()
    }
}

fn owner(shards: ShardId) -> impl Fn(TopicPartition) -> Owner {
    move |id| Owner::Shard(ShardId::try_from(id.partition).unwrap_or(0) % shards, compacted())
}

/// A batch of up to three records of nine keys, one in six a tombstone.
fn batch(base: Offset, random: &mut SimRandom) -> (Bytes, Vec<Said>) {
    let codec = if random.below(5) == 0 { Codec::Lz4 } else { Codec::None };
    let mut builder = BatchBuilder::new(codec);
    let said: Vec<Said> = (0..1 + random.below(3) as i64)
        .map(|i| (random.below(9) as u8, (random.below(6) > 0).then_some(base + i)))
        .collect();
    for (key, value) in &said {
        // Mostly small; some are larger than what goes through the journal.
        let len = [40, 700, 3000, 9000][random.below(4) as usize];
        let mut bytes = vec![*key; len];
        let value = value.map(|value| {
            bytes[..8].copy_from_slice(&value.to_be_bytes());
            &bytes[..]
        });
        builder.append(1_800_000_000_000, Some(&[*key]), value, &[]).unwrap();
    }
    (Bytes::copy_from_slice(builder.finish().unwrap()), said)
}

async fn append(log: &Rc<Log<SimRuntime>>, history: &History, random: &mut SimRandom) {
    let base_offset = log.end_offset();
    let (bytes, said) = batch(base_offset, random);
    let append = Append {
        last_offset: base_offset + said.len() as i64 - 1,
        base_offset,
        leader_epoch: 4,
        max_timestamp: 1_800_000_000_000,
        flush: random.below(3) == 0,
        bytes,
    };
    loop {
        match log.append(&append) {
            Ok(()) => break,
            Err(AppendError::NoRoom) => match log.room(append.bytes.len(), said.len() as i64).await
            {
                Ok(()) => {}
                Err(_) => return,
            },
            Err(AppendError::Storage(_)) => return,
        }
    }
    let mut records = history.records.borrow_mut();
    records.extend((base_offset..).zip(said));
}

async fn flush(log: &Rc<Log<SimRuntime>>, history: &History) {
    // The last of these asks for a flush.
    let mut always = SimRandom::new(0);
    let end = log.end_offset();
    while log.flushed_offset() < end {
        append(log, history, &mut always).await;
        let is_written = || (log.written_offset() >= log.end_offset()).then_some(());
        history.progress.until(is_written).await;
    }
}

async fn clean(
    log: &Rc<Log<SimRuntime>>,
    runtime: &SimRuntime,
    history: &History,
) -> Result<CleanOutcome, CleanError> {
    let facts = CleanFacts {
        now_ms: runtime.wall_ms(),
        decompressed_bytes_max: 1 << 20,
        ..CleanFacts::default()
    };
    let limits = CleanLimits { map_bytes: 1 << 12, load_factor: 0.9, io_bytes: 8 << 10 };
    let mut throttle = Throttle::new(f64::MAX, runtime.now());
    let outcome = log.clean(facts, log.flushed_offset(), limits, &mut throttle).await?;
    history.cleanings.set(history.cleanings.get() + 1);
    let shrunk = outcome.bytes_before - outcome.bytes_after;
    history.shrunk.set(history.shrunk.get() + shrunk);
    Ok(outcome)
}

/// Read the log again and again until told to stop; every time it must be right.
fn read_meanwhile(
    log: &Rc<Log<SimRuntime>>,
    runtime: &SimRuntime,
    history: &Rc<History>,
) -> Rc<Cell<bool>> {
    let stop = Rc::new(Cell::new(false));
    let (until, log, history) = (Rc::clone(&stop), Rc::clone(log), Rc::clone(history));
    let sleeper = runtime.clone();
    runtime.spawn(Queue::Network, async move {
        while !until.get() {
            let (start, end) = (log.start_offset(), log.written_offset());
            let read = read_all(&log).await;
            if log.start_offset() == start {
                let judged = read.and_then(|bytes| judge(&history, &bytes, start, end));
                judged.expect("a reader under way over a swap");
            }
            sleeper.sleep(Duration::from_micros(300)).await;
        }
    });
    stop
}

async fn script(runtime: SimRuntime, history: Rc<History>, seed: u64) {
    let mut random = SimRandom::new(seed ^ 0xc1ea);
    let mut starts = recover(&runtime, &tight(), 1, &owner(1)).await.unwrap();
    let store = Store::open(runtime.clone(), tight(), starts.remove(0)).await.unwrap();
    let log = store.create_log(id(0), compacted()).await.unwrap();
    history.is_created.set(true);
    log.set_observer(Rc::new(Observer(Rc::clone(&history))));
    for round in 0..2 {
        for _ in 0..11 {
            append(&log, &history, &mut random).await;
        }
        flush(&log, &history).await;
        let stop = read_meanwhile(&log, &runtime, &history);
        let writer = {
            let (log, history, seed) = (Rc::clone(&log), Rc::clone(&history), random.bits());
            async move {
                let mut random = SimRandom::new(seed);
                for _ in 0..14 {
                    append(&log, &history, &mut random).await;
                }
            }
        };
        runtime.spawn(Queue::Network, writer);
        history.cleaning_from.set(history.cleaning_from.get().or(Some(runtime.disk().ops())));
        let cleaned = clean(&log, &runtime, &history).await;
        assert!(!matches!(cleaned, Err(CleanError::Uncleanable(_))), "{cleaned:?}");
        runtime.sleep(Duration::from_millis(3)).await;
        stop.set(true);
        if round == 0 {
            let to = log.segments().get(1).map_or(1, |s| s.base_offset) + 1;
            let to = to.min(log.flushed_offset());
            history.start_begun.set(to);
            log.set_start_offset(to).await.unwrap();
            history.start_done.set(to);
        }
    }
    store.close().await.unwrap();
    drop((log, store));
    second_run(runtime, history, random).await;
}

/// The same log on another shard, ended by the end of the world in the middle of a cleaning.
async fn second_run(runtime: SimRuntime, history: Rc<History>, mut random: SimRandom) {
    let starts = recover(&runtime, &tight(), 2, &owner(2)).await.unwrap();
    for start in starts {
        let store = Store::open(runtime.clone(), tight(), start).await.unwrap();
        for (log, _) in store.take_recovered() {
            log.set_observer(Rc::new(Observer(Rc::clone(&history))));
            for _ in 0..8 {
                append(&log, &history, &mut random).await;
            }
            flush(&log, &history).await;
            let cleaned = clean(&log, &runtime, &history).await;
            assert!(!matches!(cleaned, Err(CleanError::Uncleanable(_))), "{cleaned:?}");
        }
    }
}

/// Whether `bytes`, read from `start`, are what a log that ends at `end` at least may hold.
fn judge(history: &History, bytes: &[u8], start: Offset, end: Offset) -> Result<(), String> {
    let written = history.records.borrow();
    let mut found: BTreeMap<Offset, Said> = BTreeMap::new();
    let mut next = 0;
    let mut batches = Batches::new(bytes);
    for batch in batches.by_ref() {
        if !batch.crc_matches() || batch.base_offset() < next {
            return Err(format!("a wrong batch at offset {}", batch.base_offset()));
        }
        next = batch.last_offset() + 1;
        let codec = batch.attributes().codec().ok_or("no codec")?;
        let plain = decompress(codec, batch.records_bytes(), 1 << 20).map_err(|e| e.to_string())?;
        for record in Records::new(&plain, batch.record_count()) {
            let record = record.map_err(|e| e.to_string())?;
            let offset = record.offset(batch.base_offset()).ok_or("no offset")?;
            let value =
                record.value.and_then(|v| v.first_chunk()).map(|b| Offset::from_be_bytes(*b));
            let said = (record.key.ok_or("no key")?[0], value);
            if written.get(&offset) != Some(&said) {
                return Err(format!("{said:?} at {offset}, written {:?}", written.get(&offset)));
            }
            found.insert(offset, said);
        }
    }
    if batches.fault().is_some() || next < end {
        return Err(format!("read up to {next} of {end}: {:?}", batches.fault()));
    }
    let mut latest = BTreeMap::new();
    for (offset, (key, value)) in written.range(start..next) {
        latest.insert(*key, (*offset, *value));
    }
    for (key, (offset, value)) in latest {
        let is_there = found.contains_key(&offset);
        let older = found.range(start..offset).any(|(_, (other, _))| *other == key);
        if !is_there && (value.is_some() || older) {
            return Err(format!(
                "key {key} lost {value:?} at {offset} (older ones there: {older})"
            ));
        }
    }
    Ok(())
}

fn check(history: &History, found: Option<&FoundLog>) -> Result<(), String> {
    let Some(found) = found else {
        return if history.is_created.get() { Err("the log is gone".into()) } else { Ok(()) };
    };
    if found.broken {
        return Err("it is offline although nothing was damaged".into());
    }
    if found.end_offset < history.flushed.get() {
        return Err(format!("ends at {}, flushed {}", found.end_offset, history.flushed.get()));
    }
    let (least, most) = (history.start_done.get(), history.start_begun.get());
    if found.start_offset < least || found.start_offset > most.max(least) {
        return Err(format!("starts at {}, not in {least}..={most}", found.start_offset));
    }
    judge(history, &found.bytes, found.start_offset, found.end_offset)
}

/// Files that belong to no segment once a log was recovered.
fn left_behind(seed: u64, left: &DiskImage) -> Vec<String> {
    let world = SimWorld::new(seed, left.clone());
    if recover_in(&world, 1).is_err() {
        return Vec::new();
    }
    let image = world.disk().image();
    let names = |part| image.find(part).into_iter().map(|p| p.display().to_string());
    let logs: Vec<String> = names(".log").map(|p| p.replace(".log", "")).collect();
    let indexes = names("index").filter(|p| !logs.contains(&p.split('.').next().unwrap().into()));
    names("/pool/").chain(indexes).collect()
}

fn crash(seed: u64, point: u64) -> Result<(), String> {
    let world = SimWorld::new(seed, DiskImage::with_dir(&data_dir()));
    world.disk().halt_at(point);
    let history = Rc::new(History::default());
    world.run(script(world.runtime(), Rc::clone(&history), seed));
    let image = world.disk().image();
    for kind in CRASHES {
        let left: DiskImage = image.crashed(kind, &mut SimRandom::new(seed ^ point));
        let extra = if kind == Crash::KeepSome { left_behind(seed, &left) } else { Vec::new() };
        recovered_twice(left, seed + point)
            .and_then(|found| check(&history, found.logs.get(&id(0))))
            .and_then(|()| if extra.is_empty() { Ok(()) } else { Err(format!("left: {extra:?}")) })
            .map_err(|why| format!("seed {seed}, crash point {point}, {kind:?}: {why}"))?;
    }
    Ok(())
}

/// Calls from the first cleaning to the end of the run.
fn points(seed: u64) -> RangeInclusive<u64> {
    let world = SimWorld::new(seed, DiskImage::with_dir(&data_dir()));
    let history = Rc::new(History::default());
    world.run(script(world.runtime(), Rc::clone(&history), seed));
    assert!(history.cleanings.get() >= 3, "{} cleanings", history.cleanings.get());
    assert!(history.shrunk.get() > 30_000, "cleanings removed {} bytes", history.shrunk.get());
    history.cleaning_from.get().unwrap_or(1)..=world.disk().ops()
}

#[test]
fn no_crash_point_of_a_cleaning_loses_a_latest_value_or_leaves_a_file() {
    for point in points(1) {
        assert_eq!(crash(1, point), Ok(()));
    }
}

#[test]
fn other_seeds_clean_in_another_order() {
    for seed in 2..20 {
        let points = points(seed);
        let mut random = SimRandom::new(seed);
        for _ in 0..8 {
            let point = points.start() + random.below(points.end() - points.start());
            assert_eq!(crash(seed, point), Ok(()));
        }
    }
}
