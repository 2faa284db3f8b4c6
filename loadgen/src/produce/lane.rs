//! One lane: one connection to one leader, the partitions it feeds in turn, what is in flight
//! on it and the ledger of what it sent. A lane is what the payload calls a producer.
//!
//! A batch in flight is kept as its description, not as bytes: schedule and template make the
//! same bytes again when an idempotent producer has to resend them.

use std::collections::VecDeque;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::compress::{Press, packed_bytes_max};
use crate::connection::{Connection, Outgoing, SPANS_MAX};
use crate::pace::{self, Offer, Schedule};
use crate::payload::{self, Filler};
use crate::request::ProducePrefix;
use crate::verify::{Fate, Ledger, Range};
use crate::{batch::BatchFields, batch::Template};

/// What set-up decides for a lane.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LaneSpec {
    /// Its number, unique in the run.
    pub producer: u32,
    /// The leader it is connected to.
    pub address: SocketAddr,
    /// The partitions it feeds.
    pub partitions: Vec<u32>,
    /// Kafka's producer id and epoch; -1 and -1 without idempotence.
    pub identity: (i64, i16),
    /// How often each of the partitions is used beside the others; empty when all alike.
    pub weights: Vec<f64>,
    /// Its share of the load; none in a closed loop.
    pub offer: Option<Offer>,
}

/// One partition of a lane.
#[derive(Debug)]
pub struct Slot {
    /// The partition.
    pub partition: u32,
    /// What was sent to it.
    pub ledger: Ledger,
    /// Offset behind the last acknowledged record; -1 if none.
    pub acked_end: i64,
}

/// A batch without an answer yet.
#[derive(Clone, Copy, Debug)]
pub struct InFlight {
    /// Index of its slot in the lane.
    pub slot: u32,
    /// Records in it.
    pub records: u32,
    /// Sequence of its first record.
    pub first_sequence: u64,
    /// Schedule index of its first record (open loop).
    pub first_record: u64,
    /// When it was handed to the socket.
    pub sent_ns: u64,
    /// Timestamp of its records.
    pub timestamp_ms: i64,
    /// Bytes of its batch.
    pub bytes: u32,
    /// Of the request that carries it.
    pub correlation: i32,
}

impl InFlight {
    /// The sequences in it.
    pub fn range(&self) -> Range {
        Range { first: self.first_sequence, end: self.first_sequence + u64::from(self.records) }
    }
}

/// What limits a lane's batches.
#[derive(Clone, Copy, Debug)]
pub struct BatchRules {
    /// Records of a full batch.
    pub records_max: u32,
    /// How long an incomplete one waits.
    pub linger_ns: u64,
    /// Most unanswered requests.
    pub in_flight_max: usize,
    /// Most requests per write.
    pub per_write: usize,
    /// A closed loop starts no batch at or after this time.
    pub end_ns: u64,
}

/// How late batches are, as they are planned: called with the nanoseconds of each.
pub trait LagSink {
    /// A batch is sent this much later than it could have been.
    fn lag(&mut self, ns: u64);
}

/// A lane at work.
#[derive(Debug)]
pub struct Lane {
    /// What it was made from.
    pub spec: LaneSpec,
    /// None while it is being re-established.
    pub connection: Option<Connection>,
    /// Its partitions.
    pub slots: Vec<Slot>,
    /// Oldest first; those from `unsent` on are not in the socket yet.
    pub in_flight: VecDeque<InFlight>,
    /// The schedule; none in a closed loop.
    pub schedule: Option<Schedule>,
    /// No batch will ever be added.
    pub done: bool,
    /// When it last became free to send.
    pub free_since_ns: u64,
    /// When it last had an answer.
    pub heard_ns: u64,
    unsent: usize,
    next_record: u64,
    next_slot: usize,
    /// Sums of the weights, and what draws a slot by them.
    weights: Vec<f64>,
    draws: Filler,
    correlation: i32,
}

