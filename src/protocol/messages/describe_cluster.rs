//! DescribeCluster (60): id, controller and endpoints (KIP-700).

use crate::protocol::ErrorCode;
use crate::wire::{StrBytes, schema};

schema! {
    /// Who is the cluster?
    message DescribeClusterRequest [0-2] flexible [0+] {
        /// Whether to list what the client may do with the cluster.
        include_cluster_authorized_operations: bool [0+];
        /// 1 brokers, 2 controllers.
        endpoint_type: i8 [1+], default 1;
        /// Whether to list fenced brokers too.
        include_fenced_brokers: bool [2+];
    }

    /// Its id and its nodes.
    message DescribeClusterResponse [0-2] flexible [0+] {
        /// Milliseconds that the client should wait before its next request, for a quota.
        throttle_time_ms: i32 [0+];
        /// How it went.
        error_code: ErrorCode [0+];
        /// What went wrong, for people; null if nothing did.
        error_message: Option<StrBytes> [0+], null [0+];
        /// 1 brokers, 2 controllers.
        endpoint_type: i8 [1+], default 1;
        /// Id of the cluster.
        cluster_id: StrBytes [0+];
        /// Broker to send admin requests to; -1 if there is none.
        controller_id: i32 [0+], default -1;
        /// One entry for each broker or controller.
        brokers: Vec<DescribeClusterBroker> [0+];
        /// Bits of the operations that the client may do; `i32::MIN` if not asked for.
        cluster_authorized_operations: i32 [0+], default i32::MIN;
    }

    /// One broker.
    struct DescribeClusterBroker {
        /// Id of the broker.
        broker_id: i32 [0+];
        /// Name or address to connect to.
        host: StrBytes [0+];
        /// Port to connect to.
        port: i32 [0+];
        /// Rack of the broker; null without one.
        rack: Option<StrBytes> [0+], null [0+];
        /// Whether the broker is fenced.
        is_fenced: bool [2+];
    }
}
