//! What an acknowledgement waits for, as the counters tell it.

use std::time::Instant;

use crate::page::{counted, free_port, page};
use crate::support::{Broker, Connection, Options, wire};

const TOPIC: &str = "tightened";

/// Flushes of the journal since the start.
fn journal_flushes(metrics: u16) -> u64 {
    counted(&page(metrics), "thalweg_flushes_total", "file=\"journal\"")
}

/// `flush.messages` = 3: of records that ask for no flush, every third waits for one.
#[test]
fn flush_messages_tightens_every_third_record() {
    let metrics = free_port();
    let address = format!("127.0.0.1:{metrics}");
    let options = Options::with_arguments(&["--metrics", &address]);
    let broker = Broker::start_with("flush-messages", options);
    let mut connection = Connection::open(broker.port()).expect("connecting");
    let tightened = [("flush.messages", "3")];
    assert_eq!(connection.create_topic(TOPIC, 1, &tightened).expect("CreateTopics"), 0);
    let mut seen = Vec::new();
    for turn in 0..9 {
        let before = journal_flushes(metrics);
        let outcome = connection.produce(TOPIC, 0, 1, wire::batch(&[b"one"])).expect("Produce");
        assert_eq!(outcome, (0, turn));
        seen.push(journal_flushes(metrics) > before);
    }
    assert_eq!(seen, [false, false, true].repeat(3), "which records were flushed");
    let page = page(metrics);
    let all = |name, label| counted(&page, name, label);
    let flushes = all("thalweg_flushes_total", "file=\"journal\"");
    let timed = all("thalweg_journal_flush_seconds_count", "shard=");
    assert_eq!(timed, flushes, "each flush has a time");
    let commits = all("thalweg_group_commits_total", "shard=");
    let timed = all("thalweg_journal_write_seconds_count", "shard=");
    assert_eq!(timed, commits, "so has each commit");
}

/// The original was promised less than its repetition asks for, and nobody else flushes.
#[test]
fn a_repeated_batch_is_flushed_when_it_asks_for_it() {
    let broker = Broker::start("flush-repeated");
    let mut connection = Connection::open(broker.port()).expect("connecting");
    assert_eq!(connection.create_topic(TOPIC, 1, &[]).expect("CreateTopics"), 0);
    let producer = connection.init_producer().expect("InitProducerId");
    // One goes through the journal, the other straight to its segment.
    for (sequence, len) in [(0, 100), (1, 900_000)] {
        let batch = wire::sequenced_batch(&[&vec![b'x'; len]], producer, sequence);
        for acks in [1, -1] {
            let outcome = connection.produce(TOPIC, 0, acks, batch.clone()).expect("Produce");
            assert_eq!(outcome, (0, i64::from(sequence)), "acks={acks}");
        }
    }
}

/// As Apache Kafka does: what is stored has the time of the first attempt.
#[test]
fn a_repeated_batch_is_answered_with_the_time_of_the_original() {
    let broker = Broker::start("repeated-time");
    let mut connection = Connection::open(broker.port()).expect("connecting");
    let stamped = [("message.timestamp.type", "LogAppendTime")];
    assert_eq!(connection.create_topic(TOPIC, 1, &stamped).expect("CreateTopics"), 0);
    let producer = connection.init_producer().expect("InitProducerId");
    let batch = wire::sequenced_batch(&[b"x"], producer, 0);
    let request = wire::produce_request(TOPIC, 0, 1, batch);
    let mut time = || {
        let answer = connection.call(wire::PRODUCE_VERSION, &request).expect("Produce");
        answer.responses[0].partition_responses[0].log_append_time_ms
    };
    let (first, begun) = (time(), Instant::now());
    while begun.elapsed().as_millis() < 3 {
        std::thread::yield_now();
    }
    assert_eq!(time(), first);
}
