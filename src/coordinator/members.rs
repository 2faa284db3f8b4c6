//! Requests of members: found their group, handed to it.

use crate::cluster::configs::GROUP_ID_BYTES_MAX;
use crate::cluster::image::Image;
use crate::protocol::ErrorCode;
use crate::protocol::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};
use crate::protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use crate::protocol::messages::join_group::JoinGroupRequest;
use crate::protocol::messages::leave_group::{
    LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse,
};
use crate::protocol::messages::sync_group::SyncGroupRequest;
use crate::wire::StrBytes;

use super::classic::{Join, Waiting};
use super::consumer::{ConsumerGroup, Heartbeat, Refusal};
use super::group::Group;
use super::memory;
use super::{ClientInfo, Coordinator, Request, Response};

/// Longest client id and instance id, of which member ids are made, and longest rack.
const NAME_BYTES_MAX: usize = 1024;
/// Longest member id: a name and a UUID.
const MEMBER_ID_BYTES_MAX: usize = NAME_BYTES_MAX + 37;
/// Most protocols of one member; consumers have as many as assignors.
const PROTOCOLS_MAX: usize = 256;
/// The first version of LeaveGroup with several members.
const LEAVE_MEMBERS_MIN: i16 = 3;

impl Coordinator {
    pub(super) fn member_request(
        &mut self,
        image: &Image,
        ticket: u64,
        client: &ClientInfo,
        version: i16,
        request: Request,
    ) {
        if let Err(error) = check(client, &request) {
            return self.desk.reply(ticket, request.refuse(version, error));
        }
        let waiting = Waiting { ticket, version };
        let response = match request {
            Request::JoinGroup(request) => return self.join_group(image, client, waiting, request),
            Request::SyncGroup(request) => return self.sync_group(image, waiting, request),
            Request::Heartbeat(request) => {
                let error_code = self.heartbeat(&request).err().unwrap_or_default();
                Response::Heartbeat(HeartbeatResponse { error_code, ..Default::default() })
            }
            Request::LeaveGroup(request) => {
                Response::LeaveGroup(self.leave_group(image, version, request))
            }
            Request::ConsumerGroupHeartbeat(request) => {
                let response = self.consumer_group_heartbeat(image, client, version, &request);
                Response::ConsumerGroupHeartbeat(response.unwrap_or_else(|refusal| {
                    ConsumerGroupHeartbeatResponse {
                        error_code: refusal.code,
                        error_message: Some(refusal.message.into()),
                        ..Default::default()
                    }
                }))
            }
            request => request.refuse(version, ErrorCode::COORDINATOR_NOT_AVAILABLE),
        };
        self.desk.reply(ticket, response);
    }

    fn join_group(
        &mut self,
        image: &Image,
        client: &ClientInfo,
        waiting: Waiting,
        request: JoinGroupRequest,
    ) {
        let settings = &self.desk.settings;
        let timeouts = settings.session_timeout_ms_min..=settings.session_timeout_ms_max;
        let groups_max = settings.groups_max;
        let (id, member_id) = (request.group_id.clone(), request.member_id.clone());
        let join = Join::new(client, waiting, request);
        if !timeouts.contains(&join.request.session_timeout_ms) {
            return join.refuse(&mut self.desk, &member_id, ErrorCode::INVALID_SESSION_TIMEOUT);
        }
        let is_there = match self.groups.get(&id) {
            Some(Group::Consumer(group)) => !group.members.is_empty(),
            other => other.is_some(),
        };
        let founding = memory::of_group(&id) + join.memory();
        if !is_there && member_id.is_empty() && !self.desk.memory.admits(founding) {
            let error = ErrorCode::GROUP_MAX_SIZE_REACHED;
            return join.refuse(&mut self.desk, &member_id, error);
        }
        if let Some(Group::Consumer(group)) = self.groups.get(&id)
            && group.members.is_empty()
        {
            // Nobody is left who would mind: it becomes a classic group.
            self.remove_group(&id);
        }
        let is_new_group = !self.groups.contains_key(&id);
        if is_new_group {
            // Only who has no id yet may found a group.
            if !member_id.is_empty() {
                return join.refuse(&mut self.desk, &member_id, ErrorCode::UNKNOWN_MEMBER_ID);
            }
            if self.groups.len() >= groups_max {
                let error = ErrorCode::GROUP_MAX_SIZE_REACHED;
                return join.refuse(&mut self.desk, &member_id, error);
            }
            self.classic_group(&id);
        }
        let Self { groups, desk, .. } = self;
        match groups.get_mut(&id) {
            Some(Group::Classic(group)) => {
                if is_new_group {
                    // So that the group is there after loading, whatever becomes of the member.
                    group.write_founding(desk);
                }
                group.join(desk, &join);
            }
            Some(slot @ Group::Consumer(_)) => {
                if let Group::Consumer(group) = slot
                    && let Some(classic) = group.classic_join(desk, image, &join)
                {
                    *slot = Group::Classic(classic);
                }
            }
            None => join.refuse(desk, &member_id, ErrorCode::UNKNOWN_MEMBER_ID),
        }
    }

