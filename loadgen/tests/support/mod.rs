//! What the tests of the command share: processes that are ended by their pid.

#![allow(dead_code, reason = "each test binary uses its part")]

pub mod browser;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// The command.
pub const LOADGEN: &str = env!("CARGO_BIN_EXE_loadgen");

/// A process that listens; killed when dropped.
pub struct Server {
    child: Child,
    /// HOST:PORT.
    pub address: String,
}

impl Server {
    /// Start `command` and wait for a line that ends in ` on HOST:PORT`.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut lines = lines.map(|line| line.expect("text"));
        let line = lines.find(|line| line.contains("listening on ")).expect("it says where");
        let address = line.rsplit(' ').next().expect("behind the last space").to_owned();
        // The pipe must stay open and empty, or the server blocks or fails when it prints.
        std::thread::spawn(move || lines.count());
        Self { child, address }
    }

    /// A Thalweg broker with its data in `dir`.
    pub fn thalweg(dir: &Path) -> Self {
        Self::start(
            Command::new(broker())
                .args(["serve", "--listen", "127.0.0.1:0", "--log", "error", "--data-dir"])
                .arg(dir.join("data")),
        )
    }

    /// A sink with these flags more.
    pub fn sink(more: &[&str]) -> Self {
        Self::start(Command::new(LOADGEN).args(["sink", "--listen", "127.0.0.1:0"]).args(more))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Run loadgen to its end.
pub fn loadgen(arguments: &[&str]) -> Output {
    Command::new(LOADGEN).args(arguments).output().expect("loadgen runs")
}

/// Send `child` a signal.
pub fn signal(child: &Child, signal: libc::c_int) {
    // SAFETY: a process of ours that has not been waited for.
    assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
}

/// Take lines until one has `word` in it.
pub fn await_line(lines: &mut impl Iterator<Item = String>, word: &str) {
    let mut seen = Vec::new();
    let found = lines.inspect(|line| seen.push(line.clone())).any(|line| line.contains(word));
    assert!(found, "its output ended without {word:?}: {seen:?}");
}

/// What `child` writes to its standard error, which is a pipe.
pub fn errors_of(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let stderr = child.stderr.take().expect("piped");
    BufReader::new(stderr).lines().map(|line| line.expect("text"))
}

/// What `child` writes to its standard output, which is a pipe.
pub fn lines_of(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let stdout = child.stdout.take().expect("piped");
    BufReader::new(stdout).lines().map(|line| line.expect("text"))
}

/// The broker beside loadgen, built if need be.
pub fn broker() -> PathBuf {
    let beside = Path::new(LOADGEN).with_file_name("thalweg");
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--package", "thalweg", "--bin", "thalweg"]);
    build.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
    if beside.parent().is_some_and(|dir| dir.ends_with("release")) {
        build.arg("--release");
    }
    assert!(build.status().expect("cargo runs").success(), "the broker builds");
    beside
}
