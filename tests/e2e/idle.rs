//! A broker that nobody asks anything of sleeps.

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use crate::support::{Broker, Connection, Options, wire};
use crate::threads::{field, statuses};

const WINDOW: Duration = Duration::from_secs(2);
const WINDOWS_MAX: usize = 15;
/// Of all threads in one window. A timer of a tenth of a second would make twenty for each shard.
const WAKES_MAX: u64 = 10;

/// How often the broker's threads have gone to sleep so far.
fn sleeps(broker: &Broker) -> u64 {
    let statuses = statuses(broker);
    let counts = statuses.iter().map(|status| field(status, "voluntary_ctxt_switches"));
    counts.map(|count| count.parse::<u64>().expect("a number")).sum()
}

/// With two shards, records that were stored and flushed, and a connection that stays open.
#[test]
fn an_idle_broker_sleeps() {
    let broker = Broker::start_with("idle", Options::with_arguments(&["--shards", "2"]));
    let mut connection = Connection::open(broker.port()).expect("connecting");
    assert_eq!(connection.create_topic("before", 4, &[]).expect("CreateTopics"), 0);
    for partition in 0..4 {
        let stored = connection.produce("before", partition, -1, wire::batch(&[b"one"]));
        assert_eq!(stored.expect("Produce"), (0, 0));
    }
    let mut silent = TcpStream::connect(("127.0.0.1", broker.port())).expect("connecting");
    silent.set_read_timeout(Some(WINDOW)).expect("a time limit");
    let mut seen = Vec::new();
    while seen.len() < WINDOWS_MAX {
        let before = sleeps(&broker);
        silent.read(&mut [0]).expect_err("nobody says anything");
        seen.push(sleeps(&broker).saturating_sub(before));
        if seen.last().is_some_and(|wakes| *wakes <= WAKES_MAX) {
            return;
        }
    }
    panic!("an idle broker's threads woke so often in {WINDOW:?} each: {seen:?}");
}
