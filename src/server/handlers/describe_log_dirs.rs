//! DescribeLogDirs (35): what lies in the one log directory. Versions 1-5.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use crate::disk::space;
use crate::protocol::ErrorCode;
use crate::protocol::messages::describe_log_dirs::{
    DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse,
    DescribeLogDirsResult, DescribeLogDirsTopic,
};
use crate::runtime::Runtime;
use crate::runtime::wait::{ITEMS_AT_ONCE, Pace};
use crate::server::request::{Caller, Hangup};
use crate::shard::call::{Call, Reply};

/// Sizes of the partitions asked for; those that are not here are left out, as in Kafka.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    _version: i16,
    request: DescribeLogDirsRequest,
) -> Result<DescribeLogDirsResponse, Hangup> {
    let shard = &caller.shard;
    let asked = request.topics.as_ref();
    let wanted: Option<HashSet<(&str, i32)>> = asked.map(|topics| {
        let pairs =
            topics.iter().flat_map(|t| t.partitions.iter().map(|index| (&*t.topic, *index)));
        pairs.collect()
    });
    let image = shard.image();
    let mut topics: BTreeMap<&str, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    let mut pace = Pace::new(ITEMS_AT_ONCE);
    for reply in shard.ask_all(|| Call::Sizes).await {
        let Reply::Sizes(sizes) = reply else { continue };
        for (id, bytes, _) in sizes {
            pace.worked(1).await;
            let Some(topic) = image.topic_by_id(id.topic_id) else { continue };
            let name = topic.name.as_str();
            if wanted.as_ref().is_none_or(|wanted| wanted.contains(&(name, id.partition))) {
                topics.entry(name).or_default().push(DescribeLogDirsPartition {
                    partition_index: id.partition,
                    partition_size: i64::try_from(bytes).unwrap_or(i64::MAX),
                    ..Default::default()
                });
            }
        }
    }
    let path = shard.config.log_dir();
    let bytes = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let (total_bytes, usable_bytes) = space::of_volume(path.as_ref())
        .map_or((-1, -1), |found| (bytes(found.total), bytes(found.usable)));
    let result = DescribeLogDirsResult {
        error_code: ErrorCode::NONE,
        log_dir: path.as_str().into(),
        topics: topics
            .into_iter()
            .map(|(name, mut partitions)| {
                partitions.sort_by_key(|partition| partition.partition_index);
                DescribeLogDirsTopic { name: name.into(), partitions }
            })
            .collect(),
        total_bytes,
        usable_bytes,
        is_cordoned: false,
    };
    Ok(DescribeLogDirsResponse { results: vec![result], ..Default::default() })
}
