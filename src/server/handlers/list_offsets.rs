//! ListOffsets (2): offsets by time. Versions 1-10.
//!
//! Special timestamps: -1 latest, -2 earliest, -3 largest timestamp (version 7), -4 earliest local
//! (version 8; the log start, for nothing is tiered), -5 latest tiered (version 9; none).

use std::rc::Rc;

use futures_util::future::join_all;

use crate::model::TopicPartition;
use crate::protocol::ErrorCode;
use crate::protocol::messages::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use crate::runtime::Runtime;
use crate::server::dispatch::check_count;
use crate::server::errors;
use crate::server::request::{Caller, Hangup};
use crate::shard::call::{Call, OffsetQuery, OffsetTarget, Reply};

/// Where a partition stands in the response.
type Slot = (usize, usize);

/// Look every partition's offset up at its owner.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    version: i16,
    request: ListOffsetsRequest,
) -> Result<ListOffsetsResponse, Hangup> {
    let max = caller.shard.config.limits.request_topics_max;
    check_count("topics", request.topics.len(), max, "thalweg.request.topics.max")?;
    let shard = &caller.shard;
    let image = shard.image();
    let mut response = ListOffsetsResponse::default();
    let mut by_owner: Vec<(Vec<Slot>, Vec<OffsetQuery>)> = Vec::new();
    by_owner.resize_with(usize::from(shard.shards), Default::default);
    for (at, topic) in request.topics.into_iter().enumerate() {
        let known = image.topic(&topic.name);
        let mut answers = Vec::with_capacity(topic.partitions.len());
        for (nth, partition) in topic.partitions.into_iter().enumerate() {
            let index = partition.partition_index;
            let mut answer =
                ListOffsetsPartitionResponse { partition_index: index, ..Default::default() };
            let target = target(version, partition.timestamp);
            let topic = known
                .filter(|t| usize::try_from(index).is_ok_and(|index| index < t.partitions.len()));
            match (topic, target) {
                (None, _) => answer.error_code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                (_, None) => answer.error_code = ErrorCode::UNSUPPORTED_VERSION,
                (Some(topic), Some(target)) => {
                    let id = TopicPartition { topic_id: topic.id, partition: index };
                    let (slots, queries) = &mut by_owner[usize::from(shard.owner(id))];
                    slots.push((at, nth));
                    let epoch = partition.current_leader_epoch;
                    queries.push(OffsetQuery { partition: id, target, epoch });
                    // Until the owner has answered.
                    answer.error_code = ErrorCode::NOT_LEADER_OR_FOLLOWER;
                }
            }
            answers.push(answer);
        }
        response.topics.push(ListOffsetsTopicResponse { name: topic.name, partitions: answers });
    }
    let calls = (0..).zip(by_owner).filter(|(_, (slots, _))| !slots.is_empty()).map(
        |(owner, (slots, queries))| {
            let reply = shard.call(owner, Call::Offsets(queries));
            async move { (slots, reply.await) }
        },
    );
    for (slots, reply) in join_all(calls).await {
        let Reply::Offsets(results) = reply else { continue };
        for ((at, nth), result) in slots.into_iter().zip(results) {
            let answer = &mut response.topics[at].partitions[nth];
            match result {
                Ok(found) => {
                    answer.error_code = ErrorCode::NONE;
                    answer.offset = found.offset;
                    answer.timestamp = found.timestamp;
                    answer.leader_epoch = if version >= 4 { found.epoch } else { -1 };
                }
                Err(refusal) => answer.error_code = errors::offset(&refusal),
            }
        }
    }
    Ok(response)
}

/// What a timestamp asks for; `None` for a special one that this version does not have.
fn target(version: i16, timestamp: i64) -> Option<OffsetTarget> {
    match timestamp {
        -1 => Some(OffsetTarget::Latest),
        -2 => Some(OffsetTarget::Earliest),
        -3 if version >= 7 => Some(OffsetTarget::MaxTimestamp),
        -4 if version >= 8 => Some(OffsetTarget::Earliest),
        -5 if version >= 9 => Some(OffsetTarget::LastTiered),
        t if t >= 0 => Some(OffsetTarget::Timestamp(t)),
        _ => None,
    }
}
