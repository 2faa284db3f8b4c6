//! A producing worker: one thread, its lanes, one epoll set. It sends what is due, reads
//! answers, and records latencies from the intended time and from the actual send.
//!
//! Always true: an intended time never depends on an answer; a lane that cannot send is late,
//! and its records' latencies say so.

mod lane;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::batch::Template;
use crate::clock;
use crate::compress::Press;
use crate::connection::{Connection, Outgoing};
use crate::histogram::{Interval, Series};
use crate::pace::{self, Alarm, Schedule};
use crate::plan::{Consume, Plan};
use crate::poll::{Poller, Ready};
use crate::recorder::{Counts, Recorder};
use crate::request::{self, ProducePrefix};
use crate::verify::{Fate, Ledger};
use lane::{BatchRules, InFlight, LagSink, Lane, Layout};

pub use lane::LaneSpec;

/// Room for answers of all connections in turn: hot in the cache.
const SCRATCH_BYTES: usize = 64 << 10;
/// How often a worker looks up when nothing happens.
const TICK_NS: u64 = 50_000_000;
/// Pause between attempts to reconnect, and when to give up.
const RECONNECT_PAUSE_NS: u64 = 100_000_000;
const RECONNECT_LIMIT_NS: u64 = 10_000_000_000;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Writes to one lane before the others get their turn.
const ROUNDS_MAX: usize = 8;
/// A broker that answers nothing for at least so long after the load, until nobody waits any
/// longer, hangs.
const SILENCE_NS: u64 = 1_000_000_000;
/// Most stretches into which the unsent records of a lane are divided.
const STRETCHES_MAX: u64 = 100_000;

/// One partition of one producer, after the run.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sent {
    /// The lane.
    pub producer: u32,
    /// The partition.
    pub partition: u32,
    /// What was sent.
    pub ledger: Ledger,
    /// Offset behind the last acknowledged record; -1 if none.
    pub acked_end: i64,
}

/// What a producing worker found.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Produced {
    /// All its lanes' partitions.
    pub sent: Vec<Sent>,
    /// The measured window.
    pub counts: Counts,
    /// Refused records by Kafka error code.
    pub errors: BTreeMap<i16, u64>,
    /// Broken connections.
    pub disconnects: u64,
    /// When the load ended, monotonic nanoseconds: as planned, or earlier by hand.
    pub ended_ns: u64,
    /// Records that were due at the end of the load but in no batch yet.
    pub backlog: u64,
    /// Records of the measured time that had no answer when nobody waited any longer.
    pub overdue: u64,
    /// How the thread fared while load was offered.
    pub effort: Effort,
    /// Why it stopped early.
    pub fatal: Option<String>,
}

/// CPU use of one worker thread while load was offered.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Effort {
    /// Wall-clock nanoseconds.
    pub wall_ns: u64,
    /// CPU nanoseconds.
    pub cpu_ns: u64,
    /// Nanoseconds ready to run without a core.
    pub run_delay_ns: u64,
    /// CPU nanoseconds spent on verification, as far as samples tell.
    pub verify_ns: u64,
}

impl Effort {
    /// Begin to count on this thread.
    pub fn begin() -> Self {
        Self {
            wall_ns: clock::monotonic_ns(),
            cpu_ns: clock::thread_cpu_ns(),
            run_delay_ns: clock::run_delay_ns().unwrap_or(0),
            verify_ns: 0,
        }
    }

    /// What was used since `self` was begun.
    pub fn end(&self) -> Self {
        let now = Self::begin();
        Self {
            wall_ns: now.wall_ns - self.wall_ns,
            cpu_ns: now.cpu_ns - self.cpu_ns,
            run_delay_ns: now.run_delay_ns.saturating_sub(self.run_delay_ns),
            verify_ns: 0,
        }
    }
}

/// What a worker is given.
pub struct Job {
    /// The plan.
    pub plan: Arc<Plan>,
    /// The run's random number.
    pub run: u32,
    /// Its lanes.
    pub lanes: Vec<LaneSpec>,
    /// Where it writes.
    pub recorder: Recorder,
    /// Set on Ctrl-C.
    pub stop: Arc<AtomicBool>,
}

struct Worker<'a> {
    job: Job,
    rules: BatchRules,
    layout: Layout<'a>,
    lanes: Vec<Lane>,
    /// When each lane wants to be asked, in the order of `lanes`.
    due: Vec<u64>,
    lost_since: Vec<u64>,
    poller: Poller,
    alarm: Alarm,
    pool: Vec<Outgoing>,
    scratch: Vec<u8>,
    press: Option<Press>,
    wall_offset_ns: i64,
    /// What verification takes per record.
    stamp_ns: f64,
    begun: Option<Effort>,
    found: Produced,
}

