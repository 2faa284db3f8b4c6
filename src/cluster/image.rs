//! One immutable snapshot of the cluster's metadata.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::model::{LeaderEpoch, NodeId, PartitionIndex, ProducerId, TopicName, Uuid};

use super::change::{Change, ConfigResource, QuotaEntity};

/// Overrides of one resource's configuration, by Kafka's dotted names.
pub type ConfigOverrides = BTreeMap<String, String>;

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its identity.
    pub id: Uuid,
    /// Its name.
    pub name: TopicName,
    /// Its partitions; the index is the partition's number.
    pub partitions: Vec<PartitionState>,
    /// Its configuration where it differs from the broker's.
    pub overrides: ConfigOverrides,
}

impl Topic {
    /// Who leads a partition, and since which epoch.
    pub fn leader(&self, partition: PartitionIndex) -> Option<(NodeId, LeaderEpoch)> {
        let state = self.partitions.get(usize::try_from(partition).ok()?)?;
        Some((state.leader, state.leader_epoch))
    }
}

/// Leadership of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionState {
    /// The leading broker.
    pub leader: NodeId,
    /// How often leadership has changed.
    pub leader_epoch: LeaderEpoch,
    /// How often anything about the partition has changed.
    pub partition_epoch: i32,
    /// Brokers that hold it.
    pub replicas: Vec<NodeId>,
    /// Those of them that are in sync.
    pub in_sync: Vec<NodeId>,
    /// The log directory of each replica, in the order of `replicas` (KIP-858). Empty when an
    /// older build wrote it.
    pub directories: Vec<Uuid>,
}

impl PartitionState {
    /// A new partition whose only replica is on `node`.
    pub fn new_on(node: NodeId, directories: Vec<Uuid>) -> Self {
        Self {
            leader: node,
            leader_epoch: 0,
            partition_epoch: 0,
            replicas: vec![node],
            in_sync: vec![node],
            directories,
        }
    }
}

/// Quotas of one entity, by name.
pub type Quotas = BTreeMap<String, f64>;

/// All metadata at one point of the log. Images share what they have alike: a copy is made for each
/// request that changes something, in one turn.
#[derive(Clone, Debug, Default)]
pub struct Image {
    by_name: BTreeMap<TopicName, Arc<Topic>>,
    by_id: HashMap<Uuid, Arc<Topic>>,
    /// Names by their collision keys, of those that have a '.' or '_'.
    by_collision_key: HashMap<Arc<str>, TopicName>,
    /// Overrides per broker; the empty key holds the cluster-wide default.
    brokers: BTreeMap<Arc<str>, Arc<ConfigOverrides>>,
    /// Overrides per group.
    groups: BTreeMap<Arc<str>, Arc<ConfigOverrides>>,
    quotas: BTreeMap<QuotaEntity, Arc<Quotas>>,
    /// The first producer id that was never handed out.
    next_producer_id: ProducerId,
    /// Changes applied since the beginning: the version of this image.
    version: u64,
    partitions: usize,
}

