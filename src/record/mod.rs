//! Record batches, version 2: check, iterate, build, compress.
//!
//! A batch is the unit that producers send, logs store and fetches return, as the same bytes
//! (`org.apache.kafka.common.record.DefaultRecordBatch`). All integers are big-endian:
//!
//! ```text
//!  at  size  field                   who writes it
//!   0     8  baseOffset              broker, at append               not in the checksum
//!   8     4  batchLength             producer; bytes after this field            "
//!  12     4  partitionLeaderEpoch    broker, at append                           "
//!  16     1  magic = 2               producer                                    "
//!  17     4  crc                     CRC-32C of bytes 21..end
//!  21     2  attributes              bits 0-2 codec, 3 timestamp type, 4 transactional,
//!                                    5 control, 6 delete horizon, 7-15 reserved
//!  23     4  lastOffsetDelta         offset of the last record minus baseOffset
//!  27     8  baseTimestamp
//!  35     8  maxTimestamp            LogAppendTime: broker
//!  43     8  producerId              -1: not idempotent
//!  51     2  producerEpoch
//!  53     4  baseSequence
//!  57     4  record count
//!  61     .  records                 one compressed block when the codec is not 0
//! ```
//!
//! A record: varint length, int8 attributes (unused), varlong timestamp delta, varint offset
//! delta, varint key length (-1 is null) and key, varint value length (-1 is null) and value,
//! varint header count and headers, each a varint length with its key and a varint length (-1 is
//! null) with its value. "varint" and "varlong" are zigzag-coded.
//!
//! Always true here: no length is believed before it has been compared with the bytes that are
//! there; nothing that arrives can make this code panic or allocate without a ceiling that the
//! caller named. What an error means on the wire is the server's matter.

mod batch;
mod builder;
mod compression;
#[expect(
    clippy::module_inception,
    reason = "one record is the right name inside the layer of them"
)]
mod record;
mod remainder;
mod stream;
mod validate;
mod varint;

pub use batch::{
    Attributes, BATCH_HEADER_BYTES, BatchFault, BatchHeader, BatchView, Batches,
    LENGTH_PREFIX_BYTES, MAGIC, patch, set_log_append_time, set_max_timestamp,
};
pub use builder::{BatchBuilder, BuildError, ControlKind, control_batch};
pub use compression::{Codec, Compression, CompressionError, Decompression, compress, decompress};
pub use record::{Headers, Record, RecordFault, Records};
pub use remainder::{Rebuild, Remainder, emptied};
pub use stream::{RecordTimes, TURN_BYTES, Walked};
pub use validate::{
    BatchError, BatchErrorKind, BatchSummary, ProduceRules, Validation, decompressed_bytes_max,
    validate_produced,
};

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod oracle_tests;
