//! Delays on purpose: when the sink answers a Produce request that came at a given time, and
//! what it really did. It is the ruler that loadgen's own latencies are held against.
//!
//! Pure arithmetic on `now`; the sink's loop does the waiting.

use std::str::FromStr;

use crate::histogram::Latency;
use crate::payload::Filler;
use crate::slo::nanoseconds;

/// How late answers are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delay {
    /// Each by this many nanoseconds.
    Fixed(u64),
    /// Most by `fast_ns`, a share of them by `slow_ns`.
    Bimodal {
        /// The common case.
        fast_ns: u64,
        /// The other.
        slow_ns: u64,
        /// Share of slow ones, 0..1.
        slow_share: f64,
    },
    /// Each by `base_ns`, but nothing is answered during the last `stall_ns` of every `every_ns`.
    Stall {
        /// The common case.
        base_ns: u64,
        /// Length of a stall.
        stall_ns: u64,
        /// From one stall's end to the next one's.
        every_ns: u64,
    },
}

impl FromStr for Delay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let parts: Vec<&str> = rest.split(',').collect();
        match (kind, parts.as_slice()) {
            ("fixed", [delay]) => Ok(Self::Fixed(nanoseconds(delay)?)),
            ("bimodal", [fast, slow, share]) => {
                let slow_share: f64 =
                    share.parse().map_err(|_| format!("{share:?} is no share"))?;
                if !(0.0..=1.0).contains(&slow_share) {
                    return Err(format!("{share}: give a share of 0 to 1"));
                }
                let (fast_ns, slow_ns) = (nanoseconds(fast)?, nanoseconds(slow)?);
                Ok(Self::Bimodal { fast_ns, slow_ns, slow_share })
            }
            ("stall", [stall, every, base @ ..]) if base.len() <= 1 => {
                let base_ns = base.first().map_or(Ok(0), |base| nanoseconds(base))?;
                let (stall_ns, every_ns) = (nanoseconds(stall)?, nanoseconds(every)?);
                if stall_ns == 0 || stall_ns >= every_ns {
                    return Err(format!("{text}: a stall is shorter than its period, e.g. 1s,10s"));
                }
                Ok(Self::Stall { base_ns, stall_ns, every_ns })
            }
            _ => Err(format!(
                "{text:?}: give fixed:DELAY, bimodal:FAST,SLOW,SHARE or \
                 stall:LENGTH,PERIOD[,DELAY], e.g. fixed:5ms"
            )),
        }
    }
}

/// Decides each answer's time and keeps what came of it.
#[derive(Debug)]
pub struct Clockwork {
    delay: Delay,
    random: Filler,
    /// The first request's arrival: periods are counted from it.
    begun_ns: Option<u64>,
    /// From each record's arrival to the moment its answer was written.
    pub caused: Latency,
}

impl Clockwork {
    /// For a sink that has answered nothing yet.
    pub fn new(delay: Delay) -> Self {
        Self { delay, random: Filler::new(7), begun_ns: None, caused: Latency::default() }
    }

    /// When a request that came at `arrived_ns` is to be answered.
    pub fn release_ns(&mut self, arrived_ns: u64) -> u64 {
        let begun = *self.begun_ns.get_or_insert(arrived_ns);
        match self.delay {
            Delay::Fixed(ns) => arrived_ns + ns,
            Delay::Bimodal { fast_ns, slow_ns, slow_share } => {
                let draw = self.random.next_share();
                arrived_ns + if draw < slow_share { slow_ns } else { fast_ns }
            }
            Delay::Stall { base_ns, stall_ns, every_ns } => {
                let usual = arrived_ns + base_ns;
                let passed = usual.saturating_sub(begun) % every_ns;
                let is_stalled = passed >= every_ns - stall_ns;
                usual + if is_stalled { every_ns - passed } else { 0 }
            }
        }
    }

    /// An answer for `records` that came at `arrived_ns` was written at `now_ns`.
    pub fn answered(&mut self, arrived_ns: u64, now_ns: u64, records: u64) {
        self.caused.completion();
        self.caused.record(now_ns.saturating_sub(arrived_ns), records);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn delays_are_read_with_their_units_and_nonsense_is_refused() {
        assert_eq!("fixed:5ms".parse(), Ok(Delay::Fixed(5 * MS)));
        assert_eq!("fixed:0.5us".parse(), Ok(Delay::Fixed(500)));
        let bimodal = Delay::Bimodal { fast_ns: MS, slow_ns: 20 * MS, slow_share: 0.05 };
        assert_eq!("bimodal:1ms,20ms,0.05".parse(), Ok(bimodal));
        let stall = |base_ns| Delay::Stall { base_ns, stall_ns: 1000 * MS, every_ns: 10_000 * MS };
        assert_eq!("stall:1s,10s".parse(), Ok(stall(0)));
        assert_eq!("stall:1s,10s,2ms".parse(), Ok(stall(2 * MS)));
        for text in [
            "",
            "fixed:5",
            "fixed:5h",
            "fixed:-1ms",
            "bimodal:1ms,2ms,2",
            "stall:2s,1s",
            "stall:1s",
        ] {
            assert!(text.parse::<Delay>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn each_kind_answers_when_it_says() {
        let mut fixed = Clockwork::new(Delay::Fixed(5 * MS));
        assert_eq!(fixed.release_ns(100), 100 + 5 * MS);
        let mut stall = Clockwork::new("stall:1s,10s".parse().unwrap());
        let start = 77;
        assert_eq!(stall.release_ns(start), start);
        assert_eq!(stall.release_ns(start + 8_999 * MS), start + 8_999 * MS);
        assert_eq!(stall.release_ns(start + 9_250 * MS), start + 10_000 * MS);
        assert_eq!(stall.release_ns(start + 19_999 * MS), start + 20_000 * MS);
        let mut bimodal = Clockwork::new("bimodal:1ms,20ms,0.1".parse().unwrap());
        let slow = (0..10_000).filter(|_| bimodal.release_ns(0) == 20 * MS).count();
        assert!((900..1100).contains(&slow), "{slow}");
    }

    #[test]
    fn what_was_caused_is_kept_by_record() {
        let mut clockwork = Clockwork::new(Delay::Fixed(0));
        clockwork.answered(1000, 6000, 10);
        assert_eq!((clockwork.caused.records(), clockwork.caused.summary().max_ns), (10, 5000));
    }
}
