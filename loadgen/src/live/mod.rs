//! What one sees of a run while it goes on: a view that redraws itself on a terminal, plain lines
//! elsewhere.
//!
//! Always true: no measuring thread does anything for it. A thread of its own draws from a
//! [`Tally`], which the collector fills with the intervals that it gets anyway. On a terminal `q`
//! ends the run as Ctrl-C does; the terminal is put back on every way out.

mod doubts;
mod frame;
mod tally;
mod terminal;
mod threads;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock;
use crate::collect::{Role, Watcher};
use crate::histogram::Interval;
use crate::plan::Plan;
use crate::print;
use crate::recorder::Window;
use tally::Tally;
use terminal::Terminal;

pub use terminal::restore;

/// From one look at keys, size and time to the next.
const LOOK: Duration = Duration::from_millis(100);
/// From one frame to the next: a second's figures come once a second.
const REDRAW_NS: u64 = 500_000_000;

/// How a run is to be shown.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Seconds between plain lines, where there is no terminal to draw on; 0 shows nothing.
    pub lines_s: f64,
}

/// The times of a run, as the view needs them.
#[derive(Clone, Debug)]
struct Shown {
    plan: Arc<Plan>,
    window: Window,
}

/// A run that is being shown; dropped, it ends and leaves the terminal as it was.
#[derive(Debug)]
pub struct Live {
    tally: Arc<Mutex<Tally>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Fills the tally from the collector's thread.
struct Filler(Arc<Mutex<Tally>>);

impl Watcher for Filler {
    fn heard(&mut self, role: Role, interval: &Interval) {
        lock(&self.0).add(role, interval);
    }
}

/// A tally is counts: whoever panicked while holding it, they can still be shown.
fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    /// Show a run of `plan` with these times; `stop` is set when `q` is pressed.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start(
        wanted: Wanted,
        plan: Arc<Plan>,
        window: Window,
        stop: Arc<AtomicBool>,
    ) -> Result<Option<Self>, String> {
        if wanted.lines_s <= 0.0 {
            return Ok(None);
        }
        let tally = Arc::new(Mutex::new(Tally::default()));
        let over = Arc::new(AtomicBool::new(false));
        let shown = Shown { plan, window };
        let (seen, ended) = (tally.clone(), over.clone());
        let terminal = Terminal::take();
        let show = move || match terminal {
            Some(terminal) => draw(&shown, &seen, &stop, &ended, &terminal),
            None => tell(&shown, &seen, &stop, &ended, wanted.lines_s),
        };
        let thread = std::thread::Builder::new().name("live".into()).spawn(show);
        let thread = thread.map_err(|error| format!("cannot start the live view: {error}"))?;
        Ok(Some(Self { tally, over, thread: Some(thread) }))
    }

    /// What the collector has to call.
    pub fn watcher(&self) -> Box<dyn Watcher> {
        Box::new(Filler(self.tally.clone()))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
        restore();
    }
}

/// The view: frames until the run is over.
fn draw(
    shown: &Shown,
    tally: &Mutex<Tally>,
    stop: &AtomicBool,
    over: &AtomicBool,
    terminal: &Terminal,
) {
    let (mut drawn_ns, mut drawn_size) = (0, (0, 0));
    while !over.load(Ordering::Relaxed) {
        let now = clock::monotonic_ns();
        let size = terminal::size();
        if now - drawn_ns >= REDRAW_NS || size != drawn_size {
            let text = {
                let mut tally = lock(tally);
                tally.threads(threads::efforts(now));
                let moment = shown.moment(now, stop.load(Ordering::Relaxed));
                frame::frame(shown, &moment, &tally, size, terminal.colours)
            };
            terminal.show(&text, size != drawn_size);
            (drawn_ns, drawn_size) = (now, size);
        }
        if terminal.key(LOOK) == Some(b'q') && !stop.swap(true, Ordering::Relaxed) {
            drawn_ns = 0;
        }
    }
}

/// Plain lines until the run is over.
fn tell(shown: &Shown, tally: &Mutex<Tally>, stop: &AtomicBool, over: &AtomicBool, every_s: f64) {
    let every_ns = ((every_s * 1e9) as u64).max(100_000_000);
    let mut next = shown.window.start_ns.saturating_add(every_ns);
    let mut told_stop = false;
    while !over.load(Ordering::Relaxed) {
        std::thread::park_timeout(LOOK);
        let (now, is_stopped) = (clock::monotonic_ns(), stop.load(Ordering::Relaxed));
        if is_stopped && !told_stop {
            told_stop = true;
            print::aside(
                "ending early; the report follows. Ctrl-C again ends at once, without one",
            );
        }
        if now >= next && !over.load(Ordering::Relaxed) {
            let mut tally = lock(tally);
            tally.threads(threads::efforts(now));
            print::aside(frame::line(shown, &shown.moment(now, is_stopped), &tally));
            next = now + every_ns;
        }
    }
}

/// Where a run stands.
#[derive(Clone, Debug, PartialEq)]
struct Moment {
    /// In a word or two.
    phase: &'static str,
    /// Seconds since the start of the run.
    at_s: f64,
    /// Until the load ends.
    left_s: f64,
    /// How much of the time has passed, 0..1.
    share: f64,
}

impl Shown {
    fn moment(&self, now_ns: u64, is_stopped: bool) -> Moment {
        let Window { start_ns, warm_ns, end_ns } = self.window;
        let phase = match now_ns {
            _ if is_stopped => "ending early: waiting for answers, reading back",
            now if now < start_ns => "starting",
            now if now < warm_ns => "warming up",
            now if now < end_ns => "measuring",
            _ => "waiting for answers, reading back",
        };
        let whole = end_ns.saturating_sub(start_ns).max(1) as f64;
        let at_s = now_ns.saturating_sub(start_ns) as f64 / 1e9;
        Moment {
            phase,
            at_s,
            left_s: end_ns.saturating_sub(now_ns.max(start_ns)) as f64 / 1e9,
            share: (at_s * 1e9 / whole).min(1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_starting_warming_up_measuring_and_reading_back() {
        let window = Window { start_ns: 10, warm_ns: 20, end_ns: 50 };
        let shown = Shown { plan: Arc::default(), window };
        let phase = |now| shown.moment(now, false).phase;
        assert_eq!([phase(0), phase(10), phase(20)], ["starting", "warming up", "measuring"]);
        assert!(phase(50).contains("reading back"));
        assert!(shown.moment(20, true).phase.contains("ending early"));
        let moment = shown.moment(30, false);
        assert_eq!((moment.share, moment.left_s), (0.5, 20e-9));
    }
}
