//! What groups keep in memory, counted: one number for all coordinators of a shard.
//!
//! Always true: the number is what the groups and offsets that are there say of themselves, for
//! each of them owns a [`Charge`] that goes with it. Text counts with its length; what a thing
//! costs beside (its place in a tree, its allocations, its timers) is one of the constants below,
//! rather too much than too little. Who is refused without room is decided by the rules. They read
//! it as they read the time: what other coordinators hold changes between steps, never within one.

use std::cell::Cell;
use std::rc::Rc;

use crate::wire::StrBytes;

/// A text in a list or a map.
pub(super) const TEXT_BYTES: usize = 96;
/// A group without members and offsets.
const GROUP_BYTES: usize = 1024;
/// A member, or a member id that was given out.
const MEMBER_BYTES: usize = 1536;
/// That a group has members at all: a first leaf of each of its trees.
pub(super) const MEMBERS_BYTES: usize = 6144;
/// A protocol of a member.
pub(super) const PROTOCOL_BYTES: usize = 128;
/// That a group has offsets at all, and that it has some of a topic: a first leaf of their trees.
pub(super) const OFFSETS_BYTES: usize = 1024;
/// Offsets of one topic in one group.
pub(super) const OFFSETS_TOPIC_BYTES: usize = 1536;
/// One offset.
pub(super) const OFFSET_BYTES: usize = 192;
/// Partitions of one topic that a member shall have, and one of them, with what it costs to own
/// them: taking what one shall have is not refused.
pub(super) const TARGET_TOPIC_BYTES: usize = 400;
pub(super) const TARGET_PARTITION_BYTES: usize = 96;
/// Partitions of one topic that a member must give up, and one of them.
pub(super) const REVOKED_TOPIC_BYTES: usize = 224;
pub(super) const REVOKED_PARTITION_BYTES: usize = 80;

/// One part in so many is for members that are there: a flood of new groups, members and offsets
/// leaves them room to join again, to assign and to commit.
const MEMBERS_PART: usize = 8;

/// A group of this id, without members and offsets. Timers and other maps have copies of it.
pub(super) fn of_group(id: &StrBytes) -> usize {
    GROUP_BYTES + 2 * id.len()
}

/// A member of this id that has said nothing.
pub(super) fn of_member(id: &StrBytes) -> usize {
    MEMBER_BYTES + 2 * id.len()
}

/// An empty text costs nothing beside its place.
pub(super) fn of_text(text: &StrBytes) -> usize {
    TEXT_BYTES + text.len()
}

/// Memory of all groups of a shard.
#[derive(Clone, Debug)]
pub struct GroupMemory(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    held: Cell<usize>,
    max: usize,
    refusals: Cell<u64>,
}

impl GroupMemory {
    /// Nothing is held yet; `max` bytes may be.
    pub fn new(max: usize) -> Self {
        Self(Rc::new(Shared { held: Cell::new(0), max, refusals: Cell::new(0) }))
    }

    /// Bytes that are held.
    pub fn held(&self) -> usize {
        self.0.held.get()
    }

    /// Bytes that may be held.
    pub fn max(&self) -> usize {
        self.0.max
    }

    /// How often something was refused for want of room, since this was last asked.
    pub fn take_refusals(&self) -> u64 {
        self.0.refusals.take()
    }

    /// Whether so much more is let in from who is no member yet. Nothing more always is.
    pub(super) fn admits(&self, bytes: usize) -> bool {
        self.fits(bytes, self.0.max - self.0.max / MEMBERS_PART)
    }

    /// Whether so much more is let in from a member, or whoever has a part in it.
    pub(super) fn admits_of_member(&self, bytes: usize) -> bool {
        self.fits(bytes, self.0.max)
    }

    /// Whether more is held than may be, by something that has grown and can shrink again.
    pub(super) fn is_over(&self) -> bool {
        let is_over = self.held() > self.0.max;
        self.0.refusals.set(self.0.refusals.get() + u64::from(is_over));
        is_over
    }

    /// What is left.
    pub(super) fn room(&self) -> usize {
        self.0.max.saturating_sub(self.held())
    }

    fn fits(&self, bytes: usize, max: usize) -> bool {
        let fits = bytes == 0 || self.held().saturating_add(bytes) <= max;
        if !fits {
            self.0.refusals.set(self.0.refusals.get() + 1);
        }
        fits
    }
}

/// What one thing holds of the memory, until it is dropped.
#[derive(Debug)]
pub(super) struct Charge {
    memory: GroupMemory,
    bytes: usize,
}

impl Charge {
    pub fn new(memory: &GroupMemory, bytes: usize) -> Self {
        let mut charge = Self { memory: memory.clone(), bytes: 0 };
        charge.add(bytes);
        charge
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// It has grown.
    pub fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.memory.0.held.set(self.memory.held() + bytes);
    }

    /// It has shrunk.
    ///
    /// # Panics
    /// In debug builds, when it would hold less than nothing: something was counted once only.
    pub fn sub(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.bytes, "{bytes} of {} bytes go", self.bytes);
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.memory.0.held.set(self.memory.held() - bytes);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.sub(self.bytes);
    }
}

impl Clone for Charge {
    fn clone(&self) -> Self {
        Self::new(&self.memory, self.bytes)
    }
}

impl PartialEq for Charge {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Charge {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_gives_back_what_it_held() {
        let memory = GroupMemory::new(800);
        let mut one = Charge::new(&memory, 300);
        let two = one.clone();
        one.sub(100);
        assert_eq!((memory.held(), memory.room()), (500, 300));
        drop(two);
        assert_eq!(memory.held(), 200);
        drop(one);
        assert_eq!(memory.held(), 0);
    }

    #[test]
    fn the_last_part_is_for_members() {
        let memory = GroupMemory::new(800);
        let charge = Charge::new(&memory, 600);
        assert!(memory.admits(100) && !memory.admits(101));
        assert!(memory.admits_of_member(200) && !memory.admits_of_member(201));
        assert_eq!((memory.take_refusals(), memory.take_refusals()), (2, 0));
        let _more = Charge::new(&memory, 600);
        assert!(memory.admits(0) && memory.admits_of_member(0), "nothing is never refused");
        drop(charge);
        assert!(memory.admits(100));
    }
}
