//! The command as a user meets it: exit codes, JSON, a sink in another process, and a real
//! Thalweg broker. Every process that is started is ended by its pid.

mod support;

use std::fs::File;
use std::process::{Command, Stdio};

use serde_json::Value;
use support::{LOADGEN, Server, broker, loadgen};

fn run(address: &str, more: &[&str]) -> (i32, Value) {
    let mut arguments = vec!["run", "-b", address, "--json", "-", "--warmup", "0.1"];
    arguments.extend_from_slice(more);
    let output = loadgen(&arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    let value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}\n{why}"));
    (output.status.code().expect("no signal"), value)
}

#[test]
fn a_senseless_command_line_is_78_and_names_the_flag() {
    for (arguments, word) in [
        (&["run", "-b", "127.0.0.1:1"][..], "--rate"),
        (&["run", "-b", "127.0.0.1:1", "--rate", "-5"], "-5"),
        (&["run", "-b", "127.0.0.1:1", "--max", "--record-size", "8"], "--record-size 8"),
        (&["quick", "--record-size", "8"], "--record-size 8"),
        (&["run", "-b", "127.0.0.1:1", "--ramp", "5"], "FROM:TO"),
        (&["run", "-b", "127.0.0.1:1", "--rate", "5", "--steps", "1,2"], "--steps"),
        (&["sink", "--delay", "fixed:5"], "unit"),
        (&["run", "-b", "127.0.0.1:1", "-w", "no-such"], "loadgen scenarios"),
        (&["run", "-b", "127.0.0.1:1", "--rate", "5", "--key-zipf", "1"], "--key-size"),
        (&["nonsense"], "nonsense"),
    ] {
        let output = loadgen(arguments);
        let why = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{arguments:?}: {why}");
        assert!(why.contains(word), "{arguments:?}: {why}");
    }
}

#[test]
fn a_result_file_that_cannot_be_written_is_refused_before_anything_is_measured() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_str().unwrap();
    let out = dir.path().join("out");
    let out = out.to_str().unwrap();
    // Nobody listens there: whoever measured first would fail with 1.
    let run = ["run", "-b", "127.0.0.1:1", "--max"];
    let find = ["find", "-b", "127.0.0.1:1", "--slo", "rate>=1"];
    let ab = ["ab", "--a", "127.0.0.1:1", "--b", "127.0.0.1:1"];
    for file in ["/nonexist/x.json", folder] {
        let json = ["--json", file];
        for words in [
            [&run[..], &json].concat(),
            [&run[..], &["--out", out, "--omb-result", file]].concat(),
            [&find[..], &json].concat(),
            [&ab[..], &json, &["--", "--max"]].concat(),
            [&["quick", "--broker", "/nonexist"], &json[..]].concat(),
            [&["calibrate"], &json[..]].concat(),
            [&["device", "--dir", "/nonexist"], &json[..]].concat(),
            [&["sink", "--listen", "127.0.0.1:0", "--delay", "fixed:1ms"], &json[..]].concat(),
        ] {
            let output = loadgen(&words);
            let why = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(78), "{words:?}: {why}");
            assert!(why.contains(file) && why.contains("give a file in a folder"), "{why}");
        }
    }
    // A good one fails for another reason, and nothing lies beside it.
    let good = dir.path().join("good.json");
    let output = loadgen(&[&run[..], &["--json", good.to_str().unwrap()]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(std::fs::read_dir(out).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "the folder alone");
}

#[test]
fn nobody_listening_is_a_failure_with_a_reason() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let output = loadgen(&["run", "-b", &format!("127.0.0.1:{port}"), "--max"]);
    let why = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(why.contains(&port.to_string()), "{why}");
}

#[test]
fn the_documented_json_fields_are_there() {
    let sink = Server::sink(&["--keep-bytes", "100000000"]);
    let (_, result) = run(&sink.address, &["--rate", "2000", "--duration", "0.5"]);
    let page = include_str!("../docs/RESULT.md");
    let is_told = |field: &str| page.contains(&format!("`{field}`"));
    for (field, value) in result.as_object().expect("an object") {
        assert!(is_told(field), "{field} is not documented");
        // The plan has the flags' names, and the fields of a second are summed up in words.
        let is_list =
            ["environment", "broker", "verdict", "samples", "pauses"].contains(&field.as_str());
        let inner = value.as_array().and_then(|list| list.first()).unwrap_or(value);
        for field in inner.as_object().filter(|_| is_list).into_iter().flatten() {
            assert!(is_told(field.0), "{} is not documented", field.0);
        }
    }
    assert_eq!(result["format"], 1);
    assert_eq!(result["plan"]["load"]["rate"], 2000.0);
    assert_eq!(result["verdict"]["lost"], 0);
    assert_eq!(result["verdict"]["checked"], true);
    // 0.6 s at 2,000/s.
    assert_eq!(result["verdict"]["acknowledged"], 1200);
    assert_eq!(result["produce_latency"]["records"], 1000);
}

