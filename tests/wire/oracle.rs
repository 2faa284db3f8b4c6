//! Against the `kafka-protocol` crate, an implementation by other people from the same schemas.
//!
//! For each (API, version, style, seed): bytes made from our schema must be read by both, written
//! back by both to the same bytes, and read from each other's bytes to the same value. A field
//! that one side lacks, or has in another place, version or form, breaks one of these.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages as theirs;
use thalweg::protocol::{ApiKey, RequestBody, ResponseBody};
use thalweg::wire::{EncodeErrorKind, Reader, Writer};

use crate::sample::{self, STYLES, Style};

/// Where our schemas reach further than the oracle's: the last versions it reads, of the request
/// and of the response. `golden` has bytes for the versions behind them.
pub const ORACLE_ENDS_EARLIER: &[(ApiKey, i16, i16)] = &[
    (ApiKey::ListOffsets, 10, 10),
    (ApiKey::OffsetCommit, 9, 10),
    (ApiKey::OffsetFetch, 9, 10),
    (ApiKey::DescribeLogDirs, 4, 4),
];

/// The last versions of `key`'s request and response that both sides know.
fn last_common(key: ApiKey) -> (i16, i16) {
    let ours = key.versions().max;
    ORACLE_ENDS_EARLIER.iter().find(|(k, ..)| *k == key).map_or((ours, ours), |t| (t.1, t.2))
}

fn ours_again<T>(
    key: ApiKey,
    version: i16,
    bytes: &Bytes,
    decode: fn(ApiKey, &mut Reader, i16) -> Result<T, thalweg::wire::DecodeError>,
    encode: fn(&T, &mut Writer, i16) -> Result<(), thalweg::wire::EncodeError>,
) -> (T, Bytes) {
    let value = decode(key, &mut Reader::new(bytes.clone()), version)
        .unwrap_or_else(|e| panic!("ours cannot read {key:?} v{version}: {e}"));
    let mut writer = Writer::new();
    encode(&value, &mut writer, version)
        .unwrap_or_else(|e| panic!("ours cannot write {key:?} v{version}: {e}"));
    (value, writer.into_bytes())
}

fn check<T: PartialEq + std::fmt::Debug>(
    key: ApiKey,
    version: i16,
    note: &str,
    bytes: &Bytes,
    theirs: Bytes,
    decode: fn(ApiKey, &mut Reader, i16) -> Result<T, thalweg::wire::DecodeError>,
    encode: fn(&T, &mut Writer, i16) -> Result<(), thalweg::wire::EncodeError>,
) {
    let (value, written) = ours_again(key, version, bytes, decode, encode);
    assert_eq!(written, bytes, "{note}: ours writes other bytes than the schema says");
    assert_eq!(theirs, bytes, "{note}: theirs writes other bytes");
    let (back, _) = ours_again(key, version, &theirs, decode, encode);
    assert_eq!(back, value, "{note}: not the same value");
}

fn seeds(style: Style) -> std::ops::Range<u64> {
    match style {
        Style::Varied => 0..12,
        Style::Empty => 0..1,
        Style::Extreme => 0..2,
    }
}

#[test]
fn requests_are_the_oracles_in_every_version() {
    for &key in ApiKey::ALL {
        let their_key = theirs::ApiKey::try_from(key as i16).unwrap();
        for version in key.versions().min..=last_common(key).0 {
            for style in STYLES {
                for seed in seeds(style) {
                    let note = format!("request {key:?} v{version} {style:?} seed {seed}");
                    let schema = key.request_schema();
                    let bytes = sample::message(schema, version, key.flexible(), style, seed);
                    let bytes = Bytes::from(bytes);
                    let mut rest = bytes.clone();
                    let message = theirs::RequestKind::decode(their_key, &mut rest, version)
                        .unwrap_or_else(|e| panic!("{note}: theirs cannot read: {e}"));
                    assert!(rest.is_empty(), "{note}: theirs leaves {} bytes", rest.len());
                    let mut again = BytesMut::new();
                    message.encode(&mut again, version).unwrap();
                    let (decode, encode) = (RequestBody::decode, RequestBody::encode);
                    check(key, version, &note, &bytes, again.freeze(), decode, encode);
                }
            }
        }
    }
}

#[test]
fn responses_are_the_oracles_in_every_version() {
    for &key in ApiKey::ALL {
        let their_key = theirs::ApiKey::try_from(key as i16).unwrap();
        for version in key.versions().min..=last_common(key).1 {
            for style in STYLES {
                for seed in seeds(style) {
                    let note = format!("response {key:?} v{version} {style:?} seed {seed}");
                    let schema = key.response_schema();
                    let bytes = sample::message(schema, version, key.flexible(), style, seed);
                    let bytes = Bytes::from(bytes);
                    let mut rest = bytes.clone();
                    let message = theirs::ResponseKind::decode(their_key, &mut rest, version)
                        .unwrap_or_else(|e| panic!("{note}: theirs cannot read: {e}"));
                    assert!(rest.is_empty(), "{note}: theirs leaves {} bytes", rest.len());
                    let mut again = BytesMut::new();
                    message.encode(&mut again, version).unwrap();
                    let (decode, encode) = (ResponseBody::decode, ResponseBody::encode);
                    check(key, version, &note, &bytes, again.freeze(), decode, encode);
                }
            }
        }
    }
}

