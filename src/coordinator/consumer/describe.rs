//! ConsumerGroupDescribe.

use crate::cluster::image::Image;
use crate::protocol::messages::consumer_group_describe::{DescribedGroup, Member};

use super::ConsumerGroup;
use super::member::ConsumerMember;
use super::partitions::{each_owned, partitions_of, to_description};
use crate::coordinator::desk::Desk;

impl ConsumerGroup {
    /// The group as ConsumerGroupDescribe shows it.
    pub fn describe(&self, desk: &Desk, image: &Image) -> DescribedGroup {
        let describe = |member: &ConsumerMember| Member {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            rack_id: member.rack_id.clone(),
            member_epoch: member.epoch,
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            subscribed_topic_names: member.topics.iter().cloned().collect(),
            subscribed_topic_regex: member.regex.clone(),
            // Until it has given up a partition, a member has it.
            assignment: to_description(
                image,
                &partitions_of(each_owned(&member.assigned).chain(each_owned(&member.revoking))),
            ),
            target_assignment: to_description(image, &self.target_of(&member.id)),
            member_type: i8::from(!member.is_classic()),
        };
        DescribedGroup {
            group_id: self.id.clone(),
            group_state: self.state().into(),
            group_epoch: self.epoch,
            assignment_epoch: self.target_epoch,
            assignor_name: self.preferred_assignor(desk).into(),
            members: self.members.values().map(describe).collect(),
            ..Default::default()
        }
    }
}
