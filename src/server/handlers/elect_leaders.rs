//! ElectLeaders (43). Versions 0-2. With one replica each partition has the leader it should
//! have, by either kind of election.

use std::rc::Rc;

use crate::cluster::image::Image;
use crate::protocol::ErrorCode;
use crate::protocol::messages::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};
use crate::runtime::Runtime;
use crate::runtime::wait::{ITEMS_AT_ONCE, Pace};
use crate::server::request::{Caller, Hangup};

/// 0 is the preferred replica, 1 any replica.
const ELECTION_TYPES: std::ops::RangeInclusive<i8> = 0..=1;

/// No partition needs one. Asked for all, Kafka names only those that did.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    _version: i16,
    request: ElectLeadersRequest,
) -> Result<ElectLeadersResponse, Hangup> {
    if !ELECTION_TYPES.contains(&request.election_type) {
        let error_code = ErrorCode::INVALID_REQUEST;
        return Ok(ElectLeadersResponse { error_code, ..Default::default() });
    }
    let image = caller.shard.image();
    let asked = request.topic_partitions;
    let mut pace = Pace::new(ITEMS_AT_ONCE);
    let results = match asked {
        Some(topics) => {
            let mut results = Vec::with_capacity(topics.len());
            for topic in topics {
                let mut elected = Vec::with_capacity(topic.partitions.len());
                for index in topic.partitions {
                    pace.worked(1).await;
                    elected.push(elect(&image, &topic.topic, index));
                }
                let topic = topic.topic;
                results.push(ReplicaElectionResult { topic, partition_result: elected });
            }
            results
        }
        None => image
            .topics()
            .map(|topic| ReplicaElectionResult {
                topic: topic.name.as_str().into(),
                partition_result: Vec::new(),
            })
            .collect(),
    };
    Ok(ElectLeadersResponse { replica_election_results: results, ..Default::default() })
}

fn elect(image: &Image, topic: &str, index: i32) -> PartitionResult {
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let (error_code, text) = match image.topic(topic) {
        None => (unknown, format!("No such topic as {topic}")),
        Some(found) if usize::try_from(index).is_ok_and(|i| i < found.partitions.len()) => {
            (ErrorCode::ELECTION_NOT_NEEDED, ErrorCode::ELECTION_NOT_NEEDED.text().into())
        }
        Some(_) => (unknown, format!("No such partition as {topic}-{index}")),
    };
    PartitionResult { partition_id: index, error_code, error_message: Some(text.as_str().into()) }
}