impl Lane {
    /// A lane with an open connection.
    pub fn new(spec: LaneSpec, connection: Connection, in_flight_max: usize) -> Self {
        let slots = spec.partitions.iter().map(|partition| Slot {
            partition: *partition,
            ledger: Ledger::default(),
            acked_end: -1,
        });
        Self {
            slots: slots.collect(),
            connection: Some(connection),
            in_flight: VecDeque::with_capacity(in_flight_max),
            schedule: None,
            done: false,
            free_since_ns: 0,
            heard_ns: 0,
            unsent: 0,
            next_record: 0,
            next_slot: 0,
            weights: spec
                .weights
                .iter()
                .scan(0.0, |sum, weight| {
                    *sum += weight;
                    Some(*sum)
                })
                .collect(),
            draws: Filler::new(u64::from(spec.producer)),
            correlation: 0,
            spec,
        }
    }

    /// Add the batches that are due at `now_ns` and fit; returns when to ask again (`u64::MAX`:
    /// not before an answer makes room).
    pub fn plan(&mut self, now_ns: u64, rules: &BatchRules, lag: &mut impl LagSink) -> u64 {
        let waiting = self.in_flight.len() - self.unsent;
        let room = (rules.in_flight_max - self.in_flight.len())
            .min(rules.per_write.saturating_sub(waiting));
        for _ in 0..room {
            let reach = self.next_record + u64::from(rules.records_max);
            let records = match &mut self.schedule {
                None if now_ns >= rules.end_ns => {
                    self.done = true;
                    return u64::MAX;
                }
                None => rules.records_max,
                Some(schedule) => {
                    schedule.reach(reach);
                    match pace::step(
                        schedule,
                        self.next_record,
                        now_ns,
                        rules.records_max,
                        rules.linger_ns,
                    ) {
                        pace::Step::Send { records, due_ns } => {
                            lag.lag(now_ns.saturating_sub(due_ns.max(self.free_since_ns)));
                            records
                        }
                        pace::Step::Wait { until_ns } => return until_ns,
                        pace::Step::Done => {
                            self.done = true;
                            return u64::MAX;
                        }
                    }
                }
            };
            self.add(records);
        }
        if self.in_flight.len() >= rules.in_flight_max { u64::MAX } else { now_ns }
    }

    /// The slots in turn, or by their weights.
    fn pick_slot(&mut self) -> usize {
        if let Some(all) = self.weights.last() {
            let wanted = self.draws.next_share() * all;
            let slot = self.weights.partition_point(|sum| *sum <= wanted);
            return slot.min(self.slots.len() - 1);
        }
        let slot = self.next_slot;
        self.next_slot = if slot + 1 == self.slots.len() { 0 } else { slot + 1 };
        slot
    }

    fn add(&mut self, records: u32) {
        let slot = self.pick_slot();
        let first_sequence = self.slots[slot].ledger.take(records);
        self.in_flight.push_back(InFlight {
            slot: slot as u32,
            records,
            first_sequence,
            first_record: self.next_record,
            sent_ns: 0,
            timestamp_ms: 0,
            bytes: 0,
            correlation: 0,
        });
        self.next_record += u64::from(records);
    }

    /// Whether batches wait for being written.
    pub fn has_unsent(&self) -> bool {
        self.unsent < self.in_flight.len()
    }

    /// Records that were put into batches so far.
    pub fn batched(&self) -> u64 {
        self.next_record
    }

    /// Records of the schedule that were due by `now_ns` and are in no batch yet.
    pub fn backlog(&self, now_ns: u64) -> u64 {
        self.schedule.as_ref().map_or(0, |s| s.due(now_ns).saturating_sub(self.next_record))
    }

