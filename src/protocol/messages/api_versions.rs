//! ApiVersions (18): what a broker speaks.

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// What do you speak? The first request of a connection.
    message ApiVersionsRequest [0-4] flexible [3+] {
        /// Name of the client library.
        client_software_name: StrBytes [3+], ignorable;
        /// Version of the client library.
        client_software_version: StrBytes [3+], ignorable;
    }

    /// The APIs and their versions. Also the answer to a request of an unknown version, then in
    /// version 0 with `UNSUPPORTED_VERSION` (KIP-511).
    message ApiVersionsResponse [0-4] flexible [3+] {
        /// How it went.
        error_code: ErrorCode [0+];
        /// The APIs that are served.
        api_keys: Vec<ApiVersion> [0+];
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [1+], ignorable;
    } & tagged {
        /// Features that this broker could run with; up to version 3 without those whose minimum is
        /// 0.
        0: supported_features: Vec<SupportedFeatureKey> [3+], ignorable;
        /// Grows with each change of the finalized features; -1 if there are none.
        1: finalized_features_epoch: i64 [3+], default -1, ignorable;
        /// Features that the cluster has agreed on; valid if the epoch is not -1.
        2: finalized_features: Vec<FinalizedFeatureKey> [3+], ignorable;
        /// Whether a controller is ready to migrate from ZooKeeper; never here.
        3: zk_migration_ready: bool [3+], ignorable;
    }

    /// One API and its range of versions.
    struct ApiVersion {
        /// Number of the API.
        api_key: i16 [0+];
        /// First version that is served.
        min_version: i16 [0+];
        /// Last version that is served.
        max_version: i16 [0+];
    }

    /// A feature this broker could run with.
    struct SupportedFeatureKey {
        /// Name of the feature.
        name: StrBytes [3+];
        /// Lowest level that is supported.
        min_version: i16 [3+];
        /// Highest level that is supported.
        max_version: i16 [3+];
    }

    /// A feature of the cluster.
    struct FinalizedFeatureKey {
        /// Name of the feature.
        name: StrBytes [3+];
        /// Highest finalized level.
        max_version_level: i16 [3+];
        /// Lowest finalized level.
        min_version_level: i16 [3+];
    }
}
