//! A frame: the unit in which the journal is written, and the only thing in it that counts.
//!
//! ```text
//! 0  magic u32 "TWJF"    4 version u16    6 shard u16     8 generation u64
//! 16 sequence u64        24 flushed sequence u64          32 body bytes u32
//! 36 entries u32         40 crc32c u32    44 zero u32     48 body, zero-padded to a block
//! ```
//! Sequences of one shard's journal in one generation are consecutive from 1. *Flushed sequence*
//! is the highest sequence known, when the frame was formed, to be on the device together with
//! all that was written directly up to it: what a later frame calls flushed and recovery cannot
//! find is damage, not a torn end. The checksum covers
//! the run's salt, header (with the checksum as zero) and body; a stale frame of an earlier use of
//! the file is whole but has an old sequence.

use bytes::Bytes;

use super::cursor::Reader;
use super::entry::Entry;
use super::format::FORMAT_VERSION;
use crate::disk::BLOCK;
use crate::model::ShardId;

const MAGIC: u32 = u32::from_le_bytes(*b"TWJF");

/// Bytes before the body.
pub(crate) const FRAME_HEADER_LEN: usize = 48;

/// A secret of one run that every frame's checksum begins with: bytes that a producer sent can
/// look like anything, but not like a frame of this run.
pub(crate) type Salt = u64;

/// Which journal a frame belongs to and where in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) shard: ShardId,
    pub(crate) generation: u64,
    pub(crate) sequence: u64,
    pub(crate) flushed_sequence: u64,
}

/// Bytes on disk of a frame with a body of `body_len`.
pub(crate) const fn frame_len(body_len: usize) -> usize {
    (FRAME_HEADER_LEN + body_len).div_ceil(BLOCK) * BLOCK
}

/// Write header, entries and padding into `out`, which has exactly [`frame_len`] bytes.
pub(crate) fn encode_frame<'a>(
    out: &mut [u8],
    header: FrameHeader,
    salt: Salt,
    entries: impl Iterator<Item = &'a Entry>,
) {
    let (head, body) = out.split_at_mut(FRAME_HEADER_LEN);
    let room = body.len();
    let mut rest = &mut *body;
    let mut count: u32 = 0;
    for entry in entries {
        entry.encode(&mut rest);
        count += 1;
    }
    let left = rest.len();
    rest.fill(0);
    let body_len = room - left;
    head[0..4].copy_from_slice(&MAGIC.to_le_bytes());
    head[4..6].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    head[6..8].copy_from_slice(&header.shard.to_le_bytes());
    head[8..16].copy_from_slice(&header.generation.to_le_bytes());
    head[16..24].copy_from_slice(&header.sequence.to_le_bytes());
    head[24..32].copy_from_slice(&header.flushed_sequence.to_le_bytes());
    head[32..36].copy_from_slice(&super::cursor::len_u32(body_len).to_le_bytes());
    head[36..40].copy_from_slice(&count.to_le_bytes());
    head[40..48].fill(0);
    let crc = checksum(salt, head, &body[..body_len]);
    head[40..44].copy_from_slice(&crc.to_le_bytes());
}

fn checksum(salt: Salt, header: &[u8], body: &[u8]) -> u32 {
    let seed = crc32c::crc32c(&salt.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(seed, header), body)
}

/// A frame that checks.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) header: FrameHeader,
    /// Bytes on disk.
    pub(crate) len: usize,
    body: Bytes,
    count: u32,
}

impl Frame {
    /// The frame at the start of `bytes`, if there is one; anything else is `None`, since what
    /// lies behind the last frame of a journal file may be anything.
    pub(crate) fn decode(bytes: &Bytes, salt: Salt) -> Option<Self> {
        let head = bytes.get(..FRAME_HEADER_LEN)?;
        let mut fields = Reader::new(bytes.slice(..FRAME_HEADER_LEN));
        if fields.u32().ok()? != MAGIC || fields.u16().ok()? != FORMAT_VERSION {
            return None;
        }
        let header = FrameHeader {
            shard: fields.u16().ok()?,
            generation: fields.u64().ok()?,
            sequence: fields.u64().ok()?,
            flushed_sequence: fields.u64().ok()?,
        };
        let body_len = fields.u32().ok()? as usize;
        let count = fields.u32().ok()?;
        let crc = fields.u32().ok()?;
        let end = FRAME_HEADER_LEN.checked_add(body_len)?;
        let body = bytes.get(FRAME_HEADER_LEN..end)?;
        let mut zeroed = [0u8; FRAME_HEADER_LEN];
        zeroed.copy_from_slice(head);
        zeroed[40..48].fill(0);
        if checksum(salt, &zeroed, body) != crc {
            return None;
        }
        let len = frame_len(body_len);
        Some(Self { header, len, body: bytes.slice(FRAME_HEADER_LEN..end), count })
    }

    /// Its entries; `None` when they cannot be read although the checksum is right.
    pub(crate) fn entries(&self) -> Option<Vec<Entry>> {
        let mut body = Reader::new(self.body.clone());
        let mut entries = Vec::new();
        for _ in 0..self.count {
            entries.push(Entry::decode(&mut body).ok()?);
        }
        (body.left() == 0).then_some(entries)
    }
}
