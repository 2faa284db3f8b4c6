//! Small files of the metadata that are there whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Put a file with these bytes in the place of `path`, durably.
///
/// # Errors
/// Which file could not be written; then the one before is still there.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<File, String> {
    let mut fresh = OsString::from(path);
    fresh.push(".new");
    let fresh = Path::new(&fresh);
    let said = |e: io::Error| format!("cannot write {}: {e}", fresh.display());
    let mut file = File::create(fresh).map_err(said)?;
    // Flushed before the rename, or a crash shows an empty file.
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(said)?;
    fs::rename(fresh, path).map_err(said)?;
    sync_dir(path.parent().unwrap_or(path))?;
    Ok(file)
}

/// Make the names in `dir` durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), String> {
    File::open(dir)
        .and_then(|d| d.sync_all())
        .map_err(|e| format!("cannot flush directory {}: {e}", dir.display()))
}
