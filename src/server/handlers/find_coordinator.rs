//! FindCoordinator (10): who coordinates a group. Versions 0-6.
//!
//! There are no groups yet: COORDINATOR_NOT_AVAILABLE, which librdkafka, asking even when
//! partitions are assigned by hand, takes as "not now". Transactions are not served:
//! TRANSACTIONAL_ID_AUTHORIZATION_FAILED, which ends the attempt.

use std::rc::Rc;

use crate::protocol::ErrorCode;
use crate::protocol::messages::find_coordinator::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse,
};
use crate::runtime::Runtime;
use crate::server::request::{Caller, Hangup};

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// Refuse in the way that fits the kind of key.
pub async fn handle<R: Runtime>(
    _caller: Rc<Caller<R>>,
    version: i16,
    request: FindCoordinatorRequest,
) -> Result<FindCoordinatorResponse, Hangup> {
    let (code, text) = match request.key_type {
        GROUP => (ErrorCode::COORDINATOR_NOT_AVAILABLE, "Groups are not served yet."),
        TRANSACTION => (
            ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            "Transactions are not served by this broker.",
        ),
        _ => (ErrorCode::INVALID_REQUEST, "The key type is not known."),
    };
    if version < 4 {
        return Ok(FindCoordinatorResponse {
            error_code: code,
            error_message: (version >= 1).then(|| text.into()),
            node_id: -1,
            port: -1,
            ..Default::default()
        });
    }
    let coordinators = request.coordinator_keys.into_iter().map(|key| Coordinator {
        key,
        node_id: -1,
        port: -1,
        error_code: code,
        error_message: Some(text.into()),
        ..Default::default()
    });
    Ok(FindCoordinatorResponse { coordinators: coordinators.collect(), ..Default::default() })
}
