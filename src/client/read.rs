//! Offsets by time, and fetching record batches as stored.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::cluster::RETRY_PAUSE;
use super::{Client, ClientError};
use crate::model::{NodeId, Offset, PartitionIndex, TimestampMs, Uuid};
use crate::protocol::messages::fetch::{
    AbortedTransaction, FetchPartition, FetchRequest, FetchTopic,
};
use crate::protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use crate::protocol::{ApiKey, ErrorCode};
use crate::wire::{Message, Versions};

/// A place in a log to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// First offset that can be read.
    Earliest,
    /// Behind the last record that may be read.
    Latest,
    /// First record at or after this time.
    At(TimestampMs),
    /// The record with the largest timestamp (ListOffsets version 7).
    MaxTimestamp,
}

impl OffsetSpec {
    fn wire(self) -> i64 {
        match self {
            Self::Latest => -1,
            Self::Earliest => -2,
            Self::MaxTimestamp => -3,
            Self::At(time) => time.max(0),
        }
    }
}

/// How much and how patiently to fetch.
#[derive(Clone, Debug)]
pub struct FetchOptions {
    /// How long the broker may wait for `min_bytes`.
    pub max_wait: Duration,
    /// Fewest bytes for an answer before that.
    pub min_bytes: i32,
    /// Most bytes of one reply.
    pub max_bytes: i32,
    /// Most bytes of one partition; a longer first batch comes whole all the same (KIP-74).
    pub partition_max_bytes: i32,
    /// Only what is committed (isolation level 1).
    pub read_committed: bool,
}

impl Default for FetchOptions {
    /// Kafka's consumer's defaults.
    fn default() -> Self {
        Self {
            max_wait: Duration::from_millis(500),
            min_bytes: 1,
            max_bytes: 50 << 20,
            partition_max_bytes: 1 << 20,
            read_committed: false,
        }
    }
}

/// Where to read on in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchPosition {
    /// The partition.
    pub partition: PartitionIndex,
    /// First offset that is wanted.
    pub offset: Offset,
}

/// What came of one partition.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The partition.
    pub partition: PartitionIndex,
    /// Its high watermark.
    pub high_watermark: Offset,
    /// Its last stable offset; -1 where the broker does not say.
    pub last_stable_offset: Offset,
    /// Its first offset; -1 where the broker does not say.
    pub log_start_offset: Offset,
    /// Batches as stored; the first may begin before the wanted offset, the last may be cut off.
    pub records: Bytes,
    /// With `read_committed`: aborted transactions as producer id and first offset.
    pub aborted: Vec<(i64, Offset)>,
}

impl Client {
    /// Offsets of partitions of one topic, in the order asked; `None` where no record has such a
    /// time. With `read_committed`, latest is the last stable offset.
    ///
    /// # Errors
    /// The first partition's that has none.
    pub fn list_offsets(
        &mut self,
        topic: &str,
        wanted: &[(PartitionIndex, OffsetSpec)],
        read_committed: bool,
    ) -> Result<Vec<Option<Offset>>, ClientError> {
        let deadline = Instant::now() + self.options.retry_for;
        loop {
            match self.list_offsets_once(topic, wanted, read_committed) {
                Err(error) if may_heal(&error) && Instant::now() < deadline => {
                    self.forget_topic(topic);
                    std::thread::sleep(RETRY_PAUSE);
                }
                other => return other,
            }
        }
    }

