//! Produce (0): append record batches. Versions 3-13 (advertised from 0: KAFKA-18659).
//!
//! Each partition's entry is one batch; it is checked here, on the connection's shard, and
//! appended on its owner's. Others have turns while much is checked, and nothing is appended before
//! all is checked. Entries succeed or fail one by one. Idempotent producers are served,
//! transactional ones refused with an error that ends their attempt.

use std::collections::HashSet;
use std::future::Future;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use crate::cluster::image::{Image, Topic};
use crate::config::TopicConfig;
use crate::model::{ShardId, TimestampMs, TimestampType, TopicPartition, Uuid};
use crate::partition::append::{Acks, ProduceBatch};
use crate::partition::producers::Sequenced;
use crate::protocol::ErrorCode;
use crate::protocol::messages::produce::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, PartitionProduceData, PartitionProduceResponse,
    ProduceRequest, ProduceResponse, TopicProduceData, TopicProduceResponse,
};
use crate::record::{self, BatchError, BatchSummary, ProduceRules, TURN_BYTES, Validation};
use crate::runtime::Runtime;
use crate::runtime::wait::Pace;
use crate::server::errors;
use crate::server::leaders::Leaders;
use crate::server::request::{Caller, Hangup, Identity};
use crate::shard::call::{Call, ProduceItem, Reply};

/// Produce versions below this one must not carry zstd (KIP-110).
const ZSTD_VERSION_MIN: i16 = 7;

/// Clients of this id may write to internal topics, as Kafka has it (`AdminUtils.ADMIN_CLIENT_ID`).
const ADMIN_CLIENT_ID: &str = "__admin_client";

const NO_TRANSACTIONS: &str =
    "Transactions are not served by this broker; produce without transactional.id.";

/// What an entry costs besides its batch, in bytes that are judged in that time.
const ENTRY_COST_BYTES: usize = 256;

/// Where an entry stands in the response.
type Slot = (usize, usize);

/// Entries on their way to one owner.
struct Bound {
    owner: ShardId,
    slots: Vec<Slot>,
    items: Vec<ProduceItem>,
}

/// Entries that an owner takes before others have a turn.
const ENTRIES_AT_ONCE: usize = 512;

/// Check and append; the order of the batches is fixed when this is done. The future that it comes
/// to gives the response when everything is as durable as asked for, none for acks=0.
pub async fn begin<R: Runtime>(
    caller: &Rc<Caller<R>>,
    version: i16,
    request: ProduceRequest,
) -> impl Future<Output = Result<Option<ProduceResponse>, Hangup>> + use<R> {
    let acks = acks(&request);
    let (mut response, bound) = sort_out(caller, version, request, acks).await;
    let shard = caller.shard.clone();
    let mut waiting = Vec::with_capacity(bound.len());
    let mut pace = Pace::new(ENTRIES_AT_ONCE);
    let mut sent = 0;
    for Bound { owner, slots, items } in bound {
        pace.worked(sent).await;
        sent = items.len();
        waiting.push((slots, shard.call(owner, Call::Produce(items))));
    }
    let caller = caller.clone();
    async move {
        // All are under way; one after the other is heard.
        let mut is_moved = false;
        for (slots, reply) in waiting {
            is_moved |= settle(&mut response, &slots, reply.await);
        }
        if is_moved {
            name_leaders(&mut response, &caller.shard.image(), &caller.identity);
        }
        if acks != Some(Acks::None) {
            return Ok(Some(response));
        }
        // Nobody reads an answer; a closed connection is all that can tell the client.
        let mut entries = response.responses.iter().flat_map(|t| &t.partition_responses);
        match entries.find(|p| p.error_code != ErrorCode::NONE) {
            Some(failed) => Err(Hangup(format!(
                "a produce request with acks=0 failed ({}), and closing is the only way to tell",
                failed.error_code.name().unwrap_or("unknown error")
            ))),
            None => Ok(None),
        }
    }
}

fn acks(request: &ProduceRequest) -> Option<Acks> {
    match request.acks {
        -1 => Some(Acks::All),
        0 => Some(Acks::None),
        1 => Some(Acks::Leader),
        _ => None,
    }
}

