//! DeleteAcls (31) (KIP-140, KIP-290).

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Let the ACLs that match any of these filters hold no longer.
    message DeleteAclsRequest [1-3] flexible [2+] {
        /// The filters.
        filters: Vec<DeleteAclsFilter> [0+];
    }

    /// One filter.
    struct DeleteAclsFilter {
        /// Kind of resource: 1 any, 2 topic, 3 group, 4 cluster.
        resource_type_filter: i8 [0+];
        /// Name of the resource; null for any.
        resource_name_filter: Option<StrBytes> [0+], null [0+];
        /// How names match: 1 any, 2 match, 3 literal, 4 prefixed.
        pattern_type_filter: i8 [1+], default 3;
        /// Who; null for any.
        principal_filter: Option<StrBytes> [0+], null [0+];
        /// From which host; null for any.
        host_filter: Option<StrBytes> [0+], null [0+];
        /// What is done; 1 for anything.
        operation: i8 [0+];
        /// 1 any, 2 deny, 3 allow.
        permission_type: i8 [0+];
    }

    /// How it went, in order of the filters.
    message DeleteAclsResponse [1-3] flexible [2+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
        /// Results, one by one.
        filter_results: Vec<DeleteAclsFilterResult> [0+];
    }

    /// One filter.
    struct DeleteAclsFilterResult {
        /// How it went.
        error_code: ErrorCode [0+];
        /// What went wrong, for people; null if nothing did.
        error_message: Option<StrBytes> [0+], null [0+];
        /// The ACLs that are gone.
        matching_acls: Vec<DeleteAclsMatchingAcl> [0+];
    }

    /// One ACL.
    struct DeleteAclsMatchingAcl {
        /// How it went.
        error_code: ErrorCode [0+];
        /// What went wrong, for people; null if nothing did.
        error_message: Option<StrBytes> [0+], null [0+];
        /// Kind of resource.
        resource_type: i8 [0+];
        /// Its name.
        resource_name: StrBytes [0+];
        /// How names match.
        pattern_type: i8 [1+], default 3;
        /// Who.
        principal: StrBytes [0+];
        /// From which host.
        host: StrBytes [0+];
        /// What is done.
        operation: i8 [0+];
        /// 2 deny, 3 allow.
        permission_type: i8 [0+];
    }
}
