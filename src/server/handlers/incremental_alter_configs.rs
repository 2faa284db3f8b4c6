//! IncrementalAlterConfigs (44): change single settings of topics, brokers and groups. Versions
//! 0-1.

use std::rc::Rc;

use crate::protocol::messages::incremental_alter_configs::{
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use crate::runtime::Runtime;
use crate::server::configs::{AskedAlteration, AskedChange, alter};
use crate::server::request::{Caller, Hangup};

/// Resources succeed or fail one by one, each as a whole.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    _version: i16,
    request: IncrementalAlterConfigsRequest,
) -> Result<IncrementalAlterConfigsResponse, Hangup> {
    let asked = request.resources.into_iter().map(|resource| {
        let changes = resource.configs.into_iter().map(|config| AskedChange {
            name: config.name,
            operation: config.config_operation,
            value: config.value,
        });
        AskedAlteration {
            kind: resource.resource_type,
            name: resource.resource_name,
            changes: changes.collect(),
            replaces_all: false,
        }
    });
    let responses = alter(&caller, asked, request.validate_only).await?;
    Ok(IncrementalAlterConfigsResponse { responses, ..Default::default() })
}
