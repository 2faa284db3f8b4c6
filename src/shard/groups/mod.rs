//! The groups of this shard: one [`Coordinator`] for each partition of `__consumer_offsets` that
//! it owns, between the network, the log and the clock.
//!
//! | file | owns |
//! |---|---|
//! | [`self`] | which coordinators there are, requests on their way in, the one timer |
//! | [`hosted`] | one coordinator: its appends, its open requests, and what became of both |
//! | [`load`] | bringing a coordinator back from its log |
//!
//! Always true: an answer leaves only after everything that its coordinator had appended before is
//! as durable as acks=all promises. A coordinator whose append failed is thrown away, its open
//! requests are refused, and another one is loaded from the log.

mod hosted;
mod load;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use futures_channel::oneshot;
use futures_util::future::{Either, join_all, ready, select};

use crate::cluster::image::Image;
use crate::coordinator::{ClientInfo, Event, GroupMemory, Matching, Notice, Request};
use crate::metrics::Value;
use crate::model::{CONSUMER_OFFSETS, PartitionIndex, TimestampMs, TopicPartition};
use crate::runtime::wait::{Pace, WaitList};
use crate::runtime::{LineLimit, Queue, Runtime};

use super::Shard;
use super::call::{GroupCall, GroupRefusal, Reply};
use super::serve::Begun;
use hosted::Hosted;

/// A line about memory of groups comes once in this time.
const FULL_LINE_PERIOD: Duration = Duration::from_secs(10);

/// The coordinators of one shard.
pub struct Groups<R: Runtime> {
    hosted: RefCell<BTreeMap<PartitionIndex, Rc<Hosted<R>>>>,
    next_ticket: Cell<u64>,
    /// When the timer fires next; `i64::MAX` for never.
    armed: Cell<TimestampMs>,
    /// Tells the timer that it is to fire earlier.
    rearmed: WaitList,
    /// What turns the monotonic clock into wall-clock time that never jumps.
    wall_offset_ms: i64,
    is_closed: Cell<bool>,
    /// What all coordinators hold.
    memory: GroupMemory,
    /// Of the lines about rebalances.
    lines: LineLimit,
    /// Of the lines about memory.
    full_lines: LineLimit,
}

impl<R: Runtime> Groups<R> {
    pub(super) fn new(runtime: &R, memory_bytes_max: usize) -> Self {
        Self {
            hosted: RefCell::default(),
            next_ticket: Cell::new(0),
            armed: Cell::new(i64::MAX),
            rearmed: WaitList::default(),
            wall_offset_ms: runtime.wall_ms().saturating_sub(millis(runtime.now())),
            is_closed: Cell::new(false),
            memory: GroupMemory::new(memory_bytes_max),
            lines: LineLimit::default(),
            full_lines: LineLimit::new(1, FULL_LINE_PERIOD),
        }
    }

    /// The time that coordinators are told: the wall's at the start, and steady from there, so that
    /// a clock that is set does not end sessions.
    fn now(&self, runtime: &R) -> TimestampMs {
        self.wall_offset_ms.saturating_add(millis(runtime.now()))
    }

    /// A name for a request that no other has.
    fn ticket(&self) -> u64 {
        self.next_ticket.replace(self.next_ticket.get() + 1)
    }

    /// Let the timer fire at `deadline`, if that is earlier than it would.
    fn arm(&self, deadline: Option<TimestampMs>) {
        if let Some(deadline) = deadline
            && deadline < self.armed.get()
        {
            self.armed.set(deadline);
            self.rearmed.wake_all();
        }
    }

    /// Tell the operator what groups go through.
    fn tell(&self, runtime: &R, notices: Vec<Notice>) {
        for Notice { group, generation, members, reason } in notices {
            let Some(unsaid) = self.lines.may_log(runtime.now()) else { continue };
            // Quoted: an id is text from outside.
            let group = &*group;
            match reason {
                Some(reason) => {
                    tracing::info!(
                        ?group,
                        generation,
                        members,
                        reason,
                        unsaid,
                        "a group rebalances"
                    );
                }
                None => tracing::info!(?group, generation, members, unsaid, "a group has settled"),
            }
        }
    }

    /// Tell the operator that there was no memory for something.
    fn tell_full(&self, runtime: &R) {
        if self.memory.take_refusals() == 0 {
            return;
        }
        let Some(unsaid) = self.full_lines.may_log(runtime.now()) else { return };
        let (held, max) = (self.memory.held(), self.memory.max());
        tracing::warn!(
            held,
            max,
            unsaid,
            "no memory for more groups, members, assignments or offsets on this shard: requests \
             are refused, groups keep the assignment that they have; delete groups and offsets \
             that are not used, look for a client that makes too many, or raise \
             thalweg.groups.memory.bytes.max"
        );
    }

