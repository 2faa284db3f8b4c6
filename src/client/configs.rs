//! Reading and changing the configuration of topics, brokers and groups.

use std::fmt;
use std::time::Duration;

use super::topics::accept;
use super::{Client, ClientError, Connection};
use crate::model::NodeId;
use crate::protocol::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsTopic,
};
use crate::protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use crate::protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};

/// What has a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigEntity {
    /// A topic, by name.
    Topic(String),
    /// One broker.
    Broker(NodeId),
    /// What is set at run time for all brokers.
    AllBrokers,
    /// A group, by id.
    Group(String),
}

impl ConfigEntity {
    /// `ConfigResource.Type` and the name of the resource.
    fn resource(&self) -> (i8, String) {
        match self {
            Self::Topic(name) => (2, name.clone()),
            Self::Broker(id) => (4, id.to_string()),
            Self::AllBrokers => (4, String::new()),
            Self::Group(id) => (32, id.clone()),
        }
    }
}

impl fmt::Display for ConfigEntity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(name) => write!(f, "topic {name:?}"),
            Self::Broker(id) => write!(f, "broker {id}"),
            Self::AllBrokers => f.write_str("all brokers"),
            Self::Group(id) => write!(f, "group {id:?}"),
        }
    }
}

/// Where a value comes from (`ConfigEntry.ConfigSource`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set on the topic, at run time on this broker, or on the group.
    Own,
    /// Set at run time for all brokers.
    AllBrokers,
    /// From the broker's file or flags.
    File,
    /// The default.
    Default,
    /// From somewhere that this version does not know.
    Other(i8),
}

impl ConfigSource {
    fn from_code(code: i8) -> Self {
        match code {
            1 | 2 | 8 => Self::Own,
            3 => Self::AllBrokers,
            4 => Self::File,
            5 => Self::Default,
            other => Self::Other(other),
        }
    }
}

/// One effective setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSetting {
    /// Its key.
    pub name: String,
    /// Its value; `None` when there is none, or it is a secret.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Whether it needs a restart to change.
    pub is_read_only: bool,
}

/// One change of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigChange {
    /// Set this key to this value.
    Set(String, String),
    /// Go back to the default.
    Reset(String),
}

impl Client {
    /// All effective settings of `entity`, by key; of all brokers only what was set.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the broker's words.
    pub fn configs(&mut self, entity: &ConfigEntity) -> Result<Vec<ConfigSetting>, ClientError> {
        let (resource_type, name) = entity.resource();
        let request = DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type,
                resource_name: name.as_str().into(),
                configuration_keys: None,
            }],
            include_synonyms: false,
            include_documentation: false,
        };
        let connection = self.connection_for(entity)?;
        let reply = connection.call(&request)?;
        let address = connection.address().clone();
        let result = reply
            .results
            .first()
            .ok_or(ClientError::Incomplete(address, "the configuration asked for"))?;
        let message = result.error_message.as_ref().map(ToString::to_string);
        accept(result.error_code, message, || format!("configuration of {entity}"))?;
        let mut settings: Vec<_> = result
            .configs
            .iter()
            .map(|config| ConfigSetting {
                name: config.name.to_string(),
                value: config.value.as_ref().map(ToString::to_string),
                source: ConfigSource::from_code(config.config_source),
                is_read_only: config.read_only,
            })
            .collect();
        settings.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(settings)
    }

    /// Change settings of `entity`, all or none; with `validate_only` let the broker check them.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the broker's words, for example INVALID_CONFIG.
    pub fn alter_configs(
        &mut self,
        entity: &ConfigEntity,
        changes: &[ConfigChange],
        validate_only: bool,
    ) -> Result<(), ClientError> {
        let change = |change: &ConfigChange| match change {
            ConfigChange::Set(key, value) => AlterableConfig {
                name: key.as_str().into(),
                config_operation: 0,
                value: Some(value.as_str().into()),
            },
            ConfigChange::Reset(key) => {
                AlterableConfig { name: key.as_str().into(), config_operation: 1, value: None }
            }
        };
        let (resource_type, name) = entity.resource();
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type,
                resource_name: name.as_str().into(),
                configs: changes.iter().map(change).collect(),
            }],
            validate_only,
        };
        let connection = self.connection_for(entity)?;
        let reply = connection.call(&request)?;
        let address = connection.address().clone();
        let result = reply
            .responses
            .first()
            .ok_or(ClientError::Incomplete(address, "the outcome of the change"))?;
        let message = result.error_message.as_ref().map(ToString::to_string);
        accept(result.error_code, message, || format!("change the configuration of {entity}"))
    }

    /// A broker answers for itself; anyone for the rest.
    fn connection_for(&mut self, entity: &ConfigEntity) -> Result<&mut Connection, ClientError> {
        match entity {
            ConfigEntity::Broker(id) => self.connection(*id),
            _ => self.any_broker(),
        }
    }

    /// Raise a topic's number of partitions to `count`.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the broker's words; partitions never become fewer.
    pub fn add_partitions(&mut self, topic: &str, count: i32) -> Result<(), ClientError> {
        self.forget_topic(topic);
        let request = CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic { name: topic.into(), count, assignments: None }],
            timeout_ms: self.timeout_ms(),
            validate_only: false,
        };
        let connection = self.controller()?;
        let version = connection.version::<CreatePartitionsRequest>()?;
        let reply = connection.call_at(version, &request, Duration::ZERO)?;
        let address = connection.address().clone();
        let result = reply
            .results
            .first()
            .ok_or(ClientError::Incomplete(address, "the topic that was to grow"))?;
        let message = result.error_message.as_ref().map(ToString::to_string);
        accept(result.error_code, message, || format!("add partitions to topic {topic:?}"))
    }
}
