//! InitProducerId (22): an id for an idempotent producer. Versions 0-5.
//!
//! Every request gets an id that nobody ever had, with epoch 0, also one that names the id it had
//! before (KIP-360): that is what Kafka does without a transactional id. Transactional ids are
//! refused with an error that ends the attempt.

use std::rc::Rc;

use crate::protocol::ErrorCode;
use crate::protocol::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use crate::runtime::Runtime;
use crate::server::errors;
use crate::server::request::{Caller, Hangup};

/// Hand out an id that nobody ever had.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    _version: i16,
    request: InitProducerIdRequest,
) -> Result<InitProducerIdResponse, Hangup> {
    let refuse = |error_code| InitProducerIdResponse {
        error_code,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    if let Some(id) = &request.transactional_id {
        return Ok(refuse(if id.is_empty() {
            ErrorCode::INVALID_REQUEST
        } else {
            ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED
        }));
    }
    let grant = |producer_id, producer_epoch| InitProducerIdResponse {
        producer_id,
        producer_epoch,
        ..Default::default()
    };
    match caller.shard.next_producer_id().await {
        Ok(id) => Ok(grant(id, 0)),
        Err(error) => Ok(refuse(errors::control(&error).0)),
    }
}
