//! Readers that are under way when segments go: every one is stopped once at each of its waits,
//! the segments go, and it goes on.

use std::future::poll_fn;
use std::path::Path;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;

use super::swap_tests::{append_all, clean, compacted, config, start, written};
use crate::disk::sim::DiskImage;
use crate::model::Offset;
use crate::record::{BatchBuilder, Batches};
use crate::runtime::Runtime;
use crate::runtime::sim::{SimRuntime, SimWorld};
use crate::storage::{Log, ReadError, Store};

/// Keys that only one segment has.
const OWN_KEYS: u8 = 8;
/// A key that every segment ends with.
const SHARED_KEY: u8 = 200;
/// Offsets of a segment, and so the base of the second one.
const SECOND: Offset = OWN_KEYS as Offset + 1;
/// A time later than all others: that of the first record of the second segment.
const LATEST: i64 = 9999;
/// More waits than any reader here has.
const WAITS_MAX: usize = 40;

fn batch(key: u8, timestamp: i64) -> Bytes {
    let mut builder = BatchBuilder::default();
    let len = if key == SHARED_KEY { 500 } else { 1000 };
    builder.append(timestamp, Some(&[key]), Some(&vec![key; len]), &[]).unwrap();
    Bytes::copy_from_slice(builder.finish().unwrap())
}

/// Four segments, each of keys of its own and one that all have, then the active one.
fn first_batches() -> impl Iterator<Item = Bytes> {
    let of_segment = |nth: u8| (nth * OWN_KEYS..(nth + 1) * OWN_KEYS).chain([SHARED_KEY]);
    let keys = (0..4).flat_map(of_segment).chain([100]);
    keys.map(|key| batch(key, if key == OWN_KEYS { LATEST } else { i64::from(key) }))
}

/// New values for all keys of the first two segments but the first three of each: the cleaning
/// after the next one makes one segment of both.
fn second_batches() -> impl Iterator<Item = Bytes> {
    (0..2 * OWN_KEYS).filter(|key| key % OWN_KEYS >= 3).map(|key| batch(key, 500))
}

fn bases(log: &Log<SimRuntime>) -> Vec<Offset> {
    log.segments().iter().map(|segment| segment.base_offset).collect()
}

/// A log of which a cleaning would make one segment of the first two. The first one ends with a
/// gap. Its indexes are not in memory.
async fn ready_to_merge(runtime: &SimRuntime) -> (Rc<Store<SimRuntime>>, Rc<Log<SimRuntime>>) {
    let (store, log) = written(runtime, first_batches()).await;
    clean(&log, log.end_offset()).await.unwrap();
    append_all(&log, second_batches()).await;
    clean(&log, log.end_offset()).await.unwrap();
    append_all(&log, second_batches()).await;
    store.close().await.unwrap();
    let store = Store::open(runtime.clone(), config(), start(runtime).await).await.unwrap();
    let (log, _) = store.take_recovered().remove(0);
    log.set_config(compacted());
    assert_eq!(bases(&log)[..3], [0, SECOND, 2 * SECOND]);
    (store, log)
}

/// Clean; then no file is left of a segment that is gone.
async fn merge(log: &Rc<Log<SimRuntime>>) {
    clean(log, log.end_offset()).await.unwrap();
    assert_eq!(bases(log)[..2], [0, 2 * SECOND]);
    let files = log.core.runtime.disk().image().find(".log");
    assert_eq!(files.len(), bases(log).len(), "{files:?}");
}

/// Let a reader come to its wait of this number; its answer if it has none.
async fn up_to<T>(
    runtime: &SimRuntime,
    mut reader: Pin<&mut impl Future<Output = T>>,
    wait: usize,
) -> Option<T> {
    for _ in 0..wait {
        let polled = poll_fn(|cx| Poll::Ready(reader.as_mut().poll(cx))).await;
        if let Poll::Ready(answer) = polled {
            return Some(answer);
        }
        runtime.sleep(Duration::from_millis(1)).await;
    }
    None
}

/// Run `case` in a world of its own for each of the waits of its reader; it says whether the
/// reader was still waiting.
fn at_every_wait<F: Future<Output = bool> + 'static>(case: impl Fn(SimRuntime, usize) -> F) {
    let waits = (0..WAITS_MAX).take_while(|wait| {
        let world = SimWorld::new(1, DiskImage::with_dir(Path::new("/data")));
        world.run(case(world.runtime(), *wait)).unwrap()
    });
    let count = waits.count();
    assert!((3..WAITS_MAX).contains(&count), "the reader waits {count} times");
}

/// The base offset of what a read found first.
fn first_of(pieces: &[Bytes]) -> Option<Offset> {
    Batches::new(&pieces.concat()).next().map(|batch| batch.base_offset())
}

#[test]
fn a_read_in_the_gap_of_a_segment_misses_nothing_when_that_one_is_merged_with_the_next() {
    at_every_wait(|runtime, wait| async move {
        let (_store, log) = ready_to_merge(&runtime).await;
        let mut read = pin!(log.read(SECOND - 1, Offset::MAX, 2000, true));
        let early = up_to(&runtime, read.as_mut(), wait).await;
        merge(&log).await;
        let is_waiting = early.is_none();
        let found = match early {
            Some(found) => found,
            None => read.await,
        };
        assert_eq!(first_of(&found.unwrap().pieces), Some(SECOND), "at wait {wait}");
        is_waiting
    });
}

#[test]
fn a_lookup_by_time_finds_a_record_whose_segment_is_merged_meanwhile() {
    for asks_for_latest in [false, true] {
        at_every_wait(|runtime, wait| async move {
            let (_store, log) = ready_to_merge(&runtime).await;
            let mut lookup = pin!(async {
                match asks_for_latest {
                    true => log.batch_of_max_timestamp(Offset::MAX).await,
                    false => log.batch_by_timestamp(LATEST, 0..Offset::MAX).await,
                }
            });
            let early = up_to(&runtime, lookup.as_mut(), wait).await;
            merge(&log).await;
            let is_waiting = early.is_none();
            let found = match early {
                Some(found) => found,
                None => lookup.await,
            };
            assert_eq!(found.unwrap(), Some(SECOND), "at wait {wait}");
            is_waiting
        });
    }
}

#[test]
fn readers_of_a_segment_that_is_deleted_hear_of_no_damage() {
    at_every_wait(|runtime, wait| async move {
        let (_store, log) = ready_to_merge(&runtime).await;
        let mut lookup = pin!(log.batch_by_timestamp(0, 0..Offset::MAX));
        let early = up_to(&runtime, lookup.as_mut(), wait).await;
        log.set_start_offset(SECOND).await.unwrap();
        let is_waiting = early.is_none();
        match early {
            Some(found) => assert_eq!(found.unwrap(), Some(0)),
            None => assert_eq!(lookup.await.unwrap(), Some(SECOND), "at wait {wait}"),
        }
        is_waiting
    });
    at_every_wait(|runtime, wait| async move {
        let (_store, log) = ready_to_merge(&runtime).await;
        let mut read = pin!(log.read(0, Offset::MAX, 2000, true));
        let early = up_to(&runtime, read.as_mut(), wait).await;
        log.set_start_offset(SECOND).await.unwrap();
        let is_waiting = early.is_none();
        let found = match early {
            Some(found) => found,
            None => read.await,
        };
        match found {
            Ok(found) => assert_eq!(first_of(&found.pieces), Some(0), "at wait {wait}"),
            Err(ReadError::OutOfRange) => {}
            Err(error) => panic!("at wait {wait}: {error:?}"),
        }
        is_waiting
    });
}
