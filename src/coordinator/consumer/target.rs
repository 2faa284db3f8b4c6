//! From what the members want to what each shall have.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::cluster::image::Image;
use crate::model::Uuid;
use crate::wire::StrBytes;

use super::assignor::{Reader, Spec, assign};
use super::partitions::Partitions;
use super::{ConsumerGroup, ConsumerMember};
use crate::coordinator::desk::Desk;

impl ConsumerGroup {
    /// Names of the topics that a member reads.
    fn topics_of<'a>(
        &'a self,
        member: &'a ConsumerMember,
    ) -> impl Iterator<Item = &'a StrBytes> + 'a {
        let resolved = member.regex().and_then(|regex| self.regexes.get(regex));
        member.topics.iter().chain(resolved.into_iter().flat_map(|resolved| &resolved.topics))
    }

    /// Ids of the topics that a member reads and that are there.
    pub(super) fn topic_ids_of(&self, image: &Image, member: &ConsumerMember) -> BTreeSet<Uuid> {
        self.topics_of(member).filter_map(|name| Some(image.topic(name)?.id)).collect()
    }

    /// Assign anew if what the members want has changed since the last target.
    pub(super) fn update_target(&mut self, desk: &mut Desk, image: &Image) {
        if self.target_epoch >= self.epoch || self.waits_for_room(desk) {
            return;
        }
        let mut assignment = assign(&self.preferred_assignor(desk), &self.spec(image));
        if !self.has_room_for_target(desk, assignment.iter()) {
            return;
        }
        let ids: Vec<StrBytes> = self.members.keys().cloned().collect();
        for id in ids {
            let target = assignment.remove(&id).unwrap_or_default();
            if self.target.get(&id) != Some(&target) {
                let record = self.target_record(&id, Some(&target));
                self.commit(desk, record);
            }
        }
        let record = self.target_epoch_record(self.epoch, desk.now);
        self.commit(desk, record);
        desk.rebalances += 1;
    }

    fn spec(&self, image: &Image) -> Spec {
        // Members mostly read the same: resolve each set of words once.
        type Words<'a> = (&'a BTreeSet<StrBytes>, Option<&'a StrBytes>);
        let mut sets: BTreeMap<Words<'_>, Rc<BTreeSet<Uuid>>> = BTreeMap::new();
        let mut partition_counts = BTreeMap::new();
        let mut members = BTreeMap::new();
        for (id, member) in &self.members {
            let words = (&member.topics, member.regex());
            let topics =
                sets.entry(words).or_insert_with(|| Rc::new(self.topic_ids_of(image, member)));
            for topic in topics.iter() {
                partition_counts.entry(*topic).or_insert_with(|| {
                    let count = image.topic_by_id(*topic).map_or(0, |t| t.partitions.len());
                    i32::try_from(count).unwrap_or(i32::MAX)
                });
            }
            let reader = Reader {
                instance_id: member.instance_id.clone(),
                topics: topics.clone(),
                target: self.target.get(id).cloned().unwrap_or_default(),
            };
            members.insert(id.clone(), reader);
        }
        Spec { members, partition_counts }
    }

    /// The assignor that most members wish for; without a wish, the default.
    pub(super) fn preferred_assignor(&self, desk: &Desk) -> String {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for name in self.members.values().filter_map(|member| member.server_assignor.as_ref()) {
            *votes.entry(name).or_default() += 1;
        }
        let most = votes.into_iter().rev().max_by_key(|(_, count)| *count);
        match (most, desk.settings.consumer_assignors.first()) {
            (Some((name, _)), _) => name.to_owned(),
            (None, Some(name)) => name.clone(),
            (None, None) => "uniform".to_owned(),
        }
    }

    /// What a member shall have.
    pub(super) fn target_of(&self, id: &StrBytes) -> Partitions {
        self.target.get(id).cloned().unwrap_or_default()
    }
}
