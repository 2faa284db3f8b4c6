//! The closed list of what one shard may ask of another, and the answers. Everything here is
//! `Send` and owned: nothing borrowed changes thread.

use std::sync::Arc;

use crate::cluster::configs::Alteration;
use crate::cluster::controller::{ControlError, NewTopic};
use crate::cluster::image::Image;
use crate::cluster::quotas::QuotaAlteration;
use crate::coordinator::{ClientInfo, Request, Response};
use crate::metrics::ShardSnapshot;
use crate::model::{
    LeaderEpoch, NodeId, Offset, PartitionIndex, ProducerEpoch, ProducerId, TimestampMs,
    TopicPartition, Uuid,
};
use crate::partition::append::{Acks, AppendFailure, ProduceBatch};
use crate::partition::read::{ReadOutcome, ReadRefusal};

/// A request from one shard to another.
#[derive(Debug)]
pub enum Call {
    /// Append batches.
    Produce(Vec<ProduceItem>),
    /// Read batches.
    Fetch(FetchCall),
    /// Answer when any of the partitions' high watermarks passes the offset named.
    Wait(Vec<(TopicPartition, Offset)>),
    /// Look offsets up.
    Offsets(Vec<OffsetQuery>),
    /// Raise log starts (DeleteRecords).
    DeleteRecords(Vec<(TopicPartition, Offset)>),
    /// End offsets of leader epochs.
    EpochEnds(Vec<(TopicPartition, LeaderEpoch, LeaderEpoch)>),
    /// Take a new metadata image.
    Install(Arc<Image>),
    /// Change metadata; for the controller's shard.
    Control(ControlRequest),
    /// Ask the coordinator of a group.
    Group(Box<GroupCall>),
    /// Ask every coordinator of the shard: who asks, version, request.
    AllGroups(ClientInfo, i16, Box<Request>),
    /// Counters, for the metrics page.
    Metrics,
    /// Sizes of logs (DescribeLogDirs).
    Sizes,
    /// The producers that a partition remembers (DescribeProducers).
    Producers(TopicPartition),
}

/// The answer to the [`Call`] of the same name.
#[derive(Debug)]
pub enum Reply {
    /// One for each item, in order.
    Produce(Vec<ProduceResult>),
    /// One for each item, in order.
    Fetch(Vec<FetchResult>),
    /// A high watermark moved, or a partition went away.
    Wait,
    /// One for each query, in order.
    Offsets(Vec<Result<FoundOffset, OffsetRefusal>>),
    /// New log starts, in order.
    DeleteRecords(Vec<Result<Offset, OffsetRefusal>>),
    /// (epoch, end offset), in order.
    EpochEnds(Vec<Result<(LeaderEpoch, Offset), OffsetRefusal>>),
    /// Installed; logs that could not be created, by partition.
    Install(Vec<(TopicPartition, String)>),
    /// What became of the change.
    Control(ControlReply),
    /// What the coordinator answers.
    Group(GroupResult),
    /// What each coordinator of the shard answers.
    AllGroups(Vec<GroupResult>),
    /// Counters.
    Metrics(Box<ShardSnapshot>),
    /// (partition, bytes, log end offset).
    Sizes(Vec<(TopicPartition, u64, Offset)>),
    /// The producers; `None` without such a partition.
    Producers(Option<Vec<KnownProducer>>),
    /// The shard is stopping or the call was not understood.
    Gone,
}

/// An idempotent producer that a partition remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownProducer {
    /// Its id.
    pub id: ProducerId,
    /// Its newest incarnation.
    pub epoch: ProducerEpoch,
    /// Sequence of its last record, or -1.
    pub last_sequence: i32,
    /// The largest timestamp of its last batch, or -1.
    pub last_timestamp_ms: TimestampMs,
}

/// One batch to append.
#[derive(Clone, Debug)]
pub struct ProduceItem {
    /// Where.
    pub partition: TopicPartition,
    /// What.
    pub batch: ProduceBatch,
    /// What the producer is promised.
    pub acks: Acks,
}

/// What became of a produced batch.
pub type ProduceResult = Result<Produced, ProduceRefusal>;

/// A batch that is as durable as promised.
#[derive(Clone, Copy, Debug)]
pub struct Produced {
    /// Offset of its first record.
    pub base_offset: Offset,
    /// The broker's time if it stamped one, else -1.
    pub log_append_time_ms: TimestampMs,
    /// First offset of the log.
    pub log_start: Offset,
}

/// Why a batch was not appended.
#[derive(Clone, Debug)]
pub enum ProduceRefusal {
    /// The owner does not have the partition (any more).
    UnknownPartition,
    /// The partition refused it or could not store it.
    Append(AppendFailure),
}

/// Read from several partitions.
#[derive(Clone, Debug)]
pub struct FetchCall {
    /// From where.
    pub items: Vec<FetchItem>,
    /// Bytes of all items together.
    pub bytes_max: usize,
}

