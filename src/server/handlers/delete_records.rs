//! DeleteRecords (21): raise the log start. Versions 0-2.

use std::collections::HashMap;
use std::rc::Rc;

use crate::cluster::image::Image;
use crate::model::{Offset, TopicPartition};
use crate::protocol::ErrorCode;
use crate::protocol::messages::delete_records::{
    DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteRecordsTopicResult,
};
use crate::runtime::Runtime;
use crate::runtime::wait::{ITEMS_AT_ONCE, Pace};
use crate::server::errors;
use crate::server::owners::ByOwner;
use crate::server::request::{Caller, Hangup};
use crate::shard::call::{Call, Reply};

/// Ask every partition's owner; the answer holds the new log starts. Of a partition that is named
/// several times the last offset counts, and it is answered once, as in Kafka.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    _version: i16,
    request: DeleteRecordsRequest,
) -> Result<DeleteRecordsResponse, Hangup> {
    let shard = &caller.shard;
    let image = shard.image();
    let mut response = DeleteRecordsResponse::default();
    let mut by_owner = ByOwner::new(shard.shards);
    let mut pace = Pace::new(ITEMS_AT_ONCE);
    let mut wanted = last_wanted(&image, &request, &mut pace).await;
    for (at, topic) in request.topics.into_iter().enumerate() {
        let known = image.topic(&topic.name);
        let count = known.map_or(0, |t| t.partitions.len());
        let mut answers = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            pace.worked(1).await;
            let index = asked.partition_index;
            let id = known.map(|topic| TopicPartition { topic_id: topic.id, partition: index });
            let offset = id.map(|id| wanted.remove(&id));
            if offset == Some(None) {
                continue;
            }
            let nth = answers.len();
            answers.push(DeleteRecordsPartitionResult {
                partition_index: index,
                low_watermark: -1,
                error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            });
            if known.is_some_and(|topic| topic.name.is_internal()) {
                answers[nth].error_code = ErrorCode::INVALID_TOPIC_EXCEPTION;
            } else if let (Some(id), Some(Some(offset))) = (id, offset)
                && usize::try_from(index).is_ok_and(|index| index < count)
            {
                by_owner.add(shard.owner(id), (at, nth), (id, offset));
                // Until the owner has answered.
                answers[nth].error_code = ErrorCode::NOT_LEADER_OR_FOLLOWER;
            }
        }
        response.topics.push(DeleteRecordsTopicResult { name: topic.name, partitions: answers });
    }
    for (slots, reply) in by_owner.ask(shard, Call::DeleteRecords).await {
        let Reply::DeleteRecords(results) = reply else { continue };
        for ((at, nth), result) in slots.into_iter().zip(results) {
            pace.worked(1).await;
            let answer = &mut response.topics[at].partitions[nth];
            match result {
                Ok(start) => {
                    answer.error_code = ErrorCode::NONE;
                    answer.low_watermark = start;
                }
                Err(refusal) => answer.error_code = errors::offset(&refusal),
            }
        }
    }
    Ok(response)
}

/// The offset that is named last for each partition.
async fn last_wanted(
    image: &Image,
    request: &DeleteRecordsRequest,
    pace: &mut Pace,
) -> HashMap<TopicPartition, Offset> {
    let mut wanted = HashMap::new();
    for topic in &request.topics {
        let Some(known) = image.topic(&topic.name) else { continue };
        for asked in &topic.partitions {
            pace.worked(1).await;
            let id = TopicPartition { topic_id: known.id, partition: asked.partition_index };
            wanted.insert(id, asked.offset);
        }
    }
    wanted
}
