//! What is named again and again in one request costs one look.
//!
//! Promise: an answer grows with what there is, not with how often it is named; where Kafka refuses
//! a repeat, it is refused; and a flood of names is no flood of log lines.

use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    DeleteRecordsRequest, DeleteTopicsRequest, DescribeClusterRequest, DescribeProducersRequest,
    ListOffsetsRequest, MetadataRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use crate::support::{Broker, Connection, wire};

const NONE: i16 = 0;
const INVALID_REQUEST: i16 = 42;
const MISMATCHED_ENDPOINT_TYPE: i16 = 114;
const UNSUPPORTED_ENDPOINT_TYPE: i16 = 115;
/// Bits of the operations that a topic and the cluster know.
const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;
const TIMES: usize = 10_000;

fn name(text: &str) -> TopicName {
    TopicName(StrBytes::from_string(text.to_owned()))
}

/// Names that differ from `a.a.a...` in '.' and '_' only.
fn colliding(places: u32) -> impl Iterator<Item = String> {
    let sign = |set: u32, place| if set >> place & 1 == 1 { "_a" } else { ".a" };
    (1..1 << places).map(move |set| (0..places).map(|place| sign(set, place)).collect())
}

#[test]
fn a_partition_named_again_and_again_is_answered_once() {
    let broker = Broker::start("repeats");
    let mut c = Connection::open(broker.port()).expect("connecting");
    assert_eq!(c.create_topic("t", 1, &[]).expect("CreateTopics"), NONE);
    for offset in 0..3 {
        let outcome = c.produce("t", 0, -1, wire::batch(&[b"record"])).expect("Produce");
        assert_eq!(outcome, (NONE, offset));
    }

    let topic = MetadataRequestTopic::default().with_name(Some(name("t")));
    let request = MetadataRequest::default()
        .with_topics(Some(vec![topic; TIMES]))
        .with_include_topic_authorized_operations(true)
        .with_include_cluster_authorized_operations(true);
    let response = c.call(9, &request).expect("Metadata");
    assert_eq!((response.topics.len(), response.topics[0].error_code), (1, NONE));
    assert_eq!(response.topics[0].topic_authorized_operations, TOPIC_OPERATIONS);
    assert_eq!(response.cluster_authorized_operations, CLUSTER_OPERATIONS);

    let partition = ListOffsetsPartition::default().with_timestamp(-1);
    let topic = ListOffsetsTopic::default().with_name(name("t"));
    let topic = topic.with_partitions(vec![partition; 2]);
    let request = ListOffsetsRequest::default().with_replica_id((-1).into());
    let response = c.call(5, &request.with_topics(vec![topic])).expect("ListOffsets");
    let answers = &response.topics[0].partitions;
    assert!(answers.iter().all(|answer| answer.error_code == INVALID_REQUEST), "{answers:?}");

    let cut = |offset| DeleteRecordsPartition::default().with_offset(offset);
    let topic = DeleteRecordsTopic::default().with_name(name("t"));
    let topic = topic.with_partitions(vec![cut(3), cut(2), cut(1)]);
    let request = DeleteRecordsRequest::default().with_timeout_ms(10_000);
    let response = c.call(2, &request.with_topics(vec![topic])).expect("DeleteRecords");
    let [answer] = &response.topics[0].partitions[..] else { panic!("{response:?}") };
    assert_eq!((answer.error_code, answer.low_watermark), (NONE, 1), "the last one counts");

    let request = DeleteTopicsRequest::default()
        .with_timeout_ms(10_000)
        .with_topic_names(vec![name("t"), name("t")]);
    let response = c.call(5, &request).expect("DeleteTopics");
    assert!(response.responses.iter().all(|answer| answer.error_code == INVALID_REQUEST));
    assert_eq!(c.end_offset("t", 0).expect("it is still there"), 3);

    if Broker::is_kafka() {
        // It answers as often as it is asked.
        return;
    }
    let topic = TopicRequest::default().with_name(name("t")).with_partition_indexes(vec![0; TIMES]);
    let request = DescribeProducersRequest::default().with_topics(vec![topic]);
    let response = c.call(0, &request).expect("DescribeProducers");
    assert_eq!(response.topics[0].partitions.len(), 1);
}

#[test]
fn names_that_cannot_be_created_are_no_flood_of_lines() {
    if Broker::is_kafka() {
        return;
    }
    let broker = Broker::start("colliding");
    let mut c = Connection::open(broker.port()).expect("connecting");
    assert_eq!(c.create_topic(&".a".repeat(8), 1, &[]).expect("CreateTopics"), NONE);
    let topics = colliding(8);
    let topics = topics.map(|text| MetadataRequestTopic::default().with_name(Some(name(&text))));
    let request = MetadataRequest::default().with_allow_auto_topic_creation(true);
    let request = request.with_topics(Some(topics.collect()));
    for _ in 0..3 {
        let response = c.call(9, &request).expect("Metadata");
        assert_eq!(response.topics.len(), 255);
        assert!(response.topics.iter().all(|topic| topic.error_code != NONE));
    }
    let said = broker.log_tail().matches("could not be created on request").count();
    assert!((1..=5).contains(&said), "{said} lines");
}

#[test]
fn endpoints_of_brokers_are_described_and_no_others() {
    let broker = Broker::start("endpoints");
    let mut c = Connection::open(broker.port()).expect("connecting");
    for (kind, error) in [
        (1, NONE),
        (2, MISMATCHED_ENDPOINT_TYPE),
        (0, UNSUPPORTED_ENDPOINT_TYPE),
        (9, UNSUPPORTED_ENDPOINT_TYPE),
    ] {
        let request = DescribeClusterRequest::default()
            .with_endpoint_type(kind)
            .with_include_cluster_authorized_operations(true);
        let response = c.call(1, &request).expect("DescribeCluster");
        assert_eq!(response.error_code, error, "type {kind}");
        let is_told = response.cluster_authorized_operations == CLUSTER_OPERATIONS;
        assert_eq!(is_told, error == NONE, "type {kind}");
    }
}
