//! Tests of the layers, the tables and the typed forms.

use super::*;

fn machine() -> Machine {
    Machine { cores: vec![0, 2], memory_bytes: 8 << 30, open_files: 4096 }
}

fn load(pairs: &[(&str, &str)]) -> Result<Config, Vec<ConfigError>> {
    let flags: Vec<(String, String)> =
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Config::load(machine(), None, &flags)
}

fn overrides(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

#[test]
fn defaults_stand_alone() {
    let config = load(&[]).unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:9092");
    assert_eq!(config.cores, [0, 2]);
    assert_eq!(config.durability, Durability::Flush);
    assert_eq!(config.limits.frame_bytes_max, 100 << 20);
    assert_eq!(config.limits.connections_max, 1600);
    assert_eq!(config.limits.cache_bytes_max, 128 << 20);
    assert_eq!(config.limits.journal_bytes_max, 256 << 20);
    assert_eq!(config.limits.direct_append_bytes_min, 128 << 10);
    assert_eq!(config.limits.direct_unflushed_append_bytes_min, 48 << 10);
    assert_eq!(config.limits.pending_bytes_max, 64 << 20);
    assert_eq!(config.limits.fetch_sessions_max, 1000);
}

#[test]
fn small_machines_get_small_memory_but_a_whole_frame() {
    let machine = Machine { cores: vec![0, 1], memory_bytes: 256 << 20, open_files: 1024 };
    let config = Config::load(machine, None, &[]).unwrap();
    assert!(config.limits.cache_bytes_max < 20 << 20);
    assert_eq!(config.limits.frame_memory_bytes_max, config.limits.frame_bytes_max);
}

/// Else the pre-flight check asked for a limit of open files, and with that one for a higher one.
#[test]
fn connections_and_logs_fit_into_the_open_files_that_are_asked_for() {
    let needed = |open_files| {
        let machine = Machine { cores: (0..16).collect(), memory_bytes: 8 << 30, open_files };
        let limits = Config::load(machine.clone(), None, &[]).unwrap().limits;
        machine.files_of_shards() + (limits.connections_max + limits.open_files_max) as u64
    };
    let least = needed(64);
    assert!(least > 64);
    for open_files in least..least + 500 {
        assert!(needed(open_files) <= open_files, "{} of {open_files}", needed(open_files));
    }
}

#[test]
fn fewer_shards_share_the_same_memory() {
    let machine = Machine { cores: vec![0, 1, 2, 3], memory_bytes: 1 << 30, open_files: 1024 };
    let flag = |n: &str| vec![("thalweg.shards".to_owned(), n.to_owned())];
    let four = Config::load(machine.clone(), None, &[]).unwrap();
    let one = Config::load(machine.clone(), None, &flag("1")).unwrap();
    let six = Config::load(machine, None, &flag("6")).unwrap();
    assert!(one.limits.cache_bytes_max > four.limits.cache_bytes_max);
    assert_eq!(six.cores, [0, 1, 2, 3, 0, 1]);
}

#[test]
fn flags_beat_the_file_and_origins_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("broker.toml");
    std::fs::write(&path, "num.partitions = 3\nlog.segment.bytes = \"64MiB\"\n").unwrap();
    let flags = [("num.partitions".to_owned(), "5".to_owned())];
    let config = Config::load(machine(), Some(&path), &flags).unwrap();
    assert_eq!(config.num_partitions, 5);
    assert_eq!(config.setting("num.partitions").unwrap().origin, Origin::Flag);
    let segment = config.setting("log.segment.bytes").unwrap();
    assert_eq!(segment.value, (64 << 20).to_string());
    assert_eq!(segment.origin, Origin::File(path));
    let topic = TopicConfig::new(&BTreeMap::new(), &config).unwrap();
    assert_eq!(topic.segment_bytes, 64 << 20);
}

