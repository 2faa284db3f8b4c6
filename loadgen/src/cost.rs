//! What verification costs this generator. Each run measures it on its own threads: consumers
//! read their CPU clock around one pass in [`EVERY`], producers learn beforehand what stamping a
//! record takes. [`measure`] puts it beside the same work without verification.

use std::hint::black_box;

use serde::Serialize;

use crate::batch::{BatchFields, Shape, Template};
use crate::clock;
use crate::consume::check::{self, Followed, Rules};
use crate::verify::Oddities;

/// Reading a thread's CPU clock is a system call: one pass in this many pays for two.
const EVERY: u32 = 16;
/// Tries to learn what reading the clock costs.
const CLOCK_TRIES: u32 = 32;

/// Measures what share of a thread's work a part of it is, by sampling.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    /// What reading the clock adds to a sample.
    clock_ns: u64,
    calls: u32,
    bytes: u64,
    sampled_bytes: u64,
    sampled_ns: u64,
}

impl Meter {
    /// For the calling thread.
    pub fn new() -> Self {
        let once = |_| {
            let before = clock::thread_cpu_ns();
            clock::thread_cpu_ns() - before
        };
        let clock_ns = (0..CLOCK_TRIES).map(once).min().unwrap_or(0);
        Self { clock_ns, calls: 0, bytes: 0, sampled_bytes: 0, sampled_ns: 0 }
    }

    /// Do `work`, which says how many bytes it was about.
    #[inline]
    pub fn measure(&mut self, work: impl FnOnce() -> u64) -> u64 {
        let is_sampled = self.calls.is_multiple_of(EVERY);
        self.calls = self.calls.wrapping_add(1);
        let before = if is_sampled { clock::thread_cpu_ns() } else { 0 };
        let bytes = work();
        self.bytes += bytes;
        if is_sampled {
            self.sampled_ns += (clock::thread_cpu_ns() - before).saturating_sub(self.clock_ns);
            self.sampled_bytes += bytes;
        }
        bytes
    }

    /// CPU nanoseconds of all the work, as far as the samples tell.
    pub fn spent_ns(&self) -> u64 {
        if self.sampled_bytes == 0 {
            return 0;
        }
        (self.sampled_ns as f64 * (self.bytes as f64 / self.sampled_bytes as f64)) as u64
    }
}

/// One side of the generator with and without verification.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cost {
    /// `writing` or `reading`.
    pub side: &'static str,
    /// Bytes of a record's value.
    pub record_bytes: usize,
    /// Bytes of a batch at most.
    pub batch_bytes: usize,
    /// Bytes of batches per second of CPU, verification left out.
    pub bare_bytes_per_s: f64,
    /// The same with it.
    pub verified_bytes_per_s: f64,
    /// What it adds, per record.
    pub ns_per_record: f64,
}

/// What is measured: bytes of a record, bytes of a batch.
const SHAPES: [(usize, usize); 2] = [(1024, 65_536), (100, 16_384)];
/// Batches at hand: together larger than the innermost caches, as an answer is.
const BATCHES: usize = 16;
/// Slices of each kind, taken in turn.
const SLICES: usize = 21;

/// Writing and reading on this thread, with verification and without in turn. Each of a few
/// dozen slices takes `slice_ns`; medians count.
pub fn measure(slice_ns: u64) -> Vec<Cost> {
    SHAPES.iter().flat_map(|(record, batch)| measure_shape(*record, *batch, slice_ns)).collect()
}

fn fields(records: u32, batch: usize) -> BatchFields {
    BatchFields {
        producer: 0,
        partition: 0,
        records,
        first_sequence: batch as u64 * u64::from(records),
        timestamp_ms: 1,
        producer_id: -1,
        producer_epoch: -1,
    }
}

