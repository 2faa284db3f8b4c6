//! DescribeTopicPartitions (75): topics page by page. Version 0 (KIP-966).
//!
//! Topics come in the order of their names; a page ends after the partitions asked for (and never
//! holds more than our limit), and its cursor names where the next one begins.

use std::rc::Rc;

use crate::cluster::image::Topic;
use crate::model::TopicName;
use crate::protocol::ErrorCode;
use crate::protocol::messages::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use crate::runtime::Runtime;
use crate::runtime::wait::{ITEMS_AT_ONCE, Pace};
use crate::server::operations;
use crate::server::request::{Caller, Hangup};

/// One page.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    _version: i16,
    request: DescribeTopicPartitionsRequest,
) -> Result<DescribeTopicPartitionsResponse, Hangup> {
    let image = caller.shard.image();
    if !is_cursor_valid(&request) {
        let topics = request.topics.into_iter().map(|topic| {
            let name = Some(topic.name);
            let error_code = ErrorCode::INVALID_REQUEST;
            DescribeTopicPartitionsResponseTopic { name, error_code, ..Default::default() }
        });
        let topics = topics.collect();
        return Ok(DescribeTopicPartitionsResponse { topics, ..Default::default() });
    }
    let most = caller.shard.config.limits.described_partitions_max;
    let mut left = usize::try_from(request.response_partition_limit).unwrap_or(1).clamp(1, most);
    let mut names: Vec<&str> = if request.topics.is_empty() {
        image.topics().map(|t| t.name.as_str()).collect()
    } else {
        request.topics.iter().map(|t| &*t.name).collect()
    };
    names.sort_unstable();
    names.dedup();
    let (from, mut first) = match &request.cursor {
        Some(cursor) => {
            (cursor.topic_name.to_string(), usize::try_from(cursor.partition_index).unwrap_or(0))
        }
        None => (String::new(), 0),
    };
    let mut response = DescribeTopicPartitionsResponse::default();
    let mut pace = Pace::new(ITEMS_AT_ONCE);
    for name in names.into_iter().filter(|name| *name >= from.as_str()) {
        pace.worked(1).await;
        let begin = if name == from { std::mem::take(&mut first) } else { 0 };
        if left == 0 {
            let partition_index = i32::try_from(begin).unwrap_or(0);
            let topic_name = name.into();
            response.next_cursor = Some(Cursor { topic_name, partition_index });
            break;
        }
        let Some(topic) = image.topic(name) else {
            response.topics.push(missing(name));
            continue;
        };
        let end = topic.partitions.len().min(begin.saturating_add(left));
        response.topics.push(describe(topic, begin, end));
        left -= end.saturating_sub(begin);
        if end < topic.partitions.len() {
            let partition_index = i32::try_from(end).unwrap_or(i32::MAX);
            let topic_name = name.into();
            response.next_cursor = Some(Cursor { topic_name, partition_index });
            break;
        }
    }
    Ok(response)
}

/// A cursor names a partition, and a topic that is asked for.
fn is_cursor_valid(request: &DescribeTopicPartitionsRequest) -> bool {
    let Some(cursor) = &request.cursor else { return true };
    let topics = &request.topics;
    cursor.partition_index >= 0
        && (topics.is_empty() || topics.iter().any(|topic| topic.name == cursor.topic_name))
}

fn missing(name: &str) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code: match TopicName::new(name) {
            Ok(_) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            Err(_) => ErrorCode::INVALID_TOPIC_EXCEPTION,
        },
        name: Some(name.into()),
        topic_authorized_operations: operations::TOPIC,
        ..Default::default()
    }
}

fn describe(topic: &Topic, begin: usize, end: usize) -> DescribeTopicPartitionsResponseTopic {
    let states = topic.partitions.iter().enumerate().take(end).skip(begin);
    DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::NONE,
        name: Some(topic.name.as_str().into()),
        topic_id: topic.id,
        is_internal: topic.name.is_internal(),
        partitions: states
            .map(|(index, state)| DescribeTopicPartitionsResponsePartition {
                partition_index: index as i32,
                leader_id: state.leader,
                leader_epoch: state.leader_epoch,
                replica_nodes: state.replicas.clone(),
                isr_nodes: state.in_sync.clone(),
                eligible_leader_replicas: Some(Vec::new()),
                last_known_elr: Some(Vec::new()),
                ..Default::default()
            })
            .collect(),
        topic_authorized_operations: operations::TOPIC,
    }
}
