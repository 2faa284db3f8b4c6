//! A consuming worker: one thread, its connections, one epoll set. It follows partitions with
//! long-polling fetches, verifies every record and records end-to-end latency.
//!
//! Always true: one request is in flight per connection; the next one leaves as soon as the
//! answer's batch headers are read, before its records are verified.

mod answer;
pub mod check;
pub mod group;
pub mod member;
mod targets;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock;
use crate::connection::{Connection, Outgoing};
use crate::cost::Meter;
use crate::histogram::Series;
use crate::plan::Plan;
use crate::poll::Poller;
use crate::produce::Effort;
use crate::recorder::{Counts, Recorder};
use crate::request::{self, FetchSettings};
use crate::verify::{Oddities, Seen};
use check::{Followed, Rules};
use group::Seat;

pub use targets::Targets;

const TICK: Duration = Duration::from_millis(20);
const CONNECT_LIMIT_NS: u64 = 5_000_000_000;
/// Whose connection takes longer than this when the time to read is over was cut off.
const CONNECT_SLOW_NS: u64 = 250_000_000;
/// Pause after an answer with an error: a broker that refuses must not be hammered.
const ERROR_PAUSE_NS: u64 = 20_000_000;
/// Give up after this long without one good answer.
const RECONNECT_LIMIT_NS: u64 = 10_000_000_000;
/// A single batch may be larger than what a fetch asks for; an answer larger than this is wrong.
const FRAME_BYTES_MAX: usize = 512 << 20;

/// One connection's share.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReaderSpec {
    /// The set of consumers it belongs to; each set reads everything.
    pub subscription: u32,
    /// The leader.
    pub address: SocketAddr,
    /// Partitions and the offsets to begin at; none for a member of a group.
    pub partitions: Vec<(u32, i64)>,
    /// Where a member of a group is told what to follow.
    #[serde(skip)]
    pub seat: Option<Seat>,
}

/// What a worker is given.
pub struct Job {
    /// The plan.
    pub plan: Arc<Plan>,
    /// The run's random number.
    pub run: u32,
    /// Producers are numbered below this.
    pub producers: u32,
    /// Its connections.
    pub readers: Vec<ReaderSpec>,
    /// Where it writes.
    pub recorder: Recorder,
    /// Where it ends.
    pub targets: Arc<Targets>,
    /// Set on Ctrl-C.
    pub stop: Arc<AtomicBool>,
}

/// What a consuming worker found.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Consumed {
    /// For each subscription and partition: what was seen of each producer.
    pub seen: Vec<((u32, u32), Vec<Seen>)>,
    /// When every partition was first read up to its end, monotonic nanoseconds.
    pub caught_up_ns: Option<u64>,
    /// The measured window.
    pub counts: Counts,
    /// From begin to end, drain included: records and bytes.
    pub all: Counts,
    /// When the last records came, monotonic nanoseconds.
    pub last_ns: u64,
    /// What was odd.
    pub oddities: Oddities,
    /// Failed fetches by Kafka error code.
    pub errors: BTreeMap<i16, u64>,
    /// Broken connections.
    pub disconnects: u64,
    /// Records whose intended time lies in the future: the clocks of two hosts.
    pub from_the_future: u64,
    /// Reading stopped before everything acknowledged was seen.
    pub incomplete: bool,
    /// It stopped because somebody did not want to wait: what is missing is not lost.
    pub cut_short: bool,
    /// Subscriptions and partitions that a failure, or too little time, kept from being read to
    /// their ends: what is missing there may be stored all the same.
    pub broken_off: Vec<(u32, u32)>,
    /// How the thread fared.
    pub effort: Effort,
    /// Why it stopped early.
    pub fatal: Option<String>,
}

struct Reader {
    spec: ReaderSpec,
    followed: Vec<Followed>,
    connection: Option<Connection>,
    /// Since when `connection` is being opened; 0 when it is open.
    connecting_since_ns: u64,
    correlation: i32,
    /// The answer as far as it has come, its size first.
    buffer: Vec<u8>,
    filled: usize,
    /// Do nothing before this time.
    pause_until_ns: u64,
    waiting: bool,
    /// When the request that waits was sent.
    asked_ns: u64,
    /// Whether it was sent when there was nothing more to come.
    asks_for_all: bool,
    lost_since_ns: u64,
}

