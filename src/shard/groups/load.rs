//! Reading a partition of `__consumer_offsets` into a coordinator, a piece at a time.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use crate::coordinator::Coordinator;
use crate::model::Offset;
use crate::partition::Partition;
use crate::record::{BatchView, Batches, Records, decompress};
use crate::runtime::Runtime;

use super::super::Shard;

/// Bytes read at a time; also what is replayed before other tasks get their turn.
const READ_BYTES: usize = 512 << 10;

/// Replay everything that the log has, in order; how many records that were.
///
/// # Errors
/// Says what cannot be read, and where.
pub(super) async fn replay<R: Runtime>(
    shard: &Rc<Shard<R>>,
    partition: &Rc<Partition<R>>,
    coordinator: &mut Coordinator,
) -> Result<u64, String> {
    let mut records = 0;
    let mut next = partition.log().start_offset();
    loop {
        let read = partition.read(next, READ_BYTES, true).await;
        let read = read.map_err(|e| format!("offset {next} cannot be read: {e:?}"))?;
        if read.batches.bytes == 0 {
            return Ok(records);
        }
        let mut pieces = read.batches.pieces;
        let bytes = match pieces.len() {
            1 => pieces.swap_remove(0),
            _ => Bytes::from(pieces.concat()),
        };
        let before = next;
        for batch in Batches::new(&bytes) {
            next = batch.last_offset() + 1;
            records += replay_batch(shard, coordinator, &batch)?;
        }
        if next == before {
            return Err(format!("there is no batch at offset {next}"));
        }
        if bytes.len() > READ_BYTES / 2 {
            shard.runtime.sleep(Duration::from_millis(1)).await;
        }
    }
}

fn replay_batch<R: Runtime>(
    shard: &Rc<Shard<R>>,
    coordinator: &mut Coordinator,
    batch: &BatchView<'_>,
) -> Result<u64, String> {
    let attributes = batch.attributes();
    let base: Offset = batch.base_offset();
    if attributes.is_control() {
        return Ok(0);
    }
    let fault = |why: String| format!("the batch at offset {base} cannot be read: {why}");
    let codec = attributes.codec().ok_or_else(|| fault("unknown compression".into()))?;
    // What was not compressed is in memory already: a large step of a coordinator made it.
    let most = shard.config.limits.decompressed_bytes_max.max(batch.records_bytes().len());
    let plain = decompress(codec, batch.records_bytes(), most).map_err(|e| fault(e.to_string()))?;
    let mut count = 0;
    for record in Records::new(&plain, batch.record_count()) {
        let record = record.map_err(|e| fault(e.to_string()))?;
        let Some(key) = record.key else { continue };
        let timestamp = record.timestamp(batch.base_timestamp()).unwrap_or(-1);
        // Copied: a slice would keep everything that was read with it.
        let value = record.value.map(Bytes::copy_from_slice);
        coordinator
            .replay(Bytes::copy_from_slice(key), value, timestamp)
            .map_err(|e| fault(e.to_string()))?;
        count += 1;
    }
    Ok(count)
}
