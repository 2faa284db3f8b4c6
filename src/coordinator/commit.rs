//! OffsetCommit and OffsetDelete.
//!
//! Always true: an offset is remembered exactly when its record is in the step. A partition that
//! the metadata does not know is answered without asking the group, as in Kafka.

use crate::cluster::image::Image;
use crate::model::{PartitionIndex, Uuid};
use crate::protocol::ErrorCode;
use crate::protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitResponse,
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use crate::protocol::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
};
use crate::wire::StrBytes;

use super::Coordinator;
use super::group::Group;
use super::members::is_long_group_id;
use super::memory;
use super::offsets::{CommittedOffset, memory_of_first, tombstone};

/// The first version that goes by topic id.
const TOPIC_IDS_MIN: i16 = 10;
/// The first version in which a missing group is called so; before, its generation was wrong.
const GROUP_ID_NOT_FOUND_MIN: i16 = 9;

/// Bytes of records after which a request is given no more: one request is one batch. (Kafka's
/// limit is the largest batch of the topic, 1 MiB.)
const COMMIT_BYTES_MAX: usize = 32 << 20;

/// One topic of a request, resolved.
struct Topic {
    name: StrBytes,
    id: Uuid,
    /// Each partition, or what is wrong with it.
    partitions: Vec<(OffsetCommitRequestPartition, ErrorCode)>,
}

impl Coordinator {
    pub(super) fn offset_commit(
        &mut self,
        image: &Image,
        version: i16,
        request: OffsetCommitRequest,
    ) -> OffsetCommitResponse {
        let mut topics = resolve(image, version, &request);
        let is_known = |topic: &Topic| topic.partitions.iter().any(|(_, error)| error.is_ok());
        if topics.iter().any(is_known) {
            match self.may_commit(version, &request, &topics) {
                Ok(()) => self.remember(&request, &mut topics),
                Err(refusal) => {
                    let all = topics.iter_mut().flat_map(|topic| &mut topic.partitions);
                    for (_, error) in all.filter(|(_, error)| error.is_ok()) {
                        *error = refusal;
                    }
                }
            }
        }
        let topics = topics.into_iter().map(|topic| OffsetCommitResponseTopic {
            name: topic.name,
            topic_id: topic.id,
            partitions: topic
                .partitions
                .into_iter()
                .map(|(partition, error_code)| OffsetCommitResponsePartition {
                    partition_index: partition.partition_index,
                    error_code,
                })
                .collect(),
        });
        OffsetCommitResponse { throttle_time_ms: 0, topics: topics.collect() }
    }

    /// Whether this member may commit to the group, which comes into being when someone who is no
    /// member commits to it.
    fn may_commit(
        &mut self,
        version: i16,
        request: &OffsetCommitRequest,
        topics: &[Topic],
    ) -> Result<(), ErrorCode> {
        let generation = request.generation_id_or_member_epoch;
        if is_long_group_id(&request.group_id) {
            return Err(ErrorCode::INVALID_GROUP_ID);
        }
        if !self.groups.contains_key(&request.group_id) {
            if generation >= 0 {
                return Err(if version >= GROUP_ID_NOT_FOUND_MIN {
                    ErrorCode::GROUP_ID_NOT_FOUND
                } else {
                    ErrorCode::ILLEGAL_GENERATION
                });
            }
            if self.groups.len() >= self.desk.settings.groups_max {
                return Err(ErrorCode::INVALID_COMMIT_OFFSET_SIZE);
            }
            // No group is founded that could not keep an offset.
            let (id, name) = (&request.group_id, StrBytes::default());
            if !self.desk.memory.admits(memory::of_group(id) + memory_of_first(id, &name)) {
                return Err(ErrorCode::INVALID_COMMIT_OFFSET_SIZE);
            }
            self.classic_group(&request.group_id);
        }
        match self.groups.get_mut(&request.group_id) {
            Some(Group::Classic(group)) => group.may_commit(
                &mut self.desk,
                &request.member_id,
                request.group_instance_id.as_ref(),
                generation,
            ),
            Some(Group::Consumer(group)) => {
                let valid = topics.iter().flat_map(|topic| {
                    let valid = topic.partitions.iter().filter(|(_, error)| error.is_ok());
                    valid.map(|(partition, _)| (topic.id, partition.partition_index))
                });
                group.may_commit(version, &request.member_id, generation, valid)
            }
            None => Err(ErrorCode::UNKNOWN_SERVER_ERROR),
        }
    }

