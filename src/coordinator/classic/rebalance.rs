//! From one generation to the next: the phases and their timers.

use std::collections::BTreeMap;

use crate::protocol::ErrorCode;
use crate::wire::StrBytes;

use super::join::refuse_join;
use super::member::ClassicMember;
use super::sync::refuse_sync;
use super::{ClassicGroup, State};
use crate::coordinator::Response;
use crate::coordinator::desk::Desk;
use crate::coordinator::timers::{Timer, TimerKind};

impl ClassicGroup {
    /// It has been read from the log: members have a whole session to say that they are alive.
    pub fn loaded(&mut self, desk: &mut Desk) {
        for id in self.members.keys() {
            self.restart_session(desk, id);
        }
        if self.members.len() > desk.settings.classic_members_max {
            self.prepare_rebalance(desk, "it has more members than it may have now");
        }
    }

    /// A timer of the group or of a member is due.
    pub fn timer_due(&mut self, desk: &mut Desk, timer: &Timer) {
        match timer.kind {
            TimerKind::Join if self.is_initial => self.initial_wait_over(desk),
            TimerKind::Join => self.complete_join(desk),
            TimerKind::Sync => self.sync_over(desk),
            TimerKind::Session => self.session_over(desk, &timer.member),
            TimerKind::Rebalance | TimerKind::MemberJoin | TimerKind::MemberSync => {}
        }
    }

    fn enter(&mut self, desk: &Desk, state: State) {
        self.state = state;
        self.state_since = Some(desk.now);
    }

    /// The longest time that a member has to join again.
    fn rebalance_timeout_ms(&self) -> i64 {
        let longest = self.members.values().map(|member| member.rebalance_timeout_ms).max();
        i64::from(longest.unwrap_or(0).max(0))
    }

    fn set_join_timer(&self, desk: &mut Desk, after_ms: i64) {
        desk.set_timer(TimerKind::Join, &self.id, &StrBytes::default(), after_ms);
    }

    fn all_joined(&self) -> bool {
        self.pending.is_empty() && self.members.values().all(|member| member.joining.is_some())
    }

    /// Something has changed that needs another generation; if one is on its way, go on with it.
    pub(super) fn rebalance_or_complete(&mut self, desk: &mut Desk, reason: &'static str) {
        if self.state == State::PreparingRebalance {
            self.complete_when_all_joined(desk);
        } else {
            self.prepare_rebalance(desk, reason);
        }
    }

    /// End the join phase if nobody is missing, unless more are waited for on purpose.
    pub(super) fn complete_when_all_joined(&mut self, desk: &mut Desk) {
        if self.state == State::PreparingRebalance && !self.is_initial && self.all_joined() {
            self.complete_join(desk);
        }
    }

    /// Begin a join phase.
    pub fn prepare_rebalance(&mut self, desk: &mut Desk, reason: &'static str) {
        self.notice(desk, Some(reason));
        if self.state == State::CompletingRebalance {
            self.set_assignments(|_| None);
            self.answer_syncs(desk, ErrorCode::REBALANCE_IN_PROGRESS);
        }
        self.pending_sync.clear();
        desk.cancel_timer(TimerKind::Sync, &self.id, &StrBytes::default());
        self.is_initial = self.state == State::Empty;
        self.enter(desk, State::PreparingRebalance);
        if self.is_initial {
            self.has_new_member = false;
            self.initial_delay_ms = desk.settings.initial_rebalance_delay_ms;
            self.initial_remaining_ms =
                (self.rebalance_timeout_ms() - self.initial_delay_ms).max(0);
            self.set_join_timer(desk, self.initial_delay_ms);
        } else if self.all_joined() {
            self.complete_join(desk);
        } else {
            let timeout_ms = self.rebalance_timeout_ms();
            self.set_join_timer(desk, timeout_ms);
        }
    }

    /// The wait for more members of a new group is over, or goes on because some came.
    fn initial_wait_over(&mut self, desk: &mut Desk) {
        if !self.has_new_member || self.initial_remaining_ms == 0 {
            return self.complete_join(desk);
        }
        self.has_new_member = false;
        let delay_ms = desk.settings.initial_rebalance_delay_ms.min(self.initial_remaining_ms);
        self.initial_remaining_ms = (self.initial_remaining_ms - self.initial_delay_ms).max(0);
        self.initial_delay_ms = delay_ms;
        self.set_join_timer(desk, delay_ms);
    }

