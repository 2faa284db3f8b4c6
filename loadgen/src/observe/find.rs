//! Which process of this host listens at an address, and where it keeps its files. Needs the
//! right to look into that process (the same user, or root); otherwise nothing is found.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The broker's process on this host.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Found {
    /// Its process id.
    pub pid: u32,
    /// Its command line.
    pub command: Vec<String>,
    /// The folder in which most of its open files are; none before it opened any.
    pub data_dir: Option<PathBuf>,
    /// `major:minor` of the device below that folder.
    pub device: Option<String>,
}

/// TCP_LISTEN in `/proc/net/tcp`.
const LISTENING: &str = "0A";

/// Whether `address` belongs to this host: only then can a socket be bound to it.
pub fn is_here(address: SocketAddr) -> bool {
    UdpSocket::bind((address.ip(), 0)).is_ok()
}

/// The process that listens at `address`.
pub fn listener(address: SocketAddr) -> Option<Found> {
    if !is_here(address) {
        return None;
    }
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let inodes: Vec<String> = tables
        .iter()
        .flat_map(|table| listening_inodes(&fs::read_to_string(table).unwrap_or_default(), address))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let pid = fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        open_files(pid)
            .any(|file| inodes.iter().any(|i| file.as_os_str() == i.as_str()))
            .then_some(pid)
    })?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = command.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    let data_dir = data_dir(pid);
    Some(Found {
        pid,
        command: words.map(|word| String::from_utf8_lossy(word).into_owned()).collect(),
        device: data_dir.as_ref().and_then(|dir| device_of(dir)),
        data_dir,
    })
}

fn listening_inodes(table: &str, address: SocketAddr) -> Vec<u64> {
    let port = format!(":{:04X}", address.port());
    let is_wanted = |fields: &[&str]| {
        fields.len() > 9 && fields[3] == LISTENING && fields[1].ends_with(port.as_str())
    };
    table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| is_wanted(fields))
        .filter_map(|fields| fields[9].parse().ok())
        .collect()
}

fn open_files(pid: u32) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries.filter_map(|entry| fs::read_link(entry.path()).ok())
}

/// The folder that holds most of the process' open regular files.
fn data_dir(pid: u32) -> Option<PathBuf> {
    let mut folders: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for file in open_files(pid).filter(|file| file.is_absolute()) {
        let is_data = fs::metadata(&file).is_ok_and(|metadata| metadata.is_file());
        let is_system =
            ["/usr", "/lib", "/proc", "/sys", "/dev"].iter().any(|s| file.starts_with(s));
        let is_program = file.extension().is_some_and(|e| e == "jar" || e == "so");
        if let Some(parent) = file.parent().filter(|_| is_data && !is_system && !is_program) {
            *folders.entry(parent.to_owned()).or_default() += 1;
        }
    }
    folders.into_iter().max_by_key(|(_, files)| *files).map(|(folder, _)| folder)
}

/// `major:minor` of the device that holds `path`.
pub fn device_of(path: &Path) -> Option<String> {
    let device = fs::metadata(path).ok()?.dev();
    Some(format!("{}:{}", libc::major(device), libc::minor(device)))
}

/// Where sysfs has the disk that `device` (`major:minor`) is, or is a partition of; none of memory.
pub fn whole_disk(device: &str) -> Option<PathBuf> {
    let own = fs::canonicalize(format!("/sys/dev/block/{device}")).ok()?;
    // A partition's queue is its disk's.
    if own.join("queue").is_dir() { Some(own) } else { own.parent().map(Path::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn the_own_listener_is_found_and_nobody_elses_port_is() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let found = super::listener(address).unwrap();
        assert_eq!(found.pid, std::process::id());
        assert!(!found.command.is_empty());
        drop(listener);
        assert_eq!(super::listener(address), None);
        assert!(!is_here("192.0.2.1:9092".parse().unwrap()), "an address for documents only");
    }

    #[test]
    fn only_listeners_of_the_port_count() {
        let table = "  sl  local_address rem_address   st\n   \
            0: 0100007F:2384 00000000:0000 0A 00000000:00000000 00:0 0 0 0 4711 1\n   \
            1: 0100007F:2384 0100007F:9999 01 00000000:00000000 00:0 0 0 0 4712 1\n";
        let port = |port| SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(listening_inodes(table, port(0x2384)), [4711]);
        assert!(listening_inodes(table, port(0x2385)).is_empty());
    }
}
