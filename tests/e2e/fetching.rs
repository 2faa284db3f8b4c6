//! When a fetch is answered, and with what: waiting, limits, sessions, leaders.

use std::fs;
use std::time::{Duration, Instant};

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    DeleteTopicsRequest, FetchRequest, FetchResponse, MetadataRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use crate::support::{Broker, Connection, Options, wire};

/// A wait that nobody is to sit out.
const LONG: Duration = Duration::from_secs(25);
/// Sooner than that, on any machine.
const SOON: Duration = Duration::from_secs(10);
/// A wait that is sat out.
const SHORT: Duration = Duration::from_millis(800);
/// The last version with names.
const BY_NAME: i16 = 12;
const MIB: i32 = 1 << 20;

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const FETCH_SESSION_ID_NOT_FOUND: i16 = 70;
const FENCED_LEADER_EPOCH: i16 = 74;
const UNKNOWN_TOPIC_ID: i16 = 100;
const FETCH_SESSION_TOPIC_ID_ERROR: i16 = 106;

fn name(text: &str) -> TopicName {
    TopicName(StrBytes::from_string(text.to_owned()))
}

fn partition(number: i32, offset: i64, bytes_max: i32) -> FetchPartition {
    FetchPartition::default()
        .with_partition(number)
        .with_fetch_offset(offset)
        .with_current_leader_epoch(-1)
        .with_last_fetched_epoch(-1)
        .with_log_start_offset(-1)
        .with_partition_max_bytes(bytes_max)
}

fn topic(text: &str, partitions: Vec<FetchPartition>) -> FetchTopic {
    FetchTopic::default().with_topic(name(text)).with_partitions(partitions)
}

/// Without a session.
fn request(wait: Duration, bytes_min: i32, topics: Vec<FetchTopic>) -> FetchRequest {
    FetchRequest::default()
        .with_max_wait_ms(i32::try_from(wait.as_millis()).expect("a short wait"))
        .with_min_bytes(bytes_min)
        .with_max_bytes(50 * MIB)
        .with_session_epoch(-1)
        .with_topics(topics)
}

/// The next request of a session.
fn next(id: i32, epoch: i32, topics: Vec<FetchTopic>) -> FetchRequest {
    request(Duration::ZERO, 0, topics).with_session_id(id).with_session_epoch(epoch)
}

fn ask(connection: &mut Connection, version: i16, request: &FetchRequest) -> FetchResponse {
    connection.call(version, request).expect("Fetch")
}

/// The answer, and how long it took.
fn timed(connection: &mut Connection, request: &FetchRequest) -> (FetchResponse, Duration) {
    let begun = Instant::now();
    (ask(connection, BY_NAME, request), begun.elapsed())
}

fn partitions(answer: &FetchResponse) -> Vec<&PartitionData> {
    answer.responses.iter().flat_map(|topic| &topic.partitions).collect()
}

fn bytes(data: &PartitionData) -> usize {
    data.records.as_ref().map_or(0, bytes::Bytes::len)
}

fn errors(answer: &FetchResponse) -> Vec<(i32, i16)> {
    let all = partitions(answer);
    all.iter().map(|data| (data.partition_index, data.error_code)).collect()
}

fn started(test: &str, arguments: &[&str]) -> (Broker, Connection) {
    let broker = Broker::start_with(test, Options::with_arguments(arguments));
    let connection = Connection::open(broker.port()).expect("connecting");
    (broker, connection)
}

fn create(connection: &mut Connection, topic: &str, partitions: i32) {
    assert_eq!(connection.create_topic(topic, partitions, &[]).expect("CreateTopics"), 0);
}

/// Batches of about 101 KB.
fn fill(connection: &mut Connection, topic: &str, partition: i32, batches: usize) {
    let batch = wire::batch(&[&[b'v'; 101_000]]);
    for _ in 0..batches {
        let stored = connection.produce(topic, partition, 1, batch.clone()).expect("Produce");
        assert_eq!(stored.0, 0);
    }
}

/// The same by its id, for later versions.
fn by_id(connection: &mut Connection, topic: &FetchTopic) -> FetchTopic {
    let asked = MetadataRequestTopic::default().with_name(Some(topic.topic.clone()));
    let request = MetadataRequest::default().with_topics(Some(vec![asked]));
    let id = connection.call(12, &request).expect("Metadata").topics[0].topic_id;
    FetchTopic::default().with_topic_id(id).with_partitions(topic.partitions.clone())
}

