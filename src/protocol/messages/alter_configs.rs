//! AlterConfigs (33): replace whole configurations; deprecated in favour of
//! IncrementalAlterConfigs.

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Replace the whole configuration of these resources.
    message AlterConfigsRequest [0-2] flexible [2+] {
        /// One entry for each resource.
        resources: Vec<AlterConfigsResource> [0+];
        /// Check and answer, change nothing.
        validate_only: bool [0+];
    }

    /// One resource.
    struct AlterConfigsResource {
        /// Kind of resource: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group.
        resource_type: i8 [0+];
        /// Name of the resource: a topic, a broker's id, empty for the default of all brokers.
        resource_name: StrBytes [0+];
        /// One entry for each configuration key.
        configs: Vec<AlterableConfig> [0+];
    }

    /// One configuration key.
    struct AlterableConfig {
        /// Configuration key.
        name: StrBytes [0+];
        /// Its new value; null to go back to the default.
        value: Option<StrBytes> [0+], null [0+];
    }

    /// What became of it.
    message AlterConfigsResponse [0-2] flexible [2+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
        /// Results, one by one.
        responses: Vec<AlterConfigsResourceResponse> [0+];
    }

    /// One resource.
    struct AlterConfigsResourceResponse {
        /// How it went.
        error_code: ErrorCode [0+];
        /// What went wrong, for people; null if nothing did.
        error_message: Option<StrBytes> [0+], null [0+];
        /// Kind of resource: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group.
        resource_type: i8 [0+];
        /// Name of the resource: a topic, a broker's id, empty for the default of all brokers.
        resource_name: StrBytes [0+];
    }
}
