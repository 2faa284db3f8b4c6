//! The rules, each by its promise.
//!
//! [`Bench`] owns a coordinator, its metadata, its clock and its log; after every step the log is
//! replayed into another coordinator, which must know the same.

mod classic;
mod consumer;
mod memory;
mod migration;
mod offsets;
mod records;
mod sequences;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use super::*;
use crate::cluster::change::Change;
use crate::cluster::image::PartitionState;
use crate::config::{Config, Machine};
use crate::model::{TopicName, Uuid};

/// Settings as they are when nobody sets anything.
pub(super) fn settings() -> GroupSettings {
    static DEFAULTS: OnceLock<GroupSettings> = OnceLock::new();
    let load = || {
        let machine = Machine { cores: vec![0], memory_bytes: 1 << 30, open_files: 1024 };
        Config::load(machine, None, &[]).map(|config| (*config.groups).clone()).unwrap()
    };
    DEFAULTS.get_or_init(load).clone()
}

pub(super) struct Bench {
    pub settings: Arc<GroupSettings>,
    pub coordinator: Coordinator,
    pub image: Image,
    pub now: i64,
    pub log: Vec<CoordinatorRecord>,
    /// What an operator was told: generation and reason.
    pub notices: Vec<(i32, Option<&'static str>)>,
    /// Answers that nobody has looked at yet.
    pub replies: BTreeMap<u64, Response>,
    pub client: ClientInfo,
    /// Requests that have not been answered.
    pub open: BTreeSet<u64>,
    tickets: u64,
    restarts: u128,
    next_topic: u8,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(settings())
    }

    pub fn with(settings: GroupSettings) -> Self {
        Self::with_memory(settings, usize::MAX)
    }

    pub fn with_memory(settings: GroupSettings, bytes_max: usize) -> Self {
        let settings = Arc::new(settings);
        let mut coordinator = Coordinator::new(settings.clone(), GroupMemory::new(bytes_max), 1);
        let image = Image::default();
        let now = 1_000_000;
        assert_eq!(coordinator.deadline(), None);
        assert_eq!(coordinator.loaded(now, &image), Step::default());
        Self {
            settings,
            coordinator,
            image,
            now,
            log: Vec::new(),
            notices: Vec::new(),
            replies: BTreeMap::new(),
            client: ClientInfo { client_id: "app".into(), host: "/127.0.0.1".into() },
            open: BTreeSet::new(),
            tickets: 0,
            restarts: 0,
            next_topic: 0,
        }
    }

    /// Create a topic.
    pub fn topic(&mut self, name: &str, partitions: i32) -> Uuid {
        self.next_topic += 1;
        let id = Uuid([self.next_topic; 16]);
        let topic_name = TopicName::new(name).unwrap();
        self.image.apply(&Change::Topic { id, name: topic_name }).unwrap();
        for index in 0..partitions {
            self.partition(id, index);
        }
        self.happen(Event::ImageChanged);
        id
    }

    pub fn partition(&mut self, topic_id: Uuid, index: i32) {
        let state = PartitionState::new_on(1, Vec::new());
        self.image.apply(&Change::Partition { topic_id, index, state }).unwrap();
    }

    /// Let an event happen and keep what follows.
    pub fn happen(&mut self, event: Event) {
        let is_tick = matches!(event, Event::Tick);
        let step = self.coordinator.step(self.now, &self.image, event);
        let deadline = self.coordinator.deadline().unwrap();
        // Else whoever waits for the deadline would spin.
        let is_done = deadline > self.now || !step.records.is_empty();
        assert!(!is_tick || is_done, "a tick left its work undone");
        self.log.extend(step.records);
        self.notices.extend(step.notices.iter().map(|each| (each.generation, each.reason)));
        for (ticket, response) in step.replies {
            assert!(self.open.remove(&ticket), "ticket {ticket} was answered twice");
            self.replies.insert(ticket, response);
        }
    }

    /// Send a request; its ticket.
    pub fn send(&mut self, version: i16, request: Request) -> u64 {
        self.tickets += 1;
        let (ticket, client) = (self.tickets, self.client.clone());
        self.open.insert(ticket);
        self.happen(Event::Request { ticket, client, version, request });
        ticket
    }

    /// Send a request that is answered at once.
    pub fn ask(&mut self, version: i16, request: Request) -> Response {
        let ticket = self.send(version, request);
        self.replies.remove(&ticket).expect("it was not answered at once")
    }

    /// Let time pass, with a tick whenever one is due.
    pub fn pass(&mut self, ms: i64) {
        let until = self.now + ms;
        while let Some(at) = self.coordinator.deadline().filter(|at| *at <= until) {
            self.now = at.max(self.now);
            self.happen(Event::Tick);
        }
        self.now = until;
    }

    /// Another coordinator that has read the log.
    pub fn reloaded(&self) -> Coordinator {
        self.reloaded_with(self.coordinator.desk.memory.max())
    }

    fn reloaded_with(&self, bytes_max: usize) -> Coordinator {
        // Another seed, as after every start.
        let memory = GroupMemory::new(bytes_max);
        let mut other = Coordinator::new(self.settings.clone(), memory, 2 + self.restarts);
        for record in &self.log {
            other.replay(record.key.clone(), record.value.clone(), self.now).unwrap();
        }
        other
    }

    /// Go on with a coordinator that has read the log, as after a restart.
    pub fn restart(&mut self) {
        self.restart_with(self.coordinator.desk.memory.max());
    }

    /// As [`Bench::restart`], with so much memory.
    pub fn restart_with(&mut self, bytes_max: usize) {
        self.restarts += 1;
        self.coordinator = self.reloaded_with(bytes_max);
        let step = self.coordinator.loaded(self.now, &self.image);
        self.log.extend(step.records);
    }
}
