//! The disk below a folder: device, scheduler, write cache, file system, mount options.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::read;
use crate::observe::find::{device_of, whole_disk};

/// A file system and the device below it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// The folder that was asked about.
    pub folder: PathBuf,
    /// Type of the file system.
    pub file_system: String,
    /// Where it is mounted.
    pub mount_point: String,
    /// Its mount options, those of the file system behind a semicolon.
    pub mount_options: String,
    /// Name of the block device.
    pub device: String,
    /// Its model, if it has one.
    pub model: String,
    /// I/O scheduler, the one in use in brackets.
    pub scheduler: String,
    /// `write back`: data may sit in a volatile cache until a flush; `write through`: not.
    pub write_cache: String,
    /// Whether it calls itself rotating.
    pub is_rotational: bool,
}

impl Disk {
    /// The disk below `folder`.
    pub fn of(folder: &Path) -> Option<Self> {
        let device = device_of(folder)?;
        let mut disk = Self { folder: folder.to_owned(), ..Self::default() };
        disk.read_mount(&fs::read_to_string("/proc/self/mountinfo").ok()?, &device);
        let below = fs::canonicalize(format!("/sys/dev/block/{device}")).unwrap_or_default();
        let whole = whole_disk(&device).unwrap_or_default();
        let name = below.file_name().unwrap_or_default();
        disk.device = name.to_string_lossy().into_owned();
        disk.model = read(whole.join("device/model"));
        disk.scheduler = read(whole.join("queue/scheduler"));
        disk.write_cache = read(whole.join("queue/write_cache"));
        disk.is_rotational = read(whole.join("queue/rotational")) == "1";
        Some(disk)
    }

    /// Whether it is memory that goes by the name of a file system: there is nothing to flush to.
    pub fn is_memory(&self) -> bool {
        ["tmpfs", "ramfs"].contains(&self.file_system.as_str())
    }

    /// The line of mountinfo for `device`; of several, the last whose mount point is above.
    fn read_mount(&mut self, mountinfo: &str, device: &str) {
        for line in mountinfo.lines() {
            let Some((before, after)) = line.split_once(" - ") else { continue };
            let before: Vec<&str> = before.split(' ').collect();
            let after: Vec<&str> = after.split(' ').collect();
            let (Some(numbers), Some(point), Some(options)) =
                (before.get(2), before.get(4), before.get(5))
            else {
                continue;
            };
            if *numbers == device && self.folder.starts_with(point) {
                self.mount_point = (*point).to_owned();
                self.file_system = after.first().copied().unwrap_or_default().to_owned();
                let more = after.get(2).copied().unwrap_or_default();
                self.mount_options = format!("{options}; {more}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_above_the_folder_counts() {
        let text = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard\n\
                    23 22 254:0 /x /data rw,noatime - ext4 /dev/vda rw,discard\n\
                    24 22 8:1 / /other rw - xfs /dev/sda1 rw\n";
        let mut disk = Disk { folder: "/data/broker".into(), ..Disk::default() };
        disk.read_mount(text, "254:0");
        assert_eq!((disk.mount_point.as_str(), disk.file_system.as_str()), ("/data", "ext4"));
        assert_eq!(disk.mount_options, "rw,noatime; rw,discard");
        let mut disk = Disk { folder: "/home".into(), ..Disk::default() };
        disk.read_mount(text, "254:0");
        assert_eq!(disk.mount_point, "/");
    }

    #[test]
    fn a_file_system_in_memory_is_told_from_one_on_a_disk() {
        // Every Linux has both.
        let shm = Disk::of(Path::new("/dev/shm")).unwrap();
        assert!(shm.is_memory() && shm.file_system == "tmpfs", "{shm:?}");
        let disk = Disk { file_system: "ext4".into(), ..Disk::default() };
        assert!(!disk.is_memory() && !Disk::default().is_memory());
    }

    #[test]
    fn the_current_folder_is_on_something() {
        let disk = Disk::of(&std::env::current_dir().unwrap()).unwrap();
        assert!(!disk.file_system.is_empty() && !disk.mount_point.is_empty(), "{disk:?}");
    }
}
