//! The page of a run in a real browser: it opens without a complaint, and every plot has data.
//! `tests/run report` finds or installs the browser; `LOADGEN_BROWSER` names it.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Server, loadgen};

/// Every plot that a run against a broker on the same host must have.
const PLOTS: [&str; 11] = [
    "percentiles",
    "heat",
    "produce-time",
    "end-to-end-time",
    "records",
    "bytes",
    "cpu",
    "memory",
    "disk",
    "flushes",
    "switches",
];

struct Opened {
    /// The page after its script has run.
    page: String,
    /// What the browser's console was told.
    complaints: Vec<String>,
}

fn browser() -> PathBuf {
    let named = std::env::var_os("LOADGEN_BROWSER").map(PathBuf::from);
    named.unwrap_or_else(|| PathBuf::from("chromium"))
}

fn open(page: &Path, profile: &Path, more: &[&str]) -> Opened {
    let output = Command::new(browser())
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"])
        .args(["--window-size=1240,1000", "--virtual-time-budget=2000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(more)
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("a browser; LOADGEN_BROWSER names one");
    let errors = String::from_utf8_lossy(&output.stderr);
    let complaints = errors.lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned);
    let complaints = complaints.collect();
    Opened { page: String::from_utf8_lossy(&output.stdout).into_owned(), complaints }
}

#[test]
fn every_plot_has_data_and_nothing_complains() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::thalweg(dir.path());
    let out = dir.path().join("run");
    let flags = ["--rate", "2000", "--record-size", "200", "--duration", "6", "--warmup", "1"];
    let target = ["run", "-b", &server.address, "--out", out.to_str().unwrap()];
    let ceiling = ["--ceiling", dir.path().to_str().unwrap()];
    let ended = loadgen(&[&target[..], &flags[..], &ceiling[..]].concat());
    let why = String::from_utf8_lossy(&ended.stderr);
    let page = out.join("report.html");
    assert!(page.is_file(), "{:?}: {why}", ended.status);

    let profile = dir.path().join("profile");
    let opened = open(&page, &profile, &[]);
    assert_eq!(opened.complaints, Vec::<String>::new());
    for plot in PLOTS {
        let figure = opened.page.split(&format!("<figure id=\"{plot}\"")).nth(1);
        let figure = figure.unwrap_or_else(|| panic!("no plot {plot}"));
        let points = figure.split("data-points=\"").nth(1).and_then(|rest| rest.split('"').next());
        let points: u64 = points.and_then(|points| points.parse().ok()).expect("a number");
        assert!(points > 2, "{plot} has {points} points");
    }
    assert!(!opened.page.contains("class=\"absent\""), "a plot without data");
    assert!(opened.page.contains(&format!("data-plots=\"{}\"", PLOTS.len())), "the script ran");

    // The check itself: a page that does complain is heard.
    let broken = dir.path().join("broken.html");
    let text = fs::read_to_string(&page).unwrap();
    fs::write(&broken, text.replace("<script>\n\"use strict\";", "<script>\nnobody.there;"))
        .unwrap();
    let opened = open(&broken, &profile, &[]);
    assert!(!opened.complaints.is_empty() && !opened.page.contains("data-plots"), "silence");
}
