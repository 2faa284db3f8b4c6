//! Bytes of unknown origin as journal, checkpoint, index and segment.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = thalweg::storage::parse_unknown(bytes);
});
