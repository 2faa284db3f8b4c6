//! OffsetForLeaderEpoch (23): where epochs end, for clients that check for truncation. Versions
//! 2-4. With one broker there is one history, and it is never truncated.

use std::rc::Rc;

use crate::model::TopicPartition;
use crate::protocol::ErrorCode;
use crate::protocol::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderTopicResult,
};
use crate::runtime::Runtime;
use crate::runtime::wait::{ITEMS_AT_ONCE, Pace};
use crate::server::errors;
use crate::server::owners::ByOwner;
use crate::server::request::{Caller, Hangup};
use crate::shard::call::{Call, Reply};

/// Ask the owners.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    _version: i16,
    request: OffsetForLeaderEpochRequest,
) -> Result<OffsetForLeaderEpochResponse, Hangup> {
    let shard = &caller.shard;
    let image = shard.image();
    let mut response = OffsetForLeaderEpochResponse::default();
    let mut by_owner = ByOwner::new(shard.shards);
    let mut pace = Pace::new(ITEMS_AT_ONCE);
    for (at, topic) in request.topics.into_iter().enumerate() {
        let known = image.topic(&topic.topic);
        let mut answers = Vec::with_capacity(topic.partitions.len());
        for (nth, asked) in topic.partitions.into_iter().enumerate() {
            pace.worked(1).await;
            let index = asked.partition;
            answers.push(EpochEndOffset {
                partition: index,
                error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                ..Default::default()
            });
            let count = known.map_or(0, |t| t.partitions.len());
            if let Some(topic) = known
                && usize::try_from(index).is_ok_and(|index| index < count)
            {
                let id = TopicPartition { topic_id: topic.id, partition: index };
                let item = (id, asked.current_leader_epoch, asked.leader_epoch);
                by_owner.add(shard.owner(id), (at, nth), item);
                // Until the owner has answered.
                answers[nth].error_code = ErrorCode::NOT_LEADER_OR_FOLLOWER;
            }
        }
        response
            .topics
            .push(OffsetForLeaderTopicResult { topic: topic.topic, partitions: answers });
    }
    for (slots, reply) in by_owner.ask(shard, Call::EpochEnds).await {
        let Reply::EpochEnds(results) = reply else { continue };
        for ((at, nth), result) in slots.into_iter().zip(results) {
            pace.worked(1).await;
            let answer = &mut response.topics[at].partitions[nth];
            match result {
                Ok((epoch, end)) => {
                    answer.error_code = ErrorCode::NONE;
                    answer.leader_epoch = epoch;
                    answer.end_offset = end;
                }
                Err(refusal) => answer.error_code = errors::offset(&refusal),
            }
        }
    }
    Ok(response)
}
