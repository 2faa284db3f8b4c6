//! A broker as a process: started, killed, started again, stopped.
//!
//! Always true: a process is ended by the id under which it was started; its directory lies below
//! the build directory and is removed when the test passed, kept when it failed.
//! With THALWEG_TEST_BROKER=apache-kafka the broker is Apache Kafka itself, the judge of whether
//! a test is right.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, PipeReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// A broker that has not said that it is ready by then never will.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// A clean stop flushes and closes; it has nothing else to wait for.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// How soon a refused client tries again where nothing tells of the broker's return.
pub const POLL: Duration = Duration::from_millis(5);

/// How a broker is to be started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Further arguments of `thalweg serve`.
    pub arguments: Vec<String>,
    /// Where its data lies, when not below its scratch directory.
    pub data_dir: Option<PathBuf>,
    /// `ulimit -n` for the process.
    pub open_files: Option<u32>,
}

impl Options {
    /// Further arguments and nothing else.
    pub fn with_arguments(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|each| (*each).to_owned()).collect();
        Self { arguments, ..Self::default() }
    }
}

/// One broker on one directory, whose port stays the same from start to start.
pub struct Broker {
    directory: PathBuf,
    options: Options,
    port: u16,
    child: Option<Child>,
    /// Each line once it is in the log; closed when the process has ended.
    said: Receiver<String>,
    /// Kafka's starter leaves the broker as nobody's child.
    kafka_pid: Option<u32>,
}

impl Broker {
    /// Whether Apache Kafka stands in for Thalweg.
    pub fn is_kafka() -> bool {
        std::env::var("THALWEG_TEST_BROKER").is_ok_and(|which| which == "apache-kafka")
    }

    /// A running broker on a new directory; the name helps to find it again.
    pub fn start(name: &str) -> Self {
        Self::start_with(name, Options::default())
    }

    /// The same, with options.
    pub fn start_with(name: &str, options: Options) -> Self {
        let mut broker = Self::prepared(name, options);
        broker.restart();
        broker
    }

