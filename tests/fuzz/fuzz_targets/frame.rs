//! The frame splitter: any bytes are frames within the limits, or refused; more bytes behind the
//! length change nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use thalweg::protocol::{PREFIX_LEN, REQUEST_LEN_MIN, frame_len};

const FRAME_MAX: usize = 4096;

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    while let Ok(Some(len)) = frame_len(rest, REQUEST_LEN_MIN, FRAME_MAX) {
        assert!((REQUEST_LEN_MIN..=FRAME_MAX).contains(&len));
        let prefix = rest.get(..PREFIX_LEN).expect("a length was read from it");
        assert_eq!(frame_len(prefix, REQUEST_LEN_MIN, FRAME_MAX), Ok(Some(len)));
        let Some(behind) = rest.get(PREFIX_LEN + len..) else { break };
        rest = behind;
    }
});
