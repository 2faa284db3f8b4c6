//! The schema language: a message as data.
//!
//! ```text
//! schema! {
//!     /// What the message is for.
//!     message HeartbeatRequest [0-4] flexible [4+] {
//!         /// What the field means.
//!         group_id: StrBytes [0+];
//!         /// Null for a dynamic member.
//!         group_instance_id: Option<StrBytes> [3+], null [3+];
//!         generation_id: i32 [0+], default -1;
//!     }
//!     /// A struct used inside messages; it has the versions of the message around it.
//!     struct Topic {
//!         name: StrBytes [0-12], ignorable;
//!     } & tagged {
//!         /// A tagged field: sent in flexible versions, only when it differs from its default.
//!         0: current_leader: Leader [10+], ignorable;
//!     }
//! }
//! ```
//!
//! Version ranges are written as in Kafka's schemas: `[3+]`, `[0-7]`, `[4]`. `null` says in which
//! versions the field may be null; its type is then an `Option` (or [`Records`](super::Records)).
//! `default` is the value of a field that the version does not carry; without it, Rust's default
//! (null for an `Option`). A field that is set and not carried by the version is an error on
//! encoding, unless it is `ignorable`: then it is left out in silence, as Kafka does.

use super::{
    DecodeError, DecodeErrorKind, EncodeError, EncodeErrorKind, Field, Reader, Shape, Writer,
};

/// A range of versions, both ends included; open ranges end at `i16::MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// First version.
    pub min: i16,
    /// Last version.
    pub max: i16,
}

impl Versions {
    /// No version at all.
    pub const NONE: Self = Self { min: 0, max: -1 };

    /// Whether `version` is in the range.
    #[inline]
    pub const fn contains(&self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }

    /// All versions of a closed range.
    pub fn iter(&self) -> std::ops::RangeInclusive<i16> {
        self.min..=self.max
    }
}

