//! Groups: members, assignments, committed offsets.
//!
//! A [`Coordinator`] is one partition of `__consumer_offsets` and every group whose id hashes to
//! it. It is a state machine: [`Coordinator::step`] takes the time, the metadata and an event, and
//! returns records to append and answers to send. It never waits, reads no clock and does no I/O;
//! who runs it does that (see [`Step`]).
//!
//! What always holds:
//! - Replaying the records of all steps gives the same offsets, consumer groups and settled
//!   generations of classic groups. What is in no record (who waits, when a session ends) starts
//!   anew after loading.
//! - Every request is answered exactly once, at once or when what it waits for has come or timed
//!   out.
//! - Groups, members, their bytes and offsets have limits (`config::GroupSettings`), and so has
//!   the memory that the groups of all coordinators of a shard take ([`GroupMemory`]).
//!
//! | file | owns |
//! |---|---|
//! | [`offsets`], [`commit`], [`fetch`], [`expiry`] | committed offsets and their end |
//! | [`classic`] | groups whose members assign among themselves |
//! | [`members`] | requests of members, on their way to their group |
//! | [`consumer`] | groups whose partitions the coordinator assigns (KIP-848) |
//! | [`listing`] | lists, descriptions, deletion |
//! | [`desk`], [`timers`], [`ids`] | what rules write to: outcome, timers, member ids |
//! | [`memory`] | what all groups of a shard hold |
//!
//! The rules and error codes are those of Apache Kafka 4.4's group coordinator.

mod classic;
mod commit;
mod consumer;
mod desk;
mod expiry;
mod fetch;
mod group;
mod ids;
mod listing;
mod members;
mod memory;
mod offsets;
mod refusal;
mod replay;
mod timers;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::cluster::image::Image;
use crate::config::GroupSettings;
use crate::model::TimestampMs;
use crate::protocol::messages::{
    consumer_group_describe::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse},
    consumer_group_heartbeat::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse},
    delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse},
    describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse},
    heartbeat::{HeartbeatRequest, HeartbeatResponse},
    join_group::{JoinGroupRequest, JoinGroupResponse},
    leave_group::{LeaveGroupRequest, LeaveGroupResponse},
    list_groups::{ListGroupsRequest, ListGroupsResponse},
    offset_commit::{OffsetCommitRequest, OffsetCommitResponse},
    offset_delete::{OffsetDeleteRequest, OffsetDeleteResponse},
    offset_fetch::{OffsetFetchRequest, OffsetFetchResponse},
    sync_group::{SyncGroupRequest, SyncGroupResponse},
};
use crate::wire::StrBytes;

pub use consumer::{Matched, Matching};
use desk::Desk;
use group::Group;
pub use memory::GroupMemory;
use offsets::Offsets;
pub use replay::RecordError;

/// Who sends a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientInfo {
    /// `client_id` of the request's header; empty if null.
    pub client_id: StrBytes,
    /// Address of the connection's other end, as Kafka shows it: `/127.0.0.1`.
    pub host: StrBytes,
}

/// What happens to a coordinator.
#[expect(clippy::large_enum_variant, reason = "an event is made, passed once and taken apart")]
#[derive(Clone, Debug)]
pub enum Event {
    /// A request has come.
    Request {
        /// Names the request in [`Step::replies`]; never used again.
        ticket: u64,
        /// Who asks.
        client: ClientInfo,
        /// Version of the request.
        version: i16,
        /// What is asked.
        request: Request,
    },
    /// [`Coordinator::deadline`] has come.
    Tick,
    /// Topics were created or deleted or grew, or configurations of groups have changed.
    ImageChanged,
    /// The client of this ticket hung up. Its member stays until its session ends; an answer to
    /// the ticket may still come and goes nowhere, as in Kafka.
    Gone(u64),
}

/// A request to a coordinator. Requests that name several groups name those of this coordinator.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Classic group: let me in.
    JoinGroup(JoinGroupRequest),
    /// Classic group: assignments.
    SyncGroup(SyncGroupRequest),
    /// Classic group: I am alive.
    Heartbeat(HeartbeatRequest),
    /// Classic group: members leave.
    LeaveGroup(LeaveGroupRequest),
    /// Remember offsets.
    OffsetCommit(OffsetCommitRequest),
    /// Tell offsets.
    OffsetFetch(OffsetFetchRequest),
    /// Forget offsets.
    OffsetDelete(OffsetDeleteRequest),
    /// List groups.
    ListGroups(ListGroupsRequest),
    /// Describe classic groups.
    DescribeGroups(DescribeGroupsRequest),
    /// Delete groups.
    DeleteGroups(DeleteGroupsRequest),
    /// Consumer group: I am alive; this has changed.
    ConsumerGroupHeartbeat(ConsumerGroupHeartbeatRequest),
    /// Describe consumer groups.
    ConsumerGroupDescribe(ConsumerGroupDescribeRequest),
}

