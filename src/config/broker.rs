//! Settings of the broker: one table. Kafka's name where the meaning is Kafka's, `thalweg.` else.
//!
//! Broker keys that only set a topic default (`log.segment.bytes`, ...) are not repeated here:
//! they come from the synonyms in `topic.rs`. Every key that is accepted without effect is a row
//! with its reason; whatever is in neither table is refused.

use super::entry::{ConfigEntry, Source, Synonym};
use super::error::ConfigError;
use super::key::{Check, Default, Key, Kind, Treatment, Unit};
use super::machine::Machine;
use super::topic::{self, TOPIC_KEYS};
use super::{Config, dynamic, suggest};

use Kind::{Boolean, Double, Int, List, Long, String as Text};
use Treatment::{DefaultOnly, Honoured, Inert};
use Unit::{Bytes, Millis, Plain};

const fn row(
    name: &'static str,
    kind: Kind,
    unit: Unit,
    default: Default,
    check: Check,
    treatment: Treatment,
    doc: &'static str,
) -> Key {
    Key { name, kind, unit, default, check, treatment, doc }
}

const fn of(text: &'static str) -> Default {
    Default::Text(text)
}

const ANY: Check = Check::Any;
const FROM_0: Check = Check::Range(0, i64::MAX);
const FROM_1: Check = Check::Range(1, i64::MAX);
const MIB: u64 = 1 << 20;

const THREADS: Treatment = Inert("one shard per core does all work");
const ONE_BROKER: Treatment = Inert("one broker replicates nothing");
const TRANSACTIONS: Treatment = Inert("transactions are not there yet");
const QUOTAS: Treatment = Inert("quotas are not there yet");
const CONTROLLER: Treatment = Inert("the controller is part of the broker");
const CONTROLLER_WORDS: &[&str] = &["broker", "controller"];
const SECURITY_MAP: &[&str] = &[
    "PLAINTEXT:PLAINTEXT",
    "CONTROLLER:PLAINTEXT",
    "SSL:SSL",
    "SASL_PLAINTEXT:SASL_PLAINTEXT",
    "SASL_SSL:SASL_SSL",
];

/// `percent` of the memory, divided among the shards, at least `min` and at most `max` bytes.
fn share(machine: &Machine, percent: u64, min: u64, max: u64) -> String {
    let shards = machine.cores.len().max(1) as u64;
    (machine.memory_bytes / 100 * percent / shards).clamp(min, max).to_string()
}

/// Partitions in the fetch sessions of a shard: all that is kept and at work for one is less than
/// a KiB, an eighth of what there is of memory for each.
fn session_partitions(machine: &Machine) -> String {
    let shards = machine.cores.len().max(1) as u64;
    (machine.memory_bytes / (8 << 10) / shards).clamp(10_000, 500_000).to_string()
}

