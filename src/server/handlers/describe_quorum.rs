//! DescribeQuorum (55): the log of metadata and its one voter, which is this broker. Versions 0-2.

use std::rc::Rc;

use crate::model::{CLUSTER_METADATA, Uuid};
use crate::protocol::ErrorCode;
use crate::protocol::messages::describe_quorum::{
    DescribeQuorumRequest, DescribeQuorumRequestTopic, DescribeQuorumResponse, Listener, Node,
    PartitionData, ReplicaState, TopicData,
};
use crate::runtime::Runtime;
use crate::server::request::{Caller, Hangup};

/// Versions below this one know neither directories nor addresses of voters (KIP-853).
const VOTERS_VERSION_MIN: i16 = 2;
/// The metadata's batches carry this epoch: there is never an election.
const EPOCH: i32 = 0;

/// We lead, and everything we have is agreed on.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    version: i16,
    request: DescribeQuorumRequest,
) -> Result<DescribeQuorumResponse, Hangup> {
    let identity = &caller.identity;
    let knows_voters = version >= VOTERS_VERSION_MIN;
    let end = i64::try_from(caller.shard.image().version()).unwrap_or(i64::MAX);
    let now = caller.shard.runtime.wall_ms();
    let describe = |topic: &DescribeQuorumRequestTopic, index: i32| {
        if &*topic.topic_name != CLUSTER_METADATA || index != 0 {
            return PartitionData {
                partition_index: index,
                error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                ..Default::default()
            };
        }
        PartitionData {
            partition_index: index,
            leader_id: identity.node_id,
            leader_epoch: EPOCH,
            high_watermark: end,
            current_voters: vec![ReplicaState {
                replica_id: identity.node_id,
                replica_directory_id: if knows_voters { identity.directory_id } else { Uuid::ZERO },
                log_end_offset: end,
                last_fetch_timestamp: now,
                last_caught_up_timestamp: now,
            }],
            ..Default::default()
        }
    };
    let topics = request.topics.iter().map(|topic| TopicData {
        topic_name: topic.topic_name.clone(),
        partitions: topic.partitions.iter().map(|p| describe(topic, p.partition_index)).collect(),
    });
    let node = Node {
        node_id: identity.node_id,
        listeners: vec![Listener {
            name: "PLAINTEXT".into(),
            host: identity.host.as_str().into(),
            port: identity.port,
        }],
    };
    Ok(DescribeQuorumResponse {
        topics: topics.collect(),
        nodes: if knows_voters { vec![node] } else { Vec::new() },
        ..Default::default()
    })
}
