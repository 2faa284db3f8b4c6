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
    let asked = request.resources.into_iter().map(|resource| {
        let changes = resource.configs.into_iter().map(|config| AskedChange {
            name: config.name,
            operation: SET,
            value: config.value,
        });
        AskedAlteration {
            kind: resource.resource_type,
            name: resource.resource_name,
            changes: changes.collect(),
            replaces_all: true,
        }
    });
    let responses = alter(&caller, asked, request.validate_only).await?;
    Ok(AlterConfigsResponse { responses, ..Default::default() })
}
