//! How each type of a field goes to bytes and back.
//!
//! The Rust type of a field decides; the [`Shape`] says what the version changes: compact lengths
//! and tagged fields (`flexible`), and whether null is allowed here.

use bytes::Bytes;

use super::{
    DecodeError, DecodeErrorKind, EncodeError, EncodeErrorKind, Kind, Reader, Records, StrBytes,
    Writer,
};
use crate::model::Uuid;

/// What a version means for one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The version of the message.
    pub version: i16,
    /// Whether the version is flexible: compact lengths, tagged fields (KIP-482).
    pub flexible: bool,
    /// Whether this field may be null in this version.
    pub nullable: bool,
}

impl Shape {
    /// The same version, for a field that may be null or not.
    #[inline]
    #[must_use]
    pub fn nullable(self, nullable: bool) -> Self {
        Self { nullable, ..self }
    }
}

/// A type that a field of a message can have.
pub trait Field: Sized {
    /// What the type is on the wire, for those who walk schemas.
    const KIND: Kind;

    /// Fewest bytes that a value takes.
    fn bytes_min(at: Shape) -> usize;

    /// Read a value.
    ///
    /// # Errors
    /// When the bytes are no such value.
    fn read(reader: &mut Reader, at: Shape) -> Result<Self, DecodeError>;

    /// Write a value.
    ///
    /// # Errors
    /// When the version cannot say it.
    fn write(&self, writer: &mut Writer, at: Shape) -> Result<(), EncodeError>;

    /// About as many bytes as the value takes, records not counted: room to reserve.
    fn size_hint(&self) -> usize;
}

/// A type whose encoding has a form for null.
pub trait Nullable: Field {
    /// Read a value or null.
    ///
    /// # Errors
    /// When the bytes are neither.
    fn read_nullable(reader: &mut Reader, at: Shape) -> Result<Option<Self>, DecodeError>;

    /// Write a value or null.
    ///
    /// # Errors
    /// When the version cannot say it.
    fn write_nullable(
        value: Option<&Self>,
        writer: &mut Writer,
        at: Shape,
    ) -> Result<(), EncodeError>;
}

macro_rules! plain {
    ($($type:ty: $kind:ident, $method:ident, $size:literal;)*) => {$(
        impl Field for $type {
            const KIND: Kind = Kind::$kind;

            #[inline]
            fn bytes_min(_at: Shape) -> usize {
                $size
            }

            #[inline]
            fn read(reader: &mut Reader, _at: Shape) -> Result<Self, DecodeError> {
                reader.$method()
            }

            #[inline]
            fn write(&self, writer: &mut Writer, _at: Shape) -> Result<(), EncodeError> {
                writer.$method(*self);
                Ok(())
            }

            #[inline]
            fn size_hint(&self) -> usize {
                $size
            }
        }
    )*};
}

plain! {
    bool: Bool, bool, 1;
    i8: Int8, i8, 1;
    i16: Int16, i16, 2;
    u16: Uint16, u16, 2;
    i32: Int32, i32, 4;
    u32: Uint32, u32, 4;
    i64: Int64, i64, 8;
    f64: Float64, f64, 8;
    Uuid: Uuid, uuid, 16;
}

/// A type that is never null: what its nullable form reads as null is an error.
fn required<T: Nullable>(reader: &mut Reader, at: Shape) -> Result<T, DecodeError> {
    match T::read_nullable(reader, at)? {
        Some(value) => Ok(value),
        None => Err(reader.error(DecodeErrorKind::UnexpectedNull)),
    }
}

fn put_string_len(writer: &mut Writer, len: Option<usize>, at: Shape) -> Result<(), EncodeError> {
    match len {
        // 32,767 is the limit of the older form; Kafka keeps it for the compact one.
        Some(length) if length > i16::MAX as usize => {
            return Err(EncodeError::new(EncodeErrorKind::TooLong { length }, at.version));
        }
        Some(len) if at.flexible => writer.uvarint(len as u32 + 1),
        Some(len) => writer.i16(len as i16),
        None if at.flexible => writer.uvarint(0),
        None => writer.i16(-1),
    }
    Ok(())
}

fn put_len(writer: &mut Writer, len: Option<usize>, at: Shape) -> Result<(), EncodeError> {
    match len {
        Some(length) if length > (i32::MAX - 1) as usize => {
            return Err(EncodeError::new(EncodeErrorKind::TooLong { length }, at.version));
        }
        Some(len) if at.flexible => writer.uvarint(len as u32 + 1),
        Some(len) => writer.i32(len as i32),
        None if at.flexible => writer.uvarint(0),
        None => writer.i32(-1),
    }
    Ok(())
}

impl Nullable for StrBytes {
    fn read_nullable(reader: &mut Reader, at: Shape) -> Result<Option<Self>, DecodeError> {
        match reader.string_len(at.flexible)? {
            Some(len) => reader.text(len).map(Some),
            None => Ok(None),
        }
    }

    fn write_nullable(
        value: Option<&Self>,
        writer: &mut Writer,
        at: Shape,
    ) -> Result<(), EncodeError> {
        put_string_len(writer, value.map(|text| text.len()), at)?;
        writer.slice(value.map_or(&[], |text| text.as_bytes()));
        Ok(())
    }
}

