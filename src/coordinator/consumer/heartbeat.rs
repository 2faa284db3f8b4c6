//! ConsumerGroupHeartbeat: join, go on, leave.
//!
//! Always true: a heartbeat that is refused changes nothing; whatever can be wrong is looked at
//! before the first record.

use std::collections::BTreeSet;

use crate::cluster::image::Image;
use crate::protocol::ErrorCode;
use crate::protocol::group_record::{ConsumerGroupPartitionMetadataKey, GroupRecord};
use crate::protocol::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};
use crate::wire::StrBytes;

use super::member::{self, ConsumerMember, LEFT, LEFT_FOR_A_WHILE, MemberState};
use super::partitions::{Partitions, each, epoch_of, from_request, to_response};
use super::reconcile::check_known_state;
use super::{ConsumerGroup, Refusal, regex};
use crate::coordinator::classic::ClassicGroup;
use crate::coordinator::desk::Desk;
use crate::coordinator::timers::{Timer, TimerKind};
use crate::coordinator::{ClientInfo, Notice};

/// The first version in which members choose their own ids.
const OWN_MEMBER_ID_MIN: i16 = 1;

/// A heartbeat that is being looked at.
pub(in crate::coordinator) struct Heartbeat<'a> {
    pub client: &'a ClientInfo,
    pub request: &'a ConsumerGroupHeartbeatRequest,
    /// Id of the member: its own, or a new one.
    pub member_id: StrBytes,
    owned: Option<Partitions>,
}

impl<'a> Heartbeat<'a> {
    /// Check what holds of every heartbeat, whatever the group.
    ///
    /// # Errors
    /// `INVALID_REQUEST`, `UNSUPPORTED_ASSIGNOR` or `INVALID_REGULAR_EXPRESSION`.
    pub fn check(
        desk: &mut Desk,
        client: &'a ClientInfo,
        version: i16,
        request: &'a ConsumerGroupHeartbeatRequest,
    ) -> Result<Self, Refusal> {
        let invalid = |why: &str| Err(Refusal::new(ErrorCode::INVALID_REQUEST, why));
        let epoch = request.member_epoch;
        let is_blank = |text: &Option<StrBytes>| text.as_ref().is_some_and(|t| t.trim().is_empty());
        let must_have_id = version >= OWN_MEMBER_ID_MIN || epoch > 0 || epoch == LEFT;
        if must_have_id && request.member_id.trim().is_empty() {
            return invalid("MemberId can't be empty.");
        }
        if request.group_id.trim().is_empty() {
            return invalid("GroupId can't be empty.");
        }
        if is_blank(&request.instance_id) {
            return invalid("InstanceId can't be empty.");
        }
        if is_blank(&request.rack_id) {
            return invalid("RackId can't be empty.");
        }
        if epoch == 0 {
            if request.rebalance_timeout_ms == -1 {
                return invalid("RebalanceTimeoutMs must be provided in first request.");
            }
            if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) {
                return invalid("TopicPartitions must be empty when (re-)joining.");
            }
            if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none()
            {
                return invalid(
                    "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when \
                     (re-)joining.",
                );
            }
        } else if epoch == LEFT_FOR_A_WHILE && request.instance_id.is_none() {
            return invalid("InstanceId can't be null.");
        } else if epoch < LEFT_FOR_A_WHILE {
            return invalid("MemberEpoch is invalid.");
        }
        let assignors = &desk.settings.consumer_assignors;
        if let Some(wish) = &request.server_assignor
            && !assignors.iter().any(|name| name == wish.as_str())
        {
            let known = assignors.join(", ");
            let message =
                format!("ServerAssignor {wish} is not supported. Supported assignors: {known}.");
            return Err(Refusal::new(ErrorCode::UNSUPPORTED_ASSIGNOR, message));
        }
        if let Some(expression) = request.subscribed_topic_regex.as_ref().filter(|r| !r.is_empty())
        {
            regex::compile(expression)?;
        }
        let member_id = match request.member_id.is_empty() {
            true => desk.ids.member_id(""),
            // Timers keep it longer than the request is there.
            false => request.member_id.detached(),
        };
        let owned = request.topic_partitions.as_deref().map(from_request);
        Ok(Self { client, request, member_id, owned })
    }

    /// Whether the member says goodbye.
    pub fn is_leave(&self) -> bool {
        matches!(self.request.member_epoch, LEFT | LEFT_FOR_A_WHILE)
    }

    /// Whether the member (re-)joins.
    pub fn is_join(&self) -> bool {
        self.request.member_epoch == 0
    }

    /// Whether it says everything, so that it wants to hear everything.
    fn is_full(&self) -> bool {
        let request = self.request;
        request.rebalance_timeout_ms != -1
            && (request.subscribed_topic_names.is_some()
                || request.subscribed_topic_regex.is_some())
            && request.topic_partitions.is_some()
    }

    /// `member` with what the heartbeat says it wants.
    fn update(&self, member: &ConsumerMember) -> ConsumerMember {
        let mut updated = member.clone();
        let request = self.request;
        let take = |own: &mut Option<StrBytes>, new: &Option<StrBytes>| {
            if new.is_some() {
                own.clone_from(new);
            }
        };
        take(&mut updated.instance_id, &request.instance_id);
        take(&mut updated.rack_id, &request.rack_id);
        take(&mut updated.server_assignor, &request.server_assignor);
        take(&mut updated.regex, &request.subscribed_topic_regex);
        if request.rebalance_timeout_ms != -1 {
            updated.rebalance_timeout_ms = request.rebalance_timeout_ms;
        }
        if let Some(topics) = &request.subscribed_topic_names {
            updated.topics = topics.iter().cloned().collect();
        }
        updated.client_id.clone_from(&self.client.client_id);
        updated.client_host.clone_from(&self.client.host);
        updated.classic = None;
        updated
    }
}

