//! ListConfigResources (74): which resources can have a configuration. Versions 0-1.

use std::rc::Rc;

use crate::protocol::ErrorCode;
use crate::protocol::messages::list_config_resources::{
    ConfigResource, ListConfigResourcesRequest, ListConfigResourcesResponse,
};
use crate::runtime::Runtime;
use crate::server::configs::{BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC};
use crate::server::request::{Caller, Hangup};

const KINDS: &[i8] = &[TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];

/// Topics and brokers that are there, groups with settings of their own. Version 0 asks for client
/// metrics, which are not taken here.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    version: i16,
    request: ListConfigResourcesRequest,
) -> Result<ListConfigResourcesResponse, Hangup> {
    let kinds = match &request.resource_types[..] {
        _ if version == 0 => &[CLIENT_METRICS],
        [] => KINDS,
        asked => asked,
    };
    if kinds.iter().any(|kind| !KINDS.contains(kind)) {
        let error_code = ErrorCode::UNSUPPORTED_VERSION;
        return Ok(ListConfigResourcesResponse { error_code, ..Default::default() });
    }
    let image = caller.shard.image();
    let mut found = Vec::new();
    // Each kind once, however often it is named.
    for kind in KINDS.iter().copied().filter(|kind| kinds.contains(kind)) {
        let mut add = |name: &str| {
            found.push(ConfigResource { resource_name: name.into(), resource_type: kind });
        };
        match kind {
            TOPIC => image.topics().for_each(|topic| add(topic.name.as_str())),
            BROKER | BROKER_LOGGER => add(&caller.identity.node_id.to_string()),
            GROUP => image.configured_groups().for_each(add),
            _ => {}
        }
    }
    Ok(ListConfigResourcesResponse { config_resources: found, ..Default::default() })
}
