//! Which files of removed segments are kept, which are used again, and when they give way.

use std::path::PathBuf;
use std::rc::Rc;

use super::core::Core;
use super::tests::{ID, Marks, append, batch, log_config};
use super::{
    Append, AppendError, Log, LogConfig, Owner, StorageConfig, StorageError, Store, StoreStatus,
    recover,
};
use crate::disk::Disk;
use crate::disk::sim::DiskImage;
use crate::model::TopicPartition;
use crate::runtime::Runtime;
use crate::runtime::sim::{SimRuntime, SimWorld};

const SEGMENT: u64 = 1 << 20;
const BATCH: usize = 100_000;

fn config(pool_bytes_max: u64) -> StorageConfig {
    StorageConfig {
        data_dir: PathBuf::from("/data"),
        journal_bytes_max: 256 << 10,
        direct_append_bytes_min: 8 << 10,
        direct_unflushed_append_bytes_min: 8 << 10,
        pending_bytes_max: 256 << 10,
        cache_bytes_max: 4 << 10,
        open_files_max: 64,
        pool_bytes_max,
        space_reserve_bytes: 0,
    }
}

pub(super) async fn open(runtime: &SimRuntime, pool_bytes_max: u64) -> Rc<Store<SimRuntime>> {
    let config = config(pool_bytes_max);
    let owner = |_: TopicPartition| Owner::Shard(0, log_config(SEGMENT));
    let start = recover(runtime, &config, 1, &owner).await.unwrap().remove(0);
    Store::open(runtime.clone(), config, start).await.unwrap()
}

/// What a new store's tasks share, without those tasks.
pub(super) async fn core(runtime: &SimRuntime) -> Rc<Core<SimRuntime>> {
    let config = config(0);
    let owner = |_: TopicPartition| Owner::Shard(0, log_config(SEGMENT));
    let start = recover(runtime, &config, 1, &owner).await.unwrap().remove(0);
    Rc::new(Core::new(runtime.clone(), &config, &start))
}

/// A log with segments of this size, and so many batches in it, all of them flushed.
async fn filled(
    store: &Rc<Store<SimRuntime>>,
    id: TopicPartition,
    segment: u64,
    batches: usize,
) -> (Rc<Log<SimRuntime>>, Rc<Marks>) {
    let log = store.create_log(id, log_config(segment)).await.unwrap();
    let marks = Rc::new(Marks::default());
    log.set_observer(marks.clone());
    for _ in 0..batches {
        append(&log, batch(BATCH, 1, 1, 1), true).await;
    }
    marks.flushed(log.end_offset()).await;
    (log, marks)
}

/// Remove every segment but the active one.
async fn cut(log: &Rc<Log<SimRuntime>>) -> Result<(), StorageError> {
    let start = log.segments().last().unwrap().base_offset;
    log.set_start_offset(start).await
}

#[test]
fn files_are_kept_up_to_their_limit_and_used_again() {
    let world = SimWorld::new(1, DiskImage::with_dir(&PathBuf::from("/data")));
    let runtime = world.runtime();
    world.run(async move {
        let store = open(&runtime, 3 * SEGMENT).await;
        let (log, marks) = filled(&store, ID, SEGMENT, 55).await;
        assert_eq!(log.segments().len(), 6);
        cut(&log).await.unwrap();
        let kept = log.core.stats.pool_bytes.get();
        assert!((2 * SEGMENT..=3 * SEGMENT).contains(&kept), "{kept}");
        for _ in 0..50 {
            append(&log, batch(BATCH, 1, 2, 1), true).await;
        }
        marks.flushed(log.end_offset()).await;
        let stats = &log.core.stats;
        assert_eq!((stats.segments_recycled.get(), stats.pool_bytes.get()), (3, 0));
        // A deleted log leaves its sealed segments, too.
        store.delete_log(ID).await.unwrap();
        let kept = stats.pool_bytes.get();
        assert!((2 * SEGMENT..=3 * SEGMENT).contains(&kept), "{kept}");
        store.close().await.unwrap();
    });
}

