//! Ctrl-C and SIGTERM set a flag; everything else ends by itself when it sees it.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Instant;

use thalweg::model::FirstSignal;

static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();
static FIRST: FirstSignal = FirstSignal::new();
static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
/// The first signal's number; 0 before.
static SIGNAL: AtomicI32 = AtomicI32::new(0);
/// Whether the first signal is answered on standard error.
static IS_ALOUD: AtomicBool = AtomicBool::new(false);
const ANSWER: &[u8] = b"ending early; what was measured so far follows. Once more ends at once, \
                        without it\n";

/// Install the handlers and return the flag they set. A second signal ends the process at once.
pub fn install() -> Arc<AtomicBool> {
    LazyLock::force(&BEGAN);
    let flag = STOP.get_or_init(Arc::default).clone();
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: `on_signal` only reads the clock, loads and stores atomics, writes to a
        // descriptor, puts the terminal back and calls `_exit`, all of which is async-signal-safe;
        // the OnceLock and the LazyLock are initialised before the handler can run.
        unsafe {
            libc::signal(signal, on_signal as extern "C" fn(libc::c_int) as libc::sighandler_t);
        }
    }
    flag
}

/// The same for a command without a live view: it says at once that it has heard the first signal,
/// for what is under way may take some seconds to end.
pub fn install_aloud() -> Arc<AtomicBool> {
    IS_ALOUD.store(true, Ordering::Relaxed);
    install()
}

/// End as if `signal` had come.
pub fn end_by(signal: libc::c_int, stop: &AtomicBool) {
    if !stop.swap(true, Ordering::Relaxed) {
        SIGNAL.store(signal, Ordering::Relaxed);
    }
}

/// What to exit with when a signal ended the command before its answer was there: 128 and the
/// signal's number, as shells have it. None without a signal.
pub fn exit_code() -> Option<u8> {
    let signal = SIGNAL.load(Ordering::Relaxed);
    (signal > 0).then(|| u8::try_from(128 + signal).ok()).flatten()
}

/// Go on unless a signal has come.
///
/// # Errors
/// When one has.
pub fn go_on(stop: &AtomicBool) -> Result<(), String> {
    if stop.load(Ordering::Relaxed) { Err("interrupted".into()) } else { Ok(()) }
}

extern "C" fn on_signal(signal: libc::c_int) {
    let Some(flag) = STOP.get() else { return };
    if FIRST.is_echoed(signal, BEGAN.elapsed()) {
        return;
    }
    if flag.swap(true, Ordering::Relaxed) {
        crate::live::restore();
        // SAFETY: `_exit` takes a number and does not return.
        unsafe { libc::_exit(128 + signal) }
    }
    SIGNAL.store(signal, Ordering::Relaxed);
    if IS_ALOUD.load(Ordering::Relaxed) {
        // SAFETY: the bytes are a constant; if nobody listens any more, nobody needs to know.
        unsafe {
            libc::write(libc::STDERR_FILENO, ANSWER.as_ptr().cast(), ANSWER.len());
        }
    }
}
