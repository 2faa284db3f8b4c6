//! AddOffsetsToTxn (25): a group takes part in a transaction (KIP-98).

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Add a group's offsets to a transaction.
    message AddOffsetsToTxnRequest [0-4] flexible [3+] {
        /// Transactional id.
        transactional_id: StrBytes [0+];
        /// Producer id.
        producer_id: i64 [0+];
        /// Epoch of the producer.
        producer_epoch: i16 [0+];
        /// Id of the group.
        group_id: StrBytes [0+];
    }

    /// How it went.
    message AddOffsetsToTxnResponse [0-4] flexible [3+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
        /// How it went.
        error_code: ErrorCode [0+];
    }
}
