//! OffsetFetch: of one group up to version 7, of many from version 8, by topic id from version 10.

use crate::cluster::image::Image;
use crate::model::{PartitionIndex, Uuid};
use crate::protocol::ErrorCode;
use crate::protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use crate::wire::StrBytes;

use super::Coordinator;
use super::group::Group;
use super::offsets::CommittedOffset;

/// The first version with an error for the whole answer.
const TOP_LEVEL_ERROR_MIN: i16 = 2;
/// The first version that asks for many groups.
const GROUPS_MIN: i16 = 8;
/// The first version that goes by topic id.
const TOPIC_IDS_MIN: i16 = 10;

impl Coordinator {
    /// There are no transactions, so `require_stable` changes nothing: every offset is stable.
    pub(super) fn offset_fetch(
        &self,
        image: &Image,
        version: i16,
        request: OffsetFetchRequest,
    ) -> OffsetFetchResponse {
        let groups = groups_of(version, request);
        let groups = groups.iter().map(|group| self.fetch_group(image, version, group)).collect();
        in_shape_of(version, groups)
    }

    fn fetch_group(
        &self,
        image: &Image,
        version: i16,
        request: &OffsetFetchRequestGroup,
    ) -> OffsetFetchResponseGroup {
        let group_id = &request.group_id;
        if let Some(Group::Consumer(group)) = self.groups.get(group_id)
            && let Err(error) = group.may_fetch(request.member_id.as_ref(), request.member_epoch)
        {
            return refused(version, request, error);
        }
        let topics = match &request.topics {
            None => self.fetch_all(image, version, group_id),
            Some(topics) => {
                let one = |topic| self.fetch_topic(image, version, group_id, topic);
                topics.iter().map(one).collect()
            }
        };
        OffsetFetchResponseGroup { group_id: group_id.clone(), topics, error_code: ErrorCode::NONE }
    }

    fn fetch_all(
        &self,
        image: &Image,
        version: i16,
        group_id: &StrBytes,
    ) -> Vec<OffsetFetchResponseTopics> {
        let mut topics = Vec::new();
        for (name, offsets) in self.offsets.of(group_id).into_iter().flat_map(|of| &of.topics) {
            let mut topic_id = Uuid::ZERO;
            if version >= TOPIC_IDS_MIN {
                // Without an id there is no way to say which topic is meant.
                let Some(topic) = image.topic(name) else { continue };
                topic_id = topic.id;
            }
            let partitions = offsets.iter().map(|(index, offset)| found(*index, offset)).collect();
            topics.push(OffsetFetchResponseTopics { name: name.clone(), topic_id, partitions });
        }
        topics
    }

    fn fetch_topic(
        &self,
        image: &Image,
        version: i16,
        group_id: &StrBytes,
        topic: &OffsetFetchRequestTopics,
    ) -> OffsetFetchResponseTopics {
        let mut name = topic.name.clone();
        let mut missing = ErrorCode::NONE;
        if version >= TOPIC_IDS_MIN {
            match image.topic_by_id(topic.topic_id) {
                Some(topic) => name = topic.name.as_str().into(),
                None => missing = ErrorCode::UNKNOWN_TOPIC_ID,
            }
        }
        // An offset of a topic that was deleted and created again is not this topic's.
        let is_same = |offset: &&CommittedOffset| {
            offset.topic_id.is_zero()
                || topic.topic_id.is_zero()
                || offset.topic_id == topic.topic_id
        };
        let partitions = topic.partition_indexes.iter().map(|index| {
            match self.offsets.get(group_id, &name, *index).filter(is_same) {
                Some(offset) if missing.is_ok() => found(*index, offset),
                _ => nothing(*index, missing),
            }
        });
        OffsetFetchResponseTopics {
            partitions: partitions.collect(),
            topic_id: topic.topic_id,
            name,
        }
    }
}

fn found(index: PartitionIndex, offset: &CommittedOffset) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index: index,
        committed_offset: offset.offset,
        committed_leader_epoch: offset.leader_epoch,
        metadata: Some(offset.metadata.clone()),
        error_code: ErrorCode::NONE,
    }
}

fn nothing(index: PartitionIndex, error_code: ErrorCode) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index: index,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(StrBytes::default()),
        error_code,
    }
}

/// The groups of a request, whatever its version.
pub(super) fn groups_of(version: i16, request: OffsetFetchRequest) -> Vec<OffsetFetchRequestGroup> {
    if version >= GROUPS_MIN {
        return request.groups;
    }
    let topics = request.topics.map(|topics| {
        let topics = topics.into_iter().map(|topic| OffsetFetchRequestTopics {
            name: topic.name,
            topic_id: Uuid::ZERO,
            partition_indexes: topic.partition_indexes,
        });
        topics.collect()
    });
    vec![OffsetFetchRequestGroup {
        group_id: request.group_id,
        topics,
        ..OffsetFetchRequestGroup::default()
    }]
}

/// The answer that says `error` of one group.
pub(super) fn refused(
    version: i16,
    request: &OffsetFetchRequestGroup,
    error: ErrorCode,
) -> OffsetFetchResponseGroup {
    let mut topics = Vec::new();
    if version < TOP_LEVEL_ERROR_MIN {
        for topic in request.topics.iter().flatten() {
            let partitions = topic.partition_indexes.iter().map(|index| nothing(*index, error));
            topics.push(OffsetFetchResponseTopics {
                name: topic.name.clone(),
                topic_id: topic.topic_id,
                partitions: partitions.collect(),
            });
        }
    }
    OffsetFetchResponseGroup { group_id: request.group_id.clone(), topics, error_code: error }
}

/// The response in the form of `version`.
pub(super) fn in_shape_of(
    version: i16,
    mut groups: Vec<OffsetFetchResponseGroup>,
) -> OffsetFetchResponse {
    if version >= GROUPS_MIN {
        return OffsetFetchResponse { groups, ..Default::default() };
    }
    let Some(group) = groups.pop() else { return OffsetFetchResponse::default() };
    let topics = group.topics.into_iter().map(|topic| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic
            .partitions
            .into_iter()
            .map(|partition| OffsetFetchResponsePartition {
                partition_index: partition.partition_index,
                committed_offset: partition.committed_offset,
                committed_leader_epoch: partition.committed_leader_epoch,
                metadata: partition.metadata,
                error_code: partition.error_code,
            })
            .collect(),
    });
    OffsetFetchResponse {
        topics: topics.collect(),
        error_code: group.error_code,
        ..Default::default()
    }
}
