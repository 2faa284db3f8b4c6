//! A whole request without its length: header, then the body it announces. What is read can be
//! written, and reads the same again. Run with `-malloc_limit_mb=64`: asking for more memory than
//! the frame is worth is a finding too.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use thalweg::protocol::{RequestBody, RequestHeader};
use thalweg::wire::{Reader, Writer};

fuzz_target!(|bytes: &[u8]| {
    let mut reader = Reader::new(Bytes::copy_from_slice(bytes));
    let Ok(header) = RequestHeader::decode(&mut reader) else { return };
    let (key, version) = (header.api_key, header.api_version);
    let Ok(body) = RequestBody::decode(key, &mut reader, version) else { return };
    let mut writer = Writer::new();
    body.encode(&mut writer, version).expect("what was read can be written");
    let mut again = Reader::new(writer.into_bytes());
    let again = RequestBody::decode(key, &mut again, version).expect("what was written");
    // Compared as text: a quota may be NaN, which does not equal itself.
    assert_eq!(format!("{again:?}"), format!("{body:?}"));
});
