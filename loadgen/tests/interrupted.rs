//! Commands that are ended by a signal before they have their answer: what was measured until then
//! is printed and stored, marked as interrupted, the exit code says so, and nothing that was
//! started is left behind.

mod support;

use std::fs::{self, File};
use std::io::Read;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use support::{LOADGEN, Server, await_line, broker, errors_of, lines_of, signal};

/// The two signals with the exit codes that tell them.
const SIGNALS: [(libc::c_int, i32); 2] = [(libc::SIGINT, 130), (libc::SIGTERM, 143)];

fn start(arguments: &[&str]) -> Child {
    let mut command = Command::new(LOADGEN);
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("it starts")
}

/// Its exit code and what else it printed.
fn end(child: Child) -> (Option<i32>, String) {
    let ended = child.wait_with_output().expect("a child");
    (ended.status.code(), String::from_utf8_lossy(&ended.stdout).into_owned())
}

fn json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

fn count(list: &Value) -> usize {
    list.as_array().expect("a list").len()
}

/// `dir` is empty, and no process works in it any more.
fn assert_nothing_is_left(dir: &Path) {
    assert_eq!(fs::read_dir(dir).unwrap().count(), 0, "{} is empty", dir.display());
    let processes = fs::read_dir("/proc").unwrap().flatten();
    for process in processes {
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let wanted = dir.as_os_str().as_bytes();
        let is_there = command.windows(wanted.len()).any(|part| part == wanted);
        assert!(!is_there, "{:?} works there", String::from_utf8_lossy(&command));
    }
}

#[test]
fn a_search_tells_the_rates_that_it_knows() {
    let sink = Server::sink(&["--keep-bytes", "300000000"]);
    let dir = tempfile::tempdir().unwrap();
    for (number, code) in SIGNALS {
        let file = dir.path().join(format!("{code}.json"));
        let begin = ["find", "-b", &sink.address, "--slo", "produce.p50<5s"];
        let search = ["--start", "24", "--limit", "24", "--short", "1", "--long", "600"];
        let more = ["--json", file.to_str().unwrap(), "--", "--warmup", "0.1"];
        let mut child = start(&[&begin[..], &search, &more].concat());
        let mut said = errors_of(&mut child);
        await_line(&mut said, "kept");
        // The rate is to be confirmed for ten minutes.
        signal(&child, number);
        await_line(&mut said, "ending early");
        let (ended, told) = end(child);
        assert_eq!(ended, Some(code), "{told}");
        assert!(told.contains("interrupted after") && told.contains("24 kept"), "{told}");
        let found = json(&file);
        assert_eq!((&found["interrupted"], &found["low"]), (&true.into(), &Value::Null), "{found}");
        let trials = found["trials"].as_array().unwrap();
        assert!(!trials.is_empty(), "{found}");
        assert!(trials.iter().all(|tried| tried["trial"]["confirms"] == false), "none cut short");
    }
}

#[test]
fn a_comparison_keeps_its_runs_and_ends_its_brokers() {
    let dir = tempfile::tempdir().unwrap();
    let binary = broker();
    let binary = binary.to_str().unwrap();
    let (place, out) = (dir.path().join("brokers"), dir.path().join("ab"));
    fs::create_dir(&place).unwrap();
    let file = dir.path().join("ab.json");
    let targets = ["ab", "--a", binary, "--b", binary, "--rounds", "3"];
    let places = ["--dir", place.to_str().unwrap(), "--out", out.to_str().unwrap()];
    let rest = ["--json", file.to_str().unwrap(), "--", "--rate", "500", "--warmup", "0.2"];
    let mut child = start(&[&targets[..], &places, &rest, &["--duration", "2"]].concat());
    let mut said = errors_of(&mut child);
    await_line(&mut said, "A against A 1");
    await_line(&mut said, "A against A 1");
    signal(&child, libc::SIGINT);
    await_line(&mut said, "ending early");
    let (ended, told) = end(child);
    assert_eq!(ended, Some(130), "{told}");
    let found = json(&file);
    let runs = count(&found["runs"]);
    assert!((2..12).contains(&runs), "{runs} runs");
    let after = format!("interrupted after {runs} of 12 runs");
    assert!(told.contains(&after) && told.contains("verdict"), "{told}");
    assert_eq!(found["interrupted"], true);
    assert!(found["doubtful"].to_string().contains(&after), "{}", found["doubtful"]);
    let floor = found["floor"].as_array().unwrap();
    assert!(floor.iter().any(|f| f["metric"] == "produce p50"), "one round of A against A: {told}");
    assert!(told.contains("noise floor  ") || found["judged"][0].is_object(), "{told}");
    // The run that was cut short has a folder, and no place in the comparison.
    assert_eq!(json(&out.join("result.json")), found);
    for run in found["runs"].as_array().unwrap() {
        assert!(out.join(run["folder"].as_str().unwrap()).join("report.html").is_file());
    }
    assert!(fs::read_to_string(out.join("report.html")).unwrap().contains("It was interrupted"));
    assert_nothing_is_left(&place);
}

