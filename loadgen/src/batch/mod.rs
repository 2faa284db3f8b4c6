//! Record batches from a template. The records are laid out once per buffer; for each batch
//! only what differs is patched in place and the CRC-32C computed. A batch of fewer records
//! than the template has is its prefix, because records lie one behind the other.
//!
//! Always true: what [`Template::patch`] leaves in the buffer is a whole, valid RecordBatch v2
//! of magic 2 without compression (the tests ask two independent decoders).

mod shape;

use crate::clock;
use crate::payload;
use crate::payload::Filler;
use shape::ZipfKeys;

pub use shape::{Headers, Keys, Shape, Sizes};

/// Bytes of a RecordBatch v2 header, up to the first record.
pub const HEADER_BYTES: usize = 61;
/// Bytes that `batchLength` does not count: base offset and the length itself.
const BEFORE_LENGTH: usize = 12;
/// The checksum covers everything behind itself.
const CRC_FROM: usize = 21;

/// What differs from batch to batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchFields {
    /// Number of the lane, for the payload.
    pub producer: u32,
    /// Partition, for the payload.
    pub partition: u32,
    /// Records in this batch.
    pub records: u32,
    /// Sequence of its first record, for the payload.
    pub first_sequence: u64,
    /// Timestamp of all its records.
    pub timestamp_ms: i64,
    /// Kafka's producer id; -1 without idempotence.
    pub producer_id: i64,
    /// Kafka's producer epoch; -1 without idempotence.
    pub producer_epoch: i16,
}

/// Layouts of full batches. All records alike need one; otherwise there are several, drawn once,
/// and a batch uses the one that its place among its partition's records decides.
#[derive(Clone, Debug)]
pub struct Template {
    variants: Vec<Variant>,
    keys: Option<KeyDraw>,
    run: u32,
}

/// One layout: where each record's parts are.
#[derive(Clone, Debug)]
struct Variant {
    /// The bytes of a full batch, header included.
    bytes: Vec<u8>,
    /// For each record: where its value begins.
    value_at: Vec<u32>,
    /// For each record: the byte behind its last.
    end_at: Vec<u32>,
    /// For each record: the byte behind its key. Empty without keys.
    key_end_at: Vec<u32>,
    /// For each record: [`payload::content_sum`] of all but its key.
    sums: Vec<u64>,
}

/// How keys are drawn.
#[derive(Clone, Debug)]
struct KeyDraw {
    keys: Keys,
    partitions: u64,
    /// By partition; empty when all keys are alike.
    zipf: Vec<ZipfKeys>,
}

/// Layouts when records differ.
const VARIANTS: usize = 16;
/// All layouts together stay below this if one of them does.
const VARIANTS_BYTES_MAX: usize = 32 << 20;

impl Template {
    /// Lay out `records` records (of values of [`payload::HEAD_BYTES`] at least) as `shape` says.
    pub fn new(run: u32, records: u32, shape: &Shape) -> Self {
        let sizes = shape.sizes.clone().unwrap_or(Sizes::Fixed(payload::HEAD_BYTES));
        assert!(sizes.least() >= payload::HEAD_BYTES && records > 0);
        let mut filler = Filler::new(u64::from(run));
        let is_one = matches!(sizes, Sizes::Fixed(_)) && shape.file.is_none();
        let about = sizes.mean().saturating_mul(records as usize).max(1);
        let count = if is_one { 1 } else { (VARIANTS_BYTES_MAX / about).clamp(1, VARIANTS) };
        let variants = (0..count).map(|_| Variant::new(run, records, &sizes, shape, &mut filler));
        let variants = variants.collect();
        let keys = shape.keys.map(|(keys, partitions)| KeyDraw {
            keys,
            partitions,
            zipf: if keys.zipf > 0.0 {
                (0..partitions).map(|p| ZipfKeys::new(&keys, p, partitions)).collect()
            } else {
                Vec::new()
            },
        });
        Self { variants, keys, run }
    }

    /// The bytes of the largest full batch, to be copied into each buffer once. Not valid before
    /// [`Template::patch`].
    pub fn bytes(&self) -> &[u8] {
        let longest = self.variants.iter().map(|v| v.bytes.as_slice()).max_by_key(|b| b.len());
        longest.unwrap_or_default()
    }

