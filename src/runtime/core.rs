//! A shard's core: the shard keeps to it while it is its own, and goes where there is room while
//! others want it.
//!
//! A pinned thread that shares its core waits for it even when another core is idle. The kernel
//! tells how long a thread could have run and did not (`/proc/PID/schedstat`, proc(5)). When that
//! is too much for one shard, all of them are let go to every core that the process may use: one
//! alone would wander over the others' cores. They come home when nobody has been in their way for
//! a while. A neighbour that comes and goes does less harm than leaving does, for the kernel likes
//! to put threads that wake each other on one core. Where the kernel does not tell, shards stay.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often a shard that works looks at it.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Shards are let go when one of them waited for more than one part in so many of the time, and a
/// neighbour that never sleeps takes half of it.
const LET_GO_SHARE: u32 = 3;
/// At so many looks in a row.
const LET_GO_LOOKS: u32 = 2;
/// Nobody was in a shard's way when it waited for less than one part in so many.
const CALM_SHARE: u32 = 100;
/// They come home after so long of that. Should the neighbour still be there, it costs a few
/// [`LOOK_EVERY`] to find out.
const HOME_AFTER: Duration = Duration::from_secs(60);

/// What became of a shard's core so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreUse {
    /// The shard keeps to one core.
    pub is_pinned: bool,
    /// How long it could have run and something else had its core.
    pub waited: Duration,
    /// The longest that its tasks have run since the start without a look at what has arrived.
    pub longest_turn: Duration,
}

impl Default for CoreUse {
    fn default() -> Self {
        Self { is_pinned: true, waited: Duration::ZERO, longest_turn: Duration::ZERO }
    }
}

/// The core of the thread that made it.
#[derive(Debug)]
pub struct Core {
    /// Nothing when the shard stays where it is whatever happens.
    moving: Option<Moving>,
    used: Cell<CoreUse>,
}

/// What the shards of one process know together.
#[derive(Debug)]
pub struct Cores {
    began: Instant,
    /// Shards keep to their cores again from then on, in milliseconds.
    home_from_ms: AtomicU64,
}

#[derive(Debug)]
struct Moving {
    cores: Arc<Cores>,
    home: libc::cpu_set_t,
    anywhere: libc::cpu_set_t,
    schedstat: File,
    keeper: RefCell<Keeper>,
}

impl Cores {
    /// Of a process whose shards all keep to theirs.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { began: Instant::now(), home_from_ms: AtomicU64::new(0) })
    }

    fn leave(&self, now: Duration) {
        self.home_from_ms.fetch_max(ms(now + HOME_AFTER), Ordering::Relaxed);
    }

    fn are_left(&self, now: Duration) -> bool {
        ms(now) < self.home_from_ms.load(Ordering::Relaxed)
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Core {
    /// A core that is never left.
    pub fn fixed() -> Self {
        Self { moving: None, used: Cell::default() }
    }

    /// The core that this thread is pinned to, left for those of the process's first thread while
    /// others want one of `cores`.
    pub fn shared(cores: Arc<Cores>) -> Self {
        Self { moving: Moving::of_this_thread(cores).ok(), used: Cell::default() }
    }

    /// What became of it so far.
    pub fn used(&self) -> CoreUse {
        self.used.get()
    }

    /// Look whether others want the core, if it is time to.
    pub fn look(&self) {
        let Some(moving) = &self.moving else { return };
        let now = moving.cores.began.elapsed();
        if !moving.keeper.borrow().is_due(now) {
            return;
        }
        // What cannot be read or set now is tried again: nothing is worse than before.
        let Ok(waited) = waited(&moving.schedstat) else { return };
        moving.keeper.borrow_mut().step(&moving.cores, now, waited);
        let mut used = CoreUse { waited, ..self.used.get() };
        let stays = !moving.cores.are_left(now);
        if stays != used.is_pinned {
            let cores = if stays { &moving.home } else { &moving.anywhere };
            if affine(cores).is_ok() {
                used.is_pinned = stays;
            }
        }
        self.used.set(used);
    }
}

impl Moving {
    fn of_this_thread(cores: Arc<Cores>) -> io::Result<Self> {
        let this = affinity(0)?;
        let anywhere = affinity(first_thread())?;
        let schedstat = File::open("/proc/thread-self/schedstat")?;
        waited(&schedstat)?;
        Ok(Self { cores, home: this, anywhere, schedstat, keeper: RefCell::default() })
    }
}

/// Of the process; we never pin it.
fn first_thread() -> libc::pid_t {
    // SAFETY: asks for a number.
    unsafe { libc::getpid() }
}

fn affinity(thread: libc::pid_t) -> io::Result<libc::cpu_set_t> {
    // SAFETY: plain bits, for which zero is a value; the call fills at most its size.
    let (done, set) = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        (libc::sched_getaffinity(thread, size_of::<libc::cpu_set_t>(), &raw mut set), set)
    };
    if done == 0 { Ok(set) } else { Err(io::Error::last_os_error()) }
}

