//! From a frame to the one handler of its API: decode, check the version, encode the answer.

use std::future::Future;
use std::rc::Rc;

use bytes::Bytes;

use crate::metrics::Latency;
use crate::protocol::{ApiKey, PREFIX_LEN, Request, RequestHeader, encode_response, messages as m};
use crate::runtime::Runtime;
use crate::runtime::wait::step_aside;
use crate::wire::{DecodeErrorKind, Field, Message, Reader};

use super::handlers as h;
use super::request::{Answer, Answering, Caller, Hangup};

/// A request of more bytes than this is decoded, and an answer encoded, in a turn of its own.
const LONG_BYTES: usize = 64 << 10;

/// A request that has begun.
pub enum Began {
    /// Its order is fixed; the next frame may be looked at while it goes on.
    Ordered(Answering),
    /// It is to be finished before the next frame is looked at.
    Alone(Answering),
    /// The same; it may wait for long, and nothing is left undone when it is dropped.
    Waiting(Answering),
    /// There is no answer but closing the connection.
    Refused(Hangup),
}

/// Decode the request in `frame` and begin it; what comes after it on its connection waits until
/// that is done. Others have turns meanwhile if it takes long.
pub async fn begin<R: Runtime>(caller: &Rc<Caller<R>>, frame: Bytes) -> Began {
    let frame_bytes = frame.len();
    let mut reader = Reader::new(frame);
    let header = match RequestHeader::decode(&mut reader) {
        Ok(header) => header,
        Err(error) => return Began::Refused(Hangup(format!("no request: {error}"))),
    };
    remember_client(caller, &header);
    let key = header.api_key;
    caller.shard.metrics.request(key as i16, frame_bytes + PREFIX_LEN);
    if !key.advertised().contains(header.api_version) {
        if key == ApiKey::ApiVersions {
            let refusal = h::api_versions::unsupported();
            let answer = encode(ApiKey::ApiVersions, 0, header.correlation_id, &refusal);
            return Began::Alone(Box::pin(std::future::ready(answer.map(Some))));
        }
        return Began::Refused(not_served(key, header.api_version));
    }
    let limits = &caller.shard.config.limits;
    reader.limit_elements(limits.request_topics_max, limits.request_partitions_max);
    route(caller, header, reader).await.unwrap_or_else(Began::Refused)
}

fn not_served(key: ApiKey, version: i16) -> Hangup {
    let (name, served) = (key.name(), key.advertised());
    if served.min > served.max {
        return Hangup(format!(
            "{name} (version {version}) is not served in any version: ask for ApiVersions, and do \
             without what it needs"
        ));
    }
    Hangup(format!(
        "{name} version {version} is not served (versions {} to {} are): use a newer client, or \
         one that asks for ApiVersions first",
        served.min, served.max
    ))
}