#[test]
fn nobody_waits_for_bytes_that_whole_batches_cannot_fill() {
    let (_broker, mut connection) = started("fetch-filled", &[]);
    create(&mut connection, "one", 1);
    create(&mut connection, "many", 16);
    create(&mut connection, "single", 1);
    let small = [("segment.bytes", "1048576")];
    assert_eq!(connection.create_topic("rolled", 1, &small).expect("CreateTopics"), 0);
    fill(&mut connection, "one", 0, 40);
    fill(&mut connection, "single", 0, 1);
    fill(&mut connection, "rolled", 0, 15);
    fill(&mut connection, "many", 3, 40);
    let one = |bytes_max| vec![topic("one", vec![partition(0, 0, bytes_max)])];
    let many = |bytes_max| {
        vec![topic("many", (0..16).map(|number| partition(number, 0, bytes_max)).collect())]
    };
    let cases = [
        ("the limit of the partition", request(LONG, MIB, one(MIB))),
        ("the limit of the answer", request(LONG, 2 * MIB, one(50 * MIB)).with_max_bytes(MIB)),
        ("one batch beyond the limit of the answer", {
            let single = vec![topic("single", vec![partition(0, 0, 50 * MIB)])];
            request(LONG, 200_000, single).with_max_bytes(50_000)
        }),
        ("an older segment", {
            let rolled = vec![topic("rolled", vec![partition(0, 0, MIB / 2)])];
            request(LONG, 20 * MIB, rolled)
        }),
        ("one partition of many", request(LONG, MIB, many(MIB))),
        ("its share", request(LONG, 1_200_000, many(50 * MIB)).with_max_bytes(2 * MIB)),
    ];
    for (what, request) in cases {
        let (answer, took) = timed(&mut connection, &request);
        assert!(took < SOON, "{what}: {took:?}");
        let read: usize = partitions(&answer).iter().map(|data| bytes(data)).sum();
        assert!(read > 100_000, "{what}: {read} bytes");
    }
}

#[test]
fn a_fetch_waits_for_bytes_that_are_still_to_come() {
    let (broker, mut connection) = started("fetch-waits", &[]);
    create(&mut connection, "topic", 2);
    fill(&mut connection, "topic", 0, 2);
    let both = || vec![topic("topic", vec![partition(0, 0, MIB), partition(1, 0, MIB)])];
    let (answer, took) = timed(&mut connection, &request(SHORT, 250_000, both()));
    assert!(took >= SHORT, "{took:?}");
    let read: Vec<usize> = partitions(&answer).iter().map(|data| bytes(data)).collect();
    assert!(read[0] > 200_000 && read[1] == 0, "what there was comes at the end: {read:?}");

    let begun = Instant::now();
    let sent = connection.send(BY_NAME, &request(LONG, 250_000, both())).expect("sending");
    let mut other = Connection::open(broker.port()).expect("connecting");
    fill(&mut other, "topic", 1, 1);
    let answer = connection.receive::<FetchRequest>(BY_NAME, sent).expect("Fetch");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert!(partitions(&answer).iter().all(|data| bytes(data) > 100_000));
}

#[test]
fn a_partition_that_is_not_there_is_told_of_and_not_waited_for() {
    let (_broker, mut connection) = started("fetch-unknown", &[]);
    create(&mut connection, "topic", 1);
    let here = || topic("topic", vec![partition(0, 0, MIB)]);
    let gone = || topic("gone", vec![partition(0, 0, MIB)]);
    let (answer, took) = timed(&mut connection, &request(SHORT, 1, vec![here(), gone()]));
    assert!(took >= SHORT, "the other one is waited for: {took:?}");
    assert_eq!(errors(&answer), [(0, 0), (0, UNKNOWN_TOPIC_OR_PARTITION)]);

    let (answer, took) = timed(&mut connection, &request(LONG, 1, vec![gone()]));
    assert!(took < SOON, "there is nothing to wait for: {took:?}");
    assert_eq!(errors(&answer), [(0, UNKNOWN_TOPIC_OR_PARTITION)]);

    let beyond = vec![topic("topic", vec![partition(0, 5, MIB), partition(7, 0, MIB)])];
    let (answer, took) = timed(&mut connection, &request(LONG, 1, beyond));
    assert!(took < SOON, "an offset out of range is told at once: {took:?}");
    assert_eq!(errors(&answer), [(0, 1), (7, UNKNOWN_TOPIC_OR_PARTITION)]);
}

