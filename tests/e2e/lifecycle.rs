//! Starting, stopping, starting again: with what a second broker, a signal or another number of
//! shards does to it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use crate::support::{Broker, Connection, Options, wire};

const TOPIC: &str = "kept";
const NOT_LEADER_OR_FOLLOWER: i16 = 6;

/// The first record of a fresh broker, or one more in an old one: its offset.
fn produce_one(broker: &Broker, partition: i32, value: &[u8]) -> i64 {
    let mut connection = Connection::open(broker.port()).expect("connecting");
    loop {
        let batch = wire::batch(&[value]);
        let (error, offset) = connection.produce(TOPIC, partition, -1, batch).expect("Produce");
        // Kafka says that it has started before it leads its partitions; Thalweg may not.
        if Broker::is_kafka() && error == NOT_LEADER_OR_FOLLOWER {
            continue;
        }
        assert_eq!(error, 0, "Produce");
        return offset;
    }
}

fn create(broker: &Broker, partitions: i32) {
    let mut connection = Connection::open(broker.port()).expect("connecting");
    assert_eq!(connection.create_topic(TOPIC, partitions, &[]).expect("CreateTopics"), 0);
}

fn values(broker: &Broker, partition: i32) -> Vec<Vec<u8>> {
    let mut connection = Connection::open(broker.port()).expect("connecting");
    let records = connection.read_partition(TOPIC, partition).expect("reading");
    records.into_iter().map(|(_, value)| value.to_vec()).collect()
}

#[test]
fn a_clean_stop_keeps_everything_and_the_next_start_goes_on() {
    let mut broker = Broker::start("clean-stop");
    create(&broker, 2);
    for turn in 0..3_i64 {
        for partition in 0..2 {
            let offset = produce_one(&broker, partition, format!("{turn}").as_bytes());
            assert_eq!(offset, turn, "offsets go on where they ended");
        }
        broker.stop();
        broker.restart();
    }
    for partition in 0..2 {
        assert_eq!(values(&broker, partition), [b"0", b"1", b"2"]);
    }
}

#[test]
fn a_stopping_broker_closes_its_connections() {
    let mut broker = Broker::start("stop-closes");
    let mut idle = Connection::open(broker.port()).expect("connecting");
    idle.api_versions().expect("ApiVersions");
    broker.stop();
    let after = idle.api_versions().expect_err("the broker is gone");
    assert_ne!(after.kind(), io::ErrorKind::TimedOut, "closed, not left hanging");
    assert!(Connection::open(broker.port()).is_err(), "nobody listens any more");
}

/// Makes and deletes topics of many partitions until the broker has gone; tells of each.
fn make_topics(port: u16, name: &str, made: &Sender<()>) {
    let mut connection = Connection::open(port).expect("connecting");
    for number in 0.. {
        let topic = format!("{name}-{number}");
        let Ok(created) = connection.create_topic(&topic, 300, &[]) else { return };
        assert_eq!(created, 0, "CreateTopics");
        let Ok(deleted) = connection.delete_topic(&topic) else { return };
        assert_eq!(deleted, 0, "DeleteTopics");
        let _ = made.send(());
    }
}

#[test]
fn a_stopping_shard_does_for_the_others_what_their_connections_still_ask() {
    let mut broker = Broker::start_with("stop-mesh", Options::with_arguments(&["--shards", "2"]));
    for turn in 0..10 {
        let (made, is_made) = channel();
        let (port, name) = (broker.port(), format!("topic-{turn}"));
        // The next connection is another shard's; the one that has none with work could go at once.
        let idle: Vec<_> = (0..turn % 2).map(|_| Connection::open(port)).collect();
        let client = thread::spawn(move || make_topics(port, &name, &made));
        for _ in 0..2 {
            is_made.recv().expect("topics are made");
        }
        broker.stop();
        client.join().expect("a client");
        drop(idle);
        let said = broker.log_tail();
        assert!(
            !said.contains("did not end"),
            "turn {turn}: a shard left before the other:\n{said}"
        );
        broker.restart();
    }
}

