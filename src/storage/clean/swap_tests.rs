//! A swap with checkpoints made one after the other all the while, cut off at every disk call;
//! and a log in which something does not check. Readers under way are in `reader_tests.rs`.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use crate::disk::sim::{Crash, DiskImage};
use crate::model::{Offset, TopicPartition};
use crate::record::{self, BatchBuilder, Batches};
use crate::runtime::sim::{SimRandom, SimRuntime, SimWorld};
use crate::runtime::{Queue, Runtime};
use crate::storage::segment::ages_from;
use crate::storage::tests::{ID, Marks, append, log_config};
use crate::storage::{
    CleanError, CleanFacts, CleanLimits, CleanOutcome, Compaction, Log, LogConfig, Owner,
    ShardStart, StorageConfig, Store, Throttle, recover,
};

/// Batches of a run, of one record each.
const BATCHES: u8 = 48;

/// Every third key comes once, so that every segment has something to lose.
fn key_of(number: u8) -> u8 {
    if number.is_multiple_of(3) { 100 + number } else { number % 5 }
}

pub(super) fn config() -> StorageConfig {
    StorageConfig {
        data_dir: PathBuf::from("/data"),
        journal_bytes_max: 256 << 10,
        direct_append_bytes_min: 8 << 10,
        direct_unflushed_append_bytes_min: 8 << 10,
        pending_bytes_max: 64 << 10,
        cache_bytes_max: 4 << 10,
        open_files_max: 8192,
        pool_bytes_max: 256 << 20,
        space_reserve_bytes: 0,
    }
}

pub(super) fn compacted() -> LogConfig {
    let compaction = Compaction {
        dirty_ratio_min: 0.0,
        lag_ms_min: 0,
        lag_ms_max: i64::MAX,
        delete_retention_ms: 0,
    };
    LogConfig { compaction: Some(compaction), ..log_config(10_000) }
}

pub(super) async fn start(runtime: &SimRuntime) -> ShardStart {
    let owner = |_: TopicPartition| Owner::Shard(0, compacted());
    recover(runtime, &config(), 1, &owner).await.unwrap().remove(0)
}

fn batch(number: u8) -> Bytes {
    let mut builder = BatchBuilder::default();
    let value = vec![number; 500 + 37 * usize::from(number % 11)];
    builder.append(1000, Some(&[key_of(number)]), Some(&value), &[]).unwrap();
    Bytes::copy_from_slice(builder.finish().unwrap())
}

pub(super) async fn clean(
    log: &Rc<Log<SimRuntime>>,
    end: Offset,
) -> Result<CleanOutcome, CleanError> {
    let facts = CleanFacts { decompressed_bytes_max: 1 << 20, ..CleanFacts::default() };
    let limits = CleanLimits { map_bytes: 1 << 12, load_factor: 0.9, io_bytes: 4 << 10 };
    let mut throttle = Throttle::new(f64::MAX, log.core.runtime.now());
    log.clean(facts, end, limits, &mut throttle).await
}

/// Every key with the number of its last batch.
async fn latest(log: &Rc<Log<SimRuntime>>) -> BTreeMap<u8, u8> {
    let (mut from, end) = (log.start_offset(), log.end_offset());
    let mut found = BTreeMap::new();
    while from < end {
        let read = log.read(from, end, 100_000, true).await.unwrap();
        let bytes = read.pieces.concat();
        let before = from;
        for batch in Batches::new(&bytes) {
            assert!(batch.crc_matches());
            from = batch.last_offset() + 1;
            for record in batch.records() {
                let record = record.unwrap();
                found.insert(record.key.unwrap()[0], record.value.unwrap()[0]);
            }
        }
        assert!(from > before, "nothing at {before} of {end}");
    }
    found
}

/// A new store with a log of these batches, all of them flushed.
pub(super) async fn written(
    runtime: &SimRuntime,
    batches: impl Iterator<Item = Bytes>,
) -> (Rc<Store<SimRuntime>>, Rc<Log<SimRuntime>>) {
    let store = Store::open(runtime.clone(), config(), start(runtime).await).await.unwrap();
    let log = store.create_log(ID, compacted()).await.unwrap();
    append_all(&log, batches).await;
    (store, log)
}

/// Append these batches, and wait until all are flushed.
pub(super) async fn append_all(log: &Rc<Log<SimRuntime>>, batches: impl Iterator<Item = Bytes>) {
    let marks = Rc::new(Marks::default());
    log.set_observer(marks.clone());
    let mut batches = batches.peekable();
    while let Some(batch) = batches.next() {
        append(log, batch, batches.peek().is_none()).await;
    }
    marks.flushed(log.end_offset()).await;
}

