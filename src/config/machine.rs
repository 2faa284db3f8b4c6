//! What this process may use: cores, memory, open files.
//!
//! Reads the affinity mask and the control group (version 2, then 1), because a container's share
//! is what counts, not the machine behind it. Anything unreadable falls back to the machine.

use std::path::{Path, PathBuf};

/// What the kernel lets this process use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Numbers of the cores to use, ascending: the affinity mask, cut to the CPU quota.
    pub cores: Vec<usize>,
    /// Bytes of memory: the smaller of the machine's and the control group's.
    pub memory_bytes: u64,
    /// Hard limit of open files.
    pub open_files: u64,
}

/// Descriptors of one shard besides connections and logs: rings, event fds, threads' pipes.
const FILES_PER_SHARD: u64 = 32;
/// Descriptors of the process besides that.
const FILES_BASE: u64 = 32;
/// Files of logs that are few enough only for a toy.
pub(super) const LOG_FILES_MIN: u64 = 64;
/// Connections that are few enough only for a toy.
pub(super) const CONNECTIONS_MIN: u64 = 16;

/// Used when nothing about memory can be read.
const MEMORY_FALLBACK_BYTES: u64 = 1 << 30;

impl Machine {
    /// Ask the kernel.
    pub fn detect() -> Self {
        let mut cores = affinity();
        let groups = control_groups(Path::new("/"));
        if let Some(quota) = cpu_quota(&groups) {
            // Less than a core of quota is still one shard; a fraction above is left to the
            // kernel's and glommio's own threads, since a throttled shard stalls everything on it.
            cores.truncate((quota as usize).max(1));
        }
        let physical = mem_total(Path::new("/")).unwrap_or(MEMORY_FALLBACK_BYTES);
        let memory_bytes = memory_limit(&groups).map_or(physical, |limit| limit.min(physical));
        Self { cores, memory_bytes, open_files: open_files_hard() }
    }

    /// Descriptors that the broker needs besides those of connections and logs.
    pub fn files_of_shards(&self) -> u64 {
        FILES_BASE + FILES_PER_SHARD * self.cores.len() as u64
    }

    /// Files of logs to hold open unless somebody says: two fifths of what the shards leave.
    pub(super) fn files_of_logs(&self) -> u64 {
        (self.files_left() / 5 * 2).max(LOG_FILES_MIN)
    }

    /// Connections to serve unless somebody says: as many, as far as they fit beside the logs, so
    /// that the limit that the pre-flight check asks for is one that satisfies it.
    pub(super) fn connections(&self) -> u64 {
        let beside_logs = self.files_left().saturating_sub(self.files_of_logs());
        (self.files_left() / 5 * 2).min(beside_logs).max(CONNECTIONS_MIN)
    }

    fn files_left(&self) -> u64 {
        self.open_files.saturating_sub(self.files_of_shards())
    }
}

fn affinity() -> Vec<usize> {
    // SAFETY: cpu_set_t is plain bits, for which zero is a value; the call fills at most its size.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        let size = std::mem::size_of::<libc::cpu_set_t>();
        if libc::sched_getaffinity(0, size, &raw mut set) != 0 {
            return vec![0];
        }
        set
    };
    let count = libc::CPU_SETSIZE as usize;
    // SAFETY: the index is below CPU_SETSIZE, the number of bits in the set.
    let cores: Vec<usize> = (0..count).filter(|c| unsafe { libc::CPU_ISSET(*c, &set) }).collect();
    if cores.is_empty() { vec![0] } else { cores }
}

fn open_files_hard() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live rlimit that the call fills.
    match unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } {
        0 => limit.rlim_max,
        _ => 1024,
    }
}

fn mem_total(root: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Directories of the control groups this process is in, innermost first, every parent included.
fn control_groups(root: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut found = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let base = root.join("sys/fs/cgroup").join(controllers);
        let mut inner = PathBuf::from(path.trim_start_matches('/'));
        // A hierarchy is a few levels deep; the bound keeps a strange line from costing more.
        for _ in 0..32 {
            found.push(base.join(&inner));
            if !inner.pop() {
                break;
            }
        }
    }
    found
}

/// Whole cores of CPU quota: the smallest along the hierarchy.
fn cpu_quota(groups: &[PathBuf]) -> Option<u64> {
    let number = |path: PathBuf| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    groups
        .iter()
        .filter_map(|group| {
            if let Ok(text) = std::fs::read_to_string(group.join("cpu.max")) {
                let (quota, period) = text.trim().split_once(' ')?;
                return Some(quota.parse::<u64>().ok()? / period.parse::<u64>().ok()?.max(1));
            }
            let quota = number(group.join("cpu.cfs_quota_us"))?;
            Some(quota / number(group.join("cpu.cfs_period_us"))?.max(1))
        })
        .min()
}

/// Bytes of memory allowed: the smallest along the hierarchy.
fn memory_limit(groups: &[PathBuf]) -> Option<u64> {
    groups
        .iter()
        .flat_map(|group| ["memory.max", "memory.limit_in_bytes"].map(|name| group.join(name)))
        .filter_map(|path| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok())
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_limit_of_the_hierarchy_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("proc/self/cgroup", "0::/a/b\n");
        write("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
        write("sys/fs/cgroup/a/cpu.max", "250000 100000\n");
        write("sys/fs/cgroup/a/b/memory.max", "536870912\n");
        write("sys/fs/cgroup/a/memory.max", "max\n");
        write("proc/meminfo", "MemTotal:       16384 kB\nMemFree: 1 kB\n");
        let groups = control_groups(root.path());
        assert_eq!(cpu_quota(&groups), Some(2));
        assert_eq!(memory_limit(&groups), Some(512 << 20));
        assert_eq!(mem_total(root.path()), Some(16 << 20));
    }

    #[test]
    fn version_1_groups_are_read_too() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("proc/self/cgroup", "4:cpu:/x\n3:memory:/x\n");
        write("sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "300000");
        write("sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "100000");
        write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1");
        write("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "1000");
        let groups = control_groups(root.path());
        assert_eq!(cpu_quota(&groups), Some(3));
        assert_eq!(memory_limit(&groups), Some(1000));
    }

    #[test]
    fn this_machine_has_something() {
        let machine = Machine::detect();
        assert!(!machine.cores.is_empty());
        assert!(machine.memory_bytes > 1 << 20);
        assert!(machine.open_files > 0);
    }
}