    fn list_offsets_once(
        &mut self,
        topic: &str,
        wanted: &[(PartitionIndex, OffsetSpec)],
        read_committed: bool,
    ) -> Result<Vec<Option<Offset>>, ClientError> {
        let mut found: Vec<Option<Offset>> = vec![None; wanted.len()];
        for (leader, (_, indices)) in self.by_leader(topic, wanted.iter().map(|(p, _)| *p))? {
            let asked = |i: &usize| wanted.get(*i).copied();
            let request = ListOffsetsRequest {
                replica_id: -1,
                isolation_level: i8::from(read_committed),
                topics: vec![ListOffsetsTopic {
                    name: topic.into(),
                    partitions: indices
                        .iter()
                        .filter_map(asked)
                        .map(|(partition_index, spec)| ListOffsetsPartition {
                            partition_index,
                            current_leader_epoch: -1,
                            timestamp: spec.wire(),
                        })
                        .collect(),
                }],
                timeout_ms: 30_000,
            };
            let connection = self.connection(leader)?;
            let version = connection.version::<ListOffsetsRequest>()?;
            // Before version 7 the broker would take it for a time.
            if version < 7 && wanted.iter().any(|(_, spec)| *spec == OffsetSpec::MaxTimestamp) {
                let (address, api) = (connection.address().clone(), ListOffsetsRequest::NAME);
                let ours = Versions { min: 7, max: ListOffsetsRequest::VERSIONS.max };
                let theirs = connection.advertised(ApiKey::ListOffsets);
                return Err(ClientError::NoCommonVersion(address, api, ours, theirs));
            }
            let reply = connection.call_at(version, &request, Duration::ZERO)?;
            let address = connection.address().clone();
            for i in indices {
                let Some((partition, _)) = asked(&i) else { continue };
                let answer = reply
                    .topics
                    .iter()
                    .flat_map(|topic| &topic.partitions)
                    .find(|answer| answer.partition_index == partition)
                    .ok_or(ClientError::Incomplete(address.clone(), "a partition's offset"))?;
                super::topics::accept(answer.error_code, None, || {
                    format!("offsets of {topic}-{partition}")
                })?;
                if let Some(slot) = found.get_mut(i) {
                    *slot = (answer.offset >= 0).then_some(answer.offset);
                }
            }
        }
        Ok(found)
    }

    /// Fetch from partitions of one topic. With several leaders they are asked one after the
    /// other and share the patience. Partitions whose leader has just changed give nothing this
    /// time.
    ///
    /// # Errors
    /// [`ClientError::Refused`] for example with OFFSET_OUT_OF_RANGE.
    pub fn fetch(
        &mut self,
        topic: &str,
        positions: &[FetchPosition],
        options: &FetchOptions,
    ) -> Result<Vec<Fetched>, ClientError> {
        let routed = match self.by_leader(topic, positions.iter().map(|p| p.partition)) {
            Err(error) if may_heal(&error) && error.code().is_some() => {
                // Between two leaders: ask again in the next round.
                self.forget_topic(topic);
                std::thread::sleep(RETRY_PAUSE);
                return if is_missing(&error) { Err(error) } else { Ok(Vec::new()) };
            }
            routed => routed?,
        };
        let share = u32::try_from(routed.len().max(1)).unwrap_or(u32::MAX);
        let max_wait = options.max_wait / share;
        let mut fetched = Vec::new();
        for (leader, (topic_id, indices)) in routed {
            let wanted: Vec<_> =
                indices.iter().filter_map(|i| positions.get(*i).copied()).collect();
            fetched
                .extend(self.fetch_of_leader(leader, topic, topic_id, &wanted, options, max_wait)?);
        }
        Ok(fetched)
    }

