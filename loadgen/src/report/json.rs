//! Results for programs: one JSON document, replaced whole.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::print;

fn beside(path: &Path) -> PathBuf {
    path.with_extension("partial")
}

/// Whether `path`, given by `flag`, could be written: told before anything is measured for it.
///
/// # Errors
/// When it could not.
pub fn check(flag: &str, path: &Path) -> Result<(), String> {
    if path == Path::new("-") {
        return Ok(());
    }
    let why = if path.is_dir() {
        "is a folder".to_owned()
    } else {
        let beside = beside(path);
        match fs::write(&beside, "").and_then(|()| fs::remove_file(&beside)) {
            Ok(()) => return Ok(()),
            Err(error) => error.to_string(),
        }
    };
    let path = path.display();
    Err(format!("{flag} {path}: {why}; give a file in a folder that is there and can be written"))
}

/// Write `result` to `path`, or to standard output if `path` is `-`.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, result: &impl Serialize) -> Result<(), String> {
    let mut text = serde_json::to_string_pretty(result).map_err(|e| e.to_string())?;
    text.push('\n');
    if path == Path::new("-") {
        print::out(text);
        return Ok(());
    }
    // A reader must never see half a document.
    let beside = beside(path);
    fs::write(&beside, text)
        .and_then(|()| fs::rename(&beside, path))
        .map_err(|error| format!("cannot write {}: {error}", path.display()))
}
