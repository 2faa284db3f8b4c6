//! Why bytes are no message, and why a message has no bytes.
//!
//! Errors name the field, the value that was read and the bytes that remained, so that one log
//! line is enough to see which client sent what. They are boxed: the good path returns a pointer.

use std::fmt;

/// Why decoding stopped. The connection it came from cannot be trusted any more: what follows in
/// the frame has no known meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError(Box<DecodeContext>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct DecodeContext {
    kind: DecodeErrorKind,
    field: Option<&'static str>,
    position: usize,
    remaining: usize,
}

/// What was wrong with the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeErrorKind {
    /// The value needs more bytes than are left.
    Truncated {
        /// Bytes the value needs.
        needed: u64,
    },
    /// A length or count that has no meaning (below -1, or -1 in disguise).
    BadLength {
        /// As read.
        length: i64,
    },
    /// An array announces more elements than the remaining bytes can hold.
    TooManyElements {
        /// As announced.
        count: u64,
        /// Fewest bytes that one element takes.
        element_bytes_min: usize,
    },
    /// More elements than the reader lets the arrays of a message have.
    OverLimit {
        /// As announced.
        count: u64,
        /// What the arrays of this kind may still have.
        left: usize,
        /// Whether the array lies inside another one.
        is_inner: bool,
    },
    /// The decoded message would take more memory than this frame may claim.
    Expansion {
        /// Bytes of memory this array asks for.
        wanted: u64,
        /// Bytes of memory the frame has left to claim.
        left: usize,
    },
    /// An unsigned varint of more than 5 bytes or 32 bits.
    BadVarint,
    /// Null where this version does not allow it.
    UnexpectedNull,
    /// A marker byte of a nullable struct that is neither -1 (null) nor 1 (present).
    BadMarker {
        /// As read.
        value: i8,
    },
    /// A string that is not UTF-8.
    NotUtf8 {
        /// Length of the leading part that is.
        valid_up_to: usize,
    },
    /// Tags of a struct not in ascending order, or one twice (KIP-482 asks for ascending order).
    TagOrder {
        /// The tag that came too late.
        tag: u32,
    },
    /// More unknown tagged fields in one struct than are skipped.
    TooManyTags {
        /// How many the struct announces, known ones included.
        count: u32,
    },
    /// A tagged field that is shorter or longer than its size says.
    TagSize {
        /// The tag.
        tag: u32,
        /// Bytes its size announced.
        size: usize,
        /// Bytes its value took.
        used: usize,
    },
    /// Bytes behind the end of the message.
    TrailingBytes,
    /// A version that this message has no schema for.
    UnknownVersion {
        /// As asked.
        version: i16,
    },
    /// An API key that is in no registry here.
    UnknownApiKey {
        /// As read.
        key: i16,
    },
    /// A metadata record whose frame version or type is unknown.
    UnknownRecord {
        /// What was unknown.
        what: &'static str,
        /// As read.
        value: u32,
    },
}

impl DecodeError {
    /// An error at `position`, with `remaining` bytes behind it.
    #[cold]
    pub fn new(kind: DecodeErrorKind, position: usize, remaining: usize) -> Self {
        Self(Box::new(DecodeContext { kind, field: None, position, remaining }))
    }

    /// Name the field; the innermost name stays.
    #[cold]
    #[must_use]
    pub fn in_field(mut self, field: &'static str) -> Self {
        self.0.field.get_or_insert(field);
        self
    }

    /// What was wrong.
    pub fn kind(&self) -> &DecodeErrorKind {
        &self.0.kind
    }

    /// `Struct.field` that was being read, if any.
    pub fn field(&self) -> Option<&'static str> {
        self.0.field
    }

    /// Byte place in the frame where the value that could not be read begins or ends.
    pub fn position(&self) -> usize {
        self.0.position
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DecodeContext { kind, field, position, remaining } = &*self.0;
        write!(f, "{}: {kind} (at byte {position}, {remaining} bytes remain)", {
            field.unwrap_or("message")
        })
    }
}