    fn fetch_of_leader(
        &mut self,
        leader: NodeId,
        topic: &str,
        topic_id: Uuid,
        wanted: &[FetchPosition],
        options: &FetchOptions,
        max_wait: Duration,
    ) -> Result<Vec<Fetched>, ClientError> {
        let connection = self.connection(leader)?;
        // From version 13 on only the id names the topic; version 18 is for replicas.
        let limit = if topic_id.is_zero() { 12 } else { 17 };
        let version = connection.version_up_to::<FetchRequest>(limit)?;
        let request = fetch_request(version, topic, topic_id, wanted, options, max_wait);
        let reply = connection.call_at(version, &request, max_wait)?;
        super::topics::accept(reply.error_code, None, || format!("fetch from {topic:?}"))?;
        let mut fetched = Vec::new();
        let mut is_old = false;
        for data in reply.responses.into_iter().flat_map(|topic| topic.partitions) {
            let code = data.error_code;
            if is_routing(code) {
                is_old = true;
                continue;
            }
            let partition = data.partition_index;
            super::topics::accept(code, None, || {
                let asked = wanted.iter().find(|w| w.partition == partition);
                let at = asked.map_or(-1, |w| w.offset);
                format!("fetch from {topic}-{partition} at offset {at}")
            })?;
            let pair = |t: AbortedTransaction| (t.producer_id, t.first_offset);
            fetched.push(Fetched {
                partition,
                high_watermark: data.high_watermark,
                last_stable_offset: data.last_stable_offset,
                log_start_offset: data.log_start_offset,
                records: data.records.into_bytes(),
                aborted: data
                    .aborted_transactions
                    .unwrap_or_default()
                    .into_iter()
                    .map(pair)
                    .collect(),
            });
        }
        if is_old {
            self.forget_topic(topic);
            std::thread::sleep(RETRY_PAUSE);
        }
        Ok(fetched)
    }

    /// Positions in a list of partitions, by the leader of each; the topic's id beside them.
    fn by_leader(
        &mut self,
        topic: &str,
        partitions: impl Iterator<Item = PartitionIndex>,
    ) -> Result<BTreeMap<NodeId, (Uuid, Vec<usize>)>, ClientError> {
        let mut routed: BTreeMap<NodeId, (Uuid, Vec<usize>)> = BTreeMap::new();
        for (i, partition) in partitions.enumerate() {
            let (leader, topic_id) = self.leader(topic, partition)?;
            routed.entry(leader).or_insert_with(|| (topic_id, Vec::new())).1.push(i);
        }
        Ok(routed)
    }
}

fn fetch_request(
    version: i16,
    topic: &str,
    topic_id: Uuid,
    wanted: &[FetchPosition],
    options: &FetchOptions,
    max_wait: Duration,
) -> FetchRequest {
    let partition = |position: &FetchPosition| FetchPartition {
        partition: position.partition,
        fetch_offset: position.offset,
        partition_max_bytes: options.partition_max_bytes,
        ..FetchPartition::default()
    };
    FetchRequest {
        max_wait_ms: i32::try_from(max_wait.as_millis()).unwrap_or(i32::MAX),
        min_bytes: options.min_bytes,
        max_bytes: options.max_bytes,
        isolation_level: i8::from(options.read_committed),
        topics: vec![FetchTopic {
            topic: topic.into(),
            topic_id: if version >= 13 { topic_id } else { Uuid::ZERO },
            partitions: wanted.iter().map(partition).collect(),
        }],
        ..FetchRequest::default()
    }
}

/// Codes that say "not me" or "not now" about a partition.
fn is_routing(code: ErrorCode) -> bool {
    [
        ErrorCode::NOT_LEADER_OR_FOLLOWER,
        ErrorCode::LEADER_NOT_AVAILABLE,
        ErrorCode::FENCED_LEADER_EPOCH,
        ErrorCode::UNKNOWN_LEADER_EPOCH,
        ErrorCode::OFFSET_NOT_AVAILABLE,
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode::UNKNOWN_TOPIC_ID,
        ErrorCode::INCONSISTENT_TOPIC_ID,
        ErrorCode::REPLICA_NOT_AVAILABLE,
    ]
    .contains(&code)
}

fn is_missing(error: &ClientError) -> bool {
    matches!(error, ClientError::Unknown(_))
}

/// Whether asking again, after a look at the metadata, may help.
fn may_heal(error: &ClientError) -> bool {
    !is_missing(error) && error.code().is_some_and(|code| code.is_retriable())
}
