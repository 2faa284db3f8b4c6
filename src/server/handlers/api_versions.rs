//! ApiVersions (18): what we speak. Versions 0-4.
//!
//! A request of an unknown version is answered in version 0 with UNSUPPORTED_VERSION and our range
//! for this API alone, so that the client can ask again (KIP-511).

use std::rc::Rc;

use crate::protocol::messages::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use crate::protocol::{ApiKey, ErrorCode};
use crate::runtime::Runtime;
use crate::server::features::{self, Feature};
use crate::server::request::{Caller, Hangup};

/// Every API that is served.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    version: i16,
    request: ApiVersionsRequest,
) -> Result<ApiVersionsResponse, Hangup> {
    if version >= 3 {
        let (name, release) = (&request.client_software_name, &request.client_software_version);
        if !is_software_word(name) || !is_software_word(release) {
            let error_code = ErrorCode::INVALID_REQUEST;
            return Ok(ApiVersionsResponse { error_code, ..Default::default() });
        }
        let mut software = format!("{} {}", &**name, &**release);
        software.truncate(128); // ASCII, as just checked
        caller.software.replace(software);
    }
    let served = ApiKey::ALL.iter().copied().filter(|key| key.advertised().max >= 0);
    let supported = features::all().map(|Feature { name, level }| SupportedFeatureKey {
        name: name.into(),
        min_version: level,
        max_version: level,
    });
    let finalized = features::all().map(|Feature { name, level }| FinalizedFeatureKey {
        name: name.into(),
        max_version_level: level,
        min_version_level: level,
    });
    Ok(ApiVersionsResponse {
        api_keys: served.map(range).collect(),
        supported_features: supported.collect(),
        finalized_features: finalized.collect(),
        // The offset of the metadata, as in Kafka; levels never change here.
        finalized_features_epoch: i64::try_from(caller.shard.image().version()).unwrap_or(i64::MAX),
        ..Default::default()
    })
}

/// The answer to a version that is not served.
pub fn unsupported() -> ApiVersionsResponse {
    ApiVersionsResponse {
        error_code: ErrorCode::UNSUPPORTED_VERSION,
        api_keys: vec![range(ApiKey::ApiVersions)],
        ..Default::default()
    }
}

fn range(key: ApiKey) -> ApiVersion {
    let versions = key.advertised();
    ApiVersion { api_key: key as i16, min_version: versions.min, max_version: versions.max }
}

/// Letters, digits, '-' and '.', beginning and ending with a letter or digit (KIP-511).
fn is_software_word(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    let outer = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    text.bytes().all(inner) && outer(text.bytes().next()) && outer(text.bytes().last())
}
