//! What a run leaves in its folder, and what can be done with it afterwards.

mod support;

use std::fs;
use std::path::Path;

use serde_json::Value;
use support::{Server, loadgen};

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn result(folder: &Path) -> Value {
    serde_json::from_str(&text(&folder.join("result.json"))).expect("JSON")
}

#[test]
fn a_run_leaves_a_folder_that_can_be_read_replayed_and_reported_again() {
    let sink = Server::sink(&["--keep-bytes", "300000000"]);
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    let out = first.to_str().unwrap();
    let flags = ["--rate", "3000", "--poisson", "--duration", "2", "--warmup", "1"];
    let more = ["--slo", "e2e.p50<10s", "--slo", "rate>=1", "--out", out];
    let ended = loadgen(&[&["run", "-b", &sink.address], &flags[..], &more[..]].concat());
    let why = String::from_utf8_lossy(&ended.stderr);
    assert!(matches!(ended.status.code(), Some(0 | 3)), "{why}");

    let stored = result(&first);
    let sent = stored["verdict"]["sent"].as_u64().unwrap();
    assert_eq!(stored["objectives"][0]["is_met"], true);
    assert!(["ok", "suspect", "invalid"].contains(&stored["validity"].as_str().unwrap()));
    // The sink is a process of this host: it was found and observed.
    assert!(stored["broker_process"]["command"][1] == "sink", "{}", stored["broker_process"]);
    assert!(stored["samples"][1]["broker_cores"].as_f64().is_some(), "{}", stored["samples"]);

    let table = text(&first.join("seconds.csv"));
    let mut lines = table.lines();
    let columns = lines.next().unwrap().split(',').count();
    let produced: u64 = lines
        .map(|line| {
            assert_eq!(line.split(',').count(), columns, "{line}");
            line.split(',').nth(2).unwrap().parse::<u64>().unwrap()
        })
        .sum();
    assert_eq!(produced, stored["verdict"]["acknowledged"].as_u64().unwrap());

    let log = text(&first.join("latency.hlog"));
    for tag in ["produce", "produce_from_send", "end_to_end", "send_delay", "fetch"] {
        assert!(log.contains(&format!("Tag={tag},")), "{tag}");
    }

    let page = first.join("report.html");
    let before = text(&page);
    assert!(before.contains("id=\"heat\"") && before.contains("id=\"percentiles\""));
    fs::remove_file(&page).unwrap();
    assert_eq!(loadgen(&["report", out]).status.code(), Some(0));
    assert!(text(&page) == before, "the same page from the same files");

    // The same draws again: the same number of records at the same distances.
    let again = second.to_str().unwrap();
    let ended = loadgen(&["replay", out, "--out", again]);
    assert!(matches!(ended.status.code(), Some(0 | 3)), "{ended:?}");
    let replayed = result(&second);
    assert_eq!(replayed["plan"], stored["plan"]);
    assert_eq!(replayed["verdict"]["sent"].as_u64().unwrap(), sent);

    let compared = loadgen(&["compare", out, again]);
    let text = String::from_utf8_lossy(&compared.stdout).into_owned();
    assert_eq!(compared.status.code(), Some(0), "{text}");
    assert!(text.contains("produce p50") && !text.contains("differs"), "{text}");
}

#[test]
fn objectives_decide_the_exit_code_and_a_folder_is_never_overwritten() {
    let sink = Server::sink(&["--keep-bytes", "300000000"]);
    let dir = tempfile::tempdir().unwrap();
    let base = ["run", "-b", &sink.address, "--rate", "2000", "--warmup", "0.1"];
    let run = |more: &[&str]| loadgen(&[&base[..], more].concat()).status.code();
    // Invalid outranks missed: this machine may be busy.
    let missed = run(&["--duration", "1", "--slo", "produce.p50<1ns"]);
    assert!(matches!(missed, Some(99 | 3)), "{missed:?}");
    assert_eq!(run(&["--duration", "0.2", "--slo", "produce.p99.99<1s"]), Some(3), "unknown");
    assert_eq!(run(&["--slo", "produce.p42<1s"]), Some(78));
    fs::write(dir.path().join("precious"), "x").unwrap();
    assert_eq!(run(&["--duration", "0.2", "--out", dir.path().to_str().unwrap()]), Some(78));
    assert_eq!(loadgen(&["report", dir.path().to_str().unwrap()]).status.code(), Some(78));
}

#[test]
fn two_binaries_are_compared_in_fresh_folders_that_go_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let binary = support::broker();
    let binary = binary.to_str().unwrap();
    let begin = ["ab", "--a", binary, "--b", binary, "--rounds", "1", "--json", "-"];
    let place = ["--dir", dir.path().to_str().unwrap()];
    let run = ["--", "--rate", "500", "--duration", "1", "--warmup", "0.2"];
    let ended = loadgen(&[&begin[..], &place, &run].concat());
    let why = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(matches!(ended.status.code(), Some(0 | 3)), "{why}");
    let found: Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    assert_eq!(found["runs"].as_array().unwrap().len(), 4, "A and A again, A and B");
    let names: Vec<&str> =
        found["judged"].as_array().unwrap().iter().map(|j| j["metric"].as_str().unwrap()).collect();
    assert!(names.contains(&"produce p50") && names.contains(&"acknowledged"), "{names:?}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left");
    let flags = ["--", "--rate", "5", "--nonsense"];
    assert_eq!(loadgen(&[&begin[..], &place, &flags].concat()).status.code(), Some(78));
}

