//! One member of a classic group, and the book of members.
//!
//! Always true: the counts of protocols and the instance ids are those of the members.

use bytes::Bytes;

use crate::protocol::group_record::MemberMetadata;
use crate::wire::StrBytes;

use super::ClassicGroup;
use crate::coordinator::desk::Desk;
use crate::coordinator::memory;
use crate::coordinator::timers::TimerKind;

/// One way to assign that a member speaks, with what it says in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::coordinator) struct Protocol {
    pub name: StrBytes,
    pub metadata: Bytes,
}

/// A request that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::coordinator) struct Waiting {
    pub ticket: u64,
    pub version: i16,
}

/// One member.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::coordinator) struct ClassicMember {
    pub id: StrBytes,
    /// Of a static member (KIP-345).
    pub instance_id: Option<StrBytes>,
    pub client_id: StrBytes,
    pub client_host: StrBytes,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    pub protocol_type: StrBytes,
    /// Best first.
    pub protocols: Vec<Protocol>,
    pub assignment: Bytes,
    /// Its JoinGroup waits for the others.
    pub joining: Option<Waiting>,
    /// Its SyncGroup waits for the leader.
    pub syncing: Option<Waiting>,
    /// It has not been in a generation yet.
    pub is_new: bool,
}

impl ClassicMember {
    /// The member that a record tells of.
    pub fn load(member: MemberMetadata, protocol_type: &StrBytes, protocol: &StrBytes) -> Self {
        let session_timeout_ms = member.session_timeout;
        let rebalance_timeout_ms = match member.rebalance_timeout {
            -1 => session_timeout_ms,
            timeout_ms => timeout_ms,
        };
        let metadata = Bytes::copy_from_slice(&member.subscription);
        Self {
            id: member.member_id.detached(),
            instance_id: member.group_instance_id.map(|id| id.detached()),
            client_id: member.client_id.detached(),
            client_host: member.client_host.detached(),
            rebalance_timeout_ms,
            session_timeout_ms,
            protocol_type: protocol_type.clone(),
            protocols: vec![Protocol { name: protocol.clone(), metadata }],
            assignment: Bytes::copy_from_slice(&member.assignment),
            joining: None,
            syncing: None,
            is_new: false,
        }
    }

    /// What it says in `protocol`; empty if it does not speak it.
    pub fn metadata(&self, protocol: &StrBytes) -> Bytes {
        let spoken = self.protocols.iter().find(|spoken| spoken.name == *protocol);
        spoken.map_or(Bytes::new(), |spoken| spoken.metadata.clone())
    }

    /// Bytes that it makes the group keep.
    pub fn bytes(&self) -> usize {
        let spoken = self.protocols.iter().map(|each| each.name.len() + each.metadata.len());
        self.assignment.len() + spoken.sum::<usize>()
    }

    /// Memory that it takes, its timers too.
    pub fn memory(&self) -> usize {
        let instance = self.instance_id.as_ref().map_or(0, |id| id.len());
        memory::of_member(&self.id)
            + instance
            + self.client_id.len()
            + self.client_host.len()
            + self.protocol_type.len()
            + memory_of_protocols(&self.protocols)
            + self.assignment.len()
    }
}

/// Memory that protocols of a member take.
pub(super) fn memory_of_protocols(protocols: &[Protocol]) -> usize {
    let each = |each: &Protocol| memory::PROTOCOL_BYTES + each.name.len() + each.metadata.len();
    protocols.iter().map(each).sum()
}

impl ClassicGroup {
    /// Take a member in. The first one leads.
    pub(super) fn add(&mut self, member: ClassicMember) {
        if self.members.is_empty() {
            self.charge.add(memory::MEMBERS_BYTES);
            self.set_protocol_type(Some(member.protocol_type.clone()));
        }
        if let Some(instance_id) = &member.instance_id {
            self.static_members.insert(instance_id.clone(), member.id.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(member.id.clone());
        }
        self.count_protocols(&member.protocols, true);
        self.forget_pending(&member.id);
        self.charge.add(member.memory());
        self.members.insert(member.id.clone(), member);
    }

    /// Take a member out, and whatever waits for it. Another one leads if it led.
    pub(super) fn remove(&mut self, id: &StrBytes) -> Option<ClassicMember> {
        self.forget_pending(id);
        self.pending_sync.remove(id);
        let member = self.members.remove(id)?;
        self.charge.sub(member.memory());
        self.count_protocols(&member.protocols, false);
        if let Some(instance_id) = &member.instance_id {
            self.static_members.remove(instance_id);
        }
        if self.leader.as_ref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
        if self.members.is_empty() {
            self.charge.sub(memory::MEMBERS_BYTES);
            // Else they keep their first leaves.
            self.members.clear();
            self.static_members.clear();
            self.protocols.clear();
        }
        Some(member)
    }

    /// Let a member speak other protocols.
    pub(super) fn set_protocols(&mut self, id: &StrBytes, protocols: Vec<Protocol>) {
        let Some(member) = self.members.get_mut(id) else { return };
        let before = std::mem::replace(&mut member.protocols, protocols.clone());
        self.charge.add(memory_of_protocols(&protocols));
        self.charge.sub(memory_of_protocols(&before));
        self.count_protocols(&before, false);
        self.count_protocols(&protocols, true);
    }

    pub(super) fn set_protocol_type(&mut self, kind: Option<StrBytes>) {
        let bytes = |kind: &Option<StrBytes>| kind.as_ref().map_or(0, |kind| kind.len());
        self.charge.add(bytes(&kind));
        self.charge.sub(bytes(&self.protocol_type));
        self.protocol_type = kind;
    }

    /// Remember a member id that was given out.
    pub(super) fn add_pending(&mut self, id: &StrBytes) {
        if self.pending.insert(id.clone()) {
            self.charge.add(memory::of_member(id));
        }
    }

    /// Forget a member id that was given out; whether it was.
    pub(super) fn forget_pending(&mut self, id: &StrBytes) -> bool {
        let was_pending = self.pending.remove(id);
        if was_pending {
            self.charge.sub(memory::of_member(id));
        }
        was_pending
    }

    /// Give each member what `given` says, a copy of it.
    pub(super) fn set_assignments<'a>(&mut self, given: impl Fn(&StrBytes) -> Option<&'a Bytes>) {
        for member in self.members.values_mut() {
            let assignment = given(&member.id).map_or(&[][..], |bytes| &bytes[..]);
            self.charge.add(assignment.len());
            self.charge.sub(member.assignment.len());
            member.assignment = Bytes::copy_from_slice(assignment);
        }
    }

    fn count_protocols(&mut self, protocols: &[Protocol], is_more: bool) {
        for protocol in protocols {
            let count = self.protocols.entry(protocol.name.clone()).or_default();
            *count = if is_more { *count + 1 } else { count.saturating_sub(1) };
        }
        self.protocols.retain(|_, count| *count > 0);
    }

    /// A member has given a sign of life: its session begins anew.
    pub(super) fn restart_session(&self, desk: &mut Desk, id: &StrBytes) {
        if let Some(member) = self.members.get(id) {
            let timeout_ms = i64::from(member.session_timeout_ms);
            desk.set_timer(TimerKind::Session, &self.id, &member.id, timeout_ms);
        }
    }
}
