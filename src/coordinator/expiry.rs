//! The end of committed offsets and empty groups (KIP-211), and of offsets of deleted topics.
//!
//! Always true: one step forgets a bounded number of offsets; what remains is done by the ticks
//! that follow at once.

use std::collections::BTreeSet;

use crate::cluster::image::Image;
use crate::model::{PartitionIndex, Uuid};
use crate::wire::StrBytes;

use super::Coordinator;
use super::group::Group;
use super::offsets::{CommittedOffset, tombstone};

/// Offsets that one step forgets.
const FORGOTTEN_MAX: usize = 10_000;

/// From when on an offset of a group ages.
pub(super) enum Ages {
    /// Not at all: the group is in use.
    Never,
    /// Since it was committed.
    SinceCommit,
    /// Since the group became empty; if that is unknown, since the commit.
    Since(Option<i64>),
}

impl Coordinator {
    /// Look for expired offsets when it is time.
    pub(super) fn cleanup_when_due(&mut self) {
        let now = self.desk.now;
        if self.next_cleanup.is_none_or(|at| now < at) {
            return;
        }
        let groups: Vec<StrBytes> = match self.cleanup_after.take() {
            Some(after) => self.groups.range(after..).map(|(id, _)| id.clone()).collect(),
            None => self.groups.keys().cloned().collect(),
        };
        for id in groups {
            if self.desk.step.records.len() >= FORGOTTEN_MAX {
                // The next tick is due at once and goes on here.
                self.cleanup_after = Some(id);
                self.next_cleanup = Some(now);
                return;
            }
            self.cleanup_group(&id);
        }
        let interval_ms = self.desk.settings.offsets_check_interval_ms;
        self.next_cleanup = Some(now.saturating_add(interval_ms));
    }

    /// Forget what has expired in one group, and the group when nothing is left of it.
    fn cleanup_group(&mut self, id: &StrBytes) {
        let Some(group) = self.groups.get(id) else { return };
        let now = self.desk.now;
        let retention_ms = self.desk.settings.offsets_retention_ms;
        let ages = group.offsets_age();
        let is_expired = |offset: &CommittedOffset| match &ages {
            Ages::Never => false,
            Ages::SinceCommit => offset.is_expired(now, offset.commit_timestamp, retention_ms),
            Ages::Since(since) => {
                offset.is_expired(now, since.unwrap_or(offset.commit_timestamp), retention_ms)
            }
        };
        let mut expired: Vec<(StrBytes, PartitionIndex)> = Vec::new();
        let mut kept = 0;
        for (topic, offsets) in self.offsets.of(id).into_iter().flat_map(|of| &of.topics) {
            let is_in_use = group.is_subscribed_to(topic) && !group.is_empty();
            for (index, offset) in offsets {
                if !is_in_use && is_expired(offset) && expired.len() < FORGOTTEN_MAX {
                    expired.push((topic.clone(), *index));
                } else {
                    kept += 1;
                }
            }
        }
        self.forget(id, &expired);
        if kept == 0 && self.groups.get(id).is_some_and(Group::is_empty) {
            self.remove_group(id);
        }
    }

    /// Forget these offsets of a group.
    pub(super) fn forget(&mut self, id: &StrBytes, offsets: &[(StrBytes, PartitionIndex)]) {
        for (topic, index) in offsets {
            self.desk.write(&tombstone(id, topic, *index));
            self.offsets.remove(id, topic, *index);
        }
    }

    /// Remove a group without members: its records, its timers.
    pub(super) fn remove_group(&mut self, id: &StrBytes) {
        let Some(group) = self.groups.remove(id) else { return };
        group.write_tombstones(&mut self.desk);
        self.desk.timers.cancel_group(id);
    }

    /// The metadata has changed: offsets of topics that are gone go with them.
    pub(super) fn image_changed(&mut self, image: &Image) {
        // An offset without a topic id belongs to whatever has the name.
        let is_gone = |(name, id): &&(StrBytes, Uuid)| {
            image.topic(name).is_none_or(|topic| !id.is_zero() && topic.id != *id)
        };
        let gone: BTreeSet<(StrBytes, Uuid)> =
            self.offsets.topics().filter(is_gone).cloned().collect();
        if gone.is_empty() {
            return;
        }
        let mut forgotten: Vec<(StrBytes, StrBytes, PartitionIndex)> = Vec::new();
        for (id, offsets) in self.offsets.groups() {
            for (name, partitions) in &offsets.topics {
                for (index, offset) in partitions {
                    if gone.contains(&(name.clone(), offset.topic_id)) {
                        forgotten.push((id.clone(), name.clone(), *index));
                    }
                }
            }
        }
        for (id, topic, index) in forgotten {
            self.forget(&id, &[(topic, index)]);
        }
    }
}