    /// End the join phase: who has not joined is out, the others get a generation.
    fn complete_join(&mut self, desk: &mut Desk) {
        if self.state != State::PreparingRebalance {
            return;
        }
        desk.cancel_timer(TimerKind::Join, &self.id, &StrBytes::default());
        let is_late =
            |member: &&ClassicMember| member.joining.is_none() && member.instance_id.is_none();
        let late: Vec<StrBytes> =
            self.members.values().filter(is_late).map(|member| member.id.clone()).collect();
        for id in &late {
            self.expel(desk, id, ErrorCode::UNKNOWN_MEMBER_ID);
        }
        if !self.members.is_empty() && !self.elect_leader() {
            // Static members only, and none is back yet: they may still come.
            let timeout_ms = self.rebalance_timeout_ms();
            // At once is not later: a timeout of nothing would not let time pass.
            return self.set_join_timer(desk, timeout_ms.max(1));
        }
        self.is_initial = false;
        self.generation = self.generation.wrapping_add(1).max(0);
        self.pending_sync.clear();
        self.protocol = self.select_protocol();
        self.read_subscriptions(desk.memory.room());
        if self.members.is_empty() {
            self.enter(desk, State::Empty);
            self.notice(desk, None);
            return desk.write(&self.to_record());
        }
        self.enter(desk, State::CompletingRebalance);
        self.begin_sync(desk);
    }

    fn begin_sync(&mut self, desk: &mut Desk) {
        let ids: Vec<StrBytes> = self.members.keys().cloned().collect();
        for id in ids {
            let waiting = self.members.get_mut(&id).and_then(|member| {
                member.is_new = false;
                member.joining.take()
            });
            if let Some(waiting) = waiting {
                let response = self.joined(waiting.version, &id);
                desk.reply(waiting.ticket, Response::JoinGroup(response));
            }
            self.restart_session(desk, &id);
            self.pending_sync.insert(id);
        }
        let timeout_ms = self.rebalance_timeout_ms();
        desk.set_timer(TimerKind::Sync, &self.id, &StrBytes::default(), timeout_ms);
    }

    /// Let a member lead that has joined. Whether there is one.
    fn elect_leader(&mut self) -> bool {
        let has_joined =
            |id: &StrBytes| self.members.get(id).is_some_and(|member| member.joining.is_some());
        if self.leader.as_ref().is_some_and(has_joined) {
            return true;
        }
        match self.members.values().find(|member| member.joining.is_some()) {
            Some(member) => {
                self.leader = Some(member.id.clone());
                true
            }
            None => false,
        }
    }

    /// The protocol that most members like best among those that all speak; nothing without
    /// members.
    pub(super) fn select_protocol(&self) -> Option<StrBytes> {
        let is_shared = |name| self.protocols.get(name) == Some(&self.members.len());
        let mut votes: BTreeMap<&StrBytes, usize> = BTreeMap::new();
        for member in self.members.values() {
            let vote = member.protocols.iter().find(|each| is_shared(&each.name))?;
            *votes.entry(&vote.name).or_default() += 1;
        }
        let (name, _) = votes.into_iter().rev().max_by_key(|(_, count)| *count)?;
        Some(name.clone())
    }

    /// Members that never asked for their assignment are out.
    fn sync_over(&mut self, desk: &mut Desk) {
        if self.pending_sync.is_empty() {
            return;
        }
        for id in std::mem::take(&mut self.pending_sync) {
            self.expel(desk, &id, ErrorCode::UNKNOWN_MEMBER_ID);
        }
        self.prepare_rebalance(desk, "a member did not ask for its assignment in time");
    }

    /// A member has been silent for its whole session.
    fn session_over(&mut self, desk: &mut Desk, id: &StrBytes) {
        if self.forget_pending(id) {
            if self.state == State::PreparingRebalance && self.all_joined() {
                self.complete_join(desk);
            }
            return;
        }
        let Some(member) = self.members.get(id) else { return };
        // Who waits for the others need not speak. A new member may have gone meanwhile.
        if !member.is_new && (member.joining.is_some() || member.syncing.is_some()) {
            return;
        }
        self.expel(desk, id, ErrorCode::UNKNOWN_MEMBER_ID);
        match self.state {
            State::Stable | State::CompletingRebalance => {
                self.prepare_rebalance(desk, "a member was silent for its session");
            }
            State::PreparingRebalance if self.all_joined() => self.complete_join(desk),
            State::PreparingRebalance | State::Empty => {}
        }
    }

    /// Take a member out; what it waits for is answered with `error`.
    pub(super) fn expel(&mut self, desk: &mut Desk, id: &StrBytes, error: ErrorCode) {
        desk.cancel_timer(TimerKind::Session, &self.id, id);
        if let Some(mut member) = self.remove(id) {
            self.answer_waiting(desk, &mut member, error, &StrBytes::default());
        }
    }

    /// Answer everybody who waits: the group becomes another one, join again.
    pub fn dissolve(&mut self, desk: &mut Desk) {
        let mut members = std::mem::take(&mut self.members);
        for (id, member) in &mut members {
            self.answer_waiting(desk, member, ErrorCode::REBALANCE_IN_PROGRESS, id);
        }
        self.members = members;
        desk.timers.cancel_group(&self.id);
    }

    /// Answer what a member waits for with `error`; its join says that it is `id`.
    pub(super) fn answer_waiting(
        &self,
        desk: &mut Desk,
        member: &mut ClassicMember,
        error: ErrorCode,
        id: &StrBytes,
    ) {
        if let Some(waiting) = member.joining.take() {
            refuse_join(desk, waiting, id, error);
        }
        if let Some(waiting) = member.syncing.take() {
            refuse_sync(desk, waiting, error);
        }
    }
}
