//! Pauses of the machine and of the disk while a run was measured: what a tail may owe to them
//! and not to the broker.
//!
//! A thread that wants nothing but to wake every [`PERIOD_NS`] tells how late it was, and looks
//! at the device's counters. Always true: a pause is never told longer than it was; time in which
//! this thread itself was late is not blamed on the device.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use super::proc::{self, DiskTotals};
use super::{Observer, find, is_over};
use crate::clock;
use crate::recorder::Window;

/// How often it is looked: twice as often would cost more than half a percent of a busy core.
const PERIOD_NS: u64 = 4_000_000;
/// What counts as a pause: longer than the turn that the kernel gives a thread on a core that
/// several want (some 3 ms), so that sharing a core is not yet one.
pub const PAUSE_NS: u64 = 5_000_000;
/// No line of the kernel that is read here is longer.
const LINE_BYTES: usize = 512;

/// Stretches in which something stood still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stretches {
    /// The longest, however short.
    pub longest_ns: u64,
    /// Those of [`PAUSE_NS`] and more: how many.
    pub count: u64,
    /// How long they took together.
    pub total_ns: u64,
}

impl Stretches {
    /// Whether it is a pause.
    fn add(&mut self, ns: u64) -> bool {
        self.longest_ns = self.longest_ns.max(ns);
        let is_pause = ns >= PAUSE_NS;
        if is_pause {
            self.count += 1;
            self.total_ns += ns;
        }
        is_pause
    }
}

/// What stood still during the measured time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Pauses {
    /// How late the thread was woken.
    pub machine: Stretches,
    /// Of the machine's total: the thread was ready to run, and others had the cores.
    pub waited_ns: Option<u64>,
    /// What the hypervisor took from all CPUs meanwhile, in ticks of the kernel.
    pub stolen_ns: Option<u64>,
    /// The disk completed nothing although requests were in flight; none without a device.
    pub device: Option<Stretches>,
    /// CPU time of the thread that looked, as a share of the time.
    pub cpu_share: f64,
}

impl Pauses {
    /// Each that may have been one: what stood still, and how.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, Stretches)> {
        let device = self.device.map(|device| ("device", device));
        [("machine", self.machine)].into_iter().chain(device)
    }
}

/// What was seen at one time.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    /// When it should have been.
    due_ns: u64,
    at_ns: u64,
    /// When everything was read: the thread may have lost its core since.
    read_ns: u64,
    /// For how long this thread was ready to run without a core, in all.
    waited_ns: Option<u64>,
    device: Option<DiskTotals>,
}

#[derive(Debug, Default)]
struct Tally {
    pauses: Pauses,
    before: Option<Look>,
    /// For so long the device has not been seen to complete what it has in flight.
    still_ns: u64,
}

impl Tally {
    fn look(&mut self, now: Look) {
        let pauses = &mut self.pauses;
        pauses.waited_ns = pauses.waited_ns.or(now.waited_ns.map(|_| 0));
        pauses.device = pauses.device.or(now.device.map(|_| Stretches::default()));
        let late_ns = now.at_ns.saturating_sub(now.due_ns);
        let is_late = pauses.machine.add(late_ns);
        let Some(then) = self.before.replace(now) else { return };
        let waited = now.waited_ns.zip(then.waited_ns).filter(|_| is_late);
        if let (Some(all), Some((now, then))) = (&mut pauses.waited_ns, waited) {
            *all += now.saturating_sub(then).min(late_ns);
        }
        let (Some(device), Some(before)) = (now.device, then.device) else { return };
        if before.in_flight == 0 || before.completed != device.completed {
            self.end_stretch();
        } else if !is_late {
            self.still_ns += now.at_ns.saturating_sub(then.read_ns);
        }
    }

    fn end_stretch(&mut self) {
        let still_ns = std::mem::take(&mut self.still_ns);
        if let Some(device) = &mut self.pauses.device {
            device.add(still_ns);
        }
    }
}

/// The kernel's lines that are read at every look, kept open.
struct Lines {
    schedule: Option<File>,
    device: Option<File>,
}

impl Lines {
    /// Those of the calling thread, and of the disk at `device` (`major:minor`): of the whole one,
    /// because a disk that serves another of its partitions does not stand still, and because the
    /// kernel counts flushes there only.
    fn open(device: Option<&str>) -> Self {
        let open = |path: &Path| File::open(path).ok();
        Self {
            schedule: open(Path::new("/proc/thread-self/schedstat")),
            device: device.and_then(find::whole_disk).and_then(|disk| open(&disk.join("stat"))),
        }
    }

    fn look(&self, due_ns: u64) -> Look {
        let at_ns = clock::monotonic_ns();
        let waited = |line: &str| line.split_whitespace().nth(1)?.parse().ok();
        Look {
            due_ns,
            at_ns,
            waited_ns: read(self.schedule.as_ref(), waited),
            device: read(self.device.as_ref(), proc::disk_line),
            read_ns: clock::monotonic_ns(),
        }
    }
}

fn read<T>(file: Option<&File>, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
    let mut line = [0; LINE_BYTES];
    let bytes = file?.read_at(&mut line, 0).ok()?;
    parse(std::str::from_utf8(&line[..bytes]).ok()?)
}

impl Observer<Pauses> {
    /// Look during the measured time of `window`, or until `is_cut`; at `device`, too.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn pauses(
        window: Window,
        device: Option<String>,
        is_cut: Arc<AtomicBool>,
    ) -> std::io::Result<Self> {
        Self::spawn("pauses", move |stop| watch(window, device.as_deref(), &is_cut, stop))
    }
}

