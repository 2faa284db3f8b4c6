//! ConsumerGroupHeartbeat (68): membership of consumer groups (KIP-848).

use crate::model::Uuid;
use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// I am alive; this has changed.
    message ConsumerGroupHeartbeatRequest [0-1] flexible [0+] {
        /// Id of the group.
        group_id: StrBytes [0+];
        /// Id of the member, chosen by the client from version 1.
        member_id: StrBytes [0+];
        /// Epoch of the member; 0 to join, -1 to leave, -2 to leave as a static member that comes
        /// back.
        member_epoch: i32 [0+];
        /// Instance id of a static member; null if unchanged.
        instance_id: Option<StrBytes> [0+], null [0+];
        /// Rack of the member; null if unchanged.
        rack_id: Option<StrBytes> [0+], null [0+];
        /// Milliseconds to give up revoked partitions; -1 if unchanged.
        rebalance_timeout_ms: i32 [0+], default -1;
        /// Topics the member subscribes to; null if unchanged.
        subscribed_topic_names: Option<Vec<StrBytes>> [0+], null [0+];
        /// Expression (RE2/J) of the topics; null if unchanged.
        subscribed_topic_regex: Option<StrBytes> [1+], null [1+];
        /// Assignor of the coordinator to use; null if unchanged.
        server_assignor: Option<StrBytes> [0+], null [0+];
        /// Partitions the member owns; null if unchanged.
        topic_partitions: Option<Vec<TopicPartitions>> [0+], null [0+];
    }

    /// Partitions of one topic.
    struct TopicPartitions {
        /// Id of the topic (KIP-516).
        topic_id: Uuid [0+];
        /// Numbers of the partitions.
        partitions: Vec<i32> [0+];
    }

    /// The member's epoch and, if it changed, its assignment.
    message ConsumerGroupHeartbeatResponse [0-1] flexible [0+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
        /// How it went.
        error_code: ErrorCode [0+];
        /// What went wrong, for people; null if nothing did.
        error_message: Option<StrBytes> [0+], null [0+];
        /// Id of the member; null on an error.
        member_id: Option<StrBytes> [0+], null [0+];
        /// Epoch of the member (KIP-848).
        member_epoch: i32 [0+];
        /// Milliseconds between heartbeats.
        heartbeat_interval_ms: i32 [0+];
        /// Partitions of the member; null if unchanged.
        assignment: Option<Assignment> [0+], null [0+];
    }

    /// Partitions of one member.
    struct Assignment {
        /// Topics with their partitions.
        topic_partitions: Vec<TopicPartitions> [0+];
    }
}
