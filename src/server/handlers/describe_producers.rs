//! DescribeProducers (61): the idempotent producers that partitions remember. Version 0.

use std::collections::HashSet;
use std::rc::Rc;

use futures_util::future::join_all;

use crate::model::TopicPartition;
use crate::protocol::ErrorCode;
use crate::protocol::messages::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState,
    TopicResponse,
};
use crate::runtime::Runtime;
use crate::runtime::wait::{ITEMS_AT_ONCE, Pace};
use crate::server::dispatch::check_answer;
use crate::server::owners::Slot;
use crate::server::request::{Caller, Hangup};
use crate::shard::call::{Call, KnownProducer, Reply};
use crate::wire::Field;

/// Partitions that are asked at the same time.
const PARTITIONS_AT_ONCE: usize = 64;

/// Ask the owners. A partition that is named several times is answered once.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    _version: i16,
    request: DescribeProducersRequest,
) -> Result<DescribeProducersResponse, Hangup> {
    let shard = &caller.shard;
    let image = shard.image();
    let mut response = DescribeProducersResponse::default();
    let mut asked: Vec<(Slot, TopicPartition)> = Vec::new();
    let mut seen = HashSet::new();
    let mut pace = Pace::new(ITEMS_AT_ONCE);
    for (at, topic) in request.topics.into_iter().enumerate() {
        let known = image.topic(&topic.name);
        let count = known.map_or(0, |t| t.partitions.len());
        let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
        for index in topic.partition_indexes {
            pace.worked(1).await;
            if let Some(topic) = known
                && usize::try_from(index).is_ok_and(|index| index < count)
            {
                let id = TopicPartition { topic_id: topic.id, partition: index };
                if !seen.insert(id) {
                    continue;
                }
                asked.push(((at, partitions.len()), id));
            }
            partitions.push(PartitionResponse {
                partition_index: index,
                error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                ..Default::default()
            });
        }
        response.topics.push(TopicResponse { name: topic.name, partitions });
    }
    let mut asked = asked.into_iter();
    let mut bytes = response.size_hint();
    while asked.len() > 0 {
        let calls = asked.by_ref().take(PARTITIONS_AT_ONCE).map(|(slot, id)| {
            let reply = shard.call(shard.owner(id), Call::Producers(id));
            async move { (slot, reply.await) }
        });
        for ((at, nth), reply) in join_all(calls).await {
            let answer = &mut response.topics[at].partitions[nth];
            if let Reply::Producers(Some(producers)) = reply {
                answer.error_code = ErrorCode::NONE;
                answer.active_producers = producers.into_iter().map(state).collect();
                bytes += answer.size_hint();
            }
        }
        check_answer(bytes)?;
        // What a partition remembers may be many producers.
        pace.worked(ITEMS_AT_ONCE).await;
    }
    Ok(response)
}

fn state(producer: KnownProducer) -> ProducerState {
    ProducerState {
        producer_id: producer.id,
        producer_epoch: i32::from(producer.epoch),
        last_sequence: producer.last_sequence,
        last_timestamp: producer.last_timestamp_ms,
        // No transaction of it is open.
        coordinator_epoch: -1,
        current_txn_start_offset: -1,
    }
}
