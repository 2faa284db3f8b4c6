//! Little-endian fields one after another: the writing and the suspicious reading of our own
//! formats. Reading never panics and never allocates for a length it has not checked.

use bytes::{BufMut, Bytes, BytesMut};

/// A field did not fit into what is left; the caller knows of which structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Short;

/// Reads fields off the front of `rest`.
pub(crate) struct Reader {
    rest: Bytes,
}

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<Bytes, Short> {
        if len > self.rest.len() {
            return Err(Short);
        }
        Ok(self.rest.split_to(len))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        let found = self.rest.first_chunk::<N>().copied().ok_or(Short)?;
        let _ = self.rest.split_to(N);
        Ok(found)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Short> {
        self.array::<1>().map(|b| b[0])
    }
    pub(crate) fn u16(&mut self) -> Result<u16, Short> {
        self.array().map(u16::from_le_bytes)
    }
    pub(crate) fn u32(&mut self) -> Result<u32, Short> {
        self.array().map(u32::from_le_bytes)
    }
    pub(crate) fn u64(&mut self) -> Result<u64, Short> {
        self.array().map(u64::from_le_bytes)
    }
    pub(crate) fn i32(&mut self) -> Result<i32, Short> {
        self.array().map(i32::from_le_bytes)
    }
    pub(crate) fn i64(&mut self) -> Result<i64, Short> {
        self.array().map(i64::from_le_bytes)
    }
    pub(crate) fn id(&mut self) -> Result<[u8; 16], Short> {
        self.array()
    }
    /// A length of 32 bits and that many bytes.
    pub(crate) fn sized(&mut self) -> Result<Bytes, Short> {
        let len = self.u32()? as usize;
        self.bytes(len)
    }
}

/// Append a length of 32 bits and the bytes.
pub(crate) fn put_sized(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32_le(len_u32(bytes.len()));
    out.put_slice(bytes);
}

/// A length as our formats store it; all of them are bounded far below 4 GiB.
pub(crate) fn len_u32(len: usize) -> u32 {
    u32::try_from(len).expect("stored pieces are bounded far below 4 GiB")
}
