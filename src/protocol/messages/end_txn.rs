//! EndTxn (26): commit or abort; version 5 returns the bumped epoch (KIP-890).

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Commit or abort.
    message EndTxnRequest [0-5] flexible [3+] {
        /// Transactional id.
        transactional_id: StrBytes [0+];
        /// Producer id.
        producer_id: i64 [0+];
        /// Epoch of the producer.
        producer_epoch: i16 [0+];
        /// True to commit, false to abort.
        committed: bool [0+];
    }

    /// How it went.
    message EndTxnResponse [0-5] flexible [3+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
        /// How it went.
        error_code: ErrorCode [0+];
        /// Producer id from now on (KIP-890); -1 from a broker without it.
        producer_id: i64 [5+], default -1, ignorable;
        /// Epoch from now on (KIP-890); -1 from a broker without it.
        producer_epoch: i16 [5+], default -1, ignorable;
    }
}
