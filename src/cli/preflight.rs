//! What must hold before the broker starts, each failure with the command that mends it.
//!
//! Looks at the kernel, io_uring, locked memory, open files and the data directory, and raises
//! the limit of open files to the hard limit. Always true: the judging functions are pure; only
//! [`check`] touches the machine. Leaves the port to the listener and the log to recovery.

use std::fmt;
use std::path::Path;

use crate::cli::probe;
use crate::config::{Config, Durability, show_bytes};

/// One reason not to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What does not hold, with the values.
    pub what: String,
    /// What to do about it, as a command where there is one.
    pub fix: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n  fix: {}", self.what, self.fix)
    }
}

fn problem(what: impl Into<String>, fix: impl Into<String>) -> Problem {
    Problem { what: what.into(), fix: fix.into() }
}

/// What the checks found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// `uname -r`
    pub kernel: String,
    /// Name of the data directory's file system.
    pub filesystem: String,
    /// Whether it takes direct I/O.
    pub is_direct: bool,
    /// Bytes free there.
    pub free_bytes: u64,
    /// Reasons not to start.
    pub problems: Vec<Problem>,
    /// Things that cost speed or safety; printed in the banner.
    pub warnings: Vec<String>,
}

/// Locked memory of a shard's rings, about 420 KiB, with room for what the kernel adds; its
/// executor asks for no less.
const MEMLOCK_PER_SHARD_BYTES: u64 = 512 * 1024;

/// Check everything; nothing is changed but the soft limits, a data directory, which is made where
/// there is none, and a probe file, which is removed.
pub fn check(config: &Config) -> Report {
    let mut report = Report { kernel: probe::kernel_release(), ..Report::default() };
    let shards = config.shards() as u64;

    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    problems.extend(judge_kernel(&report.kernel, &mut warnings));
    if let Err(refused) = probe::io_uring() {
        problems.push(judge_uring(refused, probe::uring_sysctl(), probe::is_container()));
    }
    let locked = probe::raise_limit(libc::RLIMIT_MEMLOCK);
    problems.extend(judge_memlock(locked, shards, probe::are_rings_charged));
    let needed = config.limits.connections_max as u64
        + config.limits.open_files_max as u64
        + config.machine.files_of_shards();
    problems.extend(judge_files(probe::raise_limit(libc::RLIMIT_NOFILE), needed, &mut warnings));

    match probe::directory(&config.data_dir) {
        Err(error) => problems.push(judge_directory(&config.data_dir, &error)),
        Ok(found) => {
            let wanted = shards * config.limits.journal_bytes_max;
            problems.extend(judge_disk(&config.data_dir, &found, wanted, &mut warnings));
            report.filesystem = found.filesystem.to_owned();
            report.is_direct = found.direct.is_ok();
            report.free_bytes = found.free_bytes;
        }
    }
    judge_config(config, &mut warnings);
    for core in probe::powersave_cores(&config.cores) {
        warnings.push(format!(
            "core {core} runs under the powersave governor; for steady latency: \
             cpupower frequency-set -g performance"
        ));
    }
    report.problems = problems;
    report.warnings = warnings;
    report
}

fn judge_kernel(release: &str, warnings: &mut Vec<String>) -> Option<Problem> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || parts.next().and_then(|part| part.parse::<u32>().ok()).unwrap_or(0);
    let version = (number(), number());
    if version < (5, 13) {
        return Some(problem(
            format!(
                "kernel {release} is too old: polls that stay armed came to io_uring with 5.13"
            ),
            "run a kernel of 5.13 or later; 6.1 or later is recommended",
        ));
    }
    if version < (6, 1) {
        warnings.push(format!("kernel {release} works; 6.1 or later is recommended"));
    }
    None
}

fn judge_uring((call, errno): (&str, i32), sysctl: Option<i64>, is_container: bool) -> Problem {
    let what = format!(
        "cannot use io_uring: {call}: {}{}",
        std::io::Error::from_raw_os_error(errno),
        if is_container { " (in a container)" } else { "" }
    );
    let fix = match (errno, sysctl) {
        (libc::EPERM | libc::EACCES, Some(1 | 2)) => {
            "the sysctl kernel.io_uring_disabled forbids it; on the host run: \
             sysctl -w kernel.io_uring_disabled=0"
        }
        (libc::EPERM | libc::EACCES, _) => {
            "a seccomp filter forbids it, as container runtimes do by default; run with: \
             docker run --security-opt seccomp=unconfined ..., or allow io_uring_setup, \
             io_uring_enter and io_uring_register in your own profile"
        }
        (libc::ENOSYS, _) => {
            "this kernel has no io_uring: use one built with CONFIG_IO_URING, and no sandbox \
             (gVisor) that leaves it out"
        }
        (libc::ENOMEM, _) => {
            "the limit of locked memory is too low: run \"ulimit -l unlimited\", or set \
             LimitMEMLOCK=infinity in the unit, or docker run --ulimit memlock=-1 ..."
        }
        _ => "see \"man io_uring_setup\" for this error",
    };
    problem(what, fix)
}

