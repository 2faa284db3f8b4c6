//! Classic groups that become consumer groups while they work, and the other way round.

use super::classic::join;
use super::consumer::{Given, given, joining, owned};
use super::*;
use crate::config::MigrationPolicy;
use crate::coordinator::classic::State;
use crate::protocol::ErrorCode;
use crate::protocol::consumer_protocol::*;
use crate::protocol::messages::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest;
use crate::protocol::messages::join_group::JoinGroupRequest;
use crate::protocol::messages::sync_group::*;

const NONE: ErrorCode = ErrorCode::NONE;
const REBALANCE: ErrorCode = ErrorCode::REBALANCE_IN_PROGRESS;
const NOT_FOUND: ErrorCode = ErrorCode::GROUP_ID_NOT_FOUND;

fn part(topic: &str, partitions: &[i32], user_data: Option<&'static [u8]>) -> Bytes {
    let assignment = ConsumerProtocolAssignment {
        assigned_partitions: vec![TopicPartition {
            topic: topic.into(),
            partitions: partitions.to_vec(),
        }],
        user_data: user_data.map(Bytes::from_static),
    };
    write(&assignment, 1).unwrap()
}

fn sync(id: &str, generation: i32, given: &[(&str, Bytes)]) -> SyncGroupRequest {
    let assignments = given.iter().map(|(id, assignment)| SyncGroupRequestAssignment {
        member_id: (*id).into(),
        assignment: assignment.clone(),
    });
    SyncGroupRequest {
        group_id: "g".into(),
        generation_id: generation,
        member_id: id.into(),
        assignments: assignments.collect(),
        ..Default::default()
    }
}

fn leaving(id: &str) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest { member_epoch: -1, topic_partitions: None, ..joining(id, &[]) }
}

impl Bench {
    /// Two classic members of a stable group: `a` has partitions 0 and 1 of t, `b` has 2 and 3.
    fn classic_pair(&mut self, user_data: Option<&'static [u8]>) -> (String, String) {
        self.topic("t", 4);
        let mut ids = Vec::new();
        for _ in 0..2 {
            ids.push(self.join_now(join("", &["range"])).member_id.to_string());
        }
        let tickets: Vec<u64> = ids.iter().map(|id| self.send_join(join(id, &["range"]))).collect();
        self.pass(6_000);
        let leader = self.joined(tickets[0]).leader.to_string();
        self.joined(tickets[1]);
        let given = [
            (ids[0].as_str(), part("t", &[0, 1], user_data)),
            (ids[1].as_str(), part("t", &[2, 3], user_data)),
        ];
        assert_eq!(self.sync_now(sync(&leader, 1, &given)).error_code, NONE);
        (ids[0].clone(), ids[1].clone())
    }

    /// What a classic member is given: partitions of t.
    fn synced_part(&mut self, id: &str, generation: i32) -> Result<Vec<i32>, ErrorCode> {
        let response = self.sync_now(sync(id, generation, &[]));
        if !response.error_code.is_ok() {
            return Err(response.error_code);
        }
        let part: ConsumerProtocolAssignment = read(response.assignment).unwrap();
        Ok(part.assigned_partitions.into_iter().flat_map(|topic| topic.partitions).collect())
    }

    fn kind(&self) -> &'static str {
        self.coordinator.groups[&StrBytes::from("g")].kind()
    }

    /// A join of a member that says what it has.
    fn join_with(&mut self, id: &str, has: &[i32]) -> i32 {
        let response = self.join_now(cooperative(id, has));
        assert_eq!((response.error_code, response.members.len()), (NONE, 0));
        response.generation_id
    }
}

fn cooperative(id: &str, has: &[i32]) -> JoinGroupRequest {
    let subscription = ConsumerProtocolSubscription {
        topics: vec!["t".into()],
        owned_partitions: vec![TopicPartition { topic: "t".into(), partitions: has.to_vec() }],
        ..Default::default()
    };
    let mut request: JoinGroupRequest = join(id, &["range"]);
    request.protocols[0].metadata = write(&subscription, 1).unwrap();
    request
}