/// A member as a heartbeat finds and leaves it.
pub(in crate::coordinator) struct Admission {
    /// The static member whose place it takes.
    replaced: Option<StrBytes>,
    /// The member until now; nothing for a new one.
    before: Option<ConsumerMember>,
    /// The member with what it wants now.
    updated: ConsumerMember,
}

impl ConsumerGroup {
    /// A member is there, or comes. What it is told.
    ///
    /// # Errors
    /// As Kafka's.
    pub fn heartbeat(
        &mut self,
        desk: &mut Desk,
        image: &Image,
        heartbeat: &Heartbeat<'_>,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let id = &heartbeat.member_id;
        let Admission { replaced, before, updated } =
            self.check_admission(desk, image, heartbeat)?;
        let is_new = before.is_none();
        let before = before.unwrap_or_else(|| ConsumerMember::new(id.clone()));
        if let Some(old) = &replaced {
            self.replace(desk, old, &before);
        }
        self.want(desk, image, &before, &updated, is_new);
        self.update_target(desk, image);
        let is_other = updated.topics != before.topics || updated.regex() != before.regex();
        let has_changed = self.reconcile(desk, image, id, heartbeat.owned.as_ref(), is_other);
        if before.is_classic() {
            desk.cancel_timer(TimerKind::MemberJoin, &self.id, id);
            desk.cancel_timer(TimerKind::MemberSync, &self.id, id);
        }
        let timeout_ms = self.session_timeout_ms(desk, image);
        desk.set_timer(TimerKind::Session, &self.id, id, timeout_ms);
        let member = self.members.get(id).unwrap_or(&updated);
        let is_told = heartbeat.is_join() || heartbeat.is_full() || has_changed;
        Ok(ConsumerGroupHeartbeatResponse {
            member_id: Some(member.id.clone()),
            member_epoch: member.epoch,
            heartbeat_interval_ms: self.heartbeat_interval_ms(desk, image),
            assignment: is_told.then(|| to_response(&member.assigned)),
            ..Default::default()
        })
    }

    /// Whether the group takes a heartbeat; nothing changes.
    ///
    /// # Errors
    /// As Kafka's.
    pub fn check_admission(
        &self,
        desk: &Desk,
        image: &Image,
        heartbeat: &Heartbeat<'_>,
    ) -> Result<Admission, Refusal> {
        let id = &heartbeat.member_id;
        self.check_room(desk, id, heartbeat.request.instance_id.as_ref())?;
        let replaced = self.check_heartbeat(heartbeat)?;
        let before = match &replaced {
            // The same member under another id.
            Some(old) => self.members.get(old).map(|old| reborn(old, id)),
            None => self.members.get(id).cloned(),
        };
        let updated = match &before {
            Some(before) => heartbeat.update(before),
            None => heartbeat.update(&ConsumerMember::new(id.clone())),
        };
        self.check_bytes(desk, &updated)?;
        self.check_expression(&updated)?;
        self.check_memory(desk, image, before.as_ref(), &updated)?;
        Ok(Admission { replaced, before, updated })
    }