    /// How many records of `record_bytes` fit a batch of `batch_bytes`, at least one.
    pub fn records_for(batch_bytes: usize, record_bytes: usize, key_bytes: Option<u32>) -> u32 {
        // Varints grow with the record index; counting one by one is exact, and short.
        let mut used = HEADER_BYTES;
        let mut records = 0u32;
        loop {
            let key = key_bytes.map_or(1, |k| varint_len(i64::from(k)) + k as usize);
            let body = 3
                + varint_len(i64::from(records))
                + key
                + varint_len(record_bytes as i64)
                + record_bytes;
            used += varint_len(body as i64) + body;
            if used > batch_bytes || records == RECORDS_MAX {
                return records.max(1);
            }
            records += 1;
        }
    }

    /// Patch `buffer` (which began as a copy of [`Template::bytes`] and was only ever patched)
    /// into the batch that `fields` describe; `intended_ns(i)` is the intended time of its
    /// record `i`. Returns the bytes of the batch. The same fields give the same bytes.
    #[inline]
    pub fn patch(
        &self,
        buffer: &mut [u8],
        fields: &BatchFields,
        intended_ns: impl FnMut(u32) -> u64,
    ) -> usize {
        let variant = self.lay(buffer, fields);
        let batch = &mut buffer[..variant.len(fields.records)];
        if let Some(keys) = &self.keys {
            keys.patch(batch, fields, &variant.key_end_at[..fields.records as usize]);
        }
        self.stamp(variant, batch, fields, intended_ns);
        patch_header(batch, fields);
        batch.len()
    }

    /// The same without what verification needs: only to learn what that costs.
    pub fn patch_bare(&self, buffer: &mut [u8], fields: &BatchFields) -> usize {
        let variant = self.lay(buffer, fields);
        let batch = &mut buffer[..variant.len(fields.records)];
        patch_header(batch, fields);
        batch.len()
    }

    /// Choose the layout that these records have; lay it out if it differs from batch to batch.
    #[inline]
    fn lay(&self, buffer: &mut [u8], fields: &BatchFields) -> &Variant {
        match self.variants.as_slice() {
            [only] => only,
            several => {
                let which = Filler::new(fields.first_sequence ^ u64::from(fields.partition) << 40);
                let which = which.clone().next_u64() % several.len() as u64;
                let variant = &several[which as usize];
                let len = variant.len(fields.records);
                buffer[..len].copy_from_slice(&variant.bytes[..len]);
                variant
            }
        }
    }

    /// Write what verification needs into each record: who sent it, its sequence, when it was
    /// intended, its checksum.
    #[inline]
    fn stamp(
        &self,
        variant: &Variant,
        batch: &mut [u8],
        fields: &BatchFields,
        mut intended_ns: impl FnMut(u32) -> u64,
    ) {
        let key_bytes = self.keys.as_ref().map_or(0, |draw| draw.keys.bytes as usize);
        let seed = payload::checksum_seed(self.run, fields.producer, fields.partition);
        let ids = payload::ids_word(fields.producer, fields.partition);
        let places = variant.value_at[..fields.records as usize].iter().zip(&variant.sums);
        for (index, (value, sum)) in places.enumerate() {
            let value = *value as usize;
            let mut seed = seed ^ sum;
            if let Some(end) = variant.key_end_at.get(index) {
                let end = *end as usize;
                seed ^= payload::key_sum(&batch[end - key_bytes..end]);
            }
            let head: &mut [u8; payload::HEAD_BYTES] = (&mut batch
                [value..value + payload::HEAD_BYTES])
                .try_into()
                .expect("the slice has this length");
            let sequence = fields.first_sequence + index as u64;
            payload::write_varying(head, ids, seed, sequence, intended_ns(index as u32));
        }
    }

    /// What [`Template::stamp`] takes per record on this machine, nanoseconds: the smallest of
    /// several tries, for what disturbs one only makes it longer.
    pub fn stamp_ns(&self) -> f64 {
        let Some(variant) = self.variants.first() else { return 0.0 };
        let records = variant.value_at.len() as u32;
        let mut batch = variant.bytes.clone();
        let fields = BatchFields {
            producer: 0,
            partition: 0,
            records,
            first_sequence: 0,
            timestamp_ms: 0,
            producer_id: -1,
            producer_epoch: -1,
        };
        let rounds = (STAMPS / records).max(1);
        let tries = (0..STAMP_TRIES).map(|_| {
            let begin = clock::monotonic_ns();
            for round in 0..rounds {
                self.stamp(variant, &mut batch, &fields, |_| u64::from(round));
            }
            std::hint::black_box(&batch);
            (clock::monotonic_ns() - begin) as f64 / f64::from(rounds * records)
        });
        tries.fold(f64::INFINITY, f64::min)
    }
}

