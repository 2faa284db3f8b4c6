//! DeleteTopics (20).

use crate::model::Uuid;
use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Delete these topics.
    message DeleteTopicsRequest [1-6] flexible [4+] {
        /// Topics to delete, by name or id.
        topics: Vec<DeleteTopicState> [6+];
        /// Topics to delete, by name.
        topic_names: Vec<StrBytes> [0-5], ignorable;
        /// Milliseconds that the broker may take.
        timeout_ms: i32 [0+];
    }

    /// One topic to delete.
    struct DeleteTopicState {
        /// Name of the topic; null to use the id.
        name: Option<StrBytes> [6+], null [6+];
        /// Id of the topic; zero to use the name.
        topic_id: Uuid [6+];
    }

    /// What became of them.
    message DeleteTopicsResponse [1-6] flexible [4+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
        /// Results, topic by topic.
        responses: Vec<DeletableTopicResult> [0+];
    }

    /// One topic.
    struct DeletableTopicResult {
        /// Name of the topic; null when an id was asked for that is not known.
        name: Option<StrBytes> [0+], null [6+];
        /// Id of the topic (KIP-516).
        topic_id: Uuid [6+], ignorable;
        /// How it went.
        error_code: ErrorCode [0+];
        /// What went wrong, for people; null if nothing did.
        error_message: Option<StrBytes> [5+], null [5+], ignorable;
    }
}
