//! What every rule needs at hand: the time, the settings, the timers, and the outcome so far.
//!
//! Owns the step that is being made. Always true: what a rule writes here is all that leaves the
//! coordinator.

use std::sync::Arc;

use crate::config::GroupSettings;
use crate::model::TimestampMs;
use crate::protocol::group_record::GroupRecord;
use crate::wire::StrBytes;

use super::consumer::Matched;
use super::ids::Ids;
use super::memory::GroupMemory;
use super::timers::{Timer, TimerKind, Timers};
use super::{CoordinatorRecord, Response, Step};

pub(super) struct Desk {
    pub settings: Arc<GroupSettings>,
    pub memory: GroupMemory,
    pub now: TimestampMs,
    pub ids: Ids,
    pub timers: Timers,
    pub step: Step,
    /// Bytes of the records of `step`.
    pub step_bytes: usize,
    /// What expressions stand for, found for the next step.
    pub matched: Matched,
    /// Generations and target assignments completed.
    pub rebalances: u64,
}

impl Desk {
    pub fn new(settings: Arc<GroupSettings>, memory: GroupMemory, seed: u128) -> Self {
        Self {
            settings,
            memory,
            now: 0,
            ids: Ids::new(seed),
            timers: Timers::default(),
            step: Step::default(),
            step_bytes: 0,
            matched: Matched::default(),
            rebalances: 0,
        }
    }

    /// Answer a request.
    pub fn reply(&mut self, ticket: u64, response: Response) {
        self.step.replies.push((ticket, response));
    }

    /// Add a record to the step.
    ///
    /// # Panics
    /// When a text in it does not fit its length field. None can: texts come from requests, whose
    /// length fields are the same, and names that ids are made of are checked first.
    pub fn write(&mut self, record: &GroupRecord) {
        let (key, value) = record.encode().expect("texts were checked on their way in");
        self.step_bytes += key.len() + value.as_ref().map_or(0, |value| value.len());
        self.step.records.push(CoordinatorRecord { key, value });
    }

    /// The step that was made; another one begins.
    pub fn take_step(&mut self) -> Step {
        self.step_bytes = 0;
        self.matched = Matched::default();
        std::mem::take(&mut self.step)
    }

    /// Let a timer of `group` (and `member`, if not empty) be due in `after_ms`.
    pub fn set_timer(
        &mut self,
        kind: TimerKind,
        group: &StrBytes,
        member: &StrBytes,
        after_ms: i64,
    ) {
        let timer = Timer { group: group.clone(), kind, member: member.clone() };
        self.timers.set(timer, self.now.saturating_add(after_ms.max(0)));
    }

    /// Set a timer unless it is set.
    pub fn set_timer_if_absent(
        &mut self,
        kind: TimerKind,
        group: &StrBytes,
        member: &StrBytes,
        after_ms: i64,
    ) {
        let timer = Timer { group: group.clone(), kind, member: member.clone() };
        self.timers.set_if_absent(timer, self.now.saturating_add(after_ms.max(0)));
    }

    /// Forget a timer.
    pub fn cancel_timer(&mut self, kind: TimerKind, group: &StrBytes, member: &StrBytes) {
        self.timers.cancel(&Timer { group: group.clone(), kind, member: member.clone() });
    }
}
