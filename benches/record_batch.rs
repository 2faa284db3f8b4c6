//! What the record layer costs for each byte: decides what the append path can afford.
//!
//! `cargo bench --bench record_batch` prints the median of several runs. Checksum alone is the
//! floor of every validation; the distance to it is what walking the records costs. Opening a
//! compressed batch is the price of a compacted topic
//! (`docs/decisions/2026-11-21-compressed-batches-stay-closed.md`).

use std::hint::black_box;
use std::time::{Duration, Instant};

use thalweg::model::TimestampType;
use thalweg::record::{BatchBuilder, BatchView, Codec, ProduceRules, validate_produced};

const RUNS: usize = 7;
const RUN_FOR: Duration = Duration::from_millis(150);
const NOW: i64 = 1_700_000_000_000;

fn main() {
    println!("{:<44} {:>10} {:>12}", "what", "GB/s", "ns/record");
    for (record_bytes, batch_bytes) in
        [(100, 16_384), (1024, 16_384), (1024, 1_000_000), (10_240, 1_000_000)]
    {
        let records = (batch_bytes / record_bytes).max(1);
        let title = |what: &str| format!("{what}, {records} x {record_bytes} B");
        let batch = build(Codec::None, record_bytes, records);
        measure(&title("checksum"), batch.len(), records, || {
            black_box(BatchView::first(black_box(&batch)).unwrap().crc_computed());
        });
        measure(&title("validate"), batch.len(), records, || {
            black_box(validate_produced(black_box(&batch), &rules(false)).unwrap());
        });
        let mut builder = BatchBuilder::new(Codec::None);
        let value = value(record_bytes, 1);
        measure(&title("build"), batch.len(), records, || {
            builder.clear();
            for i in 0..records {
                builder.append(NOW + i as i64, Some(b"key"), Some(&value), &[]).unwrap();
            }
            black_box(builder.finish().unwrap());
        });
    }
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let (record_bytes, records) = (1024, 512);
        let batch = build(codec, record_bytes, records);
        let plain = record_bytes * records;
        for (what, require_keys) in [("closed", false), ("opened", true)] {
            let title = format!("validate {codec} {what}, {} B for {plain} B", batch.len());
            measure(&title, plain, records, || {
                black_box(validate_produced(black_box(&batch), &rules(require_keys)).unwrap());
            });
        }
    }
}

fn rules(require_keys: bool) -> ProduceRules {
    ProduceRules {
        max_message_bytes: 64 << 20,
        timestamp_type: TimestampType::CreateTime,
        now_ms: NOW,
        before_max_ms: i64::MAX,
        after_max_ms: 3_600_000,
        require_keys,
    }
}

/// Text-like bytes: half of them repeat, so that codecs have something to do.
fn value(bytes: usize, seed: usize) -> Vec<u8> {
    let mut state = seed as u64 | 1;
    (0..bytes)
        .map(|i| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if i % 16 < 8 { b"orders: "[i % 8] } else { b'a' + (state >> 60) as u8 }
        })
        .collect()
}

fn build(codec: Codec, record_bytes: usize, records: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(codec);
    for i in 0..records {
        let value = value(record_bytes, i);
        builder.append(NOW + i as i64, Some(b"key"), Some(&value), &[]).unwrap();
    }
    builder.finish().unwrap().to_vec()
}

/// Print throughput over `bytes` and time for each of `records`.
fn measure(title: &str, bytes: usize, records: usize, mut work: impl FnMut()) {
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            let mut rounds = 0u32;
            while start.elapsed() < RUN_FOR {
                for _ in 0..8 {
                    work();
                }
                rounds += 8;
            }
            start.elapsed().as_secs_f64() / f64::from(rounds)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let median = times[RUNS / 2];
    let (rate, each) = (bytes as f64 / median / 1e9, median / records as f64 * 1e9);
    println!("{title:<44} {rate:>10.2} {each:>12.1}");
}
