//! What consumer groups cost a broker, and how soon committed offsets are there again.
//!
//! `cargo bench --bench group_load` starts a broker of its own on loopback. First, 1,000 groups of
//! 10 members (KIP-848) send heartbeats at the interval that the broker names while offsets are
//! committed, open loop: latencies are from the intended time. Then 100,000 offsets are committed,
//! the broker is killed, and started again: to serving is until the last of them has been fetched.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use thalweg::client::{
    BrokerAddress, Client, ClientOptions, CommittedOffset, Connection, ConnectionOptions, NewTopic,
};
use thalweg::protocol::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, TopicPartitions,
};
use thalweg::protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};

const GROUPS: usize = 1000;
const MEMBERS: usize = 10;
const THREADS: usize = 8;
const RUN: Duration = Duration::from_secs(30);
const HEARTBEAT_EVERY: Duration = Duration::from_secs(5);
/// Commits of each group in a second.
const COMMITS_PER_GROUP: f64 = 1.0;
const TOPIC: &str = "load";
const WIDE: &str = "wide";
const WIDE_PARTITIONS: i32 = 1000;
const WIDE_GROUPS: usize = 100;

fn main() {
    let mut broker = Broker::start();
    let mut client = broker.client();
    for (name, partitions) in [(TOPIC, MEMBERS as i32), (WIDE, WIDE_PARTITIONS)] {
        let topic =
            NewTopic { name: name.into(), partitions: Some(partitions), ..NewTopic::default() };
        client.create_topic(&topic, false).expect("creating a topic");
    }
    // Creates __consumer_offsets.
    client.commit_offsets("first", &[offset(TOPIC, 0)]).expect("a first commit");
    let begun = Instant::now();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let address = broker.address.clone();
            std::thread::spawn(move || drive(thread, &address))
        })
        .collect();
    let mut all = Tally::new();
    for thread in threads {
        all.add(&thread.join().expect("a thread of the load"));
    }
    println!(
        "{GROUPS} groups x {MEMBERS} members, {:.0} s: {} heartbeats, {} commits, {} errors",
        begun.elapsed().as_secs_f64(),
        all.heartbeats.len(),
        all.commits.len(),
        all.errors
    );
    all.print("heartbeat", &all.heartbeats);
    all.print("OffsetCommit", &all.commits);
    println!("resident {} MB", broker.resident_kib() / 1024);

    for group in 0..WIDE_GROUPS {
        let offsets: Vec<_> = (0..WIDE_PARTITIONS).map(|p| offset(WIDE, p)).collect();
        client.commit_offsets(&format!("wide-{group}"), &offsets).expect("committing");
    }
    broker.kill();
    let begun = Instant::now();
    broker.restart();
    let ready = begun.elapsed();
    let mut client = broker.client();
    let mut found = 0;
    for group in 0..WIDE_GROUPS {
        found += client.committed_offsets(&format!("wide-{group}")).expect("fetching").len();
    }
    println!(
        "restart after kill -9: takes connections after {:.0} ms, all {found} of {} offsets \
         fetched after {:.0} ms",
        ready.as_secs_f64() * 1e3,
        WIDE_GROUPS * WIDE_PARTITIONS as usize,
        begun.elapsed().as_secs_f64() * 1e3
    );
}

fn offset(topic: &str, partition: i32) -> CommittedOffset {
    CommittedOffset {
        topic: topic.into(),
        partition,
        offset: 1,
        leader_epoch: -1,
        metadata: String::new(),
    }
}

struct Tally {
    heartbeats: Histogram<u64>,
    commits: Histogram<u64>,
    errors: u64,
}

impl Tally {
    fn new() -> Self {
        let histogram = || Histogram::new(3).expect("three digits are allowed");
        Self { heartbeats: histogram(), commits: histogram(), errors: 0 }
    }

    fn add(&mut self, other: &Self) {
        self.heartbeats.add(&other.heartbeats).expect("the same precision");
        self.commits.add(&other.commits).expect("the same precision");
        self.errors += other.errors;
    }

    fn print(&self, what: &str, latencies: &Histogram<u64>) {
        let ms = |q| latencies.value_at_quantile(q) as f64 / 1e3;
        println!(
            "{what}: p50 {:.2} p99 {:.2} p99.9 {:.2} max {:.2} ms",
            ms(0.5),
            ms(0.99),
            ms(0.999),
            latencies.max() as f64 / 1e3
        );
    }
}

struct Member {
    group: String,
    id: String,
    epoch: i32,
    owned: Vec<TopicPartitions>,
}

