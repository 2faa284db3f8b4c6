//! What a run promised, what a recovery found, and whether the two agree.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use bytes::Bytes;
use thalweg::disk::sim::{Crash, DiskImage};
use thalweg::model::{Offset, ShardId, TopicPartition};
use thalweg::runtime::sim::{SimRuntime, SimWorld};
use thalweg::runtime::wait::WaitList;
use thalweg::storage::{Log, LogConfig, LogObserver, Owner, StorageError, Store, recover};

use crate::config;

/// One life of one log, as its writer saw it.
#[derive(Default)]
pub(crate) struct Life {
    /// Base offset, last offset and stored bytes of every append taken.
    pub(crate) batches: RefCell<Vec<(Offset, Offset, Bytes)>>,
    pub(crate) is_created: Cell<bool>,
    pub(crate) delete_begun: Cell<bool>,
    pub(crate) delete_done: Cell<bool>,
    pub(crate) start_begun: Cell<Offset>,
    pub(crate) start_done: Cell<Offset>,
    written: Cell<Offset>,
    flushed: Cell<Offset>,
    /// The last values of `flushed`.
    flushes: RefCell<Vec<Offset>>,
    /// Told whenever written or flushed grows.
    pub(crate) progress: WaitList,
}

impl Life {
    /// Never below what an earlier start of the same life was told.
    fn raise(&self, written: Offset, flushed: Offset) {
        assert!(flushed <= written, "flushed {flushed} above written {written}");
        self.written.set(self.written.get().max(written));
        if flushed > self.flushed.get() {
            self.flushed.set(flushed);
            self.flushes.borrow_mut().push(flushed);
        }
    }
}

/// Everything that was promised while a world ran.
#[derive(Default)]
pub(crate) struct Promises {
    lives: RefCell<BTreeMap<TopicPartition, Vec<Rc<Life>>>>,
}

impl Promises {
    pub(crate) fn begin_life(&self, id: TopicPartition) -> Rc<Life> {
        let life = Rc::new(Life::default());
        self.lives.borrow_mut().entry(id).or_default().push(Rc::clone(&life));
        life
    }

    pub(crate) fn life(&self, id: &TopicPartition) -> Rc<Life> {
        Rc::clone(self.lives.borrow()[id].last().expect("a log that lives has a life"))
    }

    /// What was flushed four flushes of this log ago: a frame formed since then says so (the one
    /// under way during a flush was formed before it), so recovery can tell damage there from a
    /// torn end.
    pub(crate) fn known_flushed_of(&self, id: &TopicPartition) -> Offset {
        let lives = self.lives.borrow();
        let Some(life) = lives.get(id).and_then(|lives| lives.last()) else { return 0 };
        let flushes = life.flushes.borrow();
        flushes.len().checked_sub(4).map_or(0, |at| flushes[at])
    }

    /// Compare with what a recovery found.
    pub(crate) fn check(&self, found: &Found, crash: Crash) -> Result<(), String> {
        for (id, lives) in self.lives.borrow().iter() {
            let found = found.logs.get(id);
            check_log(lives, found, crash).map_err(|why| format!("log {id:?}: {why}"))?;
        }
        for id in found.logs.keys() {
            if !self.lives.borrow().contains_key(id) {
                return Err(format!("log {id:?} was never created"));
            }
        }
        Ok(())
    }
}

fn check_log(lives: &[Rc<Life>], found: Option<&FoundLog>, crash: Crash) -> Result<(), String> {
    let mut reasons = Vec::new();
    for life in lives.iter().rev() {
        match check_life(life, found, crash) {
            Ok(()) => return Ok(()),
            Err(why) => reasons.push(why),
        }
        // An older life is possible only if this one may not have begun yet.
        if life.is_created.get() {
            break;
        }
    }
    Err(reasons.join("; "))
}

fn check_life(life: &Life, found: Option<&FoundLog>, crash: Crash) -> Result<(), String> {
    let Some(found) = found else {
        let may_be_gone = !life.is_created.get() || life.delete_begun.get();
        return if may_be_gone { Ok(()) } else { Err("it is gone".into()) };
    };
    if life.delete_done.get() {
        return Err("it was deleted and is back".into());
    }
    if found.broken {
        return Err(format!("it is offline although nothing was damaged: {}", found.why));
    }
    let promised = life.flushed.get();
    if found.end_offset < promised {
        return Err(format!("flushed up to {promised}, recovered up to {}", found.end_offset));
    }
    let written = life.written.get();
    if crash == Crash::KeepAll && found.end_offset < written {
        return Err(format!("written up to {written}, killed, recovered {}", found.end_offset));
    }
    let (least, most) = (life.start_done.get(), life.start_begun.get().max(life.start_done.get()));
    if !(least..=most).contains(&found.start_offset) {
        return Err(format!("starts at {}, not in {least}..={most}", found.start_offset));
    }
    let batches = life.batches.borrow();
    let kept = batches.iter().filter(|(_, last, _)| *last < found.end_offset);
    let expected: Vec<u8> = kept
        .filter(|(_, last, _)| *last >= found.start_offset)
        .flat_map(|(_, _, bytes)| bytes.iter().copied())
        .collect();
    if found.bytes != expected {
        let same = found.bytes.iter().zip(&expected).take_while(|(a, b)| a == b).count();
        return Err(format!(
            "bytes differ from byte {same} on: {} found, {} expected in {}..{}",
            found.bytes.len(),
            expected.len(),
            found.start_offset,
            found.end_offset
        ));
    }
    // What the partition rebuilds itself from reaches from the snapshot to the end, gapless.
    let behind: Vec<Offset> =
        batches.iter().map(|(base, _, _)| *base).filter(|b| *b >= found.snapshot).collect();
    let until = behind.iter().filter(|base| **base < found.end_offset);
    if !until.copied().eq(found.headers.iter().copied()) {
        return Err(format!(
            "snapshot at {} and headers {:?} do not make up {behind:?} below {}",
            found.snapshot, found.headers, found.end_offset
        ));
    }
    Ok(())
}