#[test]
fn the_documented_json_fields_of_a_comparison_are_there() {
    let sink = Server::sink(&["--keep-bytes", "100000000"]);
    let run = ["--rate", "500", "--duration", "0.2", "--warmup", "0.1"];
    let (a, b) = (["ab", "--a", &sink.address], ["--b", &sink.address]);
    let more = ["--rounds", "1", "--json", "-", "--"];
    let output = loadgen(&[&a[..], &b[..], &more[..], &run[..]].concat());
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    let page = include_str!("../docs/RESULT.md");
    let is_told = |field: &str| page.contains(&format!("`{field}`"));
    for (field, value) in result.as_object().expect("an object") {
        assert!(is_told(field), "{field} is not documented");
        let inner = value.as_array().and_then(|list| list.first()).filter(|_| field != "rounds");
        for field in inner.and_then(Value::as_object).into_iter().flatten() {
            assert!(is_told(field.0), "{} is not documented", field.0);
        }
    }
    assert_eq!(result["kind"], "ab");
    assert_eq!(result["judged"][0]["word"], "too few rounds");
}

#[test]
fn scenarios_are_listed_printed_and_run_with_flags_that_win() {
    let list = loadgen(&["scenarios"]);
    let list = String::from_utf8_lossy(&list.stdout);
    assert!(list.contains("steady") && list.contains("retention"), "{list}");
    let file = loadgen(&["scenarios", "fan-out"]);
    assert!(String::from_utf8_lossy(&file.stdout).contains("subscriptions = 5"));
    assert_eq!(loadgen(&["scenarios", "nonsense"]).status.code(), Some(78));
    let sink = Server::sink(&["--keep-bytes", "100000000"]);
    let flags = ["-w", "keyed-zipf", "--rate", "2000", "--duration", "0.5", "--partitions", "5"];
    let (_, result) = run(&sink.address, &flags);
    assert_eq!(
        (&result["plan"]["partitions"], &result["plan"]["keys"]["zipf"]),
        (&5.into(), &0.99.into())
    );
    assert_eq!(result["verdict"]["lost"], 0);
    assert!(result["verdict"]["read"].as_u64() > Some(500), "{}", result["verdict"]);

    let dir = tempfile::tempdir().unwrap();
    let omb = dir.path().join("w.yaml");
    let text = "name: t\ntopics: 1\npartitionsPerTopic: 2\nmessageSize: 100\n\
                producerRate: 1000\ntestDurationMinutes: 0.01\nwarmupDurationMinutes: 0\n";
    std::fs::write(&omb, text).unwrap();
    let named = ["-w", omb.to_str().unwrap(), "--topic", "omb"];
    let (_, result) = run(&sink.address, &named);
    assert_eq!(result["plan"]["load"]["rate"], 1000.0);
    assert_eq!(result["verdict"]["acknowledged"], 700, "0.6 s and a warm-up of 0.1 s");
}

#[test]
fn a_reader_who_leaves_is_no_error_and_a_full_disk_is_one() {
    let sink = Server::sink(&["--keep-bytes", "100000000"]);
    let load = ["run", "-b", &sink.address, "--rate", "1000", "--duration", "0.2"];
    let run = [&load[..], &["--warmup", "0", "--progress", "0.1"]].concat();
    let json = [&run[..], &["--json", "-"]].concat();
    for words in [&["scenarios"][..], &["man"], &["completions", "bash"], &run, &json, &["--help"]]
    {
        // Nobody reads, neither answers nor progress.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(LOADGEN);
        command.args(words).stdout(writer.try_clone().unwrap()).stderr(writer);
        assert_eq!(command.status().unwrap().code(), Some(0), "{words:?}");
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(LOADGEN);
        command.args(words).stdout(full).stderr(Stdio::piped());
        let output = command.spawn().unwrap().wait_with_output().unwrap();
        let why = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {why}");
        assert!(why.contains("No space left on device") && why.contains("--json"), "{why}");
    }
}

