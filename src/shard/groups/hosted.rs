//! One coordinator at work: requests in, records to the log, answers out once they are durable.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_channel::oneshot;

use crate::coordinator::{
    ClientInfo, Coordinator, CoordinatorRecord, Counts, Event, Matched, Request, Response, Step,
};
use crate::metrics::Value;
use crate::model::{TimestampMs, TopicPartition, Uuid};
use crate::partition::Partition;
use crate::partition::append::{Acks, AppendAnswer, ProduceBatch};
use crate::partition::producers::Sequenced;
use crate::record::{BatchBuilder, BuildError};
use crate::runtime::{Queue, Runtime};
use crate::wire::StrBytes;

use super::super::Shard;
use super::super::call::{GroupRefusal, GroupResult};
use super::load;

/// Rest between a failed append and the next look at the log, which may have no room for a while.
const RELOAD_PAUSE: Duration = Duration::from_secs(1);

/// A partition of `__consumer_offsets` and its coordinator.
pub(super) struct Hosted<R: Runtime> {
    partition: Rc<Partition<R>>,
    state: RefCell<State>,
}

struct State {
    /// The coordinator, or why there is none.
    coordinator: Result<Coordinator, GroupRefusal>,
    /// Requests without an answer, by ticket.
    open: HashMap<u64, oneshot::Sender<GroupResult>>,
    /// Appends that are not durable yet, in their order.
    appends: VecDeque<PendingAppend>,
    /// What earlier coordinators of this partition counted.
    counted: Counts,
}

/// An append under way and the answers that wait for it.
struct PendingAppend {
    /// Taken by the task that awaits it.
    answer: Option<AppendAnswer>,
    replies: Vec<(u64, Response)>,
}

impl State {
    fn send(&mut self, replies: Vec<(u64, Response)>) {
        for (ticket, response) in replies {
            // A client that hung up has no sender here.
            if let Some(waiting) = self.open.remove(&ticket) {
                let _ = waiting.send(Ok(Box::new(response)));
            }
        }
    }
}

impl<R: Runtime> Hosted<R> {
    /// A coordinator that is to be loaded.
    pub fn new(partition: Rc<Partition<R>>) -> Rc<Self> {
        Rc::new(Self {
            partition,
            state: RefCell::new(State {
                coordinator: Err(GroupRefusal::Loading),
                open: HashMap::new(),
                appends: VecDeque::new(),
                counted: Counts::default(),
            }),
        })
    }

    /// The partition behind it.
    pub fn id(&self) -> TopicPartition {
        self.partition.id()
    }

    /// When time has to pass for it.
    pub fn deadline(&self) -> Option<TimestampMs> {
        self.state.borrow().coordinator.as_ref().ok().and_then(Coordinator::deadline)
    }

    /// How much there is now, and what was counted since the start.
    pub fn counts(&self) -> Counts {
        let state = self.state.borrow();
        let now = state.coordinator.as_ref().map(Coordinator::counts).unwrap_or_default();
        Counts {
            rebalances: now.rebalances + state.counted.rebalances,
            commits: now.commits + state.counted.commits,
            ..now
        }
    }

    /// Let a request happen; the future gives its answer. Dropping it tells the coordinator that
    /// nobody listens.
    pub fn ask(
        self: &Rc<Self>,
        shard: &Rc<Shard<R>>,
        client: ClientInfo,
        version: i16,
        request: Request,
    ) -> impl Future<Output = GroupResult> + use<R> {
        let ticket = shard.groups.ticket();
        let (answer, heard) = oneshot::channel();
        let refusal = self.state.borrow().coordinator.as_ref().err().copied();
        if let Some(refusal) = refusal {
            let _ = answer.send(Err(refusal));
        } else {
            self.state.borrow_mut().open.insert(ticket, answer);
            self.step(shard, Event::Request { ticket, client, version, request });
        }
        let listener = Listener { hosted: self.clone(), shard: Rc::downgrade(shard), ticket };
        async move {
            let _listener = listener;
            heard.await.unwrap_or(Err(GroupRefusal::NotAvailable))
        }
    }

