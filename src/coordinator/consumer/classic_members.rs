//! Members of a consumer group that speak the classic protocol: JoinGroup, SyncGroup, Heartbeat
//! and LeaveGroup, translated. The member's epoch is their generation; they are told to join
//! again whenever a heartbeat of the other protocol would tell them something.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::cluster::image::Image;
use crate::protocol::ErrorCode;
use crate::protocol::consumer_protocol::{self, ConsumerProtocolSubscription, PROTOCOL_TYPE};
use crate::protocol::group_record::{ClassicMemberMetadata, ClassicProtocol};
use crate::protocol::messages::heartbeat::HeartbeatRequest;
use crate::protocol::messages::join_group::JoinGroupResponse;
use crate::protocol::messages::leave_group::MemberIdentity;
use crate::protocol::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};
use crate::wire::StrBytes;

use super::heartbeat::{check_instance, reborn};
use super::member::{ConsumerMember, MemberState};
use super::partitions::{each_owned, from_classic, to_classic};
use super::{ConsumerGroup, Refusal};
use crate::config::MigrationPolicy;
use crate::coordinator::Response;
use crate::coordinator::classic::{ClassicGroup, Join, MEMBER_ID_REQUIRED_MIN};
use crate::coordinator::desk::Desk;
use crate::coordinator::timers::TimerKind;

impl ConsumerGroup {
    /// A member of the classic protocol joins, and is answered at once: nobody waits here. The
    /// classic group that this one becomes, if the last other member has come back as a classic
    /// one.
    pub fn classic_join(
        &mut self,
        desk: &mut Desk,
        image: &Image,
        join: &Join<'_>,
    ) -> Option<ClassicGroup> {
        match self.try_classic_join(desk, image, join) {
            Ok((response, classic)) => {
                desk.reply(join.waiting.ticket, Response::JoinGroup(response));
                classic
            }
            Err((id, error)) => {
                join.refuse(desk, &id, error);
                None
            }
        }
    }

    fn try_classic_join(
        &mut self,
        desk: &mut Desk,
        image: &Image,
        join: &Join<'_>,
    ) -> Result<(JoinGroupResponse, Option<ClassicGroup>), (StrBytes, ErrorCode)> {
        let request = &join.request;
        let is_unknown = request.member_id.is_empty();
        let id = if is_unknown { desk.ids.member_id("") } else { request.member_id.detached() };
        let instance_id = request.group_instance_id.as_ref();
        let refuse = |error| (request.member_id.clone(), error);
        if desk.settings.migration_policy == MigrationPolicy::Disabled {
            return Err(refuse(ErrorCode::INCONSISTENT_GROUP_PROTOCOL));
        }
        self.check_room(desk, &id, instance_id).map_err(|refusal| refuse(refusal.code))?;
        if !self.speaks_one_of(join) {
            return Err(refuse(ErrorCode::INCONSISTENT_GROUP_PROTOCOL));
        }
        if is_unknown && instance_id.is_none() && join.waiting.version >= MEMBER_ID_REQUIRED_MIN {
            return Err((id, ErrorCode::MEMBER_ID_REQUIRED));
        }
        let replaced = self.check_classic_instance(&id, instance_id, is_unknown).map_err(refuse)?;
        let subscription = join.protocols.first().and_then(|first| {
            let read = consumer_protocol::read::<ConsumerProtocolSubscription>;
            read(first.metadata.clone()).ok()
        });
        let subscription = subscription.ok_or(refuse(ErrorCode::INCONSISTENT_GROUP_PROTOCOL))?;
        let before = match &replaced {
            Some(old) => self.members.get(old).map(|old| reborn(old, &id)),
            None => self.members.get(&id).cloned(),
        };
        let is_new = before.is_none();
        if is_new && subscription.owned_partitions.iter().any(|topic| !topic.partitions.is_empty())
        {
            // It was put out and does not know it: others have what it still reads.
            return Err(refuse(ErrorCode::UNKNOWN_MEMBER_ID));
        }
        let new = || ConsumerMember::new(id.clone());
        let updated = update(&before.clone().unwrap_or_else(new), join, &subscription);
        let is_admitted = self
            .check_bytes(desk, &updated)
            .and_then(|()| self.check_memory(desk, image, before.as_ref(), &updated));
        is_admitted.map_err(|refusal| refuse(refusal.code))?;
        let before = before.unwrap_or_else(new);
        if let Some(old) = &replaced {
            let is_last = self.may_become_classic_with(desk, old);
            self.replace(desk, old, &before);
            if is_last {
                return Ok(self.join_as_last(desk, image, &before, &updated, &subscription));
            }
        }
        self.want(desk, image, &before, &updated, is_new);
        self.update_target(desk, image);
        let owned = from_classic(image, &subscription.owned_partitions);
        let is_other = updated.topics != before.topics || updated.regex() != before.regex();
        self.reconcile(desk, image, &id, Some(&owned), is_other);
        desk.cancel_timer(TimerKind::MemberJoin, &self.id, &id);
        desk.cancel_timer(TimerKind::Rebalance, &self.id, &id);
        let (session, rebalance) = (request.session_timeout_ms, request.rebalance_timeout_ms);
        desk.set_timer(TimerKind::Session, &self.id, &id, i64::from(session));
        desk.set_timer(TimerKind::MemberSync, &self.id, &id, i64::from(rebalance));
        Ok((self.joined(&id), None))
    }

