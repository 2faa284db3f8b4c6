//! The terminal: taken for the time of a run, given back on every way out.
//!
//! Always true: whatever was changed is remembered in statics, because a signal handler and a
//! panic hook must be able to put it back without a lock.

use std::io::{IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Another screen, without a cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// Largest frame that is drawn, columns and rows.
const SIZE_MAX: (usize, usize) = (200, 60);
/// What is assumed where the terminal does not tell.
const SIZE_UNKNOWN: (usize, usize) = (80, 24);

static IS_TAKEN: AtomicBool = AtomicBool::new(false);
static BEFORE: OnceLock<libc::termios> = OnceLock::new();

/// A terminal that is ours for a while.
#[derive(Debug)]
pub struct Terminal {
    /// Whether colours are wanted.
    pub colours: bool,
    has_keys: bool,
}

impl Terminal {
    /// Take it, if standard output is one that can be drawn on.
    pub fn take() -> Option<Self> {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
        if is_dumb || !std::io::stdout().is_terminal() {
            return None;
        }
        // Without standard input there are no keys; everything else works.
        let has_keys = std::io::stdin().is_terminal() && listen_to_keys();
        IS_TAKEN.store(true, Ordering::Relaxed);
        put_back_when_panicking();
        write(ENTER);
        // https://no-color.org: set and not empty.
        let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Some(Self { colours, has_keys })
    }

    /// Draw a frame over the last one; everything anew when `cleared`.
    pub fn show(&self, frame: &str, cleared: bool) {
        if !IS_TAKEN.load(Ordering::Relaxed) {
            return;
        }
        let begin = if cleared { "\x1b[H\x1b[2J" } else { "\x1b[H" };
        write(&format!("{begin}{frame}\x1b[J"));
    }

    /// Wait for a key, at most this long.
    pub fn key(&self, timeout: Duration) -> Option<u8> {
        if !self.has_keys {
            std::thread::park_timeout(timeout);
            return None;
        }
        let mut wanted = libc::pollfd { fd: libc::STDIN_FILENO, events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd that outlives the call.
        let ready = unsafe { libc::poll(&mut wanted, 1, timeout.as_millis() as libc::c_int) };
        if ready <= 0 {
            return None;
        }
        let mut key = 0u8;
        // SAFETY: one byte to write to; descriptor 0 is open or the call says it is not.
        let got = unsafe { libc::read(libc::STDIN_FILENO, (&raw mut key).cast(), 1) };
        if got != 1 {
            // A terminal that has gone away is always ready: do not spin on it.
            std::thread::park_timeout(timeout);
        }
        (got == 1).then_some(key)
    }
}

fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Keys one by one and unseen. Ctrl-C stays a signal; Ctrl-Z and Ctrl-\ do nothing, for they
/// would leave the terminal as it is now.
fn listen_to_keys() -> bool {
    // SAFETY: all-zero bytes are a valid termios.
    let mut mode: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: `mode` is valid to write to.
    if unsafe { libc::tcgetattr(libc::STDIN_FILENO, &mut mode) } != 0 {
        return false;
    }
    let _ = BEFORE.set(mode);
    mode.c_lflag &= !(libc::ICANON | libc::ECHO);
    mode.c_cc[libc::VSUSP] = 0;
    mode.c_cc[libc::VQUIT] = 0;
    mode.c_cc[libc::VMIN] = 1;
    mode.c_cc[libc::VTIME] = 0;
    // SAFETY: `mode` is a valid termios, changed from the terminal's own.
    unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, &mode) == 0 }
}

/// Columns and rows to draw on.
pub fn size() -> (usize, usize) {
    // SAFETY: all-zero bytes are a valid winsize.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: TIOCGWINSZ writes one winsize, and `size` is one.
    let done = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    if done != 0 || size.ws_col == 0 || size.ws_row == 0 {
        return SIZE_UNKNOWN;
    }
    (usize::from(size.ws_col).min(SIZE_MAX.0), usize::from(size.ws_row).min(SIZE_MAX.1))
}

/// Put the terminal back as it was, if it was taken. May be called from a signal handler: it
/// loads atomics and makes two system calls that are async-signal-safe.
pub fn restore() {
    if !IS_TAKEN.swap(false, Ordering::Relaxed) {
        return;
    }
    // SAFETY: the bytes live for ever; what cannot be written cannot be helped.
    unsafe {
        libc::write(libc::STDOUT_FILENO, LEAVE.as_ptr().cast(), LEAVE.len());
    }
    if let Some(before) = BEFORE.get() {
        // SAFETY: `before` is what tcgetattr said.
        unsafe {
            libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, before);
        }
    }
}

/// A release build aborts on a panic without running destructors; the message must be seen.
fn put_back_when_panicking() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        restore();
        usual(info);
    }));
}
