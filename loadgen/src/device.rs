//! The disk's own ceiling, measured on the file system that is asked about: direct sequential
//! writes with and without a flush after each, a small flushed write's latency, direct reads.
//!
//! Writes go into blocks that have been written before, which is the fastest a file system can
//! be and what a log with recycled segments does; and into blocks that were only claimed
//! (fallocate), which is what a log that grows does: ext4 notes for each write that they count from
//! now on. A depth of N is N threads with one call each.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use serde::Serialize;

use crate::clock;
use crate::histogram::{Latency, Summary};
use crate::payload::Filler;
use crate::report::text;

/// Direct I/O wants memory and places in units of the device's block; this suits all of them.
const ALIGN: usize = 4096;
const PREPARE_BYTES: usize = 4 << 20;
/// Smallest file: every thread must have its own place.
const FILE_BYTES_MIN: u64 = 64 << 20;

/// Bytes per call and calls at a time of writes without a flush: batches of usual sizes.
const WRITES: [(usize, usize); 3] = [(64 << 10, 8), (256 << 10, 8), (1 << 20, 4)];
/// The same of writes with a flush each: the same batches, and what a group commit makes of many.
const FLUSHED: [(usize, usize); 5] =
    [(64 << 10, 8), (256 << 10, 8), (1 << 20, 4), (2 << 20, 4), (4 << 20, 1)];

/// What one pattern of calls reached.
#[derive(Clone, Debug, Serialize)]
pub struct Rate {
    /// Bytes per call.
    pub call_bytes: usize,
    /// Calls at the same time.
    pub depth: usize,
    /// Bytes per second.
    pub bytes_per_s: f64,
    /// Time per call, its flush included.
    pub latency: Summary,
}

/// The ceilings of one disk.
#[derive(Clone, Debug, Serialize)]
pub struct Device {
    /// Where.
    pub dir: PathBuf,
    /// Whether the file system does direct I/O; if not, the page cache was measured.
    pub is_direct: bool,
    /// The first writing of the file, into fresh blocks.
    pub fresh_write_bytes_per_s: f64,
    /// Writes into blocks that were claimed and never written, each once.
    pub write_claimed: Vec<Rate>,
    /// Writes into written blocks.
    pub write: Vec<Rate>,
    /// The same with an fdatasync after each.
    pub write_flush: Vec<Rate>,
    /// Writes into blocks that were claimed and never written, each once and with an fdatasync.
    pub write_claimed_flush: Vec<Rate>,
    /// 4 KiB and an fdatasync, one at a time: the floor of a flushed acknowledgement.
    pub small_flush: Rate,
    /// Reads.
    pub read: Vec<Rate>,
}

/// The fastest of several patterns.
pub fn best(rates: &[Rate]) -> f64 {
    rates.iter().map(|rate| rate.bytes_per_s).fold(0.0, f64::max)
}

/// How to measure.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Directory on the disk.
    pub dir: PathBuf,
    /// Size of the file, removed afterwards.
    pub file_bytes: u64,
    /// Seconds per pattern.
    pub seconds: f64,
}

/// A file that goes when it is dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Measure; `stop` ends it early, and what it gives then is not to be used.
///
/// # Errors
/// When the file cannot be made, written or read.
pub fn measure(settings: &Settings, stop: &AtomicBool) -> Result<Device, String> {
    let path = settings.dir.join(format!("loadgen-device-{}", std::process::id()));
    let failed = |what: &str, error: io::Error| {
        format!("{what} {} failed: {error}; is the disk full or read-only?", path.display())
    };
    let (file, is_direct) = open(&path).map_err(|e| failed("creating", e))?;
    let scratch = Scratch(path.clone());
    write_what_waits(&file).map_err(|e| failed("writing what others left in memory before", e))?;
    let file_bytes = settings.file_bytes.max(FILE_BYTES_MIN) / ALIGN as u64 * ALIGN as u64;
    let bench = Bench { file: &file, file_bytes, seconds: settings.seconds, stop };
    let go = |call, bytes, depth| bench.run(call, bytes, depth).map_err(|e| failed("using", e));
    let claimed = |flushes, bytes, depth| {
        claim(&file, file_bytes).map_err(|e| failed("claiming space for", e))?;
        go(Call::Write { flushes, once: true }, bytes, depth)
    };
    let write_claimed = each(&WRITES, |bytes, depth| claimed(false, bytes, depth))?;
    let write_claimed_flush = each(&FLUSHED, |bytes, depth| claimed(true, bytes, depth))?;
    file.set_len(0).map_err(|e| failed("emptying", e))?;
    let fresh = prepare(&file, file_bytes, stop).map_err(|e| failed("writing", e))?;
    let device = Device {
        dir: settings.dir.clone(),
        is_direct,
        fresh_write_bytes_per_s: fresh,
        write_claimed,
        write: each(&WRITES, |bytes, depth| go(WRITE, bytes, depth))?,
        write_flush: each(&FLUSHED, |bytes, depth| go(WRITE_FLUSH, bytes, depth))?,
        write_claimed_flush,
        small_flush: go(WRITE_FLUSH, ALIGN, 1)?,
        read: each(&WRITES[1..], |bytes, depth| go(Call::Read, bytes, depth))?,
    };
    drop(scratch);
    Ok(device)
}