/// Every broker setting that is not a topic default, by theme.
#[rustfmt::skip]
pub static BROKER_KEYS: &[Key] = &[
    // Who and where.
    row("node.id", Int, Plain, of("1"), Check::Range(0, i32::MAX as i64), Honoured,
        "Number of this broker in its cluster."),
    row("broker.rack", Text, Plain, Default::Unset, ANY, Honoured,
        "Rack that clients are told."),
    row("listeners", Text, Plain, of("127.0.0.1:9092"), Check::HostPort, Honoured,
        "Address to listen on; no host means every address, port 0 lets the kernel choose."),
    row("advertised.listeners", Text, Plain, Default::Unset, Check::Reachable, Honoured,
        "Address that clients are told; by default the one listened on."),
    row("log.dirs", Text, Plain, of("./thalweg-data"), ANY, Honoured,
        "The data directory. There is one."),
    row("thalweg.shards", Int, Plain,
        Default::Derived(|m| m.cores.len().to_string(), "one per usable core"),
        Check::Range(1, 1024), Honoured, "Shards, each with a core."),
    row("thalweg.shards.pinned", Text, Plain, of("auto"),
        Check::Words { allowed: &["auto", "always"], refused: &[] }, Honoured,
        "Whether a shard keeps to its core always, or only while nothing else wants that core."),
    row("thalweg.metrics.listener", Text, Plain, Default::Unset, Check::HostPort, Honoured,
        "Address of the metrics page; off when not set."),

    // Topics.
    row("auto.create.topics.enable", Boolean, Plain, of("true"), ANY, Honoured,
        "Whether asking for an unknown topic may create it."),
    row("delete.topic.enable", Boolean, Plain, of("true"), ANY, Honoured,
        "Whether topics can be deleted."),
    row("num.partitions", Int, Plain, of("1"), Check::Range(1, 10_000), Honoured,
        "Partitions of a topic whose creator does not say."),
    row("default.replication.factor", Int, Plain, of("1"), ANY,
        DefaultOnly("there is one broker"), "Replicas of a topic whose creator does not say."),
    row("log.retention.check.interval.ms", Long, Millis, of("300000"), FROM_1, Honoured,
        "How often retention looks for segments to remove."),

    // Connections and requests.
    row("socket.request.max.bytes", Int, Bytes, of("104857600"),
        Check::Range(65_536, 1 << 30), Honoured,
        "Largest Produce request; any other may have 8 MiB."),
    row("socket.listen.backlog.size", Int, Plain, of("1024"), Check::Range(1, 65_535), Honoured,
        "Connections that may wait to be accepted."),
    row("max.connections", Int, Plain,
        Default::Derived(|m| m.connections().min(20_000).to_string(),
            "two fifths of the open files that the shards leave, 16 to 20000"),
        Check::Range(1, 1 << 20), Honoured, "Connections of the whole broker."),
    row("max.connections.per.ip", Int, Plain, of("2147483647"), FROM_1, Honoured,
        "Connections from one address."),
    row("connections.max.idle.ms", Long, Millis, of("600000"), FROM_1, Honoured,
        "Connections without a request for this long are closed."),
    row("fetch.max.bytes", Int, Bytes, of("57671680"), Check::Range(1024, 1 << 30), Honoured,
        "Most bytes that one fetch may ask for."),
    row("max.incremental.fetch.session.cache.slots", Int, Plain, of("1000"),
        Check::Range(0, 1_000_000), Honoured, "Incremental fetch sessions of the broker."),
    row("max.request.partition.size.limit", Int, Plain, of("2000"), FROM_1, Honoured,
        "Partitions in one answer to DescribeTopicPartitions."),
    row("thalweg.connection.bytes.max", Long, Bytes, of("33554432"), FROM_1, Honoured,
        "Request bytes of one connection that are not answered yet, and answer bytes that it has \
            not taken; one of each always may."),
    row("thalweg.connection.requests.max", Int, Plain, of("128"), Check::Range(1, 65_536),
        Honoured, "Requests of one connection that are not answered yet."),
    row("thalweg.request.topics.max", Int, Plain, of("20000"), FROM_1, Honoured,
        "Topics in one request, or what else its outermost lists name: groups, resources, members."),
    row("thalweg.request.partitions.max", Int, Plain, of("200000"), FROM_1, Honoured,
        "Partitions in one request, or what else its inner lists name: settings, assignments."),
    row("thalweg.decompressed.bytes.max", Long, Bytes, of("134217728"), FROM_1, Honoured,
        "Most bytes that one lookup by time, or one batch in compaction, may open to; a produced \
        batch has its own ceiling."),

    // Memory and work per shard.
    row("thalweg.frame.memory.bytes.max", Long, Bytes,
        Default::Derived(|m| share(m, 20, 16 * MIB, 512 * MIB),
            "20 % of the memory over the shards, 16 to 512 MiB, never below one frame"),
        Check::Range(1 << 20, i64::MAX), Honoured, "Request bytes held per shard."),
    row("thalweg.fetch.memory.bytes.max", Long, Bytes,
        Default::Derived(|m| share(m, 10, 16 * MIB, 256 * MIB),
            "10 % of the memory over the shards, 16 to 256 MiB"),
        Check::Range(1 << 20, i64::MAX), Honoured, "Bytes read for answers held per shard."),
    row("thalweg.fetch.session.partitions.max", Long, Plain,
        Default::Derived(session_partitions,
            "one for 8 KiB of the memory over the shards, 10000 to 500000"),
        FROM_1, Honoured,
        "Partitions in all fetch sessions of a shard; without room a fetch gets no session."),
    row("thalweg.cache.bytes.max", Long, Bytes,
        Default::Derived(|m| share(m, 15, 8 * MIB, 128 * MIB),
            "15 % of the memory over the shards, 8 to 128 MiB"),
        Check::Range(1 << 20, i64::MAX), Honoured,
        "Written batches kept in memory per shard for readers of the tail."),
    row("thalweg.pending.bytes.max", Long, Bytes,
        Default::Derived(|m| share(m, 10, 8 * MIB, 64 * MIB),
            "10 % of the memory over the shards, 8 to 64 MiB"),
        Check::Range(1 << 20, i64::MAX), Honoured,
        "Bytes per shard that only journal and memory hold; beyond it producers wait."),
    row("thalweg.groups.memory.bytes.max", Long, Bytes,
        Default::Derived(|m| share(m, 10, 16 * MIB, 1024 * MIB),
            "10 % of the memory over the shards, 16 to 1024 MiB"),
        Check::Range(1 << 20, i64::MAX), Honoured,
        "Groups, members, assignments and offsets in memory per shard; an eighth of it is for \
        members that are there."),
    row("thalweg.journal.bytes.max", Long, Bytes, of("268435456"),
        Check::Range(4 << 20, i64::MAX), Honoured, "Journal files per shard, all together."),
    row("thalweg.pool.bytes.max", Long, Bytes, of("8589934592"), Check::Range(0, i64::MAX),
        Honoured, "Files of removed segments kept by the whole broker to be written again."),
    row("thalweg.space.reserve.bytes", Long, Bytes, of("33554432"), Check::Range(0, i64::MAX),
        Honoured, "Bytes per shard that appends leave free on the disk: on a full one a broker can \
        still start and delete."),
    row("thalweg.direct.append.bytes.min", Int, Bytes, of("131072"), Check::Range(4096, 1 << 30),
        Honoured, "Appends of at least this size that wait for a flush skip the journal; half a \
        journal frame, 512 KiB by default, is the most it counts as."),
    row("thalweg.direct.append.unflushed.bytes.min", Int, Bytes, of("49152"),
        Check::Range(4096, 1 << 30), Honoured,
        "Appends of at least this size that wait for no flush skip the journal; the same limit."),
    row("thalweg.waiters.max", Int, Plain, of("16384"), Check::Range(1, 1 << 20), Honoured,
        "Requests per shard that wait for bytes or for time."),
    row("thalweg.mesh.calls.max", Int, Plain, of("4096"), Check::Range(1, 1 << 20), Honoured,
        "Messages on their way from one shard to another before further ones wait at the sender."),
    row("thalweg.open.files.max", Long, Plain,
        Default::Derived(|m| m.files_of_logs().min(262_144).to_string(),
            "two fifths of the open files that the shards leave, 64 to 262144"),
        Check::Range(16, i64::MAX), Honoured, "Files of the whole broker held open at a time."),
    row("thalweg.metrics.connections.max", Int, Plain, of("16"), Check::Range(1, 1024), Honoured,
        "Connections to the metrics page."),

    // Topics, partitions, producers in numbers.
    row("thalweg.topics.max", Int, Plain, of("20000"), FROM_1, Honoured, "Topics of the broker."),
    row("thalweg.partitions.max", Int, Plain, of("100000"), FROM_1, Honoured,
        "Partitions of the broker."),
    row("thalweg.topic.partitions.max", Int, Plain, of("10000"), FROM_1, Honoured,
        "Partitions of one topic."),
    row("thalweg.partition.producers.max", Int, Plain, of("1000"), FROM_1, Honoured,
        "Idempotent producers remembered per partition; the longest idle goes first."),
    row("thalweg.producers.max", Int, Plain, of("200000"), FROM_1, Honoured,
        "Idempotent producers remembered per shard; the longest idle go first."),
    row("producer.id.expiration.ms", Int, Millis, of("86400000"), FROM_1, Honoured,
        "How long an idle idempotent producer is remembered."),

    // Compaction.
    row("log.cleaner.enable", Boolean, Plain, of("true"), ANY, Honoured,
        "Whether compacted topics are compacted."),
    row("log.cleaner.dedupe.buffer.size", Long, Bytes, of("134217728"),
        Check::Range(1 << 20, i64::MAX), Honoured,
        "Memory for the keys of the logs being compacted, of the whole broker; taken as needed."),
    row("log.cleaner.io.buffer.load.factor", Double, Plain, of("0.9"), Check::Ratio(0.01, 1.0),
        Honoured, "How full the memory for keys may get: then a compaction ends early."),
    row("log.cleaner.io.buffer.size", Int, Bytes, of("524288"), FROM_0, Honoured,
        "Bytes that compaction reads or writes at once, of the whole broker, 256 KiB at least."),
    row("log.cleaner.io.max.bytes.per.second", Double, Plain, of("1.7976931348623157E308"), ANY,
        Honoured, "Most bytes per second that compaction reads and writes, of the whole broker."),
    row("log.cleaner.backoff.ms", Long, Millis, of("15000"), FROM_0, Honoured,
        "How often dirty logs are looked for when there was none, 100 ms at least."),

    // Consumer groups.
    row("group.max.size", Int, Plain, of("2147483647"), FROM_1, Honoured,
        "Members of one classic group; thalweg.group.members.max is the limit above it."),
    row("group.initial.rebalance.delay.ms", Int, Millis, of("3000"), FROM_0, Honoured,
        "How long a new group waits for more members."),
    row("group.min.session.timeout.ms", Int, Millis, of("6000"), FROM_1, Honoured,
        "Least session timeout that a member may ask for."),
    row("group.max.session.timeout.ms", Int, Millis, of("1800000"), FROM_1, Honoured,
        "Largest session timeout that a member may ask for."),
    row("offset.metadata.max.bytes", Int, Bytes, of("4096"), FROM_0, Honoured,
        "Longest metadata of a committed offset."),
    row("offsets.retention.minutes", Int, Plain, of("10080"), FROM_1, Honoured,
        "How long the offsets of an empty group are kept."),
    row("offsets.retention.check.interval.ms", Long, Millis, of("600000"), FROM_1, Honoured,
        "How often expired offsets are looked for."),
    row("group.consumer.max.size", Int, Plain, of("2147483647"), FROM_1, Honoured,
        "Members of one consumer group (KIP-848); thalweg.group.members.max is the limit above it."),
    row("group.consumer.session.timeout.ms", Int, Millis, of("45000"), FROM_1, Honoured,
        "How long a member of a consumer group may be silent."),
    row("group.consumer.min.session.timeout.ms", Int, Millis, of("45000"), FROM_1, Honoured,
        "Least session timeout of a consumer group."),
    row("group.consumer.max.session.timeout.ms", Int, Millis, of("60000"), FROM_1, Honoured,
        "Largest session timeout of a consumer group."),
    row("group.consumer.heartbeat.interval.ms", Int, Millis, of("5000"), FROM_1, Honoured,
        "How often members of a consumer group are told to send heartbeats."),
    row("group.consumer.min.heartbeat.interval.ms", Int, Millis, of("5000"), FROM_1, Honoured,
        "Least heartbeat interval of a consumer group."),
    row("group.consumer.max.heartbeat.interval.ms", Int, Millis, of("15000"), FROM_1, Honoured,
        "Largest heartbeat interval of a consumer group."),
    row("group.consumer.assignors", List, Plain, of("uniform,range"),
        Check::Words { allowed: &["uniform", "range"], refused: &[] }, Honoured,
        "Assignors of consumer groups; the first one is the default."),
    row("group.consumer.migration.policy", Text, Plain, of("bidirectional"),
        Check::Words {
            allowed: &["disabled", "upgrade", "downgrade", "bidirectional"],
            refused: &[],
        },
        Honoured, "How classic groups and consumer groups may turn into each other."),
    row("group.consumer.regex.refresh.interval.ms", Int, Millis, of("600000"),
        Check::Range(10_000, i32::MAX as i64), Honoured,
        "How often the topics of an expression are looked up again."),
    row("thalweg.group.members.max", Int, Plain, of("10000"), FROM_1, Honoured,
        "Members of one group, of either kind."),
    row("thalweg.group.bytes.max", Int, Bytes, of("16777216"), FROM_1, Honoured,
        "Subscriptions and assignments of the members of one group."),
    row("thalweg.group.offsets.max", Int, Plain, of("200000"), FROM_1, Honoured,
        "Committed offsets of one group."),
    row("thalweg.groups.max", Int, Plain, of("10000"), FROM_1, Honoured,
        "Groups in one partition of __consumer_offsets."),

    // Accepted without effect, so that Kafka's own files and test set-ups work.
    row("process.roles", List, Plain, of("broker,controller"),
        Check::Words { allowed: CONTROLLER_WORDS, refused: &[] }, CONTROLLER,
        "Roles of this process."),
    row("controller.quorum.voters", List, Plain, of(""), ANY, CONTROLLER,
        "Controllers."),
    row("controller.quorum.bootstrap.servers", List, Plain, of(""), ANY, CONTROLLER,
        "Controllers."),
    row("controller.listener.names", List, Plain, of("CONTROLLER"), ANY, CONTROLLER,
        "Listeners of controllers."),
    row("listener.security.protocol.map", List, Plain, of("PLAINTEXT:PLAINTEXT"),
        Check::Words { allowed: SECURITY_MAP, refused: &[] },
        Inert("only PLAINTEXT listeners are served"), "Protocol of each listener name."),
    row("inter.broker.listener.name", Text, Plain, of("PLAINTEXT"),
        Check::Words { allowed: &["PLAINTEXT"], refused: &[] }, ONE_BROKER,
        "Listener that brokers use among themselves."),
    row("num.network.threads", Int, Plain, of("3"), FROM_1, THREADS, "Kafka's network threads."),
    row("num.io.threads", Int, Plain, of("8"), FROM_1, THREADS, "Kafka's request threads."),
    row("background.threads", Int, Plain, of("10"), FROM_1, THREADS, "Kafka's background threads."),
    row("num.recovery.threads.per.data.dir", Int, Plain, of("2"), FROM_1, THREADS,
        "Kafka's recovery threads."),
    row("queued.max.requests", Int, Plain, of("500"), FROM_1,
        Inert("thalweg.connection.requests.max and the memory limits bound the queues"),
        "Requests that wait for Kafka's request threads."),
    row("socket.send.buffer.bytes", Int, Bytes, of("102400"), ANY,
        Inert("the kernel sizes socket buffers"), "Send buffer of a connection."),
    row("socket.receive.buffer.bytes", Int, Bytes, of("102400"), ANY,
        Inert("the kernel sizes socket buffers"), "Receive buffer of a connection."),
    row("log.flush.scheduler.interval.ms", Long, Millis, of("9223372036854775807"), FROM_0,
        Inert("flush.ms has its own timer"), "How often Kafka looks for logs to flush."),
    row("log.flush.offset.checkpoint.interval.ms", Int, Millis, of("60000"), FROM_0,
        Inert("checkpoints follow the journal"), "How often Kafka writes recovery points."),
    row("log.flush.start.offset.checkpoint.interval.ms", Int, Millis, of("60000"), FROM_0,
        Inert("checkpoints follow the journal"), "How often Kafka writes log starts."),
    row("log.cleaner.threads", Int, Plain, of("1"), FROM_0, THREADS, "Kafka's cleaner threads."),
    row("auto.leader.rebalance.enable", Boolean, Plain, of("true"), ANY, ONE_BROKER,
        "Whether leadership returns to the preferred replica."),
    row("leader.imbalance.check.interval.seconds", Long, Plain, of("300"), FROM_1, ONE_BROKER,
        "How often leadership is balanced."),
    row("num.replica.fetchers", Int, Plain, of("1"), ANY, ONE_BROKER, "Fetching threads."),
    row("replica.lag.time.max.ms", Long, Millis, of("30000"), ANY, ONE_BROKER,
        "When a follower is out of sync."),
    row("replica.fetch.max.bytes", Int, Bytes, of("1048576"), FROM_0, ONE_BROKER,
        "Bytes per partition that a follower asks for."),
    row("replica.fetch.response.max.bytes", Int, Bytes, of("10485760"), FROM_0, ONE_BROKER,
        "Bytes that a follower asks for."),
    row("replica.fetch.wait.max.ms", Int, Millis, of("500"), ANY, ONE_BROKER,
        "How long a follower's fetch waits."),
    row("replica.fetch.min.bytes", Int, Bytes, of("1"), ANY, ONE_BROKER,
        "Bytes that a follower's fetch waits for."),
    row("replica.high.watermark.checkpoint.interval.ms", Long, Millis, of("5000"), ANY, ONE_BROKER,
        "How often Kafka writes high watermarks."),
    row("offsets.topic.num.partitions", Int, Plain, of("50"), Check::Range(1, 10_000), Honoured,
        "Partitions of __consumer_offsets when it is created."),
    row("offsets.topic.replication.factor", Int, Plain, of("1"), FROM_1, ONE_BROKER,
        "Replicas of __consumer_offsets."),
    row("offsets.topic.segment.bytes", Int, Bytes, of("104857600"),
        Check::Range(1_048_576, i32::MAX as i64), Honoured,
        "Segments of __consumer_offsets when it is created."),
    row("offsets.commit.timeout.ms", Int, Millis, of("5000"), FROM_1, ONE_BROKER,
        "How long an offset commit waits for replicas."),
    row("transaction.state.log.num.partitions", Int, Plain, of("50"), FROM_1, TRANSACTIONS,
        "Partitions of __transaction_state."),
    row("transaction.state.log.replication.factor", Int, Plain, of("1"), FROM_1, TRANSACTIONS,
        "Replicas of __transaction_state."),
    row("transaction.state.log.min.isr", Int, Plain, of("1"), FROM_1, TRANSACTIONS,
        "In-sync replicas of __transaction_state."),
    row("transaction.state.log.segment.bytes", Int, Bytes, of("104857600"), FROM_1, TRANSACTIONS,
        "Segments of __transaction_state."),
    row("transaction.max.timeout.ms", Int, Millis, of("900000"), FROM_1, TRANSACTIONS,
        "Longest transaction."),
    row("transactional.id.expiration.ms", Int, Millis, of("604800000"), FROM_1, TRANSACTIONS,
        "How long a transactional id is remembered."),
    row("share.coordinator.state.topic.replication.factor", Int, Plain, of("1"), FROM_1,
        Inert("share groups are not there"), "Replicas of __share_group_state."),
    row("share.coordinator.state.topic.min.isr", Int, Plain, of("1"), FROM_1,
        Inert("share groups are not there"), "In-sync replicas of __share_group_state."),
    row("quota.window.num", Int, Plain, of("11"), FROM_1, QUOTAS, "Windows of a quota."),
    row("quota.window.size.seconds", Int, Plain, of("1"), FROM_1, QUOTAS, "Length of a window."),

    row("leader.replication.throttled.rate", Long, Plain, of("9223372036854775807"), FROM_0,
        ONE_BROKER, "Bytes per second of throttled replicas that lead."),
    row("follower.replication.throttled.rate", Long, Plain, of("9223372036854775807"), FROM_0,
        ONE_BROKER, "Bytes per second of throttled replicas that follow."),
    row("replica.alter.log.dirs.io.max.bytes.per.second", Long, Plain, of("9223372036854775807"),
        FROM_0, Inert("there is one log directory"),
        "Bytes per second of moves between log directories."),

    // Refused by name, because ignoring them would weaken what was asked for.
    row("authorizer.class.name", Text, Plain, Default::Unset, ANY,
        DefaultOnly("there are no ACLs yet"), "Who decides what a client may do."),
    row("super.users", Text, Plain, Default::Unset, ANY, DefaultOnly("there are no ACLs yet"),
        "Who may do everything."),
    row("allow.everyone.if.no.acl.found", Boolean, Plain, of("true"), ANY,
        DefaultOnly("there are no ACLs yet"), "What holds where no ACL says anything."),
];

