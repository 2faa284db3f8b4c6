//! Reading and changing the configuration of a topic.

use std::time::Duration;

use super::topics::accept;
use super::{Client, ClientError};
use crate::protocol::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsTopic,
};
use crate::protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource,
};
use crate::protocol::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};

/// `ConfigResource.Type.TOPIC`
const RESOURCE_TOPIC: i8 = 2;
/// `ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG`: set for this topic.
const SOURCE_TOPIC: i8 = 1;

/// One effective setting of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSetting {
    /// Its key.
    pub name: String,
    /// Its value; `None` when it is a secret.
    pub value: Option<String>,
    /// Whether it was set for this topic and is not a default.
    pub is_set: bool,
}

/// One change of a topic's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigChange {
    /// Set this key to this value.
    Set(String, String),
    /// Go back to the broker's default.
    Reset(String),
}

impl Client {
    /// All effective settings of a topic, by key.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the broker's words.
    pub fn topic_configs(&mut self, topic: &str) -> Result<Vec<ConfigSetting>, ClientError> {
        let request = DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type: RESOURCE_TOPIC,
                resource_name: topic.into(),
                configuration_keys: None,
            }],
            include_synonyms: false,
            include_documentation: false,
        };
        let connection = self.any_broker()?;
        let reply = connection.call(&request)?;
        let address = connection.address().clone();
        let result = reply
            .results
            .first()
            .ok_or(ClientError::Incomplete(address, "the topic's configuration"))?;
        let message = result.error_message.as_ref().map(ToString::to_string);
        accept(result.error_code, message, || format!("configuration of topic {topic:?}"))?;
        let mut settings: Vec<_> = result
            .configs
            .iter()
            .map(|config| ConfigSetting {
                name: config.name.to_string(),
                value: config.value.as_ref().map(ToString::to_string),
                is_set: config.config_source == SOURCE_TOPIC,
            })
            .collect();
        settings.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(settings)
    }

    /// Change settings of a topic, all or none.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the broker's words, for example INVALID_CONFIG.
    pub fn alter_topic_configs(
        &mut self,
        topic: &str,
        changes: &[ConfigChange],
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
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: RESOURCE_TOPIC,
                resource_name: topic.into(),
                configs: changes.iter().map(change).collect(),
            }],
            validate_only: false,
        };
        let connection = self.controller()?;
        let reply = connection.call(&request)?;
        let address = connection.address().clone();
        let result = reply
            .responses
            .first()
            .ok_or(ClientError::Incomplete(address, "the topic that was to be altered"))?;
        let message = result.error_message.as_ref().map(ToString::to_string);
        accept(result.error_code, message, || format!("alter topic {topic:?}"))
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
