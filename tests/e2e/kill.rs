//! kill -9 under load: 50 cycles with acks=1 and 50 with acks=all.
//!
//! Promise: nothing that was acknowledged is lost, doubled or out of order, and the producer's
//! sequences still count after the restart. Each partition has a producer of its own with five
//! batches in flight that, after each kill, connects anew and sends again what was not answered,
//! with the same sequences. librdkafka's own producer is put through the same in tests/clients.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::ProduceRequest;

use crate::support::broker::POLL;
use crate::support::wire::{self, PRODUCE_VERSION, Producer};
use crate::support::{Broker, Connection};

const CYCLES: usize = 50;
const PARTITIONS: i32 = 4;
/// As many as every Kafka client may have: the broker remembers that many batches of a producer.
const IN_FLIGHT: usize = 5;
const RECORDS_PER_BATCH: u64 = 7;
const ACKNOWLEDGED_PER_CYCLE: usize = 60;
const STUCK: Duration = Duration::from_secs(60);
/// While a broker starts: LEADER_NOT_AVAILABLE, NOT_LEADER_OR_FOLLOWER, UNKNOWN_TOPIC_OR_PARTITION.
const COME_AGAIN: [i16; 3] = [3, 5, 6];

#[test]
fn a_hundred_kills_lose_double_and_reorder_nothing() {
    for acks in [1, -1] {
        run(acks);
    }
}

fn run(acks: i16) {
    let mut broker = Broker::start(&format!("kill-acks{acks}"));
    let topic = "killed";
    let mut connection = Connection::open(broker.port()).expect("connecting");
    assert_eq!(connection.create_topic(topic, PARTITIONS, &[]).expect("CreateTopics"), 0);
    let stopping = AtomicBool::new(false);
    let (acknowledging, acknowledged) = channel();
    let port = broker.port();
    let cycles = std::env::var("THALWEG_KILL_CYCLES").map_or(CYCLES, |text| text.parse().unwrap());

    let sent: Vec<Load> = std::thread::scope(|scope| {
        let loads: Vec<_> = (0..PARTITIONS)
            .map(|partition| {
                let (stopping, acknowledging) = (&stopping, acknowledging.clone());
                scope.spawn(move || {
                    let mut load = Load::new(port, topic, partition, acks);
                    load.run(stopping, &acknowledging);
                    load
                })
            })
            .collect();
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for cycle in 0..cycles {
                let gone = || loads.iter().any(std::thread::ScopedJoinHandle::is_finished);
                // The kill falls at another moment each time.
                let batches = ACKNOWLEDGED_PER_CYCLE + cycle * 149 % 401;
                wait_for_progress(&acknowledged, batches, cycle, gone);
                broker.kill();
                broker.restart();
            }
        }));
        stopping.store(true, Ordering::Relaxed);
        let loads = loads.into_iter().map(|load| load.join().expect("the load failed")).collect();
        ended.unwrap_or_else(|failure| std::panic::resume_unwind(failure));
        loads
    });

    check(port, topic, &sent);
    // What a restart after a clean stop shows is the same.
    broker.stop();
    broker.restart();
    check(broker.port(), topic, &sent);
    let records: u64 = sent.iter().map(|load| load.next_number).sum();
    println!("acks={acks}: {cycles} kills, {records} records, each there once and in order");
}

/// So many batches from now on; what was acknowledged before does not count.
fn wait_for_progress(
    acknowledged: &Receiver<()>,
    batches: usize,
    cycle: usize,
    gone: impl Fn() -> bool,
) {
    while acknowledged.try_recv().is_ok() {}
    for _ in 0..batches {
        assert!(!gone(), "cycle {cycle}: a producer gave up");
        let news = acknowledged.recv_timeout(STUCK);
        assert!(news.is_ok(), "cycle {cycle}: nothing is acknowledged any more");
    }
}

