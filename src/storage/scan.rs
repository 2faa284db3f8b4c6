//! Reading a segment forwards from the device: a few large aligned reads, batches as slices.

use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;

use super::batch::BatchHeader;
use super::chunk::{gather, to_usize};
use super::core::Core;
use super::entry::HEADER_LEN;
use super::stats::add;
use super::{ReadError, StorageError};
use crate::disk::{Disk, DiskFile, block_ceil, block_floor};
use crate::runtime::Runtime;

/// A place in a segment that moves forward over whole batches.
pub(crate) struct Scan<'a, R: Runtime> {
    core: &'a Core<R>,
    file: Rc<<R::Disk as Disk>::File>,
    /// Names the segment in messages.
    name: String,
    pub(crate) position: u64,
    /// Where the batches that may be read from disk end.
    end: u64,
    /// Contiguous pieces of the segment; the first one holds `position`, if any does.
    windows: VecDeque<(u64, Bytes)>,
    read_bytes: u64,
}

impl<'a, R: Runtime> Scan<'a, R> {
    pub(crate) fn new(
        core: &'a Core<R>,
        file: Rc<<R::Disk as Disk>::File>,
        name: String,
        position: u64,
        end: u64,
    ) -> Self {
        let read_bytes = core.limits.read_bytes as u64;
        Self { core, file, name, position, end, windows: VecDeque::new(), read_bytes }
    }

    /// Read in steps of about `bytes`.
    pub(crate) fn with_read_bytes(mut self, bytes: u64) -> Self {
        self.read_bytes = block_ceil(bytes.clamp(256 << 10, 1 << 20));
        self
    }

    /// Begin with bytes that were read before.
    pub(crate) fn with_window(mut self, position: u64, bytes: Bytes) -> Self {
        if !bytes.is_empty() {
            self.windows.push_back((position, bytes));
        }
        self
    }

    /// Header of the batch at the position; `None` at the end.
    pub(crate) async fn header(&mut self) -> Result<Option<BatchHeader>, ReadError> {
        if self.position >= self.end {
            return Ok(None);
        }
        let header_end = self.position + HEADER_LEN as u64;
        if header_end > self.end {
            return Err(self.damage("it is cut short"));
        }
        self.fetch(header_end).await?;
        let mut bytes = [0; HEADER_LEN];
        let pieces = self.windows.iter().map(|(at, b)| (*at, b));
        gather(pieces, self.position..header_end, &mut bytes);
        let header = BatchHeader::parse(&bytes).map_err(|why| self.damage(why))?;
        if self.position + header.len > self.end {
            return Err(self.damage("it ends behind the segment's end"));
        }
        Ok(Some(header))
    }

    /// Go on behind the batch.
    pub(crate) fn skip(&mut self, header: &BatchHeader) {
        self.position += header.len;
    }

    /// The batch's bytes; goes on behind it.
    pub(crate) async fn take(
        &mut self,
        header: &BatchHeader,
        pieces: &mut Vec<Bytes>,
    ) -> Result<(), ReadError> {
        let end = self.position + header.len;
        self.fetch(end).await?;
        for (at, bytes) in &self.windows {
            let from = self.position.max(*at);
            let to = end.min(at + bytes.len() as u64);
            if from < to {
                let part = bytes.slice(to_usize(from - at)..to_usize(to - at));
                // Batches that lie behind one another in one buffer leave as one piece.
                match pieces.last_mut() {
                    Some(last) if is_adjacent(bytes, last, &part) => {
                        let to = to_usize(to - at);
                        *last = bytes.slice(to - part.len() - last.len()..to);
                    }
                    _ => pieces.push(part),
                }
            }
        }
        self.position = end;
        Ok(())
    }

    /// What is left of the last buffer, for the next read; nothing when the position lies before
    /// it, as it does where a batch that was looked at but not taken begins in the buffer before.
    pub(crate) fn into_window(self) -> (u64, Bytes) {
        let (position, end) = (self.position, self.end);
        let Some((at, mut bytes)) = self.windows.into_iter().next_back() else {
            return (0, Bytes::new());
        };
        // What lies behind the end was read, but is not what will stand there later.
        bytes.truncate(to_usize(end.saturating_sub(at)));
        let holds = (at..at + bytes.len() as u64).contains(&position);
        if holds { (at, bytes) } else { (0, Bytes::new()) }
    }

    /// Have everything from the position up to `end` in the windows.
    async fn fetch(&mut self, end: u64) -> Result<(), ReadError> {
        while self.windows.front().is_some_and(|(at, b)| at + b.len() as u64 <= self.position) {
            self.windows.pop_front();
        }
        loop {
            let reached = match self.windows.back() {
                Some((at, bytes)) => at + bytes.len() as u64,
                None => block_floor(self.position),
            };
            if reached >= end && !self.windows.is_empty() {
                return Ok(());
            }
            // The last read of a file may have been short, in the middle of a block.
            let from = block_floor(reached);
            let most = block_ceil(self.end) - from;
            let len = block_ceil(end - from).max(self.read_bytes).min(most);
            let read = self.file.read_at(from, to_usize(len)).await;
            let read = read.map_err(|e| ReadError::Storage(StorageError::from(e)))?;
            add(&self.core.stats.cold_reads, 1);
            add(&self.core.stats.cold_read_bytes, read.len() as u64);
            let fresh = read.slice(read.len().min(to_usize(reached - from))..);
            if fresh.is_empty() {
                return Err(self.damage("the file is shorter than its log"));
            }
            self.windows.push_back((reached, fresh));
        }
    }

    fn damage(&self, why: &str) -> ReadError {
        ReadError::Storage(StorageError::Corrupt(format!(
            "segment {} holds no batch at position {}: {why}; restore the file, or delete the \
             records up to the next segment, and restart the broker",
            self.name, self.position
        )))
    }
}

/// Whether `next`, a part of `buffer`, begins where `last` ends in the same buffer.
fn is_adjacent(buffer: &Bytes, last: &Bytes, next: &Bytes) -> bool {
    last.as_ptr() >= buffer.as_ptr() && last.as_ptr_range().end == next.as_ptr()
}
