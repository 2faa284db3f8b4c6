//! Incremental fetch sessions (KIP-227): the client names its partitions once, later requests
//! name only what changed, and answers hold only partitions that have something to say.
//!
//! Sessions belong to the shard of the connection that created them. Another connection that
//! names one is told FETCH_SESSION_ID_NOT_FOUND and starts again, as after a restart. Their number
//! is limited, and so are the partitions in one and in all of them; those unused for longest make
//! room. Whoever finds none is served without a session.

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

/// How many sessions a shard keeps.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// Sessions.
    pub sessions_max: usize,
    /// Partitions of all sessions.
    pub partitions_max: usize,
    /// Partitions of one session.
    pub session_partitions_max: usize,
    /// A session unused for so long has lost its client.
    pub idle_max: Duration,
}

/// All sessions of a shard.
#[derive(Debug)]
pub struct FetchSessions {
    by_id: HashMap<i32, Session>,
    /// Of all sessions together.
    partitions: usize,
    limits: SessionLimits,
    next_id: i32,
}

/// What an incremental request changes in its session.
#[derive(Debug, Default)]
pub struct Changes {
    /// Partitions that are new or are wanted otherwise.
    pub wanted: Vec<Wanted>,
    /// Partitions that are wanted no more.
    pub forgotten: Vec<(TopicRef, PartitionIndex)>,
}

/// Why an incremental request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionRefusal {
    /// FETCH_SESSION_ID_NOT_FOUND: the client begins again with all it wants.
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

    /// Give back memory that a larger session had: the limits count partitions there are.
    fn give_back(&mut self) {
        if self.wanted.capacity() / 4 > self.wanted.len() {
            self.wanted.shrink_to_fit();
            self.index.shrink_to_fit();
        }
    }
}

impl FetchSessions {
    /// No sessions yet; ids begin at a random place so that a restart does not repeat them.
    pub fn new(limits: SessionLimits, seed: u32) -> Self {
        Self { by_id: HashMap::new(), partitions: 0, limits, next_id: (seed >> 1) as i32 }
    }

    /// Sessions there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Partitions of all sessions together.
    pub fn partitions(&self) -> usize {
        self.partitions
    }

    /// End a session.
    pub fn remove(&mut self, id: i32) {
        if let Some(session) = self.by_id.remove(&id) {
            self.partitions -= session.wanted.len();
        }
    }

    /// A new session for what a full request wants, each partition once; 0 when there is no room
    /// for one.
    pub fn create(&mut self, wanted: &[Wanted], uses_ids: bool, now: Duration) -> i32 {
        self.end_idle(now);
        if wanted.is_empty()
            || wanted.len() > self.limits.session_partitions_max
            || !self.make_room(1, wanted.len(), now)
        {
            return 0;
        }
        loop {
            self.next_id = self.next_id.checked_add(1).unwrap_or(1).max(1);
            if !self.by_id.contains_key(&self.next_id) {
                break;
            }
        }
        let mut session = Session { epoch: 1, uses_ids, used: now, ..Session::default() };
        session.wanted.reserve_exact(wanted.len());
        session.index.reserve(wanted.len());
        for wanted in wanted {
            session.set(wanted.clone());
        }
        self.partitions += session.wanted.len();
        self.by_id.insert(self.next_id, session);
        self.next_id
    }

    /// End what was unused for so long that the connection behind it must be closed.
    fn end_idle(&mut self, now: Duration) {
        let is_idle = |s: &Session| now.saturating_sub(s.used) >= self.limits.idle_max;
        let idle: Vec<i32> =
            self.by_id.iter().filter(|(_, s)| is_idle(s)).map(|(id, _)| *id).collect();
        for id in idle {
            self.remove(id);
        }
    }

