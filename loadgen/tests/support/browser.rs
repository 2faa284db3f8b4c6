//! A page in a real browser. `tests/run` finds or installs it; `LOADGEN_BROWSER` names it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A page after its script has run.
pub struct Opened {
    /// Its elements as text.
    pub page: String,
    /// What the browser's console was told.
    pub complaints: Vec<String>,
}

fn browser() -> PathBuf {
    let named = std::env::var_os("LOADGEN_BROWSER").map(PathBuf::from);
    named.unwrap_or_else(|| PathBuf::from("chromium"))
}

fn command(profile: &Path) -> Command {
    let mut command = Command::new(browser());
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]);
    command.arg(format!("--user-data-dir={}", profile.display()));
    command
}

impl Opened {
    /// Open `page`; the browser keeps its things in `profile`.
    pub fn new(page: &Path, profile: &Path) -> Self {
        let output = command(profile)
            .args(["--window-size=1240,1000", "--virtual-time-budget=2000", "--dump-dom"])
            .arg(format!("file://{}", page.display()))
            .output()
            .expect("a browser; LOADGEN_BROWSER names one");
        let errors = String::from_utf8_lossy(&output.stderr);
        let complaints = errors.lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned);
        let complaints = complaints.collect();
        Self { page: String::from_utf8_lossy(&output.stdout).into_owned(), complaints }
    }

    /// How many points the plot of this name has.
    pub fn points(&self, plot: &str) -> u64 {
        let figure = self.page.split(&format!("<figure id=\"{plot}\"")).nth(1);
        let figure = figure.unwrap_or_else(|| panic!("no plot {plot}"));
        let points = figure.split("data-points=\"").nth(1).and_then(|rest| rest.split('"').next());
        points.and_then(|points| points.parse().ok()).expect("a number")
    }

    /// Every one of `plots` has data, the script saw them all, and nothing complained.
    pub fn check(&self, plots: &[&str]) {
        assert_eq!(self.complaints, Vec::<String>::new());
        for plot in plots {
            let points = self.points(plot);
            assert!(points > 2, "{plot} has {points} points");
        }
        assert!(!self.page.contains("class=\"absent\""), "a plot without data");
        let counted = format!("data-plots=\"{}\"", plots.len());
        assert!(self.page.contains(&counted), "the script ran and counted {}", plots.len());
    }
}

/// Leave a picture of `page` in `LOADGEN_SCREENSHOTS`, if that names a folder: for people.
pub fn picture(page: &Path, profile: &Path, name: &str) {
    let Some(folder) = std::env::var_os("LOADGEN_SCREENSHOTS").map(PathBuf::from) else { return };
    let picture = format!("--screenshot={}", folder.join(format!("{name}.png")).display());
    let url = format!("file://{}", page.display());
    let ended = command(profile).args(["--window-size=1240,2600", &picture, &url]).output();
    assert!(ended.expect("a browser").status.success(), "a picture of {url}");
}
