//! Reading what the last run left: which run it was, its checkpoints, its journals.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use bytes::{BufMut, Bytes, BytesMut};

use super::StorageError;
use super::checkpoint_file::{CheckpointHeader, LogRecord, decode_checkpoint};
use super::cursor::Reader;
use super::format::{FORMAT_VERSION, Layout};
use super::frame::{Frame, Salt};
use super::journal_list::check_against;
use crate::disk::{BLOCK, BlockBuffer, Disk, DiskError, DiskFile, block_ceil};
use crate::model::ShardId;

const MAGIC: u32 = u32::from_le_bytes(*b"TWCU");

/// A checkpoint or journal file larger than this is not ours.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// Content of `CURRENT`: which run counts.
///
/// `0 magic u32 "TWCU"  4 version u16  6 shards u16  8 generation u64  16 salt u64  24 crc32c u32`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Current {
    pub(crate) shards: ShardId,
    pub(crate) generation: u64,
    pub(crate) salt: Salt,
}

impl Current {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(BLOCK);
        out.put_u32_le(MAGIC);
        out.put_u16_le(FORMAT_VERSION);
        out.put_u16_le(self.shards);
        out.put_u64_le(self.generation);
        out.put_u64_le(self.salt);
        let crc = crc32c::crc32c(&out);
        out.put_u32_le(crc);
        out.put_bytes(0, BLOCK - out.len());
        out.freeze()
    }

    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, &'static str> {
        let mut fields = Reader::new(bytes.clone());
        let mut read = || {
            let magic = fields.u32()?;
            let version = fields.u16()?;
            let current =
                Self { shards: fields.u16()?, generation: fields.u64()?, salt: fields.u64()? };
            Ok::<_, super::cursor::Short>((magic, version, current, fields.u32()?))
        };
        let (magic, version, current, crc) = read().map_err(|_| "it is cut short")?;
        if magic != MAGIC {
            return Err("it is no such file");
        }
        if version != FORMAT_VERSION {
            return Err("its version is unknown: it was written by another version of the broker");
        }
        if crc32c::crc32c(&bytes[..24]) != crc {
            return Err("its checksum is wrong");
        }
        Ok(current)
    }
}

/// What one shard of the last run left.
pub(crate) struct ShardFiles {
    pub(crate) header: CheckpointHeader,
    pub(crate) records: Vec<LogRecord>,
    /// Frames behind the checkpoint's cut, consecutive.
    pub(crate) frames: Vec<Frame>,
    /// Highest sequence that any frame calls flushed.
    pub(crate) flushed_sequence: u64,
}

/// `CURRENT`, or `None` where nothing was ever kept.
pub(crate) async fn read_current<D: Disk>(
    disk: &D,
    layout: &Layout,
) -> Result<Option<Current>, StorageError> {
    let path = layout.current();
    match read_current_file(disk, &path).await {
        Ok(decoded) => decoded.map(Some),
        Err(DiskError::NotFound(_)) => {
            let logs = disk.list(&layout.logs()).await.unwrap_or_default();
            if logs.is_empty() {
                return Ok(None);
            }
            Err(StorageError::Corrupt(format!(
                "{} is missing, but there are logs in {}; restore it from a copy, or empty the \
                 data directory to begin without data",
                path.display(),
                layout.logs().display()
            )))
        }
        Err(error) => Err(error.into()),
    }
}

/// What a file in the format of `CURRENT` says; the outer error is the disk's.
pub(crate) async fn read_current_file<D: Disk>(
    disk: &D,
    path: &Path,
) -> Result<Result<Current, StorageError>, DiskError> {
    let bytes = read_file(disk, path).await?;
    Ok(Current::decode(&bytes).map_err(|why| {
        StorageError::Corrupt(format!(
            "{} cannot be used: {why}; restore it from a copy of the data directory",
            path.display()
        ))
    }))
}

/// Write a file in the format of `CURRENT`, and flush it.
pub(crate) async fn write_current_file<D: Disk>(
    disk: &D,
    path: &Path,
    current: &Current,
) -> Result<(), DiskError> {
    let file = disk.open(path, true).await?;
    let mut buffer = disk.buffer(BLOCK);
    buffer.bytes_mut().copy_from_slice(&current.encode());
    file.write_at(0, Rc::new(buffer)).await?;
    file.flush().await
}

/// Make `current` the run that counts: durable once this returns.
pub(crate) async fn write_current<D: Disk>(
    disk: &D,
    layout: &Layout,
    current: &Current,
) -> Result<(), DiskError> {
    let next = layout.current_next();
    write_current_file(disk, &next, current).await?;
    disk.rename(&next, &layout.current()).await?;
    disk.sync_dir(layout.root()).await
}

