//! Requests that name or hold as much as they may.
//!
//! Promise: a shard that works at one of them lets its other connections go first, again and again.
//! All of these are refused in the end, so that nothing of them waits for a disk, which would let
//! others go first anyway.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use bytes::Bytes;
use kafka_protocol::messages::alter_replica_log_dirs_request::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic,
};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AlterReplicaLogDirsRequest, ConsumerGroupHeartbeatRequest, CreateTopicsRequest,
    DeleteRecordsRequest, DeleteTopicsRequest, ElectLeadersRequest, FetchRequest,
    FindCoordinatorRequest, ListOffsetsRequest, OffsetCommitRequest, OffsetDeleteRequest,
    OffsetForLeaderEpochRequest, ProduceRequest, TopicName,
};
use kafka_protocol::protocol::{Encodable, StrBytes};
use thalweg::record::{BatchBuilder, Codec};

use crate::page::{counted, free_port, page};
use crate::support::{Broker, Connection, Options, wire};

const NAMES: usize = 20_000;
const PARTITIONS: i32 = 190_000;
/// How often it is tried: the neighbour, too, needs a core. Where six others want the two there
/// are, five times were not enough.
const TRIES: usize = 20;
/// How often a neighbour is served beside each of these requests, at the least: once is what it
/// gets beside one long turn. Each of them takes dozens, of which a busy machine misses many.
const ROUNDS: usize = 3;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn names() -> impl Iterator<Item = TopicName> {
    (0..NAMES).map(|n| TopicName(text(&format!("name-{n}"))))
}

fn unknown() -> TopicName {
    TopicName(text("unknown"))
}

/// How often `neighbour` is answered between the last byte of `frame` and the first of its answer.
fn rounds_beside(broker: &Broker, neighbour: &mut Connection, frame: &[u8]) -> (usize, Vec<u8>) {
    let mut stranger = TcpStream::connect(("127.0.0.1", broker.port())).expect("connecting");
    stranger.set_nodelay(true).expect("sending at once");
    let (last, most) = frame.split_last().expect("a frame");
    stranger.write_all(most).expect("asking");
    // Until the broker has read all of it.
    for _ in 0..50 {
        neighbour.api_versions().expect("beside half a frame");
    }
    stranger.write_all(&[*last]).expect("asking");
    stranger.set_nonblocking(true).expect("looking whether there is an answer");
    let mut rounds = 0;
    loop {
        match stranger.peek(&mut [0]) {
            Ok(0) => panic!("no answer, but a hangup"),
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
        neighbour.api_versions().expect("beside it");
        rounds += 1;
    }
    stranger.set_nonblocking(false).expect("reading");
    let mut length = [0; 4];
    stranger.read_exact(&mut length).expect("an answer");
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stranger.read_exact(&mut answer).expect("an answer");
    (rounds, answer)
}

fn fetch(session: i32, epoch: i32, partitions: i32) -> FetchRequest {
    let partition = |index| FetchPartition::default().with_partition(index);
    let topic = FetchTopic::default()
        .with_topic(unknown())
        .with_partitions((0..partitions).map(partition).collect());
    FetchRequest::default()
        .with_max_bytes(1 << 20)
        .with_session_id(session)
        .with_session_epoch(epoch)
        .with_topics(if partitions > 0 { vec![topic] } else { Vec::new() })
}

/// A batch whose last record has no key, as a compacted topic does not take it.
fn many(codec: Codec, records: i32) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = i64::try_from(now.expect("after 1970").as_millis()).expect("before the end");
    for _ in 0..records {
        builder.append(now, Some(b"k"), Some(b""), &[]).expect("it fits");
    }
    builder.append(now, None, Some(b""), &[]).expect("it fits");
    Bytes::copy_from_slice(builder.finish().expect("a batch"))
}

fn produce(topic: &str, partitions: i32, batch: &Bytes) -> ProduceRequest {
    let entry = |index| {
        let data = PartitionProduceData::default().with_index(index);
        data.with_records(Some(batch.clone()))
    };
    let topic = TopicProduceData::default()
        .with_name(TopicName(text(topic)))
        .with_partition_data((0..partitions).map(entry).collect());
    ProduceRequest::default().with_acks(1).with_timeout_ms(60_000).with_topic_data(vec![topic])
}

fn frame<R: Encodable>(key: i16, version: i16, request: &R) -> Vec<u8> {
    wire::frame(key, version, 1, request).to_vec()
}

