//! DescribeClientQuotas (48) (KIP-546).

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Which quotas fit?
    message DescribeClientQuotasRequest [0-1] flexible [1+] {
        /// What an entity has to fit.
        components: Vec<ComponentData> [0+];
        /// Whether entities of further types are left out.
        strict: bool [0+];
    }

    /// One condition.
    struct ComponentData {
        /// `user`, `client-id` or `ip`.
        entity_type: StrBytes [0+];
        /// 0 this name, 1 the default, 2 any name.
        match_type: i8 [0+];
        /// The name; null for types 1 and 2. (`Match` in Kafka's schema.)
        match_text: Option<StrBytes> [0+], null [0+];
    }

    /// The quotas.
    message DescribeClientQuotasResponse [0-1] flexible [1+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
        /// How it went.
        error_code: ErrorCode [0+];
        /// What went wrong, for people; null if nothing did.
        error_message: Option<StrBytes> [0+], null [0+];
        /// One entry for each entity; null on an error.
        entries: Option<Vec<EntryData>> [0+], null [0+], default Some(Vec::new());
    }

    /// One entity and its quotas.
    struct EntryData {
        /// The parts of the entity.
        entity: Vec<EntityData> [0+];
        /// Its quotas.
        values: Vec<ValueData> [0+];
    }

    /// One part of an entity.
    struct EntityData {
        /// `user`, `client-id` or `ip`.
        entity_type: StrBytes [0+];
        /// Name of this part; null for the default.
        entity_name: Option<StrBytes> [0+], null [0+];
    }

    /// One quota.
    struct ValueData {
        /// Quota, such as `producer_byte_rate`.
        key: StrBytes [0+];
        /// Its value.
        value: f64 [0+];
    }
}