#[test]
fn an_error_is_told_again_by_every_answer_of_a_session() {
    let (_broker, mut connection) = started("fetch-session-errors", &[]);
    create(&mut connection, "topic", 1);
    let both = vec![topic("topic", vec![partition(0, 0, MIB), partition(5, 0, MIB)])];
    let first = ask(&mut connection, BY_NAME, &next(0, 0, both));
    assert_eq!(errors(&first), [(0, 0), (5, UNKNOWN_TOPIC_OR_PARTITION)]);
    let mut again = next(first.session_id, 1, vec![]);
    again.max_wait_ms = i32::try_from(SHORT.as_millis()).expect("a short wait");
    again.min_bytes = 1;
    let (answer, took) = timed(&mut connection, &again);
    assert!(took >= SHORT, "{took:?}");
    assert_eq!(errors(&answer), [(5, UNKNOWN_TOPIC_OR_PARTITION)]);
}

#[test]
fn a_topic_deleted_during_the_wait_ends_it() {
    let (broker, mut connection) = started("fetch-deleted", &[]);
    create(&mut connection, "stays", 1);
    create(&mut connection, "goes", 1);
    let both = ["stays", "goes"]
        .map(|text| by_id(&mut connection, &topic(text, vec![partition(0, 0, MIB)])));
    let request = request(LONG, 1, both.to_vec());
    let begun = Instant::now();
    let sent = connection.send(13, &request).expect("sending");
    let mut other = Connection::open(broker.port()).expect("connecting");
    let deletion =
        DeleteTopicsRequest::default().with_topic_names(vec![name("goes")]).with_timeout_ms(30_000);
    let deleted = other.call(5, &deletion).expect("DeleteTopics");
    assert_eq!(deleted.responses[0].error_code, 0);
    let answer = connection.receive::<FetchRequest>(13, sent).expect("Fetch");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    let told = errors(&answer)[1].1;
    assert!([UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID].contains(&told), "{told}");
}

#[test]
fn a_limit_of_a_partition_is_exceeded_by_the_first_one_alone() {
    let (_broker, mut connection) = started("fetch-limits", &["--shards", "2"]);
    create(&mut connection, "topic", 8);
    for number in 0..8 {
        fill(&mut connection, "topic", number, 1);
    }
    let all = vec![topic("topic", (0..8).map(|number| partition(number, 0, 10)).collect())];
    let answer = ask(&mut connection, BY_NAME, &request(LONG, 1, all));
    let read: Vec<bool> = partitions(&answer).iter().map(|data| bytes(data) > 0).collect();
    assert_eq!(read, [true, false, false, false, false, false, false, false]);
}

#[test]
fn a_session_is_continued_by_names_or_by_ids_as_it_began() {
    let (_broker, mut connection) = started("fetch-session-ids", &[]);
    create(&mut connection, "topic", 1);
    let by_name = vec![topic("topic", vec![partition(0, 0, MIB)])];
    let by_id = vec![by_id(&mut connection, &by_name[0])];
    for (topics, version, other) in [(by_name, 12, 13), (by_id, 13, 12)] {
        let begun = ask(&mut connection, version, &next(0, 0, topics));
        assert_ne!(begun.session_id, 0);
        let refused = ask(&mut connection, other, &next(begun.session_id, 1, vec![]));
        assert_eq!(refused.error_code, FETCH_SESSION_TOPIC_ID_ERROR, "{version} to {other}");
        let gone_on = ask(&mut connection, version, &next(begun.session_id, 1, vec![]));
        assert_eq!((gone_on.error_code, gone_on.session_id), (0, begun.session_id));
    }
}

