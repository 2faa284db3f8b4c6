//! Memory of all groups: a flood finds an end, and those who are there go on.

use super::classic::{join, sync};
use super::consumer::{beating, joining};
use super::offsets::commit;
use super::sequences::memory_is_counted;
use super::*;
use crate::protocol::ErrorCode;
use crate::protocol::messages::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest;
use crate::protocol::messages::delete_groups::DeleteGroupsRequest;
use crate::protocol::messages::join_group::JoinGroupRequest;
use crate::protocol::messages::offset_commit::OffsetCommitRequest;

const NONE: ErrorCode = ErrorCode::NONE;
const FULL: ErrorCode = ErrorCode::GROUP_MAX_SIZE_REACHED;
const FULL_FOR_OFFSETS: ErrorCode = ErrorCode::INVALID_COMMIT_OFFSET_SIZE;
const REQUIRED: ErrorCode = ErrorCode::MEMBER_ID_REQUIRED;

const MEMORY_MAX: usize = 512 << 10;
/// More than find room.
const FLOOD: usize = 1000;

fn of_group(name: String, request: JoinGroupRequest) -> JoinGroupRequest {
    JoinGroupRequest { group_id: name.as_str().into(), ..request }
}

impl Bench {
    fn held(&self) -> usize {
        memory_is_counted(&self.coordinator);
        self.coordinator.desk.memory.held()
    }

    /// Of so many requests some are let in, then the others are refused; how many.
    fn flood(
        &mut self,
        (fine, full): (ErrorCode, ErrorCode),
        mut request: impl FnMut(&mut Self, usize) -> ErrorCode,
    ) -> usize {
        let answers: Vec<ErrorCode> = (0..FLOOD).map(|number| request(self, number)).collect();
        let let_in = answers.iter().take_while(|answer| **answer == fine).count();
        assert!(answers[let_in..].iter().all(|answer| *answer == full), "{:?}", answers[let_in]);
        assert!(let_in < FLOOD, "nothing was refused");
        let held = self.held();
        assert!(held <= MEMORY_MAX - MEMORY_MAX / 8, "{held} bytes are held");
        assert!(self.coordinator.desk.memory.take_refusals() > 0);
        let_in
    }

    fn join_flood(&mut self) -> usize {
        self.flood((REQUIRED, FULL), |bench, number| {
            bench.join_now(of_group(format!("join-{number}"), join("", &["range"]))).error_code
        })
    }

    fn commit_flood(&mut self) -> usize {
        self.flood((NONE, FULL_FOR_OFFSETS), |bench, number| {
            bench.commit(8, commit(&format!("commit-{number}"), &[("t", 0, 1)]))[0]
        })
    }

    fn delete_flood(&mut self, kind: &str) {
        let names = (0..FLOOD).map(|number| format!("{kind}-{number}").as_str().into());
        let request = DeleteGroupsRequest { groups_names: names.collect() };
        self.ask(2, Request::DeleteGroups(request));
    }

    fn heartbeat_flood(&mut self) -> usize {
        self.flood((NONE, FULL), |bench, number| {
            let group_id = format!("heartbeat-{number}").as_str().into();
            let request = ConsumerGroupHeartbeatRequest { group_id, ..joining("m", &["t"]) };
            bench.beat(request).error_code
        })
    }
}

fn bench() -> Bench {
    let mut bench = Bench::with_memory(settings(), MEMORY_MAX);
    bench.topic("t", 10);
    bench
}

#[test]
fn a_flood_is_refused_and_members_go_on() {
    let mut bench = bench();
    let ids = bench.stable(2);
    let consumer = |request| ConsumerGroupHeartbeatRequest { group_id: "c".into(), ..request };
    assert_eq!(bench.beat(consumer(joining("m", &["t"]))).error_code, NONE);
    assert_eq!(bench.commit(8, commit("outside", &[("t", 0, 1)])), [NONE]);
    assert!(bench.heartbeat_flood() > 10);
    // What is left is less than such a group takes, and may do for a few of the others.
    bench.join_flood();
    bench.commit_flood();

    // Members live, join again with more to say, are assigned more and commit for the first time.
    assert_eq!((bench.heartbeat(&ids[0], 1), bench.heartbeat(&ids[1], 1)), (NONE, NONE));
    assert_eq!(bench.beat(consumer(beating("m", 1))).error_code, NONE);
    let mut more = join(&ids[0], &["range"]);
    more.protocols[0].metadata = Bytes::from(vec![0; 2000]);
    let ticket = bench.send_join(more);
    let other = bench.send_join(join(&ids[1], &["range"]));
    assert_eq!([bench.joined(ticket).error_code, bench.joined(other).error_code], [NONE; 2]);
    let long = "x".repeat(3000).leak();
    assert_eq!(bench.sync_now(sync(&ids[0], 2, &[(&ids[0], long)])).error_code, NONE);
    let first = OffsetCommitRequest {
        member_id: ids[0].as_str().into(),
        generation_id_or_member_epoch: 2,
        ..commit("g", &[("t", 0, 1), ("t", 1, 1)])
    };
    assert_eq!(bench.commit(8, first), [NONE; 2]);
    // Who has committed from outside goes on, too; with more, or elsewhere, not.
    assert_eq!(bench.commit(8, commit("outside", &[("t", 0, 2)])), [NONE]);
    let mut longer = commit("outside", &[("t", 0, 3), ("t", 1, 3)]);
    longer.topics[0].partitions[0].committed_metadata = Some("m".repeat(4000).into());
    assert_eq!(bench.commit(8, longer), [FULL_FOR_OFFSETS; 2]);
    assert_eq!(bench.fetch_all("outside"), [("t".to_owned(), 0, 2)]);

    // Whoever leaves and whatever is deleted makes room.
    assert_eq!(bench.leave(5, &[(&ids[1], None)]), [NONE]);
    bench.pass(60_000);
    for kind in ["commit", "join", "heartbeat"] {
        bench.delete_flood(kind);
    }
    assert!(bench.held() < MEMORY_MAX / 8);
    assert!(bench.commit_flood() > 10);
}