/// As by `timeout`, which signals its command and then the whole group.
#[test]
fn a_wish_to_stop_that_is_said_twice_is_one() {
    if Broker::is_kafka() {
        return; // the JVM has its own ways
    }
    let mut broker = Broker::start("said-twice");
    broker.signal(libc::SIGTERM);
    broker.log_until("stopping: ");
    broker.stop();
}

#[test]
fn no_thread_ends_the_broker_at_a_signal() {
    if Broker::is_kafka() {
        return; // the JVM has its own ways
    }
    let broker = Broker::start("signals");
    let pid = broker.pid();
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("its threads");
    for thread in threads.map(|thread| thread.expect("a thread").path()) {
        if thread.ends_with(pid.to_string()) {
            continue; // the main thread waits for the signals
        }
        // One of the kernel's own may have gone meanwhile.
        let Ok(status) = fs::read_to_string(thread.join("status")) else { continue };
        let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
        let blocked = u64::from_str_radix(blocked.expect("SigBlk").trim(), 16).expect("a mask");
        for signal in [libc::SIGTERM, libc::SIGINT] {
            assert!(
                blocked & (1 << (signal - 1)) != 0,
                "signal {signal} is not blocked:\n{status}"
            );
        }
    }
}

#[test]
fn a_second_broker_on_the_same_directory_is_refused() {
    let mut first = Broker::start("same-directory");
    create(&first, 1);
    let options = Options { data_dir: Some(first.data_dir()), ..Options::default() };
    let mut second = Broker::prepared("same-directory-second", options);
    let (status, said) = second.start_refused();
    assert!(!status.success(), "a second broker on a directory in use must not start");
    let directory = first.data_dir();
    let directory = directory.to_str().expect("a plain path");
    assert!(said.contains(directory), "the message names the directory:\n{said}");
    assert!(
        said.contains("use") || said.contains("lock") || said.contains("another"),
        "the message says that another broker has it:\n{said}"
    );
    assert!(!said.contains("panicked"), "refused in words, not by a panic:\n{said}");
    first.assert_alive();
    assert_eq!(produce_one(&first, 0, b"still served"), 0);
}

#[test]
fn a_second_broker_on_the_same_port_is_refused() {
    let mut first = Broker::start("same-port");
    create(&first, 1);
    let mut second = Broker::prepared("same-port-second", Options::default());
    second.set_port(first.port());
    let (status, said) = second.start_refused();
    assert!(!status.success(), "a second broker on a port in use must not start");
    assert!(said.contains(&first.port().to_string()), "the message names the port:\n{said}");
    assert!(!said.contains("panicked"), "refused in words, not by a panic:\n{said}");
    first.assert_alive();
    assert_eq!(produce_one(&first, 0, b"still served"), 0);
}

#[test]
fn another_number_of_shards_finds_the_same_records() {
    const PARTITIONS: i32 = 7;
    let mut broker = Broker::start_with("shards", Options::with_arguments(&["--shards", "2"]));
    create(&broker, PARTITIONS);
    let mut expected = Vec::new();
    for (turn, shards) in ["1", "2", "1"].into_iter().enumerate() {
        for partition in 0..PARTITIONS {
            let value = format!("{turn}-{partition}");
            assert_eq!(produce_one(&broker, partition, value.as_bytes()), turn as i64);
        }
        expected.push(turn);
        // One time as a clean stop leaves it, the other time as a kill does.
        if turn % 2 == 0 {
            broker.stop()
        } else {
            broker.kill()
        }
        broker.set_arguments(&["--shards", shards]);
        broker.restart();
        for partition in 0..PARTITIONS {
            let wanted: Vec<Vec<u8>> =
                expected.iter().map(|each| format!("{each}-{partition}").into_bytes()).collect();
            assert_eq!(values(&broker, partition), wanted, "with {shards} shards");
        }
    }
}

