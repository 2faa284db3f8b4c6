//! Lost, duplicated, reordered, corrupt, misdirected: decided from what producers say they sent
//! ([`Ledger`]) and what consumers saw ([`Seen`]).
//!
//! Always true: the state per producer and partition is one number while all is well. Only what
//! goes wrong takes memory, and that has a limit ([`RANGES_MAX`]); beyond it counts become
//! "at least" and the verdict says so.

use serde::{Deserialize, Serialize};

/// Most ranges of trouble remembered per producer and partition.
pub const RANGES_MAX: usize = 4096;

/// What became of records that were not plainly acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// The broker refused them: they should not be there.
    Refused,
    /// Nobody knows: the connection broke or the run ended before the answer, or acks=0.
    Unknown,
}

/// Records `first..end` of one producer in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// First sequence.
    pub first: u64,
    /// Sequence behind the last.
    pub end: u64,
}

/// What one producer sent to one partition. Everything below `sent` that is in no range of
/// `doubtful` was acknowledged.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Ledger {
    sent: u64,
    doubtful: Vec<(Range, Fate)>,
    overflow: bool,
}

impl Ledger {
    /// The sequence the next record gets; its number is taken by this call.
    #[inline]
    pub fn take(&mut self, records: u32) -> u64 {
        let first = self.sent;
        self.sent += u64::from(records);
        first
    }

    /// These records were not acknowledged.
    pub fn doubt(&mut self, range: Range, fate: Fate) {
        if let Some((last, last_fate)) = self.doubtful.last_mut()
            && last.end == range.first
            && *last_fate == fate
        {
            last.end = range.end;
        } else if self.doubtful.len() < RANGES_MAX {
            self.doubtful.push((range, fate));
        } else if let Some((last, _)) = self.doubtful.last_mut() {
            // Without room to tell them apart all from here on is doubtful: what was refused must
            // not be called acknowledged, and then lost.
            self.overflow = true;
            last.end = range.end.max(last.end);
        }
    }

    fn doubtful(&self, fate: Fate) -> u64 {
        let of_fate = self.doubtful.iter().filter(|(_, f)| *f == fate);
        of_fate.map(|(r, _)| r.end - r.first).sum()
    }

    /// How many of `range` were acknowledged.
    fn acknowledged_in(&self, range: Range) -> u64 {
        let end = range.end.min(self.sent);
        let total = end.saturating_sub(range.first);
        let doubtful: u64 = self
            .doubtful
            .iter()
            .map(|(d, _)| d.end.min(end).saturating_sub(d.first.max(range.first)))
            .sum();
        total - doubtful.min(total)
    }
}

/// What consumers saw of one producer in one partition.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Seen {
    /// Every sequence below it was seen, except those in `gaps`.
    next: u64,
    /// Skipped so far, ascending, apart.
    gaps: Vec<Range>,
    read: u64,
    duplicated: u64,
    reordered: u64,
    overflow: bool,
}

impl Seen {
    /// A record with this sequence was read, next in the order of offsets.
    #[inline]
    pub fn observe(&mut self, sequence: u64) {
        self.read += 1;
        if sequence == self.next {
            self.next += 1;
        } else {
            self.out_of_order(sequence);
        }
    }

    #[cold]
    fn out_of_order(&mut self, sequence: u64) {
        if sequence > self.next {
            if self.gaps.len() < RANGES_MAX {
                self.gaps.push(Range { first: self.next, end: sequence });
            } else {
                self.overflow = true;
            }
            self.next = sequence + 1;
            return;
        }
        let at = self.gaps.partition_point(|gap| gap.end <= sequence);
        let Some(gap) = self.gaps.get(at).copied().filter(|gap| gap.first <= sequence) else {
            self.duplicated += 1;
            return;
        };
        // It comes after a later one: order is broken, but it is not lost.
        self.reordered += 1;
        let after = Range { first: sequence + 1, end: gap.end };
        self.gaps[at].end = sequence;
        if after.first < after.end {
            self.gaps.insert(at + 1, after);
        }
        if self.gaps[at].first == self.gaps[at].end {
            self.gaps.remove(at);
        }
    }
}

/// Counts that a consumer keeps beside [`Seen`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Oddities {
    /// Records whose head does not match its checksum, or whose body differs.
    pub corrupt_records: u64,
    /// Batches whose CRC-32C is wrong or that cannot be parsed.
    pub corrupt_batches: u64,
    /// Records found in another partition than the one they were sent to.
    pub misdirected: u64,
    /// Records that this run did not write.
    pub foreign: u64,
    /// Offsets that are not the last one plus one.
    pub offset_gaps: u64,
    /// Offsets that were deleted before they were read; records of ours among them are lost.
    pub skipped: u64,
}

impl Oddities {
    /// Add another consumer's counts.
    pub fn add(&mut self, other: &Self) {
        self.corrupt_records += other.corrupt_records;
        self.corrupt_batches += other.corrupt_batches;
        self.misdirected += other.misdirected;
        self.foreign += other.foreign;
        self.offset_gaps += other.offset_gaps;
        self.skipped += other.skipped;
    }
}

