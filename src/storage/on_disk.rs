//! What a data directory holds, asked before or beside the shards: with plain calls of the
//! operating system, since whoever asks has no executor.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::format::Layout;
use crate::model::{PartitionIndex, Uuid};

/// Whether a broker ever began to keep logs here.
///
/// # Errors
/// When the directory cannot be read.
pub fn holds_logs(data_dir: &Path) -> io::Result<bool> {
    let layout = Layout::new(data_dir);
    if layout.current().try_exists()? {
        return Ok(true);
    }
    let logs = fs::read_dir(layout.logs());
    if let Err(error) = &logs
        && error.kind() == io::ErrorKind::NotFound
    {
        return Ok(false);
    }
    Ok(logs?.next().is_some())
}

/// Topics with logs on the disk that are not among the known ones: while a broker runs those are
/// removed topics whose files are not all gone. What is not told of is gone durably.
///
/// # Errors
/// When a directory cannot be read or flushed.
pub fn unknown_topics(data_dir: &Path, is_known: &dyn Fn(Uuid) -> bool) -> io::Result<Vec<Uuid>> {
    let layout = Layout::new(data_dir);
    let logs = match fs::read_dir(layout.logs()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        logs => logs?,
    };
    let mut found = Vec::new();
    for name in names(logs)? {
        let Ok(topic) = name.parse::<Uuid>() else { continue };
        if is_known(topic) {
            continue;
        }
        let dir = layout.topic(topic);
        // Or a cut of the power brings back what was seen gone.
        File::open(&dir)?.sync_all()?;
        if names(fs::read_dir(&dir)?)?.iter().any(|name| name.parse::<PartitionIndex>().is_ok()) {
            found.push(topic);
        }
    }
    Ok(found)
}

fn names(dir: fs::ReadDir) -> io::Result<Vec<String>> {
    dir.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned())).collect()
}
