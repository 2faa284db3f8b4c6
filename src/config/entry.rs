//! One setting as DescribeConfigs shows it (KIP-133, KIP-226, KIP-569).

use super::key::Kind;

/// Where a value comes from, with Kafka's codes (`DescribeConfigsResponse.ConfigSource`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Source {
    /// Set on the topic.
    Topic = 1,
    /// Set on one broker at run time.
    DynamicBroker = 2,
    /// Set on all brokers at run time.
    DynamicDefaultBroker = 3,
    /// Set by file or flag at start.
    StaticBroker = 4,
    /// Nobody set it.
    Default = 5,
    /// The level of the broker's log lines.
    BrokerLogger = 6,
    /// Set on the group.
    Group = 8,
}

/// One layer of a value: who else could decide it, in order of precedence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym {
    /// The key of that layer.
    pub name: String,
    /// Its value; `None` is null.
    pub value: Option<String>,
    /// The layer.
    pub source: Source,
}

/// One setting with everything that DescribeConfigs tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The key.
    pub name: &'static str,
    /// The value in force; `None` is null.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: Source,
    /// Whether it can be changed while the broker runs.
    pub is_read_only: bool,
    /// Whether the value must not be shown. No setting is a secret so far.
    pub is_sensitive: bool,
    /// Its type; `kind as i8` is the code on the wire.
    pub kind: Kind,
    /// What it does.
    pub documentation: String,
    /// Every layer that has a value, strongest first.
    pub synonyms: Vec<Synonym>,
}