struct LagInto<'a>(&'a mut Interval);

impl LagSink for LagInto<'_> {
    fn lag(&mut self, ns: u64) {
        let series = self.0.of(Series::Lag);
        series.completion();
        series.record(ns, 1);
    }
}

/// Produce according to `job` until its end, then wait for the last answers.
pub fn run(job: Job) -> Produced {
    let plan = job.plan.clone();
    plan.prepare_thread();
    let shape = match plan.shape() {
        Ok(shape) => shape,
        Err(why) => return Produced { fatal: Some(why), ..Produced::default() },
    };
    let template = Template::new(job.run, plan.records_per_batch, &shape);
    let prefix = ProducePrefix::new(&plan.topic, plan.acks, plan.request_timeout_ms as i32);
    let in_flight_max = plan.in_flight as usize;
    let press = plan.compression.codec().map(|codec| Press::new(codec, template.bytes()));
    let layout = Layout::new(&prefix, &template, press.is_some(), in_flight_max);
    let mut found = Produced::default();
    let mut lanes = Vec::new();
    for spec in &job.lanes {
        match Connection::open(spec.address, CONNECT_TIMEOUT) {
            Ok(connection) => lanes.push(Lane::new(spec.clone(), connection, in_flight_max)),
            Err(error) => {
                found.fatal = Some(format!("cannot connect to {}: {error}", spec.address));
                return found;
            }
        }
    }
    let poller = match Poller::new() {
        Ok(poller) => poller,
        Err(error) => {
            found.fatal = Some(format!("epoll_create1: {error}"));
            return found;
        }
    };
    let rules = BatchRules {
        records_max: plan.records_per_batch,
        linger_ns: plan.linger_ns,
        in_flight_max,
        per_write: layout.per_write,
        end_ns: job.recorder.window.end_ns,
    };
    let start = job.recorder.window.start_ns;
    let mut worker = Worker {
        due: vec![start; lanes.len()],
        lost_since: vec![0; lanes.len()],
        lanes,
        rules,
        layout,
        poller,
        alarm: Alarm::default(),
        pool: vec![layout.buffer()],
        scratch: vec![0; SCRATCH_BYTES],
        press,
        wall_offset_ns: clock::wall_offset_ns(),
        stamp_ns: template.stamp_ns(),
        begun: None,
        found,
        job,
    };
    if let Err(why) = worker.produce() {
        worker.found.fatal = Some(why);
        if worker.found.ended_ns == 0 {
            worker.end_load(clock::monotonic_ns());
        }
    }
    worker.finish()
}