#[test]
fn every_error_is_told_with_a_fix() {
    let errors = load(&[
        ("num.partition", "3"),
        ("log.segment.bytes", "12 parsecs"),
        ("ssl.keystore.location", "x"),
        ("min.insync.replicas", "2"),
        ("log.segment.bytes", "1KiB"),
        ("log.cleanup.policy", "compost"),
    ])
    .unwrap_err();
    let text: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(errors.len(), 6, "{text:#?}");
    assert!(text[0].contains("did you mean \"num.partitions\"?"), "{}", text[0]);
    assert!(text[1].contains("parsecs") && text[1].contains("KiB"), "{}", text[1]);
    assert!(text[2].contains("TLS"), "{}", text[2]);
    assert!(text[3].contains("one replica"), "{}", text[3]);
    assert!(text[4].contains("at least 1048576"), "{}", text[4]);
    assert!(text[5].contains("compact or delete"), "{}", text[5]);
}

#[test]
fn rules_between_settings() {
    let error = load(&[("thalweg.frame.memory.bytes.max", "1MiB")]).unwrap_err();
    assert!(error[0].to_string().contains("socket.request.max.bytes"), "{}", error[0]);
    let error = load(&[("message.max.bytes", "200MiB")]).unwrap_err();
    assert!(error[0].to_string().contains("no request could carry"), "{}", error[0]);
    // Raising the frame raises the default of the memory for frames.
    let config = load(&[("socket.request.max.bytes", "1GiB")]).unwrap();
    assert_eq!(config.limits.frame_memory_bytes_max, 1 << 30);
}

#[test]
fn tables_are_sorted_unique_and_their_defaults_are_legal() {
    let names: Vec<&str> = TOPIC_KEYS.iter().map(|row| row.key.name).collect();
    assert!(names.is_sorted(), "binary search needs order");
    let mut all: Vec<&str> = broker::broker_names().collect();
    all.sort_unstable();
    let count = all.len();
    all.dedup();
    assert_eq!(all.len(), count, "a broker key is there twice");
    for row in TOPIC_KEYS.iter().map(|row| &row.key).chain(BROKER_KEYS) {
        if let Some(default) = row.default_value(&machine()) {
            assert_eq!(row.normalize(&default, Form::Wire, &machine()).as_ref(), Ok(&default));
        }
        assert!(row.doc.ends_with('.'), "{}", row.name);
    }
}

#[test]
fn topic_values_are_refused_not_ignored() {
    let config = load(&[]).unwrap();
    let refused = [
        ("cleanup.policy", "delete,compost"),
        ("cleanup.policy", ""),
        ("compression.type", "zstd"),
        ("remote.storage.enable", "true"),
        ("min.insync.replicas", "2"),
        ("retention.ms", "-2"),
        ("segment.bytes", "1MiB"),
        ("segment.bytes", "2147483648"),
        ("min.cleanable.dirty.ratio", "NaN"),
        ("thalweg.durability", "none"),
        ("no.such.key", "1"),
    ];
    for (name, value) in refused {
        let error = TopicConfig::new(&overrides(&[(name, value)]), &config).unwrap_err();
        assert_eq!(error.key, name);
        assert!(!error.fix.is_empty());
    }
    let lags = [("min.compaction.lag.ms", "6"), ("max.compaction.lag.ms", "5")];
    let error = TopicConfig::new(&overrides(&lags), &config).unwrap_err();
    assert!(error.to_string().contains("min.compaction.lag.ms = 6"), "{error}");
    for (name, value) in [
        ("cleanup.policy", " delete "),
        ("cleanup.policy", "compact, delete"),
        ("compression.type", "producer"),
        ("min.insync.replicas", "1"),
        ("delete.retention.ms", "5"),
        ("retention.ms", "-1"),
        ("preallocate", "TRUE"),
    ] {
        assert!(TopicConfig::new(&overrides(&[(name, value)]), &config).is_ok(), "{name}={value}");
    }
}

