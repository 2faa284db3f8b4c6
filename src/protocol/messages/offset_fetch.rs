//! OffsetFetch (9): one group up to version 7, many from version 8 (KIP-709); topic ids in version
//! 10.

use crate::model::Uuid;
use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Which offsets are committed?
    message OffsetFetchRequest [1-10] flexible [6+] {
        /// Id of the group.
        group_id: StrBytes [0-7];
        /// Partitions whose offsets are wanted; null for all of the group.
        topics: Option<Vec<OffsetFetchRequestTopic>> [0-7], null [2+], default Some(Vec::new());
        /// One entry for each group.
        groups: Vec<OffsetFetchRequestGroup> [8+];
        /// Whether to answer with an error while transactions on the offsets are open (KIP-447).
        require_stable: bool [7+];
    }

    /// One topic.
    struct OffsetFetchRequestTopic {
        /// Name of the topic.
        name: StrBytes [0-7];
        /// Numbers of the partitions.
        partition_indexes: Vec<i32> [0-7];
    }

    /// One group.
    struct OffsetFetchRequestGroup {
        /// Id of the group.
        group_id: StrBytes [8+];
        /// Id of the member that asks; null from outside the group.
        member_id: Option<StrBytes> [9+], null [9+], ignorable;
        /// Epoch of that member; -1 without.
        member_epoch: i32 [9+], default -1, ignorable;
        /// Partitions whose offsets are wanted; null for all of the group.
        topics: Option<Vec<OffsetFetchRequestTopics>> [8+], null [8+], default Some(Vec::new());
    }

    /// One topic of a group.
    struct OffsetFetchRequestTopics {
        /// Name of the topic.
        name: StrBytes [8-9], ignorable;
        /// Id of the topic (KIP-516).
        topic_id: Uuid [10+], ignorable;
        /// Numbers of the partitions.
        partition_indexes: Vec<i32> [8+];
    }

    /// The offsets: of one group up to version 7, of many from version 8.
    message OffsetFetchResponse [1-10] flexible [6+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [3+], ignorable;
        /// One entry for each topic.
        topics: Vec<OffsetFetchResponseTopic> [0-7];
        /// How it went.
        error_code: ErrorCode [2-7], ignorable;
        /// One entry for each group.
        groups: Vec<OffsetFetchResponseGroup> [8+];
    }

    /// One topic.
    struct OffsetFetchResponseTopic {
        /// Name of the topic.
        name: StrBytes [0-7];
        /// One entry for each partition.
        partitions: Vec<OffsetFetchResponsePartition> [0-7];
    }

    /// One partition.
    struct OffsetFetchResponsePartition {
        /// Number of the partition.
        partition_index: i32 [0-7];
        /// Offset of the next record to read; -1 if there is none.
        committed_offset: i64 [0-7];
        /// Leader epoch of the last record read; -1 if unknown.
        committed_leader_epoch: i32 [5-7], default -1, ignorable;
        /// Text of the client's own, kept beside the offset.
        metadata: Option<StrBytes> [0-7], null [0+];
        /// How it went.
        error_code: ErrorCode [0-7];
    }

    /// One group.
    struct OffsetFetchResponseGroup {
        /// Id of the group.
        group_id: StrBytes [8+];
        /// One entry for each topic.
        topics: Vec<OffsetFetchResponseTopics> [8+];
        /// How it went.
        error_code: ErrorCode [8+];
    }

    /// One topic of a group.
    struct OffsetFetchResponseTopics {
        /// Name of the topic.
        name: StrBytes [8-9], ignorable;
        /// Id of the topic (KIP-516).
        topic_id: Uuid [10+], ignorable;
        /// One entry for each partition.
        partitions: Vec<OffsetFetchResponsePartitions> [8+];
    }

    /// One partition of a group.
    struct OffsetFetchResponsePartitions {
        /// Number of the partition.
        partition_index: i32 [8+];
        /// Offset of the next record to read; -1 if there is none.
        committed_offset: i64 [8+];
        /// Leader epoch of the last record read; -1 if unknown.
        committed_leader_epoch: i32 [8+], default -1, ignorable;
        /// Text of the client's own, kept beside the offset.
        metadata: Option<StrBytes> [8+], null [8+];
        /// How it went.
        error_code: ErrorCode [8+];
    }
}