#[test]
fn a_classic_group_becomes_a_consumer_group_and_back_while_it_works() {
    let mut bench = Bench::new();
    let (a, b) = bench.classic_pair(None);
    bench.commit(8, super::offsets::commit("other", &[("t", 0, 9)]));
    let c = bench.beat(joining("c", &["t"]));
    assert_eq!((bench.kind(), c.error_code, given(&c)), ("consumer", NONE, Some(Given::new())));
    assert_eq!(c.member_epoch, 2);
    // The classic members are told to join again; what they have stays theirs until they do.
    assert_eq!((bench.heartbeat(&a, 1), bench.heartbeat(&b, 1)), (REBALANCE, REBALANCE));
    let mut all = Vec::new();
    for (id, mut has) in [(&a, vec![0, 1]), (&b, vec![2, 3])] {
        let mut generation = 1;
        while bench.heartbeat(id, generation) == REBALANCE {
            generation = bench.join_with(id, &has);
            let keeps = bench.synced_part(id, generation).unwrap();
            assert!(keeps.iter().all(|index| has.contains(index)), "it may only lose some");
            assert_eq!(generation == 2, keeps == has, "first it has to give some up");
            has = keeps;
        }
        assert_eq!(generation, 2);
        all.extend(has);
    }
    assert_eq!(all.len(), 3);
    let c = bench.beat(ConsumerGroupHeartbeatRequest {
        member_epoch: c.member_epoch,
        topic_partitions: owned(&Given::new()),
        ..joining("c", &["t"])
    });
    all.extend(given(&c).unwrap().iter().map(|(_, index)| *index));
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3]);
    assert_eq!((bench.heartbeat(&a, 2), bench.heartbeat(&b, 2)), (NONE, NONE));
    assert_eq!(bench.group().state(), "Stable");
    let types: Vec<i8> = bench.describe("g").members.iter().map(|m| m.member_type).collect();
    assert_eq!(types, [0, 0, 1]);
    bench.restart();
    // c goes: what is left is a classic group again, and everybody joins.
    assert_eq!(bench.beat(leaving("c")).error_code, NONE);
    assert_eq!(bench.kind(), "classic");
    bench.restart();
    assert_eq!((bench.kind(), bench.heartbeat(&a, 2)), ("classic", NONE));
    let tickets = [bench.send_join(join(&a, &["range"])), bench.send_join(join(&b, &["range"]))];
    let (first, second) = (bench.joined(tickets[0]), bench.joined(tickets[1]));
    assert_eq!((first.generation_id, second.generation_id), (3, 3));
    assert_eq!(first.members.len() + second.members.len(), 2);
}

