//! Many at once: connections that promise much and send little, more connections than files, more
//! producers than are remembered.

use std::fs;
use std::time::{Duration, Instant};

use kafka_protocol::messages::ApiVersionsRequest;

use crate::support::broker::POLL;
use crate::support::wire::{self, Producer};
use crate::support::{Broker, Connection, Options};

const TOPIC: &str = "neighbour";
const UNWRITTEN: &str = "unwritten";
const KAFKA_STORAGE_ERROR: i16 = 56;
const HUNDRED_MIB: i32 = 100 << 20;
const STALLED: usize = 200;
const GROWTH: u64 = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(20);

fn neighbour(broker: &Broker) -> Connection {
    let mut connection = Connection::open(broker.port()).expect("connecting");
    assert_eq!(connection.create_topic(TOPIC, 1, &[]).expect("CreateTopics"), 0);
    connection
}

/// What every connection has for as long as it is open is not room for what some requests need.
#[test]
fn a_connection_without_work_costs_little() {
    const CONNECTIONS: usize = 500;
    const BYTES_MAX: u64 = 6 << 10;
    if Broker::is_kafka() {
        return;
    }
    let broker = Broker::start("idle-connections");
    let open = |count| -> Vec<Connection> {
        let opened = (0..count).map(|_| Connection::open(broker.port()).expect("connecting"));
        opened.map(|mut c| c.api_versions().map(|_| c).expect("asking")).collect()
    };
    // The first ones teach the allocator what it needs.
    let _first = open(CONNECTIONS / 5);
    let before = broker.resident_bytes();
    let _others = open(CONNECTIONS);
    let each = broker.resident_bytes().saturating_sub(before) / CONNECTIONS as u64;
    assert!(each < BYTES_MAX, "{each} bytes a connection");
}

/// 200 connections each announce a frame of 100 MiB and send four bytes of it, or 1,024: memory
/// is taken as bytes arrive, not as they are announced.
#[test]
fn announced_frames_take_no_memory() {
    for sent in [0_usize, 1024] {
        let mut broker = Broker::start("announced");
        let mut neighbour = neighbour(&broker);
        let (error, _) =
            neighbour.produce(TOPIC, 0, -1, wire::batch(&[b"before"])).expect("Produce");
        assert_eq!(error, 0);
        let before = broker.resident_bytes();
        let mut stalled = Vec::new();
        for _ in 0..STALLED {
            let mut connection = Connection::open(broker.port()).expect("connecting");
            connection.write_raw(&HUNDRED_MIB.to_be_bytes()).expect("announcing");
            connection.write_raw(&vec![0; sent]).expect("a little of it");
            stalled.push(connection);
        }
        for turn in 0..100_i64 {
            let value = vec![b'n'; 10_000];
            let outcome = neighbour.produce(TOPIC, 0, -1, wire::batch(&[&value])).expect("Produce");
            assert_eq!(outcome, (0, turn + 1), "the neighbour's produce");
        }
        let mut fresh = Connection::open(broker.port()).expect("connecting beside them");
        assert_eq!(fresh.read_partition(TOPIC, 0).expect("reading").len(), 101);
        let growth = broker.resident_bytes().saturating_sub(before);
        assert!(
            growth < GROWTH,
            "{STALLED} announced frames ({sent} bytes of each sent) took {growth} bytes"
        );
        drop(stalled);
        broker.assert_alive();
    }
}

/// More connections than `max.connections`, which follows the limit of open files: those that are
/// there go on, and when some leave, others come in.
#[test]
fn connections_beyond_the_open_files_limit() {
    let options = Options { open_files: Some(512), ..Options::default() };
    let mut broker = Broker::start_with("no-files", options);
    let mut old = neighbour(&broker);
    let crowd: Vec<Connection> =
        (0..700).map_while(|_| Connection::open(broker.port()).ok()).collect();
    assert!(crowd.len() > 100, "only {} came in at all", crowd.len());
    for turn in 0..20_i64 {
        let outcome = old.produce(TOPIC, 0, -1, wire::batch(&[b"still here"])).expect("Produce");
        assert_eq!(outcome, (0, turn), "the old connection's produce");
    }
    broker.assert_alive();
    drop(crowd);
    await_service(&broker);
    broker.assert_alive();
}

