//! The store on the broker's own runtime and a real file system: both append paths, reading from
//! memory and disk, rolling, a clean stop, a kill.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use super::*;
use crate::model::{Offset, TopicPartition, Uuid};
use crate::runtime::Runtime;
use crate::runtime::core::Core;
use crate::runtime::glommio::GlommioRuntime;
use crate::runtime::wait::WaitList;

/// On the file system of the build, which takes direct I/O (a memory file system may not).
pub(super) const TMP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target");

pub(super) const ID: TopicPartition = TopicPartition { topic_id: Uuid([9; 16]), partition: 0 };

pub(super) fn log_config(segment_bytes: u64) -> LogConfig {
    LogConfig {
        segment_bytes,
        segment_ms: i64::MAX,
        retention_bytes: -1,
        retention_ms: -1,
        index_interval_bytes: 4096,
        flush_ms: i64::MAX,
        delete: true,
        compaction: None,
    }
}

fn config(dir: &Path) -> StorageConfig {
    StorageConfig {
        data_dir: dir.to_owned(),
        journal_bytes_max: 16 << 20,
        direct_append_bytes_min: 64 << 10,
        direct_unflushed_append_bytes_min: 32 << 10,
        pending_bytes_max: 8 << 20,
        cache_bytes_max: 1 << 20,
        open_files_max: 20,
        pool_bytes_max: 256 << 20,
        space_reserve_bytes: 0,
    }
}

