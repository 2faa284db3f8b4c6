//! The scripted run: everything that storage does, in little more than a thousand disk calls.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_channel::oneshot;
use thalweg::model::{Offset, TopicPartition, Uuid};
use thalweg::runtime::sim::SimRuntime;
use thalweg::runtime::{Queue, Runtime};
use thalweg::storage::{Append, AppendError, Log, StorageError, Store, recover};

use crate::check::{Life, Observer, Promises, log_config, owner};
use crate::config;

pub(crate) fn id(partition: i32) -> TopicPartition {
    TopicPartition { topic_id: Uuid([3; 16]), partition }
}

/// A batch with a right checksum; `fill` tells lives and appends apart.
pub(crate) fn batch(len: usize, records: i32, fill: u8) -> Bytes {
    let mut bytes = vec![fill; len.max(61)];
    let body = i32::try_from(bytes.len() - 12).unwrap();
    bytes[8..12].copy_from_slice(&body.to_be_bytes());
    bytes[16] = 2;
    bytes[21..23].copy_from_slice(&[0, 0]);
    bytes[23..27].copy_from_slice(&(records - 1).to_be_bytes());
    bytes[35..43].copy_from_slice(&1_800_000_000_000i64.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes.into()
}

/// Append when there is room; what was taken goes into the life. `false` when storage refuses.
pub(crate) async fn append(
    log: &Rc<Log<SimRuntime>>,
    life: &Life,
    len: usize,
    fill: u8,
    flush: bool,
) -> bool {
    let records = i32::from(fill % 5) + 1;
    let bytes = batch(len, records, fill);
    loop {
        let base_offset = log.end_offset();
        let append = Append {
            bytes: bytes.clone(),
            base_offset,
            last_offset: base_offset + i64::from(records) - 1,
            leader_epoch: 2,
            max_timestamp: 1_800_000_000_000,
            flush,
        };
        match log.append(&append) {
            Ok(()) => {
                let mut stored = bytes.to_vec();
                stored[0..8].copy_from_slice(&base_offset.to_be_bytes());
                stored[12..16].copy_from_slice(&2i32.to_be_bytes());
                let entry = (base_offset, append.last_offset, Bytes::from(stored));
                life.batches.borrow_mut().push(entry);
                return true;
            }
            Err(AppendError::NoRoom) => {
                if let Err(error) = log.room(bytes.len(), i64::from(records)).await {
                    assert!(!matches!(error, StorageError::Corrupt(_)), "{error}");
                    return false;
                }
            }
            Err(AppendError::Storage(_)) => return false,
        }
    }
}

pub(crate) async fn create(
    store: &Rc<Store<SimRuntime>>,
    promises: &Promises,
    id: TopicPartition,
) -> Result<Rc<Log<SimRuntime>>, StorageError> {
    let life = promises.begin_life(id);
    let log = store.create_log(id, log_config()).await?;
    life.is_created.set(true);
    observe(&log, &life);
    Ok(log)
}

fn observe(log: &Rc<Log<SimRuntime>>, life: &Rc<Life>) {
    let observer = Observer { life: Rc::clone(life), log: Rc::downgrade(log) };
    log.set_observer(Rc::new(observer));
}

async fn flushed(log: &Rc<Log<SimRuntime>>, life: &Life, offset: Offset) {
    life.progress.until(|| (log.flushed_offset() >= offset).then_some(())).await;
}

/// Until everything that was appended has been written.
pub(crate) async fn written(log: &Rc<Log<SimRuntime>>, life: &Life) {
    life.progress.until(|| (log.written_offset() >= log.end_offset()).then_some(())).await;
}

/// Sizes on both sides of the thresholds and of block borders.
const SIZES: [usize; 12] =
    [100, 3000, 9000, 61, 4096, 20_000, 700, 8192, 12_288, 2500, 5000, 17_001];

/// Appends to several logs at once, with flushes now and then.
async fn write_all(
    runtime: &SimRuntime,
    logs: &[(Rc<Log<SimRuntime>>, Rc<Life>)],
    rounds: usize,
    salt: u8,
) {
    let mut writers = Vec::new();
    for (number, (log, life)) in logs.iter().enumerate() {
        let (log, life) = (Rc::clone(log), Rc::clone(life));
        let (done, is_done) = oneshot::channel();
        writers.push(is_done);
        let sleeper = runtime.clone();
        runtime.spawn(Queue::Network, async move {
            for round in 0..rounds {
                let size = SIZES[(round * (number + 1) + number) % SIZES.len()];
                let fill = u8::try_from(round % 50).unwrap() + salt;
                if !append(&log, &life, size, fill, round % 4 == number % 4).await {
                    break;
                }
                if round % 3 == 0 {
                    sleeper.sleep(Duration::from_micros(150)).await;
                }
            }
            let _ = done.send(());
        });
    }
    for writer in writers {
        writer.await.expect("each writer comes to its end");
    }
}

/// The whole run. What it returns does not matter: its promises do.
pub(crate) async fn script(runtime: SimRuntime, promises: Rc<Promises>) {
    first_run(&runtime, &promises).await.expect("nothing fails on a disk that works");
    second_run(&runtime, &promises).await.expect("nothing fails on a disk that works");
}

async fn first_run(runtime: &SimRuntime, promises: &Rc<Promises>) -> Result<(), StorageError> {
    let mut starts = recover(runtime, &config(), 1, &owner(1)).await?;
    let store = Store::open(runtime.clone(), config(), starts.remove(0)).await?;
    let mut logs = Vec::new();
    for partition in 0..3 {
        let log = create(&store, promises, id(partition)).await?;
        logs.push((log, promises.life(&id(partition))));
    }
    write_all(runtime, &logs, 26, 0).await;
    // Idle: checkpoints finish, tails are parked; then every log goes on from a parked tail.
    runtime.sleep(Duration::from_millis(20)).await;
    for (log, life) in &logs {
        append(log, life, 9000, 77, false).await;
        append(log, life, 200, 78, true).await;
    }
    for (log, life) in &logs {
        flushed(log, life, log.end_offset()).await;
    }
    delete_and_create_again(&store, promises, &mut logs).await?;
    let (log, life) = &logs[1];
    let start = log.segments().get(1).map_or(1, |s| s.base_offset) + 1;
    life.start_begun.set(start);
    log.set_start_offset(start).await?;
    life.start_done.set(start);
    write_all(runtime, &logs, 20, 60).await;
    for (log, life) in &logs {
        let end = log.flushed_offset();
        // Retention may raise the start up to the active segment.
        life.start_begun.set(log.segments().last().map_or(0, |s| s.base_offset));
        log.apply_retention(end, runtime.wall_ms()).await?;
        life.start_done.set(log.start_offset());
        life.start_begun.set(log.start_offset());
    }
    write_all(runtime, &logs, 14, 120).await;
    reached_everything(&store);
    store.close().await
}

/// A crash point in something that the run never does would prove nothing.
fn reached_everything(store: &Store<SimRuntime>) {
    let stats = store.stats();
    for (what, count) in [
        ("small appends", &stats.small_appends),
        ("large appends", &stats.direct_appends),
        ("segments rolled", &stats.rolls),
        ("segments deleted", &stats.segments_deleted),
        ("used files taken again", &stats.segments_recycled),
        ("checkpoints", &stats.checkpoints),
        ("turns of the journal", &stats.journal_wraps),
    ] {
        assert!(count.get() > 0, "the script meets no {what}");
    }
}

async fn delete_and_create_again(
    store: &Rc<Store<SimRuntime>>,
    promises: &Rc<Promises>,
    logs: &mut Vec<(Rc<Log<SimRuntime>>, Rc<Life>)>,
) -> Result<(), StorageError> {
    let (log, life) = logs.remove(0);
    // Appends are still under way when it is deleted.
    append(&log, &life, 10_000, 80, false).await;
    append(&log, &life, 300, 81, false).await;
    life.delete_begun.set(true);
    store.delete_log(id(0)).await?;
    life.delete_done.set(true);
    let log = create(store, promises, id(0)).await?;
    let life = promises.life(&id(0));
    append(&log, &life, 400, 90, true).await;
    flushed(&log, &life, log.end_offset()).await;
    logs.insert(0, (log, life));
    Ok(())
}

/// The same data on two shards, ended by the end of the world.
async fn second_run(runtime: &SimRuntime, promises: &Rc<Promises>) -> Result<(), StorageError> {
    let starts = recover(runtime, &config(), 2, &owner(2)).await?;
    let mut stores = Vec::new();
    let mut logs = Vec::new();
    for start in starts {
        let store = Store::open(runtime.clone(), config(), start).await?;
        for (log, _) in store.take_recovered() {
            let life = promises.life(&log.id());
            observe(&log, &life);
            logs.push((log, life));
        }
        stores.push(store);
    }
    write_all(runtime, &logs, 16, 180).await;
    for (log, life) in &logs {
        written(log, life).await;
    }
    Ok(())
}
