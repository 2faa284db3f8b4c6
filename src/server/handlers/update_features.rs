//! UpdateFeatures (57). Versions 0-2. Each feature has the one level that this broker runs, so
//! only that one can be asked for.

use std::rc::Rc;

use crate::protocol::ErrorCode;
use crate::protocol::messages::update_features::{
    UpdatableFeatureResult, UpdateFeaturesRequest, UpdateFeaturesResponse,
};
use crate::runtime::Runtime;
use crate::server::features;
use crate::server::request::{Caller, Hangup};

/// All or nothing, as in Kafka.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    version: i16,
    request: UpdateFeaturesRequest,
) -> Result<UpdateFeaturesResponse, Hangup> {
    let node_id = caller.identity.node_id;
    for update in &request.feature_updates {
        let (name, level) = (&update.feature, update.max_version_level);
        if let Some(why) = features::why_not(name, level, node_id) {
            let text = format!(
                "The update failed for all features since the following feature had an error: \
                 Invalid update version {level} for feature {}. {why}",
                &**name
            );
            return Ok(UpdateFeaturesResponse {
                error_code: ErrorCode::INVALID_UPDATE_VERSION,
                error_message: Some(text.as_str().into()),
                ..Default::default()
            });
        }
    }
    let done = |update: &crate::protocol::messages::update_features::FeatureUpdateKey| {
        UpdatableFeatureResult { feature: update.feature.clone(), ..Default::default() }
    };
    let results = match version {
        0..=1 => request.feature_updates.iter().map(done).collect(),
        _ => Vec::new(),
    };
    Ok(UpdateFeaturesResponse { results, ..Default::default() })
}
