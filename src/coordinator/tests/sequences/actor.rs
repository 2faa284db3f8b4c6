//! A client of a group, of one protocol or the other, that does what it is told.

use std::collections::{BTreeMap, BTreeSet};

use super::Dice;
use crate::coordinator::tests::classic::join;
use crate::coordinator::tests::consumer::{Given, given, joining, owned};
use crate::coordinator::tests::{Bench, offsets};
use crate::coordinator::{Request, Response};
use crate::protocol::ErrorCode;
use crate::protocol::consumer_protocol::*;
use crate::protocol::messages::consumer_group_heartbeat::*;
use crate::protocol::messages::heartbeat::HeartbeatRequest;
use crate::protocol::messages::join_group::*;
use crate::protocol::messages::leave_group::*;
use crate::protocol::messages::offset_commit::OffsetCommitRequest;
use crate::protocol::messages::sync_group::*;
use crate::wire::StrBytes;

/// What a client has asked.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Asked {
    Join,
    Sync,
    Heartbeat,
    ConsumerHeartbeat,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// Outside the group.
    Out,
    /// A classic client has joined and wants its assignment.
    Joined,
    /// In the group.
    In,
}

#[derive(Debug)]
pub(super) struct Actor {
    number: usize,
    is_classic: bool,
    /// A classic client that gives up only what it loses (KIP-429).
    is_cooperative: bool,
    is_alive: bool,
    instance: Option<StrBytes>,
    topics: Vec<String>,
    regex: Option<StrBytes>,
    assignor: Option<StrBytes>,
    pub id: String,
    /// How many ids it has had.
    lives: usize,
    state: State,
    /// Generation or member epoch.
    pub epoch: i32,
    /// What it reads from at the moment.
    pub has: Given,
    /// What it has been told to read from.
    told: Given,
    /// The next heartbeat says everything.
    is_unsure: bool,
    /// What a leader was told of the others.
    members: Vec<JoinGroupResponseMember>,
    waiting: Option<(u64, Asked)>,
}

impl Actor {
    pub fn new(dice: &mut Dice, number: usize, protocols: usize) -> Self {
        let is_classic = match protocols {
            0 => true,
            1 => false,
            _ => dice.chance(50),
        };
        let all = ["t0", "t1", "t2"];
        let topics = match dice.roll(4) {
            0 => &all[..1],
            1 => &all[1..],
            _ => &all[..],
        };
        let mut actor = Self {
            number,
            is_classic,
            is_cooperative: dice.chance(40),
            is_alive: true,
            instance: dice.chance(25).then(|| format!("i{number}").into()),
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            regex: (!is_classic && dice.chance(20)).then(|| "t[0-3]".into()),
            assignor: dice.chance(30).then(|| "range".into()),
            id: String::new(),
            lives: 0,
            state: State::Out,
            epoch: 0,
            has: Given::new(),
            told: Given::new(),
            is_unsure: false,
            members: Vec::new(),
            waiting: None,
        };
        actor.forget();
        actor
    }

    pub fn is_alive(&self) -> bool {
        self.is_alive
    }

    /// Whether it has what it was told, and nothing to say.
    pub fn is_content(&self) -> bool {
        !self.is_alive || self.state == State::In && (self.is_classic || self.has == self.told)
    }

    pub fn waiting(&self) -> Option<u64> {
        self.waiting.map(|(ticket, _)| ticket)
    }

    /// It is outside, with nothing, under no id it has had.
    fn forget(&mut self) {
        self.lives += 1;
        let (number, lives) = (self.number, self.lives);
        self.id = if self.is_classic { String::new() } else { format!("c{number}-{lives}") };
        self.stay_out();
    }

    /// It is outside, with nothing, and may come back under its id.
    fn stay_out(&mut self) {
        self.state = State::Out;
        self.epoch = 0;
        self.has.clear();
        self.told.clear();
        self.is_unsure = false;
    }

    /// It stops without a word.
    pub fn die(&mut self) {
        self.is_alive = false;
        self.waiting = None;
        self.stay_out();
    }

    /// What it waited for will not come.
    pub fn lose_connection(&mut self) {
        match self.waiting.take() {
            Some((_, Asked::Join | Asked::Sync)) => self.stay_out(),
            Some((_, Asked::Heartbeat | Asked::ConsumerHeartbeat)) => self.is_unsure = true,
            None => {}
        }
    }

    fn ask(&mut self, bench: &mut Bench, version: i16, asked: Asked, request: Request) {
        let ticket = bench.send(version, request);
        self.waiting = Some((ticket, asked));
    }

