//! One record inside a batch, borrowed from the (decompressed) records bytes.
//!
//! A record that was given out is whole: its length is exact, and its headers were walked to
//! their end, so that iterating them cannot fail.

use std::fmt;

use super::varint::{read_varint, read_varlong};
use crate::model::{Offset, TimestampMs};

/// Fewest bytes of a record after its length: attributes, two deltas, two lengths, header count.
pub(super) const RECORD_BODY_BYTES_MIN: usize = 6;

/// As many bytes as walking a record costs besides those it has.
const RECORD_TURN_BYTES: usize = 64;

/// What is wrong with a record, and with which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordFault {
    /// Number of the record in its batch, from 0.
    pub index: i32,
    /// What is wrong, as the second half of a sentence about the record.
    pub what: &'static str,
}

impl fmt::Display for RecordFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {} {}", self.index, self.what)
    }
}

impl std::error::Error for RecordFault {}

/// One record.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Milliseconds after the batch's base timestamp; may be negative.
    pub timestamp_delta: i64,
    /// Offset minus the batch's base offset.
    pub offset_delta: i32,
    /// The key, if it has one.
    pub key: Option<&'a [u8]>,
    /// The value; none is a tombstone in a compacted topic.
    pub value: Option<&'a [u8]>,
    /// The headers, in order, duplicates kept.
    pub headers: Headers<'a>,
    /// Key, value and headers as they are encoded, for a batch that is built of old records.
    pub(super) fields: &'a [u8],
}

impl Record<'_> {
    /// Offset of the record in a batch with this base offset; `None` on overflow.
    pub fn offset(&self, base_offset: Offset) -> Option<Offset> {
        base_offset.checked_add(i64::from(self.offset_delta))
    }

    /// Time of the record in a batch with this base timestamp; `None` on overflow.
    pub fn timestamp(&self, base_timestamp: TimestampMs) -> Option<TimestampMs> {
        base_timestamp.checked_add(self.timestamp_delta)
    }

    /// What one with others to think of counts for walking it, as part of [`super::TURN_BYTES`].
    pub fn turn_bytes(&self) -> usize {
        RECORD_TURN_BYTES + self.fields.len()
    }
}

/// The records of a batch, in order. Ends after the first fault, which it gives out as an error;
/// bytes left behind the last record are such a fault.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
    index: i32,
    count: i32,
    failed: bool,
}

impl<'a> Records<'a> {
    /// Over `count` records in decompressed `bytes`. Nothing is allocated for `count`.
    pub fn new(bytes: &'a [u8], count: i32) -> Self {
        Self { rest: bytes, index: 0, count, failed: false }
    }

    fn fault(&mut self, what: &'static str) -> RecordFault {
        self.failed = true;
        RecordFault { index: self.index, what }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordFault>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        if self.index >= self.count {
            if self.rest.is_empty() {
                return None;
            }
            return Some(Err(self.fault("would begin in bytes behind the counted records")));
        }
        let mut cursor = Cursor { rest: self.rest };
        match split_record(&mut cursor).and_then(decode_body) {
            Ok(record) => {
                self.rest = cursor.rest;
                self.index += 1;
                Some(Ok(record))
            }
            Err(what) => Some(Err(self.fault(what))),
        }
    }
}

impl std::iter::FusedIterator for Records<'_> {}

/// The headers of one record; cheap to copy, walked only when asked for.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    rest: &'a [u8],
    left: i32,
}

impl<'a> Iterator for Headers<'a> {
    /// Key (UTF-8 by convention, not checked) and value.
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 {
            return None;
        }
        self.left -= 1;
        let mut cursor = Cursor { rest: self.rest };
        // Cannot fail: `decode_body` walked the same bytes.
        let header = decode_header(&mut cursor).ok()?;
        self.rest = cursor.rest;
        Some(header)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.left).unwrap_or(0);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Headers<'_> {}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    #[inline]
    fn varint(&mut self, what: &'static str) -> Result<i32, &'static str> {
        let (value, len) = read_varint(self.rest).ok_or(what)?;
        self.rest = self.rest.get(len..).ok_or(what)?;
        Ok(value)
    }

    #[inline]
    fn varlong(&mut self, what: &'static str) -> Result<i64, &'static str> {
        let (value, len) = read_varlong(self.rest).ok_or(what)?;
        self.rest = self.rest.get(len..).ok_or(what)?;
        Ok(value)
    }

    #[inline]
    fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(what)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A length with that many bytes; -1 is null.
    #[inline]
    fn nullable(&mut self, what: &'static str) -> Result<Option<&'a [u8]>, &'static str> {
        match self.varint(what)? {
            -1 => Ok(None),
            len => Ok(Some(self.take(usize::try_from(len).map_err(|_| what)?, what)?)),
        }
    }
}

pub(super) const BAD_LENGTH: &str = "has a length that is malformed or beyond the batch's end";
pub(super) const BAD_TIMESTAMP: &str = "has a malformed timestamp delta";
pub(super) const BAD_OFFSET: &str = "has a malformed offset delta";
pub(super) const BAD_KEY: &str = "has a key length that is malformed or beyond the record's end";
pub(super) const BAD_VALUE: &str =
    "has a value length that is malformed or beyond the record's end";
pub(super) const BAD_COUNT: &str = "has a malformed or negative header count";
pub(super) const BAD_HEADER: &str = "has a header that is malformed or beyond the record's end";
pub(super) const LEFT_OVER: &str = "is shorter than its length field says";

/// Cut one record's body (what its length counts) off the front.
#[inline]
fn split_record<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], &'static str> {
    let len = usize::try_from(cursor.varint(BAD_LENGTH)?).map_err(|_| BAD_LENGTH)?;
    if len < RECORD_BODY_BYTES_MIN {
        return Err(BAD_LENGTH);
    }
    cursor.take(len, BAD_LENGTH)
}

#[inline]
fn decode_body(body: &[u8]) -> Result<Record<'_>, &'static str> {
    let mut cursor = Cursor { rest: body };
    // Attributes of a record have no meaning yet; Kafka ignores them, so do we.
    cursor.take(1, BAD_LENGTH)?;
    let timestamp_delta = cursor.varlong(BAD_TIMESTAMP)?;
    let offset_delta = cursor.varint(BAD_OFFSET)?;
    let fields = cursor.rest;
    let key = cursor.nullable(BAD_KEY)?;
    let value = cursor.nullable(BAD_VALUE)?;
    let count = cursor.varint(BAD_COUNT)?;
    if count < 0 {
        return Err(BAD_COUNT);
    }
    let headers = Headers { rest: cursor.rest, left: count };
    for _ in 0..count {
        // Each header takes at least two bytes, so this ends with the bytes.
        decode_header(&mut cursor)?;
    }
    if !cursor.rest.is_empty() {
        return Err(LEFT_OVER);
    }
    Ok(Record { timestamp_delta, offset_delta, key, value, headers, fields })
}

#[inline]
fn decode_header<'a>(
    cursor: &mut Cursor<'a>,
) -> Result<(&'a [u8], Option<&'a [u8]>), &'static str> {
    let key = cursor.nullable(BAD_HEADER)?.ok_or(BAD_HEADER)?;
    Ok((key, cursor.nullable(BAD_HEADER)?))
}
