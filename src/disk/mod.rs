//! The only door to files: positioned block writes, reads, flushes and directory operations,
//! with durability stated per call.
//!
//! Always true of every implementation: a write is durable only after a [`DiskFile::flush`] of
//! the same file that was *submitted* after the write completed; a name (created, renamed or
//! removed) is durable only after [`Disk::sync_dir`] of its directory. Nothing retries.

pub mod dma;
pub mod lease;
mod shrink;
pub mod sim;
pub(crate) mod sim_time;
pub mod space;

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;

/// Bytes of one block: the unit of position and length of every write.
pub const BLOCK: usize = 4096;

/// [`BLOCK`] as a file position counts.
pub const BLOCK_U64: u64 = BLOCK as u64;

/// Round `value` down to a whole block.
pub const fn block_floor(value: u64) -> u64 {
    value - value % BLOCK_U64
}

/// Round `value` up to a whole block.
pub const fn block_ceil(value: u64) -> u64 {
    value.div_ceil(BLOCK_U64) * BLOCK_U64
}

/// What the operating system said, as far as callers must tell it apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// There is none left: of space on the device (ENOSPC, EDQUOT), or of descriptors (EMFILE,
    /// ENFILE). Nothing is wrong with the device, and it may come back.
    Full(String),
    /// No such file or directory.
    NotFound(String),
    /// Anything else: after it, the state of the bytes involved is unknown.
    Failed(String),
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full(text) | Self::NotFound(text) | Self::Failed(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for DiskError {}

/// Result of a disk call.
pub type DiskResult<T> = Result<T, DiskError>;

/// Memory a write can take: aligned, a whole number of blocks.
pub trait BlockBuffer: 'static {
    /// Its bytes.
    fn bytes(&self) -> &[u8];
    /// Its bytes, to fill.
    fn bytes_mut(&mut self) -> &mut [u8];
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Last part of the path.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// Directories, names and how to open a file.
pub trait Disk: Clone + 'static {
    /// Memory for writes.
    type Buffer: BlockBuffer;
    /// An open file.
    type File: DiskFile<Buffer = Self::Buffer>;

    /// Bytes that may still be claimed, as far as anybody can know.
    fn usable(&self) -> u64;
    /// Memory for a write of `len` bytes (a multiple of [`BLOCK`]); contents unspecified.
    fn buffer(&self, len: usize) -> Self::Buffer;
    /// Open for reading and writing; with `create`, make an empty file if there is none.
    fn open(&self, path: &Path, create: bool) -> impl Future<Output = DiskResult<Self::File>>;
    /// Create one directory; fine if it exists. The name is durable after `sync_dir(parent)`.
    fn create_dir(&self, path: &Path) -> impl Future<Output = DiskResult<()>>;
    /// Make every name in this directory durable.
    fn sync_dir(&self, path: &Path) -> impl Future<Output = DiskResult<()>>;
    /// Give a file or directory another name, replacing what had it.
    fn rename(&self, from: &Path, to: &Path) -> impl Future<Output = DiskResult<()>>;
    /// Remove a file; its space is free when this returns, unless somebody has it open.
    fn remove_file(&self, path: &Path) -> impl Future<Output = DiskResult<()>>;
    /// Remove a file that counts for nothing any more, its name now and its space soon after: who
    /// has it open finds it shorter and shorter.
    fn release_file(&self, path: &Path) -> impl Future<Output = DiskResult<()>>;
    /// Remove a directory and everything in it; fine if there is none.
    fn remove_dir_all(&self, path: &Path) -> impl Future<Output = DiskResult<()>>;
    /// Names in a directory, sorted.
    fn list(&self, path: &Path) -> impl Future<Output = DiskResult<Vec<DirEntry>>>;
}

/// An open file; closed when dropped.
pub trait DiskFile: 'static {
    /// Memory for writes.
    type Buffer;

    /// Write all of `buffer` at `position`, a multiple of [`BLOCK`].
    fn write_at(
        &self,
        position: u64,
        buffer: Rc<Self::Buffer>,
    ) -> impl Future<Output = DiskResult<()>>;
    /// The same, and it is durable when this completes: as [`Self::write_at`] and then
    /// [`Self::flush`] of these bytes alone.
    fn write_durable_at(
        &self,
        position: u64,
        buffer: Rc<Self::Buffer>,
    ) -> impl Future<Output = DiskResult<()>>;
    /// Read `len` bytes at `position`, both multiples of [`BLOCK`]; short only at the end of the
    /// file.
    fn read_at(&self, position: u64, len: usize) -> impl Future<Output = DiskResult<Bytes>>;
    /// Make every completed write durable, with as much of the file's length as reading them
    /// back needs (`fdatasync`).
    fn flush(&self) -> impl Future<Output = DiskResult<()>>;
    /// Claim space for the first `len` bytes; the file is at least that long afterwards.
    fn allocate(&self, len: u64) -> impl Future<Output = DiskResult<()>>;
    /// Cut or extend the file to exactly `len` bytes.
    fn truncate(&self, len: u64) -> impl Future<Output = DiskResult<()>>;
    /// Length in bytes now.
    fn len(&self) -> DiskResult<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> DiskResult<bool> {
        Ok(self.len()? == 0)
    }
}
