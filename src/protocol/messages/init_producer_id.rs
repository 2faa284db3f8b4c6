//! InitProducerId (22): ids for idempotent and transactional producers (KIP-98, KIP-360).

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Give me a producer id, or a new epoch of mine.
    message InitProducerIdRequest [0-5] flexible [2+] {
        /// Transactional id; null for a producer without transactions.
        transactional_id: Option<StrBytes> [0+], null [0+];
        /// Milliseconds after which an idle transaction is aborted.
        transaction_timeout_ms: i32 [0+];
        /// The producer's present id, to bump its epoch; -1 for none.
        producer_id: i64 [3+], default -1;
        /// The producer's present epoch; -1 for none.
        producer_epoch: i16 [3+], default -1;
    }

    /// The producer id and its epoch.
    message InitProducerIdResponse [0-5] flexible [2+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
        /// How it went.
        error_code: ErrorCode [0+];
        /// Producer id.
        producer_id: i64 [0+], default -1;
        /// Epoch of the producer.
        producer_epoch: i16 [0+];
    }
}