impl Request {
    /// The group of a request that may change what its member reads.
    pub fn subscriber(&self) -> Option<&StrBytes> {
        match self {
            Self::ConsumerGroupHeartbeat(request) => Some(&request.group_id),
            Self::JoinGroup(request) => Some(&request.group_id),
            _ => None,
        }
    }
}

/// The answer to a request: the variant of the same name.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each is the answer to the request of its name")]
pub enum Response {
    JoinGroup(JoinGroupResponse),
    SyncGroup(SyncGroupResponse),
    Heartbeat(HeartbeatResponse),
    LeaveGroup(LeaveGroupResponse),
    OffsetCommit(OffsetCommitResponse),
    OffsetFetch(OffsetFetchResponse),
    OffsetDelete(OffsetDeleteResponse),
    ListGroups(ListGroupsResponse),
    DescribeGroups(DescribeGroupsResponse),
    DeleteGroups(DeleteGroupsResponse),
    ConsumerGroupHeartbeat(ConsumerGroupHeartbeatResponse),
    ConsumerGroupDescribe(ConsumerGroupDescribeResponse),
}

/// A record for `__consumer_offsets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorRecord {
    /// Its key.
    pub key: Bytes,
    /// Its value; nothing for a tombstone.
    pub value: Option<Bytes>,
}

/// What an operator may want to know of a group: it rebalances, or has settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Id of the group.
    pub group: StrBytes,
    /// Its generation (classic groups) or epoch (consumer groups).
    pub generation: i32,
    /// Members it has.
    pub members: usize,
    /// Why it rebalances; nothing when it has settled. Consumer groups settle member by member,
    /// without notice.
    pub reason: Option<&'static str>,
}

/// What follows from an event.
///
/// `records` are appended as one batch; no reply of this or a later step is sent before everything
/// that was appended until then is durable. When an append fails, the coordinator is thrown away,
/// open requests are answered with an error, and another one is loaded from the log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// In this order.
    pub records: Vec<CoordinatorRecord>,
    /// Tickets with their answers: of the request of this event, or of earlier ones that waited.
    pub replies: Vec<(u64, Response)>,
    /// For the log lines; nothing depends on them.
    pub notices: Vec<Notice>,
}

/// How much a coordinator holds, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Groups of all kinds.
    pub groups: usize,
    /// Members of all groups.
    pub members: usize,
    /// Committed offsets.
    pub offsets: usize,
    /// Generations and target assignments completed since the coordinator was made.
    pub rebalances: u64,
    /// Offsets committed since the coordinator was made.
    pub commits: u64,
}

/// Timers that one tick sees to.
const TIMERS_PER_TICK: usize = 100;

/// One partition of `__consumer_offsets` and every group in it.
pub struct Coordinator {
    groups: BTreeMap<StrBytes, Group>,
    offsets: Offsets,
    desk: Desk,
    /// When expired offsets are looked for; nothing before [`Coordinator::loaded`].
    next_cleanup: Option<TimestampMs>,
    /// The group at which the search for expired offsets goes on; nothing at its beginning.
    cleanup_from: Option<StrBytes>,
    /// The group at which the search for offsets of deleted topics goes on; nothing when there is
    /// none to be done.
    gone_from: Option<StrBytes>,
    commits: u64,
    skipped: u64,
}

impl Coordinator {
    /// An empty coordinator that counts what it holds in `memory`. `seed` is what member ids are
    /// made from; no two coordinators should share one.
    pub fn new(settings: Arc<GroupSettings>, memory: GroupMemory, seed: u128) -> Self {
        Self {
            groups: BTreeMap::new(),
            offsets: Offsets::new(&memory),
            desk: Desk::new(settings, memory, seed),
            next_cleanup: None,
            cleanup_from: None,
            gone_from: None,
            commits: 0,
            skipped: 0,
        }
    }

    /// All records have been replayed: timers of what was loaded begin at `now`, so that members
    /// that are alive have a whole session to say so.
    pub fn loaded(&mut self, now: TimestampMs, image: &Image) -> Step {
        self.desk.now = now;
        self.next_cleanup = Some(now.saturating_add(self.desk.settings.offsets_check_interval_ms));
        let Self { groups, desk, .. } = self;
        for group in groups.values_mut() {
            group.loaded(desk, image);
        }
        // Topics may have gone while nobody followed.
        self.image_changed(image);
        self.sweep_gone(image);
        self.desk.take_step()
    }

