//! Headers of requests and responses.
//!
//! Request header version 2 is that of flexible requests, version 1 that of all others. The client
//! id is not compact in either (KIP-482 left it so, for a reader must find the correlation id of a
//! request whose version it does not know). Response headers have version 1 when flexible, except
//! that of ApiVersions: its client may not know yet what the broker speaks (KIP-511).

use super::ApiKey;
use crate::wire::{
    DecodeError, DecodeErrorKind, EncodeError, Field, Nullable, Reader, Shape, StrBytes, Writer,
};

/// What is in front of every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// Which API.
    pub api_key: ApiKey,
    /// In which version; NOT checked against what is served.
    pub api_version: i16,
    /// Comes back in the response.
    pub correlation_id: i32,
    /// The client's `client.id`.
    pub client_id: Option<StrBytes>,
}

/// What is in front of every response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHeader {
    /// That of the request.
    pub correlation_id: i32,
}

const NOT_COMPACT: Shape = Shape { version: 1, flexible: false, nullable: true };

impl RequestHeader {
    /// Read a header.
    ///
    /// # Errors
    /// When the API key is in no registry (Kafka closes the connection then), or the bytes are no
    /// header.
    pub fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let key = reader.i16().map_err(|e| e.in_field("RequestHeader.api_key"))?;
        let api_key = ApiKey::try_from(key).map_err(|_| {
            let kind = DecodeErrorKind::UnknownApiKey { key };
            reader.error(kind).in_field("RequestHeader.api_key")
        })?;
        let api_version = reader.i16().map_err(|e| e.in_field("RequestHeader.api_version"))?;
        let correlation_id =
            reader.i32().map_err(|e| e.in_field("RequestHeader.correlation_id"))?;
        let client_id = Option::<StrBytes>::read(reader, NOT_COMPACT)
            .map_err(|e| e.in_field("RequestHeader.client_id"))?;
        if api_key.request_header_version(api_version) >= 2 {
            reader
                .tags(&mut |_, _| Ok(false))
                .map_err(|e| e.in_field("RequestHeader (tagged fields)"))?;
        }
        Ok(Self { api_key, api_version, correlation_id, client_id })
    }

    /// Write the header.
    ///
    /// # Errors
    /// When the client id is longer than 32,767 bytes.
    pub fn encode(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        writer.i16(self.api_key as i16);
        writer.i16(self.api_version);
        writer.i32(self.correlation_id);
        StrBytes::write_nullable(self.client_id.as_ref(), writer, NOT_COMPACT)
            .map_err(|e: EncodeError| e.in_field("RequestHeader.client_id"))?;
        if self.api_key.request_header_version(self.api_version) >= 2 {
            writer.uvarint(0);
        }
        Ok(())
    }
}

impl ResponseHeader {
    /// Read a header of `header_version` ([`ApiKey::response_header_version`]).
    ///
    /// # Errors
    /// When the bytes are no header.
    pub fn decode(reader: &mut Reader, header_version: i16) -> Result<Self, DecodeError> {
        let correlation_id =
            reader.i32().map_err(|e| e.in_field("ResponseHeader.correlation_id"))?;
        if header_version >= 1 {
            reader
                .tags(&mut |_, _| Ok(false))
                .map_err(|e| e.in_field("ResponseHeader (tagged fields)"))?;
        }
        Ok(Self { correlation_id })
    }

    /// Write a header of `header_version` ([`ApiKey::response_header_version`]).
    pub fn encode(&self, writer: &mut Writer, header_version: i16) {
        writer.i32(self.correlation_id);
        if header_version >= 1 {
            writer.uvarint(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn the_client_id_is_never_compact_and_api_versions_answers_with_header_0() {
        let header = |api_key, api_version| RequestHeader {
            api_key,
            api_version,
            correlation_id: 7,
            client_id: Some("ab".into()),
        };
        let bytes = |header: &RequestHeader| {
            let mut writer = Writer::new();
            header.encode(&mut writer).unwrap();
            writer.into_bytes()
        };
        let old = header(ApiKey::Metadata, 8);
        assert_eq!(&bytes(&old)[..], b"\0\x03\0\x08\0\0\0\x07\0\x02ab");
        let flexible = header(ApiKey::Metadata, 9);
        assert_eq!(&bytes(&flexible)[..], b"\0\x03\0\x09\0\0\0\x07\0\x02ab\0");
        for each in [old, flexible] {
            let mut reader = Reader::new(bytes(&each));
            assert_eq!(RequestHeader::decode(&mut reader).unwrap(), each);
            reader.finish().unwrap();
        }
        assert_eq!(ApiKey::ApiVersions.request_header_version(99), 2);
        assert_eq!(ApiKey::ApiVersions.response_header_version(3), 0);
        assert_eq!(ApiKey::Metadata.response_header_version(9), 1);
        let unknown = Reader::new(Bytes::from_static(b"\x7f\xff\0\0\0\0\0\0\xff\xff"));
        let error = RequestHeader::decode(&mut { unknown }).unwrap_err();
        assert_eq!(error.kind(), &DecodeErrorKind::UnknownApiKey { key: 0x7fff });
    }
}