    /// Write the unsent batches into `out`, each into its own stretch of `stride` bytes.
    pub fn write(
        &mut self,
        out: &mut Outgoing,
        layout: &Layout<'_>,
        press: &mut Option<Press>,
        now_ns: u64,
        wall_offset_ns: i64,
    ) {
        let first = self.unsent;
        let last = self.in_flight.len().min(first + layout.per_write);
        for (place, index) in (first..last).enumerate() {
            let batch = &mut self.in_flight[index];
            if batch.timestamp_ms == 0 {
                // A resend must carry the bytes of the first attempt, so its time stays.
                batch.timestamp_ms = (now_ns as i64 + wall_offset_ns) / 1_000_000;
                batch.sent_ns = now_ns;
            }
            batch.correlation = self.correlation;
            self.correlation = (self.correlation + 1) & i32::MAX;
            let begin = place * layout.stride;
            let stretch = &mut out.bytes[begin..begin + layout.stride];
            let partition = self.slots[batch.slot as usize].partition;
            let fields = BatchFields {
                producer: self.spec.producer,
                partition,
                records: batch.records,
                first_sequence: batch.first_sequence,
                timestamp_ms: batch.timestamp_ms,
                producer_id: self.spec.identity.0,
                producer_epoch: self.spec.identity.1,
            };
            let (sent, first_record) = (batch.sent_ns, batch.first_record);
            let prefix = layout.prefix.bytes().len();
            let place_of_batch = match press {
                None => &mut stretch[prefix..],
                Some(press) => &mut press.plain[..],
            };
            let mut bytes = match &self.schedule {
                None => layout.template.patch(place_of_batch, &fields, |_| sent),
                Some(schedule) => layout.template.patch(place_of_batch, &fields, |i| {
                    schedule.intended_ns(first_record + u64::from(i))
                }),
            };
            if let Some(press) = press {
                let packed = press.pack(bytes).expect("no encoder refuses a batch of this size");
                bytes = packed.len();
                stretch[prefix..prefix + bytes].copy_from_slice(packed);
            }
            batch.bytes = bytes as u32;
            layout.prefix.patch(stretch, batch.correlation, partition, bytes);
            out.spans.push((begin as u32, (begin + prefix + bytes) as u32));
        }
        self.unsent = last;
    }

    /// The oldest batch has its answer, or will not get one.
    pub fn pop(&mut self) -> Option<InFlight> {
        let batch = self.in_flight.pop_front()?;
        self.unsent = self.unsent.saturating_sub(1);
        if let Some(schedule) = &mut self.schedule {
            schedule.forget(batch.first_record);
        }
        Some(batch)
    }

    /// The connection broke. An idempotent producer sends everything unanswered again; for any
    /// other nobody can know whether it arrived.
    pub fn disconnected(&mut self) {
        self.connection = None;
        self.unsent = 0;
        if self.spec.identity.0 < 0 {
            self.give_up();
        }
    }

    /// No answer will come any more.
    pub fn give_up(&mut self) {
        while let Some(batch) = self.pop() {
            self.slots[batch.slot as usize].ledger.doubt(batch.range(), Fate::Unknown);
        }
    }

    /// Intended time of record `index` of `batch`: its place in the schedule, or in a closed
    /// loop the time it was sent.
    #[inline]
    pub fn intended_ns(&self, batch: &InFlight, index: u32) -> u64 {
        match &self.schedule {
            None => batch.sent_ns,
            Some(schedule) => schedule.intended_ns(batch.first_record + u64::from(index)),
        }
    }
}

/// How prepared requests lie in a buffer.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'a> {
    /// In front of each batch.
    pub prefix: &'a ProducePrefix,
    /// The batch.
    pub template: &'a Template,
    /// Bytes from one request to the next.
    pub stride: usize,
    /// Requests per buffer.
    pub per_write: usize,
}

/// A write is worth gathering up to about this many bytes; beyond it one call is cheap enough.
const WRITE_BYTES: usize = 64 << 10;

impl<'a> Layout<'a> {
    /// For a run with at most `in_flight_max` requests per connection.
    pub fn new(
        prefix: &'a ProducePrefix,
        template: &'a Template,
        is_compressed: bool,
        in_flight_max: usize,
    ) -> Self {
        let plain = template.bytes().len();
        let batch = if is_compressed { packed_bytes_max(plain) } else { plain };
        let stride = (prefix.bytes().len() + batch).next_multiple_of(64);
        let per_write = (WRITE_BYTES / stride).clamp(1, SPANS_MAX.min(in_flight_max));
        Self { prefix, template, stride, per_write }
    }

    /// A buffer with everything in place that never changes.
    pub fn buffer(&self) -> Outgoing {
        let mut bytes = vec![0u8; self.stride * self.per_write].into_boxed_slice();
        for stretch in bytes.chunks_exact_mut(self.stride) {
            let (prefix, behind) = stretch.split_at_mut(self.prefix.bytes().len());
            prefix.copy_from_slice(self.prefix.bytes());
            behind[..self.template.bytes().len()].copy_from_slice(self.template.bytes());
        }
        debug_assert!(self.template.bytes().len() > payload::HEAD_BYTES);
        Outgoing::new(bytes)
    }
}
