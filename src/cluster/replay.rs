//! From the bytes of the metadata log to the image. Changes nothing and does not know how much of
//! the log was acknowledged: that, and what to do about a torn end, is `log.rs`'s.

use std::collections::HashSet;
use std::path::Path;

use bytes::Bytes;

use crate::model::Uuid;
use crate::record::{BatchView, Batches, Records, decompress};

use super::change::Change;
use super::image::Image;
use super::record;

/// Most bytes that a batch may decompress to; ours are not compressed.
const BATCH_BYTES_MAX: usize = 1 << 30;

/// What a log leads to.
pub(super) struct Replayed {
    pub(super) image: Image,
    /// Topics that it removes.
    pub(super) removed: HashSet<Uuid>,
    /// Of the last whole batch.
    pub(super) end: u64,
    pub(super) next_offset: i64,
}

/// Read `bytes`, the log at `path`, up to the last batch that is whole.
pub(super) fn replay(bytes: &Bytes, path: &Path) -> Result<Replayed, String> {
    let mut found =
        Replayed { image: Image::default(), removed: HashSet::new(), end: 0, next_offset: 0 };
    let mut batches = Batches::new(bytes);
    for batch in batches.by_ref() {
        let batch_end = found.end + batch.len() as u64;
        if !batch.crc_matches() || batch.base_offset() != found.next_offset {
            if batch_end < bytes.len() as u64 {
                return Err(format!(
                    "{} is damaged at byte {}: a record batch does not check and is not the \
                     last one. Restore the file from a backup; nothing was changed.",
                    path.display(),
                    found.end
                ));
            }
            return Ok(found);
        }
        // In place: an image for each batch would take the square of their number.
        found.apply(&batch).map_err(|why| {
            format!(
                "{} has a record batch at byte {} that checks and cannot be used: {why}. If a \
                 newer version of thalweg wrote it, start that one; else restore the file from a \
                 backup. Nothing was changed.",
                path.display(),
                found.end
            )
        })?;
        found.end = batch_end;
    }
    Ok(found)
}

impl Replayed {
    fn apply(&mut self, batch: &BatchView<'_>) -> Result<(), String> {
        let attributes = batch.attributes();
        let codec = attributes.codec().ok_or("its codec is unknown")?;
        let plain = decompress(codec, batch.records_bytes(), BATCH_BYTES_MAX);
        let plain = plain.map_err(|e| e.to_string())?;
        for record in Records::new(&plain, batch.record_count()) {
            let value = record.map_err(|e| e.to_string())?.value.unwrap_or_default();
            let change = record::decode(Bytes::copy_from_slice(value))?;
            self.image.apply(&change)?;
            if let Change::RemoveTopic { id } = change {
                self.removed.insert(id);
            }
        }
        self.next_offset = batch.last_offset() + 1;
        Ok(())
    }
}
