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
    connection.delete_topic(TOPIC).expect("DeleteTopics");
    broker.stop();
    broker.restart();
    assert_eq!(runs(&broker), 1);
}
