//! Primitives of the Kafka encoding and the schema language for messages.
//!
//! A message is described once, as data, with [`schema!`](schema): its fields, their types, and the
//! versions that carry them. From that come the struct, [`Message::decode`], [`Message::encode`]
//! and a [`StructSchema`] that tests and tools can walk. No code is written per version.
//!
//! What is always true:
//! - decoding shares the frame: strings ([`StrBytes`]), byte strings and record batches
//!   ([`Records`]) are slices of it, structs have no lifetimes and are `Send`;
//! - every length is checked against the bytes that remain before anything is allocated, and the
//!   sum of what a frame may expand to is limited ([`reader`]);
//! - nothing here panics on any input;
//! - encoding keeps large record batches apart as shared pieces ([`Writer::into_pieces`]).
//!
//! Which messages exist is left to `protocol`.

mod error;
mod field;
pub mod reader;
mod records;
mod schema;
mod text;
mod writer;

pub use error::{DecodeError, DecodeErrorKind, EncodeError, EncodeErrorKind};
pub use field::{Field, Nullable, Shape};
pub use reader::Reader;
pub use records::Records;
pub use schema::{FieldSchema, Kind, Message, StructSchema, Versions};
pub(crate) use schema::{read_nullable_struct, schema, write_nullable_struct};
pub use text::StrBytes;
pub use writer::Writer;