/// Tells a life how far its log has come; its snapshot is the log's end.
pub(crate) struct Observer {
    pub(crate) life: Rc<Life>,
    pub(crate) log: Weak<Log<SimRuntime>>,
}

impl LogObserver for Observer {
    fn progressed(&self, written: Offset, flushed: Offset) {
        self.life.raise(written, flushed);
        self.life.progress.wake_all();
    }
    fn failed(&self, _error: &StorageError) {}
    fn snapshot(&self) -> Bytes {
        let end = self.log.upgrade().map_or(0, |log| log.end_offset());
        Bytes::copy_from_slice(&end.to_be_bytes())
    }
}

/// One recovered log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundLog {
    pub(crate) start_offset: Offset,
    pub(crate) end_offset: Offset,
    pub(crate) broken: bool,
    why: String,
    pub(crate) bytes: Vec<u8>,
    snapshot: Offset,
    headers: Vec<Offset>,
}

/// What a recovery found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) logs: BTreeMap<TopicPartition, FoundLog>,
}

pub(crate) fn log_config() -> LogConfig {
    LogConfig {
        segment_bytes: 96 << 10,
        segment_ms: i64::MAX,
        retention_bytes: 150 << 10,
        retention_ms: -1,
        index_interval_bytes: 4096,
        flush_ms: i64::MAX,
        delete: true,
        compaction: None,
    }
}

pub(crate) fn owner(shards: ShardId) -> impl Fn(TopicPartition) -> Owner {
    move |id| Owner::Shard(ShardId::try_from(id.partition).unwrap_or(0) % shards, log_config())
}

/// Recover in this world and read everything; `Err` when the store refuses to start.
pub(crate) fn recover_in(world: &SimWorld, shards: ShardId) -> Result<Found, String> {
    let runtime = world.runtime();
    let found = world.run(async move {
        let starts = recover(&runtime, &config(), shards, &owner(shards)).await;
        let mut logs = BTreeMap::new();
        for start in starts.map_err(|e| format!("recovery refused: {e}"))? {
            let store = Store::open(runtime.clone(), config(), start).await;
            let store = store.map_err(|e| format!("open refused: {e}"))?;
            for (log, replay) in store.take_recovered() {
                let snapshot =
                    replay.snapshot.first_chunk().map_or(0, |b| Offset::from_be_bytes(*b));
                let headers = replay.headers.iter();
                let headers = headers.map(|h| Offset::from_be_bytes(h[..8].try_into().unwrap()));
                let headers = headers.collect();
                let (start_offset, end_offset) = (log.start_offset(), log.end_offset());
                let read = read_all(&log).await;
                let why = match log.room(100, 1).await {
                    Err(StorageError::Corrupt(why)) => why,
                    _ => String::new(),
                };
                let broken = !why.is_empty();
                let bytes = match read {
                    Ok(bytes) => bytes,
                    Err(_) if broken => Vec::new(),
                    Err(why) => return Err(format!("log {:?}: {why}", log.id())),
                };
                let found =
                    FoundLog { start_offset, end_offset, broken, why, bytes, snapshot, headers };
                logs.insert(log.id(), found);
            }
        }
        Ok(Found { logs })
    });
    found.unwrap_or_else(|| Err("halted".into()))
}

pub(crate) async fn read_all(log: &Rc<Log<SimRuntime>>) -> Result<Vec<u8>, String> {
    let (mut from, end) = (log.start_offset(), log.end_offset());
    let mut all = Vec::new();
    while from < end {
        let found = log.read(from, end, 50_000, true).await.map_err(|e| format!("{e:?}"))?;
        let bytes: Vec<u8> = found.pieces.concat();
        if bytes.len() < 61 {
            return Err(format!("nothing readable at offset {from}, the log ends at {end}"));
        }
        let mut at = 0;
        while at < bytes.len() {
            let field =
                |i: usize| i32::from_be_bytes(bytes[at + i..at + i + 4].try_into().unwrap());
            from = Offset::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
                + i64::from(field(23))
                + 1;
            at += usize::try_from(field(8)).unwrap() + 12;
        }
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}

/// Recover; then, with another number of shards, recover what that left after yet another cut
/// of the power. Both must find the same.
pub(crate) fn recovered_twice(image: DiskImage, seed: u64) -> Result<Found, String> {
    let world = SimWorld::new(seed, image);
    let first = recover_in(&world, 1)?;
    let mut random = thalweg::runtime::sim::SimRandom::new(seed);
    let again = world.disk().image().crashed(Crash::KeepNothing, &mut random);
    let second = recover_in(&SimWorld::new(seed + 1, again), 2)?;
    if first != second {
        for (id, log) in &first.logs {
            if second.logs.get(id) != Some(log) {
                let ends =
                    second.logs.get(id).map(|l| (l.start_offset, l.end_offset, l.bytes.len()));
                return Err(format!(
                    "recovering again changed log {id:?}: {:?} became {ends:?}",
                    (log.start_offset, log.end_offset, log.bytes.len())
                ));
            }
        }
        return Err("recovering again found logs that were not there".into());
    }
    Ok(first)
}
