//! The features of KIP-584 that this broker has, each at the one level that it runs.

use crate::cluster::record::METADATA_VERSION;
use crate::protocol::ApiKey;

/// A feature and its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Kafka's name.
    pub name: &'static str,
    /// The level that is supported and finalized; there is no other.
    pub level: i16,
}

/// What this broker has. `transaction.version` is not among it: clients that see level 2 expect
/// their partitions to join a transaction by being written to.
pub fn all() -> impl Iterator<Item = Feature> {
    let has_consumer_groups = ApiKey::ConsumerGroupHeartbeat.advertised().max >= 0;
    [
        Some(Feature { name: "metadata.version", level: METADATA_VERSION }),
        has_consumer_groups.then_some(Feature { name: "group.version", level: 1 }),
    ]
    .into_iter()
    .flatten()
}

/// What is wrong with finalizing `level` of the feature `name`, in words that follow
/// "Invalid update version": nothing when it has that level already.
pub fn why_not(name: &str, level: i16, node_id: i32) -> Option<String> {
    if level < 0 {
        return Some("A feature version cannot be less than 0.".into());
    }
    match all().find(|feature| feature.name == name) {
        Some(feature) if feature.level == level => None,
        Some(Feature { level, .. }) => {
            Some(format!("Local controller {node_id} only supports versions {level}-{level}"))
        }
        // Level 0 is its absence.
        None if level == 0 => None,
        None => Some(format!("Local controller {node_id} does not support this feature.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_cannot_change() {
        assert_eq!(why_not("metadata.version", METADATA_VERSION, 1), None);
        let other = why_not("metadata.version", METADATA_VERSION - 1, 1).unwrap();
        assert!(other.contains("only supports"), "{other}");
        assert_eq!(why_not("kraft.version", 0, 1), None);
        assert!(why_not("kraft.version", 1, 1).unwrap().contains("does not support"));
        assert!(why_not("metadata.version", -1, 1).is_some());
    }
}
