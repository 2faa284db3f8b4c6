//! Requests of members: found their group, handed to it.

use crate::protocol::ErrorCode;
use crate::protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};
use crate::protocol::messages::join_group::JoinGroupRequest;
use crate::protocol::messages::leave_group::{
    LeaveGroupRequest, LeaveGroupResponse, MemberIdentity, MemberResponse,
};
use crate::protocol::messages::sync_group::SyncGroupRequest;
use crate::wire::StrBytes;

use super::classic::{Join, Waiting};
use super::group::Group;
use super::{ClientInfo, Coordinator, Request, Response};

/// Longest client id and instance id, of which member ids are made.
const NAME_BYTES_MAX: usize = 1024;
/// The first version of LeaveGroup with several members.
const LEAVE_MEMBERS_MIN: i16 = 3;

impl Coordinator {
    pub(super) fn member_request(
        &mut self,
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
            Request::JoinGroup(request) => return self.join_group(client, waiting, request),
            Request::SyncGroup(request) => return self.sync_group(waiting, request),
            Request::Heartbeat(request) => {
                let error_code = self.heartbeat(&request).err().unwrap_or_default();
                Response::Heartbeat(HeartbeatResponse { error_code, ..Default::default() })
            }
            Request::LeaveGroup(request) => {
                Response::LeaveGroup(self.leave_group(version, request))
            }
            request => request.refuse(version, ErrorCode::COORDINATOR_NOT_AVAILABLE),
        };
        self.desk.reply(ticket, response);
    }

    fn join_group(&mut self, client: &ClientInfo, waiting: Waiting, request: JoinGroupRequest) {
        let settings = &self.desk.settings;
        let timeouts = settings.session_timeout_ms_min..=settings.session_timeout_ms_max;
        let groups_max = settings.groups_max;
        let (id, member_id) = (request.group_id.clone(), request.member_id.clone());
        let join = Join::new(client, waiting, request);
        if !timeouts.contains(&join.request.session_timeout_ms) {
            return join.refuse(&mut self.desk, &member_id, ErrorCode::INVALID_SESSION_TIMEOUT);
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
            None => join.refuse(desk, &member_id, ErrorCode::UNKNOWN_MEMBER_ID),
        }
    }

    fn sync_group(&mut self, waiting: Waiting, request: SyncGroupRequest) {
        let Self { groups, desk, .. } = self;
        match groups.get_mut(&request.group_id) {
            Some(Group::Classic(group)) => group.sync(desk, waiting, &request),
            None => {
                let request = Request::SyncGroup(request);
                let response = request.refuse(waiting.version, ErrorCode::UNKNOWN_MEMBER_ID);
                desk.reply(waiting.ticket, response);
            }
        }
    }

    fn heartbeat(&mut self, request: &HeartbeatRequest) -> Result<(), ErrorCode> {
        let Self { groups, desk, .. } = self;
        match groups.get_mut(&request.group_id) {
            Some(Group::Classic(group)) => group.heartbeat(desk, request),
            None => Err(ErrorCode::UNKNOWN_MEMBER_ID),
        }
    }

    fn leave_group(&mut self, version: i16, request: LeaveGroupRequest) -> LeaveGroupResponse {
        let members = match version {
            LEAVE_MEMBERS_MIN.. => request.members,
            _ => vec![MemberIdentity { member_id: request.member_id, ..Default::default() }],
        };
        let Self { groups, desk, .. } = self;
        let left = match groups.get_mut(&request.group_id) {
            Some(Group::Classic(group)) => group.leave(desk, &members),
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

/// What must hold of every request of a member.
fn check(client: &ClientInfo, request: &Request) -> Result<(), ErrorCode> {
    let (group_id, instance_id) = match request {
        Request::JoinGroup(request) => (&request.group_id, request.group_instance_id.as_ref()),
        Request::SyncGroup(request) => (&request.group_id, None),
        Request::Heartbeat(request) => (&request.group_id, None),
        Request::LeaveGroup(request) => (&request.group_id, None),
        Request::ConsumerGroupHeartbeat(request) => {
            (&request.group_id, request.instance_id.as_ref())
        }
        _ => return Ok(()),
    };
    if group_id.is_empty() {
        return Err(ErrorCode::INVALID_GROUP_ID);
    }
    let is_long = |name: &StrBytes| name.len() > NAME_BYTES_MAX;
    if is_long(&client.client_id) || instance_id.is_some_and(is_long) {
        return Err(ErrorCode::INVALID_REQUEST);
    }
    Ok(())
}
