//! Offsets by timestamp: the index names a batch, the answer is a record inside it.
//!
//! A batch may be compressed: it is opened as a stream, and what all batches of one lookup may
//! decompress to has the configured ceiling.

use std::rc::Rc;

use crate::config::Config;
use crate::model::{Offset, TimestampMs};
use crate::partition::Partition;
use crate::record::{self, TURN_BYTES, Walked};
use crate::runtime::Runtime;
use crate::runtime::wait::Pace;
use crate::storage::ReadError;

use super::call::{FoundOffset, OffsetRefusal};
use crate::partition::read::ReadRefusal;

const NOTHING: FoundOffset = FoundOffset { offset: -1, timestamp: -1, epoch: -1 };

/// Batches looked into before a lookup gives up: the index names the right batch at once, unless
/// headers claim later timestamps than their compressed records have.
const BATCHES_LOOKED_INTO_MAX: usize = 16;

/// The first record at or after `timestamp`, below `limit`. Where too much would have to be opened
/// to tell, the answer is an earlier one, so that who reads from there misses nothing.
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
    let epoch = partition.leader_epoch();
    let mut bytes_left = config.limits.decompressed_bytes_max;
    let mut from = log.start_offset();
    for turn in 0.. {
        let found = log.batch_by_timestamp(timestamp, from..limit).await.map_err(refusal)?;
        let Some(base) = found else { break };
        // The start may be in the middle of the batch.
        let start = log.start_offset().max(base);
        let batch = read_batch(partition, start, limit).await?;
        let Ok(view) = record::BatchView::first(&batch) else { break };
        let earlier = FoundOffset { offset: start, timestamp: view.max_timestamp(), epoch };
        if turn == BATCHES_LOOKED_INTO_MAX {
            return Ok(earlier);
        }
        let wanted = |offset, at| offset >= start && at >= timestamp;
        match scan(&view, &mut bytes_left, wanted).await {
            Ok(Some((offset, timestamp))) => return Ok(FoundOffset { offset, timestamp, epoch }),
            Ok(None) => from = view.last_offset() + 1,
            Err(_) => return Ok(earlier),
        }
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
    let start = partition.log().start_offset().max(base);
    let batch = read_batch(partition, start, limit).await?;
    let Ok(view) = record::BatchView::first(&batch) else { return Ok(NOTHING) };
    let mut best: Option<(Offset, TimestampMs)> = None;
    let mut bytes_left = config.limits.decompressed_bytes_max;
    let see = |offset, at| {
        if offset >= start && best.is_none_or(|(_, t)| at > t) {
            best = Some((offset, at));
        }
        false
    };
    let is_whole = scan(&view, &mut bytes_left, see).await.is_ok();
    let guess = (view.last_offset(), view.max_timestamp());
    let (offset, timestamp) = best.filter(|_| is_whole).unwrap_or(guess);
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

/// Offset and timestamp of the first record that `wanted` accepts, reading no more than
/// `bytes_left` decompressed bytes, from which what was read is taken.
///
/// # Errors
/// When the records cannot be read, or not with so few bytes.
async fn scan(
    view: &record::BatchView<'_>,
    bytes_left: &mut usize,
    mut wanted: impl FnMut(Offset, TimestampMs) -> bool,
) -> Result<Option<(Offset, TimestampMs)>, String> {
    let mut times = record::RecordTimes::new(view, *bytes_left)?;
    let mut pace = Pace::new(TURN_BYTES);
    loop {
        match times.next_one()? {
            Walked::Record((offset, timestamp)) if wanted(offset, timestamp) => {
                return Ok(Some((offset, timestamp)));
            }
            Walked::Record(_) => {}
            Walked::Pause => pace.worked(TURN_BYTES).await,
            Walked::End => break,
        }
    }
    *bytes_left = bytes_left.saturating_sub(times.bytes_read());
    Ok(None)
}
