//! IncrementalAlterConfigs (44): change single configuration keys (KIP-339).

use super::alter_configs::AlterConfigsResourceResponse;
use crate::wire::{StrBytes, schema};

schema! {
    /// Change these configuration keys.
    message IncrementalAlterConfigsRequest [0-1] flexible [1+] {
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
        /// 0 set, 1 delete, 2 append, 3 subtract.
        config_operation: i8 [0+];
        /// Its new value; null to go back to the default.
        value: Option<StrBytes> [0+], null [0+];
    }

    /// What became of it.
    message IncrementalAlterConfigsResponse [0-1] flexible [1+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
        /// Results, one by one.
        responses: Vec<AlterConfigsResourceResponse> [0+];
    }
}