    fn all(&self) -> Vec<Rc<Hosted<R>>> {
        self.hosted.borrow().values().cloned().collect()
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

impl<R: Runtime> Shard<R> {
    /// Hand a request to its coordinator; what it changes is changed when this returns, unless
    /// expressions have to be resolved before.
    pub(super) fn begin_group(self: &Rc<Self>, call: GroupCall) -> Begun {
        let GroupCall { partition, client, version, request } = call;
        let hosted = self.groups.hosted.borrow().get(&partition).cloned();
        let Some(hosted) = hosted.filter(|_| !self.groups.is_closed.get()) else {
            return Box::pin(ready(Reply::Group(Err(GroupRefusal::NotHere))));
        };
        let expressions = hosted.expressions_to_match(self, &request);
        if expressions.is_empty() {
            let answer = hosted.ask(self, client, version, request);
            return Box::pin(async move { Reply::Group(answer.await) });
        }
        let (tell, answer) = oneshot::channel();
        let shard = self.clone();
        // Of its own: the group counts the expressions as looked at, whether or not the client
        // stays to hear of it.
        self.runtime.spawn(Queue::Network, async move {
            let mut matching = Matching::new(&shard.image(), expressions);
            let mut pace = Pace::new(1);
            let matched = loop {
                if let Some(matched) = matching.go_on() {
                    break matched;
                }
                pace.worked(1).await;
            };
            if let Some(group) = request.subscriber() {
                hosted.learn(&shard, group, matched);
            }
            let asked = hosted.ask(&shard, client, version, request);
            let _ = tell.send(Reply::Group(asked.await));
        });
        Box::pin(async move { answer.await.unwrap_or(Reply::Gone) })
    }

    /// Hand a request to every coordinator of this shard (ListGroups).
    pub(super) fn begin_all_groups(
        self: &Rc<Self>,
        client: &ClientInfo,
        version: i16,
        request: &Request,
    ) -> Begun {
        let ask =
            |hosted: &Rc<Hosted<R>>| hosted.ask(self, client.clone(), version, request.clone());
        let answers: Vec<_> = self.groups.all().iter().map(ask).collect();
        Box::pin(async move { Reply::AllGroups(join_all(answers).await) })
    }

    /// Host what the image gives this shard of `__consumer_offsets`, let go of what it no longer
    /// has, and tell the others that it changed.
    pub(super) fn install_groups(self: &Rc<Self>, image: &Image) {
        if self.groups.is_closed.get() {
            return;
        }
        let topic = image.topic(CONSUMER_OFFSETS);
        let id = topic.map(|topic| topic.id);
        let gone: Vec<_> = {
            let mut hosted = self.groups.hosted.borrow_mut();
            let gone: Vec<_> = hosted
                .iter()
                .filter(|(_, hosted)| Some(hosted.id().topic_id) != id)
                .map(|(index, _)| *index)
                .collect();
            gone.into_iter().filter_map(|index| hosted.remove(&index)).collect()
        };
        for hosted in gone {
            hosted.close(GroupRefusal::NotHere);
        }
        let mut new = Vec::new();
        if let Some(topic) = topic {
            for index in 0..topic.partitions.len() as PartitionIndex {
                let id = TopicPartition { topic_id: topic.id, partition: index };
                let known = self.groups.hosted.borrow().contains_key(&index);
                if known || self.owner(id) != self.id {
                    continue;
                }
                // A log that could not be opened leaves its groups without a coordinator.
                if let Some(partition) = self.partition(id) {
                    let hosted = Hosted::new(partition);
                    self.groups.hosted.borrow_mut().insert(index, hosted.clone());
                    new.push(hosted);
                }
            }
        }
        for hosted in self.groups.all() {
            hosted.step(self, Event::ImageChanged);
        }
        if !new.is_empty() {
            let shard = self.clone();
            // One after the other: each reads its log with all the bandwidth there is.
            self.runtime.spawn(Queue::Network, async move {
                for hosted in new {
                    hosted.load(&shard).await;
                }
            });
        }
    }

    /// Let time pass for the groups, for ever. Sleeps until something is due.
    pub async fn tend_groups(self: Rc<Self>) {
        loop {
            let armed = self.groups.armed.get();
            let now = self.groups.now(&self.runtime);
            if armed > now {
                let earlier = || (self.groups.armed.get() < armed).then_some(());
                let rearmed = Box::pin(self.groups.rearmed.until(earlier));
                if armed == i64::MAX {
                    rearmed.await;
                } else {
                    let wait = Duration::from_millis((armed - now).unsigned_abs());
                    let sleep = Box::pin(self.runtime.sleep(wait));
                    if let Either::Right(_) = select(sleep, rearmed).await {
                        continue;
                    }
                }
                continue;
            }
            self.groups.armed.set(i64::MAX);
            for hosted in self.groups.all() {
                if hosted.deadline().is_some_and(|deadline| deadline <= now) {
                    hosted.step(&self, Event::Tick);
                } else {
                    self.groups.arm(hosted.deadline());
                }
            }
            // Whatever the coordinators say, others have their turn.
            self.runtime.sleep(Duration::from_millis(1)).await;
        }
    }

    /// Refuse what is open and take nothing more: the broker stops.
    pub fn close_groups(&self) {
        self.groups.is_closed.set(true);
        for hosted in self.groups.all() {
            hosted.close(GroupRefusal::NotAvailable);
        }
    }

    /// Numbers of the groups, for the metrics page.
    pub(super) fn measure_groups(&self) {
        let (mut groups, mut members, mut offsets) = (0, 0, 0);
        let (mut rebalances, mut commits) = (0, 0);
        for hosted in self.groups.all() {
            let counts = hosted.counts();
            groups += counts.groups as u64;
            members += counts.members as u64;
            offsets += counts.offsets as u64;
            rebalances += counts.rebalances;
            commits += counts.commits;
        }
        for (value, now) in [
            (Value::Groups, groups),
            (Value::GroupMembers, members),
            (Value::CommittedOffsets, offsets),
            (Value::GroupsMemory, self.groups.memory.held() as u64),
            (Value::GroupRebalances, rebalances),
            (Value::OffsetCommits, commits),
        ] {
            self.metrics.set(value, now);
        }
    }
}