impl Image {
    /// Topics in the order of their names.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.by_name.values()
    }

    /// Topics after `name`, in order (paged descriptions).
    pub fn topics_from(&self, name: &str) -> impl Iterator<Item = &Arc<Topic>> {
        let start = self.by_name.values().position(|t| t.name.as_str() >= name);
        self.by_name.values().skip(start.unwrap_or(usize::MAX))
    }

    /// The topic of that name.
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(name)
    }

    /// How many topics there are.
    pub fn topic_count(&self) -> usize {
        self.by_name.len()
    }

    /// The topic whose name differs from `name` only in '.' and '_', or is the same.
    pub fn colliding(&self, name: &TopicName) -> Option<&TopicName> {
        self.by_collision_key.get(name.collision_key().as_str())
    }

    /// The topic of that id.
    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    /// Overrides of a broker's configuration; the empty name is the cluster-wide default.
    pub fn broker_overrides(&self, broker: &str) -> Option<&ConfigOverrides> {
        self.brokers.get(broker).map(Arc::as_ref)
    }

    /// Overrides of a group's configuration.
    pub fn group_overrides(&self, group: &str) -> Option<&ConfigOverrides> {
        self.groups.get(group).map(Arc::as_ref)
    }

    /// Groups with overrides, in the order of their ids.
    pub fn configured_groups(&self) -> impl ExactSizeIterator<Item = &str> {
        self.groups.keys().map(Arc::as_ref)
    }

    /// What is set for `resource`; `None` when nothing is.
    pub fn overrides(&self, resource: &ConfigResource) -> Option<&ConfigOverrides> {
        match resource {
            ConfigResource::Topic(name) => self.topic(name).map(|topic| &topic.overrides),
            ConfigResource::Broker(name) => self.broker_overrides(name),
            ConfigResource::Group(name) => self.group_overrides(name),
        }
    }

    /// Entities with client quotas, and their quotas.
    pub fn quotas(&self) -> &BTreeMap<QuotaEntity, Arc<Quotas>> {
        &self.quotas
    }

    /// The first producer id that was never handed out.
    pub fn next_producer_id(&self) -> ProducerId {
        self.next_producer_id
    }

    /// Partitions of all topics.
    pub fn partition_count(&self) -> usize {
        self.partitions
    }

    /// How many changes lead to this image.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Apply one change. Changes come from the log, so one that does not fit means that the log
    /// and this code disagree.
    ///
    /// # Errors
    /// Says which change does not fit.
    pub fn apply(&mut self, change: &Change) -> Result<(), String> {
        match change {
            Change::Topic { id, name } => {
                if self.by_name.contains_key(name) || self.by_id.contains_key(id) {
                    return Err(format!("topic {name} ({id}) is there already"));
                }
                if may_collide(name) {
                    self.by_collision_key.insert(name.collision_key().into(), name.clone());
                }
                self.put(Topic {
                    id: *id,
                    name: name.clone(),
                    partitions: Vec::new(),
                    overrides: ConfigOverrides::new(),
                });
            }
            Change::Partition { topic_id, index, state } => {
                self.edit(*topic_id, |topic| {
                    if usize::try_from(*index) != Ok(topic.partitions.len()) {
                        return Err(format!(
                            "partition {index} of topic {} follows {}",
                            topic.name,
                            topic.partitions.len() as i64 - 1
                        ));
                    }
                    topic.partitions.push(state.clone());
                    Ok(())
                })?;
                self.partitions += 1;
            }
            Change::RemoveTopic { id } => {
                let topic = self.by_id.remove(id).ok_or_else(|| format!("no topic {id}"))?;
                self.partitions -= topic.partitions.len();
                self.by_name.remove(&topic.name);
                let key = topic.name.collision_key();
                if self.by_collision_key.get(key.as_str()) == Some(&topic.name) {
                    self.by_collision_key.remove(key.as_str());
                }
            }
            Change::Config { resource: ConfigResource::Topic(name), key, value } => {
                let id = self.topic(name).ok_or_else(|| format!("no topic {name}"))?.id;
                self.edit(id, |topic| {
                    set(&mut topic.overrides, key, value.as_deref());
                    Ok(())
                })?;
            }
            Change::Config { resource: ConfigResource::Broker(name), key, value } => {
                set_in(&mut self.brokers, name, key, value.as_deref());
            }
            Change::Config { resource: ConfigResource::Group(name), key, value } => {
                set_in(&mut self.groups, name, key, value.as_deref());
            }
            Change::ClientQuota { entity, key, value } => {
                let quotas = Arc::make_mut(self.quotas.entry(entity.clone()).or_default());
                match value {
                    Some(value) => drop(quotas.insert(key.clone(), *value)),
                    None => drop(quotas.remove(key)),
                }
                if quotas.is_empty() {
                    self.quotas.remove(entity);
                }
            }
            Change::ProducerIds { next } => self.next_producer_id = *next,
        }
        self.version += 1;
        Ok(())
    }

    /// The changes that lead from nothing to this image (a snapshot of it).
    pub fn as_changes(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        for topic in self.by_name.values() {
            changes.push(Change::Topic { id: topic.id, name: topic.name.clone() });
            for (index, state) in topic.partitions.iter().enumerate() {
                changes.push(Change::Partition {
                    topic_id: topic.id,
                    index: index as PartitionIndex,
                    state: state.clone(),
                });
            }
            let resource = ConfigResource::Topic(topic.name.as_str().into());
            changes.extend(settings(&resource, &topic.overrides));
        }
        for (name, overrides) in &self.brokers {
            changes.extend(settings(&ConfigResource::Broker(name.to_string()), overrides));
        }
        for (name, overrides) in &self.groups {
            changes.extend(settings(&ConfigResource::Group(name.to_string()), overrides));
        }
        for (entity, quotas) in &self.quotas {
            changes.extend(quotas.iter().map(|(key, value)| Change::ClientQuota {
                entity: entity.clone(),
                key: key.clone(),
                value: Some(*value),
            }));
        }
        changes.push(Change::ProducerIds { next: self.next_producer_id });
        changes
    }

    /// Replace a topic by its edited copy in both maps.
    fn edit(
        &mut self,
        id: Uuid,
        change: impl FnOnce(&mut Topic) -> Result<(), String>,
    ) -> Result<(), String> {
        let topic = self.by_id.remove(&id).ok_or_else(|| format!("no topic {id}"))?;
        self.by_name.remove(&topic.name);
        // Not shared while changes of one batch are applied, so usually no copy is made.
        let mut topic = Arc::unwrap_or_clone(topic);
        let outcome = change(&mut topic);
        self.put(topic);
        outcome
    }

    fn put(&mut self, topic: Topic) {
        let topic = Arc::new(topic);
        self.by_id.insert(topic.id, topic.clone());
        self.by_name.insert(topic.name.clone(), topic);
    }
}

/// Whether another name can differ from this one only in '.' and '_'.
fn may_collide(name: &TopicName) -> bool {
    name.as_str().contains(['.', '_'])
}

