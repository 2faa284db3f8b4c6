//! Fetch (1): read record batches as they are stored. Versions 4-18.
//!
//! The first batch of the first partition that has one comes whatever its size (KIP-74); when
//! there are fewer bytes than asked for, the request waits, at no cost, until a partition's high
//! watermark moves or its time is over; a partition that does not exist is told of and not waited
//! for. Sessions are incremental (KIP-227). There are no transactions, so the last stable offset is
//! the high watermark and nothing is aborted. Versions below 10 are given zstd, too: Kafka refuses
//! it to them only where the topic's own `compression.type` is zstd, which no topic here can have;
//! kafka-python 2.0.2 reads it with 4.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{FutureExt, join_all, select, select_all};

use crate::cluster::image::Image;
use crate::metrics::Value;
use crate::model::{Offset, PartitionIndex, TopicPartition, Uuid};
use crate::partition::read::{Lag, ReadOutcome, ReadRefusal};
use crate::protocol::ErrorCode;
use crate::protocol::messages::fetch::{
    FetchRequest, FetchResponse, FetchTopic, FetchableTopicResponse, LeaderIdAndEpoch,
    PartitionData,
};
use crate::runtime::Runtime;
use crate::runtime::wait::Pace;
use crate::server::errors;
use crate::server::fetch_session::{
    FINAL_EPOCH, INITIAL_EPOCH, Session, SessionRefusal, TopicRef, Wanted,
};
use crate::server::leaders::Leaders;
use crate::server::request::{Caller, Hangup, Identity};
use crate::shard::call::{Call, FetchCall, FetchItem, FetchRefusal, FetchResult, Reply};
use crate::storage::StorageError;
use crate::wire::Records;

/// Longest wait for bytes; a dead client's request must not be kept for ever.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// Partitions that are worked at before others have a turn.
const PARTITIONS_AT_ONCE: usize = 2048;
/// From this version on a client is told who leads where this broker does not (KIP-951).
const LEADERS_VERSION_MIN: i16 = 16;

/// What is read for one request: all that the client wants, and the session it belongs to.
struct Plan {
    wanted: Vec<Wanted>,
    session_id: i32,
    is_incremental: bool,
    version: i16,
    bytes_max: usize,
    bytes_min: usize,
}

/// The partition that is meant, or why there is none.
type Resolved = Result<TopicPartition, ErrorCode>;

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
    let wait_ms = u64::try_from(request.max_wait_ms).unwrap_or(0);
    let plan = match plan(&caller, version, request).await {
        Ok(plan) => plan,
        Err(error_code) => return Ok(FetchResponse { error_code, ..Default::default() }),
    };
    let wait = Duration::from_millis(wait_ms).min(WAIT_MAX);
    let found = read_or_wait(&caller, &plan, wait).await;
    Ok(answer(&caller, &plan, found).await)
}

/// What to read, by session or without one.
async fn plan<R: Runtime>(
    caller: &Rc<Caller<R>>,
    version: i16,
    request: FetchRequest,
) -> Result<Plan, ErrorCode> {
    let uses_ids = version >= 13;
    let bytes_max = usize::try_from(request.max_bytes).unwrap_or(0);
    let bytes_max = bytes_max.min(caller.shard.config.limits.fetch_bytes_max);
    let bytes_min = usize::try_from(request.min_bytes).unwrap_or(0);
    let mut plan = Plan {
        wanted: wanted(uses_ids, request.topics).await,
        session_id: 0,
        is_incremental: false,
        version,
        bytes_max,
        // An answer never holds more: nobody waits for what it cannot hold.
        bytes_min: bytes_min.min(bytes_max),
    };
    let is_full = matches!(request.session_epoch, FINAL_EPOCH | INITIAL_EPOCH);
    if is_full {
        if request.session_id != 0 {
            caller.sessions.borrow_mut().remove(request.session_id);
        }
        if request.session_epoch == INITIAL_EPOCH {
            plan.session_id = create_session(caller, &plan.wanted, uses_ids).await;
        }
        return Ok(plan);
    }
    let (id, epoch) = (request.session_id, request.session_epoch);
    let forgotten = request.forgotten_topics_data.into_iter().flat_map(|topic| {
        let reference = topic_ref(uses_ids, topic.topic_id, topic.topic);
        topic.partitions.into_iter().map(move |p| (reference.clone(), p))
    });
    plan.wanted = resume_session(caller, id, epoch, uses_ids, plan.wanted, forgotten)
        .await
        .map_err(refused_session)?;
    plan.session_id = id;
    plan.is_incremental = true;
    Ok(plan)
}

