//! Changes of very much metadata: others go first again and again, and what is gone by then is
//! dropped a little at a time, or elsewhere.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures_channel::oneshot;

use super::Shard;
use super::call::{Call, ControlReply, ControlRequest, Reply};
use super::control::{Controller, topic_settings};
use super::mesh::Mesh;
use crate::cluster::change::{Change, QuotaEntity};
use crate::cluster::controller::ControllerLimits;
use crate::cluster::image::{Image, PartitionState};
use crate::cluster::log::{Job, MetadataWriter};
use crate::cluster::quotas::QuotaAlteration;
use crate::config::Config;
use crate::disk::sim::DiskImage;
use crate::model::{TopicName, Uuid};
use crate::runtime::sim::{SimRuntime, SimWorld};
use crate::runtime::wait::ITEMS_AT_ONCE;
use crate::runtime::{Queue, Runtime};
use crate::storage::{self, Owner, StorageConfig, Store};

/// What `body` comes to in a world with an empty disk.
pub(crate) fn in_world<T, F>(body: impl FnOnce(SimRuntime) -> F) -> T
where
    T: 'static,
    F: Future<Output = T> + 'static,
{
    let world = SimWorld::new(1, DiskImage::with_dir(Path::new("/data")));
    world.run(body(world.runtime())).expect("nothing halts it")
}

/// The only shard of a broker with this metadata, and what its metadata log is given to do.
pub(crate) async fn start_shard(
    runtime: SimRuntime,
    image: Image,
) -> (Rc<Shard<SimRuntime>>, mpsc::Receiver<Job>) {
    let settings = [("log.dirs", "/data"), ("thalweg.shards", "1")];
    let config = Arc::new(Config::from_pairs(&settings).unwrap());
    let storage = StorageConfig::from(&*config);
    let owner = |id| Owner::Shard(0, topic_settings(&config, &Image::default(), id).0);
    let mut starts = storage::recover(&runtime, &storage, 1, &owner).await.unwrap();
    let store = Store::open(runtime.clone(), storage, starts.remove(0)).await.unwrap();
    let limits = ControllerLimits {
        node_id: 1,
        directory_id: Uuid::ZERO,
        topics_max: 10_000,
        partitions_max: 10_000,
        topic_partitions_max: 10_000,
        partitions_default: 1,
    };
    let (writer, todo) = MetadataWriter::without_thread();
    let controller = Controller::new(image.clone(), limits, writer);
    let mesh = Mesh::alone();
    let shard = Shard::new(0, 1, runtime, config, mesh, store, Some(controller));
    let installed = shard.call(0, Call::Install(Arc::new(image))).await;
    assert!(matches!(installed, Reply::Install(failures) if failures.is_empty()));
    (shard, todo)
}

/// Topics of no partition.
fn topics(count: usize) -> Image {
    let mut image = Image::default();
    for number in 0..count {
        let name = TopicName::new(&format!("t{number}")).unwrap();
        image.apply(&Change::Topic { id: Uuid::random(), name }).unwrap();
    }
    image
}

fn one_topic(partitions: i32) -> (Uuid, Image) {
    let id = Uuid::random();
    let mut image = Image::default();
    image.apply(&Change::Topic { id, name: TopicName::new("t").unwrap() }).unwrap();
    for index in 0..partitions {
        let state = PartitionState::new_on(1, Vec::new());
        image.apply(&Change::Partition { topic_id: id, index, state }).unwrap();
    }
    (id, image)
}

/// What comes of `future`, how often it was asked, and by how much `left` fell in one of its
/// turns at the most.
async fn watched<T>(
    future: impl Future<Output = T>,
    left: impl Fn() -> usize,
) -> (T, usize, usize) {
    let mut future = pin!(future);
    let (turns, most) = (Cell::new(0), Cell::new(0));
    let done = poll_fn(|cx| {
        let before = left();
        let done = future.as_mut().poll(cx);
        turns.set(turns.get() + 1);
        most.set(most.get().max(before - left()));
        done
    });
    let done = done.await;
    (done, turns.get(), most.get())
}

