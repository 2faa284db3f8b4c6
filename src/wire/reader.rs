//! Reading a frame.
//!
//! Owns the position in the frame, the checks of every length against what remains, and the two
//! limits below. A reader never allocates more than it has checked; slices share the frame.

use bytes::Bytes;

use super::{DecodeError, DecodeErrorKind as Kind, StrBytes};
use crate::model::Uuid;

/// A decoded message may take this many bytes of memory for each byte of its frame ...
pub const EXPANSION_FACTOR: usize = 16;

/// ... plus this many. Honest messages stay far below: a topic of three bytes takes 16 times as
/// much, and names are longer than one letter.
pub const EXPANSION_FLOOR: usize = 1 << 20;

/// Unknown tagged fields that one struct may bring; they are skipped, never kept. Kafka stores
/// them, and a flood of two-byte tags took its memory before authentication (CVE-2026-111115).
pub const UNKNOWN_TAGS_MAX: u32 = 64;

/// Reads values off the front of a frame.
#[derive(Debug)]
pub struct Reader {
    frame: Bytes,
    position: usize,
    end: usize,
    budget: usize,
    /// Arrays around the value that is read next.
    depth: usize,
    /// Elements that the message's own arrays may still have, all together.
    outer_left: usize,
    /// Elements that the arrays inside those may still have, all together.
    inner_left: usize,
}

