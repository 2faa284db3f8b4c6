//! What a broker sets for its whole process: panics, signals, memory, barriers.

use std::time::Instant;

use futures_channel::oneshot;

use crate::model::FirstSignal;

/// A panic ends the process, also in builds that unwind.
pub fn abort_on_panic() {
    let say = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |what| {
        // A thread for blocking calls that finds its executor ended (glommio panics then): nobody
        // waits for its answer. It must neither abort a clean stop nor go on.
        let place = what.location().map_or("", |l| l.file());
        if place.ends_with("glommio-0.9.0/src/sys/blocking.rs")
            && what.payload().downcast_ref() == Some(&"failed to send response")
        {
            loop {
                std::thread::park();
            }
        }
        say(what);
        std::process::abort();
    }));
}

/// Frames and read buffers of a megabyte come and go thousands of times a second. By default the
/// allocator maps each afresh or gives it back to the kernel at once, and the page faults cost more
/// than the copy. What the budgets allow is kept instead.
pub fn keep_freed_memory() {
    // SAFETY: sets two numbers of the allocator before any other thread exists.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 128 << 20);
    }
}

/// glommio says with its first sleep that this process uses membarrier(2). With one thread the
/// kernel only notes it; with several it first waits until every core has passed a quiet point,
/// which takes longer than the rest of a start. A kernel that refuses refuses glommio, too, which
/// does without.
pub fn announce_barriers() {
    const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;
    // SAFETY: takes no memory.
    unsafe { libc::syscall(libc::SYS_membarrier, REGISTER_PRIVATE_EXPEDITED, 0) };
}

/// What recovery read and freed is of no use to a broker that serves.
pub fn give_back_freed_memory() {
    // SAFETY: walks the allocator's own free lists, under its locks.
    unsafe { libc::malloc_trim(0) };
}

/// SIGTERM and SIGINT are taken by [`wait_for_stop`] alone: blocked here, before any thread
/// starts. One that did not block them would let the kernel end the process in its place.
pub fn block_signals() {
    let set = stop_signals();
    // SAFETY: a valid set; only this thread's mask (and those of its future threads) changes.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) };
}

fn stop_signals() -> libc::sigset_t {
    // SAFETY: sigemptyset initialises the set before it is used.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGTERM);
        libc::sigaddset(&mut set, libc::SIGINT);
        set
    }
}

/// Wait for a signal to stop; a second one ends the process at once.
pub fn wait_for_stop(stop: oneshot::Sender<()>) {
    let wait = || {
        let set = stop_signals();
        let mut signal = 0;
        // SAFETY: both point to live locals.
        unsafe { libc::sigwait(&set, &mut signal) };
        signal
    };
    let (first, began) = (FirstSignal::new(), Instant::now());
    let signal = wait();
    first.is_echoed(signal, began.elapsed());
    tracing::info!(signal, "stopping: connections end, everything is written");
    let _ = stop.send(());
    #[expect(clippy::disallowed_methods, reason = "a second signal asks for exactly that")]
    let again = std::thread::Builder::new().name("second-signal".into()).spawn(move || {
        while first.is_echoed(wait(), began.elapsed()) {}
        tracing::warn!("stopped at once by a second signal; the next start recovers");
        std::process::exit(130);
    });
    drop(again);
}