    /// The next thing to do; the answer may be lost.
    pub fn act(&mut self, bench: &mut Bench, dice: &mut Dice, loses: bool) {
        if !self.is_alive || self.waiting.is_some() && !loses {
            return;
        }
        if self.waiting.is_some() {
            // It gives up waiting; the answer will find nobody.
            return self.lose_connection();
        }
        match (self.is_classic, self.state) {
            (true, State::Out) => self.join(bench),
            (true, State::Joined) => self.sync(bench),
            (true, State::In) => {
                let request = HeartbeatRequest {
                    group_id: "g".into(),
                    generation_id: self.epoch,
                    member_id: self.id.as_str().into(),
                    group_instance_id: self.instance.clone(),
                };
                self.ask(bench, 4, Asked::Heartbeat, Request::Heartbeat(request));
            }
            (false, _) => self.beat(bench, dice),
        }
        if loses {
            self.lose_connection();
        }
    }

    fn join(&mut self, bench: &mut Bench) {
        // An eager consumer gives up what it has before it joins.
        if !self.is_cooperative {
            self.has.clear();
        }
        let owned = self.has.iter().filter_map(|(id, index)| {
            let topic = bench.image.topic_by_id(*id)?.name.as_str().into();
            Some(TopicPartition { topic, partitions: vec![*index] })
        });
        let subscription = ConsumerProtocolSubscription {
            topics: self.topics.iter().map(|topic| topic.as_str().into()).collect(),
            owned_partitions: owned.collect(),
            ..Default::default()
        };
        let mut request = join(&self.id, &["range"]);
        request.protocols[0].metadata = write(&subscription, 1).unwrap();
        request.rebalance_timeout_ms = 20_000;
        request.group_instance_id.clone_from(&self.instance);
        self.ask(bench, 9, Asked::Join, Request::JoinGroup(request));
    }

    fn sync(&mut self, bench: &mut Bench) {
        let request = SyncGroupRequest {
            group_id: "g".into(),
            generation_id: self.epoch,
            member_id: self.id.as_str().into(),
            group_instance_id: self.instance.clone(),
            protocol_type: Some("consumer".into()),
            protocol_name: Some("range".into()),
            assignments: self.assign(bench),
        };
        self.ask(bench, 5, Asked::Sync, Request::SyncGroup(request));
    }

    /// As a leader: give every partition to one of those who read its topic.
    fn assign(&self, bench: &Bench) -> Vec<SyncGroupRequestAssignment> {
        let mut readers: BTreeMap<StrBytes, Vec<StrBytes>> = BTreeMap::new();
        let mut owners: BTreeMap<(StrBytes, i32), StrBytes> = BTreeMap::new();
        for member in &self.members {
            let said: ConsumerProtocolSubscription = read(member.metadata.clone()).unwrap();
            for topic in said.owned_partitions {
                for index in topic.partitions {
                    owners.insert((topic.topic.clone(), index), member.member_id.clone());
                }
            }
            for topic in said.topics {
                readers.entry(topic).or_default().push(member.member_id.clone());
            }
        }
        let mut parts: BTreeMap<StrBytes, ConsumerProtocolAssignment> = BTreeMap::new();
        for (name, readers) in &readers {
            let count = bench.image.topic(name).map_or(0, |topic| topic.partitions.len());
            for index in 0..count {
                let reader = &readers[index % readers.len()];
                let owner = owners.get(&(name.clone(), index as i32));
                if owner.is_some_and(|owner| owner != reader) {
                    // Its owner gives it up first, and joins again.
                    continue;
                }
                let part = parts.entry(reader.clone()).or_default();
                let partitions = vec![index as i32];
                part.assigned_partitions.push(TopicPartition { topic: name.clone(), partitions });
            }
        }
        let assignments = parts.into_iter().map(|(member_id, part)| SyncGroupRequestAssignment {
            member_id,
            assignment: write(&part, 1).unwrap(),
        });
        assignments.collect()
    }

    fn beat(&mut self, bench: &mut Bench, dice: &mut Dice) {
        let names: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        let full = ConsumerGroupHeartbeatRequest {
            instance_id: self.instance.clone(),
            subscribed_topic_regex: self.regex.clone(),
            server_assignor: self.assignor.clone(),
            ..joining(&self.id, &names)
        };
        let request = if self.state == State::Out {
            full
        } else {
            // What it is to give up it gives up now, or later.
            let must_tell = self.has != self.told && dice.chance(70);
            if must_tell {
                self.has.clone_from(&self.told);
            }
            let mut request = ConsumerGroupHeartbeatRequest { member_epoch: self.epoch, ..full };
            if !self.is_unsure {
                request.subscribed_topic_names = None;
                request.subscribed_topic_regex = None;
                request.rebalance_timeout_ms = -1;
                request.topic_partitions = None;
            }
            if must_tell || self.is_unsure {
                request.topic_partitions = owned(&self.has);
            }
            request
        };
        self.ask(bench, 1, Asked::ConsumerHeartbeat, Request::ConsumerGroupHeartbeat(request));
    }