macro_rules! integers {
    ($($(#[$meta:meta])* $name:ident: $type:ty;)*) => {$(
        $(#[$meta])*
        ///
        /// # Errors
        /// When too few bytes remain.
        #[inline]
        pub fn $name(&mut self) -> Result<$type, DecodeError> {
            self.array().map(<$type>::from_be_bytes)
        }
    )*};
}

impl Reader {
    /// Read `frame` from its first byte.
    pub fn new(frame: Bytes) -> Self {
        let end = frame.len();
        let budget = end.saturating_mul(EXPANSION_FACTOR).saturating_add(EXPANSION_FLOOR);
        let (outer_left, inner_left) = (usize::MAX, usize::MAX);
        Self { frame, position: 0, end, budget, depth: 0, outer_left, inner_left }
    }

    /// Refuse a message whose own arrays have more than `outer` elements, or the arrays inside
    /// those more than `inner`: before memory is taken for them, and before anybody acts on them.
    pub fn limit_elements(&mut self, outer: usize, inner: usize) {
        (self.outer_left, self.inner_left) = (outer, inner);
    }

    /// Bytes not yet read.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.end.saturating_sub(self.position)
    }

    /// Byte place in the frame of the next value.
    #[inline]
    pub fn position(&self) -> usize {
        self.position
    }

    /// An error here.
    #[cold]
    pub fn error(&self, kind: Kind) -> DecodeError {
        DecodeError::new(kind, self.position, self.remaining())
    }

    /// Check that the message ends here.
    ///
    /// # Errors
    /// When bytes are left.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.remaining() == 0 { Ok(()) } else { Err(self.error(Kind::TrailingBytes)) }
    }

    integers! {
        /// A signed 8-bit integer.
        i8: i8;
        /// A signed 16-bit integer, big-endian like all that follow.
        i16: i16;
        /// An unsigned 16-bit integer.
        u16: u16;
        /// A signed 32-bit integer.
        i32: i32;
        /// An unsigned 32-bit integer.
        u32: u32;
        /// A signed 64-bit integer.
        i64: i64;
        /// A 64-bit IEEE 754 number.
        f64: f64;
    }

    /// A boolean: any byte but 0 is true, as in Kafka.
    ///
    /// # Errors
    /// When no byte remains.
    #[inline]
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        self.i8().map(|byte| byte != 0)
    }

    /// 16 bytes of an id.
    ///
    /// # Errors
    /// When too few bytes remain.
    #[inline]
    pub fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        self.array().map(Uuid)
    }

    /// An unsigned varint of at most 32 bits in at most 5 bytes. Padded forms within 5 bytes are
    /// accepted, as in Kafka: some encoders reserve a fixed width.
    ///
    /// # Errors
    /// When bytes run out, or at a sixth byte or a 33rd bit.
    #[inline]
    pub fn uvarint(&mut self) -> Result<u32, DecodeError> {
        let [first] = self.array()?;
        if first < 0x80 {
            return Ok(u32::from(first));
        }
        self.uvarint_behind(first)
    }

    fn uvarint_behind(&mut self, first: u8) -> Result<u32, DecodeError> {
        let mut value = u32::from(first & 0x7f);
        for shift in [7, 14, 21, 28] {
            let [byte] = self.array()?;
            let bits = u32::from(byte & 0x7f);
            if shift == 28 && byte > 0x0f {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.error(Kind::BadVarint))
    }

    /// The length of a string (`flexible`: unsigned varint, one more than the length, 0 for null;
    /// otherwise i16, -1 for null). Checked against the bytes that remain; 32,767 is the longest
    /// in both forms, as in Kafka.
    ///
    /// # Errors
    /// When the length is below -1, above 32,767 or more than what remains.
    #[inline]
    pub fn string_len(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        let announced =
            if flexible { i64::from(self.uvarint()?) - 1 } else { i64::from(self.i16()?) };
        if announced > i64::from(i16::MAX) {
            return Err(self.error(Kind::BadLength { length: announced }));
        }
        self.checked_len(announced)
    }

    /// The length of a byte string or of records (`flexible` as for strings; otherwise i32, -1 for
    /// null). Checked against the bytes that remain.
    ///
    /// # Errors
    /// When the length is below -1 or more than what remains.
    #[inline]
    pub fn bytes_len(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        let announced =
            if flexible { i64::from(self.uvarint()?) - 1 } else { i64::from(self.i32()?) };
        self.checked_len(announced)
    }

    /// The number of elements of an array (same forms as for bytes), NOT yet checked against what
    /// remains: call [`Reader::claim`] before allocating.
    ///
    /// # Errors
    /// When the count is below -1.
    #[inline]
    pub fn array_len(&mut self, flexible: bool) -> Result<Option<usize>, DecodeError> {
        let announced =
            if flexible { i64::from(self.uvarint()?) - 1 } else { i64::from(self.i32()?) };
        match announced {
            -1 => Ok(None),
            count => usize::try_from(count)
                .map(Some)
                .map_err(|_| self.error(Kind::BadLength { length: count })),
        }
    }

    /// Claim the memory for `count` elements of `element_size` bytes of memory each, which take at
    /// least `element_bytes_min` bytes of the frame each.
    ///
    /// # Errors
    /// When the remaining bytes cannot hold so many, or the frame has claimed too much or too many
    /// already.
    #[inline]
    pub fn claim(
        &mut self,
        count: usize,
        element_bytes_min: usize,
        element_size: usize,
    ) -> Result<(), DecodeError> {
        let element_bytes_min = element_bytes_min.max(1);
        if count > self.remaining() / element_bytes_min {
            let count = count as u64;
            return Err(self.error(Kind::TooManyElements { count, element_bytes_min }));
        }
        let is_inner = self.depth > 0;
        let left = if is_inner { &mut self.inner_left } else { &mut self.outer_left };
        match left.checked_sub(count) {
            Some(rest) => *left = rest,
            None => {
                let (count, left) = (count as u64, *left);
                return Err(self.error(Kind::OverLimit { count, left, is_inner }));
            }
        }
        let wanted = count.saturating_mul(element_size);
        let Some(left) = self.budget.checked_sub(wanted) else {
            return Err(self.error(Kind::Expansion { wanted: wanted as u64, left: self.budget }));
        };
        self.budget = left;
        Ok(())
    }

    /// What is read until [`Reader::leave_array`] lies inside an array.
    #[inline]
    pub fn enter_array(&mut self) {
        self.depth += 1;
    }

    /// The array that was entered last ends here.
    #[inline]
    pub fn leave_array(&mut self) {
        self.depth -= 1;
    }

    /// The next `len` bytes, shared with the frame.
    ///
    /// # Errors
    /// When too few bytes remain.
    #[inline]
    pub fn slice(&mut self, len: usize) -> Result<Bytes, DecodeError> {
        if len > self.remaining() {
            return Err(self.error(Kind::Truncated { needed: len as u64 }));
        }
        let from = self.position;
        self.position = from + len;
        Ok(self.frame.slice(from..self.position))
    }

    /// The next `len` bytes as text, shared with the frame.
    ///
    /// # Errors
    /// When too few bytes remain or they are not UTF-8.
    #[inline]
    pub fn text(&mut self, len: usize) -> Result<StrBytes, DecodeError> {
        let position = self.position;
        StrBytes::try_from(self.slice(len)?).map_err(|error| {
            let kind = Kind::NotUtf8 { valid_up_to: error.valid_up_to() };
            DecodeError::new(kind, position, self.remaining())
        })
    }

    /// Read the tagged fields at the end of a struct (KIP-482). `known` is called with each tag in
    /// ascending order; it reads the value and says true, or says false without reading, and the
    /// value is skipped.
    ///
    /// # Errors
    /// What `known` returns; tags out of order; more than [`UNKNOWN_TAGS_MAX`] unknown ones; sizes
    /// that do not fit the value or the frame.
    #[inline]
    pub fn tags(
        &mut self,
        known: &mut dyn FnMut(&mut Self, u32) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        match self.uvarint()? {
            0 => Ok(()),
            count => self.some_tags(count, known),
        }
    }

    fn some_tags(
        &mut self,
        count: u32,
        known: &mut dyn FnMut(&mut Self, u32) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        let mut unknown = 0;
        let mut next_tag = Some(0);
        for _ in 0..count {
            let tag = self.uvarint()?;
            if next_tag.is_none_or(|next| tag < next) {
                return Err(self.error(Kind::TagOrder { tag }));
            }
            next_tag = tag.checked_add(1);
            let size = self.uvarint()?;
            let Some(size) = self.checked_len(i64::from(size))? else { continue };
            let from = self.position;
            let outer_end = std::mem::replace(&mut self.end, from + size);
            let read = known(self, tag);
            self.end = outer_end;
            let used = self.position - from;
            if read? {
                if used != size {
                    return Err(self.error(Kind::TagSize { tag, size, used }));
                }
                continue;
            }
            unknown += 1;
            if unknown > UNKNOWN_TAGS_MAX {
                return Err(self.error(Kind::TooManyTags { count }));
            }
            self.position = from + size;
        }
        Ok(())
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let bytes = self.frame.get(self.position..self.end).and_then(|rest| rest.first_chunk());
        match bytes {
            Some(bytes) => {
                self.position += N;
                Ok(*bytes)
            }
            None => Err(self.error(Kind::Truncated { needed: N as u64 })),
        }
    }

    #[inline]
    fn checked_len(&self, announced: i64) -> Result<Option<usize>, DecodeError> {
        if announced == -1 {
            return Ok(None);
        }
        let len = usize::try_from(announced)
            .map_err(|_| self.error(Kind::BadLength { length: announced }))?;
        if len > self.remaining() {
            return Err(self.error(Kind::Truncated { needed: len as u64 }));
        }
        Ok(Some(len))
    }
}
