//! Ctrl-C and SIGTERM set a flag; everything else ends by itself when it sees it.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Install the handlers and return the flag they set. A second signal ends the process at once.
pub fn install() -> Arc<AtomicBool> {
    let flag = STOP.get_or_init(Arc::default).clone();
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: `on_signal` only loads and stores atomics, puts the terminal back and calls
        // `_exit`, all of which is async-signal-safe; the OnceLock is initialised before the
        // handler can run.
        unsafe {
            libc::signal(signal, on_signal as extern "C" fn(libc::c_int) as libc::sighandler_t);
        }
    }
    flag
}

extern "C" fn on_signal(signal: libc::c_int) {
    if let Some(flag) = STOP.get()
        && flag.swap(true, Ordering::Relaxed)
    {
        crate::live::restore();
        // SAFETY: `_exit` takes a number and does not return.
        unsafe { libc::_exit(128 + signal) }
    }
}
