//! What a deleted topic leaves behind: nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use crate::support::broker::Broker;
use crate::support::wire::{self, Connection};

const TOPIC: &str = "deleted";
/// Longer than the slowest machine needs, so that a broker that keeps the space is told as one.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes on disk that open files of partitions hold, removed or not.
fn held_bytes(pid: u32) -> u64 {
    let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("the broker's descriptors");
    let segments = open.flatten().map(|entry| entry.path()).filter(|path| {
        fs::read_link(path).is_ok_and(|name| name.to_string_lossy().contains("/logs/"))
    });
    segments.filter_map(|path| fs::metadata(path).ok()).map(|file| file.blocks() * 512).sum()
}

/// Its files are open when it is deleted, with writes that no checkpoint has covered.
#[test]
fn a_deleted_topic_gives_its_space_back_at_once() {
    let broker = Broker::start("deletion");
    let mut connection = Connection::open(broker.port()).expect("connecting");
    assert_eq!(connection.create_topic(TOPIC, 1, &[]).expect("CreateTopics"), 0);
    let value = vec![b'x'; 900_000];
    for turn in 0..20 {
        let outcome = connection.produce(TOPIC, 0, 1, wire::batch(&[&value])).expect("Produce");
        assert_eq!(outcome, (0, turn));
    }
    assert!(held_bytes(broker.pid()) > 18_000_000, "what was written is in a file that is open");
    assert_eq!(connection.delete_topic(TOPIC).expect("DeleteTopics"), 0);
    let deleted = Instant::now();
    while held_bytes(broker.pid()) > 0 {
        assert!(
            deleted.elapsed() < PATIENCE,
            "{} bytes of a deleted topic are still held after {PATIENCE:?}",
            held_bytes(broker.pid())
        );
        std::thread::yield_now();
    }
}