/// A setting that was taken once, maybe beside other defaults of the broker, must not take the
/// topic's other settings with it, nor the broker.
#[test]
fn what_a_topic_cannot_keep_is_left_out_alone() {
    let config = load(&[]).unwrap();
    let own = [("retention.ms", "-1"), ("no.such", "1"), ("segment.bytes", "5")];
    let (topic, errors) = TopicConfig::forgiving(&overrides(&own), &config);
    let keys: Vec<_> = errors.iter().map(|e| e.key.as_str()).collect();
    assert_eq!(keys, ["no.such", "segment.bytes"]);
    assert_eq!((topic.retention_ms, topic.segment_bytes), (-1, 1 << 30));

    let lags = |min: &str, max: &str| {
        let set = overrides(&[("log.cleaner.max.compaction.lag.ms", max)]);
        let (live, errors) = config.with_dynamic(Some(&set), None);
        assert_eq!(errors, []);
        let own = overrides(&[("min.compaction.lag.ms", min), ("retention.ms", "-1")]);
        let (topic, errors) = TopicConfig::forgiving(&own, &live);
        assert_eq!(topic.retention_ms, -1);
        (errors.len(), topic.compaction_lag_ms_min, topic.compaction_lag_ms_max)
    };
    assert_eq!(lags("6", "7"), (0, 6, 7));
    assert_eq!(lags("6", "5"), (1, 6, 6), "never compacted before its time");
    let (topic, errors) = TopicConfig::forgiving(
        &overrides(&[("min.compaction.lag.ms", "6"), ("max.compaction.lag.ms", "5")]),
        &config,
    );
    assert_eq!((errors.len(), topic.compaction_lag_ms_min), (1, 6));
    assert_eq!(topic.compaction_lag_ms_max, i64::MAX);
}

#[test]
fn the_brokers_compaction_lags_hold_together() {
    let lags =
        [("log.cleaner.min.compaction.lag.ms", "6"), ("log.cleaner.max.compaction.lag.ms", "5")];
    let refused = load(&lags).unwrap_err();
    assert_eq!(refused[0].key, "log.cleaner.min.compaction.lag.ms");
    // A directory that holds the pair keeps what else was set.
    let set = overrides(&[lags[0], lags[1], ("max.connections", "8")]);
    let (live, errors) = load(&[]).unwrap().with_dynamic(Some(&set), None);
    assert_eq!((errors.len(), live.limits.connections_max), (1, 8));
    let topic = TopicConfig::new(&BTreeMap::new(), &live).unwrap();
    assert_eq!((topic.compaction_lag_ms_min, topic.compaction_lag_ms_max), (0, 5));
    // And so it does when one of the pair came into the file later.
    let set = overrides(&[lags[1], ("log.retention.ms", "-1")]);
    let (live, errors) = load(&[lags[0]]).unwrap().with_dynamic(Some(&set), None);
    let keys: Vec<_> = errors.iter().map(|e| e.key.as_str()).collect();
    assert_eq!(keys, ["log.cleaner.max.compaction.lag.ms"]);
    assert_eq!(TopicConfig::new(&BTreeMap::new(), &live).unwrap().retention_ms, -1);
}

#[test]
fn topic_values_come_from_three_layers() {
    let config = load(&[("log.retention.hours", "2"), ("thalweg.durability", "write")]).unwrap();
    let own = overrides(&[("segment.ms", "60000"), ("message.timestamp.type", "LogAppendTime")]);
    let topic = TopicConfig::new(&own, &config).unwrap();
    assert_eq!(topic.retention_ms, 7_200_000);
    assert_eq!(topic.segment_ms, 60_000);
    assert_eq!(topic.message_bytes_max, 1_048_588);
    assert_eq!(topic.timestamp_type, crate::model::TimestampType::LogAppendTime);
    assert_eq!(topic.durability, Durability::Write);
    // The finer unit wins over the coarser one.
    let config = load(&[("log.retention.hours", "2"), ("log.retention.ms", "5000")]).unwrap();
    assert_eq!(TopicConfig::new(&BTreeMap::new(), &config).unwrap().retention_ms, 5000);
}

