//! DeleteTopics (20): by name, from version 6 also by id. Versions 1-6.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::cluster::image::{Image, Topic};
use crate::model::Uuid;
use crate::protocol::ErrorCode;
use crate::protocol::messages::delete_topics::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use crate::runtime::Runtime;
use crate::runtime::wait::{ITEMS_AT_ONCE, Pace};
use crate::server::errors;
use crate::server::request::{Caller, Hangup};
use crate::shard::call::{Call, ControlReply, ControlRequest, Reply};

/// Versions below this one have no error for it that deletion is disabled (KAFKA-5975).
const DISABLED_VERSION_MIN: i16 = 3;

/// Delete one by one; the files go in the background of the owners. A topic that is named
/// twice is not deleted: nobody knows what is meant.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    version: i16,
    request: DeleteTopicsRequest,
) -> Result<DeleteTopicsResponse, Hangup> {
    let image = caller.shard.image();
    let asked: Vec<DeleteTopicState> = if version >= 6 {
        request.topics
    } else {
        let names = request.topic_names.into_iter();
        names.map(|name| DeleteTopicState { name: Some(name), ..Default::default() }).collect()
    };
    let mut responses = Vec::with_capacity(asked.len());
    let mut slots = Vec::new();
    let mut ids = Vec::new();
    let mut named: HashMap<Uuid, usize> = HashMap::with_capacity(asked.len());
    let mut pace = Pace::new(ITEMS_AT_ONCE);
    for topic in &asked {
        pace.worked(1).await;
        if let Ok(found) = find(&image, topic) {
            *named.entry(found.id).or_default() += 1;
        }
    }
    for topic in asked {
        pace.worked(1).await;
        let found = find(&image, &topic);
        let mut result = DeletableTopicResult {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            ..Default::default()
        };
        match found {
            _ if !caller.shard.config.delete_topics => {
                result.error_code = match version {
                    ..DISABLED_VERSION_MIN => ErrorCode::INVALID_REQUEST,
                    _ => ErrorCode::TOPIC_DELETION_DISABLED,
                };
                result.error_message = Some("delete.topic.enable is false.".into());
            }
            _ if topic.name.is_some() == (topic.topic_id != Uuid::ZERO) => {
                result.error_code = ErrorCode::INVALID_REQUEST;
                result.error_message = Some("Give a name or an id, one of both.".into());
            }
            Ok(found) if named[&found.id] > 1 => {
                result.error_code = ErrorCode::INVALID_REQUEST;
                result.error_message = Some("The topic is named twice in one request.".into());
            }
            Err(code) => result.error_code = code,
            Ok(topic) => {
                result.name = Some(topic.name.as_str().into());
                result.topic_id = topic.id;
                slots.push(responses.len());
                ids.push(topic.id);
            }
        }
        responses.push(result);
    }
    // It will be an old one, with all that is deleted.
    drop(image);
    if !ids.is_empty() {
        let request = ControlRequest::DeleteTopics(ids);
        let reply = caller.shard.call(0, Call::Control(request)).await;
        let Reply::Control(ControlReply::Topics(outcomes)) = reply else {
            return Err(Hangup("the controller is stopping".into()));
        };
        for (slot, outcome) in slots.into_iter().zip(outcomes) {
            pace.worked(1).await;
            if let Err(error) = outcome {
                let (code, text) = errors::control(&error);
                responses[slot].error_code = code;
                responses[slot].error_message = text.map(|text| text.as_str().into());
            }
        }
    }
    Ok(DeleteTopicsResponse { responses, ..Default::default() })
}

fn find<'a>(image: &'a Image, asked: &DeleteTopicState) -> Result<&'a Arc<Topic>, ErrorCode> {
    match &asked.name {
        Some(name) => image.topic(name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        None => image.topic_by_id(asked.topic_id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID),
    }
}
