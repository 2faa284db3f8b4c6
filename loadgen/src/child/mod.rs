//! A broker as a child process: found or built, started in a fresh directory, ended by its pid.
//!
//! Always true: the child does not outlive us. It is told to end when it is dropped, when we are
//! interrupted, and by the kernel if we are killed.

pub mod kafka;

use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::admin::Admin;
use crate::print;

/// How long a broker may take to start, and to end before it is killed.
const START_LIMIT: Duration = Duration::from_secs(60);
const END_LIMIT: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(10);
/// Most lines of the broker's log shown when it fails.
const LOG_LINES: usize = 15;

/// The binary to start: the one given; started through cargo, a freshly built one; otherwise
/// the one beside this executable.
///
/// # Errors
/// Says where was looked and what to do.
pub fn find_broker(given: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(path) = given {
        let is_file = path.is_file();
        return is_file.then(|| path.to_owned()).ok_or(format!(
            "--broker {}: there is no such file; build it with `cargo build --release --bin \
             thalweg`",
            path.display()
        ));
    }
    let own = env::current_exe().map_err(|error| format!("where am I? {error}"))?;
    let beside = own.with_file_name("thalweg");
    if let Some(cargo) = env::var_os("CARGO") {
        build(&cargo, &own)?;
    }
    if beside.is_file() {
        return Ok(beside);
    }
    Err(format!(
        "no broker at {}; build it with `cargo build --release --bin thalweg`, or say --broker PATH",
        beside.display()
    ))
}

/// `cargo run -p loadgen` builds loadgen alone; the broker must be as new as the sources.
fn build(cargo: &std::ffi::OsStr, own: &Path) -> Result<(), String> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", "thalweg", "--bin", "thalweg"]);
    command.current_dir(workspace);
    if own.parent().is_some_and(|dir| dir.ends_with("release")) {
        command.arg("--release");
    }
    print::aside("loadgen: building the broker (cargo build --bin thalweg); it may take minutes");
    let status = command.status().map_err(|error| format!("cannot start cargo: {error}"))?;
    if !status.success() {
        return Err("the broker does not build; cargo's messages are above".into());
    }
    Ok(())
}

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its own account of itself, as it printed it.
    pub banner: Vec<String>,
    log: PathBuf,
}

/// What a broker's standard output is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    /// It says where it listens.
    Address,
    /// It belongs to the log.
    Nothing,
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU seconds, user and system.
    pub cpu_s: f64,
    /// Largest resident memory so far, bytes.
    pub peak_bytes: u64,
    /// Bytes read from disk; none where the kernel does not tell.
    pub read_bytes: Option<u64>,
}

impl Broker {
    /// Start `binary` with its data in `dir/data` and its log in `dir/broker.log`.
    ///
    /// # Errors
    /// When it does not come up; the end of its log is in the message.
    pub fn start(binary: &Path, dir: &Path, stop: &AtomicBool) -> Result<Self, String> {
        Self::start_with(binary, &[], dir, stop)
    }

    /// The same with further arguments behind `serve`.
    ///
    /// # Errors
    /// When it does not come up; the end of its log is in the message.
    pub fn start_with(
        binary: &Path,
        more: &[String],
        dir: &Path,
        stop: &AtomicBool,
    ) -> Result<Self, String> {
        let mut command = Command::new(binary);
        command.arg("serve").args(["--listen", "127.0.0.1:0"]);
        command.arg("--data-dir").arg(dir.join("data")).args(more);
        let mut broker = Self::spawn(command, dir, Says::Address)?;
        let stdout = broker.child.stdout.take().expect("stdout was piped");
        broker.await_ready(stdout, stop)?;
        Ok(broker)
    }

