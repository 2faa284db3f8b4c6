//! Creating and deleting topics.

use super::{Client, ClientError};
use crate::model::Uuid;
use crate::protocol::ErrorCode;
use crate::protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest,
};
use crate::protocol::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};

/// A topic to create.
#[derive(Clone, Debug, Default)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// `None`: the broker's default (`num.partitions`).
    pub partitions: Option<i32>,
    /// `None`: the broker's default (`default.replication.factor`).
    pub replication_factor: Option<i16>,
    /// Settings that differ from the broker's: key and value.
    pub configs: Vec<(String, String)>,
}

impl Client {
    /// Create one topic.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the broker's words, for example TOPIC_ALREADY_EXISTS.
    pub fn create_topic(
        &mut self,
        topic: &NewTopic,
        validate_only: bool,
    ) -> Result<(), ClientError> {
        let timeout_ms = self.timeout_ms();
        let connection = self.controller()?;
        let configs = topic.configs.iter().map(|(name, value)| CreatableTopicConfig {
            name: name.as_str().into(),
            value: Some(value.as_str().into()),
        });
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: topic.name.as_str().into(),
                num_partitions: topic.partitions.unwrap_or(-1),
                replication_factor: topic.replication_factor.unwrap_or(-1),
                assignments: Vec::new(),
                configs: configs.collect(),
            }],
            timeout_ms,
            validate_only,
        };
        let reply = connection.call(&request)?;
        let address = connection.address().clone();
        let result = reply
            .topics
            .iter()
            .find(|result| *result.name == *topic.name)
            .ok_or(ClientError::Incomplete(address, "the topic that was to be created"))?;
        let message = result.error_message.as_ref().map(ToString::to_string);
        accept(result.error_code, message, || format!("create topic {:?}", topic.name))
    }

    /// Delete one topic, by name.
    ///
    /// # Errors
    /// [`ClientError::Unknown`] when there is none.
    pub fn delete_topic(&mut self, name: &str) -> Result<(), ClientError> {
        let timeout_ms = self.timeout_ms();
        self.forget_topic(name);
        let connection = self.controller()?;
        let version = connection.version::<DeleteTopicsRequest>()?;
        let mut request = DeleteTopicsRequest { timeout_ms, ..DeleteTopicsRequest::default() };
        if version >= 6 {
            let by_name = DeleteTopicState { name: Some(name.into()), topic_id: Uuid::ZERO };
            request.topics = vec![by_name];
        } else {
            request.topic_names = vec![name.into()];
        }
        let reply = connection.call_at(version, &request, std::time::Duration::ZERO)?;
        let address = connection.address().clone();
        let result = reply
            .responses
            .iter()
            .find(|result| result.name.as_deref() == Some(name))
            .ok_or(ClientError::Incomplete(address, "the topic that was to be deleted"))?;
        if result.error_code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION {
            return Err(ClientError::Unknown(format!("topic {name:?}")));
        }
        let message = result.error_message.as_ref().map(ToString::to_string);
        accept(result.error_code, message, || format!("delete topic {name:?}"))
    }

    pub(super) fn timeout_ms(&self) -> i32 {
        i32::try_from(self.options.connection.request_timeout.as_millis()).unwrap_or(i32::MAX)
    }
}

/// An error code as a result.
pub(super) fn accept(
    code: ErrorCode,
    message: Option<String>,
    what: impl FnOnce() -> String,
) -> Result<(), ClientError> {
    if code.is_ok() {
        return Ok(());
    }
    Err(ClientError::Refused { what: what(), code, message })
}