/// Checkpoint and journal of one shard of a run.
pub(crate) async fn read_shard<D: Disk>(
    disk: &D,
    layout: &Layout,
    current: &Current,
    shard: ShardId,
) -> Result<ShardFiles, StorageError> {
    let (header, records) = read_checkpoint(disk, layout, current, shard).await?;
    let dir = layout.shard(current.generation, shard);
    let mut found = BTreeMap::new();
    let mut flushed_sequence = header.cut;
    let mut highest_elsewhere = (0, 0);
    let mut lengths = BTreeMap::new();
    for entry in disk.list(&dir).await? {
        if !entry.name.starts_with("journal-") {
            continue;
        }
        let bytes = read_file(disk, &dir.join(&entry.name)).await?;
        lengths.insert(entry.name, bytes.len() as u64);
        let belongs = |frame: &Frame| {
            frame.header.shard == shard && frame.header.generation == current.generation
        };
        let (frames, end) = walk(&bytes, current.salt, belongs);
        // Whole frames behind a damaged one tell damage from a torn end.
        for at in (end..bytes.len()).step_by(BLOCK) {
            if let Some(frame) = Frame::decode(&bytes.slice(at..), current.salt)
                && belongs(&frame)
            {
                let seen = (frame.header.flushed_sequence, frame.header.sequence);
                highest_elsewhere = highest_elsewhere.max(seen);
            }
        }
        found.extend(frames.into_iter().map(|frame| (frame.header.sequence, frame)));
    }
    let list = match read_file(disk, &layout.journal_list(current.generation, shard)).await {
        Err(DiskError::NotFound(_)) => None,
        list => Some(list?),
    };
    check_against(list.as_ref(), layout, (current.generation, shard), &lengths)?;
    let mut frames = Vec::new();
    let mut next = header.cut + 1;
    for (sequence, frame) in &found {
        let seen = (frame.header.flushed_sequence, *sequence);
        highest_elsewhere = highest_elsewhere.max(seen);
        if *sequence == next {
            flushed_sequence = flushed_sequence.max(frame.header.flushed_sequence);
            frames.push(frame.clone());
            next += 1;
        }
    }
    if highest_elsewhere.0 >= next {
        return Err(StorageError::Corrupt(format!(
            "the journal in {} is damaged: frame {next} cannot be read, though frame {} says it \
             was flushed; acknowledged records may be lost. Restore the directory from a copy, \
             or remove this shard's journal files and the list of them, {}, to go on with what \
             its checkpoint holds",
            dir.display(),
            highest_elsewhere.1,
            layout.journal_list(current.generation, shard).display()
        )));
    }
    Ok(ShardFiles { header, records, frames, flushed_sequence })
}

/// Frames from the start of a journal file, with growing sequences, and where they end.
fn walk(bytes: &Bytes, salt: Salt, belongs: impl Fn(&Frame) -> bool) -> (Vec<Frame>, usize) {
    let mut frames: Vec<Frame> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let Some(frame) = Frame::decode(&bytes.slice(at..), salt) else { break };
        let follows = frames.last().is_none_or(|f| f.header.sequence + 1 == frame.header.sequence);
        if !belongs(&frame) || !follows {
            break;
        }
        at += frame.len;
        frames.push(frame);
    }
    (frames, at)
}

async fn read_checkpoint<D: Disk>(
    disk: &D,
    layout: &Layout,
    current: &Current,
    shard: ShardId,
) -> Result<(CheckpointHeader, Vec<LogRecord>), StorageError> {
    let mut newest: Option<(CheckpointHeader, Vec<LogRecord>)> = None;
    for side in 0..2 {
        let path = layout.checkpoint(current.generation, shard, side);
        let bytes = match read_file(disk, &path).await {
            Ok(bytes) => bytes,
            Err(DiskError::NotFound(_)) => continue,
            Err(error) => return Err(error.into()),
        };
        let Some((header, records)) = decode_checkpoint(&bytes) else { continue };
        let belongs = header.shard == shard && header.generation == current.generation;
        if belongs && newest.as_ref().is_none_or(|(known, _)| known.sequence < header.sequence) {
            newest = Some((header, records));
        }
    }
    newest.ok_or_else(|| {
        StorageError::Corrupt(format!(
            "neither checkpoint in {} can be read; restore the directory from a copy",
            layout.shard(current.generation, shard).display()
        ))
    })
}

/// A whole file of ours.
async fn read_file<D: Disk>(disk: &D, path: &Path) -> Result<Bytes, DiskError> {
    let file = disk.open(path, false).await?;
    let len = file.len()?;
    if len > FILE_BYTES_MAX {
        return Err(DiskError::Failed(format!("{} has {len} bytes: not ours", path.display())));
    }
    if len == 0 {
        return Ok(Bytes::new());
    }
    let whole = usize::try_from(block_ceil(len)).unwrap_or(BLOCK);
    let read = file.read_at(0, whole).await?;
    Ok(read.slice(..read.len().min(usize::try_from(len).unwrap_or(usize::MAX))))
}