impl Worker<'_> {
    fn produce(&mut self) -> Result<(), String> {
        let window = self.job.recorder.window;
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            lane.schedule = lane
                .spec
                .offer
                .as_ref()
                .map(|offer| Schedule::new(window.start_ns, window.end_ns, offer));
            let connection = lane.connection.as_ref().expect("lanes begin connected");
            self.poller.add(connection, index).map_err(|e| format!("epoll_ctl: {e}"))?;
        }
        let mut ended = false;
        let mut deadline = u64::MAX;
        let drain_ns = (self.job.plan.drain_s * 1e9) as u64;
        loop {
            let now = clock::monotonic_ns();
            if self.begun.is_none() && now >= window.start_ns {
                self.begun = Some(Effort::begin());
            }
            if !ended && (now >= window.end_ns || self.job.stop.load(Ordering::Relaxed)) {
                ended = true;
                deadline = now.saturating_add(drain_ns);
                self.end_load(now);
                if now < window.end_ns {
                    // Stopped by hand: start nothing more.
                    self.rules.end_ns = 0;
                    self.lanes.iter_mut().for_each(|lane| lane.done = true);
                }
            }
            let wake = self.advance_due(now)?;
            let idle = |lane: &Lane| lane.done && lane.in_flight.is_empty();
            if ended && self.lanes.iter().all(idle) {
                return Ok(());
            }
            if now > deadline {
                return self.check_connected(now).and_then(|()| self.check_answers(now));
            }
            let timeout = self.alarm.sleep_ns(clock::monotonic_ns(), wake).min(TICK_NS);
            let events = self
                .poller
                .wait(Duration::from_nanos(timeout))
                .map_err(|e| format!("epoll_pwait2: {e}"))?;
            self.alarm.woke(clock::monotonic_ns());
            for index in 0..events {
                let ready = self.poller.ready(index);
                self.react(ready)?;
            }
            self.job.recorder.at(clock::monotonic_ns());
        }
    }

    /// The load is over: as planned, by hand, or because something keeps us from offering more.
    fn end_load(&mut self, now_ns: u64) {
        self.found.ended_ns = now_ns;
        self.job.recorder.cut(now_ns);
        let used = self.begun.unwrap_or_else(Effort::begin).end();
        let stamped: u64 = self.lanes.iter().map(Lane::batched).sum();
        let verify_ns = (stamped as f64 * self.stamp_ns) as u64;
        self.found.effort = Effort { verify_ns, ..used };
        self.found.backlog = self.lanes.iter().map(|lane| lane.backlog(now_ns)).sum();
    }

    /// Let every lane whose time has come send; returns the earliest time of all.
    fn advance_due(&mut self, now_ns: u64) -> Result<u64, String> {
        let mut earliest = u64::MAX;
        for index in 0..self.lanes.len() {
            if self.due[index] <= now_ns {
                self.due[index] = self.advance(index)?;
            }
            earliest = earliest.min(self.due[index]);
        }
        Ok(earliest)
    }

    /// Send what lane `index` can; returns when it wants to be asked again.
    fn advance(&mut self, index: usize) -> Result<u64, String> {
        if self.lanes[index].connection.is_none() && !self.reconnect(index)? {
            return Ok(clock::monotonic_ns() + RECONNECT_PAUSE_NS);
        }
        let acks_none = self.job.plan.acks == 0;
        for _ in 0..ROUNDS_MAX {
            let lane = &mut self.lanes[index];
            let Some(connection) = lane.connection.as_mut() else { return Ok(0) };
            if connection.is_sending() {
                return Ok(u64::MAX);
            }
            let now = clock::monotonic_ns();
            let mut again = u64::MAX;
            if !lane.done {
                let mut lag = LagInto(self.job.recorder.at(now));
                again = lane.plan(now, &self.rules, &mut lag);
            }
            if !lane.has_unsent() {
                return Ok(again);
            }
            let mut out = self.pool.pop().unwrap_or_else(|| self.layout.buffer());
            lane.write(&mut out, &self.layout, &mut self.press, now, self.wall_offset_ns);
            let connection = lane.connection.as_mut().expect("checked above");
            match connection.send(out) {
                Ok(Some(mut out)) => {
                    out.reset();
                    self.pool.push(out);
                }
                Ok(None) => {}
                Err(_) => {
                    self.lost(index);
                    return Ok(0);
                }
            }
            if acks_none {
                self.settle_unanswered(index, now);
            }
        }
        Ok(0)
    }

    /// acks=0: what is in the socket is all there will ever be to know.
    fn settle_unanswered(&mut self, index: usize, now_ns: u64) {
        let lane = &mut self.lanes[index];
        while let Some(batch) = lane.pop() {
            lane.slots[batch.slot as usize].ledger.doubt(batch.range(), Fate::Unknown);
            self.job.recorder.count(now_ns, batch.records.into(), batch.bytes.into(), 1);
        }
    }

    fn react(&mut self, ready: Ready) -> Result<(), String> {
        let index = ready.token;
        let Some(mut connection) = self.lanes[index].connection.take() else { return Ok(()) };
        let mut broken = false;
        let mut wrong = None;
        if ready.writable && connection.is_sending() {
            match connection.resume() {
                Ok(Some(mut out)) => {
                    out.reset();
                    self.pool.push(out);
                    self.lanes[index].free_since_ns = clock::monotonic_ns();
                    self.due[index] = 0;
                }
                Ok(None) => {}
                Err(_) => broken = true,
            }
        }
        if ready.readable && !broken {
            let lane = &mut self.lanes[index];
            let was_full = lane.in_flight.len() >= self.rules.in_flight_max;
            let before = lane.in_flight.len();
            let (recorder, found) = (&mut self.job.recorder, &mut self.found);
            let mut now = 0;
            let received = connection.receive(&mut self.scratch, ready.ended, |frame| {
                if now == 0 {
                    now = clock::monotonic_ns();
                }
                if let Err(why) = take_answer(lane, frame, now, recorder, found) {
                    wrong.get_or_insert(why);
                }
            });
            broken = received.is_err();
            if lane.in_flight.len() < before {
                if was_full {
                    lane.free_since_ns = now;
                }
                self.due[index] = 0;
            }
        }
        if let Some(why) = wrong {
            return Err(why);
        }
        if broken {
            self.lost(index);
        } else {
            self.lanes[index].connection = Some(connection);
        }
        Ok(())
    }

    fn lost(&mut self, index: usize) {
        self.found.disconnects += 1;
        self.lanes[index].disconnected();
        self.lost_since[index] = clock::monotonic_ns();
        self.due[index] = self.lost_since[index] + RECONNECT_PAUSE_NS;
    }

    /// A lane that is still cut off when nobody waits any longer has not done its work: without
    /// this a short `--drain` would hide that the broker is gone.
    fn check_connected(&self, now_ns: u64) -> Result<(), String> {
        let is_cut_off =
            |lane: &Lane| lane.connection.is_none() && !(lane.done && lane.in_flight.is_empty());
        let Some(index) = self.lanes.iter().position(is_cut_off) else { return Ok(()) };
        Err(format!(
            "the connection to {} broke and could not be opened again for {:.1} s, when the time \
             to wait for answers was over (--drain {}); is the broker still running?",
            self.lanes[index].spec.address,
            now_ns.saturating_sub(self.lost_since[index]) as f64 / 1e9,
            self.job.plan.drain_s
        ))
    }

    /// A broker that is connected and has answered nothing since the load ended hangs: that is no
    /// figure of it.
    fn check_answers(&self, now_ns: u64) -> Result<(), String> {
        let silent_ns = now_ns.saturating_sub(self.found.ended_ns);
        let is_silent = |lane: &&Lane| {
            let at = lane.spec.address;
            let mut here = self.lanes.iter().filter(|lane| lane.spec.address == at);
            !lane.in_flight.is_empty() && here.all(|l| l.heard_ns <= self.found.ended_ns)
        };
        match self.lanes.iter().find(is_silent) {
            Some(lane) if self.job.plan.acks != 0 && silent_ns >= SILENCE_NS => Err(format!(
                "{} has answered nothing for {:.1} s, when the time to wait for answers was over \
                 (--drain {}); does the broker hang? Look into its log and at its disk",
                lane.spec.address,
                silent_ns as f64 / 1e9,
                self.job.plan.drain_s
            )),
            _ => Ok(()),
        }
    }

    /// Try once; false when it has to be tried again later.
    fn reconnect(&mut self, index: usize) -> Result<bool, String> {
        let lane = &mut self.lanes[index];
        if lane.done && lane.in_flight.is_empty() {
            return Ok(false);
        }
        match Connection::open(lane.spec.address, Duration::from_millis(250)) {
            Ok(connection) => {
                self.poller.add(&connection, index).map_err(|e| format!("epoll_ctl: {e}"))?;
                lane.connection = Some(connection);
                // Until now it could not send, however ready the generator was.
                lane.free_since_ns = clock::monotonic_ns();
                Ok(true)
            }
            Err(error) => {
                let waited = clock::monotonic_ns() - self.lost_since[index];
                if waited > RECONNECT_LIMIT_NS {
                    return Err(format!(
                        "the connection to {} broke and could not be opened again for 10 s \
                         ({error}); is the broker still running?",
                        lane.spec.address
                    ));
                }
                Ok(false)
            }
        }
    }

    /// What was due and has no answer counts with its age: to leave it out would tell the latency
    /// of those alone whom the broker has served.
    fn count_overdue(&mut self, now_ns: u64) {
        let (plan, recorder) = (&self.job.plan, &mut self.job.recorder);
        if plan.acks == 0 {
            return;
        }
        let at = now_ns.min(recorder.window.end_ns);
        for lane in &mut self.lanes {
            for batch in &lane.in_flight {
                self.found.overdue += record_latency(lane, batch, now_ns, recorder);
            }
            let first = lane.batched();
            let Some(schedule) = &mut lane.schedule else { continue };
            schedule.reach(first + u64::from(self.rules.records_max));
            let (most, linger_ns) = (self.rules.records_max, self.rules.linger_ns);
            let step = pace::step(schedule, first, at, most, linger_ns);
            if !matches!(step, pace::Step::Send { .. }) {
                // A batch that was still to be filled is not late.
                continue;
            }
            let end = schedule.due(at.saturating_sub(1));
            let stretch = (end.saturating_sub(first) / STRETCHES_MAX).max(most.into());
            let mut next = first;
            while next < end {
                let records = stretch.min(end - next);
                next += records;
                schedule.reach(next);
                let youngest_ns = schedule.intended_ns(next - 1);
                schedule.forget(next);
                if !recorder.window.measures(youngest_ns) {
                    continue;
                }
                self.found.overdue += records;
                let interval = recorder.at(now_ns);
                let readers = if plan.consume == Consume::During { plan.subscriptions } else { 0 };
                for (series, times) in
                    [(Series::Produce, 1), (Series::SendDelay, 1), (Series::EndToEnd, readers)]
                {
                    if times > 0 {
                        let series = interval.of(series);
                        series.completion();
                        let age_ns = now_ns.saturating_sub(youngest_ns);
                        series.record(age_ns, records * u64::from(times));
                    }
                }
            }
        }
    }

    fn finish(mut self) -> Produced {
        self.count_overdue(clock::monotonic_ns());
        for lane in &mut self.lanes {
            lane.give_up();
            let producer = lane.spec.producer;
            self.found.sent.extend(lane.slots.drain(..).map(|slot| Sent {
                producer,
                partition: slot.partition,
                ledger: slot.ledger,
                acked_end: slot.acked_end,
            }));
        }
        self.found.counts = self.job.recorder.finish();
        self.found
    }
}

