//! DescribeClientQuotas (48): the quotas that are kept. Versions 0-1.

use std::rc::Rc;

use crate::cluster::change::QuotaEntity;
use crate::cluster::image::Quotas;
use crate::cluster::quotas::{FilterError, Match, QuotaFilter};
use crate::protocol::ErrorCode;
use crate::protocol::messages::describe_client_quotas::{
    ComponentData, DescribeClientQuotasRequest, DescribeClientQuotasResponse, EntityData,
    EntryData, ValueData,
};
use crate::runtime::Runtime;
use crate::runtime::wait::{ITEMS_AT_ONCE, Pace};
use crate::server::request::{Caller, Hangup};

/// The quotas of every entity that fits.
pub async fn handle<R: Runtime>(
    caller: Rc<Caller<R>>,
    _version: i16,
    request: DescribeClientQuotasRequest,
) -> Result<DescribeClientQuotasResponse, Hangup> {
    let mut filter = QuotaFilter::new(request.strict);
    for component in &request.components {
        let added = wanted(component).and_then(|want| filter.add(&component.entity_type, want));
        if let Err(error) = added {
            let (error_code, text) = match error {
                FilterError::UnknownType(text) => (ErrorCode::UNSUPPORTED_VERSION, text),
                FilterError::Invalid(text) => (ErrorCode::INVALID_REQUEST, text),
            };
            return Ok(DescribeClientQuotasResponse {
                error_code,
                error_message: Some(text.as_str().into()),
                entries: None,
                ..Default::default()
            });
        }
    }
    let image = caller.shard.image();
    let mut entries = Vec::new();
    let mut pace = Pace::new(ITEMS_AT_ONCE);
    for (entity, quotas) in image.quotas() {
        pace.worked(1).await;
        if filter.fits(entity) {
            entries.push(described(entity, quotas));
        }
    }
    Ok(DescribeClientQuotasResponse { entries: Some(entries), ..Default::default() })
}

fn described(entity: &QuotaEntity, quotas: &Quotas) -> EntryData {
    let part = |(kind, name): (&String, &Option<String>)| EntityData {
        entity_type: kind.as_str().into(),
        entity_name: name.as_deref().map(Into::into),
    };
    let value =
        |(key, value): (&String, &f64)| ValueData { key: key.as_str().into(), value: *value };
    EntryData {
        entity: entity.iter().map(part).collect(),
        values: quotas.iter().map(value).collect(),
    }
}

fn wanted(component: &ComponentData) -> Result<Match, FilterError> {
    let invalid = |text: &str| Err(FilterError::Invalid(text.into()));
    match (component.match_type, &component.match_text) {
        (0, Some(name)) => Ok(Match::Name(name.to_string())),
        (0, None) => invalid("Request specified MATCH_TYPE_EXACT, but set match string to null."),
        (1, None) => Ok(Match::Default),
        (1, Some(_)) => {
            invalid("Request specified MATCH_TYPE_DEFAULT, but also specified a match string.")
        }
        (2, None) => Ok(Match::Any),
        (2, Some(_)) => {
            invalid("Request specified MATCH_TYPE_SPECIFIED, but also specified a match string.")
        }
        (other, _) => invalid(&format!("Unknown match type {other}")),
    }
}
