//! `range`: of every topic each reader gets a run of neighbouring partitions, and readers of the
//! same topics get the same numbers of each, so that topics can be joined.

use std::collections::BTreeMap;

use crate::model::Uuid;
use crate::wire::StrBytes;

use super::{Assignment, Reader, Spec};

/// What is left of a topic.
struct Rest {
    next: i32,
    count: i32,
    quota: i32,
    /// Readers that get one more than the quota.
    extra: i32,
}

pub(super) fn assign(spec: &Spec) -> Assignment {
    let mut readers: BTreeMap<Uuid, i32> = BTreeMap::new();
    for topic in spec.members.values().flat_map(|member| member.topics.iter()) {
        *readers.entry(*topic).or_default() += 1;
    }
    let rest = |(topic, readers): (&Uuid, &i32)| {
        let count = spec.count(topic);
        (*topic, Rest { next: 0, count, quota: count / readers, extra: count % readers })
    };
    let mut rests: BTreeMap<Uuid, Rest> = readers.iter().map(rest).collect();
    let mut members: Vec<(&StrBytes, &Reader)> = spec.members.iter().collect();
    // Static members first, by their instance: they keep their place when their ids change.
    members.sort_by_key(|(id, member)| (member.instance_id.is_none(), &member.instance_id, *id));
    let mut assignment = Assignment::new();
    for (id, member) in members {
        let mine = assignment.entry(id.clone()).or_default();
        for topic in member.topics.iter() {
            let Some(rest) = rests.get_mut(topic) else { continue };
            let mut quota = rest.quota;
            if rest.extra > 0 {
                rest.extra -= 1;
                quota += 1;
            }
            let end = (rest.next + quota).min(rest.count);
            if rest.next < end {
                mine.insert(*topic, (rest.next..end).collect());
            }
            rest.next = end;
        }
    }
    assignment
}
