//! A produced batch: what the validator accepts, the readers read, with the same count and the
//! same largest timestamp; compressed or not. Length, magic and checksum are made to fit, so that
//! the search gets behind them; the first byte says whether they are. Run with
//! `-malloc_limit_mb=64`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use thalweg::model::TimestampType;
use thalweg::record::{
    BATCH_HEADER_BYTES, BatchView, Batches, LENGTH_PREFIX_BYTES, ProduceRules, Records, decompress,
    decompressed_bytes_max, validate_produced,
};

const MAX_MESSAGE_BYTES: usize = 16 * 1024;

fuzz_target!(|input: &[u8]| {
    let Some((mode, bytes)) = input.split_first() else { return };
    let mut batch = bytes.to_vec();
    if mode & 1 == 0 && batch.len() >= BATCH_HEADER_BYTES {
        let length = (batch.len() - LENGTH_PREFIX_BYTES) as i32;
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        batch[16] = 2;
        let crc = crc32c::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    let rules = ProduceRules {
        max_message_bytes: MAX_MESSAGE_BYTES,
        timestamp_type: TimestampType::CreateTime,
        now_ms: 1_700_000_000_000,
        before_max_ms: if mode & 2 == 0 { i64::MAX } else { 1 << 40 },
        after_max_ms: i64::MAX,
        require_keys: mode & 4 != 0,
    };
    let consumed: usize = Batches::new(&batch).map(|b| b.len()).sum();
    assert!(consumed <= batch.len());
    let Ok(summary) = validate_produced(&batch, &rules) else { return };
    assert_eq!(consumed, batch.len(), "exactly one batch");
    let view = BatchView::first(&batch).expect("it was accepted");
    assert!(view.crc_matches());
    let was_opened = summary.max_timestamp_delta.is_some() || rules.require_keys;
    let output_max = decompressed_bytes_max(view.records_bytes().len(), MAX_MESSAGE_BYTES);
    let plain = match decompress(summary.codec, view.records_bytes(), output_max) {
        Ok(plain) => plain,
        Err(error) => {
            assert!(!was_opened, "accepted after reading: {error}");
            return;
        }
    };
    let mut largest = -1;
    let mut count = 0;
    for record in Records::new(&plain, view.record_count()) {
        let Ok(record) = record else {
            assert!(!was_opened, "accepted after reading");
            return;
        };
        assert!(record.key.is_some() || !rules.require_keys);
        assert_eq!(record.headers.len(), record.headers.count());
        let Some(timestamp) = record.timestamp(view.base_timestamp()) else {
            assert!(!was_opened, "accepted after reading");
            return;
        };
        largest = largest.max(timestamp);
        count += 1;
    }
    if was_opened {
        assert_eq!((count, largest), (summary.records, summary.max_timestamp));
    }
});
