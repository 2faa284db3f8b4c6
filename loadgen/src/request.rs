//! The two requests of the measuring core, Produce v7 and Fetch v11, written and read by hand.
//!
//! Why not through the schemas of `thalweg::protocol`: a request here is a prefix of some sixty
//! bytes in front of a batch that is already in place; encoding it anew for each batch would
//! cost more than patching four numbers, and building an answer's tree more than walking it.
//! These versions are the last before flexible encoding, and every broker since Kafka 2.3 and
//! all of its rewrites speak them.

use std::fmt;

/// Produce and its version here.
pub const PRODUCE: (i16, i16) = (0, 7);
/// Fetch and its version here.
pub const FETCH: (i16, i16) = (1, 11);
/// The name we give in every request.
pub const CLIENT_ID: &str = "loadgen";

/// An answer that does not have the shape its version prescribes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the broker's answer is malformed: {}", self.0)
    }
}

/// A walk over big-endian bytes that never passes their end.
#[derive(Clone, Copy, Debug)]
pub struct Walk<'a>(pub &'a [u8]);

impl<'a> Walk<'a> {
    /// The next `count` bytes.
    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (now, rest) = self.0.split_at_checked(count).ok_or(Malformed("it ends too early"))?;
        self.0 = rest;
        Ok(now)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (now, rest) = self.0.split_first_chunk().ok_or(Malformed("it ends too early"))?;
        self.0 = rest;
        Ok(*now)
    }

    /// Two bytes.
    pub fn i16(&mut self) -> Result<i16, Malformed> {
        self.array().map(i16::from_be_bytes)
    }

    /// Four bytes.
    #[inline]
    pub fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    /// Eight bytes.
    #[inline]
    pub fn i64(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_be_bytes)
    }

    /// A string with a two-byte length; null is empty.
    pub fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.i16()?;
        self.take(usize::try_from(length).unwrap_or(0))
    }

    /// Bytes with a four-byte length; null is empty.
    pub fn blob(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.i32()?;
        self.take(usize::try_from(length).unwrap_or(0))
    }

    /// The length of an array; null is zero.
    pub fn count(&mut self) -> Result<usize, Malformed> {
        Ok(usize::try_from(self.i32()?).unwrap_or(0))
    }

    /// A zigzag varint of up to ten bytes.
    #[inline]
    pub fn varint(&mut self) -> Result<i64, Malformed> {
        let mut value = 0u64;
        for (index, byte) in self.0.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.0 = &self.0[index + 1..];
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(Malformed("a varint does not end"))
    }
}

/// Begin a request: size (patched at the end), key, version, correlation id, client id.
pub fn begin(out: &mut Vec<u8>, (key, version): (i16, i16), correlation: i32) {
    out.clear();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&key.to_be_bytes());
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(&correlation.to_be_bytes());
    put_string(out, CLIENT_ID);
}

/// Write the size in front of a finished request.
pub fn finish(out: &mut [u8]) {
    let size = (out.len() - 4) as i32;
    out[..4].copy_from_slice(&size.to_be_bytes());
}

/// A string with a two-byte length.
pub fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as i16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// The bytes in front of the batch of a Produce request with one partition, and where in them
/// the four numbers are that differ from batch to batch.
#[derive(Clone, Debug)]
pub struct ProducePrefix {
    bytes: Vec<u8>,
}

impl ProducePrefix {
    /// For `topic`, asking for `acks` within `timeout_ms`.
    pub fn new(topic: &str, acks: i16, timeout_ms: i32) -> Self {
        let mut bytes = Vec::new();
        begin(&mut bytes, PRODUCE, 0);
        bytes.extend_from_slice(&(-1i16).to_be_bytes()); // no transactional id
        bytes.extend_from_slice(&acks.to_be_bytes());
        bytes.extend_from_slice(&timeout_ms.to_be_bytes());
        bytes.extend_from_slice(&1i32.to_be_bytes());
        put_string(&mut bytes, topic);
        bytes.extend_from_slice(&1i32.to_be_bytes());
        bytes.extend_from_slice(&0i32.to_be_bytes()); // partition
        bytes.extend_from_slice(&0i32.to_be_bytes()); // size of the batch
        Self { bytes }
    }

    /// The bytes, to be copied in front of each batch once.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Patch a buffer that begins with [`ProducePrefix::bytes`].
    #[inline]
    pub fn patch(&self, buffer: &mut [u8], correlation: i32, partition: u32, batch_bytes: usize) {
        let len = self.bytes.len();
        let size = (len - 4 + batch_bytes) as i32;
        buffer[..4].copy_from_slice(&size.to_be_bytes());
        buffer[8..12].copy_from_slice(&correlation.to_be_bytes());
        buffer[len - 8..len - 4].copy_from_slice(&(partition as i32).to_be_bytes());
        buffer[len - 4..len].copy_from_slice(&(batch_bytes as i32).to_be_bytes());
    }
}