#[test]
fn members_too_find_an_end() {
    let mut bench = bench();
    let ids = bench.stable(1);
    let mut more = join(&ids[0], &["range"]);
    more.protocols[0].metadata = Bytes::from(vec![0; MEMORY_MAX]);
    assert_eq!(bench.join_now(more).error_code, FULL);
    // The refused one is out; another leads and assigns too much.
    let ids = bench.stable(1);
    let generation = bench.classic().generation;
    let ticket = bench.send_join(join(&ids[0], &["range"]));
    assert_eq!(bench.joined(ticket).error_code, NONE);
    let long = "x".repeat(MEMORY_MAX).leak();
    let refused = bench.sync_now(sync(&ids[0], generation + 1, &[(&ids[0], long)]));
    assert_eq!(refused.error_code, ErrorCode::UNKNOWN_SERVER_ERROR);
    assert!(bench.held() < MEMORY_MAX);
    // Members of a consumer group that want more than there is room for stay as they are.
    let consumer = |request| ConsumerGroupHeartbeatRequest { group_id: "c".into(), ..request };
    assert_eq!(bench.beat(consumer(joining("m", &["t"]))).error_code, NONE);
    let names: Vec<StrBytes> = (0..10_000).map(|n| format!("t{n}").as_str().into()).collect();
    let wish =
        ConsumerGroupHeartbeatRequest { subscribed_topic_names: Some(names), ..beating("m", 1) };
    assert_eq!(bench.beat(consumer(wish)).error_code, FULL);
    assert_eq!(bench.beat(consumer(beating("m", 1))).error_code, NONE);
    assert!(bench.held() < MEMORY_MAX);
}

#[test]
fn all_is_loaded_also_where_there_is_no_room_for_it() {
    let mut bench = bench();
    let ids = bench.stable(2);
    assert_eq!(bench.commit(8, commit("outside", &[("t", 0, 1)])), [NONE]);
    let consumer = |request| ConsumerGroupHeartbeatRequest { group_id: "c".into(), ..request };
    assert_eq!(bench.beat(consumer(joining("m", &["t"]))).error_code, NONE);
    bench.restart_with(1 << 10);
    assert!(bench.held() > 1 << 10);
    assert_eq!(bench.fetch_all("outside"), [("t".to_owned(), 0, 1)]);
    assert_eq!((bench.heartbeat(&ids[0], 1), bench.heartbeat(&ids[1], 1)), (NONE, NONE));
    assert_eq!(bench.beat(consumer(beating("m", 1))).error_code, NONE);
    assert_eq!(bench.commit(8, commit("outside", &[("t", 0, 2)])), [NONE]);
    assert_eq!(bench.join_now(of_group("new".into(), join("", &["range"]))).error_code, FULL);
    assert_eq!(bench.commit(8, commit("new", &[("t", 0, 2)])), [FULL_FOR_OFFSETS]);
    assert_eq!(bench.leave(5, &[(&ids[0], None), (&ids[1], None)]), [NONE; 2]);
    // Nothing is left to expire or to be silent, and nothing is counted.
    bench.pass(30 * 86_400_000);
    assert_eq!((bench.coordinator.counts().groups, bench.held()), (0, 0));
}

#[test]
fn topics_that_grow_leave_a_group_with_its_target_until_there_is_room() {
    let mut bench = bench();
    let joined = bench.beat(joining("m", &["t"]));
    assert_eq!((joined.error_code, joined.member_epoch), (NONE, 1));
    bench.commit_flood();
    let topic = bench.image.topic("t").unwrap().id;
    for index in 10..1000 {
        bench.partition(topic, index);
    }
    bench.happen(Event::ImageChanged);
    for _ in 0..3 {
        bench.pass(20_000);
        let beat = bench.beat(beating("m", 1));
        assert_eq!((beat.error_code, beat.member_epoch), (NONE, 1));
        assert!(bench.held() < MEMORY_MAX);
    }
    bench.delete_flood("commit");
    bench.pass(20_000);
    let beat = bench.beat(beating("m", 1));
    assert_eq!((beat.error_code, beat.member_epoch), (NONE, 2));
    let given = super::consumer::given(&beat).unwrap();
    assert_eq!(given.len(), 1000);
}
