//! CreatePartitions (37): raise the number of partitions. Versions 0-3.

use std::collections::HashMap;
use std::rc::Rc;

use crate::protocol::ErrorCode;
use crate::protocol::messages::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsResponse,
    CreatePartitionsTopicResult,
};
use crate::runtime::Runtime;
use crate::runtime::wait::{ITEMS_AT_ONCE, Pace};
use crate::server::errors;
use crate::server::request::{Caller, Hangup};
use crate::shard::call::{Call, ControlReply, ControlRequest, MorePartitions, Reply};

/// Topics succeed or fail one by one; a topic named twice fails.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    _version: i16,
    request: CreatePartitionsRequest,
) -> Result<CreatePartitionsResponse, Hangup> {
    let mut named: HashMap<String, usize> = HashMap::new();
    let mut pace = Pace::new(ITEMS_AT_ONCE);
    for topic in &request.topics {
        pace.worked(1).await;
        *named.entry(topic.name.to_string()).or_default() += 1;
    }
    let mut results = Vec::with_capacity(request.topics.len());
    let mut slots = Vec::new();
    let mut topics = Vec::new();
    for topic in request.topics {
        pace.worked(1).await;
        let mut result =
            CreatePartitionsTopicResult { name: topic.name.clone(), ..Default::default() };
        if named[&*topic.name] > 1 {
            result.error_code = ErrorCode::INVALID_REQUEST;
            result.error_message = Some("Duplicate topic in request.".into());
        } else {
            slots.push(results.len());
            let brokers = |all: Vec<CreatePartitionsAssignment>| {
                all.into_iter().map(|a| a.broker_ids).collect()
            };
            topics.push(MorePartitions {
                topic: topic.name.to_string(),
                count: topic.count,
                assignments: topic.assignments.map(brokers),
            });
        }
        results.push(result);
    }
    if !topics.is_empty() {
        let validate_only = request.validate_only;
        let request = ControlRequest::CreatePartitions { topics, validate_only };
        let reply = caller.shard.call(0, Call::Control(request)).await;
        let Reply::Control(ControlReply::Topics(outcomes)) = reply else {
            return Err(Hangup("the controller is stopping".into()));
        };
        for (slot, outcome) in slots.into_iter().zip(outcomes) {
            if let Err(error) = outcome {
                let (code, text) = errors::control(&error);
                results[slot].error_code = code;
                results[slot].error_message = text.map(|text| text.as_str().into());
            }
        }
    }
    Ok(CreatePartitionsResponse { results, ..Default::default() })
}
