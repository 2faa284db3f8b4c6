//! SIGINT and SIGTERM as something to ask for, so that a command ends in good order.
//!
//! Only a command that has something to put in order asks; the others end at once, by the signal.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Instant;

use crate::model::FirstSignal;

/// The signal that came; 0 while none has.
static CAME: AtomicI32 = AtomicI32::new(0);
static FIRST: FirstSignal = FirstSignal::new();
static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Take both signals from now on: the first one is told by [`came`], a second one ends the process.
/// One that was ignored before, as a shell does for what it runs in the background, stays so.
pub(super) fn install() {
    LazyLock::force(&BEGAN);
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler does nothing but read a clock that is there already, exchange atomics
        // and `_exit`, which signal handlers may.
        unsafe {
            let handler = on_signal as extern "C" fn(libc::c_int);
            if libc::signal(signal, handler as libc::sighandler_t) == libc::SIG_IGN {
                libc::signal(signal, libc::SIG_IGN);
            }
        }
    }
}

extern "C" fn on_signal(signal: libc::c_int) {
    if FIRST.is_echoed(signal, BEGAN.elapsed()) {
        return;
    }
    if CAME.swap(signal, Ordering::Relaxed) != 0 {
        // SAFETY: takes a number and does not return.
        unsafe { libc::_exit(128 + signal) }
    }
}

/// The number of the signal that came.
pub(super) fn came() -> Option<i32> {
    Some(CAME.load(Ordering::Relaxed)).filter(|signal| *signal != 0)
}