#[test]
fn described_topics_show_source_and_synonyms() {
    let config = load(&[("log.retention.hours", "2")]).unwrap();
    let entries = describe_topic(&overrides(&[("segment.ms", "60000")]), &config);
    assert_eq!(entries.len(), TOPIC_KEYS.len());
    let find = |name: &str| entries.iter().find(|e| e.name == name).unwrap();
    let shape = |name: &str| {
        let synonyms = find(name).synonyms.iter();
        synonyms
            .map(|s| (s.name.clone(), s.value.clone().unwrap_or_default(), s.source as i8))
            .collect::<Vec<_>>()
    };
    assert_eq!(find("segment.ms").source as i8, 1);
    assert_eq!(
        shape("segment.ms"),
        [("segment.ms".into(), "60000".into(), 1), ("log.roll.hours".into(), "168".into(), 5)]
    );
    assert_eq!(find("retention.ms").value.as_deref(), Some("7200000"));
    assert_eq!(find("retention.ms").source as i8, 4);
    assert_eq!(
        shape("retention.ms"),
        [
            ("log.retention.hours".into(), "2".into(), 4),
            ("log.retention.hours".into(), "168".into(), 5)
        ]
    );
    assert_eq!(find("segment.bytes").source as i8, 5);
    assert_eq!(find("segment.bytes").kind as i8, 3);
    assert_eq!(find("retention.ms").kind as i8, 5);
    assert!(find("preallocate").documentation.contains("without effect"));
}

#[test]
fn described_brokers_show_what_was_set() {
    let config = load(&[("num.partitions", "3")]).unwrap();
    let entries = describe_broker(&config);
    let find = |name: &str| entries.iter().find(|e| e.name == name).unwrap();
    assert_eq!(find("num.partitions").value.as_deref(), Some("3"));
    assert_eq!(find("num.partitions").source as i8, 4);
    assert_eq!(find("num.partitions").synonyms.len(), 2);
    assert_eq!(find("log.retention.hours").value.as_deref(), Some("168"));
    assert_eq!(find("log.retention.ms").value, None);
    assert_eq!(find("thalweg.shards").value.as_deref(), Some("2"));
    assert!(entries.iter().all(|entry| !entry.is_sensitive));
    assert!(find("node.id").is_read_only && find("log.retention.hours").is_read_only);
    assert!(!find("log.retention.ms").is_read_only && !find("max.connections").is_read_only);
}

#[test]
fn dynamic_layers_lie_above_file_and_flags() {
    let config = load(&[("log.retention.hours", "2"), ("max.connections", "7")]).unwrap();
    let all = overrides(&[("log.retention.ms", "1000"), ("max.connections", "8")]);
    let own = overrides(&[("max.connections", "9")]);
    let (live, errors) = config.with_dynamic(Some(&all), Some(&own));
    assert_eq!(errors, []);
    assert_eq!(live.limits.connections_max, 9);
    assert_eq!(TopicConfig::new(&BTreeMap::new(), &live).unwrap().retention_ms, 1000);
    let topics = describe_topic(&BTreeMap::new(), &live);
    let retention = topics.iter().find(|e| e.name == "retention.ms").unwrap();
    assert_eq!(retention.source, Source::DynamicDefaultBroker);
    let sources: Vec<Source> = retention.synonyms.iter().map(|s| s.source).collect();
    assert_eq!(sources, [Source::DynamicDefaultBroker, Source::StaticBroker, Source::Default]);
    let brokers = describe_broker(&live);
    let connections = brokers.iter().find(|e| e.name == "max.connections").unwrap();
    assert_eq!((connections.value.as_deref(), connections.source as i8), (Some("9"), 2));
    let defaults = describe_dynamic_default(&live);
    let values: Vec<_> = defaults.iter().map(|e| (e.name, e.value.as_deref().unwrap())).collect();
    assert_eq!(values, [("log.retention.ms", "1000"), ("max.connections", "8")]);
    // The next layers replace these, and what cannot be taken is left out.
    let wrong = overrides(&[("node.id", "5"), ("message.max.bytes", "1"), ("no.such", "1")]);
    let (live, errors) = live.with_dynamic(Some(&wrong), None);
    let keys: Vec<_> = errors.iter().map(|e| e.key.as_str()).collect();
    assert_eq!(keys, ["no.such", "node.id"]);
    assert_eq!((live.node_id, live.limits.connections_max), (1, 7));
    let large = overrides(&[("message.max.bytes", "2147483647")]);
    let (live, errors) = config.with_dynamic(Some(&large), None);
    assert_eq!((errors.len(), live), (1, config), "rules between settings hold");
}

