//! SIGINT and SIGTERM as something to ask for, so that a command ends in good order.
//!
//! Only a command that has something to put in order asks; the others end at once, by the signal.

use std::sync::atomic::{AtomicI32, Ordering};

/// The signal that came; 0 while none has.
static CAME: AtomicI32 = AtomicI32::new(0);

/// Take both signals from now on: the first one is told by [`came`], a second one ends the process.
/// One that was ignored before, as a shell does for what it runs in the background, stays so.
pub(super) fn install() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler does nothing but an atomic exchange and `_exit`, which signal
        // handlers may.
        unsafe {
            let handler = on_signal as extern "C" fn(libc::c_int);
            if libc::signal(signal, handler as libc::sighandler_t) == libc::SIG_IGN {
                libc::signal(signal, libc::SIG_IGN);
            }
        }
    }
}

extern "C" fn on_signal(signal: libc::c_int) {
    if CAME.swap(signal, Ordering::Relaxed) != 0 {
        // SAFETY: takes a number and does not return.
        unsafe { libc::_exit(128 + signal) }
    }
}

/// The number of the signal that came.
pub(super) fn came() -> Option<i32> {
    Some(CAME.load(Ordering::Relaxed)).filter(|signal| *signal != 0)
}
