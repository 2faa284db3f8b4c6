//! Record batches inside a message, never looked into and never copied.

use std::fmt;

use bytes::{Bytes, BytesMut};

/// The record batches of one partition in a Produce request or a Fetch response.
///
/// Decoded, they are one slice of the frame. To be encoded, they may be many pieces (as they lie
/// in caches and segments); a [`Writer`](super::Writer) that shares keeps the pieces as they are.
/// Null is not the same as empty: consumers of Fetch read both as "no records".
#[derive(Clone, Default)]
pub struct Records(Pieces);

#[derive(Clone, Default)]
enum Pieces {
    #[default]
    Null,
    One(Bytes),
    Many(Vec<Bytes>),
}

impl Records {
    /// No records at all (length -1 on the wire).
    pub const NULL: Self = Self(Pieces::Null);

    /// Records of length 0.
    pub const EMPTY: Self = Self(Pieces::One(Bytes::new()));

    /// Whether these are null, which is not empty.
    pub fn is_null(&self) -> bool {
        matches!(self.0, Pieces::Null)
    }

    /// Whether there is no byte in them (null included).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes in all pieces.
    pub fn len(&self) -> usize {
        self.pieces().iter().map(Bytes::len).sum()
    }

    /// The pieces in order; none for null.
    pub fn pieces(&self) -> &[Bytes] {
        match &self.0 {
            Pieces::Null => &[],
            Pieces::One(bytes) => std::slice::from_ref(bytes),
            Pieces::Many(pieces) => pieces,
        }
    }

    /// All bytes in one piece: free after decoding, a copy when there are several pieces. Empty
    /// for null.
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Pieces::Null => Bytes::new(),
            Pieces::One(bytes) => bytes,
            Pieces::Many(pieces) => {
                let mut whole = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
                for piece in &pieces {
                    whole.extend_from_slice(piece);
                }
                whole.freeze()
            }
        }
    }
}

impl From<Bytes> for Records {
    fn from(bytes: Bytes) -> Self {
        Self(Pieces::One(bytes))
    }
}

impl From<Option<Bytes>> for Records {
    fn from(bytes: Option<Bytes>) -> Self {
        bytes.map_or(Self::NULL, Self::from)
    }
}

impl From<Vec<Bytes>> for Records {
    fn from(pieces: Vec<Bytes>) -> Self {
        Self(Pieces::Many(pieces))
    }
}

/// Equal when the bytes are, however they are cut; null equals only null.
impl PartialEq for Records {
    fn eq(&self, other: &Self) -> bool {
        let bytes = |records: &Self| {
            records.pieces().iter().flat_map(|p| p.iter().copied()).collect::<Vec<u8>>()
        };
        self.is_null() == other.is_null()
            && self.len() == other.len()
            && (self.pieces() == other.pieces() || bytes(self) == bytes(other))
    }
}

/// Prints lengths, not megabytes.
impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Pieces::Null => f.write_str("Records(null)"),
            Pieces::One(bytes) => write!(f, "Records({} bytes)", bytes.len()),
            Pieces::Many(pieces) => {
                write!(f, "Records({} bytes in {} pieces)", self.len(), pieces.len())
            }
        }
    }
}