/// One arm for each API that is served.
async fn route<R: Runtime>(
    caller: &Rc<Caller<R>>,
    header: RequestHeader,
    reader: Reader,
) -> Result<Began, Hangup> {
    // The handler has the name of the file of its messages, unless it is named.
    macro_rules! alone {
        ($module:ident $request:ident) => {
            alone!($module $request by $module::handle)
        };
        ($module:ident $request:ident by $file:ident::$handle:ident) => {
            alone::<R, m::$module::$request, _, _>(caller, &header, reader, h::$file::$handle)
        };
    }
    match header.api_key {
        ApiKey::Produce => {
            caller.admission.carries_records();
            // Apart, or every connection would have room for it for as long as it is open.
            Box::pin(produce(caller, &header, reader)).await
        }
        ApiKey::Fetch => {
            caller.admission.carries_records();
            fetch(caller, &header, reader)
        }
        ApiKey::ListOffsets => alone!(list_offsets ListOffsetsRequest),
        ApiKey::Metadata => alone!(metadata MetadataRequest),
        ApiKey::FindCoordinator => alone!(find_coordinator FindCoordinatorRequest),
        ApiKey::ApiVersions => alone!(api_versions ApiVersionsRequest),
        ApiKey::CreateTopics => alone!(create_topics CreateTopicsRequest),
        ApiKey::DeleteTopics => alone!(delete_topics DeleteTopicsRequest),
        ApiKey::InitProducerId => alone!(init_producer_id InitProducerIdRequest),
        ApiKey::OffsetForLeaderEpoch => alone!(offset_for_leader_epoch OffsetForLeaderEpochRequest),
        ApiKey::DeleteRecords => alone!(delete_records DeleteRecordsRequest),
        ApiKey::CreatePartitions => alone!(create_partitions CreatePartitionsRequest),
        ApiKey::DescribeConfigs => alone!(describe_configs DescribeConfigsRequest),
        ApiKey::DescribeCluster => alone!(describe_cluster DescribeClusterRequest),
        ApiKey::DescribeTopicPartitions => {
            alone!(describe_topic_partitions DescribeTopicPartitionsRequest)
        }
        ApiKey::JoinGroup => alone!(join_group JoinGroupRequest by groups::one).map(waiting),
        ApiKey::SyncGroup => alone!(sync_group SyncGroupRequest by groups::one).map(waiting),
        ApiKey::Heartbeat => alone!(heartbeat HeartbeatRequest by groups::one),
        ApiKey::LeaveGroup => alone!(leave_group LeaveGroupRequest by groups::one),
        ApiKey::OffsetCommit => alone!(offset_commit OffsetCommitRequest by groups::offset_commit),
        ApiKey::OffsetFetch => alone!(offset_fetch OffsetFetchRequest by groups::offset_fetch),
        ApiKey::OffsetDelete => alone!(offset_delete OffsetDeleteRequest by groups::offset_delete),
        ApiKey::ListGroups => alone!(list_groups ListGroupsRequest by groups::all),
        ApiKey::DescribeGroups => alone!(describe_groups DescribeGroupsRequest by groups::describe),
        ApiKey::DeleteGroups => alone!(delete_groups DeleteGroupsRequest by groups::many),
        ApiKey::ConsumerGroupHeartbeat => {
            alone!(consumer_group_heartbeat ConsumerGroupHeartbeatRequest by groups::one)
        }
        ApiKey::ConsumerGroupDescribe => {
            alone!(consumer_group_describe ConsumerGroupDescribeRequest
                by groups::describe)
        }
        ApiKey::AlterClientQuotas => alone!(alter_client_quotas AlterClientQuotasRequest),
        ApiKey::AlterConfigs => alone!(alter_configs AlterConfigsRequest),
        ApiKey::AlterPartitionReassignments => {
            alone!(alter_partition_reassignments AlterPartitionReassignmentsRequest)
        }
        ApiKey::AlterReplicaLogDirs => alone!(alter_replica_log_dirs AlterReplicaLogDirsRequest),
        ApiKey::CreateAcls => alone!(create_acls CreateAclsRequest by acls::create),
        ApiKey::DeleteAcls => alone!(delete_acls DeleteAclsRequest by acls::delete),
        ApiKey::DescribeAcls => alone!(describe_acls DescribeAclsRequest by acls::describe),
        ApiKey::DescribeClientQuotas => alone!(describe_client_quotas DescribeClientQuotasRequest),
        ApiKey::DescribeLogDirs => alone!(describe_log_dirs DescribeLogDirsRequest),
        ApiKey::DescribeProducers => alone!(describe_producers DescribeProducersRequest),
        ApiKey::DescribeQuorum => alone!(describe_quorum DescribeQuorumRequest),
        ApiKey::DescribeUserScramCredentials => {
            alone!(describe_user_scram_credentials DescribeUserScramCredentialsRequest)
        }
        ApiKey::ElectLeaders => alone!(elect_leaders ElectLeadersRequest),
        ApiKey::IncrementalAlterConfigs => {
            alone!(incremental_alter_configs IncrementalAlterConfigsRequest)
        }
        ApiKey::ListConfigResources => alone!(list_config_resources ListConfigResourcesRequest),
        ApiKey::ListPartitionReassignments => {
            alone!(list_partition_reassignments ListPartitionReassignmentsRequest)
        }
        ApiKey::UpdateFeatures => alone!(update_features UpdateFeaturesRequest),
        other => Err(Hangup(format!("{} is not served", other.name()))),
    }
}

/// Decode, handle, encode.
fn alone<R, Q, H, F>(
    caller: &Rc<Caller<R>>,
    header: &RequestHeader,
    mut reader: Reader,
    handle: H,
) -> Result<Began, Hangup>
where
    R: Runtime,
    Q: Request + 'static,
    H: FnOnce(Rc<Caller<R>>, i16, Q) -> F + 'static,
    F: Future<Output = Result<Q::Response, Hangup>> + 'static,
{
    let is_long = reader.remaining() > LONG_BYTES;
    let request = decode::<Q>(&mut reader, header)?;
    let caller = caller.clone();
    let (version, correlation_id) = (header.api_version, header.correlation_id);
    Ok(Began::Alone(Box::pin(async move {
        if is_long {
            step_aside().await;
        }
        let (shard, memory) = (caller.shard.clone(), caller.answer_memory.clone());
        let response = handle(caller, version, request).await?;
        let bytes = response.size_hint();
        check_answer(bytes)?;
        if bytes > LONG_BYTES {
            step_aside().await;
        }
        let mut answer = encode(Q::KEY, version, correlation_id, &response)?;
        answer.lease = Some(memory.lease_now(answer.bytes()));
        shard.metrics.response(Q::KEY as i16, answer.bytes(), false);
        Ok(Some(answer))
    })))
}

/// A request whose answer others decide upon.
fn waiting(began: Began) -> Began {
    match began {
        Began::Alone(answering) => Began::Waiting(answering),
        other => other,
    }
}