#[test]
fn sessions_hold_so_many_partitions_and_no_more() {
    if Broker::is_kafka() {
        return;
    }
    let limits = [
        "--shards=1",
        "--set=thalweg.fetch.session.partitions.max=100",
        "--set=thalweg.request.partitions.max=60",
    ];
    let (_broker, mut connection) = started("fetch-session-limits", &limits);
    let many = |range: std::ops::Range<i32>| {
        vec![topic("gone", range.map(|number| partition(number, 0, MIB)).collect())]
    };
    let grown = ask(&mut connection, BY_NAME, &next(0, 0, many(0..50)));
    assert_ne!(grown.session_id, 0);
    let refused = ask(&mut connection, BY_NAME, &next(grown.session_id, 1, many(50..61)));
    assert_eq!(refused.error_code, FETCH_SESSION_ID_NOT_FOUND, "beyond one request's limit");
    assert_ne!(ask(&mut connection, BY_NAME, &next(0, 0, many(0..60))).session_id, 0);
    let without = ask(&mut connection, BY_NAME, &next(0, 0, many(0..41)));
    assert_eq!((without.error_code, without.session_id), (0, 0), "beyond all sessions' limit");
    assert_eq!(partitions(&without).len(), 41, "it is served all the same");
    assert_ne!(ask(&mut connection, BY_NAME, &next(0, 0, many(0..40))).session_id, 0);
}

#[test]
fn a_client_with_an_old_leader_epoch_is_told_who_leads() {
    let (broker, mut connection) = started("fetch-leaders", &[]);
    create(&mut connection, "topic", 1);
    let wanted = partition(0, 0, MIB).with_current_leader_epoch(-2);
    let topics = vec![by_id(&mut connection, &topic("topic", vec![wanted]))];
    let old = ask(&mut connection, 15, &request(LONG, 1, topics.clone()));
    assert_eq!(errors(&old), [(0, FENCED_LEADER_EPOCH)]);
    assert_eq!(i32::from(partitions(&old)[0].current_leader.leader_id), -1);
    let new = ask(&mut connection, 16, &request(LONG, 1, topics));
    assert_eq!(errors(&new), [(0, FENCED_LEADER_EPOCH)]);
    let leader = &partitions(&new)[0].current_leader;
    assert_eq!((i32::from(leader.leader_id), leader.leader_epoch), (1, 0));
    let [node] = &new.node_endpoints[..] else { panic!("{:?}", new.node_endpoints) };
    assert_eq!((i32::from(node.node_id), node.port), (1, i32::from(broker.port())));
    assert_eq!(&node.host[..], "127.0.0.1");
}

/// The first segment's batches are overwritten while the broker is down.
#[test]
fn what_cannot_be_read_is_logged_a_few_times_and_not_for_each_fetch() {
    if Broker::is_kafka() {
        return;
    }
    let (mut broker, mut connection) = started("fetch-unreadable", &["--shards=1"]);
    let configs = [("segment.bytes", "1048576")];
    assert_eq!(connection.create_topic("topic", 1, &configs).expect("CreateTopics"), 0);
    fill(&mut connection, "topic", 0, 30);
    broker.stop();
    let mut directories = vec![broker.data_dir()];
    let mut logs = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("its data").flatten() {
            match entry.path() {
                path if path.is_dir() => directories.push(path),
                path if path.extension().is_some_and(|e| e == "log") => logs.push(path),
                _ => {}
            }
        }
    }
    logs.retain(|path| path.file_name().is_some_and(|n| n == "00000000000000000000.log"));
    for path in logs.iter().filter(|path| fs::metadata(path).is_ok_and(|m| m.len() > 500_000)) {
        let length = fs::metadata(path).expect("its length").len();
        fs::write(path, vec![0xee; usize::try_from(length).expect("a small file")]).expect("noise");
    }
    broker.restart();
    let mut connection = Connection::open(broker.port()).expect("connecting");
    let begun = Instant::now();
    for _ in 0..100 {
        let (error, ..) = connection.fetch("topic", 0, 0).expect("Fetch");
        assert_eq!(error, 56, "KAFKA_STORAGE_ERROR");
    }
    let seconds = usize::try_from(begun.elapsed().as_secs()).expect("seconds") + 2;
    let log = fs::read_to_string(broker.log_path()).expect("the log");
    // The log is taken offline with a line of its own; each line names what could not be read.
    let lines = log.matches("ERROR").count();
    assert!((1..=5 * seconds).contains(&lines), "{lines} lines in {seconds} s");
}
