//! LeaveGroup (13): one member up to version 2, many from version 3 (KIP-345).

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Take these members out.
    message LeaveGroupRequest [0-5] flexible [4+] {
        /// Id of the group.
        group_id: StrBytes [0+];
        /// Id of the member that leaves.
        member_id: StrBytes [0-2];
        /// One entry for each member.
        members: Vec<MemberIdentity> [3+];
    }

    /// One member.
    struct MemberIdentity {
        /// Id of the member.
        member_id: StrBytes [3+];
        /// Instance id of a static member (KIP-345); null for a dynamic one.
        group_instance_id: Option<StrBytes> [3+], null [3+];
        /// Why, in the client's words (KIP-800).
        reason: Option<StrBytes> [5+], null [5+], ignorable;
    }

    /// What became of it.
    message LeaveGroupResponse [0-5] flexible [4+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [1+], ignorable;
        /// How it went.
        error_code: ErrorCode [0+];
        /// One entry for each member.
        members: Vec<MemberResponse> [3+];
    }

    /// One member.
    struct MemberResponse {
        /// Id of the member.
        member_id: StrBytes [3+];
        /// Instance id of a static member (KIP-345); null for a dynamic one.
        group_instance_id: Option<StrBytes> [3+], null [3+];
        /// How it went.
        error_code: ErrorCode [3+];
    }
}