/// A batch with a right checksum whose body repeats `fill`.
pub(super) fn batch(len: usize, records: i32, fill: u8, max_timestamp: i64) -> Bytes {
    let mut bytes = vec![fill; len.max(61)];
    let body = i32::try_from(bytes.len() - 12).unwrap();
    bytes[0..8].copy_from_slice(&0i64.to_be_bytes());
    bytes[8..12].copy_from_slice(&body.to_be_bytes());
    bytes[12..16].copy_from_slice(&(-1i32).to_be_bytes());
    bytes[16] = 2;
    bytes[21..23].copy_from_slice(&[0, 0]);
    bytes[23..27].copy_from_slice(&(records - 1).to_be_bytes());
    bytes[35..43].copy_from_slice(&max_timestamp.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

/// Remembers how far a log has come and lets a test wait for it.
#[derive(Default)]
pub(super) struct Marks {
    written: std::cell::Cell<Offset>,
    flushed: std::cell::Cell<Offset>,
    failed: RefCell<Option<StorageError>>,
    moved: WaitList,
}

impl LogObserver for Marks {
    fn progressed(&self, written: Offset, flushed: Offset) {
        assert!(written >= self.written.get() && flushed >= self.flushed.get(), "marks only grow");
        assert!(written >= flushed);
        self.written.set(written);
        self.flushed.set(flushed);
        self.moved.wake_all();
    }
    fn failed(&self, error: &StorageError) {
        *self.failed.borrow_mut() = Some(error.clone());
        self.moved.wake_all();
    }
    fn snapshot(&self) -> Bytes {
        Bytes::from_static(b"producers")
    }
}

impl Marks {
    pub(super) async fn flushed(&self, offset: Offset) {
        self.moved
            .until(|| {
                assert!(self.failed.borrow().is_none(), "{:?}", self.failed.borrow());
                (self.flushed.get() >= offset).then_some(())
            })
            .await;
    }
    pub(super) async fn written(&self, offset: Offset) {
        self.moved.until(|| (self.written.get() >= offset).then_some(())).await;
    }
}

/// Append, waiting for room; the bytes as they must be read back.
pub(super) async fn append<R: Runtime>(log: &Rc<Log<R>>, bytes: Bytes, flush: bool) -> Bytes {
    let base_offset = log.end_offset();
    let records = i64::from(i32::from_be_bytes(bytes[23..27].try_into().unwrap())) + 1;
    let max_timestamp = i64::from_be_bytes(bytes[35..43].try_into().unwrap());
    let append = Append {
        bytes: bytes.clone(),
        base_offset,
        last_offset: base_offset + records - 1,
        leader_epoch: 7,
        max_timestamp,
        flush,
    };
    loop {
        match log.append(&append) {
            Ok(()) => break,
            Err(AppendError::NoRoom) => log.room(bytes.len(), records).await.unwrap(),
            Err(AppendError::Storage(error)) => panic!("{error}"),
        }
    }
    let mut stored = bytes.to_vec();
    stored[0..8].copy_from_slice(&base_offset.to_be_bytes());
    stored[12..16].copy_from_slice(&7i32.to_be_bytes());
    stored.into()
}

pub(super) async fn read_all<R: Runtime>(log: &Rc<Log<R>>, step: usize) -> Vec<u8> {
    let mut from = log.start_offset();
    let mut all = Vec::new();
    while from < log.end_offset() {
        let found = log.read(from, log.end_offset(), step, true).await.unwrap();
        assert!(found.bytes > 0, "nothing at offset {from} of {}", log.end_offset());
        let bytes: Vec<u8> = found.pieces.concat();
        assert_eq!(bytes.len(), found.bytes);
        let mut at = 0;
        while at < bytes.len() {
            let header = batch::BatchHeader::parse(bytes[at..at + 61].try_into().unwrap()).unwrap();
            from = header.last_offset + 1;
            at += usize::try_from(header.len).unwrap();
        }
        assert_eq!(at, bytes.len(), "whole batches only");
        assert_eq!(found.is_cut, from < log.end_offset(), "read up to {from}");
        all.extend_from_slice(&bytes);
    }
    all
}

pub(super) fn run<F: std::future::Future<Output = ()> + 'static>(test: F) {
    glommio::LocalExecutorBuilder::new(glommio::Placement::Unbound)
        .io_memory(1 << 20)
        .make()
        .unwrap()
        .run(test);
}

pub(super) async fn open(
    dir: &Path,
    segment_bytes: u64,
) -> (GlommioRuntime, Rc<Store<GlommioRuntime>>, Vec<(Rc<Log<GlommioRuntime>>, Replay)>) {
    let runtime = GlommioRuntime::start(dir, Core::fixed()).await.unwrap();
    let config = config(dir);
    let owner = |_| Owner::Shard(0, log_config(segment_bytes));
    let mut starts = recover(&runtime, &config, 1, &owner).await.unwrap();
    let store = Store::open(runtime.clone(), config, starts.remove(0)).await.unwrap();
    let recovered = store.take_recovered();
    (runtime, store, recovered)
}

/// Sizes around both paths and block borders.
fn sizes() -> impl Iterator<Item = usize> {
    [100, 4096, 70_000, 61, 300_000, 5000, 65_536, 8192 - 61, 1_000_000, 77].into_iter().cycle()
}

#[test]
fn what_waits_for_no_flush_skips_the_journal_from_a_smaller_size_on() {
    let dir = tempfile::tempdir_in(TMP).unwrap();
    let path = dir.path().to_owned();
    run(async move {
        let (_runtime, store, _) = open(&path, 3 << 20).await;
        let log = store.create_log(ID, log_config(3 << 20)).await.unwrap();
        let paths = || (store.stats().small_appends.get(), store.stats().direct_appends.get());
        let mut expected = Vec::new();
        for (size, flush, then) in [
            (40_000, true, (1, 0)),
            (40_000, false, (1, 1)),
            (20_000, false, (2, 1)),
            (70_000, true, (2, 2)),
        ] {
            expected.extend_from_slice(&append(&log, batch(size, 1, 1, 1), flush).await);
            assert_eq!(paths(), then, "after {size} bytes, flush {flush}");
        }
        assert!(read_all(&log, 100_000).await == expected);
        store.close().await.unwrap();
    });
}

#[test]
fn appends_of_all_sizes_come_back_from_memory_from_disk_and_after_a_clean_stop() {
    let dir = tempfile::tempdir_in(TMP).unwrap();
    let path = dir.path().to_owned();
    run(async move {
        let (_runtime, store, _) = open(&path, 3 << 20).await;
        let log = store.create_log(ID, log_config(3 << 20)).await.unwrap();
        let marks = Rc::new(Marks::default());
        log.set_observer(marks.clone());
        let mut expected = Vec::new();
        for (i, size) in sizes().take(60).enumerate() {
            let fill = u8::try_from(i).unwrap();
            let bytes = batch(size, 3, fill, 1000 + i as i64);
            expected.extend_from_slice(&append(&log, bytes, i % 3 == 0).await);
        }
        append(&log, batch(61, 1, 0, 0), true).await;
        expected.extend_from_slice(&{
            let mut last = batch(61, 1, 0, 0).to_vec();
            last[0..8].copy_from_slice(&180i64.to_be_bytes());
            last[12..16].copy_from_slice(&7i32.to_be_bytes());
            last
        });
        marks.flushed(181).await;
        assert!(log.segments().len() > 2, "{:?}", log.segments());
        assert!(read_all(&log, 100_000).await == expected);
        assert!(store.stats().cold_reads.get() > 0, "the cache is smaller than the log");
        let from = log.batch_by_timestamp(1041, 0..i64::MAX).await.unwrap();
        assert_eq!(from, Some(41 * 3));
        assert_eq!(log.batch_of_max_timestamp(i64::MAX).await.unwrap(), Some(59 * 3));
        let segments = log.segments();
        drop(log);
        store.close().await.unwrap();
        drop(store);

        // Every segment is cut to its length: other tools can read it.
        for segment in &segments {
            let name = format!("{:020}.log", segment.base_offset);
            let file = path.join("logs").join(ID.topic_id.to_string()).join("0").join(name);
            assert_eq!(std::fs::metadata(file).unwrap().len(), segment.bytes);
        }
        let (_runtime, store, mut recovered) = open(&path, 3 << 20).await;
        let (log, replay) = recovered.remove(0);
        assert_eq!(replay.snapshot, "producers");
        assert_eq!(replay.headers.len(), 0);
        assert_eq!(log.end_offset(), 181);
        assert_eq!(log.segments(), segments, "the same active segment goes on");
        assert!(read_all(&log, 100_000).await == expected);
        let marks = Rc::new(Marks::default());
        log.set_observer(marks.clone());
        expected.extend_from_slice(&append(&log, batch(500, 1, 3, 0), true).await);
        marks.flushed(182).await;
        assert!(read_all(&log, 1 << 20).await == expected);
        store.close().await.unwrap();
    });
}

#[test]
fn a_read_goes_on_where_a_header_lies_across_two_buffers() {
    let dir = tempfile::tempdir_in(TMP).unwrap();
    let path = dir.path().to_owned();
    run(async move {
        let (_runtime, store, _) = open(&path, 64 << 20).await;
        let log = store.create_log(ID, log_config(64 << 20)).await.unwrap();
        let marks = Rc::new(Marks::default());
        log.set_observer(marks.clone());
        let mut expected = Vec::new();
        // The second batch's header begins 44 bytes before the end of a read's buffer.
        for (i, size) in [(1 << 20) - 44, 900_000, 900_000, 900_000].into_iter().enumerate() {
            let bytes = batch(size, 1, u8::try_from(i).unwrap(), 5);
            expected.extend_from_slice(&append(&log, bytes, true).await);
        }
        marks.flushed(4).await;
        assert!(read_all(&log, 1 << 20).await == expected);
        assert!(store.stats().cold_reads.get() > 0, "the cache is smaller than the log");
        store.close().await.unwrap();
    });
}

#[test]
fn written_appends_survive_a_kill_and_recovering_again_changes_nothing() {
    let dir = tempfile::tempdir_in(TMP).unwrap();
    let path = dir.path().to_owned();
    run(async move {
        let (_runtime, store, _) = open(&path, 2 << 20).await;
        let log = store.create_log(ID, log_config(2 << 20)).await.unwrap();
        let marks = Rc::new(Marks::default());
        log.set_observer(marks.clone());
        let mut expected = Vec::new();
        for (i, size) in sizes().take(25).enumerate() {
            let bytes = batch(size, 1, u8::try_from(i).unwrap(), 5);
            expected.extend_from_slice(&append(&log, bytes, false).await);
        }
        marks.written(25).await;
        // Nothing is closed: what a kill leaves is what has been written so far.
        drop(log);
        drop(store);
        for _ in 0..2 {
            let (_runtime, store, mut recovered) = open(&path, 2 << 20).await;
            let (log, replay) = recovered.remove(0);
            assert_eq!(replay.headers.len(), 25);
            assert_eq!(log.end_offset(), 25);
            assert!(read_all(&log, 300_000).await == expected);
            drop(store);
        }
    });
}

#[test]
fn no_more_segments_are_held_open_than_may_be() {
    let dir = tempfile::tempdir_in(TMP).unwrap();
    let path = dir.path().to_owned();
    run(async move {
        let (_runtime, store, _) = open(&path, 64 << 10).await;
        let log = store.create_log(ID, log_config(64 << 10)).await.unwrap();
        let marks = Rc::new(Marks::default());
        log.set_observer(marks.clone());
        for _ in 0..50 {
            append(&log, batch(60 << 10, 1, 1, 5), false).await;
        }
        append(&log, batch(60 << 10, 1, 1, 5), true).await;
        marks.flushed(51).await;
        log.core.checkpoint_now().await.unwrap();
        let open_files = || {
            let state = log.state.borrow();
            state.segments.iter().filter(|s| s.file.open.borrow().is_some()).count()
        };
        read_all(&log, 100_000).await;
        assert_eq!((log.segments().len(), open_files()), (51, 20));
        store.close().await.unwrap();
    });
}