impl Reader {
    fn connects_slowly(&self, now_ns: u64) -> bool {
        self.connecting_since_ns > 0 && now_ns - self.connecting_since_ns > CONNECT_SLOW_NS
    }
}

struct Worker {
    job: Job,
    rules: Rules,
    settings: FetchSettings,
    readers: Vec<Reader>,
    poller: Poller,
    scratch: Vec<u8>,
    begun: Option<Effort>,
    meter: Meter,
    found: Consumed,
}

/// Follow the partitions of `job` until its targets are reached.
pub fn run(job: Job) -> Consumed {
    let plan = job.plan.clone();
    plan.prepare_thread();
    let poller = match Poller::new() {
        Ok(poller) => poller,
        Err(error) => {
            return Consumed { fatal: Some(format!("epoll_create1: {error}")), ..<_>::default() };
        }
    };
    let readers = job.readers.iter().map(|spec| Reader {
        followed: spec.partitions.iter().map(|(p, at)| Followed::new(*p, *at)).collect(),
        spec: spec.clone(),
        connection: None,
        connecting_since_ns: 0,
        correlation: 0,
        buffer: vec![0; plan.fetch_bytes as usize + (64 << 10)],
        filled: 0,
        pause_until_ns: 0,
        waiting: false,
        asked_ns: 0,
        asks_for_all: false,
        lost_since_ns: 0,
    });
    let mut worker = Worker {
        rules: Rules {
            run: job.run,
            producers: job.producers,
            check_crc: plan.check_crc,
            check_order: plan.check_order,
        },
        settings: FetchSettings {
            topic: plan.topic.clone(),
            wait_ms: plan.fetch_wait_ms as i32,
            bytes_max: plan.fetch_bytes as i32,
            partition_bytes_max: plan.fetch_partition_bytes as i32,
        },
        readers: readers.collect(),
        poller,
        scratch: Vec::new(),
        begun: None,
        meter: Meter::new(),
        found: Consumed::default(),
        job,
    };
    if let Err(why) = worker.follow() {
        worker.found.fatal = Some(why);
    }
    worker.finish()
}

impl Worker {
    fn follow(&mut self) -> Result<(), String> {
        let window = self.job.recorder.window;
        let delay_ns = (self.job.plan.consumer_delay_s * 1e9) as u64;
        let begin_ns = if delay_ns > 0 { window.start_ns + delay_ns } else { 0 };
        while clock::monotonic_ns() < begin_ns && !self.job.stop.load(Ordering::Relaxed) {
            std::thread::sleep(TICK);
        }
        loop {
            let now = clock::monotonic_ns();
            if self.begun.is_none() && now >= window.start_ns {
                self.begun = Some(Effort::begin());
            }
            if now >= window.end_ns {
                self.end_effort();
            }
            let mut open = 0;
            for index in 0..self.readers.len() {
                self.sit(index);
                if self.is_done(index) {
                    self.readers[index].connection = None;
                    continue;
                }
                open += 1;
                let is_idle = self.readers[index].followed.is_empty();
                if !self.readers[index].waiting
                    && !is_idle
                    && now >= self.readers[index].pause_until_ns
                {
                    self.ask(index, now)?;
                }
            }
            if open == 0 {
                return Ok(());
            }
            let is_interrupted = self.job.stop.load(Ordering::Relaxed);
            if is_interrupted {
                self.job.recorder.cut(now);
            }
            if self.job.targets.is_over(now, is_interrupted) {
                if self.job.targets.is_late(now) {
                    self.check_connected(now)?;
                }
                self.found.incomplete = true;
                self.found.cut_short = is_interrupted;
                return Ok(());
            }
            let events =
                self.poller.wait(TICK).map_err(|error| format!("epoll_pwait2: {error}"))?;
            for index in 0..events {
                let ready = self.poller.ready(index);
                if ready.readable {
                    self.receive(ready.token, ready.ended)?;
                }
                if ready.writable {
                    self.resume(ready.token);
                }
            }
            self.job.recorder.at(clock::monotonic_ns());
        }
    }

    /// A member of a group follows what it has now.
    fn sit(&mut self, index: usize) {
        let reader = &mut self.readers[index];
        if let Some(seat) = &reader.spec.seat {
            seat.follow(&mut reader.followed);
        }
    }