/// Families of keys that are refused as a whole, with the reason.
const REFUSED_FAMILIES: &[(&str, &str)] = &[
    ("ssl.", "TLS is not there yet; put a TLS proxy in front"),
    ("sasl.", "authentication is not there yet; restrict the network instead"),
    ("remote.log.", "tiered storage is not there"),
    ("listener.name.", "there is one PLAINTEXT listener"),
];

/// The row and topic unit factor of a broker key, in either table.
pub(super) fn broker_key(name: &str) -> Option<Key> {
    if let Some(row) = BROKER_KEYS.iter().find(|row| row.name == name) {
        return Some(*row);
    }
    TOPIC_KEYS.iter().find_map(|row| {
        let at = row.synonyms.iter().position(|(synonym, _)| *synonym == name)?;
        Some(topic_default_key(row, at))
    })
}

/// A broker key that sets a topic default, as a row of its own.
fn topic_default_key(row: &'static topic::TopicKey, at: usize) -> Key {
    let (name, factor) = row.synonyms[at];
    let mut key = row.key;
    key.name = name;
    if at + 1 < row.synonyms.len() {
        // A finer unit that nobody set: the coarser key decides.
        key.default = Default::Unset;
    }
    if factor != 1 {
        // Hours and minutes are plain 32-bit numbers; the topic key's bounds are in its own unit.
        key.kind = Int;
        key.unit = Plain;
        if let Check::Range(min, _) = key.check {
            key.check = Check::Range(min.max(-1), i64::from(i32::MAX));
        }
    }
    key
}

