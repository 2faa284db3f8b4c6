//! SyncGroup and Heartbeat.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::protocol::ErrorCode;
use crate::protocol::messages::heartbeat::HeartbeatRequest;
use crate::protocol::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};
use crate::wire::StrBytes;

use super::member::Waiting;
use super::{ClassicGroup, State};
use crate::coordinator::Response;
use crate::coordinator::desk::Desk;
use crate::coordinator::timers::TimerKind;

/// Answer a SyncGroup with an error.
pub(super) fn refuse_sync(desk: &mut Desk, waiting: Waiting, error: ErrorCode) {
    let response = SyncGroupResponse { error_code: error, ..Default::default() };
    desk.reply(waiting.ticket, Response::SyncGroup(response));
}

impl ClassicGroup {
    /// A member asks for its assignment; the leader brings everybody's.
    pub fn sync(&mut self, desk: &mut Desk, waiting: Waiting, request: &SyncGroupRequest) {
        if let Err(error) = self.may_sync(request) {
            return refuse_sync(desk, waiting, error);
        }
        let id = &request.member_id;
        self.pending_sync.remove(id);
        if self.pending_sync.is_empty() {
            desk.cancel_timer(TimerKind::Sync, &self.id, &StrBytes::default());
        }
        if self.state == State::Stable {
            let response = self.synced(id);
            return desk.reply(waiting.ticket, Response::SyncGroup(response));
        }
        if let Some(member) = self.members.get_mut(id)
            && let Some(before) = member.syncing.replace(waiting)
        {
            // It came over a connection that the member has given up.
            refuse_sync(desk, before, ErrorCode::REBALANCE_IN_PROGRESS);
        }
        if self.leader.as_ref() == Some(id) {
            self.assign(desk, request);
        }
    }

    fn may_sync(&self, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
        if self.is_empty() {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        self.check_member(&request.member_id, request.group_instance_id.as_ref())?;
        if request.generation_id != self.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        let differs = |theirs: &Option<StrBytes>, ours: &Option<StrBytes>| {
            theirs.is_some() && ours.is_some() && theirs != ours
        };
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol_name, &self.protocol)
        {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        if self.state == State::PreparingRebalance {
            return Err(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        Ok(())
    }

    /// The leader has assigned: the generation is settled.
    fn assign(&mut self, desk: &mut Desk, request: &SyncGroupRequest) {
        let mut given: BTreeMap<&StrBytes, &Bytes> = BTreeMap::new();
        for each in &request.assignments {
            given.insert(&each.member_id, &each.assignment);
        }
        let had = self.charge.bytes();
        // Without an assignment a member has nothing to do.
        self.set_assignments(|id| given.get(id).copied());
        let grown = self.charge.bytes().saturating_sub(had);
        let bytes: usize = self.members.values().map(|member| member.bytes()).sum();
        if bytes > desk.settings.group_bytes_max || grown > 0 && desk.memory.is_over() {
            // As when Kafka cannot write so large a record: another try.
            self.answer_syncs(desk, ErrorCode::UNKNOWN_SERVER_ERROR);
            return self.prepare_rebalance(desk, "the leader's assignments were too large");
        }
        self.state = State::Stable;
        self.state_since = Some(desk.now);
        desk.rebalances += 1;
        desk.write(&self.to_record());
        self.notice(desk, None);
        self.answer_syncs(desk, ErrorCode::NONE);
    }

    /// Answer all who wait for their assignment: with it, or with an error.
    pub(super) fn answer_syncs(&mut self, desk: &mut Desk, error: ErrorCode) {
        let ids: Vec<StrBytes> = self.members.keys().cloned().collect();
        for id in ids {
            let waiting = self.members.get_mut(&id).and_then(|member| member.syncing.take());
            let Some(waiting) = waiting else { continue };
            if error.is_ok() {
                let response = self.synced(&id);
                desk.reply(waiting.ticket, Response::SyncGroup(response));
            } else {
                refuse_sync(desk, waiting, error);
            }
            self.restart_session(desk, &id);
        }
    }

    fn synced(&self, id: &StrBytes) -> SyncGroupResponse {
        SyncGroupResponse {
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            assignment: self.members.get(id).map_or(Bytes::new(), |m| m.assignment.clone()),
            ..Default::default()
        }
    }

    /// A member is alive; it learns whether the group wants it to join again.
    ///
    /// # Errors
    /// As Kafka's; `REBALANCE_IN_PROGRESS` means: join again.
    pub fn heartbeat(
        &mut self,
        desk: &mut Desk,
        request: &HeartbeatRequest,
    ) -> Result<(), ErrorCode> {
        self.check_member(&request.member_id, request.group_instance_id.as_ref())?;
        if request.generation_id != self.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        self.restart_session(desk, &request.member_id);
        match self.state {
            State::Empty => Err(ErrorCode::UNKNOWN_MEMBER_ID),
            State::PreparingRebalance => Err(ErrorCode::REBALANCE_IN_PROGRESS),
            State::CompletingRebalance | State::Stable => Ok(()),
        }
    }
}