fn watch(window: Window, device: Option<&str>, is_cut: &AtomicBool, stop: &AtomicBool) -> Pauses {
    let lines = Lines::open(device);
    let mut tally = Tally::default();
    if is_over(window.warm_ns, stop) {
        return tally.pauses;
    }
    let stolen =
        || proc::cpus().map(|cpus| (cpus.stolen as f64 * 1e9 / proc::ticks_per_s()) as u64);
    let (begin_ns, cpu_ns, stolen_before) =
        (clock::monotonic_ns(), clock::thread_cpu_ns(), stolen());
    let mut now = lines.look(begin_ns);
    tally.look(now);
    while !is_cut.load(Ordering::Relaxed) {
        // A pause is one: what was missed meanwhile is not made up for.
        let due_ns = now.at_ns - (now.at_ns - window.warm_ns) % PERIOD_NS + PERIOD_NS;
        if due_ns >= window.end_ns || is_over(due_ns, stop) {
            break;
        }
        now = lines.look(due_ns);
        tally.look(now);
    }
    tally.end_stretch();
    let wall_ns = now.at_ns.saturating_sub(begin_ns).max(1) as f64;
    tally.pauses.cpu_share = (clock::thread_cpu_ns() - cpu_ns) as f64 / wall_ns;
    tally.pauses.stolen_ns = stolen().zip(stolen_before).map(|(a, b)| a.saturating_sub(b));
    tally.pauses
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Milliseconds of each look, what the device had completed, and what was in flight; it was
    /// due 2 ms behind the one before.
    fn told(looks: &[(u64, u64, u64)]) -> Pauses {
        let mut tally = Tally::default();
        let mut due_ns = 0;
        for (at, completed, in_flight) in looks {
            let device =
                DiskTotals { completed: *completed, in_flight: *in_flight, ..<_>::default() };
            // Half of the time it waited for a core, and at last for longer than it was late.
            let waited_ns = Some(if *at < 60 { at * MS / 2 } else { at * MS });
            let (at_ns, device) = (at * MS, Some(device));
            tally.look(Look { due_ns, at_ns, read_ns: at_ns, waited_ns, device });
            due_ns = at_ns + 2 * MS;
        }
        tally.end_stretch();
        tally.pauses
    }

    fn ms(longest: u64, count: u64, total: u64) -> Stretches {
        Stretches { longest_ns: longest * MS, count, total_ns: total * MS }
    }

    #[test]
    fn a_device_stands_still_while_requests_are_in_flight_and_none_completes() {
        let device = |looks: &[(u64, u64, u64)]| told(looks).device.unwrap();
        // From 2, when something was in flight, to 10: at 12 one has completed.
        let one = [(0, 7, 0), (2, 7, 1), (4, 7, 3), (6, 7, 3), (8, 7, 3), (10, 7, 3), (12, 8, 2)];
        assert_eq!(device(&one), ms(8, 1, 8));
        let busy = [(0, 1, 4), (2, 2, 4), (4, 3, 4), (6, 4, 4), (8, 5, 4), (10, 6, 4)];
        assert_eq!(device(&busy), ms(0, 0, 0));
        let idle = [(0, 1, 0), (2, 1, 0), (4, 1, 0), (6, 1, 0), (8, 1, 0), (10, 1, 0)];
        assert_eq!(device(&idle), ms(0, 0, 0));
        // Two of them; the second was not over when it was last looked.
        let two = [(0, 1, 1), (3, 1, 1), (6, 1, 1), (8, 2, 1), (11, 2, 1), (14, 2, 1), (17, 2, 1)];
        assert_eq!(device(&two), ms(9, 2, 15));
        let short = [(0, 1, 1), (2, 1, 1), (4, 1, 1), (6, 2, 1)];
        assert_eq!(device(&short), ms(4, 0, 0), "the longest is told, and it is no pause");
    }

    #[test]
    fn a_late_look_is_the_machines_and_not_the_devices() {
        // Due at 4 and at 58, seen at 56 and at 64; the same requests are in flight all the time.
        let late = [(0, 7, 1), (2, 7, 1), (56, 7, 1), (64, 7, 1), (66, 7, 1), (68, 8, 0)];
        let pauses = told(&late);
        assert_eq!(pauses.machine, ms(52, 2, 58));
        assert_eq!(pauses.device, Some(ms(4, 0, 0)), "0 to 2 and 64 to 66");
        assert_eq!(pauses.waited_ns, Some((27 + 6) * MS));
        let in_time = told(&[(0, 0, 0), (2, 0, 0), (8, 0, 0)]);
        assert_eq!((in_time.machine, in_time.waited_ns), (ms(4, 0, 0), Some(0)));
    }

    #[test]
    fn this_machine_is_watched_until_its_time_is_over_or_cut() {
        let now = clock::monotonic_ns();
        let window = Window { start_ns: now, warm_ns: now, end_ns: now + 40 * MS };
        let no = AtomicBool::new(false);
        let here =
            find::device_of(Path::new(".")).filter(|device| find::whole_disk(device).is_some());
        let pauses = watch(window, here.as_deref(), &no, &no);
        assert!(pauses.cpu_share > 0.0, "{pauses:?}");
        assert_eq!(pauses.device.is_some(), here.is_some());
        let never = Window { end_ns: u64::MAX, ..window };
        assert_eq!(watch(never, Some("0:0"), &AtomicBool::new(true), &no).device, None);
    }
}
