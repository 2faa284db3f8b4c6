//! Verification catches what it should. A proxy between loadgen and a real broker damages exactly
//! one record batch of a run, at a place that a seed decides: drops it, sends it twice, behind its
//! successor, into another partition, or flips a bit in it. Each time loadgen must say so by its
//! name and by the right number of records; on a clean pass it must say nothing.
//!
//! Every run goes as fast as the path bears. `LOADGEN_BATCHES` sets how many batches it has and
//! `LOADGEN_PLACES` how many places are tried: with 1000000 and 1 one batch in a million is hurt.

#[path = "support/damage.rs"]
mod damage;
#[path = "support/proxy.rs"]
mod proxy;
mod support;

use std::net::SocketAddr;
use std::time::Instant;

use damage::{Kind, Random};
use proxy::{Damage, Proxy, Side};
use serde_json::Value;
use support::{Server, loadgen};

/// Batches of a run, small ones.
const BATCHES: u64 = 20_000;
/// Places tried for each kind of damage on each side.
const PLACES: u64 = 2;
const RECORDS_PER_BATCH: u64 = 3;
/// Records per second that are due: more than anything between here and the broker's log bears,
/// so that batches are full and nothing waits for its time.
const RATE: u64 = 20_000_000;

fn number(name: &str, usual: u64) -> u64 {
    let wanted = std::env::var(name).ok();
    wanted.map_or(usual, |number| number.parse().expect("a number"))
}

fn batches() -> u64 {
    number("LOADGEN_BATCHES", BATCHES)
}

/// The exit code, the verdict, and the errors that the broker named.
fn measure(proxy: &Proxy, topic: &str, side: Side) -> (i32, Value, Value) {
    // Backlogs come as answers of many batches: what follows a batch is at hand there.
    let consume = if side == Side::Fetched { "after" } else { "during" };
    let duration = (batches() * RECORDS_PER_BATCH) as f64 / RATE as f64;
    let (address, duration, rate) =
        (proxy.address.to_string(), duration.to_string(), RATE.to_string());
    let per_batch = RECORDS_PER_BATCH.to_string();
    let target = ["run", "-b", &address, "--topic", topic, "--partitions", "2", "--acks", "1"];
    let load = ["--rate", &rate, "--warmup", "0", "--duration", &duration, "--linger", "50"];
    let shape = ["--records-per-batch", &per_batch, "--record-size", "100", "--in-flight", "64"];
    let rest = ["--consume", consume, "--drain", "600", "--progress", "0", "--json", "-"];
    let output = loadgen(&[&target[..], &load[..], &shape[..], &rest[..]].concat());
    let why = String::from_utf8_lossy(&output.stderr);
    let result: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e} {why}"));
    assert_eq!(result["failure"], Value::Null, "{why}");
    let code = output.status.code().expect("no signal");
    (code, result["verdict"].clone(), result["errors"].clone())
}

/// What `verdict` names, but for records that were sent, acknowledged or read.
fn named(verdict: &Value) -> Vec<(String, u64)> {
    let words = [
        "lost",
        "duplicated",
        "reordered",
        "corrupt_records",
        "corrupt_batches",
        "misdirected",
        "refused",
        "unknown",
        "foreign",
    ];
    let count = |word: &str| verdict[word].as_u64().expect("a count");
    let found = words.into_iter().filter(|word| count(word) > 0);
    found.map(|word| (word.to_owned(), count(word))).collect()
}

/// What must be named when a batch of `n` records takes this damage.
fn expected(side: Side, kind: Kind, n: u64) -> Vec<(String, u64)> {
    let words: &[(&str, u64)] = match (side, kind) {
        (_, Kind::Drop) => &[("lost", n)],
        (Side::Produced, Kind::Duplicate) => &[("duplicated", n)],
        // The second copy stands where another batch was.
        (Side::Fetched, Kind::Duplicate) => &[("lost", n), ("duplicated", n)],
        (_, Kind::Reorder) => &[("reordered", n)],
        // A broker looks at the checksum of what it is given.
        (Side::Produced, Kind::Flip) => &[("refused", n)],
        (Side::Fetched, Kind::Flip) => &[("lost", n), ("corrupt_batches", 1)],
        (_, Kind::FlipSealed) => &[("lost", 1), ("corrupt_records", 1)],
        (_, Kind::Misdirect) => &[("lost", n), ("misdirected", n)],
    };
    words.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect()
}

fn every_kind_is_named(side: Side) {
    for kind in
        [Kind::Drop, Kind::Duplicate, Kind::Reorder, Kind::Flip, Kind::FlipSealed, Kind::Misdirect]
    {
        // A million batches at a time are enough for a disk.
        let dir = tempfile::tempdir().unwrap();
        let server = Server::thalweg(dir.path());
        let broker: SocketAddr = server.address.parse().unwrap();
        for seed in 0..number("LOADGEN_PLACES", PLACES) {
            let mut random = Random(seed << 8 | kind as u64);
            // Not in the last third: a batch that is held back needs a successor.
            let victim = random.below(batches() * 2 / 3);
            let damage = Damage { side, kind, victim, seed: random.below(u64::MAX) };
            let proxy = Proxy::start(broker, Some(damage));
            let topic = format!("{kind:?}-{seed}");
            let begin = Instant::now();
            let (code, verdict, errors) = measure(&proxy, &topic, side);
            let (damaged, records) = proxy.damaged();
            let passed = proxy.produced();
            let what = format!("{damage:?} among {passed}: {verdict}");
            println!("{side:?} {kind:?} at {victim} of {passed}: {:.1?}", begin.elapsed());
            assert_eq!((damaged, records), (1, RECORDS_PER_BATCH), "exactly one batch: {what}");
            assert_eq!(passed, batches(), "all of them came this way: {what}");
            let found = named(&verdict);
            let mut wanted = vec![expected(side, kind, records)];
            if kind == Kind::FlipSealed {
                // A bit of the magic or the run: a value that nobody of this run wrote.
                wanted.push(vec![("lost".to_owned(), 1), ("foreign".to_owned(), 1)]);
            }
            assert!(wanted.contains(&found), "{found:?}, not {wanted:?}: {what}");
            if found[0].0 == "refused" {
                assert_eq!(errors["CORRUPT_MESSAGE (2)"], records, "{errors}");
                assert!(matches!(code, 0 | 3), "refusing damage is no broken promise: {code}");
            } else {
                assert_eq!(code, 4, "{what}");
            }
        }
    }
}

#[test]
fn one_damaged_batch_on_its_way_to_the_broker_is_named() {
    every_kind_is_named(Side::Produced);
}

#[test]
fn one_damaged_batch_on_its_way_to_the_consumer_is_named() {
    every_kind_is_named(Side::Fetched);
}

#[test]
fn a_clean_pass_is_clean() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::thalweg(dir.path());
    let broker: SocketAddr = server.address.parse().unwrap();
    for side in [Side::Produced, Side::Fetched] {
        let proxy = Proxy::start(broker, None);
        let (code, verdict, errors) = measure(&proxy, &format!("clean-{side:?}"), side);
        assert_eq!(named(&verdict), [], "{verdict} {errors}");
        assert!(matches!(code, 0 | 3), "{code}");
        assert_eq!(proxy.damaged(), (0, 0));
        assert_eq!(proxy.produced(), batches(), "the batches came this way");
        assert_eq!(verdict["read"], verdict["acknowledged"]);
    }
}
