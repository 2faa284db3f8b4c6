//! Files by direct I/O, through the shard's own ring.
//!
//! Reads and writes bypass the page cache. What the ring of an older kernel does not know (cutting
//! files, and everything about directories) is done by the executor's blocking thread. Nothing is
//! asked by path once a file is open: it may have been renamed or removed meanwhile.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::CString;
use std::fs::File;
use std::future::Future;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use glommio::io::DmaBuffer;
use io_uring::{opcode, squeue, types};

use super::lease::Lender;
use super::shrink::Shrinker;
use super::{
    BLOCK, BLOCK_U64, BlockBuffer, DirEntry, Disk, DiskError, DiskFile, DiskResult, space,
};
use crate::runtime::errands::Errands;
use crate::runtime::ring::Ring;

/// Permissions of a new file, less those that the umask takes.
const FILE_MODE: libc::mode_t = 0o644;

impl BlockBuffer for DmaBuffer {
    fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.as_bytes_mut()
    }
}

/// The disk of one executor.
#[derive(Clone)]
pub struct DmaDisk {
    ring: Rc<Ring>,
    errands: Errands,
    reads: Rc<RefCell<Lender<Read>>>,
    shrinker: Shrinker,
    data_dir: Rc<Path>,
    /// O_DIRECT, or nothing where the file system does not know it.
    direct: libc::c_int,
}

/// What was read: the first `len` bytes of `buffer`.
struct Read {
    buffer: DmaBuffer,
    len: usize,
}

/// A file opened for direct I/O.
pub struct DmaDiskFile {
    /// Operations under way hold it open: its descriptor must not become another file's.
    file: Arc<File>,
    /// Its name when it was opened, for messages.
    path: PathBuf,
    ring: Rc<Ring>,
    errands: Errands,
    reads: Rc<RefCell<Lender<Read>>>,
}

impl DmaDisk {
    /// Files of `data_dir`, by direct I/O unless its file system (an older tmpfs) does not know
    /// it; whether that is good enough for data is judged before. One block is written as others
    /// would and read back, to be sure.
    ///
    /// # Errors
    /// When the directory or the probe file cannot be created, written or read.
    pub async fn start(data_dir: &Path, ring: Rc<Ring>, errands: Errands) -> DiskResult<Self> {
        let shrinker =
            Shrinker::start().map_err(|e| from_io("start a thread for", data_dir, &e))?;
        let direct = libc::O_DIRECT;
        let reads = Rc::default();
        let mut disk = Self { ring, errands, reads, shrinker, data_dir: data_dir.into(), direct };
        let dir = data_dir.to_owned();
        let prepare = move || {
            std::fs::create_dir_all(&dir)?;
            let id = format!("{:?}", std::thread::current().id());
            let name = format!(".probe-{}-{}", std::process::id(), id.replace(['(', ')'], "-"));
            let path = dir.join(name);
            std::fs::write(&path, [0x5a; BLOCK])?;
            std::fs::File::open(&path)?.sync_all()?;
            Ok(path)
        };
        let probe = disk.blocking("prepare", data_dir, prepare).await?;
        let opened = match disk.open_with(&probe, disk.direct).await {
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
                disk.direct = 0;
                disk.open_with(&probe, 0).await
            }
            other => other,
        };
        let file = opened.map_err(|e| from_io("open", &probe, &e))?;
        let read = file.read_at(0, BLOCK).await?;
        if read[..] != [0x5a; BLOCK] {
            return Err(DiskError::Failed(format!(
                "direct I/O on {} gave back other bytes than were written: use a local file \
                 system (ext4, XFS) for the data directory",
                data_dir.display()
            )));
        }
        drop(file);
        disk.remove_file(&probe).await?;
        Ok(disk)
    }

    /// The file under the name `path`, opened for reading and writing and with `flags`.
    async fn open_with(&self, path: &Path, flags: libc::c_int) -> std::io::Result<DmaDiskFile> {
        let name = CString::new(path.as_os_str().as_bytes())?;
        let flags = flags | libc::O_RDWR | libc::O_CLOEXEC;
        let open = opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), name.as_ptr());
        let entry = open.flags(flags).mode(FILE_MODE).build();
        // SAFETY: the name's bytes are on the heap, and the name is kept; the result of openat(2)
        // is a new descriptor.
        let fd = unsafe { self.ring.perform_open(entry, Box::new(name)) }.await?;
        Ok(DmaDiskFile {
            file: Arc::new(File::from(fd)),
            path: path.to_owned(),
            ring: Rc::clone(&self.ring),
            errands: self.errands.clone(),
            reads: Rc::clone(&self.reads),
        })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        verb: &'static str,
        path: &Path,
        call: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> DiskResult<T> {
        blocking(&self.errands, call).await.map_err(|e| from_io(verb, path, &e))
    }
}