    /// A broker that is not started yet.
    pub fn prepared(name: &str, options: Options) -> Self {
        let directory = scratch(name);
        Self { directory, options, port: 0, child: None, said: channel().1, kafka_pid: None }
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id; the broker must be running.
    pub fn pid(&self) -> u32 {
        self.kafka_pid.or(self.child.as_ref().map(Child::id)).expect("the broker is not running")
    }

    /// The directory of its data.
    pub fn data_dir(&self) -> PathBuf {
        self.options.data_dir.clone().unwrap_or_else(|| self.directory.join("data"))
    }

    /// Replaces the further arguments, for the next start.
    pub fn set_arguments(&mut self, arguments: &[&str]) {
        self.options.arguments = Options::with_arguments(arguments).arguments;
    }

    /// The port of the next start.
    pub fn set_port(&mut self, port: u16) {
        self.port = port;
    }

    /// Starts it (again) on the same directory and port and waits until it serves.
    pub fn restart(&mut self) {
        if Self::is_kafka() {
            return self.restart_kafka();
        }
        self.spawn();
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            match self.said.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains("ready in ") => return,
                Ok(line) => self.port = listening_port(&line).unwrap_or(self.port),
                Err(why) => panic!("the broker is not ready ({why}):\n{}", self.log_tail()),
            }
        }
    }

    /// Starts it, expecting that it refuses: its exit status and what it said.
    pub fn start_refused(&mut self) -> (ExitStatus, String) {
        let start_of_this_run = fs::metadata(self.log_path()).map_or(0, |log| log.len());
        self.spawn();
        let status = self.wait_for_end(START_TIMEOUT, "refuse to start");
        (status, self.log_since(start_of_this_run))
    }

    fn spawn(&mut self) {
        assert!(self.child.is_none(), "the broker is already running");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("opening the broker's log");
        let (output, input) = std::io::pipe().expect("a pipe for what the broker says");
        let binary = env!("CARGO_BIN_EXE_thalweg");
        let mut command = match self.options.open_files {
            None => Command::new(binary),
            Some(limit) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {limit} && exec \"$0\" \"$@\""), binary]);
                shell
            }
        };
        command
            .args(["serve", "--listen", &format!("127.0.0.1:{}", self.port), "--data-dir"])
            .arg(self.data_dir())
            .args(&self.options.arguments)
            .stdin(Stdio::null())
            .stdout(input.try_clone().expect("sharing the pipe"))
            .stderr(input);
        self.child = Some(command.spawn().expect("starting the broker"));
        // With it goes our end of the pipe, so that the process's is the last.
        drop(command);
        self.said = copied(output, log);
    }

    fn restart_kafka(&mut self) {
        let said = self.kafka_script(&["start", "--port", &self.port.to_string()]);
        self.port = listening_port(&said).expect("the starter names the port");
        let pid = said.lines().find_map(|line| line.strip_prefix("pid ")).expect("and the pid");
        self.kafka_pid = Some(pid.parse().expect("a number"));
    }

    fn kafka_script(&self, arguments: &[&str]) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/apache-kafka");
        let done = Command::new(script)
            .arg(arguments[0])
            .arg("--dir")
            .arg(&self.directory)
            .args(&arguments[1..])
            .env("KAFKA_HEAP_OPTS", "-Xmx512m")
            .output()
            .expect("running the starter");
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
        said
    }

    /// kill -9, and waits until the process is gone.
    pub fn kill(&mut self) {
        if let Some(pid) = self.kafka_pid.take() {
            signal(pid, libc::SIGKILL);
            return;
        }
        let mut child = self.child.take().expect("the broker is not running");
        child.kill().expect("kill -9");
        child.wait().expect("waiting for the killed broker");
        // Its log is whole when this is closed.
        while self.said.recv().is_ok() {}
    }

    /// Send it a signal, and go on.
    pub fn signal(&self, number: libc::c_int) {
        signal(self.pid(), number);
    }

    /// SIGTERM, and waits for the end: it must be a success.
    pub fn stop(&mut self) {
        if self.kafka_pid.take().is_some() {
            self.kafka_script(&["stop"]);
            return;
        }
        self.signal(libc::SIGTERM);
        let status = self.wait_for_end(STOP_TIMEOUT, "stop after SIGTERM");
        assert!(status.success(), "SIGTERM ended with {status}:\n{}", self.log_tail());
    }

    fn wait_for_end(&mut self, limit: Duration, what: &str) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            match self.said.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    self.kill();
                    panic!("the broker did not {what} within {limit:?}:\n{}", self.log_tail());
                }
            }
        }
        let mut child = self.child.take().expect("the broker is not running");
        child.wait().expect("waiting for the broker")
    }

    fn child_mut(&mut self) -> &mut Child {
        self.child.as_mut().expect("the broker is not running")
    }

    /// Panics with the log's end when the process has ended by itself.
    pub fn assert_alive(&mut self) {
        if self.kafka_pid.is_some() {
            return;
        }
        if let Some(status) = self.child_mut().try_wait().expect("waiting for the broker") {
            panic!("the broker ended with {status}:\n{}", self.log_tail());
        }
    }

    /// Bytes of its memory that are resident (VmRSS).
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("KiB") * 1024
    }

    /// Where everything it says is kept.
    pub fn log_path(&self) -> PathBuf {
        self.directory.join("log")
    }

    fn log_since(&self, position: u64) -> String {
        let mut log = File::open(self.log_path()).expect("the broker's log");
        log.seek(SeekFrom::Start(position)).expect("seeking in it");
        let mut bytes = Vec::new();
        log.read_to_end(&mut bytes).expect("reading it");
        without_colours(&String::from_utf8_lossy(&bytes))
    }

    /// The end of everything it said, once it has said a line with this in it.
    pub fn log_until(&self, part: &str) -> String {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            match self.said.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(part) => return self.log_tail(),
                Ok(_) => {}
                Err(why) => panic!("it did not say {part:?} ({why}):\n{}", self.log_tail()),
            }
        }
    }

    /// The end of everything it said.
    pub fn log_tail(&self) -> String {
        let length = fs::metadata(self.log_path()).map_or(0, |log| log.len());
        self.log_since(length.saturating_sub(4000))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.child.is_some() || self.kafka_pid.is_some() {
            if std::thread::panicking() {
                let log = if Self::is_kafka() { String::new() } else { self.log_tail() };
                eprintln!("the broker's directory is kept: {}\n{log}", self.directory.display());
            }
            self.kill();
        }
        if !std::thread::panicking() {
            // What cannot be removed is left; the next `cargo clean` takes it.
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}

/// A new empty directory below the build directory (/tmp may be memory, without direct I/O).
pub fn scratch(name: &str) -> PathBuf {
    tempfile::Builder::new()
        .prefix(&format!("{name}-"))
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .expect("a scratch directory")
        .keep()
}

/// Copies what a process says to its log; each line, without colours, once it is there.
fn copied(output: PipeReader, mut log: File) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).expect("reading what the broker says") > 0 {
            log.write_all(&line).expect("writing the broker's log");
            // A test that has ended listens no more.
            let _ = sender.send(without_colours(&String::from_utf8_lossy(&line)));
            line.clear();
        }
    });
    lines
}

fn signal(pid: u32, number: libc::c_int) {
    // SAFETY: kill(2) takes two integers and touches no memory of ours.
    let result = unsafe { libc::kill(pid as libc::pid_t, number) };
    assert_eq!(result, 0, "signal {number} to {pid}");
}

/// The port of the banner's line `listening on HOST:PORT`.
fn listening_port(said: &str) -> Option<u16> {
    let after = said.split("listening on ").nth(1)?;
    let address = after.split_whitespace().next()?;
    address.rsplit(':').next()?.trim_end_matches(|each: char| !each.is_ascii_digit()).parse().ok()
}

/// Without the escape sequences of a coloured log.
fn without_colours(said: &str) -> String {
    let mut plain = String::with_capacity(said.len());
    let mut rest = said;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        rest = after.split_once('m').map_or("", |(_, tail)| tail);
    }
    plain + rest
}