/// The type of a broker key, in either table.
pub fn broker_kind(name: &str) -> Option<Kind> {
    broker_key(name).map(|key| key.kind)
}

/// The error for a name that is in neither table.
pub(super) fn unknown(name: &str, value: &str) -> ConfigError {
    match REFUSED_FAMILIES.iter().find(|(prefix, _)| name.starts_with(prefix)) {
        Some((_, why)) => ConfigError::new(name, value, *why, "leave it out"),
        None => suggest::unknown("broker", name, value, broker_names()),
    }
}

/// Names of all broker keys.
pub(super) fn broker_names() -> impl Iterator<Item = &'static str> {
    let defaults = TOPIC_KEYS.iter().flat_map(|row| row.synonyms.iter().map(|(name, _)| *name));
    BROKER_KEYS.iter().map(|row| row.name).chain(defaults)
}

/// Every setting of the broker with value, source and synonyms, for DescribeConfigs.
pub fn describe_broker(config: &Config) -> Vec<ConfigEntry> {
    let mut entries: Vec<ConfigEntry> =
        BROKER_KEYS.iter().map(|row| describe(row, 1, config)).collect();
    for row in TOPIC_KEYS {
        for (at, (_, factor)) in row.synonyms.iter().enumerate() {
            entries.push(describe(&topic_default_key(row, at), *factor, config));
        }
    }
    entries.sort_by_key(|entry| entry.name);
    entries
}