impl Disk for DmaDisk {
    type Buffer = DmaBuffer;
    type File = DmaDiskFile;

    fn usable(&self) -> u64 {
        // Where it is not told, claiming tells.
        space::of_volume(&self.data_dir).map_or(u64::MAX, |space| space.usable)
    }

    fn buffer(&self, len: usize) -> DmaBuffer {
        debug_assert!(len > 0 && len.is_multiple_of(BLOCK), "direct I/O needs whole blocks");
        glommio::allocate_dma_buffer(len)
    }

    async fn open(&self, path: &Path, create: bool) -> DiskResult<DmaDiskFile> {
        let flags = if create { self.direct | libc::O_CREAT } else { self.direct };
        self.open_with(path, flags).await.map_err(|e| from_io("open", path, &e))
    }

    async fn create_dir(&self, path: &Path) -> DiskResult<()> {
        let dir = path.to_owned();
        self.blocking("create directory", path, move || match std::fs::create_dir(dir) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        })
        .await
    }

    async fn sync_dir(&self, path: &Path) -> DiskResult<()> {
        let dir = path.to_owned();
        self.blocking("flush directory", path, move || std::fs::File::open(dir)?.sync_all()).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> DiskResult<()> {
        let (old, new) = (from.to_owned(), to.to_owned());
        self.blocking("rename", from, move || std::fs::rename(old, new)).await
    }

    async fn remove_file(&self, path: &Path) -> DiskResult<()> {
        let file = path.to_owned();
        self.blocking("remove", path, move || std::fs::remove_file(file)).await
    }

    async fn release_file(&self, path: &Path) -> DiskResult<()> {
        let (path_there, shrinker) = (path.to_owned(), self.shrinker.clone());
        self.blocking("remove", path, move || {
            let file = std::fs::File::options().write(true).open(&path_there)?;
            std::fs::remove_file(path_there)?;
            shrinker.give_back(file);
            Ok(())
        })
        .await
    }

    async fn remove_dir_all(&self, path: &Path) -> DiskResult<()> {
        let dir = path.to_owned();
        self.blocking("remove directory", path, move || match std::fs::remove_dir_all(dir) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other,
        })
        .await
    }

    async fn list(&self, path: &Path) -> DiskResult<Vec<DirEntry>> {
        let dir = path.to_owned();
        self.blocking("list", path, move || {
            let mut entries = Vec::new();
            for entry in std::fs::read_dir(dir)? {
                let entry = entry?;
                // Names of ours are ASCII; anything else is not ours and must not be touched.
                if let Ok(name) = entry.file_name().into_string() {
                    entries.push(DirEntry { name, is_dir: entry.file_type()?.is_dir() });
                }
            }
            entries.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(entries)
        })
        .await
    }
}

impl DmaDiskFile {
    /// Write with these flags of pwritev2(2).
    async fn write(&self, position: u64, buffer: Rc<DmaBuffer>, flags: i32) -> DiskResult<()> {
        let len = buffer.len();
        let start = buffer.as_bytes().as_ptr();
        let entry = opcode::Write::new(self.fd(), start, ring_len(len)?)
            .offset(position)
            .rw_flags(flags)
            .build();
        // SAFETY: `start` points to the `len` bytes of `buffer`, on the heap, which is kept; nobody
        // can change them while it is shared.
        let written = unsafe { self.perform("write", entry, buffer) }.await?;
        if written < len {
            return Err(DiskError::Failed(format!(
                "write {}: {written} of {len} bytes at position {position}",
                self.path.display()
            )));
        }
        Ok(())
    }

    fn fd(&self) -> types::Fd {
        types::Fd(self.file.as_raw_fd())
    }

