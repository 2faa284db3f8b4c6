//! One member's next step from what it has to what it shall have.
//!
//! Always true: a partition is given to a member only when no other member owns it or has still
//! to give it up.

use std::collections::BTreeSet;

use crate::cluster::image::Image;
use crate::model::Uuid;
use crate::protocol::ErrorCode;
use crate::wire::StrBytes;

use super::member::{ConsumerMember, MemberState};
use super::partitions::{Owned, Partitions, each, each_owned};
use super::{ConsumerGroup, Refusal};
use crate::coordinator::desk::Desk;
use crate::coordinator::timers::TimerKind;

impl ConsumerGroup {
    /// Bring a member one step further. `owned` is what it says it owns, if it said so;
    /// `is_new_subscription` that it wants other topics than before. Whether what it owns has
    /// changed.
    pub(super) fn reconcile(
        &mut self,
        desk: &mut Desk,
        image: &Image,
        id: &StrBytes,
        owned: Option<&Partitions>,
        is_new_subscription: bool,
    ) -> bool {
        let Some(member) = self.members.get(id) else { return false };
        if !is_new_subscription && member.is_reconciled_to(self.target_epoch) {
            return false;
        }
        let topics = self.topic_ids_of(image, member);
        let target = self.target_of(id);
        let step = Reconciliation { group: self, member, topics, target, owned };
        let Some(next) = step.next(is_new_subscription).filter(|next| next != member) else {
            return false;
        };
        let has_changed = next.assigned != member.assigned;
        if !next.is_classic() {
            if next.state == MemberState::UnrevokedPartitions {
                let timeout_ms = i64::from(next.rebalance_timeout_ms);
                desk.set_timer(TimerKind::Rebalance, &self.id, id, timeout_ms);
            } else {
                desk.cancel_timer(TimerKind::Rebalance, &self.id, id);
            }
        }
        let record = next.current_record(&self.id);
        self.commit(desk, record);
        has_changed
    }

    /// Whether a member that waits for partitions of others still has to.
    pub(super) fn waits_for_others(&self, member: &ConsumerMember) -> bool {
        let target = self.target_of(&member.id);
        let has = |topic: Uuid, index| {
            member.assigned.get(&topic).is_some_and(|mine| mine.contains_key(&index))
        };
        member.state == MemberState::UnreleasedPartitions
            && each(&target)
                .any(|(topic, index)| !has(topic, index) && self.is_claimed(topic, index))
    }
}

/// Whether a member in a state of a newer version may go on: only with nothing in its hands.
pub(super) fn check_known_state(
    member: &ConsumerMember,
    owned: Option<&Partitions>,
) -> Result<(), Refusal> {
    if member.state == MemberState::Unknown && owned.is_none_or(|owned| !owned.is_empty()) {
        let message = "The consumer group member is in a state that this version does not know. \
                       The member must abandon all its partitions and rejoin.";
        return Err(Refusal::new(ErrorCode::FENCED_MEMBER_EPOCH, message));
    }
    Ok(())
}

/// All that decides about a member's next step.
struct Reconciliation<'a> {
    group: &'a ConsumerGroup,
    member: &'a ConsumerMember,
    /// What it reads.
    topics: BTreeSet<Uuid>,
    target: Partitions,
    owned: Option<&'a Partitions>,
}

impl Reconciliation<'_> {
    /// The member after the step; nothing if it stays where it is.
    fn next(&self, is_new_subscription: bool) -> Option<ConsumerMember> {
        let member = self.member;
        match member.state {
            MemberState::Stable if member.epoch == self.group.target_epoch => {
                is_new_subscription.then(|| self.drop_unread()).flatten()
            }
            MemberState::UnrevokedPartitions if self.still_owns(&member.revoking) => {
                is_new_subscription.then(|| self.drop_unread()).flatten()
            }
            MemberState::Unknown => Some(self.advance(self.group.target_epoch)),
            _ => Some(self.advance(member.epoch)),
        }
    }

    /// Whether the member has not said that it has given all these up.
    fn still_owns(&self, partitions: &Owned) -> bool {
        let Some(owned) = self.owned else { return true };
        each_owned(partitions)
            .any(|(topic, index)| owned.get(&topic).is_some_and(|mine| mine.contains(&index)))
    }

    /// The member reads other topics while the target is not computed anew: take away what it no
    /// longer reads.
    fn drop_unread(&self) -> Option<ConsumerMember> {
        let mut next = self.member.clone();
        for topic in self.member.assigned.keys().filter(|topic| !self.topics.contains(topic)) {
            if let Some(unread) = next.assigned.remove(topic) {
                next.revoking.entry(*topic).or_default().extend(unread);
            }
        }
        if next.assigned == self.member.assigned {
            return None;
        }
        if self.still_owns(&next.revoking) {
            next.state = MemberState::UnrevokedPartitions;
        } else {
            next.revoking = self.member.revoking.clone();
        }
        next.advance(self.member.epoch);
        Some(next)
    }

    /// Keep what it has and shall have, give up the rest; then take what is free of what it shall
    /// have besides.
    fn advance(&self, epoch: i32) -> ConsumerMember {
        let shall_have = |topic: &Uuid, index: &i32| {
            self.topics.contains(topic)
                && self.target.get(topic).is_some_and(|target| target.contains(index))
        };
        let mut kept = Owned::new();
        let mut revoking = Owned::new();
        for (topic, mine) in &self.member.assigned {
            for (index, since) in mine {
                let side = if shall_have(topic, index) { &mut kept } else { &mut revoking };
                side.entry(*topic).or_default().insert(*index, *since);
            }
        }
        let mut next = self.member.clone();
        if !revoking.is_empty() && self.still_owns(&revoking) {
            next.state = MemberState::UnrevokedPartitions;
            next.assigned = kept;
            next.revoking = revoking;
            next.advance(epoch);
            return next;
        }
        let target_epoch = self.group.target_epoch;
        let mut must_wait = false;
        for (topic, index) in each(&self.target) {
            let has = |owned: &Owned| owned.get(&topic).is_some_and(|own| own.contains_key(&index));
            if !self.topics.contains(&topic) || has(&kept) {
                continue;
            }
            // What it has itself just given up is free for it.
            if self.group.is_claimed(topic, index) && !has(&self.member.revoking) {
                must_wait = true;
            } else {
                kept.entry(topic).or_default().insert(index, target_epoch);
            }
        }
        next.state =
            if must_wait { MemberState::UnreleasedPartitions } else { MemberState::Stable };
        next.assigned = kept;
        next.revoking = Owned::new();
        next.advance(target_epoch);
        next
    }
}
