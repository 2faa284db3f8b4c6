//! DescribeUserScramCredentials (50) (KIP-554).

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Which SCRAM credentials do these users have?
    message DescribeUserScramCredentialsRequest [0-0] flexible [0+] {
        /// Users that are asked about; null or empty for all.
        users: Option<Vec<UserName>> [0+], null [0+], default Some(Vec::new());
    }

    /// One user.
    struct UserName {
        /// Name of the user.
        name: StrBytes [0+];
    }

    /// The credentials, without secrets.
    message DescribeUserScramCredentialsResponse [0-0] flexible [0+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
        /// How it went.
        error_code: ErrorCode [0+];
        /// What went wrong, for people; null if nothing did.
        error_message: Option<StrBytes> [0+], null [0+];
        /// Results, one by one.
        results: Vec<DescribeUserScramCredentialsResult> [0+];
    }

    /// One user.
    struct DescribeUserScramCredentialsResult {
        /// Name of the user.
        user: StrBytes [0+];
        /// How it went.
        error_code: ErrorCode [0+];
        /// What went wrong, for people; null if nothing did.
        error_message: Option<StrBytes> [0+], null [0+];
        /// One entry for each mechanism.
        credential_infos: Vec<CredentialInfo> [0+];
    }

    /// One credential.
    struct CredentialInfo {
        /// 1 SCRAM-SHA-256, 2 SCRAM-SHA-512.
        mechanism: i8 [0+];
        /// Iterations of the hash.
        iterations: i32 [0+];
    }
}
