//! AlterConfigs (33): replace whole configurations of topics, brokers and groups. Versions 0-2.

use std::rc::Rc;

use crate::protocol::messages::alter_configs::{
    AlterConfigsRequest, AlterConfigsResourceResponse, AlterConfigsResponse,
};
use crate::runtime::Runtime;
use crate::server::configs::{AskedAlteration, AskedChange, SET, alter};
use crate::server::dispatch::check_count;
use crate::server::request::{Caller, Hangup};

/// Resources succeed or fail one by one, each as a whole; what is not named gets its default back.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    _version: i16,
    request: AlterConfigsRequest,
) -> Result<AlterConfigsResponse, Hangup> {
    let max = caller.shard.config.limits.request_topics_max;
    check_count("resources", request.resources.len(), max, "thalweg.request.topics.max")?;
    let asked = request.resources.iter().map(|resource| AskedAlteration {
        kind: resource.resource_type,
        name: resource.resource_name.to_string(),
        changes: resource
            .configs
            .iter()
            .map(|config| AskedChange {
                name: config.name.to_string(),
                operation: SET,
                value: config.value.as_ref().map(ToString::to_string),
            })
            .collect(),
        replaces_all: true,
    });
    let outcomes = alter(&caller, asked.collect(), request.validate_only).await?;
    let responses = request.resources.into_iter().zip(outcomes).map(|(resource, outcome)| {
        let (error_code, text) = outcome;
        AlterConfigsResourceResponse {
            error_code,
            error_message: text.map(|text| text.as_str().into()),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
        }
    });
    Ok(AlterConfigsResponse { responses: responses.collect(), ..Default::default() })
}
