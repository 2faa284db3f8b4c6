//! Flushed bytes that are gone: the partition is offline, never shortened, and what is restored
//! counts again.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::support::wire::{self, EARLIEST, LATEST};
use crate::support::{Broker, Connection};

const TOPIC: &str = "damaged";
const KAFKA_STORAGE_ERROR: i16 = 56;

/// The segment of a broker whose only topic has one partition.
fn segment(broker: &Broker) -> PathBuf {
    let only = |dir: PathBuf| fs::read_dir(dir).expect("a directory").next().unwrap().unwrap();
    let partition = only(only(broker.data_dir().join("logs")).path()).path();
    partition.join("00000000000000000000.log")
}

fn runs(broker: &Broker) -> usize {
    fs::read_dir(broker.data_dir().join("runs")).expect("the runs").count()
}

fn damage(path: &Path, position: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).expect("the segment");
    file.write_all_at(&[0xff; 64], position).expect("writing to it");
}

/// A broker that was killed with twenty large records flushed, three of them in a checkpoint.
fn killed(name: &str) -> Broker {
    let mut broker = Broker::start(name);
    let mut connection = Connection::open(broker.port()).expect("connecting");
    assert_eq!(connection.create_topic(TOPIC, 1, &[]).expect("CreateTopics"), 0);
    for offset in 0..20 {
        if offset == 3 {
            broker.stop();
            broker.restart();
            connection = Connection::open(broker.port()).expect("connecting again");
        }
        let batch = wire::batch(&[&[b'B'; 200_000]]);
        assert_eq!(connection.produce(TOPIC, 0, -1, batch).expect("Produce"), (0, offset));
    }
    broker.kill();
    broker
}

/// No consumer may take the last place that is known for the end: it would begin anew.
fn assert_offline(broker: &Broker) {
    let mut connection = Connection::open(broker.port()).expect("connecting");
    let mut list = |timestamp| connection.list_offset(TOPIC, 0, timestamp).expect("ListOffsets");
    assert_eq!(list(LATEST), (KAFKA_STORAGE_ERROR, -1));
    assert_eq!(list(1), (KAFKA_STORAGE_ERROR, -1), "by time");
    assert_eq!(list(EARLIEST), (0, 0));
    for offset in [3, 5, 20, 21] {
        let (error, _, records) = connection.fetch(TOPIC, 0, offset).expect("Fetch");
        assert_eq!((error, records.len()), (KAFKA_STORAGE_ERROR, 0), "at {offset}");
    }
    let (error, _, records) = connection.fetch(TOPIC, 0, 1).expect("Fetch");
    assert_eq!((error, records.len()), (0, 2), "what is known is still read");
    let refused = connection.produce(TOPIC, 0, -1, wire::batch(&[b"x"])).expect("Produce");
    assert_eq!(refused.0, KAFKA_STORAGE_ERROR);
    assert_eq!(runs(broker), 2, "the journal that may hold the rest is kept");
}

#[test]
fn a_damaged_partition_has_no_end_and_is_whole_again_once_its_files_are() {
    if Broker::is_kafka() {
        return;
    }
    let mut broker = killed("damage");
    let segment = segment(&broker);
    let whole = fs::read(&segment).expect("the segment");
    damage(&segment, 1_900_000);
    broker.restart();
    assert_offline(&broker);
    broker.stop();
    broker.restart();
    assert_offline(&broker);
    broker.kill();
    fs::write(&segment, &whole).expect("restoring the segment");
    broker.restart();
    let mut connection = Connection::open(broker.port()).expect("connecting");
    assert_eq!(connection.read_partition(TOPIC, 0).expect("reading").len(), 20);
    let outcome = connection.produce(TOPIC, 0, -1, wire::batch(&[b"x"])).expect("Produce");
    assert_eq!(outcome, (0, 20));
    assert_eq!(runs(&broker), 1, "nothing needs the old journal any more");
}

#[test]
fn what_was_kept_for_a_damaged_partition_goes_with_its_topic() {
    if Broker::is_kafka() {
        return;
    }
    let mut broker = killed("damage-deleted");
    damage(&segment(&broker), 1_900_000);
    broker.restart();
    assert_offline(&broker);
    let mut connection = Connection::open(broker.port()).expect("connecting");
    assert_eq!(connection.delete_topic(TOPIC).expect("DeleteTopics"), 0);
    broker.stop();
    broker.restart();
    assert_eq!(runs(&broker), 1);
}

#[test]
fn a_segment_that_lost_its_end_takes_no_appends() {
    if Broker::is_kafka() {
        return;
    }
    let mut broker = Broker::start("damage-short");
    let mut connection = Connection::open(broker.port()).expect("connecting");
    assert_eq!(connection.create_topic(TOPIC, 1, &[]).expect("CreateTopics"), 0);
    for offset in 0..30 {
        let batch = wire::batch(&[&[b'y'; 3000]]);
        assert_eq!(connection.produce(TOPIC, 0, 1, batch).expect("Produce"), (0, offset));
    }
    broker.stop();
    let segment = segment(&broker);
    let whole = fs::read(&segment).expect("the segment");
    fs::write(&segment, &whole[..50_000]).expect("cutting the segment");
    for turn in 0..2 {
        broker.restart();
        let mut connection = Connection::open(broker.port()).expect("connecting");
        let outcome = connection.produce(TOPIC, 0, -1, wire::batch(&[b"x"])).expect("Produce");
        assert_eq!(outcome.0, KAFKA_STORAGE_ERROR, "start {turn}");
        let latest = connection.list_offset(TOPIC, 0, LATEST).expect("ListOffsets");
        assert_eq!(latest, (KAFKA_STORAGE_ERROR, -1), "start {turn}");
        assert!(broker.log_tail().contains("has 50000 bytes, shorter than the"));
        broker.stop();
        assert_eq!(fs::metadata(&segment).expect("the segment").len(), 50_000, "start {turn}");
    }
    fs::write(&segment, &whole).expect("restoring the segment");
    broker.restart();
    let mut connection = Connection::open(broker.port()).expect("connecting");
    let outcome = connection.produce(TOPIC, 0, -1, wire::batch(&[b"x"])).expect("Produce");
    assert_eq!(outcome, (0, 30));
    assert_eq!(connection.read_partition(TOPIC, 0).expect("reading").len(), 31);
}

#[test]
fn a_batch_that_a_reader_finds_damaged_is_told_once_and_takes_the_partition_offline() {
    if Broker::is_kafka() {
        return;
    }
    let mut broker = Broker::start("damage-cold");
    let mut connection = Connection::open(broker.port()).expect("connecting");
    assert_eq!(connection.create_topic(TOPIC, 1, &[]).expect("CreateTopics"), 0);
    for offset in 0..3 {
        let batch = wire::batch(&[&[b'y'; 300_000]]);
        assert_eq!(connection.produce(TOPIC, 0, 1, batch).expect("Produce"), (0, offset));
    }
    broker.stop();
    damage(&segment(&broker), 0);
    broker.restart();
    let mut connection = Connection::open(broker.port()).expect("connecting");
    for _ in 0..3 {
        assert_eq!(connection.fetch(TOPIC, 0, 0).expect("Fetch").0, KAFKA_STORAGE_ERROR);
    }
    let outcome = connection.produce(TOPIC, 0, -1, wire::batch(&[b"x"])).expect("Produce");
    assert_eq!(outcome.0, KAFKA_STORAGE_ERROR);
    // Its log is whole when it has stopped.
    broker.stop();
    assert_eq!(broker.log_tail().matches("ERROR").count(), 1, "{}", broker.log_tail());
}