/// A new session for what a full request wants, each partition once; 0 without room for one.
async fn create_session<R: Runtime>(
    caller: &Rc<Caller<R>>,
    wanted: &[Wanted],
    uses_ids: bool,
) -> i32 {
    let now = caller.shard.runtime.now();
    if !caller.sessions.borrow_mut().may_create(wanted.len(), now) {
        return 0;
    }
    let mut session = Session::with_capacity(wanted.len());
    let mut pace = Pace::new(PARTITIONS_AT_ONCE);
    for wanted in wanted {
        pace.worked(1).await;
        session.set(wanted.clone());
    }
    caller.sessions.borrow_mut().create(session, uses_ids, now)
}

/// Change a session as an incremental request says; all that it wants then. Only what this request
/// holds is touched: see [`crate::server::fetch_session`].
async fn resume_session<R: Runtime>(
    caller: &Rc<Caller<R>>,
    id: i32,
    epoch: i32,
    uses_ids: bool,
    wanted: Vec<Wanted>,
    forgotten: impl Iterator<Item = (TopicRef, PartitionIndex)>,
) -> Result<Vec<Wanted>, SessionRefusal> {
    let sessions = &caller.sessions;
    let now = caller.shard.runtime.now();
    let mut pace = Pace::new(PARTITIONS_AT_ONCE);
    let hold = sessions.borrow_mut().resume(id, epoch, uses_ids, now)?;
    for wanted in wanted {
        pace.worked(1).await;
        sessions.borrow_mut().want(hold, wanted)?;
    }
    for (topic, partition) in forgotten {
        pace.worked(1).await;
        sessions.borrow_mut().forget(hold, topic, partition)?;
    }
    let count = sessions.borrow_mut().settle(hold, now)?;
    let mut all = Vec::with_capacity(count);
    for nth in 0..count {
        pace.worked(1).await;
        all.extend(sessions.borrow_mut().nth(hold, nth)?);
    }
    Ok(all)
}

fn refused_session(refusal: SessionRefusal) -> ErrorCode {
    match refusal {
        SessionRefusal::NotFound => ErrorCode::FETCH_SESSION_ID_NOT_FOUND,
        SessionRefusal::WrongEpoch => ErrorCode::INVALID_FETCH_SESSION_EPOCH,
        SessionRefusal::TopicIds => ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR,
    }
}

