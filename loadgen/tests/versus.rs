//! Apache Kafka against Thalweg in one `loadgen ab`: both are started from fresh directories for
//! each run, and the page of the comparison opens in a real browser with data in every plot.
//! `tests/run versus` provides both; `LOADGEN_KAFKA` names the folder of Kafka's jars.

mod support;

use std::fs;

use serde_json::Value;
use support::browser::{Opened, picture};
use support::{broker, loadgen};

const PLOTS: [&str; 9] = [
    "ratios",
    "percentiles-produce",
    "percentiles-end-to-end",
    "percentiles-from-send",
    "throughput",
    "p50",
    "cpu",
    "memory",
    "disk",
];

#[test]
fn kafka_and_thalweg_are_compared_and_the_page_has_data_in_every_plot() {
    let kafka = std::env::var("LOADGEN_KAFKA").expect("LOADGEN_KAFKA names the folder of jars");
    let dir = tempfile::tempdir().unwrap();
    let (out, place) = (dir.path().join("ab"), dir.path().join("brokers"));
    fs::create_dir(&place).unwrap();
    // Thalweg is A, so that the noise floor costs no starts of a JVM. Two rounds show nothing
    // and say so: this is about the way there, not about the figures.
    let thalweg = broker();
    let (thalweg, kafka) = (thalweg.to_str().unwrap(), format!("kafka:{kafka}"));
    let (out_text, place_text) = (out.to_str().unwrap(), place.to_str().unwrap());
    let targets = ["ab", "--a", thalweg, "--b", &kafka, "--rounds", "2"];
    let places = ["--dir", place_text, "--out", out_text, "--"];
    let run = ["--rate", "1500", "--record-size", "200", "--duration", "2", "--warmup", "1"];
    let ended = loadgen(&[&targets[..], &places[..], &run[..]].concat());
    let why = String::from_utf8_lossy(&ended.stderr);
    let told = String::from_utf8_lossy(&ended.stdout);
    // 3: this machine may be too busy for a debug build to send in time.
    assert!(matches!(ended.status.code(), Some(0 | 3)), "{:?}: {why}", ended.status);
    assert!(told.contains("too few rounds") && why.contains("noise floor: "), "{told}{why}");
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0, "every fresh directory is gone");

    let text = fs::read_to_string(out.join("result.json")).unwrap();
    let result: Value = serde_json::from_str(&text).unwrap();
    let runs = result["runs"].as_array().unwrap();
    let made: Vec<&str> = runs.iter().map(|run| run["which"].as_str().unwrap()).collect();
    let count = |which: &str| made.iter().filter(|made| **made == which).count();
    assert_eq!((made.len(), count("A again"), count("B")), (8, 2, 2), "{made:?}");
    let mut processes = std::collections::BTreeSet::new();
    for run in runs {
        let result = &run["result"];
        let command = result["broker_process"]["command"].to_string();
        assert_eq!(command.contains("kafka.Kafka"), run["which"] == "B", "{command}");
        processes.insert(result["broker_process"]["pid"].as_u64().unwrap());
        assert_eq!(result["verdict"]["lost"], 0, "{}", result["verdict"]);
        assert_eq!(result["verdict"]["read"], result["verdict"]["acknowledged"]);
        let folder = out.join(run["folder"].as_str().unwrap());
        assert!(folder.join("report.html").is_file(), "{}", folder.display());
    }
    assert_eq!(processes.len(), 8, "a process for each run");

    let profile = dir.path().join("profile");
    let page = out.join("report.html");
    Opened::new(&page, &profile).check(&PLOTS);
    picture(&page, &profile, "versus");
    let before = fs::read_to_string(&page).unwrap();
    fs::remove_file(&page).unwrap();
    assert_eq!(loadgen(&["report", out_text]).status.code(), Some(0));
    assert!(fs::read_to_string(&page).unwrap() == before, "the same page from the same files");
    assert_eq!(loadgen(&["replay", out_text]).status.code(), Some(78), "it is no run");
}
