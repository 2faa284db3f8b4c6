//! Strangers: bytes that are no Kafka, frames that lie, requests cut short or changed.
//!
//! Promise: whatever a connection sends, the broker lives, keeps its memory and goes on serving a
//! neighbour; a connection that sends no Kafka is closed.

use std::time::Duration;

use bytes::BytesMut;
use kafka_protocol::messages::alter_replica_log_dirs_request::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic,
};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    AlterReplicaLogDirsRequest, ApiKey, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeConfigsRequest, FetchRequest, ListOffsetsRequest, MetadataRequest, RequestKind,
    TopicName,
};
use kafka_protocol::protocol::StrBytes;

use crate::support::{Broker, Connection, wire};

const NEIGHBOUR: &str = "neighbour";
/// What a closed door may take on a busy machine.
const CLOSING: Duration = Duration::from_secs(10);
/// Enough for the broker to have read and judged a frame; what it answers does not matter.
const GLANCE: Duration = Duration::from_millis(2);
/// Requests that mutate, sent between two looks at the neighbour.
const BETWEEN_LOOKS: usize = 200;
/// Memory that a few thousand refused requests may leave behind.
const GROWTH: u64 = 64 << 20;

/// One that behaves, before, between and after the strangers.
struct Neighbour {
    connection: Connection,
    produced: i64,
}

impl Neighbour {
    fn move_in(broker: &Broker) -> Self {
        let mut connection = Connection::open(broker.port()).expect("connecting");
        assert_eq!(connection.create_topic(NEIGHBOUR, 1, &[]).expect("CreateTopics"), 0);
        Self { connection, produced: 0 }
    }

    /// Its old connection still works, and so does a new one.
    fn looks(&mut self, broker: &mut Broker, after: &str) {
        broker.assert_alive();
        let batch = wire::batch(&[after.as_bytes()]);
        let outcome = self.connection.produce(NEIGHBOUR, 0, 1, batch);
        let outcome = outcome.unwrap_or_else(|error| panic!("after {after}: {error}"));
        assert_eq!(outcome, (0, self.produced), "the neighbour's produce after {after}");
        let mut fresh = Connection::open(broker.port()).expect("connecting");
        let (error, _, records) = fresh.fetch(NEIGHBOUR, 0, self.produced).expect("Fetch");
        assert_eq!(error, 0, "the neighbour's fetch after {after}");
        assert_eq!(records[0].1, after.as_bytes(), "the neighbour's record after {after}");
        self.produced += 1;
    }
}

/// A frame with a true length around any bytes.
fn framed(body: &[u8]) -> Vec<u8> {
    let mut frame = i32::try_from(body.len()).expect("a short body").to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    frame
}

/// Key, version, correlation id 7, and whatever comes then.
fn header(key: i16, version: i16, rest: &[u8]) -> Vec<u8> {
    let mut body = key.to_be_bytes().to_vec();
    body.extend_from_slice(&version.to_be_bytes());
    body.extend_from_slice(&7_i32.to_be_bytes());
    body.extend_from_slice(rest);
    framed(&body)
}

/// Numbers without a pattern, the same ones in each run (xorshift64).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

#[test]
fn what_is_no_kafka_is_closed() {
    let mut broker = Broker::start("no-kafka");
    let mut neighbour = Neighbour::move_in(&broker);
    let tls_hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03stranger in a hurry";
    let strangers: [(&str, Vec<u8>); 12] = [
        ("a TLS hello", tls_hello.repeat(20)),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("SSH", b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec()),
        ("a negative length", (-1_i32).to_be_bytes().to_vec()),
        ("the lowest length", i32::MIN.to_be_bytes().to_vec()),
        ("the highest length", i32::MAX.to_be_bytes().to_vec()),
        ("a length just above the limit", (104_857_601_i32).to_be_bytes().to_vec()),
        ("an empty frame", framed(b"")),
        ("half a header", framed(&[0, 3, 0])),
        ("an API that does not exist", header(9999, 0, b"\xff\xff")),
        ("a negative API", header(-5, 0, b"\xff\xff")),
        ("a version that does not exist", header(3, 9999, b"\xff\xff")),
    ];
    for (name, bytes) in strangers {
        let mut stranger = Connection::open(broker.port()).expect("connecting");
        // The broker may close before everything is written.
        let _ = stranger.write_raw(&bytes);
        assert!(stranger.closes_within(CLOSING), "{name} was not shown the door");
        neighbour.looks(&mut broker, name);
    }
}