    /// The expressions that are to be resolved before `request` is asked.
    pub fn expressions_to_match(&self, shard: &Shard<R>, request: &Request) -> Vec<StrBytes> {
        let now = shard.groups.now(&shard.runtime);
        let mut state = self.state.borrow_mut();
        let Ok(coordinator) = &mut state.coordinator else { return Vec::new() };
        coordinator.expressions_to_match(now, &shard.image(), request)
    }

    /// Tell what they stand for; the request is to be asked at once.
    pub fn learn(self: &Rc<Self>, shard: &Rc<Shard<R>>, group: &StrBytes, matched: Matched) {
        let now = shard.groups.now(&shard.runtime);
        let step = {
            let mut state = self.state.borrow_mut();
            let Ok(coordinator) = &mut state.coordinator else { return };
            coordinator.learn(now, &shard.image(), group, matched)
        };
        self.take(shard, step);
    }

    /// Let an event happen: append its records, send its answers when they may go.
    pub fn step(self: &Rc<Self>, shard: &Rc<Shard<R>>, event: Event) {
        let now = shard.groups.now(&shard.runtime);
        let image = shard.image();
        let (step, deadline) = {
            let mut state = self.state.borrow_mut();
            let Ok(coordinator) = &mut state.coordinator else { return };
            let step = coordinator.step(now, &image, event);
            (step, coordinator.deadline())
        };
        self.take(shard, step);
        shard.groups.arm(deadline);
    }

    /// Do what a step says.
    fn take(self: &Rc<Self>, shard: &Rc<Shard<R>>, step: Step) {
        let Step { records, replies, notices } = step;
        shard.groups.tell(&shard.runtime, notices);
        shard.groups.tell_full(&shard.runtime);
        if records.is_empty() {
            let mut state = self.state.borrow_mut();
            match state.appends.back_mut() {
                Some(append) => append.replies.extend(replies),
                None => state.send(replies),
            }
            return;
        }
        let answer = match batch(&records, shard.runtime.wall_ms()) {
            Ok(batch) => Some(self.partition.append(batch, Acks::All)),
            Err(error) => {
                tracing::error!(partition = self.id().partition, %error,
                    "records of groups do not fit a batch; they are dropped");
                None
            }
        };
        let is_first = {
            let mut state = self.state.borrow_mut();
            state.appends.push_back(PendingAppend { answer, replies });
            state.appends.len() == 1
        };
        if is_first {
            let (hosted, shard) = (self.clone(), shard.clone());
            shard.runtime.clone().spawn(Queue::Network, async move { hosted.settle(shard).await });
        }
    }

    /// Await the appends in their order and send what waited for each, until none is under way.
    async fn settle(self: Rc<Self>, shard: Rc<Shard<R>>) {
        loop {
            let answer = match self.state.borrow_mut().appends.front_mut() {
                Some(append) => append.answer.take(),
                None => return,
            };
            let outcome = match answer {
                Some(answer) => answer.await.ok(),
                None => None,
            };
            if matches!(outcome, Some(Ok(_))) {
                let mut state = self.state.borrow_mut();
                if let Some(append) = state.appends.pop_front() {
                    state.send(append.replies);
                }
                continue;
            }
            if let Some(Err(failure)) = outcome {
                tracing::error!(
                    partition = self.id().partition,
                    ?failure,
                    "records of groups could not be stored; their groups are loaded again"
                );
            }
            return self.begin_again(&shard).await;
        }
    }

    /// Nobody knows what of the appends under way will be there: refuse what is open, and load
    /// what the log has once they are over.
    async fn begin_again(self: &Rc<Self>, shard: &Rc<Shard<R>>) {
        self.give_up(GroupRefusal::Loading);
        let appends = std::mem::take(&mut self.state.borrow_mut().appends);
        for append in appends {
            if let Some(answer) = append.answer {
                let _ = answer.await;
            }
        }
        shard.runtime.sleep(RELOAD_PAUSE).await;
        self.load(shard).await;
    }

    /// Take no more requests; what is open is refused.
    pub fn close(&self, why: GroupRefusal) {
        self.give_up(why);
    }

