//! What the log cleaner leaves of a batch: the same batch with some of its records, or none.
//!
//! Offsets never change: base offset and last offset delta stay, so that the last sequence of
//! the producer can still be told, and the deltas of the records left have holes. The rules are
//! Kafka's (`MemoryRecords.filterTo`, `DefaultRecordBatch.writeEmptyHeader`; KIP-534 for the
//! delete horizon).

use std::iter::Zip;
use std::vec;

use zerocopy::IntoBytes;

use super::batch::{Attributes, BATCH_HEADER_BYTES, BatchHeader, LENGTH_PREFIX_BYTES, write_crc};
use super::builder::BuildError;
use super::compression::{Codec, Compression};
use super::record::Record;
use super::stream::TURN_BYTES;
use super::varint::{varlong_len, write_varlong};
use super::{BatchView, Records};
use crate::model::{TimestampMs, TimestampType};

/// Which records of a batch stay, gathered one by one.
pub struct Remainder<'a> {
    batch: BatchView<'a>,
    plain: &'a [u8],
    stays: Vec<bool>,
    count: usize,
    first_time: Option<TimestampMs>,
    max_time: Option<TimestampMs>,
}

impl<'a> Remainder<'a> {
    /// Of `batch`, whose records are `plain` when they are decompressed.
    pub fn new(batch: &BatchView<'a>, plain: &'a [u8]) -> Self {
        let (stays, count) = (Vec::new(), 0);
        Self { batch: *batch, plain, stays, count, first_time: None, max_time: None }
    }

    /// The next record, and whether it stays.
    pub fn judge(&mut self, record: &Record<'_>, stays: bool) {
        self.stays.push(stays);
        if stays {
            self.count += 1;
            let time = time_of(&self.batch, record);
            self.first_time = self.first_time.or(time);
            self.max_time = self.max_time.max(time);
        }
    }

    /// How many stay.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether all do that were judged.
    pub fn is_whole(&self) -> bool {
        self.count == self.stays.len()
    }

    /// Build the batch with only those, compressed as it was. With `horizon`, the time from which
    /// its tombstones may go takes the place of the base timestamp, and the attributes say so; a
    /// horizon that the batch has already stays.
    ///
    /// # Errors
    /// When the encoder cannot begin.
    pub fn build(self, horizon: Option<TimestampMs>) -> Result<Rebuild<'a>, BuildError> {
        let attributes = self.batch.attributes();
        let known = attributes.has_delete_horizon().then(|| self.batch.base_timestamp());
        let horizon = known.or(horizon);
        let codec = attributes.codec().unwrap_or_default();
        let compression = Compression::new(codec, None, vec![0; BATCH_HEADER_BYTES])
            .map_err(BuildError::Compression)?;
        let bits = if horizon.is_some() { Attributes::DELETE_HORIZON } else { 0 };
        let base_timestamp = horizon.or(self.first_time).unwrap_or(-1);
        let header = BatchHeader {
            attributes: (attributes.0 | bits).into(),
            base_timestamp: base_timestamp.into(),
            max_timestamp: self.max_time.unwrap_or(-1).into(),
            record_count: i32::try_from(self.count)
                .map_err(|_| BuildError::TooLarge(self.plain.len()))?
                .into(),
            ..*self.batch.header()
        };
        let records = Records::new(self.plain, self.batch.record_count()).zip(self.stays);
        Ok(Rebuild {
            batch: self.batch,
            header,
            records,
            base_timestamp,
            compression,
            piece: Vec::new(),
            fields: &[],
        })
    }
}

/// A batch that is built of some of another one's records, piece by piece: its caller has others
/// to think of.
pub struct Rebuild<'a> {
    batch: BatchView<'a>,
    header: BatchHeader,
    records: Zip<Records<'a>, vec::IntoIter<bool>>,
    base_timestamp: TimestampMs,
    compression: Compression<Vec<u8>>,
    /// What is compressed next.
    piece: Vec<u8>,
    /// Rest of the record under way.
    fields: &'a [u8],
}

impl<'a> Rebuild<'a> {
    /// Go on for about [`TURN_BYTES`]; whether that was all.
    ///
    /// # Errors
    /// When a timestamp has no 64 bits, or the encoder refuses.
    pub fn step(&mut self) -> Result<bool, BuildError> {
        let mut is_done = false;
        // Records that go take their time, too.
        let mut passed = 0;
        while self.piece.len() + passed < TURN_BYTES {
            if !self.fields.is_empty() {
                let room = TURN_BYTES - self.piece.len();
                let (now, later) = self.fields.split_at(room.min(self.fields.len()));
                self.piece.extend_from_slice(now);
                self.fields = later;
                continue;
            }
            match self.records.next() {
                Some((Ok(record), true)) => self.begin_record(&record)?,
                Some((Ok(record), false)) => passed += record.turn_bytes(),
                // They were all walked before: there is no fault.
                Some((Err(_), _)) | None => {
                    is_done = true;
                    break;
                }
            }
        }
        self.compression.write(&self.piece).map_err(BuildError::Compression)?;
        self.piece.clear();
        Ok(is_done)
    }

    /// Write what stands before a record's fields.
    fn begin_record(&mut self, record: &Record<'a>) -> Result<(), BuildError> {
        let no_bits = BuildError::Timestamp(record.timestamp_delta);
        let timestamp = time_of(&self.batch, record).ok_or(no_bits)?;
        let delta =
            timestamp.checked_sub(self.base_timestamp).ok_or(BuildError::Timestamp(timestamp))?;
        let place = i64::from(record.offset_delta);
        let body = 1 + varlong_len(delta) + varlong_len(place) + record.fields.len();
        write_varlong(&mut self.piece, i64::try_from(body).unwrap_or(i64::MAX));
        self.piece.push(0);
        write_varlong(&mut self.piece, delta);
        write_varlong(&mut self.piece, place);
        self.fields = record.fields;
        Ok(())
    }

    /// The batch, when all steps are done.
    ///
    /// # Errors
    /// When it outgrows its length field, or the encoder refuses.
    pub fn finish(self) -> Result<Vec<u8>, BuildError> {
        let mut out = self.compression.finish().map_err(BuildError::Compression)?;
        let batch_length = i32::try_from(out.len() - LENGTH_PREFIX_BYTES)
            .map_err(|_| BuildError::TooLarge(out.len()))?
            .into();
        let header = BatchHeader { batch_length, ..self.header };
        out[..BATCH_HEADER_BYTES].copy_from_slice(header.as_bytes());
        write_crc(&mut out);
        Ok(out)
    }
}

/// The time of a record; none when it has no 64 bits.
fn time_of(batch: &BatchView<'_>, record: &Record<'_>) -> Option<TimestampMs> {
    match batch.attributes().timestamp_type() {
        TimestampType::LogAppendTime => Some(batch.max_timestamp()),
        TimestampType::CreateTime => record.timestamp(batch.base_timestamp()),
    }
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
        let mut remainder = Remainder::new(&view, &plain);
        for (i, record) in Records::new(&plain, view.record_count()).enumerate() {
            remainder.judge(&record.unwrap(), keep.contains(&i));
        }
        assert_eq!((remainder.count(), remainder.is_whole()), (keep.len(), false));
        let mut rebuild = remainder.build(horizon).unwrap();
        while !rebuild.step().unwrap() {}
        rebuild.finish().unwrap()
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