/// Every record of every partition: its number is its place, and each acknowledged batch lies
/// where its answer said.
fn check(port: u16, topic: &str, loads: &[Load]) {
    let mut connection = Connection::open(port).expect("connecting to read");
    for load in loads {
        let stored = connection.read_partition(topic, load.partition).expect("reading");
        assert_eq!(stored.len() as u64, load.next_number, "lost or doubled in {}", load.partition);
        for (place, (offset, value)) in stored.iter().enumerate() {
            assert_eq!(*offset, place as i64, "offsets without gaps in {}", load.partition);
            let number = std::str::from_utf8(&value[..12]).unwrap().trim().parse::<usize>();
            assert_eq!(number, Ok(place), "reordered in {}", load.partition);
        }
        for (first_number, base_offset) in &load.acknowledged {
            assert_eq!(*first_number as i64, *base_offset, "not at its acknowledged offset");
        }
    }
}

/// One partition's producer and everything it was told.
struct Load {
    port: u16,
    topic: &'static str,
    partition: i32,
    acks: i16,
    producer: Option<Producer>,
    next_number: u64,
    /// First number and bytes of each batch that is not answered yet, oldest first.
    unanswered: VecDeque<(u64, Bytes)>,
    /// First number and acknowledged base offset of each batch.
    acknowledged: Vec<(u64, i64)>,
}

impl Load {
    fn new(port: u16, topic: &'static str, partition: i32, acks: i16) -> Self {
        Self {
            port,
            topic,
            partition,
            acks,
            producer: None,
            next_number: 0,
            unanswered: VecDeque::new(),
            acknowledged: Vec::new(),
        }
    }

    /// Until told to stop, and then until everything is answered.
    fn run(&mut self, stopping: &AtomicBool, acknowledging: &Sender<()>) {
        let mut last_answer = Instant::now();
        loop {
            let answered_before = self.acknowledged.len();
            match self.connected(stopping, acknowledging) {
                Ok(()) => return,
                Err(error) if self.acknowledged.len() == answered_before => {
                    assert!(last_answer.elapsed() < STUCK, "no answer for {STUCK:?}: {error}");
                    std::thread::sleep(POLL);
                }
                Err(_) => last_answer = Instant::now(),
            }
        }
    }

    /// The life of one connection; an error when it breaks.
    fn connected(&mut self, stopping: &AtomicBool, acknowledging: &Sender<()>) -> io::Result<()> {
        let mut connection = Connection::open(self.port)?;
        let producer = match self.producer {
            Some(known) => known,
            None => *self.producer.insert(connection.init_producer()?),
        };
        let mut in_flight = VecDeque::new();
        for (_, batch) in &self.unanswered {
            in_flight.push_back(connection.send(PRODUCE_VERSION, &self.request(batch))?);
        }
        loop {
            while in_flight.len() < IN_FLIGHT && !stopping.load(Ordering::Relaxed) {
                let batch = self.next_batch(producer);
                in_flight.push_back(connection.send(PRODUCE_VERSION, &self.request(&batch))?);
            }
            let Some(correlation) = in_flight.pop_front() else { return Ok(()) };
            let answer = connection.receive::<ProduceRequest>(PRODUCE_VERSION, correlation)?;
            let outcome = &answer.responses[0].partition_responses[0];
            if COME_AGAIN.contains(&outcome.error_code) {
                return Err(io::Error::other(format!("error {}", outcome.error_code)));
            }
            assert_eq!(outcome.error_code, 0, "Produce to partition {}", self.partition);
            let (first_number, _) = self.unanswered.pop_front().expect("it was in flight");
            self.acknowledged.push((first_number, outcome.base_offset));
            // Nobody listens any more when the kills are over.
            let _ = acknowledging.send(());
        }
    }

    fn next_batch(&mut self, producer: Producer) -> Bytes {
        let first = self.next_number;
        self.next_number += RECORDS_PER_BATCH;
        // Sizes differ, so that batches begin and end everywhere in a block.
        let values: Vec<Vec<u8>> = (first..self.next_number)
            .map(|number| {
                let filler = usize::try_from(number * 53 % 400).expect("below 400");
                format!("{number:<12}{}", "f".repeat(filler)).into_bytes()
            })
            .collect();
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        let sequence = i32::try_from(first).expect("fewer records than a sequence can count");
        let batch = wire::sequenced_batch(&values, producer, sequence);
        self.unanswered.push_back((first, batch.clone()));
        batch
    }

    fn request(&self, batch: &Bytes) -> ProduceRequest {
        wire::produce_request(self.topic, self.partition, self.acks, batch.clone())
    }
}
