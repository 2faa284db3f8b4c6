//! Retention and expiry, a little at a time, so that no pass holds the shard for long.

use std::rc::Rc;
use std::time::Duration;

use crate::model::TimestampMs;
use crate::runtime::Runtime;
use crate::storage::StorageError;

use super::Shard;

/// Partitions looked at before other tasks get their turn.
const PARTITIONS_PER_TURN: usize = 64;

impl<R: Runtime> Shard<R> {
    /// Look after this shard's partitions for ever: roll expired segments, delete what retention
    /// no longer keeps, forget expired producers.
    pub async fn keep_house(self: Rc<Self>) {
        loop {
            self.runtime
                .sleep(Duration::from_millis(self.config.retention_check_interval_ms))
                .await;
            self.keep_house_once().await;
        }
    }

    /// Forget the producers unseen for longest when the partitions together remember more than
    /// they may, an eighth at a time: a flood of new producers costs constant time each.
    pub(super) fn bound_producers(&self) {
        let max = self.config.limits.producers_max;
        if self.producers_held.get() <= max {
            return;
        }
        let partitions = self.partitions();
        let mut seen: Vec<TimestampMs> = Vec::with_capacity(self.producers_held.get());
        for partition in &partitions {
            partition.with_producers(|p| seen.extend(p.iter().map(|(_, each)| each.seen_ms)));
        }
        // Partitions that are being deleted hold some, too.
        let excess = seen.len().saturating_sub(max - max / 8);
        if excess == 0 {
            return;
        }
        let (_, oldest_kept, _) = seen.select_nth_unstable(excess);
        // Of those seen at the same moment all stay, unless that is too many.
        for before in [*oldest_kept, oldest_kept.saturating_add(1)] {
            if self.producers_held.get() > max {
                partitions.iter().for_each(|partition| partition.expire_producers(before));
            }
        }
    }

    /// One pass over all partitions.
    pub async fn keep_house_once(&self) {
        let partitions = self.partitions();
        let expire_before =
            self.runtime.wall_ms().saturating_sub(self.live_config().producer_id_expiration_ms);
        for turn in partitions.chunks(PARTITIONS_PER_TURN) {
            for partition in turn {
                partition.expire_producers(expire_before);
                let mark = partition.high_watermark();
                let now = self.runtime.wall_ms();
                match partition.log().apply_retention(mark, now).await {
                    // Deleted meanwhile, or log or store has said why it is offline.
                    Ok(_) | Err(StorageError::Offline(_) | StorageError::Corrupt(_)) => {}
                    Err(error) => tracing::warn!(topic_id = %partition.id().topic_id,
                        partition = partition.id().partition, %error,
                        "retention could not be applied; it is tried again at the next pass"),
                }
            }
            self.runtime.sleep(Duration::from_millis(1)).await;
        }
    }
}
