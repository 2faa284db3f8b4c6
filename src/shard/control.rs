//! The embedded controller (shard 0) and installing its images on every shard.
//!
//! A change is durable in the metadata log before any shard hears of it, and installed on every
//! shard before its requester is answered. Changes are made one after the other.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::future::join_all;
use futures_util::lock::Mutex;

use crate::cluster::change::Change;
use crate::cluster::configs::{self, alter_configs};
use crate::cluster::controller::{
    ControlError, ControllerLimits, allocate_producer_ids, create_partitions, create_topic,
    delete_topic,
};
use crate::cluster::image::{ConfigOverrides, Image};
use crate::cluster::log::MetadataWriter;
use crate::cluster::placement;
use crate::cluster::quotas::alter_quotas;
use crate::config::{Config, Durability, TopicConfig};
use crate::model::{ProducerId, TopicPartition, Uuid};
use crate::partition::producers::ProducerLimits;
use crate::partition::{Closed, Partition, PartitionConfig};
use crate::runtime::wait::{ITEMS_AT_ONCE, Pace};
use crate::runtime::{LineLimit, Runtime};
use crate::storage::{Compaction, LogConfig, Replay, StorageError};

use super::Shard;
use super::call::{Call, ControlReply, ControlRequest, MorePartitions, Reply};

/// What it takes to decide about one item of a request, or to work out a topic's settings, as so
/// many cheap things.
pub(crate) const DECISION: usize = 10;

/// Logs that are created or deleted at the same time: they share the flush that each waits for.
const LOGS_AT_ONCE: usize = 64;

/// The one writer of metadata.
pub struct Controller {
    /// The newest durable image; may be ahead of what shards have installed.
    image: RefCell<Arc<Image>>,
    limits: ControllerLimits,
    /// One change at a time.
    log: Mutex<MetadataWriter>,
    /// Limits the lines about logs that could not be created.
    failures: LineLimit,
}

impl Controller {
    /// A controller that continues from what the log held.
    pub fn new(image: Image, limits: ControllerLimits, log: MetadataWriter) -> Rc<Self> {
        Rc::new(Self {
            image: RefCell::new(Arc::new(image)),
            limits,
            log: Mutex::new(log),
            failures: LineLimit::default(),
        })
    }

    /// The newest durable image.
    pub fn image(&self) -> Arc<Image> {
        self.image.borrow().clone()
    }
}

/// Changes decided, their outcomes per item, and the image they lead to.
struct Decided<T> {
    changes: Vec<Change>,
    outcomes: Vec<Result<T, ControlError>>,
    image: Image,
    pace: Pace,
}

impl<T> Decided<T> {
    fn new(image: &Image) -> Self {
        Self {
            changes: Vec::new(),
            outcomes: Vec::new(),
            image: image.clone(),
            pace: Pace::new(ITEMS_AT_ONCE),
        }
    }

    /// Apply what was decided for one item, so that the next one sees it. Others go first before
    /// and in between: nobody else sees this image yet.
    async fn item(&mut self, decided: Result<(T, Vec<Change>), ControlError>) {
        self.pace.worked(DECISION).await;
        let outcome = match decided {
            Ok((value, changes)) => self.apply(changes).await.map(|()| value),
            Err(why) => Err(why),
        };
        self.outcomes.push(outcome);
    }

    async fn apply(&mut self, changes: Vec<Change>) -> Result<(), ControlError> {
        for change in &changes {
            self.pace.worked(1).await;
            self.image.apply(change).map_err(ControlError::InvalidRequest)?;
        }
        self.changes.extend(changes);
        Ok(())
    }
}

