//! Runs that are kept beyond their time: a log could not be recovered from their journal.
//!
//! `KEEP` in such a run says how it is read, as `CURRENT` did while it counted. Each start tries
//! again to recover from it what is still offline, so that restoring the files is enough; when no
//! log needs the run any more, it goes. A run that cannot be read fails no start.

use std::collections::{BTreeMap, BTreeSet};

use super::StorageError;
use super::checkpoint_file::{LOST_RUN, LogRecord, NO_RUN};
use super::format::{Layout, shard_of};
use super::recover::read_run;
use super::replay::{LogPlan, Plans, drop_below_start};
use super::run_files::{Current, read_current_file, write_current_file};
use crate::disk::{Disk, DiskError};

/// What the kept runs say of the logs that need them; each run is read once, when first asked for.
pub(crate) struct KeptRuns<'a, D: Disk> {
    disk: &'a D,
    layout: &'a Layout,
    read: BTreeMap<u64, Plans>,
}

impl<'a, D: Disk> KeptRuns<'a, D> {
    pub(crate) fn new(disk: &'a D, layout: &'a Layout) -> Self {
        Self { disk, layout, read: BTreeMap::new() }
    }

    /// What to try with a log that an earlier start or run found damaged: all that was known of it
    /// then. A log that cannot be tried stays as it is, and any other log, too.
    pub(crate) async fn try_again(&mut self, mut plan: LogPlan) -> LogPlan {
        let record = &plan.record;
        if record.broken.is_empty() {
            return plan;
        }
        if record.kept_run == NO_RUN {
            plan.found_before = Some(std::mem::take(&mut plan.record.broken));
            return plan;
        }
        let Some(mut kept) = self.plan_of(record).await else { return plan };
        // Records may have been deleted since, and with them segments.
        kept.record.start_offset = kept.record.start_offset.max(record.start_offset);
        drop_below_start(&mut kept.record);
        kept.found_before = Some(record.broken.clone());
        kept
    }

    async fn plan_of(&mut self, record: &LogRecord) -> Option<LogPlan> {
        let run = record.kept_run;
        if !self.read.contains_key(&run) {
            let plans = self.read_kept(run).await.unwrap_or_else(|error| {
                tracing::warn!(
                    run,
                    "what was kept for a log that is offline cannot be read, so \
                    restoring its files does not help; delete its topic: {error}"
                );
                Plans::new()
            });
            self.read.insert(run, plans);
        }
        let kept = self.read.get_mut(&run)?.remove(&record.log.id)?;
        let is_it = kept.record.log == record.log && kept.record.broken.is_empty();
        is_it.then_some(kept)
    }

    async fn read_kept(&self, run: u64) -> Result<Plans, StorageError> {
        let kept = read_current_file(self.disk, &self.layout.run_kept(run)).await??;
        Ok(read_run(self.disk, self.layout, &kept).await?.0)
    }
}

/// Mark a run as kept: durable once this returns.
pub(crate) async fn keep_run<D: Disk>(
    disk: &D,
    layout: &Layout,
    run: &Current,
) -> Result<(), DiskError> {
    write_current_file(disk, &layout.run_kept(run.generation), run).await?;
    disk.sync_dir(&layout.run(run.generation)).await
}

/// Remove every run but the current one and those that logs with `needed` in their records wait
/// for.
pub(crate) async fn remove_runs<D: Disk>(
    disk: &D,
    layout: &Layout,
    current: u64,
    needed: &BTreeSet<u64>,
) -> Result<(), DiskError> {
    for entry in disk.list(&layout.runs()).await? {
        let Ok(generation) = entry.name.parse::<u64>() else { continue };
        if generation == current || needed.contains(&generation) {
            continue;
        }
        let content = disk.list(&layout.run(generation)).await?;
        let is_kept = content.iter().any(|entry| entry.name == "KEEP");
        let is_ours = |name: &str| name == "KEEP" || shard_of(name).is_some();
        if (is_kept && needed.contains(&LOST_RUN)) || !content.iter().all(|e| is_ours(&e.name)) {
            continue;
        }
        if is_kept {
            // First: half a run must not be tried again.
            disk.remove_file(&layout.run_kept(generation)).await?;
            disk.sync_dir(&layout.run(generation)).await?;
        }
        disk.remove_dir_all(&layout.run(generation)).await?;
    }
    Ok(())
}