    fn sync_group(&mut self, image: &Image, waiting: Waiting, request: SyncGroupRequest) {
        let Self { groups, desk, .. } = self;
        let synced = match groups.get_mut(&request.group_id) {
            Some(Group::Classic(group)) => return group.sync(desk, waiting, &request),
            Some(Group::Consumer(group)) => group.classic_sync(desk, image, &request),
            None => Err(ErrorCode::UNKNOWN_MEMBER_ID),
        };
        let response = match synced {
            Ok(response) => Response::SyncGroup(response),
            Err(error) => Request::SyncGroup(request).refuse(waiting.version, error),
        };
        desk.reply(waiting.ticket, response);
    }

    fn heartbeat(&mut self, request: &HeartbeatRequest) -> Result<(), ErrorCode> {
        let Self { groups, desk, .. } = self;
        match groups.get_mut(&request.group_id) {
            Some(Group::Classic(group)) => group.heartbeat(desk, request),
            Some(Group::Consumer(group)) => group.classic_heartbeat(desk, request),
            None => Err(ErrorCode::UNKNOWN_MEMBER_ID),
        }
    }

    fn leave_group(
        &mut self,
        image: &Image,
        version: i16,
        request: LeaveGroupRequest,
    ) -> LeaveGroupResponse {
        let members = match version {
            LEAVE_MEMBERS_MIN.. => request.members,
            _ => vec![MemberIdentity { member_id: request.member_id, ..Default::default() }],
        };
        let Self { groups, desk, .. } = self;
        let left = match groups.get_mut(&request.group_id) {
            Some(Group::Classic(group)) => group.leave(desk, &members),
            Some(slot @ Group::Consumer(_)) => {
                let Group::Consumer(group) = slot else { return LeaveGroupResponse::default() };
                let (left, classic) = group.classic_leave(desk, image, &members);
                if let Some(classic) = classic {
                    *slot = Group::Classic(classic);
                }
                left
            }
            None => vec![ErrorCode::UNKNOWN_MEMBER_ID; members.len()],
        };
        if version < LEAVE_MEMBERS_MIN {
            let error_code = left.first().copied().unwrap_or_default();
            return LeaveGroupResponse { error_code, ..Default::default() };
        }
        let members = members.into_iter().zip(left).map(|(member, error_code)| MemberResponse {
            member_id: member.member_id,
            group_instance_id: member.group_instance_id,
            error_code,
        });
        LeaveGroupResponse { members: members.collect(), ..Default::default() }
    }
}

