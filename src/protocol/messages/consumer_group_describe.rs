//! ConsumerGroupDescribe (69): consumer groups (KIP-848).

use crate::model::Uuid;
use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// What do these consumer groups look like?
    message ConsumerGroupDescribeRequest [0-1] flexible [0+] {
        /// Ids of the groups.
        group_ids: Vec<StrBytes> [0+];
        /// Whether to list what the client may do with each group.
        include_authorized_operations: bool [0+];
    }

    /// Their states and members.
    message ConsumerGroupDescribeResponse [0-1] flexible [0+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
        /// One entry for each group.
        groups: Vec<DescribedGroup> [0+];
    }

    /// One group.
    struct DescribedGroup {
        /// How it went.
        error_code: ErrorCode [0+];
        /// What went wrong, for people; null if nothing did.
        error_message: Option<StrBytes> [0+], null [0+];
        /// Id of the group.
        group_id: StrBytes [0+];
        /// State of the group: `Empty`, `Assigning`, `Reconciling`, `Stable`, `Dead`.
        group_state: StrBytes [0+];
        /// Epoch of the group.
        group_epoch: i32 [0+];
        /// Epoch of the target assignment.
        assignment_epoch: i32 [0+];
        /// Assignor in use.
        assignor_name: StrBytes [0+];
        /// One entry for each member.
        members: Vec<Member> [0+];
        /// Bits of the operations that the client may do; `i32::MIN` if not asked for.
        authorized_operations: i32 [0+], default i32::MIN;
    }

    /// One member.
    struct Member {
        /// Id of the member.
        member_id: StrBytes [0+];
        /// Instance id of a static member (KIP-345); null for a dynamic one.
        instance_id: Option<StrBytes> [0+], null [0+];
        /// Rack of the member; null without one.
        rack_id: Option<StrBytes> [0+], null [0+];
        /// Epoch of the member (KIP-848).
        member_epoch: i32 [0+];
        /// Client id of the member.
        client_id: StrBytes [0+];
        /// Address of the member.
        client_host: StrBytes [0+];
        /// Topics the member subscribes to.
        subscribed_topic_names: Vec<StrBytes> [0+];
        /// Expression (RE2/J) of the topics the member subscribes to.
        subscribed_topic_regex: Option<StrBytes> [0+], null [0+];
        /// Partitions the member has.
        assignment: Assignment [0+];
        /// Partitions the member shall have.
        target_assignment: Assignment [0+];
        /// 0 classic, 1 consumer, -1 unknown.
        member_type: i8 [1+], default -1, ignorable;
    }

    /// Partitions of one topic.
    struct TopicPartitions {
        /// Id of the topic (KIP-516).
        topic_id: Uuid [0+];
        /// Name of the topic.
        topic_name: StrBytes [0+];
        /// Numbers of the partitions.
        partitions: Vec<i32> [0+];
    }

    /// Partitions of one member.
    struct Assignment {
        /// Topics with their partitions.
        topic_partitions: Vec<TopicPartitions> [0+];
    }
}