    fn is_done(&self, index: usize) -> bool {
        if let Some(seat) = &self.readers[index].spec.seat {
            // Whoever has nothing to read now may be given something later.
            return seat.group.is_read(|partition| self.job.targets.end_of(partition));
        }
        self.readers[index].followed.iter().all(|f| {
            let end = self.job.targets.end_of(f.partition);
            end.is_some_and(|end| f.verified >= end)
        })
    }

    /// Whether a reader has a connection to ask. Opens one if need be, and does not wait for it:
    /// the other readers of this thread go on meanwhile.
    fn is_connected(&mut self, index: usize, now_ns: u64) -> Result<bool, String> {
        let reader = &mut self.readers[index];
        let since_ns = reader.connecting_since_ns;
        let error = match &reader.connection {
            Some(_) if since_ns == 0 => return Ok(true),
            Some(connection) => match connection.is_connected() {
                Ok(true) => {
                    reader.connecting_since_ns = 0;
                    return Ok(true);
                }
                Ok(false) if now_ns - since_ns < CONNECT_LIMIT_NS => return Ok(false),
                Ok(false) => io::ErrorKind::TimedOut.into(),
                Err(error) => error,
            },
            None => match Connection::begin(reader.spec.address) {
                Ok(connection) => {
                    self.poller.add(&connection, index).map_err(|e| format!("epoll_ctl: {e}"))?;
                    reader.connection = Some(connection);
                    reader.connecting_since_ns = now_ns;
                    reader.filled = 0;
                    return Ok(false);
                }
                Err(error) => error,
            },
        };
        if reader.lost_since_ns == 0 {
            reader.lost_since_ns = if reader.connection.is_some() { since_ns } else { now_ns };
        }
        reader.connection = None;
        reader.connecting_since_ns = 0;
        reader.pause_until_ns = now_ns + ERROR_PAUSE_NS;
        if now_ns - reader.lost_since_ns > RECONNECT_LIMIT_NS {
            return Err(format!(
                "cannot connect to {} to read back what was written: {error}",
                reader.spec.address
            ));
        }
        Ok(false)
    }

    /// Send the next fetch of a reader, as soon as it is connected.
    fn ask(&mut self, index: usize, now_ns: u64) -> Result<(), String> {
        if !self.is_connected(index, now_ns)? {
            return Ok(());
        }
        let reader = &mut self.readers[index];
        reader.correlation = (reader.correlation + 1) & i32::MAX;
        let mut bytes = Vec::new();
        // Brokers fill an answer in the order asked; a fixed order would starve the last ones.
        let count = reader.followed.len();
        let turn = reader.correlation as usize % count.max(1);
        let wanted = (0..count).map(|index| {
            let followed = &reader.followed[(turn + index) % count];
            (followed.partition, followed.position)
        });
        request::write_fetch(&mut bytes, reader.correlation, &self.settings, wanted);
        let mut out = Outgoing::new(bytes.into_boxed_slice());
        out.spans.push((0, out.bytes.len() as u32));
        reader.waiting = true;
        reader.asked_ns = now_ns;
        reader.asks_for_all = self.job.targets.is_set();
        let connection = reader.connection.as_mut().expect("it is connected");
        if connection.send(out).is_err() {
            self.lost(index);
        }
        Ok(())
    }

    /// A reader that has had no answer since its connection broke could not read: that the broker
    /// has lost what is missing is more than anybody knows.
    fn check_connected(&self, now_ns: u64) -> Result<(), String> {
        let mut open = (0..self.readers.len()).filter(|index| !self.is_done(*index));
        // A member's reader that has nothing to follow has nothing to ask.
        let is_cut_off = |r: &Reader| {
            !r.followed.is_empty() && (r.lost_since_ns > 0 || r.connects_slowly(now_ns))
        };
        let Some(index) = open.find(|index| is_cut_off(&self.readers[*index])) else {
            return Ok(());
        };
        let reader = &self.readers[index];
        let since_ns = if reader.lost_since_ns > 0 {
            reader.lost_since_ns
        } else {
            reader.connecting_since_ns
        };
        Err(format!(
            "{} gave no answer to a consumer for {:.1} s, when the time to read back was over \
             (--drain {}): what was not read is counted as unread; is the broker still running?",
            reader.spec.address,
            now_ns.saturating_sub(since_ns) as f64 / 1e9,
            self.job.plan.drain_s
        ))
    }