    /// Have the ring do `entry`, which refers to this file and to `memory` alone.
    ///
    /// # Safety
    /// What `entry` refers to is as `Ring::perform` demands, `memory` being what is kept.
    async unsafe fn perform(
        &self,
        verb: &str,
        entry: squeue::Entry,
        memory: impl Any,
    ) -> DiskResult<usize> {
        let kept = Box::new((Arc::clone(&self.file), memory));
        // SAFETY: the caller's promise; the file is kept as well.
        let done = unsafe { self.ring.perform(entry, kept) }.await;
        done.map(|bytes| bytes as usize).map_err(|e| from_io(verb, &self.path, &e))
    }
}

impl DiskFile for DmaDiskFile {
    type Buffer = DmaBuffer;

    async fn write_at(&self, position: u64, buffer: Rc<DmaBuffer>) -> DiskResult<()> {
        self.write(position, buffer, 0).await
    }

    async fn write_durable_at(&self, position: u64, buffer: Rc<DmaBuffer>) -> DiskResult<()> {
        self.write(position, buffer, libc::RWF_DSYNC).await
    }

    async fn read_at(&self, position: u64, len: usize) -> DiskResult<Bytes> {
        debug_assert!(position.is_multiple_of(BLOCK_U64) && len.is_multiple_of(BLOCK));
        let mut buffer = glommio::allocate_dma_buffer(len);
        let start = buffer.as_bytes_mut().as_mut_ptr();
        let buffer = Rc::new(buffer);
        let entry = opcode::Read::new(self.fd(), start, ring_len(len)?).offset(position).build();
        // SAFETY: `start` points to the `len` bytes of `buffer`, on the heap, which is kept; nobody
        // looks at them before the kernel has answered.
        let read = unsafe { self.perform("read", entry, Rc::clone(&buffer)) }.await?;
        let Ok(buffer) = Rc::try_unwrap(buffer) else {
            return Err(DiskError::Failed("read: the buffer is still under way".into()));
        };
        let mut reads = self.reads.borrow_mut();
        reads.sweep(drop);
        // SAFETY: a DmaBuffer points to the heap, moving it moves a pointer, and the lender gives
        // no way to write to it.
        Ok(unsafe { reads.lend(Read { buffer, len: read }, |r| &r.buffer.as_bytes()[..r.len]) })
    }

    async fn flush(&self) -> DiskResult<()> {
        let entry = opcode::Fsync::new(self.fd()).flags(types::FsyncFlags::DATASYNC).build();
        // SAFETY: refers to no memory.
        unsafe { self.perform("flush", entry, ()) }.await.map(|_| ())
    }

    async fn allocate(&self, len: u64) -> DiskResult<()> {
        let entry = opcode::Fallocate::new(self.fd(), len).build();
        // SAFETY: refers to no memory.
        unsafe { self.perform("allocate", entry, ()) }.await.map(|_| ())
    }

    async fn truncate(&self, len: u64) -> DiskResult<()> {
        // Not by a copy of the descriptor: there may be none left.
        let file = Arc::clone(&self.file);
        let cut = blocking(&self.errands, move || file.set_len(len)).await;
        cut.map_err(|e| from_io("truncate", &self.path, &e))
    }

    fn len(&self) -> DiskResult<u64> {
        let found = self.file.metadata().map_err(|e| from_io("stat", &self.path, &e))?;
        Ok(found.len())
    }
}

/// Run a blocking call beside the executor.
async fn blocking<T: Send + 'static>(
    errands: &Errands,
    call: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    let _errand = errands.begin();
    let run: std::pin::Pin<Box<dyn Future<Output = std::io::Result<T>>>> =
        Box::pin(glommio::executor().spawn_blocking(call));
    run.await
}

/// A length as a ring takes it.
fn ring_len(len: usize) -> DiskResult<u32> {
    u32::try_from(len).map_err(|_| DiskError::Failed(format!("{len} bytes in one operation")))
}

fn from_io(verb: &str, path: &Path, error: &std::io::Error) -> DiskError {
    use std::io::ErrorKind;
    let text = format!("{verb} {}: {error}", path.display());
    if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) {
        return DiskError::Full(format!(
            "{text}; no file descriptor is left: raise LimitNOFILE (ulimit -n), or lower \
             max.connections"
        ));
    }
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => DiskError::Full(text),
        ErrorKind::NotFound => DiskError::NotFound(text),
        _ => DiskError::Failed(text),
    }
}
