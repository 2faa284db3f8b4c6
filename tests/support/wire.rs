//! A blocking client over the `kafka-protocol` crate: independent of Thalweg's own codec.
//!
//! One connection, one request at a time unless a test sends frames itself. Every read and write
//! has a timeout. Error codes come back as numbers: tests name what they expect.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiVersionsRequest, CreateTopicsRequest, DeleteTopicsRequest, FetchRequest,
    FindCoordinatorRequest, InitProducerIdRequest, ListOffsetsRequest, ProduceRequest,
    RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{
    Decodable, Encodable, HeaderVersion, Request, StrBytes, encode_request_header_into_buffer,
};
use kafka_protocol::records::{
    Compression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

/// How long an answer may take before the test fails.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The last version with topic names instead of ids.
pub const PRODUCE_VERSION: i16 = 9;
/// The timestamp that asks for the end of what can be read, and for its beginning.
pub const LATEST: i64 = -1;
pub const EARLIEST: i64 = -2;
const FETCH_VERSION: i16 = 12;
/// No frame of these tests is larger; more means that the length was read at a wrong place.
const MAX_FRAME: usize = 64 << 20;

/// Records as (offset, value).
pub type Records = Vec<(i64, Bytes)>;

/// An idempotent producer's identity.
#[derive(Clone, Copy, Debug)]
pub struct Producer {
    pub id: i64,
    pub epoch: i16,
}

/// One connection to a broker on this machine.
pub struct Connection {
    stream: TcpStream,
    correlation: i32,
}

impl Connection {
    /// Connects; an error when nobody listens.
    pub fn open(port: u16) -> io::Result<Self> {
        let stream =
            TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), ANSWER_TIMEOUT)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, correlation: 0 })
    }

    /// Another limit for waiting on answers.
    pub fn set_timeout(&self, limit: Duration) {
        self.stream.set_read_timeout(Some(limit)).expect("a timeout that is not zero");
    }

    /// Sends a request and reads its answer.
    pub fn call<R: Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        let correlation = self.send(version, request)?;
        self.receive::<R>(version, correlation)
    }

    /// Sends a request; its correlation id.
    pub fn send<R: Request>(&mut self, version: i16, request: &R) -> io::Result<i32> {
        self.correlation += 1;
        self.stream.write_all(&frame(R::KEY, version, self.correlation, request))?;
        Ok(self.correlation)
    }

    /// Reads the answer to the request with this correlation id: the next one, as Kafka answers
    /// in the order of the requests.
    pub fn receive<R: Request>(
        &mut self,
        version: i16,
        correlation: i32,
    ) -> io::Result<R::Response> {
        let mut body = self.read_frame()?;
        let header_version = R::Response::header_version(version);
        let header = ResponseHeader::decode(&mut body, header_version).map_err(io::Error::other)?;
        assert_eq!(header.correlation_id, correlation, "answers come in the order of requests");
        let response = R::Response::decode(&mut body, version).map_err(io::Error::other)?;
        assert!(!body.has_remaining(), "{} bytes behind the answer", body.remaining());
        Ok(response)
    }

    /// Writes bytes as they are.
    pub fn write_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Nothing more will be sent; answers can still come.
    pub fn finish_writing(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Reads one answer's bytes without its length.
    pub fn read_frame(&mut self) -> io::Result<Bytes> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = usize::try_from(i32::from_be_bytes(length)).expect("a length below zero");
        assert!(length <= MAX_FRAME, "an answer of {length} bytes");
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(body.into())
    }

    /// Reads and drops whatever comes until the other side closes (true) or the timeout (false).
    pub fn closes_within(&mut self, limit: Duration) -> bool {
        self.set_timeout(limit);
        let mut sink = [0; 4096];
        loop {
            match self.stream.read(&mut sink) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => {
                    let kind = error.kind();
                    return kind != io::ErrorKind::WouldBlock && kind != io::ErrorKind::TimedOut;
                }
            }
        }
    }

    /// The APIs of the broker: (key, lowest version, highest version).
    pub fn api_versions(&mut self) -> io::Result<Vec<(i16, i16, i16)>> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("thalweg-tests"))
            .with_client_software_version(StrBytes::from_static_str("1"));
        let answer = self.call(3, &request)?;
        assert_eq!(answer.error_code, 0);
        Ok(answer.api_keys.iter().map(|a| (a.api_key, a.min_version, a.max_version)).collect())
    }

    /// Creates a topic; its error code.
    pub fn create_topic(
        &mut self,
        name: &str,
        partitions: i32,
        configs: &[(&str, &str)],
    ) -> io::Result<i16> {
        let configs = configs
            .iter()
            .map(|(key, value)| {
                CreatableTopicConfig::default()
                    .with_name(string(key))
                    .with_value(Some(string(value)))
            })
            .collect();
        let topic = CreatableTopic::default()
            .with_name(TopicName(string(name)))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs);
        let request =
            CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
        Ok(self.call(6, &request)?.topics[0].error_code)
    }

    /// Deletes a topic; its error code.
    pub fn delete_topic(&mut self, name: &str) -> io::Result<i16> {
        let request = DeleteTopicsRequest::default()
            .with_topic_names(vec![TopicName(string(name))])
            .with_timeout_ms(30_000);
        Ok(self.call(5, &request)?.responses[0].error_code)
    }

    /// Has the coordinator of a group found, which makes `__consumer_offsets`; its error code.
    pub fn find_coordinator(&mut self, group: &str) -> io::Result<i16> {
        let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![string(group)]);
        Ok(self.call(4, &request)?.coordinators[0].error_code)
    }

    /// A new producer id; an error when there is none to be had yet.
    pub fn init_producer(&mut self) -> io::Result<Producer> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(60_000);
        let answer = self.call(4, &request)?;
        if answer.error_code != 0 {
            return Err(io::Error::other(format!("InitProducerId: error {}", answer.error_code)));
        }
        Ok(Producer { id: answer.producer_id.0, epoch: answer.producer_epoch })
    }

    /// Produces one batch: (error code, base offset).
    pub fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        acks: i16,
        batch: Bytes,
    ) -> io::Result<(i16, i64)> {
        let request = produce_request(topic, partition, acks, batch);
        let answer = self.call(PRODUCE_VERSION, &request)?;
        let outcome = &answer.responses[0].partition_responses[0];
        Ok((outcome.error_code, outcome.base_offset))
    }

    /// One fetch from an offset: (error code, high watermark, records as (offset, value)).
    pub fn fetch(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> io::Result<(i16, i64, Records)> {
        let wanted = FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(offset)
            .with_current_leader_epoch(-1)
            .with_last_fetched_epoch(-1)
            .with_log_start_offset(-1)
            .with_partition_max_bytes(4 << 20);
        let topic = FetchTopic::default()
            .with_topic(TopicName(string(topic)))
            .with_partitions(vec![wanted]);
        let request = FetchRequest::default()
            .with_max_wait_ms(200)
            .with_min_bytes(1)
            .with_max_bytes(16 << 20)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        let answer = self.call(FETCH_VERSION, &request)?;
        assert_eq!(answer.error_code, 0, "Fetch");
        let outcome = &answer.responses[0].partitions[0];
        let records = outcome.records.clone().map_or_else(Vec::new, |bytes| decode(bytes, offset));
        Ok((outcome.error_code, outcome.high_watermark, records))
    }

    /// Everything in a partition from offset 0 to its high watermark: (offset, value).
    pub fn read_partition(&mut self, topic: &str, partition: i32) -> io::Result<Records> {
        let end = self.end_offset(topic, partition)?;
        let mut all: Records = Vec::new();
        while all.last().map_or(0, |(offset, _)| offset + 1) < end {
            let from = all.last().map_or(0, |(offset, _)| offset + 1);
            let (error, _, records) = self.fetch(topic, partition, from)?;
            assert_eq!(error, 0, "Fetch of {topic}-{partition} from {from}");
            assert!(!records.is_empty(), "nothing at {from} of {topic}-{partition}, end {end}");
            all.extend(records);
        }
        Ok(all)
    }

    /// The offset behind the last record that can be read.
    pub fn end_offset(&mut self, topic: &str, partition: i32) -> io::Result<i64> {
        let (error, offset) = self.list_offset(topic, partition, LATEST)?;
        assert_eq!(error, 0, "ListOffsets");
        Ok(offset)
    }

    /// The first offset at or after a timestamp, or a special one: (error code, offset).
    pub fn list_offset(
        &mut self,
        topic: &str,
        partition: i32,
        timestamp: i64,
    ) -> io::Result<(i16, i64)> {
        let wanted = ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_current_leader_epoch(-1)
            .with_timestamp(timestamp);
        let topic = ListOffsetsTopic::default()
            .with_name(TopicName(string(topic)))
            .with_partitions(vec![wanted]);
        let request =
            ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
        let answer = self.call(5, &request)?;
        let outcome = &answer.topics[0].partitions[0];
        Ok((outcome.error_code, outcome.offset))
    }
}

