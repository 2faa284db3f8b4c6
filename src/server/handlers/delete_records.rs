//! DeleteRecords (21): raise the log start. Versions 0-2.

use std::rc::Rc;

use futures_util::future::join_all;

use crate::model::TopicPartition;
use crate::protocol::ErrorCode;
use crate::protocol::messages::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteRecordsTopicResult,
};
use crate::runtime::Runtime;
use crate::server::dispatch::check_count;
use crate::server::errors;
use crate::server::request::{Caller, Hangup};
use crate::shard::call::{Call, Reply};

/// Ask every partition's owner; the answer holds the new log starts.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    _version: i16,
    request: DeleteRecordsRequest,
) -> Result<DeleteRecordsResponse, Hangup> {
    let max = caller.shard.config.limits.request_topics_max;
    check_count("topics", request.topics.len(), max, "thalweg.request.topics.max")?;
    let shard = &caller.shard;
    let image = shard.image();
    let mut response = DeleteRecordsResponse::default();
    let mut calls = Vec::new();
    for (at, topic) in request.topics.into_iter().enumerate() {
        let known = image.topic(&topic.name);
        let count = known.map_or(0, |t| t.partitions.len());
        let mut answers = Vec::with_capacity(topic.partitions.len());
        for (nth, asked) in topic.partitions.into_iter().enumerate() {
            let index = asked.partition_index;
            answers.push(DeleteRecordsPartitionResult {
                partition_index: index,
                low_watermark: -1,
                error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            });
            if known.is_some_and(|topic| topic.name.is_internal()) {
                answers[nth].error_code = ErrorCode::INVALID_TOPIC_EXCEPTION;
            } else if let Some(topic) = known
                && usize::try_from(index).is_ok_and(|index| index < count)
            {
                let id = TopicPartition { topic_id: topic.id, partition: index };
                let call = Call::DeleteRecords(vec![(id, asked.offset)]);
                let reply = shard.call(shard.owner(id), call);
                calls.push(async move { (at, nth, reply.await) });
            }
        }
        response.topics.push(DeleteRecordsTopicResult { name: topic.name, partitions: answers });
    }
    for (at, nth, reply) in join_all(calls).await {
        let answer = &mut response.topics[at].partitions[nth];
        let Reply::DeleteRecords(mut results) = reply else { continue };
        match results.pop() {
            Some(Ok(start)) => {
                answer.error_code = ErrorCode::NONE;
                answer.low_watermark = start;
            }
            Some(Err(refusal)) => answer.error_code = errors::offset(&refusal),
            None => answer.error_code = ErrorCode::NOT_LEADER_OR_FOLLOWER,
        }
    }
    Ok(response)
}
