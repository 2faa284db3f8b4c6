//! Random sequences of events, with clients of both protocols that do what they are told.
//!
//! After every event:
//! - no ticket was answered twice, and no tick leaves a deadline in the past;
//! - a coordinator that has replayed the records knows the same;
//! - the memory that either counts is what its groups and offsets take;
//! - generations and epochs have not gone back;
//! - no two members own the same partition, by what they have been told and have acknowledged.
//!
//! At the end of each sequence, left alone, the group assigns everything, and every request has
//! been answered.

mod actor;
mod invariants;

use super::*;
use crate::protocol::messages::delete_groups::DeleteGroupsRequest;
use actor::Actor;
use invariants::Epochs;
pub(super) use invariants::{memory_is_counted, same_as_replayed};

/// Sequences, each from a seed of its own.
const SEQUENCES: u64 = 10_000;
/// Events of one sequence, before it is left alone.
const EVENTS: usize = 30;
/// Heartbeat rounds until a group that is left alone must have settled.
const ROUNDS_MAX: usize = 200;

/// SplitMix64.
pub(super) struct Dice(u64);

impl Dice {
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.roll(100) < percent
    }
}

/// One sequence.
pub(super) struct World {
    pub bench: Bench,
    pub dice: Dice,
    actors: Vec<Actor>,
    /// A coordinator that replays every record as it is written.
    replayed: Coordinator,
    replayed_records: usize,
    epochs: Epochs,
    topics: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let settings = GroupSettings {
            classic_members_max: 5,
            consumer_members_max: 5,
            offsets_retention_ms: 120_000,
            offsets_check_interval_ms: 60_000,
            ..settings()
        };
        let mut bench = Bench::with(settings);
        bench.topic("t0", 4);
        bench.topic("t1", 2);
        let mut dice = Dice(seed);
        // Most groups speak one protocol; some change.
        let protocols = dice.roll(3);
        let actors = (0..2 + dice.roll(4)).map(|number| Actor::new(&mut dice, number, protocols));
        let actors = actors.collect();
        let memory = GroupMemory::new(0);
        let replayed = Coordinator::new(bench.settings.clone(), memory, 3);
        let (replayed_records, epochs) = (0, Epochs::default());
        Self { bench, dice, actors, replayed, replayed_records, epochs, topics: 2 }
    }

    fn event(&mut self) {
        match self.dice.roll(100) {
            0..70 => {
                let at = self.dice.roll(self.actors.len());
                let loses = self.dice.chance(8);
                self.act(at, |actor, bench, dice| actor.act(bench, dice, loses));
            }
            70..76 => {
                let at = self.dice.roll(self.actors.len());
                self.act(at, Actor::leave);
            }
            76..79 => {
                let at = self.dice.roll(self.actors.len());
                self.actors[at].die();
            }
            79..89 => {
                let ms = [10, 1_000, 3_000, 12_000, 50_000][self.dice.roll(5)];
                self.bench.pass(ms);
            }
            89..91 => self.restart(),
            91..93 if self.topics < 5 => {
                let partitions = 1 + self.dice.roll(4) as i32;
                self.bench.topic(&format!("t{}", self.topics), partitions);
                self.topics += 1;
            }
            93 => {
                let topics: Vec<(Uuid, i32)> = self
                    .bench
                    .image
                    .topics()
                    .map(|topic| (topic.id, topic.partitions.len() as i32))
                    .collect();
                let (id, count) = topics[self.dice.roll(topics.len())];
                if topics.len() > 1 && self.dice.chance(50) {
                    self.bench.image.apply(&Change::RemoveTopic { id }).unwrap();
                } else {
                    self.bench.partition(id, count);
                }
                self.bench.happen(Event::ImageChanged);
            }
            94..97 => {
                let at = self.dice.roll(self.actors.len());
                let request = self.actors[at].commit(&mut self.dice);
                self.bench.commit(9, request);
            }
            97 => {
                let groups_names = vec!["g".into()];
                self.bench.ask(2, Request::DeleteGroups(DeleteGroupsRequest { groups_names }));
            }
            _ => {
                self.bench.describe("g");
            }
        }
        self.hear();
        self.check();
    }

    fn act(&mut self, at: usize, action: impl FnOnce(&mut Actor, &mut Bench, &mut Dice)) {
        let Self { bench, dice, actors, .. } = self;
        action(&mut actors[at], bench, dice);
    }

    /// Bring answers to those who wait for them.
    fn hear(&mut self) {
        loop {
            let Self { bench, actors, .. } = self;
            let waiting = actors.iter_mut().find(|actor| {
                actor.waiting().is_some_and(|ticket| bench.replies.contains_key(&ticket))
            });
            let Some(actor) = waiting else { break };
            actor.hear(bench);
            invariants::one_owner(&self.bench.coordinator, &self.actors);
        }
        // What is left is for those who have stopped listening.
        self.bench.replies.clear();
    }

    /// The broker restarts: open requests end with an error, the log is read.
    fn restart(&mut self) {
        self.replay();
        let mut from_scratch = self.bench.reloaded();
        same_as_replayed(&self.replayed, &mut from_scratch);
        self.replayed = from_scratch;
        self.bench.restart();
        self.bench.open.clear();
        // A generation that was not settled is in no record, and nobody has worked in it.
        self.epochs = Epochs::default();
        self.actors.iter_mut().for_each(Actor::lose_connection);
    }

    fn replay(&mut self) {
        for record in &self.bench.log[self.replayed_records..] {
            let (key, value) = (record.key.clone(), record.value.clone());
            self.replayed.replay(key, value, self.bench.now).unwrap();
        }
        self.replayed_records = self.bench.log.len();
    }

    fn check(&mut self) {
        self.replay();
        same_as_replayed(&self.bench.coordinator, &mut self.replayed);
        invariants::memory_is_counted(&self.bench.coordinator);
        invariants::memory_is_counted(&self.replayed);
        self.epochs.check(&self.bench.coordinator);
        invariants::one_owner(&self.bench.coordinator, &self.actors);
    }

    /// Leave the group alone with those who are alive: it settles, and everything is read.
    fn settle(&mut self) {
        // Those who died have all the time they may take.
        self.bench.pass(1_000);
        for round in 0.. {
            for at in 0..self.actors.len() {
                // A heartbeat, and what follows from it.
                for _ in 0..3 {
                    self.act(at, |actor, bench, dice| actor.act(bench, dice, false));
                    self.hear();
                    if self.actors[at].is_content() {
                        break;
                    }
                }
            }
            self.bench.pass(3_000);
            self.hear();
            self.check();
            if self.actors.iter().all(|actor| !actor.is_alive())
                || invariants::is_settled(&self.bench, &self.actors)
            {
                break;
            }
            let groups = &self.bench.coordinator.groups;
            assert!(round < ROUNDS_MAX, "it does not settle: {groups:#?}\n{:#?}", self.actors);
        }
        // Everybody goes silent: whatever was parked is answered in the end.
        self.bench.pass(1_000_000);
        self.bench.replies.clear();
        assert!(self.bench.open.is_empty(), "never answered: {:?}", self.bench.open);
        self.check();
    }
}

/// One of four parts, which run side by side.
fn run_part(part: u64) {
    for seed in (0..SEQUENCES).filter(|seed| seed % 4 == part) {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..EVENTS {
                world.event();
            }
            world.settle();
        });
        assert!(run.is_ok(), "seed {seed}");
    }
}

#[test]
fn any_sequence_keeps_the_promises() {
    run_part(0);
}

#[test]
fn any_second_sequence_keeps_the_promises() {
    run_part(1);
}

#[test]
fn any_third_sequence_keeps_the_promises() {
    run_part(2);
}

#[test]
fn any_fourth_sequence_keeps_the_promises() {
    run_part(3);
}
