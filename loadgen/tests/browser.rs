//! The page of a run in a real browser: it opens without a complaint, and every plot has data.
//! `tests/run report` finds or installs the browser.

mod support;

use std::fs;

use support::browser::{Opened, picture};
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
    Opened::new(&page, &profile).check(&PLOTS);
    picture(&page, &profile, "run");

    // The check itself: a page that does complain is heard.
    let broken = dir.path().join("broken.html");
    let text = fs::read_to_string(&page).unwrap();
    fs::write(&broken, text.replace("<script>\n\"use strict\";", "<script>\nnobody.there;"))
        .unwrap();
    let opened = Opened::new(&broken, &profile);
    assert!(!opened.complaints.is_empty() && !opened.page.contains("data-plots"), "silence");
}