/// One answer: settle the oldest batch of the lane.
fn take_answer(
    lane: &mut Lane,
    frame: &[u8],
    now_ns: u64,
    recorder: &mut Recorder,
    found: &mut Produced,
) -> Result<(), String> {
    let answer = request::read_produce_answer(frame).map_err(|e| e.to_string())?;
    let batch = lane.pop().ok_or("the broker answered a request that was never sent")?;
    lane.heard_ns = now_ns;
    let slot = &mut lane.slots[batch.slot as usize];
    if answer.correlation != batch.correlation || answer.partition != slot.partition as i32 {
        return Err(format!(
            "answers came out of order: expected correlation id {} for partition {}, got {} for {}",
            batch.correlation, slot.partition, answer.correlation, answer.partition
        ));
    }
    if answer.error != 0 {
        let fate = if error_is_final(answer.error) { Fate::Refused } else { Fate::Unknown };
        slot.ledger.doubt(batch.range(), fate);
        *found.errors.entry(answer.error).or_default() += u64::from(batch.records);
        recorder.at(now_ns).errors += u64::from(batch.records);
        return Ok(());
    }
    slot.acked_end = slot.acked_end.max(answer.base_offset + i64::from(batch.records));
    recorder.count(now_ns, batch.records.into(), batch.bytes.into(), 1);
    record_latency(lane, &batch, now_ns, recorder);
    Ok(())
}

