//! Carrying out calls on the shard that owns what they are about.
//!
//! [`Shard::begin`] does everything that fixes an order before it returns, and hands back a
//! future for the rest. So the batches of one connection keep their order whether their owner is
//! this shard or another.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use futures_util::future::{join_all, ready};

use crate::metrics::Value;
use crate::model::{LeaderEpoch, Offset, ShardId, TopicPartition};
use crate::partition::Partition;
use crate::partition::read::ReadRefusal;
use crate::partition::waiters::FetchWaiter;
use crate::runtime::Runtime;
use crate::runtime::wait::{ITEMS_AT_ONCE, Pace};

use super::Shard;
use super::call::{
    Call, FetchCall, FetchItem, FetchRefusal, FetchResult, KnownProducer, OffsetQuery,
    OffsetRefusal, OffsetTarget, ProduceItem, ProduceRefusal, ProduceResult, Produced, Reply,
};

/// Partitions read side by side; the shard's other work has a turn after so many.
const WAVE_MAX: usize = 1024;

/// A call that has begun.
pub type Begun = Pin<Box<dyn Future<Output = Reply>>>;

impl<R: Runtime> Shard<R> {
    /// Ask the shard `to`, which may be this one. What fixes an order has happened, or is on its
    /// way in order, when this returns.
    pub fn call(self: &Rc<Self>, to: ShardId, call: Call) -> Begun {
        if to == self.id {
            return self.begin(call);
        }
        self.metrics.add(Value::MeshCalls, 1);
        Box::pin(self.mesh().call(to, call))
    }

    /// Carry out a call about what this shard owns.
    pub fn begin(self: &Rc<Self>, call: Call) -> Begun {
        let shard = self.clone();
        match call {
            Call::Produce(items) => self.begin_produce(items),
            Call::Fetch(fetch) => Box::pin(async move { Reply::Fetch(shard.fetch(fetch).await) }),
            Call::Wait(partitions) => {
                let (waiter, heard) = FetchWaiter::new();
                Box::pin(async move {
                    shard.park(&partitions, &waiter).await;
                    // Held until here: parked waiters are swept once nobody listens.
                    let _waiter = waiter;
                    let _ = heard.await;
                    Reply::Wait
                })
            }
            Call::Offsets(queries) => Box::pin(async move {
                let mut found = Vec::with_capacity(queries.len());
                let mut pace = Pace::new(ITEMS_AT_ONCE);
                // Of the query before: nobody waits behind the last one.
                let mut cost = 0;
                for query in queries {
                    pace.worked(cost).await;
                    cost = if query.target.is_searched() { ITEMS_AT_ONCE } else { 1 };
                    found.push(shard.find_offset(query).await);
                }
                Reply::Offsets(found)
            }),
            Call::DeleteRecords(items) => Box::pin(async move {
                let mut starts = Vec::with_capacity(items.len());
                let mut pace = Pace::new(ITEMS_AT_ONCE);
                for (partition, offset) in items {
                    starts.push(shard.delete_records(partition, offset).await);
                    pace.worked(1).await;
                }
                Reply::DeleteRecords(starts)
            }),
            Call::EpochEnds(items) => Box::pin(async move {
                let mut ends = Vec::with_capacity(items.len());
                let mut pace = Pace::new(ITEMS_AT_ONCE);
                for (partition, current, epoch) in items {
                    ends.push(shard.epoch_end(partition, current, epoch));
                    pace.worked(1).await;
                }
                Reply::EpochEnds(ends)
            }),
            Call::Install(image) => {
                Box::pin(async move { Reply::Install(shard.install(image).await) })
            }
            Call::Control(request) => Box::pin(async move {
                match shard.control(request).await {
                    Some(reply) => Reply::Control(reply),
                    None => Reply::Gone,
                }
            }),
            Call::Group(call) => self.begin_group(*call),
            Call::AllGroups(client, version, request) => {
                self.begin_all_groups(&client, version, &request)
            }
            Call::Metrics => Box::pin(ready(Reply::Metrics(Box::new(self.snapshot_metrics())))),
            Call::Sizes => Box::pin(async move {
                let partitions = shard.partitions();
                let mut sizes = Vec::with_capacity(partitions.len());
                let mut pace = Pace::new(ITEMS_AT_ONCE);
                for partition in partitions {
                    pace.worked(1).await;
                    let log = partition.log();
                    let bytes = log.segments().iter().map(|s| s.bytes).sum();
                    sizes.push((partition.id(), bytes, log.end_offset()));
                }
                Reply::Sizes(sizes)
            }),
            Call::Producers(id) => {
                let known = self.partition(id).map(|partition| known_producers(&partition));
                Box::pin(ready(Reply::Producers(known)))
            }
        }
    }

