//! Administration: settings that change while the broker runs, and what it tells about itself.

use std::time::{Duration, Instant};

use kafka_protocol::messages::alter_client_quotas_request::{
    AlterClientQuotasRequest, EntityData, EntryData, OpData,
};
use kafka_protocol::messages::alter_configs_request;
use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::alter_replica_log_dirs_request::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic,
};
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterPartitionReassignmentsRequest, AlterReplicaLogDirsRequest,
    ApiVersionsRequest, CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest,
    DescribeClientQuotasRequest, DescribeConfigsRequest, DescribeLogDirsRequest,
    DescribeProducersRequest, DescribeQuorumRequest, DescribeUserScramCredentialsRequest,
    ElectLeadersRequest, IncrementalAlterConfigsRequest, ListPartitionReassignmentsRequest,
    TopicName, UpdateFeaturesRequest,
};
use kafka_protocol::protocol::StrBytes;

use crate::page::{counted, free_port, page};
use crate::support::{Broker, Connection, Options, wire};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const GROUP: i8 = 32;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

const NONE: i16 = 0;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const MESSAGE_TOO_LARGE: i16 = 10;
const INVALID_REPLICA_ASSIGNMENT: i16 = 39;
const INVALID_CONFIG: i16 = 40;
const INVALID_REQUEST: i16 = 42;
const SECURITY_DISABLED: i16 = 54;
const LOG_DIR_NOT_FOUND: i16 = 57;
const ELECTION_NOT_NEEDED: i16 = 84;
const NO_REASSIGNMENT_IN_PROGRESS: i16 = 85;
const RESOURCE_NOT_FOUND: i16 = 91;
const INVALID_UPDATE_VERSION: i16 = 95;

// Sources of a value.
const OF_TOPIC: i8 = 1;
const OF_BROKER: i8 = 2;
const OF_ALL_BROKERS: i8 = 3;
const DEFAULT: i8 = 5;
const OF_GROUP: i8 = 8;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// One change of one resource: its error code.
fn alter(
    connection: &mut Connection,
    (kind, name): (i8, &str),
    changes: &[(&str, i8, Option<&str>)],
    validate_only: bool,
) -> i16 {
    let configs = changes.iter().map(|(key, operation, value)| {
        AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(*operation)
            .with_value(value.map(text))
    });
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(configs.collect());
    let request = IncrementalAlterConfigsRequest::default()
        .with_resources(vec![resource])
        .with_validate_only(validate_only);
    let response = connection.call(1, &request).expect("IncrementalAlterConfigs");
    response.responses[0].error_code
}

fn set(connection: &mut Connection, resource: (i8, &str), key: &str, value: &str) -> i16 {
    alter(connection, resource, &[(key, SET, Some(value))], false)
}

/// One setting as it is described.
fn described(
    connection: &mut Connection,
    (kind, name): (i8, &str),
    key: &str,
) -> Option<DescribeConfigsResourceResult> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(Some(vec![text(key)]));
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![resource])
        .with_include_synonyms(true)
        .with_include_documentation(true);
    let mut response = connection.call(4, &request).expect("DescribeConfigs");
    let result = response.results.remove(0);
    assert_eq!(result.error_code, NONE, "{:?}", result.error_message);
    result.configs.into_iter().find(|config| *config.name == *key)
}

/// Value and source of a setting.
fn value(connection: &mut Connection, resource: (i8, &str), key: &str) -> (String, i8) {
    let config = described(connection, resource, key).expect("a setting that is described");
    (config.value.map(|value| value.to_string()).unwrap_or_default(), config.config_source)
}

/// Asks until the answer is `wanted`: Kafka's brokers hear of a change after its requester does.
fn await_answer<T: PartialEq + std::fmt::Debug>(wanted: &T, mut ask: impl FnMut() -> T) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = ask();
        if answer == *wanted {
            return;
        }
        let is_in_time = Broker::is_kafka() && Instant::now() < deadline;
        assert!(is_in_time, "{answer:?} instead of {wanted:?}");
    }
}

fn produced(connection: &mut Connection, topic: &str, bytes: usize) -> i16 {
    let batch = wire::batch(&[&vec![b'x'; bytes]]);
    connection.produce(topic, 0, 1, batch).expect("Produce").0
}

