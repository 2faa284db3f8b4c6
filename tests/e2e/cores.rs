//! Which cores a shard may run on, beside a neighbour that wants the same one.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::page::{counted, free_port, page, seconds};
use crate::support::{Broker, Options};
use crate::threads::{field, statuses};

const PATIENCE: Duration = Duration::from_secs(60);
/// ApiVersions, version 0, from nobody.
const REQUEST: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];

/// A broker of one shard, and the port of its metrics page.
fn one_shard(name: &str, pinned: &str) -> (Broker, u16) {
    let metrics = free_port();
    let address = format!("127.0.0.1:{metrics}");
    let setting = format!("thalweg.shards.pinned={pinned}");
    let arguments = ["--shards", "1", "--metrics", &address, "--set", &setting];
    (Broker::start_with(name, Options::with_arguments(&arguments)), metrics)
}

/// `Cpus_allowed_list` of the broker's first thread of that name.
fn cores_of(broker: &Broker, thread: &str) -> String {
    let found = statuses(broker).into_iter().find(|status| field(status, "Name") == thread);
    field(&found.expect("the broker has that thread"), "Cpus_allowed_list").to_owned()
}

/// Keep the broker's shard busy for as long as the connection is open.
fn keep_busy(broker: &Broker) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", broker.port())).expect("connecting");
    let mut asking = stream.try_clone().expect("another handle");
    let mut hearing = stream.try_clone().expect("another handle");
    thread::spawn(move || while asking.write_all(&REQUEST.repeat(100)).is_ok() {});
    thread::spawn(move || io::copy(&mut hearing, &mut io::sink()));
    stream
}

/// Two brokers pinned to the same core are both busy: the one that may go goes, the one that was
/// told to stay stays.
#[test]
fn a_shard_leaves_a_core_that_others_want_unless_it_is_to_stay() {
    let (going, going_page) = one_shard("core-auto", "auto");
    let (staying, staying_page) = one_shard("core-always", "always");
    let home = cores_of(&staying, "shard-0");
    assert_eq!(home.parse::<usize>().map(|_| ()), Ok(()), "one core: {home}");
    let neighbours = [&going, &going, &staying, &staying].map(keep_busy);
    let began = Instant::now();
    while counted(&page(going_page), "thalweg_shard_pinned", "shard=\"0\"") == 1 {
        assert!(began.elapsed() < PATIENCE, "still on its core");
    }
    let page_of_going = page(going_page);
    assert!(seconds(&page_of_going, "thalweg_core_wait_seconds_total", "shard=") > 0.0);
    // Where the process may run that was never pinned.
    assert_eq!(cores_of(&going, "shard-0"), cores_of(&going, "thalweg"));
    let page_of_staying = page(staying_page);
    assert_eq!(counted(&page_of_staying, "thalweg_shard_pinned", "shard="), 1);
    assert_eq!(cores_of(&staying, "shard-0"), home);
    for stream in neighbours {
        // The broker may have closed it.
        let _ = stream.shutdown(Shutdown::Both);
    }
}
