//! Sets of partitions, by topic id, and their forms in records and messages.
//!
//! Always true: no topic without partitions is in a set that these functions make.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::image::Image;
use crate::model::{PartitionIndex, Uuid};
use crate::protocol::consumer_protocol;
use crate::protocol::group_record;
use crate::protocol::messages::{consumer_group_describe, consumer_group_heartbeat};

/// Partitions.
pub(in crate::coordinator) type Partitions = BTreeMap<Uuid, BTreeSet<PartitionIndex>>;

/// Partitions with the epoch in which each was given to its member.
pub(in crate::coordinator) type Owned = BTreeMap<Uuid, BTreeMap<PartitionIndex, i32>>;

/// Collect partitions.
pub(super) fn partitions_of(each: impl IntoIterator<Item = (Uuid, PartitionIndex)>) -> Partitions {
    let mut partitions = Partitions::new();
    for (topic, index) in each {
        partitions.entry(topic).or_default().insert(index);
    }
    partitions
}

/// Every partition, one by one.
pub(super) fn each(partitions: &Partitions) -> impl Iterator<Item = (Uuid, PartitionIndex)> {
    partitions.iter().flat_map(|(topic, indexes)| indexes.iter().map(|index| (*topic, *index)))
}

/// Every owned partition, one by one.
pub(super) fn each_owned(owned: &Owned) -> impl Iterator<Item = (Uuid, PartitionIndex)> {
    owned.iter().flat_map(|(topic, indexes)| indexes.keys().map(|index| (*topic, *index)))
}

/// The epoch in which a partition was given.
pub(super) fn epoch_of(owned: &Owned, topic: Uuid, index: PartitionIndex) -> Option<i32> {
    owned.get(&topic)?.get(&index).copied()
}

/// All partitions, given in `epoch`.
pub(super) fn owned_since(partitions: &Partitions, epoch: i32) -> Owned {
    let since = |indexes: &BTreeSet<i32>| indexes.iter().map(|index| (*index, epoch)).collect();
    partitions.iter().map(|(topic, indexes)| (*topic, since(indexes))).collect()
}

pub(super) fn to_target_value(
    partitions: &Partitions,
) -> group_record::ConsumerGroupTargetAssignmentMemberValue {
    let topics = partitions.iter().map(|(topic_id, indexes)| group_record::TopicPartition {
        topic_id: *topic_id,
        partitions: indexes.iter().copied().collect(),
    });
    group_record::ConsumerGroupTargetAssignmentMemberValue { topic_partitions: topics.collect() }
}

pub(super) fn from_target_value(
    value: &group_record::ConsumerGroupTargetAssignmentMemberValue,
) -> Partitions {
    partitions_of(
        value
            .topic_partitions
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|index| (topic.topic_id, *index))),
    )
}

pub(super) fn to_current_value(owned: &Owned) -> Vec<group_record::TopicPartitions> {
    let topics = owned.iter().map(|(topic_id, epochs)| group_record::TopicPartitions {
        topic_id: *topic_id,
        partitions: epochs.keys().copied().collect(),
        assignment_epochs: Some(epochs.values().copied().collect()),
    });
    topics.collect()
}

/// What a record says; a partition whose epoch it does not tell has that of its member.
pub(super) fn from_current_value(
    topics: &[group_record::TopicPartitions],
    member_epoch: i32,
) -> Owned {
    let mut owned = Owned::new();
    for topic in topics.iter().filter(|topic| !topic.partitions.is_empty()) {
        let epochs = topic.assignment_epochs.as_deref().unwrap_or(&[]);
        let of_topic = owned.entry(topic.topic_id).or_default();
        for (at, index) in topic.partitions.iter().enumerate() {
            of_topic.insert(*index, epochs.get(at).copied().unwrap_or(member_epoch));
        }
    }
    owned
}

/// What a member says it owns.
pub(super) fn from_request(topics: &[consumer_group_heartbeat::TopicPartitions]) -> Partitions {
    partitions_of(
        topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|index| (topic.topic_id, *index))),
    )
}

/// What a member is told.
pub(super) fn to_response(owned: &Owned) -> consumer_group_heartbeat::Assignment {
    let topics = owned.iter().map(|(topic_id, epochs)| consumer_group_heartbeat::TopicPartitions {
        topic_id: *topic_id,
        partitions: epochs.keys().copied().collect(),
    });
    consumer_group_heartbeat::Assignment { topic_partitions: topics.collect() }
}

/// For people: with the names of the topics; topics that are gone are left out.
pub(super) fn to_description(
    image: &Image,
    partitions: &Partitions,
) -> consumer_group_describe::Assignment {
    let topics = partitions.iter().filter_map(|(topic_id, indexes)| {
        Some(consumer_group_describe::TopicPartitions {
            topic_id: *topic_id,
            topic_name: image.topic_by_id(*topic_id)?.name.as_str().into(),
            partitions: indexes.iter().copied().collect(),
        })
    });
    consumer_group_describe::Assignment { topic_partitions: topics.collect() }
}

/// For members that speak the classic protocol: by name; topics that are gone are left out.
pub(super) fn to_classic(
    image: &Image,
    partitions: impl IntoIterator<Item = (Uuid, PartitionIndex)>,
) -> consumer_protocol::ConsumerProtocolAssignment {
    let partitions = partitions_of(partitions);
    let topics = partitions.iter().filter_map(|(topic_id, indexes)| {
        Some(consumer_protocol::TopicPartition {
            topic: image.topic_by_id(*topic_id)?.name.as_str().into(),
            partitions: indexes.iter().copied().collect(),
        })
    });
    consumer_protocol::ConsumerProtocolAssignment {
        assigned_partitions: topics.collect(),
        user_data: None,
    }
}

/// From members that speak the classic protocol; topics and partitions that are not there are
/// left out.
pub(super) fn from_classic(
    image: &Image,
    topics: &[consumer_protocol::TopicPartition],
) -> Partitions {
    partitions_of(
        topics.iter().filter_map(|topic| Some((image.topic(&topic.topic)?, topic))).flat_map(
            |(known, topic)| {
                let exists = |index: &&i32| {
                    usize::try_from(**index).is_ok_and(|index| index < known.partitions.len())
                };
                topic.partitions.iter().filter(exists).map(|index| (known.id, *index))
            },
        ),
    )
}