impl Coordinator {
    fn consumer_group_heartbeat(
        &mut self,
        image: &Image,
        client: &ClientInfo,
        version: i16,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let heartbeat = Heartbeat::check(&mut self.desk, client, version, request)?;
        let id = &request.group_id;
        if heartbeat.is_join() {
            self.make_consumer_group(image, id, &heartbeat)?;
        }
        let Self { groups, desk, .. } = self;
        let slot = groups.get_mut(id);
        let Some(slot @ Group::Consumer(_)) = slot else {
            let why = if slot.is_some() { "is not a consumer group" } else { "not found" };
            let message = format!("Group {id} {why}.");
            return Err(Refusal::new(ErrorCode::GROUP_ID_NOT_FOUND, message));
        };
        let Group::Consumer(group) = slot else { return Ok(Default::default()) };
        if !heartbeat.is_leave() {
            return group.heartbeat(desk, image, &heartbeat);
        }
        let (response, classic) = group.leave(desk, image, &heartbeat)?;
        if let Some(classic) = classic {
            *slot = Group::Classic(classic);
        }
        Ok(response)
    }

    /// Let there be a consumer group of that id for somebody who joins and whom it admits.
    fn make_consumer_group(
        &mut self,
        image: &Image,
        id: &StrBytes,
        heartbeat: &Heartbeat<'_>,
    ) -> Result<(), Refusal> {
        let Self { groups, desk, .. } = self;
        let group = match groups.get(id) {
            Some(Group::Consumer(_)) => return Ok(()),
            Some(Group::Classic(classic)) if !classic.is_empty() => {
                ConsumerGroup::from_classic(desk, image, classic)?
            }
            None if groups.len() >= desk.settings.groups_max => {
                let message = format!(
                    "There are {} groups in this partition of __consumer_offsets, which is the \
                     most: delete some, or raise thalweg.groups.max.",
                    desk.settings.groups_max
                );
                return Err(Refusal::new(ErrorCode::GROUP_MAX_SIZE_REACHED, message));
            }
            Some(Group::Classic(_)) | None => ConsumerGroup::new(&desk.memory, id.detached()),
        };
        // Asked before anything is written: who is refused must not have changed the group. Its
        // memory is taken already, beside that of the group that it becomes.
        group.check_admission(desk, image, heartbeat)?;
        if let Some(Group::Classic(classic)) = groups.get_mut(id) {
            classic.dissolve(desk);
            classic.write_tombstone(desk);
        }
        if !group.members.is_empty() {
            group.write_founding(desk);
        }
        groups.insert(id.detached(), Group::Consumer(group));
        Ok(())
    }
}

/// What must hold of every request of a member. Names and lists that a group would keep are
/// bounded here: they stand in records and answers many times over.
fn check(client: &ClientInfo, request: &Request) -> Result<(), ErrorCode> {
    let (group_id, names, member_id) = match request {
        Request::JoinGroup(request) => {
            if request.protocols.len() > PROTOCOLS_MAX {
                return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
            }
            (&request.group_id, [request.group_instance_id.as_ref(), None], &request.member_id)
        }
        Request::SyncGroup(request) => (&request.group_id, [None, None], &request.member_id),
        Request::Heartbeat(request) => (&request.group_id, [None, None], &request.member_id),
        Request::LeaveGroup(request) => (&request.group_id, [None, None], &request.member_id),
        Request::ConsumerGroupHeartbeat(request) => {
            let names = [request.instance_id.as_ref(), request.rack_id.as_ref()];
            (&request.group_id, names, &request.member_id)
        }
        _ => return Ok(()),
    };
    // Whoever founds consumer groups says in words that the id is empty.
    let may_be_empty = matches!(request, Request::ConsumerGroupHeartbeat(_));
    if group_id.is_empty() && !may_be_empty || is_long_group_id(group_id) {
        return Err(ErrorCode::INVALID_GROUP_ID);
    }
    let is_long = |name: &StrBytes| name.len() > NAME_BYTES_MAX;
    if is_long(&client.client_id)
        || names.into_iter().flatten().any(is_long)
        || member_id.len() > MEMBER_ID_BYTES_MAX
    {
        return Err(ErrorCode::INVALID_REQUEST);
    }
    Ok(())
}

/// Whether no group of this id may come into being: every record of a group repeats it.
pub(super) fn is_long_group_id(id: &StrBytes) -> bool {
    id.len() > GROUP_ID_BYTES_MAX
}