/// The partitions that a request names; one named twice is read once.
async fn wanted(uses_ids: bool, topics: Vec<FetchTopic>) -> Vec<Wanted> {
    let count = topics.iter().map(|t| t.partitions.len()).sum();
    let mut wanted = Vec::with_capacity(count);
    let mut seen = HashSet::with_capacity(count);
    let mut pace = Pace::new(PARTITIONS_AT_ONCE);
    for topic in topics {
        let reference = topic_ref(uses_ids, topic.topic_id, topic.topic);
        for p in topic.partitions {
            pace.worked(1).await;
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
    wanted
}

fn topic_ref(uses_ids: bool, id: Uuid, name: crate::wire::StrBytes) -> TopicRef {
    // Detached: a session must not keep the frame that named the topic.
    if uses_ids { TopicRef::Id(id) } else { TopicRef::Name(name.detached()) }
}

/// The partition a client means, or why there is none.
fn resolve(image: &Image, wanted: &Wanted) -> Resolved {
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
    let image = shard.image();
    let mut resolved = Vec::with_capacity(plan.wanted.len());
    let mut pace = Pace::new(PARTITIONS_AT_ONCE);
    for wanted in &plan.wanted {
        pace.worked(1).await;
        resolved.push(resolve(&image, wanted));
    }
    drop(image);
    loop {
        let found = read(caller, plan, &resolved).await;
        let left = deadline.saturating_sub(shard.runtime.now());
        if is_enough(plan, &resolved, &found) || left.is_zero() {
            return found;
        }
        let waiting = shard.metrics.get(Value::WaitingFetches);
        if waiting >= shard.config.limits.waiters_max as u64 {
            // Nobody waits for ever for room to wait: the client asks again.
            return found;
        }
        let waits = shard.metrics.during(Value::WaitingFetches);
        let moved = moved(caller, &resolved, &found).await;
        // Read again after the wait; held through it, the batches would count nowhere.
        drop(found);
        let slept = shard.runtime.sleep(left);
        select(Box::pin(moved), Box::pin(slept)).await;
        drop(waits);
    }
}

/// Whether to answer now: there are bytes enough, or what only an answer can say. A partition that
/// was read up to its limit counts with that limit, as in Kafka: whole batches seldom fill it.
fn is_enough(plan: &Plan, resolved: &[Resolved], found: &[Found]) -> bool {
    let mut bytes = 0_usize;
    let mut is_any_here = false;
    for ((wanted, id), found) in plan.wanted.iter().zip(resolved).zip(found) {
        // One that was not there from the beginning stays so: it would never be worth a wait.
        if id.is_err() {
            continue;
        }
        is_any_here = true;
        let Ok(outcome) = found else { return true };
        let read = outcome.batches.bytes;
        bytes = bytes.saturating_add(match outcome.lag {
            Lag::None => read,
            Lag::SameSegment => read.max(wanted.bytes_max),
            Lag::OlderSegment => return true,
        });
    }
    !is_any_here || bytes >= plan.bytes_min
}

/// Completes when any of the partitions has more than was found.
async fn moved<R: Runtime>(
    caller: &Rc<Caller<R>>,
    resolved: &[Resolved],
    found: &[Found],
) -> impl Future<Output = ()> + use<R> {
    let shard = &caller.shard;
    let mut by_owner: HashMap<u16, Vec<(TopicPartition, Offset)>> = HashMap::new();
    let mut pace = Pace::new(PARTITIONS_AT_ONCE);
    for (id, outcome) in resolved.iter().zip(found) {
        pace.worked(1).await;
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
    resolved: &[Resolved],
) -> Vec<Found> {
    let shard = &caller.shard;
    let mut by_owner: Vec<(Vec<usize>, Vec<FetchItem>)> = Vec::new();
    by_owner.resize_with(usize::from(shard.shards), Default::default);
    let mut found: Vec<Found> = Vec::with_capacity(resolved.len());
    let mut pace = Pace::new(PARTITIONS_AT_ONCE);
    for (at, (id, wanted)) in resolved.iter().zip(&plan.wanted).enumerate() {
        pace.worked(1).await;
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
            pace.worked(1).await;
            found[slot] = translate(caller, result);
        }
    }
    trim(&plan.wanted, &mut found, bytes_max);
    found
}

/// Each owner gave at least one batch; keep to the budgets in the order wanted. The first batch
/// stays whatever its size.
fn trim(wanted: &[Wanted], found: &mut [Found], bytes_max: usize) {
    let mut left = bytes_max;
    let mut any = false;
    for (wanted, outcome) in wanted.iter().zip(found) {
        let Ok(outcome) = outcome else { continue };
        let bytes = outcome.batches.bytes;
        if any && bytes > left.min(wanted.bytes_max) {
            outcome.batches = Default::default();
            if outcome.lag == Lag::None {
                outcome.lag = Lag::SameSegment;
            }
            continue;
        }
        any |= bytes > 0;
        left = left.saturating_sub(bytes);
    }
}

fn translate<R: Runtime>(caller: &Rc<Caller<R>>, result: FetchResult) -> Found {
    match result {
        Ok(outcome) => Ok(outcome),
        // The log has said so when it was found, and readers ask for it again and again.
        Err(FetchRefusal::Read(ReadRefusal::Storage(StorageError::Corrupt(_)))) => {
            Err(ErrorCode::KAFKA_STORAGE_ERROR)
        }
        Err(FetchRefusal::Read(ReadRefusal::Storage(error))) => {
            // A client asks for an unreadable place again and again.
            if let Some(unsaid) = caller.hangups.may_log(caller.shard.runtime.now()) {
                tracing::error!(?error, unsaid, "a fetch could not be read");
            }
            Err(ErrorCode::KAFKA_STORAGE_ERROR)
        }
        Err(refusal) => Err(errors::fetch(&refusal)),
    }
}

/// The response: everything for a full fetch, what has something to say for an incremental one.
async fn answer<R: Runtime>(
    caller: &Rc<Caller<R>>,
    plan: &Plan,
    found: Vec<Found>,
) -> FetchResponse {
    let mut response = FetchResponse { session_id: plan.session_id, ..Default::default() };
    let mut pace = Pace::new(PARTITIONS_AT_ONCE);
    for (wanted, found) in plan.wanted.iter().zip(found) {
        pace.worked(1).await;
        let marks = found.as_ref().ok().map(|o| (o.high_watermark, o.log_start));
        let is_told = wanted.told == marks;
        if plan.session_id != 0 && !is_told {
            let mut sessions = caller.sessions.borrow_mut();
            sessions.told(plan.session_id, &wanted.topic, wanted.partition, marks);
        }
        let has_news = match &found {
            Ok(outcome) => outcome.batches.bytes > 0 || !is_told,
            Err(_) => true,
        };
        if has_news || !plan.is_incremental {
            push(&mut response, &wanted.topic, partition_data(wanted, found));
        }
    }
    if plan.version >= LEADERS_VERSION_MIN {
        name_leaders(&mut response, &caller.shard.image(), &caller.identity);
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
fn push(response: &mut FetchResponse, topic: &TopicRef, data: PartitionData) {
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
        response.responses.push(entry);
    }
    if let Some(entry) = response.responses.last_mut() {
        entry.partitions.push(data);
    }
}

/// Beside each error that says that the client knows an old leader: who leads now.
fn name_leaders(response: &mut FetchResponse, image: &Image, identity: &Identity) {
    let mut leaders = Leaders::new(identity);
    for topic in &mut response.responses {
        for data in &mut topic.partitions {
            let is_stale = matches!(
                data.error_code,
                ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::FENCED_LEADER_EPOCH
            );
            let known = if is_stale { image.topic_by_id(topic.topic_id) } else { None };
            if let Some((leader_id, leader_epoch)) = leaders.name(known, data.partition_index) {
                data.current_leader = LeaderIdAndEpoch { leader_id, leader_epoch };
            }
        }
    }
    response.node_endpoints.extend(leaders.endpoint().map(Into::into));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::ReadBatches;

    fn wanted(bytes_max: usize) -> Wanted {
        let topic = TopicRef::Id(Uuid([1; 16]));
        Wanted { topic, partition: 0, offset: 0, bytes_max, epoch: -1, told: None }
    }

    fn read(bytes: usize, lag: Lag) -> Found {
        let batches = ReadBatches { bytes, is_cut: lag != Lag::None, ..Default::default() };
        Ok(ReadOutcome { batches, high_watermark: 9, log_start: 0, lag })
    }

    /// Partitions as (limit, what was found), `None` for one that is not there.
    fn enough(bytes_min: usize, partitions: Vec<(usize, Option<Found>)>) -> bool {
        let here = TopicPartition { topic_id: Uuid([1; 16]), partition: 0 };
        let missing = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
        let mut plan = Plan {
            wanted: Vec::new(),
            session_id: 0,
            is_incremental: false,
            version: 17,
            bytes_max: 1 << 20,
            bytes_min,
        };
        let (mut resolved, mut all) = (Vec::new(), Vec::new());
        for (bytes_max, found) in partitions {
            plan.wanted.push(wanted(bytes_max));
            resolved.push(if found.is_some() { Ok(here) } else { Err(missing) });
            all.push(found.unwrap_or(Err(missing)));
        }
        is_enough(&plan, &resolved, &all)
    }

    #[test]
    fn a_partition_read_to_its_limit_counts_with_the_limit() {
        let behind = || Some(read(90, Lag::SameSegment));
        assert!(enough(100, vec![(100, behind())]));
        assert!(!enough(101, vec![(100, behind())]), "others may still bring what is missing");
        assert!(enough(200, vec![(100, behind()), (100, behind())]));
        assert!(!enough(100, vec![(100, Some(read(90, Lag::None)))]));
        assert!(enough(90, vec![(100, Some(read(90, Lag::None)))]));
        assert!(enough(1000, vec![(100, Some(read(90, Lag::OlderSegment)))]));
        assert!(enough(150, vec![(100, Some(read(150, Lag::SameSegment)))]), "one large batch");
    }

    #[test]
    fn partitions_that_are_not_there_decide_nothing() {
        let idle = || Some(read(0, Lag::None));
        assert!(!enough(1, vec![(100, None), (100, idle())]));
        assert!(enough(1, vec![(100, None)]), "there is nothing to wait for");
        assert!(enough(1, vec![]));
        let fenced = Some(Err(ErrorCode::FENCED_LEADER_EPOCH));
        assert!(enough(1, vec![(100, idle()), (100, fenced)]));
    }

    #[test]
    fn budgets_hold_behind_the_first_partition_with_bytes() {
        let wanted: Vec<Wanted> = [10, 10, 10, 500, 500].map(wanted).into();
        let sizes = [0, 60, 60, 60, 60];
        let mut found: Vec<Found> = sizes.map(|bytes| read(bytes, Lag::None)).into();
        trim(&wanted, &mut found, 130);
        let kept: Vec<_> =
            found.iter().flatten().map(|outcome| (outcome.batches.bytes, outcome.lag)).collect();
        let cut = (0, Lag::SameSegment);
        assert_eq!(kept, [(0, Lag::None), (60, Lag::None), cut, (60, Lag::None), cut]);
    }
}
