//! ListGroups (16).

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Which groups are there?
    message ListGroupsRequest [0-5] flexible [3+] {
        /// States that are wanted; empty for all.
        states_filter: Vec<StrBytes> [4+];
        /// Types that are wanted (`classic`, `consumer`, ...); empty for all.
        types_filter: Vec<StrBytes> [5+];
    }

    /// The groups this broker coordinates.
    message ListGroupsResponse [0-5] flexible [3+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [1+], ignorable;
        /// How it went.
        error_code: ErrorCode [0+];
        /// One entry for each group.
        groups: Vec<ListedGroup> [0+];
    }

    /// One group.
    struct ListedGroup {
        /// Id of the group.
        group_id: StrBytes [0+];
        /// Kind of protocol, such as `consumer`.
        protocol_type: StrBytes [0+];
        /// State of the group: `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Stable`,
        /// `Dead` and others.
        group_state: StrBytes [4+], ignorable;
        /// Type of the group: `classic`, `consumer`, `share`, `streams`.
        group_type: StrBytes [5+], ignorable;
    }
}