    /// Whether one more member fits, unless it is one already.
    pub(super) fn check_room(
        &self,
        desk: &Desk,
        id: &StrBytes,
        instance_id: Option<&StrBytes>,
    ) -> Result<(), Refusal> {
        let max = desk.settings.consumer_members_max;
        let is_known = self.members.contains_key(id)
            || instance_id.is_some_and(|instance_id| self.static_member(instance_id).is_some());
        if is_known || self.members.len() < max {
            return Ok(());
        }
        let message =
            format!("The consumer group has reached its maximum capacity of {max} members.");
        Err(Refusal::new(ErrorCode::GROUP_MAX_SIZE_REACHED, message))
    }

    /// Whether what `member` wants fits beside what the others want.
    pub(super) fn check_bytes(&self, desk: &Desk, member: &ConsumerMember) -> Result<(), Refusal> {
        let max = desk.settings.group_bytes_max;
        // Most members are far from it alone; only then is it worth counting.
        if member.bytes() < max / desk.settings.consumer_members_max.max(1) {
            return Ok(());
        }
        let others = self.members.values().filter(|other| other.id != member.id);
        if others.map(ConsumerMember::bytes).sum::<usize>() + member.bytes() <= max {
            return Ok(());
        }
        let message = format!("The subscriptions of the group would be longer than {max} bytes.");
        Err(Refusal::new(ErrorCode::GROUP_MAX_SIZE_REACHED, message))
    }

    /// Whether the group takes this heartbeat. The static member whose place it takes, if it does.
    fn check_heartbeat(&self, heartbeat: &Heartbeat<'_>) -> Result<Option<StrBytes>, Refusal> {
        let id = &heartbeat.member_id;
        let mut replaced = None;
        let member = match &heartbeat.request.instance_id {
            None => self.members.get(id),
            Some(instance_id) => {
                let known = self.static_member(instance_id);
                match known {
                    Some(known) if heartbeat.is_join() => {
                        check_released(known, id, instance_id)?;
                        replaced = Some(known.id.clone());
                        None
                    }
                    None if heartbeat.is_join() => self.members.get(id),
                    Some(known) => {
                        check_instance(known, id, instance_id)?;
                        Some(known)
                    }
                    None => return Err(unknown_instance(instance_id)),
                }
            }
        };
        match member {
            Some(member) => {
                check_epoch(member, heartbeat)?;
                check_known_state(member, heartbeat.owned.as_ref())?;
            }
            None if heartbeat.is_join() => {}
            None => return Err(self.unknown_member(id)),
        }
        Ok(replaced)
    }

    pub(super) fn unknown_member(&self, id: &StrBytes) -> Refusal {
        let message = format!("Member {id} is not a member of group {}.", self.id);
        Refusal::new(ErrorCode::UNKNOWN_MEMBER_ID, message)
    }

    /// Give the place of a static member to the same member under another id.
    pub(super) fn replace(&mut self, desk: &mut Desk, old: &StrBytes, member: &ConsumerMember) {
        let target = self.target_of(old);
        self.remove(desk, old);
        let record = member.subscription_record(&self.id);
        self.commit(desk, record);
        let record = self.target_record(&member.id, Some(&target));
        self.commit(desk, record);
        let record = member.current_record(&self.id);
        self.commit(desk, record);
    }

    /// Take a member out: its records, its timers.
    fn remove(&mut self, desk: &mut Desk, id: &StrBytes) {
        for record in [
            member::current(&self.id, id, None),
            self.target_record(id, None),
            member::subscription(&self.id, id, None),
        ] {
            self.commit(desk, record);
        }
        self.cancel_timers(desk, id);
    }

    fn cancel_timers(&self, desk: &mut Desk, id: &StrBytes) {
        use TimerKind::{MemberJoin, MemberSync, Rebalance, Session};
        for kind in [Session, Rebalance, MemberJoin, MemberSync] {
            desk.cancel_timer(kind, &self.id, id);
        }
    }

