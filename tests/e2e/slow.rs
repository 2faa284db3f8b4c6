//! Connections that stand still: with half a frame sent, with answers not read.
//!
//! Promise: whatever one connection does or leaves undone, others are served.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{FetchRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use crate::page::{counted, free_port, page};
use crate::support::{Broker, Connection, Options, wire};

const TOPIC: &str = "large";
const NEIGHBOUR: &str = "neighbour";
/// Longer than the broker bears who stands still, shorter than what it waits for idle ones.
const PATIENCE: Duration = Duration::from_secs(20);
const MIB: usize = 1 << 20;
const FETCH_VERSION: i16 = 12;

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
