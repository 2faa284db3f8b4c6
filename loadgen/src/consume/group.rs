//! Consumer groups as this process sees them: which partitions each member's reader follows, how
//! far they are read and committed. Shared by readers, which follow and verify, and members,
//! which join, heartbeat and commit ([`super::member`]).
//!
//! Always true: each partition of a group is followed by one reader, or waits in `homeless` with
//! what was seen of it. A reader gives up what its member has lost before anybody else follows it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::check::Followed;
use crate::histogram::{Latency, Summary};
use crate::verify::Seen;

/// Most seconds whose lag is kept.
const LAGS_MAX: usize = 86_400;

/// A group.
#[derive(Debug)]
pub struct Group {
    /// Its id.
    pub id: String,
    /// By partition: the offset up to which its records are read and verified.
    positions: Vec<AtomicI64>,
    /// By partition: the broker's high watermark as last heard of.
    ends: Vec<AtomicI64>,
    homeless: Mutex<BTreeMap<u32, Followed>>,
    notes: Mutex<Notes>,
}

/// What members write down.
#[derive(Debug, Default)]
pub struct Notes {
    /// The generation in which the load began, and the last one.
    pub generations: Option<(i32, i32)>,
    /// From hearing of a rebalance to having partitions again.
    pub rebalance: Latency,
    /// From a commit to its answer.
    pub commit: Latency,
    /// Records that were to be read again, because they were not committed when their partition
    /// moved.
    pub redelivered: u64,
    /// By partition: the last committed offset.
    pub committed: BTreeMap<u32, i64>,
    /// Log end minus committed offsets at the end of each second.
    pub lag: Vec<Lag>,
    /// Partitions per member that is in the group.
    pub held: BTreeMap<usize, usize>,
    /// Why a member gave up.
    pub fatal: Option<String>,
}

/// A group's lag at the end of a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Lag {
    /// Since the start of the run.
    pub second: u64,
    /// Records in the log behind the committed offsets.
    pub records: u64,
}

/// A group after the run.
#[derive(Clone, Debug, Serialize)]
pub struct GroupResult {
    /// Its id.
    pub group: String,
    /// Members that it should have.
    pub members: u32,
    /// Generations since the load began.
    pub rebalances: u64,
    /// From hearing of a rebalance to having partitions again.
    pub rebalance_latency: Option<Summary>,
    /// From a commit to its answer.
    pub commit_latency: Option<Summary>,
    /// Records delivered again, because they were not committed when their partition moved.
    pub redelivered: u64,
    /// The largest lag behind the committed offsets, records.
    pub lag_max: u64,
    /// The lag after the last commit, records.
    pub lag_at_end: u64,
    /// Log end minus committed offsets by second.
    pub lag: Vec<Lag>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Group {
    /// A group that begins at the offsets of `starts`, by partition.
    pub fn new(id: String, starts: &[i64]) -> Self {
        let cells = || starts.iter().map(|start| AtomicI64::new(*start)).collect();
        let waiting = (0..).zip(starts).map(|(p, start)| (p, Followed::new(p, *start)));
        let homeless = Mutex::new(waiting.collect());
        let committed = (0..).zip(starts.iter().copied()).collect();
        let notes = Mutex::new(Notes { committed, ..Notes::default() });
        Self { id, positions: cells(), ends: cells(), homeless, notes }
    }

    /// What members have written down.
    pub fn notes(&self) -> MutexGuard<'_, Notes> {
        lock(&self.notes)
    }

    /// How far a partition is read.
    pub fn position(&self, partition: u32) -> i64 {
        self.positions.get(partition as usize).map_or(0, |at| at.load(Ordering::Relaxed))
    }

    /// Whether every partition is read up to its end.
    pub fn is_read(&self, end_of: impl Fn(u32) -> Option<i64>) -> bool {
        (0..self.positions.len() as u32).all(|p| end_of(p).is_some_and(|e| self.position(p) >= e))
    }

    /// A reader tells how far it is.
    pub fn publish(&self, followed: &Followed) {
        let at = followed.partition as usize;
        if let (Some(position), Some(end)) = (self.positions.get(at), self.ends.get(at)) {
            position.store(followed.verified, Ordering::Relaxed);
            end.fetch_max(followed.high_watermark, Ordering::Relaxed);
        }
    }

    /// Records in the log behind the committed offsets.
    pub fn lag(&self, committed: &BTreeMap<u32, i64>) -> u64 {
        let behind = |(partition, end): (u32, &AtomicI64)| {
            let committed = committed.get(&partition).copied().unwrap_or(0);
            end.load(Ordering::Relaxed).saturating_sub(committed).max(0) as u64
        };
        (0..).zip(&self.ends).map(behind).sum()
    }

    /// Write down the lag at the end of `second`.
    pub fn note_lag(&self, second: u64) {
        let mut notes = self.notes();
        let records = self.lag(&notes.committed);
        if notes.lag.len() < LAGS_MAX {
            notes.lag.push(Lag { second, records });
        }
    }

    /// What was seen of partitions that nobody follows any more.
    pub fn leave_behind(&self) -> Vec<(u32, Vec<Seen>)> {
        let homeless = std::mem::take(&mut *lock(&self.homeless));
        homeless.into_values().map(|followed| (followed.partition, followed.seen)).collect()
    }

