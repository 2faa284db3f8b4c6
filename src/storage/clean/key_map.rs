//! Which offset is the latest of each key, in a bounded table.
//!
//! A key is its hash: 128 bits of a keyed hash whose keys are drawn anew for every round and
//! told to nobody, so that no producer can choose two keys that collide (an MD5 of the bare key,
//! as in Kafka, can be made to). Two keys with one hash would lose the older one's value; among
//! a thousand million keys the chance is about 1 in 10^21.

use std::hash::{BuildHasher, RandomState};

use crate::model::Offset;

/// Words of a slot: two of hash, one of offset plus one (so that zeroes are an empty slot).
const SLOT_WORDS: usize = 3;
/// Bytes of a slot.
const SLOT_BYTES: usize = SLOT_WORDS * 8;
/// A table has at least so many slots, whatever its budget.
const SLOTS_MIN: usize = 16;

/// See the file's comment.
pub(crate) struct KeyMap {
    table: Vec<u64>,
    slots: usize,
    filled: usize,
    filled_max: usize,
    hashers: [RandomState; 2],
}

impl KeyMap {
    /// A table of at most `bytes` for at most `keys` keys, full at `load_factor` of its slots.
    pub(crate) fn new(bytes: u64, load_factor: f64, keys: u64) -> Self {
        let load_factor = load_factor.clamp(0.01, 0.99);
        let afforded = usize::try_from(bytes).unwrap_or(usize::MAX) / SLOT_BYTES;
        // Half as many again as make room for the keys: a small log neither takes nor clears a
        // large table.
        let wanted = (keys as f64 * 1.5 / load_factor) as usize;
        let slots = afforded.min(wanted).max(SLOTS_MIN);
        Self {
            table: vec![0; slots * SLOT_WORDS],
            slots,
            filled: 0,
            filled_max: ((slots as f64 * load_factor) as usize).max(1),
            hashers: [RandomState::new(), RandomState::new()],
        }
    }

    /// Keys in it.
    pub(crate) fn len(&self) -> usize {
        self.filled
    }

    /// Note that `key` has a record at `offset`; false when it is new and there is no room.
    pub(crate) fn put(&mut self, key: &[u8], offset: Offset) -> bool {
        let (at, hash) = self.find(key);
        let stored = offset.unsigned_abs().saturating_add(1);
        if self.table[at + 2] == 0 {
            if self.filled >= self.filled_max {
                return false;
            }
            self.filled += 1;
            [self.table[at], self.table[at + 1]] = hash;
        }
        self.table[at + 2] = self.table[at + 2].max(stored);
        true
    }

    /// The latest offset noted for `key`.
    pub(crate) fn get(&self, key: &[u8]) -> Option<Offset> {
        let (at, _) = self.find(key);
        let stored = self.table[at + 2].checked_sub(1)?;
        Offset::try_from(stored).ok()
    }

    /// The slot of a key, or the empty one where it belongs. There always is one: the table is
    /// never full.
    fn find(&self, key: &[u8]) -> (usize, [u64; 2]) {
        let hash = self.hashers.each_ref().map(|hasher| hasher.hash_one(key));
        let mut slot = (hash[0] % self.slots as u64) as usize;
        loop {
            let at = slot * SLOT_WORDS;
            if self.table[at + 2] == 0 || self.table[at..at + 2] == hash {
                return (at, hash);
            }
            slot = (slot + 1) % self.slots;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_offset_of_every_key_is_found_and_a_full_map_says_so() {
        let mut map = KeyMap::new(24 * 1000, 0.9, u64::MAX);
        let key = |i: i64| format!("key {i}");
        for i in 0..900 {
            assert!(map.put(key(i).as_bytes(), i));
        }
        assert!(!map.put(b"one more", 900), "nine tenths are full");
        assert!(map.put(key(3).as_bytes(), 901), "a known key takes no room");
        for i in 0..900 {
            let latest = if i == 3 { 901 } else { i };
            assert_eq!(map.get(key(i).as_bytes()), Some(latest));
        }
        assert_eq!((map.get(b"one more"), map.len()), (None, 900));
    }

    #[test]
    fn a_table_is_no_larger_than_its_keys_or_its_budget() {
        assert_eq!(KeyMap::new(1 << 30, 0.75, 100).slots, 200);
        assert_eq!(KeyMap::new(2400, 0.9, 1 << 40).slots, 100);
        assert_eq!(KeyMap::new(2400, 0.9, u64::MAX).slots, 100);
        // Keys find room whatever part of the table may be filled.
        let mut sparse = KeyMap::new(1 << 30, 0.1, 100);
        assert!((0..100u8).all(|key| sparse.put(&[key], 0)));
        let mut least = KeyMap::new(0, 0.0, 0);
        assert!(least.put(b"", 0) && !least.put(b"a", 1));
        assert_eq!((least.get(b""), least.get(b"a")), (Some(0), None));
    }
}
