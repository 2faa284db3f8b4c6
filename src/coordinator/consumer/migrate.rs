//! A classic group becomes a consumer group when the first member of the consumer protocol joins,
//! and the other way round when the last one leaves (KIP-848, online migration).
//!
//! Always true: who owned a partition before owns it afterwards.

use std::collections::BTreeSet;

use crate::cluster::image::Image;
use crate::protocol::ErrorCode;
use crate::protocol::consumer_protocol::{
    self, ConsumerProtocolAssignment, ConsumerProtocolSubscription,
};
use crate::protocol::group_record::{ClassicMemberMetadata, ClassicProtocol};
use crate::wire::StrBytes;

use super::member::ConsumerMember;
use super::partitions::{Partitions, each, from_classic, owned_since, partitions_of, to_classic};
use super::{ConsumerGroup, Refusal};
use crate::coordinator::classic::{ClassicGroup, ClassicMember, Protocol};
use crate::coordinator::desk::Desk;
use crate::coordinator::timers::TimerKind;

impl ConsumerGroup {
    /// The consumer group that a classic group with members becomes. Nothing is written.
    ///
    /// # Errors
    /// When settings, the kind of the group or what its members say do not allow it.
    pub fn from_classic(
        desk: &Desk,
        image: &Image,
        classic: &ClassicGroup,
    ) -> Result<Self, Refusal> {
        let refuse = |why: &str| {
            let message = format!(
                "Cannot upgrade classic group {} to consumer group because {why}",
                classic.id
            );
            Refusal::new(ErrorCode::GROUP_ID_NOT_FOUND, message)
        };
        if !desk.settings.migration_policy.may_upgrade() {
            return Err(refuse("online upgrade is disabled."));
        }
        if !classic.speaks_consumer() {
            return Err(refuse("the group does not use the consumer embedded protocol."));
        }
        if classic.members.len() > desk.settings.consumer_members_max {
            return Err(refuse("the group size exceeds the consumer group maximum size."));
        }
        let mut group = Self::new(&desk.memory, classic.id.clone());
        group.epoch = classic.generation;
        group.target_epoch = classic.generation;
        let malformed = || refuse("the embedded consumer protocol is malformed.");
        let mut targets: Vec<Partitions> = Vec::new();
        let mut subscriptions: Vec<ConsumerProtocolSubscription> = Vec::new();
        let mut given = BTreeSet::new();
        for member in classic.members.values() {
            subscriptions.push(subscription_of(member, classic).ok_or_else(malformed)?);
            if member.assignment.is_empty() {
                targets.push(Partitions::new());
                continue;
            }
            let assignment: ConsumerProtocolAssignment =
                consumer_protocol::read(member.assignment.clone()).map_err(|_| malformed())?;
            if assignment.user_data.is_some_and(|bytes| !bytes.is_empty()) {
                return Err(refuse(
                    "an unsupported custom assignor is in use. Please refer to the documentation \
                     or switch to a default assignor before re-attempting the upgrade.",
                ));
            }
            // A leader may have given a partition twice; from here on it has one owner.
            let all = from_classic(image, &assignment.assigned_partitions);
            targets.push(partitions_of(each(&all).filter(|partition| given.insert(*partition))));
        }
        let members = classic.members.values().zip(subscriptions).zip(targets);
        for ((member, subscription), mut target) in members {
            // A cooperative member keeps what it has while generations come and go; in the midst
            // of a rebalance only its own words tell of it.
            for (topic, index) in each(&from_classic(image, &subscription.owned_partitions)) {
                if given.insert((topic, index)) {
                    target.entry(topic).or_default().insert(index);
                }
            }
            group.put_member(upgrade(member, classic, subscription, &target));
            group.set_target(member.id.clone(), Some(target));
        }
        // The hash stays zero: whoever joins finds another one and lets everything be assigned
        // anew. The classic group may not have been settled, or its topics may have grown since.
        Ok(group)
    }

    /// Write all that the group is, and let the sessions of its members begin.
    pub fn write_founding(&self, desk: &mut Desk) {
        for member in self.members.values() {
            desk.write(&member.subscription_record(&self.id));
        }
        desk.write(&self.epoch_record(self.epoch, self.metadata_hash));
        for (id, target) in &self.target {
            desk.write(&self.target_record(id, Some(target)));
        }
        desk.write(&self.target_epoch_record(self.target_epoch, self.target_timestamp));
        for member in self.members.values() {
            desk.write(&member.current_record(&self.id));
            let classic = member.classic.as_ref();
            let timeout_ms = classic.map_or(0, |classic| classic.session_timeout_ms);
            desk.set_timer(TimerKind::Session, &self.id, &member.id, i64::from(timeout_ms));
        }
    }

