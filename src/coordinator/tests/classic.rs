//! Classic groups: join, sync, heartbeat, leave, static members.

use super::*;
use crate::coordinator::classic::State;
use crate::protocol::ErrorCode;
use crate::protocol::consumer_protocol::{self, ConsumerProtocolSubscription};
use crate::protocol::messages::join_group::*;
use crate::protocol::messages::leave_group::*;
use crate::protocol::messages::offset_commit::OffsetCommitRequest;
use crate::protocol::messages::sync_group::*;
use crate::protocol::messages::{delete_groups, describe_groups, heartbeat, list_groups};

const NONE: ErrorCode = ErrorCode::NONE;
const REBALANCE: ErrorCode = ErrorCode::REBALANCE_IN_PROGRESS;
const UNKNOWN: ErrorCode = ErrorCode::UNKNOWN_MEMBER_ID;

/// A subscription of a consumer, as its bytes.
pub(super) fn subscription(topics: &[&str]) -> Bytes {
    let topics = topics.iter().map(|topic| (*topic).into()).collect();
    let subscription = ConsumerProtocolSubscription { topics, ..Default::default() };
    consumer_protocol::write(&subscription, 1).unwrap()
}

pub(super) fn join(id: &str, protocols: &[&str]) -> JoinGroupRequest {
    let protocols = protocols.iter().map(|name| JoinGroupRequestProtocol {
        name: (*name).into(),
        metadata: subscription(&["t"]),
    });
    JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        member_id: id.into(),
        protocol_type: "consumer".into(),
        protocols: protocols.collect(),
        ..Default::default()
    }
}

fn static_join(instance: &str, id: &str, protocols: &[&str]) -> JoinGroupRequest {
    JoinGroupRequest { group_instance_id: Some(instance.into()), ..join(id, protocols) }
}

