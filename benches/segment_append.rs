//! Which append size belongs into the journal, and what a group commit costs: batches of one size
//! through one store on a real disk, flushed, a number of them in flight.
//!
//! `cargo bench --bench segment_append -- <directory> [megabytes per row]`

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use thalweg::model::{Offset, TopicPartition, Uuid};
use thalweg::runtime::core::Core;
use thalweg::runtime::glommio::GlommioRuntime;
use thalweg::runtime::wait::WaitList;
use thalweg::storage::{
    Append, AppendError, Log, LogConfig, LogObserver, Owner, StorageConfig, StorageError, Store,
    recover,
};

/// Batch size, logs, batches in flight per log.
const ROWS: [(usize, usize, usize); 9] = [
    (512, 1, 1),
    (512, 64, 4),
    (4 << 10, 1, 16),
    (16 << 10, 1, 16),
    (32 << 10, 1, 16),
    (64 << 10, 1, 16),
    (256 << 10, 1, 8),
    (1 << 20, 1, 4),
    (1 << 20, 4, 2),
];

#[derive(Default)]
struct Marks {
    flushed: Cell<Offset>,
    moved: WaitList,
}

impl LogObserver for Marks {
    fn progressed(&self, _written: Offset, flushed: Offset) {
        self.flushed.set(flushed);
        self.moved.wake_all();
    }
    fn failed(&self, error: &StorageError) {
        panic!("{error}");
    }
    fn snapshot(&self) -> Bytes {
        Bytes::new()
    }
}

fn batch(len: usize) -> Bytes {
    let mut bytes = vec![0x5a; len];
    bytes[8..12].copy_from_slice(&(len as i32 - 12).to_be_bytes());
    bytes[16] = 2;
    bytes[23..27].copy_from_slice(&0i32.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

async fn write(log: Rc<Log<GlommioRuntime>>, bytes: Bytes, count: i64, in_flight: i64) {
    let marks = Rc::new(Marks::default());
    log.set_observer(Rc::clone(&marks) as Rc<dyn LogObserver>);
    for offset in 0..count {
        marks.moved.until(|| (marks.flushed.get() + in_flight > offset).then_some(())).await;
        let append = Append {
            bytes: bytes.clone(),
            base_offset: offset,
            last_offset: offset,
            leader_epoch: 0,
            max_timestamp: 0,
            flush: true,
        };
        while let Err(error) = log.append(&append) {
            assert!(matches!(error, AppendError::NoRoom), "{error:?}");
            log.room(bytes.len(), 1).await.expect("room");
        }
    }
    marks.moved.until(|| (marks.flushed.get() >= count).then_some(())).await;
}

async fn row(
    dir: &Path,
    direct_min: usize,
    size: usize,
    logs: usize,
    in_flight: usize,
    total: u64,
) {
    let _ = std::fs::remove_dir_all(dir);
    let runtime =
        GlommioRuntime::start(dir, Core::fixed()).await.expect("a directory that takes direct I/O");
    runtime.settle();
    let config = StorageConfig {
        data_dir: dir.to_owned(),
        journal_bytes_max: 256 << 20,
        direct_append_bytes_min: direct_min,
        direct_unflushed_append_bytes_min: direct_min,
        pending_bytes_max: 64 << 20,
        cache_bytes_max: 64 << 20,
        open_files_max: 8192,
        pool_bytes_max: 256 << 20,
        space_reserve_bytes: 0,
    };
    let log_config = LogConfig {
        segment_bytes: 1 << 30,
        segment_ms: i64::MAX,
        retention_bytes: -1,
        retention_ms: -1,
        index_interval_bytes: 4096,
        flush_ms: i64::MAX,
        delete: true,
        compaction: None,
    };
    let mut starts =
        recover(&runtime, &config, 1, &|_| Owner::Unknown).await.expect("an empty directory");
    let store = Store::open(runtime, config, starts.remove(0)).await.expect("open");
    let count = (total / (size * logs) as u64).clamp(1, 2_000 * in_flight as u64) as i64;
    let mut opened = Vec::new();
    for partition in 0..logs {
        let id = TopicPartition { topic_id: Uuid([1; 16]), partition: partition as i32 };
        opened.push(store.create_log(id, log_config.clone()).await.expect("create"));
    }
    let bytes = batch(size);
    let (started, cpu) = (Instant::now(), cpu_seconds());
    let before = store.stats().group_commits.get();
    let tasks: Vec<_> = opened
        .into_iter()
        .map(|log| glommio::spawn_local(write(log, bytes.clone(), count, in_flight as i64)))
        .collect();
    for task in tasks {
        task.await;
    }
    let (took, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let stats = store.stats();
    let written = count as f64 * (size * logs) as f64;
    let commits = (stats.group_commits.get() - before) as f64;
    println!(
        "{direct_min:>9} {size:>8} {logs:>4} {in_flight:>4} {:>9.0} {:>8.1} {:>8.3} {:>8.2} \
         {:>8.2} {:>6}",
        count as f64 * logs as f64 / took,
        written / took / 1e6,
        cpu / written * 1e9,
        stats.journal_flushes.get() as f64 / commits,
        stats.segment_flushes.get() as f64 / commits,
        stats.checkpoints.get(),
    );
    store.close().await.expect("close");
}

fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|a| !a.starts_with("--"));
    let dir = arguments.next().map_or_else(|| PathBuf::from("target/bench-append"), PathBuf::from);
    let total: u64 = arguments.next().and_then(|a| a.parse().ok()).unwrap_or(200) << 20;
    println!("direct_min     size logs  fly   batch/s     MB/s  CPUs/GB jflush/c sflush/c  ckpts");
    let executor = glommio::LocalExecutorBuilder::new(glommio::Placement::Fixed(0))
        .io_memory(64 << 20)
        .ring_depth(1024)
        .make()
        .expect("an executor");
    executor.run(async move {
        for (size, logs, in_flight) in ROWS {
            let both = [8 << 10, 128 << 10];
            let needed = if (8 << 10..128 << 10).contains(&size) { &both[..] } else { &both[1..] };
            for direct_min in needed {
                row(&dir, *direct_min, size, logs, in_flight, total).await;
            }
        }
        let _ = std::fs::remove_dir_all(&dir);
    });
}