#[test]
fn the_highest_rate_is_an_interval_and_its_trials_are_told() {
    // No more than 8 unanswered requests of one record, each answered after 50 ms: 160/s. Low
    // rates: a core that comes 30 ms late moves no record out of a trial's time.
    let sink = Server::sink(&["--keep-bytes", "300000000", "--delay", "fixed:50ms"]);
    let begin = ["find", "-b", &sink.address, "--slo", "produce.p50<2s", "--json", "-"];
    let search = ["--start", "25", "--short", "1", "--long", "4", "--precision", "0.5"];
    let run = ["--", "--records-per-batch", "1", "--in-flight", "8", "--partitions", "1"];
    let more = ["--warmup", "0.5", "--record-size", "100"];
    let ended = loadgen(&[&begin[..], &search, &run, &more].concat());
    let why = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(0), "{why}");
    let found: Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    let (low, high) = (found["low"].as_f64().unwrap(), found["high"].as_f64().unwrap());
    assert!(low < high && low >= 6.25 && high <= 320.0, "{found}");
    assert!(why.contains("kept") && why.contains("missed") && why.contains("long"), "{why}");
    let nothing = ["find", "-b", &sink.address, "--slo", "produce.max<1ns", "--short", "2"];
    let ended = loadgen(&[&nothing[..], &["--start", "4"], &run, &more].concat());
    assert_eq!(ended.status.code(), Some(99));
}

#[test]
fn a_trial_that_is_too_short_to_know_is_made_longer_and_is_no_miss() {
    let sink = Server::sink(&["--keep-bytes", "300000000"]);
    // A record each 83 ms: one would have to be answered that late to count for less.
    let search = ["--start", "12", "--limit", "12", "--short", "1", "--long", "3"];
    let run = ["--", "--records-per-batch", "1", "--in-flight", "100", "--warmup", "0.2"];
    let find = |slo: &str| {
        loadgen(&[&["find", "-b", &sink.address, "--slo", slo], &search[..], &run].concat())
    };
    // 12 answers in a second say nothing about p50, which needs 20.
    let ended = find("produce.p50<5s");
    let told = String::from_utf8_lossy(&ended.stdout).into_owned();
    let why = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(0), "{told}{why}");
    assert!(told.contains("12 records/s or more"), "{told}{why}");
    // Nor do 36 about p99.99.
    let ended = find("produce.p99.99<5s");
    let why = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!matches!(ended.status.code(), Some(0 | 99)), "{why}");
    assert!(why.contains("too short to know") && why.contains("--long"), "{why}");
}

#[test]
fn a_result_of_another_format_is_refused_by_its_number() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("result.json"), "{\"format\": 999}").unwrap();
    let ended = loadgen(&["replay", dir.path().to_str().unwrap()]);
    assert_eq!(ended.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("999"));
}

#[test]
fn the_result_is_also_written_in_the_words_of_the_openmessaging_benchmark() {
    let sink = Server::sink(&["--keep-bytes", "300000000"]);
    let dir = tempfile::tempdir().unwrap();
    let (out, omb) = (dir.path().join("run"), dir.path().join("omb.json"));
    let flags = ["--rate", "2000", "--duration", "12", "--warmup", "1", "--progress", "0"];
    let wanted = ["--out", out.to_str().unwrap(), "--omb-result", omb.to_str().unwrap()];
    let more = ["--producers", "3", "--consumers", "2"];
    let ended = loadgen(&[&["run", "-b", &sink.address], &flags[..], &wanted, &more].concat());
    assert!(matches!(ended.status.code(), Some(0 | 3)), "{ended:?}");
    let stored = result(&out);
    let found: Value = serde_json::from_str(&text(&omb)).expect("JSON");
    // Names and shapes of that benchmark's TestResult; its charts read them.
    for (name, value) in
        [("topics", 1), ("partitions", 4), ("producersPerTopic", 3), ("consumersPerTopic", 2)]
    {
        assert_eq!(found[name], value, "{name}");
    }
    let rates = found["publishRate"].as_array().unwrap();
    assert_eq!(rates.len(), 1, "a point for every whole ten seconds");
    // Those that came within ten measured seconds, however late this machine was.
    let seconds = stored["seconds"].as_array().unwrap().iter();
    let ten = seconds.filter(|s| (1..11).contains(&s["second"].as_u64().unwrap()));
    let published: u64 = ten.map(|s| s["produced_records"].as_u64().unwrap()).sum();
    assert_eq!((rates[0].as_f64(), published > 0), (Some(published as f64 / 10.0), true));
    for kind in ["Publish", "PublishDelay", "EndToEnd"] {
        let small = format!("{}{}", kind[..1].to_lowercase(), &kind[1..]);
        for end in ["Avg", "50pct", "75pct", "95pct", "99pct", "999pct", "9999pct", "Max"] {
            let series = &found[&format!("{small}Latency{end}")];
            assert_eq!(series.as_array().map(Vec::len), Some(1), "{small}Latency{end}");
            assert!(found[&format!("aggregated{kind}Latency{end}")].is_number(), "{kind} {end}");
        }
        let quantiles = found[&format!("aggregated{kind}LatencyQuantiles")].as_object().unwrap();
        assert!(quantiles.keys().all(|key| key.parse::<f64>().is_ok_and(|q| q <= 100.0)));
        assert!(quantiles.len() > 10, "{kind}");
    }
    let ns = stored["end_to_end_latency"]["p99"]["ns"].as_f64().unwrap();
    let ms = found["aggregatedEndToEndLatency99pct"].as_f64().unwrap();
    assert!((ms * 1e6 / ns - 1.0).abs() < 0.01, "{ms} ms beside {ns} ns");
    let us = found["aggregatedPublishDelayLatency99pct"].as_f64().unwrap();
    let ns = stored["send_delay"]["p99"]["ns"].as_f64().unwrap();
    assert!((us * 1e3 - ns).abs() < ns * 0.01 + 1000.0, "{us} us beside {ns} ns");
}