#[test]
fn settings_of_a_topic_take_effect_at_once_and_outlive_a_restart() {
    let mut broker = Broker::start("topic-settings");
    let mut c = Connection::open(broker.port()).expect("connecting");
    assert_eq!(c.create_topic("t", 1, &[]).expect("CreateTopics"), NONE);
    let (topic, key) = ((TOPIC, "t"), "max.message.bytes");
    await_answer(&NONE, || produced(&mut c, "t", 5000));
    assert_eq!(value(&mut c, topic, key), ("1048588".into(), DEFAULT));
    assert_eq!(alter(&mut c, topic, &[(key, SET, Some("1000"))], true), NONE);
    assert_eq!(value(&mut c, topic, key).1, DEFAULT, "nothing but a check");
    assert_eq!(set(&mut c, topic, key, "1000"), NONE);
    await_answer(&MESSAGE_TOO_LARGE, || produced(&mut c, "t", 5000));
    assert_eq!(value(&mut c, topic, key), ("1000".into(), OF_TOPIC));

    // A change that cannot be taken whole is not taken at all.
    let half = [("retention.ms", SET, Some("5")), ("segment.bytes", SET, Some("x"))];
    assert_eq!(alter(&mut c, topic, &half, false), INVALID_CONFIG);
    assert_eq!(value(&mut c, topic, "retention.ms").1, DEFAULT);
    assert_eq!(set(&mut c, topic, "no.such.key", "1"), INVALID_CONFIG);
    assert_eq!(set(&mut c, (TOPIC, "u"), key, "1"), UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(alter(&mut c, topic, &[(key, SET, None)], false), INVALID_REQUEST);
    assert_eq!(alter(&mut c, topic, &[(key, APPEND, Some("1"))], false), INVALID_CONFIG);
    assert_eq!(set(&mut c, (7, "t"), key, "1"), INVALID_REQUEST);

    broker.stop();
    broker.restart();
    let mut c = Connection::open(broker.port()).expect("connecting");
    await_answer(&MESSAGE_TOO_LARGE, || produced(&mut c, "t", 5000));
    assert_eq!(alter(&mut c, topic, &[(key, DELETE, None)], false), NONE);
    await_answer(&NONE, || produced(&mut c, "t", 5000));
}

#[test]
fn lists_grow_and_shrink_and_a_whole_configuration_is_replaced() {
    let broker = Broker::start("replaced-settings");
    let mut c = Connection::open(broker.port()).expect("connecting");
    assert_eq!(c.create_topic("t", 1, &[]).expect("CreateTopics"), NONE);
    let (topic, key) = ((TOPIC, "t"), "leader.replication.throttled.replicas");
    assert_eq!(alter(&mut c, topic, &[(key, APPEND, Some("0:1,1:1"))], false), NONE);
    assert_eq!(alter(&mut c, topic, &[(key, SUBTRACT, Some("0:1"))], false), NONE);
    assert_eq!(set(&mut c, topic, "retention.ms", "60000"), NONE);
    await_answer(&("1:1".into(), OF_TOPIC), || value(&mut c, topic, key));
    let only = alter_configs_request::AlterableConfig::default()
        .with_name(text("retention.ms"))
        .with_value(Some(text("70000")));
    let resource = alter_configs_request::AlterConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text("t"))
        .with_configs(vec![only]);
    let request = AlterConfigsRequest::default().with_resources(vec![resource]);
    let response = c.call(2, &request).expect("AlterConfigs");
    assert_eq!(response.responses[0].error_code, NONE);
    await_answer(&("70000".into(), OF_TOPIC), || value(&mut c, topic, "retention.ms"));
    await_answer(&(String::new(), DEFAULT), || value(&mut c, topic, key));
}