fn judge_memlock(limit: u64, shards: u64, is_charged: impl FnOnce() -> bool) -> Option<Problem> {
    let wanted = shards.saturating_mul(MEMLOCK_PER_SHARD_BYTES);
    // Where rings are not charged, only what an executor insists on must be there.
    if limit >= wanted || (limit >= MEMLOCK_PER_SHARD_BYTES && !is_charged()) {
        return None;
    }
    let fix = "run \"ulimit -l unlimited\", set LimitMEMLOCK=infinity in the unit, \
               docker run --ulimit memlock=-1 ..., or start fewer --shards";
    let what = format!(
        "locked memory is limited to {}; the rings of {shards} shards need {} ({} each)",
        show_bytes(limit),
        show_bytes(wanted),
        show_bytes(MEMLOCK_PER_SHARD_BYTES)
    );
    Some(problem(what, fix))
}

fn judge_files(limit: u64, needed: u64, warnings: &mut Vec<String>) -> Option<Problem> {
    if needed > limit {
        return Some(problem(
            format!("open files are limited to {limit}; the settings may need {needed}"),
            format!(
                "raise the hard limit (LimitNOFILE={needed} in the unit, docker run --ulimit \
                 nofile={needed}), or lower max.connections and thalweg.open.files.max"
            ),
        ));
    }
    if limit < 4096 {
        warnings.push(format!(
            "open files are limited to {limit}: many partitions or connections will meet it; \
             set LimitNOFILE=1048576"
        ));
    }
    None
}

fn judge_directory(path: &Path, error: &std::io::Error) -> Problem {
    let shown = path.display();
    let fix = match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => {
            format!("give it to the user that runs the broker: chown -R $(id -u) {shown}")
        }
        Some(libc::EROFS) => "mount it writable, or choose another with --data-dir".into(),
        Some(libc::ENOSPC | libc::EDQUOT) => {
            "free some megabytes by removing other files; once the broker runs, topics and \
             records can be deleted through it"
                .into()
        }
        Some(libc::EIO) => "the device fails: look at dmesg, replace it".into(),
        _ => "choose another with --data-dir".into(),
    };
    problem(format!("cannot write to the data directory {shown}: {error}"), fix)
}

fn judge_disk(
    path: &Path,
    found: &probe::Directory,
    journals: u64,
    warnings: &mut Vec<String>,
) -> Option<Problem> {
    let (shown, filesystem) = (path.display(), found.filesystem);
    match filesystem {
        "tmpfs" => warnings.push(format!(
            "{shown} is on tmpfs: nothing survives a reboot, and a flush proves nothing"
        )),
        "btrfs" | "zfs" | "nfs" | "fuse" | "9p" => warnings
            .push(format!("{shown} is on {filesystem}: made for ext4 and XFS, measured on ext4")),
        _ => {}
    }
    if let Err(error) = &found.direct
        && matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
    {
        return Some(judge_directory(path, error));
    }
    // On tmpfs files are used without direct I/O where it does not know it (see `disk::dma`).
    if let Err(error) = &found.direct
        && filesystem != "tmpfs"
    {
        let fix = match filesystem {
            "overlayfs" => {
                "the container's own layer is no place for data: mount a volume, as in \
                 docker run -v thalweg-data:/data ... --data-dir /data"
            }
            _ => "choose a directory on ext4 or XFS with --data-dir",
        };
        let what = format!("{filesystem} under {shown} refuses direct I/O (O_DIRECT): {error}");
        return Some(problem(what, fix));
    }
    if found.free_bytes < journals {
        let what = format!(
            "{shown} has {} free; the journals of all shards take {}",
            show_bytes(found.free_bytes),
            show_bytes(journals)
        );
        if found.is_empty {
            let fix = "free space, choose another with --data-dir, or lower \
                       thalweg.journal.bytes.max";
            return Some(problem(what, fix));
        }
        warnings.push(format!("{what} (less where they exist already)"));
    }
    None
}

