//! DescribeConfigs (32): configuration of topics and of this broker. Versions 1-4.

use std::rc::Rc;

use crate::config::{ConfigEntry, describe_broker, describe_topic};
use crate::protocol::ErrorCode;
use crate::protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
};
use crate::runtime::Runtime;
use crate::server::request::{Caller, Hangup};

/// `org.apache.kafka.common.config.ConfigResource.Type`
const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// Every resource asked for, every key asked for.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    _version: i16,
    request: DescribeConfigsRequest,
) -> Result<DescribeConfigsResponse, Hangup> {
    let mut response = DescribeConfigsResponse::default();
    for resource in &request.resources {
        let mut result = DescribeConfigsResult {
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            ..Default::default()
        };
        match entries(&caller, resource) {
            Ok(entries) => {
                let keys = resource.configuration_keys.as_ref();
                let wanted = entries
                    .into_iter()
                    .filter(|e| keys.is_none_or(|keys| keys.iter().any(|k| **k == *e.name)));
                result.configs = wanted
                    .map(|e| to_wire(e, request.include_synonyms, request.include_documentation))
                    .collect();
            }
            Err((code, text)) => {
                result.error_code = code;
                result.error_message = Some(text.as_str().into());
            }
        }
        response.results.push(result);
    }
    Ok(response)
}

fn entries<R: Runtime>(
    caller: &Caller<R>,
    resource: &DescribeConfigsResource,
) -> Result<Vec<ConfigEntry>, (ErrorCode, String)> {
    let config = &caller.shard.config;
    let name = &*resource.resource_name;
    match resource.resource_type {
        TOPIC => match caller.shard.image().topic(name) {
            Some(topic) => Ok(describe_topic(&topic.overrides, config)),
            None if crate::model::TopicName::new(name).is_err() => {
                Err((ErrorCode::INVALID_TOPIC_EXCEPTION, format!("{name:?} is no topic name.")))
            }
            None => Err((
                ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                "This server does not host this topic-partition.".into(),
            )),
        },
        // The empty name stands for the dynamic defaults of all brokers: there are none.
        BROKER if name.is_empty() => Ok(Vec::new()),
        BROKER if name.parse() == Ok(config.node_id) => Ok(describe_broker(config)),
        BROKER => Err((
            ErrorCode::INVALID_REQUEST,
            format!(
                "Unexpected broker id, expected {} or empty string, but received {name}",
                config.node_id
            ),
        )),
        other => Err((
            ErrorCode::INVALID_REQUEST,
            format!("Configuration of resource type {other} is not kept by this broker."),
        )),
    }
}

fn to_wire(
    entry: ConfigEntry,
    has_synonyms: bool,
    has_documentation: bool,
) -> DescribeConfigsResourceResult {
    let synonyms = if has_synonyms { entry.synonyms } else { Vec::new() };
    DescribeConfigsResourceResult {
        name: entry.name.into(),
        value: entry.value.as_deref().filter(|_| !entry.is_sensitive).map(Into::into),
        read_only: entry.is_read_only,
        config_source: entry.source as i8,
        is_sensitive: entry.is_sensitive,
        synonyms: synonyms
            .into_iter()
            .map(|s| DescribeConfigsSynonym {
                name: s.name.as_str().into(),
                value: s.value.as_deref().map(Into::into),
                source: s.source as i8,
            })
            .collect(),
        config_type: entry.kind as i8,
        documentation: has_documentation.then(|| entry.documentation.as_str().into()),
    }
}