#[test]
fn settings_of_the_broker_change_every_topic_that_has_none_of_its_own() {
    let mut broker = Broker::start("broker-settings");
    let mut c = Connection::open(broker.port()).expect("connecting");
    assert_eq!(c.create_topic("t", 4, &[]).expect("CreateTopics"), NONE);
    let (all, own, key) = ((BROKER, ""), (BROKER, "1"), "message.max.bytes");
    await_answer(&NONE, || produced(&mut c, "t", 5000));
    assert_eq!(set(&mut c, all, key, "1000"), NONE);
    await_answer(&MESSAGE_TOO_LARGE, || produced(&mut c, "t", 5000));
    assert_eq!(value(&mut c, (TOPIC, "t"), "max.message.bytes"), ("1000".into(), OF_ALL_BROKERS));
    assert_eq!(set(&mut c, own, key, "9000"), NONE);
    await_answer(&NONE, || produced(&mut c, "t", 5000));
    let config = described(&mut c, own, key).expect("a setting that is described");
    let layers: Vec<_> = config.synonyms.iter().map(|synonym| synonym.source).collect();
    assert_eq!(layers, [OF_BROKER, OF_ALL_BROKERS, DEFAULT]);
    assert!(!config.read_only && !config.is_sensitive && config.documentation.is_some());
    assert_eq!(value(&mut c, all, key), ("1000".into(), OF_ALL_BROKERS));
    assert!(described(&mut c, own, "node.id").expect("it is described").read_only);
    broker.stop();
    broker.restart();
    let mut c = Connection::open(broker.port()).expect("connecting");
    await_answer(&NONE, || produced(&mut c, "t", 5000));
    assert_eq!(alter(&mut c, own, &[(key, DELETE, None)], false), NONE);
    await_answer(&MESSAGE_TOO_LARGE, || produced(&mut c, "t", 5000));

    assert_eq!(set(&mut c, own, "node.id", "2"), INVALID_REQUEST);
    assert_eq!(set(&mut c, own, key, "x"), INVALID_REQUEST);
    assert_eq!(set(&mut c, (BROKER, "2"), key, "1000"), INVALID_REQUEST);
}

/// `thalweg.durability=write` set while the broker runs: nothing relaxes silently.
#[test]
fn a_relaxed_durability_is_told_by_log_metrics_and_banner() {
    let metrics = free_port();
    let address = format!("127.0.0.1:{metrics}");
    let mut broker =
        Broker::start_with("relaxed", Options::with_arguments(&["--metrics", &address]));
    let mut c = Connection::open(broker.port()).expect("connecting");
    let key = "thalweg.durability";
    assert_eq!(c.create_topic("own", 2, &[(key, "write")]).expect("CreateTopics"), NONE);
    assert_eq!(c.create_topic("t", 3, &[]).expect("CreateTopics"), NONE);
    let told = |metrics, mode: &str, relaxed| {
        let page = page(metrics);
        assert!(page.contains(&format!("thalweg_durability_info{{mode=\"{mode}\"}} 1")), "{page}");
        assert_eq!(counted(&page, "thalweg_partitions_relaxed", "shard="), relaxed);
    };
    told(metrics, "flush", 2);
    let log = broker.log_tail();
    assert!(log.contains("topic=\"own\"") && log.contains("not survive a power cut"), "{log}");
    assert_eq!(set(&mut c, (BROKER, "1"), key, "write"), NONE);
    told(metrics, "write", 5);
    let log = broker.log_tail();
    assert!(log.contains("thalweg.durability of the broker is write now"), "{log}");
    broker.stop();
    broker.restart();
    told(metrics, "write", 5);
    let log = broker.log_tail();
    let banner = log.rsplit_once("thalweg 0").expect("the second banner").1;
    assert!(banner.contains("write: acks=all survives kill -9, not a power cut"), "{banner}");
    assert!(banner.contains("1 topic with thalweg.durability=write"), "{banner}");
    let mut c = Connection::open(broker.port()).expect("connecting");
    assert_eq!(set(&mut c, (BROKER, "1"), key, "flush"), NONE);
    told(metrics, "flush", 2);
    assert_eq!(c.delete_topic("own").expect("DeleteTopics"), NONE);
    told(metrics, "flush", 0);
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let broker = Broker::start("contradiction");
    let mut c = Connection::open(broker.port()).expect("connecting");
    let lags = [("min.compaction.lag.ms", "6"), ("max.compaction.lag.ms", "5")];
    assert_eq!(c.create_topic("t", 1, &lags).expect("CreateTopics"), INVALID_CONFIG);
    assert_eq!(c.create_topic("t", 1, &lags[..1]).expect("CreateTopics"), NONE);
    assert_eq!(set(&mut c, (TOPIC, "t"), lags[1].0, lags[1].1), INVALID_CONFIG);
}

