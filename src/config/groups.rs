//! Settings of consumer groups: what the coordinator reads.
//!
//! Each field names its key in `broker.rs`, where its default and bounds are.

/// How classic groups and consumer groups may turn into each other
/// (`group.consumer.migration.policy`, KIP-848).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationPolicy {
    /// Neither way.
    Disabled,
    /// A classic group becomes a consumer group.
    Upgrade,
    /// A consumer group becomes a classic group.
    Downgrade,
    /// Both ways.
    Bidirectional,
}

impl MigrationPolicy {
    /// Whether a classic group may become a consumer group.
    pub fn may_upgrade(self) -> bool {
        matches!(self, Self::Upgrade | Self::Bidirectional)
    }

    /// Whether a consumer group may become a classic group.
    pub fn may_downgrade(self) -> bool {
        matches!(self, Self::Downgrade | Self::Bidirectional)
    }

    fn from_word(word: &str) -> Self {
        match word.to_ascii_lowercase().as_str() {
            "disabled" => Self::Disabled,
            "upgrade" => Self::Upgrade,
            "downgrade" => Self::Downgrade,
            _ => Self::Bidirectional,
        }
    }
}

/// Settings and limits of groups, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// `group.max.size`, never above `thalweg.group.members.max`
    pub classic_members_max: usize,
    /// `group.initial.rebalance.delay.ms`
    pub initial_rebalance_delay_ms: i64,
    /// `group.min.session.timeout.ms`
    pub session_timeout_ms_min: i32,
    /// `group.max.session.timeout.ms`
    pub session_timeout_ms_max: i32,
    /// `offset.metadata.max.bytes`
    pub offset_metadata_bytes_max: usize,
    /// `offsets.retention.minutes`, in milliseconds
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`
    pub offsets_check_interval_ms: i64,
    /// `group.consumer.max.size`, never above `thalweg.group.members.max`
    pub consumer_members_max: usize,
    /// `group.consumer.session.timeout.ms`
    pub consumer_session_timeout_ms: i32,
    /// `group.consumer.heartbeat.interval.ms`
    pub consumer_heartbeat_interval_ms: i32,
    /// `group.consumer.assignors`; the first one is the default.
    pub consumer_assignors: Vec<String>,
    /// `group.consumer.migration.policy`
    pub migration_policy: MigrationPolicy,
    /// `group.consumer.regex.refresh.interval.ms`
    pub regex_refresh_ms: i64,
    /// `thalweg.groups.max`: of one partition of `__consumer_offsets`.
    pub groups_max: usize,
    /// `thalweg.group.offsets.max`: committed offsets of one group.
    pub offsets_max: usize,
    /// `thalweg.group.bytes.max`: what the members of one group say and are told.
    pub group_bytes_max: usize,
}

impl GroupSettings {
    /// Read every setting through `text`, which knows the resolved settings.
    pub(super) fn read(text: &mut dyn FnMut(&'static str) -> String) -> Self {
        let assignors = text("group.consumer.assignors");
        let policy = text("group.consumer.migration.policy");
        let mut long = |name| text(name).parse::<i64>().unwrap_or(0);
        let size = |value: i64| usize::try_from(value).unwrap_or(0);
        let int = |value: i64| i32::try_from(value).unwrap_or(i32::MAX);
        let members_max = long("thalweg.group.members.max");
        Self {
            classic_members_max: size(long("group.max.size").min(members_max)),
            initial_rebalance_delay_ms: long("group.initial.rebalance.delay.ms"),
            session_timeout_ms_min: int(long("group.min.session.timeout.ms")),
            session_timeout_ms_max: int(long("group.max.session.timeout.ms")),
            offset_metadata_bytes_max: size(long("offset.metadata.max.bytes")),
            offsets_retention_ms: long("offsets.retention.minutes").saturating_mul(60_000),
            offsets_check_interval_ms: long("offsets.retention.check.interval.ms"),
            consumer_members_max: size(long("group.consumer.max.size").min(members_max)),
            consumer_session_timeout_ms: int(long("group.consumer.session.timeout.ms")),
            consumer_heartbeat_interval_ms: int(long("group.consumer.heartbeat.interval.ms")),
            consumer_assignors: assignors.split(',').map(str::to_owned).collect(),
            migration_policy: MigrationPolicy::from_word(&policy),
            regex_refresh_ms: long("group.consumer.regex.refresh.interval.ms"),
            groups_max: size(long("thalweg.groups.max")),
            offsets_max: size(long("thalweg.group.offsets.max")),
            group_bytes_max: size(long("thalweg.group.bytes.max")),
        }
    }
}