/// Records stamped per try, and tries, to learn what a stamp costs: well below a millisecond.
const STAMPS: u32 = 4096;
const STAMP_TRIES: u32 = 5;

impl Variant {
    fn new(run: u32, records: u32, sizes: &Sizes, shape: &Shape, filler: &mut Filler) -> Self {
        let mut bytes = vec![0u8; HEADER_BYTES];
        bytes[16] = 2;
        let (mut value_at, mut end_at, mut key_end_at) = (Vec::new(), Vec::new(), Vec::new());
        let mut sums = Vec::new();
        let mut record = Vec::new();
        for index in 0..records {
            let value_bytes = sizes.draw(filler);
            record.clear();
            // Attributes and timestamp delta are 0: all records carry the batch's timestamp.
            record.extend_from_slice(&[0, 0]);
            put_varint(&mut record, i64::from(index));
            match shape.keys {
                None => put_varint(&mut record, -1),
                Some((keys, _)) => {
                    put_varint(&mut record, i64::from(keys.bytes));
                    record.resize(record.len() + keys.bytes as usize, b'0');
                }
            }
            let key_end = record.len();
            put_varint(&mut record, value_bytes as i64);
            let value = record.len();
            record.resize(value + value_bytes, 0);
            let body = &mut record[value..];
            payload::write_fixed(body, run);
            let body = &mut body[payload::HEAD_BYTES..];
            match &shape.file {
                None => filler.fill(body, shape.random_share),
                Some((_, content)) => fill_from(body, content, filler),
            }
            put_headers(&mut record, shape.headers, filler);
            sums.push(payload::content_sum(
                &[],
                value_bytes,
                &record[value + payload::HEAD_BYTES..],
            ));
            put_varint(&mut bytes, record.len() as i64);
            value_at.push((bytes.len() + value) as u32);
            if shape.keys.is_some() {
                key_end_at.push((bytes.len() + key_end) as u32);
            }
            bytes.extend_from_slice(&record);
            end_at.push(bytes.len() as u32);
        }
        Self { bytes, value_at, end_at, key_end_at, sums }
    }

    /// Bytes of a batch of the first `records` records.
    fn len(&self, records: u32) -> usize {
        self.end_at[records as usize - 1] as usize
    }
}

/// A stretch of `content` from a random place on, begun again at its end.
fn fill_from(body: &mut [u8], content: &[u8], filler: &mut Filler) {
    let mut at = (filler.next_u64() % content.len().max(1) as u64) as usize;
    for byte in body {
        *byte = content.get(at).copied().unwrap_or(b'x');
        at = if at + 1 >= content.len() { 0 } else { at + 1 };
    }
}

fn put_headers(record: &mut Vec<u8>, headers: Option<Headers>, filler: &mut Filler) {
    let Some(headers) = headers else { return put_varint(record, 0) };
    put_varint(record, i64::from(headers.count));
    for number in 0..headers.count {
        let key = format!("h{number}");
        put_varint(record, key.len() as i64);
        record.extend_from_slice(key.as_bytes());
        put_varint(record, i64::from(headers.bytes));
        let value = record.len();
        record.resize(value + headers.bytes as usize, 0);
        filler.fill(&mut record[value..], 1.0);
    }
}

impl KeyDraw {
    fn patch(&self, batch: &mut [u8], fields: &BatchFields, key_ends: &[u32]) {
        let (keys, partitions) = (&self.keys, self.partitions);
        let partition = u64::from(fields.partition);
        let here = (keys.space.saturating_sub(partition)).div_ceil(partitions).max(1);
        let zipf = self.zipf.get(fields.partition as usize);
        for (index, key_end) in key_ends.iter().enumerate() {
            let key_end = *key_end as usize;
            let sequence = fields.first_sequence + index as u64;
            let mut draw = Filler::new(sequence ^ partition << 40);
            let mut number = match zipf {
                None => partition + partitions * (draw.next_u64() % here),
                Some(zipf) => zipf.key(draw.next_share()),
            };
            for digit in batch[key_end - keys.bytes as usize..key_end].iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        }
    }
}

/// How often each partition is used when keys follow Zipf's law, by partition; empty when all
/// are used alike.
pub fn partition_weights(keys: Option<Keys>, partitions: u32) -> Vec<f64> {
    let Some(keys) = keys.filter(|keys| keys.zipf > 0.0) else { return Vec::new() };
    let all = u64::from(partitions);
    (0..all).map(|partition| ZipfKeys::new(&keys, partition, all).weight()).collect()
}

/// Most records in one batch.
pub const RECORDS_MAX: u32 = 1 << 20;

