//! Incremental fetch sessions (KIP-227): the client names its partitions once, later requests
//! name only what changed, and answers hold only partitions that have something to say.
//!
//! Sessions belong to the shard of the connection that created them. Another connection that
//! names one is told FETCH_SESSION_ID_NOT_FOUND and starts again, as after a restart. Their number
//! is limited, and so are the partitions in one and in all of them; those unused for longest make
//! room. Whoever finds none is served without a session.
//!
//! A session may be large: whoever makes or changes one does it piece by piece, with turns for
//! others in between, and says each time which session it means and at which epoch it left it. One
//! that was ended or continued by another request meanwhile is not touched.

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
pub struct Session {
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

/// A request's hold on its session, until another request continues or ends that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    id: i32,
    /// Which the next request must name.
    epoch: i32,
    /// Partitions that there were before the request.
    before: usize,
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
    /// A session to be made, with room for so many partitions.
    pub fn with_capacity(partitions: usize) -> Self {
        let mut session = Self { epoch: 1, ..Self::default() };
        session.wanted.reserve_exact(partitions);
        session.index.reserve(partitions);
        session
    }

    /// Let it want a partition, or want it otherwise.
    pub fn set(&mut self, mut wanted: Wanted) {
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

    /// Whether a session of so many partitions is worth making; those that nobody uses make room.
    pub fn may_create(&mut self, partitions: usize, now: Duration) -> bool {
        self.end_idle(now);
        partitions > 0
            && partitions <= self.limits.session_partitions_max
            && self.make_room(1, partitions, now)
    }

    /// Keep a new session; its id, or 0 when there is no room for it.
    pub fn create(&mut self, session: Session, uses_ids: bool, now: Duration) -> i32 {
        // Others may have come while it was made.
        if !self.may_create(session.wanted.len(), now) {
            return 0;
        }
        loop {
            self.next_id = self.next_id.checked_add(1).unwrap_or(1).max(1);
            if !self.by_id.contains_key(&self.next_id) {
                break;
            }
        }
        self.partitions += session.wanted.len();
        self.by_id.insert(self.next_id, Session { uses_ids, used: now, ..session });
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

    /// Continue a session; changes come with the hold on it, and then it is [`Self::settle`]d.
    ///
    /// # Errors
    /// When the session is not here or the request does not continue it.
    pub fn resume(
        &mut self,
        id: i32,
        epoch: i32,
        uses_ids: bool,
        now: Duration,
    ) -> Result<Hold, SessionRefusal> {
        let session = self.by_id.get_mut(&id).ok_or(SessionRefusal::NotFound)?;
        if session.epoch != epoch {
            return Err(SessionRefusal::WrongEpoch);
        }
        if session.uses_ids != uses_ids {
            return Err(SessionRefusal::TopicIds);
        }
        session.epoch = epoch.checked_add(1).unwrap_or(1);
        session.used = now;
        Ok(Hold { id, epoch: session.epoch, before: session.wanted.len() })
    }

    /// The session, if nobody else has continued or ended it.
    fn held(&mut self, hold: Hold) -> Result<&mut Session, SessionRefusal> {
        let session = self.by_id.get_mut(&hold.id).ok_or(SessionRefusal::NotFound)?;
        if session.epoch == hold.epoch { Ok(session) } else { Err(SessionRefusal::WrongEpoch) }
    }

    /// A partition that is new or wanted otherwise.
    ///
    /// # Errors
    /// When the hold is no longer good.
    pub fn want(&mut self, hold: Hold, wanted: Wanted) -> Result<(), SessionRefusal> {
        let session = self.held(hold)?;
        let before = session.wanted.len();
        session.set(wanted);
        let more = session.wanted.len() - before;
        self.partitions += more;
        Ok(())
    }

    /// A partition that is wanted no more.
    ///
    /// # Errors
    /// When the hold is no longer good.
    pub fn forget(
        &mut self,
        hold: Hold,
        topic: TopicRef,
        partition: PartitionIndex,
    ) -> Result<(), SessionRefusal> {
        let session = self.held(hold)?;
        let before = session.wanted.len();
        session.forget(topic, partition);
        let fewer = before - session.wanted.len();
        self.partitions -= fewer;
        Ok(())
    }

    /// All changes are made, and the next partition is the first one: how many there are now.
    ///
    /// # Errors
    /// When the hold is no longer good, or the session has grown beyond a limit, which ends it.
    pub fn settle(&mut self, hold: Hold, now: Duration) -> Result<usize, SessionRefusal> {
        let session = self.held(hold)?;
        session.give_back();
        let count = session.wanted.len();
        session.turn = if count == 0 { 0 } else { (session.turn + 1) % count };
        let is_grown = count > hold.before;
        if is_grown && (count > self.limits.session_partitions_max || !self.make_room(0, 0, now)) {
            self.remove(hold.id);
            return Err(SessionRefusal::NotFound);
        }
        self.held(hold).map(|_| count)
    }

    /// The `nth` of what the session wants, beginning with the partition whose turn it is.
    ///
    /// # Errors
    /// When the hold is no longer good.
    pub fn nth(&mut self, hold: Hold, nth: usize) -> Result<Option<Wanted>, SessionRefusal> {
        let session = self.held(hold)?;
        let count = session.wanted.len().max(1);
        Ok(session.wanted.get((session.turn + nth) % count).cloned())
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

    /// Make a session as a full request does.
    fn create(sessions: &mut FetchSessions, wanted: &[Wanted], now: Duration) -> i32 {
        if !sessions.may_create(wanted.len(), now) {
            return 0;
        }
        let mut session = Session::with_capacity(wanted.len());
        wanted.iter().for_each(|wanted| session.set(wanted.clone()));
        sessions.create(session, true, now)
    }

    /// What an incremental request changes.
    #[derive(Default)]
    struct Changes {
        wanted: Vec<Wanted>,
        forgotten: Vec<(TopicRef, PartitionIndex)>,
    }

    fn changes(wanted: Vec<Wanted>) -> Changes {
        Changes { wanted, ..Changes::default() }
    }

    /// Continue a session as an incremental request does.
    fn resume(
        sessions: &mut FetchSessions,
        id: i32,
        epoch: i32,
        changes: Changes,
        now: Duration,
    ) -> Result<Vec<Wanted>, SessionRefusal> {
        let hold = sessions.resume(id, epoch, true, now)?;
        for wanted in changes.wanted {
            sessions.want(hold, wanted)?;
        }
        for (topic, partition) in changes.forgotten {
            sessions.forget(hold, topic, partition)?;
        }
        let count = sessions.settle(hold, now)?;
        let all =
            (0..count).map(|nth| sessions.nth(hold, nth).map(|found| found.expect("is there")));
        all.collect()
    }

    #[test]
    fn a_session_remembers_changes_and_forgets() {
        let mut sessions = FetchSessions::new(LIMITS, 7);
        let topic = TopicRef::Id(Uuid([1; 16]));
        let id = create(&mut sessions, &many(0..3), NOW);
        assert_ne!(id, 0);
        sessions.told(id, &topic, 2, Some((5, 0)));
        let change = Changes { wanted: vec![wanted(2, 9)], forgotten: vec![(topic, 0)] };
        let all = resume(&mut sessions, id, 1, change, NOW).unwrap();
        let mut seen: Vec<_> = all.iter().map(|w| (w.partition, w.offset, w.told)).collect();
        seen.sort_unstable();
        assert_eq!(seen, [(1, 0, None), (2, 9, Some((5, 0)))]);
        assert_eq!(sessions.partitions(), 2);
        let refused = |s: &mut FetchSessions, id, epoch, uses_ids| {
            s.resume(id, epoch, uses_ids, NOW).unwrap_err()
        };
        assert_eq!(refused(&mut sessions, id, 1, true), SessionRefusal::WrongEpoch);
        assert_eq!(refused(&mut sessions, id + 1, 1, true), SessionRefusal::NotFound);
        assert_eq!(refused(&mut sessions, id, 2, false), SessionRefusal::TopicIds);
    }

    #[test]
    fn every_partition_gets_its_turn_to_be_first() {
        let mut sessions = FetchSessions::new(LIMITS, 7);
        let id = create(&mut sessions, &many(0..3), NOW);
        let mut firsts: Vec<_> = (1..4)
            .map(|epoch| {
                let all = resume(&mut sessions, id, epoch, Changes::default(), NOW).unwrap();
                all[0].partition
            })
            .collect();
        firsts.sort_unstable();
        assert_eq!(firsts, [0, 1, 2]);
    }

    #[test]
    fn sessions_are_limited_and_old_ones_make_room() {
        let mut sessions = FetchSessions::new(SessionLimits { sessions_max: 2, ..LIMITS }, 7);
        let first = create(&mut sessions, &many(0..1), NOW);
        let second = create(&mut sessions, &many(0..1), NOW + EVICTION_AGE);
        assert!(first != 0 && second != 0);
        let third = create(&mut sessions, &many(0..1), NOW + EVICTION_AGE);
        assert_ne!(third, 0, "the first was unused for long enough");
        assert_eq!(create(&mut sessions, &many(0..1), NOW + EVICTION_AGE), 0);
        assert_eq!(sessions.len(), 2);
    }

    #[test]
    fn partitions_of_all_sessions_are_limited() {
        let mut sessions = FetchSessions::new(LIMITS, 7);
        let old = create(&mut sessions, &many(0..40), NOW);
        let later = NOW + EVICTION_AGE;
        let small = create(&mut sessions, &many(0..30), later);
        assert_ne!(small, 0);
        assert_eq!(create(&mut sessions, &many(0..51), later), 0, "too large for one session");
        assert_eq!(sessions.partitions(), 70, "nobody makes room for what cannot be");
        assert_ne!(create(&mut sessions, &many(0..50), later), 0, "the old one makes room");
        assert_eq!(sessions.partitions(), 80);
        assert_eq!(
            resume(&mut sessions, old, 1, Changes::default(), later).unwrap_err(),
            SessionRefusal::NotFound
        );
        assert_eq!(create(&mut sessions, &many(0..21), later), 0, "the others are in use");
        sessions.remove(small);
        assert_eq!(sessions.partitions(), 50);
    }

    #[test]
    fn a_session_that_grows_beyond_a_limit_ends() {
        let mut sessions = FetchSessions::new(LIMITS, 7);
        let alone = create(&mut sessions, &many(0..40), NOW);
        let grown = resume(&mut sessions, alone, 1, changes(many(0..50)), NOW).unwrap();
        assert_eq!(grown.len(), 50, "what it had is not counted again");
        let refused = resume(&mut sessions, alone, 2, changes(many(50..51)), NOW).unwrap_err();
        assert_eq!(refused, SessionRefusal::NotFound);
        assert_eq!((sessions.len(), sessions.partitions()), (0, 0));

        let first = create(&mut sessions, &many(0..50), NOW);
        let second = create(&mut sessions, &many(0..45), NOW);
        let third = create(&mut sessions, &many(0..5), NOW);
        let full = resume(&mut sessions, third, 1, changes(many(0..6)), NOW).unwrap_err();
        assert_eq!(full, SessionRefusal::NotFound, "all together are too many");
        for id in [first, second] {
            resume(&mut sessions, id, 1, Changes::default(), NOW).unwrap();
        }
        assert_eq!(sessions.partitions(), 95);
    }

    #[test]
    fn sessions_without_a_client_end_when_another_begins() {
        let mut sessions = FetchSessions::new(LIMITS, 7);
        create(&mut sessions, &many(0..40), NOW);
        let used = create(&mut sessions, &many(0..5), NOW);
        let later = NOW + LIMITS.idle_max;
        resume(&mut sessions, used, 1, Changes::default(), later).unwrap();
        assert_ne!(create(&mut sessions, &many(0..1), later), 0);
        assert_eq!((sessions.len(), sessions.partitions()), (2, 6));
    }

    #[test]
    fn a_session_that_shrinks_gives_its_memory_back() {
        let mut sessions = FetchSessions::new(LIMITS, 7);
        let id = create(&mut sessions, &many(0..50), NOW);
        let forgotten = (1..50).map(|p| (TopicRef::Id(Uuid([1; 16])), p)).collect();
        let change = Changes { wanted: vec![], forgotten };
        resume(&mut sessions, id, 1, change, NOW).unwrap();
        let session = &sessions.by_id[&id];
        assert!(session.wanted.capacity() < 10 && session.index.capacity() < 10);
    }

    /// While a large session is changed or read piece by piece, another request may come first.
    #[test]
    fn a_hold_is_good_until_another_request_continues_or_ends_the_session() {
        let mut sessions = FetchSessions::new(LIMITS, 7);
        let topic = TopicRef::Id(Uuid([1; 16]));
        let id = create(&mut sessions, &many(0..3), NOW);
        let first = sessions.resume(id, 1, true, NOW).unwrap();
        sessions.want(first, wanted(3, 0)).unwrap();
        let second = sessions.resume(id, 2, true, NOW).unwrap();
        let refused = SessionRefusal::WrongEpoch;
        assert_eq!(sessions.want(first, wanted(4, 0)), Err(refused));
        assert_eq!(sessions.forget(first, topic.clone(), 0), Err(refused));
        assert_eq!(sessions.settle(first, NOW), Err(refused));
        assert_eq!(sessions.settle(second, NOW), Ok(4));
        assert!(matches!(sessions.nth(first, 0), Err(SessionRefusal::WrongEpoch)));
        sessions.remove(id);
        assert_eq!(sessions.forget(second, topic, 0), Err(SessionRefusal::NotFound));
        assert_eq!(sessions.partitions(), 0);
    }
}