    fn give_up(&self, why: GroupRefusal) {
        let mut state = self.state.borrow_mut();
        if matches!(state.coordinator, Err(GroupRefusal::NotHere | GroupRefusal::NotAvailable)) {
            // For good: a failed append of a topic that was deleted must not load it again.
            return;
        }
        if let Ok(coordinator) = std::mem::replace(&mut state.coordinator, Err(why)) {
            let counts = coordinator.counts();
            state.counted.rebalances += counts.rebalances;
            state.counted.commits += counts.commits;
        }
        let answer = match why {
            GroupRefusal::Loading => GroupRefusal::NotAvailable,
            why => why,
        };
        for (_, waiting) in state.open.drain() {
            let _ = waiting.send(Err(answer));
        }
    }

    /// Whether it waits for a coordinator, and was not closed meanwhile.
    fn is_to_be_loaded(&self) -> bool {
        matches!(self.state.borrow().coordinator, Err(GroupRefusal::Loading))
    }

    /// Bring the coordinator back from the log, and serve.
    pub async fn load(self: &Rc<Self>, shard: &Rc<Shard<R>>) {
        if !self.is_to_be_loaded() {
            return;
        }
        let begun = shard.runtime.now();
        let seed = u128::from_be_bytes(Uuid::random().0);
        let mut coordinator =
            Coordinator::new(shard.config.groups.clone(), shard.groups.memory.clone(), seed);
        let records = match load::replay(shard, &self.partition, &mut coordinator).await {
            Ok(records) => records,
            Err(why) => {
                tracing::error!(
                    partition = self.id().partition,
                    "the groups of a partition of __consumer_offsets cannot be loaded: {why}; \
                     they stay without a coordinator until a restart"
                );
                let mut state = self.state.borrow_mut();
                if let Err(refusal @ GroupRefusal::Loading) = &mut state.coordinator {
                    *refusal = GroupRefusal::NotAvailable;
                }
                return;
            }
        };
        if !self.is_to_be_loaded() {
            return;
        }
        let now = shard.groups.now(&shard.runtime);
        let step = coordinator.loaded(now, &shard.image());
        let (deadline, skipped) = (coordinator.deadline(), coordinator.skipped());
        self.state.borrow_mut().coordinator = Ok(coordinator);
        if skipped > 0 {
            tracing::warn!(
                partition = self.id().partition,
                skipped,
                "records of unknown types in a partition of __consumer_offsets are left out, as \
                 Kafka does: another version or another kind of group left them"
            );
        }
        let took = shard.runtime.now().saturating_sub(begun);
        shard.metrics.raise(Value::GroupLoad, took.as_micros() as u64);
        if records > 0 {
            tracing::debug!(partition = self.id().partition, records, ?took, "loaded groups");
        }
        self.take(shard, step);
        shard.groups.arm(deadline);
    }
}

/// Somebody who waits for an answer.
struct Listener<R: Runtime> {
    hosted: Rc<Hosted<R>>,
    shard: Weak<Shard<R>>,
    ticket: u64,
}

impl<R: Runtime> Drop for Listener<R> {
    fn drop(&mut self) {
        let is_open = self.hosted.state.borrow_mut().open.remove(&self.ticket).is_some();
        if is_open && let Some(shard) = self.shard.upgrade() {
            self.hosted.step(&shard, Event::Gone(self.ticket));
        }
    }
}

/// The records of one step as one batch.
fn batch(records: &[CoordinatorRecord], now: TimestampMs) -> Result<ProduceBatch, BuildError> {
    let mut builder = BatchBuilder::default();
    for record in records {
        builder.append(now, Some(&record.key), record.value.as_deref(), &[])?;
    }
    let bytes = Bytes::copy_from_slice(builder.finish()?);
    Ok(ProduceBatch {
        bytes,
        sequenced: Sequenced {
            producer_id: -1,
            epoch: -1,
            base_sequence: -1,
            records: builder.count(),
        },
        max_timestamp: now,
        log_append_time_ms: -1,
    })
}
