//! FindCoordinator (10): who coordinates a group. Versions 0-6.
//!
//! Groups are coordinated here, by the shard that owns the group's partition of
//! `__consumer_offsets`; the first question creates that topic. Transactions are not served:
//! TRANSACTIONAL_ID_AUTHORIZATION_FAILED, which ends the attempt.

use std::rc::Rc;

use crate::cluster::controller::ControlError;
use crate::cluster::internal;
use crate::model::CONSUMER_OFFSETS;
use crate::protocol::ErrorCode;
use crate::protocol::messages::find_coordinator::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse,
};
use crate::runtime::Runtime;
use crate::runtime::wait::{ITEMS_AT_ONCE, Pace};
use crate::server::errors;
use crate::server::request::{Caller, Hangup};
use crate::shard::call::{Call, ControlReply, ControlRequest, Reply};
use crate::wire::StrBytes;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// One answer for all keys: there is one broker.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    version: i16,
    request: FindCoordinatorRequest,
) -> Result<FindCoordinatorResponse, Hangup> {
    let found = match request.key_type {
        GROUP => prepare_offsets_topic(&caller).await,
        TRANSACTION => Err((
            ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
            Some("Transactions are not served by this broker.".into()),
        )),
        _ => Err((ErrorCode::INVALID_REQUEST, Some("The key type is not known.".into()))),
    };
    let keys = if version < 4 { vec![request.key] } else { request.coordinator_keys };
    let mut coordinators = Vec::with_capacity(keys.len());
    let mut pace = Pace::new(ITEMS_AT_ONCE);
    for key in keys {
        pace.worked(1).await;
        coordinators.push(coordinator(&caller, key, &found));
    }
    if version >= 4 {
        return Ok(FindCoordinatorResponse { coordinators, ..Default::default() });
    }
    let only = coordinators.pop().unwrap_or_default();
    Ok(FindCoordinatorResponse {
        error_code: only.error_code,
        error_message: only.error_message.filter(|_| version >= 1),
        node_id: only.node_id,
        host: only.host,
        port: only.port,
        ..Default::default()
    })
}

fn coordinator<R: Runtime>(
    caller: &Caller<R>,
    key: StrBytes,
    found: &Result<(), errors::Refused>,
) -> Coordinator {
    let identity = &caller.identity;
    match found {
        Ok(()) => Coordinator {
            key,
            node_id: identity.node_id,
            host: identity.host.as_str().into(),
            port: i32::from(identity.port),
            ..Default::default()
        },
        Err((error_code, text)) => Coordinator {
            key,
            node_id: -1,
            port: -1,
            error_code: *error_code,
            error_message: text.as_deref().map(Into::into),
            ..Default::default()
        },
    }
}

/// Create `__consumer_offsets` if it is not there.
async fn prepare_offsets_topic<R: Runtime>(caller: &Rc<Caller<R>>) -> Result<(), errors::Refused> {
    let shard = &caller.shard;
    if shard.image().topic(CONSUMER_OFFSETS).is_some() {
        return Ok(());
    }
    let topics = vec![internal::offsets_topic(&shard.config)];
    let request = ControlRequest::CreateTopics { topics, validate_only: false };
    let why = match shard.call(0, Call::Control(request)).await {
        Reply::Control(ControlReply::Topics(mut outcomes)) => match outcomes.pop() {
            // Another request may have been faster, which is as good.
            Some(Ok(_) | Err(ControlError::TopicExists(_))) => return Ok(()),
            Some(Err(error)) => errors::control(&error).1.unwrap_or_default(),
            None => "nothing was created".into(),
        },
        _ => "the controller is stopping".into(),
    };
    if let Some(unsaid) = caller.uncreated.may_log(shard.runtime.now()) {
        tracing::warn!(unsaid, "{CONSUMER_OFFSETS} could not be created: {why}");
    }
    let text = format!("{CONSUMER_OFFSETS} could not be created: {why}");
    Err((ErrorCode::COORDINATOR_NOT_AVAILABLE, Some(text)))
}