    /// Take over what a member wants, and begin another epoch if that, or the topics, differ from
    /// what the group knew.
    pub(super) fn want(
        &mut self,
        desk: &mut Desk,
        image: &Image,
        before: &ConsumerMember,
        updated: &ConsumerMember,
        is_new: bool,
    ) {
        let has_other_wish = before.server_assignor != updated.server_assignor;
        let assignor = has_other_wish.then(|| self.preferred_assignor(desk));
        if is_new || updated != before {
            let record = updated.subscription_record(&self.id);
            self.commit(desk, record);
        }
        let has_other_regex = updated.regex() != before.regex();
        let has_other_assignor =
            assignor.is_some_and(|assignor| assignor != self.preferred_assignor(desk));
        let mut reason = if updated.topics != before.topics || has_other_regex {
            Some(if is_new { "a member joined" } else { "a member reads other topics" })
        } else {
            has_other_assignor.then_some("the members wish for another assignor")
        };
        let must_look = has_other_regex || self.must_look_at_regexes(desk, image);
        if must_look && self.update_regexes(desk, image) {
            reason = reason.or(Some("an expression stands for other topics"));
        }
        if reason.is_some() || self.checked_version != Some(image.version()) {
            self.checked_version = Some(image.version());
            self.bump(desk, image, reason);
        }
    }

    /// Begin another epoch if there is a reason, or the topics are others than the group knew.
    pub(super) fn bump(&mut self, desk: &mut Desk, image: &Image, reason: Option<&'static str>) {
        let hash = self.hash_topics(image);
        let has_other_topics = (hash != self.metadata_hash).then_some("its topics have changed");
        if let Some(reason) = reason.or(has_other_topics) {
            let record = self.epoch_record(self.epoch.saturating_add(1), hash);
            self.commit(desk, record);
            desk.step.notices.push(Notice {
                group: self.id.clone(),
                generation: self.epoch,
                members: self.members.len(),
                reason: Some(reason),
            });
        }
        if self.has_partition_metadata {
            let key = ConsumerGroupPartitionMetadataKey { group_id: self.id.clone() };
            self.commit(desk, GroupRecord::ConsumerGroupPartitionMetadata(key, None));
        }
    }

    /// A member leaves, for good or, as a static member, for a while. The answer, and the classic
    /// group that this one becomes, if only members of the classic protocol remain.
    ///
    /// # Errors
    /// When there is no such member.
    pub fn leave(
        &mut self,
        desk: &mut Desk,
        image: &Image,
        heartbeat: &Heartbeat<'_>,
    ) -> Result<(ConsumerGroupHeartbeatResponse, Option<ClassicGroup>), Refusal> {
        let id = &heartbeat.member_id;
        let epoch = heartbeat.request.member_epoch;
        let member = match &heartbeat.request.instance_id {
            None => self.members.get(id).ok_or_else(|| self.unknown_member(id))?,
            Some(instance_id) => {
                let known = self.static_member(instance_id);
                let known = known.ok_or_else(|| unknown_instance(instance_id))?;
                check_instance(known, id, instance_id)?;
                known
            }
        };
        let response = ConsumerGroupHeartbeatResponse {
            member_id: Some(id.clone()),
            member_epoch: epoch,
            ..Default::default()
        };
        if epoch != LEFT_FOR_A_WHILE {
            let left = BTreeSet::from([id.clone()]);
            return Ok((response, self.fence(desk, image, &left, "a member left")));
        }
        let mut away = member.clone();
        away.epoch = LEFT_FOR_A_WHILE;
        away.revoking.clear();
        for since in away.assigned.values_mut().flat_map(|indexes| indexes.values_mut()) {
            *since = 0;
        }
        desk.cancel_timer(TimerKind::Rebalance, &self.id, id);
        let record = away.current_record(&self.id);
        self.commit(desk, record);
        Ok((response, None))
    }

    /// It has been read from the log: members have a whole session to say that they are alive.
    pub fn loaded(&self, desk: &mut Desk, image: &Image) {
        let timeout_ms = self.session_timeout_ms(desk, image);
        for (id, member) in &self.members {
            let classic = member.classic.as_ref();
            let own_ms = classic.map_or(timeout_ms, |own| i64::from(own.session_timeout_ms));
            desk.set_timer(TimerKind::Session, &self.id, id, own_ms);
            if member.state == MemberState::UnrevokedPartitions && !member.is_classic() {
                let timeout_ms = i64::from(member.rebalance_timeout_ms);
                desk.set_timer(TimerKind::Rebalance, &self.id, id, timeout_ms);
            }
        }
    }