    /// The last member of the consumer protocol has come back as a classic one.
    fn join_as_last(
        &mut self,
        desk: &mut Desk,
        image: &Image,
        before: &ConsumerMember,
        updated: &ConsumerMember,
        subscription: &ConsumerProtocolSubscription,
    ) -> (JoinGroupResponse, Option<ClassicGroup>) {
        self.want(desk, image, before, updated, false);
        let mut is_settled = self.target_epoch >= self.epoch;
        if is_settled {
            let owned = from_classic(image, &subscription.owned_partitions);
            self.reconcile(desk, image, &updated.id, Some(&owned), false);
            // What others have not given up yet must not be given to this one.
            let epoch = self.target_epoch;
            is_settled = self.members.values().all(|member| member.is_reconciled_to(epoch));
        }
        let mut response = self.joined(&updated.id);
        let classic = self.become_classic_settled(desk, image, &BTreeSet::new(), is_settled);
        response.generation_id = classic.generation;
        (response, Some(classic))
    }

    fn joined(&self, id: &StrBytes) -> JoinGroupResponse {
        let member = self.members.get(id);
        let protocol = member.and_then(ConsumerMember::classic_protocol);
        JoinGroupResponse {
            generation_id: member.map_or(-1, |member| member.epoch),
            protocol_type: Some(StrBytes::from_static(PROTOCOL_TYPE)),
            protocol_name: Some(protocol.map(|each| each.name.clone()).unwrap_or_default()),
            member_id: id.clone(),
            ..Default::default()
        }
    }

    /// Whether the classic members share a protocol with the one that joins.
    fn speaks_one_of(&self, join: &Join<'_>) -> bool {
        if join.request.protocol_type != PROTOCOL_TYPE {
            return false;
        }
        let others: Vec<&ClassicMemberMetadata> =
            self.members.values().filter_map(|member| member.classic.as_ref()).collect();
        join.protocols.iter().any(|each| {
            others
                .iter()
                .all(|other| other.supported_protocols.iter().any(|known| known.name == each.name))
        })
    }

    /// Whether the instance is the member's, or free for it. The member whose place it takes.
    fn check_classic_instance(
        &self,
        id: &StrBytes,
        instance_id: Option<&StrBytes>,
        is_unknown: bool,
    ) -> Result<Option<StrBytes>, ErrorCode> {
        let Some(instance_id) = instance_id else { return Ok(None) };
        match self.static_member(instance_id) {
            Some(known) if is_unknown => Ok(Some(known.id.clone())),
            Some(known) => {
                let checked = check_instance(known, id, instance_id);
                checked.map(|()| None).map_err(|refusal| refusal.code)
            }
            None if is_unknown => Ok(None),
            None => Err(ErrorCode::UNKNOWN_MEMBER_ID),
        }
    }

    /// The member that a classic request comes from.
    fn classic_member(
        &self,
        id: &StrBytes,
        instance_id: Option<&StrBytes>,
        generation: i32,
    ) -> Result<&ConsumerMember, ErrorCode> {
        let member = match instance_id {
            None => self.members.get(id),
            Some(instance_id) => {
                let known = self.static_member(instance_id);
                if let Some(known) = known {
                    check_instance(known, id, instance_id).map_err(|refusal| refusal.code)?;
                }
                known
            }
        };
        let member =
            member.filter(|member| member.is_classic()).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if member.epoch != generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        Ok(member)
    }

    fn expect_join(&self, desk: &mut Desk, member: &ConsumerMember) {
        let timeout_ms = i64::from(member.rebalance_timeout_ms);
        desk.set_timer_if_absent(TimerKind::MemberJoin, &self.id, &member.id, timeout_ms);
    }

    fn restart_classic_session(&self, desk: &mut Desk, member: &ConsumerMember) {
        let timeout_ms = member.classic.as_ref().map_or(0, |classic| classic.session_timeout_ms);
        desk.set_timer(TimerKind::Session, &self.id, &member.id, i64::from(timeout_ms));
    }

