//! A run in several processes of this host: lanes and readers are dealt out to children, which
//! begin at one time of the monotonic clock that they share, and tell every interval and what they
//! found at the end. Counts are added as those of threads are, so there is one report.
//!
//! Parent and child talk in lines of JSON over the child's standard streams: a [`Share`], `ready`,
//! the window, intervals, what was produced, the [`Aim`], what was consumed.
//!
//! Always true: a child does not outlive its parent; it ends when its input ends, and the kernel
//! ends it with the parent.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::work::{Aim, Share, split, work};
use crate::collect::{Parcel, Role};
use crate::consume::Consumed;
use crate::histogram::Interval;
use crate::produce::Produced;
use crate::recorder::Window;

/// How long a child may take to be ready.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// How often the parent looks whether it was interrupted.
const LOOK: Duration = Duration::from_millis(50);
/// Intervals of a child that may wait for being told.
const PARCELS_MAX: usize = 1024;

/// What a child is told after its share.
#[derive(Debug, Serialize, Deserialize)]
enum Told {
    Begin(Window),
    Stop,
    Aim(Aim),
}

/// What a child says.
#[derive(Debug, Serialize, Deserialize)]
enum Said {
    Ready,
    Interval(Role, Box<Interval>),
    Produced(Vec<Produced>),
    Consumed(Vec<Consumed>),
    Failed(String),
}

/// The children of a run, all of them ready to begin.
#[derive(Debug)]
pub struct Team {
    children: Vec<Child>,
    inputs: Vec<ChildStdin>,
    said: Receiver<Said>,
    /// Where their intervals go once the run has begun.
    open: Vec<std::sync::mpsc::Sender<SyncSender<Parcel>>>,
}

impl Team {
    /// Start `parts` children with their shares, and wait until they are ready.
    ///
    /// # Errors
    /// When one cannot be started or does not get ready.
    pub fn start(whole: &Share, parts: u32) -> Result<Self, String> {
        let own = std::env::current_exe().map_err(|error| format!("where am I? {error}"))?;
        let (say, said) = channel();
        let mut team = Self { children: vec![], inputs: vec![], said, open: vec![] };
        // Whoever has no lane may have readers all the same, and the other way round.
        let hands = parts.min(whole.lanes.len().max(whole.readers.len()) as u32);
        let mut lanes = split(&whole.lanes, hands);
        let mut readers = split(&whole.readers, hands);
        for _ in 0..hands {
            let (lanes, readers) = (lanes.next(), readers.next());
            let (lanes, readers) = (lanes.unwrap_or_default(), readers.unwrap_or_default());
            let share = Share { lanes, readers, ..whole.clone() };
            let mut command = Command::new(&own);
            command.arg("part").stdin(Stdio::piped()).stdout(Stdio::piped());
            // SAFETY: both are single async-signal-safe system calls. Ctrl-C is the parent's.
            unsafe {
                command.pre_exec(|| {
                    libc::setpgid(0, 0);
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    Ok(())
                });
            }
            let child = command.spawn();
            let mut child = child.map_err(|error| format!("cannot start a part: {error}"))?;
            let (input, output) = (child.stdin.take(), child.stdout.take());
            team.children.push(child);
            let (Some(mut input), Some(output)) = (input, output) else {
                return Err("a part has no streams".into());
            };
            tell(&mut input, &share)?;
            team.inputs.push(input);
            let (open, opened) = channel();
            team.open.push(open);
            let say = say.clone();
            thread::spawn(move || hear(BufReader::new(output), &opened, &say));
        }
        for _ in 0..team.children.len() {
            match team.said.recv_timeout(READY_LIMIT) {
                Ok(Said::Ready) => {}
                Ok(Said::Failed(why)) => return Err(format!("a part failed: {why}")),
                other => return Err(format!("a part did not get ready: {other:?}")),
            }
        }
        Ok(team)
    }

    /// Begin at `window`; as [`work`] otherwise.
    ///
    /// # Errors
    /// When a child ends too early or fails, and what `aim` says.
    pub fn work(
        mut self,
        window: Window,
        parcels: &SyncSender<Parcel>,
        stop: &Arc<AtomicBool>,
        aim: impl FnOnce(&mut Vec<Produced>) -> Result<Aim, String>,
    ) -> Result<(Vec<Produced>, Vec<Consumed>), String> {
        for open in self.open.drain(..) {
            let _ = open.send(parcels.clone());
        }
        self.tell_all(&Told::Begin(window))?;
        let mut is_told = false;
        let mut produced = Vec::new();
        for _ in 0..self.children.len() {
            match self.hear_next(stop, &mut is_told)? {
                Said::Produced(part) => produced.extend(part),
                other => return Err(format!("a part said {other:?} instead of what it produced")),
            }
        }
        let aim = aim(&mut produced)?;
        is_told |= aim.is_cut;
        self.tell_all(&Told::Aim(aim))?;
        let mut consumed = Vec::new();
        for _ in 0..self.children.len() {
            match self.hear_next(stop, &mut is_told)? {
                Said::Consumed(part) => consumed.extend(part),
                other => return Err(format!("a part said {other:?} instead of what it read")),
            }
        }
        Ok((produced, consumed))
    }

