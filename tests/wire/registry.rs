//! The registry, and the page that shows it to people.

use std::fmt::Write;

use thalweg::protocol::{ApiKey, ErrorCode};
use thalweg::wire::{Kind, StructSchema, Versions};

fn range(versions: Versions) -> String {
    match (versions.min, versions.max) {
        (min, max) if max < min => "no".to_owned(),
        (min, max) if max == min => min.to_string(),
        (min, i16::MAX) => format!("{min}+"),
        (min, max) => format!("{min}-{max}"),
    }
}

/// The first five columns of the API matrix.
fn matrix() -> String {
    let mut rows = String::new();
    for key in ApiKey::ALL {
        let (name, versions) = (key.name(), range(key.versions()));
        let (flexible, advertised) = (range(key.flexible()), range(key.advertised()));
        writeln!(rows, "| {} | {name} | {advertised} | {versions} | {flexible} |", *key as i16)
            .unwrap();
    }
    rows
}

#[test]
fn the_page_shows_what_the_registry_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/PROTOCOL.md");
    let page = std::fs::read_to_string(path).unwrap();
    let rows: Vec<_> = page
        .lines()
        .filter(|line| line.starts_with("| ") && line[2..].starts_with(|c: char| c.is_numeric()))
        .map(|line| line.splitn(7, '|').take(6).collect::<Vec<_>>().join("|") + "|")
        .collect();
    let matrix = matrix();
    let registered: Vec<_> = matrix.lines().collect();
    let missing: Vec<_> = registered.iter().filter(|row| !rows.iter().any(|r| r == *row)).collect();
    assert!(missing.is_empty(), "docs/PROTOCOL.md must begin these rows so:\n{missing:#?}");
    assert_eq!(rows, registered, "docs/PROTOCOL.md has rows that the registry has not");
}

#[test]
fn keys_ascend_and_only_versions_with_a_schema_are_advertised() {
    assert!(ApiKey::ALL.is_sorted_by_key(|key| *key as i16));
    for &key in ApiKey::ALL {
        assert_eq!(ApiKey::try_from(key as i16), Ok(key));
        let (advertised, versions) = (key.advertised(), key.versions());
        // Produce is advertised from 0 for old librdkafka and refused below 3 (KAFKA-18659).
        let min = if key == ApiKey::Produce { 0 } else { versions.min };
        let within = advertised.min >= min && advertised.max <= versions.max;
        assert!(within || advertised == Versions::NONE, "{key:?}");
        assert!(!key.serves(versions.min - 1) && !key.serves(versions.max + 1), "{key:?}");
    }
    assert!(!ApiKey::Produce.serves(2) && ApiKey::Produce.serves(3));
    assert_eq!(ApiKey::try_from(4), Err(4));
}

/// Every struct below `schema`, itself included.
fn walk(schema: &'static StructSchema, visit: &mut impl FnMut(&'static StructSchema)) {
    visit(schema);
    for field in schema.fields.iter().chain(schema.tagged) {
        let mut kind = field.kind;
        while let Kind::Array(element) = kind {
            kind = *element;
        }
        if let Kind::Struct(inner) = kind {
            walk(inner, visit);
        }
    }
}

#[test]
fn schemas_keep_the_rules_of_the_encoding() {
    for key in ApiKey::ALL {
        for schema in [key.request_schema(), key.response_schema()] {
            walk(schema, &mut |schema| {
                let tags: Vec<_> = schema.tagged.iter().map(|field| field.tag).collect();
                assert!(tags.is_sorted_by(|a, b| a < b), "{}: tags must ascend", schema.name);
                for field in schema.fields.iter().chain(schema.tagged) {
                    let name = format!("{}.{}", schema.name, field.name);
                    let nullable = match field.kind {
                        Kind::String | Kind::Bytes | Kind::Records => true,
                        Kind::Array(_) | Kind::Struct(_) => true,
                        _ => field.nullable == Versions::NONE,
                    };
                    assert!(nullable, "{name}: a number cannot be null");
                    let flexible = key.flexible();
                    assert!(
                        field.tag.is_none() || field.versions.min >= flexible.min,
                        "{name}: tagged in a version without tags"
                    );
                }
            });
        }
    }
}

#[test]
fn error_codes_are_kafkas() {
    let numbers: Vec<_> = ErrorCode::ALL.iter().map(|code| code.0).collect();
    assert_eq!(numbers, (-1..=136).collect::<Vec<i16>>());
    assert_eq!(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER.0, 45);
    assert_eq!(ErrorCode::REBOOTSTRAP_REQUIRED.to_string(), "REBOOTSTRAP_REQUIRED (129)");
    assert!(ErrorCode::NOT_LEADER_OR_FOLLOWER.is_retriable());
    assert!(!ErrorCode::UNKNOWN_SERVER_ERROR.is_retriable());
    assert_eq!(ErrorCode(999).to_string(), "unknown error code 999");
    // Names and numbers, against the oracle's list.
    for code in ErrorCode::ALL.iter().filter(|code| code.0 > 0 && code.0 <= 119) {
        let theirs = kafka_protocol::error::ResponseError::try_from_code(code.0).unwrap();
        let squeezed = |name: &str| name.to_lowercase().replace('_', "").replace("exception", "");
        assert_eq!(squeezed(&format!("{theirs:?}")), squeezed(code.name().unwrap()), "{}", code.0);
        // The oracle follows an older Kafka here; ConcurrentTransactionsException is retriable.
        if *code != ErrorCode::CONCURRENT_TRANSACTIONS {
            assert_eq!(theirs.is_retriable(), code.is_retriable(), "{code}");
        }
    }
}