/// What a Produce answer says about its one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProduceAnswer {
    /// The request it answers.
    pub correlation: i32,
    /// The partition.
    pub partition: i32,
    /// Kafka's error code; 0 is none.
    pub error: i16,
    /// Offset of the first record.
    pub base_offset: i64,
}

/// Read a Produce v7 answer (without its size).
///
/// # Errors
/// When it is not one answer about one partition.
pub fn read_produce_answer(frame: &[u8]) -> Result<ProduceAnswer, Malformed> {
    let mut walk = Walk(frame);
    let correlation = walk.i32()?;
    let topics = walk.i32()?;
    walk.string()?;
    if topics != 1 || walk.i32()? != 1 {
        return Err(Malformed("a Produce answer must name the one partition that was sent"));
    }
    let (partition, error, base_offset) = (walk.i32()?, walk.i16()?, walk.i64()?);
    Ok(ProduceAnswer { correlation, partition, error, base_offset })
}

/// What every Fetch request of a run says.
#[derive(Clone, Debug)]
pub struct FetchSettings {
    /// The topic.
    pub topic: String,
    /// How long the broker may wait for bytes.
    pub wait_ms: i32,
    /// Most bytes per answer.
    pub bytes_max: i32,
    /// Most bytes per partition.
    pub partition_bytes_max: i32,
}

/// Write a sessionless Fetch v11 request for the given partitions and offsets into `out`.
pub fn write_fetch(
    out: &mut Vec<u8>,
    correlation: i32,
    settings: &FetchSettings,
    partitions: impl ExactSizeIterator<Item = (u32, i64)>,
) {
    begin(out, FETCH, correlation);
    out.extend_from_slice(&(-1i32).to_be_bytes()); // replica id: a consumer
    out.extend_from_slice(&settings.wait_ms.to_be_bytes());
    out.extend_from_slice(&1i32.to_be_bytes()); // min bytes
    out.extend_from_slice(&settings.bytes_max.to_be_bytes());
    out.push(0); // read uncommitted
    out.extend_from_slice(&0i32.to_be_bytes()); // session id
    out.extend_from_slice(&(-1i32).to_be_bytes()); // session epoch: none
    out.extend_from_slice(&1i32.to_be_bytes());
    put_string(out, &settings.topic);
    out.extend_from_slice(&(partitions.len() as i32).to_be_bytes());
    for (partition, offset) in partitions {
        out.extend_from_slice(&(partition as i32).to_be_bytes());
        out.extend_from_slice(&(-1i32).to_be_bytes()); // leader epoch: unknown
        out.extend_from_slice(&offset.to_be_bytes());
        out.extend_from_slice(&(-1i64).to_be_bytes()); // log start offset: not a follower
        out.extend_from_slice(&settings.partition_bytes_max.to_be_bytes());
    }
    out.extend_from_slice(&0i32.to_be_bytes()); // forgotten topics
    put_string(out, "");
    finish(out);
}

/// One partition of a Fetch answer.
#[derive(Clone, Copy, Debug)]
pub struct FetchedPartition<'a> {
    /// The partition.
    pub partition: i32,
    /// Kafka's error code; 0 is none.
    pub error: i16,
    /// Readers cannot pass this offset yet.
    pub high_watermark: i64,
    /// Record batches as stored; the last one may be cut off.
    pub records: &'a [u8],
}

