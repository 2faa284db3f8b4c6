//! SyncGroup (14): hand out the assignment of a classic group.

use bytes::Bytes;

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Here is the assignment (the leader), or: what is mine?
    message SyncGroupRequest [0-5] flexible [4+] {
        /// Id of the group.
        group_id: StrBytes [0+];
        /// Generation of the group.
        generation_id: i32 [0+];
        /// Id of the member.
        member_id: StrBytes [0+];
        /// Instance id of a static member (KIP-345); null for a dynamic one.
        group_instance_id: Option<StrBytes> [3+], null [3+];
        /// Kind of protocol, such as `consumer`.
        protocol_type: Option<StrBytes> [5+], null [5+], ignorable;
        /// Protocol the coordinator has chosen, such as the assignor's name.
        protocol_name: Option<StrBytes> [5+], null [5+], ignorable;
        /// What each member gets, from the leader; empty from the others.
        assignments: Vec<SyncGroupRequestAssignment> [0+];
    }

    /// What one member gets.
    struct SyncGroupRequestAssignment {
        /// Id of the member.
        member_id: StrBytes [0+];
        /// What the member has been assigned, in the client's encoding.
        assignment: Bytes [0+];
    }

    /// What the member gets.
    message SyncGroupResponse [0-5] flexible [4+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [1+], ignorable;
        /// How it went.
        error_code: ErrorCode [0+];
        /// Kind of protocol, such as `consumer`.
        protocol_type: Option<StrBytes> [5+], null [5+], ignorable;
        /// Protocol the coordinator has chosen, such as the assignor's name.
        protocol_name: Option<StrBytes> [5+], null [5+], ignorable;
        /// What the member has been assigned, in the client's encoding.
        assignment: Bytes [0+];
    }
}
