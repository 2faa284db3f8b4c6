//! One error for a whole request.

use crate::protocol::ErrorCode;
use crate::protocol::messages::{
    consumer_group_describe::{ConsumerGroupDescribeResponse, DescribedGroup as ConsumerGroup},
    consumer_group_heartbeat::ConsumerGroupHeartbeatResponse,
    delete_groups::{DeletableGroupResult, DeleteGroupsResponse},
    describe_groups::{DescribeGroupsResponse, DescribedGroup},
    heartbeat::HeartbeatResponse,
    join_group::JoinGroupResponse,
    leave_group::LeaveGroupResponse,
    list_groups::ListGroupsResponse,
    offset_delete::OffsetDeleteResponse,
    sync_group::SyncGroupResponse,
};

use super::{Request, Response, commit, fetch};

impl Request {
    /// The answer that says `error` of everything that was asked.
    pub fn refuse(&self, version: i16, error: ErrorCode) -> Response {
        match self {
            Self::JoinGroup(request) => Response::JoinGroup(JoinGroupResponse {
                error_code: error,
                member_id: request.member_id.clone(),
                protocol_name: (version < 7).then(Default::default),
                ..Default::default()
            }),
            Self::SyncGroup(_) => {
                Response::SyncGroup(SyncGroupResponse { error_code: error, ..Default::default() })
            }
            Self::Heartbeat(_) => {
                Response::Heartbeat(HeartbeatResponse { error_code: error, ..Default::default() })
            }
            Self::LeaveGroup(_) => {
                Response::LeaveGroup(LeaveGroupResponse { error_code: error, ..Default::default() })
            }
            Self::OffsetCommit(request) => Response::OffsetCommit(commit::refused(request, error)),
            Self::OffsetFetch(request) => {
                let groups = fetch::groups_of(version, request.clone());
                let groups =
                    groups.iter().map(|group| fetch::refused(version, group, error)).collect();
                Response::OffsetFetch(fetch::in_shape_of(version, groups))
            }
            Self::OffsetDelete(_) => Response::OffsetDelete(OffsetDeleteResponse {
                error_code: error,
                ..Default::default()
            }),
            Self::ListGroups(_) => {
                Response::ListGroups(ListGroupsResponse { error_code: error, ..Default::default() })
            }
            Self::DescribeGroups(request) => {
                let groups = request.groups.iter().map(|group| DescribedGroup {
                    error_code: error,
                    group_id: group.clone(),
                    ..Default::default()
                });
                Response::DescribeGroups(DescribeGroupsResponse {
                    groups: groups.collect(),
                    ..Default::default()
                })
            }
            Self::DeleteGroups(request) => {
                let results = request.groups_names.iter().map(|group| DeletableGroupResult {
                    group_id: group.clone(),
                    error_code: error,
                });
                Response::DeleteGroups(DeleteGroupsResponse {
                    results: results.collect(),
                    ..Default::default()
                })
            }
            Self::ConsumerGroupHeartbeat(_) => {
                Response::ConsumerGroupHeartbeat(ConsumerGroupHeartbeatResponse {
                    error_code: error,
                    error_message: Some(error.text().into()),
                    ..Default::default()
                })
            }
            Self::ConsumerGroupDescribe(request) => {
                let groups = request.group_ids.iter().map(|group| ConsumerGroup {
                    error_code: error,
                    group_id: group.clone(),
                    ..Default::default()
                });
                Response::ConsumerGroupDescribe(ConsumerGroupDescribeResponse {
                    groups: groups.collect(),
                    ..Default::default()
                })
            }
        }
    }
}