fn set(overrides: &mut ConfigOverrides, key: &str, value: Option<&str>) {
    match value {
        Some(value) => drop(overrides.insert(key.into(), value.into())),
        None => drop(overrides.remove(key)),
    }
}

/// The same in a map of overrides per name, which holds no empty ones.
fn set_in(
    all: &mut BTreeMap<Arc<str>, Arc<ConfigOverrides>>,
    name: &str,
    key: &str,
    value: Option<&str>,
) {
    let overrides = Arc::make_mut(all.entry(name.into()).or_default());
    set(overrides, key, value);
    if overrides.is_empty() {
        all.remove(name);
    }
}

/// The changes that set `overrides`.
fn settings(
    resource: &ConfigResource,
    overrides: &ConfigOverrides,
) -> impl Iterator<Item = Change> {
    overrides.iter().map(|(key, value)| Change::Config {
        resource: resource.clone(),
        key: key.clone(),
        value: Some(value.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_the_sum_of_its_changes() {
        let id = Uuid::random();
        let name = TopicName::new("orders").unwrap();
        let state = PartitionState::new_on(1, vec![Uuid::random()]);
        let mut image = Image::default();
        let partition = |index| Change::Partition { topic_id: id, index, state: state.clone() };
        for change in [
            Change::Topic { id, name: name.clone() },
            partition(0),
            partition(1),
            Change::Config {
                resource: ConfigResource::Topic("orders".into()),
                key: "retention.ms".into(),
                value: Some("1".into()),
            },
            Change::Config {
                resource: ConfigResource::Group("g".into()),
                key: "consumer.session.timeout.ms".into(),
                value: Some("50000".into()),
            },
            Change::ClientQuota {
                entity: QuotaEntity::new([("user".into(), None)].into()),
                key: "producer_byte_rate".into(),
                value: Some(1024.0),
            },
            Change::ProducerIds { next: 1000 },
        ] {
            image.apply(&change).unwrap();
        }
        assert!(image.apply(&partition(3)).is_err(), "a gap in the partitions");
        assert!(image.apply(&Change::Topic { id: Uuid::random(), name }).is_err(), "a name twice");
        assert_eq!(image.partition_count(), 2);
        assert_eq!(image.topic("orders").unwrap().overrides["retention.ms"], "1");
        let mut again = Image::default();
        for change in image.as_changes() {
            again.apply(&change).unwrap();
        }
        assert_eq!(again.by_name, image.by_name);
        assert_eq!((&again.groups, &again.quotas), (&image.groups, &image.quotas));
        assert_eq!((again.groups.len(), again.quotas.len()), (1, 1));
        assert_eq!(again.next_producer_id, 1000);
        let entity = QuotaEntity::new([("user".into(), None)].into());
        image
            .apply(&Change::ClientQuota { entity, key: "producer_byte_rate".into(), value: None })
            .unwrap();
        assert!(image.quotas.is_empty(), "an entity without quotas is none");
        image.apply(&Change::RemoveTopic { id }).unwrap();
        assert_eq!((image.partition_count(), image.topics().count()), (0, 0));
    }

    /// There may be ten thousand of each, and a copy is made for each request that changes one.
    #[test]
    fn images_share_what_they_have_alike() {
        let set = |resource| Change::Config { resource, key: "k".into(), value: Some("v".into()) };
        let quota = |user: &str| Change::ClientQuota {
            entity: QuotaEntity::new([("user".into(), Some(user.into()))].into()),
            key: "producer_byte_rate".into(),
            value: Some(1024.0),
        };
        let mut image = Image::default();
        image.apply(&set(ConfigResource::Group("g".into()))).unwrap();
        image.apply(&quota("u")).unwrap();
        let before = image.clone();
        image.apply(&set(ConfigResource::Group("h".into()))).unwrap();
        image.apply(&quota("v")).unwrap();
        let group = |image: &Image| std::ptr::from_ref(image.group_overrides("g").unwrap());
        assert_eq!(group(&image), group(&before));
        let (entity, quotas) = before.quotas().first_key_value().unwrap();
        let (same_entity, same_quotas) = image.quotas().first_key_value().unwrap();
        assert!(Arc::ptr_eq(entity, same_entity) && Arc::ptr_eq(quotas, same_quotas));
        assert_eq!((before.quotas().len(), image.quotas().len()), (1, 2));
        assert_eq!((before.configured_groups().len(), image.configured_groups().len()), (1, 2));
    }

    #[test]
    fn an_image_knows_whose_names_collide() {
        let name = |text: &str| TopicName::new(text).unwrap();
        let id = Uuid::random();
        let mut image = Image::default();
        image.apply(&Change::Topic { id, name: name("a.b") }).unwrap();
        image.apply(&Change::Topic { id: Uuid::random(), name: name("ab") }).unwrap();
        assert_eq!(image.topic_count(), 2);
        assert_eq!(image.colliding(&name("a_b")), Some(&name("a.b")));
        assert_eq!(image.colliding(&name("a_c")), None);
        image.apply(&Change::RemoveTopic { id }).unwrap();
        assert_eq!(image.colliding(&name("a_b")), None);
        assert!(image.by_collision_key.is_empty());
    }
}
