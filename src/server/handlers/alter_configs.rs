//! AlterConfigs (33): replace whole configurations of topics, brokers and groups. Versions 0-2.

use std::rc::Rc;

use crate::protocol::messages::alter_configs::{AlterConfigsRequest, AlterConfigsResponse};
use crate::runtime::Runtime;
use crate::server::configs::{AskedAlteration, AskedChange, SET, alter};
use crate::server::request::{Caller, Hangup};

/// Resources succeed or fail one by one, each as a whole; what is not named gets its default back.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    _version: i16,
    request: AlterConfigsRequest,
) -> Result<AlterConfigsResponse, Hangup> {
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
    let responses = alter(&caller, asked.collect(), request.validate_only).await?;
    Ok(AlterConfigsResponse { responses, ..Default::default() })
}