    /// A member has let its time pass, whatever it was for. The classic group that this one
    /// becomes, if it does.
    pub fn timer_due(
        &mut self,
        desk: &mut Desk,
        image: &Image,
        timer: &Timer,
    ) -> Option<ClassicGroup> {
        if !self.members.contains_key(&timer.member) {
            return None;
        }
        let reason = match timer.kind {
            TimerKind::Rebalance => "a member did not give up its partitions in time",
            TimerKind::MemberJoin => "a classic member did not join again in time",
            TimerKind::MemberSync => "a classic member did not ask for its assignment in time",
            TimerKind::Session | TimerKind::Join | TimerKind::Sync => {
                "a member was silent for its session"
            }
        };
        self.fence(desk, image, &BTreeSet::from([timer.member.clone()]), reason)
    }

    /// Put members out. The classic group that this one becomes, if it does.
    pub fn fence(
        &mut self,
        desk: &mut Desk,
        image: &Image,
        ids: &BTreeSet<StrBytes>,
        reason: &'static str,
    ) -> Option<ClassicGroup> {
        if ids.is_empty() {
            return None;
        }
        if self.may_become_classic_without(desk, ids) {
            return Some(self.become_classic(desk, image, ids));
        }
        for id in ids {
            self.remove(desk, id);
        }
        let used: BTreeSet<StrBytes> =
            self.members.values().filter_map(|member| member.regex().cloned()).collect();
        self.forget_regexes(desk, &used);
        self.bump(desk, image, Some(reason));
        if self.members.is_empty() {
            // Nobody is left to be assigned anything.
            let record = self.target_epoch_record(self.epoch, 0);
            self.commit(desk, record);
        }
        None
    }
}

/// The static member `old` under another id: it owns what it owned, and begins at epoch 0.
pub(super) fn reborn(old: &ConsumerMember, id: &StrBytes) -> ConsumerMember {
    ConsumerMember { id: id.clone(), epoch: 0, previous_epoch: 0, ..old.clone() }
}

pub(super) fn unknown_instance(instance_id: &StrBytes) -> Refusal {
    Refusal::new(ErrorCode::UNKNOWN_MEMBER_ID, format!("Instance id {instance_id} is unknown."))
}

/// Whether `id` is the member that has the instance.
pub(super) fn check_instance(
    known: &ConsumerMember,
    id: &StrBytes,
    instance_id: &StrBytes,
) -> Result<(), Refusal> {
    if known.id == *id {
        return Ok(());
    }
    let message = format!(
        "Static member {id} with instance id {instance_id} was fenced by member {}.",
        known.id
    );
    Err(Refusal::new(ErrorCode::FENCED_INSTANCE_ID, message))
}

/// Whether the member that has the instance has left it to whoever comes.
fn check_released(
    known: &ConsumerMember,
    id: &StrBytes,
    instance_id: &StrBytes,
) -> Result<(), Refusal> {
    if known.is_classic() || known.epoch == LEFT_FOR_A_WHILE {
        return Ok(());
    }
    let message = format!(
        "Static member {id} with instance id {instance_id} cannot join the group because the \
         instance id is owned by {} member.",
        known.id
    );
    Err(Refusal::new(ErrorCode::UNRELEASED_INSTANCE_ID, message))
}

/// Whether the member's epoch is the group's, or the one before when its answer was lost.
fn check_epoch(member: &ConsumerMember, heartbeat: &Heartbeat<'_>) -> Result<(), Refusal> {
    let received = heartbeat.request.member_epoch;
    if received == 0 || received == member.epoch {
        return Ok(());
    }
    // It may still use the epoch before, if it owns nothing that it has lost since.
    let has_assigned = |(topic, index)| epoch_of(&member.assigned, topic, index).is_some();
    let is_late = received == member.previous_epoch
        && received < member.epoch
        && heartbeat.owned.as_ref().is_some_and(|owned| each(owned).all(has_assigned));
    if is_late {
        return Ok(());
    }
    let how = if received > member.epoch { "greater" } else { "smaller" };
    let message = format!(
        "The consumer group member has a {how} member epoch ({received}) than the one known by \
         the group coordinator ({}). The member must abandon all its partitions and rejoin.",
        member.epoch
    );
    Err(Refusal::new(ErrorCode::FENCED_MEMBER_EPOCH, message))
}
