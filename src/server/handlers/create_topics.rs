//! CreateTopics (19). Versions 2-7.
//!
//! Topics succeed or fail one by one; a topic named twice fails for both. Configuration is checked
//! key by key: what is unknown or cannot be honoured is refused by name. Version 5 answers with the
//! effective configuration (KIP-525).

use std::collections::HashMap;
use std::rc::Rc;

use crate::cluster::controller::NewTopic;
use crate::config::{Config, TopicConfig, check_override, describe_topic};
use crate::protocol::ErrorCode;
use crate::protocol::messages::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest,
    CreateTopicsResponse,
};
use crate::runtime::Runtime;
use crate::runtime::wait::Pace;
use crate::server::dispatch::check_answer;
use crate::server::errors;
use crate::server::request::{Caller, Hangup};
use crate::shard::call::{Call, ControlReply, ControlRequest, Reply};
use crate::wire::Field;

/// Topics that are checked or described before others go first.
const TOPICS_AT_ONCE: usize = 100;

/// Check, create, describe.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    _version: i16,
    request: CreateTopicsRequest,
) -> Result<CreateTopicsResponse, Hangup> {
    let config = caller.shard.live_config();
    let mut named: HashMap<String, usize> = HashMap::new();
    for topic in &request.topics {
        *named.entry(topic.name.to_string()).or_default() += 1;
    }
    let mut results = Vec::with_capacity(request.topics.len());
    let mut slots = Vec::new();
    let mut topics = Vec::new();
    let mut pace = Pace::new(TOPICS_AT_ONCE);
    for topic in &request.topics {
        pace.worked(1).await;
        let mut result = CreatableTopicResult { name: topic.name.clone(), ..Default::default() };
        match new_topic(&config, topic, named[&*topic.name]) {
            Ok(new) => {
                slots.push(results.len());
                topics.push(new);
            }
            Err((code, text)) => refuse(&mut result, code, Some(text)),
        }
        results.push(result);
    }
    let wanted = topics.clone();
    let validate_only = request.validate_only;
    let outcomes = if topics.is_empty() {
        Vec::new()
    } else {
        let request = ControlRequest::CreateTopics { topics, validate_only };
        match caller.shard.call(0, Call::Control(request)).await {
            Reply::Control(ControlReply::Topics(outcomes)) => outcomes,
            _ => return Err(Hangup("the controller is stopping".into())),
        }
    };
    let mut bytes = 0;
    for ((slot, outcome), new) in slots.into_iter().zip(outcomes).zip(wanted) {
        pace.worked(1).await;
        let result = &mut results[slot];
        match outcome {
            Ok((id, partitions)) => {
                if !validate_only {
                    result.topic_id = id;
                }
                result.num_partitions = partitions;
                result.replication_factor = 1;
                result.configs = Some(effective(&config, &new));
            }
            Err(error) => {
                let (code, text) = errors::control(&error);
                refuse(result, code, text);
            }
        }
        bytes += result.size_hint();
        check_answer(bytes)?;
    }
    Ok(CreateTopicsResponse { topics: results, ..Default::default() })
}

fn refuse(result: &mut CreatableTopicResult, code: ErrorCode, text: Option<String>) {
    result.error_code = code;
    result.error_message = text.map(|text| text.as_str().into());
}

/// The topic as the controller wants it, its configuration checked.
fn new_topic(
    config: &Config,
    topic: &CreatableTopic,
    named: usize,
) -> Result<NewTopic, (ErrorCode, String)> {
    if named > 1 {
        return Err((ErrorCode::INVALID_REQUEST, "Duplicate topic name.".into()));
    }
    let mut new = NewTopic {
        name: topic.name.to_string(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        ..NewTopic::default()
    };
    for given in &topic.configs {
        let Some(value) = &given.value else {
            let text = format!("Null value not supported for topic configs: {}", &*given.name);
            return Err((ErrorCode::INVALID_CONFIG, text));
        };
        let value = check_override(&given.name, value, config)
            .map_err(|e| (ErrorCode::INVALID_CONFIG, e.to_string()))?;
        new.overrides.insert(given.name.to_string(), value);
    }
    TopicConfig::new(&new.overrides, config)
        .map_err(|e| (ErrorCode::INVALID_CONFIG, e.to_string()))?;
    for assignment in &topic.assignments {
        new.assignments.push((assignment.partition_index, assignment.broker_ids.clone()));
    }
    Ok(new)
}

fn effective(config: &Config, topic: &NewTopic) -> Vec<CreatableTopicConfigs> {
    let entries = describe_topic(&topic.overrides, config).into_iter();
    entries
        .map(|entry| CreatableTopicConfigs {
            name: entry.name.into(),
            value: entry.value.as_deref().map(Into::into),
            read_only: entry.is_read_only,
            config_source: entry.source as i8,
            is_sensitive: entry.is_sensitive,
        })
        .collect()
}
