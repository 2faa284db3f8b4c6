//! What the sink knows: topics by name, and what happens to their batches. Everything that is
//! not the produce fast path is answered here, through the schemas.

use std::collections::HashMap;

use bytes::Bytes;
use thalweg::protocol::messages::{
    api_versions as versions, create_topics as create, delete_topics as delete, fetch,
    init_producer_id as producer_id, list_offsets as offsets, metadata, produce,
};
use thalweg::protocol::{ApiKey, ErrorCode, RequestBody, encode_response};
use thalweg::wire::Records;

use super::store::{FAULT_EVERY, Fault, Partition, Store, records_of, repeated_batch};

/// Most topics and partitions a sink takes.
const TOPICS_MAX: usize = 1024;
const PARTITIONS_MAX: i32 = 100_000;
/// What the sink speaks; topics go by name, so not beyond the last versions that do.
const SPOKEN: [(ApiKey, i16, i16); 8] = [
    (ApiKey::Produce, 3, 12),
    (ApiKey::Fetch, 4, 12),
    (ApiKey::ListOffsets, 1, 6),
    (ApiKey::Metadata, 0, 9),
    (ApiKey::ApiVersions, 0, 4),
    (ApiKey::CreateTopics, 2, 6),
    (ApiKey::DeleteTopics, 1, 5),
    (ApiKey::InitProducerId, 0, 4),
];

/// All topics of a sink.
#[derive(Debug)]
pub struct Topics {
    store: Store,
    host: String,
    port: i32,
    topics: HashMap<String, Vec<Partition>>,
    kept_bytes: usize,
    appended: u64,
    hangs_up: bool,
    producer_ids: i64,
    /// The prepared batch for readers, without its base offset.
    repeated: Bytes,
    repeated_records: i64,
}

/// What came of a request.
pub enum Outcome {
    /// Send these pieces.
    Answer(Vec<Bytes>),
    /// Nothing to send: acks=0.
    Silence,
    /// Close the connection, for [`Fault::HangUp`].
    HangUp,
    /// A fetch that found nothing; ask again when something was appended, for at most this long.
    Park {
        /// Milliseconds.
        wait_ms: i32,
    },
}

impl Topics {
    /// None yet; `host` and `port` are what Metadata tells clients.
    pub fn new(store: Store, host: String, port: u16) -> Self {
        let (repeated, repeated_records) = match store {
            Store::Discard { batch_bytes, record_bytes } => {
                repeated_batch(batch_bytes, record_bytes)
            }
            Store::Keep { .. } => (Bytes::new(), 0),
        };
        Self {
            store,
            host,
            port: i32::from(port),
            topics: HashMap::new(),
            kept_bytes: 0,
            appended: 0,
            hangs_up: false,
            producer_ids: 0,
            repeated,
            repeated_records,
        }
    }

    /// Take `records` records for a partition without keeping anything; the base offset, or an
    /// error code. This is all the fast path asks for.
    pub fn count(&mut self, topic: &str, partition: i32, records: i32) -> Result<i64, ErrorCode> {
        let partition = self.partition(topic, partition)?;
        let base_offset = partition.next_offset;
        partition.next_offset += i64::from(records);
        Ok(base_offset)
    }

    /// Whether the fast path may be taken at all.
    pub fn discards(&self) -> bool {
        matches!(self.store, Store::Discard { .. })
    }

    fn partition(&mut self, topic: &str, index: i32) -> Result<&mut Partition, ErrorCode> {
        let topic = self.topics.get_mut(topic);
        topic
            .and_then(|partitions| partitions.get_mut(usize::try_from(index).ok()?))
            .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    }

