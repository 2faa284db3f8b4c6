//! DescribeCluster (60): id, controller and endpoints. Versions 0-2.

use std::rc::Rc;

use crate::protocol::ErrorCode;
use crate::protocol::messages::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};
use crate::runtime::Runtime;
use crate::server::request::{Caller, Hangup};

/// Endpoints of brokers; those of controllers are asked for at a controller (KIP-919).
const BROKERS: i8 = 1;

/// Who we are.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    _version: i16,
    request: DescribeClusterRequest,
) -> Result<DescribeClusterResponse, Hangup> {
    let identity = &caller.identity;
    if request.endpoint_type != BROKERS {
        return Ok(DescribeClusterResponse {
            error_code: ErrorCode::MISMATCHED_ENDPOINT_TYPE,
            error_message: Some(
                "The request was sent to an endpoint of type BROKER, but it wanted an endpoint of \
                 type CONTROLLER"
                    .into(),
            ),
            ..Default::default()
        });
    }
    Ok(DescribeClusterResponse {
        cluster_id: identity.cluster_id.as_str().into(),
        controller_id: identity.node_id,
        brokers: vec![DescribeClusterBroker {
            broker_id: identity.node_id,
            host: identity.host.as_str().into(),
            port: i32::from(identity.port),
            rack: identity.rack.as_deref().map(Into::into),
            is_fenced: false,
        }],
        ..Default::default()
    })
}
