//! What shall happen later: one entry for each thing that a group waits for.
//!
//! Always true: a timer is due at one moment; setting it again moves it. Owns no clock.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::TimestampMs;
use crate::wire::StrBytes;

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TimerKind {
    /// The join phase of a classic group ends.
    Join,
    /// The sync phase of a classic group ends.
    Sync,
    /// A member has been silent for too long.
    Session,
    /// A member of a consumer group has not given up its partitions.
    Rebalance,
    /// A member of the classic protocol in a consumer group has not joined again.
    MemberJoin,
    /// A member of the classic protocol in a consumer group has not asked for its assignment.
    MemberSync,
}

/// One timer: of a group, or of a member of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Timer {
    pub group: StrBytes,
    pub kind: TimerKind,
    /// Empty for a timer of the whole group.
    pub member: StrBytes,
}

/// All timers of a coordinator.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeSet<(TimestampMs, Timer)>,
    at: BTreeMap<Timer, TimestampMs>,
}

impl Timers {
    /// Let `timer` be due at `at`, whenever it was due before.
    pub fn set(&mut self, timer: Timer, at: TimestampMs) {
        if let Some(before) = self.at.insert(timer.clone(), at) {
            self.due.remove(&(before, timer.clone()));
        }
        self.due.insert((at, timer));
    }

    /// Set `timer` unless it is set.
    pub fn set_if_absent(&mut self, timer: Timer, at: TimestampMs) {
        if !self.at.contains_key(&timer) {
            self.set(timer, at);
        }
    }

    /// Forget `timer`.
    pub fn cancel(&mut self, timer: &Timer) {
        if let Some(at) = self.at.remove(timer) {
            self.due.remove(&(at, timer.clone()));
        }
    }

    /// Forget every timer of `group`.
    pub fn cancel_group(&mut self, group: &StrBytes) {
        let first = Timer { group: group.clone(), kind: TimerKind::Join, member: "".into() };
        let of_group: Vec<Timer> = self
            .at
            .range(first..)
            .map(|(timer, _)| timer)
            .take_while(|timer| timer.group == *group)
            .cloned()
            .collect();
        for timer in of_group {
            self.cancel(&timer);
        }
    }

    /// When the first timer is due.
    pub fn first(&self) -> Option<TimestampMs> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Take the first timer that is due at `now`.
    pub fn pop(&mut self, now: TimestampMs) -> Option<Timer> {
        if self.first()? > now {
            return None;
        }
        let (_, timer) = self.due.pop_first()?;
        self.at.remove(&timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timer(group: &str, kind: TimerKind) -> Timer {
        Timer { group: group.into(), kind, member: "".into() }
    }

    #[test]
    fn a_timer_is_due_once_and_can_be_moved() {
        let mut timers = Timers::default();
        timers.set(timer("a", TimerKind::Join), 5);
        timers.set(timer("a", TimerKind::Join), 9);
        timers.set(timer("a", TimerKind::Sync), 7);
        timers.set(timer("ab", TimerKind::Join), 8);
        timers.set_if_absent(timer("ab", TimerKind::Join), 1);
        assert_eq!(timers.first(), Some(7));
        assert_eq!(timers.pop(6), None);
        assert_eq!(timers.pop(7).unwrap().kind, TimerKind::Sync);
        timers.cancel_group(&"a".into());
        assert_eq!(timers.pop(99).unwrap().group, "ab");
        assert_eq!((timers.pop(99), timers.first()), (None, None));
    }
}
