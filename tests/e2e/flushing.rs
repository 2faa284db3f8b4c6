//! What an acknowledgement waits for, as the counters tell it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::support::{Broker, Connection, Options, wire};

const TOPIC: &str = "tightened";

/// Flushes of the journal since the start.
fn journal_flushes(metrics: u16) -> u64 {
    counted(&page(metrics), "thalweg_flushes_total", "file=\"journal\"")
}

fn page(metrics: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", metrics)).expect("connecting to /metrics");
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("asking");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("the page");
    page
}

/// Sum of a counter over the shards.
fn counted(page: &str, name: &str, label: &str) -> u64 {
    let lines = page.lines().filter(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{') && rest.contains(label))
    });
    let counts: Vec<u64> = lines
        .map(|line| line.rsplit(' ').next().and_then(|n| n.parse().ok()).expect("a number"))
        .collect();
    assert!(!counts.is_empty(), "the page has no {name} with {label}:\n{page}");
    counts.into_iter().sum()
}

/// `flush.messages` = 3: of records that ask for no flush, every third waits for one.
#[test]
fn flush_messages_tightens_every_third_record() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
    let address = format!("127.0.0.1:{}", free.port());
    let options = Options::with_arguments(&["--metrics", &address]);
    let broker = Broker::start_with("flush-messages", options);
    let mut connection = Connection::open(broker.port()).expect("connecting");
    let tightened = [("flush.messages", "3")];
    assert_eq!(connection.create_topic(TOPIC, 1, &tightened).expect("CreateTopics"), 0);
    let mut seen = Vec::new();
    for turn in 0..9 {
        let before = journal_flushes(free.port());
        let outcome = connection.produce(TOPIC, 0, 1, wire::batch(&[b"one"])).expect("Produce");
        assert_eq!(outcome, (0, turn));
        seen.push(journal_flushes(free.port()) > before);
    }
    assert_eq!(seen, [false, false, true].repeat(3), "which records were flushed");
    let page = page(free.port());
    let all = |name, label| counted(&page, name, label);
    let flushes = all("thalweg_flushes_total", "file=\"journal\"");
    let timed = all("thalweg_journal_flush_seconds_count", "shard=");
    assert_eq!(timed, flushes, "each flush has a time");
    let commits = all("thalweg_group_commits_total", "shard=");
    let timed = all("thalweg_journal_write_seconds_count", "shard=");
    assert_eq!(timed, commits, "so has each commit");
}
