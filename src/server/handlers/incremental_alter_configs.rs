//! IncrementalAlterConfigs (44): change single settings of topics, brokers and groups. Versions
//! 0-1.

use std::rc::Rc;

use crate::protocol::messages::incremental_alter_configs::{
    AlterConfigsResourceResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use crate::runtime::Runtime;
use crate::server::configs::{AskedAlteration, AskedChange, alter};
use crate::server::dispatch::check_count;
use crate::server::request::{Caller, Hangup};

/// Resources succeed or fail one by one, each as a whole.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    _version: i16,
    request: IncrementalAlterConfigsRequest,
) -> Result<IncrementalAlterConfigsResponse, Hangup> {
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
                operation: config.config_operation,
                value: config.value.as_ref().map(ToString::to_string),
            })
            .collect(),
        replaces_all: false,
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
    Ok(IncrementalAlterConfigsResponse { responses: responses.collect(), ..Default::default() })
}
