//! Consumer groups: epochs, assignment, reconciliation, static members, expressions.

use std::collections::BTreeSet;

use super::*;
use crate::coordinator::consumer::ConsumerGroup;
use crate::protocol::ErrorCode;
use crate::protocol::messages::consumer_group_describe::*;
use crate::protocol::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
};
use crate::protocol::messages::offset_commit::OffsetCommitRequest;

const NONE: ErrorCode = ErrorCode::NONE;

/// Partitions of one topic.
pub(super) type Given = BTreeSet<(Uuid, i32)>;

pub(super) fn given(response: &ConsumerGroupHeartbeatResponse) -> Option<Given> {
    let assignment = response.assignment.as_ref()?;
    let each = assignment
        .topic_partitions
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|index| (topic.topic_id, *index)));
    Some(each.collect())
}

pub(super) fn owned(given: &Given) -> Option<Vec<TopicPartitions>> {
    let mut topics: Vec<TopicPartitions> = Vec::new();
    for (topic_id, index) in given {
        match topics.iter_mut().find(|topic| topic.topic_id == *topic_id) {
            Some(topic) => topic.partitions.push(*index),
            None => topics.push(TopicPartitions { topic_id: *topic_id, partitions: vec![*index] }),
        }
    }
    Some(topics)
}

pub(super) fn joining(id: &str, topics: &[&str]) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: id.into(),
        rebalance_timeout_ms: 30_000,
        subscribed_topic_names: Some(topics.iter().map(|topic| (*topic).into()).collect()),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    }
}

pub(super) fn beating(id: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: id.into(),
        member_epoch: epoch,
        ..Default::default()
    }
}

/// A client that does what it is told.
#[derive(Clone, Debug)]
struct Client {
    id: String,
    epoch: i32,
    has: Given,
}

impl Bench {
    pub fn beat(
        &mut self,
        request: ConsumerGroupHeartbeatRequest,
    ) -> ConsumerGroupHeartbeatResponse {
        match self.ask(1, Request::ConsumerGroupHeartbeat(request)) {
            Response::ConsumerGroupHeartbeat(response) => {
                assert_eq!(response.error_code.is_ok(), response.error_message.is_none());
                response
            }
            other => panic!("{other:?}"),
        }
    }

    fn client(&mut self, request: ConsumerGroupHeartbeatRequest) -> Client {
        let response = self.beat(request.clone());
        assert_eq!(response.error_code, NONE, "{:?}", response.error_message);
        assert_eq!(response.heartbeat_interval_ms, 5000);
        let has = given(&response).expect("who joins is told");
        Client { id: request.member_id.to_string(), epoch: response.member_epoch, has }
    }

    /// One heartbeat of a client, and another that says what it then has, if that changed.
    fn go_on(&mut self, client: &mut Client) {
        let response = self.beat(beating(&client.id, client.epoch));
        assert_eq!(response.error_code, NONE, "{:?}", response.error_message);
        client.epoch = response.member_epoch;
        if let Some(has) = given(&response) {
            client.has = has;
            let request = ConsumerGroupHeartbeatRequest {
                topic_partitions: owned(&client.has),
                ..beating(&client.id, client.epoch)
            };
            let response = self.beat(request);
            client.epoch = response.member_epoch;
            if let Some(has) = given(&response) {
                client.has = has;
            }
        }
    }

    fn settle(&mut self, clients: &mut [Client]) {
        for _ in 0..6 {
            clients.iter_mut().for_each(|client| self.go_on(client));
        }
        let mut all = Given::new();
        for partition in clients.iter().flat_map(|client| &client.has) {
            assert!(all.insert(*partition), "{partition:?} has two owners");
        }
        assert_eq!(self.group().state(), "Stable");
        // The log says the same.
        let mut reloaded = self.reloaded();
        super::sequences::same_as_replayed(&self.coordinator, &mut reloaded);
    }

    pub fn group(&self) -> &ConsumerGroup {
        match &self.coordinator.groups[&StrBytes::from("g")] {
            Group::Consumer(group) => group,
            Group::Classic(_) => panic!("a classic group"),
        }
    }