#[test]
fn settings_of_groups_keep_to_the_brokers_bounds() {
    let broker = Broker::start("group-settings");
    let mut c = Connection::open(broker.port()).expect("connecting");
    let (group, key) = ((GROUP, "g"), "consumer.session.timeout.ms");
    assert_eq!(value(&mut c, group, key), ("45000".into(), DEFAULT));
    assert_eq!(set(&mut c, group, key, "50000"), NONE);
    await_answer(&("50000".into(), OF_GROUP), || value(&mut c, group, key));
    assert_eq!(set(&mut c, group, key, "1"), INVALID_CONFIG);
    assert_eq!(set(&mut c, group, "retention.ms", "1"), INVALID_CONFIG);
    assert_eq!(set(&mut c, (GROUP, ""), key, "50000"), INVALID_REQUEST);
}

#[test]
fn quotas_are_kept_and_reported() {
    let mut broker = Broker::start("quotas");
    let mut c = Connection::open(broker.port()).expect("connecting");
    let entity = |name: Option<&str>| {
        EntityData::default().with_entity_type(text("user")).with_entity_name(name.map(text))
    };
    let alter = |c: &mut Connection, key: &str, value: f64, remove: bool| {
        let op = OpData::default().with_key(text(key)).with_value(value).with_remove(remove);
        let entry = EntryData::default().with_entity(vec![entity(Some("u"))]).with_ops(vec![op]);
        let request = AlterClientQuotasRequest::default().with_entries(vec![entry]);
        c.call(1, &request).expect("AlterClientQuotas").entries[0].error_code
    };
    let described = |c: &mut Connection| {
        let any = ComponentData::default()
            .with_entity_type(text("user"))
            .with_match_type(2)
            .with_match(None);
        let request = DescribeClientQuotasRequest::default().with_components(vec![any]);
        let response = c.call(1, &request).expect("DescribeClientQuotas");
        let values = response.entries.expect("entries").into_iter().flat_map(|e| e.values);
        values.map(|value| (value.key.to_string(), value.value)).collect::<Vec<_>>()
    };
    assert_eq!(alter(&mut c, "producer_byte_rate", 1e9, false), NONE);
    assert_eq!(alter(&mut c, "producer_byte_rate", -1.0, false), INVALID_REQUEST);
    assert_eq!(alter(&mut c, "no_such_rate", 1.0, false), INVALID_REQUEST);
    await_answer(&vec![("producer_byte_rate".into(), 1e9)], || described(&mut c));
    broker.stop();
    broker.restart();
    let mut c = Connection::open(broker.port()).expect("connecting");
    assert_eq!(described(&mut c), [("producer_byte_rate".into(), 1e9)]);
    assert_eq!(alter(&mut c, "producer_byte_rate", 0.0, true), NONE);
    await_answer(&Vec::new(), || described(&mut c));
}

