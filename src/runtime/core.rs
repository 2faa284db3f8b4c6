//! A shard's core: the shard keeps to it while it is its own, and goes where there is room while
//! others want it.
//!
//! A pinned thread that shares its core waits for it even when another core is idle. The kernel
//! tells how long a thread could have run and did not (`/proc/PID/schedstat`, proc(5)); a shard
//! for which that is too much is let go to every core that the process may use, and comes home
//! when nobody has been in its way for a while. Where the kernel does not tell, shards stay.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// How often a shard that works looks at it.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// It is let go when it waited for more than one part in so many of the time.
const LET_GO_SHARE: u32 = 20;
/// It was not in anybody's way when it waited for less than one part in so many.
const CALM_SHARE: u32 = 100;
/// It comes home after so long of that. Should the neighbour still be there, it costs one
/// [`LOOK_EVERY`] to find out.
const HOME_AFTER: Duration = Duration::from_secs(60);

/// What became of a shard's core so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreUse {
    /// The shard keeps to one core.
    pub is_pinned: bool,
    /// How long it could have run and something else had its core.
    pub waited: Duration,
}

impl Default for CoreUse {
    fn default() -> Self {
        Self { is_pinned: true, waited: Duration::ZERO }
    }
}

/// The core of the thread that made it.
#[derive(Debug)]
pub struct Core {
    /// Nothing when the shard stays where it is whatever happens.
    moving: Option<Moving>,
    used: Cell<CoreUse>,
}

#[derive(Debug)]
struct Moving {
    home: libc::cpu_set_t,
    anywhere: libc::cpu_set_t,
    schedstat: File,
    keeper: RefCell<Keeper>,
}

impl Core {
    /// A core that is never left.
    pub fn fixed() -> Self {
        Self { moving: None, used: Cell::default() }
    }

    /// The core that this thread is pinned to, left for those of the process's first thread while
    /// others want it.
    pub fn shared() -> Self {
        Self { moving: Moving::of_this_thread().ok(), used: Cell::default() }
    }

    /// What became of it so far.
    pub fn used(&self) -> CoreUse {
        self.used.get()
    }

    /// Look whether others want the core, if it is time to; `now` counts from any fixed point.
    pub fn look(&self, now: Duration) {
        let Some(moving) = &self.moving else { return };
        if !moving.keeper.borrow().is_due(now) {
            return;
        }
        // What cannot be read or set now is tried again: nothing is worse than before.
        let Ok(waited) = waited(&moving.schedstat) else { return };
        let to = moving.keeper.borrow_mut().step(now, waited);
        let mut used = CoreUse { waited, ..self.used.get() };
        if let Some(to) = to {
            let (is_home, cores) = match to {
                Place::Home => (true, &moving.home),
                Place::Anywhere => (false, &moving.anywhere),
            };
            if affine(cores).is_ok() {
                used.is_pinned = is_home;
            }
        }
        self.used.set(used);
    }
}

impl Moving {
    fn of_this_thread() -> io::Result<Self> {
        let this = affinity(0)?;
        let anywhere = affinity(first_thread())?;
        let schedstat = File::open("/proc/thread-self/schedstat")?;
        waited(&schedstat)?;
        Ok(Self { home: this, anywhere, schedstat, keeper: RefCell::default() })
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Home,
    Anywhere,
}

/// Decides where the shard goes.
#[derive(Debug, Default)]
struct Keeper {
    is_away: bool,
    looked: Duration,
    waited: Duration,
    /// Nobody has been in its way since then.
    calm_since: Option<Duration>,
}

impl Keeper {
    fn is_due(&self, now: Duration) -> bool {
        now.saturating_sub(self.looked) >= LOOK_EVERY
    }

    /// It is `now`, and the thread has waited so long in all.
    fn step(&mut self, now: Duration, waited: Duration) -> Option<Place> {
        let time = now.saturating_sub(self.looked);
        let of_it = waited.saturating_sub(self.waited);
        (self.looked, self.waited) = (now, waited);
        if !self.is_away {
            self.is_away = of_it * LET_GO_SHARE > time;
            self.calm_since = None;
            return self.is_away.then_some(Place::Anywhere);
        }
        if of_it * CALM_SHARE > time {
            self.calm_since = None;
            return None;
        }
        let since = *self.calm_since.get_or_insert(now);
        if now.saturating_sub(since) < HOME_AFTER {
            return None;
        }
        self.is_away = false;
        Some(Place::Home)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn it_leaves_when_others_are_in_its_way_and_comes_home_when_they_have_gone() {
        let mut keeper = Keeper::default();
        assert!(!keeper.is_due(ms(99)) && keeper.is_due(ms(100)));
        assert_eq!(keeper.step(ms(100), ms(5)), None, "one part in twenty is nothing");
        assert_eq!(keeper.step(ms(200), ms(11)), Some(Place::Anywhere));
        // A wait on the way makes the calm begin anew.
        assert_eq!(keeper.step(ms(300), ms(11)), None);
        assert_eq!(keeper.step(ms(59_000), ms(11)), None);
        assert_eq!(keeper.step(ms(60_000), ms(100)), None);
        assert_eq!(keeper.step(ms(61_000), ms(100)), None);
        assert_eq!(keeper.step(ms(120_999), ms(100)), None);
        assert_eq!(keeper.step(ms(121_000), ms(100)), Some(Place::Home));
        assert_eq!(keeper.step(ms(121_100), ms(110)), Some(Place::Anywhere));
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
                let core = Core::shared();
                assert_eq!(core.used(), CoreUse::default());
                let began = std::time::Instant::now();
                while core.used().is_pinned && began.elapsed() < Duration::from_secs(30) {
                    core.look(began.elapsed());
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