    fn tell_all(&mut self, told: &Told) -> Result<(), String> {
        self.inputs.iter_mut().try_for_each(|input| tell(input, told))
    }

    /// The next answer; an interruption is passed on meanwhile.
    fn hear_next(&mut self, stop: &AtomicBool, is_told: &mut bool) -> Result<Said, String> {
        loop {
            if stop.load(Ordering::Relaxed) && !*is_told {
                *is_told = true;
                self.tell_all(&Told::Stop)?;
            }
            match self.said.recv_timeout(LOOK) {
                Ok(Said::Failed(why)) => return Err(format!("a part failed: {why}")),
                Ok(said) => return Ok(said),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err("all parts are gone".into()),
            }
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        // Without input a child ends; one that has said everything has ended already.
        self.inputs.clear();
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn tell(to: &mut impl Write, what: &impl Serialize) -> Result<(), String> {
    let mut line = serde_json::to_string(what).map_err(|error| error.to_string())?;
    line.push('\n');
    let written = to.write_all(line.as_bytes()).and_then(|()| to.flush());
    written.map_err(|error| format!("a part cannot be told: {error}"))
}

/// Pass on what a child says: intervals to the collector, the rest to the parent.
fn hear(
    lines: impl BufRead,
    opened: &Receiver<SyncSender<Parcel>>,
    say: &std::sync::mpsc::Sender<Said>,
) {
    let mut parcels = None;
    // Emptied intervals go nowhere: the next one is read anew.
    let (back, _) = channel();
    for line in lines.lines() {
        let said = line.map_err(|error| error.to_string());
        let said = said.and_then(|line| {
            serde_json::from_str(&line).map_err(|error| format!("{error}: {line:.200}"))
        });
        let is_last = matches!(said, Ok(Said::Consumed(_)) | Err(_));
        match said {
            Ok(Said::Interval(role, interval)) => {
                let to = parcels.get_or_insert_with(|| opened.recv().ok());
                let parcel = Parcel { role, interval, back: back.clone() };
                let _ = to.as_ref().map(|to| to.send(parcel));
            }
            Ok(other) => {
                let _ = say.send(other);
            }
            Err(why) => {
                let _ = say.send(Said::Failed(why));
            }
        }
        if is_last {
            return;
        }
    }
    let _ = say.send(Said::Failed("it ended too early; its last words are above".into()));
}

/// Be a child: see [`Team`].
///
/// # Errors
/// Says what the parent did not do.
pub fn be_part() -> Result<(), String> {
    // No lock is kept: another thread goes on reading.
    let next = || {
        let mut line = String::new();
        match std::io::stdin().read_line(&mut line) {
            Ok(count) if count > 0 => Ok(line),
            _ => Err("the parent is gone".to_owned()),
        }
    };
    let share: Share = serde_json::from_str(&next()?).map_err(|error| error.to_string())?;
    let mut out = std::io::stdout();
    tell(&mut out, &Said::Ready)?;
    let told: Told = serde_json::from_str(&next()?).map_err(|error| error.to_string())?;
    let Told::Begin(window) = told else { return Err("expected when to begin".into()) };
    let stop = Arc::new(AtomicBool::new(false));
    let (aim_at, aimed) = channel();
    let stopped = stop.clone();
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(Told::Aim(aim)) => {
                    let _ = aim_at.send(aim);
                }
                _ => stopped.store(true, Ordering::Relaxed),
            }
        }
        stopped.store(true, Ordering::Relaxed);
    });
    let (parcels, collected) = sync_channel::<Parcel>(PARCELS_MAX);
    let teller = thread::spawn(move || {
        let mut out = std::io::stdout();
        for Parcel { role, interval, back } in collected {
            let said = Said::Interval(role, interval);
            tell(&mut out, &said)?;
            if let Said::Interval(_, mut interval) = said {
                interval.restart(0);
                let _ = back.send(interval);
            }
        }
        Ok::<(), String>(())
    });
    let aim = |produced: &mut Vec<Produced>| {
        tell(&mut std::io::stdout(), &Said::Produced(std::mem::take(produced)))?;
        aimed.recv().map_err(|_| "the parent is gone".to_owned())
    };
    let (_, consumed) = work(&share, window, &parcels, &stop, aim)?;
    drop(parcels);
    teller.join().map_err(|_| "the teller panicked".to_owned())??;
    tell(&mut out, &Said::Consumed(consumed))
}
