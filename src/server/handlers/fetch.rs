//! Fetch (1): read record batches as they are stored. Versions 4-17.
//!
//! The first batch of the first partition that has one comes whatever its size (KIP-74); when
//! there are fewer bytes than asked for, the request waits, at no cost, until a partition's high
//! watermark moves or its time is over. Sessions are incremental (KIP-227). There are no
//! transactions, so the last stable offset is the high watermark and nothing is aborted.
//! Versions below 10 are given zstd, too: Kafka refuses it to them only where the topic's own
//! `compression.type` is zstd, which no topic here can have; kafka-python 2.0.2 reads it with 4.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{FutureExt, join_all, select, select_all};

use crate::cluster::image::Image;
use crate::metrics::Value;
use crate::model::{Offset, TopicPartition, Uuid};
use crate::partition::read::{ReadOutcome, ReadRefusal};
use crate::protocol::ErrorCode;
use crate::protocol::messages::fetch::{
    FetchRequest, FetchResponse, FetchableTopicResponse, PartitionData,
};
use crate::runtime::Runtime;
use crate::server::dispatch::check_count;
use crate::server::errors;
use crate::server::fetch_session::{FINAL_EPOCH, INITIAL_EPOCH, SessionRefusal, TopicRef, Wanted};
use crate::server::request::{Caller, Hangup};
use crate::shard::call::{Call, FetchCall, FetchItem, FetchRefusal, FetchResult, Reply};
use crate::wire::Records;

/// Longest wait for bytes; a dead client's request must not be kept for ever.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// What is read for one request: all that the client wants, and the session it belongs to.
struct Plan {
    wanted: Vec<Wanted>,
    session_id: i32,
    is_incremental: bool,
    uses_ids: bool,
    bytes_max: usize,
    bytes_min: usize,
}

/// One partition's result beside what was wanted of it.
type Found = Result<ReadOutcome, ErrorCode>;

/// Read, wait if need be, read again, answer.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    version: i16,
    request: FetchRequest,
) -> Result<FetchResponse, Hangup> {
    if request.replica_id >= 0 || request.replica_state.replica_id >= 0 {
        // A client that says it is a replica could move marks in a real cluster (CVE-2018-1288).
        let error_code = ErrorCode::CLUSTER_AUTHORIZATION_FAILED;
        return Ok(FetchResponse { error_code, ..Default::default() });
    }
    let limits = &caller.shard.config.limits;
    let named: usize = request.topics.iter().map(|t| t.partitions.len()).sum();
    let key = "thalweg.request.partitions.max";
    check_count("partitions", named, limits.request_partitions_max, key)?;
    let wait_ms = u64::try_from(request.max_wait_ms).unwrap_or(0);
    let plan = match plan(&caller, version, request) {
        Ok(plan) => plan,
        Err(error_code) => return Ok(FetchResponse { error_code, ..Default::default() }),
    };
    let wait = Duration::from_millis(wait_ms).min(WAIT_MAX);
    let found = read_or_wait(&caller, &plan, wait).await;
    Ok(answer(&caller, &plan, found))
}

/// What to read, by session or without one.
fn plan<R: Runtime>(
    caller: &Rc<Caller<R>>,
    version: i16,
    request: FetchRequest,
) -> Result<Plan, ErrorCode> {
    let uses_ids = version >= 13;
    let limits = &caller.shard.config.limits;
    let mut wanted = Vec::new();
    let mut seen = HashSet::new();
    for topic in request.topics {
        let reference = topic_ref(uses_ids, topic.topic_id, topic.topic);
        for p in topic.partitions {
            // A partition named twice is read once.
            if seen.insert((reference.clone(), p.partition)) {
                wanted.push(Wanted {
                    topic: reference.clone(),
                    partition: p.partition,
                    offset: p.fetch_offset,
                    bytes_max: usize::try_from(p.partition_max_bytes).unwrap_or(0),
                    epoch: p.current_leader_epoch,
                    told: None,
                });
            }
        }
    }
    let mut plan = Plan {
        wanted: Vec::new(),
        session_id: 0,
        is_incremental: false,
        uses_ids,
        bytes_max: usize::try_from(request.max_bytes).unwrap_or(0).min(limits.fetch_bytes_max),
        bytes_min: usize::try_from(request.min_bytes).unwrap_or(0),
    };
    let now = caller.shard.runtime.now();
    let mut sessions = caller.sessions.borrow_mut();
    match request.session_epoch {
        FINAL_EPOCH | INITIAL_EPOCH => {
            if request.session_id != 0 {
                sessions.remove(request.session_id);
            }
            if request.session_epoch == INITIAL_EPOCH {
                plan.session_id = sessions.create(wanted.clone(), uses_ids, now);
            }
            plan.wanted = wanted;
        }
        epoch => {
            let forgotten = request.forgotten_topics_data.into_iter().flat_map(|topic| {
                let reference = topic_ref(uses_ids, topic.topic_id, topic.topic);
                topic.partitions.into_iter().map(move |p| (reference.clone(), p))
            });
            let forgotten = forgotten.collect();
            let id = request.session_id;
            plan.wanted = sessions.resume(id, epoch, uses_ids, wanted, forgotten, now).map_err(
                |refusal| match refusal {
                    SessionRefusal::NotFound => ErrorCode::FETCH_SESSION_ID_NOT_FOUND,
                    SessionRefusal::WrongEpoch => ErrorCode::INVALID_FETCH_SESSION_EPOCH,
                    SessionRefusal::TopicIds => ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR,
                },
            )?;
            plan.session_id = id;
            plan.is_incremental = true;
        }
    }
    Ok(plan)
}

