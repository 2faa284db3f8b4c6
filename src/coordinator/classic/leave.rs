//! LeaveGroup.

use crate::protocol::ErrorCode;
use crate::protocol::messages::leave_group::MemberIdentity;
use crate::wire::StrBytes;

use super::{ClassicGroup, State};
use crate::coordinator::desk::Desk;
use crate::coordinator::timers::TimerKind;

impl ClassicGroup {
    /// These members go, each of its own will or an administrator's. What became of each.
    pub fn leave(&mut self, desk: &mut Desk, members: &[MemberIdentity]) -> Vec<ErrorCode> {
        let left: Vec<ErrorCode> =
            members.iter().map(|member| self.leave_one(desk, member)).collect();
        if left.contains(&ErrorCode::NONE) {
            match self.state {
                State::Stable | State::CompletingRebalance => {
                    self.prepare_rebalance(desk, "a member left");
                }
                State::PreparingRebalance => self.complete_when_all_joined(desk),
                State::Empty => {}
            }
        }
        left
    }

    fn leave_one(&mut self, desk: &mut Desk, member: &MemberIdentity) -> ErrorCode {
        let instance_id = member.group_instance_id.as_ref();
        let id: StrBytes = if member.member_id.is_empty() {
            // An administrator names a static member by its instance.
            match instance_id.and_then(|instance_id| self.static_members.get(instance_id)) {
                Some(id) => id.clone(),
                None => return ErrorCode::UNKNOWN_MEMBER_ID,
            }
        } else if self.forget_pending(&member.member_id) {
            desk.cancel_timer(TimerKind::Session, &self.id, &member.member_id);
            return ErrorCode::NONE;
        } else {
            if let Err(error) = self.check_member(&member.member_id, instance_id) {
                return error;
            }
            member.member_id.clone()
        };
        self.expel(desk, &id, ErrorCode::UNKNOWN_MEMBER_ID);
        ErrorCode::NONE
    }
}
