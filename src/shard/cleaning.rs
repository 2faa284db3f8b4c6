//! Log compaction on one shard: the dirtiest log first, one at a time, whenever there is one.
//!
//! Owns when a log is cleaned; how is `storage`'s matter. Cleaning rests as long as it works and
//! touches only sealed segments, so appends and readers of the tail do not wait for it.

use std::rc::Rc;
use std::time::Duration;

use crate::model::TimestampMs;
use crate::partition::Partition;
use crate::runtime::Runtime;
use crate::storage::{CleanError, CleanFacts, CleanLimits, Dirt, StorageError, Throttle};

use super::Shard;

/// Partitions looked at before other tasks get their turn.
const PARTITIONS_PER_TURN: usize = 64;

impl<R: Runtime> Shard<R> {
    /// Clean this shard's compacted logs for ever.
    pub async fn keep_clean(self: Rc<Self>) {
        loop {
            let settings = self.live_config().cleaner.clone();
            if !(settings.enabled && self.clean_dirtiest().await) {
                self.runtime.sleep(Duration::from_millis(settings.backoff_ms)).await;
            }
        }
    }

    /// Clean the dirtiest log that is worth it; whether there was one and it went well.
    pub async fn clean_dirtiest(&self) -> bool {
        let Some(partition) = self.dirtiest().await else { return false };
        match self.clean(&partition).await {
            Ok(()) => true,
            Err(error) => {
                self.tell(&partition, &error);
                false
            }
        }
    }

    /// The partition whose log is the dirtiest of those to be cleaned now.
    async fn dirtiest(&self) -> Option<Rc<Partition<R>>> {
        let mut dirtiest: Option<(f64, Rc<Partition<R>>)> = None;
        let (mut uncleanable, mut ratio_max) = (0, 0f64);
        for turn in self.partitions().chunks(PARTITIONS_PER_TURN) {
            let now = self.runtime.wall_ms();
            for partition in turn.iter().filter(|partition| partition.log().is_compacted()) {
                uncleanable += u64::from(partition.log().is_uncleanable());
                let judged = self.judge(partition, now).await;
                let Some((dirt, is_due)) = judged.unwrap_or_else(|error| {
                    self.tell(partition, &error);
                    None
                }) else {
                    continue;
                };
                ratio_max = ratio_max.max(dirt.ratio());
                if is_due && dirtiest.as_ref().is_none_or(|(most, _)| dirt.ratio() > *most) {
                    dirtiest = Some((dirt.ratio(), partition.clone()));
                }
            }
            self.runtime.sleep(Duration::from_millis(1)).await;
        }
        let stats = self.store().stats();
        stats.uncleanable_logs.set(uncleanable);
        stats.dirtiest_log_percent.set((ratio_max * 100.0) as u64);
        dirtiest.map(|(_, partition)| partition)
    }

    /// How dirty a log is, and whether it is to be cleaned now.
    async fn judge(
        &self,
        partition: &Partition<R>,
        now: TimestampMs,
    ) -> Result<Option<(Dirt, bool)>, CleanError> {
        let (log, stable_end) = (partition.log(), partition.high_watermark());
        log.roll_expired(stable_end, now).await?;
        let Some(dirt) = log.dirt(stable_end, now) else { return Ok(None) };
        if dirt.dirty_bytes == 0 {
            return Ok(None);
        }
        let is_due = log.is_dirty_enough(&dirt) || log.is_overdue(&dirt, now).await?;
        Ok(Some((dirt, is_due)))
    }

    async fn clean(&self, partition: &Partition<R>) -> Result<(), CleanError> {
        let config = self.live_config();
        let settings = &config.cleaner;
        let limits = CleanLimits {
            map_bytes: config.limits.cleaner_map_bytes_max as u64 / u64::from(self.shards.max(1)),
            load_factor: f64::from(settings.load_percent) / 100.0,
            io_bytes: settings.io_bytes,
        };
        let facts = CleanFacts {
            now_ms: self.runtime.wall_ms(),
            producers: partition.last_records(),
            decompressed_bytes_max: config.limits.decompressed_bytes_max,
            ..CleanFacts::default()
        };
        let mut throttle = Throttle::new(settings.bytes_per_second as f64, self.runtime.now());
        let stable_end = partition.high_watermark();
        let outcome = partition.log().clean(facts, stable_end, limits, &mut throttle).await?;
        tracing::debug!(topic_id = %partition.id().topic_id, partition = partition.id().partition,
            ?outcome, "a compacted log was cleaned");
        Ok(())
    }

    /// Say why a log was not cleaned: once if it is for good, else at every attempt.
    fn tell(&self, partition: &Partition<R>, error: &CleanError) {
        let (topic_id, partition) = (partition.id().topic_id, partition.id().partition);
        match error {
            CleanError::Uncleanable(why) => tracing::error!(%topic_id, partition,
                "a compacted log cannot be cleaned and is left as it is until the next start; it \
                 will only grow: {why}"),
            CleanError::Interrupted | CleanError::Storage(StorageError::Offline(_)) => {}
            CleanError::Storage(error) => tracing::warn!(%topic_id, partition, %error,
                "a compacted log could not be cleaned; it is tried again"),
        }
    }
}