#[test]
fn completions_and_man_pages_name_commands_and_flags() {
    let said = |words: &[&str]| {
        let output = loadgen(words);
        assert_eq!(output.status.code(), Some(0), "{words:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for shell in ["bash", "zsh", "fish"] {
        let text = said(&["completions", shell]);
        assert!(text.contains("calibrate") && text.contains("burst-every"), "{shell}");
    }
    assert!(said(&["man"]).contains("calibrate"));
    let page = said(&["man", "run"]);
    assert!(page.starts_with(".ie") && page.contains("loadgen-run"), "{page}");
    assert!(page.contains("burst"), "{page}");
    assert_eq!(loadgen(&["man", "nonsense"]).status.code(), Some(78));
}

#[test]
fn a_broken_promise_is_exit_code_4() {
    let sink = Server::sink(&["--keep-bytes", "100000000", "--fault", "drop"]);
    let (code, result) = run(&sink.address, &["--rate", "5000", "--duration", "0.5"]);
    assert!(result["verdict"]["lost"].as_u64() > Some(0), "{}", result["verdict"]);
    assert_eq!(code, 4);
}

#[test]
fn a_real_broker_keeps_every_record_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(
        Command::new(broker())
            .args(["serve", "--listen", "127.0.0.1:0", "--log", "error", "--data-dir"])
            .arg(dir.path().join("data")),
    );
    for acks in ["1", "all"] {
        let topic = format!("open-{acks}");
        let flags = ["--rate", "3000", "--duration", "1", "--topic", &topic, "--acks", acks];
        let (_, result) = run(&server.address, &flags);
        let verdict = &result["verdict"];
        assert_eq!(result["failure"], Value::Null, "{result}");
        assert_eq!((&verdict["lost"], &verdict["duplicated"]), (&0.into(), &0.into()), "{verdict}");
        assert_eq!((&verdict["reordered"], &verdict["corrupt_batches"]), (&0.into(), &0.into()));
        assert_eq!(verdict["acknowledged"], 3300, "{result}");
        assert_eq!(verdict["read"], verdict["acknowledged"]);
    }
    let flags = ["--max", "--duration", "0.5", "--topic", "max", "--consume", "after"];
    let more = ["--idempotent", "--producers", "4", "--consumers", "2", "--partitions", "8"];
    let (_, result) = run(&server.address, &[&flags[..], &more[..]].concat());
    let verdict = &result["verdict"];
    assert_eq!((&verdict["lost"], &verdict["duplicated"]), (&0.into(), &0.into()), "{verdict}");
    assert!(verdict["read"].as_u64() > Some(0));
    assert_eq!(verdict["read"], verdict["acknowledged"], "{result}");
}

#[test]
fn of_several_processes_some_may_only_read_and_some_only_write() {
    let sink = Server::sink(&["--keep-bytes", "100000000"]);
    for (producers, consumers) in [("1", "4"), ("4", "1")] {
        let flags = ["--parts", "3", "--producers", producers, "--consumers", consumers];
        let more = ["--rate", "1000", "--duration", "0.3", "--drain", "2", "--topic", producers];
        let (code, result) = run(&sink.address, &[&flags[..], &more].concat());
        let verdict = &result["verdict"];
        assert_eq!(verdict["read"], verdict["acknowledged"], "{verdict}");
        assert!(matches!(code, 0 | 3) && verdict["lost"] == 0, "{code}: {verdict}");
    }
}

#[test]
fn several_processes_begin_together_and_make_one_report() {
    let sink = Server::sink(&["--keep-bytes", "300000000"]);
    let flags = ["--parts", "3", "--producers", "4", "--consumers", "3", "--partitions", "6"];
    let more = ["--rate", "6000", "--duration", "2", "--progress", "0"];
    let (_, result) = run(&sink.address, &[&flags[..], &more].concat());
    assert_eq!(result["failure"], Value::Null);
    let verdict = &result["verdict"];
    assert_eq!(verdict["acknowledged"], 12_600, "the rate is that of all of them: {verdict}");
    assert_eq!(verdict["read"], verdict["acknowledged"], "whoever read what another one sent");
    assert_eq!((&verdict["lost"], &verdict["duplicated"]), (&0.into(), &0.into()), "{verdict}");
    assert_eq!(result["produce_latency"]["records"], 12_000);
    assert_eq!(result["end_to_end_latency"]["records"], 12_000);
    let threads = result["threads"].as_array().unwrap();
    let count = |role: &str| threads.iter().filter(|thread| thread["role"] == role).count();
    assert_eq!((count("producer"), count("consumer")), (3, 3));
    let seconds = result["seconds"].as_array().unwrap().iter();
    let produced: u64 = seconds.map(|s| s["produced_records"].as_u64().unwrap()).sum();
    assert_eq!(produced, 12_600, "each interval of each part was told once");
    let (_, result) = run(
        &sink.address,
        &[
            "--parts",
            "2",
            "--producers",
            "2",
            "--max",
            "--topic",
            "after",
            "--consume",
            "after",
            "--duration",
            "0.5",
            "--progress",
            "0",
        ],
    );
    let verdict = &result["verdict"];
    assert!(verdict["read"].as_u64() > Some(0) && verdict["lost"] == 0, "{verdict}");
    assert_eq!(result["backlog"]["read"]["records"], verdict["read"]);
}
