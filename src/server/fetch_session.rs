//! Incremental fetch sessions (KIP-227): the client names its partitions once, later requests
//! name only what changed, and answers hold only partitions that have something to say.
//!
//! Sessions belong to the shard of the connection that created them. Another connection that
//! names one is told FETCH_SESSION_ID_NOT_FOUND and starts again, as after a restart. Their number
//! is limited; the one unused for longest makes room.

use std::collections::HashMap;
use std::time::Duration;

use crate::model::{LeaderEpoch, Offset, PartitionIndex, Uuid};
use crate::wire::StrBytes;

/// Epoch of a request that wants a new session (or none, with [`FINAL_EPOCH`]).
pub const INITIAL_EPOCH: i32 = 0;
/// Epoch of a request that ends its session.
pub const FINAL_EPOCH: i32 = -1;
/// A session that was used within this time is not evicted for a new one (Kafka:
/// `MIN_INCREMENTAL_FETCH_SESSION_EVICTION_MS`).
const EVICTION_AGE: Duration = Duration::from_secs(120);

/// A topic as the request named it: by id from version 13, by name before.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TopicRef {
    /// By id.
    Id(Uuid),
    /// By name.
    Name(StrBytes),
}

/// One partition that a client wants.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its topic.
    pub topic: TopicRef,
    /// Its number.
    pub partition: PartitionIndex,
    /// From where.
    pub offset: Offset,
    /// At most so many bytes.
    pub bytes_max: usize,
    /// The client's idea of the leader epoch.
    pub epoch: LeaderEpoch,
    /// High watermark and log start that the client was last told; `None` before the first
    /// answer and after an error.
    pub told: Option<(Offset, Offset)>,
}

/// What a client's partitions are, in the order in which they are served.
#[derive(Debug, Default)]
struct Session {
    epoch: i32,
    uses_ids: bool,
    wanted: Vec<Wanted>,
    index: HashMap<(TopicRef, PartitionIndex), usize>,
    used: Duration,
    /// Where the next fetch begins, so that the first partitions do not take all bytes for ever.
    turn: usize,
}

/// All sessions of a shard.
#[derive(Debug)]
pub struct FetchSessions {
    by_id: HashMap<i32, Session>,
    sessions_max: usize,
    next_id: i32,
}

/// Why an incremental request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionRefusal {
    /// FETCH_SESSION_ID_NOT_FOUND
    NotFound,
    /// INVALID_FETCH_SESSION_EPOCH
    WrongEpoch,
    /// FETCH_SESSION_TOPIC_ID_ERROR: ids before, names now, or the other way round.
    TopicIds,
}

impl Session {
    fn set(&mut self, mut wanted: Wanted) {
        let key = (wanted.topic.clone(), wanted.partition);
        match self.index.get(&key) {
            Some(at) => {
                wanted.told = self.wanted[*at].told;
                self.wanted[*at] = wanted;
            }
            None => {
                self.index.insert(key, self.wanted.len());
                self.wanted.push(wanted);
            }
        }
    }

    fn forget(&mut self, topic: TopicRef, partition: PartitionIndex) {
        if let Some(at) = self.index.remove(&(topic, partition)) {
            self.wanted.swap_remove(at);
            if let Some(moved) = self.wanted.get(at) {
                self.index.insert((moved.topic.clone(), moved.partition), at);
            }
        }
    }
}

impl FetchSessions {
    /// No sessions yet; ids begin at a random place so that a restart does not repeat them.
    pub fn new(sessions_max: usize, seed: u32) -> Self {
        Self { by_id: HashMap::new(), sessions_max, next_id: (seed >> 1) as i32 }
    }

    /// Sessions there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// End a session.
    pub fn remove(&mut self, id: i32) {
        self.by_id.remove(&id);
    }

    /// A new session for what a full request wants; 0 when there is no room for one.
    pub fn create(&mut self, wanted: Vec<Wanted>, uses_ids: bool, now: Duration) -> i32 {
        if wanted.is_empty() || self.sessions_max == 0 {
            return 0;
        }
        if self.by_id.len() >= self.sessions_max {
            let oldest = self.by_id.iter().min_by_key(|(_, s)| s.used).map(|(id, s)| (*id, s.used));
            match oldest {
                Some((id, used)) if now.saturating_sub(used) >= EVICTION_AGE => self.remove(id),
                _ => return 0,
            }
        }
        loop {
            self.next_id = self.next_id.checked_add(1).unwrap_or(1).max(1);
            if !self.by_id.contains_key(&self.next_id) {
                break;
            }
        }
        let mut session = Session { epoch: 1, uses_ids, used: now, ..Session::default() };
        for wanted in wanted {
            session.set(wanted);
        }
        self.by_id.insert(self.next_id, session);
        self.next_id
    }

