//! Writing a frame, with large record batches kept apart.
//!
//! All small values go into one growing buffer. A shared piece is only noted with the place where
//! it belongs; [`Writer::into_pieces`] cuts the buffer there. So the length prefix at the front
//! can be set last, and a batch is never copied.

use bytes::{BufMut, Bytes, BytesMut};

use crate::model::Uuid;

/// A sink for one frame.
#[derive(Debug, Default)]
pub struct Writer {
    own: BytesMut,
    /// Shared pieces, each with the length of `own` at the time: it belongs behind those bytes.
    shared: Vec<(usize, Bytes)>,
    shared_len: usize,
    /// Pieces of at least this length are shared, shorter ones copied; `None` copies all.
    share_min: Option<usize>,
    /// Inside a tagged field, whose size goes in front of it afterwards, nothing is shared.
    tag_depth: u32,
}

macro_rules! integers {
    ($($(#[$meta:meta])* $name:ident: $type:ty;)*) => {$(
        $(#[$meta])*
        #[inline]
        pub fn $name(&mut self, value: $type) {
            self.own.put_slice(&value.to_be_bytes());
        }
    )*};
}

impl Writer {
    /// A writer that copies everything into one buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// As [`Writer::new`], with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { own: BytesMut::with_capacity(capacity), ..Self::default() }
    }

    /// A writer that shares pieces of at least `share_min` bytes instead of copying them. A piece
    /// of its own costs a vector entry in the send call; below about a kilobyte a copy is cheaper.
    #[must_use]
    pub fn sharing(mut self, share_min: usize) -> Self {
        self.share_min = Some(share_min.max(1));
        self
    }

    /// Bytes written so far, shared ones included.
    pub fn len(&self) -> usize {
        self.own.len() + self.shared_len
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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

    /// 0 or 1.
    #[inline]
    pub fn bool(&mut self, value: bool) {
        self.own.put_u8(u8::from(value));
    }

    /// 16 bytes of an id.
    #[inline]
    pub fn uuid(&mut self, id: Uuid) {
        self.own.put_slice(&id.0);
    }

    /// An unsigned varint in its shortest form.
    #[inline]
    pub fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.own.put_u8((value as u8 & 0x7f) | 0x80);
            value >>= 7;
        }
        self.own.put_u8(value as u8);
    }

    /// Bytes, copied.
    #[inline]
    pub fn slice(&mut self, bytes: &[u8]) {
        self.own.put_slice(bytes);
    }

    /// Bytes, shared if this writer shares and they are many.
    pub fn piece(&mut self, bytes: &Bytes) {
        match self.share_min {
            Some(min) if bytes.len() >= min && self.tag_depth == 0 => {
                self.shared.push((self.own.len(), bytes.clone()));
                self.shared_len += bytes.len();
            }
            _ => self.own.put_slice(bytes),
        }
    }

    /// A tagged field: its tag, its size, and what `value` writes.
    ///
    /// # Errors
    /// What `value` returns.
    pub fn tag<E>(
        &mut self,
        tag: u32,
        value: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.uvarint(tag);
        let start = self.own.len();
        self.tag_depth += 1;
        let written = value(self);
        self.tag_depth -= 1;
        written?;
        let value_end = self.own.len();
        // A tagged value cannot pass 4 GiB: it would have to be longer than any frame.
        self.uvarint(u32::try_from(value_end - start).unwrap_or(u32::MAX));
        let size_len = self.own.len() - value_end;
        if let Some(field) = self.own.get_mut(start..) {
            field.rotate_right(size_len);
        }
        Ok(())
    }

    /// Overwrite four bytes at `position` of the writer's own bytes: the length in front of a
    /// frame, once it is known. Positions behind a shared piece do not count it.
    pub fn set_i32(&mut self, position: usize, value: i32) {
        if let Some(place) = self.own.get_mut(position..position.saturating_add(4)) {
            place.copy_from_slice(&value.to_be_bytes());
        }
    }

    /// Everything in one buffer; shared pieces are copied now.
    pub fn into_bytes(self) -> Bytes {
        if self.shared.is_empty() {
            return self.own.freeze();
        }
        let mut whole = BytesMut::with_capacity(self.len());
        for piece in self.into_pieces() {
            whole.extend_from_slice(&piece);
        }
        whole.freeze()
    }

    /// Everything as a list of pieces in order, none of them empty.
    pub fn into_pieces(mut self) -> Vec<Bytes> {
        let mut pieces = Vec::with_capacity(2 * self.shared.len() + 1);
        let mut taken = 0;
        for (at, piece) in std::mem::take(&mut self.shared) {
            if at > taken {
                pieces.push(self.own.split_to(at - taken).freeze());
                taken = at;
            }
            pieces.push(piece);
        }
        if !self.own.is_empty() {
            pieces.push(self.own.freeze());
        }
        pieces
    }
}
