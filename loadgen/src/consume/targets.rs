//! Where and when reading ends: told once by whoever waits for the producers, asked by each reader.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// Where reading ends; set when all producers have finished.
#[derive(Debug)]
pub struct Targets {
    ready: AtomicBool,
    ends_by_hand: AtomicBool,
    deadline_ns: AtomicU64,
    ends: Vec<AtomicI64>,
}

impl Targets {
    /// For a topic with this many partitions; nobody stops before [`Targets::set`].
    pub fn new(partitions: u32) -> Self {
        let ends = (0..partitions).map(|_| AtomicI64::new(-1)).collect();
        Self {
            ready: AtomicBool::new(false),
            ends_by_hand: AtomicBool::new(false),
            deadline_ns: AtomicU64::new(u64::MAX),
            ends,
        }
    }

    /// Read each partition up to its offset in `ends`, but stop at `deadline_ns`, and if somebody
    /// interrupts reading. An interruption that ended the load already does not count again.
    pub fn set(
        &self,
        ends: impl Iterator<Item = (u32, i64)>,
        deadline_ns: u64,
        is_interrupted: bool,
    ) {
        for (partition, end) in ends {
            if let Some(slot) = self.ends.get(partition as usize) {
                slot.fetch_max(end, Ordering::Relaxed);
            }
        }
        self.deadline_ns.store(deadline_ns, Ordering::Relaxed);
        self.ends_by_hand.store(!is_interrupted, Ordering::Relaxed);
        self.ready.store(true, Ordering::Release);
    }

    /// Whether reading has to end at `now_ns`, done or not.
    pub fn is_over(&self, now_ns: u64, is_interrupted: bool) -> bool {
        self.is_late(now_ns) || (is_interrupted && self.ends_by_hand.load(Ordering::Relaxed))
    }

    /// Whether the time to read is over at `now_ns`.
    pub fn is_late(&self, now_ns: u64) -> bool {
        now_ns > self.deadline_ns.load(Ordering::Relaxed)
    }

    /// Whether everything that is to be read has been written.
    pub fn is_set(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Where reading of `partition` ends; none while records may still come.
    pub fn end_of(&self, partition: u32) -> Option<i64> {
        self.is_set().then(|| self.ends[partition as usize].load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interruption_ends_reading_only_if_it_did_not_end_the_load_already() {
        let ends = || [(0, 5)].into_iter();
        let targets = Targets::new(1);
        assert!(!targets.is_over(0, true), "while records are produced");
        targets.set(ends(), 100, true);
        assert!(!targets.is_over(100, true), "what was sent until then is read back");
        assert!(targets.is_over(101, true), "but not for ever");
        let targets = Targets::new(1);
        targets.set(ends(), 100, false);
        assert!(!targets.is_over(50, false) && targets.is_over(50, true));
        assert_eq!(targets.end_of(0), Some(5));
    }
}