    /// Take an incremental request's changes; everything the session wants now, beginning with
    /// the partition whose turn it is.
    ///
    /// # Errors
    /// When the session is not here or the request does not continue it.
    pub fn resume(
        &mut self,
        id: i32,
        epoch: i32,
        uses_ids: bool,
        changed: Vec<Wanted>,
        forgotten: Vec<(TopicRef, PartitionIndex)>,
        now: Duration,
    ) -> Result<Vec<Wanted>, SessionRefusal> {
        let session = self.by_id.get_mut(&id).ok_or(SessionRefusal::NotFound)?;
        if session.epoch != epoch {
            return Err(SessionRefusal::WrongEpoch);
        }
        if session.uses_ids != uses_ids {
            return Err(SessionRefusal::TopicIds);
        }
        session.epoch = epoch.checked_add(1).unwrap_or(1);
        session.used = now;
        for wanted in changed {
            session.set(wanted);
        }
        for (topic, partition) in forgotten {
            session.forget(topic, partition);
        }
        let count = session.wanted.len();
        session.turn = if count == 0 { 0 } else { (session.turn + 1) % count };
        let (before, from) = session.wanted.split_at(session.turn);
        Ok(from.iter().chain(before).cloned().collect())
    }

    /// Remember what a client is told about a partition; `None` after an error, so that the next
    /// answer tells it again.
    pub fn told(
        &mut self,
        id: i32,
        topic: &TopicRef,
        partition: PartitionIndex,
        marks: Option<(Offset, Offset)>,
    ) {
        if let Some(session) = self.by_id.get_mut(&id)
            && let Some(at) = session.index.get(&(topic.clone(), partition))
        {
            session.wanted[*at].told = marks;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(partition: i32, offset: i64) -> Wanted {
        Wanted {
            topic: TopicRef::Id(Uuid([1; 16])),
            partition,
            offset,
            bytes_max: 1,
            epoch: -1,
            told: None,
        }
    }

    const NOW: Duration = Duration::from_secs(1000);

    #[test]
    fn a_session_remembers_changes_and_forgets() {
        let mut sessions = FetchSessions::new(10, 7);
        let id = sessions.create((0..3).map(|p| wanted(p, 0)).collect(), true, NOW);
        assert_ne!(id, 0);
        sessions.told(id, &TopicRef::Id(Uuid([1; 16])), 2, Some((5, 0)));
        let all = sessions
            .resume(id, 1, true, vec![wanted(2, 9)], vec![(TopicRef::Id(Uuid([1; 16])), 0)], NOW)
            .unwrap();
        let mut seen: Vec<_> = all.iter().map(|w| (w.partition, w.offset, w.told)).collect();
        seen.sort_unstable();
        assert_eq!(seen, [(1, 0, None), (2, 9, Some((5, 0)))]);
        let refused = |s: &mut FetchSessions, id, epoch| {
            s.resume(id, epoch, true, vec![], vec![], NOW).map(|_| ()).unwrap_err()
        };
        assert_eq!(refused(&mut sessions, id, 1), SessionRefusal::WrongEpoch);
        assert_eq!(refused(&mut sessions, id + 1, 1), SessionRefusal::NotFound);
        assert_eq!(
            sessions.resume(id, 2, false, vec![], vec![], NOW).unwrap_err(),
            SessionRefusal::TopicIds
        );
    }

    #[test]
    fn every_partition_gets_its_turn_to_be_first() {
        let mut sessions = FetchSessions::new(10, 7);
        let id = sessions.create((0..3).map(|p| wanted(p, 0)).collect(), true, NOW);
        let mut firsts: Vec<_> = (1..4)
            .map(|epoch| {
                sessions.resume(id, epoch, true, vec![], vec![], NOW).unwrap()[0].partition
            })
            .collect();
        firsts.sort_unstable();
        assert_eq!(firsts, [0, 1, 2]);
    }

    #[test]
    fn sessions_are_limited_and_old_ones_make_room() {
        let mut sessions = FetchSessions::new(2, 7);
        let first = sessions.create(vec![wanted(0, 0)], true, NOW);
        let second = sessions.create(vec![wanted(0, 0)], true, NOW + EVICTION_AGE);
        assert!(first != 0 && second != 0);
        let third = sessions.create(vec![wanted(0, 0)], true, NOW + EVICTION_AGE);
        assert_ne!(third, 0, "the first was unused for long enough");
        assert_eq!(sessions.create(vec![wanted(0, 0)], true, NOW + EVICTION_AGE), 0);
        assert_eq!(sessions.len(), 2);
    }
}
