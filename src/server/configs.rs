//! What the APIs for configurations share: kinds of resources, and altering them.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use crate::cluster::change::ConfigResource;
use crate::cluster::configs::{Alteration, Operation};
use crate::cluster::controller::ControlError;
use crate::model::NodeId;
use crate::protocol::ErrorCode;
use crate::protocol::messages::alter_configs::AlterConfigsResourceResponse;
use crate::runtime::Runtime;
use crate::runtime::wait::{ITEMS_AT_ONCE, Pace};
use crate::shard::call::{Call, ControlReply, ControlRequest, Reply};
use crate::wire::StrBytes;

use super::errors::{self, Refused};
use super::request::{Caller, Hangup};

// Kinds of resources, `org.apache.kafka.common.config.ConfigResource.Type`.
/// A topic, by name.
pub const TOPIC: i8 = 2;
/// A broker, by id; empty for all brokers.
pub const BROKER: i8 = 4;
/// The levels of a broker's log lines.
pub const BROKER_LOGGER: i8 = 8;
/// Subscriptions of client metrics (KIP-714).
pub const CLIENT_METRICS: i8 = 16;
/// A group, by id.
pub const GROUP: i8 = 32;

/// One setting that is to be altered, unchecked.
#[derive(Clone, Debug)]
pub struct AskedChange {
    /// Its key.
    pub name: StrBytes,
    /// What is to happen to it: Kafka's number of the operation.
    pub operation: i8,
    /// Its value, or the words to add or to take away.
    pub value: Option<StrBytes>,
}

/// `AlterConfigOp.OpType.SET`
pub const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// One resource that is to be altered, unchecked.
#[derive(Clone, Debug)]
pub struct AskedAlteration {
    /// Kind of the resource.
    pub kind: i8,
    /// Its name.
    pub name: StrBytes,
    /// Setting by setting.
    pub changes: Vec<AskedChange>,
    /// Whether what is not named gets its default back.
    pub replaces_all: bool,
}

/// Carry out what can be, and say what became of each resource, in order. Others go first in
/// between: there may be very many.
pub async fn alter<R: Runtime>(
    caller: &Rc<Caller<R>>,
    asked: impl ExactSizeIterator<Item = AskedAlteration>,
    validate_only: bool,
) -> Result<Vec<AlterConfigsResourceResponse>, Hangup> {
    let mut pace = Pace::new(ITEMS_AT_ONCE);
    let mut named: HashMap<(i8, StrBytes), usize> = HashMap::with_capacity(asked.len());
    let mut responses = Vec::with_capacity(asked.len());
    let mut checked = Vec::with_capacity(asked.len());
    for one in asked {
        pace.worked(1 + one.changes.len()).await;
        *named.entry((one.kind, one.name.clone())).or_default() += 1;
        responses.push(AlterConfigsResourceResponse {
            resource_type: one.kind,
            resource_name: one.name.clone(),
            ..Default::default()
        });
        checked.push(alteration(one, caller.identity.node_id));
    }
    let (mut slots, mut alterations) = (Vec::new(), Vec::new());
    for (slot, (response, checked)) in responses.iter_mut().zip(checked).enumerate() {
        pace.worked(1).await;
        let name = (response.resource_type, response.resource_name.clone());
        let checked = match named[&name] {
            1 => checked,
            _ => Err("Each resource must appear at most once.".into()),
        };
        match checked {
            Ok(alteration) => {
                slots.push(slot);
                alterations.push(alteration);
            }
            Err(text) => refuse(response, (ErrorCode::INVALID_REQUEST, Some(text))),
        }
    }
    drop(named);
    if alterations.is_empty() {
        return Ok(responses);
    }
    let request = ControlRequest::Configs { alterations, validate_only };
    let reply = caller.shard.call(0, Call::Control(request)).await;
    let Reply::Control(ControlReply::Altered(results)) = reply else {
        return Err(Hangup("the controller is stopping".into()));
    };
    for (slot, result) in slots.into_iter().zip(results) {
        pace.worked(1).await;
        if let Err(error) = result {
            let refused = refusal(responses[slot].resource_type, &error);
            refuse(&mut responses[slot], refused);
        }
    }
    Ok(responses)
}