/// Walk through a Fetch v11 answer (without its size). `each` is called per partition. Returns
/// the answer's correlation id and its own error code.
///
/// # Errors
/// When a length passes the end of the frame.
pub fn read_fetch_answer<'a>(
    frame: &'a [u8],
    mut each: impl FnMut(FetchedPartition<'a>),
) -> Result<(i32, i16), Malformed> {
    let mut walk = Walk(frame);
    let correlation = walk.i32()?;
    walk.i32()?; // throttle time
    let error = walk.i16()?;
    walk.i32()?; // session id
    for _ in 0..walk.count()? {
        walk.string()?;
        for _ in 0..walk.count()? {
            let (partition, error, high_watermark) = (walk.i32()?, walk.i16()?, walk.i64()?);
            walk.i64()?; // last stable offset
            walk.i64()?; // log start offset
            for _ in 0..walk.count()? {
                walk.take(16)?; // aborted transactions
            }
            walk.i32()?; // preferred read replica
            let records = walk.blob()?;
            each(FetchedPartition { partition, error, high_watermark, records });
        }
    }
    Ok((correlation, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{BufMut, Bytes, BytesMut};
    use kafka_protocol::messages::{
        FetchRequest, FetchResponse, ProduceRequest, ProduceResponse, RequestHeader,
        fetch_response, produce_response,
    };
    use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

    #[test]
    fn another_implementation_reads_our_produce_request() {
        let prefix = ProducePrefix::new("orders", -1, 30_000);
        let mut frame = prefix.bytes().to_vec();
        frame.extend_from_slice(b"the batch");
        prefix.patch(&mut frame, 4711, 12, 9);
        assert_eq!(i32::from_be_bytes(frame[..4].try_into().unwrap()) as usize, frame.len() - 4);
        let mut bytes = Bytes::from(frame).slice(4..);
        let header = RequestHeader::decode(&mut bytes, 1).unwrap();
        assert_eq!((header.request_api_key, header.request_api_version), PRODUCE);
        assert_eq!(header.correlation_id, 4711);
        let request = ProduceRequest::decode(&mut bytes, PRODUCE.1).unwrap();
        assert_eq!((request.acks, request.timeout_ms), (-1, 30_000));
        let topic = &request.topic_data[0];
        assert_eq!(topic.name.as_str(), "orders");
        assert_eq!(topic.partition_data[0].index, 12);
        assert_eq!(topic.partition_data[0].records.as_deref(), Some(&b"the batch"[..]));
        assert!(bytes.is_empty());
    }

    #[test]
    fn we_read_another_implementations_produce_answer() {
        let partition = produce_response::PartitionProduceResponse::default()
            .with_index(12)
            .with_error_code(6)
            .with_base_offset(1 << 40);
        let topic = produce_response::TopicProduceResponse::default()
            .with_name(StrBytes::from_static_str("orders").into())
            .with_partition_responses(vec![partition]);
        let answer = ProduceResponse::default().with_responses(vec![topic]);
        let mut out = BytesMut::new();
        out.put_i32(99);
        answer.encode(&mut out, PRODUCE.1).unwrap();
        assert_eq!(
            read_produce_answer(&out).unwrap(),
            ProduceAnswer { correlation: 99, partition: 12, error: 6, base_offset: 1 << 40 }
        );
        for end in 0..out.len() - 20 {
            assert!(read_produce_answer(&out[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn another_implementation_reads_our_fetch_request() {
        let settings = FetchSettings {
            topic: "orders".into(),
            wait_ms: 500,
            bytes_max: 1 << 20,
            partition_bytes_max: 1 << 19,
        };
        let mut out = Vec::new();
        write_fetch(&mut out, 8, &settings, [(3, 100), (4, 1 << 33)].into_iter());
        let mut bytes = Bytes::from(out).slice(4..);
        let header = RequestHeader::decode(&mut bytes, 1).unwrap();
        assert_eq!((header.request_api_key, header.request_api_version), FETCH);
        let request = FetchRequest::decode(&mut bytes, FETCH.1).unwrap();
        assert_eq!((request.max_wait_ms, request.min_bytes, request.max_bytes), (500, 1, 1 << 20));
        assert_eq!(request.session_epoch, -1);
        let got: Vec<_> =
            request.topics[0].partitions.iter().map(|p| (p.partition, p.fetch_offset)).collect();
        assert_eq!(got, [(3, 100), (4, 1 << 33)]);
        assert_eq!(request.topics[0].partitions[0].partition_max_bytes, 1 << 19);
        assert!(bytes.is_empty());
    }

    #[test]
    fn we_read_another_implementations_fetch_answer_and_survive_cut_ones() {
        let partition = |index, records: &'static [u8]| {
            fetch_response::PartitionData::default()
                .with_partition_index(index)
                .with_high_watermark(77)
                .with_aborted_transactions(Some(vec![Default::default(); 2]))
                .with_records(Some(Bytes::from_static(records)))
        };
        let topic = fetch_response::FetchableTopicResponse::default()
            .with_topic(StrBytes::from_static_str("orders").into())
            .with_partitions(vec![partition(1, b"one"), partition(2, b"")]);
        let answer = FetchResponse::default().with_responses(vec![topic]);
        let mut out = BytesMut::new();
        out.put_i32(5);
        answer.encode(&mut out, FETCH.1).unwrap();
        let mut got = Vec::new();
        let ids = read_fetch_answer(&out, |p| {
            got.push((p.partition, p.error, p.high_watermark, p.records.to_vec()));
        });
        assert_eq!(ids, Ok((5, 0)));
        assert_eq!(got, [(1, 0, 77, b"one".to_vec()), (2, 0, 77, vec![])]);
        for end in 0..out.len() {
            assert!(read_fetch_answer(&out[..end], |_| ()).is_err(), "cut at {end}");
        }
    }
}
