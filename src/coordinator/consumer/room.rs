//! Whether there is memory for what a member wants.
//!
//! Always true: who is admitted finds room for all that follows from it; taking what one shall have
//! is not refused. A group that outgrows the memory because its topics grow keeps its target.

use crate::cluster::image::Image;
use crate::protocol::ErrorCode;
use crate::wire::StrBytes;

use super::partitions::Partitions;
use super::{
    ConsumerGroup, ConsumerMember, Refusal, memory_of_expression, memory_of_target, memory_of_topic,
};
use crate::coordinator::desk::Desk;
use crate::coordinator::memory;

/// How soon after it found no room for a target a group looks again.
const LOOK_INTERVAL_MS: i64 = 10_000;

impl ConsumerGroup {
    /// Whether there is memory for `updated` in the place of `before`, for the topics of its
    /// expression, and, when it reads other topics than before, for all of them as its own.
    ///
    /// # Errors
    /// `GROUP_MAX_SIZE_REACHED`
    pub(super) fn check_memory(
        &self,
        desk: &Desk,
        image: &Image,
        before: Option<&ConsumerMember>,
        updated: &ConsumerMember,
    ) -> Result<(), Refusal> {
        let has = before.map_or(0, ConsumerMember::memory);
        let mut growth = updated.memory().saturating_sub(has);
        if self.members.is_empty() {
            growth += memory::MEMBERS_BYTES;
        }
        let is_same = before.is_some_and(|before| {
            before.topics == updated.topics && before.regex() == updated.regex()
        });
        if !is_same {
            growth += self.memory_of_wish(desk, image, updated);
        }
        let is_admitted = match before {
            Some(_) => desk.memory.admits_of_member(growth),
            None => desk.memory.admits(growth),
        };
        if is_admitted {
            return Ok(());
        }
        let message = format!(
            "The groups of this shard hold {} of {} bytes, and this takes {growth}: delete groups \
             that are not used, or raise thalweg.groups.memory.bytes.max.",
            desk.memory.held(),
            desk.memory.max(),
        );
        Err(Refusal::new(ErrorCode::GROUP_MAX_SIZE_REACHED, message))
    }

    /// What comes of reading what `member` reads: the topics of its expression if that is new, and
    /// what it would have if nobody else read the same.
    fn memory_of_wish(&self, desk: &Desk, image: &Image, member: &ConsumerMember) -> usize {
        let of_topic = |name: &StrBytes| {
            let partitions = image.topic(name).map_or(0, |topic| topic.partitions.len());
            if partitions == 0 { 0 } else { memory_of_topic(partitions) }
        };
        let own: usize = member.topics.iter().map(of_topic).sum();
        let own = own + memory_of_target(&member.id, &Partitions::new());
        let Some(regex) = member.regex() else { return own };
        if let Some(known) = self.regexes.get(regex) {
            return own + known.topics.iter().map(of_topic).sum::<usize>();
        }
        let Some(topics) = desk.matched.topics(regex) else { return own };
        own + memory_of_expression(regex, topics) + topics.iter().map(of_topic).sum::<usize>()
    }

    /// Whether there is memory for this target, or nothing more to be taken; asked again only
    /// after a while.
    pub(super) fn has_room_for_target<'a>(
        &mut self,
        desk: &Desk,
        targets: impl Iterator<Item = (&'a StrBytes, &'a Partitions)>,
    ) -> bool {
        let new: usize = targets.map(|(id, target)| memory_of_target(id, target)).sum();
        let old: usize = self.target.iter().map(|(id, target)| memory_of_target(id, target)).sum();
        let has_room = desk.memory.admits_of_member(new.saturating_sub(old));
        self.no_room_at = (!has_room).then_some(desk.now);
        has_room
    }

    /// Whether there was no room for a target a short while ago.
    pub(super) fn waits_for_room(&self, desk: &Desk) -> bool {
        self.no_room_at.is_some_and(|at| desk.now.saturating_sub(at) < LOOK_INTERVAL_MS)
    }
}
