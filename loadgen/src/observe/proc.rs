//! What `/proc` and `/sys` say, as numbers. Everything here takes text or a path and gives what
//! could be read; a kernel that keeps less gives less.

use std::fs;
use std::path::Path;

/// Totals of one process since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessTotals {
    /// User and system time, seconds.
    pub cpu_s: f64,
    /// Resident memory now, bytes.
    pub resident_bytes: u64,
    /// Threads now.
    pub threads: u64,
    /// Context switches because it waited, all threads that still live.
    pub switches_voluntary: u64,
    /// Context switches because its time was up.
    pub switches_involuntary: u64,
    /// Page faults that needed the disk.
    pub faults_major: u64,
    /// Bytes read from storage.
    pub read_bytes: u64,
    /// Bytes written to storage.
    pub write_bytes: u64,
}

/// Totals of the whole machine since it started, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CpuTotals {
    /// All time of all CPUs.
    pub all: u64,
    /// Of it neither idle nor waiting for disks.
    pub busy: u64,
    /// Of it taken by the hypervisor for others.
    pub stolen: u64,
}

/// Totals of one block device since it was attached.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DiskTotals {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Requests written.
    pub writes: u64,
    /// Milliseconds with anything in flight.
    pub busy_ms: u64,
    /// Flushes completed.
    pub flushes: u64,
    /// Milliseconds they took, summed.
    pub flush_ms: u64,
    /// Requests of every kind completed.
    pub completed: u64,
    /// Requests in flight now.
    pub in_flight: u64,
}

/// Most threads of a process whose context switches are summed.
const THREADS_MAX: usize = 4096;
const SECTOR_BYTES: u64 = 512;

fn number_after(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let digits = line.and_then(|rest| rest.trim_start_matches(':').split_whitespace().next());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Totals of process `pid`; `None` when it is gone.
pub fn process(pid: u32) -> Option<ProcessTotals> {
    let dir = Path::new("/proc").join(pid.to_string());
    let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap_or_default();
    let stat = fs::read_to_string(dir.join("stat")).ok()?;
    let mut totals = process_stat(&stat)?;
    let io = read("io");
    totals.read_bytes = number_after(&io, "read_bytes");
    totals.write_bytes = number_after(&io, "write_bytes");
    let tasks = fs::read_dir(dir.join("task")).into_iter().flatten().flatten();
    for task in tasks.take(THREADS_MAX) {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        totals.switches_voluntary += number_after(&status, "voluntary_ctxt_switches");
        totals.switches_involuntary += number_after(&status, "nonvoluntary_ctxt_switches");
    }
    Some(totals)
}

/// The fields of `/proc/PID/stat` that matter here.
fn process_stat(text: &str) -> Option<ProcessTotals> {
    // The name in parentheses may hold anything, so fields are counted behind it: the state is
    // field 3.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(ProcessTotals {
        cpu_s: (field(14)? + field(15)?) as f64 / ticks_per_s(),
        faults_major: field(12)?,
        threads: field(20)?,
        resident_bytes: field(24)? * page_bytes(),
        ..ProcessTotals::default()
    })
}

/// Ticks in which the kernel counts CPU time.
pub fn ticks_per_s() -> f64 {
    // SAFETY: sysconf takes a number and touches no memory of ours.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    if ticks > 0 { ticks as f64 } else { 100.0 }
}

fn page_bytes() -> u64 {
    // SAFETY: sysconf takes a number and touches no memory of ours.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4096)
}

/// Totals of all CPUs.
pub fn cpus() -> Option<CpuTotals> {
    cpu_line(&fs::read_to_string("/proc/stat").ok()?)
}

fn cpu_line(text: &str) -> Option<CpuTotals> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    // user nice system idle iowait irq softirq steal; guest times are part of user.
    let ticks: Vec<u64> = line.split_whitespace().map_while(|t| t.parse().ok()).take(8).collect();
    let [_, _, _, idle, waiting, ..] = ticks.as_slice() else { return None };
    let all = ticks.iter().sum();
    Some(CpuTotals { all, busy: all - idle - waiting, stolen: ticks.get(7).copied().unwrap_or(0) })
}

/// Totals of the device with this `major:minor`.
pub fn disk(device: &str) -> Option<DiskTotals> {
    disk_line(&fs::read_to_string(format!("/sys/dev/block/{device}/stat")).ok()?)
}

/// The fields of a device's `stat` that matter here.
pub fn disk_line(text: &str) -> Option<DiskTotals> {
    let fields: Vec<u64> = text.split_whitespace().map_while(|f| f.parse().ok()).collect();
    let at = |index: usize| fields.get(index).copied();
    // Reads and writes; discards and flushes, which older kernels do not count.
    let completed = [0, 4, 11, 15].into_iter().filter_map(at).sum();
    Some(DiskTotals {
        completed,
        in_flight: at(8)?,
        read_bytes: at(2)? * SECTOR_BYTES,
        writes: at(4)?,
        write_bytes: at(6)? * SECTOR_BYTES,
        busy_ms: at(9)?,
        flushes: at(15).unwrap_or(0),
        flush_ms: at(16).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel_are_read_whatever_a_process_is_called() {
        let stat = "17 (a) b) S 1 17 17 0 -1 4194560 100 0 7 0 250 50 0 0 20 0 9 0 100 5000 32 \
                    18446744073709551615";
        let totals = process_stat(stat).unwrap();
        assert_eq!((totals.faults_major, totals.threads), (7, 9));
        assert!((totals.cpu_s - 300.0 / ticks_per_s()).abs() < 1e-9);
        assert_eq!(totals.resident_bytes, 32 * page_bytes());
        let cpus = cpu_line("cpu  10 0 5 80 5 0 0 2 0 0\ncpu0 1 2 3\n").unwrap();
        assert_eq!(cpus, CpuTotals { all: 102, busy: 17, stolen: 2 });
        let disk = disk_line(" 5 0 8 1 7 0 16 9 0 40 50 0 0 0 0 3 12\n").unwrap();
        assert_eq!((disk.read_bytes, disk.writes, disk.write_bytes), (4096, 7, 8192));
        assert_eq!((disk.busy_ms, disk.flushes, disk.flush_ms), (40, 3, 12));
        assert_eq!((disk.completed, disk.in_flight), (5 + 7 + 3, 0));
        let old = disk_line(" 5 0 8 1 7 0 16 9 4 40 50\n").unwrap();
        assert_eq!((old.completed, old.in_flight), (5 + 7, 4));
        for text in ["", "cpu", "1 2"] {
            assert!(process_stat(text).is_none() && cpu_line(text).is_none());
            assert!(disk_line(text).is_none());
        }
    }

    #[test]
    fn this_process_is_there() {
        let totals = process(std::process::id()).unwrap();
        assert!(totals.resident_bytes > 100_000 && totals.threads >= 1, "{totals:?}");
        assert!(totals.switches_voluntary + totals.switches_involuntary > 0, "{totals:?}");
        assert!(process(u32::MAX).is_none());
        assert!(cpus().unwrap().busy > 0);
    }
}
