//! Producing one batch.
//!
//! A batch is sent again only after an answer that says it was not appended; after silence
//! nobody knows, so silence is an error (an idempotent producer may repeat the call: the broker
//! recognises the batch by its sequence number).

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::cluster::RETRY_PAUSE;
use super::{Client, ClientError};
use crate::model::{Offset, PartitionIndex, ProducerEpoch, ProducerId, TimestampMs, Uuid};
use crate::protocol::ErrorCode;
use crate::protocol::messages::init_producer_id::InitProducerIdRequest;
use crate::protocol::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, TopicProduceData,
};
use crate::record::{BatchView, Codec};

/// When a batch counts as taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// Nothing is answered.
    None,
    /// The leader has written it.
    Leader,
    /// All in-sync replicas have it, flushed where the broker flushes.
    All,
}

impl Acks {
    fn wire(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// Where a batch went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// Offset of its first record; -1 with [`Acks::None`].
    pub base_offset: Offset,
    /// The broker's time, where it stamps; else -1.
    pub log_append_time: TimestampMs,
}

/// Identity of an idempotent producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerIdentity {
    /// Its id.
    pub id: ProducerId,
    /// Its epoch.
    pub epoch: ProducerEpoch,
}

impl Client {
    /// A fresh identity for an idempotent producer.
    ///
    /// # Errors
    /// When the cluster does not give one.
    pub fn init_producer(&mut self) -> Result<ProducerIdentity, ClientError> {
        let deadline = Instant::now() + self.options.retry_for;
        loop {
            let request = InitProducerIdRequest {
                transaction_timeout_ms: i32::MAX,
                ..InitProducerIdRequest::default()
            };
            let reply = self.any_broker()?.call(&request)?;
            let code = reply.error_code;
            if code.is_ok() {
                let (id, epoch) = (reply.producer_id, reply.producer_epoch);
                return Ok(ProducerIdentity { id, epoch });
            }
            if !code.is_retriable() || Instant::now() >= deadline {
                let what = "get a producer id".into();
                return Err(ClientError::Refused { what, code, message: None });
            }
            std::thread::sleep(RETRY_PAUSE);
        }
    }

    /// Send one batch to a partition's leader and wait as `acks` says.
    ///
    /// # Errors
    /// See [`ClientError`]. After [`ClientError::TimedOut`], [`ClientError::Closed`] or
    /// [`ClientError::Io`] the batch may or may not be in the log.
    pub fn produce(
        &mut self,
        topic: &str,
        partition: PartitionIndex,
        acks: Acks,
        batch: Bytes,
    ) -> Result<Acknowledged, ClientError> {
        let deadline = Instant::now() + self.options.retry_for;
        loop {
            let error = match self.produce_once(topic, partition, acks, batch.clone()) {
                Ok(acknowledged) => return Ok(acknowledged),
                Err(error) => error,
            };
            if !error.code().is_some_and(was_not_appended) || Instant::now() >= deadline {
                return Err(error);
            }
            self.forget_topic(topic);
            std::thread::sleep(RETRY_PAUSE);
        }
    }

    fn produce_once(
        &mut self,
        topic: &str,
        partition: PartitionIndex,
        acks: Acks,
        batch: Bytes,
    ) -> Result<Acknowledged, ClientError> {
        let (leader, topic_id) = self.leader(topic, partition)?;
        let is_zstd = BatchView::first(&batch)
            .is_ok_and(|batch| batch.attributes().codec() == Some(Codec::Zstd));
        let timeout = self.options.connection.request_timeout;
        let connection = self.connection(leader)?;
        // From version 13 on only the id names the topic.
        let limit = if topic_id.is_zero() { 12 } else { i16::MAX };
        let version = connection.version_up_to::<ProduceRequest>(limit)?;
        let what = || format!("produce to {topic}-{partition}");
        if is_zstd && version < 7 {
            let code = ErrorCode::UNSUPPORTED_COMPRESSION_TYPE;
            let message = Some(format!("{} is too old for zstd", connection.address()));
            return Err(ClientError::Refused { what: what(), code, message });
        }
        let request = ProduceRequest {
            transactional_id: None,
            acks: acks.wire(),
            timeout_ms: i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX),
            topic_data: vec![TopicProduceData {
                name: topic.into(),
                topic_id: if version >= 13 { topic_id } else { Uuid::ZERO },
                partition_data: vec![PartitionProduceData {
                    index: partition,
                    records: batch.into(),
                }],
            }],
        };
        if acks == Acks::None {
            connection.send(version, &request)?;
            return Ok(Acknowledged { base_offset: -1, log_append_time: -1 });
        }
        let reply = connection.call_at(version, &request, Duration::ZERO)?;
        let address = connection.address().clone();
        let result = reply
            .responses
            .iter()
            .flat_map(|topic| &topic.partition_responses)
            .find(|result| result.index == partition)
            .ok_or(ClientError::Incomplete(address, "the partition that was produced to"))?;
        super::topics::accept(result.error_code, reason(result), what)?;
        Ok(Acknowledged {
            base_offset: result.base_offset,
            log_append_time: result.log_append_time_ms,
        })
    }
}

/// The broker's words, those about single records included.
fn reason(result: &PartitionProduceResponse) -> Option<String> {
    let mut words: Vec<String> = result.error_message.iter().map(ToString::to_string).collect();
    for error in result.record_errors.iter().take(3) {
        let message = error.batch_index_error_message.as_deref().unwrap_or("refused");
        words.push(format!("record {}: {message}", error.batch_index));
    }
    if words.is_empty() { None } else { Some(words.join("; ")) }
}

/// Codes that say that the batch is not in the log and may be sent again.
fn was_not_appended(code: ErrorCode) -> bool {
    [
        ErrorCode::NOT_LEADER_OR_FOLLOWER,
        ErrorCode::LEADER_NOT_AVAILABLE,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode::UNKNOWN_TOPIC_ID,
        ErrorCode::NOT_ENOUGH_REPLICAS,
    ]
    .contains(&code)
}