#[test]
fn lengths_that_lie_inside_a_frame_are_closed() {
    let mut broker = Broker::start("lying-lengths");
    let mut neighbour = Neighbour::move_in(&broker);
    let strangers: [(&str, Vec<u8>); 6] = [
        ("a client id longer than the frame", header(3, 1, b"\x7f\xffclient")),
        ("a negative client id", header(3, 1, b"\x80\x00")),
        ("an array of 2^31-1 topics", header(3, 1, b"\xff\xff\x7f\xff\xff\xff")),
        ("a compact array of 2^32-2 topics", header(3, 12, b"\xff\xff\x00\xff\xff\xff\xff\x0f")),
        ("a varint without an end", header(3, 12, &[0xff; 40])),
        ("2^32-1 tagged fields", header(3, 12, b"\xff\xff\xff\xff\xff\xff\x0f\x00")),
    ];
    for (name, bytes) in strangers {
        let mut stranger = Connection::open(broker.port()).expect("connecting");
        let _ = stranger.write_raw(&bytes);
        assert!(stranger.closes_within(CLOSING), "{name} was not shown the door");
        neighbour.looks(&mut broker, name);
    }
}

#[test]
fn half_frames_and_noise_harm_nobody() {
    let mut broker = Broker::start("half-frames");
    let mut neighbour = Neighbour::move_in(&broker);
    let whole = wire::frame(3, 12, 1, &metadata());
    for cut in 0..whole.len() {
        let mut stranger = Connection::open(broker.port()).expect("connecting");
        stranger.write_raw(&whole[..cut]).expect("writing");
        // Dropped here: the frame never ends.
    }
    neighbour.looks(&mut broker, "half frames");
    let mut noise = Noise(20_261_121);
    for _ in 0..300 {
        let mut stranger = Connection::open(broker.port()).expect("connecting");
        let length = 1 + noise.next() as usize % 400;
        let bytes = noise.bytes(length);
        // Half of it with a true length before it, so that it gets past the frame.
        let bytes = if noise.next().is_multiple_of(2) { framed(&bytes) } else { bytes };
        let _ = stranger.write_raw(&bytes);
        let _ = stranger.finish_writing();
        assert!(stranger.closes_within(CLOSING), "noise {bytes:?} keeps a connection");
    }
    neighbour.looks(&mut broker, "noise");
}

/// Not hostile, only careless: librdkafka sends three bytes behind a Metadata request for all
/// topics, and Kafka passes over them.
#[test]
fn bytes_behind_a_request_are_passed_over() {
    let broker = Broker::start("bytes-behind");
    let mut connection = Connection::open(broker.port()).expect("connecting");
    let whole = wire::frame(3, 12, 1, &metadata());
    connection.write_raw(&framed(&[&whole[4..], b"\0\0\0"].concat())).expect("writing");
    let answer = connection.receive::<MetadataRequest>(12, 1).expect("an answer");
    assert_eq!(answer.topics[0].name, Some(name("stranger")));
    connection.api_versions().expect("and the connection goes on");
}

/// A line of the log is the broker's, whatever a client calls itself.
#[test]
fn what_a_client_calls_itself_is_quoted_in_the_log() {
    if Broker::is_kafka() {
        return;
    }
    let broker = Broker::start("forged-lines");
    let mut stranger = Connection::open(broker.port()).expect("connecting");
    let forged = b"evil\nERROR \x1b[31mforged";
    let length = i16::try_from(forged.len()).expect("a short name").to_be_bytes();
    let request = header(3, 9999, &[&length[..], forged, b"\0"].concat());
    stranger.write_raw(&request).expect("writing");
    assert!(stranger.closes_within(CLOSING));
    let said = broker.log_until("closed a connection");
    assert!(said.contains(r"evil\nERROR \u{1b}[31mforged"), "{said}");
}

