//! Which journal files a run has, in a file beside them.
//!
//! A frame says what was flushed before it, nothing says it of the last frames: a file that is
//! missing or cut short would look like one that was never written. So each file is listed when it
//! is whole, before the first frame goes into it.
//!
//! ```text
//! block 0 for the list itself, block k for journal-k, each
//! 0 magic u32 "TWJL"   4 version u16   6 shard u16   8 generation u64   16 number u32
//! 20 zero u32          24 bytes u64   32 crc32c u32
//! ```

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::{BufMut, Bytes, BytesMut};

use super::StorageError;
use super::cursor::Reader;
use super::format::{FORMAT_VERSION, Layout};
use crate::disk::{BLOCK, BLOCK_U64, BlockBuffer, Disk, DiskError, DiskFile};
use crate::model::ShardId;

const MAGIC: u32 = u32::from_le_bytes(*b"TWJL");

/// One file of a journal, or, with number 0, the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) shard: ShardId,
    pub(crate) generation: u64,
    pub(crate) number: u32,
    /// How long the file is.
    pub(crate) bytes: u64,
}

impl Listed {
    fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(BLOCK);
        out.put_u32_le(MAGIC);
        out.put_u16_le(FORMAT_VERSION);
        out.put_u16_le(self.shard);
        out.put_u64_le(self.generation);
        out.put_u32_le(self.number);
        out.put_u32_le(0);
        out.put_u64_le(self.bytes);
        let crc = crc32c::crc32c(&out);
        out.put_u32_le(crc);
        out.put_bytes(0, BLOCK - out.len());
        out.freeze()
    }

    pub(crate) fn decode(block: &Bytes) -> Option<Self> {
        let mut fields = Reader::new(block.clone());
        let is_ours = fields.u32().ok()? == MAGIC && fields.u16().ok()? == FORMAT_VERSION;
        let (shard, generation) = (fields.u16().ok()?, fields.u64().ok()?);
        let number = fields.u32().ok()?;
        fields.u32().ok()?;
        let bytes = fields.u64().ok()?;
        let checks = fields.u32().ok()? == crc32c::crc32c(&block[..32]);
        (is_ours && checks).then_some(Self { shard, generation, number, bytes })
    }

    async fn write<F: DiskFile<Buffer = B>, B: BlockBuffer>(
        &self,
        file: &F,
        mut buffer: B,
    ) -> Result<(), DiskError> {
        buffer.bytes_mut().copy_from_slice(&self.encode());
        file.write_at(u64::from(self.number) * BLOCK_U64, Rc::new(buffer)).await?;
        file.flush().await
    }
}

/// Begin the list of a shard with room for `files`; its name is not durable yet.
pub(crate) async fn begin_list<D: Disk>(
    disk: &D,
    layout: &Layout,
    (generation, shard): (u64, ShardId),
    files: usize,
) -> Result<(), DiskError> {
    let file = disk.open(&layout.journal_list(generation, shard), true).await?;
    // Now: a file that is made on a full disk must still be listed.
    file.allocate((files as u64 + 1) * BLOCK_U64).await?;
    let list = Listed { shard, generation, number: 0, bytes: 0 };
    list.write(&file, disk.buffer(BLOCK)).await
}

/// List one more file; durable once this returns.
pub(crate) async fn list_file<D: Disk>(
    disk: &D,
    layout: &Layout,
    listed: Listed,
) -> Result<(), DiskError> {
    let path = layout.journal_list(listed.generation, listed.shard);
    let file = disk.open(&path, false).await?;
    listed.write(&file, disk.buffer(BLOCK)).await
}

/// Refuse what is listed and not there as it was; `found` are the journal files with their lengths.
pub(crate) fn check_against(
    list: Option<&Bytes>,
    layout: &Layout,
    (generation, shard): (u64, ShardId),
    found: &BTreeMap<String, u64>,
) -> Result<(), StorageError> {
    let path = layout.journal_list(generation, shard);
    let blocks = list.map_or(0, |bytes| bytes.len() / BLOCK);
    let listed = (0..blocks).filter_map(|at| {
        let block = list?.slice(at * BLOCK..(at + 1) * BLOCK);
        let listed = Listed::decode(&block)?;
        (listed.shard == shard && listed.generation == generation).then_some(listed)
    });
    let mut is_list = false;
    for listed in listed {
        if listed.number == 0 {
            is_list = true;
            continue;
        }
        let journal = layout.journal(generation, shard, listed.number);
        let name = journal.file_name().unwrap_or_default().to_string_lossy();
        let what = match found.get(&*name) {
            Some(bytes) if *bytes >= listed.bytes => continue,
            Some(bytes) => format!("has {bytes} of its {} bytes", listed.bytes),
            None => "is missing".into(),
        };
        return Err(StorageError::Corrupt(format!(
            "the journal file {} {what}: acknowledged records may be lost. Restore the data \
             directory from a copy, or remove {} to go on with what the other journal files and \
             the checkpoint hold",
            journal.display(),
            path.display()
        )));
    }
    if !is_list {
        tracing::warn!(path = %path.display(), journal_files = found.len(),
            "the list of the journal's files is missing or damaged: if it was removed, or journal \
             files were, records that were acknowledged behind the last checkpoint may be gone. A \
             run of an older version has no such list");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_file_comes_back_and_any_flipped_bit_is_noticed() {
        let listed = Listed { shard: 3, generation: 7, number: 12, bytes: 8 << 20 };
        let block = listed.encode();
        assert_eq!(Listed::decode(&block), Some(listed));
        for at in 0..36 {
            let mut damaged = block.to_vec();
            damaged[at] ^= 0x10;
            assert_eq!(Listed::decode(&damaged.into()), None, "byte {at}");
        }
        assert_eq!(Listed::decode(&block.slice(..30)), None);
    }
}
