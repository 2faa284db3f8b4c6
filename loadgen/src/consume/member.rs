//! A member of a consumer group, in a thread of its own: it joins, hears which partitions it has,
//! lays them out for its readers, commits what they have read, and joins again when the group
//! rebalances. Nothing here is on the way of a record.
//!
//! Kafka's classic protocol with the `range` assignor, through `thalweg::client`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use thalweg::client::{Client, CommittedOffset, Membership};

use super::group::{Group, Seat};
use crate::admin;
use crate::clock;

/// How often a member looks up.
const TICK: Duration = Duration::from_millis(25);
/// Pause before a member that failed tries again, and when it gives up.
const PAUSE: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_secs(30);
/// How long readers may take to give partitions up.
const GIVE_UP_LIMIT: Duration = Duration::from_secs(5);

/// What all members of a run know.
#[derive(Debug)]
pub struct Table {
    /// Where the cluster is.
    pub servers: String,
    /// The topic.
    pub topic: String,
    /// From one commit to the next.
    pub commit_every: Duration,
    /// From one member's leaving to the next one's; zero: nobody leaves.
    pub churn: Duration,
    /// First intended time, monotonic nanoseconds; 0 until it is known.
    pub start_ns: AtomicU64,
    /// Nobody leaves for a while any more: the load has ended.
    pub is_ending: AtomicBool,
    /// Everything is read: commit and leave.
    pub is_over: AtomicBool,
}

/// A member.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its group.
    pub group: Arc<Group>,
    /// Its number in the group, and how many there are.
    pub number: (usize, usize),
    /// One seat per leader that any partition has.
    pub seats: Vec<(SocketAddr, Seat)>,
    /// By partition: its leader.
    pub leaders: Arc<Vec<SocketAddr>>,
    /// What all know.
    pub table: Arc<Table>,
}

/// How a generation ended for a member.
enum Ended {
    Rebalance(Membership),
    Churn,
    Over,
}

