//! Frames: a length of four bytes, then that many bytes.
//!
//! Pure functions over bytes; nothing here reads sockets or reserves memory. A length that is
//! announced is a claim: memory follows the bytes that arrive, never the claim.

use std::fmt;

use bytes::Bytes;

use super::{ApiKey, Request, RequestHeader, ResponseHeader};
use crate::wire::{EncodeError, EncodeErrorKind, Message, Reader, Writer};

/// Bytes of the length in front of a frame.
pub const PREFIX_LEN: usize = 4;

/// Shortest request: key, version, correlation id and a null client id.
pub const REQUEST_LEN_MIN: usize = 10;

/// Shortest reply: the correlation id.
pub const RESPONSE_LEN_MIN: usize = 4;

/// Record batches of at least this many bytes stay pieces of their own when a frame is encoded;
/// shorter ones are copied behind the header, which costs less than another entry for the kernel.
pub const PIECE_LEN_MIN: usize = 1024;

/// Why the bytes are not the start of a frame. Close the connection: nothing that follows can be
/// found again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The length is negative or too short for a header.
    TooShort {
        /// As announced.
        length: i32,
        /// Shortest that has a header.
        min: usize,
    },
    /// The length is above the limit.
    TooLong {
        /// As announced.
        length: i32,
        /// The limit.
        max: usize,
    },
    /// A TLS handshake on a plaintext port.
    Tls,
    /// An HTTP request on a Kafka port.
    Http,
}

/// The length of the frame that starts with `prefix`, without its four bytes of length; `None`
/// while fewer than four bytes are there. `min` is [`REQUEST_LEN_MIN`] or [`RESPONSE_LEN_MIN`].
///
/// # Errors
/// When no frame of `min..=max` bytes starts so.
pub fn frame_len(prefix: &[u8], min: usize, max: usize) -> Result<Option<usize>, FrameError> {
    let Some(&length) = prefix.first_chunk::<PREFIX_LEN>() else { return Ok(None) };
    let announced = i32::from_be_bytes(length);
    match usize::try_from(announced) {
        Ok(len) if len >= min && len <= max => Ok(Some(len)),
        Ok(len) if len > max => Err(match &length {
            // Record type handshake, version 3.x: as a length 352,518,912 and up (KIP-498).
            [0x16, 0x03, ..] => FrameError::Tls,
            b"GET " | b"POST" | b"PUT " | b"HEAD" | b"PRI " | b"OPTI" => FrameError::Http,
            _ => FrameError::TooLong { length: announced, max },
        }),
        _ => Err(FrameError::TooShort { length: announced, min }),
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { length, min } => {
                write!(
                    f,
                    "frame length {length} is below {min}: not a Kafka client, or out of step"
                )
            }
            Self::TooLong { length, max } => write!(
                f,
                "frame length {length} is above the limit of {max} bytes: not a Kafka client, or \
                 raise socket.request.max.bytes"
            ),
            Self::Tls => f.write_str(
                "the peer starts a TLS handshake, this listener is plaintext: set the client's \
                 security.protocol to PLAINTEXT",
            ),
            Self::Http => {
                f.write_str("the peer speaks HTTP, this listener speaks the Kafka protocol")
            }
        }
    }
}

impl std::error::Error for FrameError {}

/// A whole request frame, length included, as pieces to send in order.
///
/// # Errors
/// When the version cannot say what the body says, or the frame would pass 2 GiB.
pub fn encode_request<R: Request>(
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
    body: &R,
) -> Result<Vec<Bytes>, EncodeError> {
    let mut writer = frame_writer(32 + body.size_hint());
    RequestHeader {
        api_key: R::KEY,
        api_version: version,
        correlation_id,
        client_id: client_id.map(Into::into),
    }
    .encode(&mut writer)?;
    body.encode(&mut writer, version)?;
    finish(writer, version)
}

/// A whole response frame, length included, as pieces to send in order. `version` is that of the
/// request.
///
/// # Errors
/// When the version cannot say what the body says, or the frame would pass 2 GiB.
pub fn encode_response<M: Message>(
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    body: &M,
) -> Result<Vec<Bytes>, EncodeError> {
    let mut writer = frame_writer(16 + body.size_hint());
    ResponseHeader { correlation_id }.encode(&mut writer, key.response_header_version(version));
    body.encode(&mut writer, version)?;
    finish(writer, version)
}

/// The body of a response frame (without its length), after its header; the whole frame must be
/// used up.
///
/// # Errors
/// When the bytes are no such response.
pub fn decode_response<R: Request>(
    version: i16,
    frame: Bytes,
) -> Result<(ResponseHeader, R::Response), crate::wire::DecodeError> {
    let mut reader = Reader::new(frame);
    let header = ResponseHeader::decode(&mut reader, R::KEY.response_header_version(version))?;
    let body = <R::Response as Message>::decode(&mut reader, version)?;
    reader.finish()?;
    Ok((header, body))
}

fn frame_writer(capacity: usize) -> Writer {
    let mut writer = Writer::with_capacity(PREFIX_LEN + capacity).sharing(PIECE_LEN_MIN);
    writer.i32(0);
    writer
}

fn finish(mut writer: Writer, version: i16) -> Result<Vec<Bytes>, EncodeError> {
    let length = writer.len() - PREFIX_LEN;
    let too_long = |_| EncodeError::new(EncodeErrorKind::TooLong { length }, version);
    let announced = i32::try_from(length).map_err(too_long)?;
    writer.set_i32(0, announced);
    Ok(writer.into_pieces())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_checked_before_anything_else() {
        let len = |prefix: &[u8]| frame_len(prefix, REQUEST_LEN_MIN, 1000);
        assert_eq!(len(&[]), Ok(None));
        assert_eq!(len(&[0, 0, 0]), Ok(None));
        assert_eq!(len(&[0, 0, 0, 10, 99]), Ok(Some(10)));
        assert_eq!(len(&[0, 0, 3, 0xe8]), Ok(Some(1000)));
        assert_eq!(len(&[0, 0, 3, 0xe9]), Err(FrameError::TooLong { length: 1001, max: 1000 }));
        assert_eq!(len(&[0, 0, 0, 9]), Err(FrameError::TooShort { length: 9, min: 10 }));
        assert_eq!(len(&[0xff; 4]), Err(FrameError::TooShort { length: -1, min: 10 }));
        assert_eq!(len(&[0x16, 3, 1, 2]), Err(FrameError::Tls));
        assert_eq!(len(b"GET / HTTP/1.1"), Err(FrameError::Http));
    }
}