/// What was set at run time for all brokers, for DescribeConfigs of the empty name.
pub fn describe_dynamic_default(config: &Config) -> Vec<ConfigEntry> {
    let mut entries = describe_broker(config);
    for entry in &mut entries {
        entry.synonyms.retain(|synonym| synonym.source == Source::DynamicDefaultBroker);
        if let Some(synonym) = entry.synonyms.first() {
            (entry.value, entry.source) = (synonym.value.clone(), synonym.source);
        }
    }
    entries.retain(|entry| !entry.synonyms.is_empty());
    entries
}

fn describe(key: &Key, factor: i64, config: &Config) -> ConfigEntry {
    let default = key.default_value(&config.machine).map(|text| topic::coarse(&text, factor));
    let synonym = |source, value: Option<String>| {
        let name = key.name.to_owned();
        Synonym { name, value, source }
    };
    let mut synonyms: Vec<Synonym> =
        config.layers(key.name).map(|(s, value)| synonym(s, Some(value.to_owned()))).collect();
    // A default may follow another setting: then it is the value in force.
    let derived = config.setting(key.name).map(|setting| setting.value.clone());
    let value = match synonyms.first() {
        Some(strongest) => strongest.value.clone(),
        None => derived.or_else(|| default.clone()),
    };
    let source = synonyms.first().map_or(Source::Default, |strongest| strongest.source);
    if default.is_some() {
        let shown = if synonyms.is_empty() { value.clone() } else { default };
        synonyms.push(synonym(Source::Default, shown));
    }
    ConfigEntry {
        name: key.name,
        value,
        source,
        is_read_only: !dynamic::is_dynamic(key.name),
        is_sensitive: false,
        kind: key.kind,
        documentation: key.documentation(),
        synonyms,
    }
}
