//! DescribeCluster (60): id, controller and endpoints. Versions 0-2.

use std::rc::Rc;

use crate::protocol::ErrorCode;
use crate::protocol::messages::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};
use crate::runtime::Runtime;
use crate::server::operations;
use crate::server::request::{Caller, Hangup};

/// Endpoints of brokers; those of controllers are asked for at a controller (KIP-919).
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// Who we are.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    _version: i16,
    request: DescribeClusterRequest,
) -> Result<DescribeClusterResponse, Hangup> {
    let identity = &caller.identity;
    if let Err((error_code, text)) = check_endpoints(request.endpoint_type) {
        return Ok(DescribeClusterResponse {
            error_code,
            error_message: Some(text.as_str().into()),
            ..Default::default()
        });
    }
    let cluster_authorized_operations = match request.include_cluster_authorized_operations {
        true => operations::CLUSTER,
        false => operations::NOT_ASKED,
    };
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
        cluster_authorized_operations,
        ..Default::default()
    })
}

fn check_endpoints(kind: i8) -> Result<(), (ErrorCode, String)> {
    match kind {
        BROKERS => Ok(()),
        CONTROLLERS => {
            let text = "The request was sent to an endpoint of type BROKER, but it wanted an \
                        endpoint of type CONTROLLER";
            Err((ErrorCode::MISMATCHED_ENDPOINT_TYPE, text.into()))
        }
        other => Err((
            ErrorCode::UNSUPPORTED_ENDPOINT_TYPE,
            format!("{other} is no type of endpoint; 1 stands for brokers, 2 for controllers"),
        )),
    }
}
