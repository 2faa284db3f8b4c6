//! JoinGroup (11): classic groups.

use bytes::Bytes;

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Let me into the group, or keep me in it.
    message JoinGroupRequest [0-9] flexible [6+] {
        /// Id of the group.
        group_id: StrBytes [0+];
        /// Milliseconds without a heartbeat after which the member is dead.
        session_timeout_ms: i32 [0+];
        /// Milliseconds that members have to join again.
        rebalance_timeout_ms: i32 [1+], default -1, ignorable;
        /// Id of the member; empty at its first join.
        member_id: StrBytes [0+];
        /// Instance id of a static member (KIP-345); null for a dynamic one.
        group_instance_id: Option<StrBytes> [5+], null [5+];
        /// Kind of protocol, such as `consumer`.
        protocol_type: StrBytes [0+];
        /// Protocols of the member, best first.
        protocols: Vec<JoinGroupRequestProtocol> [0+];
        /// Why, in the client's words (KIP-800).
        reason: Option<StrBytes> [8+], null [8+], ignorable;
    }

    /// One protocol of the member.
    struct JoinGroupRequestProtocol {
        /// Name of the protocol.
        name: StrBytes [0+];
        /// What the member says to the leader, in the client's encoding.
        metadata: Bytes [0+];
    }

    /// The generation, and who leads it.
    message JoinGroupResponse [0-9] flexible [6+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [2+], ignorable;
        /// How it went.
        error_code: ErrorCode [0+];
        /// Generation of the group.
        generation_id: i32 [0+], default -1;
        /// Kind of protocol, such as `consumer`.
        protocol_type: Option<StrBytes> [7+], null [7+], ignorable;
        /// Protocol that all members share; null on an error from version 7.
        protocol_name: Option<StrBytes> [0+], null [7+];
        /// Member id of the leader.
        leader: StrBytes [0+];
        /// Whether the leader must not assign, for nothing has changed (KIP-814).
        skip_assignment: bool [9+];
        /// Id of the member.
        member_id: StrBytes [0+];
        /// All members, for the leader; empty for the others.
        members: Vec<JoinGroupResponseMember> [0+];
    }

    /// One member.
    struct JoinGroupResponseMember {
        /// Id of the member.
        member_id: StrBytes [0+];
        /// Instance id of a static member (KIP-345); null for a dynamic one.
        group_instance_id: Option<StrBytes> [5+], null [5+], ignorable;
        /// What the member says, in the client's encoding.
        metadata: Bytes [0+];
    }
}
