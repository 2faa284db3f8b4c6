//! Committed offsets: commit, fetch, delete, expiry.

use super::*;
use crate::protocol::ErrorCode;
use crate::protocol::messages::offset_commit::*;
use crate::protocol::messages::offset_delete::*;
use crate::protocol::messages::offset_fetch::*;

const DAY: i64 = 86_400_000;

/// A commit from outside a group: topic, partition, offset.
pub(super) fn commit(group: &str, offsets: &[(&str, i32, i64)]) -> OffsetCommitRequest {
    let topics = offsets.iter().map(|(topic, partition, offset)| OffsetCommitRequestTopic {
        name: (*topic).into(),
        partitions: vec![OffsetCommitRequestPartition {
            partition_index: *partition,
            committed_offset: *offset,
            committed_metadata: Some("m".into()),
            ..Default::default()
        }],
        ..Default::default()
    });
    OffsetCommitRequest { group_id: group.into(), topics: topics.collect(), ..Default::default() }
}

impl Bench {
    /// Errors of a commit, partition by partition.
    pub fn commit(&mut self, version: i16, request: OffsetCommitRequest) -> Vec<ErrorCode> {
        let Response::OffsetCommit(response) = self.ask(version, Request::OffsetCommit(request))
        else {
            panic!("another answer");
        };
        let partitions = response.topics.into_iter().flat_map(|topic| topic.partitions);
        partitions.map(|partition| partition.error_code).collect()
    }

    /// All offsets of a group: topic, partition, offset.
    pub fn fetch_all(&mut self, group: &str) -> Vec<(String, i32, i64)> {
        let group =
            OffsetFetchRequestGroup { group_id: group.into(), topics: None, ..Default::default() };
        let response = self.fetch(9, vec![group]);
        let topics = response.groups[0].topics.iter();
        let all = topics.flat_map(|topic| {
            let offset = |partition: &OffsetFetchResponsePartitions| {
                (topic.name.to_string(), partition.partition_index, partition.committed_offset)
            };
            topic.partitions.iter().map(offset).collect::<Vec<_>>()
        });
        all.collect()
    }

    fn fetch(&mut self, version: i16, groups: Vec<OffsetFetchRequestGroup>) -> OffsetFetchResponse {
        let request = OffsetFetchRequest { groups, ..Default::default() };
        match self.ask(version, Request::OffsetFetch(request)) {
            Response::OffsetFetch(response) => response,
            other => panic!("{other:?}"),
        }
    }