fn about_partitions() -> Vec<(&'static str, Vec<u8>)> {
    let all = || 0..PARTITIONS;
    let topic = ListOffsetsTopic::default().with_name(unknown()).with_partitions(
        all().map(|p| ListOffsetsPartition::default().with_partition_index(p)).collect(),
    );
    let list = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
    let topic = DeleteRecordsTopic::default().with_name(unknown()).with_partitions(
        all().map(|p| DeleteRecordsPartition::default().with_partition_index(p)).collect(),
    );
    let delete = DeleteRecordsRequest::default().with_topics(vec![topic]);
    let topic = OffsetForLeaderTopic::default().with_topic(unknown()).with_partitions(
        all().map(|p| OffsetForLeaderPartition::default().with_partition(p)).collect(),
    );
    let epochs = OffsetForLeaderEpochRequest::default()
        .with_replica_id((-1).into())
        .with_topics(vec![topic]);
    let topic = TopicPartitions::default().with_topic(unknown()).with_partitions(all().collect());
    let elect = ElectLeadersRequest::default().with_topic_partitions(Some(vec![topic]));
    let topic =
        AlterReplicaLogDirTopic::default().with_name(unknown()).with_partitions(all().collect());
    let dir = AlterReplicaLogDir::default().with_path(text("/elsewhere")).with_topics(vec![topic]);
    let move_all = AlterReplicaLogDirsRequest::default().with_dirs(vec![dir]);
    let topic = OffsetCommitRequestTopic::default().with_name(unknown());
    let offset = OffsetCommitRequestPartition::default().with_committed_offset(7);
    let topic = topic.with_partitions(vec![offset; 190_000]);
    let commit = OffsetCommitRequest::default()
        .with_group_id(text("group").into())
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    vec![
        ("ListOffsets", frame(2, 5, &list)),
        ("DeleteRecords", frame(21, 1, &delete)),
        ("OffsetForLeaderEpoch", frame(23, 3, &epochs)),
        ("ElectLeaders", frame(43, 1, &elect)),
        ("AlterReplicaLogDirs", frame(34, 1, &move_all)),
        ("OffsetCommit", frame(8, 7, &commit)),
    ]
}

fn about_topics() -> Vec<(&'static str, Vec<u8>)> {
    let topic = |name| {
        CreatableTopic::default().with_name(name).with_num_partitions(1).with_replication_factor(1)
    };
    let create = CreateTopicsRequest::default()
        .with_topics(names().map(topic).collect())
        .with_validate_only(true)
        .with_timeout_ms(60_000);
    let delete =
        DeleteTopicsRequest::default().with_topic_names(names().collect()).with_timeout_ms(60_000);
    vec![("CreateTopics", frame(19, 4, &create)), ("DeleteTopics", frame(20, 3, &delete))]
}

fn with_records() -> Vec<(&'static str, Vec<u8>)> {
    let plain = produce("compacted", 20, &many(Codec::None, 50_000));
    let packed = produce("compacted", 1, &many(Codec::Gzip, 300_000));
    vec![
        ("Produce of many records", frame(0, 7, &plain)),
        ("Produce to a compacted topic", frame(0, 7, &packed)),
    ]
}

#[test]
fn a_request_that_takes_long_lets_others_go_first() {
    let arguments = ["--shards", "1", "--set", "auto.create.topics.enable=false"];
    let broker = Broker::start_with("turns", Options::with_arguments(&arguments));
    let mut neighbour = Connection::open(broker.port()).expect("connecting");
    let sizes = [("max.message.bytes", "20000000"), ("cleanup.policy", "compact")];
    assert_eq!(neighbour.create_topic("compacted", 20, &sizes).expect("CreateTopics"), 0);
    let coordinator = FindCoordinatorRequest::default().with_coordinator_keys(vec![text("group")]);
    neighbour.call(4, &coordinator).expect("FindCoordinator");

    let mut requests = about_partitions();
    requests.extend(with_records());
    requests.extend(about_topics());
    let mut few = Vec::new();
    for (name, frame) in requests {
        let mut tries = (0..TRIES).map(|_| rounds_beside(&broker, &mut neighbour, &frame).0);
        if tries.all(|rounds| rounds < ROUNDS) {
            few.push(name);
        }
    }
    let mut session = 0;
    let mut begun = (0..TRIES).map(|_| {
        let fetch = frame(1, 11, &fetch(0, 0, PARTITIONS));
        let (rounds, answer) = rounds_beside(&broker, &mut neighbour, &fetch);
        // Behind correlation id, time to wait and error.
        session = answer[10..14].try_into().map(i32::from_be_bytes).expect("a session");
        assert_ne!(session, 0);
        rounds
    });
    few.extend(begun.all(|rounds| rounds < ROUNDS).then_some("Fetch"));
    let mut continued = (1..).take(TRIES).map(|epoch| {
        let fetch = frame(1, 11, &fetch(session, epoch, 0));
        let (rounds, answer) = rounds_beside(&broker, &mut neighbour, &fetch);
        assert_eq!(answer[8..10], [0, 0], "its session goes on");
        rounds
    });
    few.extend(continued.all(|rounds| rounds < ROUNDS).then_some("Fetch in a session"));
    assert!(few.is_empty(), "a neighbour was hardly served beside {few:?}");
}

