//! JoinGroup: who may come in, and what that does to the group.

use bytes::Bytes;

use crate::protocol::ErrorCode;
use crate::protocol::messages::join_group::{
    JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember,
};
use crate::wire::StrBytes;

use super::member::{ClassicMember, Protocol, Waiting, memory_of_protocols};
use super::{ClassicGroup, State};
use crate::coordinator::desk::Desk;
use crate::coordinator::memory;
use crate::coordinator::timers::TimerKind;
use crate::coordinator::{ClientInfo, Response};

/// The first version in which a new dynamic member is given its id before it may join (KIP-394).
pub(in crate::coordinator) const MEMBER_ID_REQUIRED_MIN: i16 = 4;
/// The first version in which the protocol's name may be null.
const NULL_PROTOCOL_MIN: i16 = 7;
/// The first version in which a leader may be told not to assign (KIP-814).
const SKIP_ASSIGNMENT_MIN: i16 = 9;
/// How long a member that has never been in a generation may wait for its first one.
const NEW_MEMBER_JOIN_TIMEOUT_MS: i64 = 300_000;

/// A JoinGroup that is being looked at.
pub(in crate::coordinator) struct Join<'a> {
    pub client: &'a ClientInfo,
    pub waiting: Waiting,
    pub request: JoinGroupRequest,
    /// Copies of what the request says, each name once.
    pub protocols: Vec<Protocol>,
}

impl<'a> Join<'a> {
    pub fn new(client: &'a ClientInfo, waiting: Waiting, mut request: JoinGroupRequest) -> Self {
        let mut protocols: Vec<Protocol> = Vec::with_capacity(request.protocols.len());
        for protocol in std::mem::take(&mut request.protocols) {
            if protocols.iter().all(|known| known.name != protocol.name) {
                protocols.push(Protocol {
                    name: protocol.name.detached(),
                    metadata: Bytes::copy_from_slice(&protocol.metadata),
                });
            }
        }
        if request.rebalance_timeout_ms < 0 {
            // Version 0 does not say it.
            request.rebalance_timeout_ms = request.session_timeout_ms;
        }
        Self { client, waiting, request, protocols }
    }

    /// Memory that a new member would take, or a little more: it may be the first one, and its id
    /// is yet to be made, of one of its names.
    pub fn memory(&self) -> usize {
        let request = &self.request;
        let names = [Some(&self.client.client_id), request.group_instance_id.as_ref()];
        let named: usize = names.into_iter().flatten().map(|name| name.len()).sum();
        memory::MEMBERS_BYTES
            + memory::of_member(&request.member_id)
            + 3 * named
            + self.client.host.len()
            + 2 * request.protocol_type.len()
            + memory_of_protocols(&self.protocols)
    }

    /// Answer with an error.
    pub fn refuse(&self, desk: &mut Desk, member_id: &StrBytes, error: ErrorCode) {
        refuse_join(desk, self.waiting, member_id, error);
    }
}

/// Answer a JoinGroup with an error.
pub(super) fn refuse_join(
    desk: &mut Desk,
    waiting: Waiting,
    member_id: &StrBytes,
    error: ErrorCode,
) {
    let response = JoinGroupResponse {
        error_code: error,
        member_id: member_id.clone(),
        protocol_name: (waiting.version < NULL_PROTOCOL_MIN).then(StrBytes::default),
        ..Default::default()
    };
    desk.reply(waiting.ticket, Response::JoinGroup(response));
}

