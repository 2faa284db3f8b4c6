//! A cluster: brokers, who leads what, and a connection to each broker that was needed.
//!
//! Owns the routing: a request for a partition goes to its leader, one for topics to the
//! controller (any broker forwards it, but an old one may not). Metadata is asked for when it is
//! not known or a broker says that it is old.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::{BrokerAddress, ClientError, Connection, ConnectionOptions};
use crate::model::{LeaderEpoch, NodeId, PartitionIndex, Uuid};
use crate::protocol::ErrorCode;
use crate::protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseTopic,
};

/// How to reach a cluster.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Brokers to ask first, in this order.
    pub bootstrap: Vec<BrokerAddress>,
    /// For each connection.
    pub connection: ConnectionOptions,
    /// How long to go on when a broker says "not now": a leader is being chosen, a topic has
    /// just been made.
    pub retry_for: Duration,
}

impl ClientOptions {
    /// Ordinary options for these brokers.
    pub fn new(bootstrap: Vec<BrokerAddress>) -> Self {
        let retry_for = Duration::from_secs(15);
        Self { bootstrap, connection: ConnectionOptions::default(), retry_for }
    }
}

/// Pause before asking again what a broker could not answer yet.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// Its id; zero from brokers without topic ids.
    pub id: Uuid,
    /// Whether it belongs to the broker itself.
    pub is_internal: bool,
    /// Its partitions, in order.
    pub partitions: Vec<PartitionInfo>,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionInfo {
    /// Its number.
    pub index: PartitionIndex,
    /// Who leads it; -1 for nobody.
    pub leader: NodeId,
    /// Since which epoch; -1 from brokers that do not say.
    pub leader_epoch: LeaderEpoch,
    /// Who has a replica.
    pub replicas: Vec<NodeId>,
    /// Whose replica is in sync.
    pub in_sync: Vec<NodeId>,
    /// Whose replica is offline.
    pub offline: Vec<NodeId>,
}

/// A client of a whole cluster.
#[derive(Debug)]
pub struct Client {
    pub(super) options: ClientOptions,
    brokers: HashMap<NodeId, BrokerAddress>,
    controller: NodeId,
    cluster_id: Option<String>,
    topics: HashMap<String, TopicInfo>,
    connections: HashMap<NodeId, Connection>,
    /// The connection that metadata is asked on.
    any: Connection,
}

impl Client {
    /// Connect to the first bootstrap server that answers.
    ///
    /// # Errors
    /// When none does.
    pub fn connect(options: ClientOptions) -> Result<Self, ClientError> {
        let any = first_reachable(&options)?;
        let mut client = Self {
            options,
            brokers: HashMap::new(),
            controller: -1,
            cluster_id: None,
            topics: HashMap::new(),
            connections: HashMap::new(),
            any,
        };
        client.ask_metadata(Some(&[]))?;
        Ok(client)
    }

    /// The id of the cluster, if it says.
    pub fn cluster_id(&self) -> Option<&str> {
        self.cluster_id.as_deref()
    }

    /// The brokers as last heard of, by id.
    pub fn brokers(&self) -> Vec<(NodeId, BrokerAddress)> {
        let mut brokers: Vec<_> = self.brokers.iter().map(|(id, a)| (*id, a.clone())).collect();
        brokers.sort_by_key(|(id, _)| *id);
        brokers
    }

    /// All topics, by name.
    ///
    /// # Errors
    /// When the cluster cannot be asked.
    pub fn all_topics(&mut self) -> Result<Vec<TopicInfo>, ClientError> {
        let reply = self.ask_metadata(None)?;
        let mut topics: Vec<_> =
            reply.topics.iter().filter(|t| t.error_code.is_ok()).filter_map(topic_info).collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// One topic, asked for now; it is not created by asking.
    ///
    /// # Errors
    /// [`ClientError::Unknown`] when there is no such topic.
    pub fn topic(&mut self, name: &str) -> Result<TopicInfo, ClientError> {
        self.topics.remove(name);
        let reply = self.ask_metadata(Some(&[name]))?;
        let entry = reply.topics.iter().find(|t| t.name.as_deref() == Some(name));
        let entry = entry
            .ok_or_else(|| ClientError::Incomplete(self.any.address().clone(), "the topic"))?;
        match entry.error_code {
            ErrorCode::NONE => {}
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => {
                return Err(ClientError::Unknown(format!("topic {name:?}")));
            }
            code => {
                let what = format!("topic {name:?}");
                return Err(ClientError::Refused { what, code, message: None });
            }
        }
        self.topics
            .get(name)
            .cloned()
            .ok_or_else(|| ClientError::Unknown(format!("topic {name:?}")))
    }

    /// The topic as last heard of; asked for when not known.
    pub(super) fn known_topic(&mut self, name: &str) -> Result<TopicInfo, ClientError> {
        match self.topics.get(name) {
            Some(topic) => Ok(topic.clone()),
            None => self.topic(name),
        }
    }

    /// Ask for the topic until each of its partitions has a leader: for topics just created.
    ///
    /// # Errors
    /// The last answer, when that has not happened in time.
    pub fn await_topic(&mut self, name: &str) -> Result<TopicInfo, ClientError> {
        let deadline = Instant::now() + self.options.retry_for;
        loop {
            let answer = self.topic(name);
            let is_ready = answer.as_ref().is_ok_and(|topic| {
                !topic.partitions.is_empty() && topic.partitions.iter().all(|p| p.leader >= 0)
            });
            let may_come = match &answer {
                Ok(_) => true,
                Err(error) => error.code().is_some_and(ErrorCode::is_retriable),
            };
            if is_ready || !may_come || Instant::now() >= deadline {
                return answer;
            }
            std::thread::sleep(RETRY_PAUSE);
        }
    }

    /// Forget what is known of a topic, because a broker says that it is old.
    pub(super) fn forget_topic(&mut self, name: &str) {
        self.topics.remove(name);
    }

    /// Who leads a partition, and the topic's id.
    pub(super) fn leader(
        &mut self,
        topic: &str,
        partition: PartitionIndex,
    ) -> Result<(NodeId, Uuid), ClientError> {
        let info = self.known_topic(topic)?;
        let what = || format!("partition {topic}-{partition}");
        let found = info.partitions.iter().find(|p| p.index == partition);
        let leader = found.ok_or_else(|| ClientError::Unknown(what()))?.leader;
        if leader < 0 {
            self.forget_topic(topic);
            let code = ErrorCode::LEADER_NOT_AVAILABLE;
            return Err(ClientError::Refused { what: what(), code, message: None });
        }
        Ok((leader, info.id))
    }

    /// A connection to this broker.
    ///
    /// # Errors
    /// When it has no known address or cannot be reached there.
    pub fn connection(&mut self, node: NodeId) -> Result<&mut Connection, ClientError> {
        self.connections.retain(|_, connection| !connection.is_broken());
        if !self.connections.contains_key(&node) {
            let address = self
                .brokers
                .get(&node)
                .ok_or_else(|| ClientError::NoAddress("what was asked for".into(), node))?;
            let connection = Connection::open(address, &self.options.connection)?;
            self.connections.insert(node, connection);
        }
        self.connections
            .get_mut(&node)
            .ok_or_else(|| ClientError::NoAddress("what was asked for".into(), node))
    }

    /// A connection for changes of topics: to the controller where one is named.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub fn controller(&mut self) -> Result<&mut Connection, ClientError> {
        if self.brokers.contains_key(&self.controller) {
            self.connection(self.controller)
        } else {
            self.any_broker()
        }
    }

