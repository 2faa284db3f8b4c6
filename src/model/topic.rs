//! Topics and partitions.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use super::Uuid;

/// Number of a partition within its topic, from 0.
pub type PartitionIndex = i32;

/// One partition of one topic. Identity is the topic's id, never its name: a topic that was
/// deleted and created again is another topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic.
    pub topic_id: Uuid,
    /// The partition of it.
    pub partition: PartitionIndex,
}

/// The topic that groups keep their state in (`Topic.GROUP_METADATA_TOPIC_NAME`).
pub const CONSUMER_OFFSETS: &str = "__consumer_offsets";

/// The name that stands for the log of metadata, which is no topic (KIP-595).
pub const CLUSTER_METADATA: &str = "__cluster_metadata";

/// Topics that brokers keep for themselves (`Topic.INTERNAL_TOPICS`).
const INTERNAL_TOPICS: [&str; 3] = [CONSUMER_OFFSETS, "__transaction_state", "__share_group_state"];

/// A legal topic name: 1 to 249 of `a-z A-Z 0-9 . _ -`, and neither `.` nor `..`
/// (`org.apache.kafka.common.internals.Topic`).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicName(Arc<str>);

/// Found by its text: a name is ordered and hashed as its text is.
impl Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Why a text is no topic name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicNameError(String);

impl TopicName {
    /// Longest legal name, in bytes.
    pub const LEN_MAX: usize = 249;

    /// Check `text` and keep it.
    ///
    /// # Errors
    /// Says which rule the text breaks.
    pub fn new(text: &str) -> Result<Self, TopicNameError> {
        let refuse = |why: String| Err(TopicNameError(why));
        if text.is_empty() {
            return refuse("a topic name must not be empty".into());
        }
        if text == "." || text == ".." {
            return refuse(format!("the topic name must not be {text:?}"));
        }
        if text.len() > Self::LEN_MAX {
            return refuse(format!(
                "the topic name has {} characters; the most is {}",
                text.len(),
                Self::LEN_MAX
            ));
        }
        if let Some(c) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || "._-".contains(*c))) {
            return refuse(format!(
                "the topic name has {c:?} in it; allowed are ASCII letters, digits and . _ -"
            ));
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether brokers keep this topic for themselves.
    pub fn is_internal(&self) -> bool {
        INTERNAL_TOPICS.contains(&self.as_str())
    }

    /// The name with '.' as '_': two topics whose keys are equal collide in metric names, which
    /// Kafka refuses at creation.
    pub fn collision_key(&self) -> String {
        self.0.replace('.', "_")
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for TopicNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TopicNameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_kafkas_rules() {
        for good in ["a", "orders", "A.b_c-9", &"x".repeat(249)] {
            assert_eq!(TopicName::new(good).unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "a/b", "a b", "ü", "a\0", &"x".repeat(250)] {
            assert!(TopicName::new(bad).is_err(), "{bad:?}");
        }
        let key = |s: &str| TopicName::new(s).unwrap().collision_key();
        assert_eq!(key("a.b"), key("a_b"));
    }
}
