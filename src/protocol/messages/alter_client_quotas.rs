//! AlterClientQuotas (49) (KIP-546).

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Change these quotas.
    message AlterClientQuotasRequest [0-1] flexible [1+] {
        /// One entry for each entity.
        entries: Vec<EntryData> [0+];
        /// Check and answer, change nothing.
        validate_only: bool [0+];
    }

    /// One entity and its quotas.
    struct EntryData {
        /// The parts of the entity.
        entity: Vec<EntityData> [0+];
        /// What to change.
        ops: Vec<OpData> [0+];
    }

    /// One part of an entity.
    struct EntityData {
        /// `user`, `client-id` or `ip`.
        entity_type: StrBytes [0+];
        /// Name of this part; null for the default.
        entity_name: Option<StrBytes> [0+], null [0+];
    }

    /// One change.
    struct OpData {
        /// Quota, such as `producer_byte_rate`.
        key: StrBytes [0+];
        /// Its new value.
        value: f64 [0+];
        /// Whether to remove the quota instead.
        remove: bool [0+];
    }

    /// What became of it.
    message AlterClientQuotasResponse [0-1] flexible [1+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
        /// One entry for each entity.
        entries: Vec<EntryResult> [0+];
    }

    /// One entity.
    struct EntryResult {
        /// How it went.
        error_code: ErrorCode [0+];
        /// What went wrong, for people; null if nothing did.
        error_message: Option<StrBytes> [0+], null [0+];
        /// The parts of the entity.
        entity: Vec<EntityData> [0+];
    }
}