impl Member {
    /// Be a member until all is over.
    pub fn run(self) {
        let (mut before, mut failing, mut leaving) = (None, None::<Instant>, self.first_leave());
        while !self.is_over() {
            let mut heard = Instant::now();
            match self.generation(before.take(), &mut heard, &mut leaving) {
                Ok(Ended::Over) => return,
                Ok(Ended::Rebalance(membership)) => (before, failing) = (Some(membership), None),
                Ok(Ended::Churn) => {
                    let back = Instant::now() + self.table.churn / 2;
                    while Instant::now() < back && !self.is_over() {
                        thread::sleep(TICK);
                    }
                    failing = None;
                }
                Err(why) => {
                    self.give_up();
                    self.group.notes().held.remove(&self.number.0);
                    if failing.get_or_insert(heard).elapsed() > PATIENCE {
                        self.group.notes().fatal = Some(format!("group {}: {why}", self.group.id));
                        return;
                    }
                    thread::sleep(PAUSE);
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        self.table.is_over.load(Ordering::Relaxed)
    }

    /// Seconds of the run at which this member leaves first: they take turns.
    fn first_leave(&self) -> f64 {
        self.table.churn.as_secs_f64() * (self.number.0 + 1) as f64
    }

    /// Join and stay until something ends it.
    fn generation(
        &self,
        before: Option<Membership>,
        heard: &mut Instant,
        leaving_s: &mut f64,
    ) -> Result<Ended, String> {
        let (table, group, text) = (&self.table, &self.group, admin::text);
        let is_again = before.is_some();
        let rebalance_from = clock::monotonic_ns();
        let mut client = admin::client(&table.servers)?;
        let membership = client.join_group(&group.id, &table.topic, before.as_ref());
        let mut membership = membership.map_err(text)?;
        self.take_seat(&mut client, &membership)?;
        self.note(&membership, is_again.then_some(rebalance_from));
        *heard = Instant::now();
        let mut committed = Instant::now();
        let ended = loop {
            thread::sleep(TICK);
            if self.is_over() {
                break Ended::Over;
            }
            if self.is_time_to_leave(leaving_s) {
                break Ended::Churn;
            }
            if self.number.0 == 0 {
                self.note_lag();
            }
            let mut is_on = client.stay_in_group(&mut membership).map_err(text)?;
            if is_on && committed.elapsed() >= table.commit_every {
                committed = Instant::now();
                is_on = self.commit(&mut client, &membership)?;
            }
            *heard = Instant::now();
            if !is_on {
                self.give_up();
                // While a group prepares, commits are taken; if not, records come again.
                let _ = self.commit(&mut client, &membership);
                return Ok(Ended::Rebalance(membership));
            }
        };
        self.give_up();
        self.commit(&mut client, &membership)?;
        client.leave_group(&membership).map_err(text)?;
        group.notes().held.remove(&self.number.0);
        Ok(ended)
    }

    /// Lay out what the group has given us, each partition from its committed offset.
    fn take_seat(&self, client: &mut Client, membership: &Membership) -> Result<(), String> {
        let offsets = client.committed_offsets(&self.group.id).map_err(admin::text)?;
        let stored = offsets.into_iter().filter(|offset| offset.topic == self.table.topic);
        let stored: BTreeMap<i32, i64> = stored.map(|o| (o.partition, o.offset)).collect();
        for (leader, seat) in &self.seats {
            let ours = membership.partitions().iter().filter_map(|index| {
                let partition = u32::try_from(*index).ok()?;
                let is_here = self.leaders.get(partition as usize) == Some(leader);
                // Without a commit a partition is where the run began, or where it was left.
                let at = stored.get(index).copied();
                let at = at.unwrap_or_else(|| self.first_offset(partition));
                is_here.then_some((partition, at))
            });
            seat.lay(ours.collect());
        }
        Ok(())
    }

    fn first_offset(&self, partition: u32) -> i64 {
        self.group.notes().committed.get(&partition).copied().unwrap_or(0)
    }

    fn note(&self, membership: &Membership, rebalance_from: Option<u64>) {
        let mut notes = self.group.notes();
        let generation = membership.generation();
        let is_begun = self.table.start_ns.load(Ordering::Relaxed) > 0;
        let (first, last) = notes.generations.unwrap_or((generation, generation));
        let first = if is_begun { first } else { generation.max(first) };
        notes.generations = Some((first, last.max(generation)));
        notes.held.insert(self.number.0, membership.partitions().len());
        if let Some(from) = rebalance_from.filter(|_| is_begun) {
            notes.rebalance.completion();
            notes.rebalance.record(clock::monotonic_ns().saturating_sub(from), 1);
        }
    }

    /// Nothing is followed any more when this returns.
    fn give_up(&self) {
        self.seats.iter().for_each(|(_, seat)| seat.lay(Vec::new()));
        let begin = Instant::now();
        if self.table.start_ns.load(Ordering::Relaxed) == 0 {
            // Nobody reads yet.
            return;
        }
        let is_done = || self.seats.iter().all(|(_, seat)| seat.is_followed());
        // Readers that have ended already never look again.
        while !is_done() && !self.is_over() && begin.elapsed() < GIVE_UP_LIMIT {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Commit how far our partitions are read; false when this generation is over.
    fn commit(&self, client: &mut Client, membership: &Membership) -> Result<bool, String> {
        let offset = |index: &i32| {
            let partition = u32::try_from(*index).ok()?;
            Some(CommittedOffset {
                topic: self.table.topic.clone(),
                partition: *index,
                offset: self.group.position(partition),
                leader_epoch: -1,
                metadata: String::new(),
            })
        };
        let offsets: Vec<_> = membership.partitions().iter().filter_map(offset).collect();
        if offsets.is_empty() {
            return Ok(true);
        }
        let begin = clock::monotonic_ns();
        let is_on = client.commit_as_member(membership, &offsets).map_err(admin::text)?;
        if is_on {
            let mut notes = self.group.notes();
            notes.commit.completion();
            notes.commit.record(clock::monotonic_ns() - begin, 1);
            let done = offsets.iter().filter_map(|o| Some((u32::try_from(o.partition).ok()?, o)));
            notes.committed.extend(done.map(|(partition, o)| (partition, o.offset)));
        }
        Ok(is_on)
    }

    /// Seconds since the first intended time.
    fn run_s(&self) -> Option<f64> {
        let start_ns = self.table.start_ns.load(Ordering::Relaxed);
        let now = clock::monotonic_ns();
        (start_ns > 0 && now >= start_ns).then(|| (now - start_ns) as f64 / 1e9)
    }

    fn is_time_to_leave(&self, leaving_s: &mut f64) -> bool {
        let is_ending = self.table.is_ending.load(Ordering::Relaxed);
        if self.table.churn.is_zero() || is_ending || self.run_s().is_none_or(|at| at < *leaving_s)
        {
            return false;
        }
        *leaving_s += self.table.churn.as_secs_f64() * self.number.1 as f64;
        true
    }

    fn note_lag(&self) {
        let whole = self.run_s().map_or(0, |at| at as u64);
        let noted = self.group.notes().lag.last().map_or(0, |lag| lag.second + 1);
        if whole > noted {
            self.group.note_lag(whole - 1);
        }
    }
}