#[test]
fn what_is_named_too_often_is_not_answered() {
    if Broker::is_kafka() {
        return;
    }
    let mut broker = Broker::start("hostile-repeats");
    let mut neighbour = Neighbour::move_in(&broker);
    let mut stranger = Connection::open(broker.port()).expect("connecting");
    for times in [19_000, 30_000] {
        // The whole configuration of the broker is some 20 kB.
        let own = DescribeConfigsResource::default()
            .with_resource_type(4)
            .with_resource_name(StrBytes::from_static_str("1"))
            .with_configuration_keys(None);
        let request = DescribeConfigsRequest::default()
            .with_include_documentation(true)
            .with_include_synonyms(true)
            .with_resources(vec![own; times]);
        assert!(stranger.call(4, &request).is_err(), "{times} times");
        stranger = Connection::open(broker.port()).expect("connecting");
    }
    // Too many partitions in one topic, too many in small topics, too many directories.
    for (dirs, topics, partitions) in [(1, 1, 200_001), (3, 70_000, 0), (20_001, 0, 0)] {
        let topic = AlterReplicaLogDirTopic::default()
            .with_name(name("stranger"))
            .with_partitions(vec![0; partitions]);
        let dir = AlterReplicaLogDir::default().with_topics(vec![topic; topics]);
        let request = AlterReplicaLogDirsRequest::default().with_dirs(vec![dir; dirs]);
        assert!(stranger.call(2, &request).is_err(), "{dirs} x {topics} x {partitions}");
        stranger = Connection::open(broker.port()).expect("connecting");
    }
    // Nothing is done of it: what a request names is counted while it is read.
    for (topics, partitions) in [(1, 200_001), (20_001, 1)] {
        let batch = wire::batch(&[b"once"]);
        let mut request = wire::produce_request(NEIGHBOUR, 0, 1, batch);
        let entries = &mut request.topic_data[0].partition_data;
        *entries = vec![entries[0].clone().with_records(None); partitions];
        request.topic_data = vec![request.topic_data[0].clone(); topics];
        assert!(stranger.call(wire::PRODUCE_VERSION, &request).is_err(), "{topics}, {partitions}");
        stranger = Connection::open(broker.port()).expect("connecting");
        let names = vec![Some(name("")); topics];
        let request =
            DeleteTopicsRequest::default().with_topic_names(names.into_iter().flatten().collect());
        assert_eq!(stranger.call(5, &request).is_err(), topics > 20_000);
        stranger = Connection::open(broker.port()).expect("connecting");
    }
    let said = broker.log_tail();
    for key in ["topics", "partitions"] {
        let fix = format!("ask in parts, or raise thalweg.request.{key}.max");
        assert!(said.contains(&fix), "{fix} is not said: {said}");
    }
    neighbour.looks(&mut broker, "repeats");
}

/// Every API that the broker lists, at its lowest and highest version: cut at each byte, and with
/// each byte changed to several others.
#[test]
fn every_request_cut_short_or_changed_harms_nobody() {
    let mut broker = Broker::start("mutations");
    let mut neighbour = Neighbour::move_in(&broker);
    let apis = neighbour.connection.api_versions().expect("ApiVersions");
    let before = broker.resident_bytes();
    let mut sent = 0_usize;
    for (key, lowest, highest) in apis {
        for version in [lowest, highest] {
            let Some(whole) = sample(key, version) else { continue };
            for changed in damaged(&whole) {
                throw(&broker, &changed);
                sent += 1;
                if sent.is_multiple_of(BETWEEN_LOOKS) {
                    neighbour.looks(&mut broker, &format!("damaged requests of API {key}"));
                }
            }
        }
    }
    neighbour.looks(&mut broker, "all damaged requests");
    assert!(sent > 2000, "only {sent} requests were tried: the list of APIs is too short");
    let growth = broker.resident_bytes().saturating_sub(before);
    // A Java heap grows until it is collected: nothing is told by its size.
    assert!(
        Broker::is_kafka() || growth < GROWTH,
        "{sent} damaged requests left {growth} bytes behind"
    );
}

