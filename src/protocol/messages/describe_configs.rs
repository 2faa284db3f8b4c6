//! DescribeConfigs (32): configuration of topics, brokers, groups.

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// What is configured?
    message DescribeConfigsRequest [1-4] flexible [4+] {
        /// One entry for each resource.
        resources: Vec<DescribeConfigsResource> [0+];
        /// Whether to list where each value could come from.
        include_synonyms: bool [0+];
        /// Whether to add the documentation of each key.
        include_documentation: bool [3+];
    }

    /// One resource that is asked about.
    struct DescribeConfigsResource {
        /// Kind of resource: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group.
        resource_type: i8 [0+];
        /// Name of the resource: a topic, a broker's id, empty for the default of all brokers.
        resource_name: StrBytes [0+];
        /// Keys that are wanted; null for all.
        configuration_keys: Option<Vec<StrBytes>> [0+], null [0+], default Some(Vec::new());
    }

    /// Configuration of each resource.
    message DescribeConfigsResponse [1-4] flexible [4+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
        /// Results, one by one.
        results: Vec<DescribeConfigsResult> [0+];
    }

    /// One resource.
    struct DescribeConfigsResult {
        /// How it went.
        error_code: ErrorCode [0+];
        /// What went wrong, for people; null if nothing did.
        error_message: Option<StrBytes> [0+], null [0+];
        /// Kind of resource: 2 topic, 4 broker, 8 broker logger, 16 client metrics, 32 group.
        resource_type: i8 [0+];
        /// Name of the resource: a topic, a broker's id, empty for the default of all brokers.
        resource_name: StrBytes [0+];
        /// One entry for each configuration key.
        configs: Vec<DescribeConfigsResourceResult> [0+];
    }

    /// One configuration key.
    struct DescribeConfigsResourceResult {
        /// Configuration key.
        name: StrBytes [0+];
        /// Its value; null if it is sensitive.
        value: Option<StrBytes> [0+], null [0+];
        /// Whether the key can be changed.
        read_only: bool [0+];
        /// Where the value comes from: 1 topic, 2 dynamic broker, 3 dynamic default of all brokers,
        /// 4 broker file, 5 built-in default, 6 dynamic broker logger, 7 client metrics, 8 group.
        config_source: i8 [0+], default -1;
        /// Whether the value is a secret and therefore hidden.
        is_sensitive: bool [0+];
        /// Where the value could come from, strongest first.
        synonyms: Vec<DescribeConfigsSynonym> [0+];
        /// Type of the value: 1 boolean, 2 string, 3 int, 4 short, 5 long, 6 double, 7 list, 8
        /// class, 9 password; 0 unknown.
        config_type: i8 [3+], ignorable;
        /// What the key means.
        documentation: Option<StrBytes> [3+], null [3+], ignorable;
    }

    /// One place a value could come from.
    struct DescribeConfigsSynonym {
        /// Configuration key.
        name: StrBytes [0+];
        /// Its value; null if it is sensitive.
        value: Option<StrBytes> [0+], null [0+];
        /// Where this value comes from; numbers as in `config_source`.
        source: i8 [0+];
    }
}
