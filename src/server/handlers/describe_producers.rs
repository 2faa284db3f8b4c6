//! DescribeProducers (61): the idempotent producers that partitions remember. Version 0.

use std::rc::Rc;

use futures_util::future::join_all;

use crate::model::TopicPartition;
use crate::protocol::ErrorCode;
use crate::protocol::messages::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState,
    TopicResponse,
};
use crate::runtime::Runtime;
use crate::server::dispatch::check_count;
use crate::server::request::{Caller, Hangup};
use crate::shard::call::{Call, Reply};

/// Ask the owners.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    _version: i16,
    request: DescribeProducersRequest,
) -> Result<DescribeProducersResponse, Hangup> {
    let shard = &caller.shard;
    let max = shard.config.limits.request_topics_max;
    check_count("topics", request.topics.len(), max, "thalweg.request.topics.max")?;
    let image = shard.image();
    let mut response = DescribeProducersResponse::default();
    let mut calls = Vec::new();
    for (at, topic) in request.topics.into_iter().enumerate() {
        let known = image.topic(&topic.name);
        let count = known.map_or(0, |t| t.partitions.len());
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        for (nth, index) in topic.partition_indexes.into_iter().enumerate() {
            partitions.push(PartitionResponse {
                partition_index: index,
                error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                ..Default::default()
            });
            if let Some(topic) = known
                && usize::try_from(index).is_ok_and(|index| index < count)
            {
                let id = TopicPartition { topic_id: topic.id, partition: index };
                let reply = shard.call(shard.owner(id), Call::Producers(id));
                calls.push(async move { (at, nth, reply.await) });
            }
        }
        response.topics.push(TopicResponse { name: topic.name, partitions });
    }
    for (at, nth, reply) in join_all(calls).await {
        let answer = &mut response.topics[at].partitions[nth];
        if let Reply::Producers(Some(producers)) = reply {
            answer.error_code = ErrorCode::NONE;
            let state = producers.into_iter().map(|producer| ProducerState {
                producer_id: producer.id,
                producer_epoch: i32::from(producer.epoch),
                last_sequence: producer.last_sequence,
                last_timestamp: producer.last_timestamp_ms,
                // No transaction of it is open.
                coordinator_epoch: -1,
                current_txn_start_offset: -1,
            });
            answer.active_producers = state.collect();
        }
    }
    Ok(response)
}
