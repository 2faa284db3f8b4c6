//! AlterReplicaLogDirs (34). Versions 1-2. There is one log directory, so a replica can only stay
//! where it is: nothing is ever moved.
//!
//! Kafka refuses topics of more than about 210 characters, since the folder of a move would have
//! too long a name. No folder is made here, and so none is refused.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::cluster::image::Image;
use crate::protocol::ErrorCode;
use crate::protocol::messages::alter_replica_log_dirs::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult, AlterReplicaLogDirsRequest,
    AlterReplicaLogDirsResponse,
};
use crate::runtime::Runtime;
use crate::runtime::wait::{ITEMS_AT_ONCE, Pace};
use crate::server::request::{Caller, Hangup};

/// Partitions succeed or fail one by one; of one that is named for several directories the last
/// one counts.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    _version: i16,
    request: AlterReplicaLogDirsRequest,
) -> Result<AlterReplicaLogDirsResponse, Hangup> {
    let config = &caller.shard.config;
    let (image, own) = (caller.shard.image(), config.log_dir());
    let mut results: BTreeMap<&str, BTreeMap<i32, ErrorCode>> = BTreeMap::new();
    let mut pace = Pace::new(ITEMS_AT_ONCE);
    for dir in &request.dirs {
        for topic in &dir.topics {
            let result = results.entry(&topic.name).or_default();
            for index in &topic.partitions {
                pace.worked(1).await;
                result.insert(*index, alter(&image, &own, &dir.path, &topic.name, *index));
            }
        }
    }
    let results = results.into_iter().map(|(name, partitions)| AlterReplicaLogDirTopicResult {
        topic_name: name.into(),
        partitions: partitions
            .into_iter()
            .map(|(partition_index, error_code)| AlterReplicaLogDirPartitionResult {
                partition_index,
                error_code,
            })
            .collect(),
    });
    Ok(AlterReplicaLogDirsResponse { throttle_time_ms: 0, results: results.collect() })
}

/// As Kafka's `ReplicaManager.alterReplicaLogDirs`: the directory is looked at before the
/// partition. Its REPLICA_NOT_AVAILABLE is for a partition that only another broker has.
fn alter(image: &Image, own: &str, path: &str, topic: &str, index: i32) -> ErrorCode {
    if path != own {
        return ErrorCode::LOG_DIR_NOT_FOUND;
    }
    let partitions = image.topic(topic).map_or(0, |found| found.partitions.len());
    match usize::try_from(index) {
        Ok(index) if index < partitions => ErrorCode::NONE,
        _ => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
    }
}
