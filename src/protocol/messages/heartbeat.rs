//! Heartbeat (12): classic groups.

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// I am alive.
    message HeartbeatRequest [0-4] flexible [4+] {
        /// Id of the group.
        group_id: StrBytes [0+];
        /// Generation of the group.
        generation_id: i32 [0+];
        /// Id of the member.
        member_id: StrBytes [0+];
        /// Instance id of a static member (KIP-345); null for a dynamic one.
        group_instance_id: Option<StrBytes> [3+], null [3+];
    }

    /// Whether the group goes on or rebalances.
    message HeartbeatResponse [0-4] flexible [4+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [1+], ignorable;
        /// How it went.
        error_code: ErrorCode [0+];
    }
}