    /// What came of it.
    pub fn result(&self, members: u32) -> GroupResult {
        let notes = self.notes();
        let summary = |l: &Latency| (!l.is_empty()).then(|| l.summary());
        let (first, last) = notes.generations.unwrap_or((0, 0));
        GroupResult {
            group: self.id.clone(),
            members,
            rebalances: u64::try_from(last.saturating_sub(first)).unwrap_or(0),
            rebalance_latency: summary(&notes.rebalance),
            commit_latency: summary(&notes.commit),
            redelivered: notes.redelivered,
            lag_max: notes.lag.iter().map(|lag| lag.records).max().unwrap_or(0),
            lag_at_end: self.lag(&notes.committed),
            lag: notes.lag.clone(),
        }
    }
}

/// A reader's place at the table: its member lays out what it has to follow.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The group.
    pub group: Arc<Group>,
    order: Arc<Order>,
}

#[derive(Debug, Default)]
struct Order {
    /// Partitions with the offsets to begin at.
    wanted: Mutex<Vec<(u32, i64)>>,
    /// Grows with every change of `wanted`.
    version: AtomicU64,
    /// The version that the reader follows.
    followed: AtomicU64,
}

impl Seat {
    /// A seat with nothing laid out.
    pub fn new(group: Arc<Group>) -> Self {
        Self { group, order: Arc::default() }
    }

    /// The member's call: follow these partitions from these offsets, and nothing else.
    pub fn lay(&self, wanted: Vec<(u32, i64)>) {
        *lock(&self.order.wanted) = wanted;
        self.order.version.fetch_add(1, Ordering::Release);
    }

    /// Whether the reader follows what was laid out last.
    pub fn is_followed(&self) -> bool {
        self.order.followed.load(Ordering::Acquire) == self.order.version.load(Ordering::Acquire)
    }

    /// The reader's call: change `followed` to what the member wants. Cheap when nothing changed.
    #[inline]
    pub fn follow(&self, followed: &mut Vec<Followed>) {
        if !self.is_followed() {
            self.change(followed);
        }
    }

    #[cold]
    fn change(&self, followed: &mut Vec<Followed>) {
        let version = self.order.version.load(Ordering::Acquire);
        let wanted: BTreeMap<u32, i64> = lock(&self.order.wanted).iter().copied().collect();
        let mut homeless = lock(&self.group.homeless);
        let (kept, given): (Vec<_>, Vec<_>) =
            std::mem::take(followed).into_iter().partition(|f| wanted.contains_key(&f.partition));
        *followed = kept;
        homeless.extend(given.into_iter().map(|f| (f.partition, f)));
        let mut is_whole = true;
        for (partition, start) in wanted {
            if followed.iter().any(|f| f.partition == partition) {
                continue;
            }
            // Another member's reader may still hold it: ask again.
            let Some(mut found) = homeless.remove(&partition) else {
                is_whole = false;
                continue;
            };
            found.position = start;
            let again = found.verified.saturating_sub(start).max(0) as u64;
            self.group.notes().redelivered += again;
            followed.push(found);
        }
        followed.sort_unstable_by_key(|f| f.partition);
        if is_whole {
            self.order.followed.store(version, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_moves_with_what_was_seen_of_it_and_never_has_two_readers() {
        let group = Arc::new(Group::new("g".into(), &[0, 10, 20]));
        let (one, two) = (Seat::new(group.clone()), Seat::new(group.clone()));
        let (mut first, mut second) = (Vec::new(), Vec::new());
        one.lay(vec![(2, 20), (0, 0)]);
        assert!(!one.is_followed());
        one.follow(&mut first);
        assert!(one.is_followed());
        assert_eq!(first.iter().map(|f| f.partition).collect::<Vec<_>>(), [0, 2], "in order");
        first[1].verified = 25;
        first[1].seen = vec![Seen::default()];
        // The other member is told before this one has given it up.
        two.lay(vec![(2, 23)]);
        two.follow(&mut second);
        assert!(second.is_empty() && !two.is_followed());
        one.lay(vec![(0, 0)]);
        one.follow(&mut first);
        two.follow(&mut second);
        assert!(two.is_followed() && first.len() == 1);
        let moved = &second[0];
        assert_eq!((moved.partition, moved.position, moved.verified), (2, 23, 25));
        assert_eq!(moved.seen.len(), 1);
        assert_eq!(group.notes().redelivered, 2, "23 and 24 were read and not committed");
        assert_eq!(group.leave_behind().len(), 1, "nobody has partition 1");
    }

    #[test]
    fn lag_is_the_log_end_minus_what_is_committed() {
        let group = Group::new("g".into(), &[0, 10]);
        let mut followed = Followed::new(1, 10);
        (followed.high_watermark, followed.verified) = (40, 30);
        group.publish(&followed);
        group.note_lag(0);
        group.notes().committed.insert(1, 30);
        group.note_lag(1);
        assert_eq!(group.position(1), 30);
        assert!(group.is_read(|p| Some(if p == 1 { 30 } else { 0 })));
        assert!(!group.is_read(|_| Some(31)) && !group.is_read(|_| None));
        group.notes().generations = Some((3, 5));
        let result = group.result(2);
        assert_eq!((result.rebalances, result.lag_max, result.lag_at_end), (2, 30, 10));
    }
}
