//! Recovery: the last run's journals go into their segments, then a new run begins.
//!
//! Until `CURRENT` names the new run nothing of the old one is changed except segment bytes that
//! its journal still holds and names of cleaned segments that it tells of, so a crash in here is
//! repaired by doing it again.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::checkpoint::{prepare_checkpoint, write_checkpoint};
use super::checkpoint_file::{CheckpointHeader, LogRecord, encode_checkpoint};
use super::format::{Layout, base_offset_of};
use super::journal_list::begin_list;
use super::kept::{KeptRuns, keep_run, remove_runs};
use super::limits::Limits;
use super::replay::{LogPlan, Plans, apply, drop_below_start, plans_of};
use super::restore::Restore;
use super::run_files::{Current, read_current, read_shard, write_current};
use super::{Owner, RecoveredLog, Replay, ShardStart, StorageConfig, StorageError};
use crate::disk::{Disk, DiskError, DiskFile};
use crate::model::{ShardId, TopicPartition, Uuid};
use crate::runtime::Runtime;

/// Replay the last run's journals into their segments and begin a new run.
///
/// `owner` tells whose a log is now. One that is nobody's is made whole, too, and kept aside under
/// another name; only what is known to have been removed is deleted.
///
/// # Errors
/// When the directory cannot be read or written, or when what says what counts (`CURRENT`,
/// checkpoints, flushed journal frames) is damaged. A damaged log does not fail the rest: it
/// comes back offline.
pub async fn recover<R: Runtime>(
    runtime: &R,
    config: &StorageConfig,
    shards: ShardId,
    owner: &dyn Fn(TopicPartition) -> Owner,
) -> Result<Vec<ShardStart>, StorageError> {
    let disk = runtime.disk();
    let layout = Layout::new(&config.data_dir);
    for dir in [layout.runs(), layout.logs(), layout.pool()] {
        disk.create_dir(&dir).await?;
    }
    disk.sync_dir(layout.root()).await?;
    let old = read_current(disk, &layout).await?;
    let mut next_incarnation = 1;
    let mut plans = Plans::new();
    if let Some(old) = &old {
        (plans, next_incarnation) = read_run(disk, &layout, old).await?;
    }
    let mut logs = Vec::new();
    let mut kept = KeptRuns::new(disk, &layout);
    let mut needed = BTreeSet::new();
    for (id, plan) in plans {
        let owner = owner(id);
        if owner == Owner::Removed {
            continue;
        }
        let plan = kept.try_again(plan).await;
        let restored = Restore { disk, layout: &layout }.log(plan).await?;
        needed.insert(restored.record.kept_run);
        match owner {
            Owner::Shard(shard, config) => {
                logs.push((shard.min(shards.saturating_sub(1)), config, restored));
            }
            _ => cut_behind(disk, &layout, &restored.record).await?,
        }
    }
    let current = begin_run(disk, &layout, shards, old.as_ref()).await?;
    let mut starts: Vec<ShardStart> = (0..shards)
        .map(|shard| ShardStart {
            shard,
            generation: current.generation,
            salt: current.salt,
            next_incarnation,
            logs: Vec::new(),
        })
        .collect();
    for (shard, config, restored) in logs {
        let replay = Replay {
            snapshot: restored.record.snapshot.clone(),
            headers: split_headers(&restored.record.headers),
        };
        let is_touched = restored.is_touched && restored.record.broken.is_empty();
        let log = RecoveredLog { record: restored.record, config, replay, is_touched };
        starts[usize::from(shard)].logs.push(log);
    }
    for start in &starts {
        let header = CheckpointHeader {
            shard: start.shard,
            generation: start.generation,
            sequence: 1,
            cut: 0,
            next_incarnation,
        };
        let records: Vec<Bytes> = start.logs.iter().map(|log| log.record.encode()).collect();
        let bytes = encode_checkpoint(&header, &records);
        prepare_checkpoint(disk, &layout, &header, bytes.len()).await?;
        let journal = (header.generation, header.shard);
        begin_list(disk, &layout, journal, Limits::new(config).journal_files_max).await?;
        write_checkpoint(disk, &layout, &header, &bytes).await?;
    }
    if let Some(old) = old.filter(|old| needed.contains(&old.generation)) {
        // Bytes of a damaged log may be only in this run's journal.
        keep_run(disk, &layout, &old).await?;
    }
    write_current(disk, &layout, &current).await?;
    remove_runs(disk, &layout, current.generation, &needed).await?;
    clean_up(disk, &layout, &current, &starts, owner).await?;
    Ok(starts)
}

/// Checkpoints and journals of a run, as one plan per log.
pub(crate) async fn read_run<D: Disk>(
    disk: &D,
    layout: &Layout,
    run: &Current,
) -> Result<(Plans, u64), StorageError> {
    let mut all = Plans::new();
    let mut next_incarnation = 1;
    for shard in 0..run.shards {
        let files = read_shard(disk, layout, run, shard).await?;
        next_incarnation = next_incarnation.max(files.header.next_incarnation);
        let mut plans = plans_of(files.records);
        for frame in &files.frames {
            let sequence = frame.header.sequence;
            let entries = frame.entries().ok_or_else(|| {
                StorageError::Corrupt(format!(
                    "frame {sequence} of shard {shard}'s journal checks but holds an entry this \
                     version does not know: start the version that wrote it and stop it cleanly"
                ))
            })?;
            for entry in entries {
                next_incarnation = next_incarnation.max(entry.log.incarnation + 1);
                apply(&mut plans, sequence, entry);
            }
        }
        for plan in plans.values_mut() {
            settle_misfit(plan, files.flushed_sequence);
            plan.flushed_sequence = files.flushed_sequence;
            plan.run = run.generation;
        }
        for (id, plan) in plans {
            let incarnation = plan.record.log.incarnation;
            // One shard owns a partition in one run; should two claim it, the later life counts.
            if all.get(&id).is_none_or(|known| known.record.log.incarnation < incarnation) {
                all.insert(id, plan);
            }
        }
    }
    Ok((all, next_incarnation))
}

