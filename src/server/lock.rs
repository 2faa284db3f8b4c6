//! One broker per data directory, and what the next one is told.

use std::fs::{File, TryLockError};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Two addresses and more.
const LOCK_BYTES_MAX: u64 = 4096;

/// The lock of a data directory, held while it is open. It names the addresses that its broker
/// listens on: the next one knows by them whose a port is that does not come free at once.
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Take it for as long as the result lives.
    ///
    /// # Errors
    /// When another broker has it, or it cannot be opened.
    pub fn take(data_dir: &Path) -> Result<Self, String> {
        let path = data_dir.join("lock");
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|e| format!("cannot open {}: {e}", path.display()))?;
        file.try_lock().map_err(|why| match why {
            TryLockError::WouldBlock => format!(
                "the data directory {} is in use by another broker ({} is locked): stop it, or \
                 give this one its own with --data-dir",
                data_dir.display(),
                path.display()
            ),
            TryLockError::Error(e) => format!(
                "cannot lock {}: {e}; put the data directory on a local file system with --data-dir",
                path.display()
            ),
        })?;
        Ok(Self { file, path })
    }

    /// The addresses of the broker before this one, one in a line; nothing when there was none.
    pub fn last_run(&self) -> String {
        let mut text = String::new();
        // What cannot be read costs patience with a port, nothing else.
        let _ = (&self.file).take(LOCK_BYTES_MAX).read_to_string(&mut text);
        text
    }

    /// Leave the addresses of this broker to the next one.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn remember(&self, addresses: &[String]) -> Result<(), String> {
        let text = addresses.join("\n");
        let written =
            self.file.set_len(0).and_then(|()| self.file.write_all_at(text.as_bytes(), 0));
        written.map_err(|e| format!("cannot write {}: {e}", self.path.display()))
    }
}