/// A pipe with a name, and our end of it.
fn pipe(path: &Path) -> File {
    let name = std::ffi::CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: `name` is a terminated string; the descriptor is new and belongs to nobody else.
    unsafe {
        assert_eq!(libc::mkfifo(name.as_ptr(), 0o600), 0);
        // Open for both: it neither blocks here nor ends when a writer does.
        File::from_raw_fd(libc::open(name.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC))
    }
}

/// Wait for a byte, for a minute at most.
fn await_byte(pipe: &mut File) {
    let mut wanted = libc::pollfd { fd: pipe.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid pollfd.
    assert_eq!(unsafe { libc::poll(&mut wanted, 1, 60_000) }, 1, "nobody wrote");
    assert_eq!(pipe.read(&mut [0]).unwrap(), 1);
}

/// A broker that says through `pipe` that it was started, and never gets ready.
fn slow_broker(dir: &Path, pipe: &Path) -> PathBuf {
    let path = dir.join("slow-broker");
    let text = format!("#!/bin/sh\nprintf x > '{}'\nexec sleep 600\n", pipe.display());
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_comparison_ends_while_its_first_broker_starts() {
    let dir = tempfile::tempdir().unwrap();
    let mut up = pipe(&dir.path().join("up"));
    let binary = slow_broker(dir.path(), &dir.path().join("up"));
    let binary = binary.to_str().unwrap();
    let (place, out) = (dir.path().join("brokers"), dir.path().join("ab"));
    fs::create_dir(&place).unwrap();
    let targets = ["ab", "--a", binary, "--b", binary, "--dir", place.to_str().unwrap()];
    let rest = ["--out", out.to_str().unwrap(), "--", "--rate", "500", "--duration", "1"];
    let child = start(&[&targets[..], &rest].concat());
    await_byte(&mut up);
    signal(&child, libc::SIGTERM);
    let (ended, told) = end(child);
    assert_eq!(ended, Some(143), "{told}");
    assert!(told.contains("interrupted after 0 of 20 runs"), "{told}");
    let found = json(&out.join("result.json"));
    assert_eq!((&found["interrupted"], count(&found["runs"])), (&true.into(), 0));
    assert!(out.join("report.html").is_file());
    assert_eq!(fs::read_dir(out.join("runs")).unwrap().count(), 0, "no run, no folder");
    assert_nothing_is_left(&place);
}

#[test]
fn quick_reports_the_ceilings_and_phases_that_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("place");
    fs::create_dir(&place).unwrap();
    let binary = broker();
    // In the first phase, and before anything was measured.
    for (line, (number, code)) in ["ready in", "disk of"].into_iter().zip(SIGNALS) {
        let file = dir.path().join(format!("{code}.json"));
        let begin = ["quick", "--dir", place.to_str().unwrap(), "--json", file.to_str().unwrap()];
        let mut child = start(&[&begin[..], &["--broker", binary.to_str().unwrap()]].concat());
        let mut printed = lines_of(&mut child);
        await_line(&mut printed, line);
        signal(&child, number);
        let told = printed.collect::<Vec<_>>().join("\n");
        let (ended, _) = end(child);
        assert_eq!(ended, Some(code), "{told}");
        assert!(told.contains("INTERRUPTED"), "{told}");
        let found = json(&file);
        assert_eq!((&found["interrupted"], &found["exit_code"]), (&true.into(), &code.into()));
        let is_known = line == "ready in";
        assert_eq!(found["device"].is_object(), is_known, "{}", found["device"]);
        assert_eq!(found["sink"].is_object(), is_known, "{}", found["sink"]);
        // Not all six, however late the signal came.
        let phases = count(&found["phases"]);
        assert!(if is_known { phases < 6 } else { phases == 0 }, "{}", found["phases"]);
        assert_nothing_is_left(&place);
    }
}

/// The broker ends behind its first phase: what was measured is told and stored all the same.
#[test]
fn quick_reports_the_phases_before_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("place");
    fs::create_dir(&place).unwrap();
    let (binary, pid) = (dir.path().join("broker"), dir.path().join("pid"));
    let script =
        format!("#!/bin/sh\necho $$ > {}\nexec {} \"$@\"\n", pid.display(), broker().display());
    fs::write(&binary, script).unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    let file = dir.path().join("quick.json");
    let begin = ["quick", "--dir", place.to_str().unwrap(), "--json", file.to_str().unwrap()];
    let mut child = start(&[&begin[..], &["--broker", binary.to_str().unwrap()]].concat());
    let mut printed = lines_of(&mut child);
    // The last line of the first phase; the next one begins.
    await_line(&mut printed, "ready in");
    await_line(&mut printed, "verified");
    let pid = fs::read_to_string(pid).unwrap().trim().parse().expect("a process id");
    // SAFETY: takes two numbers.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
    let told = printed.collect::<Vec<_>>().join("\n");
    let (ended, _) = end(child);
    assert!(matches!(ended, Some(1 | 4)), "{ended:?}: {told}");
    let found = json(&file);
    assert_eq!(found["exit_code"], ended.unwrap(), "{told}");
    assert!(found["failure"].is_string() && told.contains("\nfailed "), "{told}");
    assert!(count(&found["phases"]) >= 1, "{found}");
    assert_nothing_is_left(&place);
}

