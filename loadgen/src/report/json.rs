//! Results for programs: one JSON document, replaced whole.

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::print;

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
    let beside = path.with_extension("partial");
    fs::write(&beside, text)
        .and_then(|()| fs::rename(&beside, path))
        .map_err(|error| format!("cannot write {}: {error}", path.display()))
}
