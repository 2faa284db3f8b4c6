//! The client commands beside a broker: what they send, follow, and find in its files.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use kafka_protocol::messages::DeleteRecordsRequest;
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::protocol::StrBytes;

use crate::support::{Broker, Connection, wire};

const TOPIC: &str = "commanded";

fn started(name: &str) -> Broker {
    let broker = Broker::start(name);
    let mut connection = Connection::open(broker.port()).expect("connecting");
    assert_eq!(connection.create_topic(TOPIC, 1, &[]).expect("CreateTopics"), 0);
    broker
}

fn produce(broker: &Broker, value: &[u8]) {
    let mut connection = Connection::open(broker.port()).expect("connecting");
    let (error, _) = connection.produce(TOPIC, 0, -1, wire::batch(&[value])).expect("Produce");
    assert_eq!(error, 0);
}

/// A command of ours, asked of `broker`.
fn command(broker: &Broker, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    command
        .args(arguments)
        .args(["-b", &format!("127.0.0.1:{}", broker.port())])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Longer than the slowest machine needs to end a command.
const PATIENCE: Duration = Duration::from_secs(60);

/// `thalweg consume --follow`, line by line.
struct Following(Child, BufReader<ChildStdout>);

impl Following {
    fn start(broker: &Broker, arguments: &[&str]) -> Self {
        let all = [&["consume", TOPIC, "--follow"], arguments].concat();
        let mut child = command(broker, &all).spawn().expect("starting thalweg");
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        Self(child, lines)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.1.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    /// The next line. In a group what was printed and not yet committed comes again.
    fn line_behind(&mut self, last: &str) -> String {
        let line = self.line();
        if line == last { self.line() } else { line }
    }

    /// Ends it: what it said on standard error.
    fn end(mut self) -> String {
        self.0.kill().expect("ending it");
        let mut said = String::new();
        self.0.stderr.take().expect("a pipe").read_to_string(&mut said).expect("reading");
        self.0.wait().expect("waiting for it");
        said
    }

    fn signal(&self, number: libc::c_int) {
        // SAFETY: kill(2) takes two integers and touches no memory of ours.
        assert_eq!(unsafe { libc::kill(self.0.id() as libc::pid_t, number) }, 0);
    }
}

#[test]
fn who_follows_outlives_the_broker() {
    for arguments in [&[][..], &["--group", "followers"]] {
        let mut broker = started("follow-restart");
        let mut following = Following::start(&broker, arguments);
        produce(&broker, b"before");
        assert_eq!(following.line(), "before");
        broker.kill();
        broker.restart();
        produce(&broker, b"after");
        assert_eq!(following.line_behind("before"), "after");
        broker.stop();
        broker.restart();
        produce(&broker, b"again");
        assert_eq!(following.line_behind("after"), "again");
        // What was printed before this one is committed, and the outage over.
        produce(&broker, b"last");
        assert_eq!(following.line_behind("again"), "last");
        let said = following.end();
        assert!(said.contains("trying again") && said.contains("connected again"), "{said}");
    }
}

/// There is nobody to commit with, and no group to leave. Not with SIGINT: who runs tests in the
/// background of a shell has it ignored, and the command leaves it so.
#[test]
fn who_follows_in_a_group_ends_at_a_signal_while_the_broker_is_away() {
    let mut broker = started("follow-signal");
    let mut following = Following::start(&broker, &["--group", "followers"]);
    produce(&broker, b"before");
    assert_eq!(following.line(), "before");
    broker.kill();
    let mut said = BufReader::new(following.0.stderr.take().expect("a pipe")).lines();
    assert!(said.any(|line| line.expect("text").contains("trying again")));
    following.signal(libc::SIGTERM);
    let begin = Instant::now();
    let ended = loop {
        match following.0.try_wait().expect("waiting for it") {
            None if begin.elapsed() < PATIENCE => std::thread::yield_now(),
            ended => break ended,
        }
    };
    assert_eq!(ended.expect("it does not end").code(), Some(128 + libc::SIGTERM));
}

#[test]
fn who_follows_goes_on_behind_deleted_records() {
    let broker = started("follow-deleted");
    let mut following = Following::start(&broker, &[]);
    produce(&broker, b"first");
    assert_eq!(following.line(), "first");
    // It stands still; one answer may be on its way to it.
    following.signal(libc::SIGSTOP);
    for value in [&b"unread"[..], b"deleted", b"deleted"] {
        produce(&broker, value);
    }
    delete_records(&broker, 4);
    produce(&broker, b"behind");
    following.signal(libc::SIGCONT);
    let mut line = following.line();
    if line == "unread" {
        line = following.line();
    }
    assert_eq!(line, "behind");
    let said = following.end();
    assert!(said.contains("is not there (any more): it has 4 to 5; going on at 4"), "{said}");
}

/// Without --follow a group whose place was deleted is not moved unasked.
#[test]
fn a_group_behind_deleted_records_is_told_how_to_go_on() {
    let broker = started("group-deleted");
    for value in [&b"first"[..], b"deleted", b"behind"] {
        produce(&broker, value);
    }
    let run = |arguments: &[&str]| {
        let done = command(&broker, arguments).output().expect("running thalweg");
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (done.status.code(), said(&done.stdout), said(&done.stderr))
    };
    let consume = ["consume", TOPIC, "--group", "g", "-n", "1"];
    assert_eq!(run(&consume).1, "first\n");
    delete_records(&broker, 2);
    let (code, _, said) = run(&consume);
    assert_eq!(code, Some(1));
    let fix = format!("thalweg group reset-offsets g --topic {TOPIC} --to-earliest --execute");
    assert!(said.contains(&format!("{TOPIC}-0 at offset 1")) && said.contains(&fix), "{said}");
    let fix: Vec<&str> = fix.split(' ').skip(1).collect();
    assert_eq!(run(&fix).0, Some(0));
    assert_eq!(run(&consume).1, "behind\n");
}

fn delete_records(broker: &Broker, before: i64) {
    let mut partition = DeleteRecordsPartition::default();
    (partition.partition_index, partition.offset) = (0, before);
    let mut topic = DeleteRecordsTopic::default();
    topic.name = TopicName(StrBytes::from_static_str(TOPIC));
    topic.partitions = vec![partition];
    let mut request = DeleteRecordsRequest::default();
    (request.topics, request.timeout_ms) = (vec![topic], 10_000);
    let mut connection = Connection::open(broker.port()).expect("connecting");
    let reply = connection.call(2, &request).expect("DeleteRecords");
    assert_eq!(reply.topics[0].partitions[0].error_code, 0);
}

/// Feeds `input` to a command; how it ended.
fn fed(broker: &Broker, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = command(broker, arguments).spawn().expect("starting thalweg");
    child.stdin.take().expect("a pipe").write_all(input).expect("feeding it");
    child.wait_with_output().expect("waiting for it")
}

#[test]
fn lines_before_one_that_cannot_be_taken_are_sent() {
    let broker = started("bad-line");
    let output = fed(&broker, &["produce", TOPIC, "-K", ":"], b"a:1\nb:2\nbad\nc:3\n");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("\"bad\" has no key separator \":\""), "{said}");
    assert!(said.contains("produced 2 records"), "{said}");
    let mut connection = Connection::open(broker.port()).expect("connecting");
    let values: Vec<_> = connection.read_partition(TOPIC, 0).expect("reading");
    let values: Vec<_> = values.iter().map(|(_, value)| value.to_vec()).collect();
    assert_eq!(values, [b"1", b"2"]);
}

/// The segments of a broker of ours.
fn segments(directory: &Path) -> Vec<PathBuf> {
    let entries = |path: &Path| -> Vec<PathBuf> {
        fs::read_dir(path).expect("a directory").map(|e| e.expect("an entry").path()).collect()
    };
    let partitions = entries(&directory.join("logs")).into_iter().flat_map(|topic| entries(&topic));
    let files = partitions.flat_map(|partition| entries(&partition));
    files.filter(|file| file.extension().is_some_and(|end| end == "log")).collect()
}

/// The end of a large batch is in the journal until the broker has more to write, or stops.
#[test]
fn the_files_of_a_broker_are_sound_whether_it_runs_was_killed_or_stopped() {
    if Broker::is_kafka() {
        return; // it writes other files
    }
    let mut broker = started("verified");
    produce(&broker, &[b'x'; 300_000]);
    let verify = |broker: &Broker| {
        let files = segments(&broker.data_dir());
        assert_eq!(files.len(), 1);
        let binary = env!("CARGO_BIN_EXE_thalweg");
        let verified = Command::new(binary).args(["segment", "verify"]).args(files).output();
        let verified = verified.expect("running thalweg");
        let said = String::from_utf8_lossy(&verified.stdout).into_owned();
        assert!(verified.status.success(), "{said}");
        said
    };
    let unfinished = "begins at byte 0, is not in this file yet";
    assert!(verify(&broker).contains(unfinished));
    broker.kill();
    assert!(verify(&broker).contains(unfinished));
    broker.restart();
    broker.stop();
    let said = verify(&broker);
    assert!(said.contains("ok: 1 batch, 1 record") && !said.contains(unfinished), "{said}");
}
