//! When to get up for an intended time. A sleeping thread is woken late, on a virtual machine by
//! some 30 us, and what it sends then is late by as much. So it sleeps until a little before the
//! time and looks at the clock from there on. How much before, it learns from its own wake-ups.
//!
//! Always true: it is awake for at most half of a wait, so it never fills a core by waiting;
//! a wake-up that somebody else's work delayed cannot teach it more than [`EARLY_NS_MAX`].

/// More than timers need; less than what a busy neighbour costs.
const EARLY_NS_MAX: u64 = 60_000;
/// A wake-up later than expected counts nine times as much as one that was not: nine in ten are
/// to be early enough.
const LATER_NS: u64 = 900;
const SOONER_NS: u64 = 100;
/// One part of a wait is spent awake at most.
const AWAKE_PART: u64 = 2;

/// One thread's.
#[derive(Debug, Default)]
pub struct Alarm {
    early_ns: u64,
    /// While it sleeps: for what, and when that is to end.
    asleep: Option<(u64, u64)>,
    /// It has got up for this one.
    up_for_ns: u64,
}

impl Alarm {
    /// How long to sleep at `now_ns` before something that is due at `due_ns`; 0 to look again at
    /// once.
    pub fn sleep_ns(&mut self, now_ns: u64, due_ns: u64) -> u64 {
        let left_ns = due_ns.saturating_sub(now_ns);
        if left_ns == 0 || due_ns == self.up_for_ns {
            return 0;
        }
        let sleep_ns = left_ns - self.early_ns.min(left_ns / AWAKE_PART);
        self.asleep = Some((due_ns, now_ns.saturating_add(sleep_ns)));
        sleep_ns
    }

    /// The thread woke up at `now_ns`, for whatever reason.
    pub fn woke(&mut self, now_ns: u64) {
        let Some((due_ns, end_ns)) = self.asleep.take() else { return };
        let Some(late_ns) = now_ns.checked_sub(end_ns) else { return };
        self.up_for_ns = due_ns;
        self.early_ns = if late_ns > self.early_ns {
            (self.early_ns + LATER_NS).min(EARLY_NS_MAX)
        } else {
            self.early_ns.saturating_sub(SOONER_NS)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sleeps for `due_ns`, is woken `late_ns` late, and tells when it got up.
    fn sleep(alarm: &mut Alarm, now_ns: u64, due_ns: u64, late_ns: u64) -> u64 {
        let up = now_ns + alarm.sleep_ns(now_ns, due_ns) + late_ns;
        alarm.woke(up);
        up
    }

    #[test]
    fn it_learns_to_get_up_in_time_and_then_stays_awake() {
        let mut alarm = Alarm::default();
        let mut now = 0;
        for _ in 0..1000 {
            sleep(&mut alarm, now, now + 1_000_000, 30_000);
            now += 1_000_000;
        }
        let up = sleep(&mut alarm, now, now + 1_000_000, 30_000);
        assert!((now + 990_000..=now + 1_000_000).contains(&up), "{up}");
        now += 1_000_000;
        let up = sleep(&mut alarm, now, now + 1_000_000, 10_000);
        assert!(up < now + 985_000, "this time it was called sooner: {up}");
        assert_eq!(alarm.sleep_ns(up, now + 1_000_000), 0, "it is near: no other sleep");
        assert!(alarm.sleep_ns(up, now + 2_000_000) > 900_000, "that one is not");
    }

    #[test]
    fn an_event_before_the_time_is_no_reason_to_stay_awake() {
        let mut alarm = Alarm::default();
        assert_eq!(alarm.sleep_ns(0, 1_000_000), 1_000_000);
        alarm.woke(200_000);
        assert_eq!(alarm.sleep_ns(200_000, 1_000_000), 800_000);
    }

    #[test]
    fn half_of_a_short_wait_is_slept_and_delays_by_others_teach_little() {
        let mut alarm = Alarm::default();
        for round in 0..1000 {
            sleep(&mut alarm, round * 20_000_000, round * 20_000_000 + 1_000_000, 5_000_000);
        }
        let now = 1_000_000_000_000;
        assert_eq!(alarm.sleep_ns(now, now + 1_000_000), 1_000_000 - EARLY_NS_MAX);
        assert_eq!(alarm.sleep_ns(now, now + 10_000), 5_000);
    }
}
