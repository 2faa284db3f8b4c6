//! What is told of groups, and where a flood of them ends.

use std::time::{Duration, Instant};

use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, DescribeGroupsRequest, GroupId,
    OffsetCommitRequest,
};
use kafka_protocol::protocol::StrBytes;

use crate::page::{counted, free_port, page};
use crate::support::{Broker, Connection, Options};

/// READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS and ALTER_CONFIGS, by the codes of AclOperation.
const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;
const NOT_ASKED: i32 = i32::MIN;
/// All partitions of `__consumer_offsets`, one after the other.
const LOAD_TIMEOUT: Duration = Duration::from_secs(20);

const NONE: i16 = 0;
const GROUP_ID_NOT_FOUND: i16 = 69;
const INVALID_COMMIT_OFFSET_SIZE: i16 = 28;

fn id(text: &'static str) -> GroupId {
    GroupId(StrBytes::from_static_str(text))
}

/// Error and operations of each.
fn described(c: &mut Connection, version: i16, is_asked: bool) -> Vec<(i16, i32)> {
    let request = DescribeGroupsRequest::default()
        .with_groups(vec![id("classic"), id("nobody")])
        .with_include_authorized_operations(is_asked);
    let answer = c.call(version, &request).expect("DescribeGroups");
    answer.groups.iter().map(|g| (g.error_code, g.authorized_operations)).collect()
}

fn consumers(c: &mut Connection, is_asked: bool) -> Vec<(i16, i32)> {
    let request = ConsumerGroupDescribeRequest::default()
        .with_group_ids(vec![id("consumer"), id("nobody")])
        .with_include_authorized_operations(is_asked);
    let answer = c.call(0, &request).expect("ConsumerGroupDescribe");
    answer.groups.iter().map(|g| (g.error_code, g.authorized_operations)).collect()
}

/// The error of a commit to the only partition of the topic `t`, from outside.
fn commit(c: &mut Connection, group: GroupId) -> i16 {
    let topic = TopicName(StrBytes::from_static_str("t"));
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(0);
    let topic =
        OffsetCommitRequestTopic::default().with_name(topic).with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default().with_group_id(group).with_topics(vec![topic]);
    let answer = c.call(8, &request).expect("OffsetCommit");
    answer.topics[0].partitions[0].error_code
}

/// Without ACLs everything that can be done with a group.
#[test]
fn what_a_caller_may_do_with_a_group_is_told_when_asked() {
    let broker = Broker::start("group-operations");
    let mut c = Connection::open(broker.port()).expect("connecting");
    assert_eq!(c.create_topic("t", 1, &[]).expect("CreateTopics"), NONE);
    assert_eq!(c.find_coordinator("classic").expect("FindCoordinator"), NONE);
    assert_eq!(commit(&mut c, id("classic")), NONE);
    let join = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(id("consumer"))
        .with_member_id(StrBytes::from_static_str("c1"))
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(vec![TopicName(StrBytes::from_static_str("t"))]))
        .with_topic_partitions(Some(vec![]));
    assert_eq!(c.call(1, &join).expect("ConsumerGroupHeartbeat").error_code, NONE);

    // A group that is not there is one without an error before version 6.
    assert_eq!(described(&mut c, 5, true), [(NONE, GROUP_OPERATIONS), (NONE, GROUP_OPERATIONS)]);
    assert_eq!(described(&mut c, 5, false), [(NONE, NOT_ASKED), (NONE, NOT_ASKED)]);
    let missing = (GROUP_ID_NOT_FOUND, NOT_ASKED);
    assert_eq!(described(&mut c, 6, true), [(NONE, GROUP_OPERATIONS), missing]);
    assert_eq!(consumers(&mut c, true), [(NONE, GROUP_OPERATIONS), missing]);
    assert_eq!(consumers(&mut c, false), [(NONE, NOT_ASKED), missing]);
}

/// Many groups, each within its own limits, in all partitions of `__consumer_offsets`.
#[test]
fn a_flood_of_groups_ends_at_the_memory_of_the_shard_and_is_told() {
    const MEMORY_MAX: u64 = 1 << 20;
    // None takes less than a kilobyte.
    const GROUPS_MAX: u64 = MEMORY_MAX / 1000;
    let metrics = free_port();
    let address = format!("127.0.0.1:{metrics}");
    let setting = format!("thalweg.groups.memory.bytes.max={MEMORY_MAX}");
    let arguments = ["--shards", "1", "--metrics", &address, "--set", &setting];
    let mut broker = Broker::start_with("group-flood", Options::with_arguments(&arguments));
    let mut c = Connection::open(broker.port()).expect("connecting");
    assert_eq!(c.create_topic("t", 1, &[]).expect("CreateTopics"), NONE);
    assert_eq!(c.find_coordinator("early").expect("FindCoordinator"), NONE);
    assert_eq!(commit(&mut c, id("early")), NONE);
    let group = |number| GroupId(StrBytes::from_string(format!("flood-{number}")));
    let refused = (0..GROUPS_MAX).find_map(|number| {
        let error = commit(&mut c, group(number));
        (error != NONE).then_some((number, error))
    });
    let (number, error) = refused.expect("a commit that is refused");
    assert_eq!(error, INVALID_COMMIT_OFFSET_SIZE);
    assert!(number > 100, "only {number} groups find room");
    let log = broker.log_until("no memory for more groups");
    assert!(log.contains("thalweg.groups.memory.bytes.max"), "{log}");
    let held = || counted(&page(metrics), "thalweg_groups_memory_bytes", "shard=");
    let held_before = held();
    assert!((MEMORY_MAX / 2..=MEMORY_MAX).contains(&held_before), "{held_before}");
    assert_eq!(commit(&mut c, id("early")), NONE, "who was there goes on");
    broker.stop();
    broker.restart();
    let deadline = Instant::now() + LOAD_TIMEOUT;
    while held() != held_before {
        assert!(Instant::now() < deadline, "{} of {held_before} bytes are loaded", held());
    }
    let mut c = Connection::open(broker.port()).expect("connecting");
    assert_eq!(commit(&mut c, id("early")), NONE);
    assert_eq!(commit(&mut c, group(number)), INVALID_COMMIT_OFFSET_SIZE);
}
