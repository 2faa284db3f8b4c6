//! One core and everything it owns: partitions, their store, its metrics, its copy of the
//! metadata image.
//!
//! | file | owns |
//! |---|---|
//! | [`call`] | the closed list of what one shard may ask of another |
//! | [`mesh`] | the only place where data changes thread |
//! | [`serve`] | carrying out calls on the shard that owns what they are about |
//! | [`control`] | the embedded controller (shard 0) and installing its images |
//! | [`lookup`] | offsets by timestamp |
//! | [`measure`] | counters as others may see them |
//! | [`groups`] | the coordinators of this shard at work |
//! | [`housekeeping`] | retention and expiry, a little at a time |
//! | [`cleaning`] | log compaction, the dirtiest log first |
//!
//! Always true: only this shard's thread touches what this shard owns. Asking the owner goes
//! through [`Shard::call`], which is a plain function call when the owner is the caller.

pub mod call;
pub mod cleaning;
pub mod control;
pub mod groups;
pub mod housekeeping;
pub mod lookup;
pub mod measure;
pub mod mesh;
pub mod serve;
#[cfg(test)]
pub(crate) mod turns_tests;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::cluster::image::{Image, Topic};
use crate::cluster::placement;
use crate::config::{Config, TopicConfig};
use crate::metrics::ShardMetrics;
use crate::model::{ProducerId, ShardId, TopicPartition, Uuid};
use crate::partition::Partition;
use crate::runtime::Runtime;
use crate::storage::Store;

use control::Controller;
use groups::Groups;
use mesh::Mesh;

/// One core and everything it owns.
pub struct Shard<R: Runtime> {
    /// Its number.
    pub id: ShardId,
    /// How many there are.
    pub shards: ShardId,
    /// Clock, sleep, spawn, disk.
    pub runtime: R,
    /// Settings and limits as of the start; see [`Shard::live_config`].
    pub config: Arc<Config>,
    /// Counters.
    pub metrics: Rc<ShardMetrics>,
    /// The way to other shards.
    mesh: Mesh,
    store: Rc<Store<R>>,
    partitions: RefCell<HashMap<TopicPartition, Rc<Partition<R>>>>,
    image: RefCell<Arc<Image>>,
    /// Typed settings of topics, as of the image; made when first asked for.
    topic_configs: RefCell<HashMap<Uuid, Rc<TopicConfig>>>,
    /// The configuration with what was set at run time, as of the image.
    live_config: RefCell<Arc<Config>>,
    /// On shard 0 only.
    controller: Option<Rc<Controller>>,
    /// Producer ids of the current block: next, end.
    producer_ids: Cell<(ProducerId, ProducerId)>,
    /// Idempotent producers that its partitions remember.
    producers_held: Rc<Cell<usize>>,
    groups: Groups<R>,
}

impl<R: Runtime> Shard<R> {
    /// A shard that owns nothing yet; [`Shard::install`] gives it its partitions.
    pub fn new(
        id: ShardId,
        shards: ShardId,
        runtime: R,
        config: Arc<Config>,
        mesh: Mesh,
        store: Rc<Store<R>>,
        controller: Option<Rc<Controller>>,
    ) -> Rc<Self> {
        let groups = Groups::new(&runtime, config.limits.groups_memory_bytes_max);
        Rc::new(Self {
            id,
            shards,
            runtime,
            metrics: Rc::new(ShardMetrics::new(id)),
            live_config: RefCell::new(config.clone()),
            config,
            mesh,
            store,
            partitions: RefCell::new(HashMap::new()),
            image: RefCell::new(Arc::new(Image::default())),
            topic_configs: RefCell::default(),
            controller,
            producer_ids: Cell::new((0, 0)),
            producers_held: Rc::default(),
            groups,
        })
    }

    /// The configuration in force: [`Shard::config`] and what was set at run time. Whatever can be
    /// set then (`config::is_dynamic`) is to be read from here, each time.
    pub fn live_config(&self) -> Arc<Config> {
        self.live_config.borrow().clone()
    }

    /// The newest metadata this shard has installed.
    pub fn image(&self) -> Arc<Image> {
        self.image.borrow().clone()
    }

    /// Who owns `partition`.
    pub fn owner(&self, partition: TopicPartition) -> ShardId {
        placement::owner(partition, self.shards)
    }

    /// The partition, if this shard owns it and it is open.
    pub fn partition(&self, id: TopicPartition) -> Option<Rc<Partition<R>>> {
        self.partitions.borrow().get(&id).cloned()
    }

    /// This shard's store.
    pub fn store(&self) -> &Rc<Store<R>> {
        &self.store
    }

    /// The way to other shards.
    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// This shard's partitions, in no order.
    pub fn partitions(&self) -> Vec<Rc<Partition<R>>> {
        self.partitions.borrow().values().cloned().collect()
    }

    /// The typed settings of `topic`.
    pub fn topic_config(&self, topic: &Topic) -> Rc<TopicConfig> {
        if let Some(config) = self.topic_configs.borrow().get(&topic.id) {
            return config.clone();
        }
        let config = Rc::new(control::typed(&self.live_config(), &topic.overrides));
        self.topic_configs.borrow_mut().insert(topic.id, config.clone());
        config
    }
}
