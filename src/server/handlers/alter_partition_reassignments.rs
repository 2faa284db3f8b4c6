//! AlterPartitionReassignments (45). Versions 0-1. With one broker a partition can only be
//! assigned to where it is, and no move is ever under way.

use std::rc::Rc;

use crate::cluster::image::Image;
use crate::model::NodeId;
use crate::protocol::ErrorCode;
use crate::protocol::messages::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartition,
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use crate::runtime::Runtime;
use crate::runtime::wait::{ITEMS_AT_ONCE, Pace};
use crate::server::errors::Refused;
use crate::server::request::{Caller, Hangup};

/// Partitions succeed or fail one by one.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    _version: i16,
    request: AlterPartitionReassignmentsRequest,
) -> Result<AlterPartitionReassignmentsResponse, Hangup> {
    let (image, node) = (caller.shard.image(), caller.identity.node_id);
    let mut responses = Vec::with_capacity(request.topics.len());
    let mut pace = Pace::new(ITEMS_AT_ONCE);
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            pace.worked(1).await;
            let (error_code, text) = reassign(&image, node, &topic.name, partition);
            partitions.push(ReassignablePartitionResponse {
                partition_index: partition.partition_index,
                error_code,
                error_message: text.map(|text| text.as_str().into()),
            });
        }
        responses.push(ReassignableTopicResponse { partitions, name: topic.name });
    }
    Ok(AlterPartitionReassignmentsResponse {
        allow_replication_factor_change: request.allow_replication_factor_change,
        responses,
        ..Default::default()
    })
}

fn reassign(image: &Image, node: NodeId, topic: &str, asked: &ReassignablePartition) -> Refused {
    let index = asked.partition_index;
    let unknown = |text: String| (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, Some(text));
    let Some(found) = image.topic(topic) else {
        return unknown(format!("Unable to find a topic named {topic}."));
    };
    if usize::try_from(index).is_ok_and(|i| i >= found.partitions.len()) || index < 0 {
        return unknown(format!("Unable to find partition {topic}:{index}."));
    }
    let Some(replicas) = &asked.replicas else {
        let code = ErrorCode::NO_REASSIGNMENT_IN_PROGRESS;
        return (code, Some(code.text().into()));
    };
    let refuse = |text: String| (ErrorCode::INVALID_REPLICA_ASSIGNMENT, Some(text));
    if replicas.is_empty() {
        return refuse("The manual partition assignment includes an empty replica list.".into());
    }
    if let Some(other) = replicas.iter().find(|replica| **replica != node) {
        return refuse(format!(
            "The manual partition assignment includes broker {other}, but no such broker is \
             registered."
        ));
    }
    if replicas.len() > 1 {
        return refuse(format!(
            "The manual partition assignment includes the broker {node} more than once."
        ));
    }
    (ErrorCode::NONE, None)
}
