//! A shard with groups on a simulated disk: what it promises over crashes and failures.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;

use thalweg::cluster::image::Image;
use thalweg::cluster::internal;
use thalweg::coordinator::{ClientInfo, Request, Response};
use thalweg::disk::sim::{Crash, DiskImage};
use thalweg::model::{CONSUMER_OFFSETS, Uuid};
use thalweg::protocol::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use thalweg::protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use thalweg::protocol::messages::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestTopic};
use thalweg::runtime::Runtime;
use thalweg::runtime::sim::{SimRandom, SimRuntime, SimWorld};
use thalweg::shard::Shard;
use thalweg::shard::call::{Call, GroupCall, GroupRefusal, GroupResult, Reply};

use crate::data_dir;
use crate::shard::{add_topic, start_shard_with};

/// A shard with `__consumer_offsets` and a topic `t`; its groups begin to load.
async fn start(runtime: SimRuntime) -> Rc<Shard<SimRuntime>> {
    let mut image = Image::default();
    add_topic(&mut image, CONSUMER_OFFSETS, Uuid([7; 16]));
    add_topic(&mut image, "t", Uuid([8; 16]));
    // What a coordinator writes it reads again, however little clients may send.
    start_shard_with(runtime, image, &[("thalweg.decompressed.bytes.max", "1")]).await
}

/// What the coordinator of group `g` answers.
async fn ask(shard: &Rc<Shard<SimRuntime>>, version: i16, request: Request) -> GroupResult {
    let partition = internal::group_partition(&shard.image(), "g").unwrap();
    let call = GroupCall { partition, client: ClientInfo::default(), version, request };
    match shard.call(0, Call::Group(Box::new(call))).await {
        Reply::Group(result) => result,
        other => panic!("{other:?}"),
    }
}

/// As [`ask`], again while the coordinator loads.
async fn ask_loaded(shard: &Rc<Shard<SimRuntime>>, version: i16, request: Request) -> Response {
    loop {
        match ask(shard, version, request.clone()).await {
            Ok(answer) => return *answer,
            Err(GroupRefusal::Loading) => shard.runtime.sleep(Duration::from_millis(1)).await,
            Err(refusal) => panic!("{refusal:?}"),
        }
    }
}

fn commit(offset: i64) -> Request {
    let partitions =
        vec![OffsetCommitRequestPartition { committed_offset: offset, ..Default::default() }];
    let topics =
        vec![OffsetCommitRequestTopic { name: "t".into(), partitions, ..Default::default() }];
    Request::OffsetCommit(OffsetCommitRequest {
        group_id: "g".into(),
        topics,
        ..Default::default()
    })
}

/// The committed offset; -1 for none.
async fn committed(shard: &Rc<Shard<SimRuntime>>) -> i64 {
    let topics = vec![OffsetFetchRequestTopic { name: "t".into(), partition_indexes: vec![0] }];
    let request = Request::OffsetFetch(OffsetFetchRequest {
        group_id: "g".into(),
        topics: Some(topics),
        ..Default::default()
    });
    match ask_loaded(shard, 5, request).await {
        Response::OffsetFetch(answer) => answer.topics[0].partitions[0].committed_offset,
        other => panic!("{other:?}"),
    }
}

/// Commits 1, 2, 3, ... one after the other; what was answered is noted.
async fn committing(runtime: SimRuntime, answered: Rc<RefCell<i64>>, count: i64) {
    let shard = start(runtime).await;
    for offset in 1..=count {
        ask_loaded(&shard, 8, commit(offset)).await;
        *answered.borrow_mut() = offset;
    }
}

#[test]
fn what_was_answered_is_there_after_a_power_cut_at_any_moment() {
    let fresh = || DiskImage::with_dir(&data_dir());
    let ops = {
        let world = SimWorld::new(1, fresh());
        world.run(committing(world.runtime(), Rc::default(), 8));
        world.disk().ops()
    };
    let mut random = SimRandom::new(9);
    let mut most = 0;
    // The last one is the moment after the last answer.
    for point in 1..=ops + 1 {
        let world = SimWorld::new(1, fresh());
        world.disk().halt_at(point);
        let answered: Rc<RefCell<i64>> = Rc::default();
        world.run(committing(world.runtime(), answered.clone(), 8));
        let image = world.disk().image().crashed(Crash::KeepNothing, &mut random);
        let after = SimWorld::new(2, image);
        let runtime = after.runtime();
        let found = after.run(async move { committed(&start(runtime).await).await }).unwrap();
        let answered = *answered.borrow();
        // One more may be on the disk: its answer was under way.
        let is_right = found == answered || found == answered + 1 || (answered, found) == (0, -1);
        assert!(is_right, "{answered} was answered, {found} is there after disk call {point}");
        most = most.max(answered);
    }
    assert!(most >= 7, "the test does not reach the commits");
}

#[test]
fn a_failed_append_is_refused_and_what_the_log_has_is_loaded_again() {
    let world = SimWorld::new(3, DiskImage::with_dir(&data_dir()));
    let disk = world.disk().clone();
    let runtime = world.runtime();
    world.run(async move {
        let shard = start(runtime).await;
        ask_loaded(&shard, 8, commit(5)).await;
        disk.fail_at(disk.ops() + 1);
        let refused = ask(&shard, 8, commit(6)).await;
        assert!(matches!(refused, Err(GroupRefusal::NotAvailable)), "{refused:?}");
        // The state that was ahead of the log is gone.
        assert_eq!(committed(&shard).await, 5);
    });
}

#[test]
fn a_join_waits_for_its_time_and_is_refused_when_the_broker_stops() {
    let world = SimWorld::new(4, DiskImage::with_dir(&data_dir()));
    let runtime = world.runtime();
    world.run(async move {
        let shard = start(runtime).await;
        assert_eq!(committed(&shard).await, -1);
        let protocol = JoinGroupRequestProtocol { name: "range".into(), ..Default::default() };
        let join = Request::JoinGroup(JoinGroupRequest {
            group_id: "g".into(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: 60_000,
            protocol_type: "consumer".into(),
            protocols: vec![protocol],
            ..Default::default()
        });
        let began = shard.runtime.now();
        let joined = ask(&shard, 0, join.clone()).await.unwrap();
        assert!(matches!(&*joined, Response::JoinGroup(joined) if joined.error_code.is_ok()));
        let waited = shard.runtime.now() - began;
        assert_eq!(waited.as_secs(), 3, "group.initial.rebalance.delay.ms");
        // The second member waits for the first one, which never joins again.
        let mut second = Box::pin(ask(&shard, 0, join.clone()));
        assert!((&mut second).now_or_never().is_none());
        shard.close_groups();
        let refused = second.await;
        assert!(matches!(refused, Err(GroupRefusal::NotAvailable)), "{refused:?}");
        let late = ask(&shard, 0, join).await;
        assert!(matches!(late, Err(GroupRefusal::NotHere)), "{late:?}");
    });
}
