//! ListOffsets (2): offsets by time. Versions 1-10.
//!
//! Special timestamps: -1 latest, -2 earliest, -3 largest timestamp (version 7), -4 earliest local
//! (version 8; the log start, for nothing is tiered), -5 latest tiered (version 9; none).

use std::collections::HashSet;
use std::rc::Rc;

use crate::cluster::image::Image;
use crate::model::TopicPartition;
use crate::protocol::ErrorCode;
use crate::protocol::messages::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use crate::runtime::Runtime;
use crate::runtime::wait::{ITEMS_AT_ONCE, Pace};
use crate::server::errors;
use crate::server::owners::ByOwner;
use crate::server::request::{Caller, Hangup};
use crate::shard::call::{Call, OffsetQuery, OffsetTarget, Reply};

/// Look every partition's offset up at its owner.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    version: i16,
    request: ListOffsetsRequest,
) -> Result<ListOffsetsResponse, Hangup> {
    let shard = &caller.shard;
    let image = shard.image();
    let mut response = ListOffsetsResponse::default();
    let mut by_owner = ByOwner::new(shard.shards);
    let mut pace = Pace::new(ITEMS_AT_ONCE);
    let twice = named_twice(&image, &request, &mut pace).await;
    for (at, topic) in request.topics.into_iter().enumerate() {
        let known = image.topic(&topic.name);
        let mut answers = Vec::with_capacity(topic.partitions.len());
        for (nth, partition) in topic.partitions.into_iter().enumerate() {
            pace.worked(1).await;
            let index = partition.partition_index;
            let mut answer =
                ListOffsetsPartitionResponse { partition_index: index, ..Default::default() };
            let target = target(version, partition.timestamp);
            let topic = known
                .filter(|t| usize::try_from(index).is_ok_and(|index| index < t.partitions.len()));
            match (topic, target) {
                (None, _) => answer.error_code = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                (Some(topic), _)
                    if twice.contains(&TopicPartition { topic_id: topic.id, partition: index }) =>
                {
                    answer.error_code = ErrorCode::INVALID_REQUEST;
                }
                (_, None) => answer.error_code = ErrorCode::UNSUPPORTED_VERSION,
                (Some(topic), Some(target)) => {
                    let id = TopicPartition { topic_id: topic.id, partition: index };
                    let epoch = partition.current_leader_epoch;
                    let query = OffsetQuery { partition: id, target, epoch };
                    by_owner.add(shard.owner(id), (at, nth), query);
                    // Until the owner has answered.
                    answer.error_code = ErrorCode::NOT_LEADER_OR_FOLLOWER;
                }
            }
            answers.push(answer);
        }
        response.topics.push(ListOffsetsTopicResponse { name: topic.name, partitions: answers });
    }
    for (slots, reply) in by_owner.ask(shard, Call::Offsets).await {
        let Reply::Offsets(results) = reply else { continue };
        for ((at, nth), result) in slots.into_iter().zip(results) {
            pace.worked(1).await;
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

/// Partitions that are named more than once: Kafka looks none of them up.
async fn named_twice(
    image: &Image,
    request: &ListOffsetsRequest,
    pace: &mut Pace,
) -> HashSet<TopicPartition> {
    let (mut seen, mut twice) = (HashSet::new(), HashSet::new());
    for topic in &request.topics {
        let Some(known) = image.topic(&topic.name) else { continue };
        for asked in &topic.partitions {
            pace.worked(1).await;
            let id = TopicPartition { topic_id: known.id, partition: asked.partition_index };
            if !seen.insert(id) {
                twice.insert(id);
            }
        }
    }
    twice
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
