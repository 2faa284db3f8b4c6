//! DescribeUserScramCredentials (50): there are none. Version 0.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::protocol::ErrorCode;
use crate::protocol::messages::describe_user_scram_credentials::{
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
    DescribeUserScramCredentialsResult,
};
use crate::runtime::Runtime;
use crate::server::request::{Caller, Hangup};

/// No user of any name.
pub async fn handle<R: Runtime>(
    _caller: Rc<Caller<R>>,
    _version: i16,
    request: DescribeUserScramCredentialsRequest,
) -> Result<DescribeUserScramCredentialsResponse, Hangup> {
    let asked = request.users.unwrap_or_default();
    let mut named: BTreeMap<&str, usize> = BTreeMap::new();
    for user in &asked {
        *named.entry(&user.name).or_default() += 1;
    }
    let results = named.into_iter().map(|(user, times)| {
        let (error_code, text) = if times > 1 {
            let what = "Cannot describe SCRAM credentials for the same user twice in a request";
            (ErrorCode::DUPLICATE_RESOURCE, format!("{what}: {user}"))
        } else {
            let what = "Attempt to describe a user credential that does not exist";
            (ErrorCode::RESOURCE_NOT_FOUND, format!("{what}: {user}"))
        };
        DescribeUserScramCredentialsResult {
            user: user.into(),
            error_code,
            error_message: Some(text.as_str().into()),
            credential_infos: Vec::new(),
        }
    });
    Ok(DescribeUserScramCredentialsResponse { results: results.collect(), ..Default::default() })
}