    fn resume(&mut self, index: usize) {
        if self.readers[index].connecting_since_ns > 0 {
            return;
        }
        let sent = self.readers[index].connection.as_mut().map(Connection::resume);
        if let Some(Err(_)) = sent {
            self.lost(index);
        }
    }

    fn lost(&mut self, index: usize) {
        let now = clock::monotonic_ns();
        let reader = &mut self.readers[index];
        reader.connection = None;
        reader.waiting = false;
        reader.pause_until_ns = now + ERROR_PAUSE_NS;
        if reader.lost_since_ns == 0 {
            reader.lost_since_ns = now;
        }
        self.found.disconnects += 1;
    }

    /// Read what there is; when an answer is whole, use it.
    fn receive(&mut self, index: usize, to_end: bool) -> Result<(), String> {
        if self.readers[index].connecting_since_ns > 0 {
            // How that ended is looked at before the next request.
            return Ok(());
        }
        loop {
            let reader = &mut self.readers[index];
            let Some(connection) = reader.connection.as_mut() else { return Ok(()) };
            let space = reader.buffer.len() - reader.filled;
            let got = match connection.read(&mut reader.buffer[reader.filled..]) {
                Ok(Some(got)) => got,
                Ok(None) => return Ok(()),
                Err(_) => {
                    self.lost(index);
                    return Ok(());
                }
            };
            reader.filled += got;
            let Some(size) = reader.buffer[..reader.filled].first_chunk::<4>() else { continue };
            let size = usize::try_from(i32::from_be_bytes(*size)).unwrap_or(usize::MAX);
            if size > FRAME_BYTES_MAX {
                return Err(format!(
                    "a Fetch answer of {size} bytes; the most we take is {FRAME_BYTES_MAX}"
                ));
            }
            if size + 4 > reader.buffer.len() {
                reader.buffer.resize(size + 4, 0);
            }
            if reader.filled == size + 4 {
                let now = clock::monotonic_ns();
                self.answer(index, size + 4, now)?;
            } else if reader.filled > size + 4 {
                return Err("the broker sent more than one answer to one request".into());
            }
            if got < space && !to_end {
                return Ok(());
            }
        }
    }

    /// Use a whole answer of `len` bytes: ask for what follows, then verify.
    fn answer(&mut self, index: usize, len: usize, now_ns: u64) -> Result<(), String> {
        let buffer = std::mem::take(&mut self.readers[index].buffer);
        let frame = &buffer[4..len];
        let asked_ns = self.readers[index].asked_ns;
        let refused = self.advance(index, frame)?;
        let reader = &mut self.readers[index];
        reader.filled = 0;
        reader.waiting = false;
        reader.lost_since_ns = 0;
        if refused {
            reader.pause_until_ns = now_ns + ERROR_PAUSE_NS;
        } else if !self.has_asked_enough(index) && self.is_in_place(index) {
            self.ask(index, now_ns)?;
        }
        if self.verify(index, frame, now_ns) && self.job.recorder.window.measures(asked_ns) {
            let fetch = self.job.recorder.at(now_ns).of(Series::Fetch);
            fetch.completion();
            fetch.record(now_ns - asked_ns, 1);
        }
        self.readers[index].buffer = buffer;
        if self.found.caught_up_ns.is_none() && self.job.plan.consumer_delay_s > 0.0 {
            let mut all = self.readers.iter().flat_map(|reader| &reader.followed);
            let is_at_end = |f: &Followed| f.high_watermark >= 0 && f.verified >= f.high_watermark;
            self.found.caught_up_ns = all.all(is_at_end).then_some(now_ns);
        }
        Ok(())
    }

    /// Whether the reader follows what it should: a member that has lost partitions must not ask
    /// for more of them.
    fn is_in_place(&self, index: usize) -> bool {
        let seat = self.readers[index].spec.seat.as_ref();
        seat.is_none_or(Seat::is_followed)
    }

    fn has_asked_enough(&self, index: usize) -> bool {
        self.readers[index].followed.iter().all(|f| {
            let end = self.job.targets.end_of(f.partition);
            end.is_some_and(|end| f.position >= end)
        })
    }