impl<R: Runtime> Shard<R> {
    /// Carry out a change of metadata; `None` when this shard has no controller.
    pub(super) async fn control(self: &Rc<Self>, request: ControlRequest) -> Option<ControlReply> {
        let controller = self.controller.clone()?;
        let mut log = controller.log.lock().await;
        let image = controller.image();
        let reply = match request {
            ControlRequest::CreateTopics { topics, validate_only } => {
                let mut decided = Decided::new(&image);
                for topic in topics {
                    let created = create_topic(&decided.image, &controller.limits, &topic);
                    decided
                        .item(created.map(|(id, changes)| {
                            let partitions = |c: &&Change| matches!(c, Change::Partition { .. });
                            let count = changes.iter().filter(partitions).count();
                            ((id, count as i32), changes)
                        }))
                        .await;
                }
                let outcomes = self.commit(&controller, &mut log, decided, validate_only).await;
                ControlReply::Topics(outcomes)
            }
            ControlRequest::CreatePartitions { topics, validate_only } => {
                let mut decided = Decided::new(&image);
                for MorePartitions { topic, count, assignments } in topics {
                    let limits = &controller.limits;
                    let assignments = assignments.as_deref();
                    let grown =
                        create_partitions(&decided.image, limits, &topic, count, assignments);
                    let id = image.topic(&topic).map_or(Uuid::ZERO, |t| t.id);
                    decided.item(grown.map(|changes| ((id, count), changes))).await;
                }
                let outcomes = self.commit(&controller, &mut log, decided, validate_only).await;
                ControlReply::Topics(outcomes)
            }
            ControlRequest::DeleteTopics(ids) => {
                let mut decided = Decided::new(&image);
                for id in ids {
                    let count = image.topic_by_id(id).map_or(0, |t| t.partitions.len() as i32);
                    let deleted = delete_topic(&decided.image, id);
                    decided.item(deleted.map(|change| ((id, count), vec![change]))).await;
                }
                ControlReply::Topics(self.commit(&controller, &mut log, decided, false).await)
            }
            ControlRequest::Configs { alterations, validate_only } => {
                let mut decided = Decided::new(&image);
                for alteration in alterations {
                    let altered = alter_configs(&decided.image, &self.config, &alteration);
                    decided.item(altered.map(|changes| ((), changes))).await;
                }
                let outcomes = self.commit(&controller, &mut log, decided, validate_only).await;
                ControlReply::Altered(outcomes)
            }
            ControlRequest::Quotas { alterations, validate_only } => {
                let mut decided = Decided::new(&image);
                for alteration in alterations {
                    let altered = alter_quotas(&decided.image, &alteration);
                    decided.item(altered.map(|changes| ((), changes))).await;
                }
                let outcomes = self.commit(&controller, &mut log, decided, validate_only).await;
                ControlReply::Altered(outcomes)
            }
            ControlRequest::ProducerIds => {
                let (first, change) = allocate_producer_ids(&image);
                let mut decided = Decided::new(&image);
                let end = match &change {
                    Change::ProducerIds { next } => *next,
                    _ => first,
                };
                decided.item(Ok(((first, end), vec![change]))).await;
                let mut outcomes = self.commit(&controller, &mut log, decided, false).await;
                let gone = || Err(ControlError::Storage("no producer ids were reserved".into()));
                ControlReply::ProducerIds(outcomes.pop().unwrap_or_else(gone))
            }
        };
        // What the shards have replaced by now may be large, and this may be the last to hold it.
        log.discard(image).await;
        Some(reply)
    }

    /// Make decided changes durable and install them everywhere, unless `validate_only`; what
    /// became of each item, or would.
    async fn commit<T: Clone>(
        self: &Rc<Self>,
        controller: &Rc<Controller>,
        log: &mut MetadataWriter,
        decided: Decided<T>,
        validate_only: bool,
    ) -> Vec<Result<T, ControlError>> {
        if validate_only || decided.changes.is_empty() {
            log.discard((decided.changes, decided.image)).await;
            return decided.outcomes;
        }
        let image = Arc::new(decided.image);
        if let Err(why) = log.append(decided.changes, image.clone()).await {
            let why = ControlError::Storage(why);
            return decided.outcomes.into_iter().map(|o| o.and(Err(why.clone()))).collect();
        }
        controller.image.replace(image.clone());
        for reply in self.ask_all(|| Call::Install(image.clone())).await {
            if let Reply::Install(failures) = reply {
                for (partition, why) in failures {
                    if let Some(unsaid) = controller.failures.may_log(self.runtime.now()) {
                        tracing::error!(topic_id = %partition.topic_id,
                            partition = partition.partition, unsaid,
                            "the log of a partition could not be created: {why}");
                    }
                }
            }
        }
        decided.outcomes
    }

    /// Take a new image: open what this shard now owns, close and delete what is gone. Logs that
    /// could not be created are returned; their partitions answer KAFKA_STORAGE_ERROR.
    pub(super) async fn install(
        self: &Rc<Self>,
        image: Arc<Image>,
    ) -> Vec<(TopicPartition, String)> {
        let before = self.image.replace(image.clone());
        let durability = self.live_config().durability;
        let is_reconfigured = self.reconfigure(&before, &image);
        self.topic_configs.borrow_mut().clear();
        if self.id == 0 {
            self.tell_durability(durability, &before, &image).await;
        }
        let new = self.settle_known(&before, &image, is_reconfigured).await;
        let failures = self.create_all(&image, &new).await;
        self.remove_gone(&before, &image).await;
        self.install_groups(&image);
        failures
    }