impl fmt::Display for DecodeErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { needed } => {
                write!(f, "needs {needed} bytes, the message ends before")
            }
            Self::BadLength { length } => write!(f, "length {length} is impossible"),
            Self::TooManyElements { count, element_bytes_min } => write!(
                f,
                "announces {count} elements of at least {element_bytes_min} bytes, more than the \
                 message holds"
            ),
            Self::OverLimit { count, left, .. } => {
                write!(f, "announces {count} elements, where {left} more are allowed")
            }
            Self::Expansion { wanted, left } => write!(
                f,
                "would take {wanted} bytes of memory, the message has {left} left to claim; send \
                 it in smaller requests"
            ),
            Self::BadVarint => f.write_str("unsigned varint longer than 5 bytes or 32 bits"),
            Self::UnexpectedNull => f.write_str("null, which this version does not allow"),
            Self::BadMarker { value } => {
                write!(f, "marker {value} of a nullable struct; -1 (null) or 1 was expected")
            }
            Self::NotUtf8 { valid_up_to } => {
                write!(f, "text that is not UTF-8 behind its byte {valid_up_to}")
            }
            Self::TagOrder { tag } => write!(f, "tag {tag} comes twice or out of order"),
            Self::TooManyTags { count } => write!(f, "{count} tagged fields, too many unknown"),
            Self::TagSize { tag, size, used } => {
                write!(f, "tag {tag} announces {size} bytes, its value takes {used}")
            }
            Self::TrailingBytes => f.write_str("bytes behind the end of the message"),
            Self::UnknownVersion { version } => write!(f, "version {version} is unknown"),
            Self::UnknownApiKey { key } => write!(f, "API key {key} is unknown"),
            Self::UnknownRecord { what, value } => write!(f, "{what} {value} is unknown"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Why a message could not be encoded: a mistake of the caller, never of the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodeError(Box<EncodeContext>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct EncodeContext {
    kind: EncodeErrorKind,
    field: Option<&'static str>,
    version: i16,
}

/// What the chosen version cannot say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeErrorKind {
    /// The message has no such version.
    UnknownVersion,
    /// The field is set, this version does not carry it, and losing it would change the meaning.
    NotInVersion,
    /// The field is null and this version does not allow that.
    UnexpectedNull,
    /// A string, byte string, array or frame longer than its length field can say.
    TooLong {
        /// Its length.
        length: usize,
    },
}

impl EncodeError {
    /// An error of the message in `version`.
    #[cold]
    pub fn new(kind: EncodeErrorKind, version: i16) -> Self {
        Self(Box::new(EncodeContext { kind, field: None, version }))
    }

    /// Name the field; the innermost name stays.
    #[cold]
    #[must_use]
    pub fn in_field(mut self, field: &'static str) -> Self {
        self.0.field.get_or_insert(field);
        self
    }

    /// What was wrong.
    pub fn kind(&self) -> EncodeErrorKind {
        self.0.kind
    }

    /// `Struct.field` that was being written, if any.
    pub fn field(&self) -> Option<&'static str> {
        self.0.field
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EncodeContext { kind, field, version } = &*self.0;
        let field = field.unwrap_or("message");
        match kind {
            EncodeErrorKind::UnknownVersion => write!(f, "{field}: no version {version}"),
            EncodeErrorKind::NotInVersion => write!(
                f,
                "{field} is set, and version {version} does not carry it; leave it at its default \
                 or use another version"
            ),
            EncodeErrorKind::UnexpectedNull => {
                write!(f, "{field} is null, which version {version} does not allow")
            }
            EncodeErrorKind::TooLong { length } => {
                write!(f, "{field} has length {length}, more than version {version} can say")
            }
        }
    }
}

impl std::error::Error for EncodeError {}
