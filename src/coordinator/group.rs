//! A group of either protocol.

use crate::protocol::ErrorCode;
use crate::wire::StrBytes;

use super::classic::ClassicGroup;
use super::desk::Desk;
use super::expiry::Ages;

/// One group.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Group {
    /// Members assign among themselves.
    Classic(ClassicGroup),
}

impl Group {
    pub fn member_count(&self) -> usize {
        match self {
            Self::Classic(group) => group.members.len(),
        }
    }

    /// Whether it has no members.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Classic(group) => group.is_empty(),
        }
    }

    /// Its type, as ListGroups names it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Classic(_) => "classic",
        }
    }

    /// Its state, as ListGroups names it.
    pub fn state(&self) -> &'static str {
        match self {
            Self::Classic(group) => group.state.name(),
        }
    }

    /// Kind of protocol its members speak; empty if none has said.
    pub fn protocol_type(&self) -> StrBytes {
        match self {
            Self::Classic(group) => group.protocol_type.clone().unwrap_or_default(),
        }
    }

    /// Whether `topic` is one that its members read.
    pub fn is_subscribed_to(&self, topic: &StrBytes) -> bool {
        match self {
            Self::Classic(group) => group.is_subscribed_to(topic),
        }
    }

    /// How its offsets age.
    pub fn offsets_age(&self) -> Ages {
        match self {
            Self::Classic(group) => group.offsets_age(),
        }
    }

    /// Whether offsets may be deleted.
    ///
    /// # Errors
    /// When members of an unknown protocol may rely on them.
    pub fn may_delete_offsets(&self) -> Result<(), ErrorCode> {
        match self {
            Self::Classic(group) => group.may_delete_offsets(),
        }
    }

    /// Write that it is gone.
    pub fn write_tombstones(&self, desk: &mut Desk) {
        match self {
            Self::Classic(group) => group.write_tombstone(desk),
        }
    }
}