    /// Take the batches, in order, now; answer when all are as durable as promised.
    fn begin_produce(self: &Rc<Self>, items: Vec<ProduceItem>) -> Begun {
        let mut answers = Vec::with_capacity(items.len());
        for item in items {
            let partition = self.partition(item.partition);
            let records = u64::try_from(item.batch.sequenced.records).unwrap_or(0);
            self.metrics.add(Value::AppendRecords, records);
            answers.push(partition.map(|p| {
                let answer = p.append(item.batch, item.acks);
                (p, answer)
            }));
        }
        self.bound_producers();
        Box::pin(async move {
            let mut results: Vec<ProduceResult> = Vec::with_capacity(answers.len());
            for answer in answers {
                let Some((partition, answer)) = answer else {
                    results.push(Err(ProduceRefusal::UnknownPartition));
                    continue;
                };
                results.push(match answer.await {
                    Ok(Ok(appended)) => Ok(Produced {
                        base_offset: appended.base_offset,
                        log_append_time_ms: appended.log_append_time_ms,
                        log_start: partition.log().start_offset(),
                    }),
                    Ok(Err(failure)) => Err(ProduceRefusal::Append(failure)),
                    Err(_) => Err(ProduceRefusal::UnknownPartition),
                });
            }
            Reply::Produce(results)
        })
    }

    /// Read items until the bytes are used up, as many at a time as the bytes would allow if each
    /// gave all it may, so that cold reads of several partitions overlap. Until some item has
    /// given bytes, each gives at least one batch (KIP-74); the asker keeps to its budget.
    async fn fetch(self: Rc<Self>, fetch: FetchCall) -> Vec<FetchResult> {
        let mut left = fetch.bytes_max;
        let mut any = false;
        let mut pace = Pace::new(WAVE_MAX);
        let mut results = Vec::with_capacity(fetch.items.len());
        let mut items = fetch.items.iter().peekable();
        while items.peek().is_some() {
            let mut reserved = 0;
            let mut wave = Vec::new();
            let is_room = |wave: usize, reserved| wave < WAVE_MAX && reserved < left;
            while let Some(item) =
                items.next_if(|_| wave.is_empty() || is_room(wave.len(), reserved))
            {
                let share = left.saturating_sub(reserved);
                wave.push(self.read(item, share, !any));
                reserved += item.bytes_max.min(share);
            }
            let wave_len = wave.len();
            for result in join_all(wave).await {
                if let Ok(outcome) = &result {
                    left = left.saturating_sub(outcome.batches.bytes);
                    any |= outcome.batches.bytes > 0;
                }
                results.push(result);
            }
            pace.worked(wave_len).await;
        }
        results
    }

    async fn read(&self, item: &FetchItem, left: usize, at_least_one: bool) -> FetchResult {
        let partition = self.partition(item.partition).ok_or(FetchRefusal::UnknownPartition)?;
        partition.check_epoch(item.epoch).map_err(FetchRefusal::Read)?;
        let bytes_max = item.bytes_max.min(left);
        partition.read(item.offset, bytes_max, at_least_one).await.map_err(FetchRefusal::Read)
    }

    /// Park `waiter` at every partition; fires at once if one has moved or is not here.
    async fn park(&self, partitions: &[(TopicPartition, Offset)], waiter: &Rc<FetchWaiter>) {
        let mut pace = Pace::new(ITEMS_AT_ONCE);
        for (id, seen) in partitions {
            pace.worked(1).await;
            match self.partition(*id) {
                Some(partition) => partition.park_fetch(*seen, waiter),
                None => waiter.fire(),
            }
        }
    }

