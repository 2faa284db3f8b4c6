//! Metadata (3): brokers, topics and their leaders. Versions 0-13.
//!
//! A topic that does not exist is created when the broker's configuration and the request both
//! allow it; the answer then already describes it.

use std::rc::Rc;

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
use crate::server::dispatch::check_count;
use crate::server::errors;
use crate::server::request::{Caller, Hangup};
use crate::shard::call::{Call, ControlReply, ControlRequest, Reply};
use crate::wire::StrBytes;

/// Describe what is asked for, creating what is missing where that is allowed.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    version: i16,
    request: MetadataRequest,
) -> Result<MetadataResponse, Hangup> {
    let count = request.topics.as_ref().map_or(0, Vec::len);
    let max = caller.shard.config.limits.request_topics_max;
    check_count("topics", count, max, "thalweg.request.topics.max")?;
    let identity = &caller.identity;
    let asked = request.topics.filter(|topics| version > 0 || !topics.is_empty());
    let topics = match asked {
        None => caller.shard.image().topics().map(|t| describe(t)).collect(),
        Some(asked) => {
            let may_create =
                request.allow_auto_topic_creation && caller.shard.config.auto_create_topics;
            if may_create {
                create_missing(&caller, &asked).await;
            }
            let image = caller.shard.image();
            asked.iter().map(|topic| look_up(&image, topic)).collect()
        }
    };
    Ok(MetadataResponse {
        brokers: vec![MetadataResponseBroker {
            node_id: identity.node_id,
            host: identity.host.as_str().into(),
            port: i32::from(identity.port),
            rack: identity.rack.as_deref().map(Into::into),
        }],
        cluster_id: Some(identity.cluster_id.as_str().into()),
        controller_id: identity.node_id,
        topics,
        ..Default::default()
    })
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
            if !matches!(error, ControlError::TopicExists(_)) {
                let (code, text) = errors::control(&error);
                tracing::warn!(code = code.0, ?text, "a topic could not be created on request");
            }
        }
    }
}

fn look_up(image: &Image, asked: &MetadataRequestTopic) -> MetadataResponseTopic {
    let refuse = |error_code| MetadataResponseTopic {
        error_code,
        name: asked.name.clone(),
        topic_id: asked.topic_id,
        ..Default::default()
    };
    if asked.topic_id != Uuid::ZERO {
        return match image.topic_by_id(asked.topic_id) {
            Some(topic) => describe(topic),
            None => refuse(ErrorCode::UNKNOWN_TOPIC_ID),
        };
    }
    let name = asked.name.as_deref().unwrap_or("");
    match image.topic(name) {
        Some(topic) => describe(topic),
        None if TopicName::new(name).is_err() => refuse(ErrorCode::INVALID_TOPIC_EXCEPTION),
        None => refuse(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
    }
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
