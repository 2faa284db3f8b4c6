//! Client quotas: which changes a request leads to, and which entities a filter names (KIP-546).
//! Pure. They are kept and reported; nothing is throttled yet.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::change::{Change, QuotaEntity};
use super::controller::ControlError;
use super::image::{Image, Quotas};

/// Entities that may have quotas.
pub const QUOTA_ENTITIES_MAX: usize = 10_000;

/// Longest name of a part of an entity.
const NAME_BYTES_MAX: usize = 1024;

const USER: &str = "user";
const CLIENT_ID: &str = "client-id";
const IP: &str = "ip";

/// Quotas of users and client ids (`QuotaConfig.userAndClientQuotaConfigs`); those that take whole
/// numbers only are marked.
const CLIENT_KEYS: &[(&str, bool)] = &[
    ("producer_byte_rate", true),
    ("consumer_byte_rate", true),
    ("request_percentage", false),
    ("controller_mutation_rate", false),
];
/// Quotas of addresses (`QuotaConfig.ipConfigs`).
const IP_KEYS: &[(&str, bool)] = &[("connection_creation_rate", true)];

/// What is to happen to the quotas of one entity: a value sets, `None` removes.
#[derive(Clone, Debug)]
pub struct QuotaAlteration {
    /// Whose.
    pub entity: QuotaEntity,
    /// Which.
    pub values: BTreeMap<String, Option<f64>>,
}

/// Changes that carry out `alteration`.
///
/// # Errors
/// When entity, quota or value are none: then nothing of it is done.
pub fn alter_quotas(
    image: &Image,
    alteration: &QuotaAlteration,
) -> Result<Vec<Change>, ControlError> {
    let refuse = |text: String| Err(ControlError::InvalidRequest(text));
    let QuotaAlteration { entity, values } = alteration;
    let keys = match keys_of(entity) {
        Ok(keys) => keys,
        Err(text) => return refuse(text),
    };
    let none = Quotas::new();
    let before = image.quotas().get(entity).map_or(&none, |quotas| quotas);
    if before.is_empty() && image.quotas().len() >= QUOTA_ENTITIES_MAX {
        return Err(ControlError::OverLimit(format!(
            "{QUOTA_ENTITIES_MAX} entities have quotas, which is the limit: remove some."
        )));
    }
    let mut changes = Vec::new();
    for (key, value) in values {
        if let Some(value) = value {
            let Some((_, is_whole)) = keys.iter().find(|(known, _)| known == key) else {
                return refuse(format!("Invalid configuration key {key}"));
            };
            if value.is_nan() || *value <= 0.0 {
                return refuse(format!("Quota {key} must be greater than 0"));
            }
            if *is_whole && (value % 1.0).abs() > 1e-6 {
                return refuse(format!("{key} cannot be a fractional value."));
            }
            if *is_whole && *value > i64::MAX as f64 {
                return refuse(format!("Proposed value for {key} is too large for a LONG."));
            }
        }
        if before.get(key) != value.as_ref() {
            changes.push(Change::ClientQuota {
                entity: entity.clone(),
                key: key.clone(),
                value: *value,
            });
        }
    }
    Ok(changes)
}

/// The quotas that such an entity may have.
fn keys_of(entity: &QuotaEntity) -> Result<&'static [(&'static str, bool)], String> {
    for (kind, name) in entity.iter() {
        if ![USER, CLIENT_ID, IP].contains(&kind.as_str()) {
            return Err(format!("Unhandled client quota entity type: {kind}"));
        }
        match name {
            Some(name) if name.is_empty() => {
                return Err(format!("Empty {kind} not supported"));
            }
            Some(name) if name.len() > NAME_BYTES_MAX => {
                return Err(format!(
                    "The name of a {kind} has {} bytes; the most is {NAME_BYTES_MAX}",
                    name.len()
                ));
            }
            _ => {}
        }
    }
    match entity.get(IP) {
        Some(_) if entity.len() > 1 => Err("Invalid quota entity combination, IP entity should \
            not be combined with User or ClientId"
            .into()),
        Some(Some(ip)) if ip.parse::<IpAddr>().is_err() => {
            Err(format!("{ip} is not a valid IP address."))
        }
        Some(_) => Ok(IP_KEYS),
        None if entity.is_empty() => Err("Invalid empty client quota entity".into()),
        None => Ok(CLIENT_KEYS),
    }
}

/// What one part of an entity has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// This name.
    Name(String),
    /// The default.
    Default,
    /// Any name, or the default.
    Any,
}

/// A question for quotas.
#[derive(Clone, Debug)]
pub struct QuotaFilter {
    /// By type of entity.
    parts: BTreeMap<String, Match>,
    /// Whether an entity of further parts is left out.
    is_strict: bool,
}

/// Why a filter cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterError {
    /// UNSUPPORTED_VERSION: a type that this version does not know.
    UnknownType(String),
    /// INVALID_REQUEST
    Invalid(String),
}

impl QuotaFilter {
    /// Every entity fits; if it is strict, only one without parts.
    pub fn new(is_strict: bool) -> Self {
        Self { parts: BTreeMap::new(), is_strict }
    }