#[test]
fn one_broker_elects_and_moves_nothing() {
    let broker = Broker::start("nothing-moves");
    let mut c = Connection::open(broker.port()).expect("connecting");
    assert_eq!(c.create_topic("t", 2, &[]).expect("CreateTopics"), NONE);
    let topic = |name: &str| TopicName(text(name));
    let mut elect = |name: &str, index| {
        let wanted =
            TopicPartitions::default().with_topic(topic(name)).with_partitions(vec![index]);
        let request = ElectLeadersRequest::default().with_topic_partitions(Some(vec![wanted]));
        let response = c.call(2, &request).expect("ElectLeaders");
        response.replica_election_results[0].partition_result[0].error_code
    };
    assert_eq!(elect("t", 1), ELECTION_NOT_NEEDED);
    assert_eq!(elect("t", 2), UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(elect("u", 0), UNKNOWN_TOPIC_OR_PARTITION);
    let mut reassign = |name: &str, replicas: Option<Vec<i32>>| {
        let replicas = replicas.map(|all| all.into_iter().map(Into::into).collect());
        let partition =
            ReassignablePartition::default().with_partition_index(0).with_replicas(replicas);
        let wanted =
            ReassignableTopic::default().with_name(topic(name)).with_partitions(vec![partition]);
        let request = AlterPartitionReassignmentsRequest::default()
            .with_timeout_ms(30_000)
            .with_topics(vec![wanted]);
        let response = c.call(0, &request).expect("AlterPartitionReassignments");
        response.responses[0].partitions[0].error_code
    };
    assert_eq!(reassign("t", Some(vec![1])), NONE);
    assert_eq!(reassign("t", Some(vec![2])), INVALID_REPLICA_ASSIGNMENT);
    assert_eq!(reassign("t", Some(vec![1, 1])), INVALID_REPLICA_ASSIGNMENT);
    assert_eq!(reassign("t", Some(vec![])), INVALID_REPLICA_ASSIGNMENT);
    assert_eq!(reassign("t", None), NO_REASSIGNMENT_IN_PROGRESS);
    assert_eq!(reassign("u", None), UNKNOWN_TOPIC_OR_PARTITION);
    let request = ListPartitionReassignmentsRequest::default().with_topics(None);
    let response = c.call(0, &request).expect("ListPartitionReassignments");
    assert!(response.error_code == NONE && response.topics.is_empty());
}

#[test]
fn log_directories_and_producers_are_described() {
    let broker = Broker::start("described");
    let mut c = Connection::open(broker.port()).expect("connecting");
    assert_eq!(c.create_topic("t", 2, &[]).expect("CreateTopics"), NONE);
    let mut producer = None;
    while producer.is_none() {
        producer = c.init_producer().ok();
    }
    let producer = producer.expect("a producer id");
    await_answer(&NONE, || {
        let batch = wire::sequenced_batch(&[b"a", b"b"], producer, 0);
        c.produce("t", 1, -1, batch).expect("Produce").0
    });
    let response =
        c.call(4, &DescribeLogDirsRequest::default().with_topics(None)).expect("DescribeLogDirs");
    let directory = &response.results[0];
    assert_eq!((response.results.len(), directory.error_code), (1, NONE));
    assert!(directory.log_dir.starts_with('/'));
    assert!(directory.total_bytes > directory.usable_bytes && directory.usable_bytes > 0);
    let sizes = directory.topics.iter().filter(|topic| &*topic.name.0 == "t");
    let mut sizes: Vec<_> = sizes
        .flat_map(|topic| &topic.partitions)
        .map(|partition| (partition.partition_index, partition.partition_size > 0))
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [(0, false), (1, true)]);

    let topic = TopicRequest::default()
        .with_name(TopicName(text("t")))
        .with_partition_indexes(vec![0, 1, 2]);
    let request = DescribeProducersRequest::default().with_topics(vec![topic]);
    let response = c.call(0, &request).expect("DescribeProducers");
    let [idle, used, missing] = &response.topics[0].partitions[..] else { panic!("three") };
    assert!(idle.error_code == NONE && idle.active_producers.is_empty());
    assert_eq!(missing.error_code, UNKNOWN_TOPIC_OR_PARTITION);
    let known: Vec<_> = used
        .active_producers
        .iter()
        .map(|known| (known.producer_id.0, known.producer_epoch, known.last_sequence))
        .collect();
    assert_eq!(known, [(producer.id, i32::from(producer.epoch), 1)]);
}

#[test]
fn a_replica_can_only_be_where_it_is() {
    let broker = Broker::start("log-directory");
    let mut c = Connection::open(broker.port()).expect("connecting");
    assert_eq!(c.create_topic("t", 2, &[]).expect("CreateTopics"), NONE);
    let request = DescribeLogDirsRequest::default().with_topics(None);
    let directory = c.call(4, &request).expect("DescribeLogDirs").results.remove(0).log_dir;
    let mut alter = |version, wanted: &[(&str, &str, &[i32])]| {
        let dirs = wanted.iter().map(|(path, name, partitions)| {
            let topic = AlterReplicaLogDirTopic::default()
                .with_name(TopicName(text(name)))
                .with_partitions(partitions.to_vec());
            AlterReplicaLogDir::default().with_path(text(path)).with_topics(vec![topic])
        });
        let request = AlterReplicaLogDirsRequest::default().with_dirs(dirs.collect());
        let response = c.call(version, &request).expect("AlterReplicaLogDirs");
        let mut codes: Vec<_> = response
            .results
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(move |p| (topic, p)))
            .map(|(topic, p)| (topic.topic_name.to_string(), p.partition_index, p.error_code))
            .collect();
        codes.sort_unstable();
        codes
    };
    let own: &str = &directory;
    let slash = format!("{own}/");
    let one = |name: &str, index, code| (name.to_owned(), index, code);
    for version in [1, 2] {
        await_answer(&vec![one("t", 0, NONE), one("t", 1, NONE)], || {
            alter(version, &[(own, "t", &[1, 0])])
        });
        for other in ["/no/such/directory", &slash, ""] {
            assert_eq!(alter(version, &[(other, "t", &[0])]), [one("t", 0, LOG_DIR_NOT_FOUND)]);
        }
        // Whether there is such a partition is asked after whether there is such a directory.
        let missing = alter(version, &[(own, "t", &[2, -1]), (own, "u", &[0])]);
        let wanted = [("t", -1), ("t", 2), ("u", 0)];
        assert_eq!(missing, wanted.map(|(name, p)| one(name, p, UNKNOWN_TOPIC_OR_PARTITION)));
        assert_eq!(alter(version, &[("/x", "u", &[0])]), [one("u", 0, LOG_DIR_NOT_FOUND)]);
        // Of two wishes the last one counts.
        let both = alter(version, &[("/x", "t", &[0]), (own, "t", &[0, 0])]);
        assert_eq!(both, [one("t", 0, NONE)]);
        assert_eq!(alter(version, &[]), []);
    }
}