/// Write a batch header over the first 61 bytes of `batch` and seal it with the checksum.
fn patch_header(batch: &mut [u8], fields: &BatchFields) {
    let len = batch.len();
    let mut put = |at: usize, bytes: &[u8]| batch[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &0i64.to_be_bytes());
    put(8, &((len - BEFORE_LENGTH) as i32).to_be_bytes());
    put(12, &(-1i32).to_be_bytes());
    put(21, &0i16.to_be_bytes());
    put(23, &(fields.records as i32 - 1).to_be_bytes());
    put(27, &fields.timestamp_ms.to_be_bytes());
    put(35, &fields.timestamp_ms.to_be_bytes());
    put(43, &fields.producer_id.to_be_bytes());
    put(51, &fields.producer_epoch.to_be_bytes());
    put(53, &base_sequence(fields).to_be_bytes());
    put(57, &(fields.records as i32).to_be_bytes());
    seal(batch);
}

fn seal(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[CRC_FROM..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// Make a header that was copied from a plain batch right for `batch`, whose records are
/// compressed with `codec`: length, attributes, checksum.
pub fn reseal(batch: &mut [u8], codec: u8) {
    let length = (batch.len() - BEFORE_LENGTH) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[21..23].copy_from_slice(&i16::from(codec).to_be_bytes());
    seal(batch);
}

/// Kafka's per-partition sequence: one per record, from 0, after 2^31-1 comes 0 again.
fn base_sequence(fields: &BatchFields) -> i32 {
    if fields.producer_id < 0 { -1 } else { (fields.first_sequence & 0x7fff_ffff) as i32 }
}

/// Bytes of `value` as a zigzag varint.
pub fn varint_len(value: i64) -> usize {
    let zigzag = ((value << 1) ^ (value >> 63)) as u64;
    (64 - (zigzag | 1).leading_zeros() as usize).div_ceil(7)
}

fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    while zigzag >= 0x80 {
        out.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(record_bytes: usize, keys: Option<(Keys, u64)>) -> Shape {
        Shape { sizes: Some(record_bytes.into()), keys, random_share: 1.0, ..Shape::default() }
    }

    #[test]
    fn mixed_sizes_headers_keys_and_a_file_still_make_batches_that_others_read() {
        let content = b"the quick brown fox".to_vec();
        let keys = Keys { bytes: 6, space: 1000, zipf: 1.1 };
        let shape = Shape {
            sizes: Some("40..400".parse().unwrap()),
            keys: Some((keys, 16)),
            headers: Some(Headers { count: 2, bytes: 9 }),
            file: Some(("fox".into(), content)),
            random_share: 1.0,
        };
        let template = Template::new(9, 30, &shape);
        let mut buffer = template.bytes().to_vec();
        let mut lengths = std::collections::BTreeSet::new();
        for records in [30, 1, 17, 1, 30] {
            for first_sequence in [0, 500, 7] {
                let fields = BatchFields { first_sequence, ..fields(records) };
                let len = template.patch(&mut buffer, &fields, u64::from);
                let got = decode(&buffer[..len]);
                assert_eq!(got.len(), records as usize);
                for (index, (key, value, ..)) in got.iter().enumerate() {
                    let (head, _) = payload::fields(value).unwrap();
                    assert_eq!(head.sequence, first_sequence + index as u64);
                    let key: u64 =
                        std::str::from_utf8(key.as_ref().unwrap()).unwrap().parse().unwrap();
                    assert!(key % 16 == 3 && key < 1000, "{key}");
                    lengths.insert(value.len());
                    let body = String::from_utf8(value[payload::HEAD_BYTES..].to_vec()).unwrap();
                    assert!("the quick brown fox".repeat(25).contains(&body), "{body}");
                }
                let again = buffer[..len].to_vec();
                template.patch(&mut buffer, &fields, u64::from);
                assert!(again == buffer[..len], "a resend has the same bytes");
            }
        }
        assert!(lengths.len() > 30, "many sizes: {lengths:?}");
    }

    fn fields(records: u32) -> BatchFields {
        BatchFields {
            producer: 5,
            partition: 3,
            records,
            first_sequence: 1000,
            timestamp_ms: 1_763_700_000_000,
            producer_id: -1,
            producer_epoch: -1,
        }
    }

    #[test]
    fn as_many_records_as_fit_and_not_one_more() {
        for (batch, record) in [(16_384, 100), (65_536, 1024), (1_048_576, 36), (500, 100)] {
            for key in [None, Some(8)] {
                let records = Template::records_for(batch, record, key);
                let keys = key.map(|bytes| (Keys { bytes, space: 100, zipf: 0.0 }, 4));
                let bytes = |n| Template::new(1, n, &shape(record, keys)).bytes().len();
                assert!(bytes(records) <= batch, "{records} of {record} in {batch}");
                assert!(bytes(records + 1) > batch, "{records} of {record} in {batch}");
            }
        }
        assert_eq!(Template::records_for(100, 1024, None), 1, "never less than one");
    }

    #[test]
    fn varint_lengths() {
        for value in [0, -1, 1, 63, 64, -64, -65, 8191, 8192, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), varint_len(value), "{value}");
        }
    }

    #[test]
    fn every_key_stays_in_its_partition() {
        let keys = Keys { bytes: 6, space: 1000, zipf: 0.0 };
        let template = Template::new(1, 50, &shape(64, Some((keys, 16))));
        let mut buffer = template.bytes().to_vec();
        for records in [50, 49, 1] {
            let len = template.patch(&mut buffer, &fields(records), |_| 0);
            let text: Vec<u64> = decode(&buffer[..len])
                .iter()
                .map(|r| std::str::from_utf8(r.0.as_ref().unwrap()).unwrap().parse().unwrap())
                .collect();
            assert_eq!(text.len(), records as usize);
            assert!(text.iter().all(|k| k % 16 == 3 && *k < 1000), "{text:?}");
        }
    }

    type Decoded = Vec<(Option<Vec<u8>>, Vec<u8>, i64, i32)>;

    /// What a broker asks of a batch, and the kafka-protocol crate as an independent reader.
    fn decode(batch: &[u8]) -> Decoded {
        let rules = thalweg::record::ProduceRules {
            max_message_bytes: batch.len(),
            timestamp_type: thalweg::model::TimestampType::CreateTime,
            now_ms: 1_763_700_000_000,
            before_max_ms: i64::MAX,
            after_max_ms: i64::MAX,
            require_keys: false,
        };
        thalweg::record::validate_produced(batch, &rules).expect("a broker takes it");
        let mut bytes = bytes::Bytes::copy_from_slice(batch);
        let set = kafka_protocol::records::RecordBatchDecoder::decode(&mut bytes).unwrap();
        set.records
            .into_iter()
            .map(|r| {
                let key = r.key.map(|k| k.to_vec());
                (key, r.value.unwrap().to_vec(), r.offset, r.sequence)
            })
            .collect()
    }

    #[test]
    fn another_implementation_reads_full_and_partial_batches() {
        let template = Template::new(77, 40, &shape(100, None));
        let mut buffer = template.bytes().to_vec();
        // Big, small, big again in the same buffer: nothing of an earlier batch may shine through.
        for records in [40, 7, 1, 40] {
            let len = template.patch(&mut buffer, &fields(records), |i| 500 + u64::from(i));
            let got = decode(&buffer[..len]);
            assert_eq!(got.len(), records as usize);
            for (i, (key, value, offset, _)) in got.iter().enumerate() {
                assert_eq!((key, *offset), (&None, i as i64));
                let (head, _) = payload::fields(value).unwrap();
                assert_eq!((head.run, head.producer, head.partition), (77, 5, 3));
                assert_eq!(head.sequence, 1000 + i as u64);
                assert_eq!(head.intended_ns, 500 + i as u64);
            }
        }
    }

    #[test]
    fn idempotent_sequences_wrap_as_kafkas_do() {
        let template = Template::new(1, 4, &shape(64, None));
        let mut buffer = template.bytes().to_vec();
        let mut fields = fields(4);
        (fields.producer_id, fields.producer_epoch) = (900, 2);
        fields.first_sequence = (1 << 31) + 5;
        let len = template.patch(&mut buffer, &fields, |_| 0);
        assert_eq!(decode(&buffer[..len])[0].3, 5);
        assert_eq!(i64::from_be_bytes(buffer[43..51].try_into().unwrap()), 900);
    }

    #[test]
    fn a_changed_byte_breaks_the_checksum() {
        let template = Template::new(1, 4, &shape(64, None));
        let mut buffer = template.bytes().to_vec();
        let len = template.patch(&mut buffer, &fields(4), |_| 0);
        let stored = u32::from_be_bytes(buffer[17..21].try_into().unwrap());
        assert_eq!(stored, crc32c::crc32c(&buffer[CRC_FROM..len]));
        buffer[len - 3] ^= 1;
        assert_ne!(stored, crc32c::crc32c(&buffer[CRC_FROM..len]));
    }
}