impl Nullable for Bytes {
    fn read_nullable(reader: &mut Reader, at: Shape) -> Result<Option<Self>, DecodeError> {
        match reader.bytes_len(at.flexible)? {
            Some(len) => reader.slice(len).map(Some),
            None => Ok(None),
        }
    }

    fn write_nullable(
        value: Option<&Self>,
        writer: &mut Writer,
        at: Shape,
    ) -> Result<(), EncodeError> {
        put_len(writer, value.map(Bytes::len), at)?;
        if let Some(bytes) = value {
            writer.piece(bytes);
        }
        Ok(())
    }
}

impl<T: Field> Nullable for Vec<T> {
    fn read_nullable(reader: &mut Reader, at: Shape) -> Result<Option<Self>, DecodeError> {
        let Some(count) = reader.array_len(at.flexible)? else { return Ok(None) };
        let element = at.nullable(false);
        reader.claim(count, T::bytes_min(element), size_of::<T>())?;
        let mut elements = Self::with_capacity(count);
        reader.enter_array();
        for _ in 0..count {
            elements.push(T::read(reader, element)?);
        }
        reader.leave_array();
        Ok(Some(elements))
    }

    fn write_nullable(
        value: Option<&Self>,
        writer: &mut Writer,
        at: Shape,
    ) -> Result<(), EncodeError> {
        put_len(writer, value.map(Self::len), at)?;
        let element = at.nullable(false);
        value.into_iter().flatten().try_for_each(|each| each.write(writer, element))
    }
}

impl Field for StrBytes {
    const KIND: Kind = Kind::String;

    #[inline]
    fn bytes_min(at: Shape) -> usize {
        if at.flexible { 1 } else { 2 }
    }

    fn read(reader: &mut Reader, at: Shape) -> Result<Self, DecodeError> {
        required(reader, at)
    }

    fn write(&self, writer: &mut Writer, at: Shape) -> Result<(), EncodeError> {
        Self::write_nullable(Some(self), writer, at)
    }

    fn size_hint(&self) -> usize {
        self.len() + 3
    }
}

impl Field for Bytes {
    const KIND: Kind = Kind::Bytes;

    #[inline]
    fn bytes_min(at: Shape) -> usize {
        if at.flexible { 1 } else { 4 }
    }

    fn read(reader: &mut Reader, at: Shape) -> Result<Self, DecodeError> {
        required(reader, at)
    }

    fn write(&self, writer: &mut Writer, at: Shape) -> Result<(), EncodeError> {
        Self::write_nullable(Some(self), writer, at)
    }

    fn size_hint(&self) -> usize {
        self.len() + 5
    }
}

impl<T: Field> Field for Vec<T> {
    const KIND: Kind = Kind::Array(&T::KIND);

    #[inline]
    fn bytes_min(at: Shape) -> usize {
        if at.flexible { 1 } else { 4 }
    }

    fn read(reader: &mut Reader, at: Shape) -> Result<Self, DecodeError> {
        required(reader, at)
    }

    fn write(&self, writer: &mut Writer, at: Shape) -> Result<(), EncodeError> {
        Self::write_nullable(Some(self), writer, at)
    }

    fn size_hint(&self) -> usize {
        5 + self.iter().map(Field::size_hint).sum::<usize>()
    }
}

impl<T: Nullable> Field for Option<T> {
    const KIND: Kind = T::KIND;

    #[inline]
    fn bytes_min(at: Shape) -> usize {
        match T::KIND {
            // A null struct is its marker byte alone.
            Kind::Struct(_) if at.nullable => 1,
            _ => T::bytes_min(at),
        }
    }

    fn read(reader: &mut Reader, at: Shape) -> Result<Self, DecodeError> {
        match T::read_nullable(reader, at)? {
            None if !at.nullable => Err(reader.error(DecodeErrorKind::UnexpectedNull)),
            value => Ok(value),
        }
    }

    fn write(&self, writer: &mut Writer, at: Shape) -> Result<(), EncodeError> {
        if self.is_none() && !at.nullable {
            return Err(EncodeError::new(EncodeErrorKind::UnexpectedNull, at.version));
        }
        T::write_nullable(self.as_ref(), writer, at)
    }

    fn size_hint(&self) -> usize {
        4 + self.as_ref().map_or(0, Field::size_hint)
    }
}

impl Field for Records {
    const KIND: Kind = Kind::Records;

    #[inline]
    fn bytes_min(at: Shape) -> usize {
        if at.flexible { 1 } else { 4 }
    }

    fn read(reader: &mut Reader, at: Shape) -> Result<Self, DecodeError> {
        match reader.bytes_len(at.flexible)? {
            Some(len) => reader.slice(len).map(Self::from),
            None if at.nullable => Ok(Self::NULL),
            None => Err(reader.error(DecodeErrorKind::UnexpectedNull)),
        }
    }

    fn write(&self, writer: &mut Writer, at: Shape) -> Result<(), EncodeError> {
        if self.is_null() && !at.nullable {
            return Err(EncodeError::new(EncodeErrorKind::UnexpectedNull, at.version));
        }
        put_len(writer, (!self.is_null()).then(|| self.len()), at)?;
        for piece in self.pieces() {
            writer.piece(piece);
        }
        Ok(())
    }

    fn size_hint(&self) -> usize {
        5
    }
}
