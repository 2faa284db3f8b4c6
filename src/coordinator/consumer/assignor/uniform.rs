//! `uniform`: every member gets as many partitions as the others, and keeps what it has as far as
//! that allows.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{PartitionIndex, Uuid};
use crate::wire::StrBytes;

use super::{Assignment, Reader, Spec};

pub(super) fn assign(spec: &Spec) -> Assignment {
    match spec.shared_topics() {
        Some(topics) => assign_shared(spec, topics),
        None => assign_mixed(spec),
    }
}

/// Take from `member` what it may keep: of topics that it reads, partitions that are there and
/// that nobody before it has kept.
fn keepable(
    spec: &Spec,
    member: &Reader,
    kept: &BTreeSet<(Uuid, PartitionIndex)>,
) -> Vec<(Uuid, PartitionIndex)> {
    let mine = super::super::partitions::each(&member.target);
    let is_mine = |(topic, index): &(Uuid, PartitionIndex)| {
        member.topics.contains(topic)
            && (0..spec.count(topic)).contains(index)
            && !kept.contains(&(*topic, *index))
    };
    mine.filter(is_mine).collect()
}

/// All members read the same: quotas differ by one at most.
fn assign_shared(spec: &Spec, topics: &BTreeSet<Uuid>) -> Assignment {
    let total: usize = topics.iter().map(|topic| spec.count(topic).max(0) as usize).sum();
    let members = spec.members.len();
    let mut extra = total % members;
    let mut kept = BTreeSet::new();
    let mut assignment = Assignment::new();
    let mut room: Vec<(&StrBytes, usize)> = Vec::new();
    for (at, (id, member)) in spec.members.iter().enumerate() {
        let mut quota = total / members + usize::from(extra > 0);
        let mut has_extra = extra > 0;
        let mine = assignment.entry(id.clone()).or_default();
        for (topic, index) in keepable(spec, member, &kept).into_iter().take(quota) {
            mine.entry(topic).or_default().insert(index);
            kept.insert((topic, index));
            quota -= 1;
        }
        // The one more goes to members that have it already, as long as there are enough others.
        if quota > 0 && has_extra && members - at > extra {
            quota -= 1;
            has_extra = false;
        }
        extra -= usize::from(has_extra);
        room.push((id, quota));
    }
    let all = topics.iter().flat_map(|topic| (0..spec.count(topic)).map(|index| (*topic, index)));
    let mut free = all.filter(|partition| !kept.contains(partition));
    for (id, quota) in room {
        let Some(mine) = assignment.get_mut(id) else { continue };
        for (topic, index) in free.by_ref().take(quota) {
            mine.entry(topic).or_default().insert(index);
        }
    }
    assignment
}

/// Members read different topics: keep, fill, then move single partitions while that makes two
/// members more alike.
fn assign_mixed(spec: &Spec) -> Assignment {
    let mut readers: BTreeMap<Uuid, Vec<&StrBytes>> = BTreeMap::new();
    let mut loads: BTreeMap<&StrBytes, usize> = BTreeMap::new();
    let mut owners: BTreeMap<(Uuid, PartitionIndex), &StrBytes> = BTreeMap::new();
    let mut kept = BTreeSet::new();
    for (id, member) in &spec.members {
        for topic in member.topics.iter() {
            readers.entry(*topic).or_default().push(id);
        }
        let mine = keepable(spec, member, &kept);
        loads.insert(id, mine.len());
        owners.extend(mine.iter().map(|partition| (*partition, id)));
        kept.extend(mine);
    }
    // Topics with few readers first: they have the least choice.
    let mut topics: Vec<(&Uuid, &Vec<&StrBytes>)> = readers.iter().collect();
    topics.sort_by_key(|(topic, readers)| (readers.len(), **topic));
    for (topic, readers) in &topics {
        for index in 0..spec.count(topic) {
            let partition = (**topic, index);
            if owners.contains_key(&partition) {
                continue;
            }
            let Some(least) = least_loaded(&loads, readers) else { continue };
            owners.insert(partition, least);
            *loads.entry(least).or_default() += 1;
        }
    }
    balance(spec, &topics, &mut loads, &mut owners);
    let mut assignment: Assignment =
        spec.members.keys().map(|id| (id.clone(), Default::default())).collect();
    for ((topic, index), id) in owners {
        if let Some(mine) = assignment.get_mut(id) {
            mine.entry(topic).or_default().insert(index);
        }
    }
    assignment
}

fn least_loaded<'a>(
    loads: &BTreeMap<&'a StrBytes, usize>,
    readers: &[&'a StrBytes],
) -> Option<&'a StrBytes> {
    readers.iter().copied().min_by_key(|id| (loads.get(id).copied().unwrap_or(0), *id))
}

/// Passes over all partitions. Each move makes the sum of squared loads smaller, so they end by
/// themselves; the limit bounds the time for very large groups.
const PASSES_MAX: usize = 16;

fn balance<'a>(
    spec: &Spec,
    topics: &[(&Uuid, &Vec<&'a StrBytes>)],
    loads: &mut BTreeMap<&'a StrBytes, usize>,
    owners: &mut BTreeMap<(Uuid, PartitionIndex), &'a StrBytes>,
) {
    for _ in 0..PASSES_MAX {
        let mut has_moved = false;
        for (topic, readers) in topics {
            let Some(mut least) = least_loaded(loads, readers) else { continue };
            for index in 0..spec.count(topic) {
                let Some(owner) = owners.get_mut(&(**topic, index)) else { continue };
                let load = |id: &StrBytes| loads.get(id).copied().unwrap_or(0);
                if load(owner) < load(least) + 2 {
                    continue;
                }
                *loads.entry(*owner).or_default() -= 1;
                *loads.entry(least).or_default() += 1;
                *owner = least;
                has_moved = true;
                least = least_loaded(loads, readers).unwrap_or(least);
            }
        }
        if !has_moved {
            return;
        }
    }
}