#[test]
fn the_quorum_is_this_broker_and_its_features_are_fixed() {
    let broker = Broker::start("quorum");
    let mut c = Connection::open(broker.port()).expect("connecting");
    let partition = PartitionData::default().with_partition_index(0);
    let topic = TopicData::default()
        .with_topic_name(TopicName(text("__cluster_metadata")))
        .with_partitions(vec![partition]);
    let request = DescribeQuorumRequest::default().with_topics(vec![topic]);
    let response = c.call(2, &request).expect("DescribeQuorum");
    let quorum = &response.topics[0].partitions[0];
    assert_eq!((response.error_code, quorum.error_code), (NONE, NONE));
    assert_eq!(quorum.leader_id.0, 1);
    let voters: Vec<_> = quorum.current_voters.iter().map(|voter| voter.replica_id.0).collect();
    assert_eq!(voters, [1]);
    assert_eq!(response.nodes[0].node_id.0, 1);

    let versions = c
        .call(
            3,
            &ApiVersionsRequest::default()
                .with_client_software_name(text("test"))
                .with_client_software_version(text("1")),
        )
        .expect("ApiVersions");
    let metadata = versions.finalized_features.iter().find(|f| &*f.name == "metadata.version");
    let level = metadata.expect("metadata.version").max_version_level;
    let mut update = |level| {
        let feature = FeatureUpdateKey::default()
            .with_feature(text("metadata.version"))
            .with_max_version_level(level)
            .with_upgrade_type(1);
        let request = UpdateFeaturesRequest::default().with_feature_updates(vec![feature]);
        c.call(1, &request).expect("UpdateFeatures").error_code
    };
    assert_eq!(update(level), NONE);
    assert_eq!(update(999), INVALID_UPDATE_VERSION);

    let request = DescribeUserScramCredentialsRequest::default();
    let response = c.call(0, &request).expect("DescribeUserScramCredentials");
    assert!(response.error_code == NONE && response.results.is_empty());
    let user =
        kafka_protocol::messages::describe_user_scram_credentials_request::UserName::default()
            .with_name(text("u"));
    let request = DescribeUserScramCredentialsRequest::default().with_users(Some(vec![user]));
    let response = c.call(0, &request).expect("DescribeUserScramCredentials");
    assert_eq!(response.results[0].error_code, RESOURCE_NOT_FOUND);
}

