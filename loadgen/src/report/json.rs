//! Results for programs: one JSON document, replaced whole.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::print;

/// Where a file for `path` is written before it takes that name: nobody else's name.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".partial-{}", std::process::id()));
    name.into()
}

/// Whether `path` is a pipe, a terminal or a device: written as it is, never replaced by a file.
fn is_stream(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// Whether `path`, given by `flag`, could be written: told before anything is measured for it.
///
/// # Errors
/// When it could not.
pub fn check(flag: &str, path: &Path) -> Result<(), String> {
    if path == Path::new("-") || is_stream(path) {
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
    let written = if is_stream(path) {
        File::options().write(true).open(path).and_then(|mut to| to.write_all(text.as_bytes()))
    } else {
        // A reader must never see half a document; a link goes on pointing at it.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let beside = beside(&path);
        fs::write(&beside, text).and_then(|()| fs::rename(&beside, path))
    };
    written.map_err(|error| format!("cannot write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_the_file_itself_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("x.partial"), "somebody's").unwrap();
        std::os::unix::fs::symlink(at("x.json"), at("link.json")).unwrap();
        fs::write(at("x.json"), "old").unwrap();
        for name in ["x.json", "link.json"] {
            check("--json", &at(name)).unwrap();
            write(&at(name), &name).unwrap();
            assert_eq!(fs::read_to_string(at("x.json")).unwrap(), format!("{name:?}\n"));
        }
        assert!(at("link.json").is_symlink());
        assert_eq!(fs::read_to_string(at("x.partial")).unwrap(), "somebody's");
        // A device stays one; the test may have the right to replace it.
        let (reader, writer) = std::io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer));
        check("--json", Path::new(&path)).unwrap();
        write(Path::new(&path), &"told").unwrap();
        drop(writer);
        assert_eq!(std::io::read_to_string(reader).unwrap(), "\"told\"\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "and nothing is left behind");
    }
}