#[test]
fn those_who_wait_for_a_classic_group_are_sent_to_the_new_one() {
    let mut bench = Bench::new();
    let (a, _) = bench.classic_pair(None);
    let newcomer = bench.join_now(join("", &["range"])).member_id;
    let waiting = bench.send_join(join(&newcomer, &["range"]));
    let mut epoch = bench.beat(joining("c", &["t"])).member_epoch;
    assert_eq!(bench.joined(waiting).error_code, REBALANCE);
    assert!(bench.open.is_empty());
    // Who does not join again is out, as in a classic group.
    for _ in 0..12 {
        let request = ConsumerGroupHeartbeatRequest {
            member_epoch: epoch,
            topic_partitions: owned(&Given::new()),
            ..joining("c", &["t"])
        };
        epoch = bench.beat(request).member_epoch;
        assert_eq!(bench.heartbeat(&a, 1), REBALANCE);
        bench.pass(5_000);
    }
    assert_eq!(bench.heartbeat(&a, 1), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_classic_member_that_never_asks_for_its_assignment_is_out() {
    let mut bench = Bench::new();
    bench.topic("t", 4);
    let response = bench.beat(joining("c", &["t"]));
    let id = bench.join_now(join("", &["range"]));
    assert_eq!(id.error_code, ErrorCode::MEMBER_ID_REQUIRED);
    let id = id.member_id.to_string();
    let generation = bench.join_with(&id, &[]);
    assert_eq!(bench.synced_part("x", generation), Err(ErrorCode::UNKNOWN_MEMBER_ID));
    assert_eq!(bench.synced_part(&id, 9), Err(ErrorCode::ILLEGAL_GENERATION));
    let beat = |bench: &mut Bench, epoch| {
        bench.beat(ConsumerGroupHeartbeatRequest {
            member_epoch: epoch,
            topic_partitions: owned(&Given::new()),
            ..joining("c", &["t"])
        })
    };
    let mut epoch = response.member_epoch;
    for _ in 0..12 {
        epoch = beat(&mut bench, epoch).member_epoch;
        assert_ne!(bench.heartbeat(&id, generation), ErrorCode::UNKNOWN_MEMBER_ID);
        bench.pass(5_000);
    }
    assert_eq!(bench.heartbeat(&id, generation), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_static_member_changes_its_protocol_and_keeps_its_place() {
    let mut bench = Bench::new();
    let fixed = |id: &str| JoinGroupRequest {
        group_instance_id: Some("one".into()),
        ..join(id, &["range"])
    };
    let as_consumer = |id: &str| ConsumerGroupHeartbeatRequest {
        instance_id: Some("one".into()),
        ..joining(id, &["t"])
    };
    let id = bench.topic("t", 2);
    let ticket = bench.send_join(fixed(""));
    bench.pass(6_000);
    let member = bench.joined(ticket).member_id;
    bench.sync_now(sync(&member, 1, &[(&member, part("t", &[0, 1], None))]));
    let response = bench.beat(as_consumer("c"));
    let all: Given = [(id, 0), (id, 1)].into();
    assert_eq!((bench.kind(), given(&response)), ("consumer", Some(all)));
    // And back: it was the only one of the consumer protocol.
    let ticket = bench.send_join(fixed(""));
    let back = bench.joined(ticket);
    assert_eq!((back.error_code, bench.kind()), (NONE, "classic"));
    assert_eq!(bench.synced_part(&back.member_id, back.generation_id), Ok(vec![0, 1]));
    bench.restart();
    assert_eq!(bench.heartbeat(&back.member_id, back.generation_id), NONE);
}

#[test]
fn what_cannot_be_understood_or_is_not_allowed_stays_as_it_is() {
    let mut bench = Bench::new();
    let (a, _) = bench.classic_pair(Some(b"mine"));
    let log = bench.log.len();
    let refused = bench.beat(joining("c", &["t"]));
    assert_eq!(refused.error_code, NOT_FOUND);
    assert!(refused.error_message.unwrap().contains("custom assignor"));
    assert_eq!((bench.log.len(), bench.heartbeat(&a, 1)), (log, NONE));

    for (policy, up) in [
        (MigrationPolicy::Disabled, false),
        (MigrationPolicy::Downgrade, false),
        (MigrationPolicy::Upgrade, true),
    ] {
        let mut bench = Bench::with(GroupSettings { migration_policy: policy, ..settings() });
        let (a, _) = bench.classic_pair(None);
        let error = bench.beat(joining("c", &["t"])).error_code;
        assert_eq!(
            (error, bench.kind()),
            if up { (NONE, "consumer") } else { (NOT_FOUND, "classic") }
        );
        if up {
            bench.beat(leaving("c"));
            assert_eq!(bench.kind(), "consumer", "no way back");
            assert_eq!(bench.heartbeat(&a, 1), REBALANCE);
        }
    }

    // Other kinds of members, and members that are too many.
    let mut bench = Bench::with(GroupSettings { consumer_members_max: 2, ..settings() });
    bench.classic_pair(None);
    let full = bench.beat(joining("c", &["t"]));
    assert_eq!((full.error_code, bench.kind()), (ErrorCode::GROUP_MAX_SIZE_REACHED, "classic"));
    let mut bench = Bench::new();
    let connect = JoinGroupRequest { protocol_type: "connect".into(), ..join("", &["range"]) };
    let ticket = bench.send(3, Request::JoinGroup(connect));
    bench.pass(3_000);
    bench.joined(ticket);
    assert_eq!(bench.beat(joining("c", &["t"])).error_code, NOT_FOUND);
    let settings = GroupSettings { migration_policy: MigrationPolicy::Disabled, ..settings() };
    let mut bench = Bench::with(settings);
    bench.topic("t", 1);
    bench.beat(joining("c", &["t"]));
    let inconsistent = ErrorCode::INCONSISTENT_GROUP_PROTOCOL;
    assert_eq!(bench.join_now(join("", &["range"])).error_code, inconsistent);
}

#[test]
fn empty_groups_become_whatever_comes_and_keep_their_offsets() {
    let mut bench = Bench::new();
    bench.topic("t", 1);
    bench.commit(8, super::offsets::commit("g", &[("t", 0, 7)]));
    bench.beat(joining("c", &["t"]));
    assert_eq!((bench.kind(), bench.fetch_all("g").len()), ("consumer", 1));
    bench.restart();
    bench.beat(leaving("c"));
    let ticket = bench.send(3, Request::JoinGroup(join("", &["range"])));
    bench.pass(3_000);
    assert_eq!((bench.joined(ticket).error_code, bench.kind()), (NONE, "classic"));
    assert_eq!(bench.classic().state, State::CompletingRebalance);
    bench.restart();
    assert_eq!((bench.kind(), bench.fetch_all("g")), ("classic", vec![("t".to_owned(), 0, 7)]));
}

#[test]
fn what_cooperative_members_still_have_is_given_to_nobody_else() {
    let mut bench = Bench::new();
    let (a, b) = bench.classic_pair(None);
    let first = bench.send_join(cooperative(&a, &[0, 1]));
    let second = bench.send_join(cooperative(&b, &[2, 3]));
    assert_eq!((bench.joined(first).generation_id, bench.joined(second).generation_id), (2, 2));
    // Before the leader assigns, one joins again: the group knows of no assignment any more.
    bench.send_join(cooperative(&b, &[2]));
    assert!(bench.classic().members.values().all(|member| member.assignment.is_empty()));
    let c = bench.beat(joining("c", &["t"]));
    assert_eq!(given(&c).unwrap().len(), 1, "partition 3, which b has given up");
    let mut has: Vec<usize> = bench
        .describe("g")
        .members
        .iter()
        .flat_map(|member| &member.assignment.topic_partitions)
        .map(|topic| topic.partitions.len())
        .collect();
    has.sort_unstable();
    assert_eq!(has, [1, 1, 2]);
}

#[test]
fn a_classic_member_that_was_put_out_learns_it_when_it_joins() {
    let mut bench = Bench::new();
    let (a, _) = bench.classic_pair(None);
    let mut epoch = bench.beat(joining("c", &["t"])).member_epoch;
    for _ in 0..3 {
        bench.pass(5_000);
        let request = ConsumerGroupHeartbeatRequest {
            member_epoch: epoch,
            topic_partitions: owned(&Given::new()),
            ..joining("c", &["t"])
        };
        epoch = bench.beat(request).member_epoch;
    }
    let unknown = ErrorCode::UNKNOWN_MEMBER_ID;
    assert_eq!(bench.join_now(cooperative(&a, &[0, 1])).error_code, unknown);
    assert_eq!(bench.join_now(cooperative(&a, &[])).error_code, NONE);
}
