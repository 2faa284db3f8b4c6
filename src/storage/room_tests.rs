//! Who waits for room is let in, whatever made him wait.

use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};

use super::tests::{ID, TMP, append, batch, log_config, open, run};
use super::{LogObserver, StorageError, StoreStatus, pool_tests};
use crate::disk::Disk;
use crate::disk::sim::DiskImage;
use crate::model::{Offset, TopicPartition, Uuid};
use crate::runtime::Runtime;
use crate::runtime::sim::SimWorld;

fn id(partition: i32) -> TopicPartition {
    TopicPartition { topic_id: Uuid([9; 16]), partition }
}

/// All that stands in memory is large batches on their way to their segments: when they are there,
/// what is left of each is a tail of less than a block, and only a checkpoint parks those.
#[test]
fn batches_on_their_way_are_looked_at_again_when_they_have_arrived() {
    let dir = tempfile::tempdir_in(TMP).unwrap();
    let path = dir.path().to_owned();
    run(async move {
        let (runtime, store, _) = open(&path, 64 << 20).await;
        let mut logs = Vec::new();
        for partition in 0..12 {
            let log = store.create_log(id(partition), log_config(64 << 20)).await.unwrap();
            // Directory, file and the first megabyte are there: nothing below waits for them.
            append(&log, batch(100, 1, 1, 1), true).await;
            logs.push(log);
        }
        let large = batch(900_000, 1, 2, 2);
        for log in &logs {
            let joined = append(log, large.clone(), false);
            let late = runtime.sleep(Duration::from_secs(20));
            match select(pin!(joined), pin!(late)).await {
                Either::Left(_) => {}
                Either::Right(_) => panic!("a batch waits for room that nobody makes"),
            }
        }
        store.close().await.unwrap();
    });
}

/// The batch's offsets reach beyond what its segment can hold: it rolls, and it rolls for the same
/// reason for which the append was refused.
#[test]
fn a_batch_of_very_many_offsets_gets_a_segment_of_its_own() {
    let dir = tempfile::tempdir_in(TMP).unwrap();
    let path = dir.path().to_owned();
    run(async move {
        let (_runtime, store, _) = open(&path, 3 << 20).await;
        let log = store.create_log(id(0), log_config(3 << 20)).await.unwrap();
        append(&log, batch(100, 2, 1, 1), true).await;
        append(&log, batch(100, i32::MAX, 2, 2), true).await;
        let bases: Vec<_> = log.segments().iter().map(|segment| segment.base_offset).collect();
        assert_eq!((bases, log.end_offset()), (vec![0, 2], i64::from(i32::MAX) + 2));
        store.close().await.unwrap();
    });
}

/// Nobody appends, so nobody else would find out: a broker without writes would call itself full
/// for ever.
#[test]
fn a_wait_for_a_descriptor_that_is_over_is_not_told_any_more() {
    let world = SimWorld::new(1, DiskImage::with_dir(Path::new("/data")));
    let (runtime, disk) = (world.runtime(), world.disk().clone());
    world.run(async move {
        let store = pool_tests::open(&runtime, 0).await;
        let log = store.create_log(ID, log_config(1 << 20)).await.unwrap();
        append(&log, batch(100, 1, 1, 1), true).await;
        store.close().await.unwrap();
        let store = pool_tests::open(&runtime, 0).await;
        let (log, _) = store.take_recovered().remove(0);
        disk.take_descriptors(true);
        let reading = pin!(log.read(0, 1, 1000, true));
        let late = pin!(runtime.sleep(Duration::from_secs(1)));
        let Either::Right(((), reading)) = select(reading, late).await else {
            panic!("it was read without a file");
        };
        assert!(matches!(store.status(), StoreStatus::Full(_)), "{:?}", store.status());
        disk.take_descriptors(false);
        assert_eq!(reading.await.unwrap().bytes, 100);
        assert_eq!(store.status(), StoreStatus::Online);
        store.close().await.unwrap();
    });
}

/// A partition whose state takes much of a checkpoint.
struct ManyProducers;

impl LogObserver for ManyProducers {
    fn progressed(&self, _: Offset, _: Offset) {}
    fn failed(&self, error: &StorageError) {
        panic!("{error}");
    }
    fn snapshot(&self) -> Bytes {
        Bytes::from_static(&[7; 4096])
    }
}

/// The checkpoint outgrows what was claimed for it, which the full disk does not give. Appends stop
/// when the journal is full, so nobody asks for a checkpoint any more but the one who tried.
#[test]
fn a_checkpoint_that_found_no_space_is_tried_again_for_those_who_wait_for_the_journal() {
    const FREE: u64 = 1 << 40;
    let world = SimWorld::new(1, DiskImage::with_dir(Path::new("/data")));
    let (runtime, disk) = (world.runtime(), world.disk().clone());
    world.run(async move {
        let store = pool_tests::open(&runtime, 0).await;
        let mut logs = Vec::new();
        for partition in 0..40 {
            let log = store.create_log(id(partition), log_config(1 << 20)).await.unwrap();
            // Directory, file and the first megabyte are there: nothing below waits for them.
            append(&log, batch(100, 1, 1, 1), true).await;
            logs.push(log);
        }
        let core = &logs[0].core;
        while core.journal.may_grow(&core.limits) {
            core.make_journal_file().await.unwrap();
        }
        core.checkpoint_now().await.unwrap();
        disk.set_capacity(FREE);
        disk.set_capacity(FREE - disk.usable());
        for log in &logs {
            log.set_observer(Rc::new(ManyProducers));
            log.note_changed();
        }
        let made = store.stats().checkpoints.get();
        let produce = pin!(async {
            while store.stats().checkpoints.get() == made {
                append(&logs[0], batch(4000, 1, 2, 2), false).await;
            }
        });
        let late = pin!(runtime.sleep(Duration::from_secs(20)));
        let Either::Right(((), produce)) = select(produce, late).await else {
            panic!("a checkpoint found space");
        };
        assert!(matches!(store.status(), StoreStatus::Full(_)), "{:?}", store.status());
        disk.set_capacity(FREE);
        let late = pin!(runtime.sleep(Duration::from_secs(20)));
        let Either::Left(_) = select(produce, late).await else {
            panic!("a producer waits for a checkpoint that nobody tries again");
        };
        assert_eq!(store.status(), StoreStatus::Online);
        store.close().await.unwrap();
    });
}

/// A topic goes while its logs are being sealed for a clean stop.
#[test]
fn a_store_closes_though_a_log_is_deleted_meanwhile() {
    for seed in 1..=30 {
        let world = SimWorld::new(seed, DiskImage::with_dir(Path::new("/data")));
        let runtime = world.runtime();
        let ended = world.run(async move {
            let store = pool_tests::open(&runtime, 0).await;
            let log = store.create_log(ID, log_config(1 << 20)).await.unwrap();
            for _ in 0..5 {
                append(&log, batch(5000, 1, 1, 1), true).await;
            }
            drop(log);
            let delete = async {
                runtime.sleep(Duration::from_micros(20 * seed)).await;
                // Refused once the store is closed.
                let _ = store.delete_log(ID).await;
            };
            let (closed, ()) = futures_util::join!(store.close(), delete);
            closed.unwrap();
        });
        assert_eq!(ended, Some(()), "seed {seed}: it waits for what nobody writes");
    }
}
