//! The value of a metadata record, which recovery reads from a disk that may lie.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use thalweg::protocol::metadata_record::MetadataRecord;

fuzz_target!(|bytes: &[u8]| {
    let Ok(record) = MetadataRecord::decode(Bytes::copy_from_slice(bytes)) else { return };
    let version = record.versions().max;
    // A record of an older version can be said in the newest one.
    let value = record.encode(version).expect("the newest version carries every field");
    let again = MetadataRecord::decode(value).expect("what was written");
    // Compared as text: a quota may be NaN, which does not equal itself.
    assert_eq!(format!("{again:?}"), format!("{record:?}"));
});