fn judge_config(config: &Config, warnings: &mut Vec<String>) {
    if config.durability == Durability::Write {
        warnings.push(
            "thalweg.durability=write: acks=all is answered before the flush and does not \
             survive a power cut"
                .into(),
        );
    }
    let mut cores = config.cores.clone();
    cores.sort_unstable();
    cores.dedup();
    if cores.len() < config.shards() {
        warnings.push(format!(
            "{} shards share {} cores: fewer shards are faster",
            config.shards(),
            cores.len()
        ));
    }
    let bounded = config.limits.memory_bytes_max(config.shards());
    if bounded > config.machine.memory_bytes / 10 * 8 {
        warnings.push(format!(
            "the memory limits add up to {} of {}: lower socket.request.max.bytes or the \
             thalweg.*.bytes.max settings",
            show_bytes(bounded),
            show_bytes(config.machine.memory_bytes)
        ));
    }
    if config.listen.is_wildcard() && config.advertise.is_none() {
        warnings.push(
            "listening on every address without --advertise: clients are told this machine's \
             name and must be able to resolve it"
                .into(),
        );
    }
    if cfg!(debug_assertions) {
        warnings.push("built without optimisation: measure only --release builds".into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels() {
        let judge = |release: &str| {
            let mut warnings = Vec::new();
            (judge_kernel(release, &mut warnings).is_some(), warnings.len())
        };
        assert_eq!(judge("5.4.0-100-generic"), (true, 0));
        assert_eq!(judge("4.19.0"), (true, 0));
        assert_eq!(judge("5.12.19"), (true, 0));
        assert_eq!(judge("5.13.0"), (false, 1));
        assert_eq!(judge("6.18.44-fc"), (false, 0));
        assert_eq!(judge(""), (true, 0));
    }

    #[test]
    fn a_forbidden_ring_names_who_forbids_it() {
        let judge = |errno, sysctl, is_container| {
            judge_uring(("io_uring_enter", errno), sysctl, is_container)
        };
        let seccomp = judge(libc::EPERM, Some(0), true);
        assert!(seccomp.fix.contains("--security-opt seccomp=unconfined"), "{seccomp}");
        assert!(seccomp.what.contains("container"), "{seccomp}");
        assert!(seccomp.what.contains("io_uring_enter"), "{seccomp}");
        let sysctl = judge(libc::EPERM, Some(2), false);
        assert!(sysctl.fix.contains("kernel.io_uring_disabled=0"), "{sysctl}");
        assert!(judge(libc::ENOSYS, None, false).fix.contains("CONFIG_IO_URING"));
        assert!(judge(libc::ENOMEM, None, false).fix.contains("ulimit -l"));
    }

    #[test]
    fn limits() {
        let mut warnings = Vec::new();
        assert!(judge_memlock(400 << 10, 1, || false).is_some());
        assert!(judge_memlock(8 << 20, 16, || panic!("enough is enough")).is_none());
        assert!(judge_memlock(8 << 20, 17, || false).is_none());
        let charged = judge_memlock(8 << 20, 17, || true).unwrap();
        assert!(charged.what.contains("8.5 MiB") && charged.fix.contains("ulimit -l"), "{charged}");
        assert!(judge_files(1000, 1001, &mut warnings).is_some());
        assert!(judge_files(8192, 1001, &mut warnings).is_none() && warnings.is_empty());
        assert!(judge_files(4095, 1001, &mut warnings).is_none() && warnings.len() == 1);
    }

    #[test]
    fn data_directories() {
        let found = |filesystem, direct: Result<(), i32>, free_bytes, is_empty| probe::Directory {
            filesystem,
            direct: direct.map_err(std::io::Error::from_raw_os_error),
            free_bytes,
            is_empty,
        };
        let judge = |found: &probe::Directory| {
            let mut warnings = Vec::new();
            (judge_disk(Path::new("/d"), found, 100, &mut warnings), warnings)
        };
        let (overlay, _) = judge(&found("overlayfs", Err(libc::EINVAL), 1000, true));
        assert!(overlay.unwrap().fix.contains("docker run -v"));
        let (tmpfs, warnings) = judge(&found("tmpfs", Err(libc::EINVAL), 1000, true));
        assert!(tmpfs.is_none() && warnings[0].contains("reboot"));
        assert!(judge(&found("ext4", Ok(()), 99, true)).0.is_some());
        assert_eq!(judge(&found("ext4", Ok(()), 99, false)).1.len(), 1);
        let denied = std::io::Error::from_raw_os_error(libc::EACCES);
        assert!(judge_directory(Path::new("/d"), &denied).fix.contains("chown"));
    }

    #[test]
    fn this_machine_passes_in_a_fresh_directory() {
        let directory = tempfile::tempdir_in("target").unwrap();
        let path = directory.path().join("data").display().to_string();
        let config = Config::from_pairs(&[("log.dirs", &path)]).unwrap();
        let report = check(&config);
        assert_eq!(report.problems, []);
        assert!(report.free_bytes > 0 && !report.filesystem.is_empty());
        let left = std::fs::read_dir(path).unwrap().count();
        assert_eq!(left, 0, "the probe file stayed");
    }
}