/// Else connections could take the descriptors that the logs need.
#[test]
fn connections_set_at_run_time_leave_descriptors_to_the_logs() {
    let config = load(&[]).unwrap();
    let set = |most: usize| {
        let set = overrides(&[("max.connections", &most.to_string())]);
        let (live, errors) = config.with_dynamic(Some(&set), None);
        (live.limits.connections_max, errors.len())
    };
    let left = 4096 - 96 - config.limits.open_files_max;
    assert_eq!(set(left), (left, 0));
    assert_eq!(set(left + 1), (config.limits.connections_max, 1));
}

#[test]
fn group_settings_keep_to_the_brokers_bounds() {
    let config = load(&[]).unwrap();
    let check = |pairs: &[(&str, &str)]| check_group(&overrides(pairs), &config);
    assert!(check(&[("consumer.session.timeout.ms", "50000")]).is_ok());
    for (name, value) in [
        ("consumer.session.timeout.ms", "0"),
        ("consumer.session.timeout.ms", "44999"),
        ("consumer.session.timeout.ms", "60001"),
        ("consumer.heartbeat.interval.ms", "4999"),
        ("consumer.heartbeat.interval.ms", "15001"),
        ("consumer.heartbeat.interval.ms", "x"),
        ("consumer.session.timeout", "50000"),
    ] {
        assert_eq!(check(&[(name, value)]).unwrap_err().key, name, "{value}");
    }
    let entries = describe_group(&overrides(&[("consumer.session.timeout.ms", "50000")]), &config);
    let shown: Vec<_> =
        entries.iter().map(|e| (e.name, e.value.as_deref().unwrap(), e.source as i8)).collect();
    assert_eq!(
        shown,
        [
            ("consumer.heartbeat.interval.ms", "5000", 5),
            ("consumer.session.timeout.ms", "50000", 8)
        ]
    );
}

#[test]
fn the_metrics_page_is_not_at_the_brokers_own_address() {
    for (listen, page) in [("127.0.0.1:9", "127.0.0.1:9"), (":9", "h:9"), ("h:9", "0.0.0.0:9")] {
        let pairs = [("listeners", listen), ("thalweg.metrics.listener", page)];
        let refused = load(&pairs).unwrap_err();
        assert!(refused[0].to_string().contains("the broker itself listens there"), "{refused:?}");
    }
    load(&[("listeners", "h:9"), ("thalweg.metrics.listener", "h:10")]).unwrap();
    load(&[("listeners", "h:0"), ("thalweg.metrics.listener", "h:0")]).unwrap();
}

#[test]
fn advertised_addresses() {
    let bound: SocketAddr = "0.0.0.0:4567".parse().unwrap();
    let told = |pairs: &[(&str, &str)]| load(pairs).unwrap().advertised(bound).to_string();
    assert_eq!(told(&[("listeners", "127.0.0.1:0")]), "127.0.0.1:4567");
    assert_eq!(told(&[("advertised.listeners", "broker.example:9000")]), "broker.example:9000");
    let wildcard = told(&[("listeners", "0.0.0.0:0")]);
    assert!(wildcard.ends_with(":4567") && !wildcard.starts_with("0.0.0.0"), "{wildcard}");
    for nowhere in ["0.0.0.0:9092", "PLAINTEXT://0.0.0.0:9092", "[::]:9092"] {
        let refused = load(&[("advertised.listeners", nowhere)]).unwrap_err();
        assert!(refused[0].to_string().contains("no client can go to"), "{refused:?}");
    }
    // As in Kafka, no host is this machine's name.
    let named = told(&[("advertised.listeners", "PLAINTEXT://:9000")]);
    assert!(named.ends_with(":9000") && named.len() > ":9000".len(), "{named}");
}
