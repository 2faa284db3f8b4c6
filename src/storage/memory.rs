//! The memory of one store: the arena small batches are copied into, the buffers large ones are
//! written from, and the bounded tail cache.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};

use bytes::{BufMut, Bytes, BytesMut};

use super::Log;
use super::stats::{StoreStats, add, sub};
use crate::disk::lease::Lender;
use crate::disk::{BlockBuffer, Disk};
use crate::runtime::Runtime;

/// Small batches share allocations of this size.
const ARENA_BYTES: usize = 256 * 1024;
/// Batches above this get an allocation of their own.
const ARENA_SHARE_MAX: usize = 64 * 1024;
/// Bytes of unused write buffers kept: a fresh megabyte costs more in page faults than in I/O.
const SPARE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// A write buffer whose bytes may be lent to readers while it is being written.
type Lent<D> = Rc<<D as Disk>::Buffer>;

/// See the file's comment.
pub(crate) struct Memory<R: Runtime> {
    disk: R::Disk,
    arena: RefCell<BytesMut>,
    lender: RefCell<Lender<Lent<R::Disk>>>,
    spare: RefCell<Spare<<R::Disk as Disk>::Buffer>>,
    /// One entry per evictable chunk, oldest landed first.
    cached: RefCell<VecDeque<Weak<Log<R>>>>,
    cache_bytes_max: u64,
}

struct Spare<B> {
    by_len: BTreeMap<usize, Vec<B>>,
    bytes: usize,
}

impl<B: BlockBuffer> Spare<B> {
    fn put(&mut self, buffer: B) {
        let len = buffer.bytes().len();
        if self.bytes + len <= SPARE_BYTES_MAX {
            self.bytes += len;
            self.by_len.entry(len).or_default().push(buffer);
        }
    }

    fn take(&mut self, len: usize) -> Option<B> {
        let buffer = self.by_len.get_mut(&len)?.pop()?;
        self.bytes -= len;
        Some(buffer)
    }
}

impl<R: Runtime> Memory<R> {
    pub(crate) fn new(disk: R::Disk, cache_bytes_max: usize) -> Self {
        Self {
            disk,
            arena: RefCell::default(),
            lender: RefCell::default(),
            spare: RefCell::new(Spare { by_len: BTreeMap::new(), bytes: 0 }),
            cached: RefCell::default(),
            cache_bytes_max: cache_bytes_max as u64,
        }
    }

    /// `len` bytes that `fill` writes, shared and frozen.
    pub(crate) fn copy(&self, len: usize, fill: impl FnOnce(&mut [u8])) -> Bytes {
        if len == 0 {
            return Bytes::new();
        }
        if len > ARENA_SHARE_MAX {
            let mut own = BytesMut::zeroed(len);
            fill(&mut own);
            return own.freeze();
        }
        let mut arena = self.arena.borrow_mut();
        if arena.capacity() < len {
            *arena = BytesMut::with_capacity(ARENA_BYTES);
        }
        arena.put_bytes(0, len);
        fill(&mut arena[..]);
        arena.split().freeze()
    }

    /// A write buffer of exactly `len` bytes, used before if possible.
    pub(crate) fn buffer(&self, len: usize) -> <R::Disk as Disk>::Buffer {
        let mut spare = self.spare.borrow_mut();
        self.lender.borrow_mut().sweep(|returned| {
            // Readers are gone; the write has its own clone until it completes.
            if let Ok(buffer) = Rc::try_unwrap(returned) {
                spare.put(buffer);
            }
        });
        spare.take(len).unwrap_or_else(|| self.disk.buffer(len))
    }

    /// Let readers share a filled buffer while it is written and as long as they like.
    pub(crate) fn lend(
        &self,
        buffer: <R::Disk as Disk>::Buffer,
    ) -> (Rc<<R::Disk as Disk>::Buffer>, Bytes) {
        let buffer = Rc::new(buffer);
        // SAFETY: block buffers are allocated on the heap or in the ring's registered memory,
        // so moving the Rc moves no bytes; behind an Rc that is shared with the write nobody
        // has `&mut`, and `buffer` unwraps it only after `sweep` returned it (no reader left)
        // and only if the write's clone is gone.
        let bytes =
            unsafe { self.lender.borrow_mut().lend(Rc::clone(&buffer), |owner| owner.bytes()) };
        (buffer, bytes)
    }

    /// Take back a buffer nobody was lent.
    pub(crate) fn give_back(&self, buffer: Rc<<R::Disk as Disk>::Buffer>) {
        if let Ok(buffer) = Rc::try_unwrap(buffer) {
            self.spare.borrow_mut().put(buffer);
        }
    }

    /// A chunk of `log` may be evicted from now on.
    pub(crate) fn cached(&self, log: &Rc<Log<R>>, cost: usize, stats: &StoreStats) {
        add(&stats.cached_bytes, cost as u64);
        self.cached.borrow_mut().push_back(Rc::downgrade(log));
        self.evict(stats);
    }

    /// Forget the oldest chunks above the limit.
    fn evict(&self, stats: &StoreStats) {
        while stats.cached_bytes.get() > self.cache_bytes_max {
            let Some(oldest) = self.cached.borrow_mut().pop_front() else { return };
            if let Some(log) = oldest.upgrade() {
                sub(&stats.cached_bytes, log.evict_oldest() as u64);
            }
        }
    }
}
