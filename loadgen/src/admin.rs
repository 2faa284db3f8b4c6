//! What has to be asked before and after measuring: topics, offsets, producer ids, settings.
//! Speed does not matter here; it goes through `thalweg::client`.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};

use serde::Serialize;
use thalweg::client::{
    BrokerAddress, Client, ClientError, ClientOptions, ConfigEntity, NewTopic, OffsetSpec,
};
use thalweg::protocol::messages::api_versions::{ApiVersionsRequest, FinalizedFeatureKey};
use thalweg::protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use thalweg::protocol::{ApiKey, ErrorCode};

use crate::plan::Plan;
use crate::request;

/// A connection to the cluster that is measured.
#[derive(Debug)]
pub struct Admin {
    client: Client,
}

/// What a cluster tells about itself through the protocol.
#[derive(Clone, Debug, Default, Serialize)]
pub struct BrokerFacts {
    /// The broker that was asked.
    pub address: String,
    /// The cluster's id.
    pub cluster_id: Option<String>,
    /// Brokers in it.
    pub nodes: usize,
    /// Features that the cluster has agreed on with their levels; `metadata.version` tells the
    /// release of an Apache Kafka.
    pub features: BTreeMap<String, i16>,
    /// Settings of the broker that are not its built-in defaults; secrets left out.
    pub settings: BTreeMap<String, String>,
    /// Its built-in defaults.
    pub defaults: BTreeMap<String, String>,
}

/// `ConfigResource.Type.BROKER`
const RESOURCE_BROKER: i8 = 4;
/// `ConfigEntry.ConfigSource.DEFAULT_CONFIG`: nobody set it.
const SOURCE_DEFAULT: i8 = 5;
/// Most settings that are kept.
const SETTINGS_MAX: usize = 2000;

/// Who leads which partition of the topic.
#[derive(Clone, Debug)]
pub struct TopicMap {
    /// By partition: where its leader listens.
    pub leaders: Vec<SocketAddr>,
}

impl Admin {
    /// Connect to `servers` (`HOST:PORT`, several with commas) and check that the broker speaks
    /// what is measured with.
    ///
    /// # Errors
    /// Says what failed and what to look at.
    pub fn connect(servers: &str) -> Result<Self, String> {
        let mut client = client(servers)?;
        let broker = client.any_broker().map_err(text)?;
        for (key, (_, version)) in
            [(ApiKey::Produce, request::PRODUCE), (ApiKey::Fetch, request::FETCH)]
        {
            if !broker.advertised(key).is_some_and(|versions| versions.contains(version)) {
                return Err(format!(
                    "{} does not serve {} v{version}, which loadgen measures with",
                    broker.address(),
                    key.name()
                ));
            }
        }
        Ok(Self { client })
    }

    /// Find `topic`, creating it if absent, and wait until every partition has a leader.
    ///
    /// # Errors
    /// When it cannot be created or gets no leaders in time.
    pub fn ensure_topic(&mut self, plan: &Plan) -> Result<TopicMap, String> {
        let topic = plan.topic.as_str();
        if let Err(error) = self.client.topic(topic) {
            if !matches!(error, ClientError::Unknown(_)) {
                return Err(text(error));
            }
            let wanted = NewTopic {
                name: topic.to_owned(),
                partitions: Some(plan.partitions as i32),
                replication_factor: Some(plan.replication_factor),
                configs: plan.topic_configs.clone(),
            };
            match self.client.create_topic(&wanted, false) {
                Err(error) if error.code() != Some(ErrorCode::TOPIC_ALREADY_EXISTS) => {
                    return Err(text(error));
                }
                _ => {}
            }
        }
        let found = self.client.await_topic(topic).map_err(text)?;
        let brokers = self.client.brokers();
        let leader = |node: i32| -> Result<SocketAddr, String> {
            let broker = brokers.iter().find(|(id, _)| *id == node);
            let (_, address) = broker.ok_or(format!("broker {node} has no address"))?;
            let resolved = (address.host.as_str(), address.port).to_socket_addrs();
            resolved.ok().and_then(|mut all| all.next()).ok_or(format!(
                "broker {node} advertises {address}, which does not resolve here; check its \
                 advertised.listeners"
            ))
        };
        let leaders = found.partitions.iter().map(|p| leader(p.leader)).collect::<Result<_, _>>();
        Ok(TopicMap { leaders: leaders? })
    }

    /// Delete `topic`; a topic that is not there is fine.
    ///
    /// # Errors
    /// When the broker refuses.
    pub fn delete_topic(&mut self, topic: &str) -> Result<(), String> {
        match self.client.delete_topic(topic) {
            Err(error) if !matches!(error, ClientError::Unknown(_)) => Err(text(error)),
            _ => Ok(()),
        }
    }

    /// Delete a group with its offsets; one that cannot be deleted stays.
    pub fn delete_group(&mut self, group: &str) {
        let _ = self.client.delete_group(group);
    }

