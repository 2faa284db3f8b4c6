//! ListConfigResources (74): version 0 knows client metrics only (KIP-714), version 1 all kinds
//! (KIP-1142).

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Which resources have a configuration?
    message ListConfigResourcesRequest [0-1] flexible [0+] {
        /// Kinds that are wanted; empty for all.
        resource_types: Vec<i8> [1+];
    }

    /// The resources.
    message ListConfigResourcesResponse [0-1] flexible [0+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
        /// How it went.
        error_code: ErrorCode [0+];
        /// One entry for each resource.
        config_resources: Vec<ConfigResource> [0+];
    }

    /// One resource.
    struct ConfigResource {
        /// Name of the resource: a topic, a broker's id, empty for the default of all brokers.
        resource_name: StrBytes [0+];
        /// Kind of resource: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group.
        resource_type: i8 [1+], default 16, ignorable;
    }
}
