//! Walking the records of a batch without holding them: for the validator and for lookups by time.
//!
//! Owns the streaming twin of `record`: the same rules, applied to bytes as they come out of the
//! decoder, keys and values skipped. Memory is one chunk plus the decoder's window. A walk pauses
//! after [`TURN_BYTES`], in the midst of a record, too: its caller has others to think of.

use std::io::Read;

use super::batch::BatchView;
use super::compression::{Codec, CompressionError, open};
use super::record::{
    BAD_COUNT, BAD_HEADER, BAD_KEY, BAD_LENGTH, BAD_OFFSET, BAD_TIMESTAMP, BAD_VALUE, LEFT_OVER,
    RECORD_BODY_BYTES_MIN, RecordFault,
};
use super::varint::{read_varint, read_varlong};
use crate::model::{Offset, TimestampMs, TimestampType};

/// Decompressed bytes held at a time.
const CHUNK_BYTES: usize = 8 * 1024;

/// Decompressed bytes after which a walk pauses: about a millisecond of work.
pub const TURN_BYTES: usize = 256 << 10;

/// What a walk comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walked<T> {
    /// The next record.
    Record(T),
    /// Much was read; the walk goes on with the next call.
    Pause,
    /// All records were seen, and nothing follows them.
    End,
}

/// What is known of a record without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordShape {
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    pub has_key: bool,
}

/// Why the walk ended early.
#[derive(Debug)]
pub(super) enum StreamFault {
    Record(RecordFault),
    Compression(CompressionError),
}

/// The next record of a compressed batch, until `count` are seen and nothing is left.
pub(super) struct RecordStream<'a> {
    reader: Box<dyn Read + 'a>,
    codec: Codec,
    output_max: usize,
    produced: usize,
    chunk: Box<[u8; CHUNK_BYTES]>,
    start: usize,
    end: usize,
    index: i32,
    count: i32,
    /// The record in whose midst the walk is.
    open: Option<OpenRecord>,
    /// Bytes produced at the next pause.
    turn_ends: usize,
}

/// A record of which a part was read.
struct OpenRecord {
    shape: RecordShape,
    /// Bytes of it that are left.
    left: usize,
    /// Bytes to be skipped, of those.
    skip: usize,
    then: Then,
}

/// What follows the bytes that are skipped.
enum Then {
    Value,
    HeaderCount,
    /// So many headers.
    Headers(i32),
    /// The value of a header, and so many headers.
    HeaderValue(i32),
}

/// The offsets and timestamps of a batch's records, one by one, compressed or not.
pub struct RecordTimes<'a> {
    stream: RecordStream<'a>,
    base_offset: Offset,
    base_timestamp: TimestampMs,
    /// LogAppendTime: the batch's, of every record.
    append_time: Option<TimestampMs>,
}

impl<'a> RecordTimes<'a> {
    /// Of `batch`, reading at most `output_max` decompressed bytes of it.
    ///
    /// # Errors
    /// Unknown codec, or a decoder that cannot begin.
    pub fn new(batch: &BatchView<'a>, output_max: usize) -> Result<Self, String> {
        let attributes = batch.attributes();
        let codec = attributes.codec().ok_or("the codec is unknown")?;
        let input = batch.records_bytes();
        let stream = RecordStream::new(codec, input, batch.record_count(), output_max)
            .map_err(|e| e.to_string())?;
        let is_append_time = attributes.timestamp_type() == TimestampType::LogAppendTime;
        Ok(Self {
            stream,
            base_offset: batch.base_offset(),
            base_timestamp: batch.base_timestamp(),
            append_time: is_append_time.then(|| batch.max_timestamp()),
        })
    }

