//! How busy the measuring threads are, asked of the kernel from outside: they do nothing for it.

use std::fs;

/// CPU use of a measuring thread since it began.
#[derive(Clone, Debug, PartialEq)]
pub struct Effort {
    /// `producer` or `consumer`.
    pub role: &'static str,
    /// The thread's number in the kernel.
    pub id: u64,
    /// When it was asked, monotonic nanoseconds.
    pub at_ns: u64,
    /// CPU nanoseconds.
    pub cpu_ns: u64,
    /// Nanoseconds ready to run without a core.
    pub waited_ns: u64,
}

/// Most threads that are looked at.
const THREADS_MAX: usize = 256;

/// The efforts of this process's measuring threads (`/proc/self/task`).
pub fn efforts(now_ns: u64) -> Vec<Effort> {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    let effort = |task: fs::DirEntry| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        let role = ["producer", "consumer"].into_iter().find(|role| name.starts_with(role))?;
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        let mut numbers = text.split_whitespace().map(|word| word.parse().ok());
        let (cpu_ns, waited_ns) = (numbers.next()??, numbers.next()??);
        let id = task.file_name().to_str()?.parse().ok()?;
        Some(Effort { role, id, at_ns: now_ns, cpu_ns, waited_ns })
    };
    tasks.take(THREADS_MAX).filter_map(|task| effort(task.ok()?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measuring_thread_is_found_by_its_name() {
        let work = || {
            (0..1_000_000u64).for_each(|i| {
                std::hint::black_box(i);
            });
            efforts(7)
        };
        let thread = std::thread::Builder::new().name("producer-0".into()).spawn(work).unwrap();
        let found = thread.join().unwrap();
        let effort = found.iter().find(|effort| effort.role == "producer").expect("found");
        assert!(effort.cpu_ns > 0 && effort.at_ns == 7, "{effort:?}");
    }
}