fn measure_shape(record_bytes: usize, batch_bytes: usize, slice_ns: u64) -> [Cost; 2] {
    let records = Template::records_for(batch_bytes, record_bytes, None);
    let shape = Shape { sizes: Some(record_bytes.into()), random_share: 1.0, ..Shape::default() };
    let template = Template::new(1, records, &shape);
    let mut buffers: Vec<Vec<u8>> = (0..BATCHES).map(|_| template.bytes().to_vec()).collect();
    for (index, buffer) in buffers.iter_mut().enumerate() {
        template.patch(buffer, &fields(records, index), |_| 1);
        let base_offset = index as i64 * i64::from(records);
        buffer[..8].copy_from_slice(&base_offset.to_be_bytes());
    }
    let answer = buffers.concat();
    let rules = Rules { run: 1, producers: 1, check_crc: true, check_order: true };
    let bytes = answer.len() as u64;
    let (mut bare, mut verified) = (Vec::new(), Vec::new());
    let (mut counted, mut read) = (Vec::new(), Vec::new());
    for _ in 0..SLICES {
        bare.push(slice(slice_ns, bytes, || {
            for (index, buffer) in buffers.iter_mut().enumerate() {
                template.patch_bare(buffer, &fields(records, index));
            }
            black_box(&buffers);
        }));
        verified.push(slice(slice_ns, bytes, || {
            for (index, buffer) in buffers.iter_mut().enumerate() {
                template.patch(buffer, &fields(records, index), |_| 1);
            }
            black_box(&buffers);
        }));
        counted.push(slice(slice_ns, bytes, || {
            let _ = black_box(check::next_position(black_box(&answer), 0));
        }));
        read.push(slice(slice_ns, bytes, || {
            let (mut followed, mut odd) = (Followed::new(0, 0), Oddities::default());
            let _ = check::next_position(black_box(&answer), 0);
            let pass =
                check::verify(&rules, &mut followed, &answer, &mut odd, &mut Vec::new(), |_, _| ());
            black_box(pass);
        }));
    }
    let per_record = bytes as f64 / (BATCHES as f64 * f64::from(records));
    let cost = |side, bare: Vec<f64>, verified: Vec<f64>| {
        let (bare_ns, verified_ns) = (median(bare), median(verified));
        Cost {
            side,
            record_bytes,
            batch_bytes,
            bare_bytes_per_s: 1e9 / bare_ns,
            verified_bytes_per_s: 1e9 / verified_ns,
            ns_per_record: (verified_ns - bare_ns) * per_record,
        }
    };
    [cost("writing", bare, verified), cost("reading", counted, read)]
}

/// CPU nanoseconds per byte of `work`, repeated for about `limit_ns`.
fn slice(limit_ns: u64, bytes: u64, mut work: impl FnMut()) -> f64 {
    let begin = clock::thread_cpu_ns();
    let mut done = 0u64;
    loop {
        work();
        done += bytes;
        let spent = clock::thread_cpu_ns() - begin;
        if spent >= limit_ns {
            return spent as f64 / done as f64;
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0).max(f64::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_estimates_all_from_the_samples() {
        let mut meter = Meter::new();
        assert_eq!(meter.spent_ns(), 0);
        let mut sink = 0u64;
        let begin = clock::thread_cpu_ns();
        for _ in 0..EVERY * 64 {
            meter.measure(|| {
                for i in 0..20_000u64 {
                    sink = black_box(sink ^ i.wrapping_mul(31));
                }
                100
            });
        }
        let all = clock::thread_cpu_ns() - begin;
        let share = meter.spent_ns() as f64 / all as f64;
        assert!((0.5..1.5).contains(&share), "{share}: the loop does nothing else");
    }

    #[test]
    fn verification_costs_something_and_both_sides_are_named() {
        let costs = measure(20_000);
        assert_eq!(costs.len(), 4);
        for cost in &costs {
            assert!(cost.verified_bytes_per_s < cost.bare_bytes_per_s, "{cost:?}");
            assert!(cost.ns_per_record > 0.0 && cost.ns_per_record < 100_000.0, "{cost:?}");
        }
    }
}