/// The only file of that name below the data directory.
fn file_below(directory: &Path, name: &str) -> PathBuf {
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("a directory").flatten() {
            match entry.path() {
                path if path.is_dir() => open.push(path),
                path if path.file_name().is_some_and(|found| found == name) => return path,
                _ => {}
            }
        }
    }
    panic!("no {name} below {}", directory.display());
}

#[test]
fn a_start_without_all_the_metadata_or_journal_is_refused_and_leaves_the_data_alone() {
    if Broker::is_kafka() {
        return; // other files
    }
    let mut broker = Broker::start("damaged");
    create(&broker, 1);
    for turn in 0..3 {
        assert_eq!(produce_one(&broker, 0, b"kept"), turn);
    }
    broker.kill();
    let meta = broker.data_dir().join("meta");
    let log = meta.join("__cluster_metadata-0/00000000000000000000.log");
    let away = broker.data_dir().join("away");
    let journal = file_below(&broker.data_dir(), "journal-1");
    for moved in [meta, log.clone(), broker.data_dir().join("meta.properties"), journal] {
        fs::rename(&moved, &away).expect("moving it away");
        let (status, said) = broker.start_refused();
        assert!(!status.success() && said.contains("missing"), "{}: {said}", moved.display());
        fs::rename(&away, &moved).expect("moving it back");
    }
    let whole = fs::read(&log).expect("the metadata log");
    let mut damaged = whole.clone();
    let at = damaged.len() - 5;
    damaged[at] ^= 1;
    for bytes in [&damaged[..], &[]] {
        fs::write(&log, bytes).expect("damaging it");
        let (status, said) = broker.start_refused();
        assert!(!status.success() && said.contains("acknowledged"), "{said}");
    }
    let noted = log.with_file_name("flushed-end");
    fs::rename(&noted, &away).expect("moving it away");
    let (status, said) = broker.start_refused();
    assert!(!status.success() && said.contains("is empty"), "{said}");
    fs::rename(&away, &noted).expect("moving it back");
    fs::write(&log, &whole).expect("restoring it");
    broker.restart();
    assert_eq!(values(&broker, 0), [b"kept", b"kept", b"kept"]);
}

#[test]
fn data_that_the_metadata_does_not_know_is_kept_aside_unless_its_topic_was_deleted() {
    if Broker::is_kafka() {
        return; // other files
    }
    let mut broker = Broker::start("stray");
    create(&broker, 1);
    assert_eq!(produce_one(&broker, 0, b"a record"), 0);
    broker.stop();
    let meta = broker.data_dir().join("meta/__cluster_metadata-0");
    let segment = file_below(&broker.data_dir().join("logs"), "00000000000000000000.log");
    let partition = segment.parent().expect("its directory").to_owned();
    // As a deletion leaves it that the power was cut in.
    broker.restart();
    let bytes = fs::read(&segment).expect("the segment");
    let mut connection = Connection::open(broker.port()).expect("connecting");
    assert_eq!(connection.delete_topic(TOPIC).expect("DeleteTopics"), 0);
    broker.kill();
    fs::create_dir_all(&partition).expect("its directory");
    fs::write(&segment, &bytes).expect("its segment");
    broker.restart();
    assert!(!partition.exists(), "what is left of a deleted topic goes");
    // And as metadata of another time leaves it: what was damaged is given up.
    broker.stop();
    fs::create_dir_all(&partition).expect("its directory");
    fs::write(&segment, &bytes).expect("its segment");
    let log = meta.join("00000000000000000000.log");
    fs::write(&log, b"damaged from its first byte on").expect("damaging it");
    fs::remove_file(meta.join("flushed-end")).expect("giving it up");
    broker.restart();
    assert!(!partition.exists() && broker.log_tail().contains("-stray-"), "{}", broker.log_tail());
    let stray = file_below(&broker.data_dir().join("logs"), "00000000000000000000.log");
    assert_eq!(fs::read(stray).expect("the segment"), bytes);
}
