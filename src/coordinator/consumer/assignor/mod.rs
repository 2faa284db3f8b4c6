//! Who shall have which partition.
//!
//! Always true: every partition of a topic that somebody reads is given to exactly one member that
//! reads it. The same input gives the same result.

mod range;
mod uniform;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::model::{PartitionIndex, Uuid};
use crate::wire::StrBytes;

use super::partitions::Partitions;

/// What an assignor knows of one member.
pub(super) struct Reader {
    pub instance_id: Option<StrBytes>,
    /// Topics it reads that are there.
    pub topics: Rc<BTreeSet<Uuid>>,
    /// What it was to have until now.
    pub target: Partitions,
}

/// What an assignor knows.
pub(super) struct Spec {
    pub members: BTreeMap<StrBytes, Reader>,
    /// How many partitions each topic has.
    pub partition_counts: BTreeMap<Uuid, PartitionIndex>,
}

impl Spec {
    /// The topics that all members read, if all read the same.
    fn shared_topics(&self) -> Option<&Rc<BTreeSet<Uuid>>> {
        let mut topics = self.members.values().map(|member| &member.topics);
        let first = topics.next()?;
        // Members with the same words share the set itself.
        topics.all(|other| Rc::ptr_eq(first, other) || first == other).then_some(first)
    }

    fn count(&self, topic: &Uuid) -> PartitionIndex {
        self.partition_counts.get(topic).copied().unwrap_or(0)
    }
}

/// What each member shall have.
pub(super) type Assignment = BTreeMap<StrBytes, Partitions>;

/// Assign with the assignor of that name; an unknown name is the default's.
pub(super) fn assign(name: &str, spec: &Spec) -> Assignment {
    match name {
        "range" => range::assign(spec),
        _ => uniform::assign(spec),
    }
}

#[cfg(test)]
mod tests;
