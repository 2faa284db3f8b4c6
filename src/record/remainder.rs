//! What the log cleaner leaves of a batch: the same batch with some of its records, or none.
//!
//! Offsets never change: base offset and last offset delta stay, so that the last sequence of
//! the producer can still be told, and the deltas of the records left have holes. The rules are
//! Kafka's (`MemoryRecords.filterTo`, `DefaultRecordBatch.writeEmptyHeader`; KIP-534 for the
//! delete horizon).

use zerocopy::IntoBytes;

use super::BatchView;
use super::batch::{Attributes, BATCH_HEADER_BYTES, BatchHeader, LENGTH_PREFIX_BYTES, write_crc};
use super::builder::BuildError;
use super::compression::{Codec, compress};
use super::record::Record;
use super::varint::{varlong_len, write_varlong};
use crate::model::{TimestampMs, TimestampType};

/// `batch` with only `kept` of its records, compressed as it was. With `horizon`, the time from
/// which its tombstones may go takes the place of the base timestamp, and the attributes say so;
/// a horizon that the batch has already stays.
///
/// # Errors
/// When a timestamp has no 64 bits, the batch outgrows its length field, or the encoder refuses.
pub fn with_records(
    batch: &BatchView<'_>,
    kept: &[Record<'_>],
    horizon: Option<TimestampMs>,
) -> Result<Vec<u8>, BuildError> {
    let attributes = batch.attributes();
    let known = attributes.has_delete_horizon().then(|| batch.base_timestamp());
    let horizon = known.or(horizon);
    let times = Times::new(batch, kept, horizon)?;
    let mut plain = Vec::new();
    for (record, timestamp) in kept.iter().zip(&times.each) {
        let delta = timestamp.checked_sub(times.base).ok_or(BuildError::Timestamp(*timestamp))?;
        let place = i64::from(record.offset_delta);
        let body = 1 + varlong_len(delta) + varlong_len(place) + record.fields.len();
        write_varlong(&mut plain, i64::try_from(body).unwrap_or(i64::MAX));
        plain.push(0);
        write_varlong(&mut plain, delta);
        write_varlong(&mut plain, place);
        plain.extend_from_slice(record.fields);
    }
    let mut out = vec![0; BATCH_HEADER_BYTES];
    let codec = attributes.codec().unwrap_or_default();
    compress(codec, None, &plain, &mut out).map_err(BuildError::Compression)?;
    let bits = if horizon.is_some() { Attributes::DELETE_HORIZON } else { 0 };
    let header = BatchHeader {
        batch_length: i32::try_from(out.len() - LENGTH_PREFIX_BYTES)
            .map_err(|_| BuildError::TooLarge(out.len()))?
            .into(),
        attributes: (attributes.0 | bits).into(),
        base_timestamp: times.base.into(),
        max_timestamp: times.max.into(),
        record_count: i32::try_from(kept.len())
            .map_err(|_| BuildError::TooLarge(out.len()))?
            .into(),
        ..*batch.header()
    };
    out[..BATCH_HEADER_BYTES].copy_from_slice(header.as_bytes());
    write_crc(&mut out);
    Ok(out)
}

/// `batch` without records: what is kept of a batch whose header alone still counts, for it has
/// the last sequence of a producer or the last offset of the log.
pub fn emptied(batch: &BatchView<'_>) -> [u8; BATCH_HEADER_BYTES] {
    let kept = !(Attributes::CODEC | Attributes::DELETE_HORIZON);
    let header = BatchHeader {
        batch_length: ((BATCH_HEADER_BYTES - LENGTH_PREFIX_BYTES) as i32).into(),
        attributes: (batch.attributes().0 & kept | i16::from(Codec::None.id())).into(),
        base_timestamp: (-1).into(),
        record_count: 0.into(),
        ..*batch.header()
    };
    let mut out = [0; BATCH_HEADER_BYTES];
    out.copy_from_slice(header.as_bytes());
    write_crc(&mut out);
    out
}

/// The times of the records left.
struct Times {
    base: TimestampMs,
    max: TimestampMs,
    each: Vec<TimestampMs>,
}

impl Times {
    fn new(
        batch: &BatchView<'_>,
        kept: &[Record<'_>],
        horizon: Option<TimestampMs>,
    ) -> Result<Self, BuildError> {
        let base = batch.base_timestamp();
        let is_append_time = batch.attributes().timestamp_type() == TimestampType::LogAppendTime;
        let time = |record: &Record<'_>| {
            if is_append_time {
                return Ok(batch.max_timestamp());
            }
            record.timestamp(base).ok_or(BuildError::Timestamp(record.timestamp_delta))
        };
        let each: Vec<TimestampMs> = kept.iter().map(time).collect::<Result<_, _>>()?;
        let first = each.first().copied().unwrap_or(-1);
        let max = each.iter().copied().max().unwrap_or(-1);
        Ok(Self { base: horizon.unwrap_or(first), max, each })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BatchBuilder, Records, decompress};

    fn batch(codec: Codec) -> Vec<u8> {
        let mut builder = BatchBuilder::new(codec);
        builder.set_producer(7, 1, 40);
        builder.set_place(1000, 3);
        for i in 0..5i64 {
            let key = format!("key {i}");
            let header: &[(&[u8], Option<&[u8]>)] = &[(b"h", Some(b"v")), (b"h", None)];
            builder
                .append(2000 - i, Some(key.as_bytes()), (i != 3).then_some(b"value"), header)
                .unwrap();
        }
        builder.finish().unwrap().to_vec()
    }

    type Whole = (i64, i64, Vec<u8>, Option<Vec<u8>>, usize);

    fn records(bytes: &[u8]) -> Vec<Whole> {
        let view = BatchView::first(bytes).unwrap();
        assert!(view.crc_matches() && view.len() == bytes.len());
        let codec = view.attributes().codec().unwrap();
        let plain = decompress(codec, view.records_bytes(), 1 << 20).unwrap();
        let each = Records::new(&plain, view.record_count()).map(|record| {
            let record = record.unwrap();
            (
                record.offset(view.base_offset()).unwrap(),
                record.timestamp(view.base_timestamp()).unwrap(),
                record.key.unwrap().to_vec(),
                record.value.map(<[u8]>::to_vec),
                record.headers.count(),
            )
        });
        each.collect()
    }

    fn rebuilt(bytes: &[u8], keep: &[usize], horizon: Option<i64>) -> Vec<u8> {
        let view = BatchView::first(bytes).unwrap();
        let codec = view.attributes().codec().unwrap();
        let plain = decompress(codec, view.records_bytes(), 1 << 20).unwrap();
        let all: Vec<_> = Records::new(&plain, view.record_count()).map(Result::unwrap).collect();
        let kept: Vec<_> = keep.iter().map(|i| all[*i]).collect();
        with_records(&view, &kept, horizon).unwrap()
    }

    #[test]
    fn records_left_keep_offset_time_key_value_and_headers_in_every_codec() {
        for codec in Codec::ALL {
            let whole = batch(codec);
            let all = records(&whole);
            for horizon in [None, Some(99_000)] {
                let some = rebuilt(&whole, &[1, 3], horizon);
                assert_eq!(records(&some), [all[1].clone(), all[3].clone()], "{codec}");
                let (before, after) =
                    (BatchView::first(&whole).unwrap(), BatchView::first(&some).unwrap());
                assert_eq!(after.attributes().codec(), Some(codec));
                assert_eq!(after.last_offset(), before.last_offset());
                assert_eq!((after.leader_epoch(), after.base_sequence()), (3, 40));
                assert_eq!(after.max_timestamp(), 1999, "of the records that are left");
                assert_eq!(after.attributes().has_delete_horizon(), horizon.is_some());
                assert_eq!(after.base_timestamp(), horizon.unwrap_or(1999));
                // A horizon is set once.
                let again = rebuilt(&some, &[1], Some(1));
                let again_view = BatchView::first(&again).unwrap();
                assert_eq!(records(&again), [all[3].clone()]);
                assert_eq!(again_view.base_timestamp(), horizon.unwrap_or(1));
            }
        }
    }

    #[test]
    fn an_emptied_batch_keeps_what_tells_its_producer_and_its_end() {
        let whole = batch(Codec::Zstd);
        let horizon = rebuilt(&whole, &[3], Some(99_000));
        let bytes = emptied(&BatchView::first(&horizon).unwrap());
        let view = BatchView::first(&bytes).unwrap();
        assert!(view.crc_matches());
        assert_eq!((view.record_count(), view.len()), (0, BATCH_HEADER_BYTES));
        assert_eq!((view.base_offset(), view.last_offset()), (1000, 1004));
        assert_eq!((view.producer_id(), view.producer_epoch(), view.base_sequence()), (7, 1, 40));
        assert_eq!((view.base_timestamp(), view.max_timestamp()), (-1, 1997));
        assert_eq!(view.attributes(), Attributes::default());
    }
}