    /// Give the partitions that this shard has what has changed of their settings; those of its
    /// own that it has not.
    async fn settle_known(
        &self,
        before: &Image,
        image: &Image,
        is_reconfigured: bool,
    ) -> Vec<TopicPartition> {
        let mut new = Vec::new();
        let mut pace = Pace::new(ITEMS_AT_ONCE);
        for topic in image.topics() {
            pace.worked(1).await;
            let known = before.topic_by_id(topic.id);
            if known.is_some_and(|k| Arc::ptr_eq(k, topic)) && !is_reconfigured {
                continue;
            }
            let overrides_changed =
                is_reconfigured || known.is_some_and(|k| k.overrides != topic.overrides);
            for index in 0..topic.partitions.len() as i32 {
                pace.worked(1).await;
                let id = TopicPartition { topic_id: topic.id, partition: index };
                if placement::owner(id, self.shards) != self.id {
                    continue;
                }
                match self.partition(id) {
                    Some(partition) if overrides_changed => {
                        pace.worked(DECISION).await;
                        let (log, rules) = self.settings(image, id);
                        partition.log().set_config(log);
                        self.count_relaxed(partition.is_relaxed(), rules.relaxed);
                        partition.set_config(&rules);
                    }
                    Some(_) => {}
                    None => new.push(id),
                }
            }
        }
        new
    }

    /// Create and open these; those whose log could not be created.
    async fn create_all(
        self: &Rc<Self>,
        image: &Image,
        new: &[TopicPartition],
    ) -> Vec<(TopicPartition, String)> {
        let mut failures = Vec::new();
        let mut pace = Pace::new(LOGS_AT_ONCE);
        for some in new.chunks(LOGS_AT_ONCE) {
            let created = join_all(some.iter().map(|id| self.create(image, *id))).await;
            let failed = some.iter().zip(created).filter_map(|(id, done)| Some((*id, done.err()?)));
            failures.extend(failed);
            pace.worked(some.len()).await;
        }
        failures
    }

    /// Take over the broker's dynamic settings; whether they changed.
    fn reconfigure(&self, before: &Image, image: &Image) -> bool {
        let own = self.config.node_id.to_string();
        let (default, own_now) = (image.broker_overrides(""), image.broker_overrides(&own));
        if (before.broker_overrides(""), before.broker_overrides(&own)) == (default, own_now) {
            return false;
        }
        let (config, errors) = configs::live(&self.config, image);
        for error in errors {
            tracing::error!("a dynamic setting of the broker is left out: {error}");
        }
        self.live_config.replace(Arc::new(config));
        true
    }

    /// Nothing relaxes silently: say from when on acks=all is answered before the flush.
    async fn tell_durability(&self, before: Durability, old: &Image, new: &Image) {
        let now = self.live_config().durability;
        match now {
            Durability::Write if before != now => tracing::warn!(
                "thalweg.durability of the broker is write now: acks=all is answered before the \
                 flush and does not survive a power cut, in every topic without a setting of its \
                 own"
            ),
            Durability::Flush if before != now => {
                tracing::info!("thalweg.durability of the broker is flush now");
            }
            _ => {}
        }
        let mut relaxed = Vec::new();
        let mut pace = Pace::new(ITEMS_AT_ONCE);
        for topic in new.topics() {
            pace.worked(1).await;
            let was_relaxed =
                || old.topic_by_id(topic.id).is_some_and(|old| configs::is_relaxed(old));
            if configs::is_relaxed(topic) && !was_relaxed() {
                relaxed.push(topic.name.as_str());
            }
        }
        if let [topic, others @ ..] = &relaxed[..] {
            tracing::warn!(
                topic,
                others = others.len(),
                "thalweg.durability=write: acks=all \
                is answered before the flush and does not survive a power cut"
            );
        }
    }

    /// Close and delete what the image no longer has.
    async fn remove_gone(&self, before: &Image, image: &Image) {
        let mut gone = Vec::new();
        let mut pace = Pace::new(ITEMS_AT_ONCE);
        for topic in before.topics() {
            pace.worked(1).await;
            if image.topic_by_id(topic.id).is_some() {
                continue;
            }
            for partition in 0..topic.partitions.len() as i32 {
                pace.worked(1).await;
                let id = TopicPartition { topic_id: topic.id, partition };
                gone.extend(self.partitions.borrow_mut().remove(&id));
            }
        }
        let mut pace = Pace::new(LOGS_AT_ONCE);
        let mut gone = gone.into_iter();
        while gone.len() > 0 {
            let deleted = join_all(gone.by_ref().take(LOGS_AT_ONCE).map(|p| self.delete(p))).await;
            pace.worked(deleted.len()).await;
        }
    }

    async fn delete(&self, partition: Rc<Partition<R>>) {
        self.count_relaxed(partition.is_relaxed(), false);
        partition.close(Closed::Deleted);
        match self.store.delete_log(partition.id()).await {
            // Of a broker that stops, or whose log says already what is the matter.
            Ok(()) | Err(StorageError::Offline(_)) => {}
            Err(error) => tracing::error!(topic_id = %partition.id().topic_id, ?error,
                "files of a deleted partition could not be removed; they go at the next start"),
        }
    }