/// Nobody decides what a client may do: each request about ACLs hears so, in Kafka's words.
#[test]
fn acls_are_refused_as_without_an_authorizer() {
    let broker = Broker::start("acls");
    let mut c = Connection::open(broker.port()).expect("connecting");
    let why = Some(text("No Authorizer is configured."));
    for version in 1..=3 {
        let any = DescribeAclsRequest::default()
            .with_resource_type_filter(1)
            .with_pattern_type_filter(if version == 1 { 3 } else { 1 })
            .with_operation(1)
            .with_permission_type(1);
        let response = c.call(version, &any).expect("DescribeAcls");
        assert_eq!(response.error_code, SECURITY_DISABLED);
        let told = response.error_message.unwrap_or_default();
        assert_eq!(&*told, "No Authorizer is configured on the broker");
        assert!(response.resources.is_empty());

        let read = AclCreation::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text("t"))
            .with_resource_pattern_type(3)
            .with_principal(text("User:reader"))
            .with_host(text("*"))
            .with_operation(3)
            .with_permission_type(3);
        let both = CreateAclsRequest::default().with_creations(vec![read.clone(), read]);
        let results = c.call(version, &both).expect("CreateAcls").results;
        let told: Vec<_> = results.into_iter().map(|r| (r.error_code, r.error_message)).collect();
        assert_eq!(told, vec![(SECURITY_DISABLED, why.clone()); 2]);

        let of_readers = DeleteAclsFilter::default()
            .with_resource_type_filter(TOPIC)
            .with_pattern_type_filter(3)
            .with_operation(3)
            .with_permission_type(3);
        let both = DeleteAclsRequest::default().with_filters(vec![of_readers.clone(), of_readers]);
        let results = c.call(version, &both).expect("DeleteAcls").filter_results;
        assert!(results.iter().all(|result| result.matching_acls.is_empty()));
        let told: Vec<_> = results.into_iter().map(|r| (r.error_code, r.error_message)).collect();
        assert_eq!(told, vec![(SECURITY_DISABLED, why.clone()); 2]);
    }
}

/// One `thalweg config` command against the broker: what it printed.
fn config_command(broker: &Broker, arguments: &[&str]) -> Result<String, String> {
    let address = format!("127.0.0.1:{}", broker.port());
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_thalweg"))
        .args(["config", "-b", &address])
        .args(arguments)
        .output()
        .expect("the binary runs");
    let said = |bytes| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(said(&output.stdout)) } else { Err(said(&output.stderr)) }
}

#[test]
fn the_config_command_reads_and_changes_settings() {
    let broker = Broker::start("config-command");
    let mut c = Connection::open(broker.port()).expect("connecting");
    assert_eq!(c.create_topic("t", 1, &[]).expect("CreateTopics"), NONE);
    let run = |arguments: &[&str]| config_command(&broker, arguments);
    let lines = |arguments: &[&str]| -> Vec<String> {
        let said = run(arguments).expect("it is described");
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        said.lines().skip(1).map(words).collect()
    };
    let set = run(&["set", "--topic", "t", "retention.ms=60000", "segment.bytes=2097152"]);
    assert_eq!(set.as_deref(), Ok("changed 2 settings of topic \"t\"\n"));
    let own = ["get", "--entity-type", "topics", "--entity-name", "t", "--describe"];
    let two = ["retention.ms 60000 topic any time", "segment.bytes 2097152 topic any time"];
    await_answer(&two.map(String::from).to_vec(), || lines(&own));
    let back = ["alter", "--alter", "--entity-type", "topics", "--entity-name", "t"];
    run(&[&back[..], &["--delete-config", "retention.ms,segment.bytes"]].concat()).expect("taken");
    await_answer(&Vec::new(), || lines(&own));
    let one = ["get", "--topic", "t", "retention.ms"];
    assert_eq!(lines(&one), ["retention.ms 604800000 default any time"]);

    run(&["set", "--broker-defaults", "message.max.bytes=2000000"]).expect("taken");
    run(&["set", "--broker", "1", "message.max.bytes=3000000"]).expect("taken");
    let own = ["get", "--broker", "1"];
    let taken = vec!["message.max.bytes 3000000 broker any time".to_owned()];
    await_answer(&taken, || lines(&own));
    let all = ["get", "--entity-type", "brokers", "--entity-default"];
    // Kafka with eligible leader replicas has one more there.
    let wanted = "message.max.bytes 2000000 all brokers any time".to_owned();
    assert!(lines(&all).contains(&wanted));
    run(&["set", "--group", "g", "consumer.session.timeout.ms=50000"]).expect("taken");
    let taken = vec!["consumer.session.timeout.ms 50000 group any time".to_owned()];
    await_answer(&taken, || lines(&["get", "--group", "g"]));

    let wrong = run(&["set", "--topic", "t", "segment.bytes=x"]).expect_err("no number");
    assert!(wrong.starts_with("error: ") && wrong.contains("INVALID_CONFIG"), "{wrong}");
    let checked = run(&["set", "--topic", "t", "segment.bytes=1048577", "--validate-only"]);
    assert_eq!(checked.as_deref(), Ok("could change 1 setting of topic \"t\"\n"));
    let missing = run(&["get", "--topic", "t", "no.such.key"]).expect_err("no such key");
    assert!(missing.contains("no.such.key"), "{missing}");
}