    /// Start `command`, its log in `dir/broker.log`; nothing is awaited.
    fn spawn(mut command: Command, dir: &Path, says: Says) -> Result<Self, String> {
        let log = dir.join("broker.log");
        let failed = |error| format!("cannot write {}: {error}", log.display());
        let log_file = File::create(&log).map_err(failed)?;
        let output = match says {
            Says::Address => Stdio::piped(),
            Says::Nothing => log_file.try_clone().map_err(failed)?.into(),
        };
        command.stdin(Stdio::null()).stdout(output).stderr(log_file);
        // Ctrl-C is for us; we end the broker when its files are no longer needed.
        command.process_group(0);
        // SAFETY: the closure runs between fork and exec and makes one system call, which is
        // async-signal-safe and touches no memory.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM as libc::c_ulong);
                Ok(())
            });
        }
        let program = command.get_program().to_owned();
        let child = command
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        Ok(Self { child, address, banner: Vec::new(), log })
    }

    /// Ask at `address` until it answers: for a broker that does not say when it is ready.
    fn await_answer(&mut self, address: SocketAddr, stop: &AtomicBool) -> Result<(), String> {
        let begin = Instant::now();
        self.address = address;
        loop {
            if let Some(why) = self.has_ended() {
                return Err(why);
            }
            let why = match Admin::connect(&address.to_string()) {
                Ok(_) => return Ok(()),
                Err(why) => why,
            };
            self.check_patience(begin, stop).map_err(|log| format!("{why}\n{log}"))?;
            thread::sleep(PAUSE * 10);
        }
    }

    /// Whether a broker that was started at `begin` may still be waited for.
    fn check_patience(&self, begin: Instant, stop: &AtomicBool) -> Result<(), String> {
        if begin.elapsed() > START_LIMIT {
            let limit = START_LIMIT.as_secs();
            return Err(format!("the broker was not ready after {limit} s:\n{}", self.log_end()));
        }
        if stop.load(Ordering::Relaxed) {
            return Err("stopped while the broker started".into());
        }
        Ok(())
    }

    /// Read its two promised lines: `listening on HOST:PORT` and `ready in N ms`.
    fn await_ready(
        &mut self,
        stdout: std::process::ChildStdout,
        stop: &AtomicBool,
    ) -> Result<(), String> {
        let (send, lines) = channel();
        // The thread ends with the pipe; it goes on reading so that the broker never blocks.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        let begin = Instant::now();
        loop {
            match lines.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => {
                    if let Some(address) = line.strip_prefix("listening on ") {
                        self.address = address
                            .trim()
                            .parse()
                            .map_err(|_| format!("the broker listens on {address:?}?"))?;
                    }
                    let is_ready = line.starts_with("ready in ");
                    self.banner.push(line);
                    if is_ready && self.address.port() != 0 {
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let ended = self.wait_for_end(Duration::from_secs(2));
                    let how = ended.map_or("closed its output".to_owned(), |s| s.to_string());
                    return Err(format!("the broker did not start ({how}):\n{}", self.log_end()));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.check_patience(begin, stop)?;
        }
    }

    /// Why it ended, if it has.
    pub fn has_ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(format!("the broker ended ({status}):\n{}", self.log_end()))
    }

    /// The last lines of its log.
    fn log_end(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// CPU and memory it has used.
    pub fn usage(&self) -> Usage {
        let proc = PathBuf::from(format!("/proc/{}", self.child.id()));
        let stat = fs::read_to_string(proc.join("stat")).unwrap_or_default();
        // Fields 14 and 15, counted behind the name in parentheses, which may hold spaces.
        let behind = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let fields = behind.split_whitespace().skip(11).take(2);
        let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
        let status = fs::read_to_string(proc.join("status")).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|p| p.split_whitespace().next()?.parse::<u64>().ok());
        let io = fs::read_to_string(proc.join("io")).unwrap_or_default();
        let read = io.lines().find_map(|line| line.strip_prefix("read_bytes:"));
        let read_bytes = read.and_then(|bytes| bytes.trim().parse().ok());
        // The unit of /proc times is 1/100 s on every Linux (USER_HZ).
        let peak_bytes = kib.unwrap_or(0) * 1024;
        Usage { cpu_s: ticks as f64 / 100.0, peak_bytes, read_bytes }
    }

    fn wait_for_end(&mut self, limit: Duration) -> Option<ExitStatus> {
        let begin = Instant::now();
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            if begin.elapsed() > limit {
                return None;
            }
            thread::sleep(PAUSE);
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // SAFETY: kill(2) touches no memory; the child has not been waited for, so its pid
            // is still its own.
            unsafe {
                libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM);
            }
            if self.wait_for_end(END_LIMIT).is_none() {
                let limit = END_LIMIT.as_secs();
                print::aside(format_args!(
                    "loadgen: the broker did not end in {limit} s; killing it"
                ));
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A shell script in the broker's place.
    fn script(dir: &Path, body: &str) -> PathBuf {
        let path = dir.join("broker.sh");
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn never() -> AtomicBool {
        AtomicBool::new(false)
    }

    #[test]
    fn a_broker_is_ready_when_it_says_so_and_ends_when_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        // The trap comes first: before it the signal would end the shell without a trace.
        let body = "cd \"$(dirname \"$0\")\"; trap 'echo ended > ended; exit 0' TERM\n\
                    echo hello; echo 'listening on 127.0.0.1:4711'; echo 'ready in 3 ms'\n\
                    while :; do sleep 0.01; done";
        let binary = script(dir.path(), body);
        let broker = Broker::start(&binary, dir.path(), &never()).unwrap();
        assert_eq!(broker.address.port(), 4711);
        assert_eq!(broker.banner[0], "hello");
        let pid = broker.child.id();
        drop(broker);
        assert!(dir.path().join("ended").exists(), "it was asked, not killed");
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn a_broker_that_fails_shows_the_end_of_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let binary = script(dir.path(), "echo 'no space on disk' >&2; exit 7");
        let why = Broker::start(&binary, dir.path(), &never()).unwrap_err();
        assert!(why.contains("no space on disk") && why.contains('7'), "{why}");
    }

    #[test]
    fn a_missing_binary_says_how_to_get_one() {
        let why = find_broker(Some(Path::new("/no/broker"))).unwrap_err();
        assert!(why.contains("/no/broker") && why.contains("cargo build"), "{why}");
    }
}