    fn remember(&mut self, request: &OffsetCommitRequest, topics: &mut [Topic]) {
        let now = self.desk.now;
        let expire_timestamp = (request.retention_time_ms != -1)
            .then(|| now.saturating_add(request.retention_time_ms));
        let group = &request.group_id;
        for topic in topics {
            for (partition, error) in &mut topic.partitions {
                if !error.is_ok() {
                    continue;
                }
                let metadata = partition.committed_metadata.clone().unwrap_or_default();
                if is_longer(&metadata, self.desk.settings.offset_metadata_bytes_max) {
                    *error = ErrorCode::OFFSET_METADATA_TOO_LARGE;
                    continue;
                }
                let index = partition.partition_index;
                if self.desk.step_bytes > COMMIT_BYTES_MAX {
                    // A partition may be named any number of times.
                    *error = ErrorCode::INVALID_COMMIT_OFFSET_SIZE;
                    continue;
                }
                if self.offsets.get(group, &topic.name, index).is_none()
                    && self.offsets.count(group) >= self.desk.settings.offsets_max
                {
                    *error = ErrorCode::INVALID_COMMIT_OFFSET_SIZE;
                    continue;
                }
                if !self.has_room_for_offset(request, &topic.name, index, &metadata) {
                    *error = ErrorCode::INVALID_COMMIT_OFFSET_SIZE;
                    continue;
                }
                let committed = CommittedOffset {
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch.max(-1),
                    metadata: metadata.detached(),
                    commit_timestamp: now,
                    expire_timestamp,
                    topic_id: topic.id,
                };
                self.desk.write(&committed.to_record(group, &topic.name, index));
                // The version with an end of its own has no room for the topic's id.
                let topic_id = if expire_timestamp.is_some() { Uuid::ZERO } else { topic.id };
                let leader_epoch =
                    if expire_timestamp.is_some() { -1 } else { committed.leader_epoch };
                let committed = CommittedOffset { topic_id, leader_epoch, ..committed };
                self.offsets.put(group, &topic.name, index, committed);
                self.commits += 1;
            }
        }
    }

    /// Whether there is memory for an offset of this request. One in the place of another that is
    /// as long always fits.
    fn has_room_for_offset(
        &self,
        request: &OffsetCommitRequest,
        topic: &StrBytes,
        index: PartitionIndex,
        metadata: &StrBytes,
    ) -> bool {
        let growth = self.offsets.growth(&request.group_id, topic, index, metadata);
        match request.generation_id_or_member_epoch >= 0 {
            true => self.desk.memory.admits_of_member(growth),
            false => self.desk.memory.admits(growth),
        }
    }

    pub(super) fn offset_delete(
        &mut self,
        image: &Image,
        request: &OffsetDeleteRequest,
    ) -> OffsetDeleteResponse {
        let refuse = |error| OffsetDeleteResponse { error_code: error, ..Default::default() };
        let group_id = &request.group_id;
        if group_id.is_empty() {
            return refuse(ErrorCode::INVALID_GROUP_ID);
        }
        let Some(group) = self.groups.get(group_id) else {
            return refuse(ErrorCode::GROUP_ID_NOT_FOUND);
        };
        if let Err(error) = group.may_delete_offsets() {
            return refuse(error);
        }
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let known = image.topic(&topic.name).map_or(0, |known| known.partitions.len());
            let is_subscribed = group.is_subscribed_to(&topic.name);
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let index = partition.partition_index;
                let error_code = if !is_below(index, known) {
                    ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
                } else if is_subscribed {
                    ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC
                } else {
                    if self.offsets.get(group_id, &topic.name, index).is_some() {
                        self.desk.write(&tombstone(group_id, &topic.name, index));
                        self.offsets.remove(group_id, &topic.name, index);
                    }
                    ErrorCode::NONE
                };
                partitions
                    .push(OffsetDeleteResponsePartition { partition_index: index, error_code });
            }
            topics.push(OffsetDeleteResponseTopic { name: topic.name.clone(), partitions });
        }
        OffsetDeleteResponse { topics, ..Default::default() }
    }
}

/// Find the topics and partitions of a request in the metadata.
fn resolve(image: &Image, version: i16, request: &OffsetCommitRequest) -> Vec<Topic> {
    let by_id = version >= TOPIC_IDS_MIN;
    let resolved = request.topics.iter().map(|topic| {
        let known =
            if by_id { image.topic_by_id(topic.topic_id) } else { image.topic(&topic.name) };
        let unknown = match known {
            None if by_id => ErrorCode::UNKNOWN_TOPIC_ID,
            _ => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        };
        let count = known.map_or(0, |known| known.partitions.len());
        let partitions = topic.partitions.iter().map(|partition| {
            let is_known = is_below(partition.partition_index, count);
            (partition.clone(), if is_known { ErrorCode::NONE } else { unknown })
        });
        Topic {
            name: match known {
                Some(known) if by_id => known.name.as_str().into(),
                _ => topic.name.clone(),
            },
            id: known.map_or(topic.topic_id, |known| known.id),
            partitions: partitions.collect(),
        }
    });
    resolved.collect()
}

fn is_below(index: PartitionIndex, count: usize) -> bool {
    usize::try_from(index).is_ok_and(|index| index < count)
}

/// Kafka counts UTF-16 units.
fn is_longer(text: &str, max: usize) -> bool {
    text.len() > max && text.encode_utf16().count() > max
}

/// The answer that says `error` of every partition.
pub(super) fn refused(request: &OffsetCommitRequest, error: ErrorCode) -> OffsetCommitResponse {
    let topics = request.topics.iter().map(|topic| OffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .iter()
            .map(|partition| OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: error,
            })
            .collect(),
    });
    OffsetCommitResponse { throttle_time_ms: 0, topics: topics.collect() }
}
