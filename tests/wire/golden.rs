//! Fixed bytes, worked out by hand from Kafka's schemas, for what the oracle does not know: newer
//! versions, metadata records, and the answer to a client from the future.

use bytes::Bytes;
use thalweg::model::Uuid;
use thalweg::protocol::messages::{
    api_versions as api, describe_log_dirs as dirs, list_offsets as list, offset_commit as commit,
    offset_fetch as fetch,
};
use thalweg::protocol::metadata_record as record;
use thalweg::protocol::metadata_record::MetadataRecord;
use thalweg::protocol::{ApiKey, ErrorCode, encode_response};
use thalweg::wire::{DecodeErrorKind, Message, Reader, Writer};

const ID: Uuid = Uuid(*b"0123456789abcdef");

fn same<M: Message>(message: &M, version: i16, golden: &[&[u8]]) {
    let golden = golden.concat();
    let mut writer = Writer::new();
    message.encode(&mut writer, version).unwrap();
    assert_eq!(writer.into_bytes(), golden, "{} v{version}", M::NAME);
    let mut reader = Reader::new(golden.into());
    assert_eq!(&M::decode(&mut reader, version).unwrap(), message, "{} v{version}", M::NAME);
    reader.finish().unwrap();
}

#[test]
fn list_offsets_11() {
    let partition =
        list::ListOffsetsPartition { partition_index: 3, current_leader_epoch: 5, timestamp: -2 };
    let topic = list::ListOffsetsTopic { name: "t".into(), partitions: vec![partition] };
    let request = list::ListOffsetsRequest {
        replica_id: -1,
        isolation_level: 1,
        topics: vec![topic],
        timeout_ms: 1000,
    };
    same(
        &request,
        11,
        &[
            b"\xff\xff\xff\xff\x01\x02\x02t\x02",
            b"\0\0\0\x03\0\0\0\x05\xff\xff\xff\xff\xff\xff\xff\xfe\0",
            b"\0\0\0\x03\xe8\0",
        ],
    );
    let partition = list::ListOffsetsPartitionResponse {
        partition_index: 3,
        error_code: ErrorCode::UNKNOWN_LEADER_EPOCH,
        timestamp: -1,
        offset: 258,
        leader_epoch: 7,
    };
    let topic = list::ListOffsetsTopicResponse { name: "t".into(), partitions: vec![partition] };
    let response = list::ListOffsetsResponse { throttle_time_ms: 1, topics: vec![topic] };
    same(
        &response,
        11,
        &[
            b"\0\0\0\x01\x02\x02t\x02",
            b"\0\0\0\x03\0\x4b\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\x01\x02\0\0\0\x07\0",
            b"\0\0",
        ],
    );
}

#[test]
fn offset_commit_10_and_offset_fetch_10_address_topics_by_id() {
    let partition = commit::OffsetCommitRequestPartition {
        partition_index: 1,
        committed_offset: 9,
        committed_leader_epoch: -1,
        committed_metadata: Some("m".into()),
    };
    let topic = commit::OffsetCommitRequestTopic {
        topic_id: ID,
        partitions: vec![partition],
        ..Default::default()
    };
    let request = commit::OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: 2,
        member_id: "me".into(),
        topics: vec![topic],
        ..Default::default()
    };
    same(
        &request,
        10,
        &[
            b"\x02g\0\0\0\x02\x03me\0\x02",
            b"0123456789abcdef\x02",
            b"\0\0\0\x01\0\0\0\0\0\0\0\x09\xff\xff\xff\xff\x02m\0",
            b"\0\0",
        ],
    );
    let topic = fetch::OffsetFetchRequestTopics {
        topic_id: ID,
        partition_indexes: vec![1, 2],
        ..Default::default()
    };
    let one = fetch::OffsetFetchRequestGroup {
        group_id: "g".into(),
        member_id: Some("me".into()),
        member_epoch: 4,
        topics: Some(vec![topic]),
    };
    let all =
        fetch::OffsetFetchRequestGroup { group_id: "h".into(), topics: None, ..Default::default() };
    let request = fetch::OffsetFetchRequest {
        groups: vec![one, all],
        require_stable: true,
        ..Default::default()
    };
    same(
        &request,
        10,
        &[
            b"\x03\x02g\x03me\0\0\0\x04\x020123456789abcdef\x03\0\0\0\x01\0\0\0\x02\0\0",
            b"\x02h\0\xff\xff\xff\xff\0\0",
            b"\x01\0",
        ],
    );
}

