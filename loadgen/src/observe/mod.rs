//! What the machine did while a run was measured: the broker's process if it is on this host, the
//! disk below it, the CPUs and the generator itself, once a second on the run's own time axis.
//!
//! Threads of their own read `/proc`; no measuring thread does.

pub mod find;
pub mod pauses;
mod proc;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Serialize;

use crate::clock;
use find::Found;
use proc::{CpuTotals, DiskTotals, ProcessTotals};

/// One second of the run: rates over it, and amounts at its end. What could not be read is left
/// out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Sample {
    /// The second since the start of the run, warm-up included.
    pub second: u64,
    /// Cores that the broker kept busy.
    pub broker_cores: Option<f64>,
    /// The broker's resident memory, bytes.
    pub broker_resident_bytes: Option<u64>,
    /// The broker's threads.
    pub broker_threads: Option<u64>,
    /// Its context switches per second, because it waited.
    pub broker_switches_voluntary_per_s: Option<f64>,
    /// Its context switches per second, because its time was up.
    pub broker_switches_involuntary_per_s: Option<f64>,
    /// Its page faults from disk per second.
    pub broker_major_faults_per_s: Option<f64>,
    /// Bytes per second that it had read from storage.
    pub broker_read_bytes_per_s: Option<f64>,
    /// Bytes per second that it had written to storage.
    pub broker_write_bytes_per_s: Option<f64>,
    /// Cores that this generator kept busy.
    pub generator_cores: Option<f64>,
    /// Share of all CPUs that was busy, 0..1.
    pub host_busy: Option<f64>,
    /// Share of all CPUs that a hypervisor took away, 0..1.
    pub host_stolen: Option<f64>,
    /// Bytes per second read from the broker's disk, by anybody.
    pub disk_read_bytes_per_s: Option<f64>,
    /// Bytes per second written to it.
    pub disk_write_bytes_per_s: Option<f64>,
    /// Write requests per second to it.
    pub disk_writes_per_s: Option<f64>,
    /// Share of the time in which it had anything to do, 0..1.
    pub disk_busy: Option<f64>,
    /// Its flushes per second.
    pub disk_flushes_per_s: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    at_ns: u64,
    broker: Option<ProcessTotals>,
    generator: Option<ProcessTotals>,
    cpus: Option<CpuTotals>,
    disk: Option<DiskTotals>,
}

impl Totals {
    fn read(broker: Option<&Found>) -> Self {
        let device = broker.and_then(|found| found.device.as_deref());
        Self {
            at_ns: clock::monotonic_ns(),
            broker: broker.and_then(|found| proc::process(found.pid)),
            generator: proc::process(std::process::id()),
            cpus: proc::cpus(),
            disk: device.and_then(proc::disk),
        }
    }

    /// What happened since `before`.
    fn since(&self, before: &Self, second: u64) -> Sample {
        let seconds = (self.at_ns.saturating_sub(before.at_ns) as f64 / 1e9).max(1e-3);
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        let mut sample = Sample { second, ..Sample::default() };
        if let (Some(now), Some(then)) = (self.broker, before.broker) {
            sample.broker_cores = Some((now.cpu_s - then.cpu_s).max(0.0) / seconds);
            sample.broker_resident_bytes = Some(now.resident_bytes);
            sample.broker_threads = Some(now.threads);
            let voluntary = rate(now.switches_voluntary, then.switches_voluntary);
            let involuntary = rate(now.switches_involuntary, then.switches_involuntary);
            sample.broker_switches_voluntary_per_s = Some(voluntary);
            sample.broker_switches_involuntary_per_s = Some(involuntary);
            sample.broker_major_faults_per_s = Some(rate(now.faults_major, then.faults_major));
            sample.broker_read_bytes_per_s = Some(rate(now.read_bytes, then.read_bytes));
            sample.broker_write_bytes_per_s = Some(rate(now.write_bytes, then.write_bytes));
        }
        if let (Some(now), Some(then)) = (self.generator, before.generator) {
            sample.generator_cores = Some((now.cpu_s - then.cpu_s).max(0.0) / seconds);
        }
        if let (Some(now), Some(then)) = (self.cpus, before.cpus) {
            let all = now.all.saturating_sub(then.all).max(1) as f64;
            sample.host_busy = Some(now.busy.saturating_sub(then.busy) as f64 / all);
            sample.host_stolen = Some(now.stolen.saturating_sub(then.stolen) as f64 / all);
        }
        if let (Some(now), Some(then)) = (self.disk, before.disk) {
            sample.disk_read_bytes_per_s = Some(rate(now.read_bytes, then.read_bytes));
            sample.disk_write_bytes_per_s = Some(rate(now.write_bytes, then.write_bytes));
            sample.disk_writes_per_s = Some(rate(now.writes, then.writes));
            sample.disk_busy = Some((rate(now.busy_ms, then.busy_ms) / 1000.0).min(1.0));
            sample.disk_flushes_per_s = Some(rate(now.flushes, then.flushes));
        }
        sample
    }
}

