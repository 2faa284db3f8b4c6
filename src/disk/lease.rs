//! Lending bytes of a thread-bound buffer to any thread.
//!
//! An I/O buffer (glommio's `DmaBuffer`, `ReadResult`) must be created and dropped on its own
//! executor, but its bytes are wanted by sockets of other shards. So the owner keeps the buffer
//! in a [`Lender`] and hands out `Bytes` that share a guard; the buffer is dropped or reused by
//! its owner once nobody holds the guard any more.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

/// How many lent buffers one call looks at; keeps lending O(1) while thousands are out.
const SWEEP_MAX: usize = 8;

/// Buffers of one thread whose bytes others may hold.
pub struct Lender<T> {
    lent: VecDeque<Lent<T>>,
}

struct Lent<T> {
    owner: T,
    guard: Arc<()>,
}

/// The bytes of one lent buffer; slices of it go to readers.
struct Lease {
    start: *const u8,
    len: usize,
    _guard: Arc<()>,
}

// SAFETY: a Lease only reads `len` bytes at `start`. They stay valid and unchanged while its
// guard lives: `Lender` owns the buffer, gives no mutable access, and lets go of it only when
// it holds the last clone of the guard (`Arc::get_mut`, which synchronises with the release of
// the other clones). Reading plain bytes from several threads is sound.
unsafe impl Send for Lease {}
// SAFETY: as above; shared access is reading.
unsafe impl Sync for Lease {}

impl AsRef<[u8]> for Lease {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: see `unsafe impl Send`; `start` and `len` come from one live slice of the
        // owner, whose address does not change when the owner is moved (checked by `lend`'s
        // contract).
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl<T> Default for Lender<T> {
    fn default() -> Self {
        Self { lent: VecDeque::new() }
    }
}

impl<T> Lender<T> {
    /// Keep `owner` and lend the bytes that `view` finds in it.
    ///
    /// # Safety
    /// The bytes must be on the heap (or device memory) so that moving `owner` does not move
    /// them, and nobody may write to them while `owner` is kept here.
    pub unsafe fn lend(&mut self, owner: T, view: impl FnOnce(&T) -> &[u8]) -> Bytes {
        let bytes = view(&owner);
        if bytes.is_empty() {
            return Bytes::new();
        }
        let guard = Arc::new(());
        let lease = Lease { start: bytes.as_ptr(), len: bytes.len(), _guard: Arc::clone(&guard) };
        self.lent.push_back(Lent { owner, guard });
        Bytes::from_owner(lease)
    }

    /// Take back a few buffers that nobody reads any more, oldest first.
    pub fn sweep(&mut self, mut returned: impl FnMut(T)) {
        for _ in 0..SWEEP_MAX.min(self.lent.len()) {
            let Some(mut lent) = self.lent.pop_front() else { return };
            if Arc::get_mut(&mut lent.guard).is_some() {
                returned(lent.owner);
            } else {
                self.lent.push_back(lent);
            }
        }
    }
}

impl<T> Drop for Lender<T> {
    fn drop(&mut self) {
        for mut lent in self.lent.drain(..) {
            if Arc::get_mut(&mut lent.guard).is_none() {
                // Another thread still reads: leaking a buffer at shutdown is the safe side.
                std::mem::forget(lent.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lend(lender: &mut Lender<Vec<u8>>, bytes: &[u8]) -> Bytes {
        // SAFETY: a Vec's bytes are on the heap and nothing here writes to them.
        unsafe { lender.lend(bytes.to_vec(), |owner| owner) }
    }

    #[test]
    fn a_buffer_returns_only_when_the_last_reader_on_any_thread_lets_go() {
        let mut lender = Lender::default();
        let lent = lend(&mut lender, b"tail of the log");
        let part = lent.slice(8..);
        drop(lent);
        let mut returned = 0;
        lender.sweep(|_| returned += 1);
        assert_eq!(returned, 0, "a slice is still out");
        let reader = std::thread::spawn(move || part.to_vec());
        assert_eq!(reader.join().unwrap(), b"the log");
        lender.sweep(|_| returned += 1);
        assert_eq!(returned, 1);
    }

    #[test]
    fn bytes_outlive_their_lender() {
        let mut lender = Lender::default();
        let lent = lend(&mut lender, b"kept");
        drop(lender);
        assert_eq!(&lent[..], b"kept");
    }
}