    /// Make room for more by ending sessions that were not used for a while, the one unused for
    /// longest first. Says whether there is room now.
    fn make_room(&mut self, sessions: usize, partitions: usize, now: Duration) -> bool {
        let limits = self.limits;
        if sessions > limits.sessions_max || partitions > limits.partitions_max {
            return false;
        }
        while self.by_id.len() + sessions > limits.sessions_max
            || self.partitions + partitions > limits.partitions_max
        {
            let oldest = self.by_id.iter().min_by_key(|(_, s)| s.used).map(|(id, s)| (*id, s.used));
            match oldest {
                Some((id, used)) if now.saturating_sub(used) >= EVICTION_AGE => self.remove(id),
                _ => return false,
            }
        }
        true
    }

    /// Take an incremental request's changes; everything the session wants now, beginning with
    /// the partition whose turn it is.
    ///
    /// # Errors
    /// When the session is not here or the request does not continue it; also when it would grow
    /// beyond a limit, which ends it.
    pub fn resume(
        &mut self,
        id: i32,
        epoch: i32,
        uses_ids: bool,
        changes: Changes,
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
        let before = session.wanted.len();
        for wanted in changes.wanted {
            session.set(wanted);
        }
        for (topic, partition) in changes.forgotten {
            session.forget(topic, partition);
        }
        session.give_back();
        let count = session.wanted.len();
        self.partitions = self.partitions - before + count;
        let is_grown = count > before;
        if is_grown && (count > self.limits.session_partitions_max || !self.make_room(0, 0, now)) {
            self.remove(id);
            return Err(SessionRefusal::NotFound);
        }
        let session = self.by_id.get_mut(&id).ok_or(SessionRefusal::NotFound)?;
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

    const NOW: Duration = Duration::from_secs(10_000);
    const LIMITS: SessionLimits = SessionLimits {
        sessions_max: 10,
        partitions_max: 100,
        session_partitions_max: 50,
        idle_max: Duration::from_secs(600),
    };

    fn many(partitions: std::ops::Range<i32>) -> Vec<Wanted> {
        partitions.map(|p| wanted(p, 0)).collect()
    }

    fn changes(wanted: Vec<Wanted>) -> Changes {
        Changes { wanted, ..Changes::default() }
    }

    #[test]
    fn a_session_remembers_changes_and_forgets() {
        let mut sessions = FetchSessions::new(LIMITS, 7);
        let topic = TopicRef::Id(Uuid([1; 16]));
        let id = sessions.create(&many(0..3), true, NOW);
        assert_ne!(id, 0);
        sessions.told(id, &topic, 2, Some((5, 0)));
        let change = Changes { wanted: vec![wanted(2, 9)], forgotten: vec![(topic, 0)] };
        let all = sessions.resume(id, 1, true, change, NOW).unwrap();
        let mut seen: Vec<_> = all.iter().map(|w| (w.partition, w.offset, w.told)).collect();
        seen.sort_unstable();
        assert_eq!(seen, [(1, 0, None), (2, 9, Some((5, 0)))]);
        assert_eq!(sessions.partitions(), 2);
        let refused = |s: &mut FetchSessions, id, epoch, uses_ids| {
            s.resume(id, epoch, uses_ids, Changes::default(), NOW).map(|_| ()).unwrap_err()
        };
        assert_eq!(refused(&mut sessions, id, 1, true), SessionRefusal::WrongEpoch);
        assert_eq!(refused(&mut sessions, id + 1, 1, true), SessionRefusal::NotFound);
        assert_eq!(refused(&mut sessions, id, 2, false), SessionRefusal::TopicIds);
    }

    #[test]
    fn every_partition_gets_its_turn_to_be_first() {
        let mut sessions = FetchSessions::new(LIMITS, 7);
        let id = sessions.create(&many(0..3), true, NOW);
        let mut firsts: Vec<_> = (1..4)
            .map(|epoch| {
                let all = sessions.resume(id, epoch, true, Changes::default(), NOW).unwrap();
                all[0].partition
            })
            .collect();
        firsts.sort_unstable();
        assert_eq!(firsts, [0, 1, 2]);
    }

    #[test]
    fn sessions_are_limited_and_old_ones_make_room() {
        let mut sessions = FetchSessions::new(SessionLimits { sessions_max: 2, ..LIMITS }, 7);
        let first = sessions.create(&many(0..1), true, NOW);
        let second = sessions.create(&many(0..1), true, NOW + EVICTION_AGE);
        assert!(first != 0 && second != 0);
        let third = sessions.create(&many(0..1), true, NOW + EVICTION_AGE);
        assert_ne!(third, 0, "the first was unused for long enough");
        assert_eq!(sessions.create(&many(0..1), true, NOW + EVICTION_AGE), 0);
        assert_eq!(sessions.len(), 2);
    }

    #[test]
    fn partitions_of_all_sessions_are_limited() {
        let mut sessions = FetchSessions::new(LIMITS, 7);
        let old = sessions.create(&many(0..40), true, NOW);
        let later = NOW + EVICTION_AGE;
        let small = sessions.create(&many(0..30), true, later);
        assert_ne!(small, 0);
        assert_eq!(sessions.create(&many(0..51), true, later), 0, "too large for one session");
        assert_eq!(sessions.partitions(), 70, "nobody makes room for what cannot be");
        assert_ne!(sessions.create(&many(0..50), true, later), 0, "the old one makes room");
        assert_eq!(sessions.partitions(), 80);
        assert_eq!(
            sessions.resume(old, 1, true, Changes::default(), later).unwrap_err(),
            SessionRefusal::NotFound
        );
        assert_eq!(sessions.create(&many(0..21), true, later), 0, "the others are in use");
        sessions.remove(small);
        assert_eq!(sessions.partitions(), 50);
    }

    #[test]
    fn a_session_that_grows_beyond_a_limit_ends() {
        let mut sessions = FetchSessions::new(LIMITS, 7);
        let alone = sessions.create(&many(0..40), true, NOW);
        let grown = sessions.resume(alone, 1, true, changes(many(0..50)), NOW).unwrap();
        assert_eq!(grown.len(), 50, "what it had is not counted again");
        let refused = sessions.resume(alone, 2, true, changes(many(50..51)), NOW).unwrap_err();
        assert_eq!(refused, SessionRefusal::NotFound);
        assert_eq!((sessions.len(), sessions.partitions()), (0, 0));

        let first = sessions.create(&many(0..50), true, NOW);
        let second = sessions.create(&many(0..45), true, NOW);
        let third = sessions.create(&many(0..5), true, NOW);
        let full = sessions.resume(third, 1, true, changes(many(0..6)), NOW).unwrap_err();
        assert_eq!(full, SessionRefusal::NotFound, "all together are too many");
        for id in [first, second] {
            sessions.resume(id, 1, true, Changes::default(), NOW).unwrap();
        }
        assert_eq!(sessions.partitions(), 95);
    }

    #[test]
    fn sessions_without_a_client_end_when_another_begins() {
        let mut sessions = FetchSessions::new(LIMITS, 7);
        sessions.create(&many(0..40), true, NOW);
        let used = sessions.create(&many(0..5), true, NOW);
        let later = NOW + LIMITS.idle_max;
        sessions.resume(used, 1, true, Changes::default(), later).unwrap();
        assert_ne!(sessions.create(&many(0..1), true, later), 0);
        assert_eq!((sessions.len(), sessions.partitions()), (2, 6));
    }

    #[test]
    fn a_session_that_shrinks_gives_its_memory_back() {
        let mut sessions = FetchSessions::new(LIMITS, 7);
        let id = sessions.create(&many(0..50), true, NOW);
        let forgotten = (1..50).map(|p| (TopicRef::Id(Uuid([1; 16])), p)).collect();
        let change = Changes { wanted: vec![], forgotten };
        sessions.resume(id, 1, true, change, NOW).unwrap();
        let session = &sessions.by_id[&id];
        assert!(session.wanted.capacity() < 10 && session.index.capacity() < 10);
    }
}