/// Check every entry: those refused are answered in the response, the others are bound for their
/// owners.
async fn sort_out<R: Runtime>(
    caller: &Rc<Caller<R>>,
    version: i16,
    request: ProduceRequest,
    acks: Option<Acks>,
) -> (ProduceResponse, Vec<Bound>) {
    let shard = &caller.shard;
    let image = shard.image();
    let now_ms = shard.runtime.wall_ms();
    let mut bound: Vec<Bound> = Vec::new();
    let mut response = ProduceResponse::default();
    response.responses.reserve_exact(request.topic_data.len());
    let is_transactional = request.transactional_id.is_some();
    let internal_allowed = *caller.client_id.borrow() == ADMIN_CLIENT_ID;
    // One entry alone is what small producers send.
    let has_several = request.topic_data.iter().map(|t| t.partition_data.len()).sum::<usize>() > 1;
    let mut seen = HashSet::new();
    let mut pace = Pace::new(TURN_BYTES);
    // Of the entry before: nobody waits behind the last one.
    let mut judged = 0;
    for (at, data) in request.topic_data.into_iter().enumerate() {
        let (topic, missing) = find_topic(&image, version, &data);
        let config = topic.map(|topic| shard.topic_config(topic));
        let mut answers = Vec::with_capacity(data.partition_data.len());
        for (nth, entry) in data.partition_data.into_iter().enumerate() {
            pace.worked(judged).await;
            judged = ENTRY_COST_BYTES + entry.records.len();
            // Before it is looked into: a repeat costs no more than its name.
            let id = topic.map(|t| TopicPartition { topic_id: t.id, partition: entry.index });
            let checked = if has_several && id.is_some_and(|id| !seen.insert(id)) {
                let twice = "The partition is named twice in one request.";
                Err(refused(ErrorCode::INVALID_REQUEST, twice))
            } else if is_transactional {
                Err(refused(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED, NO_TRANSACTIONS))
            } else if let Some(topic) = topic.filter(|t| t.name.is_internal() && !internal_allowed)
            {
                let text = format!("Cannot append to internal topic {}", topic.name);
                Err((ErrorCode::INVALID_TOPIC_EXCEPTION, Some(text), None))
            } else {
                let topic = topic.zip(config.as_deref());
                check(version, topic, missing, &entry, acks, now_ms, &mut pace).await
            };
            let mut answer = PartitionProduceResponse { index: entry.index, ..Default::default() };
            match checked {
                Ok(item) => {
                    let owner = shard.owner(item.partition);
                    let open = bound.iter_mut().rev().find(|bound| bound.owner == owner);
                    match open.filter(|bound| bound.items.len() < ENTRIES_AT_ONCE) {
                        Some(bound) => {
                            bound.slots.push((at, nth));
                            bound.items.push(item);
                        }
                        None => {
                            let (slots, items) = (vec![(at, nth)], vec![item]);
                            bound.push(Bound { owner, slots, items });
                        }
                    }
                }
                Err(refusal) => fail(&mut answer, refusal),
            }
            answers.push(answer);
        }
        response.responses.push(TopicProduceResponse {
            name: data.name,
            topic_id: data.topic_id,
            partition_responses: answers,
        });
    }
    (response, bound)
}

/// A refused entry: code, sentence, the record at fault.
type Refusal = (ErrorCode, Option<String>, Option<i32>);

fn refused(code: ErrorCode, text: &str) -> Refusal {
    (code, Some(text.into()), None)
}

fn fail(answer: &mut PartitionProduceResponse, (code, text, record): Refusal) {
    answer.error_code = code;
    answer.base_offset = -1;
    answer.log_append_time_ms = -1;
    answer.log_start_offset = -1;
    if let Some(batch_index) = record {
        answer.record_errors = vec![BatchIndexAndErrorMessage {
            batch_index,
            batch_index_error_message: text.as_deref().map(Into::into),
        }];
    }
    answer.error_message = text.map(|text| text.as_str().into());
}

