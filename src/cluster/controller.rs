//! Which changes a request leads to. Pure: reads an image, returns changes or a refusal; the
//! caller makes them durable and installs the new image.

use crate::model::{CLUSTER_METADATA, NodeId, PartitionIndex, ProducerId, TopicName, Uuid};

use super::change::{Change, ConfigResource};
use super::configs::check_values;
use super::image::{ConfigOverrides, Image, PartitionState};

/// Producer ids handed to a shard at a time (Kafka's `ProducerIdsBlock.PRODUCER_ID_BLOCK_SIZE`).
pub const PRODUCER_ID_BLOCK: i64 = 1000;

/// Why a change of metadata is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlError {
    /// TOPIC_ALREADY_EXISTS
    TopicExists(String),
    /// INVALID_TOPIC_EXCEPTION
    InvalidTopic(String),
    /// UNKNOWN_TOPIC_OR_PARTITION
    UnknownTopic(String),
    /// UNKNOWN_TOPIC_ID
    UnknownTopicId(String),
    /// INVALID_PARTITIONS
    InvalidPartitions(String),
    /// INVALID_REPLICATION_FACTOR
    InvalidReplicationFactor(String),
    /// INVALID_REPLICA_ASSIGNMENT
    InvalidAssignment(String),
    /// INVALID_CONFIG
    InvalidConfig(String),
    /// INVALID_REQUEST
    InvalidRequest(String),
    /// POLICY_VIOLATION: a limit or a rule of this broker.
    OverLimit(String),
    /// The log of changes could not be written.
    Storage(String),
}

/// What the controller knows about its cluster besides the image.
#[derive(Clone, Debug)]
pub struct ControllerLimits {
    /// The one broker.
    pub node_id: NodeId,
    /// Its one log directory.
    pub directory_id: Uuid,
    /// Topics.
    pub topics_max: usize,
    /// Partitions of all topics.
    pub partitions_max: usize,
    /// Partitions of one topic.
    pub topic_partitions_max: usize,
    /// Partitions of a topic that names no number (`num.partitions`).
    pub partitions_default: i32,
}

/// A topic to be created.
#[derive(Clone, Debug, Default)]
pub struct NewTopic {
    /// Its name, unchecked.
    pub name: String,
    /// -1 asks for the default.
    pub partitions: i32,
    /// -1 asks for the default.
    pub replication_factor: i16,
    /// (partition, brokers): replaces the two numbers above when not empty.
    pub assignments: Vec<(PartitionIndex, Vec<NodeId>)>,
    /// Configuration, checked by the caller.
    pub overrides: ConfigOverrides,
}

/// Changes that create `topic`, and its id.
///
/// # Errors
/// When name, partitions or replicas are not acceptable.
pub fn create_topic(
    image: &Image,
    limits: &ControllerLimits,
    topic: &NewTopic,
) -> Result<(Uuid, Vec<Change>), ControlError> {
    let name =
        TopicName::new(&topic.name).map_err(|e| ControlError::InvalidTopic(e.to_string()))?;
    if image.topic(&topic.name).is_some() {
        return Err(ControlError::TopicExists(format!("Topic '{name}' already exists.")));
    }
    if name.as_str() == CLUSTER_METADATA {
        return Err(ControlError::InvalidRequest(format!(
            "Topic '{name}' cannot be created: this name stands for the log of metadata."
        )));
    }
    if let Some(other) = image.colliding(&name) {
        return Err(ControlError::InvalidTopic(format!(
            "Topic '{name}' collides with existing topic: {other} (names that differ only in '.' \
             and '_' share their metric names)"
        )));
    }
    check_values(&topic.overrides)?;
    let count = partition_count(limits, topic)?;
    let topics = image.topic_count();
    if topics >= limits.topics_max {
        return Err(ControlError::OverLimit(format!(
            "This broker has {topics} topics, which is its limit (thalweg.topics.max): delete \
             some, or raise the limit."
        )));
    }
    check_room(image, limits, 0, count)?;
    let id = Uuid::random();
    let mut changes = vec![Change::Topic { id, name: name.clone() }];
    changes.extend(new_partitions(limits, id, 0, count));
    changes.extend(topic.overrides.iter().map(|(key, value)| Change::Config {
        resource: ConfigResource::Topic(name.as_str().into()),
        key: key.clone(),
        value: Some(value.clone()),
    }));
    Ok((id, changes))
}