#[test]
fn describe_log_dirs_5() {
    let topic = dirs::DescribableLogDirTopic { topic: "t".into(), partitions: vec![0] };
    let request = dirs::DescribeLogDirsRequest { topics: Some(vec![topic]) };
    same(&request, 5, &[b"\x02\x02t\x02\0\0\0\0\0\0"]);
    let partition = dirs::DescribeLogDirsPartition {
        partition_index: 0,
        partition_size: 256,
        offset_lag: 0,
        is_future_key: false,
    };
    let topic = dirs::DescribeLogDirsTopic { name: "t".into(), partitions: vec![partition] };
    let result = dirs::DescribeLogDirsResult {
        log_dir: "/d".into(),
        topics: vec![topic],
        total_bytes: 2,
        usable_bytes: 1,
        is_cordoned: true,
        ..Default::default()
    };
    let response = dirs::DescribeLogDirsResponse { results: vec![result], ..Default::default() };
    same(
        &response,
        5,
        &[
            b"\0\0\0\0\0\0\x02\0\0\x03/d\x02\x02t\x02",
            b"\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0",
            b"\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x01\x01\0\0",
        ],
    );
}

/// KIP-511: whatever version was asked for, the refusal has the form of version 0, and names the
/// versions of ApiVersions itself.
#[test]
fn a_client_from_the_future_gets_an_answer_it_can_read() {
    let range = api::ApiVersion { api_key: 18, min_version: 0, max_version: 4 };
    let refusal = api::ApiVersionsResponse {
        error_code: ErrorCode::UNSUPPORTED_VERSION,
        api_keys: vec![range],
        ..Default::default()
    };
    let pieces = encode_response(ApiKey::ApiVersions, 0, 7, &refusal).unwrap();
    let golden = b"\0\0\0\x10\0\0\0\x07\0\x23\0\0\0\x01\0\x12\0\0\0\x04";
    assert_eq!(pieces.concat(), golden);
}

#[test]
fn metadata_records() {
    let topic = record::TopicRecord { name: "foo".into(), topic_id: ID };
    let config = record::ConfigRecord {
        resource_type: 2,
        resource_name: "foo".into(),
        name: "k".into(),
        value: None,
    };
    let partition = record::PartitionRecord {
        partition_id: 1,
        topic_id: ID,
        replicas: vec![1],
        isr: vec![1],
        leader: 1,
        leader_epoch: 0,
        partition_epoch: 0,
        directories: vec![ID],
        last_known_elr: Some(vec![]),
        ..Default::default()
    };
    let change = record::PartitionChangeRecord {
        partition_id: 1,
        topic_id: ID,
        isr: Some(vec![1, 2]),
        leader: 2,
        directories: Some(vec![ID]),
        ..Default::default()
    };
    let ids = record::ProducerIdsRecord { broker_id: 1, broker_epoch: 2, next_producer_id: 1000 };
    let level = record::FeatureLevelRecord { name: "f".into(), feature_level: 1 };
    let goldens: [(MetadataRecord, i16, &[&[u8]]); 7] = [
        (topic.into(), 0, &[b"\x01\x02\0\x04foo", &ID.0, b"\0"]),
        (config.into(), 0, &[b"\x01\x04\0\x02\x04foo\x02k\0\0"]),
        (
            partition.into(),
            2,
            &[
                b"\x01\x03\x02\0\0\0\x01",
                &ID.0,
                b"\x02\0\0\0\x01\x02\0\0\0\x01\x01\x01\0\0\0\x01\0\0\0\0\0\0\0\0\x02",
                &ID.0,
                b"\x01\x02\x01\x01",
            ],
        ),
        (
            change.into(),
            1,
            &[
                b"\x01\x05\x01\0\0\0\x01",
                &ID.0,
                b"\x03\0\x09\x03\0\0\0\x01\0\0\0\x02\x01\x04\0\0\0\x02\x08\x11\x02",
                &ID.0,
            ],
        ),
        (record::RemoveTopicRecord { topic_id: ID }.into(), 0, &[b"\x01\x09\0", &ID.0, b"\0"]),
        (level.into(), 0, &[b"\x01\x0c\0\x02f\0\x01\0"]),
        (ids.into(), 0, &[b"\x01\x0f\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\x03\xe8\0"]),
    ];
    for (record, version, golden) in goldens {
        let golden = Bytes::from(golden.concat());
        assert_eq!(record.encode(version).unwrap(), golden, "{record:?}");
        assert_eq!(MetadataRecord::decode(golden).unwrap(), record);
    }
}