impl ClassicGroup {
    /// A member joins, or joins again. It is answered now, or when the others have joined too.
    pub fn join(&mut self, desk: &mut Desk, join: &Join<'_>) {
        let nobody = StrBytes::default();
        // Timers keep it longer than the request is there.
        let id = join.request.member_id.detached();
        let kind = &join.request.protocol_type;
        if !self.has_room(desk, join) {
            self.expel(desk, &id, ErrorCode::UNKNOWN_MEMBER_ID);
            join.refuse(desk, &nobody, ErrorCode::GROUP_MAX_SIZE_REACHED);
        } else if !self.speaks_one_of(kind, &join.protocols) {
            join.refuse(desk, &id, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        } else if id.is_empty() {
            self.join_new(desk, join);
        } else if self.pending.contains(&id) {
            if join.request.group_instance_id.is_some() {
                // The id was given to a dynamic member.
                return join.refuse(desk, &id, ErrorCode::UNKNOWN_SERVER_ERROR);
            }
            self.join_added(desk, join, id);
        } else {
            match self.check_member(&id, join.request.group_instance_id.as_ref()) {
                Ok(()) => self.join_again(desk, join, &id),
                Err(error) => join.refuse(desk, &id, error),
            }
        }
    }

    /// Whether one more member, or what it says, fits.
    fn has_room(&self, desk: &Desk, join: &Join<'_>) -> bool {
        let id = &join.request.member_id;
        let max = desk.settings.classic_members_max;
        let said: usize =
            join.protocols.iter().map(|each| each.name.len() + each.metadata.len()).sum();
        let others = self.members.values().filter(|member| member.id != *id);
        if others.map(ClassicMember::bytes).sum::<usize>() + said > desk.settings.group_bytes_max {
            return false;
        }
        if !self.has_memory(desk, join) {
            return false;
        }
        let is_waiting = |member: &ClassicMember| member.joining.is_some();
        let may = match self.state {
            State::Empty => true,
            State::PreparingRebalance => {
                self.members.get(id).is_some_and(is_waiting)
                    || self.members.len() < max
                    || self.members.values().filter(|member| is_waiting(member)).count() < max
            }
            State::CompletingRebalance | State::Stable => {
                self.members.contains_key(id) || self.members.len() < max
            }
        };
        // Ids that were given out count, too, or they could be asked for without end.
        may && (!id.is_empty() || self.pending.len() < max)
    }

    /// Whether there is memory for what the join brings.
    fn has_memory(&self, desk: &Desk, join: &Join<'_>) -> bool {
        let (id, instance_id) = (&join.request.member_id, &join.request.group_instance_id);
        let said = memory_of_protocols(&join.protocols);
        let same = || self.static_members.get(instance_id.as_ref()?);
        let known = self.members.get(id).or_else(|| self.members.get(same()?));
        if let Some(known) = known {
            let growth = said.saturating_sub(memory_of_protocols(&known.protocols));
            return desk.memory.admits_of_member(growth);
        }
        desk.memory.admits(join.memory())
    }

    /// Whether a member that speaks these protocols can agree with the members.
    fn speaks_one_of(&self, kind: &StrBytes, protocols: &[Protocol]) -> bool {
        if self.state == State::Empty {
            return !kind.is_empty() && !protocols.is_empty();
        }
        let spoken = |name| self.protocols.get(name).copied().unwrap_or(0);
        self.protocol_type.as_ref() == Some(kind)
            && protocols.iter().any(|each| spoken(&each.name) == self.members.len())
    }

    fn join_new(&mut self, desk: &mut Desk, join: &Join<'_>) {
        let instance_id = join.request.group_instance_id.as_ref();
        let id = desk.ids.member_id(instance_id.unwrap_or(&join.client.client_id));
        match instance_id.and_then(|instance_id| self.static_members.get(instance_id).cloned()) {
            Some(old) => self.join_static_again(desk, join, &old, id),
            None if instance_id.is_none() && join.waiting.version >= MEMBER_ID_REQUIRED_MIN => {
                self.add_pending(&id);
                let timeout_ms = i64::from(join.request.session_timeout_ms);
                desk.set_timer(TimerKind::Session, &self.id, &id, timeout_ms);
                join.refuse(desk, &id, ErrorCode::MEMBER_ID_REQUIRED);
            }
            None => self.join_added(desk, join, id),
        }
    }

    fn join_added(&mut self, desk: &mut Desk, join: &Join<'_>, id: StrBytes) {
        if self.state == State::PreparingRebalance && self.is_initial {
            self.has_new_member = true;
        }
        let request = &join.request;
        self.add(ClassicMember {
            id: id.detached(),
            instance_id: request.group_instance_id.as_ref().map(StrBytes::detached),
            client_id: join.client.client_id.detached(),
            client_host: join.client.host.detached(),
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            session_timeout_ms: request.session_timeout_ms,
            protocol_type: request.protocol_type.detached(),
            protocols: join.protocols.clone(),
            assignment: Bytes::new(),
            joining: Some(join.waiting),
            syncing: None,
            is_new: true,
        });
        desk.set_timer(TimerKind::Session, &self.id, &id, NEW_MEMBER_JOIN_TIMEOUT_MS);
        self.rebalance_or_complete(desk, "a member joined");
    }

    /// A member that is known joins once more.
    fn join_again(&mut self, desk: &mut Desk, join: &Join<'_>, id: &StrBytes) {
        let Some(member) = self.members.get(id) else { return };
        let is_same = member.protocols == join.protocols;
        let is_leader = self.leader.as_ref() == Some(id);
        let stays = match self.state {
            State::PreparingRebalance => false,
            // Its answer was lost.
            State::CompletingRebalance => is_same,
            // A leader that joins again wants another assignment.
            State::Stable => is_same && !is_leader,
            State::Empty => return join.refuse(desk, id, ErrorCode::UNKNOWN_MEMBER_ID),
        };
        if stays {
            let response = self.joined(join.waiting.version, id);
            return desk.reply(join.waiting.ticket, Response::JoinGroup(response));
        }
        self.update(desk, join, id);
        let reason = match is_same {
            true => "the leader joined again",
            false => "a member speaks other protocols or reads other topics",
        };
        self.rebalance_or_complete(desk, reason);
    }

    /// Take over what a join says, and let it wait.
    fn update(&mut self, desk: &mut Desk, join: &Join<'_>, id: &StrBytes) {
        self.set_protocols(id, join.protocols.clone());
        let Some(member) = self.members.get_mut(id) else { return };
        member.rebalance_timeout_ms = join.request.rebalance_timeout_ms;
        member.session_timeout_ms = join.request.session_timeout_ms;
        // An earlier join of the same member came over a connection that it has given up.
        if let Some(before) = member.joining.replace(join.waiting) {
            refuse_join(desk, before, id, ErrorCode::REBALANCE_IN_PROGRESS);
        }
    }

    /// A static member comes back without its member id: it gets another one and keeps the rest.
    fn join_static_again(
        &mut self,
        desk: &mut Desk,
        join: &Join<'_>,
        old: &StrBytes,
        id: StrBytes,
    ) {
        let leader = self.leader.clone().unwrap_or_default();
        self.replace(desk, old, &id);
        self.update(desk, join, &id);
        self.restart_session(desk, &id);
        match self.state {
            State::Stable if self.select_protocol() == self.protocol => {
                // Nothing that was agreed on changes, so nobody else needs to know.
                desk.write(&self.to_record());
                let mut response = self.joined(join.waiting.version, &id);
                if join.waiting.version >= SKIP_ASSIGNMENT_MIN {
                    response.skip_assignment = self.leader.as_ref() == Some(&id);
                } else {
                    // Were it told that it leads, it would assign, and nobody would listen.
                    response.leader = leader;
                    response.members.clear();
                }
                if let Some(member) = self.members.get_mut(&id) {
                    member.joining = None;
                }
                desk.reply(join.waiting.ticket, Response::JoinGroup(response));
            }
            State::Stable => {
                self.rebalance_or_complete(desk, "a static member came back with other protocols");
            }
            State::CompletingRebalance => {
                self.prepare_rebalance(desk, "a static member came back in a rebalance");
            }
            State::PreparingRebalance | State::Empty => self.complete_when_all_joined(desk),
        }
    }

    /// Give a static member another member id. Whoever waits under the old one is fenced.
    fn replace(&mut self, desk: &mut Desk, old: &StrBytes, id: &StrBytes) {
        let was_leader = self.leader.as_ref() == Some(old);
        let was_pending_sync = self.pending_sync.remove(old);
        desk.cancel_timer(TimerKind::Session, &self.id, old);
        let Some(mut member) = self.remove(old) else { return };
        self.answer_waiting(desk, &mut member, ErrorCode::FENCED_INSTANCE_ID, old);
        member.id = id.clone();
        self.add(member);
        if was_leader {
            self.leader = Some(id.clone());
        }
        if was_pending_sync {
            self.pending_sync.insert(id.clone());
        }
    }

    /// What a member is told of the generation that has begun; the leader is told who is in it.
    pub(super) fn joined(&self, version: i16, id: &StrBytes) -> JoinGroupResponse {
        let mut response = JoinGroupResponse {
            generation_id: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            member_id: id.clone(),
            ..Default::default()
        };
        if version < NULL_PROTOCOL_MIN && response.protocol_name.is_none() {
            response.protocol_name = Some(StrBytes::default());
        }
        if self.leader.as_ref() == Some(id) {
            let protocol = self.protocol.clone().unwrap_or_default();
            let members = self.members.values().map(|member| JoinGroupResponseMember {
                member_id: member.id.clone(),
                group_instance_id: member.instance_id.clone(),
                metadata: member.metadata(&protocol),
            });
            response.members = members.collect();
        }
        response
    }
}
