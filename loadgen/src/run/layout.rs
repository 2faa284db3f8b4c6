//! Who talks to whom: lanes and readers from a plan and the topic's leaders.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::admin::TopicMap;
use crate::batch::partition_weights;
use crate::consume::ReaderSpec;
use crate::pace::{Offer, Stage};
use crate::payload::Filler;
use crate::plan::{Consume, Plan};
use crate::produce::LaneSpec;

/// Partitions by the leader that serves them.
fn by_leader(map: &TopicMap) -> BTreeMap<SocketAddr, Vec<u32>> {
    let mut groups: BTreeMap<SocketAddr, Vec<u32>> = BTreeMap::new();
    for (partition, leader) in map.leaders.iter().enumerate() {
        groups.entry(*leader).or_default().push(partition as u32);
    }
    groups
}

/// One lane per producer, leader and connection, with a share of the rate that follows its
/// share of the partitions.
pub fn lanes(plan: &Plan, map: &TopicMap) -> Vec<LaneSpec> {
    let mut lanes: Vec<LaneSpec> = Vec::new();
    for producer in 0..plan.producers {
        for (leader, partitions) in by_leader(map) {
            let connections = plan.connections.min(partitions.len() as u32) as usize;
            for connection in 0..connections {
                let mut mine: Vec<u32> =
                    partitions.iter().copied().skip(connection).step_by(connections).collect();
                // Producers begin at different partitions, or all would hit the same one.
                let turn = producer as usize % mine.len();
                mine.rotate_left(turn);
                lanes.push(LaneSpec {
                    producer: lanes.len() as u32,
                    address: leader,
                    partitions: mine,
                    identity: (-1, -1),
                    weights: Vec::new(),
                    offer: None,
                });
            }
        }
    }
    let weights = partition_weights(plan.keys, plan.partitions);
    let weight = |partition: &u32| weights.get(*partition as usize).copied();
    for lane in &mut lanes {
        lane.weights = lane.partitions.iter().filter_map(weight).collect();
    }
    if let Some(stages) = plan.stages() {
        // Without weights a partition counts as one.
        let part = |lane: &LaneSpec| -> f64 {
            lane.partitions.iter().map(|p| weight(p).unwrap_or(1.0)).sum()
        };
        let all: f64 = lanes.iter().map(part).sum();
        let count = lanes.len() as f64;
        let mut seeds = Filler::new(plan.seed);
        for (index, lane) in lanes.iter_mut().enumerate() {
            let share: f64 = part(lane) / all;
            let mine = |stage: &Stage| Stage {
                from: stage.from * share,
                to: stage.to * share,
                seconds: stage.seconds,
            };
            lane.offer = Some(Offer {
                stages: stages.iter().map(mine).collect(),
                arrivals: plan.arrivals,
                phase: index as f64 / count,
                seed: seeds.next_u64(),
            });
        }
    }
    lanes
}

/// One reader per consumer and leader, beginning at the offsets in `starts`.
pub fn readers(plan: &Plan, map: &TopicMap, starts: &[i64]) -> Vec<ReaderSpec> {
    let mut readers = Vec::new();
    if plan.consume == Consume::Never {
        return readers;
    }
    for subscription in 0..plan.subscriptions {
        for (leader, partitions) in by_leader(map) {
            let consumers = plan.consumers.min(partitions.len() as u32) as usize;
            for consumer in 0..consumers {
                let mine = partitions.iter().skip(consumer).step_by(consumers);
                let start = |p: &u32| (*p, starts.get(*p as usize).copied().unwrap_or(0));
                let partitions = mine.map(start).collect();
                readers.push(ReaderSpec { subscription, address: leader, partitions, seat: None });
            }
        }
    }
    readers
}