    pub fn describe(&mut self, id: &str) -> DescribedGroup {
        let request = ConsumerGroupDescribeRequest {
            group_ids: vec![id.into()],
            include_authorized_operations: false,
        };
        match self.ask(1, Request::ConsumerGroupDescribe(request)) {
            Response::ConsumerGroupDescribe(response) => response.groups[0].clone(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_partition_is_given_up_before_another_gets_it() {
    let mut bench = Bench::new();
    let topic = bench.topic("t", 4);
    let mut a = bench.client(joining("a", &["t"]));
    assert_eq!((a.epoch, a.has.len()), (1, 4), "all of it, at once");
    let quiet = bench.beat(beating("a", 1));
    assert_eq!((quiet.member_epoch, given(&quiet)), (1, None), "nothing new, nothing said");
    let mut b = bench.client(joining("b", &["t"]));
    assert_eq!((b.epoch, b.has.len()), (2, 0), "it waits for a");
    assert_eq!(bench.group().state(), "Reconciling");
    let revoke = bench.beat(beating("a", 1));
    let keeps = given(&revoke).unwrap();
    assert_eq!((revoke.member_epoch, keeps.len()), (1, 2));
    bench.go_on(&mut b);
    assert_eq!(b.has.len(), 0, "a has not said that it has given them up");
    let done = ConsumerGroupHeartbeatRequest { topic_partitions: owned(&keeps), ..beating("a", 1) };
    assert_eq!(bench.beat(done).member_epoch, 2);
    a.epoch = 2;
    a.has = keeps.clone();
    bench.go_on(&mut b);
    let all: Given = (0..4).map(|index| (topic, index)).collect();
    assert_eq!(a.has.union(&b.has).cloned().collect::<Given>(), all);
    bench.settle(&mut [a, b]);
}

#[test]
fn members_come_and_go_and_everything_is_read() {
    let mut bench = Bench::new();
    bench.topic("t", 5);
    bench.topic("u", 2);
    let mut clients: Vec<Client> =
        ["a", "b", "c"].iter().map(|id| bench.client(joining(id, &["t", "u"]))).collect();
    bench.settle(&mut clients);
    let sizes = |clients: &[Client]| -> Vec<usize> {
        let mut sizes: Vec<usize> = clients.iter().map(|client| client.has.len()).collect();
        sizes.sort_unstable();
        sizes
    };
    assert_eq!(sizes(&clients), [2, 2, 3]);
    // One goes in order, another one is silent for its session.
    let epoch = bench.group().epoch;
    let left = bench.beat(beating("a", -1));
    assert_eq!((left.error_code, left.member_epoch), (NONE, -1));
    assert_eq!(bench.group().epoch, epoch + 1);
    clients.remove(0);
    bench.settle(&mut clients);
    assert_eq!(sizes(&clients), [3, 4]);
    bench.pass(44_000);
    bench.go_on(&mut clients[0]);
    bench.pass(1_000);
    assert_eq!(bench.beat(beating("c", 6)).error_code, ErrorCode::UNKNOWN_MEMBER_ID);
    clients.pop();
    bench.settle(&mut clients);
    assert_eq!(sizes(&clients), [7]);
    // The topic grows, another one comes to life.
    let id = bench.image.topic("t").unwrap().id;
    bench.partition(id, 5);
    bench.settle(&mut clients);
    assert_eq!(sizes(&clients), [8]);
    bench.beat(beating("b", -1));
    let reasons: Vec<&str> = bench.notices.iter().filter_map(|(_, reason)| *reason).collect();
    let [joined, left] = ["a member joined", "a member left"];
    let silent = "a member was silent for its session";
    let told = [joined, joined, joined, left, silent, "its topics have changed", left];
    assert_eq!(reasons, told, "what an operator is told");
    assert_eq!(bench.group().state(), "Empty");
    bench.restart();
    assert_eq!(bench.group().state(), "Empty");
    bench.pass(600_000);
    assert_eq!((bench.coordinator.counts().groups, bench.reloaded().counts().groups), (0, 0));
}

#[test]
fn epochs_that_do_not_fit_are_fenced() {
    let mut bench = Bench::new();
    bench.topic("t", 2);
    let a = bench.client(joining("a", &["t"]));
    let fenced = ErrorCode::FENCED_MEMBER_EPOCH;
    assert_eq!(bench.beat(beating("a", 2)).error_code, fenced);
    bench.client(joining("b", &["t"]));
    // a's next epoch, told in an answer that is lost: it comes with the one before.
    let keeps: Given = a.has.iter().take(1).copied().collect();
    bench.beat(beating("a", 1));
    let keeps = match given(&bench.beat(ConsumerGroupHeartbeatRequest {
        topic_partitions: owned(&a.has),
        rebalance_timeout_ms: 30_000,
        subscribed_topic_names: Some(vec!["t".into()]),
        ..beating("a", 1)
    })) {
        Some(keeps) => keeps,
        None => keeps,
    };
    let done = ConsumerGroupHeartbeatRequest { topic_partitions: owned(&keeps), ..beating("a", 1) };
    assert_eq!(bench.beat(done.clone()).member_epoch, 2);
    assert_eq!(bench.beat(done).member_epoch, 2, "once more");
    assert_eq!(bench.beat(beating("a", 1)).error_code, fenced, "what it owns is not said");
    let more = ConsumerGroupHeartbeatRequest { topic_partitions: owned(&a.has), ..beating("a", 1) };
    assert_eq!(bench.beat(more).error_code, fenced, "it still has what it gave up");
    // Fenced, it comes back with nothing.
    let again = bench.client(joining("a", &["t"]));
    assert_eq!((again.epoch, again.has), (2, keeps));
    assert_eq!(bench.beat(beating("x", 1)).error_code, ErrorCode::UNKNOWN_MEMBER_ID);
    let other = ConsumerGroupHeartbeatRequest { group_id: "h".into(), ..beating("x", 1) };
    assert_eq!(bench.beat(other).error_code, ErrorCode::GROUP_ID_NOT_FOUND);
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let mut bench = Bench::with(GroupSettings {
        consumer_members_max: 1,
        groups_max: 1,
        group_bytes_max: 2_000,
        ..settings()
    });
    bench.topic("t", 1);
    let invalid = ErrorCode::INVALID_REQUEST;
    let base = || joining("a", &["t"]);
    let long = || "x".repeat(2_000).as_str().into();
    let short: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let short: Vec<&str> = short.iter().map(String::as_str).collect();
    let cases = [
        (ConsumerGroupHeartbeatRequest { member_id: "".into(), ..base() }, invalid),
        (ConsumerGroupHeartbeatRequest { group_id: "".into(), ..base() }, invalid),
        (ConsumerGroupHeartbeatRequest { instance_id: Some("".into()), ..base() }, invalid),
        (ConsumerGroupHeartbeatRequest { rebalance_timeout_ms: -1, ..base() }, invalid),
        (ConsumerGroupHeartbeatRequest { topic_partitions: None, ..base() }, invalid),
        (ConsumerGroupHeartbeatRequest { subscribed_topic_names: None, ..base() }, invalid),
        (ConsumerGroupHeartbeatRequest { member_epoch: -3, ..base() }, invalid),
        (ConsumerGroupHeartbeatRequest { member_epoch: -2, ..base() }, invalid),
        (
            ConsumerGroupHeartbeatRequest { server_assignor: Some("best".into()), ..base() },
            ErrorCode::UNSUPPORTED_ASSIGNOR,
        ),
        (
            ConsumerGroupHeartbeatRequest { subscribed_topic_regex: Some("a(".into()), ..base() },
            ErrorCode::INVALID_REGULAR_EXPRESSION,
        ),
        (
            ConsumerGroupHeartbeatRequest {
                subscribed_topic_regex: Some("(.{900}){900}".into()),
                ..base()
            },
            ErrorCode::INVALID_REGULAR_EXPRESSION,
        ),
        (joining("a", &[&"x".repeat(2_001)]), ErrorCode::GROUP_MAX_SIZE_REACHED),
        (joining("a", &short), ErrorCode::GROUP_MAX_SIZE_REACHED),
        (ConsumerGroupHeartbeatRequest { member_id: long(), ..base() }, invalid),
        (ConsumerGroupHeartbeatRequest { rack_id: Some(long()), ..base() }, invalid),
        (ConsumerGroupHeartbeatRequest { instance_id: Some(long()), ..base() }, invalid),
        (ConsumerGroupHeartbeatRequest { group_id: long(), ..base() }, ErrorCode::INVALID_GROUP_ID),
    ];
    for (request, error) in cases {
        assert_eq!(bench.beat(request.clone()).error_code, error, "{request:?}");
    }
    assert_eq!((bench.coordinator.counts().groups, bench.log.len()), (0, 0), "nothing came of it");
    bench.client(base());
    assert_eq!(bench.beat(joining("b", &["t"])).error_code, ErrorCode::GROUP_MAX_SIZE_REACHED);
    let other = ConsumerGroupHeartbeatRequest { group_id: "h".into(), ..base() };
    assert_eq!(bench.beat(other).error_code, ErrorCode::GROUP_MAX_SIZE_REACHED);
    // In version 0 the coordinator makes the member's id.
    let mut bench = Bench::new();
    let request = ConsumerGroupHeartbeatRequest { member_id: "".into(), ..base() };
    match bench.ask(0, Request::ConsumerGroupHeartbeat(request)) {
        Response::ConsumerGroupHeartbeat(response) => {
            assert_eq!(response.member_id.unwrap().len(), 36);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_member_that_keeps_what_it_must_give_up_is_out() {
    let mut bench = Bench::new();
    bench.topic("t", 2);
    let a = bench.client(joining("a", &["t"]));
    let mut b = bench.client(joining("b", &["t"]));
    let asked = bench.beat(beating("a", a.epoch));
    assert_eq!(given(&asked).unwrap().len(), 1);
    for _ in 0..29 {
        bench.pass(1_000);
        bench.beat(beating("a", 1));
        bench.go_on(&mut b);
    }
    // Loading begins the wait anew.
    bench.restart();
    for _ in 0..30 {
        assert_eq!(bench.beat(beating("a", 1)).error_code, NONE);
        bench.go_on(&mut b);
        bench.pass(1_000);
    }
    assert_eq!(bench.beat(beating("a", 1)).error_code, ErrorCode::UNKNOWN_MEMBER_ID);
    let mut clients = [b];
    bench.settle(&mut clients);
    assert_eq!(clients[0].has.len(), 2);
}

#[test]
fn a_static_member_keeps_its_place() {
    let mut bench = Bench::new();
    bench.topic("t", 4);
    let fixed = |id: &str| ConsumerGroupHeartbeatRequest {
        instance_id: Some("one".into()),
        ..joining(id, &["t"])
    };
    let as_one = |id: &str, epoch| ConsumerGroupHeartbeatRequest {
        instance_id: Some("one".into()),
        ..beating(id, epoch)
    };
    let mut a = bench.client(fixed("a"));
    let mut b = bench.client(joining("b", &["t"]));
    let mut both = [a, b];
    // A static member always says who it is.
    for _ in 0..6 {
        bench.go_on(&mut both[0]);
        bench.go_on(&mut both[1]);
    }
    [a, b] = both;
    assert_eq!((a.has.len(), b.has.len()), (2, 2));
    assert_eq!(bench.beat(fixed("a2")).error_code, ErrorCode::UNRELEASED_INSTANCE_ID);
    let epoch = bench.group().epoch;
    assert_eq!(bench.beat(as_one("a", -2)).member_epoch, -2);
    assert_eq!(bench.group().epoch, epoch, "it will be back");
    bench.restart();
    let a2 = bench.client(fixed("a2"));
    assert_eq!((a2.has, bench.group().epoch), (a.has, epoch), "what it had, and no rebalance");
    assert_eq!(bench.beat(as_one("a", a.epoch)).error_code, ErrorCode::FENCED_INSTANCE_ID);
    assert_eq!(bench.beat(beating("a", a.epoch)).error_code, ErrorCode::UNKNOWN_MEMBER_ID);
    bench.go_on(&mut b);
    assert_eq!(b.has.len(), 2);
    let other =
        ConsumerGroupHeartbeatRequest { instance_id: Some("two".into()), ..beating("a2", 1) };
    assert_eq!(bench.beat(other).error_code, ErrorCode::UNKNOWN_MEMBER_ID);
    // It does not come back: gone after the session.
    bench.beat(as_one("a2", -2));
    bench.pass(44_000);
    bench.go_on(&mut b);
    bench.pass(1_000);
    let mut clients = [b];
    bench.settle(&mut clients);
    assert_eq!(clients[0].has.len(), 4);
}

#[test]
fn expressions_follow_the_topics() {
    let mut bench = Bench::new();
    bench.topic("app-1", 1);
    bench.topic("other", 1);
    let by_regex = |id: &str, regex: &str| ConsumerGroupHeartbeatRequest {
        subscribed_topic_names: None,
        subscribed_topic_regex: Some(regex.into()),
        ..joining(id, &[])
    };
    let mut clients = [bench.client(by_regex("a", "app-[0-9]"))];
    assert_eq!(clients[0].has.len(), 1, "the whole name must match");
    bench.topic("app-2", 2);
    bench.topic("app-22", 2);
    bench.pass(10_000);
    bench.settle(&mut clients);
    assert_eq!(clients[0].has.len(), 3);
    bench.restart();
    let mut clients = [clients[0].clone(), bench.client(by_regex("b", "app-.*"))];
    bench.settle(&mut clients);
    let sizes: Vec<usize> = clients.iter().map(|client| client.has.len()).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 5);
    // Another expression: the old one's record goes.
    let change = ConsumerGroupHeartbeatRequest {
        subscribed_topic_regex: Some("other".into()),
        ..beating("b", clients[1].epoch)
    };
    let response = bench.beat(change);
    assert_eq!(response.error_code, NONE);
    clients[1].epoch = response.member_epoch;
    if let Some(has) = given(&response) {
        clients[1].has = has;
    }
    let said = ConsumerGroupHeartbeatRequest {
        topic_partitions: owned(&clients[1].has),
        ..beating("b", clients[1].epoch)
    };
    let response = bench.beat(said);
    clients[1].epoch = response.member_epoch;
    clients[1].has = given(&response).unwrap_or(clients[1].has.clone());
    bench.settle(&mut clients);
    assert_eq!((clients[0].has.len(), clients[1].has.len()), (3, 1));
    let kept: Vec<&str> = bench.group().regexes.keys().map(|regex| regex.as_str()).collect();
    assert_eq!(kept, ["app-[0-9]", "other"]);
    bench.beat(beating("a", -1));
    assert_eq!(bench.group().regexes.len(), 1);
}

#[test]
fn a_group_has_a_limited_number_of_expressions() {
    let mut bench = Bench::new();
    bench.topic("t", 1);
    let joining = |id: &str, regex: &str| ConsumerGroupHeartbeatRequest {
        subscribed_topic_names: None,
        subscribed_topic_regex: Some(regex.into()),
        ..joining(id, &[])
    };
    for n in 0..64 {
        let joined = bench.beat(joining(&format!("m{n}"), &format!("t|{n}")));
        assert_eq!(joined.error_code, ErrorCode::NONE);
    }
    let full = ErrorCode::GROUP_MAX_SIZE_REACHED;
    assert_eq!(bench.beat(joining("late", "t|x")).error_code, full);
    assert_eq!(bench.beat(joining("late", "t|1")).error_code, ErrorCode::NONE, "a known one");
    assert_eq!(bench.beat(joining("m2", "t|x")).error_code, ErrorCode::NONE, "in place of its own");
}

#[test]
fn groups_have_assignors_and_settings_of_their_own() {
    let mut bench = Bench::new();
    bench.topic("t", 3);
    bench.topic("u", 3);
    for (key, value) in
        [("consumer.session.timeout.ms", "50000"), ("consumer.heartbeat.interval.ms", "7000")]
    {
        let resource = crate::cluster::change::ConfigResource::Group("g".into());
        let (key, value) = (key.into(), Some(value.into()));
        bench.image.apply(&Change::Config { resource, key, value }).unwrap();
    }
    let ranged = |id: &str| ConsumerGroupHeartbeatRequest {
        server_assignor: Some("range".into()),
        ..joining(id, &["t", "u"])
    };
    assert_eq!(bench.beat(ranged("a")).heartbeat_interval_ms, 7_000);
    bench.beat(joining("b", &["t", "u"]));
    let group = bench.describe("g");
    assert_eq!((group.assignor_name.as_str(), group.group_epoch), ("range", 2));
    assert_eq!((group.members.len(), group.assignment_epoch), (2, 2));
    let target = |at: usize| -> Vec<(String, Vec<i32>)> {
        let topics = &group.members[at].target_assignment.topic_partitions;
        topics.iter().map(|t| (t.topic_name.to_string(), t.partitions.clone())).collect()
    };
    assert_eq!(target(0), [("t".to_owned(), vec![0, 1]), ("u".to_owned(), vec![0, 1])]);
    assert_eq!(target(1), [("t".to_owned(), vec![2]), ("u".to_owned(), vec![2])]);
    assert_eq!((group.members[0].member_type, group.group_state.as_str()), (1, "Reconciling"));
    assert_eq!(bench.describe("x").error_code, ErrorCode::GROUP_ID_NOT_FOUND);
    bench.pass(49_999);
    assert_eq!(bench.group().members.len(), 2);
    bench.pass(1);
    assert_eq!(bench.group().members.len(), 0);
}

#[test]
fn commits_are_checked_against_the_member() {
    use crate::protocol::messages::offset_fetch::*;
    let mut bench = Bench::new();
    bench.topic("t", 2);
    let a = bench.client(joining("a", &["t"]));
    let by = |id: &str, epoch, index| OffsetCommitRequest {
        member_id: id.into(),
        generation_id_or_member_epoch: epoch,
        ..super::offsets::commit("g", &[("t", index, 1)])
    };
    assert_eq!(bench.commit(9, by("a", 1, 0)), [NONE]);
    assert_eq!(bench.commit(8, by("a", 1, 0)), [ErrorCode::UNSUPPORTED_VERSION]);
    assert_eq!(bench.commit(9, by("x", 1, 0)), [ErrorCode::UNKNOWN_MEMBER_ID]);
    assert_eq!(bench.commit(9, by("a", 2, 0)), [ErrorCode::STALE_MEMBER_EPOCH]);
    // a goes on to epoch 2 and gives one partition up. Commits with epoch 1 that are still on
    // their way are good for the one it has had since then.
    bench.client(joining("b", &["t"]));
    let keeps = given(&bench.beat(beating("a", 1))).unwrap();
    let gone = a.has.difference(&keeps).next().unwrap().1;
    assert_eq!(bench.commit(9, by("a", 1, gone)), [NONE], "not yet given up");
    let done = ConsumerGroupHeartbeatRequest { topic_partitions: owned(&keeps), ..beating("a", 1) };
    assert_eq!(bench.beat(done).member_epoch, 2);
    let kept = keeps.first().unwrap().1;
    assert_eq!(bench.commit(9, by("a", 1, kept)), [NONE]);
    assert_eq!(bench.commit(9, by("a", 1, gone)), [ErrorCode::STALE_MEMBER_EPOCH]);
    assert_eq!(bench.commit(9, by("a", 2, gone)), [NONE], "its epoch is all that Kafka asks");
    let mut fetch = |member: Option<&str>, member_epoch| {
        let group = OffsetFetchRequestGroup {
            group_id: "g".into(),
            member_id: member.map(Into::into),
            member_epoch,
            topics: None,
        };
        let request = OffsetFetchRequest { groups: vec![group], ..Default::default() };
        match bench.ask(9, Request::OffsetFetch(request)) {
            Response::OffsetFetch(response) => response.groups[0].error_code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((fetch(None, -1), fetch(Some("a"), 2)), (NONE, NONE));
    assert_eq!(fetch(Some("a"), 1), ErrorCode::STALE_MEMBER_EPOCH);
    assert_eq!(fetch(Some("x"), 2), ErrorCode::UNKNOWN_MEMBER_ID);
}

/// Else a small member keeps a large request in memory.
#[test]
fn nothing_of_a_request_outlives_it() {
    let mut bench = Bench::new();
    bench.topic("t", 1);
    let frame = Bytes::from_static(b"gtiraa").to_vec();
    let frame = Bytes::from(frame);
    let text = |at: usize| StrBytes::try_from(frame.slice(at..=at)).unwrap();
    let request = || ConsumerGroupHeartbeatRequest {
        group_id: text(0),
        member_id: text(5),
        instance_id: Some(text(2)),
        rack_id: Some(text(3)),
        subscribed_topic_names: Some(vec![text(1)]),
        subscribed_topic_regex: Some(text(4)),
        ..joining("", &[])
    };
    assert_eq!(bench.beat(request()).error_code, NONE);
    let again = ConsumerGroupHeartbeatRequest { member_epoch: 1, ..request() };
    assert_eq!(bench.beat(again).error_code, NONE);
    assert!(frame.is_unique(), "something of a heartbeat is kept");
}
