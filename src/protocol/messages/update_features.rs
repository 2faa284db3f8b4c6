//! UpdateFeatures (57): finalize feature levels (KIP-584).

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Finalize these feature levels.
    message UpdateFeaturesRequest [0-2] flexible [0+] {
        /// Milliseconds that the broker may take.
        timeout_ms: i32 [0+], default 60000;
        /// One entry for each feature.
        feature_updates: Vec<FeatureUpdateKey> [0+];
        /// Check and answer, change nothing.
        validate_only: bool [1+];
    }

    /// One feature.
    struct FeatureUpdateKey {
        /// Name of the feature.
        feature: StrBytes [0+];
        /// Level to finalize; below 1 to remove the feature.
        max_version_level: i16 [0+];
        /// Whether the level may go down.
        allow_downgrade: bool [0];
        /// 1 upgrade, 2 downgrade without loss, 3 downgrade that may lose metadata.
        upgrade_type: i8 [1+], default 1;
    }

    /// What became of it.
    message UpdateFeaturesResponse [0-2] flexible [0+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
        /// How it went.
        error_code: ErrorCode [0+];
        /// What went wrong, for people; null if nothing did.
        error_message: Option<StrBytes> [0+], null [0+];
        /// Results, one by one.
        results: Vec<UpdatableFeatureResult> [0-1], ignorable;
    }

    /// One feature (up to version 1).
    struct UpdatableFeatureResult {
        /// Name of the feature.
        feature: StrBytes [0+];
        /// How it went.
        error_code: ErrorCode [0+];
        /// What went wrong, for people; null if nothing did.
        error_message: Option<StrBytes> [0+], null [0+];
    }
}
