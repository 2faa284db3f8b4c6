//! A whole shard on a simulated disk.

use std::rc::Rc;
use std::sync::Arc;

use thalweg::cluster::change::Change;
use thalweg::cluster::image::{Image, PartitionState};
use thalweg::config::Config;
use thalweg::model::{TopicName, TopicPartition, Uuid};
use thalweg::runtime::sim::SimRuntime;
use thalweg::runtime::{Queue, Runtime};
use thalweg::shard::Shard;
use thalweg::shard::call::{Call, Reply};
use thalweg::shard::control::topic_settings;
use thalweg::shard::mesh::Mesh;
use thalweg::storage::{self, Owner, StorageConfig, Store};

/// Add a topic of one partition.
pub(crate) fn add_topic(image: &mut Image, name: &str, id: Uuid) {
    let state = PartitionState::new_on(1, Vec::new());
    image.apply(&Change::Topic { id, name: TopicName::new(name).unwrap() }).unwrap();
    image.apply(&Change::Partition { topic_id: id, index: 0, state }).unwrap();
}

/// A shard on what is on the disk, with these topics; its groups begin to load.
pub(crate) async fn start_shard(runtime: SimRuntime, image: Image) -> Rc<Shard<SimRuntime>> {
    start_shard_with(runtime, image, &[]).await
}

/// The same with settings of its own.
pub(crate) async fn start_shard_with(
    runtime: SimRuntime,
    image: Image,
    settings: &[(&str, &str)],
) -> Rc<Shard<SimRuntime>> {
    let settings = [&[("log.dirs", "/data"), ("thalweg.shards", "1")], settings].concat();
    let (config, image) = (Arc::new(Config::from_pairs(&settings).unwrap()), Arc::new(image));
    let storage = StorageConfig::from(&*config);
    let owner = |id: TopicPartition| match image.topic_by_id(id.topic_id) {
        Some(_) => Owner::Shard(0, topic_settings(&config, &image, id).0),
        None => Owner::Unknown,
    };
    let mut starts = storage::recover(&runtime, &storage, 1, &owner).await.unwrap();
    let store = Store::open(runtime.clone(), storage, starts.remove(0)).await.unwrap();
    let mesh = Mesh::alone();
    let shard = Shard::new(0, 1, runtime, config, mesh, store.clone(), None);
    for (log, replay) in store.take_recovered() {
        shard.adopt(&image, log, &replay).unwrap();
    }
    shard.runtime.spawn(Queue::Network, shard.clone().tend_groups());
    assert!(matches!(shard.call(0, Call::Install(image)).await, Reply::Install(f) if f.is_empty()));
    shard
}
