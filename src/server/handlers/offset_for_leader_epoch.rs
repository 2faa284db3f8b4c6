//! OffsetForLeaderEpoch (23): where epochs end, for clients that check for truncation. Versions
//! 2-4. With one broker there is one history, and it is never truncated.

use std::rc::Rc;

use futures_util::future::join_all;

use crate::model::TopicPartition;
use crate::protocol::ErrorCode;
use crate::protocol::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderTopicResult,
};
use crate::runtime::Runtime;
use crate::server::dispatch::check_count;
use crate::server::errors;
use crate::server::request::{Caller, Hangup};
use crate::shard::call::{Call, Reply};

/// Ask the owners.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    _version: i16,
    request: OffsetForLeaderEpochRequest,
) -> Result<OffsetForLeaderEpochResponse, Hangup> {
    let max = caller.shard.config.limits.request_topics_max;
    check_count("topics", request.topics.len(), max, "thalweg.request.topics.max")?;
    let shard = &caller.shard;
    let image = shard.image();
    let mut response = OffsetForLeaderEpochResponse::default();
    let mut calls = Vec::new();
    for (at, topic) in request.topics.into_iter().enumerate() {
        let known = image.topic(&topic.topic);
        let mut answers = Vec::with_capacity(topic.partitions.len());
        for (nth, asked) in topic.partitions.into_iter().enumerate() {
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
                let reply = shard.call(shard.owner(id), Call::EpochEnds(vec![item]));
                calls.push(async move { (at, nth, reply.await) });
            }
        }
        response
            .topics
            .push(OffsetForLeaderTopicResult { topic: topic.topic, partitions: answers });
    }
    for (at, nth, reply) in join_all(calls).await {
        let answer = &mut response.topics[at].partitions[nth];
        let Reply::EpochEnds(mut results) = reply else { continue };
        match results.pop() {
            Some(Ok((epoch, end))) => {
                answer.error_code = ErrorCode::NONE;
                answer.leader_epoch = epoch;
                answer.end_offset = end;
            }
            Some(Err(refusal)) => answer.error_code = errors::offset(&refusal),
            None => answer.error_code = ErrorCode::NOT_LEADER_OR_FOLLOWER,
        }
    }
    Ok(response)
}