/// One figure for each pattern.
fn each(
    patterns: &[(usize, usize)],
    mut measure: impl FnMut(usize, usize) -> Result<Rate, String>,
) -> Result<Vec<Rate>, String> {
    patterns.iter().map(|(bytes, depth)| measure(*bytes, *depth)).collect()
}

/// The directory's file system with direct I/O if it can, else without.
fn open(path: &Path) -> io::Result<(File, bool)> {
    let options = |flags: i32| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).custom_flags(flags);
        options
    };
    match options(libc::O_DIRECT).open(path) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            Ok((options(0).open(path)?, false))
        }
        opened => Ok((opened?, true)),
    }
}

/// Have the kernel write what anybody has left in its page cache for this file system. Else it does
/// so up to 30 s later (`vm.dirty_expire_centisecs`), megabytes at a time, and each measured write
/// waits behind them: what a build has left stood in front of a broker for 44 ms.
fn write_what_waits(file: &File) -> io::Result<()> {
    // SAFETY: a call on an open descriptor without memory of ours.
    match unsafe { libc::syncfs(file.as_raw_fd()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Give the file blocks that nobody has written.
fn claim(file: &File, file_bytes: u64) -> io::Result<()> {
    file.set_len(0)?;
    let len = i64::try_from(file_bytes).map_err(io::Error::other)?;
    // SAFETY: a call on an open descriptor without memory of ours.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, len) } {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// Write the whole file once; bytes per second, the final flush included.
fn prepare(file: &File, file_bytes: u64, stop: &AtomicBool) -> io::Result<f64> {
    let mut buffer = Aligned::new(PREPARE_BYTES);
    let begin = clock::monotonic_ns();
    let mut at = 0;
    while at < file_bytes && !stop.load(Ordering::Relaxed) {
        let part = (file_bytes - at).min(PREPARE_BYTES as u64) as usize;
        file.write_all_at(&buffer.bytes()[..part], at)?;
        at += part as u64;
    }
    file.sync_data()?;
    Ok(file_bytes as f64 / seconds_since(begin))
}

fn seconds_since(begin_ns: u64) -> f64 {
    (clock::monotonic_ns() - begin_ns).max(1) as f64 / 1e9
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Read,
    Write {
        flushes: bool,
        /// Ends when every place has been written.
        once: bool,
    },
}

const WRITE: Call = Call::Write { flushes: false, once: false };
const WRITE_FLUSH: Call = Call::Write { flushes: true, once: false };

struct Bench<'a> {
    file: &'a File,
    file_bytes: u64,
    seconds: f64,
    stop: &'a AtomicBool,
}

impl Bench<'_> {
    fn run(&self, call: Call, call_bytes: usize, depth: usize) -> io::Result<Rate> {
        let next = AtomicU64::new(0);
        let calls_in_file = (self.file_bytes / call_bytes as u64).max(1);
        // Filled before the time begins.
        let buffers: Vec<Aligned> = (0..depth).map(|_| Aligned::new(call_bytes)).collect();
        let begin = clock::monotonic_ns();
        let until = begin + (self.seconds * 1e9) as u64;
        let worker = |mut buffer: Aligned| -> io::Result<Latency> {
            let mut latency = Latency::default();
            loop {
                let from = clock::monotonic_ns();
                // A thread that gets its core late makes one call nevertheless.
                let is_over = from >= until && latency.records() > 0;
                if is_over || self.stop.load(Ordering::Relaxed) {
                    return Ok(latency);
                }
                let number = next.fetch_add(1, Ordering::Relaxed);
                let ends = matches!(call, Call::Write { once: true, .. });
                if ends && number >= calls_in_file {
                    return Ok(latency);
                }
                let at = number % calls_in_file * call_bytes as u64;
                match call {
                    Call::Read => self.file.read_exact_at(buffer.bytes(), at)?,
                    Call::Write { flushes, .. } => {
                        self.file.write_all_at(buffer.bytes(), at)?;
                        if flushes {
                            self.file.sync_data()?;
                        }
                    }
                }
                latency.completion();
                latency.record(clock::monotonic_ns() - from, 1);
            }
        };
        let mut all = Latency::default();
        thread::scope(|scope| {
            let work = &worker;
            let threads: Vec<_> =
                buffers.into_iter().map(|buffer| scope.spawn(move || work(buffer))).collect();
            for thread in threads {
                let joined = thread.join().map_err(|_| io::Error::other("a thread panicked"))?;
                all.add(&joined?);
            }
            Ok::<(), io::Error>(())
        })?;
        let bytes = all.records() * call_bytes as u64;
        let bytes_per_s = bytes as f64 / seconds_since(begin);
        Ok(Rate { call_bytes, depth, bytes_per_s, latency: all.summary() })
    }
}

/// Memory that begins at a multiple of [`ALIGN`], filled with noise (a device must not find
/// zeros to leave out).
struct Aligned {
    memory: Vec<u8>,
    begin: usize,
    len: usize,
}

impl Aligned {
    fn new(len: usize) -> Self {
        let mut memory = vec![0u8; len + ALIGN];
        let begin = memory.as_ptr().align_offset(ALIGN);
        Filler::new(len as u64).fill(&mut memory, 1.0);
        Self { memory, begin, len }
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.begin..self.begin + self.len]
    }
}

/// The ceilings in lines.
pub fn lines(device: &Device) -> Vec<(&'static str, String)> {
    let show = |rates: &[Rate]| {
        let shown = rates.iter().map(|rate| {
            let rate_text = text::megabytes(rate.bytes_per_s);
            format!("{rate_text} ({} KiB x {})", rate.call_bytes >> 10, rate.depth)
        });
        shown.collect::<Vec<_>>().join(", ")
    };
    let small = &device.small_flush;
    let per_s = small.bytes_per_s / small.call_bytes as f64;
    let mut lines = vec![
        ("write", show(&device.write)),
        ("new blocks", show(&device.write_claimed)),
        ("+ fdatasync", show(&device.write_flush)),
        ("new + fdatasync", show(&device.write_claimed_flush)),
        (
            "small flush",
            format!("{per_s:.0} x 4 KiB + fdatasync per second, {}", text::latency(&small.latency)),
        ),
        ("read", show(&device.read)),
    ];
    if !device.is_direct {
        lines
            .push(("note", "no direct I/O on this file system: the page cache is measured".into()));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_moves_bytes_and_nothing_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { dir: dir.path().to_owned(), file_bytes: 0, seconds: 0.05 };
        let device = measure(&settings, &AtomicBool::new(false)).unwrap();
        let writes = device.write.iter().chain(&device.write_claimed);
        let flushed = device.write_flush.iter().chain(&device.write_claimed_flush);
        for rate in writes.chain(flushed).chain(&device.read) {
            assert!(rate.bytes_per_s > 0.0 && rate.latency.completions > 0, "{rate:?}");
        }
        assert!(device.small_flush.latency.completions > 0);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    /// Whether a file has bytes in memory that have no place on the disk yet: `FIEMAP`, see the
    /// kernel's `Documentation/filesystems/fiemap.rst`.
    fn is_waiting(file: &File) -> bool {
        const FS_IOC_FIEMAP: libc::Ioctl = 0xc020_660b_u32 as libc::Ioctl;
        const EXTENTS: usize = 64;
        const FIEMAP_EXTENT_DELALLOC: u32 = 4;
        // A head of 32 bytes (at 8 the length, at 20 how many were found, at 24 how many fit), and
        // extents of 56 (at 40 the flags).
        let mut map = [0_u64; 4 + 7 * EXTENTS];
        (map[1], map[3]) = (u64::MAX, EXTENTS as u64);
        // SAFETY: the kernel writes no more extents than were said to fit.
        let done = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FIEMAP, map.as_mut_ptr()) };
        assert_eq!(done, 0, "{}", io::Error::last_os_error());
        let found = (map[2] >> 32) as usize;
        let flags = (0..found).map(|extent| map[4 + 7 * extent + 5] as u32);
        assert!(found > 0);
        flags.into_iter().any(|flags| flags & FIEMAP_EXTENT_DELALLOC != 0)
    }

    #[test]
    fn what_waits_in_memory_is_written_before_and_not_meanwhile() {
        // Beside the built code, where there is a disk; /tmp may be memory.
        let built = std::env::current_exe().unwrap();
        let dir = tempfile::tempdir_in(built.parent().unwrap()).unwrap();
        let file = File::create(dir.path().join("built")).unwrap();
        file.write_all_at(&[7; 1 << 20], 0).unwrap();
        assert!(is_waiting(&file), "a file system that writes at once tells nothing here");
        let settings = Settings { dir: dir.path().to_owned(), file_bytes: 0, seconds: 0.01 };
        measure(&settings, &AtomicBool::new(false)).unwrap();
        assert!(!is_waiting(&file));
    }

    #[test]
    fn a_directory_that_is_not_there_is_a_clear_error() {
        let settings = Settings { dir: "/nowhere/at/all".into(), file_bytes: 0, seconds: 0.1 };
        let why = measure(&settings, &AtomicBool::new(false)).unwrap_err();
        assert!(why.contains("/nowhere/at/all"), "{why}");
    }
}