    /// The end offset of each of the topic's partitions.
    ///
    /// # Errors
    /// When one of them cannot be had.
    pub fn end_offsets(&mut self, topic: &str, partitions: u32) -> Result<Vec<i64>, String> {
        self.offsets(topic, partitions, OffsetSpec::Latest)
    }

    /// The offset of the first record that each of the topic's partitions still has.
    ///
    /// # Errors
    /// When one of them cannot be had.
    pub fn start_offsets(&mut self, topic: &str, partitions: u32) -> Result<Vec<i64>, String> {
        self.offsets(topic, partitions, OffsetSpec::Earliest)
    }

    fn offsets(
        &mut self,
        topic: &str,
        partitions: u32,
        which: OffsetSpec,
    ) -> Result<Vec<i64>, String> {
        let wanted: Vec<_> = (0..partitions as i32).map(|p| (p, which)).collect();
        let offsets = self.client.list_offsets(topic, &wanted, false).map_err(text)?;
        Ok(offsets.into_iter().map(|offset| offset.unwrap_or(0)).collect())
    }

    /// A fresh producer id and epoch.
    ///
    /// # Errors
    /// When the broker gives none.
    pub fn producer_id(&mut self) -> Result<(i64, i16), String> {
        let identity = self.client.init_producer().map_err(text)?;
        Ok((identity.id, identity.epoch))
    }

    /// What the cluster tells about itself; what it does not tell stays empty.
    pub fn broker_facts(&mut self) -> BrokerFacts {
        let mut facts = BrokerFacts {
            cluster_id: self.client.cluster_id().map(str::to_owned),
            nodes: self.client.brokers().len(),
            ..BrokerFacts::default()
        };
        let node = self.client.brokers().first().map(|(node, _)| *node);
        let Ok(connection) = self.client.any_broker() else { return facts };
        facts.address = connection.address().to_string();
        let question = ApiVersionsRequest {
            client_software_name: request::CLIENT_ID.into(),
            client_software_version: env!("CARGO_PKG_VERSION").into(),
        };
        if let Ok(answer) = connection.call(&question) {
            let level = |key: &FinalizedFeatureKey| (key.name.to_string(), key.max_version_level);
            facts.features = answer.finalized_features.iter().map(level).collect();
        }
        let question = DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type: RESOURCE_BROKER,
                resource_name: node.map_or(String::new(), |node| node.to_string()).as_str().into(),
                configuration_keys: None,
            }],
            include_synonyms: false,
            include_documentation: false,
        };
        if let Ok(answer) = connection.call(&question) {
            let all = answer.results.iter().flat_map(|result| &result.configs);
            for config in all.filter(|config| !config.is_sensitive).take(SETTINGS_MAX) {
                let Some(value) = &config.value else { continue };
                let map = if config.config_source == SOURCE_DEFAULT {
                    &mut facts.defaults
                } else {
                    &mut facts.settings
                };
                map.insert(config.name.to_string(), value.to_string());
            }
        }
        facts
    }

    /// What the broker says about flushing before it answers, in its own setting's words.
    pub fn durability(&mut self, topic: &str) -> String {
        let Ok(settings) = self.client.configs(&ConfigEntity::Topic(topic.to_owned())) else {
            return "unknown: the broker does not describe its settings".into();
        };
        let value = |name: &str| {
            let setting = settings.iter().find(|setting| setting.name == name)?;
            setting.value.clone()
        };
        match (value("thalweg.durability").as_deref(), value("flush.messages").as_deref()) {
            (Some("flush"), _) => {
                "flush: acks=all is answered when the bytes are on the device".into()
            }
            (Some(other), _) => {
                format!("{other}: acks=all is answered when written, not flushed")
            }
            (None, Some("1")) => {
                "flush.messages=1: every append is flushed before its answer".into()
            }
            (None, Some(_)) => {
                "flush.messages at its default: answered from the page cache, not flushed".into()
            }
            (None, None) => "unknown: the broker names no setting for it".into(),
        }
    }
}

/// A client of the cluster at `servers`.
///
/// # Errors
/// When the addresses are none, or nobody answers there.
pub fn client(servers: &str) -> Result<Client, String> {
    let bootstrap = BrokerAddress::parse_list(servers)
        .map_err(|error| format!("--bootstrap-server: {error}"))?;
    let mut options = ClientOptions::new(bootstrap);
    options.connection.client_id = request::CLIENT_ID.into();
    Client::connect(options).map_err(text)
}

/// Kafka's name of an error code, with its number.
pub fn error_name(code: i16) -> String {
    match ErrorCode(code).name() {
        Some(name) => format!("{name} ({code})"),
        None => format!("error {code}"),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape map_err wants")]
pub fn text(error: ClientError) -> String {
    error.to_string()
}