/// Sends a frame, glances at the answer and goes.
fn throw(broker: &Broker, bytes: &[u8]) {
    let mut stranger = Connection::open(broker.port()).expect("connecting");
    stranger.set_timeout(GLANCE);
    let _ = stranger.write_raw(bytes);
    let _ = stranger.read_frame();
}

/// The frame cut behind its header at each byte (its length made true), and with bytes changed.
fn damaged(whole: &[u8]) -> Vec<Vec<u8>> {
    let body = &whole[4..];
    let mut all: Vec<Vec<u8>> = (8..body.len()).map(|cut| framed(&body[..cut])).collect();
    for place in 8..body.len() {
        for value in [0, 0x7f, 0x80, 0xff, body[place] ^ 1] {
            let mut changed = body.to_vec();
            changed[place] = value;
            all.push(framed(&changed));
        }
    }
    all
}

fn name(text: &'static str) -> TopicName {
    TopicName(StrBytes::from_static_str(text))
}

fn metadata() -> MetadataRequest {
    let topic = MetadataRequestTopic::default().with_name(Some(name("stranger")));
    MetadataRequest::default().with_topics(Some(vec![topic]))
}

/// A request of an API worth damaging: with something in its arrays where the API matters most.
fn sample(key: i16, version: i16) -> Option<BytesMut> {
    // Kafka does what a mutated CreateTopics asks for, 2^24 partitions included.
    if Broker::is_kafka() && [19, 37].contains(&key) {
        return None;
    }
    let api = ApiKey::try_from(key).ok()?;
    // The broker may speak newer versions than these tests, and lists Produce from 0, for old
    // librdkafka's sake, though it serves it from 3.
    let version = version.clamp(api.valid_versions().min, api.valid_versions().max);
    Some(match api {
        ApiKey::Produce => {
            let batch = wire::batch(&[b"stranger", b"in a batch"]);
            wire::frame(key, version, 7, &wire::produce_request("stranger", 0, 1, batch))
        }
        ApiKey::Fetch => wire::frame(key, version, 7, &fetch(version)),
        ApiKey::ListOffsets => {
            let partition = ListOffsetsPartition::default().with_timestamp(-1);
            let topic = ListOffsetsTopic::default()
                .with_name(name("stranger"))
                .with_partitions(vec![partition]);
            let request = ListOffsetsRequest::default().with_topics(vec![topic]);
            wire::frame(key, version, 7, &request)
        }
        ApiKey::Metadata => wire::frame(key, version, 7, &metadata()),
        ApiKey::CreateTopics => {
            let topic = CreatableTopic::default()
                .with_name(name("stranger"))
                .with_num_partitions(1)
                .with_replication_factor(1);
            let request = CreateTopicsRequest::default().with_topics(vec![topic]);
            wire::frame(key, version, 7, &request)
        }
        // Empty but for its fixed fields: still every length in it is tried.
        _ => {
            let mut nothing = bytes::Bytes::from(vec![0; 256]);
            let request = RequestKind::decode(api, &mut nothing, version).ok()?;
            let mut body = BytesMut::new();
            request.encode(&mut body, version).ok()?;
            BytesMut::from(&header(key, version, &[b"\xff\xff", &body[..]].concat())[..])
        }
    })
}

fn fetch(version: i16) -> FetchRequest {
    let partition = FetchPartition::default().with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default().with_partitions(vec![partition]);
    let topic = if version < 13 { topic.with_topic(name("stranger")) } else { topic };
    FetchRequest::default().with_max_bytes(1 << 20).with_topics(vec![topic])
}