    /// It goes in order.
    pub fn leave(&mut self, bench: &mut Bench, dice: &mut Dice) {
        let is_out = self.state == State::Out && self.has.is_empty();
        if !self.is_alive || is_out || self.waiting.is_some() {
            return;
        }
        let for_a_while = self.instance.is_some() && dice.chance(70);
        if !self.is_classic {
            let request = ConsumerGroupHeartbeatRequest {
                group_id: "g".into(),
                member_id: self.id.as_str().into(),
                member_epoch: if for_a_while { -2 } else { -1 },
                instance_id: self.instance.clone(),
                ..Default::default()
            };
            bench.beat(request);
        } else if !for_a_while {
            let member = MemberIdentity {
                member_id: self.id.as_str().into(),
                group_instance_id: self.instance.clone(),
                reason: None,
            };
            let request = LeaveGroupRequest {
                group_id: "g".into(),
                members: vec![member],
                ..Default::default()
            };
            bench.ask(5, Request::LeaveGroup(request));
        }
        self.forget();
        // Some come back speaking the other protocol.
        if dice.chance(20) {
            self.is_classic = !self.is_classic;
            self.regex = None;
            self.forget();
        }
    }

    /// A commit of something, as a member or from outside.
    pub fn commit(&self, dice: &mut Dice) -> OffsetCommitRequest {
        let topic = ["t0", "t1", "t4"][dice.roll(3)];
        let request = offsets::commit("g", &[(topic, dice.roll(4) as i32, dice.roll(9) as i64)]);
        if dice.chance(30) {
            return request;
        }
        OffsetCommitRequest {
            generation_id_or_member_epoch: self.epoch,
            member_id: self.id.as_str().into(),
            group_instance_id: self.instance.clone(),
            ..request
        }
    }

    /// Its answer has come.
    pub fn hear(&mut self, bench: &mut Bench) {
        let Some((ticket, asked)) = self.waiting.take() else { return };
        match (asked, bench.replies.remove(&ticket).unwrap()) {
            (Asked::Join, Response::JoinGroup(response)) => self.hear_join(response),
            (Asked::Sync, Response::SyncGroup(response)) => {
                if response.error_code.is_ok() {
                    let part = self.read_assignment(bench, &response);
                    let loses = self.is_cooperative && !self.has.is_subset(&part);
                    self.state = if loses { State::Out } else { State::In };
                    self.has = part;
                } else {
                    self.hear_error(response.error_code);
                }
            }
            (Asked::Heartbeat, Response::Heartbeat(response)) => {
                self.hear_error(response.error_code);
            }
            (Asked::ConsumerHeartbeat, Response::ConsumerGroupHeartbeat(response)) => {
                self.hear_error(response.error_code);
                if response.error_code.is_ok() {
                    (self.state, self.epoch) = (State::In, response.member_epoch);
                    self.is_unsure = false;
                    if let Some(told) = given(&response) {
                        self.has.extend(told.iter().copied());
                        self.told = told;
                    }
                }
            }
            (asked, other) => panic!("{asked:?} was answered with {other:?}"),
        }
    }

    fn hear_join(&mut self, response: JoinGroupResponse) {
        if response.error_code == ErrorCode::MEMBER_ID_REQUIRED {
            self.id = response.member_id.to_string();
        } else if response.error_code.is_ok() {
            self.id = response.member_id.to_string();
            (self.state, self.epoch) = (State::Joined, response.generation_id);
            // Only who leads is told of the others.
            self.members = response.members;
            if response.skip_assignment {
                self.members.clear();
            }
        } else {
            self.hear_error(response.error_code);
        }
    }

    fn read_assignment(&self, bench: &Bench, response: &SyncGroupResponse) -> Given {
        if response.assignment.is_empty() {
            return Given::new();
        }
        let part: ConsumerProtocolAssignment = read(response.assignment.clone()).unwrap();
        let mut all = BTreeSet::new();
        for topic in part.assigned_partitions {
            if let Some(known) = bench.image.topic(&topic.topic) {
                all.extend(topic.partitions.iter().map(|index| (known.id, *index)));
            }
        }
        all
    }

    fn hear_error(&mut self, error: ErrorCode) {
        match error {
            ErrorCode::NONE => {}
            // Its next join says what it keeps.
            ErrorCode::REBALANCE_IN_PROGRESS if self.is_cooperative => self.state = State::Out,
            ErrorCode::REBALANCE_IN_PROGRESS | ErrorCode::ILLEGAL_GENERATION => self.stay_out(),
            ErrorCode::UNKNOWN_MEMBER_ID
            | ErrorCode::FENCED_MEMBER_EPOCH
            | ErrorCode::GROUP_ID_NOT_FOUND => self.forget(),
            // Somebody else has its place, or there is no place.
            ErrorCode::FENCED_INSTANCE_ID => self.die(),
            ErrorCode::UNRELEASED_INSTANCE_ID | ErrorCode::GROUP_MAX_SIZE_REACHED => {
                self.stay_out();
            }
            other => panic!("{other} to {self:?}"),
        }
    }
}
