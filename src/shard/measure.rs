//! Counters of a shard as others may see them.

use std::time::Duration;

use crate::metrics::{Latency, ShardSnapshot, StoreStatus, Value, store_value};
use crate::runtime::Runtime;
use crate::storage;

use super::Shard;

/// How often the shard's own lateness is looked at.
const HEARTBEAT: Duration = Duration::from_secs(5);

impl<R: Runtime> Shard<R> {
    /// The counters now, those that others keep included.
    pub(super) fn snapshot_metrics(&self) -> ShardSnapshot {
        self.metrics.set(Value::Partitions, self.partitions.borrow().len() as u64);
        for (name, count) in self.store.stats().all() {
            if let Some(value) = store_value(name) {
                self.metrics.set(value, count);
            }
        }
        self.measure_groups();
        let core = self.runtime.core();
        self.metrics.raise(Value::LongestStall, core.longest_turn.as_micros() as u64);
        self.metrics.set(Value::CorePinned, core.is_pinned.into());
        self.metrics.set(Value::CoreWait, core.waited.as_micros() as u64);
        let status = match self.store.status() {
            storage::StoreStatus::Online => StoreStatus::Ok,
            storage::StoreStatus::Full(_) => StoreStatus::Full,
            storage::StoreStatus::Offline(_) => StoreStatus::Offline,
        };
        self.metrics.set(Value::StoreStatus, status as u64);
        let stats = self.store.stats();
        self.metrics.snapshot(&[
            (Latency::JournalWrite, &stats.journal_write_time),
            (Latency::JournalFlush, &stats.journal_flush_time),
        ])
    }

    /// A partition was relaxed or not `before`, and is or not `now`. Counted where it changes: to
    /// ask all partitions at each look at the page would hold up the shard.
    pub(super) fn count_relaxed(&self, before: bool, now: bool) {
        self.metrics.add(Value::PartitionsRelaxed, now.into());
        self.metrics.sub(Value::PartitionsRelaxed, before.into());
    }

    /// Notice when this shard could not turn to a timer in time: something outside its tasks held
    /// the core. And when the disk has little space left, or enough again.
    pub async fn keep_watch(self: std::rc::Rc<Self>) {
        loop {
            let due = self.runtime.now() + HEARTBEAT;
            self.runtime.sleep(HEARTBEAT).await;
            let late = self.runtime.now().saturating_sub(due);
            self.metrics.raise(Value::LongestStall, late.as_micros() as u64);
            if let Err(error) = self.store.give_way().await {
                tracing::warn!(%error, "the space of used files could not be given back");
            }
        }
    }
}
