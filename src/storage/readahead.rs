//! What was read from segments a moment ago: a reader that goes on where it stopped finds its
//! position, and usually its bytes, without an index and without I/O.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use crate::model::Offset;

/// Bytes kept in all windows of a shard.
const BYTES_MAX: usize = 16 << 20;
/// Windows kept: sequential readers served without an index.
const WINDOWS_MAX: usize = 256;

/// Where a read stopped.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) incarnation: u64,
    pub(crate) segment_base: Offset,
    /// The batch behind the last one returned.
    pub(crate) next_offset: Offset,
    pub(crate) next_position: u64,
    /// Position of `bytes` in the segment.
    pub(crate) position: u64,
    pub(crate) bytes: Bytes,
}

/// See the file's comment.
#[derive(Default)]
pub(crate) struct Readahead {
    windows: RefCell<VecDeque<Window>>,
}

impl Readahead {
    /// The window that goes on at `offset`, which the caller takes over.
    pub(crate) fn take(&self, incarnation: u64, base: Offset, offset: Offset) -> Option<Window> {
        let mut windows = self.windows.borrow_mut();
        let found = windows.iter().position(|w| {
            w.next_offset == offset && w.segment_base == base && w.incarnation == incarnation
        })?;
        windows.remove(found)
    }

    /// Keep a window for the next read.
    pub(crate) fn put(&self, window: Window) {
        let mut windows = self.windows.borrow_mut();
        windows.push_back(window);
        let mut bytes: usize = windows.iter().map(|w| w.bytes.len()).sum();
        while bytes > BYTES_MAX || windows.len() > WINDOWS_MAX {
            let Some(oldest) = windows.pop_front() else { break };
            bytes -= oldest.bytes.len();
        }
    }

    /// Forget what was read of some segments of a log.
    pub(crate) fn forget_segments(&self, incarnation: u64, bases: Range<Offset>) {
        self.windows
            .borrow_mut()
            .retain(|w| w.incarnation != incarnation || !bases.contains(&w.segment_base));
    }

    /// Forget everything about a log.
    pub(crate) fn forget(&self, incarnation: u64) {
        self.windows.borrow_mut().retain(|w| w.incarnation != incarnation);
    }
}
