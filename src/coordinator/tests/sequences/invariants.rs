//! What must hold after every event.

use std::collections::{BTreeMap, BTreeSet};

use super::actor::Actor;
use crate::coordinator::classic::{ClassicGroup, State};
use crate::coordinator::group::Group;
use crate::coordinator::tests::Bench;
use crate::coordinator::{Coordinator, StrBytes};

/// The records tell of the same offsets, the same consumer groups, and of every classic group's
/// last settled generation.
pub(in crate::coordinator) fn same_as_replayed(live: &Coordinator, replayed: &mut Coordinator) {
    assert_eq!(live.offsets, replayed.offsets);
    let ids: Vec<&StrBytes> = live.groups.keys().collect();
    assert_eq!(ids, replayed.groups.keys().collect::<Vec<_>>());
    for (group, other) in live.groups.values().zip(replayed.groups.values_mut()) {
        match (group, other) {
            (Group::Consumer(group), Group::Consumer(other)) => {
                other.copy_soft(group);
                assert_eq!(group, other);
            }
            (Group::Classic(group), Group::Classic(other)) => same_generation(group, other),
            _ => panic!("another kind of group than {group:?}"),
        }
    }
}

/// What is counted as things come and go is what there is.
pub(in crate::coordinator) fn memory_is_counted(coordinator: &Coordinator) {
    let groups = coordinator.groups.values().map(|group| match group {
        Group::Classic(group) => group.memory(),
        Group::Consumer(group) => group.memory(),
    });
    let parts = groups.chain([coordinator.offsets.memory()]);
    let mut sum = 0;
    for (charged, counted) in parts {
        assert_eq!(charged, counted, "{:#?}", coordinator.groups);
        sum += counted;
    }
    assert_eq!(coordinator.desk.memory.held(), sum);
}

fn same_generation(live: &ClassicGroup, replayed: &ClassicGroup) {
    if !matches!(live.state, State::Stable | State::Empty) {
        assert!(replayed.generation <= live.generation);
        return;
    }
    let of = |group: &ClassicGroup| (group.state, group.generation, group.protocol.clone());
    assert_eq!((of(live), &live.leader), (of(replayed), &replayed.leader));
    assert_eq!(live.state_since, replayed.state_since);
    let members = |group: &ClassicGroup| -> Vec<_> {
        let protocol = group.protocol.clone().unwrap_or_default();
        let of = |member: &crate::coordinator::classic::ClassicMember| {
            let said = member.metadata(&protocol);
            (member.id.clone(), member.instance_id.clone(), said, member.assignment.clone())
        };
        group.members.values().map(of).collect()
    };
    assert_eq!(members(live), members(replayed));
}

/// The highest epoch of each group so far.
#[derive(Default)]
pub(super) struct Epochs(BTreeMap<StrBytes, i32>);

impl Epochs {
    pub fn check(&mut self, coordinator: &Coordinator) {
        // A group that is gone, or begins without members, begins anew.
        self.0.retain(|id, _| coordinator.groups.get(id).is_some_and(|group| !group.is_empty()));
        for (id, group) in &coordinator.groups {
            let epoch = match group {
                Group::Classic(group) => group.generation,
                Group::Consumer(group) => {
                    assert!(group.target_epoch <= group.epoch);
                    for member in group.members.values() {
                        assert!(member.epoch <= group.target_epoch, "{member:?}");
                    }
                    group.epoch
                }
            };
            if group.is_empty() {
                continue;
            }
            let before = self.0.insert(id.clone(), epoch).unwrap_or(epoch);
            assert!(before <= epoch, "{id} went from {before} back to {epoch}");
        }
    }
}

/// Those who are members now, with the epoch that they believe in.
fn members<'a>(coordinator: &Coordinator, actors: &'a [Actor]) -> Vec<&'a Actor> {
    let Some(group) = coordinator.groups.values().next() else { return Vec::new() };
    let is_member = |actor: &&Actor| {
        let id = StrBytes::from(actor.id.as_str());
        match group {
            Group::Classic(group) => {
                group.members.contains_key(&id) && group.generation == actor.epoch
            }
            Group::Consumer(group) => group.members.get(&id).is_some_and(|member| {
                member.epoch == actor.epoch || member.previous_epoch == actor.epoch
            }),
        }
    };
    actors.iter().filter(is_member).collect()
}

/// No partition has two owners.
pub(super) fn one_owner(coordinator: &Coordinator, actors: &[Actor]) {
    let mut owners = BTreeMap::new();
    for actor in members(coordinator, actors) {
        for partition in &actor.has {
            let other = owners.insert(*partition, &actor.id);
            assert!(other.is_none(), "{partition:?} belongs to {other:?} and {:?}", actor.id);
        }
    }
}

/// Whether everybody who is alive is a member, and everything that somebody reads is read.
pub(super) fn is_settled(bench: &Bench, actors: &[Actor]) -> bool {
    let Some(group) = bench.coordinator.groups.values().next() else { return false };
    let alive = actors.iter().filter(|actor| actor.is_alive()).count();
    let members = members(&bench.coordinator, actors);
    if group.state() != "Stable" || members.len() != alive || group.member_count() != alive {
        return false;
    }
    let wanted: BTreeSet<_> = bench
        .image
        .topics()
        .filter(|topic| group.is_subscribed_to(&topic.name.as_str().into()))
        .flat_map(|topic| (0..topic.partitions.len() as i32).map(|index| (topic.id, index)))
        .collect();
    let read: BTreeSet<_> = members
        .iter()
        .flat_map(|actor| &actor.has)
        .filter(|(topic, _)| bench.image.topic_by_id(*topic).is_some())
        .copied()
        .collect();
    // The leader of a classic group looks for new topics by itself; these do so when they join.
    matches!(group, Group::Classic(_)) && read.is_subset(&wanted) || read == wanted
}
