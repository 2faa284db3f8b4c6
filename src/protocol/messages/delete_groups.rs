//! DeleteGroups (42).

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Delete these groups.
    message DeleteGroupsRequest [0-2] flexible [2+] {
        /// Ids of the groups.
        groups_names: Vec<StrBytes> [0+];
    }

    /// What became of it.
    message DeleteGroupsResponse [0-2] flexible [2+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
        /// Results, one by one.
        results: Vec<DeletableGroupResult> [0+];
    }

    /// One group.
    struct DeletableGroupResult {
        /// Id of the group.
        group_id: StrBytes [0+];
        /// How it went.
        error_code: ErrorCode [0+];
    }
}