/// The groups of one thread, on one connection: everybody joins, then time passes.
fn drive(thread: usize, address: &BrokerAddress) -> Tally {
    let mut connection =
        Connection::open(address, &ConnectionOptions::default()).expect("connecting");
    let mut tally = Tally::new();
    let mut members: Vec<Member> = (0..GROUPS / THREADS)
        .flat_map(|group| {
            (0..MEMBERS).map(move |member| Member {
                group: format!("group-{thread}-{group}"),
                id: format!("member-{thread}-{group}-{member}"),
                epoch: 0,
                owned: Vec::new(),
            })
        })
        .collect();
    for member in &mut members {
        heartbeat(&mut connection, member, &mut tally, Instant::now());
    }
    // Only the time that follows is measured.
    tally = Tally::new();
    let every = HEARTBEAT_EVERY / members.len() as u32;
    let commit_every =
        Duration::from_secs_f64(MEMBERS as f64 / COMMITS_PER_GROUP) / members.len() as u32;
    let begun = Instant::now();
    let (mut beats, mut commits) = (0_u32, 0_u32);
    while begun.elapsed() < RUN {
        let (next_beat, next_commit) = (begun + every * beats, begun + commit_every * commits);
        let next = next_beat.min(next_commit);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        if next_beat <= next_commit {
            let at = beats as usize % members.len();
            heartbeat(&mut connection, &mut members[at], &mut tally, next_beat);
            beats += 1;
        } else {
            // One member of each group in turn.
            let at = (commits as usize * MEMBERS + commits as usize / 7) % members.len();
            commit(&mut connection, &members[at], &mut tally, next_commit);
            commits += 1;
        }
    }
    tally
}

fn heartbeat(connection: &mut Connection, member: &mut Member, tally: &mut Tally, due: Instant) {
    let is_joining = member.epoch == 0;
    let request = ConsumerGroupHeartbeatRequest {
        group_id: member.group.as_str().into(),
        member_id: member.id.as_str().into(),
        member_epoch: member.epoch,
        rebalance_timeout_ms: if is_joining { 60_000 } else { -1 },
        subscribed_topic_names: is_joining.then(|| vec![TOPIC.into()]),
        topic_partitions: Some(member.owned.clone()),
        ..Default::default()
    };
    let reply = connection.call(&request).expect("a heartbeat");
    tally.heartbeats += due.elapsed().as_micros() as u64;
    if !reply.error_code.is_ok() {
        tally.errors += 1;
        return;
    }
    member.epoch = reply.member_epoch;
    if let Some(assignment) = reply.assignment {
        member.owned = assignment.topic_partitions;
    }
}

fn commit(connection: &mut Connection, member: &Member, tally: &mut Tally, due: Instant) {
    let partitions = member.owned.iter().flat_map(|topic| &topic.partitions).map(|index| {
        OffsetCommitRequestPartition {
            partition_index: *index,
            committed_offset: 1,
            committed_metadata: Some("".into()),
            ..Default::default()
        }
    });
    let request = OffsetCommitRequest {
        group_id: member.group.as_str().into(),
        generation_id_or_member_epoch: member.epoch,
        member_id: member.id.as_str().into(),
        topics: vec![OffsetCommitRequestTopic {
            name: TOPIC.into(),
            partitions: partitions.collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let reply = connection.call_at(9, &request, Duration::ZERO).expect("a commit");
    tally.commits += due.elapsed().as_micros() as u64;
    let mut partitions = reply.topics.iter().flat_map(|topic| &topic.partitions);
    if partitions.any(|partition| !partition.error_code.is_ok()) {
        tally.errors += 1;
    }
}

/// A broker on a directory that goes when this does.
struct Broker {
    child: Child,
    address: BrokerAddress,
    directory: PathBuf,
}

impl Broker {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("group_load");
        let _ = std::fs::remove_dir_all(&directory);
        let address = BrokerAddress { host: "127.0.0.1".into(), port };
        let child = Self::spawn(&directory, &address);
        let broker = Self { child, address, directory };
        broker.await_connection();
        broker
    }

    fn spawn(directory: &Path, address: &BrokerAddress) -> Child {
        Command::new(env!("CARGO_BIN_EXE_thalweg"))
            .arg("serve")
            .arg("--data-dir")
            .arg(directory)
            .args(["--listen", &format!("{}:{}", address.host, address.port)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("starting the broker")
    }

    fn restart(&mut self) {
        self.child = Self::spawn(&self.directory, &self.address);
        self.await_connection();
    }

    fn await_connection(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while Connection::open(&self.address, &ConnectionOptions::default()).is_err() {
            assert!(Instant::now() < deadline, "the broker takes no connection for 30 s");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn client(&self) -> Client {
        let options = ClientOptions::new(vec![self.address.clone()]);
        Client::connect(options).expect("connecting")
    }

    fn resident_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("the broker's status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    }

    fn kill(&mut self) {
        self.child.kill().expect("killing the broker");
        self.child.wait().expect("its end");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