    /// Answer a request.
    ///
    /// # Errors
    /// When the answer cannot be encoded; the connection should be closed.
    pub fn answer(
        &mut self,
        version: i16,
        correlation: i32,
        body: RequestBody,
    ) -> Result<Outcome, String> {
        let key = body.key();
        let encode = |result: Result<Vec<Bytes>, thalweg::wire::EncodeError>| {
            result.map(Outcome::Answer).map_err(|e| e.to_string())
        };
        match body {
            RequestBody::ApiVersions(_) => {
                encode(encode_response(key, version, correlation, &api_versions()))
            }
            RequestBody::Metadata(request) => {
                encode(encode_response(key, version, correlation, &self.metadata(&request)))
            }
            RequestBody::CreateTopics(request) => {
                encode(encode_response(key, version, correlation, &self.create(&request)))
            }
            RequestBody::DeleteTopics(request) => {
                encode(encode_response(key, version, correlation, &self.delete(&request)))
            }
            RequestBody::ListOffsets(request) => {
                encode(encode_response(key, version, correlation, &self.offsets(&request)))
            }
            RequestBody::InitProducerId(_) => {
                self.producer_ids += 1;
                let answer = producer_id::InitProducerIdResponse {
                    producer_id: self.producer_ids,
                    ..Default::default()
                };
                encode(encode_response(key, version, correlation, &answer))
            }
            RequestBody::Produce(request) => {
                let acks = request.acks;
                let answer = self.produce(request);
                if std::mem::take(&mut self.hangs_up) {
                    return Ok(Outcome::HangUp);
                }
                if acks == 0 {
                    return Ok(Outcome::Silence);
                }
                encode(encode_response(key, version, correlation, &answer))
            }
            RequestBody::Fetch(request) => {
                let wait_ms = request.max_wait_ms;
                let (answer, bytes) = self.fetch(&request);
                if bytes == 0 && wait_ms > 0 {
                    return Ok(Outcome::Park { wait_ms });
                }
                encode(encode_response(key, version, correlation, &answer))
            }
            _ => Err(format!("{} is not spoken by the sink", key.name())),
        }
    }

    fn metadata(&self, request: &metadata::MetadataRequest) -> metadata::MetadataResponse {
        let broker = metadata::MetadataResponseBroker {
            node_id: 0,
            host: self.host.as_str().into(),
            port: self.port,
            ..Default::default()
        };
        let names: Vec<String> = match &request.topics {
            Some(topics) => topics
                .iter()
                .filter_map(|t| t.name.as_ref())
                .map(|n| n.as_str().to_owned())
                .collect(),
            None => self.topics.keys().cloned().collect(),
        };
        let describe = |name: String| {
            let Some(partitions) = self.topics.get(&name) else {
                return metadata::MetadataResponseTopic {
                    error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                    name: Some(name.as_str().into()),
                    ..Default::default()
                };
            };
            let partitions =
                (0..partitions.len()).map(|index| metadata::MetadataResponsePartition {
                    partition_index: index as i32,
                    leader_id: 0,
                    leader_epoch: 0,
                    replica_nodes: vec![0],
                    isr_nodes: vec![0],
                    ..Default::default()
                });
            metadata::MetadataResponseTopic {
                name: Some(name.as_str().into()),
                partitions: partitions.collect(),
                ..Default::default()
            }
        };
        metadata::MetadataResponse {
            brokers: vec![broker],
            cluster_id: Some("sink".into()),
            controller_id: 0,
            topics: names.into_iter().map(describe).collect(),
            ..Default::default()
        }
    }

    fn create(&mut self, request: &create::CreateTopicsRequest) -> create::CreateTopicsResponse {
        let mut topics = Vec::new();
        for wanted in &request.topics {
            let name = wanted.name.as_str().to_owned();
            let partitions = if wanted.num_partitions == -1 { 1 } else { wanted.num_partitions };
            let error_code = if self.topics.contains_key(&name) {
                ErrorCode::TOPIC_ALREADY_EXISTS
            } else if !(1..=PARTITIONS_MAX).contains(&partitions) {
                ErrorCode::INVALID_PARTITIONS
            } else if self.topics.len() >= TOPICS_MAX {
                ErrorCode::POLICY_VIOLATION
            } else {
                let fresh = std::iter::repeat_with(Partition::default);
                self.topics.insert(name, fresh.take(partitions as usize).collect());
                ErrorCode::NONE
            };
            topics.push(create::CreatableTopicResult {
                name: wanted.name.clone(),
                error_code,
                num_partitions: partitions,
                replication_factor: 1,
                ..Default::default()
            });
        }
        create::CreateTopicsResponse { topics, ..Default::default() }
    }