/// How many partitions `topic` gets.
fn partition_count(limits: &ControllerLimits, topic: &NewTopic) -> Result<i32, ControlError> {
    if topic.assignments.is_empty() {
        if topic.replication_factor != -1 && topic.replication_factor != 1 {
            return Err(ControlError::InvalidReplicationFactor(if topic.replication_factor < 1 {
                "Replication factor must be larger than 0, or -1 to use the default value.".into()
            } else {
                format!(
                    "Unable to replicate the partition {} time(s): The target replication factor \
                         of {} cannot be reached because only 1 broker(s) are registered.",
                    topic.replication_factor, topic.replication_factor
                )
            }));
        }
        return match topic.partitions {
            -1 => Ok(limits.partitions_default),
            n if n >= 1 => Ok(n),
            _ => Err(ControlError::InvalidPartitions(
                "Number of partitions was set to an invalid non-positive value.".into(),
            )),
        };
    }
    if topic.replication_factor != -1 || topic.partitions != -1 {
        return Err(ControlError::InvalidRequest(
            "A manual partition assignment was specified, but replication factor or number of \
             partitions was not set to -1."
                .into(),
        ));
    }
    check_assignments(limits, 0, &topic.assignments)
}

/// Check a manual assignment of partitions `first..`; their number.
fn check_assignments(
    limits: &ControllerLimits,
    first: i32,
    assignments: &[(PartitionIndex, Vec<NodeId>)],
) -> Result<i32, ControlError> {
    let mut indexes: Vec<_> = assignments.iter().map(|(index, _)| *index).collect();
    indexes.sort_unstable();
    let dense = indexes.iter().zip(first..).all(|(index, due)| *index == due);
    if !dense {
        return Err(ControlError::InvalidAssignment(
            "partitions should be a consecutive 0-based integer sequence".into(),
        ));
    }
    if let Some((index, brokers)) =
        assignments.iter().find(|(_, brokers)| *brokers != [limits.node_id])
    {
        return Err(ControlError::InvalidAssignment(format!(
            "partition {index} is assigned to brokers {brokers:?}; the only broker is {}",
            limits.node_id
        )));
    }
    i32::try_from(assignments.len())
        .map_err(|_| ControlError::InvalidPartitions("too many partitions".into()))
}

/// Changes that raise the partitions of a topic to `count`.
///
/// # Errors
/// When the topic is unknown, internal, or has `count` partitions or more. (Kafka lets internal
/// topics grow: its groups lose their offsets at the next start.)
pub fn create_partitions(
    image: &Image,
    limits: &ControllerLimits,
    name: &str,
    count: i32,
    assignments: Option<&[Vec<NodeId>]>,
) -> Result<Vec<Change>, ControlError> {
    let topic = image.topic(name).ok_or_else(|| {
        ControlError::UnknownTopic("This server does not host this topic-partition.".into())
    })?;
    if topic.name.is_internal() {
        return Err(ControlError::OverLimit(format!(
            "{name} keeps the number of partitions that it was made with: which group is in which \
             of them follows from it, so groups would lose their offsets with another number."
        )));
    }
    let now = topic.partitions.len() as i32;
    if count == now {
        return Err(ControlError::InvalidPartitions(format!(
            "Topic already has {now} partition(s)."
        )));
    }
    if count < now {
        return Err(ControlError::InvalidPartitions(format!(
            "The topic {name} currently has {now} partition(s); {count} would not be an increase."
        )));
    }
    if let Some(assignments) = assignments {
        let numbered: Vec<_> = (now..).zip(assignments.iter().cloned()).collect();
        let assigned = check_assignments(limits, now, &numbered)?;
        if assigned != count - now {
            return Err(ControlError::InvalidAssignment(format!(
                "Attempted to add {} additional partition(s), but only {assigned} assignment(s) \
                 were specified.",
                count - now
            )));
        }
    }
    check_room(image, limits, now, count - now)?;
    Ok(new_partitions(limits, topic.id, now, count).collect())
}

/// The change that deletes a topic.
///
/// # Errors
/// When there is none of that name.
pub fn delete_topic(image: &Image, id: Uuid) -> Result<Change, ControlError> {
    match image.topic_by_id(id) {
        Some(topic) => Ok(Change::RemoveTopic { id: topic.id }),
        None => {
            Err(ControlError::UnknownTopicId("This server does not host this topic ID.".into()))
        }
    }
}

/// The change that reserves a block of producer ids, and its first id. The change must be
/// durable before an id of the block is handed out.
pub fn allocate_producer_ids(image: &Image) -> (ProducerId, Change) {
    let first = image.next_producer_id();
    (first, Change::ProducerIds { next: first + PRODUCER_ID_BLOCK })
}

/// Whether a topic of `has` partitions may have `more`.
fn check_room(
    image: &Image,
    limits: &ControllerLimits,
    has: i32,
    more: i32,
) -> Result<(), ControlError> {
    let now = image.partition_count();
    if (has as usize).saturating_add(more as usize) > limits.topic_partitions_max {
        return Err(ControlError::OverLimit(format!(
            "A topic of this broker may have {} partitions (thalweg.topic.partitions.max); {} were \
             asked for.",
            limits.topic_partitions_max,
            i64::from(has) + i64::from(more)
        )));
    }
    if now.saturating_add(more as usize) > limits.partitions_max {
        return Err(ControlError::OverLimit(format!(
            "{more} more partitions would exceed this broker's limit of {}; {now} exist. Delete \
             topics, or raise thalweg.partitions.max.",
            limits.partitions_max
        )));
    }
    Ok(())
}

