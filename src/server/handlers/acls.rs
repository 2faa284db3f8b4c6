//! DescribeAcls (29), CreateAcls (30), DeleteAcls (31): there are none, and nothing that would heed
//! them. Versions 1-3.
//!
//! Kafka says so, too, where no authorizer is configured, and what is built on it (MirrorMaker,
//! consoles) goes on without ACLs then, where a broker that knows no such request is a fault.

use std::rc::Rc;

use crate::protocol::ErrorCode;
use crate::protocol::messages::create_acls::{
    AclCreationResult, CreateAclsRequest, CreateAclsResponse,
};
use crate::protocol::messages::delete_acls::{
    DeleteAclsFilterResult, DeleteAclsRequest, DeleteAclsResponse,
};
use crate::protocol::messages::describe_acls::{DescribeAclsRequest, DescribeAclsResponse};
use crate::runtime::Runtime;
use crate::runtime::wait::{ITEMS_AT_ONCE, Pace};
use crate::server::request::{Caller, Hangup};

// Both in Kafka's words.
const NONE_TO_ASK: &str = "No Authorizer is configured on the broker";
const NONE_TO_TELL: &str = "No Authorizer is configured.";

/// None can be told of.
pub async fn describe<R: Runtime>(
    _caller: Rc<Caller<R>>,
    _version: i16,
    _request: DescribeAclsRequest,
) -> Result<DescribeAclsResponse, Hangup> {
    Ok(DescribeAclsResponse {
        error_code: ErrorCode::SECURITY_DISABLED,
        error_message: Some(NONE_TO_ASK.into()),
        ..Default::default()
    })
}

/// None can be created.
pub async fn create<R: Runtime>(
    _caller: Rc<Caller<R>>,
    _version: i16,
    request: CreateAclsRequest,
) -> Result<CreateAclsResponse, Hangup> {
    let refused = AclCreationResult {
        error_code: ErrorCode::SECURITY_DISABLED,
        error_message: Some(NONE_TO_TELL.into()),
    };
    let mut results = Vec::with_capacity(request.creations.len());
    let mut pace = Pace::new(ITEMS_AT_ONCE);
    for _ in &request.creations {
        pace.worked(1).await;
        results.push(refused.clone());
    }
    Ok(CreateAclsResponse { results, ..Default::default() })
}

/// None can be deleted.
pub async fn delete<R: Runtime>(
    _caller: Rc<Caller<R>>,
    _version: i16,
    request: DeleteAclsRequest,
) -> Result<DeleteAclsResponse, Hangup> {
    let refused = DeleteAclsFilterResult {
        error_code: ErrorCode::SECURITY_DISABLED,
        error_message: Some(NONE_TO_TELL.into()),
        ..Default::default()
    };
    let mut filter_results = Vec::with_capacity(request.filters.len());
    let mut pace = Pace::new(ITEMS_AT_ONCE);
    for _ in &request.filters {
        pace.worked(1).await;
        filter_results.push(refused.clone());
    }
    Ok(DeleteAclsResponse { filter_results, ..Default::default() })
}
