//! A shard with groups on a simulated disk: what it promises over crashes and failures.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;

use thalweg::cluster::change::Change;
use thalweg::cluster::image::{Image, PartitionState};
use thalweg::cluster::internal;
use thalweg::config::Config;
use thalweg::coordinator::{ClientInfo, Request, Response};
use thalweg::disk::sim::{Crash, DiskImage};
use thalweg::model::{CONSUMER_OFFSETS, ShardId, TopicName, TopicPartition, Uuid};
use thalweg::protocol::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use thalweg::protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use thalweg::protocol::messages::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestTopic};
use thalweg::runtime::sim::{SimRandom, SimRuntime, SimWorld};
use thalweg::runtime::{Queue, Runtime};
use thalweg::shard::Shard;
use thalweg::shard::call::{Call, GroupCall, GroupRefusal, GroupResult, Reply};
use thalweg::shard::control::topic_settings;
use thalweg::shard::mesh::{Mesh, Message, Post};
use thalweg::storage::{self, StorageConfig, Store};

/// One shard has nobody to send to.
struct Nobody;

impl Post for Nobody {
    fn try_post(&self, _: ShardId, _: Message) -> Result<(), Option<Message>> {
        Err(None)
    }
}

fn config() -> Config {
    Config::from_pairs(&[("log.dirs", "/data"), ("thalweg.shards", "1")]).unwrap()
}

/// `__consumer_offsets` and a topic `t`, of one partition each.
fn image() -> Image {
    let mut image = Image::default();
    for (name, id) in [(CONSUMER_OFFSETS, Uuid([7; 16])), ("t", Uuid([8; 16]))] {
        let state = PartitionState {
            leader: 1,
            leader_epoch: 0,
            partition_epoch: 0,
            replicas: vec![1],
            in_sync: vec![1],
            directories: Vec::new(),
        };
        image.apply(&Change::Topic { id, name: TopicName::new(name).unwrap() }).unwrap();
        image.apply(&Change::Partition { topic_id: id, index: 0, state }).unwrap();
    }
    image
}

/// A shard on what is on the disk; its groups begin to load.
async fn start(runtime: SimRuntime) -> Rc<Shard<SimRuntime>> {
    let (config, image) = (Arc::new(config()), Arc::new(image()));
    let storage = StorageConfig {
        data_dir: PathBuf::from("/data"),
        journal_bytes_max: 4 << 20,
        direct_append_bytes_min: 128 << 10,
        pending_bytes_max: 1 << 20,
        cache_bytes_max: 1 << 20,
    };
    let owner = |id: TopicPartition| {
        image.topic_by_id(id.topic_id)?;
        Some((0, topic_settings(&config, &image, id).0))
    };
    let mut starts = storage::recover(&runtime, &storage, 1, &owner).await.unwrap();
    let store = Store::open(runtime.clone(), storage, starts.remove(0)).await.unwrap();
    let mesh = Mesh::new(Box::new(Nobody));
    let shard = Shard::new(0, 1, runtime, config, mesh, store.clone(), None);
    for (log, replay) in store.take_recovered() {
        shard.adopt(&image, log, &replay).unwrap();
    }
    shard.runtime.spawn(Queue::Network, shard.clone().tend_groups());
    assert!(matches!(shard.call(0, Call::Install(image)).await, Reply::Install(f) if f.is_empty()));
    shard
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
    let fresh = || DiskImage::with_dir(&PathBuf::from("/data"));
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
    let world = SimWorld::new(3, DiskImage::with_dir(&PathBuf::from("/data")));
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
    let world = SimWorld::new(4, DiskImage::with_dir(&PathBuf::from("/data")));
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