#[test]
fn partitions_that_are_deleted_go_a_few_at_a_time() {
    const PARTITIONS: usize = 500;
    let most = in_world(async |runtime| {
        let (shard, _todo) = start_shard(runtime, one_topic(PARTITIONS as i32).1).await;
        let known: Vec<_> = shard.partitions().iter().map(Rc::downgrade).collect();
        assert_eq!(known.len(), PARTITIONS);
        let left = || known.iter().filter(|partition| partition.strong_count() > 0).count();
        let emptied = shard.call(0, Call::Install(Arc::default()));
        let (_, _, most) = watched(emptied, left).await;
        assert_eq!(left(), 0);
        most
    });
    assert!(most <= PARTITIONS / 5, "{most} of {PARTITIONS} in one turn");
}

#[test]
fn images_are_not_dropped_by_the_shard() {
    in_world(async |runtime| {
        let (id, image) = one_topic(1);
        let (shard, todo) = start_shard(runtime.clone(), image).await;
        // What is installed is the controller's own, as it is from the first change on.
        shard.call(0, Call::Install(shard.controller.as_ref().unwrap().image())).await;
        let before = Arc::downgrade(&shard.image());
        for is_there in [true, false] {
            let deleting = shard.call(0, Call::Control(ControlRequest::DeleteTopics(vec![id])));
            let (replied, heard) = oneshot::channel();
            runtime.spawn(Queue::Network, async move {
                let _ = replied.send(deleting.await);
            });
            if is_there {
                let Job::Append { done, .. } = next(&runtime, &todo).await else { panic!() };
                done.send(Ok(())).unwrap();
            } else {
                // Its copy of the image leads to nothing.
                let Job::Discard { done, .. } = next(&runtime, &todo).await else { panic!() };
                done.send(()).unwrap();
            }
            let Job::Discard { large, done } = next(&runtime, &todo).await else { panic!() };
            assert_eq!(before.strong_count(), usize::from(is_there));
            drop(large);
            assert_eq!(before.strong_count(), 0, "the writer was the last to hold it");
            done.send(()).unwrap();
            let reply = heard.await.unwrap();
            let Reply::Control(ControlReply::Topics(outcomes)) = reply else { panic!() };
            assert_eq!(outcomes[0].is_ok(), is_there);
        }
    });
}

/// What the metadata log is to do next.
async fn next(runtime: &SimRuntime, todo: &mpsc::Receiver<Job>) -> Job {
    loop {
        if let Ok(job) = todo.try_recv() {
            return job;
        }
        runtime.sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn what_is_asked_is_dropped_while_it_is_decided() {
    const ASKED: usize = 2000;
    let (turns, most) = in_world(async |runtime| {
        let (shard, _) = start_shard(runtime, Image::default()).await;
        let asked = |number: usize| QuotaAlteration {
            entity: QuotaEntity::new([("user".into(), Some(format!("u{number}")))].into()),
            values: [("no_such_quota".into(), Some(1.0))].into(),
        };
        let alterations: Vec<_> = (0..ASKED).map(asked).collect();
        let known: Vec<_> = alterations.iter().map(|a| Arc::downgrade(&a.entity)).collect();
        let left = || known.iter().filter(|entity| entity.strong_count() > 0).count();
        let request = ControlRequest::Quotas { alterations, validate_only: false };
        let asking = shard.call(0, Call::Control(request));
        let (reply, turns, most) = watched(asking, left).await;
        let Reply::Control(ControlReply::Altered(outcomes)) = reply else { panic!() };
        assert!(outcomes.len() == ASKED && outcomes.iter().all(Result::is_err));
        (turns, most)
    });
    assert!(turns > 10 && most <= ASKED / 5, "{most} of {ASKED} in one of {turns} turns");
}

#[test]
fn an_image_of_many_topics_is_installed_in_turns() {
    const TOPICS: usize = 5 * ITEMS_AT_ONCE;
    let turns = in_world(async |runtime| {
        let (shard, _todo) = start_shard(runtime, topics(TOPICS)).await;
        let same = Arc::new((*shard.image()).clone());
        watched(shard.call(0, Call::Install(same)), || 0).await.1
    });
    // Whose durability changed, which partitions are new, which ones are gone.
    assert!(turns >= 3 * TOPICS / ITEMS_AT_ONCE, "{turns}");
}