fn topic_ref(uses_ids: bool, id: Uuid, name: crate::wire::StrBytes) -> TopicRef {
    // Detached: a session must not keep the frame that named the topic.
    if uses_ids { TopicRef::Id(id) } else { TopicRef::Name(name.detached()) }
}

/// The partition a client means, or why there is none.
fn resolve(image: &Image, wanted: &Wanted) -> Result<TopicPartition, ErrorCode> {
    let topic = match &wanted.topic {
        TopicRef::Id(id) => image.topic_by_id(*id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID)?,
        TopicRef::Name(name) => image.topic(name).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?,
    };
    match usize::try_from(wanted.partition) {
        Ok(index) if index < topic.partitions.len() => {
            Ok(TopicPartition { topic_id: topic.id, partition: wanted.partition })
        }
        _ => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
    }
}

/// Read; while there is too little and time is left, wait for a mark to move and read again.
async fn read_or_wait<R: Runtime>(
    caller: &Rc<Caller<R>>,
    plan: &Plan,
    wait: Duration,
) -> Vec<Found> {
    let shard = &caller.shard;
    let deadline = shard.runtime.now() + wait;
    loop {
        let image = shard.image();
        let resolved: Vec<_> = plan.wanted.iter().map(|w| resolve(&image, w)).collect();
        let found = read(caller, plan, &resolved).await;
        let bytes: usize =
            found.iter().map(|f| f.as_ref().map_or(0, |outcome| outcome.batches.bytes)).sum();
        let is_done = bytes >= plan.bytes_min || found.iter().any(Result::is_err);
        let left = deadline.saturating_sub(shard.runtime.now());
        if is_done || plan.wanted.is_empty() || left.is_zero() {
            return found;
        }
        let waiting = shard.metrics.get(Value::WaitingFetches);
        if waiting >= shard.config.limits.waiters_max as u64 {
            // Nobody waits for ever for room to wait: the client asks again.
            return found;
        }
        let waits = shard.metrics.during(Value::WaitingFetches);
        let moved = moved(caller, &resolved, &found);
        let slept = shard.runtime.sleep(left);
        select(Box::pin(moved), Box::pin(slept)).await;
        drop(waits);
    }
}

/// Completes when any of the partitions has more than was found.
fn moved<R: Runtime>(
    caller: &Rc<Caller<R>>,
    resolved: &[Result<TopicPartition, ErrorCode>],
    found: &[Found],
) -> impl Future<Output = ()> + use<R> {
    let shard = &caller.shard;
    let mut by_owner: HashMap<u16, Vec<(TopicPartition, Offset)>> = HashMap::new();
    for (id, outcome) in resolved.iter().zip(found) {
        if let (Ok(id), Ok(outcome)) = (id, outcome) {
            by_owner.entry(shard.owner(*id)).or_default().push((*id, outcome.high_watermark));
        }
    }
    let calls: Vec<_> =
        by_owner.into_iter().map(|(owner, seen)| shard.call(owner, Call::Wait(seen))).collect();
    async move {
        if calls.is_empty() {
            return std::future::pending().await;
        }
        select_all(calls).map(|_| ()).await;
    }
}

