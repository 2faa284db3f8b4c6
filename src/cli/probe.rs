//! Questions to the machine for `preflight.rs`: what the kernel says, not what it means.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// `uname -r`; empty when it cannot be read.
pub fn kernel_release() -> String {
    read("/proc/sys/kernel/osrelease").unwrap_or_default()
}

/// Whether an io_uring can be created and used; if not, which of its calls fails and with which
/// error number.
pub fn io_uring() -> Result<(), (&'static str, i32)> {
    const PROBE: u32 = 8;
    let ring = small_ring().map_err(|errno| ("io_uring_setup", errno))?;
    // struct io_uring_probe without any operation: 16 bytes, zero.
    let mut probe = [0u64; 2];
    let (fd, at) = (ring.as_raw_fd(), probe.as_mut_ptr());
    // SAFETY: the kernel reads and writes 16 bytes at the pointer, which are there.
    let registered = unsafe { libc::syscall(libc::SYS_io_uring_register, fd, PROBE, at, 0) };
    if registered < 0 {
        return Err(("io_uring_register", last_errno()));
    }
    let nothing = std::ptr::null::<libc::sigset_t>();
    // SAFETY: submits nothing, waits for nothing, passes no memory.
    let entered = unsafe { libc::syscall(libc::SYS_io_uring_enter, fd, 0, 0, 0, nothing, 0) };
    if entered < 0 { Err(("io_uring_enter", last_errno())) } else { Ok(()) }
}

/// Whether the kernel counts this process's rings towards its limit of locked memory: not with
/// CAP_IPC_LOCK, and for other users before 5.12 and again since 6.14. Asks by opening a ring
/// under a limit of nothing, which holds for the whole process until this returns.
pub fn are_rings_charged() -> bool {
    let Some(limit) = limit(libc::RLIMIT_MEMLOCK) else { return true };
    let nothing = libc::rlimit { rlim_cur: 0, ..limit };
    if !set_limit(libc::RLIMIT_MEMLOCK, &nothing) {
        return true;
    }
    let opened = small_ring();
    set_limit(libc::RLIMIT_MEMLOCK, &limit);
    opened.is_err()
}

fn small_ring() -> Result<OwnedFd, i32> {
    // struct io_uring_params: 120 bytes, all zero asks for the defaults.
    let mut parameters = [0u64; 15];
    // SAFETY: the kernel reads and writes 120 bytes at the pointer, which are there.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 4, parameters.as_mut_ptr()) };
    match i32::try_from(fd) {
        // SAFETY: the descriptor was just made for us and nobody else has it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(last_errno()),
    }
}

fn last_errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL)
}

/// `kernel.io_uring_disabled`, where the kernel has it (since 6.6).
pub fn uring_sysctl() -> Option<i64> {
    read("/proc/sys/kernel/io_uring_disabled")?.parse().ok()
}

/// Whether this looks like the inside of a container.
pub fn is_container() -> bool {
    Path::new("/.dockerenv").exists() || Path::new("/run/.containerenv").exists()
}

/// Raise a soft limit to its hard limit; the limit in force afterwards.
pub fn raise_limit(resource: libc::__rlimit_resource_t) -> u64 {
    let Some(limit) = limit(resource) else { return 0 };
    let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
    if set_limit(resource, &raised) { raised.rlim_cur } else { limit.rlim_cur }
}

fn limit(resource: libc::__rlimit_resource_t) -> Option<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live rlimit that the call fills.
    (unsafe { libc::getrlimit(resource, &raw mut limit) } == 0).then_some(limit)
}

fn set_limit(resource: libc::__rlimit_resource_t, limit: &libc::rlimit) -> bool {
    // SAFETY: the pointer is to a live rlimit that the call reads.
    unsafe { libc::setrlimit(resource, &raw const *limit) == 0 }
}

/// Those of `cores` whose frequency governor is "powersave".
pub fn powersave_cores(cores: &[usize]) -> Vec<usize> {
    let is_powersave = |core: &usize| {
        let path = format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor");
        read(&path).is_some_and(|governor| governor == "powersave")
    };
    cores.iter().copied().filter(is_powersave).collect()
}

/// What a data directory is like.
#[derive(Debug)]
pub struct Directory {
    /// Name of its file system.
    pub filesystem: &'static str,
    /// Whether an aligned direct write and read worked.
    pub direct: io::Result<()>,
    /// Bytes free for an unprivileged user.
    pub free_bytes: u64,
    /// Whether nothing is in it.
    pub is_empty: bool,
}

/// Create `path` if needed and look at it.
///
/// # Errors
/// It cannot be created, or no file can be created in it.
pub fn directory(path: &Path) -> io::Result<Directory> {
    std::fs::create_dir_all(path)?;
    let is_empty = std::fs::read_dir(path)?.next().is_none();
    let name = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: statfs is plain numbers, for which zero is a value.
    let mut found: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the name ends with a zero byte and the call fills the struct.
    if unsafe { libc::statfs(name.as_ptr(), &raw mut found) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let probe = path.join(format!(".preflight-{}", std::process::id()));
    // A plain file first: an error here is about the directory, not about direct I/O.
    std::fs::File::create(&probe)?;
    let direct = direct_write(&probe);
    std::fs::remove_file(&probe)?;
    Ok(Directory {
        filesystem: filesystem_name(found.f_type),
        direct,
        free_bytes: found.f_bavail.saturating_mul(found.f_bsize.unsigned_abs()),
        is_empty,
    })
}

/// Names of the file systems that have something to be said about (`linux/magic.h`).
fn filesystem_name(magic: i64) -> &'static str {
    match magic & 0xffff_ffff {
        0xef53 => "ext4",
        0x5846_5342 => "XFS",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0x794c_7630 => "overlayfs",
        0x6969 => "nfs",
        0x2fc1_2fc1 => "zfs",
        0xf2f5_2010 => "f2fs",
        0x0102_1997 => "9p",
        0x6573_5546 => "fuse",
        _ => "an unknown file system",
    }
}

/// One aligned block, written past the page cache and read back.
fn direct_write(path: &Path) -> io::Result<()> {
    const BLOCK: usize = 4096;
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)?;
    let layout = Layout::from_size_align(BLOCK, BLOCK).map_err(io::Error::other)?;
    // SAFETY: the layout has a size; null is checked below.
    let block = unsafe { alloc_zeroed(layout) };
    if block.is_null() {
        return Err(io::Error::from(io::ErrorKind::OutOfMemory));
    }
    let fd = file.as_raw_fd();
    // SAFETY: the block has BLOCK bytes and outlives both calls, which end before returning.
    let moved = unsafe {
        let written = libc::pwrite(fd, block.cast(), BLOCK, 0);
        if written == BLOCK as isize { libc::pread(fd, block.cast(), BLOCK, 0) } else { written }
    };
    let error = io::Error::last_os_error();
    // SAFETY: allocated above with this layout, used by nobody any more.
    unsafe { dealloc(block, layout) };
    match moved {
        n if n == BLOCK as isize => Ok(()),
        n if n < 0 => Err(error),
        n => Err(io::Error::other(format!("a block of {BLOCK} bytes was moved as {n}"))),
    }
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}
