//! Where a run took place, for its report: whoever reads a figure must be able to ask what
//! machine, kernel, disk and limits it came from. What cannot be read stays empty.

mod disk;

use std::fs;
use std::path::Path;

use serde::Serialize;

pub use disk::Disk;

/// The machine and what limits this process on it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Environment {
    /// Kernel release.
    pub kernel: String,
    /// CPU model.
    pub cpu: String,
    /// CPUs this process may use.
    pub cpus: usize,
    /// CPUs of the machine that are online.
    pub cpus_online: usize,
    /// Whether two hardware threads share a core (`on`, `off`, `notsupported`).
    pub smt: String,
    /// Frequency governors in use, most often none in a virtual machine.
    pub governors: Vec<String>,
    /// Hypervisor, if the CPU tells of one.
    pub is_virtual: bool,
    /// NUMA nodes.
    pub numa_nodes: usize,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// The least of the memory limits set by control groups; none without one.
    pub memory_limit_bytes: Option<u64>,
    /// CPUs' worth of time that control groups allow; none without a limit.
    pub cpu_limit: Option<f64>,
    /// Most bytes of memory this process may lock; none without a limit.
    pub locked_memory_limit_bytes: Option<u64>,
    /// Most open files.
    pub open_files_limit: u64,
    /// Transparent huge pages, the setting in brackets.
    pub huge_pages: String,
    /// `kernel.io_uring_disabled`: 0 everybody may use it, 1 a group, 2 nobody.
    pub io_uring_disabled: Option<u64>,
    /// Clock source of the kernel.
    pub clock_source: String,
    /// Load average of the last minute when the run was set up.
    pub load_average: f64,
    /// The disk below the broker's files, when the broker runs here, or below the run's folder.
    pub disk: Option<Disk>,
    /// Version of loadgen.
    pub loadgen: &'static str,
    /// Whether loadgen was built without optimisation: its ceilings are then far lower.
    pub is_debug_build: bool,
    /// The command line.
    pub command: Vec<String>,
}

impl Environment {
    /// Look around.
    pub fn capture() -> Self {
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kib = memory.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok());
        let cpuinfo = read("/proc/cpuinfo");
        let limits = read("/proc/self/limits");
        Self {
            kernel: read("/proc/sys/kernel/osrelease"),
            cpu: field(&cpuinfo, "model name"),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            cpus_online: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
            smt: read("/sys/devices/system/cpu/smt/control"),
            governors: governors(),
            is_virtual: field(&cpuinfo, "flags").split(' ').any(|flag| flag == "hypervisor"),
            numa_nodes: numbered("/sys/devices/system/node", "node"),
            memory_bytes: kib.unwrap_or(0) * 1024,
            memory_limit_bytes: memory_limit(),
            cpu_limit: cpu_limit(),
            locked_memory_limit_bytes: limit(&limits, "Max locked memory"),
            open_files_limit: limit(&limits, "Max open files").unwrap_or(u64::MAX),
            huge_pages: read("/sys/kernel/mm/transparent_hugepage/enabled"),
            io_uring_disabled: read("/proc/sys/kernel/io_uring_disabled").parse().ok(),
            clock_source: crate::clock::source().unwrap_or_default(),
            load_average: field_number(&read("/proc/loadavg")),
            disk: None,
            loadgen: env!("CARGO_PKG_VERSION"),
            is_debug_build: cfg!(debug_assertions),
            command: std::env::args().collect(),
        }
    }
}

/// How often control groups held this process back, and for how long in nanoseconds, so far.
pub fn throttled() -> Option<(u64, u64)> {
    let text = first_of(&["cpu.stat", "cpu/cpu.stat"])?;
    throttled_in(&text)
}

fn throttled_in(text: &str) -> Option<(u64, u64)> {
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse::<u64>().ok()
    };
    let times = value("nr_throttled ")?;
    let ns = value("throttled_usec ").map(|us| us * 1000).or_else(|| value("throttled_time "));
    Some((times, ns.unwrap_or(0)))
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn field(text: &str, name: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_once(':'));
    value.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

fn field_number(text: &str) -> f64 {
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

/// The soft limit of this name in `/proc/self/limits`; none when unlimited.
fn limit(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn numbered(folder: &str, prefix: &str) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_one = |name: &str| {
        let digits = name.strip_prefix(prefix).unwrap_or("");
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    entries.filter(|entry| entry.file_name().to_str().is_some_and(is_one)).count()
}

fn governors() -> Vec<String> {
    let cpus = numbered("/sys/devices/system/cpu", "cpu");
    let of = |cpu| read(format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor"));
    let mut found: Vec<String> = (0..cpus).map(of).filter(|name| !name.is_empty()).collect();
    found.sort();
    found.dedup();
    found
}

/// The first of these files below this process' control groups, of version 2 or 1.
fn first_of(names: &[&str]) -> Option<String> {
    let groups = read("/proc/self/cgroup");
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let root = Path::new("/sys/fs/cgroup").join(controllers.split(',').next().unwrap_or(""));
        for name in names {
            let below = root.join(path.trim_start_matches('/')).join(name);
            if let Ok(text) = fs::read_to_string(below) {
                return Some(text);
            }
        }
    }
    names.iter().find_map(|name| fs::read_to_string(Path::new("/sys/fs/cgroup").join(name)).ok())
}

fn memory_limit() -> Option<u64> {
    let text = first_of(&["memory.max", "memory.limit_in_bytes", "memory/memory.limit_in_bytes"])?;
    // Version 1 writes a number close to 2^63 for no limit.
    text.trim().parse().ok().filter(|bytes| *bytes < 1 << 60)
}

fn cpu_limit() -> Option<f64> {
    let text = first_of(&["cpu.max"])?;
    let (quota, period) = text.trim().split_once(' ')?;
    Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_name_and_memory() {
        let found = Environment::capture();
        assert!(!found.kernel.is_empty() && found.cpus > 0 && found.cpus_online >= found.cpus);
        assert!(found.memory_bytes > 1 << 26, "{found:?}");
        assert!(found.open_files_limit > 10);
        assert!(found.memory_limit_bytes.is_none_or(|bytes| bytes > 1 << 20));
    }

    #[test]
    fn throttling_is_read_in_both_versions() {
        let two = "usage_usec 5\nnr_periods 3\nnr_throttled 2\nthrottled_usec 700\n";
        assert_eq!(throttled_in(two), Some((2, 700_000)));
        assert_eq!(throttled_in("nr_periods 3\nnr_throttled 2\nthrottled_time 9\n"), Some((2, 9)));
        assert_eq!(throttled_in("usage_usec 5\n"), None);
        let limits = "Limit  Soft Limit  Hard\nMax locked memory   8388608   unlimited  bytes\n\
                      Max open files   unlimited   5  files\n";
        assert_eq!(limit(limits, "Max locked memory"), Some(8_388_608));
        assert_eq!(limit(limits, "Max open files"), None);
    }
}