/// Read every partition from its owner, at most `bytes_max` bytes in the order wanted.
async fn read<R: Runtime>(
    caller: &Rc<Caller<R>>,
    plan: &Plan,
    resolved: &[Result<TopicPartition, ErrorCode>],
) -> Vec<Found> {
    let shard = &caller.shard;
    let mut by_owner: Vec<(Vec<usize>, Vec<FetchItem>)> = Vec::new();
    by_owner.resize_with(usize::from(shard.shards), Default::default);
    let mut found: Vec<Found> = Vec::with_capacity(resolved.len());
    for (at, (id, wanted)) in resolved.iter().zip(&plan.wanted).enumerate() {
        found.push(Err(match id {
            Ok(_) => ErrorCode::NOT_LEADER_OR_FOLLOWER,
            Err(code) => *code,
        }));
        if let Ok(id) = id {
            let (slots, items) = &mut by_owner[usize::from(shard.owner(*id))];
            slots.push(at);
            items.push(FetchItem {
                partition: *id,
                offset: wanted.offset,
                bytes_max: wanted.bytes_max,
                epoch: wanted.epoch,
            });
        }
    }
    let bytes_max = plan.bytes_max;
    let total = plan.wanted.len().max(1);
    let calls = (0..).zip(by_owner).filter(|(_, (slots, _))| !slots.is_empty()).map(
        |(owner, (slots, items))| {
            // Each owner gets a share: what is read beyond the budget would be read again.
            let bytes_max = (bytes_max / total).saturating_mul(items.len()).max(1);
            let reply = shard.call(owner, Call::Fetch(FetchCall { items, bytes_max }));
            async move { (slots, reply.await) }
        },
    );
    for (slots, reply) in join_all(calls).await {
        let Reply::Fetch(results) = reply else { continue };
        for (slot, result) in slots.into_iter().zip(results) {
            found[slot] = translate(result);
        }
    }
    trim(&mut found, bytes_max);
    found
}

/// Each owner gave at least one batch; keep to the budget in the order wanted. The first batch
/// stays whatever its size.
fn trim(found: &mut [Found], bytes_max: usize) {
    let mut left = bytes_max;
    let mut any = false;
    for outcome in found.iter_mut().flatten() {
        let bytes = outcome.batches.bytes;
        if bytes > left && any {
            outcome.batches = Default::default();
            continue;
        }
        any |= bytes > 0;
        left = left.saturating_sub(bytes);
    }
}

fn translate(result: FetchResult) -> Found {
    match result {
        Ok(outcome) => Ok(outcome),
        Err(FetchRefusal::Read(ReadRefusal::Storage(error))) => {
            tracing::error!(?error, "a fetch could not be read");
            Err(ErrorCode::KAFKA_STORAGE_ERROR)
        }
        Err(refusal) => Err(errors::fetch(&refusal)),
    }
}

/// The response: everything for a full fetch, what has something to say for an incremental one.
fn answer<R: Runtime>(caller: &Rc<Caller<R>>, plan: &Plan, found: Vec<Found>) -> FetchResponse {
    let mut sessions = caller.sessions.borrow_mut();
    let mut response = FetchResponse { session_id: plan.session_id, ..Default::default() };
    for (wanted, found) in plan.wanted.iter().zip(found) {
        let marks = found.as_ref().ok().map(|o| (o.high_watermark, o.log_start));
        let has_news = match &found {
            Ok(outcome) => outcome.batches.bytes > 0 || wanted.told != marks,
            Err(_) => true,
        };
        if plan.session_id != 0 {
            sessions.told(plan.session_id, &wanted.topic, wanted.partition, marks);
        }
        if has_news || !plan.is_incremental {
            let data = partition_data(wanted, found);
            push(&mut response, plan.uses_ids, &wanted.topic, data);
        }
    }
    response
}

fn partition_data(wanted: &Wanted, found: Found) -> PartitionData {
    let mut data = PartitionData {
        partition_index: wanted.partition,
        aborted_transactions: None,
        ..Default::default()
    };
    match found {
        Ok(outcome) => {
            data.high_watermark = outcome.high_watermark;
            data.last_stable_offset = outcome.high_watermark;
            data.log_start_offset = outcome.log_start;
            data.records = Records::from(outcome.batches.pieces);
        }
        Err(code) => {
            data.error_code = code;
            data.high_watermark = -1;
            data.records = Records::EMPTY;
        }
    }
    data
}

/// Add a partition's data under its topic.
fn push(response: &mut FetchResponse, uses_ids: bool, topic: &TopicRef, data: PartitionData) {
    let is_same = response.responses.last().is_some_and(|last| match topic {
        TopicRef::Id(id) => last.topic_id == *id,
        TopicRef::Name(name) => last.topic == *name,
    });
    if !is_same {
        let mut entry = FetchableTopicResponse::default();
        match topic {
            TopicRef::Id(id) => entry.topic_id = *id,
            TopicRef::Name(name) => entry.topic = name.clone(),
        }
        debug_assert_eq!(uses_ids, matches!(topic, TopicRef::Id(_)));
        response.responses.push(entry);
    }
    if let Some(entry) = response.responses.last_mut() {
        entry.partitions.push(data);
    }
}