/// No file descriptor left at all: those that are there go on, new ones wait, the log says so once
/// and not at every attempt; with a higher limit those that waited are served. A log that needs a
/// new file refuses records meanwhile, and the store does not go offline for it.
#[test]
fn new_connections_wait_while_there_are_no_descriptors() {
    let mut broker = Broker::start("no-descriptors");
    let mut old = neighbour(&broker);
    let (error, _) = old.produce(TOPIC, 0, -1, wire::batch(&[b"before"])).expect("Produce");
    assert_eq!(error, 0);
    assert_eq!(old.create_topic(UNWRITTEN, 1, &[]).expect("CreateTopics"), 0);
    let open = fs::read_dir(format!("/proc/{}/fd", broker.pid())).expect("its descriptors").count();
    let before = limit_open_files(broker.pid(), open as u64);
    // Several: a descriptor that was in use for a moment when they were counted is one's.
    let mut waiting: Vec<Connection> =
        (0..5).map(|_| Connection::open(broker.port()).expect("the kernel's queue")).collect();
    for one in &mut waiting {
        one.send(0, &ApiVersionsRequest::default()).expect("asking");
    }
    let (began, mut turn) = (Instant::now(), 0);
    // Some attempts of the broker, of which it makes ten a second.
    while began.elapsed() < Duration::from_millis(500) {
        turn += 1;
        let outcome = old.produce(TOPIC, 0, -1, wire::batch(&[b"still here"])).expect("Produce");
        assert_eq!(outcome, (0, turn), "the old connection's produce");
    }
    let (error, _) = old.produce(UNWRITTEN, 0, -1, wire::batch(&[b"first"])).expect("Produce");
    assert_eq!(error, KAFKA_STORAGE_ERROR);
    let said = broker.log_tail();
    assert_eq!(said.matches("cannot accept a connection").count(), 1, "{said}");
    assert!(said.contains("Too many open files") && said.contains("ulimit -n"), "{said}");
    limit_open_files(broker.pid(), before);
    for one in &mut waiting {
        one.set_timeout(PATIENCE);
        one.read_frame().expect("the answer of one that waited");
    }
    let outcome = old.produce(UNWRITTEN, 0, -1, wire::batch(&[b"first"])).expect("Produce");
    assert_eq!(outcome, (0, 0), "without a restart");
    broker.assert_alive();
}

/// Set the soft limit of open files of a process; what it was.
fn limit_open_files(pid: u32, most: u64) -> u64 {
    let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let pid = libc::pid_t::try_from(pid).expect("a pid");
    // SAFETY: both pointers are to live structures or null, as the call allows.
    let read = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut old) };
    assert_eq!(read, 0, "reading the limit: {}", std::io::Error::last_os_error());
    let new = libc::rlimit { rlim_cur: most, rlim_max: old.rlim_max };
    // SAFETY: as above.
    let set =
        unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const new, std::ptr::null_mut()) };
    assert_eq!(set, 0, "setting the limit: {}", std::io::Error::last_os_error());
    old.rlim_cur
}

/// Wait until the broker serves a new connection.
fn await_service(broker: &Broker) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Told by an answer, not by the connect: the kernel's queue takes anyone.
        let served = Connection::open(broker.port()).and_then(|mut connection| {
            connection.set_timeout(Duration::from_secs(1));
            connection.api_versions()
        });
        match served {
            Ok(_) => break,
            Err(error) => assert!(
                Instant::now() < deadline,
                "after the crowd left nobody new is served: {error}"
            ),
        }
        std::thread::sleep(POLL);
    }
}

/// However many partitions they write to.
#[test]
fn a_shard_remembers_so_many_idempotent_producers() {
    const PRODUCERS_MAX: usize = 16;
    if Broker::is_kafka() {
        return;
    }
    let arguments = ["--shards", "1", "--set", "thalweg.producers.max=16"];
    let broker = Broker::start_with("producers", Options::with_arguments(&arguments));
    let mut connection = Connection::open(broker.port()).expect("connecting");
    assert_eq!(connection.create_topic("many", 10, &[]).expect("CreateTopics"), 0);
    let batch = |id| wire::sequenced_batch(&[b"x"], Producer { id, epoch: 0 }, 0);
    let mut produce = |id: i64| {
        let partition = (id % 10) as i32;
        connection.produce("many", partition, 1, batch(id)).expect("Produce")
    };
    for id in 0..100 {
        assert_eq!(produce(id), (0, id / 10));
    }
    // Repeated from the newest on: who is forgotten is appended again, and forgets another.
    let recognised = (0..100).rev().take_while(|id| produce(*id) == (0, id / 10)).count();
    assert!((1..=PRODUCERS_MAX).contains(&recognised), "{recognised} are remembered");
}