fn new_partitions(
    limits: &ControllerLimits,
    topic_id: Uuid,
    from: i32,
    to: i32,
) -> impl Iterator<Item = Change> {
    let (node, directory) = (limits.node_id, limits.directory_id);
    (from..to).map(move |index| Change::Partition {
        topic_id,
        index,
        state: PartitionState::new_on(node, vec![directory]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::configs::VALUE_BYTES_MAX;
    use crate::model::CONSUMER_OFFSETS;

    const LIMITS: ControllerLimits = ControllerLimits {
        node_id: 1,
        directory_id: Uuid::ZERO,
        topics_max: 10,
        partitions_max: 100,
        topic_partitions_max: 99,
        partitions_default: 3,
    };

    fn topic(name: &str, partitions: i32, replication_factor: i16) -> NewTopic {
        NewTopic { name: name.into(), partitions, replication_factor, ..NewTopic::default() }
    }

    fn image_with(name: &str) -> Image {
        let mut image = Image::default();
        let (_, changes) = create_topic(&image, &LIMITS, &topic(name, -1, -1)).unwrap();
        for change in &changes {
            image.apply(change).unwrap();
        }
        image
    }

    #[test]
    fn topics_are_checked_as_kafka_checks_them() {
        use ControlError::*;
        let image = image_with("a.b");
        assert_eq!(image.topic("a.b").unwrap().partitions.len(), 3);
        let refuse = |t| create_topic(&image, &LIMITS, &t).unwrap_err();
        assert!(matches!(refuse(topic("a.b", 1, 1)), TopicExists(_)));
        assert!(matches!(refuse(topic("a_b", 1, 1)), InvalidTopic(_)));
        assert!(matches!(refuse(topic("x/y", 1, 1)), InvalidTopic(_)));
        assert!(matches!(refuse(topic("t", 0, 1)), InvalidPartitions(_)));
        assert!(matches!(refuse(topic("t", 1, 2)), InvalidReplicationFactor(_)));
        assert!(matches!(refuse(topic("t", 1, 0)), InvalidReplicationFactor(_)));
        assert!(matches!(refuse(topic("t", 98, 1)), OverLimit(_)));
        assert!(matches!(refuse(topic(CLUSTER_METADATA, 1, 1)), InvalidRequest(_)));
        let mut wordy = topic("t", 1, 1);
        let key = "leader.replication.throttled.replicas";
        wordy.overrides.insert(key.into(), "0".repeat(VALUE_BYTES_MAX));
        assert!(create_topic(&image, &LIMITS, &wordy).is_ok());
        wordy.overrides.insert(key.into(), "0".repeat(VALUE_BYTES_MAX + 1));
        assert!(matches!(refuse(wordy), InvalidConfig(_)));
        let mut manual = topic("t", -1, -1);
        manual.assignments = vec![(0, vec![1]), (2, vec![1])];
        assert!(matches!(refuse(manual.clone()), InvalidAssignment(_)));
        manual.assignments = vec![(0, vec![7])];
        assert!(matches!(refuse(manual.clone()), InvalidAssignment(_)));
        manual.assignments = vec![(1, vec![1]), (0, vec![1])];
        assert_eq!(create_topic(&image, &LIMITS, &manual).unwrap().1.len(), 3);
    }

    #[test]
    fn partitions_only_grow() {
        let image = image_with("t");
        let grow = |n| create_partitions(&image, &LIMITS, "t", n, None);
        assert_eq!(grow(5).unwrap().len(), 2);
        assert!(matches!(grow(3), Err(ControlError::InvalidPartitions(_))));
        assert!(matches!(grow(2), Err(ControlError::InvalidPartitions(_))));
        let wrong: [Vec<NodeId>; 1] = [vec![1]];
        assert!(create_partitions(&image, &LIMITS, "t", 5, Some(&wrong)).is_err());
        let image = image_with(CONSUMER_OFFSETS);
        let refused = create_partitions(&image, &LIMITS, CONSUMER_OFFSETS, 5, None);
        assert!(matches!(refused, Err(ControlError::OverLimit(_))), "groups would be elsewhere");
    }

    #[test]
    fn producer_id_blocks_do_not_overlap() {
        let mut image = Image::default();
        let (first, change) = allocate_producer_ids(&image);
        image.apply(&change).unwrap();
        let (second, _) = allocate_producer_ids(&image);
        assert_eq!((first, second), (0, 1000));
    }
}