fn refuse(response: &mut AlterConfigsResourceResponse, (error_code, text): Refused) {
    response.error_code = error_code;
    response.error_message = text.map(|text| text.as_str().into());
}

/// Kafka refuses what a broker cannot take with INVALID_REQUEST (KAFKA-13609).
fn refusal(kind: i8, error: &ControlError) -> Refused {
    match errors::control(error) {
        (ErrorCode::INVALID_CONFIG, text) if kind == BROKER => (ErrorCode::INVALID_REQUEST, text),
        refused => refused,
    }
}

/// The request as the controller wants it.
fn alteration(asked: AskedAlteration, node_id: NodeId) -> Result<Alteration, String> {
    let mut keys = HashSet::new();
    if !asked.changes.iter().all(|change| keys.insert(&change.name)) {
        return Err("Error due to duplicate config keys".into());
    }
    let name = asked.name.to_string();
    let resource = match asked.kind {
        TOPIC => ConfigResource::Topic(name),
        BROKER => {
            check_broker(&name, node_id)?;
            ConfigResource::Broker(name)
        }
        GROUP => ConfigResource::Group(name),
        BROKER_LOGGER => {
            return Err(
                "The levels of log lines are set when the broker is started (--log).".into()
            );
        }
        CLIENT_METRICS => return Err("This broker takes no metrics of clients (KIP-714).".into()),
        other => return Err(format!("Unknown resource type {other}")),
    };
    let operations =
        asked.changes.iter().map(|change| Ok((change.name.to_string(), operation(change)?)));
    Ok(Alteration {
        resource,
        operations: operations.collect::<Result<_, String>>()?,
        replaces_all: asked.replaces_all,
    })
}

fn operation(change: &AskedChange) -> Result<Operation, String> {
    let value = || {
        let missing = || format!("Null value not supported for : {}", &*change.name);
        change.value.as_ref().map(ToString::to_string).ok_or_else(missing)
    };
    Ok(match change.operation {
        SET => Operation::Set(value()?),
        DELETE => Operation::Delete,
        APPEND => Operation::Append(value()?),
        SUBTRACT => Operation::Subtract(value()?),
        other => return Err(format!("Unknown operations type {other}")),
    })
}

/// The empty name, or ours.
fn check_broker(name: &str, node_id: NodeId) -> Result<(), String> {
    match name.parse::<NodeId>() {
        _ if name.is_empty() => Ok(()),
        Ok(id) if id == node_id => Ok(()),
        Ok(_) => Err(format!("Unexpected broker id, expected {node_id}, but received {name}")),
        Err(_) => Err(format!("Node id must be an integer, but it is: {name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_checked_before_the_controller_sees_them() {
        let change = |name: &str, operation, value: Option<&str>| AskedChange {
            name: name.into(),
            operation,
            value: value.map(Into::into),
        };
        let asked = |kind, name: &str, changes: &[AskedChange]| AskedAlteration {
            kind,
            name: name.into(),
            changes: changes.to_vec(),
            replaces_all: false,
        };
        let check = |one| alteration(one, 1).map(|a| a.operations.len());
        let set = change("k", SET, Some("v"));
        for (kind, name) in [(TOPIC, "t"), (BROKER, "1"), (BROKER, ""), (GROUP, "g")] {
            assert_eq!(check(asked(kind, name, std::slice::from_ref(&set))), Ok(1));
        }
        for (kind, name, changes) in [
            (BROKER, "2", vec![set.clone()]),
            (BROKER, "x", vec![set.clone()]),
            (BROKER_LOGGER, "1", vec![set.clone()]),
            (CLIENT_METRICS, "m", vec![set.clone()]),
            (7, "x", vec![set.clone()]),
            (TOPIC, "t", vec![set.clone(), set.clone()]),
            (TOPIC, "t", vec![change("k", SET, None)]),
            (TOPIC, "t", vec![change("k", 4, Some("v"))]),
        ] {
            assert!(check(asked(kind, name, &changes)).is_err(), "{kind} {name} {changes:?}");
        }
        assert_eq!(check(asked(TOPIC, "t", &[change("k", DELETE, None)])), Ok(1));
    }
}