/// All batches, then a cleaning with checkpoints all the while; its calls are those behind
/// `began`.
async fn write_and_clean(runtime: SimRuntime, began: Rc<Cell<u64>>) {
    let (_store, log) = written(&runtime, (0..BATCHES).map(batch)).await;
    let done = Rc::new(Cell::new(false));
    let (changing, stop, sleeper) = (Rc::clone(&log), Rc::clone(&done), runtime.clone());
    runtime.spawn(Queue::Background, async move {
        while !stop.get() {
            changing.note_changed();
            changing.core.checkpoint_now().await.unwrap();
            // The others get their turn.
            sleeper.sleep(Duration::from_micros(1)).await;
        }
    });
    began.set(runtime.disk().ops());
    let outcome = clean(&log, log.flushed_offset()).await.unwrap();
    assert!(outcome.bytes_after < outcome.bytes_before, "{outcome:?}");
    done.set(true);
}

fn recovered(image: DiskImage, seed: u64) -> BTreeMap<u8, u8> {
    let world = SimWorld::new(seed, image);
    let runtime = world.runtime();
    let found = world.run(async move {
        let store = Store::open(runtime.clone(), config(), start(&runtime).await).await.unwrap();
        let (log, _) = store.take_recovered().remove(0);
        latest(&log).await
    });
    found.unwrap()
}

#[test]
fn no_checkpoint_falls_between_the_entry_of_a_swap_and_its_names() {
    let run = |seed: u64, halt_at: Option<u64>| {
        let world = SimWorld::new(seed, DiskImage::with_dir(Path::new("/data")));
        if let Some(op) = halt_at {
            world.disk().halt_at(op);
        }
        let began = Rc::new(Cell::new(0));
        world.run(write_and_clean(world.runtime(), Rc::clone(&began)));
        (began.get(), world)
    };
    let expected: BTreeMap<u8, u8> = (0..BATCHES).map(|number| (key_of(number), number)).collect();
    for seed in 0..4 {
        let (began, whole) = run(seed, None);
        for point in began + 1..=whole.disk().ops() {
            let image = run(seed, Some(point)).1.disk().image();
            for kind in [Crash::KeepNothing, Crash::KeepAll, Crash::KeepSome] {
                let left = image.crashed(kind, &mut SimRandom::new(point));
                let found = recovered(left, point);
                assert_eq!(found, expected, "seed {seed}, crash point {point}, {kind:?}");
            }
        }
    }
}

/// A cleaning makes nothing younger or older.
#[test]
fn cleaned_segments_without_timestamps_age_as_those_they_are_made_of() {
    let world = SimWorld::new(1, DiskImage::with_dir(Path::new("/data")));
    let runtime = world.runtime();
    world.run(async move {
        let untimed = |number| {
            let mut bytes = batch(number).to_vec();
            record::set_max_timestamp(&mut bytes, -1);
            bytes.into()
        };
        let (_store, log) = written(&runtime, (0..BATCHES).map(untimed)).await;
        let ages = |log: &Log<SimRuntime>| {
            let sealed = log.segments().into_iter().rev().skip(1);
            sealed.map(|s| ages_from(s.max_timestamp)).collect::<Vec<_>>()
        };
        let before = ages(&log);
        assert!(before.len() > 2 && before.iter().all(Option::is_some), "{before:?}");
        let outcome = clean(&log, log.flushed_offset()).await.unwrap();
        assert!(outcome.bytes_after < outcome.bytes_before, "{outcome:?}");
        let after = ages(&log);
        assert!(!after.is_empty() && after.iter().all(|age| before.contains(age)), "{after:?}");
    });
}

#[test]
fn a_batch_that_does_not_check_makes_the_log_uncleanable_and_nothing_shorter() {
    // One bit of a value, and one of a base offset, which no checksum covers.
    for (position, expected) in [(300, "its checksum"), (2, "do not belong between")] {
        let world = SimWorld::new(1, DiskImage::with_dir(Path::new("/data")));
        let runtime = world.runtime();
        world.run(async move {
            let (store, _) = written(&runtime, (0..BATCHES).map(batch)).await;
            store.close().await.unwrap();
        });
        let mut image = world.disk().image();
        let segments = image.find(".log");
        assert!(segments.len() > 3, "{segments:?}");
        assert!(image.damage(&segments[1], position));
        let before = image.content(&segments[0]);
        let world = SimWorld::new(2, image);
        let runtime = world.runtime();
        world.run(async move {
            let start = start(&runtime).await;
            let store = Store::open(runtime.clone(), config(), start).await.unwrap();
            let (log, _) = store.take_recovered().remove(0);
            let segments = log.segments();
            let why = clean(&log, log.end_offset()).await.unwrap_err();
            let CleanError::Uncleanable(why) = why else { panic!("{why:?}") };
            assert!(why.contains(expected), "{why}");
            assert!(log.is_uncleanable() && log.dirt(log.end_offset(), 0).is_none());
            assert_eq!(log.segments(), segments);
            assert_eq!(clean(&log, log.end_offset()).await.unwrap(), CleanOutcome::default());
        });
        assert_eq!(world.disk().image().content(&segments[0]), before);
        assert_eq!(world.disk().image().find("/pool/").len(), 0, "nothing half-written stays");
    }
}
