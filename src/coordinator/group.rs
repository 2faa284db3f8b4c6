//! A group of either protocol.

use crate::cluster::image::Image;
use crate::protocol::ErrorCode;
use crate::protocol::consumer_protocol::PROTOCOL_TYPE;
use crate::wire::StrBytes;

use super::classic::ClassicGroup;
use super::consumer::ConsumerGroup;
use super::desk::Desk;
use super::expiry::Ages;
use super::timers::Timer;

/// One group.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Group {
    /// Members assign among themselves.
    Classic(ClassicGroup),
    /// The coordinator assigns.
    Consumer(ConsumerGroup),
}

impl Group {
    pub fn member_count(&self) -> usize {
        match self {
            Self::Classic(group) => group.members.len(),
            Self::Consumer(group) => group.members.len(),
        }
    }

    /// Whether it has no members.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Classic(group) => group.is_empty(),
            Self::Consumer(group) => group.members.is_empty(),
        }
    }

    /// Its type, as ListGroups names it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Classic(_) => "classic",
            Self::Consumer(_) => "consumer",
        }
    }

    /// Its state, as ListGroups names it.
    pub fn state(&self) -> &'static str {
        match self {
            Self::Classic(group) => group.state.name(),
            Self::Consumer(group) => group.state(),
        }
    }

    /// Kind of protocol its members speak; empty if none has said.
    pub fn protocol_type(&self) -> StrBytes {
        match self {
            Self::Classic(group) => group.protocol_type.clone().unwrap_or_default(),
            Self::Consumer(_) => StrBytes::from_static(PROTOCOL_TYPE),
        }
    }

    /// Whether `topic` is one that its members read.
    pub fn is_subscribed_to(&self, topic: &StrBytes) -> bool {
        match self {
            Self::Classic(group) => group.is_subscribed_to(topic),
            Self::Consumer(group) => group.is_subscribed_to(topic),
        }
    }

    /// How its offsets age.
    pub fn offsets_age(&self) -> Ages {
        match self {
            Self::Classic(group) => group.offsets_age(),
            Self::Consumer(_) => Ages::SinceCommit,
        }
    }

    /// Whether offsets may be deleted.
    ///
    /// # Errors
    /// When members of an unknown protocol may rely on them.
    pub fn may_delete_offsets(&self) -> Result<(), ErrorCode> {
        match self {
            Self::Classic(group) => group.may_delete_offsets(),
            Self::Consumer(_) => Ok(()),
        }
    }

    /// It has been read from the log: sessions begin now.
    pub fn loaded(&mut self, desk: &mut Desk, image: &Image) {
        match self {
            Self::Classic(group) => group.loaded(desk),
            Self::Consumer(group) => group.loaded(desk, image),
        }
    }

    /// A timer is due.
    pub fn timer_due(&mut self, desk: &mut Desk, image: &Image, timer: &Timer) {
        match self {
            Self::Classic(group) => group.timer_due(desk, timer),
            Self::Consumer(group) => {
                if let Some(classic) = group.timer_due(desk, image, timer) {
                    *self = Self::Classic(classic);
                }
            }
        }
    }

    /// Write that it is gone.
    pub fn write_tombstones(&self, desk: &mut Desk) {
        match self {
            Self::Classic(group) => group.write_tombstone(desk),
            Self::Consumer(group) => group.write_tombstones(desk),
        }
    }
}
