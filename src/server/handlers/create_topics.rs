//! CreateTopics (19). Versions 2-7.
//!
//! Topics succeed or fail one by one; a topic named twice fails for both. Configuration is checked
//! key by key: what is unknown or cannot be honoured is refused by name. Version 5 answers with the
//! effective configuration (KIP-525).

use std::collections::HashMap;
use std::rc::Rc;

use crate::cluster::controller::NewTopic;
use crate::cluster::image::ConfigOverrides;
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
use crate::wire::{Field, StrBytes};

/// Topics that are checked before others go first.
const TOPICS_AT_ONCE: usize = 100;
/// To describe one takes as long as to check so many.
const DESCRIPTION: usize = 10;

/// The first version whose answer has the topics' configurations.
const CONFIGS_MIN: i16 = 5;

/// Check, create, describe.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    version: i16,
    request: CreateTopicsRequest,
) -> Result<CreateTopicsResponse, Hangup> {
    let config = caller.shard.live_config();
    let mut named: HashMap<&str, usize> = HashMap::with_capacity(request.topics.len());
    for topic in &request.topics {
        *named.entry(&topic.name).or_default() += 1;
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
    let overrides = topics.iter().map(|topic: &NewTopic| topic.overrides.clone());
    let wanted: Option<Vec<_>> = (version >= CONFIGS_MIN).then(|| overrides.collect());
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
    let (mut bytes, mut described) = (0, Described::default());
    for (number, (slot, outcome)) in slots.into_iter().zip(outcomes).enumerate() {
        pace.worked(1).await;
        let result = &mut results[slot];
        match outcome {
            Ok((id, partitions)) => {
                if !validate_only {
                    result.topic_id = id;
                }
                result.num_partitions = partitions;
                result.replication_factor = 1;
                if let Some(wanted) = &wanted {
                    if described.overrides.as_ref() != Some(&wanted[number]) {
                        pace.worked(DESCRIPTION).await;
                        described = Described::new(&config, &wanted[number]);
                    }
                    result.configs = Some(described.configs.clone());
                }
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

/// The configuration of the topic that was described last: those of one request are mostly alike,
/// and then share what they are described with.
#[derive(Default)]
struct Described {
    overrides: Option<ConfigOverrides>,
    configs: Vec<CreatableTopicConfigs>,
}

impl Described {
    fn new(config: &Config, overrides: &ConfigOverrides) -> Self {
        let entries = describe_topic(overrides, config).into_iter();
        let configs = entries.map(|entry| CreatableTopicConfigs {
            name: StrBytes::from_static(entry.name),
            value: entry.value.map(Into::into),
            read_only: entry.is_read_only,
            config_source: entry.source as i8,
            is_sensitive: entry.is_sensitive,
        });
        Self { configs: configs.collect(), overrides: Some(overrides.clone()) }
    }
}