    /// Ask further that the part `kind` is `wanted`.
    ///
    /// # Errors
    /// When there is no such type, or it was named before.
    pub fn add(&mut self, kind: &str, wanted: Match) -> Result<(), FilterError> {
        if kind.is_empty() {
            return Err(FilterError::Invalid("Invalid empty entity type.".into()));
        }
        if ![USER, CLIENT_ID, IP].contains(&kind) {
            return Err(FilterError::UnknownType(format!("Unsupported entity type {kind}")));
        }
        if self.parts.insert(kind.to_owned(), wanted).is_some() {
            return Err(FilterError::Invalid(format!(
                "Entity type {kind} cannot appear more than once in the filter."
            )));
        }
        let kinds: BTreeSet<&str> = self.parts.keys().map(String::as_str).collect();
        if kinds.contains(IP) && kinds.len() > 1 {
            return Err(FilterError::Invalid(
                "Invalid entity filter component combination. IP filter component should not be \
                 used with user or clientId filter component."
                    .into(),
            ));
        }
        Ok(())
    }

    /// Whether `entity` is what is asked for.
    pub fn fits(&self, entity: &QuotaEntity) -> bool {
        if self.is_strict && entity.len() != self.parts.len() {
            return false;
        }
        self.parts.iter().all(|(kind, wanted)| match (entity.get(kind), wanted) {
            (None, _) => false,
            (Some(_), Match::Any) => true,
            (Some(name), Match::Default) => name.is_none(),
            (Some(name), Match::Name(wanted)) => name.as_ref() == Some(wanted),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(parts: &[(&str, Option<&str>)]) -> QuotaEntity {
        let part = |(kind, name): &(&str, Option<&str>)| ((*kind).into(), name.map(Into::into));
        QuotaEntity::new(parts.iter().map(part).collect())
    }

    fn alter(
        image: &mut Image,
        parts: &[(&str, Option<&str>)],
        key: &str,
        value: Option<f64>,
    ) -> Result<usize, ControlError> {
        let values = [(key.to_owned(), value)].into();
        let changes = alter_quotas(image, &QuotaAlteration { entity: entity(parts), values })?;
        for change in &changes {
            image.apply(change).unwrap();
        }
        Ok(changes.len())
    }

    #[test]
    fn quotas_are_checked_as_kafka_checks_them() {
        let mut image = Image::default();
        let user = [("user", Some("u"))];
        let mut set = |parts: &[_], key, value| alter(&mut image, parts, key, Some(value));
        assert_eq!(set(&user, "producer_byte_rate", 1000.0), Ok(1));
        assert_eq!(set(&user, "producer_byte_rate", 1000.0), Ok(0));
        assert_eq!(set(&[("ip", None)], "connection_creation_rate", 5.0), Ok(1));
        for (parts, key, value) in [
            (&user[..], "no_such", 1.0),
            (&user, "producer_byte_rate", 0.0),
            (&user, "producer_byte_rate", 1.5),
            (&user, "producer_byte_rate", f64::NAN),
            (&user, "producer_byte_rate", f64::INFINITY),
            (&user, "connection_creation_rate", 1.0),
            (&[], "producer_byte_rate", 1.0),
            (&[("group", None)], "producer_byte_rate", 1.0),
            (&[("user", Some(""))], "producer_byte_rate", 1.0),
            (&[("ip", Some("x"))], "connection_creation_rate", 1.0),
            (&[("ip", None), ("user", None)], "connection_creation_rate", 1.0),
        ] {
            let refused = set(parts, key, value);
            assert!(matches!(refused, Err(ControlError::InvalidRequest(_))), "{parts:?} {key}");
        }
        assert_eq!(alter(&mut image, &user, "producer_byte_rate", None), Ok(1));
        assert_eq!(alter(&mut image, &user, "producer_byte_rate", None), Ok(0));
        assert_eq!(image.quotas().len(), 1);
    }

    #[test]
    fn filters_name_entities() {
        let both = entity(&[("user", Some("u")), ("client-id", None)]);
        let user = entity(&[("user", Some("u"))]);
        let fits = |parts: &[(&str, Match)], is_strict: bool| {
            let mut filter = QuotaFilter::new(is_strict);
            for (kind, wanted) in parts {
                filter.add(kind, wanted.clone()).unwrap();
            }
            (filter.fits(&both), filter.fits(&user))
        };
        let name = || Match::Name("u".into());
        assert_eq!(fits(&[], false), (true, true));
        assert_eq!(fits(&[], true), (false, false));
        assert_eq!(fits(&[("user", name())], false), (true, true));
        assert_eq!(fits(&[("user", name())], true), (false, true));
        assert_eq!(fits(&[("user", Match::Default)], false), (false, false));
        assert_eq!(fits(&[("client-id", Match::Default)], false), (true, false));
        assert_eq!(fits(&[("client-id", Match::Any), ("user", Match::Any)], true), (true, false));
        let mut filter = QuotaFilter::new(false);
        filter.add("user", Match::Any).unwrap();
        assert!(matches!(filter.add("user", Match::Any), Err(FilterError::Invalid(_))));
        assert!(matches!(filter.add("ip", Match::Any), Err(FilterError::Invalid(_))));
        assert!(matches!(filter.add("group", Match::Any), Err(FilterError::UnknownType(_))));
    }
}