/// How far records were read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Not at all, or not so that it could be compared.
    Not,
    /// To the end, or until the time for it was over.
    Whole,
    /// Until somebody ended it by hand: what is missing at the end may be there.
    CutShort,
}

/// What one producer sent to one partition, beside what one set of consumers saw of it.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// What was sent.
    pub ledger: &'a Ledger,
    /// What was seen; none if that is nothing at all.
    pub seen: Option<&'a Seen>,
    /// A failure ended the reading before the end: as [`Reading::CutShort`], for it alone.
    pub is_broken_off: bool,
}

/// The judgement over a whole run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// False when nothing was read back: then the counts below say nothing.
    pub checked: bool,
    /// Records sent.
    pub sent: u64,
    /// Records the broker acknowledged.
    pub acknowledged: u64,
    /// Records the broker refused.
    pub refused: u64,
    /// Records nobody answered for.
    pub unknown: u64,
    /// Records of this run that were read.
    pub read: u64,
    /// Acknowledged, never read.
    pub lost: u64,
    /// Acknowledged, not read because somebody or a failure ended the reading: nobody knows.
    pub unread: u64,
    /// Read again.
    pub duplicated: u64,
    /// Read behind a record that was sent later by the same producer to the same partition.
    pub reordered: u64,
    /// Everything else that was odd.
    #[serde(flatten)]
    pub oddities: Oddities,
    /// So much went wrong that the counts are lower bounds.
    pub at_least: bool,
    /// Reading stopped at its time limit before everything acknowledged was seen.
    pub incomplete: bool,
}

