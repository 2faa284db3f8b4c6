//! The folder of a run: everything about it, in files that other tools read.
//!
//! | file | content |
//! |---|---|
//! | `result.json` | the result; `loadgen/docs/RESULT.md` describes it |
//! | `latency.hlog` | histograms per second and series, HdrHistogram log with tags |
//! | `seconds.csv` | one line per second: counts, latencies, what the machine did |
//! | `report.html` | all of it for people, in one file that needs no network |

mod csv;
pub mod hlog;
mod omb;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::Value;

use crate::collect::Watcher;
use crate::plan::Plan;
use crate::report::{RunResult, html, json};
use hlog::HlogWriter;

/// A run's folder.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

/// Whether a result is what `loadgen ab` left.
fn is_comparison(result: &Value) -> bool {
    result["kind"] == "ab"
}

/// Most bytes of a stored result.
const RESULT_BYTES_MAX: u64 = 1 << 30;

impl Folder {
    /// Make it; it must not exist or be empty, for a run never overwrites another one.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn create(path: &Path) -> Result<Self, String> {
        let failed = |why: String| format!("--out {}: {why}", path.display());
        fs::create_dir_all(path).map_err(|error| failed(error.to_string()))?;
        let mut inside = fs::read_dir(path).map_err(|error| failed(error.to_string()))?;
        if inside.next().is_some() {
            return Err(failed("is not empty; give a new folder for each run".into()));
        }
        Ok(Self { path: path.to_owned() })
    }

    /// One that a run has left.
    ///
    /// # Errors
    /// When there is no result in it.
    pub fn open(path: &Path) -> Result<Self, String> {
        let folder = Self { path: path.to_owned() };
        if folder.result_path().is_file() {
            return Ok(folder);
        }
        Err(format!(
            "{}: no result.json in it; give a folder that `loadgen run --out` has made",
            path.display()
        ))
    }

    /// Make a folder in it, for a run that is a part of something.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn inner(&self, name: &str) -> Result<Self, String> {
        Self::create(&self.path.join(name))
    }

    /// Remove it, with what is in it, if nothing came of the run.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn discard(&self) -> Result<(), String> {
        let gone = fs::remove_dir_all(&self.path);
        gone.map_err(|error| format!("{}: {error}", self.path.display()))
    }

    fn result_path(&self) -> PathBuf {
        self.path.join("result.json")
    }

    /// Where the histograms are.
    pub fn hlog_path(&self) -> PathBuf {
        self.path.join("latency.hlog")
    }

    /// Where the page for people is.
    pub fn report_path(&self) -> PathBuf {
        self.path.join("report.html")
    }

    /// What writes the histogram log of a run that starts in `head_start`.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn watcher(&self, head_start: Duration) -> Result<Box<dyn Watcher>, String> {
        let log = HlogWriter::create(&self.hlog_path(), SystemTime::now() + head_start);
        let log = log.map_err(|error| format!("{}: {error}", self.hlog_path().display()))?;
        Ok(Box::new(log))
    }

    /// Write all that is known once the run has ended.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn finish(&self, result: &RunResult) -> Result<(), String> {
        json::write(&self.result_path(), result)?;
        csv::write(&self.path.join("seconds.csv"), result)?;
        self.report()
    }

    /// Write `result` as the OpenMessaging Benchmark writes its own.
    ///
    /// # Errors
    /// When the histograms cannot be read or the file not be written.
    pub fn omb_result(&self, path: &Path, result: &RunResult) -> Result<(), String> {
        omb::write(path, result, &self.hlog_path())
    }

    /// Write what a comparison found; its runs are in folders of their own within this one.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn finish_comparison(&self, comparison: &impl Serialize) -> Result<(), String> {
        json::write(&self.result_path(), comparison)?;
        self.report()
    }

    /// Make the page for people from the other files.
    ///
    /// # Errors
    /// When one of them cannot be read, or the page not be written.
    pub fn report(&self) -> Result<(), String> {
        let result = self.result()?;
        let page = if is_comparison(&result) {
            html::comparison(&result, &self.path)?
        } else {
            html::page(&result, &self.hlog_path())?
        };
        let path = self.report_path();
        fs::write(&path, page).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// The stored result.
    ///
    /// # Errors
    /// When it is none.
    pub fn result(&self) -> Result<Value, String> {
        let path = self.result_path();
        let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        let size = fs::metadata(&path).map_err(|e| failed(&e))?.len();
        if size > RESULT_BYTES_MAX {
            return Err(failed(&"larger than any result"));
        }
        let text = fs::read_to_string(&path).map_err(|e| failed(&e))?;
        let result: Value = serde_json::from_str(&text).map_err(|e| failed(&e))?;
        if result["format"] != crate::report::FORMAT {
            return Err(failed(&format!(
                "its format is {}, this loadgen reads {}",
                result["format"],
                crate::report::FORMAT
            )));
        }
        Ok(result)
    }

    /// The stored result of a single run.
    ///
    /// # Errors
    /// When it is none.
    pub fn run(&self) -> Result<Value, String> {
        let result = self.result()?;
        if is_comparison(&result) {
            return Err(format!(
                "{}: holds a comparison; its runs are in the folders below {}/runs",
                self.result_path().display(),
                self.path.display()
            ));
        }
        Ok(result)
    }

    /// The plan of the stored run.
    ///
    /// # Errors
    /// When there is none that could be run again.
    pub fn plan(&self) -> Result<Plan, String> {
        let result = self.run()?;
        let plan = serde_json::from_value(result["plan"].clone());
        plan.map_err(|error| format!("{}: its plan: {error}", self.result_path().display()))
    }
}
