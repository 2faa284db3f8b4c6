//! How large a volume is and how much of it is free.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Bytes of one volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// All of them.
    pub total: u64,
    /// Those that an ordinary process may still use.
    pub usable: u64,
}

/// The volume that `path` is on. A system call that reads memory only, so it may be made on a
/// shard.
///
/// # Errors
/// When there is no such path.
pub fn of_volume(path: &Path) -> io::Result<Space> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: statvfs is plain numbers, for which zero is a value.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: a string that ends with zero, and a structure to be filled in.
    if unsafe { libc::statvfs(path.as_ptr(), &raw mut found) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Space { total: found.f_blocks * found.f_frsize, usable: found.f_bavail * found.f_frsize })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_has_room_and_a_missing_path_is_an_error() {
        let space = of_volume(Path::new("/")).unwrap();
        assert!(space.total > space.usable && space.usable > 0, "{space:?}");
        assert!(of_volume(Path::new("/no/such/path")).is_err());
    }
}