    fn delete_offsets(&mut self, group: &str, topic: &str, partition: i32) -> OffsetDeleteResponse {
        let partitions = vec![OffsetDeleteRequestPartition { partition_index: partition }];
        let topics = vec![OffsetDeleteRequestTopic { name: topic.into(), partitions }];
        let request = OffsetDeleteRequest { group_id: group.into(), topics };
        match self.ask(0, Request::OffsetDelete(request)) {
            Response::OffsetDelete(response) => response,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_is_committed_is_fetched_also_after_a_restart() {
    let mut bench = Bench::new();
    bench.topic("t", 3);
    let none = ErrorCode::NONE;
    assert_eq!(bench.commit(8, commit("g", &[("t", 0, 5), ("t", 2, 7)])), [none, none]);
    assert_eq!(bench.commit(8, commit("g", &[("t", 0, 6)])), [none]);
    let all = [("t".to_owned(), 0, 6), ("t".to_owned(), 2, 7)];
    assert_eq!(bench.fetch_all("g"), all);
    bench.restart();
    assert_eq!(bench.fetch_all("g"), all);
    assert_eq!(bench.fetch_all("other"), []);
    // The old form: one group, a partition without an offset answered with -1.
    let request = OffsetFetchRequest {
        group_id: "g".into(),
        topics: Some(vec![OffsetFetchRequestTopic {
            name: "t".into(),
            partition_indexes: vec![0, 1],
        }]),
        ..Default::default()
    };
    let Response::OffsetFetch(response) = bench.ask(1, Request::OffsetFetch(request)) else {
        panic!("another answer");
    };
    let partitions = &response.topics[0].partitions;
    assert_eq!((partitions[0].committed_offset, partitions[1].committed_offset), (6, -1));
    assert_eq!(partitions[1].error_code, none);
}

#[test]
fn commits_are_refused_as_kafka_refuses_them() {
    let mut bench = Bench::with(GroupSettings { offsets_max: 2, groups_max: 2, ..settings() });
    let id = bench.topic("t", 3);
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    let errors = bench.commit(8, commit("g", &[("t", 0, 1), ("t", 3, 1), ("u", 0, 1)]));
    assert_eq!(errors, [ErrorCode::NONE, unknown, unknown]);
    assert_eq!(bench.commit(8, commit("new", &[("u", 0, 1)])), [unknown]);
    assert_eq!(bench.coordinator.counts().groups, 1, "no group comes of a commit to nothing");
    // A member of a group that is not there.
    let member = OffsetCommitRequest {
        generation_id_or_member_epoch: 3,
        member_id: "m".into(),
        ..commit("new", &[("t", 0, 1)])
    };
    assert_eq!(bench.commit(8, member.clone()), [ErrorCode::ILLEGAL_GENERATION]);
    assert_eq!(bench.commit(9, member), [ErrorCode::GROUP_ID_NOT_FOUND]);
    let mut long = commit("g", &[("t", 0, 9)]);
    long.topics[0].partitions[0].committed_metadata = Some("ä".repeat(4097).into());
    assert_eq!(bench.commit(8, long.clone()), [ErrorCode::OFFSET_METADATA_TOO_LARGE]);
    long.topics[0].partitions[0].committed_metadata = Some("ä".repeat(4096).into());
    assert_eq!(bench.commit(8, long), [ErrorCode::NONE], "4096 characters are allowed");
    // Limits.
    assert_eq!(bench.commit(8, commit("g", &[("t", 1, 1)])), [ErrorCode::NONE]);
    let full = ErrorCode::INVALID_COMMIT_OFFSET_SIZE;
    assert_eq!(bench.commit(8, commit("g", &[("t", 2, 1), ("t", 1, 2)])), [full, ErrorCode::NONE]);
    assert_eq!(bench.commit(8, commit("h", &[("t", 2, 1)])), [ErrorCode::NONE]);
    assert_eq!(bench.commit(8, commit("i", &[("t", 2, 1)])), [full]);
    // By topic id.
    let mut by_id = commit("h", &[("", 1, 8)]);
    by_id.topics[0].topic_id = id;
    assert_eq!(bench.commit(10, by_id.clone()), [ErrorCode::NONE]);
    by_id.topics[0].topic_id = Uuid([9; 16]);
    assert_eq!(bench.commit(10, by_id), [ErrorCode::UNKNOWN_TOPIC_ID]);
    assert_eq!(bench.fetch_all("h"), [("t".to_owned(), 1, 8), ("t".to_owned(), 2, 1)]);
}

#[test]
fn a_topic_that_is_created_again_is_another_topic() {
    let mut bench = Bench::new();
    let old = bench.topic("t", 1);
    bench.topic("u", 1);
    bench.commit(8, commit("g", &[("t", 0, 5), ("u", 0, 1)]));
    let group = |topic_id| OffsetFetchRequestGroup {
        group_id: "g".into(),
        topics: Some(vec![OffsetFetchRequestTopics {
            topic_id,
            partition_indexes: vec![0],
            ..Default::default()
        }]),
        ..Default::default()
    };
    let offset = |response: OffsetFetchResponse| {
        let partition = &response.groups[0].topics[0].partitions[0];
        (partition.committed_offset, partition.error_code)
    };
    assert_eq!(offset(bench.fetch(10, vec![group(old)])), (5, ErrorCode::NONE));
    bench.image.apply(&Change::RemoveTopic { id: old }).unwrap();
    let response = offset(bench.fetch(10, vec![group(old)]));
    assert_eq!(response, (-1, ErrorCode::UNKNOWN_TOPIC_ID));
    // Created again before the coordinator was told of the deletion.
    let new = bench.topic("t", 1);
    assert_eq!(offset(bench.fetch(10, vec![group(new)])), (-1, ErrorCode::NONE));
    assert_eq!(bench.fetch_all("g"), [("u".to_owned(), 0, 1)], "the old topic's offset is gone");
    bench.restart();
    assert_eq!(bench.fetch_all("g"), [("u".to_owned(), 0, 1)]);
}

#[test]
fn offsets_of_a_group_without_members_can_be_deleted() {
    let mut bench = Bench::new();
    bench.topic("t", 2);
    bench.commit(8, commit("g", &[("t", 0, 5), ("t", 1, 6)]));
    let error = |response: OffsetDeleteResponse| {
        let topic = response.topics.first();
        (response.error_code, topic.map(|topic| topic.partitions[0].error_code))
    };
    let none = ErrorCode::NONE;
    assert_eq!(error(bench.delete_offsets("g", "t", 0)), (none, Some(none)));
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    assert_eq!(error(bench.delete_offsets("g", "u", 0)), (none, Some(unknown)));
    assert_eq!(error(bench.delete_offsets("x", "t", 0)), (ErrorCode::GROUP_ID_NOT_FOUND, None));
    assert_eq!(error(bench.delete_offsets("", "t", 0)), (ErrorCode::INVALID_GROUP_ID, None));
    assert_eq!(bench.fetch_all("g"), [("t".to_owned(), 1, 6)]);
    bench.restart();
    assert_eq!(bench.fetch_all("g"), [("t".to_owned(), 1, 6)]);
}

#[test]
fn offsets_of_a_group_that_nobody_joined_expire_one_by_one() {
    let mut bench = Bench::new();
    bench.topic("t", 2);
    bench.commit(8, commit("g", &[("t", 0, 5)]));
    bench.pass(3 * DAY);
    bench.commit(8, commit("g", &[("t", 1, 6)]));
    bench.pass(4 * DAY - 1);
    assert_eq!(bench.fetch_all("g").len(), 2, "seven days are not over");
    bench.pass(600_001);
    assert_eq!(bench.fetch_all("g"), [("t".to_owned(), 1, 6)]);
    bench.restart();
    bench.pass(3 * DAY);
    assert_eq!(bench.fetch_all("g"), []);
    assert_eq!(bench.coordinator.counts().groups, 0, "the group goes with its last offset");
    assert_eq!(bench.reloaded().counts().groups, 0);
}

#[test]
fn a_retention_of_the_clients_own_wins() {
    let mut bench = Bench::new();
    bench.topic("t", 2);
    let own = OffsetCommitRequest { retention_time_ms: DAY, ..commit("g", &[("t", 0, 5)]) };
    assert_eq!(bench.commit(4, own), [ErrorCode::NONE]);
    bench.commit(4, commit("g", &[("t", 1, 5)]));
    bench.restart();
    bench.pass(DAY + 600_000);
    assert_eq!(bench.fetch_all("g"), [("t".to_owned(), 1, 5)]);
}

#[test]
fn many_expired_offsets_go_in_bounded_steps() {
    let mut bench = Bench::new();
    bench.topic("t", 2_000);
    for group in 0..12 {
        let offsets: Vec<(&str, i32, i64)> = (0..2_000).map(|index| ("t", index, 1)).collect();
        bench.commit(8, commit(&format!("g{group}"), &offsets));
    }
    assert_eq!(bench.coordinator.counts().offsets, 24_000);
    bench.pass(7 * DAY - 1_000_000);
    let before = bench.log.len();
    let mut most = 0;
    while bench.coordinator.counts().groups > 0 {
        bench.now = bench.coordinator.deadline().unwrap().max(bench.now);
        let step = bench.coordinator.step(bench.now, &bench.image, Event::Tick);
        most = most.max(step.records.len());
        bench.log.extend(step.records);
        assert!(bench.coordinator.deadline().unwrap() >= bench.now);
    }
    assert!(most < 13_000, "{most} records in one step");
    assert_eq!(bench.log.len() - before, 24_000 + 12);
    assert_eq!(bench.reloaded().counts().offsets, 0);
}

#[test]
fn offsets_of_a_deleted_topic_go_in_bounded_steps() {
    let mut bench = Bench::new();
    let id = bench.topic("t", 2_000);
    bench.topic("u", 1);
    for group in 0..12 {
        let mut offsets: Vec<(&str, i32, i64)> = (0..2_000).map(|index| ("t", index, 1)).collect();
        offsets.push(("u", 0, 1));
        bench.commit(8, commit(&format!("g{group:02}"), &offsets));
    }
    bench.image.apply(&Change::RemoveTopic { id }).unwrap();
    let mut records = Vec::new();
    let mut event = Event::ImageChanged;
    while bench.coordinator.counts().offsets > 12 {
        let step = bench.coordinator.step(bench.now, &bench.image, event);
        records.push(step.records.len());
        bench.log.extend(step.records);
        event = Event::Tick;
        let is_over = bench.coordinator.counts().offsets == 12;
        let deadline = bench.coordinator.deadline().unwrap();
        assert_eq!(deadline > bench.now, is_over, "the rest is due at once");
    }
    assert_eq!(records, [10_000, 10_000, 4_000]);
    assert_eq!(bench.reloaded().counts().offsets, 12);
}

#[test]
fn a_group_with_more_expired_offsets_than_a_step_forgets_loses_them_all() {
    let mut bench = Bench::new();
    bench.topic("t", 12_000);
    let offsets: Vec<(&str, i32, i64)> = (0..12_000).map(|index| ("t", index, 1)).collect();
    bench.commit(8, commit("g", &offsets));
    bench.now += 7 * DAY;
    let mut records = Vec::new();
    while bench.coordinator.deadline().unwrap() <= bench.now {
        let step = bench.coordinator.step(bench.now, &bench.image, Event::Tick);
        records.push(step.records.len());
        bench.log.extend(step.records);
    }
    assert_eq!(records, [10_000, 2_001], "the last one is the group's");
    assert_eq!(bench.reloaded().counts().groups, 0);
}

#[test]
fn what_a_commit_makes_the_log_keep_is_bounded() {
    let mut bench = Bench::new();
    bench.topic("t", 1);
    let long = "g".repeat(1025);
    let refused = bench.commit(8, commit(&long, &[("t", 0, 1), ("none", 0, 1)]));
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
    assert_eq!(refused, [ErrorCode::INVALID_GROUP_ID, unknown]);
    let partition = OffsetCommitRequestPartition {
        committed_metadata: Some("m".repeat(4096).into()),
        ..Default::default()
    };
    let topic = OffsetCommitRequestTopic {
        name: "t".into(),
        partitions: vec![partition; 10_000],
        ..Default::default()
    };
    let request =
        OffsetCommitRequest { group_id: "g".into(), topics: vec![topic], ..Default::default() };
    let errors = bench.commit(8, request);
    let taken = errors.iter().filter(|error| error.is_ok()).count();
    assert_eq!(errors.last(), Some(&ErrorCode::INVALID_COMMIT_OFFSET_SIZE));
    let bytes: usize =
        bench.log.iter().map(|r| r.key.len() + r.value.as_ref().unwrap().len()).sum();
    assert!((33 << 20) > bytes && taken == bench.log.len(), "{taken} taken, {bytes} bytes");
    assert_eq!(bench.commit(8, commit("g", &[("t", 0, 1)])), [ErrorCode::NONE]);
}
