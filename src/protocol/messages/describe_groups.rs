//! DescribeGroups (15): classic groups.

use bytes::Bytes;

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// What do these classic groups look like?
    message DescribeGroupsRequest [0-6] flexible [5+] {
        /// Ids of the groups.
        groups: Vec<StrBytes> [0+];
        /// Whether to list what the client may do with each group.
        include_authorized_operations: bool [3+];
    }

    /// Their states and members.
    message DescribeGroupsResponse [0-6] flexible [5+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [1+], ignorable;
        /// One entry for each group.
        groups: Vec<DescribedGroup> [0+];
    }

    /// One group.
    struct DescribedGroup {
        /// How it went.
        error_code: ErrorCode [0+];
        /// What went wrong, for people; null if nothing did.
        error_message: Option<StrBytes> [6+], null [6+];
        /// Id of the group.
        group_id: StrBytes [0+];
        /// State of the group: `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Stable`,
        /// `Dead` and others.
        group_state: StrBytes [0+];
        /// Kind of protocol, such as `consumer`.
        protocol_type: StrBytes [0+];
        /// Protocol that all members share; empty without.
        protocol_data: StrBytes [0+];
        /// One entry for each member.
        members: Vec<DescribedGroupMember> [0+];
        /// Bits of the operations that the client may do; `i32::MIN` if not asked for.
        authorized_operations: i32 [3+], default i32::MIN;
    }

    /// One member.
    struct DescribedGroupMember {
        /// Id of the member.
        member_id: StrBytes [0+];
        /// Instance id of a static member (KIP-345); null for a dynamic one.
        group_instance_id: Option<StrBytes> [4+], null [4+], ignorable;
        /// Client id of the member.
        client_id: StrBytes [0+];
        /// Address of the member.
        client_host: StrBytes [0+];
        /// What the member said when it joined, in the client's encoding.
        member_metadata: Bytes [0+];
        /// What the member has been assigned, in the client's encoding.
        member_assignment: Bytes [0+];
    }
}
