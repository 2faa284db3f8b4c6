//! Which shard owns a partition.

use crate::model::{ShardId, TopicPartition};

/// The owner of `partition` among `shards` shards.
///
/// The partitions of a topic go round the shards one by one, so that a topic is spread as evenly
/// as its partitions allow; the topic's id decides where it begins, so that one-partition topics
/// spread too. Nothing is stored: every shard computes the same answer, and a start with another
/// number of shards simply computes another.
pub fn owner(partition: TopicPartition, shards: ShardId) -> ShardId {
    let id = u128::from_be_bytes(partition.topic_id.0);
    // Fold the random bits; the version and variant bits of the id carry no randomness.
    let begin = (id ^ (id >> 64)) as u64;
    let place = begin.wrapping_add(partition.partition as u64) % u64::from(shards.max(1));
    place as ShardId
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Uuid;

    #[test]
    fn a_topic_spreads_evenly_and_topics_begin_anywhere() {
        let mut begins = [0; 4];
        for _ in 0..400 {
            let topic_id = Uuid::random();
            let mut counts = [0; 4];
            for partition in 0..16 {
                counts[owner(TopicPartition { topic_id, partition }, 4) as usize] += 1;
            }
            assert_eq!(counts, [4; 4]);
            begins[owner(TopicPartition { topic_id, partition: 0 }, 4) as usize] += 1;
        }
        assert!(begins.iter().all(|b| *b > 50), "{begins:?}");
    }
}