/// A whole request frame, its length included.
pub fn frame<R: Encodable>(key: i16, version: i16, correlation: i32, request: &R) -> BytesMut {
    let mut bytes = BytesMut::from(&[0; 4][..]);
    let header = RequestHeader::default()
        .with_request_api_key(key)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(StrBytes::from_static_str("thalweg-tests")));
    encode_request_header_into_buffer(&mut bytes, &header).expect("a header that can be encoded");
    request.encode(&mut bytes, version).expect("a request that can be encoded");
    let length = i32::try_from(bytes.len() - 4).expect("a short frame");
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    bytes
}

/// Produce of one batch to one partition.
pub fn produce_request(topic: &str, partition: i32, acks: i16, batch: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
    let topic = TopicProduceData::default()
        .with_name(TopicName(string(topic)))
        .with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(30_000).with_topic_data(vec![topic])
}

/// A batch of these values, without a producer.
pub fn batch(values: &[&[u8]]) -> Bytes {
    encode(values, Producer { id: -1, epoch: -1 }, -1)
}

/// A batch of these values from an idempotent producer, from a sequence on.
pub fn sequenced_batch(values: &[&[u8]], producer: Producer, sequence: i32) -> Bytes {
    encode(values, producer, sequence)
}

fn encode(values: &[&[u8]], producer: Producer, sequence: i32) -> Bytes {
    let records: Vec<Record> = (0_i32..)
        .zip(values)
        .map(|(index, value)| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            timestamp_type: TimestampType::Creation,
            offset: i64::from(index),
            sequence: if sequence < 0 { -1 } else { sequence + index },
            timestamp: 1_700_000_000_000 + i64::from(index),
            key: None,
            value: Some(Bytes::copy_from_slice(value)),
            headers: Default::default(),
        })
        .collect();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    let mut bytes = BytesMut::new();
    RecordBatchEncoder::encode(&mut bytes, &records, &options).expect("a batch");
    bytes.freeze()
}

/// The records from an offset on; a batch cut short at the end is left out, as clients do.
fn decode(mut bytes: Bytes, from: i64) -> Records {
    let mut records = Vec::new();
    while let Some(length) = whole_batch(&bytes) {
        let mut one = bytes.split_to(length);
        let set = RecordBatchDecoder::decode(&mut one).expect("a valid batch");
        records.extend(
            set.records
                .into_iter()
                .filter(|record| record.offset >= from)
                .map(|record| (record.offset, record.value.unwrap_or_default())),
        );
    }
    records
}

/// The length of the first batch, if it is there as a whole.
fn whole_batch(bytes: &Bytes) -> Option<usize> {
    let length = bytes.get(8..12)?;
    let length = i32::from_be_bytes(length.try_into().expect("four bytes"));
    let whole = 12 + usize::try_from(length).expect("a length below zero");
    (bytes.len() >= whole).then_some(whole)
}

fn string(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