    /// A connection to any broker.
    ///
    /// # Errors
    /// When none can be reached.
    pub fn any_broker(&mut self) -> Result<&mut Connection, ClientError> {
        if self.any.is_broken() {
            self.any = first_reachable(&self.options)?;
        }
        Ok(&mut self.any)
    }

    /// Ask for brokers and these topics (`None`: all), and keep the answer.
    fn ask_metadata(&mut self, names: Option<&[&str]>) -> Result<MetadataResponse, ClientError> {
        let connection = self.any_broker()?;
        let version = connection.version::<MetadataRequest>()?;
        let by_name = |name: &&str| MetadataRequestTopic {
            name: Some((*name).into()),
            ..MetadataRequestTopic::default()
        };
        let request = MetadataRequest {
            // Version 0 has no null: there an empty list means all.
            topics: match names {
                Some(names) => Some(names.iter().map(by_name).collect()),
                None if version == 0 => Some(Vec::new()),
                None => None,
            },
            // Before version 4 there is no way to say no.
            allow_auto_topic_creation: version < 4,
            ..MetadataRequest::default()
        };
        let reply = connection.call_at(version, &request, Duration::ZERO)?;
        if !reply.error_code.is_ok() {
            let what = format!("metadata of {}", self.any.address());
            return Err(ClientError::Refused { what, code: reply.error_code, message: None });
        }
        self.keep(&reply)?;
        Ok(reply)
    }

    fn keep(&mut self, reply: &MetadataResponse) -> Result<(), ClientError> {
        let mut brokers = HashMap::new();
        for broker in &reply.brokers {
            let port = u16::try_from(broker.port).map_err(|_| {
                ClientError::Incomplete(self.any.address().clone(), "a valid port of a broker")
            })?;
            let address = BrokerAddress { host: broker.host.to_string(), port };
            brokers.insert(broker.node_id, address);
        }
        // A broker that moved is another connection.
        self.connections.retain(|id, connection| brokers.get(id) == Some(connection.address()));
        self.brokers = brokers;
        self.controller = reply.controller_id;
        self.cluster_id = reply.cluster_id.as_ref().map(ToString::to_string);
        for topic in reply.topics.iter().filter(|topic| topic.error_code.is_ok()) {
            if let Some(info) = topic_info(topic) {
                self.topics.insert(info.name.clone(), info);
            }
        }
        Ok(())
    }
}

fn first_reachable(options: &ClientOptions) -> Result<Connection, ClientError> {
    let mut errors = Vec::new();
    for address in &options.bootstrap {
        match Connection::open(address, &options.connection) {
            Ok(connection) => return Ok(connection),
            Err(error) => errors.push(error),
        }
    }
    Err(ClientError::Bootstrap(errors))
}

fn topic_info(topic: &MetadataResponseTopic) -> Option<TopicInfo> {
    let mut partitions: Vec<_> = topic
        .partitions
        .iter()
        .map(|p| PartitionInfo {
            index: p.partition_index,
            leader: p.leader_id,
            leader_epoch: p.leader_epoch,
            replicas: p.replica_nodes.clone(),
            in_sync: p.isr_nodes.clone(),
            offline: p.offline_replicas.clone(),
        })
        .collect();
    partitions.sort_by_key(|p| p.index);
    Some(TopicInfo {
        name: topic.name.as_ref()?.to_string(),
        id: topic.topic_id,
        is_internal: topic.is_internal,
        partitions,
    })
}