    /// Offset and timestamp of the next record.
    ///
    /// # Errors
    /// When the records are not what the batch says, or are longer than was allowed.
    pub fn next_one(&mut self) -> Result<Walked<(Offset, TimestampMs)>, String> {
        if self.stream.index >= self.stream.count {
            return Ok(Walked::End);
        }
        let shape = match self.stream.next() {
            Ok(Walked::Record(shape)) => shape,
            Ok(Walked::Pause) => return Ok(Walked::Pause),
            Ok(Walked::End) => return Ok(Walked::End),
            Err(StreamFault::Record(fault)) => return Err(fault.to_string()),
            Err(StreamFault::Compression(error)) => return Err(error.to_string()),
        };
        let offset = self.base_offset.checked_add(i64::from(shape.offset_delta));
        let time = self.base_timestamp.checked_add(shape.timestamp_delta);
        let both = offset.zip(self.append_time.or(time));
        both.map(Walked::Record).ok_or_else(|| "an offset or timestamp is beyond 64 bits".into())
    }

    /// Decompressed bytes that were read so far.
    pub fn bytes_read(&self) -> usize {
        self.stream.produced
    }
}

/// Inside the walk a fault either has a text or comes from the decoder.
enum Fault {
    What(&'static str),
    Codec(CompressionError),
}

impl From<&'static str> for Fault {
    fn from(what: &'static str) -> Self {
        Self::What(what)
    }
}

impl<'a> RecordStream<'a> {
    /// Over `count` records in compressed `input`, at most `output_max` decompressed bytes.
    pub(super) fn new(
        codec: Codec,
        input: &'a [u8],
        count: i32,
        output_max: usize,
    ) -> Result<Self, CompressionError> {
        let reader = open(codec, input).map_err(|e| CompressionError::malformed(codec, &e))?;
        let chunk = Box::new([0; CHUNK_BYTES]);
        Ok(Self {
            reader,
            codec,
            output_max,
            produced: 0,
            chunk,
            start: 0,
            end: 0,
            index: 0,
            count,
            open: None,
            turn_ends: TURN_BYTES,
        })
    }

    /// The next record, or a pause in its midst.
    pub(super) fn next(&mut self) -> Result<Walked<RecordShape>, StreamFault> {
        let result = if self.index < self.count {
            self.record()
        } else {
            match self.fill() {
                Ok(false) => Ok(Walked::End),
                Ok(true) => Err("would begin in bytes behind the counted records".into()),
                Err(error) => Err(Fault::Codec(error)),
            }
        };
        let index = self.index;
        if matches!(result, Ok(Walked::Record(_))) {
            self.index = self.index.saturating_add(1);
        }
        result.map_err(|fault| match fault {
            Fault::What(what) => StreamFault::Record(RecordFault { index, what }),
            Fault::Codec(error) => StreamFault::Compression(error),
        })
    }

    /// Go on with the record that is open, or open the next one.
    fn record(&mut self) -> Result<Walked<RecordShape>, Fault> {
        let mut record = match self.open.take() {
            Some(record) => record,
            None => self.begin_record()?,
        };
        loop {
            self.skip(&mut record.left, &mut record.skip)?;
            if self.produced >= self.turn_ends {
                self.turn_ends = self.produced.saturating_add(TURN_BYTES);
                self.open = Some(record);
                return Ok(Walked::Pause);
            }
            if record.skip > 0 {
                continue;
            }
            let left = &mut record.left;
            match record.then {
                Then::Value => {
                    record.skip = self.nullable(left, BAD_VALUE)?.unwrap_or(0);
                    record.then = Then::HeaderCount;
                }
                Then::HeaderCount => {
                    let count = self.varint(left, BAD_COUNT)?;
                    if count < 0 {
                        return Err(BAD_COUNT.into());
                    }
                    record.then = Then::Headers(count);
                }
                // Each header takes at least two bytes, so this ends with the record.
                Then::Headers(count) if count > 0 => {
                    record.skip = self.nullable(left, BAD_HEADER)?.ok_or(BAD_HEADER)?;
                    record.then = Then::HeaderValue(count - 1);
                }
                Then::HeaderValue(count) => {
                    record.skip = self.nullable(left, BAD_HEADER)?.unwrap_or(0);
                    record.then = Then::Headers(count);
                }
                Then::Headers(_) if record.left == 0 => return Ok(Walked::Record(record.shape)),
                Then::Headers(_) => return Err(LEFT_OVER.into()),
            }
        }
    }

