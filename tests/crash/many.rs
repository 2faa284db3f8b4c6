//! Very many topics in one change of the metadata: what a shard does with them in turns, and what
//! it asks of the disk.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::future::poll_fn;

use thalweg::cluster::change::Change;
use thalweg::cluster::image::Image;
use thalweg::disk::sim::DiskImage;
use thalweg::model::Uuid;
use thalweg::runtime::sim::{SimRuntime, SimWorld};
use thalweg::shard::Shard;
use thalweg::shard::call::{Call, Reply};

use crate::data_dir;
use crate::shard::{add_topic, start_shard};

const TOPICS: usize = 5000;
/// Turns that each walk over all of them takes at the least.
const TURNS: usize = 5;

/// A world in which `test` has run on a shard without topics.
fn on_a_shard<F: Future<Output = ()> + 'static>(
    test: impl FnOnce(Rc<Shard<SimRuntime>>) -> F + 'static,
) {
    let world = SimWorld::new(1, DiskImage::with_dir(&data_dir()));
    let runtime = world.runtime();
    let done = world.run(async move {
        test(start_shard(runtime, Image::default()).await).await;
    });
    assert_eq!(done, Some(()), "the run comes to its end");
}

fn many_topics() -> Image {
    let mut image = Image::default();
    for number in 0..TOPICS {
        add_topic(&mut image, &format!("topic-{number}"), Uuid::random());
    }
    image
}

async fn install(shard: &Rc<Shard<SimRuntime>>, image: Image) {
    let reply = shard.call(0, Call::Install(Arc::new(image))).await;
    assert!(matches!(reply, Reply::Install(failures) if failures.is_empty()));
}

/// How often `work` has to be asked until it is done, and others go first in between.
async fn turns(work: impl Future<Output = ()>) -> usize {
    let (mut work, turns) = (pin!(work), Cell::new(0));
    poll_fn(|cx| {
        turns.set(turns.get() + 1);
        work.as_mut().poll(cx)
    })
    .await;
    turns.get()
}

#[test]
fn logs_are_created_and_deleted_with_few_flushes() {
    on_a_shard(|shard| async move {
        let flushes = || shard.store().stats().journal_flushes.get();
        install(&shard, many_topics()).await;
        assert_eq!(shard.partitions().len(), TOPICS);
        let created = flushes();
        assert!(created < TOPICS as u64 / 10, "{created} flushes for the creation");
        install(&shard, Image::default()).await;
        assert_eq!(shard.partitions().len(), 0);
        let deleted = flushes() - created;
        assert!(deleted < TOPICS as u64 / 10, "{deleted} flushes for the deletion");
    });
}

#[test]
fn a_change_lets_others_go_first_however_many_topics_there_are() {
    on_a_shard(|shard| async move {
        install(&shard, many_topics()).await;
        let mut image = Image::clone(&shard.image());
        let change = Change::ProducerIds { next: 1 };
        image.apply(&change).unwrap();
        // Once over the topics that are, once over those that were.
        let turns = turns(install(&shard, image)).await;
        assert!(turns > 2 * TURNS, "all topics are looked at in {turns} turns");
    });
}

#[test]
fn a_checkpoint_lets_others_go_first_however_many_logs_have_changed() {
    on_a_shard(|shard| async move {
        install(&shard, many_topics()).await;
        let checkpoints = || shard.store().stats().checkpoints.get();
        let before = checkpoints();
        // Sealing has nothing to do; what is left is the checkpoint.
        let close = async { shard.store().close().await.unwrap() };
        let turns = turns(close).await;
        assert_eq!(checkpoints(), before + 1);
        // Once over what has changed, once over each record of it.
        assert!(turns > 3 * TURNS, "all logs are looked at in {turns} turns");
    });
}
