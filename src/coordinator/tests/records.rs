//! The bytes of records, as Kafka writes them.

use super::*;
use crate::protocol::group_record::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn encoded(record: &GroupRecord) -> (String, String) {
    let (key, value) = record.encode().unwrap();
    assert_eq!(GroupRecord::decode(key.clone(), value.clone()).unwrap().as_ref(), Some(record));
    for cut in 0..key.len() {
        assert!(GroupRecord::decode(key.slice(..cut), None).is_err());
    }
    (hex(&key), value.map_or(String::new(), |value| hex(&value)))
}

/// The bytes were worked out by hand from Kafka's schemas.
#[test]
fn records_are_written_in_kafkas_versions() {
    let key = OffsetCommitKey { group: "g".into(), topic: "t".into(), partition: 2 };
    let value = OffsetCommitValue {
        offset: 7,
        leader_epoch: 1,
        metadata: "m".into(),
        commit_timestamp: 9,
        ..Default::default()
    };
    let record = |value| GroupRecord::OffsetCommit(key.clone(), Some(value));
    let (bytes, body) = encoded(&record(value.clone()));
    assert_eq!(bytes, "000100016700017400000002");
    // Version 4, flexible: no tag for a topic without an id.
    assert_eq!(body, "0004000000000000000700000001026d000000000000000900");
    let id = Uuid([1; 16]);
    let (_, body) = encoded(&record(OffsetCommitValue { topic_id: id, ..value.clone() }));
    assert!(body.ends_with(&format!("0100{}{}", "10", "01".repeat(16))), "{body}");
    let expiring = OffsetCommitValue { expire_timestamp: 5, leader_epoch: -1, ..value };
    let (_, body) = encoded(&record(expiring));
    assert_eq!(body, "0001000000000000000700016d00000000000000090000000000000005");

    let key = GroupMetadataKey { group: "g".into() };
    let value = GroupMetadataValue { generation: 3, ..Default::default() };
    let (bytes, body) = encoded(&GroupRecord::GroupMetadata(key, Some(value)));
    assert_eq!(bytes, "0002000167");
    assert_eq!(body, "0003000000000003ffffffffffffffffffffffff00000000");

    let key = ConsumerGroupMetadataKey { group_id: "g".into() };
    let value = ConsumerGroupMetadataValue { epoch: 2, metadata_hash: 0 };
    let (bytes, body) = encoded(&GroupRecord::ConsumerGroupMetadata(key, Some(value)));
    assert_eq!((bytes.as_str(), body.as_str()), ("0003000167", "00000000000200"));

    let key = ConsumerGroupRegularExpressionKey {
        group_id: "g".into(),
        regular_expression: "a.*".into(),
    };
    let (bytes, body) = encoded(&GroupRecord::ConsumerGroupRegularExpression(key, None));
    assert_eq!((bytes.as_str(), body.as_str()), ("00100001670003612e2a", ""));
}

#[test]
fn foreign_keys_are_skipped_and_damage_is_an_error() {
    let mut coordinator = Coordinator::new(Arc::new(settings()), GroupMemory::new(0), 1);
    let mut replay = |key: &'static [u8], value: Option<&'static [u8]>| {
        coordinator.replay(Bytes::from_static(key), value.map(Bytes::from_static), 0)
    };
    // A share group (11) and a type that nobody has invented yet.
    replay(b"\0\x0b\0\x01g", Some(b"\0\0")).unwrap();
    replay(b"\x7f\0", None).unwrap();
    assert!(replay(b"\0", None).is_err());
    // A consumer group of epoch 7 in a version of the future, with something new behind it.
    replay(b"\0\x03\0\x01g", Some(b"\0\x09\0\0\0\x07\0new")).unwrap();
    assert!(replay(b"\0\x03\0\x01g", Some(b"\0\0\0\0\0\x07\0new")).is_err());
    assert!(replay(b"\0\x02\0\x01g", Some(b"\0\x09")).is_err());
    assert!(replay(b"\0\x02\0\x01g", Some(b"\xff\xff")).is_err());
    assert!(replay(b"\0\x02\0\x01g", Some(b"\0\x03\0")).is_err());
    assert_eq!(coordinator.skipped(), 2);
    let Some(Group::Consumer(group)) = coordinator.groups.get(&StrBytes::from("g")) else {
        panic!("no group")
    };
    assert_eq!(group.epoch, 7);
}