    fn delete(&mut self, request: &delete::DeleteTopicsRequest) -> delete::DeleteTopicsResponse {
        let mut responses = Vec::new();
        for name in &request.topic_names {
            let gone = self.topics.remove(name.as_str());
            let error_code = match gone {
                Some(partitions) => {
                    let kept = partitions.iter().flat_map(|p| &p.batches);
                    self.kept_bytes -= kept.map(|(_, b)| b.len()).sum::<usize>();
                    ErrorCode::NONE
                }
                None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            };
            responses.push(delete::DeletableTopicResult {
                name: Some(name.clone()),
                error_code,
                ..Default::default()
            });
        }
        delete::DeleteTopicsResponse { responses, ..Default::default() }
    }

    fn offsets(&mut self, request: &offsets::ListOffsetsRequest) -> offsets::ListOffsetsResponse {
        let topics = request.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|wanted| {
                let index = wanted.partition_index;
                let mut answer = offsets::ListOffsetsPartitionResponse {
                    partition_index: index,
                    leader_epoch: 0,
                    ..Default::default()
                };
                match self.partition(topic.name.as_str(), index) {
                    // -2 is the earliest; everything else here means the latest.
                    Ok(found) => {
                        let is_earliest = wanted.timestamp == -2;
                        answer.offset =
                            if is_earliest { found.start_offset } else { found.next_offset };
                    }
                    Err(code) => answer.error_code = code,
                }
                answer
            });
            offsets::ListOffsetsTopicResponse {
                name: topic.name.clone(),
                partitions: partitions.collect(),
            }
        });
        offsets::ListOffsetsResponse { topics: topics.collect(), ..Default::default() }
    }

    fn produce(&mut self, request: produce::ProduceRequest) -> produce::ProduceResponse {
        let mut responses = Vec::new();
        for topic in request.topic_data {
            let name = topic.name.clone();
            let mut answers = Vec::new();
            for data in topic.partition_data {
                let mut answer = produce::PartitionProduceResponse {
                    index: data.index,
                    base_offset: -1,
                    log_start_offset: 0,
                    ..Default::default()
                };
                match self.append(name.as_str(), data.index, data.records.into_bytes()) {
                    Ok(base_offset) => answer.base_offset = base_offset,
                    Err(code) => answer.error_code = code,
                }
                answers.push(answer);
            }
            responses.push(produce::TopicProduceResponse {
                name,
                partition_responses: answers,
                ..Default::default()
            });
        }
        produce::ProduceResponse { responses, ..Default::default() }
    }

    fn append(&mut self, topic: &str, index: i32, batch: Bytes) -> Result<i64, ErrorCode> {
        let records = records_of(&batch).ok_or(ErrorCode::CORRUPT_MESSAGE)?;
        let Store::Keep { bytes_max, fault } = self.store else {
            return self.count(topic, index, records);
        };
        if self.kept_bytes + batch.len() > bytes_max {
            return Err(ErrorCode::KAFKA_STORAGE_ERROR);
        }
        self.appended += 1;
        let fault = fault.filter(|_| self.appended.is_multiple_of(FAULT_EVERY));
        let partitions = self.topics.get(topic).map_or(0, Vec::len) as i32;
        let partition = self.partition(topic, index)?;
        let base_offset = partition.next_offset;
        let mut kept = batch.len();
        match fault {
            Some(Fault::Drop) => kept = 0,
            Some(Fault::Duplicate) => {
                partition.store(&batch);
                partition.store(&batch);
                kept *= 2;
            }
            Some(Fault::Reorder) if partition.held.is_none() => partition.held = Some(batch),
            Some(Fault::Corrupt) => {
                let mut bad = batch.to_vec();
                let last = bad.len() - 1;
                bad[last - 8] ^= 1;
                partition.store(&Bytes::from(bad));
            }
            Some(Fault::Misdirect) => {
                self.partition(topic, (index + 1) % partitions)?.store(&batch);
            }
            Some(Fault::Trim) => {
                partition.store(&batch);
                let freed = partition.trim();
                self.kept_bytes -= freed;
            }
            None | Some(Fault::Reorder | Fault::HangUp) => {
                partition.store(&batch);
                if let Some(held) = partition.held.take() {
                    partition.store(&held);
                }
            }
        }
        self.hangs_up = fault == Some(Fault::HangUp);
        self.kept_bytes += kept;
        Ok(base_offset)
    }

    fn fetch(&mut self, request: &fetch::FetchRequest) -> (fetch::FetchResponse, usize) {
        let mut left = usize::try_from(request.max_bytes).unwrap_or(0);
        let mut total = 0;
        let mut responses = Vec::new();
        for topic in &request.topics {
            let mut partitions = Vec::new();
            for wanted in &topic.partitions {
                let most = usize::try_from(wanted.partition_max_bytes).unwrap_or(0).min(left);
                let mut answer = fetch::PartitionData {
                    partition_index: wanted.partition,
                    records: Records::EMPTY,
                    log_start_offset: 0,
                    ..Default::default()
                };
                match self.read(topic.topic.as_str(), wanted.partition, wanted.fetch_offset, most) {
                    Ok((pieces, high_watermark)) => {
                        let bytes: usize = pieces.iter().map(Bytes::len).sum();
                        left = left.saturating_sub(bytes);
                        total += bytes;
                        answer.high_watermark = high_watermark;
                        answer.last_stable_offset = high_watermark;
                        answer.records = Records::from(pieces);
                    }
                    Err(code) => {
                        answer.error_code = code;
                        total += 1;
                    }
                }
                partitions.push(answer);
            }
            responses.push(fetch::FetchableTopicResponse {
                topic: topic.topic.clone(),
                partitions,
                ..Default::default()
            });
        }
        (fetch::FetchResponse { responses, ..Default::default() }, total)
    }

    /// Whole batches from `offset` of at most `most` bytes, but one batch at least if there is
    /// room for any.
    fn read(
        &mut self,
        topic: &str,
        index: i32,
        offset: i64,
        most: usize,
    ) -> Result<(Vec<Bytes>, i64), ErrorCode> {
        let mut pieces = Vec::new();
        if let Store::Discard { .. } = self.store {
            self.partition(topic, index)?;
            let (body, records) = (self.repeated.clone(), self.repeated_records);
            let batches = most / (body.len() + 8);
            for number in 0..batches as i64 {
                let base_offset = offset + number * records;
                pieces.push(Bytes::copy_from_slice(&base_offset.to_be_bytes()));
                pieces.push(body.clone());
            }
            return Ok((pieces, i64::MAX));
        }
        let partition = self.partition(topic, index)?;
        if !(partition.start_offset..=partition.next_offset).contains(&offset) {
            return Err(ErrorCode::OFFSET_OUT_OF_RANGE);
        }
        let from = partition.batches.partition_point(|(last, _)| *last < offset);
        let mut used = 0;
        for (_, batch) in &partition.batches[from..] {
            if most == 0 || (used > 0 && used + batch.len() > most) {
                break;
            }
            used += batch.len();
            pieces.push(batch.clone());
        }
        Ok((pieces, partition.next_offset))
    }
}

fn api_versions() -> versions::ApiVersionsResponse {
    let api_keys = SPOKEN.iter().map(|(key, min, max)| versions::ApiVersion {
        api_key: *key as i16,
        min_version: *min,
        max_version: *max,
    });
    versions::ApiVersionsResponse { api_keys: api_keys.collect(), ..Default::default() }
}
