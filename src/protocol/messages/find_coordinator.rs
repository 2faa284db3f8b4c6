//! FindCoordinator (10): who coordinates a group or a transaction; many keys at once from version 4
//! (KIP-699).

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Who coordinates these groups or transactions?
    message FindCoordinatorRequest [0-6] flexible [3+] {
        /// Group id, transactional id or share key that is looked up.
        key: StrBytes [0-3];
        /// 0 group, 1 transaction, 2 share group.
        key_type: i8 [1+];
        /// The keys to look up, all of one type.
        coordinator_keys: Vec<StrBytes> [4+];
    }

    /// The coordinators: one in the fields of version 0 to 3, many from version 4.
    message FindCoordinatorResponse [0-6] flexible [3+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [1+], ignorable;
        /// How it went.
        error_code: ErrorCode [0-3];
        /// What went wrong, for people; null if nothing did.
        error_message: Option<StrBytes> [1-3], null [1+], ignorable;
        /// Broker that coordinates; -1 if there is none.
        node_id: i32 [0-3];
        /// Name or address to connect to.
        host: StrBytes [0-3];
        /// Port to connect to.
        port: i32 [0-3];
        /// One entry for each key.
        coordinators: Vec<Coordinator> [4+];
    }

    /// Coordinator of one key.
    struct Coordinator {
        /// Group id, transactional id or share key that is looked up.
        key: StrBytes [4+];
        /// Broker that coordinates; -1 if there is none.
        node_id: i32 [4+];
        /// Name or address to connect to.
        host: StrBytes [4+];
        /// Port to connect to.
        port: i32 [4+];
        /// How it went.
        error_code: ErrorCode [4+];
        /// What went wrong, for people; null if nothing did.
        error_message: Option<StrBytes> [4+], null [4+], ignorable;
    }
}
