//! The rules around one log: who may append, what readers may see, who waits for what.
//!
//! | file | owns |
//! |---|---|
//! | [`marks`] | log start, high watermark, written and flushed end: all that moves them |
//! | [`producers`] | idempotent producers: the five-batch window, its snapshot |
//! | [`append`] | a produced batch on its way into the log, in arrival order |
//! | [`read`] | what a fetch or an offset lookup may see |
//! | [`waiters`] | produces waiting for durability, fetches waiting for bytes |
//!
//! Always true: `log start <= high watermark <= written end <= log end`, and no reader passes
//! the high watermark. Nothing here is borrowed across an await.

pub mod append;
pub mod marks;
pub mod producers;
pub mod read;
pub mod waiters;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use bytes::Bytes;

use crate::model::{LeaderEpoch, Offset, ProducerId, TopicPartition};
use crate::runtime::Runtime;
use crate::storage::{LastRecord, Log, LogObserver, Replay, StorageError};

use append::AppendQueue;
use marks::Marks;
use producers::{ProducerLimits, Producers};
use waiters::{FetchWaiters, ProduceWaiters};

/// One partition: the sole owner of a log and of its marks.
pub struct Partition<R: Runtime> {
    id: TopicPartition,
    leader_epoch: Cell<LeaderEpoch>,
    log: Rc<Log<R>>,
    runtime: R,
    state: RefCell<State>,
    /// Every await-free step of an append; batches that found no room wait here in order.
    queue: RefCell<AppendQueue>,
}

/// What changes with every append and every group commit.
struct State {
    marks: Marks,
    producers: Producers,
    produce_waiters: ProduceWaiters,
    fetch_waiters: FetchWaiters,
    /// Set when the log takes no more appends, or when the topic is gone.
    closed: Option<Closed>,
    /// `thalweg.durability=write`: acks=all is answered when written.
    relaxed: bool,
    flush_messages: i64,
    messages_since_flush: i64,
}

/// Why a partition takes no more appends.
#[derive(Clone, Debug)]
pub enum Closed {
    /// Its topic was deleted.
    Deleted,
    /// Its log or log directory is offline.
    Storage(StorageError),
}

/// Settings of a partition that come from its topic's configuration.
#[derive(Clone, Debug)]
pub struct PartitionConfig {
    /// `thalweg.durability=write`.
    pub relaxed: bool,
    /// `flush.messages`; `i64::MAX` is never.
    pub flush_messages: i64,
}

impl<R: Runtime> Partition<R> {
    /// Take over `log`: rebuild producer state from what recovery found and listen to its
    /// progress.
    ///
    /// # Errors
    /// When the checkpointed producer state does not decode, which its checksum should have
    /// caught: the message says so.
    pub fn open(
        runtime: R,
        log: Rc<Log<R>>,
        replay: &Replay,
        config: &PartitionConfig,
        limits: ProducerLimits,
        leader_epoch: LeaderEpoch,
    ) -> Result<Rc<Self>, String> {
        let mut producers = Producers::decode(&replay.snapshot, limits)?;
        for header in &replay.headers {
            producers.replay(header);
        }
        let marks = Marks::recovered(log.start_offset(), log.end_offset());
        let partition = Rc::new(Self {
            id: log.id(),
            leader_epoch: Cell::new(leader_epoch),
            log: log.clone(),
            runtime,
            state: RefCell::new(State {
                marks,
                producers,
                produce_waiters: ProduceWaiters::default(),
                fetch_waiters: FetchWaiters::default(),
                closed: None,
                relaxed: config.relaxed,
                flush_messages: config.flush_messages,
                messages_since_flush: 0,
            }),
            queue: RefCell::new(AppendQueue::default()),
        });
        log.set_observer(Rc::new(Observer(Rc::downgrade(&partition))));
        Ok(partition)
    }

    /// Which partition this is.
    pub fn id(&self) -> TopicPartition {
        self.id
    }

    /// The epoch stamped into appended batches.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch.get()
    }

    /// The log below.
    pub fn log(&self) -> &Rc<Log<R>> {
        &self.log
    }

    /// The end of what readers may see.
    pub fn high_watermark(&self) -> Offset {
        self.state.borrow().marks.high_watermark()
    }

    /// Producers with live state (for DescribeProducers).
    pub fn with_producers<T>(&self, look: impl FnOnce(&Producers) -> T) -> T {
        look(&self.state.borrow().producers)
    }

    /// Where what each producer with live state has in the log ends, for the log cleaner.
    pub fn last_records(&self) -> HashMap<ProducerId, LastRecord> {
        self.with_producers(|producers| {
            let last = |producer: &producers::Producer| LastRecord {
                data_offset: producer.batches.back().map(|batch| batch.last_offset),
                epoch: producer.epoch,
            };
            producers.iter().map(|(id, producer)| (id, last(producer))).collect()
        })
    }

    /// Drop state of producers unseen since `before_ms`.
    pub fn expire_producers(&self, before_ms: i64) {
        self.state.borrow_mut().producers.expire(before_ms);
    }

    /// Whether acks=all is answered before the flush (`thalweg.durability=write`).
    pub fn is_relaxed(&self) -> bool {
        self.state.borrow().relaxed
    }

    /// Take changed settings.
    pub fn set_config(&self, config: &PartitionConfig) {
        let mut state = self.state.borrow_mut();
        state.relaxed = config.relaxed;
        state.flush_messages = config.flush_messages;
    }

    /// Take no more appends; everybody who waits is told why.
    pub fn close(&self, why: Closed) {
        let (produce, fetch) = {
            let mut state = self.state.borrow_mut();
            if state.closed.is_none() {
                state.closed = Some(why.clone());
            }
            (state.produce_waiters.drain(), state.fetch_waiters.take_all())
        };
        let queued = self.queue.borrow_mut().drain();
        for waiter in produce {
            waiter.fail(append::AppendFailure::from(why.clone()));
        }
        for batch in queued {
            batch.fail(append::AppendFailure::from(why.clone()));
        }
        for waiter in fetch {
            waiter.fire();
        }
    }
}

/// Hears the log's progress. Weak: a partition that was dropped hears nothing.
struct Observer<R: Runtime>(Weak<Partition<R>>);

impl<R: Runtime> LogObserver for Observer<R> {
    fn progressed(&self, written: Offset, flushed: Offset) {
        let Some(partition) = self.0.upgrade() else { return };
        let advanced = partition.state.borrow_mut().marks.progress(written, flushed);
        // Nothing is borrowed while a waiter is told: it may look at this partition at once.
        let next = || partition.state.borrow_mut().produce_waiters.pop_ready(written, flushed);
        while let Some(waiter) = next() {
            waiter.succeed();
        }
        if advanced {
            let fetches = partition.state.borrow_mut().fetch_waiters.take_all();
            fetches.iter().for_each(|waiter| waiter.fire());
        }
    }

    fn failed(&self, error: &StorageError) {
        if let Some(partition) = self.0.upgrade() {
            partition.close(Closed::Storage(error.clone()));
        }
    }

    fn snapshot(&self) -> Bytes {
        self.0.upgrade().map_or_else(Bytes::new, |p| p.state.borrow().producers.encode())
    }
}
