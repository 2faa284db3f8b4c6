//! A disk that fills up under a broker, and gets room again.
//!
//! Promise: a produce without room is refused with KAFKA_STORAGE_ERROR while fetch goes on; what
//! was acknowledged stays; once there is room produce goes on without a restart, and that is
//! noticed though nobody produces. The log says both, and what to do. A broker that ends on a full
//! disk can be started there.
//!
//! The disk is an ext4 image of its own, loop-mounted below the build directory, which needs root
//! and a loop device. Without them this cannot be run and says so; `tests/run` then lists it among
//! the suites that were not run.

#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use support::broker::scratch;
use support::{Broker, Connection, Options, wire};

/// Room for the broker's journal and a few segments; small enough to be full within seconds.
const IMAGE_BYTES: u64 = 1 << 30;
/// What is taken away from the disk first and given back when it is full.
const BALLAST_BYTES: u64 = 256 << 20;
/// What others take of the space that appends leave, 32 MiB for each of two shards.
const OTHERS_BYTES: u64 = 32 << 20;
const TOPIC: &str = "filling";
const KAFKA_STORAGE_ERROR: i16 = 56;
const PATIENCE: Duration = Duration::from_secs(60);
const RECORD_BYTES: usize = 900_000;

/// An ext4 file system in a file, mounted until dropped.
struct SmallDisk {
    mounted_at: PathBuf,
    directory: PathBuf,
}

impl SmallDisk {
    fn mount() -> Self {
        let directory = scratch("small-disk");
        let image = directory.join("image");
        fs::File::create(&image).and_then(|file| file.set_len(IMAGE_BYTES)).expect("an image");
        let mounted_at = directory.join("mounted");
        fs::create_dir(&mounted_at).expect("a mount point");
        run("mkfs.ext4", &["-q", "-F", "-m", "0", path(&image)]);
        run("mount", &["-o", "loop", path(&image), path(&mounted_at)]);
        Self { mounted_at, directory }
    }

    fn ballast(&self) -> PathBuf {
        self.mounted_at.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run("umount", &[path(&self.mounted_at)]);
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

fn run(program: &str, arguments: &[&str]) {
    let done = Command::new(program).args(arguments).output().unwrap_or_else(|error| {
        panic!("{program} cannot be run ({error}): this test needs e2fsprogs and util-linux")
    });
    assert!(
        done.status.success(),
        "{program} {arguments:?} failed; this test needs root and a loop device: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

fn value(number: usize) -> Vec<u8> {
    let mut value = format!("{number:<16}").into_bytes();
    value.resize(RECORD_BYTES, b'd');
    value
}

#[test]
fn a_full_disk_refuses_produce_serves_fetch_and_resumes() {
    let disk = SmallDisk::mount();
    run("fallocate", &["-l", &BALLAST_BYTES.to_string(), path(&disk.ballast())]);
    let data_dir = Some(disk.mounted_at.join("data"));
    let mut broker = Broker::start_with("disk-full", Options { data_dir, ..Options::default() });
    let mut connection = Connection::open(broker.port()).expect("connecting");
    assert_eq!(connection.create_topic(TOPIC, 1, &[]).expect("CreateTopics"), 0);

    let mut acknowledged = 0_usize;
    let refusal = fill(&mut connection, &mut acknowledged);
    assert_eq!(refusal, KAFKA_STORAGE_ERROR, "after {acknowledged} records");
    assert!(acknowledged > 20, "only {acknowledged} records fit: the image is too small");
    broker.assert_alive();
    check(&mut connection, acknowledged);
    let (error, _) = connection.produce(TOPIC, 0, 1, wire::batch(&[&value(0)])).expect("Produce");
    assert_eq!(error, KAFKA_STORAGE_ERROR, "still full");
    let said = broker.log_tail();
    assert!(said.contains("no space left") && said.contains("delete topics or records"), "{said}");
    assert!(!said.contains("there is space again"), "{said}");

    fs::remove_file(disk.ballast()).expect("giving room");
    let deadline = Instant::now() + PATIENCE;
    // It is noticed without an append: who asks for the broker's health may wait for it.
    while !broker.log_tail().contains("there is space again") {
        assert!(Instant::now() < deadline, "with room again, nobody notices");
        connection.api_versions().expect("ApiVersions");
    }
    loop {
        let batch = wire::batch(&[&value(acknowledged)]);
        let (error, offset) = connection.produce(TOPIC, 0, -1, batch).expect("Produce");
        if error == 0 {
            assert_eq!(offset, acknowledged as i64, "refused records leave no gap");
            acknowledged += 1;
            break;
        }
        assert!(Instant::now() < deadline, "with room again, produce is still refused: {error}");
    }
    check(&mut connection, acknowledged);
    let said = broker.log_tail();
    assert!(said.contains("there is space again"), "{said}");
    // A broker that ends on a full disk comes back there, with all that it promised.
    assert_eq!(fill(&mut connection, &mut acknowledged), KAFKA_STORAGE_ERROR);
    // Nor does it need all that it left.
    run("fallocate", &["-l", &OTHERS_BYTES.to_string(), path(&disk.ballast())]);
    broker.kill();
    broker.restart();
    let mut connection = Connection::open(broker.port()).expect("connecting");
    check(&mut connection, acknowledged);
    broker.stop();
}

/// Produce until the broker refuses; its error.
fn fill(connection: &mut Connection, acknowledged: &mut usize) -> i16 {
    loop {
        let batch = wire::batch(&[&value(*acknowledged)]);
        let (error, offset) = connection.produce(TOPIC, 0, -1, batch).expect("Produce");
        if error != 0 {
            return error;
        }
        assert_eq!(offset, *acknowledged as i64);
        *acknowledged += 1;
        assert!(*acknowledged < 1 << 20, "the disk never fills");
    }
}

/// Every acknowledged record is there, in order.
fn check(connection: &mut Connection, acknowledged: usize) {
    let records = connection.read_partition(TOPIC, 0).expect("reading while the disk is full");
    assert_eq!(records.len(), acknowledged);
    for (number, (offset, stored)) in records.iter().enumerate() {
        assert_eq!(*offset, number as i64);
        assert_eq!(stored[..], value(number)[..], "record {number}");
    }
}
