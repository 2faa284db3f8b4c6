//! Connections that stand still: with half a frame sent, with answers not read, with the line hung
//! up in the middle of a wait.
//!
//! Promise: whatever one connection does or leaves undone, others are served.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{DescribeConfigsRequest, FetchRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use crate::page::{counted, free_port, page};
use crate::support::{Broker, Connection, Options, wire};

const TOPIC: &str = "large";
const NEIGHBOUR: &str = "neighbour";
/// Longer than the broker bears who stands still, shorter than what it waits for idle ones.
const PATIENCE: Duration = Duration::from_secs(20);
const MIB: usize = 1 << 20;
const FETCH_VERSION: i16 = 12;
const CONFIGS_VERSION: i16 = 4;

/// A broker of `shards` shards with these settings, and the port of its metrics.
fn broker(name: &str, shards: &str, settings: &[&str]) -> (Broker, u16) {
    let metrics = free_port();
    let address = format!("127.0.0.1:{metrics}");
    let mut arguments = vec!["--shards", shards, "--metrics", &address];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    (Broker::start_with(name, Options::with_arguments(&arguments)), metrics)
}

/// Wait until a count of the metrics page is as it should be.
fn await_count(metrics: u16, name: &str, is_right: impl Fn(u64) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let count = counted(&page(metrics), name, "");
        if is_right(count) {
            return;
        }
        assert!(Instant::now() < deadline, "{name} is {count}");
    }
}

/// A neighbour with a topic of its own and one record in it.
fn neighbour(broker: &Broker) -> Connection {
    let mut connection = Connection::open(broker.port()).expect("connecting");
    assert_eq!(connection.create_topic(NEIGHBOUR, 2, &[]).expect("CreateTopics"), 0);
    let stored = connection.produce(NEIGHBOUR, 0, 1, wire::batch(&[b"mine"])).expect("Produce");
    assert_eq!(stored, (0, 0));
    connection.set_timeout(PATIENCE);
    connection
}

