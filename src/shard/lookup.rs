//! Offsets by timestamp: the index names a batch, the answer is a record inside it.
//!
//! A batch may be compressed; it is decompressed here at most once per lookup, up to the
//! configured ceiling.

use std::rc::Rc;

use crate::config::Config;
use crate::model::{Offset, TimestampMs, TimestampType};
use crate::partition::Partition;
use crate::record;
use crate::runtime::Runtime;
use crate::storage::ReadError;

use super::call::{FoundOffset, OffsetRefusal};
use crate::partition::read::ReadRefusal;

const NOTHING: FoundOffset = FoundOffset { offset: -1, timestamp: -1, epoch: -1 };

/// Batches looked into before a lookup gives up: the index names the right batch at once, unless
/// a producer understated its largest timestamp.
const BATCHES_LOOKED_INTO_MAX: usize = 16;

/// The first record at or after `timestamp`, below `limit`.
///
/// # Errors
/// When the log cannot be read.
pub async fn first_at_or_after<R: Runtime>(
    config: &Config,
    partition: &Rc<Partition<R>>,
    timestamp: TimestampMs,
    limit: Offset,
) -> Result<FoundOffset, OffsetRefusal> {
    let log = partition.log();
    let Some(mut base) = log.batch_by_timestamp(timestamp, limit).await.map_err(refusal)? else {
        return Ok(NOTHING);
    };
    for _ in 0..BATCHES_LOOKED_INTO_MAX {
        if base >= limit {
            break;
        }
        let batch = read_batch(partition, base, limit).await?;
        let Ok(view) = record::BatchView::first(&batch) else { break };
        let start = log.start_offset();
        let found = scan(config, &view, |offset, at| offset >= start && at >= timestamp);
        if let Some((offset, at)) = found {
            return Ok(FoundOffset { offset, timestamp: at, epoch: partition.leader_epoch() });
        }
        base = view.last_offset() + 1;
    }
    Ok(NOTHING)
}

/// The record with the largest timestamp below `limit` (KIP-734); of equal ones the first.
///
/// # Errors
/// When the log cannot be read.
pub async fn largest_timestamp<R: Runtime>(
    config: &Config,
    partition: &Rc<Partition<R>>,
    limit: Offset,
) -> Result<FoundOffset, OffsetRefusal> {
    let Some(base) = partition.log().batch_of_max_timestamp(limit).await.map_err(refusal)? else {
        return Ok(NOTHING);
    };
    let batch = read_batch(partition, base, limit).await?;
    let Ok(view) = record::BatchView::first(&batch) else { return Ok(NOTHING) };
    let mut best: Option<(Offset, TimestampMs)> = None;
    scan(config, &view, |offset, at| {
        if best.is_none_or(|(_, t)| at > t) {
            best = Some((offset, at));
        }
        false
    });
    let (offset, timestamp) = best.unwrap_or((view.last_offset(), view.max_timestamp()));
    Ok(FoundOffset { offset, timestamp, epoch: partition.leader_epoch() })
}

fn refusal(error: ReadError) -> OffsetRefusal {
    match error {
        ReadError::OutOfRange => OffsetRefusal::OutOfRange,
        ReadError::Storage(error) => OffsetRefusal::Read(ReadRefusal::Storage(error)),
    }
}

/// The whole batch that holds `offset`, in one piece.
async fn read_batch<R: Runtime>(
    partition: &Rc<Partition<R>>,
    offset: Offset,
    limit: Offset,
) -> Result<bytes::Bytes, OffsetRefusal> {
    let log = partition.log();
    let read = match log.read_cached(offset, limit, 1, true).map_err(refusal)? {
        Some(read) => read,
        None => log.read(offset, limit, 1, true).await.map_err(refusal)?,
    };
    let mut pieces = read.pieces;
    Ok(match pieces.len() {
        1 => pieces.swap_remove(0),
        _ => bytes::Bytes::from(pieces.concat()),
    })
}

/// Offset and timestamp of the first record that `wanted` accepts. LogAppendTime batches give
/// every record the batch's timestamp. What does not decompress within the ceiling is not looked
/// into.
fn scan(
    config: &Config,
    view: &record::BatchView<'_>,
    mut wanted: impl FnMut(Offset, TimestampMs) -> bool,
) -> Option<(Offset, TimestampMs)> {
    let attributes = view.attributes();
    let is_append_time = attributes.timestamp_type() == TimestampType::LogAppendTime;
    let codec = attributes.codec()?;
    let most = config.limits.decompressed_bytes_max;
    let plain = record::decompress(codec, view.records_bytes(), most).ok()?;
    for found in record::Records::new(&plain, view.record_count()) {
        let found = found.ok()?;
        let offset = found.offset(view.base_offset())?;
        let timestamp = if is_append_time {
            view.max_timestamp()
        } else {
            found.timestamp(view.base_timestamp())?
        };
        if wanted(offset, timestamp) {
            return Some((offset, timestamp));
        }
    }
    None
}