    async fn find_offset(
        &self,
        query: OffsetQuery,
    ) -> Result<super::call::FoundOffset, OffsetRefusal> {
        let partition = self.partition(query.partition).ok_or(OffsetRefusal::UnknownPartition)?;
        partition.check_epoch(query.epoch).map_err(OffsetRefusal::Read)?;
        let (high_watermark, log_start) = partition.readable().map_err(OffsetRefusal::Read)?;
        if !matches!(query.target, OffsetTarget::Earliest | OffsetTarget::LastTiered) {
            partition.check_end().map_err(OffsetRefusal::Read)?;
        }
        let epoch = partition.leader_epoch();
        let found =
            |offset, timestamp, epoch| super::call::FoundOffset { offset, timestamp, epoch };
        match query.target {
            OffsetTarget::Earliest => Ok(found(log_start, -1, epoch)),
            OffsetTarget::Latest => Ok(found(high_watermark, -1, epoch)),
            OffsetTarget::LastTiered => Ok(found(-1, -1, -1)),
            OffsetTarget::Timestamp(t) => {
                super::lookup::first_at_or_after(&self.config, &partition, t, high_watermark).await
            }
            OffsetTarget::MaxTimestamp => {
                super::lookup::largest_timestamp(&self.config, &partition, high_watermark).await
            }
        }
    }

    /// The epoch that `epoch` belongs to, and where it ends: (-1, -1) for one that never was.
    fn epoch_end(
        &self,
        id: TopicPartition,
        current: LeaderEpoch,
        epoch: LeaderEpoch,
    ) -> Result<(LeaderEpoch, Offset), OffsetRefusal> {
        let partition = self.partition(id).ok_or(OffsetRefusal::UnknownPartition)?;
        partition.check_epoch(current).map_err(OffsetRefusal::Read)?;
        partition.check_end().map_err(OffsetRefusal::Read)?;
        // One broker, one history: every epoch up to ours ends where the log ends.
        let ours = partition.leader_epoch();
        let known = (0..=ours).contains(&epoch);
        Ok(if known { (ours, partition.high_watermark()) } else { (-1, -1) })
    }

    /// Raise a log's start; -1 stands for the high watermark.
    async fn delete_records(
        &self,
        id: TopicPartition,
        offset: Offset,
    ) -> Result<Offset, OffsetRefusal> {
        let partition = self.partition(id).ok_or(OffsetRefusal::UnknownPartition)?;
        let (high_watermark, log_start) = partition.readable().map_err(OffsetRefusal::Read)?;
        let topic = self.image().topic_by_id(id.topic_id).cloned();
        if let Some(config) = topic.map(|topic| self.topic_config(&topic))
            && config.compact
            && !config.delete
        {
            return Err(OffsetRefusal::Policy);
        }
        if offset == -1 || offset > high_watermark {
            partition.check_end().map_err(OffsetRefusal::Read)?;
        }
        let target = if offset == -1 { high_watermark } else { offset };
        if target < 0 || target > high_watermark {
            return Err(OffsetRefusal::OutOfRange);
        }
        if target > log_start {
            let raised = partition.log().set_start_offset(target).await;
            raised.map_err(|e| OffsetRefusal::Read(ReadRefusal::Storage(e)))?;
        }
        Ok(partition.log().start_offset())
    }

    /// Ask every shard the same; answers by shard.
    pub async fn ask_all(self: &Rc<Self>, ask: impl Fn() -> Call) -> Vec<Reply> {
        join_all((0..self.shards).map(|to| self.call(to, ask()))).await
    }
}

/// The producers of a partition, by id.
fn known_producers<R: Runtime>(partition: &Partition<R>) -> Vec<KnownProducer> {
    let mut known: Vec<_> = partition.with_producers(|producers| {
        let state = producers.iter().map(|(id, producer)| {
            let last = producer.batches.back();
            KnownProducer {
                id,
                epoch: producer.epoch,
                last_sequence: last.map_or(-1, |batch| batch.last_sequence),
                last_timestamp_ms: last.map_or(-1, |batch| batch.timestamp_ms),
            }
        });
        state.collect()
    });
    known.sort_unstable_by_key(|producer| producer.id);
    known
}
