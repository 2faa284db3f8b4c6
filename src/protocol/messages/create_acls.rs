//! CreateAcls (30) (KIP-140, KIP-290).

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Let these ACLs hold.
    message CreateAclsRequest [1-3] flexible [2+] {
        /// The ACLs.
        creations: Vec<AclCreation> [0+];
    }

    /// One ACL.
    struct AclCreation {
        /// Kind of resource: 2 topic, 3 group, 4 cluster.
        resource_type: i8 [0+];
        /// Its name.
        resource_name: StrBytes [0+];
        /// How names match: 3 literal, 4 prefixed.
        resource_pattern_type: i8 [1+], default 3;
        /// Who.
        principal: StrBytes [0+];
        /// From which host.
        host: StrBytes [0+];
        /// What is done.
        operation: i8 [0+];
        /// 2 deny, 3 allow.
        permission_type: i8 [0+];
    }

    /// How it went, in order of the request.
    message CreateAclsResponse [1-3] flexible [2+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
        /// Results, one by one.
        results: Vec<AclCreationResult> [0+];
    }

    /// One ACL.
    struct AclCreationResult {
        /// How it went.
        error_code: ErrorCode [0+];
        /// What went wrong, for people; null if nothing did.
        error_message: Option<StrBytes> [0+], null [0+];
    }
}