    /// Read a record's front, up to the bytes of its key.
    fn begin_record(&mut self) -> Result<OpenRecord, Fault> {
        // The length itself is at most five bytes.
        let mut ahead = 5;
        let len = self.varint(&mut ahead, BAD_LENGTH)?;
        let mut left = usize::try_from(len).map_err(|_| BAD_LENGTH)?;
        if left < RECORD_BODY_BYTES_MIN {
            return Err(BAD_LENGTH.into());
        }
        self.byte(&mut left, BAD_LENGTH)?;
        let timestamp_delta = self.varlong(&mut left)?;
        let offset_delta = self.varint(&mut left, BAD_OFFSET)?;
        let key = self.nullable(&mut left, BAD_KEY)?;
        let shape = RecordShape { timestamp_delta, offset_delta, has_key: key.is_some() };
        Ok(OpenRecord { shape, left, skip: key.unwrap_or(0), then: Then::Value })
    }

    /// Make sure that a byte is there; false at the end of the output.
    fn fill(&mut self) -> Result<bool, CompressionError> {
        while self.start == self.end {
            let read = match self.reader.read(&mut self.chunk[..]) {
                Ok(0) => return Ok(false),
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(CompressionError::malformed(self.codec, &error)),
            };
            self.produced = self.produced.saturating_add(read);
            if self.produced > self.output_max {
                let (codec, output_max) = (self.codec, self.output_max);
                return Err(CompressionError::TooLarge { codec, output_max });
            }
            (self.start, self.end) = (0, read);
        }
        Ok(true)
    }

    fn byte(&mut self, left: &mut usize, what: &'static str) -> Result<u8, Fault> {
        if *left == 0 || !self.fill().map_err(Fault::Codec)? {
            return Err(what.into());
        }
        let byte = *self.chunk.get(self.start).ok_or(what)?;
        self.start += 1;
        *left -= 1;
        Ok(byte)
    }

    fn digits(&mut self, left: &mut usize, what: &'static str) -> Result<([u8; 10], usize), Fault> {
        let mut digits = [0; 10];
        for (i, digit) in digits.iter_mut().enumerate() {
            *digit = self.byte(left, what)?;
            if *digit < 0x80 {
                return Ok((digits, i + 1));
            }
        }
        Err(what.into())
    }

    fn varint(&mut self, left: &mut usize, what: &'static str) -> Result<i32, Fault> {
        let (digits, len) = self.digits(left, what)?;
        Ok(digits.get(..len).and_then(read_varint).ok_or(what)?.0)
    }

    fn varlong(&mut self, left: &mut usize) -> Result<i64, Fault> {
        let (digits, len) = self.digits(left, BAD_TIMESTAMP)?;
        Ok(digits.get(..len).and_then(read_varlong).ok_or(BAD_TIMESTAMP)?.0)
    }

    /// Skip `bytes`, or as many of them as one chunk has.
    fn skip(&mut self, left: &mut usize, bytes: &mut usize) -> Result<(), Fault> {
        if *bytes == 0 {
            return Ok(());
        }
        // More than the record has was refused with its length: the output itself ends early.
        if !self.fill().map_err(Fault::Codec)? {
            return Err(BAD_LENGTH.into());
        }
        let here = (*bytes).min(self.end - self.start);
        self.start += here;
        *left -= here;
        *bytes -= here;
        Ok(())
    }

    /// A length of bytes that the record has; nothing for null.
    fn nullable(&mut self, left: &mut usize, what: &'static str) -> Result<Option<usize>, Fault> {
        match self.varint(left, what)? {
            -1 => Ok(None),
            len => {
                let len = usize::try_from(len).map_err(|_| what)?;
                if len > *left { Err(what.into()) } else { Ok(Some(len)) }
            }
        }
    }
}
