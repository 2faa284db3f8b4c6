//! What retention removes: records without timestamps, and everything.

use std::rc::Rc;

use super::LogConfig;
use super::tests::{ID, Marks, TMP, append, batch, log_config, open, run};
use crate::runtime::Runtime;

const SEGMENT: u64 = 64 << 10;
const KEPT_MS: i64 = 60_000;

/// As Kafka goes by the time of the file, which no restart changes either.
#[test]
fn segments_without_timestamps_age_from_their_last_append() {
    let dir = tempfile::tempdir_in(TMP).unwrap();
    let path = dir.path().to_owned();
    run(async move {
        let kept = LogConfig { retention_ms: KEPT_MS, ..log_config(SEGMENT) };
        let (runtime, store, _) = open(&path, SEGMENT).await;
        let log = store.create_log(ID, kept.clone()).await.unwrap();
        let marks = Rc::new(Marks::default());
        log.set_observer(marks.clone());
        for _ in 0..5 {
            append(&log, batch(30 << 10, 1, 1, -1), true).await;
        }
        let since = runtime.wall_ms();
        marks.flushed(5).await;
        assert_eq!(log.segments().len(), 3);
        // Nobody who looks for a timestamp meets them.
        assert_eq!(log.batch_by_timestamp(0, 0..i64::MAX).await.unwrap(), None);
        assert_eq!(log.batch_of_max_timestamp(i64::MAX).await.unwrap(), None);
        assert_eq!(log.apply_retention(5, since + KEPT_MS / 2).await.unwrap(), 0);
        drop(log);
        store.close().await.unwrap();
        drop(store);

        let (_runtime, store, mut recovered) = open(&path, SEGMENT).await;
        let (log, _) = recovered.remove(0);
        log.set_config(kept);
        log.set_observer(Rc::new(Marks::default()));
        assert_eq!(log.apply_retention(5, since + KEPT_MS / 2).await.unwrap(), 0);
        // The active one, too.
        assert_eq!(log.apply_retention(5, since + KEPT_MS + 1).await.unwrap(), 3);
        assert_eq!((log.start_offset(), log.end_offset()), (5, 5));
        store.close().await.unwrap();
    });
}

/// Then the age begins anew, rather than never.
#[test]
fn after_a_crash_segments_without_timestamps_age_from_the_first_look_at_them() {
    let dir = tempfile::tempdir_in(TMP).unwrap();
    let path = dir.path().to_owned();
    run(async move {
        let (runtime, store, _) = open(&path, SEGMENT).await;
        let log = store.create_log(ID, log_config(SEGMENT)).await.unwrap();
        let marks = Rc::new(Marks::default());
        log.set_observer(marks.clone());
        append(&log, batch(10 << 10, 1, 1, -1), true).await;
        marks.flushed(1).await;
        log.core.checkpoint_now().await.unwrap();
        // What is below -1 is no timestamp either.
        append(&log, batch(10 << 10, 1, 1, -1000), true).await;
        marks.flushed(2).await;
        drop(log);
        drop(store);

        let (_runtime, _store, mut recovered) = open(&path, SEGMENT).await;
        let (log, _) = recovered.remove(0);
        log.set_config(LogConfig { retention_ms: KEPT_MS, ..log_config(SEGMENT) });
        log.set_observer(Rc::new(Marks::default()));
        let looked = runtime.wall_ms() + 10 * KEPT_MS;
        for (after, gone) in [(0, 0), (KEPT_MS, 0), (KEPT_MS + 1, 1)] {
            let count = log.apply_retention(2, looked + after).await.unwrap();
            assert_eq!(count, gone, "{after} ms after the first look");
        }
    });
}

/// One record with a timestamp is enough to go by: of the others nobody knows better.
#[test]
fn among_records_with_timestamps_those_without_do_not_count() {
    let dir = tempfile::tempdir_in(TMP).unwrap();
    let path = dir.path().to_owned();
    run(async move {
        let (runtime, store, _) = open(&path, SEGMENT).await;
        let kept = LogConfig { retention_ms: KEPT_MS, ..log_config(SEGMENT) };
        let log = store.create_log(ID, kept).await.unwrap();
        log.set_observer(Rc::new(Marks::default()));
        for timestamp in [-1, 7, -1] {
            append(&log, batch(1000, 1, 1, timestamp), true).await;
        }
        assert_eq!(log.batch_of_max_timestamp(i64::MAX).await.unwrap(), Some(1));
        assert_eq!(log.apply_retention(3, runtime.wall_ms()).await.unwrap(), 1);
        store.close().await.unwrap();
    });
}

/// As in Kafka: the active segment goes by size where nothing is to be kept, but never what a
/// reader may not see yet.
#[test]
fn a_log_of_which_no_byte_is_kept_loses_its_active_segment() {
    let dir = tempfile::tempdir_in(TMP).unwrap();
    let path = dir.path().to_owned();
    run(async move {
        let (runtime, store, _) = open(&path, SEGMENT).await;
        let kept = |bytes| LogConfig { retention_bytes: bytes, ..log_config(SEGMENT) };
        let log = store.create_log(ID, kept(1)).await.unwrap();
        log.set_observer(Rc::new(Marks::default()));
        let now = runtime.wall_ms();
        for _ in 0..5 {
            append(&log, batch(30 << 10, 1, 1, now), true).await;
        }
        assert_eq!(log.apply_retention(5, now).await.unwrap(), 2);
        assert_eq!(log.apply_retention(5, now).await.unwrap(), 0, "the active one is needed");
        log.set_config(kept(0));
        assert_eq!(log.apply_retention(4, now).await.unwrap(), 0, "one record is not seen yet");
        assert_eq!(log.apply_retention(5, now).await.unwrap(), 1);
        assert_eq!((log.start_offset(), log.end_offset(), log.segments().len()), (5, 5, 1));
        assert_eq!(log.apply_retention(5, now).await.unwrap(), 0, "an empty one stays");
        store.close().await.unwrap();
    });
}
