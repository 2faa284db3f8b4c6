//! Where a run took place, for its report.

use std::fs;

use serde::Serialize;

/// The machine.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Environment {
    /// Kernel release.
    pub kernel: String,
    /// CPU model.
    pub cpu: String,
    /// CPUs this process may use.
    pub cpus: usize,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Clock source of the kernel.
    pub clock_source: String,
    /// Version of loadgen.
    pub loadgen: &'static str,
    /// The command line.
    pub command: Vec<String>,
}

impl Environment {
    /// Look around; what cannot be read stays empty.
    pub fn capture() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_once(':'));
            value.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kib = memory.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok());
        Self {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            cpu: field(&read("/proc/cpuinfo"), "model name"),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: kib.unwrap_or(0) * 1024,
            clock_source: crate::clock::source().unwrap_or_default(),
            loadgen: env!("CARGO_PKG_VERSION"),
            command: std::env::args().collect(),
        }
    }
}