/// Record the latencies of a batch that was answered at `now_ns`, or was not until then; returns
/// how many of its records are measured.
fn record_latency(lane: &Lane, batch: &InFlight, now_ns: u64, recorder: &mut Recorder) -> u64 {
    let window = recorder.window;
    let interval = recorder.at(now_ns);
    // Record by record, as end to end counts them: a late batch may hold records of both sides of
    // the window's border.
    let measured = |index: &u32| window.measures(lane.intended_ns(batch, *index));
    let count = match &lane.schedule {
        None if window.measures(batch.sent_ns) => batch.records.into(),
        None => 0,
        Some(_) => (0..batch.records).filter(measured).count() as u64,
    };
    if count == 0 {
        return 0;
    }
    // What is not in the socket yet is sent now at the earliest.
    let sent_ns = if batch.sent_ns == 0 { now_ns } else { batch.sent_ns };
    if batch.sent_ns > 0 {
        let series = interval.of(Series::ProduceSent);
        series.completion();
        series.record(now_ns - sent_ns, count);
    }
    let Some(schedule) = &lane.schedule else {
        let series = interval.of(Series::Produce);
        series.completion();
        series.record(now_ns - sent_ns, count);
        return count;
    };
    let [produce, delay] = interval.two(Series::Produce, Series::SendDelay);
    produce.completion();
    delay.completion();
    for index in (0..batch.records).filter(measured) {
        let intended = schedule.intended_ns(batch.first_record + u64::from(index));
        produce.record(now_ns.saturating_sub(intended), 1);
        delay.record(sent_ns.saturating_sub(intended), 1);
    }
    count
}

/// Whether an error says for certain that nothing was stored. After a timeout (7), too few
/// replicas after the append (20), a storage error (56), or a duplicate sequence (46) something
/// may have been.
fn error_is_final(code: i16) -> bool {
    !matches!(code, -1 | 7 | 20 | 46 | 56)
}