/// The oldest versions, which have fewer places: what they carry, and what they refuse.
#[test]
fn metadata_records_in_version_0() {
    let mut change = record::PartitionChangeRecord {
        partition_id: 1,
        topic_id: ID,
        leader: -1,
        leader_recovery_state: 1,
        ..Default::default()
    };
    let golden: [&[u8]; 3] =
        [b"\x01\x05\0\0\0\0\x01", &ID.0, b"\x02\x01\x04\xff\xff\xff\xff\x05\x01\x01"];
    let golden = Bytes::from(golden.concat());
    assert_eq!(MetadataRecord::from(change.clone()).encode(0).unwrap(), golden);
    assert_eq!(MetadataRecord::decode(golden).unwrap(), change.clone().into());
    change.directories = Some(vec![ID]);
    let error = MetadataRecord::from(change).encode(0).unwrap_err();
    assert_eq!(error.field(), Some("PartitionChangeRecord.directories"));
    let mut partition = record::PartitionRecord {
        partition_id: 2,
        topic_id: ID,
        replicas: vec![1],
        leader_recovery_state: 1,
        ..Default::default()
    };
    let golden: [&[u8]; 3] = [
        b"\x01\x03\0\0\0\0\x02",
        &ID.0,
        b"\x02\0\0\0\x01\x01\x01\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\0\x01\x01",
    ];
    let golden = Bytes::from(golden.concat());
    assert_eq!(MetadataRecord::from(partition.clone()).encode(0).unwrap(), golden);
    assert_eq!(MetadataRecord::decode(golden).unwrap(), partition.clone().into());
    partition.directories = vec![ID];
    assert!(MetadataRecord::from(partition).encode(0).is_err());
}

#[test]
fn a_broker_registers() {
    let endpoint = record::BrokerEndpoint {
        name: "L".into(),
        host: "h".into(),
        port: 40000,
        security_protocol: 0,
    };
    let feature = record::BrokerFeature {
        name: "f".into(),
        min_supported_version: 0,
        max_supported_version: 1,
    };
    let register: MetadataRecord = record::RegisterBrokerRecord {
        broker_id: 1,
        incarnation_id: ID,
        broker_epoch: 3,
        end_points: vec![endpoint],
        features: vec![feature],
        log_dirs: vec![ID],
        cordoned_log_dirs: Some(vec![]),
        ..Default::default()
    }
    .into();
    let golden: [&[u8]; 5] = [
        b"\x01\0\x04\0\0\0\x01\0",
        &ID.0,
        b"\0\0\0\0\0\0\0\x03\x02\x02L\x02h\x9c\x40\0\0\0\x02\x02f\0\0\0\x01\0\0\x01\0\x02\0\
          \x11\x02",
        &ID.0,
        b"\x01\x01\x01",
    ];
    let golden = Bytes::from(golden.concat());
    assert_eq!(register.encode_latest().unwrap(), golden);
    assert_eq!(MetadataRecord::decode(golden).unwrap(), register);
    // Version 2 has no place for log directories, and they are no hint.
    assert!(register.encode(2).is_err());
}

#[test]
fn metadata_records_that_nobody_knows_are_errors() {
    let kind = |bytes: &'static [u8]| {
        MetadataRecord::decode(Bytes::from_static(bytes)).unwrap_err().kind().clone()
    };
    let unknown = |what, value| DecodeErrorKind::UnknownRecord { what, value };
    assert_eq!(kind(b"\x02\x02\0"), unknown("metadata frame version", 2));
    assert_eq!(kind(b"\x01\x63\0"), unknown("metadata record type", 99));
    assert_eq!(kind(b"\x01\x02\x01\x01"), DecodeErrorKind::UnknownVersion { version: 1 });
    let trailing = b"\x01\x09\x000123456789abcdef\0?";
    assert_eq!(kind(trailing), DecodeErrorKind::TrailingBytes);
    assert!(MetadataRecord::decode(Bytes::new()).is_err());
}
