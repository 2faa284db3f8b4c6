//! Batches against `segment.bytes`: those of producers have to fit, those of the broker need not.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, OffsetFetchRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use crate::support::{Broker, Connection, Options, wire};

const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
const RECORD_LIST_TOO_LARGE: i16 = 18;
/// The least that segment.bytes may be.
const SEGMENT: usize = 1 << 20;

/// A batch of exactly so many bytes.
fn batch(bytes: usize) -> Bytes {
    let mut batches = (0..100).map(|less| wire::batch(&[&vec![b'x'; bytes - less]]));
    batches.find(|batch| batch.len() == bytes).expect("a record takes less than 100 bytes more")
}

#[test]
fn a_batch_larger_than_a_segment_is_refused() {
    let broker = Broker::start("large-batches");
    let mut c = Connection::open(broker.port()).expect("connecting");
    let configs = [("segment.bytes", "1048576"), ("max.message.bytes", "4000000")];
    assert_eq!(c.create_topic("t", 1, &configs).expect("CreateTopics"), 0);
    let mut produce = |bytes| c.produce("t", 0, -1, batch(bytes)).expect("Produce");
    assert_eq!(produce(SEGMENT), (0, 0));
    assert_eq!(produce(SEGMENT + 1).0, RECORD_LIST_TOO_LARGE);
    assert_eq!(produce(3 * SEGMENT).0, RECORD_LIST_TOO_LARGE);
    // A request that was refused leaves no gap.
    assert_eq!(produce(SEGMENT), (0, 1));
}

/// What one request commits is one batch, whatever the segments of __consumer_offsets are.
#[test]
fn offsets_of_one_request_may_be_more_than_a_segment() {
    const PARTITIONS: i32 = 400;
    let setting = format!("--set=offsets.topic.segment.bytes={SEGMENT}");
    let mut broker = Broker::start_with("large-commits", Options::with_arguments(&[&setting]));
    let mut c = Connection::open(broker.port()).expect("connecting");
    let topic = || TopicName(StrBytes::from_static_str("t"));
    assert_eq!(c.create_topic("t", PARTITIONS, &[]).expect("CreateTopics"), 0);
    assert_eq!(c.find_coordinator("g").expect("FindCoordinator"), 0);
    let metadata = StrBytes::from_string("m".repeat(4096));
    let partition = |index| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(i64::from(index))
            .with_committed_metadata(Some(metadata.clone()))
    };
    let topics = OffsetCommitRequestTopic::default()
        .with_name(topic())
        .with_partitions((0..PARTITIONS).map(partition).collect());
    let group = || GroupId(StrBytes::from_static_str("g"));
    let commit = OffsetCommitRequest::default().with_group_id(group()).with_topics(vec![topics]);
    for _ in 0..3 {
        let answer = c.call(8, &commit).expect("OffsetCommit");
        assert!(answer.topics[0].partitions.iter().all(|p| p.error_code == 0));
    }
    broker.kill();
    broker.restart();
    let mut c = Connection::open(broker.port()).expect("connecting");
    let wanted = OffsetFetchRequestTopic::default()
        .with_name(topic())
        .with_partition_indexes((0..PARTITIONS).collect());
    let fetch =
        OffsetFetchRequest::default().with_group_id(group()).with_topics(Some(vec![wanted]));
    let begun = Instant::now();
    let answer = loop {
        assert!(begun.elapsed() < Duration::from_secs(30), "the group is still being loaded");
        let answer = c.call(7, &fetch).expect("OffsetFetch");
        if answer.error_code != COORDINATOR_LOAD_IN_PROGRESS {
            break answer;
        }
    };
    assert_eq!(answer.error_code, 0);
    for partition in &answer.topics[0].partitions {
        assert_eq!(partition.committed_offset, i64::from(partition.partition_index));
    }
}
