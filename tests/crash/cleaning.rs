//! When a shard cleans which of its compacted logs, and what it counts.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use thalweg::cluster::change::{Change, ConfigResource};
use thalweg::cluster::image::Image;
use thalweg::disk::sim::DiskImage;
use thalweg::model::{TopicPartition, Uuid};
use thalweg::partition::Partition;
use thalweg::partition::append::{Acks, ProduceBatch};
use thalweg::partition::producers::Sequenced;
use thalweg::record::BatchBuilder;
use thalweg::runtime::Runtime;
use thalweg::runtime::sim::{SimRuntime, SimWorld};

use crate::data_dir;
use crate::shard::{add_topic, start_shard};

const TOPIC: Uuid = Uuid([8; 16]);

/// A compacted topic whose logs are sealed after a second. Nothing is so dirty that its share alone
/// asks for a cleaning, but nothing may wait for longer than a minute.
fn compacted() -> Image {
    let mut image = Image::default();
    add_topic(&mut image, "t", TOPIC);
    for (key, value) in [
        ("cleanup.policy", "compact"),
        ("segment.ms", "1000"),
        ("min.cleanable.dirty.ratio", "1.0"),
        ("max.compaction.lag.ms", "60000"),
    ] {
        let resource = ConfigResource::Topic("t".into());
        let (key, value) = (key.to_owned(), Some(value.to_owned()));
        image.apply(&Change::Config { resource, key, value }).unwrap();
    }
    image
}

/// A batch of one record of the only key.
fn batch(timestamp: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::default();
    builder.append(timestamp, Some(b"key"), Some(&[7; 1000]), &[]).unwrap();
    builder.finish().unwrap().to_vec()
}

async fn produce(partition: &Rc<Partition<SimRuntime>>, bytes: Vec<u8>, now: i64) {
    let batch = ProduceBatch {
        bytes: Bytes::from(bytes),
        sequenced: Sequenced { producer_id: -1, epoch: -1, base_sequence: -1, records: 1 },
        max_timestamp: now,
        log_append_time_ms: -1,
    };
    partition.append(batch, Acks::All).await.unwrap().unwrap();
}

#[test]
fn an_idle_log_is_sealed_in_its_time_and_cleaned_when_it_has_waited_too_long() {
    let world = SimWorld::new(1, DiskImage::with_dir(&data_dir()));
    let runtime = world.runtime();
    world.run(async move {
        let shard = start_shard(runtime.clone(), compacted()).await;
        let id = TopicPartition { topic_id: TOPIC, partition: 0 };
        let partition = shard.partition(id).unwrap();
        for _ in 0..5 {
            produce(&partition, batch(runtime.wall_ms()), runtime.wall_ms()).await;
        }
        let (log, stats) = (partition.log(), shard.store().stats());
        assert!(!shard.clean_dirtiest().await);
        assert_eq!((log.segments().len(), stats.dirtiest_log_percent.get()), (1, 0));

        runtime.sleep(Duration::from_secs(2)).await;
        assert!(!shard.clean_dirtiest().await, "nothing has waited for a minute");
        assert_eq!((log.segments().len(), stats.dirtiest_log_percent.get()), (2, 100));
        let before = log.segments()[0].bytes;

        runtime.sleep(Duration::from_secs(60)).await;
        assert!(shard.clean_dirtiest().await);
        let after = log.segments()[0].bytes;
        assert_eq!(after * 5, before, "one of five records is left");
        assert_eq!(stats.cleanings.get(), 1);
        assert_eq!((stats.cleaned_bytes.get(), stats.cleaned_kept_bytes.get()), (before, after));

        assert!(!shard.clean_dirtiest().await, "it is clean");
        assert_eq!((stats.cleanings.get(), stats.dirtiest_log_percent.get()), (1, 0));
        assert_eq!(stats.uncleanable_logs.get(), 0);
    });
}

#[test]
fn a_log_that_cannot_be_cleaned_is_counted_and_left_alone() {
    let world = SimWorld::new(2, DiskImage::with_dir(&data_dir()));
    let runtime = world.runtime();
    world.run(async move {
        let shard = start_shard(runtime.clone(), compacted()).await;
        let id = TopicPartition { topic_id: TOPIC, partition: 0 };
        let partition = shard.partition(id).unwrap();
        for number in 0..3 {
            let mut bytes = batch(runtime.wall_ms());
            // As if it had rotted: nobody who produces gets here with a wrong checksum.
            bytes[100] ^= u8::from(number == 1);
            produce(&partition, bytes, runtime.wall_ms()).await;
        }
        runtime.sleep(Duration::from_secs(62)).await;
        let segments = partition.log().segments();
        for _ in 0..2 {
            assert!(!shard.clean_dirtiest().await);
        }
        assert_eq!(partition.log().segments()[0].bytes, segments[0].bytes);
        let stats = shard.store().stats();
        assert_eq!((stats.uncleanable_logs.get(), stats.cleanings.get()), (1, 0));
    });
}