impl Verdict {
    /// Judge: `pairs` has one for each producer and partition.
    pub fn judge<'a>(
        pairs: impl Iterator<Item = Pair<'a>>,
        oddities: Oddities,
        reading: Reading,
    ) -> Self {
        let checked = reading != Reading::Not;
        let mut verdict = Self { checked, oddities, ..Self::default() };
        let nothing = Seen::default();
        for Pair { ledger, seen, is_broken_off } in pairs {
            let seen = seen.unwrap_or(&nothing);
            let (refused, unknown) =
                (ledger.doubtful(Fate::Refused), ledger.doubtful(Fate::Unknown));
            verdict.sent += ledger.sent;
            verdict.refused += refused;
            verdict.unknown += unknown;
            verdict.acknowledged += ledger.sent - (refused + unknown).min(ledger.sent);
            verdict.at_least |= ledger.overflow || seen.overflow;
            if !checked {
                continue;
            }
            verdict.read += seen.read;
            verdict.duplicated += seen.duplicated;
            verdict.reordered += seen.reordered;
            let tail = Range { first: seen.next, end: ledger.sent };
            if is_broken_off || reading == Reading::CutShort {
                verdict.unread += ledger.acknowledged_in(tail);
            } else {
                verdict.lost += ledger.acknowledged_in(tail);
            }
            verdict.lost += seen.gaps.iter().map(|gap| ledger.acknowledged_in(*gap)).sum::<u64>();
        }
        verdict
    }

    /// Add what another set of readers found of the same records.
    pub fn add_readers(&mut self, other: &Self) {
        self.read += other.read;
        self.lost += other.lost;
        self.unread += other.unread;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.at_least |= other.at_least;
    }

    /// Whether the broker kept its promises as far as they were checked.
    pub fn is_clean(&self) -> bool {
        let odd = &self.oddities;
        self.lost == 0
            && self.duplicated == 0
            && self.reordered == 0
            && odd.corrupt_records == 0
            && odd.corrupt_batches == 0
            && odd.misdirected == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(ledger: &Ledger, sequences: &[u64]) -> Verdict {
        let mut seen = Seen::default();
        sequences.iter().for_each(|s| seen.observe(*s));
        Verdict::judge([pair(ledger, &seen)].into_iter(), Oddities::default(), Reading::Whole)
    }

    fn pair<'a>(ledger: &'a Ledger, seen: &'a Seen) -> Pair<'a> {
        Pair { ledger, seen: Some(seen), is_broken_off: false }
    }

    fn sent(records: u32) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.take(records);
        ledger
    }

    #[test]
    fn all_there_in_order_is_clean() {
        let verdict = judge(&sent(5), &[0, 1, 2, 3, 4]);
        assert!(verdict.is_clean());
        assert_eq!((verdict.acknowledged, verdict.read), (5, 5));
    }

    #[test]
    fn a_dropped_record_is_lost_in_the_middle_and_at_the_end() {
        assert_eq!(judge(&sent(5), &[0, 1, 3, 4]).lost, 1);
        assert_eq!(judge(&sent(5), &[0, 1, 2]).lost, 2);
        assert_eq!(judge(&sent(5), &[]).lost, 5);
        assert!(!judge(&sent(5), &[0, 1, 3, 4]).is_clean());
    }

    #[test]
    fn what_nobody_waited_for_is_unread_and_a_gap_before_it_is_lost() {
        let mut seen = Seen::default();
        [0, 1, 3].into_iter().for_each(|s| seen.observe(s));
        let (ledger, oddities) = (sent(10), Oddities::default());
        let pairs = [pair(&ledger, &seen)].into_iter();
        let verdict = Verdict::judge(pairs, oddities, Reading::CutShort);
        assert_eq!((verdict.lost, verdict.unread, verdict.read), (1, 6, 3));
        // A failure cuts off one reader; the others have read whatever there was.
        let broken_off = Pair { is_broken_off: true, ..pair(&ledger, &seen) };
        let pairs = [broken_off, pair(&ledger, &seen)].into_iter();
        let verdict = Verdict::judge(pairs, oddities, Reading::Whole);
        assert_eq!((verdict.lost, verdict.unread, verdict.read), (1 + 7, 6, 6));
    }

    #[test]
    fn a_repeated_record_is_duplicated() {
        let verdict = judge(&sent(3), &[0, 1, 1, 2, 0]);
        assert_eq!((verdict.lost, verdict.duplicated, verdict.reordered), (0, 2, 0));
        assert!(!verdict.is_clean());
    }

    #[test]
    fn a_late_record_is_reordered_and_not_lost() {
        let verdict = judge(&sent(6), &[0, 3, 4, 1, 2, 5]);
        assert_eq!((verdict.lost, verdict.duplicated, verdict.reordered), (0, 0, 2));
        let verdict = judge(&sent(6), &[0, 5, 3, 3]);
        assert_eq!((verdict.lost, verdict.duplicated, verdict.reordered), (3, 1, 1));
    }

    #[test]
    fn what_was_refused_or_never_answered_cannot_be_lost() {
        let mut ledger = sent(10);
        ledger.doubt(Range { first: 2, end: 4 }, Fate::Refused);
        ledger.doubt(Range { first: 4, end: 5 }, Fate::Unknown);
        ledger.doubt(Range { first: 8, end: 10 }, Fate::Unknown);
        let verdict = judge(&ledger, &[0, 1, 5, 6, 7]);
        assert_eq!((verdict.lost, verdict.refused, verdict.unknown), (0, 2, 3));
        assert_eq!(verdict.acknowledged, 5);
        // An unknown one that did arrive is fine; a missing acknowledged neighbour is not.
        assert_eq!(judge(&ledger, &[0, 1, 4, 6, 7, 8]).lost, 1);
    }

    #[test]
    fn trouble_without_end_is_bounded_and_says_so() {
        let mut seen = Seen::default();
        for i in 0..RANGES_MAX as u64 * 2 {
            seen.observe(i * 2 + 1);
        }
        assert!(seen.gaps.len() <= RANGES_MAX);
        let ledger = sent(RANGES_MAX as u32 * 4);
        let pairs = [pair(&ledger, &seen)].into_iter();
        let verdict = Verdict::judge(pairs, Oddities::default(), Reading::Whole);
        assert!(verdict.at_least && verdict.lost >= RANGES_MAX as u64);
    }

    #[test]
    fn refusals_without_end_accuse_nobody() {
        let records = RANGES_MAX as u32 * 4;
        let mut ledger = sent(records);
        let is_refused = |sequence: u64| sequence % 2 == 1;
        for first in (0..u64::from(records)).filter(|s| is_refused(*s)) {
            ledger.doubt(Range { first, end: first + 1 }, Fate::Refused);
        }
        // The last refusals have no neighbour behind them that was read.
        let stored = u64::from(records) - 100;
        let read: Vec<u64> = (0..stored).filter(|s| !is_refused(*s)).collect();
        let verdict = judge(&ledger, &read);
        assert!(verdict.at_least && verdict.lost == 0, "{verdict:?}");
        assert!(verdict.acknowledged <= u64::from(records / 2), "{verdict:?}");
    }

    #[test]
    fn random_histories_agree_with_remembering_everything() {
        let mut random = crate::payload::Filler::new(99);
        for _ in 0..500 {
            let n = 1 + random.next_u64() % 40;
            let mut order: Vec<u64> =
                (0..n).filter(|_| !random.next_u64().is_multiple_of(8)).collect();
            for _ in 0..random.next_u64() % 4 {
                if let Some(copy) = order.get((random.next_u64() % n) as usize).copied() {
                    let at = (random.next_u64() as usize) % (order.len() + 1);
                    order.insert(at, copy);
                }
                if order.len() > 1 {
                    let (a, b) = (random.next_u64() as usize, random.next_u64() as usize);
                    let len = order.len();
                    order.swap(a % len, b % len);
                }
            }
            let (mut set, mut top) = (std::collections::HashSet::new(), None);
            let (mut duplicated, mut reordered) = (0, 0);
            for s in &order {
                if !set.insert(*s) {
                    duplicated += 1;
                } else if top.is_some_and(|top| *s < top) {
                    reordered += 1;
                }
                top = top.max(Some(*s));
            }
            let verdict = judge(&sent(n as u32), &order);
            let expected = (n - set.len() as u64, duplicated, reordered);
            assert_eq!(
                (verdict.lost, verdict.duplicated, verdict.reordered),
                expected,
                "{order:?}"
            );
        }
    }
}
