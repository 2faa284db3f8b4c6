//! `__consumer_offsets`: what it is like when it is made, and which of its partitions a group has.

use crate::config::Config;
use crate::model::{CONSUMER_OFFSETS, PartitionIndex};

use super::controller::NewTopic;
use super::image::{ConfigOverrides, Image};

/// The topic as Kafka makes it (`GroupCoordinatorService.groupMetadataTopicConfigs`).
pub fn offsets_topic(config: &Config) -> NewTopic {
    let segment_bytes = config.offsets_topic_segment_bytes.to_string();
    let overrides = [
        ("cleanup.policy", "compact"),
        ("compression.type", "producer"),
        ("segment.bytes", segment_bytes.as_str()),
    ];
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    NewTopic {
        name: CONSUMER_OFFSETS.into(),
        partitions: config.offsets_topic_partitions,
        replication_factor: 1,
        overrides: ConfigOverrides::from_iter(overrides.map(owned)),
        ..NewTopic::default()
    }
}

/// The partition of `__consumer_offsets` that keeps a group; `None` while there is no such topic.
pub fn group_partition(image: &Image, group: &str) -> Option<PartitionIndex> {
    let partitions = image.topic(CONSUMER_OFFSETS)?.partitions.len();
    let partitions = i32::try_from(partitions).ok().filter(|count| *count > 0)?;
    Some(java_hash(group).checked_abs().unwrap_or(0) % partitions)
}

/// `java.lang.String.hashCode`: over UTF-16 units.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0, |hash: i32, c| hash.wrapping_mul(31).wrapping_add(i32::from(c)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_where_kafka_has_them() {
        // From jshell: "...".hashCode().
        let known = [
            ("", 0),
            ("a", 97),
            ("test-group", 627_841_412),
            ("polygenelubricants", i32::MIN),
            ("\u{fc}\u{1f600}", 2_015_071),
        ];
        for (text, hash) in known {
            assert_eq!(java_hash(text), hash, "{text:?}");
        }
        assert_eq!(group_partition(&Image::default(), "a"), None);
    }
}