    async fn create(self: &Rc<Self>, image: &Image, id: TopicPartition) -> Result<(), String> {
        let (log, _) = self.settings(image, id);
        let log = self.store.create_log(id, log).await.map_err(|e| format!("{e:?}"))?;
        self.adopt(image, log, &Replay::default())
    }

    /// Open a partition on `log` and serve it.
    pub fn adopt(
        self: &Rc<Self>,
        image: &Image,
        log: Rc<crate::storage::Log<R>>,
        replay: &Replay,
    ) -> Result<(), String> {
        let id = log.id();
        let (settings, rules) = self.settings(image, id);
        log.set_config(settings);
        let limits = ProducerLimits {
            producers_max: self.config.limits.partition_producers_max,
            held: self.producers_held.clone(),
        };
        let epoch = image
            .topic_by_id(id.topic_id)
            .and_then(|t| t.partitions.get(id.partition as usize))
            .map_or(0, |p| p.leader_epoch);
        let partition = Partition::open(self.runtime.clone(), log, replay, &rules, limits, epoch)?;
        self.partitions.borrow_mut().insert(id, partition);
        self.count_relaxed(false, rules.relaxed);
        Ok(())
    }

    /// What the topic's configuration says about its logs and partitions.
    fn settings(&self, image: &Image, id: TopicPartition) -> (LogConfig, PartitionConfig) {
        topic_settings(&self.live_config(), image, id)
    }

    /// A producer id that was never handed out before.
    ///
    /// # Errors
    /// When a new block cannot be made durable.
    pub async fn next_producer_id(self: &Rc<Self>) -> Result<ProducerId, ControlError> {
        loop {
            let (next, end) = self.producer_ids.get();
            if next < end {
                self.producer_ids.set((next + 1, end));
                return Ok(next);
            }
            // Several requests may ask at once; a block too many is only skipped numbers.
            match self.call(0, Call::Control(ControlRequest::ProducerIds)).await {
                Reply::Control(ControlReply::ProducerIds(block)) => self.producer_ids.set(block?),
                _ => return Err(ControlError::Storage("the controller is stopping".into())),
            }
        }
    }
}

/// What a topic's configuration says about the log of one of its partitions.
pub fn topic_settings(
    config: &Config,
    image: &Image,
    id: TopicPartition,
) -> (LogConfig, PartitionConfig) {
    let none = ConfigOverrides::new();
    let overrides = image.topic_by_id(id.topic_id).map_or(&none, |t| &t.overrides);
    let topic = typed(config, overrides);
    (
        LogConfig {
            segment_bytes: topic.segment_bytes,
            segment_ms: match topic.compact {
                // What must be compacted in time must be out of the active segment by then.
                true => topic.segment_ms.min(topic.compaction_lag_ms_max),
                false => topic.segment_ms,
            },
            retention_bytes: topic.retention_bytes,
            retention_ms: topic.retention_ms,
            index_interval_bytes: topic.index_interval_bytes,
            flush_ms: topic.flush_ms,
            delete: topic.delete,
            compaction: topic.compact.then_some(Compaction {
                dirty_ratio_min: topic.dirty_ratio_min,
                lag_ms_min: topic.compaction_lag_ms_min,
                lag_ms_max: topic.compaction_lag_ms_max,
                delete_retention_ms: topic.delete_retention_ms,
            }),
        },
        PartitionConfig {
            relaxed: topic.durability == Durability::Write,
            flush_messages: topic.flush_messages,
        },
    )
}

/// The typed form of a topic's overrides; the log tells what of them cannot be taken any more.
pub(super) fn typed(config: &Config, overrides: &ConfigOverrides) -> TopicConfig {
    let (topic, errors) = TopicConfig::forgiving(overrides, config);
    for error in errors {
        tracing::error!("a topic's setting is left out: {error}");
    }
    topic
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::controller::NewTopic;
    use crate::runtime::wait::in_turns;

    #[test]
    fn a_topic_of_very_many_partitions_is_made_in_turns() {
        let limits = ControllerLimits {
            node_id: 1,
            directory_id: Uuid::ZERO,
            topics_max: 1,
            partitions_max: 10_000,
            topic_partitions_max: 10_000,
            partitions_default: 1,
        };
        let topic = NewTopic {
            name: "large".into(),
            partitions: 10_000,
            replication_factor: 1,
            ..NewTopic::default()
        };
        let created = create_topic(&Image::default(), &limits, &topic);
        let mut decided = Decided::new(&Image::default());
        let (turns, ()) = in_turns(decided.item(created));
        assert!(turns > 10, "made in {turns} turns");
        assert_eq!(decided.image.partition_count(), 10_000);
        assert!(decided.outcomes[0].is_ok());
    }
}