/// One partition to read.
#[derive(Clone, Copy, Debug)]
pub struct FetchItem {
    /// Which.
    pub partition: TopicPartition,
    /// First offset wanted.
    pub offset: Offset,
    /// Bytes of this partition.
    pub bytes_max: usize,
    /// The reader's idea of the leader epoch, -1 for none.
    pub epoch: LeaderEpoch,
}

/// What a read found.
pub type FetchResult = Result<ReadOutcome, FetchRefusal>;

/// Why nothing was read.
#[derive(Clone, Debug)]
pub enum FetchRefusal {
    /// The owner does not have the partition (any more).
    UnknownPartition,
    /// The partition refused.
    Read(ReadRefusal),
}

/// One offset lookup.
#[derive(Clone, Copy, Debug)]
pub struct OffsetQuery {
    /// Where.
    pub partition: TopicPartition,
    /// What for.
    pub target: OffsetTarget,
    /// The reader's idea of the leader epoch, -1 for none.
    pub epoch: LeaderEpoch,
}

/// What an offset is looked up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetTarget {
    /// The log start (-2, and -4: the local log start).
    Earliest,
    /// The high watermark (-1).
    Latest,
    /// The record with the largest timestamp (-3, KIP-734).
    MaxTimestamp,
    /// The last offset in tiered storage (-5, KIP-1005): there is none.
    LastTiered,
    /// The first record at or after a time.
    Timestamp(TimestampMs),
}

impl OffsetTarget {
    /// Whether it is found by looking into batches, which may have to be read and decompressed.
    pub fn is_searched(self) -> bool {
        matches!(self, Self::MaxTimestamp | Self::Timestamp(_))
    }
}

/// What a lookup found; offset -1 when no record matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundOffset {
    /// The offset.
    pub offset: Offset,
    /// The record's timestamp, or -1.
    pub timestamp: TimestampMs,
    /// Leader epoch of the record, or -1.
    pub epoch: LeaderEpoch,
}

/// Why an offset operation was refused.
#[derive(Clone, Debug)]
pub enum OffsetRefusal {
    /// The owner does not have the partition (any more).
    UnknownPartition,
    /// The offset is outside the log.
    OutOfRange,
    /// The topic is compacted and nothing else: its records go one by one.
    Policy,
    /// Reading refused.
    Read(ReadRefusal),
}

/// A request to the coordinator of a group.
#[derive(Clone, Debug)]
pub struct GroupCall {
    /// The group's partition of `__consumer_offsets`.
    pub partition: PartitionIndex,
    /// Who asks.
    pub client: ClientInfo,
    /// Version of the request.
    pub version: i16,
    /// What is asked.
    pub request: Request,
}

/// What a coordinator answers, or why none does.
pub type GroupResult = Result<Box<Response>, GroupRefusal>;

/// Why no coordinator answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupRefusal {
    /// It is being loaded.
    Loading,
    /// The shard does not have the partition (any more).
    NotHere,
    /// Its log cannot be read or written, or the broker stops.
    NotAvailable,
}

/// A change of metadata.
#[derive(Clone, Debug)]
pub enum ControlRequest {
    /// Create topics, each on its own; with `validate_only` just check.
    CreateTopics {
        /// The topics.
        topics: Vec<NewTopic>,
        /// Change nothing.
        validate_only: bool,
    },
    /// Delete topics by id.
    DeleteTopics(Vec<Uuid>),
    /// Raise numbers of partitions.
    CreatePartitions {
        /// What is to grow.
        topics: Vec<MorePartitions>,
        /// Change nothing.
        validate_only: bool,
    },
    /// Alter configurations, resource by resource.
    Configs {
        /// Of each resource.
        alterations: Vec<Alteration>,
        /// Change nothing.
        validate_only: bool,
    },
    /// Alter client quotas, entity by entity.
    Quotas {
        /// Of each entity.
        alterations: Vec<QuotaAlteration>,
        /// Change nothing.
        validate_only: bool,
    },
    /// Reserve a block of producer ids.
    ProducerIds,
}

/// A topic that is to have more partitions.
#[derive(Clone, Debug)]
pub struct MorePartitions {
    /// Its name.
    pub topic: String,
    /// Partitions it is to have in all.
    pub count: i32,
    /// Brokers of each new partition, if the client assigns them.
    pub assignments: Option<Vec<Vec<NodeId>>>,
}

/// What became of a [`ControlRequest`].
#[derive(Clone, Debug)]
pub enum ControlReply {
    /// One for each topic: id and number of partitions, or why not.
    Topics(Vec<Result<(Uuid, i32), ControlError>>),
    /// First and end of the block.
    ProducerIds(Result<(ProducerId, ProducerId), ControlError>),
    /// One for each alteration of configurations or quotas.
    Altered(Vec<Result<(), ControlError>>),
}