/// A fetch of at most `bytes` from the beginning of the first two partitions.
fn fetch(topic: &'static str, bytes: usize, wait_ms: i32) -> FetchRequest {
    let bytes = i32::try_from(bytes).expect("a short answer");
    let partition = |index| {
        FetchPartition::default()
            .with_partition(index)
            .with_current_leader_epoch(-1)
            .with_partition_max_bytes(bytes)
    };
    let topic = FetchTopic::default()
        .with_topic(TopicName(StrBytes::from_static_str(topic)))
        .with_partitions(vec![partition(0), partition(1)]);
    FetchRequest::default()
        .with_max_wait_ms(wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(bytes)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

/// Much to answer: the configuration of the broker `times` over, some 20 kB each.
fn configs(times: usize) -> DescribeConfigsRequest {
    let own = DescribeConfigsResource::default()
        .with_resource_type(4)
        .with_resource_name(StrBytes::from_static_str("1"))
        .with_configuration_keys(None);
    DescribeConfigsRequest::default()
        .with_include_documentation(true)
        .with_include_synonyms(true)
        .with_resources(vec![own; times])
}

/// Several consumers read nothing of what they asked for, one of them asks again and again.
#[test]
fn answers_that_are_not_taken_leave_room_for_other_consumers() {
    let settings = ["thalweg.fetch.memory.bytes.max=16777216"];
    let (broker, metrics) = broker("not-taken", "1", &settings);
    let mut neighbour = neighbour(&broker);
    assert_eq!(neighbour.create_topic(TOPIC, 2, &[]).expect("CreateTopics"), 0);
    let batch = wire::batch(&[&vec![b'l'; 900_000]]);
    for _ in 0..20 {
        assert_eq!(neighbour.produce(TOPIC, 0, 1, batch.clone()).expect("Produce").0, 0);
    }
    let mut strangers = Vec::new();
    for requests in [8, 1, 1, 1] {
        let mut stranger = Connection::open(broker.port()).expect("connecting");
        for _ in 0..requests {
            stranger.send(FETCH_VERSION, &fetch(TOPIC, 16 * MIB, 0)).expect("asking");
        }
        strangers.push(stranger);
    }
    for _ in 0..20 {
        let (error, _, records) = neighbour.fetch(NEIGHBOUR, 0, 0).expect("beside them");
        assert_eq!((error, records.len()), (0, 1));
    }
    let closed = counted(&page(metrics), "thalweg_connections_slow_closed_total", "");
    assert_eq!(closed, 0, "there was room without anybody's end");
}

/// One answer that is larger than all the memory for answers, and is not read.
#[test]
fn an_answer_in_the_way_of_others_is_cut_off() {
    let settings = ["thalweg.fetch.memory.bytes.max=1048576"];
    let (broker, metrics) = broker("in-the-way", "1", &settings);
    let mut neighbour = neighbour(&broker);
    let sizes = [("max.message.bytes", "33554432")];
    assert_eq!(neighbour.create_topic(TOPIC, 2, &sizes).expect("CreateTopics"), 0);
    let batch = wire::batch(&[&vec![b'l'; 24 * MIB]]);
    assert_eq!(neighbour.produce(TOPIC, 0, 1, batch).expect("Produce").0, 0);
    let mut stranger = Connection::open(broker.port()).expect("connecting");
    stranger.send(FETCH_VERSION, &fetch(TOPIC, MIB, 0)).expect("asking");
    await_count(metrics, "thalweg_response_bytes_total", |count| count > 24 << 20);
    let (error, _, records) = neighbour.fetch(NEIGHBOUR, 0, 0).expect("beside it");
    assert_eq!((error, records.len()), (0, 1));
    assert_eq!(counted(&page(metrics), "thalweg_connections_slow_closed_total", ""), 1);
    let said = broker.log_until("closed a connection");
    assert!(said.contains("the client takes no answers"), "{said}");
    assert!(said.contains("while others waited for memory"), "{said}");
}

/// Many large answers are asked for and none is read: the broker stops answering.
#[test]
fn answers_that_are_not_taken_are_few() {
    let settings = ["thalweg.connection.bytes.max=1048576"];
    let (broker, _) = broker("few-answers", "1", &settings);
    let mut neighbour = neighbour(&broker);
    // The first answers teach the allocator what it needs.
    let first = neighbour.call(CONFIGS_VERSION, &configs(50)).expect("DescribeConfigs");
    assert_eq!(first.results.len(), 50);
    let before = broker.resident_bytes();
    let mut stranger = Connection::open(broker.port()).expect("connecting");
    let ids: Vec<i32> =
        (0..40).map(|_| stranger.send(CONFIGS_VERSION, &configs(50)).expect("asking")).collect();
    // One of its requests at most between two of ours.
    for turn in 0..80 {
        let stored = neighbour.produce(NEIGHBOUR, 1, 1, wire::batch(&[b"n"])).expect("Produce");
        assert_eq!(stored, (0, turn));
    }
    let growth = broker.resident_bytes().saturating_sub(before);
    assert!(growth < 16 << 20, "answers that nobody takes hold {growth} bytes");
    for id in ids {
        let answer = stranger.receive::<DescribeConfigsRequest>(CONFIGS_VERSION, id);
        assert_eq!(answer.expect("every answer, once it is read").results.len(), 50);
    }
}

/// Requests that are there all at once have the shard for one after the other, not for all.
#[test]
fn pipelined_requests_give_way_between_two() {
    const REQUESTS: u32 = 30;
    let (broker, _) = broker("give-way", "1", &[]);
    let mut neighbour = neighbour(&broker);
    let mut stranger = Connection::open(broker.port()).expect("connecting");
    let one = wire::frame(32, CONFIGS_VERSION, 1, &configs(20));
    let begun = Instant::now();
    stranger.write_raw(&one.repeat(REQUESTS as usize)).expect("asking");
    stranger.read_frame().expect("the first answer");
    neighbour.fetch(NEIGHBOUR, 0, 0).expect("in between");
    let in_between = begun.elapsed();
    for _ in 1..REQUESTS {
        stranger.read_frame().expect("the other answers");
    }
    let all = begun.elapsed();
    assert!(in_between < all / 3, "the neighbour waited {in_between:?} of {all:?}");
}

/// Frames of which a part has come use up the memory for frames, and then nothing comes.
#[test]
fn half_frames_are_not_in_the_way_of_whole_ones() {
    let settings = ["socket.request.max.bytes=2097152", "thalweg.frame.memory.bytes.max=2097152"];
    let (broker, metrics) = broker("half-frames-wait", "1", &settings);
    let mut neighbour = neighbour(&broker);
    let mut strangers = Vec::new();
    for _ in 0..4 {
        let mut stranger = Connection::open(broker.port()).expect("connecting");
        let mut part = (2 * MIB as i32 - 1).to_be_bytes().to_vec();
        part.extend_from_slice(&[0; 1900 << 10]);
        stranger.write_raw(&part).expect("a part of a frame");
        strangers.push(stranger);
    }
    let small = neighbour.produce(NEIGHBOUR, 0, 1, wire::batch(&[b"small"])).expect("Produce");
    assert_eq!(small, (0, 1));
    let large: Bytes = wire::batch(&[&vec![b'l'; 800_000]]);
    assert_eq!(neighbour.produce(NEIGHBOUR, 0, 1, large).expect("Produce"), (0, 2));
    await_count(metrics, "thalweg_connections_slow_closed_total", |count| count > 0);
    assert_eq!(counted(&page(metrics), "thalweg_connections_idle_closed_total", ""), 0);
    let said = broker.log_until("closed a connection");
    assert!(said.contains("while others waited for memory"), "{said}");
    assert!(!said.contains("connections.max.idle.ms"), "{said}");
}

/// Consumers that go while they wait for records are gone, on every shard.
#[test]
fn who_hangs_up_during_a_long_poll_is_forgotten() {
    let (mut broker, metrics) = broker("hang-up", "2", &[]);
    let _neighbour = neighbour(&broker);
    let polls: Vec<Connection> = (0..20).map(|_| waiting(&broker)).collect();
    await_count(metrics, "thalweg_waiting_fetches", |count| count == 20);
    drop(polls);
    await_count(metrics, "thalweg_waiting_fetches", |count| count == 0);
    await_count(metrics, "thalweg_connections_open", |count| count == 1);
    // Who has only finished sending is answered.
    let mut half_closed = Connection::open(broker.port()).expect("connecting");
    half_closed.send(FETCH_VERSION, &fetch(NEIGHBOUR, MIB, 0)).expect("asking");
    half_closed.finish_writing().expect("finishing");
    half_closed.read_frame().expect("what there is");
    let _waits = waiting(&broker);
    await_count(metrics, "thalweg_waiting_fetches", |count| count == 1);
    let begun = Instant::now();
    broker.stop();
    assert!(begun.elapsed() < Duration::from_secs(4), "it stopped after {:?}", begun.elapsed());
}

/// A consumer that waits: behind the only record of one partition, in the other for the first.
fn waiting(broker: &Broker) -> Connection {
    let mut consumer = Connection::open(broker.port()).expect("connecting");
    let mut request = fetch(NEIGHBOUR, MIB, 60_000);
    request.topics[0].partitions[0].fetch_offset = 1;
    consumer.send(FETCH_VERSION, &request).expect("asking");
    consumer
}
