//! ListGroups, DescribeGroups, DeleteGroups.

use crate::cluster::image::Image;
use crate::model::PartitionIndex;
use crate::protocol::ErrorCode;
use crate::protocol::messages::consumer_group_describe::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse,
    DescribedGroup as DescribedConsumerGroup,
};
use crate::protocol::messages::delete_groups::{
    DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse,
};
use crate::protocol::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup,
};
use crate::protocol::messages::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup};
use crate::wire::StrBytes;

use super::Coordinator;
use super::group::Group;

/// The first version of DescribeGroups that says that a group is not there.
const GROUP_ID_NOT_FOUND_MIN: i16 = 6;

impl Coordinator {
    pub(super) fn list_groups(&self, request: &ListGroupsRequest) -> ListGroupsResponse {
        let wants = |filter: &[StrBytes], word: &str| {
            filter.is_empty() || filter.iter().any(|w| w.trim().eq_ignore_ascii_case(word))
        };
        let groups = self.groups.iter().filter_map(|(id, group)| {
            let (group_state, group_type) = (group.state(), group.kind());
            let is_wanted = wants(&request.states_filter, group_state)
                && wants(&request.types_filter, group_type);
            is_wanted.then(|| ListedGroup {
                group_id: id.clone(),
                protocol_type: group.protocol_type(),
                group_state: group_state.into(),
                group_type: group_type.into(),
            })
        });
        ListGroupsResponse { groups: groups.collect(), ..Default::default() }
    }

    pub(super) fn describe_groups(
        &self,
        version: i16,
        request: &DescribeGroupsRequest,
    ) -> DescribeGroupsResponse {
        let groups = request.groups.iter().map(|id| match self.groups.get(id) {
            Some(Group::Classic(group)) => group.describe(),
            other => {
                let mut described = DescribedGroup {
                    group_id: id.clone(),
                    group_state: StrBytes::from_static("Dead"),
                    ..Default::default()
                };
                if version >= GROUP_ID_NOT_FOUND_MIN {
                    let why = if other.is_some() { "is not a classic group" } else { "not found" };
                    described.error_code = ErrorCode::GROUP_ID_NOT_FOUND;
                    described.error_message = Some(format!("Group {id} {why}.").into());
                }
                described
            }
        });
        DescribeGroupsResponse { groups: groups.collect(), ..Default::default() }
    }

    pub(super) fn describe_consumer_groups(
        &self,
        image: &Image,
        request: &ConsumerGroupDescribeRequest,
    ) -> ConsumerGroupDescribeResponse {
        let groups = request.group_ids.iter().map(|id| match self.groups.get(id) {
            _ if id.is_empty() => DescribedConsumerGroup {
                error_code: ErrorCode::INVALID_GROUP_ID,
                ..Default::default()
            },
            Some(Group::Consumer(group)) => group.describe(&self.desk, image),
            other => {
                let why = if other.is_some() { "is not a consumer group" } else { "not found" };
                DescribedConsumerGroup {
                    error_code: ErrorCode::GROUP_ID_NOT_FOUND,
                    error_message: Some(format!("Group {id} {why}.").into()),
                    group_id: id.clone(),
                    ..Default::default()
                }
            }
        });
        ConsumerGroupDescribeResponse { groups: groups.collect(), ..Default::default() }
    }

    pub(super) fn delete_groups(&mut self, request: &DeleteGroupsRequest) -> DeleteGroupsResponse {
        let mut results = Vec::with_capacity(request.groups_names.len());
        for id in &request.groups_names {
            let error_code = match self.groups.get(id) {
                None => ErrorCode::GROUP_ID_NOT_FOUND,
                Some(group) if !group.is_empty() => ErrorCode::NON_EMPTY_GROUP,
                Some(_) => {
                    self.delete_group(id);
                    ErrorCode::NONE
                }
            };
            results.push(DeletableGroupResult { group_id: id.clone(), error_code });
        }
        DeleteGroupsResponse { results, ..Default::default() }
    }

    fn delete_group(&mut self, id: &StrBytes) {
        let offsets: Vec<(StrBytes, PartitionIndex)> = self
            .offsets
            .of(id)
            .into_iter()
            .flat_map(|of| &of.topics)
            .flat_map(|(topic, offsets)| offsets.keys().map(|index| (topic.clone(), *index)))
            .collect();
        self.forget(id, &offsets);
        self.remove_group(id);
    }
}