#[test]
fn header_versions_are_the_oracles() {
    for &key in ApiKey::ALL {
        let their_key = theirs::ApiKey::try_from(key as i16).unwrap();
        for version in key.versions().iter() {
            assert_eq!(
                (key.request_header_version(version), key.response_header_version(version)),
                (
                    their_key.request_header_version(version),
                    their_key.response_header_version(version)
                ),
                "{key:?} v{version}"
            );
        }
    }
}

/// Fails when the oracle has caught up, so that the table does not hide what could be checked.
#[test]
fn the_oracle_ends_where_the_table_says() {
    for &(key, request, response) in ORACLE_ENDS_EARLIER {
        let their_key = theirs::ApiKey::try_from(key as i16).unwrap();
        for version in request + 1..=key.versions().max {
            let schema = key.request_schema();
            let bytes = sample::message(schema, version, key.flexible(), Style::Varied, 0);
            let read = theirs::RequestKind::decode(their_key, &mut bytes.into(), version);
            assert!(read.is_err(), "the oracle reads requests of {key:?} v{version} by now");
        }
        for version in response + 1..=key.versions().max {
            let schema = key.response_schema();
            let bytes = sample::message(schema, version, key.flexible(), Style::Varied, 0);
            let read = theirs::ResponseKind::decode(their_key, &mut bytes.into(), version);
            assert!(read.is_err(), "the oracle reads responses of {key:?} v{version} by now");
        }
    }
}

/// Fields that both sides leave out of a version without a place for them, where we refuse when
/// they are set, as Kafka does, and the oracle keeps silent.
const REFUSED_ONLY_BY_US: &[&str] =
    &["FetchRequest.replica_state", "PartitionData.diverging_epoch", "PartitionData.snapshot_id"];

/// Messages with a text for people that is null by default here and empty in Kafka.
const NULL_TEXT_BY_DEFAULT: &[&str] =
    &["DescribeConfigsResponse", "DescribeQuorumResponse", "FindCoordinatorResponse"];

/// A message read in one version and written in another: fields that only one of them carries
/// show the defaults, and what is left out in silence (`ignorable`) or refused. Nulls where the
/// version has none are refused by us; the oracle writes them, though nobody could read them.
fn crossings(key: ApiKey, request: bool) -> Vec<String> {
    let their_key = theirs::ApiKey::try_from(key as i16).unwrap();
    let last = if request { last_common(key).0 } else { last_common(key).1 };
    let schema = if request { key.request_schema() } else { key.response_schema() };
    let mut differences = Vec::new();
    let versions = key.versions().min..=last;
    for (from, to) in versions.clone().flat_map(|from| versions.clone().map(move |to| (from, to))) {
        for seed in 0..6 {
            let style = if seed == 5 { Style::Empty } else { Style::Varied };
            let bytes = sample::message(schema, from, key.flexible(), style, seed);
            let bytes = Bytes::from(bytes);
            let mut writer = Writer::new();
            let mut theirs = BytesMut::new();
            let mut reader = Reader::new(bytes.clone());
            let (ours_wrote, they_wrote) = if request {
                let value = RequestBody::decode(key, &mut reader, from).unwrap();
                let their_value =
                    theirs::RequestKind::decode(their_key, &mut bytes.clone(), from).unwrap();
                (value.encode(&mut writer, to), their_value.encode(&mut theirs, to).is_ok())
            } else {
                let value = ResponseBody::decode(key, &mut reader, from).unwrap();
                let their_value =
                    theirs::ResponseKind::decode(their_key, &mut bytes.clone(), from).unwrap();
                (value.encode(&mut writer, to), their_value.encode(&mut theirs, to).is_ok())
            };
            let what = match (&ours_wrote, they_wrote) {
                (Ok(()), true) if writer.into_bytes() == theirs.freeze() => continue,
                (Err(_), false) => continue,
                (Ok(()), true) if NULL_TEXT_BY_DEFAULT.contains(&schema.name) => continue,
                (Ok(()), true) => "other bytes".to_owned(),
                (Ok(()), false) => "theirs refuses".to_owned(),
                (Err(error), true) if error.kind() == EncodeErrorKind::UnexpectedNull => continue,
                (Err(error), true)
                    if error.field().is_some_and(|f| REFUSED_ONLY_BY_US.contains(&f)) =>
                {
                    continue;
                }
                (Err(error), true) => error.to_string(),
            };
            differences.push(format!("{} v{from} to v{to}: {what}", schema.name));
        }
    }
    differences.dedup();
    differences
}

#[test]
fn defaults_and_what_is_ignorable_are_the_oracles() {
    let mut differences = Vec::new();
    for &key in ApiKey::ALL {
        differences.extend(crossings(key, true));
        differences.extend(crossings(key, false));
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