pub(super) fn sync(id: &str, generation: i32, given: &[(&str, &'static str)]) -> SyncGroupRequest {
    let assignments = given.iter().map(|(id, bytes)| SyncGroupRequestAssignment {
        member_id: (*id).into(),
        assignment: Bytes::from_static(bytes.as_bytes()),
    });
    SyncGroupRequest {
        group_id: "g".into(),
        generation_id: generation,
        member_id: id.into(),
        assignments: assignments.collect(),
        ..Default::default()
    }
}

impl Bench {
    pub fn send_join(&mut self, request: JoinGroupRequest) -> u64 {
        self.send(9, Request::JoinGroup(request))
    }

    pub fn joined(&mut self, ticket: u64) -> JoinGroupResponse {
        match self.replies.remove(&ticket) {
            Some(Response::JoinGroup(response)) => response,
            other => panic!("{other:?}"),
        }
    }

    pub fn join_now(&mut self, request: JoinGroupRequest) -> JoinGroupResponse {
        let ticket = self.send_join(request);
        self.joined(ticket)
    }

    fn synced(&mut self, ticket: u64) -> SyncGroupResponse {
        match self.replies.remove(&ticket) {
            Some(Response::SyncGroup(response)) => response,
            other => panic!("{other:?}"),
        }
    }

    pub fn sync_now(&mut self, request: SyncGroupRequest) -> SyncGroupResponse {
        let ticket = self.send(5, Request::SyncGroup(request));
        self.synced(ticket)
    }

    pub fn heartbeat(&mut self, id: &str, generation: i32) -> ErrorCode {
        let request = heartbeat::HeartbeatRequest {
            group_id: "g".into(),
            generation_id: generation,
            member_id: id.into(),
            group_instance_id: None,
        };
        match self.ask(4, Request::Heartbeat(request)) {
            Response::Heartbeat(response) => response.error_code,
            other => panic!("{other:?}"),
        }
    }

    pub fn leave(&mut self, version: i16, members: &[(&str, Option<&str>)]) -> Vec<ErrorCode> {
        let members = members.iter().map(|(id, instance)| MemberIdentity {
            member_id: (*id).into(),
            group_instance_id: instance.map(Into::into),
            reason: None,
        });
        let members: Vec<MemberIdentity> = members.collect();
        let request = LeaveGroupRequest {
            group_id: "g".into(),
            member_id: members[0].member_id.clone(),
            members,
        };
        match self.ask(version, Request::LeaveGroup(request)) {
            Response::LeaveGroup(response) if version < 3 => vec![response.error_code],
            Response::LeaveGroup(response) => {
                response.members.iter().map(|member| member.error_code).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    pub fn classic(&self) -> &super::super::classic::ClassicGroup {
        match &self.coordinator.groups[&StrBytes::from("g")] {
            Group::Classic(group) => group,
            Group::Consumer(_) => panic!("a consumer group"),
        }
    }

    /// A new member's id.
    fn member_id(&mut self, protocols: &[&str]) -> String {
        let response = self.join_now(join("", protocols));
        assert_eq!(response.error_code, ErrorCode::MEMBER_ID_REQUIRED);
        assert!(response.member_id.starts_with("app-"), "{}", response.member_id);
        response.member_id.to_string()
    }

    /// A stable group of `count` members; their ids, the leader first.
    pub fn stable(&mut self, count: usize) -> Vec<String> {
        let mut ids: Vec<String> = (0..count).map(|_| self.member_id(&["range"])).collect();
        let tickets: Vec<u64> = ids.iter().map(|id| self.send_join(join(id, &["range"]))).collect();
        self.pass(6_000);
        let leader = self.joined(tickets[0]);
        assert_eq!((leader.error_code, leader.members.len()), (NONE, count));
        tickets[1..].iter().for_each(|ticket| drop(self.joined(*ticket)));
        let generation = leader.generation_id;
        ids.sort_by_key(|id| *id != *leader.leader);
        let given: Vec<(&str, &str)> = ids.iter().map(|id| (id.as_str(), "x")).collect();
        self.sync_now(sync(&ids[0], generation, &given));
        for id in &ids[1..] {
            assert_eq!(&self.sync_now(sync(id, generation, &[])).assignment[..], b"x");
        }
        assert_eq!(self.classic().state, State::Stable);
        ids
    }
}

#[test]
fn members_that_come_together_share_the_first_generation() {
    let mut bench = Bench::new();
    let (a, b) = (bench.member_id(&["range"]), bench.member_id(&["range"]));
    let first = bench.send_join(join(&a, &["range", "sticky"]));
    bench.pass(2_000);
    let second = bench.send_join(join(&b, &["sticky", "range"]));
    bench.pass(1_001);
    assert!(bench.replies.is_empty(), "another three seconds, since b came");
    assert_eq!(bench.heartbeat(&a, 0), REBALANCE);
    bench.pass(3_000);
    let (first, second) = (bench.joined(first), bench.joined(second));
    assert_eq!((first.generation_id, second.generation_id), (1, 1));
    assert_eq!((first.leader.as_str(), second.leader.as_str()), (a.as_str(), a.as_str()));
    assert_eq!((first.members.len(), second.members.len()), (2, 0));
    assert_eq!(first.protocol_name.as_deref(), Some("range"), "a tie");
    // The follower waits for the leader.
    let follower = bench.send(5, Request::SyncGroup(sync(&b, 1, &[])));
    assert!(bench.replies.is_empty());
    assert_eq!(bench.sync_now(sync(&a, 2, &[])).error_code, ErrorCode::ILLEGAL_GENERATION);
    let log = bench.log.len();
    let leader = bench.sync_now(sync(&a, 1, &[(&a, "one"), (&b, "two")]));
    assert_eq!((&leader.assignment[..], bench.log.len() - log), (&b"one"[..], 1));
    assert_eq!(&bench.synced(follower).assignment[..], b"two");
    assert_eq!((bench.heartbeat(&a, 1), bench.heartbeat(&b, 1)), (NONE, NONE));
    assert_eq!(bench.heartbeat(&a, 0), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(bench.heartbeat("x", 1), UNKNOWN);
}

#[test]
fn old_clients_join_without_an_id_first() {
    let mut bench = Bench::new();
    let ticket = bench.send(
        0,
        Request::JoinGroup(JoinGroupRequest { rebalance_timeout_ms: -1, ..join("", &["range"]) }),
    );
    bench.pass(3_000);
    let response = bench.joined(ticket);
    assert_eq!((response.error_code, response.generation_id), (NONE, 1));
    assert_eq!(bench.classic().members[&response.member_id].rebalance_timeout_ms, 10_000);
    // What cannot be null in old versions is not.
    let refused = bench.send(0, Request::JoinGroup(join("x", &["range"])));
    assert_eq!(bench.joined(refused).protocol_name.as_deref(), Some(""));
}

#[test]
fn a_newcomer_makes_all_join_again_and_who_does_not_is_out() {
    let mut bench = Bench::new();
    let ids = bench.stable(2);
    let c = bench.member_id(&["range"]);
    let newcomer = bench.send_join(join(&c, &["range"]));
    assert_eq!(bench.heartbeat(&ids[0], 1), REBALANCE);
    let leader = bench.send_join(join(&ids[0], &["range"]));
    // Heartbeats keep the session, but not the place in the generation.
    for _ in 0..12 {
        bench.pass(5_000);
        if bench.replies.is_empty() {
            assert_eq!(bench.heartbeat(&ids[1], 1), REBALANCE);
        }
    }
    let (leader, newcomer) = (bench.joined(leader), bench.joined(newcomer));
    assert_eq!((leader.generation_id, leader.members.len()), (2, 2));
    assert_eq!((newcomer.generation_id, newcomer.leader.as_str()), (2, ids[0].as_str()));
    assert_eq!(bench.heartbeat(&ids[1], 1), UNKNOWN);
    // A join whose answer was lost is answered again, and the generation stays.
    assert_eq!(bench.join_now(join(&c, &["range"])).generation_id, 2);
    assert_eq!(bench.join_now(join(&ids[0], &["range"])).members.len(), 2);
}

#[test]
fn a_silent_member_is_out_and_the_rest_rebalances() {
    let mut bench = Bench::new();
    let ids = bench.stable(2);
    bench.pass(9_000);
    assert_eq!(bench.heartbeat(&ids[1], 1), NONE);
    bench.pass(1_000);
    assert_eq!(bench.heartbeat(&ids[1], 1), REBALANCE, "the leader is gone");
    let response = bench.join_now(join(&ids[1], &["range"]));
    assert_eq!((response.generation_id, response.leader.as_str()), (2, ids[1].as_str()));
    // Nobody asks for the assignment: out after the rebalance timeout, whatever the session.
    for _ in 0..12 {
        assert_eq!(bench.heartbeat(&ids[1], 2), NONE);
        bench.pass(5_000);
    }
    assert_eq!(bench.heartbeat(&ids[1], 2), UNKNOWN);
    assert_eq!((bench.classic().state, bench.classic().generation), (State::Empty, 3));
    let told = [
        (0, Some("a member joined")),
        (1, None),
        (1, Some("a member was silent for its session")),
        (2, Some("a member did not ask for its assignment in time")),
        (3, None),
    ];
    assert_eq!(bench.notices, told, "what an operator is told");
    assert_eq!(bench.reloaded().groups[&StrBytes::from("g")].state(), "Empty");
}

#[test]
fn a_new_member_that_goes_away_while_it_waits_is_forgotten() {
    let mut bench = Bench::new();
    bench.stable(1);
    let id = bench.member_id(&["range"]);
    bench.pass(10_000);
    let response = bench.join_now(join(&id, &["range"]));
    assert_eq!(response.error_code, UNKNOWN, "its id was good for one session");
}

#[test]
fn protocols_are_chosen_by_vote_and_must_be_shared() {
    let mut bench = Bench::new();
    let ids: Vec<String> = (0..3).map(|_| bench.member_id(&["a"])).collect();
    let speak = [&["a", "b"][..], &["b", "a"], &["c", "b", "a"]];
    let tickets: Vec<u64> =
        ids.iter().zip(speak).map(|(id, speak)| bench.send_join(join(id, speak))).collect();
    let other = JoinGroupRequest { protocol_type: "connect".into(), ..join("", &["a"]) };
    let inconsistent = ErrorCode::INCONSISTENT_GROUP_PROTOCOL;
    assert_eq!(bench.join_now(other).error_code, inconsistent);
    assert_eq!(bench.join_now(join("", &["c"])).error_code, inconsistent);
    assert_eq!(bench.join_now(join("", &[])).error_code, inconsistent);
    bench.pass(6_000);
    assert_eq!(bench.joined(tickets[0]).protocol_name.as_deref(), Some("b"));
    let mut request = sync(&ids[0], 1, &[]);
    request.protocol_name = Some("a".into());
    assert_eq!(bench.sync_now(request).error_code, inconsistent);
}

#[test]
fn a_static_member_comes_back_without_a_rebalance() {
    let mut bench = Bench::new();
    let (a, b) = (
        bench.send_join(static_join("a", "", &["range"])),
        bench.send_join(static_join("b", "", &["range"])),
    );
    bench.pass(6_000);
    let (a, b) = (bench.joined(a).member_id, bench.joined(b).member_id);
    assert!(a.starts_with("a-") && b.starts_with("b-"));
    let ticket = bench.send(5, Request::SyncGroup(sync(&b, 1, &[])));
    bench.sync_now(sync(&a, 1, &[(&a, "one"), (&b, "two")]));
    bench.synced(ticket);
    // The leader comes back: same generation, and it is told not to assign.
    let again = bench.join_now(static_join("a", "", &["range"]));
    assert_eq!((again.generation_id, again.skip_assignment), (1, true));
    assert_eq!((again.members.len(), again.leader == again.member_id), (2, true));
    assert_ne!(again.member_id, a);
    assert_eq!(&bench.sync_now(sync(&again.member_id, 1, &[])).assignment[..], b"one");
    // Whoever still uses the old id is fenced.
    let mut old = sync(&a, 1, &[]);
    old.group_instance_id = Some("a".into());
    assert_eq!(bench.sync_now(old).error_code, ErrorCode::FENCED_INSTANCE_ID);
    assert_eq!(bench.heartbeat(&a, 1), UNKNOWN);
    assert_eq!(
        bench.join_now(static_join("a", &a, &["range"])).error_code,
        ErrorCode::FENCED_INSTANCE_ID
    );
    // An older client is told of another leader, so that it does not assign either.
    let older = bench.send(7, Request::JoinGroup(static_join("a", "", &["range"])));
    let older = bench.joined(older);
    assert_eq!((older.leader != older.member_id, older.members.len()), (true, 0));
    // The new id is in the log.
    bench.restart();
    assert_eq!(bench.heartbeat(&older.member_id, 1), NONE);
    // An administrator takes a member out by its instance.
    assert_eq!(bench.leave(3, &[("", Some("b")), ("", Some("x"))]), [NONE, UNKNOWN]);
    assert_eq!(bench.heartbeat(&older.member_id, 1), REBALANCE);
}

#[test]
fn a_static_member_that_comes_back_with_other_protocols_rebalances() {
    let mut bench = Bench::new();
    let a = bench.send_join(static_join("a", "", &["range", "sticky"]));
    let b = bench.send_join(static_join("b", "", &["range", "sticky"]));
    bench.pass(6_000);
    let (a, b) = (bench.joined(a).member_id, bench.joined(b).member_id);
    let waiting = bench.send(5, Request::SyncGroup(sync(&b, 1, &[])));
    // In the sync phase: the other one's SyncGroup is answered, and all join again.
    let again = bench.send_join(static_join("a", "", &["range", "sticky"]));
    assert_eq!(bench.synced(waiting).error_code, REBALANCE);
    let b_again = bench.send_join(static_join("b", &b, &["range", "sticky"]));
    let (again, b_again) = (bench.joined(again), bench.joined(b_again));
    assert_eq!((again.generation_id, b_again.generation_id), (2, 2));
    bench.sync_now(sync(&again.leader, 2, &[]));
    let ticket = bench.send_join(static_join("a", "", &["sticky"]));
    assert_eq!(bench.heartbeat(&b, 2), REBALANCE, "range is no longer shared");
    bench.send_join(static_join("b", &b, &["range", "sticky"]));
    assert_eq!(bench.joined(ticket).protocol_name.as_deref(), Some("sticky"));
    assert_ne!(a, again.member_id);
}

#[test]
fn members_leave_one_by_one_or_together() {
    let mut bench = Bench::new();
    let ids = bench.stable(3);
    assert_eq!(bench.leave(2, &[("x", None)]), [UNKNOWN]);
    assert_eq!(bench.leave(2, &[(&ids[2], None)]), [NONE]);
    assert_eq!(bench.heartbeat(&ids[0], 1), REBALANCE);
    let waiting = bench.send_join(join(&ids[0], &["range"]));
    assert_eq!(bench.leave(5, &[(&ids[1], None), (&ids[1], None)]), [NONE, UNKNOWN]);
    assert_eq!(bench.joined(waiting).generation_id, 2, "nobody else is waited for");
    let pending = bench.member_id(&["range"]);
    assert_eq!(bench.leave(5, &[(&pending, None)]), [NONE]);
    // Who waits for the leader and leaves is answered.
    assert_eq!(bench.leave(5, &[(&ids[0], None)]), [NONE]);
    assert_eq!(bench.classic().state, State::Empty);
    bench.restart();
    assert_eq!((bench.classic().state, bench.classic().generation), (State::Empty, 3));
}

#[test]
fn limits_are_kept_with_errors() {
    let mut bench = Bench::with(GroupSettings {
        classic_members_max: 2,
        groups_max: 2,
        group_bytes_max: 1000,
        ..settings()
    });
    let full = ErrorCode::GROUP_MAX_SIZE_REACHED;
    let ids = bench.stable(2);
    assert_eq!(bench.join_now(join("", &["range"])).error_code, full);
    let mut long = join(&ids[0], &["range"]);
    long.protocols[0].metadata = Bytes::from(vec![0; 1000]);
    assert_eq!(bench.join_now(long).error_code, full);
    for timeout in [5_999, 1_800_001] {
        let request = JoinGroupRequest { session_timeout_ms: timeout, ..join("", &["range"]) };
        assert_eq!(bench.join_now(request).error_code, ErrorCode::INVALID_SESSION_TIMEOUT);
    }
    let of = |id: &str| JoinGroupRequest { group_id: id.into(), ..join("", &["range"]) };
    assert_eq!(bench.join_now(of("")).error_code, ErrorCode::INVALID_GROUP_ID);
    let required = ErrorCode::MEMBER_ID_REQUIRED;
    assert_eq!(bench.join_now(of("h")).error_code, required);
    assert_eq!(bench.join_now(of("h")).error_code, required);
    assert_eq!(bench.join_now(of("h")).error_code, full, "ids that were given out count");
    assert_eq!(bench.join_now(of("i")).error_code, full, "a third group");
    assert_eq!(bench.join_now(of(&"h".repeat(1025))).error_code, ErrorCode::INVALID_GROUP_ID);
    let member_id = "m".repeat(2000);
    assert_eq!(bench.join_now(join(&member_id, &["range"])).error_code, ErrorCode::INVALID_REQUEST);
    let names: Vec<String> = (0..257).map(|n| format!("p{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let many = bench.join_now(join("", &names)).error_code;
    assert_eq!(many, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    bench.client.client_id = "x".repeat(2000).into();
    assert_eq!(bench.join_now(of("h")).error_code, ErrorCode::INVALID_REQUEST);
}

#[test]
fn a_loaded_group_goes_on_without_a_rebalance() {
    let mut bench = Bench::new();
    let ids = bench.stable(2);
    bench.pass(9_000);
    bench.restart();
    bench.pass(9_999);
    assert_eq!((bench.heartbeat(&ids[0], 1), bench.heartbeat(&ids[1], 1)), (NONE, NONE));
    assert_eq!(&bench.sync_now(sync(&ids[1], 1, &[])).assignment[..], b"x");
    let own = bench.join_now(join(&ids[1], &["range"]));
    assert_eq!(own.generation_id, 1, "the follower's join changes nothing");
}

#[test]
fn members_commit_in_their_generation_only() {
    let mut bench = Bench::new();
    bench.topic("t", 1);
    bench.topic("u", 1);
    let ids = bench.stable(2);
    let by = |id: &str, generation| OffsetCommitRequest {
        member_id: id.into(),
        generation_id_or_member_epoch: generation,
        ..super::offsets::commit("g", &[("t", 0, 1)])
    };
    bench.pass(9_000);
    assert_eq!(bench.commit(8, by(&ids[0], 1)), [NONE]);
    assert_eq!(bench.commit(8, by(&ids[1], 0)), [ErrorCode::ILLEGAL_GENERATION]);
    assert_eq!(bench.commit(8, by("x", 1)), [UNKNOWN]);
    assert_eq!(bench.commit(8, by("", -1)), [UNKNOWN], "the group has members");
    bench.pass(9_000);
    assert_eq!(bench.heartbeat(&ids[0], 1), REBALANCE, "a commit is a sign of life");
    assert_eq!(bench.commit(8, by(&ids[0], 1)), [NONE], "before joining again");
    bench.send_join(join(&ids[0], &["range"]));
    assert_eq!(bench.commit(8, by(&ids[0], 2)), [REBALANCE], "not before the assignment");
    bench.sync_now(sync(&ids[0], 2, &[]));
    assert_eq!(bench.commit(8, by(&ids[0], 2)), [NONE]);
}

#[test]
fn offsets_of_topics_in_use_stay() {
    let day = 86_400_000;
    let mut bench = Bench::new();
    bench.topic("t", 1);
    bench.topic("u", 1);
    let ids = bench.stable(1);
    let by = |topic| OffsetCommitRequest {
        member_id: ids[0].as_str().into(),
        generation_id_or_member_epoch: 1,
        ..super::offsets::commit("g", &[(topic, 0, 1)])
    };
    assert_eq!((bench.commit(8, by("t")), bench.commit(8, by("u"))), (vec![NONE], vec![NONE]));
    let delete = |bench: &mut Bench, topic: &str| {
        let request = crate::protocol::messages::offset_delete::OffsetDeleteRequest {
            group_id: "g".into(),
            topics: vec![crate::protocol::messages::offset_delete::OffsetDeleteRequestTopic {
                name: topic.into(),
                partitions: vec![Default::default()],
            }],
        };
        match bench.ask(0, Request::OffsetDelete(request)) {
            Response::OffsetDelete(response) => response.topics[0].partitions[0].error_code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(delete(&mut bench, "t"), ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC);
    // Eight days of heartbeats: u is not read and goes, t is read and stays.
    for _ in 0..(8 * day / 9_000) {
        bench.pass(9_000);
        assert_eq!(bench.heartbeat(&ids[0], 1), NONE);
    }
    assert_eq!(bench.fetch_all("g"), [("t".to_owned(), 0, 1)]);
    // Empty: seven days since then, however old the commit.
    bench.leave(3, &[(&ids[0], None)]);
    bench.pass(7 * day - 1);
    assert_eq!(bench.fetch_all("g").len(), 1);
    bench.pass(600_001);
    assert_eq!((bench.fetch_all("g").len(), bench.coordinator.counts().groups), (0, 0));
}

#[test]
fn groups_are_listed_described_and_deleted() {
    let mut bench = Bench::new();
    bench.topic("t", 1);
    bench.commit(8, super::offsets::commit("simple", &[("t", 0, 1)]));
    let ids = bench.stable(2);
    let list = |bench: &mut Bench, states: &[&str], types: &[&str]| {
        let words = |words: &[&str]| words.iter().map(|word| (*word).into()).collect();
        let request = list_groups::ListGroupsRequest {
            states_filter: words(states),
            types_filter: words(types),
        };
        match bench.ask(5, Request::ListGroups(request)) {
            Response::ListGroups(response) => {
                let line = |group: &list_groups::ListedGroup| {
                    let (id, kind) = (&group.group_id, &group.group_type);
                    format!("{id} {kind} {} {}", group.protocol_type, group.group_state)
                };
                response.groups.iter().map(line).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        }
    };
    let all = ["g classic consumer Stable", "simple classic  Empty"];
    assert_eq!(list(&mut bench, &[], &[]), all);
    assert_eq!(list(&mut bench, &["stable"], &["Classic"]), all[..1]);
    assert_eq!(list(&mut bench, &["Dead"], &[]), [""; 0]);
    assert_eq!(list(&mut bench, &[], &["consumer"]), [""; 0]);
    let describe = |bench: &mut Bench, id: &str, version| {
        let request = describe_groups::DescribeGroupsRequest {
            groups: vec![id.into()],
            include_authorized_operations: false,
        };
        match bench.ask(version, Request::DescribeGroups(request)) {
            Response::DescribeGroups(response) => response.groups[0].clone(),
            other => panic!("{other:?}"),
        }
    };
    let group = describe(&mut bench, "g", 6);
    assert_eq!((group.group_state.as_str(), group.protocol_data.as_str()), ("Stable", "range"));
    assert_eq!(group.members.len(), 2);
    assert_eq!(group.members[0].member_metadata, subscription(&["t"]));
    assert_eq!(&group.members[0].member_assignment[..], b"x");
    let gone = describe(&mut bench, "x", 6);
    assert_eq!(gone.error_code, ErrorCode::GROUP_ID_NOT_FOUND);
    assert_eq!(
        (gone.group_state.as_str(), describe(&mut bench, "x", 5).error_code),
        ("Dead", NONE)
    );
    let request = delete_groups::DeleteGroupsRequest {
        groups_names: vec!["g".into(), "simple".into(), "x".into()],
    };
    let Response::DeleteGroups(response) = bench.ask(2, Request::DeleteGroups(request)) else {
        panic!("another answer");
    };
    let errors: Vec<ErrorCode> = response.results.iter().map(|result| result.error_code).collect();
    assert_eq!(errors, [ErrorCode::NON_EMPTY_GROUP, NONE, ErrorCode::GROUP_ID_NOT_FOUND]);
    assert_eq!(bench.fetch_all("simple"), []);
    bench.leave(3, &[(&ids[0], None), (&ids[1], None)]);
    let request = delete_groups::DeleteGroupsRequest { groups_names: vec!["g".into()] };
    bench.ask(2, Request::DeleteGroups(request));
    assert_eq!(bench.coordinator.counts().groups, 0);
    assert_eq!(bench.reloaded().counts(), Counts::default());
}

#[test]
fn sessions_that_end_in_one_moment_are_seen_to_in_bounded_steps() {
    let mut bench = Bench::new();
    for group in 0..250 {
        let group_id = format!("g{group}").as_str().into();
        bench.join_now(JoinGroupRequest { group_id, ..join("", &["range"]) });
    }
    bench.now += 60_000;
    let mut ticks = 0;
    while bench.coordinator.deadline().unwrap() <= bench.now {
        bench.coordinator.step(bench.now, &bench.image, Event::Tick);
        ticks += 1;
    }
    assert_eq!(ticks, 3);
}

/// Else a small member keeps a large request in memory.
#[test]
fn nothing_of_a_request_outlives_it() {
    let mut bench = Bench::new();
    let given_out = bench.member_id(&["range"]);
    let frame = Bytes::from([given_out.as_bytes(), b"range"].concat());
    let text = |at: std::ops::Range<usize>| StrBytes::try_from(frame.slice(at)).unwrap();
    let mut request = join("", &["range"]);
    request.member_id = text(0..given_out.len());
    request.protocols[0].name = text(given_out.len()..frame.len());
    bench.send_join(request);
    assert!(frame.is_unique(), "something of a join is kept while it waits");
}
