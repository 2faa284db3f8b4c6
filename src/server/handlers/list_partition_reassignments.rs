//! ListPartitionReassignments (46): with one broker there is none. Version 0.

use std::rc::Rc;

use crate::protocol::messages::list_partition_reassignments::{
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};
use crate::runtime::Runtime;
use crate::server::request::{Caller, Hangup};

/// Topics that nothing moves in are left out, and so are unknown ones, as in Kafka.
pub async fn handle<R: Runtime>(
    _caller: Rc<Caller<R>>,
    _version: i16,
    _request: ListPartitionReassignmentsRequest,
) -> Result<ListPartitionReassignmentsResponse, Hangup> {
    Ok(ListPartitionReassignmentsResponse::default())
}
