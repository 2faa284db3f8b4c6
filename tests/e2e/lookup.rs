//! Offsets by timestamp, where headers and the log's start are not as the index would like them.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{DeleteRecordsRequest, ListOffsetsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use thalweg::record::{BatchBuilder, Codec, set_max_timestamp};

use crate::support::{Broker, Connection};

const TOPIC: &str = "lookup";
const MAX_TIMESTAMP: i64 = -3;
const MINUTE: i64 = 60_000;

fn topic() -> TopicName {
    TopicName(StrBytes::from_static_str(TOPIC))
}

/// Offset and timestamp of the first record at or after a timestamp.
fn lookup(connection: &mut Connection, timestamp: i64) -> (i64, i64) {
    let wanted =
        ListOffsetsPartition::default().with_current_leader_epoch(-1).with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default().with_name(topic()).with_partitions(vec![wanted]);
    let request =
        ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
    let answer = connection.call(7, &request).expect("ListOffsets");
    let found = &answer.topics[0].partitions[0];
    assert_eq!(found.error_code, 0, "looking for {timestamp}");
    (found.offset, found.timestamp)
}

fn delete_before(connection: &mut Connection, offset: i64) {
    let partition = DeleteRecordsPartition::default().with_offset(offset);
    let topic = DeleteRecordsTopic::default().with_name(topic()).with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
    let answer = connection.call(2, &request).expect("DeleteRecords");
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
}

fn batch(codec: Codec, times: &[i64]) -> BytesMut {
    let mut builder = BatchBuilder::new(codec);
    for time in times {
        builder.append(*time, None, Some(b"value"), &[]).expect("a record");
    }
    BytesMut::from(builder.finish().expect("a batch"))
}

fn produce(connection: &mut Connection, batch: impl Into<Bytes>) {
    let (error, _) = connection.produce(TOPIC, 0, -1, batch.into()).expect("Produce");
    assert_eq!(error, 0);
}

fn now() -> i64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a clock after 1970");
    i64::try_from(since.as_millis()).expect("a clock before the year 292278994")
}

fn started(settings: &[(&str, &str)]) -> (Broker, Connection) {
    let broker = Broker::start(TOPIC);
    let mut connection = Connection::open(broker.port()).expect("connecting");
    assert_eq!(connection.create_topic(TOPIC, 1, settings).expect("CreateTopics"), 0);
    (broker, connection)
}

/// DeleteRecords raised the start into the middle of a batch: what is before it is not found, what
/// is behind it is.
#[test]
fn lookups_begin_at_a_start_within_a_batch() {
    for codec in [Codec::None, Codec::Gzip] {
        let (_broker, mut c) = started(&[]);
        let base = now();
        let times: Vec<i64> = (0..10).map(|n| base + n).collect();
        produce(&mut c, batch(codec, &times));
        produce(&mut c, batch(codec, &[base]));
        delete_before(&mut c, 5);
        assert_eq!(lookup(&mut c, base), (5, base + 5));
        assert_eq!(lookup(&mut c, base + 7), (7, base + 7));
        assert_eq!(lookup(&mut c, base + 10), (-1, -1));
        assert_eq!(lookup(&mut c, MAX_TIMESTAMP), (9, base + 9));
        delete_before(&mut c, 10);
        assert_eq!(lookup(&mut c, 0), (10, base));
        assert_eq!(lookup(&mut c, MAX_TIMESTAMP), (10, base));
    }
}

/// One header that claims too much does not hide the batches behind it; one whose records are read
/// anyway is corrected, so that a restart finds the same.
#[test]
fn a_lying_header_hides_nothing() {
    for codec in [Codec::None, Codec::Gzip] {
        let (mut broker, mut c) = started(&[]);
        let base = now();
        let mut lying = batch(codec, &[base]);
        set_max_timestamp(&mut lying, base + 50 * MINUTE);
        produce(&mut c, lying);
        for n in 1..40 {
            produce(&mut c, batch(codec, &[base + n]));
        }
        let check = |c: &mut Connection| {
            assert_eq!(lookup(c, base), (0, base));
            assert_eq!(lookup(c, base + 1), (1, base + 1));
            assert_eq!(lookup(c, base + 39), (39, base + 39));
            assert_eq!(lookup(c, base + 40), (-1, -1));
        };
        check(&mut c);
        broker.kill();
        broker.restart();
        let mut c = Connection::open(broker.port()).expect("connecting");
        check(&mut c);
        if codec == Codec::None {
            assert_eq!(lookup(&mut c, MAX_TIMESTAMP), (39, base + 39));
        }
    }
}

/// So many of them that nobody opens them all: the answer is one that misses nothing.
#[test]
fn very_many_lying_headers_give_an_earlier_offset() {
    let (_broker, mut c) = started(&[]);
    let base = now();
    for n in 0..30 {
        let mut lying = batch(Codec::Gzip, &[base + n]);
        set_max_timestamp(&mut lying, base + 50 * MINUTE);
        produce(&mut c, lying);
    }
    let (offset, _) = lookup(&mut c, base + 29);
    assert!((0..=29).contains(&offset), "{offset}");
}

/// Where the topic takes times far ahead of the clock, they are found.
#[test]
fn times_ahead_of_the_clock_are_found() {
    const DAY: i64 = 24 * 60 * MINUTE;
    let far = [("message.timestamp.after.max.ms", "9223372036854775807")];
    let (_broker, mut c) = started(&far);
    let base = now();
    for n in 0..5 {
        produce(&mut c, batch(Codec::None, &[base + n * DAY]));
    }
    for n in 0..5 {
        assert_eq!(lookup(&mut c, base + n * DAY - 10), (n, base + n * DAY));
    }
    assert_eq!(lookup(&mut c, MAX_TIMESTAMP), (4, base + 4 * DAY));
}