#[test]
fn kept_files_give_way_when_space_is_missing() {
    let world = SimWorld::new(1, DiskImage::with_dir(&PathBuf::from("/data")));
    let capacity = 12 * SEGMENT;
    world.disk().set_capacity(capacity);
    let runtime = world.runtime();
    world.run(async move {
        let store = open(&runtime, 100 * SEGMENT).await;
        let (log, _) = filled(&store, ID, SEGMENT, 75).await;
        cut(&log).await.unwrap();
        let kept = log.core.stats.pool_bytes.get();
        assert!(kept > 6 * SEGMENT, "{kept}");
        // None of the files fits a segment of a quarter of their size.
        let id = TopicPartition { partition: ID.partition + 1, ..ID };
        let (other, _) = filled(&store, id, SEGMENT / 4, 1).await;
        let refused = fill(&other).await;
        assert!(matches!(refused, StorageError::Full(_)), "{refused}");
        let taken: u64 = other.segments().iter().map(|segment| segment.bytes).sum();
        assert!(
            taken > capacity - 4 * SEGMENT,
            "{taken} of {capacity} with {kept} kept before, {} now: {refused}",
            log.core.stats.pool_bytes.get()
        );
        assert_eq!(log.core.stats.pool_bytes.get(), 0);
    });
}

/// What an operator does with a full disk: start the broker again, delete, go on.
#[test]
fn a_store_that_filled_its_disk_opens_again_and_deletes() {
    const RESERVE: u64 = 3 * SEGMENT;
    let world = SimWorld::new(1, DiskImage::with_dir(&PathBuf::from("/data")));
    world.disk().set_capacity(12 * SEGMENT);
    let (runtime, disk) = (world.runtime(), world.disk().clone());
    world.run(async move {
        let config = StorageConfig { space_reserve_bytes: RESERVE, ..config(0) };
        let owner = |_: TopicPartition| Owner::Shard(0, log_config(SEGMENT));
        let start = async || {
            let start = recover(&runtime, &config, 1, &owner).await?.remove(0);
            Store::open(runtime.clone(), config.clone(), start).await
        };
        let store = start().await.unwrap();
        let log = store.create_log(ID, log_config(SEGMENT)).await.unwrap();
        let refused = fill(&log).await;
        assert!(matches!(refused, StorageError::Full(_)), "{refused}");
        // What the journal begins with is made at any price.
        let kept = disk.usable();
        assert!((RESERVE - (128 << 10)..RESERVE + 2 * SEGMENT).contains(&kept), "{kept}");
        store.close().await.unwrap();
        let store = start().await.unwrap();
        store.delete_log(ID).await.unwrap();
        let id = TopicPartition { partition: ID.partition + 1, ..ID };
        filled(&store, id, SEGMENT, 20).await;
        store.close().await.unwrap();
    });
}

/// Nobody may be appending when there is space again.
#[test]
fn space_that_comes_back_is_noticed_without_an_append() {
    let world = SimWorld::new(1, DiskImage::with_dir(&PathBuf::from("/data")));
    world.disk().set_capacity(12 * SEGMENT);
    let (runtime, disk) = (world.runtime(), world.disk().clone());
    world.run(async move {
        let config = StorageConfig { space_reserve_bytes: 2 * SEGMENT, ..config(0) };
        let owner = |_: TopicPartition| Owner::Shard(0, log_config(SEGMENT));
        let start = recover(&runtime, &config, 1, &owner).await.unwrap().remove(0);
        let store = Store::open(runtime.clone(), config, start).await.unwrap();
        let log = store.create_log(ID, log_config(SEGMENT)).await.unwrap();
        let refused = fill(&log).await;
        assert!(matches!(refused, StorageError::Full(_)), "{refused}");
        store.give_way().await.unwrap();
        assert!(matches!(store.status(), StoreStatus::Full(_)), "{:?}", store.status());
        disk.set_capacity(24 * SEGMENT);
        store.give_way().await.unwrap();
        assert_eq!(store.status(), StoreStatus::Online);
    });
}

