//! Record batches from a template. The records are laid out once per buffer; for each batch
//! only what differs is patched in place and the CRC-32C computed. A batch of fewer records
//! than the template has is its prefix, because records lie one behind the other.
//!
//! Always true: what [`Template::patch`] leaves in the buffer is a whole, valid RecordBatch v2
//! of magic 2 without compression (the tests ask two independent decoders).

use crate::payload;

/// Bytes of a RecordBatch v2 header, up to the first record.
pub const HEADER_BYTES: usize = 61;
/// Bytes that `batchLength` does not count: base offset and the length itself.
const BEFORE_LENGTH: usize = 12;
/// The checksum covers everything behind itself.
const CRC_FROM: usize = 21;

/// How keys look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Keys {
    /// Bytes of a key: the key's number in decimal digits, zero-padded.
    pub bytes: u32,
    /// Number of different keys in the topic. Key k always goes to partition k mod partitions.
    pub space: u64,
}

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

/// The layout of a full batch: where each record's parts are.
#[derive(Clone, Debug)]
pub struct Template {
    /// The bytes of a full batch, header included.
    bytes: Vec<u8>,
    /// For each record: where its value begins.
    value_at: Vec<u32>,
    /// For each record: the byte behind its last.
    end_at: Vec<u32>,
    /// Where in each record the key begins, before its value; none without keys.
    keys: Option<(Keys, u64)>,
    record_bytes: usize,
    run: u32,
}

impl Template {
    /// Lay out `records` records with values of `record_bytes` (at least
    /// [`payload::HEAD_BYTES`]); the bodies come from `filler`.
    pub fn new(
        run: u32,
        records: u32,
        record_bytes: usize,
        keys: Option<(Keys, u64)>,
        random_share: f64,
    ) -> Self {
        assert!(record_bytes >= payload::HEAD_BYTES && records > 0);
        let mut filler = payload::Filler::new(u64::from(run));
        let mut bytes = vec![0u8; HEADER_BYTES];
        bytes[16] = 2;
        let mut value_at = Vec::with_capacity(records as usize);
        let mut end_at = Vec::with_capacity(records as usize);
        let mut record = Vec::new();
        for index in 0..records {
            record.clear();
            // Attributes and timestamp delta are 0: all records carry the batch's timestamp.
            record.extend_from_slice(&[0, 0]);
            put_varint(&mut record, i64::from(index));
            match keys {
                None => put_varint(&mut record, -1),
                Some((keys, _)) => {
                    put_varint(&mut record, i64::from(keys.bytes));
                    record.resize(record.len() + keys.bytes as usize, b'0');
                }
            }
            put_varint(&mut record, record_bytes as i64);
            let value = record.len();
            record.resize(value + record_bytes, 0);
            let body = &mut record[value..];
            payload::write_fixed(body, run);
            filler.fill(&mut body[payload::HEAD_BYTES..], random_share);
            // No headers.
            put_varint(&mut record, 0);
            put_varint(&mut bytes, record.len() as i64);
            value_at.push((bytes.len() + value) as u32);
            bytes.extend_from_slice(&record);
            end_at.push(bytes.len() as u32);
        }
        Self { bytes, value_at, end_at, keys, record_bytes, run }
    }

    /// The bytes of a full batch, to be copied into each buffer once. Not valid before
    /// [`Template::patch`].
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of a batch of the first `records` records.
    pub fn len(&self, records: u32) -> usize {
        self.end_at[records as usize - 1] as usize
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
    /// record `i`. Returns the bytes of the batch.
    #[inline]
    pub fn patch(
        &self,
        buffer: &mut [u8],
        fields: &BatchFields,
        mut intended_ns: impl FnMut(u32) -> u64,
    ) -> usize {
        let len = self.len(fields.records);
        let batch = &mut buffer[..len];
        let seed = payload::checksum_seed(self.run, fields.producer, fields.partition);
        let ids = payload::ids_word(fields.producer, fields.partition);
        for (index, value) in self.value_at[..fields.records as usize].iter().enumerate() {
            let value = *value as usize;
            let head: &mut [u8; payload::HEAD_BYTES] = (&mut batch
                [value..value + payload::HEAD_BYTES])
                .try_into()
                .expect("the slice has this length");
            let sequence = fields.first_sequence + index as u64;
            payload::write_varying(head, ids, seed, sequence, intended_ns(index as u32));
        }
        if let Some((keys, partitions)) = self.keys {
            self.patch_keys(batch, fields, keys, partitions);
        }
        patch_header(batch, fields);
        len
    }

    fn patch_keys(&self, batch: &mut [u8], fields: &BatchFields, keys: Keys, partitions: u64) {
        // The value's length stands between key and value.
        let partition = u64::from(fields.partition);
        let here = (keys.space.saturating_sub(partition)).div_ceil(partitions).max(1);
        for (index, value) in self.value_at[..fields.records as usize].iter().enumerate() {
            let key_end = *value as usize - varint_len(self.record_bytes as i64);
            let sequence = fields.first_sequence + index as u64;
            let draw = payload::Filler::new(sequence ^ partition << 40).next_u64();
            let mut number = partition + partitions * (draw % here);
            for digit in batch[key_end - keys.bytes as usize..key_end].iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        }
    }
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
                let keys = key.map(|bytes| (Keys { bytes, space: 100 }, 4));
                let bytes = |n| Template::new(1, n, record, keys, 1.0).bytes().len();
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
        let keys = Keys { bytes: 6, space: 1000 };
        let template = Template::new(1, 50, 64, Some((keys, 16)), 1.0);
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
        let template = Template::new(77, 40, 100, None, 1.0);
        let mut buffer = template.bytes().to_vec();
        // Big, small, big again in the same buffer: nothing of an earlier batch may shine through.
        for records in [40, 7, 1, 40] {
            let len = template.patch(&mut buffer, &fields(records), |i| 500 + u64::from(i));
            let got = decode(&buffer[..len]);
            assert_eq!(got.len(), records as usize);
            for (i, (key, value, offset, _)) in got.iter().enumerate() {
                assert_eq!((key, *offset), (&None, i as i64));
                let head = payload::read(value).unwrap();
                assert_eq!((head.run, head.producer, head.partition), (77, 5, 3));
                assert_eq!(head.sequence, 1000 + i as u64);
                assert_eq!(head.intended_ns, 500 + i as u64);
            }
        }
    }

    #[test]
    fn idempotent_sequences_wrap_as_kafkas_do() {
        let template = Template::new(1, 4, 64, None, 1.0);
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
        let template = Template::new(1, 4, 64, None, 1.0);
        let mut buffer = template.bytes().to_vec();
        let len = template.patch(&mut buffer, &fields(4), |_| 0);
        let stored = u32::from_be_bytes(buffer[17..21].try_into().unwrap());
        assert_eq!(stored, crc32c::crc32c(&buffer[CRC_FROM..len]));
        buffer[len - 3] ^= 1;
        assert_ne!(stored, crc32c::crc32c(&buffer[CRC_FROM..len]));
    }
}