/// Topics of long names, and an expression that is slow with each of them.
#[test]
fn expressions_are_resolved_beside_other_work() {
    let arguments = ["--shards", "1"];
    let broker = Broker::start_with("expressions", Options::with_arguments(&arguments));
    let mut neighbour = Connection::open(broker.port()).expect("connecting");
    let topic = |n| {
        let name = TopicName(text(&format!("{}-{n}", "a".repeat(240))));
        CreatableTopic::default().with_name(name).with_num_partitions(1).with_replication_factor(1)
    };
    let create = CreateTopicsRequest::default().with_topics((0..300).map(topic).collect());
    let created = neighbour.call(4, &create.with_timeout_ms(60_000)).expect("CreateTopics");
    assert!(created.topics.iter().all(|topic| topic.error_code == 0));
    let coordinator = FindCoordinatorRequest::default().with_coordinator_keys(vec![text("group")]);
    neighbour.call(4, &coordinator).expect("FindCoordinator");
    let join = |slow: &str| {
        ConsumerGroupHeartbeatRequest::default()
            .with_group_id(text("group").into())
            .with_member_id(text("member"))
            .with_subscribed_topic_regex(Some(text(slow)))
            .with_topic_partitions(Some(Vec::new()))
    };
    let slow = frame(68, 1, &join("(?:a?){60}(?:aa?){60}-x"));
    let mut tries = (0..TRIES).map(|_| {
        let (rounds, answer) = rounds_beside(&broker, &mut neighbour, &slow);
        // Behind correlation id, tags and time to wait.
        assert_eq!(answer[9..11], [0, 42], "there is no time to rebalance in it: {answer:?}");
        rounds
    });
    assert!(tries.any(|rounds| rounds >= ROUNDS), "a neighbour was hardly served");
}

/// A coordinator takes each part in one go, and writes what it changes as one batch.
#[test]
fn very_many_offsets_are_deleted_in_parts() {
    const OFFSETS: i32 = 9000;
    let metrics = free_port();
    let address = format!("127.0.0.1:{metrics}");
    let options = Options::with_arguments(&["--shards", "1", "--metrics", &address]);
    let broker = Broker::start_with("offsets-in-parts", options);
    let mut connection = Connection::open(broker.port()).expect("connecting");
    assert_eq!(connection.create_topic("many", OFFSETS, &[]).expect("CreateTopics"), 0);
    let coordinator = FindCoordinatorRequest::default().with_coordinator_keys(vec![text("group")]);
    connection.call(4, &coordinator).expect("FindCoordinator");
    let name = || TopicName(text("many"));
    let offset = |index| {
        let offset = OffsetCommitRequestPartition::default().with_partition_index(index);
        offset.with_committed_offset(7)
    };
    let topic = OffsetCommitRequestTopic::default().with_name(name());
    let commit = OffsetCommitRequest::default()
        .with_group_id(text("group").into())
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic.with_partitions((0..OFFSETS).map(offset).collect())]);
    let done = connection.call(7, &commit).expect("OffsetCommit");
    assert!(done.topics[0].partitions.iter().all(|partition| partition.error_code == 0));

    let commits = || counted(&page(metrics), "thalweg_group_commits_total", "shard=");
    let before = commits();
    // Of the last ones nobody knows.
    let partition = |index| OffsetDeleteRequestPartition::default().with_partition_index(index);
    let topic = |partitions: std::ops::Range<i32>| {
        let topic = OffsetDeleteRequestTopic::default().with_name(name());
        topic.with_partitions(partitions.map(partition).collect())
    };
    let delete = OffsetDeleteRequest::default()
        .with_group_id(text("group").into())
        .with_topics(vec![topic(0..1000), topic(1000..OFFSETS + 100)]);
    let done = connection.call(0, &delete).expect("OffsetDelete");
    assert!(commits() - before > 1, "{} commits for it", commits() - before);
    assert_eq!((done.error_code, done.topics.len()), (0, 2));
    let answers = done.topics.iter().flat_map(|topic| &topic.partitions);
    let answers: Vec<_> = answers.map(|p| (p.partition_index, p.error_code)).collect();
    let wanted = (0..OFFSETS + 100).map(|index| (index, if index < OFFSETS { 0 } else { 3 }));
    assert!(answers.into_iter().eq(wanted), "each is answered, in order");
}
