//! AlterConfigs (33): replace whole configurations of topics, brokers and groups. Versions 0-2.

use std::rc::Rc;

use crate::protocol::messages::alter_configs::{AlterConfigsRequest, AlterConfigsResponse};
use crate::runtime::Runtime;
use crate::runtime::wait::{ITEMS_AT_ONCE, Pace};
use crate::server::configs::{AskedAlteration, AskedChange, SET, alter};
use crate::server::request::{Caller, Hangup};

/// Resources succeed or fail one by one, each as a whole; what is not named gets its default back.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    _version: i16,
    request: AlterConfigsRequest,
) -> Result<AlterConfigsResponse, Hangup> {
    let mut asked = Vec::with_capacity(request.resources.len());
    let mut pace = Pace::new(ITEMS_AT_ONCE);
    for resource in &request.resources {
        pace.worked(1 + resource.configs.len()).await;
        let changes = resource.configs.iter().map(|config| AskedChange {
            name: config.name.to_string(),
            operation: SET,
            value: config.value.as_ref().map(ToString::to_string),
        });
        asked.push(AskedAlteration {
            kind: resource.resource_type,
            name: resource.resource_name.to_string(),
            changes: changes.collect(),
            replaces_all: true,
        });
    }
    let responses = alter(&caller, asked, request.validate_only).await?;
    Ok(AlterConfigsResponse { responses, ..Default::default() })
}
