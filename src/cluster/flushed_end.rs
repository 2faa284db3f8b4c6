//! How much of the metadata log is on the device, in a file beside it.
//!
//! A change that was acknowledged and is damaged now looks like one that was being written when
//! the power went. This file tells them apart: what ends below its number was acknowledged. It is
//! written after the log is flushed and before anybody is told, so it may be too low by the last
//! change and is never too high. While the log is rewritten it is as low as the shorter of the two
//! logs.
//!
//! ```text
//! two blocks written in turn: 0 magic u32 "TWME"  4 version u16  6 zero u16  8 turn u64
//!                             16 end u64          24 crc32c u32
//! ```

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::files::replace;

const MAGIC: u32 = u32::from_le_bytes(*b"TWME");
const VERSION: u16 = 1;
/// Each in a block of its own: what tears one leaves the other.
const BLOCK: usize = 4096;
const LEN: usize = 28;

/// See the file's comment.
#[derive(Debug)]
pub(super) struct FlushedEnd {
    path: PathBuf,
    file: File,
    turn: u64,
    end: u64,
}

impl FlushedEnd {
    /// The number in `path`; `None` where none was ever kept.
    pub(super) fn open(path: &Path) -> Result<Option<Self>, String> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("cannot open {}: {error}", path.display())),
        };
        let bytes = fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        let newest = bytes.chunks(BLOCK).filter_map(decode).max();
        let (turn, end) = newest.ok_or_else(|| {
            format!(
                "{} is damaged: it says how much of the metadata log beside it was acknowledged. \
                 Restore both from the same backup, or remove it to go on with what the log holds",
                path.display()
            )
        })?;
        Ok(Some(Self { path: path.to_owned(), file, turn, end }))
    }

    /// Begin to keep it, with `end`.
    pub(super) fn create(path: &Path, end: u64) -> Result<Self, String> {
        let file = replace(path, &[encode(0, end), encode(1, end)].concat())?;
        Ok(Self { path: path.to_owned(), file, turn: 1, end })
    }

    /// The log up to here was acknowledged, or could have been.
    pub(super) fn get(&self) -> u64 {
        self.end
    }

    /// The log is on the device up to `end`; durable once this returns.
    pub(super) fn set(&mut self, end: u64) -> Result<(), String> {
        self.turn += 1;
        let position = (self.turn % 2) * BLOCK as u64;
        let written = self.file.write_all_at(&encode(self.turn, end), position);
        written
            .and_then(|()| self.file.sync_data())
            .map_err(|e| format!("cannot write {}: {e}", self.path.display()))?;
        self.end = end;
        Ok(())
    }
}

fn encode(turn: u64, end: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    block[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    block[4..6].copy_from_slice(&VERSION.to_le_bytes());
    block[8..16].copy_from_slice(&turn.to_le_bytes());
    block[16..24].copy_from_slice(&end.to_le_bytes());
    let crc = crc32c::crc32c(&block[..24]);
    block[24..LEN].copy_from_slice(&crc.to_le_bytes());
    block
}

/// Turn and end.
fn decode(block: &[u8]) -> Option<(u64, u64)> {
    let block = block.first_chunk::<LEN>()?;
    let u64_at = |at: usize| block[at..].first_chunk().map(|b| u64::from_le_bytes(*b));
    let crc = crc32c::crc32c(&block[..24]).to_le_bytes();
    let is_ours = block[0..4] == MAGIC.to_le_bytes()
        && block[4..6] == VERSION.to_le_bytes()
        && block[24..] == crc;
    is_ours.then_some((u64_at(8)?, u64_at(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_number_counts_and_a_torn_one_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("end");
        assert!(FlushedEnd::open(&path).unwrap().is_none());
        let mut kept = FlushedEnd::create(&path, 0).unwrap();
        let read = || FlushedEnd::open(&path).map(|kept| kept.map(|kept| kept.get()));
        for end in [100, 200, 150] {
            kept.set(end).unwrap();
            assert_eq!(read(), Ok(Some(end)));
        }
        let mut torn = fs::read(&path).unwrap();
        torn[((kept.turn % 2) as usize) * BLOCK + 16] ^= 1;
        fs::write(&path, &torn).unwrap();
        assert_eq!(read(), Ok(Some(200)));
        torn.fill(0);
        fs::write(&path, &torn).unwrap();
        assert!(read().unwrap_err().contains("damaged"));
    }
}
