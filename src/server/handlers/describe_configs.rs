//! DescribeConfigs (32): configuration of topics, groups and this broker. Versions 1-4.

use std::rc::Rc;

use crate::cluster::image::ConfigOverrides;
use crate::config::{
    ConfigEntry, Kind, Source, describe_broker, describe_dynamic_default, describe_group,
    describe_topic,
};
use crate::protocol::ErrorCode;
use crate::protocol::messages::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
};
use crate::runtime::Runtime;
use crate::runtime::wait::{ITEMS_AT_ONCE, Pace};
use crate::server::configs::{BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC};
use crate::server::dispatch::check_answer;
use crate::server::request::{Caller, Hangup};
use crate::wire::Field;

/// Every resource asked for, every key asked for.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    _version: i16,
    request: DescribeConfigsRequest,
) -> Result<DescribeConfigsResponse, Hangup> {
    let mut response = DescribeConfigsResponse::default();
    let mut bytes = 0;
    let mut pace = Pace::new(ITEMS_AT_ONCE);
    for resource in &request.resources {
        let mut result = DescribeConfigsResult {
            resource_type: resource.resource_type,
            resource_name: resource.resource_name.clone(),
            ..Default::default()
        };
        let mut looked_at = 0;
        match entries(&caller, resource) {
            Ok(entries) => {
                looked_at = entries.len();
                // No keys are all keys, as in Kafka.
                let keys = resource.configuration_keys.as_ref().filter(|keys| !keys.is_empty());
                looked_at *= keys.map_or(1, |keys| keys.len().max(1));
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
        bytes += result.size_hint();
        check_answer(bytes)?;
        pace.worked(1 + looked_at).await;
        response.results.push(result);
    }
    Ok(response)
}

fn entries<R: Runtime>(
    caller: &Caller<R>,
    resource: &DescribeConfigsResource,
) -> Result<Vec<ConfigEntry>, (ErrorCode, String)> {
    let config = &caller.shard.live_config();
    let name = &*resource.resource_name;
    let invalid = |text: String| Err((ErrorCode::INVALID_REQUEST, text));
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
        BROKER if name.is_empty() => Ok(describe_dynamic_default(config)),
        BROKER if name.parse() == Ok(config.node_id) => Ok(describe_broker(config)),
        BROKER => invalid(format!(
            "Unexpected broker id, expected {} or empty string, but received {name}",
            config.node_id
        )),
        GROUP if name.is_empty() => invalid("Group name must not be empty".into()),
        GROUP => {
            let image = caller.shard.image();
            let none = ConfigOverrides::new();
            Ok(describe_group(image.group_overrides(name).unwrap_or(&none), config))
        }
        BROKER_LOGGER if name.is_empty() => invalid("Broker id must not be empty".into()),
        BROKER_LOGGER if name.parse() == Ok(config.node_id) => Ok(vec![log_level()]),
        BROKER_LOGGER => invalid(format!(
            "Unexpected broker id, expected {} but received {name}",
            config.node_id
        )),
        CLIENT_METRICS if name.is_empty() => {
            invalid("Client metrics subscription name must not be empty".into())
        }
        // None is kept (KIP-714).
        CLIENT_METRICS => Ok(Vec::new()),
        other => invalid(format!("Unsupported resource type: {other}")),
    }
}

/// The most detailed level of log lines, set when the broker was started.
fn log_level() -> ConfigEntry {
    let level = tracing::level_filters::LevelFilter::current().to_string();
    ConfigEntry {
        name: "root",
        value: Some(level.to_uppercase()),
        source: Source::BrokerLogger,
        is_read_only: true,
        is_sensitive: false,
        kind: Kind::String,
        documentation: "The most detailed level of log lines (--log).".into(),
        synonyms: Vec::new(),
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
