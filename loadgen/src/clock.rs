//! The only place where loadgen reads a clock. Everything else takes `now` as an argument, so
//! that pacing, histograms and verdicts are tested without waiting.
//!
//! Times between two points are always `CLOCK_MONOTONIC`, in nanoseconds: it is one clock for
//! all processes of a host, so a consumer may subtract a producer's stamp. Wall-clock time only
//! fills the timestamps that Kafka asks for.

use std::time::{SystemTime, UNIX_EPOCH};

/// `CLOCK_MONOTONIC` in nanoseconds.
pub fn monotonic_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// CPU time of the calling thread in nanoseconds.
pub fn thread_cpu_ns() -> u64 {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Wall-clock milliseconds since 1970, for record timestamps.
pub fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Wall clock minus monotonic clock in nanoseconds: changes when somebody sets the clock.
///
/// Off by at most half of the time between the readings around the wall clock's; of three
/// attempts the closest counts, so that a thread that loses its core between them does not matter.
pub fn wall_offset_ns() -> i64 {
    closest([(); 3].map(|()| Reading {
        before_ns: monotonic_ns(),
        wall_ns: read(libc::CLOCK_REALTIME),
        after_ns: monotonic_ns(),
    }))
}

/// The wall clock between two readings of the monotonic one.
#[derive(Clone, Copy, Debug)]
struct Reading {
    before_ns: u64,
    wall_ns: u64,
    after_ns: u64,
}

/// Wall clock minus monotonic clock by the reading that took the least time, as if the wall clock
/// had been read in its middle.
fn closest(readings: [Reading; 3]) -> i64 {
    let width = |reading: &Reading| reading.after_ns.saturating_sub(reading.before_ns);
    let [first, rest @ ..] = readings;
    let best = rest.into_iter().fold(first, |a, b| if width(&b) < width(&a) { b } else { a });
    (best.wall_ns as i64).wrapping_sub((best.before_ns + width(&best) / 2) as i64)
}

/// Nanoseconds for which the calling thread was ready to run but had no core
/// (`/proc/thread-self/schedstat`, second field); `None` where the kernel does not keep it.
pub fn run_delay_ns() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().nth(1)?.parse().ok()
}

/// The kernel's clock source, for instance `tsc` or `kvm-clock`.
pub fn source() -> Option<String> {
    let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    Some(std::fs::read_to_string(path).ok()?.trim().to_owned())
}

/// Ask for timers as exact as the kernel can make them on this thread: the default slack of
/// 50 microseconds would be added to every wait for an intended time.
pub fn sharpen_timers() {
    // SAFETY: PR_SET_TIMERSLACK takes one number and touches no memory of ours.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1u64, 0u64, 0u64, 0u64);
    }
}

/// Ask for a real-time place before ordinary threads, for measurements that must not depend on
/// what else runs here. Returns quietly without the right to it.
pub fn go_real_time() {
    sharpen_timers();
    let wanted = libc::sched_param { sched_priority: 1 };
    // SAFETY: 0 is the calling thread, `wanted` is a valid sched_param during the call.
    unsafe {
        libc::sched_setscheduler(0, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, &wanted);
    }
}

/// The CPUs that the calling thread may run on.
pub fn allowed_cpus() -> Vec<usize> {
    // SAFETY: all-zero bytes are a valid, empty cpu_set_t.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: 0 is the calling thread, `set` is valid and of the size given.
    let done = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) };
    if done != 0 {
        return Vec::new();
    }
    // SAFETY: the index stays below the number of bits of the set.
    (0..libc::CPU_SETSIZE as usize).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect()
}

/// Keep the calling thread, and threads it starts from now on, on `cpus`; none means no change.
pub fn stay_on(cpus: &[usize]) {
    // SAFETY: all-zero bytes are a valid, empty cpu_set_t.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for cpu in cpus.iter().filter(|cpu| **cpu < libc::CPU_SETSIZE as usize) {
        // SAFETY: the index is below the number of bits of the set.
        unsafe { libc::CPU_SET(*cpu, &mut set) }
    }
    if !cpus.is_empty() {
        // SAFETY: 0 is the calling thread, `set` is valid and of the size given.
        unsafe {
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
        }
    }
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec that outlives the call; the clock ids are constants
    // every Linux knows, so the call cannot fail.
    unsafe {
        libc::clock_gettime(clock, &mut time);
    }
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_stays_where_it_is_put() {
        let before = allowed_cpus();
        assert!(!before.is_empty());
        stay_on(&before[..1]);
        assert_eq!(allowed_cpus(), before[..1]);
        assert_eq!(std::thread::spawn(allowed_cpus).join().unwrap(), before[..1], "inherited");
        stay_on(&[]);
        assert_eq!(allowed_cpus(), before[..1]);
        stay_on(&before);
        assert_eq!(allowed_cpus(), before);
    }

    #[test]
    fn the_wall_clock_is_placed_by_the_reading_that_nothing_held_up() {
        let wall = 1_700_000_000_000_000_000;
        // The wall clock is read at once, and the core is lost for 8 ms before or behind that.
        let reading = |at: u64, before: u64, behind: u64| Reading {
            before_ns: at - before,
            wall_ns: wall + at,
            after_ns: at + behind,
        };
        let (lost_before, lost_behind) = (8_000_000, 8_000_000);
        let quick = reading(20_000_000, 30, 50);
        let slow = [reading(10_000_000, lost_before, 40), reading(30_000_000, 40, lost_behind)];
        for readings in [[quick, slow[0], slow[1]], [slow[0], quick, slow[1]]] {
            // 30 ns before and 50 behind: the middle is off by 10.
            assert_eq!(closest(readings), wall as i64 - 10);
        }
        let last = closest([slow[0], slow[1], quick]);
        assert_eq!(last, wall as i64 - 10);
        // A clock that was set back far behind the monotonic one.
        let early = Reading { before_ns: 1000, wall_ns: 400, after_ns: 1000 };
        assert_eq!(closest([early; 3]), -600);
    }

    #[test]
    fn monotonic_time_and_the_offset_are_the_wall_clock() {
        let wall_ms_by_offset = (monotonic_ns() as i64 + wall_offset_ns()) / 1_000_000;
        assert!((wall_ms_by_offset - wall_ms()).abs() < 60_000, "of the same minute");
    }

    #[test]
    fn clocks_go_forward_and_agree_with_the_system() {
        let (a, b) = (monotonic_ns(), monotonic_ns());
        assert!(b >= a);
        assert!(wall_ms() > 1_700_000_000_000, "milliseconds, not seconds");
        let cpu = thread_cpu_ns();
        let mut x = 0u64;
        for i in 0..1_000_000u64 {
            x = std::hint::black_box(x ^ i.wrapping_mul(31));
        }
        assert!(thread_cpu_ns() > cpu);
    }
}
