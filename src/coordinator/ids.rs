//! Random member ids from a seed.
//!
//! Always true: the same seed gives the same ids, so that tests repeat. Who starts a coordinator
//! gives it a seed that no other has.

use std::fmt::Write;

use crate::wire::StrBytes;

/// A generator of ids.
#[derive(Debug)]
pub(super) struct Ids {
    state: u64,
    /// Odd; another one for another stream.
    step: u64,
}

impl Ids {
    pub fn new(seed: u128) -> Self {
        Self { state: seed as u64, step: (seed >> 64) as u64 | 1 }
    }

    /// SplitMix64 with the stream's own step.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(self.step.wrapping_add(0x9e37_79b9_7f4a_7c14) | 1);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// `name` and a random UUID, as Kafka makes the ids of members; a UUID alone without a name.
    pub fn member_id(&mut self, name: &str) -> StrBytes {
        // Version 4, variant 1, as RFC 9562 asks.
        let high = (self.next() & !0xf000) | 0x4000;
        let low = (self.next() & !(0b11 << 62)) | (0b10 << 62);
        let mut id = String::with_capacity(name.len() + 37);
        id.push_str(name);
        if !name.is_empty() {
            id.push('-');
        }
        let (a, b, c) = (high >> 32, (high >> 16) & 0xffff, high & 0xffff);
        // Writing to a string cannot fail.
        let _ =
            write!(id, "{a:08x}-{b:04x}-{c:04x}-{:04x}-{:012x}", low >> 48, low & ((1 << 48) - 1));
        id.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_and_repeat_with_the_seed() {
        let ids = |seed| {
            let mut ids = Ids::new(seed);
            [ids.member_id("app"), ids.member_id("")]
        };
        let [named, bare] = ids(7);
        assert_eq!((named.len(), bare.len()), (40, 36));
        assert!(named.starts_with("app-") && bare.as_bytes()[14] == b'4');
        assert_eq!(ids(7), [named.clone(), bare]);
        assert_ne!(ids(7 | 2 << 64)[0], named);
        assert_ne!(ids(8)[0], named);
    }
}