    /// Only what was used while load was offered counts; asking costs too much to do it often.
    fn end_effort(&mut self) {
        if let Some(begun) = self.begun.as_ref().filter(|_| self.found.effort.wall_ns == 0) {
            self.found.effort = Effort { verify_ns: self.meter.spent_ns(), ..begun.end() };
        }
    }

    fn finish(mut self) -> Consumed {
        self.end_effort();
        for reader in self.readers {
            let subscription = reader.spec.subscription;
            if self.found.fatal.is_some() || self.found.incomplete {
                let is_open = |f: &&Followed| {
                    let end = self.job.targets.end_of(f.partition);
                    !f.is_denied && end.is_none_or(|end| f.verified < end)
                };
                let open = reader.followed.iter().filter(is_open);
                self.found.broken_off.extend(open.map(|f| (subscription, f.partition)));
            }
            let seen = reader.followed.into_iter();
            self.found.seen.extend(seen.map(|f| ((subscription, f.partition), f.seen)));
        }
        self.found.counts = self.job.recorder.finish();
        self.found
    }
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Socket, Type};

    use super::*;
    use crate::admin::Admin;
    use crate::collect::Role;
    use crate::recorder::Window;
    use crate::sink::{Sink, Store};

    /// Let one worker read up to `ends`, or for `drain_ns`.
    fn read(
        plan: Plan,
        readers: Vec<ReaderSpec>,
        ends: impl Iterator<Item = (u32, i64)>,
        drain_ns: u64,
    ) -> Consumed {
        let targets = Arc::new(Targets::new(2));
        targets.set(ends, clock::monotonic_ns() + drain_ns, false);
        let window = Window { start_ns: 0, warm_ns: 0, end_ns: u64::MAX };
        let (parcels, _collected) = std::sync::mpsc::sync_channel(1024);
        run(Job {
            plan: Arc::new(plan),
            run: 1,
            producers: 1,
            readers,
            recorder: Recorder::new(window, Role::Consumer, parcels),
            targets,
            stop: Arc::default(),
        })
    }

    fn reader(address: SocketAddr, partitions: &[u32]) -> ReaderSpec {
        let partitions = partitions.iter().map(|partition| (*partition, 0)).collect();
        ReaderSpec { subscription: 3, address, partitions, seat: None }
    }

    #[test]
    fn a_reader_without_an_answer_when_its_time_is_over_has_failed() {
        // A port that was free a moment ago.
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let ends = [(0, 5), (1, 0)].into_iter();
        let found = read(Plan::default(), vec![reader(nobody, &[0, 1])], ends, 50_000_000);
        let why = found.fatal.unwrap();
        assert!(why.contains(&nobody.to_string()) && why.contains("still running?"), "{why}");
        assert_eq!(found.broken_off, [(3, 0)], "partition 1 has nothing to be read");
        assert!(!found.incomplete && !found.cut_short);
    }

    #[test]
    fn who_waits_for_a_connection_holds_up_nobody() {
        // One connection finds room in its queue, and nobody takes it.
        let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        full.listen(0).unwrap();
        let silent = full.local_addr().unwrap().as_socket().unwrap();
        let _queued = [(); 4].map(|()| Connection::begin(silent).unwrap());
        let store = Store::Discard { batch_bytes: 1000, record_bytes: 100 };
        let sink = Sink::start("127.0.0.1:0", store).unwrap();
        let plan = Plan {
            bootstrap_server: sink.address.to_string(),
            partitions: 2,
            check_order: false,
            ..Plan::default()
        };
        Admin::connect(&plan.bootstrap_server).unwrap().ensure_topic(&plan).unwrap();
        let readers = vec![reader(silent, &[0]), reader(sink.address, &[1])];
        // Less than it takes to give up a connection.
        let drain_ns = CONNECT_LIMIT_NS / 5;
        let found = read(plan, readers, [(0, 5), (1, 5)].into_iter(), drain_ns);
        assert!(found.all.records >= 5);
        assert_eq!(found.broken_off, [(3, 0)], "the other one is read");
        let why = found.fatal.unwrap();
        assert!(why.contains(&silent.to_string()) && why.contains("still running?"), "{why}");
    }
}