/// Let this thread run on these cores only.
fn affine(cores: &libc::cpu_set_t) -> io::Result<()> {
    // SAFETY: reads the set, which is a live reference.
    match unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), cores) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// How long the thread of this file has waited for a core.
fn waited(schedstat: &File) -> io::Result<Duration> {
    let mut text = [0; 64];
    let len = schedstat.read_at(&mut text, 0)?;
    parse_waited(&text[..len]).ok_or_else(|| io::Error::other("schedstat has another format"))
}

/// "nanoseconds run, nanoseconds waited, times run".
fn parse_waited(text: &[u8]) -> Option<Duration> {
    let field = std::str::from_utf8(text).ok()?.split_ascii_whitespace().nth(1)?;
    field.parse().ok().map(Duration::from_nanos)
}

/// Decides when the shards go.
#[derive(Debug, Default)]
struct Keeper {
    looked: Duration,
    waited: Duration,
    /// Looks in a row at which others were too much in the way.
    crowded: u32,
}

impl Keeper {
    fn is_due(&self, now: Duration) -> bool {
        now.saturating_sub(self.looked) >= LOOK_EVERY
    }

    /// It is `now`, and the thread has waited so long in all.
    fn step(&mut self, cores: &Cores, now: Duration, waited: Duration) {
        let time = now.saturating_sub(self.looked);
        let of_it = waited.saturating_sub(self.waited);
        (self.looked, self.waited) = (now, waited);
        self.crowded = if of_it * LET_GO_SHARE > time { self.crowded + 1 } else { 0 };
        let is_disturbed = cores.are_left(now) && of_it * CALM_SHARE > time;
        if self.crowded >= LET_GO_LOOKS || is_disturbed {
            cores.leave(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn all_leave_when_others_are_in_ones_way_and_come_home_when_they_have_gone() {
        let cores = Cores::new();
        let mut keeper = Keeper::default();
        assert!(!keeper.is_due(at(199)) && keeper.is_due(at(200)));
        let mut step = |now, waited| {
            keeper.step(&cores, at(now), at(waited));
            cores.are_left(at(now))
        };
        assert!(!step(300, 100), "a third is not too much");
        assert!(!step(600, 201), "once is not enough");
        assert!(!step(900, 300));
        assert!(!step(1_200, 401));
        assert!(step(1_500, 502), "twice in a row is");
        // A wait on the way makes the calm begin anew.
        assert!(step(31_500, 803));
        assert!(step(61_000, 803));
        assert!(step(61_499, 812), "a little more than a hundredth");
        assert!(step(121_498, 812));
        assert!(!step(121_499, 812), "home");
        assert!(!step(121_999, 822), "at home a little is nothing");
        assert!(!step(122_199, 922));
        assert!(step(122_399, 1_022));
        // Whoever looks goes along.
        let mut other = Keeper::default();
        other.step(&cores, at(150_000), at(0));
        assert!(cores.are_left(at(150_000)));
        other.step(&cores, at(190_000), at(0));
        assert!(!cores.are_left(at(190_000)));
    }

    #[test]
    fn the_kernels_line_is_read_or_refused() {
        assert_eq!(parse_waited(b"17 2500 3\n"), Some(Duration::from_nanos(2500)));
        assert_eq!(parse_waited(b"17"), None);
        assert_eq!(parse_waited(b"17 soon 3"), None);
    }

    /// Two threads that never sleep on one core: the one that looks is let go, to where the
    /// process may be.
    #[test]
    fn a_thread_whose_core_another_one_uses_is_let_go() {
        let all = affinity(0).unwrap();
        let cores = |set: &libc::cpu_set_t| {
            // SAFETY: the index is below CPU_SETSIZE.
            (0..1024).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, set) }).collect::<Vec<_>>()
        };
        let first = cores(&all)[0];
        // SAFETY: plain bits; the index is one that was found in a set.
        let one = unsafe {
            let mut one: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(first, &mut one);
            one
        };
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let is_over = &is_over;
            scope.spawn(move || {
                affine(&one).unwrap();
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
            let looking = scope.spawn(move || {
                affine(&one).unwrap();
                let core = Core::shared(Cores::new());
                assert_eq!(core.used(), CoreUse::default());
                let began = Instant::now();
                while core.used().is_pinned && began.elapsed() < Duration::from_secs(30) {
                    core.look();
                }
                (core.used(), affinity(0).unwrap())
            });
            let (used, now) = looking.join().unwrap();
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(!used.is_pinned && used.waited > Duration::ZERO, "{used:?}");
            assert_eq!(cores(&now), cores(&affinity(first_thread()).unwrap()));
        });
    }
}
