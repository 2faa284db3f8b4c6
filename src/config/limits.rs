//! The limits that users may set, in one place: no queue, buffer or loop grows beyond one of these
//! or a named one beside it. Those of groups stand with their settings in `groups.rs`.
//!
//! Each field names its key in `broker.rs`, where its default and bounds are. Counts are `_max`,
//! sizes `_bytes_max`; "per shard" limits exist once on each shard, so that none is shared.

/// Limits, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `socket.request.max.bytes`: one request frame, without its length prefix.
    pub frame_bytes_max: usize,
    /// `max.connections`: of the whole broker.
    pub connections_max: usize,
    /// `max.connections.per.ip`
    pub connections_per_ip_max: usize,
    /// `connections.max.idle.ms`
    pub connection_idle_ms_max: u64,
    /// `socket.listen.backlog.size`
    pub listen_backlog_max: i32,
    /// `thalweg.connection.bytes.max`: of requests, and of answers that are ready; one of each
    /// always may, whatever its size.
    pub connection_bytes_max: usize,
    /// `thalweg.connection.requests.max`
    pub connection_requests_max: usize,
    /// `thalweg.frame.memory.bytes.max`: per shard, never below `frame_bytes_max`.
    pub frame_memory_bytes_max: usize,
    /// `thalweg.fetch.memory.bytes.max`: per shard.
    pub fetch_memory_bytes_max: usize,
    /// `fetch.max.bytes`: a fetch that asks for more gets this much.
    pub fetch_bytes_max: usize,
    /// `max.incremental.fetch.session.cache.slots`: of the whole broker.
    pub fetch_sessions_max: usize,
    /// `thalweg.fetch.session.partitions.max`: per shard, in all fetch sessions.
    pub session_partitions_max: usize,
    /// `thalweg.waiters.max`: per shard.
    pub waiters_max: usize,
    /// `thalweg.mesh.calls.max`: messages from one shard to another before further ones wait.
    pub mesh_calls_max: usize,
    /// `thalweg.open.files.max`: of the whole broker.
    pub open_files_max: usize,
    /// `thalweg.request.topics.max`
    pub request_topics_max: usize,
    /// `thalweg.request.partitions.max`
    pub request_partitions_max: usize,
    /// `max.request.partition.size.limit`: DescribeTopicPartitions (KIP-966).
    pub described_partitions_max: usize,
    /// `thalweg.decompressed.bytes.max`: one batch.
    pub decompressed_bytes_max: usize,
    /// `thalweg.topics.max`
    pub topics_max: usize,
    /// `thalweg.partitions.max`: of the whole broker.
    pub partitions_max: usize,
    /// `thalweg.topic.partitions.max`
    pub topic_partitions_max: usize,
    /// `thalweg.partition.producers.max`
    pub partition_producers_max: usize,
    /// `thalweg.producers.max`: per shard.
    pub producers_max: usize,
    /// `thalweg.metrics.connections.max`
    pub metrics_connections_max: usize,
    /// `thalweg.journal.bytes.max`: per shard, all journal files together.
    pub journal_bytes_max: u64,
    /// `thalweg.direct.append.bytes.min`
    pub direct_append_bytes_min: usize,
    /// `thalweg.direct.append.unflushed.bytes.min`
    pub direct_unflushed_append_bytes_min: usize,
    /// `thalweg.space.reserve.bytes`: per shard, left free on the disk.
    pub space_reserve_bytes: u64,
    /// `thalweg.pool.bytes.max`: of the whole broker.
    pub pool_bytes_max: u64,
    /// `thalweg.pending.bytes.max`: per shard.
    pub pending_bytes_max: usize,
    /// `thalweg.cache.bytes.max`: per shard.
    pub cache_bytes_max: usize,
    /// `thalweg.groups.memory.bytes.max`: per shard.
    pub groups_memory_bytes_max: usize,
    /// `log.cleaner.dedupe.buffer.size`: of the whole broker.
    pub cleaner_map_bytes_max: usize,
}

impl Limits {
    /// Read every limit through `long`, which knows the resolved settings.
    pub(super) fn read(long: &mut dyn FnMut(&'static str) -> i64) -> Self {
        let mut size = |name| usize::try_from(long(name)).unwrap_or(0);
        Self {
            frame_bytes_max: size("socket.request.max.bytes"),
            connections_max: size("max.connections"),
            connections_per_ip_max: size("max.connections.per.ip"),
            connection_idle_ms_max: size("connections.max.idle.ms") as u64,
            listen_backlog_max: i32::try_from(size("socket.listen.backlog.size")).unwrap_or(50),
            connection_bytes_max: size("thalweg.connection.bytes.max"),
            connection_requests_max: size("thalweg.connection.requests.max"),
            frame_memory_bytes_max: size("thalweg.frame.memory.bytes.max"),
            fetch_memory_bytes_max: size("thalweg.fetch.memory.bytes.max"),
            fetch_bytes_max: size("fetch.max.bytes"),
            fetch_sessions_max: size("max.incremental.fetch.session.cache.slots"),
            session_partitions_max: size("thalweg.fetch.session.partitions.max"),
            waiters_max: size("thalweg.waiters.max"),
            mesh_calls_max: size("thalweg.mesh.calls.max"),
            open_files_max: size("thalweg.open.files.max"),
            request_topics_max: size("thalweg.request.topics.max"),
            request_partitions_max: size("thalweg.request.partitions.max"),
            described_partitions_max: size("max.request.partition.size.limit"),
            decompressed_bytes_max: size("thalweg.decompressed.bytes.max"),
            topics_max: size("thalweg.topics.max"),
            partitions_max: size("thalweg.partitions.max"),
            topic_partitions_max: size("thalweg.topic.partitions.max"),
            partition_producers_max: size("thalweg.partition.producers.max"),
            producers_max: size("thalweg.producers.max"),
            metrics_connections_max: size("thalweg.metrics.connections.max"),
            journal_bytes_max: size("thalweg.journal.bytes.max") as u64,
            direct_append_bytes_min: size("thalweg.direct.append.bytes.min"),
            direct_unflushed_append_bytes_min: size("thalweg.direct.append.unflushed.bytes.min"),
            space_reserve_bytes: size("thalweg.space.reserve.bytes") as u64,
            pool_bytes_max: size("thalweg.pool.bytes.max") as u64,
            pending_bytes_max: size("thalweg.pending.bytes.max"),
            cache_bytes_max: size("thalweg.cache.bytes.max"),
            groups_memory_bytes_max: size("thalweg.groups.memory.bytes.max"),
            cleaner_map_bytes_max: size("log.cleaner.dedupe.buffer.size"),
        }
    }

    /// Bytes that all shards together may hold by these limits.
    pub fn memory_bytes_max(&self, shards: usize) -> u64 {
        let shard = self.frame_memory_bytes_max
            + self.fetch_memory_bytes_max
            + self.pending_bytes_max
            + self.cache_bytes_max
            + self.groups_memory_bytes_max;
        shard as u64 * shards as u64 + self.cleaner_map_bytes_max as u64
    }
}