/// Most seconds that are kept: four days.
const SAMPLES_MAX: usize = 4 * 86_400;

/// An observing thread and what it brings; it ends when asked or dropped.
#[derive(Debug)]
pub struct Observer<T> {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<T>>,
}

impl<T: Default + Send + 'static> Observer<T> {
    fn spawn(
        name: &str,
        work: impl FnOnce(&AtomicBool) -> T + Send + 'static,
    ) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || work(&stopped))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// End, and tell what was seen.
    pub fn finish(mut self) -> T {
        self.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return T::default() };
        thread.thread().unpark();
        thread.join().unwrap_or_default()
    }
}

impl Observer<Vec<Sample>> {
    /// Observe from `start_ns` on, second by second.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn seconds(start_ns: u64, broker: Option<Found>) -> std::io::Result<Self> {
        Self::spawn("observer", move |stop| observe(start_ns, broker.as_ref(), stop))
    }
}

impl<T> Drop for Observer<T> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Sleep until `until_ns`; true when it was stopped before.
fn is_over(until_ns: u64, stop: &AtomicBool) -> bool {
    while !stop.load(Ordering::Relaxed) {
        let left = until_ns.saturating_sub(clock::monotonic_ns());
        if left == 0 {
            return false;
        }
        std::thread::park_timeout(Duration::from_nanos(left));
    }
    true
}

fn observe(start_ns: u64, broker: Option<&Found>, stop: &AtomicBool) -> Vec<Sample> {
    let mut samples = Vec::new();
    if is_over(start_ns, stop) {
        return samples;
    }
    let mut before = Totals::read(broker);
    for second in 0.. {
        let end_ns = start_ns + (second + 1) * 1_000_000_000;
        let over = is_over(end_ns, stop) || samples.len() >= SAMPLES_MAX;
        let now = Totals::read(broker);
        // The begin of a second that was cut short says little.
        if now.at_ns - before.at_ns > 500_000_000 {
            samples.push(now.since(&before, second));
        }
        if over {
            break;
        }
        before = now;
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_differences_over_the_time_that_passed() {
        let process = |cpu_s, write_bytes| {
            Some(ProcessTotals { cpu_s, write_bytes, resident_bytes: 7, ..<_>::default() })
        };
        let before = Totals { at_ns: 0, broker: process(1.0, 100), ..Totals::default() };
        let after = Totals {
            at_ns: 2_000_000_000,
            broker: process(4.0, 2100),
            cpus: Some(CpuTotals { all: 10, busy: 5, stolen: 1 }),
            ..Totals::default()
        };
        let sample = after.since(&before, 3);
        assert_eq!((sample.second, sample.broker_cores), (3, Some(1.5)));
        assert_eq!(sample.broker_write_bytes_per_s, Some(1000.0));
        assert_eq!((sample.broker_resident_bytes, sample.host_busy), (Some(7), None));
        assert_eq!(sample.disk_busy, None);
    }

    #[test]
    fn a_process_that_works_is_seen_working() {
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let found = find::listener(address.local_addr().unwrap());
        assert!(found.is_some());
        let observer = Observer::seconds(clock::monotonic_ns(), found).unwrap();
        let until = clock::monotonic_ns() + 1_200_000_000;
        while clock::monotonic_ns() < until {
            std::hint::black_box(clock::thread_cpu_ns());
        }
        let samples = observer.finish();
        let first = samples.first().expect("a whole second has passed");
        assert!(first.broker_cores.unwrap() > 0.0 && first.host_busy.unwrap() > 0.0, "{first:?}");
        assert_eq!(first.second, 0);
    }
}