    fn may_become_classic(&self, desk: &Desk, members: usize) -> bool {
        desk.settings.migration_policy.may_downgrade()
            && members > 0
            && members <= desk.settings.classic_members_max
    }

    /// Whether only members of the classic protocol remain when these go.
    pub(super) fn may_become_classic_without(&self, desk: &Desk, ids: &BTreeSet<StrBytes>) -> bool {
        let mut rest = self.members.values().filter(|member| !ids.contains(&member.id));
        rest.all(ConsumerMember::is_classic)
            && self.may_become_classic(desk, self.members.len() - ids.len())
    }

    /// Whether only members of the classic protocol remain when `replaced`, which is none,
    /// becomes one.
    pub(super) fn may_become_classic_with(&self, desk: &Desk, replaced: &StrBytes) -> bool {
        let is_consumer = |member: &&ConsumerMember| !member.is_classic();
        let mut consumers = self.members.values().filter(is_consumer);
        consumers.next().is_some_and(|member| member.id == *replaced)
            && consumers.next().is_none()
            && self.may_become_classic(desk, self.members.len())
    }

    /// Become a classic group without these members, and let the others join again.
    pub(super) fn become_classic(
        &mut self,
        desk: &mut Desk,
        image: &Image,
        without: &BTreeSet<StrBytes>,
    ) -> ClassicGroup {
        self.become_classic_settled(desk, image, without, false)
    }

    /// Become a classic group; `is_settled` when its target is what its members want.
    pub(super) fn become_classic_settled(
        &mut self,
        desk: &mut Desk,
        image: &Image,
        without: &BTreeSet<StrBytes>,
        is_settled: bool,
    ) -> ClassicGroup {
        self.write_tombstones(desk);
        desk.timers.cancel_group(&self.id);
        let members = self.members.values().filter(|member| !without.contains(&member.id));
        let members = members.map(|member| self.downgrade(image, member));
        let mut classic =
            ClassicGroup::from_members(desk, self.id.clone(), self.epoch, members.collect());
        if !is_settled {
            classic.prepare_rebalance(desk, "only members of the classic protocol are left");
        }
        classic
    }

    fn downgrade(&self, image: &Image, member: &ConsumerMember) -> ClassicMember {
        let classic = member.classic.clone().unwrap_or_default();
        let protocols: Vec<Protocol> = classic
            .supported_protocols
            .into_iter()
            .map(|each| Protocol { name: each.name, metadata: each.metadata })
            .collect();
        let metadata = protocols.first().map(|first| first.metadata.clone()).unwrap_or_default();
        let version = consumer_protocol::version_of(&metadata).unwrap_or(0);
        let assignment = to_classic(image, each(&self.target_of(&member.id)));
        ClassicMember {
            id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: classic.session_timeout_ms,
            protocol_type: StrBytes::from_static(consumer_protocol::PROTOCOL_TYPE),
            protocols,
            assignment: consumer_protocol::write(&assignment, version).unwrap_or_default(),
            joining: None,
            syncing: None,
            is_new: false,
        }
    }
}

/// What a member of a classic group has said; nothing if it cannot be understood.
fn subscription_of(
    member: &ClassicMember,
    classic: &ClassicGroup,
) -> Option<ConsumerProtocolSubscription> {
    // Before the first generation no protocol has been chosen: any of the member's own says it.
    let said = match &classic.protocol {
        Some(protocol) => member.metadata(protocol),
        None => member.protocols.first()?.metadata.clone(),
    };
    consumer_protocol::read(said).ok()
}

/// A member of the classic group as one of the consumer group.
fn upgrade(
    member: &ClassicMember,
    classic: &ClassicGroup,
    subscription: ConsumerProtocolSubscription,
    target: &Partitions,
) -> ConsumerMember {
    let protocols = member
        .protocols
        .iter()
        .map(|each| ClassicProtocol { name: each.name.clone(), metadata: each.metadata.clone() });
    ConsumerMember {
        epoch: classic.generation,
        previous_epoch: classic.generation,
        instance_id: member.instance_id.clone(),
        rack_id: subscription.rack_id.map(|rack| rack.detached()),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        topics: subscription.topics.iter().map(StrBytes::detached).collect(),
        assigned: owned_since(target, classic.generation),
        classic: Some(ClassicMemberMetadata {
            session_timeout_ms: member.session_timeout_ms,
            supported_protocols: protocols.collect(),
        }),
        ..ConsumerMember::new(member.id.clone())
    }
}
