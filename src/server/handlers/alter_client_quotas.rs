//! AlterClientQuotas (49): quotas are kept and reported; nothing is throttled yet. Versions 0-1.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use crate::cluster::change::QuotaEntity;
use crate::cluster::quotas::QuotaAlteration;
use crate::protocol::ErrorCode;
use crate::protocol::messages::alter_client_quotas::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, EntryData, EntryResult,
};
use crate::runtime::Runtime;
use crate::runtime::wait::{ITEMS_AT_ONCE, Pace};
use crate::server::errors;
use crate::server::request::{Caller, Hangup};
use crate::shard::call::{Call, ControlReply, ControlRequest, Reply};

/// Entities succeed or fail one by one.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    _version: i16,
    request: AlterClientQuotasRequest,
) -> Result<AlterClientQuotasResponse, Hangup> {
    let mut entities = HashSet::with_capacity(request.entries.len());
    let (mut slots, mut alterations) = (Vec::new(), Vec::new());
    let mut results = Vec::with_capacity(request.entries.len());
    let mut pace = Pace::new(ITEMS_AT_ONCE);
    for entry in request.entries {
        pace.worked(1 + entry.ops.len()).await;
        let mut result = EntryResult::default();
        let asked = alteration(&entry).and_then(|alteration| {
            if entities.insert(alteration.entity.clone()) {
                Ok(alteration)
            } else {
                Err(format!("Ignoring duplicate entity {:?}", alteration.entity))
            }
        });
        match asked {
            Ok(alteration) => {
                slots.push(results.len());
                alterations.push(alteration);
            }
            Err(text) => {
                result.error_code = ErrorCode::INVALID_REQUEST;
                result.error_message = Some(text.as_str().into());
            }
        }
        result.entity = entry.entity;
        results.push(result);
    }
    drop(entities);
    if !alterations.is_empty() {
        let validate_only = request.validate_only;
        let request = ControlRequest::Quotas { alterations, validate_only };
        let reply = caller.shard.call(0, Call::Control(request)).await;
        let Reply::Control(ControlReply::Altered(outcomes)) = reply else {
            return Err(Hangup("the controller is stopping".into()));
        };
        for (slot, outcome) in slots.into_iter().zip(outcomes) {
            pace.worked(1).await;
            if let Err(error) = outcome {
                let (code, text) = errors::control(&error);
                results[slot].error_code = code;
                results[slot].error_message = text.map(|text| text.as_str().into());
            }
        }
    }
    Ok(AlterClientQuotasResponse { entries: results, ..Default::default() })
}

fn alteration(entry: &EntryData) -> Result<QuotaAlteration, String> {
    let mut entity = BTreeMap::new();
    for part in &entry.entity {
        let name = part.entity_name.as_ref().map(ToString::to_string);
        if entity.insert(part.entity_type.to_string(), name).is_some() {
            return Err(format!(
                "Invalid client quota entity, duplicate entity entry {}",
                &*part.entity_type
            ));
        }
    }
    let mut values = BTreeMap::new();
    for op in &entry.ops {
        let value = (!op.remove).then_some(op.value);
        if values.insert(op.key.to_string(), value).is_some() {
            return Err(format!("Duplicate quota key {}", &*op.key));
        }
    }
    Ok(QuotaAlteration { entity: QuotaEntity::new(entity), values })
}
