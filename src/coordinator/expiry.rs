//! The end of committed offsets and empty groups (KIP-211), and of offsets of deleted topics.
//!
//! Always true: one step looks at and forgets a bounded number of offsets; what remains is done by
//! the ticks that follow at once.

use std::ops::Bound;

use crate::cluster::image::Image;
use crate::model::{PartitionIndex, Uuid};
use crate::wire::StrBytes;

use super::Coordinator;
use super::offsets::{CommittedOffset, tombstone};

/// Offsets that one step forgets.
const FORGOTTEN_MAX: usize = 10_000;
/// Groups and offsets that one step looks at; a group is looked at as a whole.
const SEEN_MAX: usize = 50_000;

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
        let from = self.cleanup_from.take().unwrap_or_default();
        self.cleanup_from = self.sweep(from, |coordinator, id| coordinator.cleanup_group(id));
        let interval_ms = match self.cleanup_from {
            Some(_) => 0,
            None => self.desk.settings.offsets_check_interval_ms,
        };
        self.next_cleanup = Some(now.saturating_add(interval_ms));
    }

    /// Let `clean` see to the groups from `from` on, one by one, as far as one step goes. It says
    /// whether it has finished with a group; the result is the group to go on with.
    fn sweep(
        &mut self,
        from: StrBytes,
        clean: impl Fn(&mut Self, &StrBytes) -> bool,
    ) -> Option<StrBytes> {
        let mut seen = 0;
        let mut next = self.groups.range(from..).next();
        while let Some((id, _)) = next {
            let id = id.clone();
            if seen >= SEEN_MAX || self.room_to_forget() == 0 {
                return Some(id);
            }
            seen += 1 + self.offsets.count(&id);
            if !clean(self, &id) {
                return Some(id);
            }
            next = self.groups.range((Bound::Excluded(id), Bound::Unbounded)).next();
        }
        None
    }

    /// How many more offsets this step may forget.
    fn room_to_forget(&self) -> usize {
        FORGOTTEN_MAX.saturating_sub(self.desk.step.records.len())
    }

    /// Forget what has expired in one group, and the group when nothing is left of it. Whether
    /// nothing more has to be forgotten.
    fn cleanup_group(&mut self, id: &StrBytes) -> bool {
        let Some(group) = self.groups.get(id) else { return true };
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
        let is_empty = group.is_empty();
        let mut expired: Vec<(StrBytes, PartitionIndex)> = Vec::new();
        for (topic, offsets) in self.offsets.of(id).into_iter().flat_map(|of| &of.topics) {
            let old = offsets.iter().filter(|(_, offset)| is_expired(offset));
            let mut old = old.map(|(index, _)| (topic.clone(), *index)).peekable();
            // Asked last: it looks at every member.
            if old.peek().is_some() && (is_empty || !group.is_subscribed_to(topic)) {
                expired.extend(old);
            }
        }
        let is_done = self.forget_some(id, expired);
        if is_empty && self.offsets.of(id).is_none() {
            self.remove_group(id);
        }
        is_done
    }

    /// Forget as many of these offsets as one step may; whether that were all.
    fn forget_some(&mut self, id: &StrBytes, mut offsets: Vec<(StrBytes, PartitionIndex)>) -> bool {
        let (count, room) = (offsets.len(), self.room_to_forget());
        offsets.truncate(room);
        self.forget(id, &offsets);
        count <= room
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
        if self.offsets.topics().any(|(name, id)| is_gone(there(image, name), *id)) {
            self.gone_from = Some(StrBytes::default());
        }
    }

    /// Forget offsets of deleted topics, if there may be any.
    pub(super) fn sweep_gone(&mut self, image: &Image) {
        let Some(from) = self.gone_from.take() else { return };
        self.gone_from = self.sweep(from, |coordinator, id| {
            let mut gone = Vec::new();
            let offsets = coordinator.offsets.of(id);
            for (topic, partitions) in offsets.into_iter().flat_map(|of| &of.topics) {
                let there = there(image, topic);
                let lost = partitions.iter().filter(|(_, offset)| is_gone(there, offset.topic_id));
                gone.extend(lost.map(|(index, _)| (topic.clone(), *index)));
            }
            coordinator.forget_some(id, gone)
        });
    }
}

/// The topic that has this name now.
fn there(image: &Image, name: &StrBytes) -> Option<Uuid> {
    image.topic(name).map(|topic| topic.id)
}

/// Whether an offset of the topic `id` is of no topic any more, when the one of its name is
/// `there`. An offset without a topic id belongs to whatever has the name.
fn is_gone(there: Option<Uuid>, id: Uuid) -> bool {
    there.is_none_or(|there| !id.is_zero() && there != id)
}
