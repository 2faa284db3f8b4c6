//! What the machine forbids is named before the start, by `serve --check` and by `serve`.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use crate::support::Broker;
use crate::support::broker::scratch;

/// `linux/capability.h`: who has it is charged no locked memory.
const CAP_IPC_LOCK: libc::c_ulong = 14;

/// `thalweg serve` on a port of the kernel's choice, for a process that was restricted by
/// `restrict`.
fn serve(
    arguments: &[&str],
    restrict: impl Fn() -> io::Result<()> + Send + Sync + 'static,
) -> (Child, std::path::PathBuf) {
    let directory = scratch("machine");
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(directory.join("data"))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // SAFETY: the restrictions below are system calls and nothing else.
    unsafe { command.pre_exec(restrict) };
    (command.spawn().expect("starting thalweg"), directory)
}

/// Whether it served, or with --check said that it can, and what it wrote to standard error.
fn outcome(
    arguments: &[&str],
    restrict: impl Fn() -> io::Result<()> + Send + Sync + 'static,
) -> (bool, String) {
    let (mut child, directory) = serve(arguments, restrict);
    let mut said = String::new();
    let mut out = child.stdout.take().expect("a pipe");
    let mut bytes = [0; 4096];
    let is_ready = loop {
        match out.read(&mut bytes).expect("reading what it says") {
            0 => break false,
            n => said.push_str(&String::from_utf8_lossy(&bytes[..n])),
        }
        if said.contains("ready in ") {
            break true;
        }
    };
    if is_ready {
        child.kill().expect("ending it");
    }
    let mut error = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut error).expect("reading it");
    let status = child.wait().expect("waiting for its end");
    let _ = std::fs::remove_dir_all(directory);
    (is_ready || status.success(), error)
}

/// Without the right to lock what one likes, and with so many bytes of it.
fn locked_memory(bytes: libc::rlim_t) -> impl Fn() -> io::Result<()> + Send + Sync + 'static {
    move || {
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
        // SAFETY: the pointer is to a live rlimit. Who may not drop the capability has none.
        let set = unsafe {
            libc::prctl(libc::PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0);
            libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit)
        };
        if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// As a seccomp filter does that knows only half of io_uring.
fn forbidden(call: libc::c_long) -> impl Fn() -> io::Result<()> + Send + Sync + 'static {
    move || {
        const LOAD_NUMBER: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
        const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
        const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
        let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
        let refused = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
        let mut steps = [
            step(LOAD_NUMBER, 0, 0, 0),
            step(IF_EQUAL, 0, 1, call as u32),
            step(RETURN, 0, 0, refused),
            step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let filter = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
        // SAFETY: the filter and its steps live until the calls return.
        let set = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter)
        };
        if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// Whether rings count depends on the kernel, so the check has to agree with the start.
#[test]
fn a_limit_of_locked_memory_that_passes_the_check_is_enough_to_start() {
    if Broker::is_kafka() {
        return; // the JVM locks nothing
    }
    for kib in [400, 600, 800, 1024] {
        let limit = kib * 1024;
        let (passed, why) = outcome(&["--shards", "2", "--check"], locked_memory(limit));
        assert!(passed || why.contains("locked memory") && why.contains("ulimit -l"), "{why}");
        let (started, why) = outcome(&["--shards", "2"], locked_memory(limit));
        // The brokers of other tests count, too, when they run as the same user without the right.
        // SAFETY: asks for a number.
        let is_alone = unsafe { libc::geteuid() } == 0;
        let is_named = why.contains("locked memory") && why.contains("ulimit -l");
        let is_true = started == passed || !is_alone && is_named;
        assert!(is_true, "{kib} KiB: the check passed: {passed}, started: {started}: {why}");
    }
}

#[test]
fn io_uring_that_is_forbidden_in_part_is_refused_in_words() {
    if Broker::is_kafka() {
        return; // the JVM has none
    }
    for (call, name) in [
        (libc::SYS_io_uring_setup, "io_uring_setup"),
        (libc::SYS_io_uring_enter, "io_uring_enter"),
        (libc::SYS_io_uring_register, "io_uring_register"),
    ] {
        for arguments in [&["--check"][..], &[]] {
            let (started, why) = outcome(arguments, forbidden(call));
            assert!(!started, "{name} is forbidden: {why}");
            assert!(why.contains(&format!("cannot use io_uring: {name}")), "{why}");
            assert!(why.contains("seccomp") && !why.contains("panicked"), "{why}");
        }
    }
}