    /// Let `event` happen at `now` with the metadata of `image`.
    pub fn step(&mut self, now: TimestampMs, image: &Image, event: Event) -> Step {
        // Time does not go back here, whatever a clock does.
        self.desk.now = now.max(self.desk.now);
        match event {
            Event::Request { ticket, client, version, request } => {
                self.request(image, ticket, &client, version, request);
            }
            Event::Tick => self.tick(image),
            Event::ImageChanged => {
                self.image_changed(image);
                self.sweep_gone(image);
            }
            Event::Gone(_) => {}
        }
        self.desk.take_step()
    }

    /// The expressions that are to be resolved before `request` is let happen: no step is to do
    /// that, for it may take long. [`Coordinator::learn`] takes what they stand for.
    pub fn expressions_to_match(
        &mut self,
        now: TimestampMs,
        image: &Image,
        request: &Request,
    ) -> Vec<StrBytes> {
        let Some(group) = request.subscriber() else { return Vec::new() };
        let brought = match request {
            Request::ConsumerGroupHeartbeat(request) => request.subscribed_topic_regex.clone(),
            _ => None,
        };
        let brought = brought.filter(|expression| !expression.is_empty());
        self.desk.now = now.max(self.desk.now);
        match self.groups.get_mut(group) {
            Some(Group::Consumer(group)) => group.expressions_to_match(&self.desk, image, brought),
            _ => brought.into_iter().collect(),
        }
    }

    /// What expressions stand for, just before the request of `group` for which it was found.
    pub fn learn(
        &mut self,
        now: TimestampMs,
        image: &Image,
        group: &StrBytes,
        matched: Matched,
    ) -> Step {
        self.desk.now = now.max(self.desk.now);
        let Self { groups, desk, .. } = self;
        if let Some(Group::Consumer(group)) = groups.get_mut(group) {
            group.learn(desk, image, &matched);
        }
        let step = self.desk.take_step();
        self.desk.matched = matched;
        step
    }

    /// When [`Event::Tick`] is due; nothing before [`Coordinator::loaded`].
    pub fn deadline(&self) -> Option<TimestampMs> {
        let cleanup = self.next_cleanup?;
        if self.gone_from.is_some() {
            return Some(self.desk.now);
        }
        Some(self.desk.timers.first().map_or(cleanup, |first| first.min(cleanup)))
    }

    /// How much there is.
    pub fn counts(&self) -> Counts {
        Counts {
            groups: self.groups.len(),
            members: self.groups.values().map(Group::member_count).sum(),
            offsets: self.offsets.groups().map(|(group, _)| self.offsets.count(group)).sum(),
            rebalances: self.desk.rebalances,
            commits: self.commits,
        }
    }

    /// Records of unknown types that were left out while loading.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    fn request(
        &mut self,
        image: &Image,
        ticket: u64,
        client: &ClientInfo,
        version: i16,
        request: Request,
    ) {
        let response = match request {
            Request::OffsetCommit(request) => {
                Response::OffsetCommit(self.offset_commit(image, version, request))
            }
            Request::OffsetFetch(request) => {
                Response::OffsetFetch(self.offset_fetch(image, version, request))
            }
            Request::OffsetDelete(request) => {
                Response::OffsetDelete(self.offset_delete(image, &request))
            }
            Request::ListGroups(request) => Response::ListGroups(self.list_groups(&request)),
            Request::DescribeGroups(request) => {
                Response::DescribeGroups(self.describe_groups(version, &request))
            }
            Request::DeleteGroups(request) => Response::DeleteGroups(self.delete_groups(&request)),
            Request::ConsumerGroupDescribe(request) => {
                Response::ConsumerGroupDescribe(self.describe_consumer_groups(image, &request))
            }
            // The rest is answered by its group, now or later.
            request => return self.member_request(image, ticket, client, version, request),
        };
        self.desk.reply(ticket, response);
    }

    /// What is due, a bounded part of it: after a restart the sessions of all members may end in
    /// the same moment. The deadline stays in the past until all is done.
    fn tick(&mut self, image: &Image) {
        for _ in 0..TIMERS_PER_TICK {
            let Some(timer) = self.desk.timers.pop(self.desk.now) else { break };
            let Self { groups, desk, .. } = self;
            if let Some(group) = groups.get_mut(&timer.group) {
                group.timer_due(desk, image, &timer);
            }
        }
        self.sweep_gone(image);
        self.cleanup_when_due();
    }
}

#[cfg(test)]
mod tests;