/// The topic of an entry, and the error if there is none.
fn find_topic<'a>(
    image: &'a Image,
    version: i16,
    data: &TopicProduceData,
) -> (Option<&'a Topic>, ErrorCode) {
    if version >= 13 {
        let topic = (data.topic_id != Uuid::ZERO).then(|| image.topic_by_id(data.topic_id));
        (topic.flatten().map(|t| &**t), ErrorCode::UNKNOWN_TOPIC_ID)
    } else {
        (image.topic(&data.name).map(|t| &**t), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    }
}

/// Check one entry and make it ready for its owner.
async fn check(
    version: i16,
    topic: Option<(&Topic, &TopicConfig)>,
    missing: ErrorCode,
    entry: &PartitionProduceData,
    acks: Option<Acks>,
    now_ms: TimestampMs,
    pace: &mut Pace,
) -> Result<ProduceItem, Refusal> {
    let Some(acks) = acks else {
        return Err(refused(ErrorCode::INVALID_REQUIRED_ACKS, "acks must be -1, 0 or 1."));
    };
    let Some((topic, config)) = topic else { return Err((missing, None, None)) };
    let known = usize::try_from(entry.index).is_ok_and(|i| i < topic.partitions.len());
    if !known {
        return Err((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, None, None));
    }
    let bytes = entry.records.clone().into_bytes();
    let rules = ProduceRules {
        max_message_bytes: config.message_bytes_max,
        timestamp_type: config.timestamp_type,
        now_ms,
        before_max_ms: config.timestamp_before_ms_max,
        after_max_ms: config.timestamp_after_ms_max,
        require_keys: config.compact,
    };
    let summary = judge(&bytes, &rules, pace)
        .await
        .map_err(|e| (errors::batch(e.kind), Some(e.message), e.record_index))?;
    // Not asked of the broker's own batches (those of groups): storage gives each a segment.
    if bytes.len() as u64 > config.segment_bytes {
        let text = format!(
            "The batch has {} bytes, more than segment.bytes ({}) of topic {}: raise that, or \
             lower the producer's batch.size.",
            bytes.len(),
            config.segment_bytes,
            topic.name
        );
        return Err((ErrorCode::RECORD_LIST_TOO_LARGE, Some(text), None));
    }
    if summary.codec == record::Codec::Zstd && version < ZSTD_VERSION_MIN {
        let text = "Produce requests before version 7 are not allowed to use ZStandard compression";
        return Err(refused(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE, text));
    }
    if summary.is_transactional {
        let code = ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
        return Err(refused(code, NO_TRANSACTIONS));
    }
    let (bytes, log_append_time_ms) = match config.timestamp_type {
        // A restart goes by the header, so it must not contradict the records.
        TimestampType::CreateTime if summary.header_lies => {
            let set = |batch: &mut [u8]| record::set_max_timestamp(batch, summary.max_timestamp);
            (changed(&bytes, set), -1)
        }
        TimestampType::CreateTime => (bytes, -1),
        TimestampType::LogAppendTime => {
            (changed(&bytes, |batch| record::set_log_append_time(batch, now_ms)), now_ms)
        }
    };
    Ok(ProduceItem {
        partition: TopicPartition { topic_id: topic.id, partition: entry.index },
        batch: ProduceBatch {
            bytes,
            sequenced: Sequenced {
                producer_id: summary.producer_id,
                epoch: summary.producer_epoch,
                base_sequence: summary.base_sequence,
                records: summary.records,
            },
            max_timestamp: summary.max_timestamp,
            log_append_time_ms,
        },
        acks,
    })
}

/// Judge a batch, with turns for others if it takes long.
async fn judge(
    bytes: &[u8],
    rules: &ProduceRules,
    pace: &mut Pace,
) -> Result<BatchSummary, BatchError> {
    let mut validation = Validation::begin(bytes, rules)?;
    loop {
        if let Some(summary) = validation.go_on()? {
            return Ok(summary);
        }
        pace.worked(TURN_BYTES).await;
    }
}

/// A batch with something else in its header; the frame is shared, so it is copied.
fn changed(bytes: &Bytes, change: impl FnOnce(&mut [u8])) -> Bytes {
    let mut copy = BytesMut::from(&bytes[..]);
    change(&mut copy);
    copy.freeze()
}

/// Put what the owner answered into the response; whether a client is to look for another leader.
fn settle(response: &mut ProduceResponse, slots: &[Slot], reply: Reply) -> bool {
    let mut is_moved = false;
    let mut results = match reply {
        Reply::Produce(results) => results.into_iter(),
        _ => Vec::new().into_iter(),
    };
    for (topic, nth) in slots {
        let answer = &mut response.responses[*topic].partition_responses[*nth];
        match results.next() {
            Some(Ok(produced)) => {
                answer.base_offset = produced.base_offset;
                answer.log_append_time_ms = produced.log_append_time_ms;
                answer.log_start_offset = produced.log_start;
            }
            Some(Err(refusal)) => {
                let (code, text) = errors::produce(&refusal);
                fail(answer, (code, text, None));
            }
            // The owner is stopping: the client looks for the leader again.
            None => {
                fail(answer, (ErrorCode::NOT_LEADER_OR_FOLLOWER, None, None));
                is_moved = true;
            }
        }
    }
    is_moved
}

/// Beside each NOT_LEADER_OR_FOLLOWER: who leads, as far as is known (KIP-951).
fn name_leaders(response: &mut ProduceResponse, image: &Image, identity: &Identity) {
    let mut leaders = Leaders::new(identity);
    for data in &mut response.responses {
        let topic = match data.topic_id {
            Uuid::ZERO => image.topic(&data.name),
            id => image.topic_by_id(id),
        };
        for answer in &mut data.partition_responses {
            let is_stale = answer.error_code == ErrorCode::NOT_LEADER_OR_FOLLOWER;
            let known = topic.filter(|_| is_stale);
            if let Some((leader_id, leader_epoch)) = leaders.name(known, answer.index) {
                answer.current_leader = LeaderIdAndEpoch { leader_id, leader_epoch };
            }
        }
    }
    response.node_endpoints.extend(leaders.endpoint().map(Into::into));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::change::Change;
    use crate::cluster::image::PartitionState;
    use crate::model::TopicName;

    /// Who leads is told by name before version 13, by id from it on.
    #[test]
    fn a_client_that_has_to_look_for_the_leader_is_told_who_it_is() {
        let topic_id = Uuid([1; 16]);
        let name = TopicName::new("topic").unwrap();
        let mut state = PartitionState::new_on(7, Vec::new());
        state.leader_epoch = 4;
        let mut image = Image::default();
        image.apply(&Change::Topic { id: topic_id, name }).unwrap();
        image.apply(&Change::Partition { topic_id, index: 0, state }).unwrap();
        let identity = Identity {
            cluster_id: "cluster".into(),
            directory_id: Uuid([3; 16]),
            node_id: 7,
            host: "kafka.example".into(),
            port: 9092,
            rack: None,
        };
        let answer = |index| PartitionProduceResponse { index, ..Default::default() };
        let by_name = TopicProduceResponse { name: "topic".into(), ..Default::default() };
        let by_id = TopicProduceResponse { topic_id, ..Default::default() };
        for topic in [by_name, by_id] {
            let partition_responses = vec![answer(0), answer(0), answer(9)];
            let topic = TopicProduceResponse { partition_responses, ..topic };
            let mut response =
                ProduceResponse { responses: vec![topic], ..ProduceResponse::default() };
            assert!(!settle(&mut response, &[], Reply::Gone));
            assert!(settle(&mut response, &[(0, 1), (0, 2)], Reply::Gone));
            name_leaders(&mut response, &image, &identity);
            let told: Vec<_> = response.responses[0]
                .partition_responses
                .iter()
                .map(|p| (p.current_leader.leader_id, p.current_leader.leader_epoch))
                .collect();
            assert_eq!(told, [(-1, -1), (7, 4), (-1, -1)]);
            let node = &response.node_endpoints[0];
            assert_eq!((node.node_id, &node.host[..], node.port), (7, "kafka.example", 9092));
        }
    }
}
