//! Metadata (3): brokers, topics and their leaders. Versions 0-13.
//!
//! A topic that does not exist is created when the broker's configuration and the request both
//! allow it; the answer then already describes it.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;

use crate::cluster::controller::{ControlError, NewTopic};
use crate::cluster::image::{Image, Topic};
use crate::cluster::internal;
use crate::model::{CONSUMER_OFFSETS, TopicName, Uuid};
use crate::protocol::ErrorCode;
use crate::protocol::messages::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic,
};
use crate::runtime::Runtime;
use crate::runtime::wait::{ITEMS_AT_ONCE, Pace};
use crate::server::dispatch::check_answer;
use crate::server::errors;
use crate::server::operations;
use crate::server::request::{Caller, Endpoint, Hangup};
use crate::shard::call::{Call, ControlReply, ControlRequest, Reply};
use crate::wire::{Field, StrBytes};

/// Versions below this one ask by name only, though 10 and 11 can carry an id.
const BY_ID_VERSION_MIN: i16 = 12;

/// Describe what is asked for, creating what is missing where that is allowed.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    version: i16,
    request: MetadataRequest,
) -> Result<MetadataResponse, Hangup> {
    let identity = &caller.identity;
    let asked = request.topics.filter(|topics| version > 0 || !topics.is_empty());
    let mut topics = match asked {
        None => {
            let image = caller.shard.image();
            describe_all(image.topics().map(|topic| Found::Topic(topic.clone()))).await?
        }
        Some(asked) if version < BY_ID_VERSION_MIN && !asked.iter().all(is_by_name) => {
            asked.into_iter().map(refuse_id).collect()
        }
        Some(asked) => {
            let asked = without_repeats(asked);
            let may_create =
                request.allow_auto_topic_creation && caller.shard.config.auto_create_topics;
            if may_create {
                create_missing(&caller, &asked).await;
            }
            let image = caller.shard.image();
            describe_all(look_up(&image, asked).into_iter()).await?
        }
    };
    if request.include_topic_authorized_operations {
        for topic in topics.iter_mut().filter(|topic| topic.error_code.is_ok()) {
            topic.topic_authorized_operations = operations::TOPIC;
        }
    }
    let cluster_operations = match request.include_cluster_authorized_operations {
        true => operations::CLUSTER,
        false => operations::NOT_ASKED,
    };
    let Endpoint { node_id, host, port, rack } = identity.endpoint();
    Ok(MetadataResponse {
        brokers: vec![MetadataResponseBroker { node_id, host, port, rack }],
        cluster_id: Some(identity.cluster_id.as_str().into()),
        controller_id: identity.node_id,
        topics,
        cluster_authorized_operations: cluster_operations,
        ..Default::default()
    })
}

fn is_by_name(topic: &MetadataRequestTopic) -> bool {
    topic.name.is_some() && topic.topic_id == Uuid::ZERO
}

/// An answer to a request by id in a version that has none; null is no name there, either.
fn refuse_id(asked: MetadataRequestTopic) -> MetadataResponseTopic {
    MetadataResponseTopic {
        error_code: ErrorCode::INVALID_REQUEST,
        name: Some(asked.name.unwrap_or_default()),
        topic_id: asked.topic_id,
        ..Default::default()
    }
}

/// Each topic once, as in Kafka: the description of one may be large, and its name is short.
fn without_repeats(mut asked: Vec<MetadataRequestTopic>) -> Vec<MetadataRequestTopic> {
    let mut seen = HashSet::new();
    asked.retain(|topic| match topic.topic_id {
        Uuid::ZERO => seen.insert((Uuid::ZERO, topic.name.clone())),
        id => seen.insert((id, None)),
    });
    asked
}

/// Create the named topics that do not exist; what cannot be created stays missing, and the answer
/// says so.
async fn create_missing<R: Runtime>(caller: &Rc<Caller<R>>, asked: &[MetadataRequestTopic]) {
    let image = caller.shard.image();
    let missing = asked.iter().filter(|topic| topic.topic_id == Uuid::ZERO);
    let missing = missing.filter_map(|topic| topic.name.as_deref());
    let missing: Vec<_> = missing
        .filter(|name| TopicName::new(name).is_ok() && image.topic(name).is_none())
        .map(|name| match name {
            CONSUMER_OFFSETS => internal::offsets_topic(&caller.shard.config),
            _ => NewTopic {
                name: name.into(),
                partitions: -1,
                replication_factor: -1,
                ..NewTopic::default()
            },
        })
        .collect();
    if missing.is_empty() {
        return;
    }
    let request = ControlRequest::CreateTopics { topics: missing, validate_only: false };
    let reply = caller.shard.call(0, Call::Control(request)).await;
    if let Reply::Control(ControlReply::Topics(outcomes)) = reply {
        for error in outcomes.into_iter().filter_map(Result::err) {
            // Another request may have been faster, which is as good.
            if !matches!(error, ControlError::TopicExists(_))
                && let Some(unsaid) = caller.uncreated.may_log(caller.shard.runtime.now())
            {
                let (code, text) = errors::control(&error);
                tracing::warn!(
                    code = code.0,
                    ?text,
                    unsaid,
                    "a topic could not be created on request"
                );
            }
        }
    }
}

/// What became of looking one topic up.
enum Found {
    Topic(Arc<Topic>),
    /// By this name or id, with this error.
    Nothing(MetadataRequestTopic, ErrorCode),
}

/// Find the topics.
fn look_up(image: &Image, asked: Vec<MetadataRequestTopic>) -> Vec<Found> {
    let found = asked.into_iter().map(|asked| {
        let name = asked.name.as_deref().unwrap_or("");
        let is_by_id = asked.topic_id != Uuid::ZERO;
        let topic = if is_by_id { image.topic_by_id(asked.topic_id) } else { image.topic(name) };
        match topic {
            Some(topic) => Found::Topic(topic.clone()),
            None => {
                let why = match TopicName::new(name) {
                    _ if is_by_id => ErrorCode::UNKNOWN_TOPIC_ID,
                    Err(_) => ErrorCode::INVALID_TOPIC_EXCEPTION,
                    Ok(_) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                };
                Found::Nothing(asked, why)
            }
        }
    });
    found.collect()
}

/// Describe topic after topic, with turns for others, as long as the answer is not too long.
async fn describe_all(
    topics: impl Iterator<Item = Found>,
) -> Result<Vec<MetadataResponseTopic>, Hangup> {
    let (mut described, mut bytes) = (Vec::new(), 0);
    let mut pace = Pace::new(ITEMS_AT_ONCE);
    for found in topics {
        let topic = match found {
            Found::Topic(topic) => describe(&topic),
            Found::Nothing(asked, error_code) => MetadataResponseTopic {
                error_code,
                name: asked.name,
                topic_id: asked.topic_id,
                ..Default::default()
            },
        };
        bytes += topic.size_hint();
        check_answer(bytes)?;
        pace.worked(1 + topic.partitions.len()).await;
        described.push(topic);
    }
    Ok(described)
}

fn describe(topic: &Topic) -> MetadataResponseTopic {
    let partitions = topic.partitions.iter().enumerate();
    MetadataResponseTopic {
        name: Some(StrBytes::from(topic.name.as_str())),
        topic_id: topic.id,
        is_internal: topic.name.is_internal(),
        partitions: partitions
            .map(|(index, state)| MetadataResponsePartition {
                partition_index: index as i32,
                leader_id: state.leader,
                leader_epoch: state.leader_epoch,
                replica_nodes: state.replicas.clone(),
                isr_nodes: state.in_sync.clone(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}