/// Fetch is timed, and its partitions' errors are counted.
fn fetch<R: Runtime>(
    caller: &Rc<Caller<R>>,
    header: &RequestHeader,
    mut reader: Reader,
) -> Result<Began, Hangup> {
    let mut request = decode::<m::fetch::FetchRequest>(&mut reader, header)?;
    let caller = caller.clone();
    let (version, correlation_id) = (header.api_version, header.correlation_id);
    Ok(Began::Waiting(Box::pin(async move {
        let (shard, memory) = (caller.shard.clone(), caller.answer_memory.clone());
        let begun = shard.runtime.now();
        memory.room().await;
        let share = i32::try_from(memory.share()).unwrap_or(i32::MAX);
        if request.max_bytes > share {
            request.max_bytes = share;
            // Nobody waits for more than there may be.
            request.min_bytes = request.min_bytes.min(share);
        }
        let response = h::fetch::handle(caller, version, request).await?;
        let mut partitions = response.responses.iter().flat_map(|t| &t.partitions);
        let has_error = !response.error_code.is_ok() || partitions.any(|p| !p.error_code.is_ok());
        let mut answer = encode(ApiKey::Fetch, version, correlation_id, &response)?;
        answer.lease = Some(memory.lease_now(answer.bytes()));
        shard.metrics.response(ApiKey::Fetch as i16, answer.bytes(), has_error);
        shard.metrics.record(Latency::Fetch, shard.runtime.now().saturating_sub(begun));
        Ok(Some(answer))
    })))
}

/// Produce has fixed the order of its batches when it has begun, and is answered when durable.
async fn produce<R: Runtime>(
    caller: &Rc<Caller<R>>,
    header: &RequestHeader,
    mut reader: Reader,
) -> Result<Began, Hangup> {
    let request = decode::<m::produce::ProduceRequest>(&mut reader, header)?;
    let (version, correlation_id) = (header.api_version, header.correlation_id);
    let shard = caller.shard.clone();
    let begun = shard.runtime.now();
    let answering = h::produce::begin(caller, version, request).await;
    Ok(Began::Ordered(Box::pin(async move {
        let answered = answering.await?;
        shard.metrics.record(Latency::Produce, shard.runtime.now().saturating_sub(begun));
        let Some(response) = answered else { return Ok(None) };
        let mut partitions = response.responses.iter().flat_map(|t| &t.partition_responses);
        let has_error = partitions.any(|p| !p.error_code.is_ok());
        let answer = encode(ApiKey::Produce, version, correlation_id, &response)?;
        shard.metrics.response(ApiKey::Produce as i16, answer.bytes(), has_error);
        Ok(Some(answer))
    })))
}

/// Bytes behind a request are passed over, as Kafka passes over them: librdkafka 2.16 sends three
/// behind a Metadata request for all topics.
fn decode<Q: Request>(reader: &mut Reader, header: &RequestHeader) -> Result<Q, Hangup> {
    Q::decode(reader, header.api_version).map_err(|error| {
        let fix = match error.kind() {
            DecodeErrorKind::OverLimit { is_inner: false, .. } => {
                "; ask in parts, or raise thalweg.request.topics.max"
            }
            DecodeErrorKind::OverLimit { is_inner: true, .. } => {
                "; ask in parts, or raise thalweg.request.partitions.max"
            }
            _ => "",
        };
        let (name, version) = (header.api_key.name(), header.api_version);
        Hangup(format!("a {name} request of version {version} cannot be read: {error}{fix}"))
    })
}

fn encode<M: Message>(
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    body: &M,
) -> Result<Answer, Hangup> {
    encode_response(key, version, correlation_id, body)
        .map(|pieces| Answer { pieces, lease: None })
        .map_err(|error| {
            Hangup(format!(
                "the answer to a {} request of version {version} cannot be encoded: {error} (a \
                 fault of this broker)",
                key.name()
            ))
        })
}

/// Longest answer of those that hold no records, in bytes: a request may name what is large any
/// number of times.
const ANSWER_BYTES_MAX: usize = 128 << 20;

/// Refuse a request whose answer has grown too long. Whoever gathers an answer from many parts
/// asks while it does.
pub fn check_answer(bytes: usize) -> Result<(), Hangup> {
    if bytes <= ANSWER_BYTES_MAX {
        return Ok(());
    }
    Err(Hangup(format!("the answer to a request is over {ANSWER_BYTES_MAX} bytes: ask in parts")))
}

fn remember_client<R: Runtime>(caller: &Rc<Caller<R>>, header: &RequestHeader) {
    let client_id = header.client_id.as_deref().unwrap_or("");
    let mut known = caller.client_id.borrow_mut();
    if *known != client_id {
        known.clear();
        // For log lines only: a long one is cut.
        known.extend(client_id.chars().take(128));
    }
}