/// One shard's files must not keep another shard's appends waiting.
#[test]
fn files_are_kept_only_while_there_is_space_to_spare() {
    let world = SimWorld::new(1, DiskImage::with_dir(&PathBuf::from("/data")));
    world.disk().set_capacity(20 * SEGMENT);
    let (runtime, disk) = (world.runtime(), world.disk().clone());
    world.run(async move {
        let config = StorageConfig { space_reserve_bytes: 2 * SEGMENT, ..config(100 * SEGMENT) };
        let owner = |_: TopicPartition| Owner::Shard(0, log_config(SEGMENT));
        let start = recover(&runtime, &config, 1, &owner).await.unwrap().remove(0);
        let store = Store::open(runtime.clone(), config, start).await.unwrap();
        let (log, _) = filled(&store, ID, SEGMENT, 35).await;
        cut(&log).await.unwrap();
        let kept = || log.core.stats.pool_bytes.get();
        assert!(kept() > 2 * SEGMENT, "{}", kept());
        store.give_way().await.unwrap();
        assert!(kept() > 2 * SEGMENT, "there is space");
        // Somebody else takes nearly all of it.
        disk.set_capacity(20 * SEGMENT - disk.usable() + SEGMENT);
        store.give_way().await.unwrap();
        assert_eq!(kept(), 0);
        // Nor is another one kept then.
        disk.set_capacity(20 * SEGMENT);
        let id = TopicPartition { partition: ID.partition + 1, ..ID };
        let (other, _) = filled(&store, id, SEGMENT, 25).await;
        disk.set_capacity(20 * SEGMENT - disk.usable() + SEGMENT);
        cut(&other).await.unwrap();
        assert_eq!(kept(), 0);
    });
}

/// Retention makes room; it must not need some.
#[test]
fn retention_goes_on_on_a_full_disk() {
    let world = SimWorld::new(1, DiskImage::with_dir(&PathBuf::from("/data")));
    world.disk().set_capacity(8 * SEGMENT);
    let (runtime, disk) = (world.runtime(), world.disk().clone());
    world.run(async move {
        let store = open(&runtime, 0).await;
        let config = LogConfig { retention_ms: 1000, ..log_config(SEGMENT) };
        let log = store.create_log(ID, config).await.unwrap();
        let refused = fill(&log).await;
        assert!(matches!(refused, StorageError::Full(_)), "{refused}");
        let capacity = 8 * SEGMENT - disk.usable();
        disk.set_capacity(capacity);
        assert_eq!(disk.usable(), 0);
        let later = runtime.wall_ms() + 3_600_000;
        let gone = log.apply_retention(log.end_offset(), later).await.unwrap();
        assert!(gone > 3, "{gone}");
        assert!(disk.usable() > 3 * SEGMENT, "{}", disk.usable());
        assert_eq!(log.start_offset(), log.end_offset());
        // Nor when there is nothing but the active segment.
        for _ in 0..5 {
            append(&log, batch(BATCH, 1, 1, 1), true).await;
        }
        disk.set_capacity(capacity - disk.usable());
        assert_eq!((disk.usable(), log.segments().len()), (0, 1));
        assert_eq!(log.apply_retention(log.end_offset(), later).await.unwrap(), 1);
    });
}

/// Append until it is refused; why.
async fn fill(log: &Rc<Log<SimRuntime>>) -> StorageError {
    let bytes = batch(BATCH, 1, 3, 1);
    loop {
        let next = log.end_offset();
        let append = Append {
            bytes: bytes.clone(),
            base_offset: next,
            last_offset: next,
            leader_epoch: 7,
            max_timestamp: 1,
            flush: false,
        };
        match log.append(&append) {
            Ok(()) => {}
            Err(AppendError::NoRoom) => match log.room(bytes.len(), 1).await {
                Ok(()) => {}
                Err(error) => return error,
            },
            Err(AppendError::Storage(error)) => return error,
        }
    }
}

/// Whichever disk call of a removal fails: what is counted as kept is what the pool holds.
#[test]
fn what_counts_as_kept_is_what_is_held_whichever_call_fails() {
    // The first round, in which none fails, tells how many there are.
    let (mut call, mut calls, mut refused) = (0, 0, 0);
    while call <= calls {
        let world = SimWorld::new(1, DiskImage::with_dir(&PathBuf::from("/data")));
        let (runtime, disk) = (world.runtime(), world.disk().clone());
        let outcome = world.run(async move {
            let store = open(&runtime, 100 * SEGMENT).await;
            let (log, _) = filled(&store, ID, SEGMENT, 25).await;
            let began = disk.ops();
            disk.fail_at(began + call);
            let outcome = cut(&log).await;
            let core = &log.core;
            assert_eq!(core.stats.pool_bytes.get(), core.pool.held(), "call {call}: {outcome:?}");
            (disk.ops() - began, outcome.is_err())
        });
        let (made, is_refused) = outcome.unwrap();
        calls = calls.max(made);
        refused += usize::from(is_refused);
        call += 1;
    }
    assert!(refused > 2, "{refused} of {calls} calls mattered");
}
