//! How a run is ended by hand, and what a terminal sees of it: signals, keys, frames, and that the
//! terminal is given back.

#[path = "support/pty.rs"]
mod pty;
mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use pty::Pty;
use serde_json::Value;
use support::{LOADGEN, Server, await_line, errors_of, signal};

/// A run that would take ten minutes.
fn long_run(address: &str, more: &[&str]) -> Command {
    let mut command = Command::new(LOADGEN);
    let flags = ["--rate", "2000", "--warmup", "0.5", "--duration", "600", "--progress", "0.2"];
    command.args(["run", "-b", address]).args(flags).args(more);
    command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
    command
}

fn result(folder: &Path) -> Value {
    let text = fs::read_to_string(folder.join("result.json")).expect("a result");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn a_signal_ends_the_run_early_and_the_whole_report_says_so() {
    let sink = Server::sink(&["--keep-bytes", "300000000"]);
    let dir = tempfile::tempdir().unwrap();
    for (name, number, parts) in
        [("interrupted", libc::SIGINT, "1"), ("terminated", libc::SIGTERM, "2")]
    {
        let out = dir.path().join(name);
        let more = ["--out", out.to_str().unwrap(), "--topic", name, "--parts", parts];
        let more = [&more[..], &["--producers", "2"]].concat();
        let mut command = long_run(&sink.address, &more);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut said = errors_of(&mut child);
        // Two lines of the measured time: there is something to report.
        await_line(&mut said, "measuring");
        await_line(&mut said, "measuring");
        signal(&child, number);
        await_line(&mut said, "ending early");
        signal(&child, number); // as `timeout` does
        let rest = said.collect::<Vec<_>>().join("\n");
        let ended = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&ended.stdout);
        assert!(matches!(ended.status.code(), Some(0 | 3)), "{:?} {text} {rest}", ended.status);
        assert!(text.contains("cut short by hand") && text.contains("verified"), "{text}");
        for file in ["result.json", "latency.hlog", "seconds.csv", "report.html"] {
            assert!(out.join(file).is_file(), "{file}");
        }
        let page = fs::read_to_string(out.join("report.html")).unwrap();
        assert!(page.contains("cut short by hand"));
        let result = result(&out);
        let measured = result["measured_s"].as_f64().unwrap();
        assert!(measured > 0.0 && measured < 100.0, "{measured}");
        assert_ne!(result["validity"], "ok");
        let mut kinds = result["warnings"].as_array().unwrap().iter().map(|w| &w["kind"]);
        assert!(kinds.any(|kind| kind == "stopped"));
        // Rates are those of the time that was measured, not of ten minutes.
        let produced = &result["produced"];
        let records = produced["records"].as_f64().unwrap();
        let of_measured = produced["records_per_s"].as_f64().unwrap() * measured / records;
        assert!((of_measured - 1.0).abs() < 1e-6, "{produced} in {measured} s");
        let verdict = &result["verdict"];
        assert_eq!((&verdict["lost"], &verdict["unread"]), (&0.into(), &0.into()), "{verdict}");
        assert_eq!(verdict["read"], verdict["acknowledged"], "what was sent was read to its end");
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    // Its answers take longer than anybody waits.
    let sink = Server::sink(&["--keep-bytes", "300000000", "--delay", "fixed:300s"]);
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let mut command = long_run(&sink.address, &["--out", out.to_str().unwrap()]);
    let mut child =
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut said = errors_of(&mut child);
    await_line(&mut said, "measuring");
    signal(&child, libc::SIGINT);
    await_line(&mut said, "ending early");
    signal(&child, libc::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(128 + libc::SIGTERM));
    assert!(!out.join("result.json").exists(), "no half report");
}

#[test]
fn a_terminal_shows_the_run_until_q_and_gets_everything_back() {
    let sink = Server::sink(&["--keep-bytes", "300000000"]);
    let mut pty = Pty::start(&mut long_run(&sink.address, &[]), 100, 30);
    let before = pty.modes();
    let begun = pty.await_text("\x1b[?1049h\x1b[?25l", 0);
    assert_ne!(pty.modes(), before, "keys come one by one, and Ctrl-Z does nothing");
    let at = pty.await_text("measuring", begun);
    let at = pty.await_text("records/s", at);
    let at = pty.await_text("at the consumer, ms; one column a second", at);
    assert!(pty.text[begun..at].contains("\x1b[38;5;"), "in colours");
    pty.resize(40, 12);
    let at = pty.await_text("\x1b[H\x1b[2J", at);
    let end = pty.await_text("\x1b[J", at);
    let frame = &pty.text[at..end];
    assert!(frame.split("\r\n").count() <= 12, "{frame:?}");
    for line in frame.split("\r\n") {
        let text: String = line.trim_end().split('\x1b').map(plain).collect();
        assert!(text.chars().count() <= 40, "{text:?}");
    }
    pty.press(b"q");
    let code = pty.end();
    assert!(matches!(code, Some(0 | 3)), "{code:?}");
    let last = pty.text.split("\x1b[?25h\x1b[?1049l").last().unwrap();
    assert!(last.contains("cut short by hand") && last.contains("verdict"), "{last:?}");
    assert!(!last.contains('\x1b'), "nothing is drawn afterwards: {last:?}");
    assert_eq!(pty.modes(), before, "as it was");
}

/// What stands behind an escape character without its sequence.
fn plain(part: &str) -> &str {
    if !part.starts_with('[') {
        return part;
    }
    part.split_once(|c: char| c.is_ascii_alphabetic()).map_or("", |(_, text)| text)
}

#[test]
fn a_second_ctrl_c_gives_the_terminal_back_too() {
    let sink = Server::sink(&["--keep-bytes", "300000000", "--delay", "fixed:300s"]);
    let mut pty = Pty::start(&mut long_run(&sink.address, &[]), 80, 24);
    let before = pty.modes();
    let at = pty.await_text("measuring", 0);
    pty.press(b"\x03");
    pty.await_text("ending early", at);
    pty.press(b"\x03");
    assert_eq!(pty.end(), Some(128 + libc::SIGINT));
    assert!(pty.text.ends_with("\x1b[?25h\x1b[?1049l"), "{:?}", pty.text);
    assert_eq!(pty.modes(), before);
}

#[test]
fn a_dumb_terminal_gets_lines_and_no_color_no_colours() {
    let sink = Server::sink(&["--keep-bytes", "300000000"]);
    let mut pty = Pty::start(long_run(&sink.address, &[]).env("TERM", "dumb"), 80, 24);
    pty.await_text("records/s acknowledged", 0);
    pty.press(b"\x03");
    assert!(matches!(pty.end(), Some(0 | 3)), "{}", pty.text);
    assert!(!pty.text.contains('\x1b'), "{:?}", pty.text);
    let mut pty = Pty::start(long_run(&sink.address, &[]).env("NO_COLOR", "1"), 100, 30);
    let at = pty.await_text("one column a second", 0);
    pty.await_text("\x1b[J", at);
    assert!(!pty.text.contains("\x1b[38"), "{:?}", pty.text);
    pty.press(b"q");
    assert!(matches!(pty.end(), Some(0 | 3)), "{}", pty.text);
}