    /// A classic member asks what it has been given.
    ///
    /// # Errors
    /// As Kafka's.
    pub fn classic_sync(
        &self,
        desk: &mut Desk,
        image: &Image,
        request: &SyncGroupRequest,
    ) -> Result<SyncGroupResponse, ErrorCode> {
        let instance_id = request.group_instance_id.as_ref();
        let member = self.classic_member(&request.member_id, instance_id, request.generation_id)?;
        let protocol = member.classic_protocol();
        let is_other_type =
            request.protocol_type.as_ref().is_some_and(|kind| *kind != PROTOCOL_TYPE);
        let is_other_name = request.protocol_name.is_some()
            && request.protocol_name.as_ref() != protocol.map(|each| &each.name);
        if is_other_type || is_other_name {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        if self.target_epoch > member.epoch && member.state != MemberState::UnrevokedPartitions {
            self.expect_join(desk, member);
            return Err(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        desk.cancel_timer(TimerKind::MemberSync, &self.id, &member.id);
        self.restart_classic_session(desk, member);
        let assignment = to_classic(image, each_owned(&member.assigned));
        let metadata = protocol.map(|each| each.metadata.clone()).unwrap_or_default();
        let version = consumer_protocol::version_of(&metadata).unwrap_or(0);
        Ok(SyncGroupResponse {
            protocol_type: request.protocol_type.clone(),
            protocol_name: request.protocol_name.clone(),
            assignment: consumer_protocol::write(&assignment, version).unwrap_or_default(),
            ..Default::default()
        })
    }

    /// A classic member is alive; it learns whether it shall join again.
    ///
    /// # Errors
    /// As Kafka's; `REBALANCE_IN_PROGRESS` means: join again.
    pub fn classic_heartbeat(
        &self,
        desk: &mut Desk,
        request: &HeartbeatRequest,
    ) -> Result<(), ErrorCode> {
        let instance_id = request.group_instance_id.as_ref();
        let member = self.classic_member(&request.member_id, instance_id, request.generation_id)?;
        self.restart_classic_session(desk, member);
        let must_join = member.epoch < self.target_epoch
            || match member.state {
                MemberState::UnrevokedPartitions => true,
                MemberState::UnreleasedPartitions => !self.waits_for_others(member),
                MemberState::Stable | MemberState::Unknown => false,
            };
        if must_join {
            self.expect_join(desk, member);
            return Err(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        Ok(())
    }

    /// Members leave with LeaveGroup. What became of each, and the classic group that this one
    /// becomes, if it does.
    pub fn classic_leave(
        &mut self,
        desk: &mut Desk,
        image: &Image,
        members: &[MemberIdentity],
    ) -> (Vec<ErrorCode>, Option<ClassicGroup>) {
        let mut left = BTreeSet::new();
        let mut leave = |member: &MemberIdentity| -> Result<(), Refusal> {
            let id = match &member.group_instance_id {
                None => {
                    let known = self.members.get(&member.member_id);
                    known.ok_or_else(|| self.unknown_member(&member.member_id))?.id.clone()
                }
                Some(instance_id) => {
                    let known = self.static_member(instance_id);
                    let known =
                        known.ok_or_else(|| super::heartbeat::unknown_instance(instance_id))?;
                    if !member.member_id.is_empty() {
                        check_instance(known, &member.member_id, instance_id)?;
                    }
                    known.id.clone()
                }
            };
            left.insert(id);
            Ok(())
        };
        let errors =
            members.iter().map(|member| leave(member).err().map_or(ErrorCode::NONE, |e| e.code));
        let errors = errors.collect();
        (errors, self.fence(desk, image, &left, "a member left"))
    }
}

/// `member` with what a classic join says it wants.
fn update(
    member: &ConsumerMember,
    join: &Join<'_>,
    subscription: &ConsumerProtocolSubscription,
) -> ConsumerMember {
    let mut updated = member.clone();
    let request = &join.request;
    if request.group_instance_id.is_some() {
        updated.instance_id.clone_from(&request.group_instance_id);
    }
    if subscription.rack_id.is_some() {
        updated.rack_id.clone_from(&subscription.rack_id);
    }
    updated.rebalance_timeout_ms = request.rebalance_timeout_ms;
    updated.topics = subscription.topics.iter().cloned().collect();
    // Expressions are the consumer's own affair in the classic protocol.
    updated.regex = Some(StrBytes::default());
    updated.client_id.clone_from(&join.client.client_id);
    updated.client_host.clone_from(&join.client.host);
    let protocols = join.protocols.iter().map(|each| ClassicProtocol {
        name: each.name.clone(),
        metadata: Bytes::clone(&each.metadata),
    });
    updated.classic = Some(ClassicMemberMetadata {
        session_timeout_ms: request.session_timeout_ms,
        supported_protocols: protocols.collect(),
    });
    updated
}