#[test]
fn quick_ends_when_its_reader_has_read_enough() {
    let dir = tempfile::tempdir().unwrap();
    let binary = broker();
    let place = dir.path().to_str().unwrap();
    let mut child = start(&["quick", "--dir", place, "--broker", binary.to_str().unwrap()]);
    let mut printed = lines_of(&mut child);
    await_line(&mut printed, "disk of");
    drop(printed);
    let ended = child.wait_with_output().unwrap();
    let why = String::from_utf8_lossy(&ended.stderr);
    // As if SIGPIPE had ended it, and everything is put away.
    assert_eq!((ended.status.code(), &*why), (Some(141), ""));
    assert_nothing_is_left(dir.path());
}

#[test]
fn a_calibration_shows_its_cases_and_is_not_called_accurate() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("calibrate.json");
    let flags = ["calibrate", "--seconds", "1", "--no-realtime", "--json"];
    let mut child = start(&[&flags[..], &[file.to_str().unwrap()]].concat());
    let mut said = errors_of(&mut child);
    await_line(&mut said, "1 ms each");
    signal(&child, libc::SIGTERM);
    await_line(&mut said, "ending early");
    let (ended, told) = end(child);
    assert_eq!(ended, Some(143), "{told}");
    assert!(told.contains("1 ms each") && told.contains("INTERRUPTED"), "{told}");
    let found = json(&file);
    assert_eq!((&found["interrupted"], &found["is_accurate"]), (&true.into(), &false.into()));
    assert!((1..4).contains(&count(&found["cases"])), "{found}");
    assert_eq!((&found["held_back"], count(&found["paces"])), (&Value::Null, 0));
}

#[test]
fn a_second_signal_does_not_wait_for_an_answer() {
    // It takes the connection and says nothing.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = mute.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("find.json");
    let flags = ["find", "-b", &address, "--slo", "produce.p50<5s", "--json"];
    let mut child = start(&[&flags[..], &[file.to_str().unwrap()]].concat());
    let mut said = errors_of(&mut child);
    let _connection = mute.accept().unwrap();
    signal(&child, libc::SIGTERM);
    await_line(&mut said, "ending early");
    signal(&child, libc::SIGINT);
    let (ended, told) = end(child);
    assert_eq!((ended, told.as_str()), (Some(130), ""));
    assert!(!file.exists(), "no half report");
}