/// An entry that does not fit the log is damage if it was flushed, else the end of the log.
fn settle_misfit(plan: &mut LogPlan, flushed_sequence: u64) {
    if let Some((sequence, why)) = plan.misfit.take()
        && sequence <= flushed_sequence
    {
        plan.damage = Some(why);
    }
}

/// Cut what lies behind the end of a log that is kept aside: no record will tell where that was.
async fn cut_behind<D: Disk>(
    disk: &D,
    layout: &Layout,
    record: &LogRecord,
) -> Result<(), StorageError> {
    let Some(active) = record.segments.last().filter(|_| record.broken.is_empty()) else {
        return Ok(());
    };
    let file = match disk.open(&layout.segment(record.log.id, active.base), false).await {
        Err(DiskError::NotFound(_)) => return Ok(()),
        file => file?,
    };
    if file.len()? > active.bytes {
        file.truncate(active.bytes).await?;
    }
    file.flush().await?;
    Ok(())
}

/// Directories of a new run, not yet current.
async fn begin_run<D: Disk>(
    disk: &D,
    layout: &Layout,
    shards: ShardId,
    old: Option<&Current>,
) -> Result<Current, StorageError> {
    let mut generation = old.map_or(0, |old| old.generation);
    for entry in disk.list(&layout.runs()).await? {
        generation = generation.max(entry.name.parse().unwrap_or(0));
    }
    let generation = generation + 1;
    let random = Uuid::random().0;
    let salt = random.iter().fold(0u64, |salt, byte| salt.rotate_left(8) ^ u64::from(*byte));
    disk.create_dir(&layout.run(generation)).await?;
    for shard in 0..shards {
        disk.create_dir(&layout.shard(generation, shard)).await?;
    }
    disk.sync_dir(&layout.run(generation)).await?;
    disk.sync_dir(&layout.runs()).await?;
    Ok(Current { shards, generation, salt })
}

/// Remove what no longer counts: removed logs, files of no segment, the pool.
async fn clean_up<D: Disk>(
    disk: &D,
    layout: &Layout,
    current: &Current,
    starts: &[ShardStart],
    owner: &dyn Fn(TopicPartition) -> Owner,
) -> Result<(), StorageError> {
    for entry in disk.list(&layout.pool()).await? {
        disk.remove_file(&layout.pool().join(entry.name)).await?;
    }
    let known: BTreeSet<TopicPartition> =
        starts.iter().flat_map(|start| &start.logs).map(|log| log.record.log.id).collect();
    for topic in disk.list(&layout.logs()).await? {
        // A name that is not ours stays: nothing is deleted because it cannot be understood.
        let Ok(topic_id) = topic.name.parse::<Uuid>() else { continue };
        let (mut left, mut strays) = (0, 0);
        for partition in disk.list(&layout.topic(topic_id)).await? {
            let Ok(number) = partition.name.parse() else {
                left += 1;
                continue;
            };
            let id = TopicPartition { topic_id, partition: number };
            if known.contains(&id) {
                left += 1;
            } else if owner(id) == Owner::Removed {
                disk.remove_dir_all(&layout.log(id)).await?;
            } else {
                disk.rename(&layout.log(id), &layout.stray(id, current.generation)).await?;
                (left, strays) = (left + 1, strays + 1);
            }
        }
        if strays > 0 {
            disk.sync_dir(&layout.topic(topic_id)).await?;
            tracing::warn!(path = %layout.topic(topic_id).display(), partitions = strays,
                "found logs that belong to no partition known here: they are kept under the name \
                 PARTITION-stray-{}; look why the metadata or the journal does not know them, and \
                 remove them when their records are not needed", current.generation);
        }
        if left == 0 {
            disk.remove_dir_all(&layout.topic(topic_id)).await?;
        }
    }
    for log in starts.iter().flat_map(|start| &start.logs).filter(|log| log.is_touched) {
        let id = log.record.log.id;
        for entry in disk.list(&layout.log(id)).await.unwrap_or_default() {
            let Some(base) = base_offset_of(&entry.name) else { continue };
            if !log.record.segments.iter().any(|segment| segment.base == base) {
                disk.remove_file(&layout.log(id).join(entry.name)).await?;
            }
        }
    }
    Ok(())
}

fn split_headers(headers: &Bytes) -> Vec<Bytes> {
    let len = super::entry::HEADER_LEN;
    (0..headers.len() / len).map(|i| headers.slice(i * len..(i + 1) * len)).collect()
}

/// Finish a plan without appends: what the checkpoint and the journal say is what there is.
pub(crate) fn finish(plan: &mut LogPlan) {
    let record = &mut plan.record;
    record.start_offset = record.start_offset.min(record.end_offset);
    drop_below_start(record);
    let mut headers = Vec::from(&record.headers[..]);
    plan.headers.iter().for_each(|header| headers.extend_from_slice(header));
    record.headers = headers.into();
}