/// What a type is on the wire.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// One byte, 0 or 1.
    Bool,
    /// 1 byte.
    Int8,
    /// 2 bytes.
    Int16,
    /// 2 bytes, unsigned.
    Uint16,
    /// 4 bytes.
    Int32,
    /// 4 bytes, unsigned.
    Uint32,
    /// 8 bytes.
    Int64,
    /// 8 bytes, IEEE 754.
    Float64,
    /// 16 bytes.
    Uuid,
    /// Length and UTF-8.
    String,
    /// Length and bytes.
    Bytes,
    /// Length and record batches.
    Records,
    /// Count and elements.
    Array(&'static Self),
    /// Fields in order, then tagged fields.
    Struct(&'static StructSchema),
}

/// One struct as data.
#[derive(Debug)]
pub struct StructSchema {
    /// Its name in Rust and in Kafka's schema.
    pub name: &'static str,
    /// Its fields in the order of the wire.
    pub fields: &'static [FieldSchema],
    /// Its tagged fields in the order of their tags.
    pub tagged: &'static [FieldSchema],
}

/// One field as data.
#[derive(Debug)]
pub struct FieldSchema {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Versions that carry it.
    pub versions: Versions,
    /// Versions in which it may be null.
    pub nullable: Versions,
    /// Its tag, if it is a tagged field.
    pub tag: Option<u32>,
}

/// A whole message: a request, a response or a record value.
pub trait Message: Field + Clone + std::fmt::Debug + Default + PartialEq {
    /// Its name in Kafka's schemas.
    const NAME: &'static str;
    /// Versions with a schema here.
    const VERSIONS: Versions;
    /// Flexible versions: compact lengths and tagged fields.
    const FLEXIBLE: Versions;
    /// The message as data.
    const SCHEMA: &'static StructSchema;

    /// Read the message in `version`. What follows it in the frame is left to the caller
    /// ([`Reader::finish`]).
    ///
    /// # Errors
    /// When there is no such version or the bytes are no such message.
    fn decode(reader: &mut Reader, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(version) {
            let kind = DecodeErrorKind::UnknownVersion { version };
            return Err(reader.error(kind).in_field(Self::NAME));
        }
        <Self as Field>::read(reader, Self::shape(version))
    }

    /// Write the message in `version`.
    ///
    /// # Errors
    /// When there is no such version or it cannot say what the message says.
    fn encode(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError> {
        if !Self::VERSIONS.contains(version) {
            let kind = EncodeErrorKind::UnknownVersion;
            return Err(EncodeError::new(kind, version).in_field(Self::NAME));
        }
        <Self as Field>::write(self, writer, Self::shape(version))
    }

    /// The shape of the whole message in `version`.
    fn shape(version: i16) -> Shape {
        Shape { version, flexible: Self::FLEXIBLE.contains(version), nullable: false }
    }
}

/// Describe messages; see the [module](self) for the language.
macro_rules! schema {
    ($(
        $(#[$meta:meta])*
        $kind:ident $name:ident $([$($versions:tt)+] flexible [$($flexible:tt)+])? {
            $(
                $(#[$field_meta:meta])*
                $field:ident: $type:ty [$($field_versions:tt)+]
                    $(, null $null:tt)? $(, default $default:expr)?
                    $(, ignorable $($ignorable:literal)?)?;
            )*
        } $(& tagged {
            $(
                $(#[$tagged_meta:meta])*
                $tag:literal: $tagged:ident: $tagged_type:ty [$($tagged_versions:tt)+]
                    $(, null $tagged_null:tt)? $(, default $tagged_default:expr)?
                    $(, ignorable $($tagged_ignorable:literal)?)?;
            )*
        })?
    )*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
            $($($(#[$tagged_meta])* pub $tagged: $tagged_type,)*)?
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($field: $crate::wire::schema!(@default $($default)?),)*
                    $($($tagged: $crate::wire::schema!(@default $($tagged_default)?),)*)?
                }
            }
        }

        impl $name {
            /// The struct as data.
            pub const SCHEMA: &'static $crate::wire::StructSchema = &$crate::wire::StructSchema {
                name: stringify!($name),
                fields: &[$($crate::wire::FieldSchema {
                    name: stringify!($field),
                    kind: <$type as $crate::wire::Field>::KIND,
                    versions: $crate::wire::schema!(@versions [$($field_versions)+]),
                    nullable: $crate::wire::schema!(@versions $($null)?),
                    tag: None,
                },)*],
                tagged: &[$($($crate::wire::FieldSchema {
                    name: stringify!($tagged),
                    kind: <$tagged_type as $crate::wire::Field>::KIND,
                    versions: $crate::wire::schema!(@versions [$($tagged_versions)+]),
                    nullable: $crate::wire::schema!(@versions $($tagged_null)?),
                    tag: Some($tag),
                },)*)?],
            };
        }

        impl $crate::wire::Field for $name {
            const KIND: $crate::wire::Kind = $crate::wire::Kind::Struct(Self::SCHEMA);

            fn bytes_min(at: $crate::wire::Shape) -> usize {
                let mut bytes = usize::from(at.flexible);
                $(if $crate::wire::schema!(@in at.version, [$($field_versions)+]) {
                    let nullable = $crate::wire::schema!(@in at.version, $($null)?);
                    bytes += <$type as $crate::wire::Field>::bytes_min(at.nullable(nullable));
                })*
                bytes
            }

            fn read(
                reader: &mut $crate::wire::Reader,
                at: $crate::wire::Shape,
            ) -> Result<Self, $crate::wire::DecodeError> {
                $(let $field = if $crate::wire::schema!(@in at.version, [$($field_versions)+])
                {
                    let nullable = $crate::wire::schema!(@in at.version, $($null)?);
                    <$type as $crate::wire::Field>::read(reader, at.nullable(nullable))
                        .map_err(|e| e.in_field($crate::wire::schema!(@name $name.$field)))?
                } else {
                    $crate::wire::schema!(@default $($default)?)
                };)*
                $($(let mut $tagged: $tagged_type =
                    $crate::wire::schema!(@default $($tagged_default)?);)*)?
                if at.flexible {
                    reader.tags(&mut |_reader, tag| {
                        $($(if tag == $tag
                            && $crate::wire::schema!(@in at.version, [$($tagged_versions)+])
                        {
                            let nullable = $crate::wire::schema!(@in at.version, $($tagged_null)?);
                            $tagged = <$tagged_type as $crate::wire::Field>::read(
                                _reader,
                                at.nullable(nullable),
                            )
                            .map_err(|e| {
                                e.in_field($crate::wire::schema!(@name $name.$tagged))
                            })?;
                            return Ok(true);
                        })*)?
                        let _ = tag;
                        Ok(false)
                    })
                    .map_err(|e| e.in_field(concat!(stringify!($name), " (tagged fields)")))?;
                }
                Ok(Self { $($field,)* $($($tagged,)*)? })
            }

            fn write(
                &self,
                writer: &mut $crate::wire::Writer,
                at: $crate::wire::Shape,
            ) -> Result<(), $crate::wire::EncodeError> {
                $(if $crate::wire::schema!(@in at.version, [$($field_versions)+]) {
                    let nullable = $crate::wire::schema!(@in at.version, $($null)?);
                    $crate::wire::Field::write(&self.$field, writer, at.nullable(nullable))
                        .map_err(|e| e.in_field($crate::wire::schema!(@name $name.$field)))?;
                } else if !(false $(|| true $($ignorable)?)?) {
                    let default: $type = $crate::wire::schema!(@default $($default)?);
                    if self.$field != default {
                        return Err($crate::wire::EncodeError::new(
                            $crate::wire::EncodeErrorKind::NotInVersion,
                            at.version,
                        )
                        .in_field($crate::wire::schema!(@name $name.$field)));
                    }
                })*
                $($(let $tagged = {
                    let default: $tagged_type =
                        $crate::wire::schema!(@default $($tagged_default)?);
                    let carried = at.flexible
                        && $crate::wire::schema!(@in at.version, [$($tagged_versions)+]);
                    let changed = self.$tagged != default;
                    if changed && !carried && !(false $(|| true $($tagged_ignorable)?)?) {
                        return Err($crate::wire::EncodeError::new(
                            $crate::wire::EncodeErrorKind::NotInVersion,
                            at.version,
                        )
                        .in_field($crate::wire::schema!(@name $name.$tagged)));
                    }
                    changed && carried
                };)*)?
                if at.flexible {
                    writer.uvarint(0 $($(+ u32::from($tagged))*)?);
                    $($(if $tagged {
                        let nullable = $crate::wire::schema!(@in at.version, $($tagged_null)?);
                        writer
                            .tag($tag, |writer| {
                                $crate::wire::Field::write(
                                    &self.$tagged,
                                    writer,
                                    at.nullable(nullable),
                                )
                            })
                            .map_err(|e| e.in_field($crate::wire::schema!(@name $name.$tagged)))?;
                    })*)?
                }
                Ok(())
            }

            fn size_hint(&self) -> usize {
                let mut bytes = 1;
                $(bytes += $crate::wire::Field::size_hint(&self.$field);)*
                $($(bytes += $crate::wire::Field::size_hint(&self.$tagged) + 3;)*)?
                bytes
            }
        }

        impl $crate::wire::Nullable for $name {
            fn read_nullable(
                reader: &mut $crate::wire::Reader,
                at: $crate::wire::Shape,
            ) -> Result<Option<Self>, $crate::wire::DecodeError> {
                $crate::wire::read_nullable_struct(reader, at)
            }

            fn write_nullable(
                value: Option<&Self>,
                writer: &mut $crate::wire::Writer,
                at: $crate::wire::Shape,
            ) -> Result<(), $crate::wire::EncodeError> {
                $crate::wire::write_nullable_struct(value, writer, at)
            }
        }

        $crate::wire::schema!(@message $kind $name $([$($versions)+] [$($flexible)+])?);
    )*};

    (@message struct $name:ident) => {};
    (@message message $name:ident $versions:tt $flexible:tt) => {
        impl $crate::wire::Message for $name {
            const NAME: &'static str = stringify!($name);
            const VERSIONS: $crate::wire::Versions = $crate::wire::schema!(@versions $versions);
            const FLEXIBLE: $crate::wire::Versions = $crate::wire::schema!(@versions $flexible);
            const SCHEMA: &'static $crate::wire::StructSchema = $name::SCHEMA;
        }
    };

    (@name $name:ident.$field:ident) => { concat!(stringify!($name), ".", stringify!($field)) };

    (@default) => { Default::default() };
    (@default $default:expr) => { $default };

    (@in $version:expr, $($versions:tt)?) => {
        $crate::wire::schema!(@versions $($versions)?).contains($version)
    };
    (@versions) => { $crate::wire::Versions::NONE };
    (@versions [none]) => { $crate::wire::Versions::NONE };
    (@versions [$min:literal +]) => { $crate::wire::Versions { min: $min, max: i16::MAX } };
    (@versions [$min:literal - $max:literal]) => {
        $crate::wire::Versions { min: $min, max: $max }
    };
    (@versions [$only:literal]) => { $crate::wire::Versions { min: $only, max: $only } };
}
pub(crate) use schema;

/// Read a struct that may be null: where it may, a byte says so (-1 null, 1 present).
pub(crate) fn read_nullable_struct<T: Field>(
    reader: &mut Reader,
    at: Shape,
) -> Result<Option<T>, DecodeError> {
    let inner = at.nullable(false);
    if !at.nullable {
        return T::read(reader, inner).map(Some);
    }
    match reader.i8()? {
        -1 => Ok(None),
        1 => T::read(reader, inner).map(Some),
        value => Err(reader.error(DecodeErrorKind::BadMarker { value })),
    }
}

/// Write a struct that may be null; the counterpart of [`read_nullable_struct`].
pub(crate) fn write_nullable_struct<T: Field>(
    value: Option<&T>,
    writer: &mut Writer,
    at: Shape,
) -> Result<(), EncodeError> {
    if at.nullable {
        writer.i8(if value.is_some() { 1 } else { -1 });
    }
    value.map_or(Ok(()), |value| value.write(writer, at.nullable(false)))
}

#[cfg(test)]
mod tests {
    schema! {
        /// A message.
        message Try [0-3] flexible [2+] {
            /// Text.
            name: StrBytes [0+];
            /// Gone in version 3.
            old: i32 [0-2], default -1;
            /// Numbers.
            list: Option<Vec<i16>> [0+], null [1+];
            /// Left out in silence.
            soft: i64 [3], ignorable;
            /// Inner.
            inner: Option<Inner> [1+], null [1+];
        } & tagged {
            /// Tagged.
            0: leader: Inner [2+], ignorable;
            /// Tagged, not ignorable.
            5: rack: Option<StrBytes> [3+], null [3+];
        }
        /// A struct.
        struct Inner {
            /// A number.
            x: i32 [0+], default 7;
        }
    }
    use bytes::Bytes;

    use super::super::{EncodeErrorKind, Message, Reader, StrBytes, Writer};

    fn bytes_of(message: &Try, version: i16) -> Bytes {
        let mut writer = Writer::new();
        message.encode(&mut writer, version).unwrap();
        writer.into_bytes()
    }

    #[test]
    fn a_schema_makes_kafkas_bytes() {
        let message = Try { name: "ab".into(), list: Some(vec![1]), ..Try::default() };
        assert_eq!(message.old, -1);
        assert_eq!(&bytes_of(&message, 0)[..], b"\0\x02ab\xff\xff\xff\xff\0\0\0\x01\0\x01");
        assert_eq!(&bytes_of(&message, 2)[..], b"\x03ab\xff\xff\xff\xff\x02\0\x01\xff\0");
        let tagged = Try { leader: Inner { x: 1 }, rack: Some("r".into()), ..message };
        let bytes = bytes_of(&tagged, 3);
        assert_eq!(
            &bytes[..],
            b"\x03ab\x02\0\x01\0\0\0\0\0\0\0\0\xff\x02\x00\x05\0\0\0\x01\0\x05\x02\x02r"
        );
        let mut reader = Reader::new(bytes);
        assert_eq!(Try::decode(&mut reader, 3).unwrap(), tagged);
        reader.finish().unwrap();
    }

    #[test]
    fn what_a_version_cannot_say_is_an_error_unless_ignorable() {
        let mut writer = Writer::new();
        let refused =
            |message: Try, version| message.encode(&mut Writer::new(), version).unwrap_err();
        let set = Try { list: Some(vec![]), ..Try::default() };
        Try { soft: 9, leader: Inner { x: 2 }, ..set.clone() }.encode(&mut writer, 1).unwrap();
        let error = refused(Try { old: 3, ..set.clone() }, 3);
        assert_eq!((error.kind(), error.field()), (EncodeErrorKind::NotInVersion, Some("Try.old")));
        assert_eq!(
            refused(Try { rack: Some("r".into()), ..set.clone() }, 2).field(),
            Some("Try.rack")
        );
        assert_eq!(refused(Try::default(), 0).kind(), EncodeErrorKind::UnexpectedNull);
        assert_eq!(refused(set, 4).kind(), EncodeErrorKind::UnknownVersion);
    }
}
