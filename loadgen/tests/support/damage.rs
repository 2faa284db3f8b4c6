//! The kinds of damage that one record batch can take, as pure functions over bytes.

/// What is done to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It goes missing.
    Drop,
    /// It is there twice.
    Duplicate,
    /// It comes behind its successor.
    Reorder,
    /// A bit behind the place of its checksum is flipped.
    Flip,
    /// A bit of a record's value is flipped and the batch's checksum computed anew.
    FlipSealed,
    /// It gets into another partition.
    Misdirect,
}

/// A small generator (splitmix64), so that a seed is a place.
pub struct Random(pub u64);

impl Random {
    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// The batches of one partition in a Fetch answer.
pub struct Batches {
    pub whole: Vec<Vec<u8>>,
    /// The begin of one that did not fit.
    rest: Vec<u8>,
}

const CRC_AT: usize = 17;
const CRC_FROM: usize = 21;
const RECORDS_AT: usize = 61;

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// The first batch of `bytes`, if it is whole, and what follows it.
fn first(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_there = bytes.len() >= RECORDS_AT;
    is_there
        .then(|| 12 + usize::try_from(i32_at(bytes, 8)).expect("a length"))
        .and_then(|len| bytes.split_at_checked(len))
}

fn count(batch: &[u8]) -> u64 {
    u64::try_from(i32_at(batch, 57)).expect("a count")
}

impl Batches {
    pub fn split(mut bytes: &[u8]) -> Self {
        let mut whole = Vec::new();
        while let Some((batch, rest)) = first(bytes) {
            whole.push(batch.to_vec());
            bytes = rest;
        }
        Self { whole, rest: bytes.to_vec() }
    }

    /// How many whole ones there are in `bytes`.
    pub fn count(bytes: &[u8]) -> u64 {
        std::iter::successors(first(bytes), |(_, rest)| first(rest)).count() as u64
    }

    pub fn bytes(&self) -> Vec<u8> {
        [self.whole.concat(), self.rest.clone()].concat()
    }

    /// Put `batch` in the place of number `at`, under the offset that it has.
    fn replace(&mut self, at: usize, batch: &[u8]) {
        let offset = self.whole[at][..8].to_vec();
        self.whole[at] = batch.to_vec();
        self.whole[at][..8].copy_from_slice(&offset);
    }
}

impl Kind {
    /// Flip one bit of `batch`.
    pub fn flip(self, batch: &mut [u8], random: &mut Random) {
        if self == Self::Flip {
            let bit = random.below((batch.len() - CRC_FROM) as u64 * 8) as usize;
            batch[CRC_FROM + bit / 8] ^= 1 << (bit % 8);
            return;
        }
        let values = values(batch);
        let value = values[random.below(values.len() as u64) as usize].clone();
        let bit = random.below(value.len() as u64 * 8) as usize;
        batch[value.start + bit / 8] ^= 1 << (bit % 8);
        let crc = crc32c::crc32c(&batch[CRC_FROM..]);
        batch[CRC_AT..CRC_FROM].copy_from_slice(&crc.to_be_bytes());
    }

    /// Damage the batch number `wanted` of all partitions' together, or the next one that can be;
    /// returns how many records it has. None if none can be.
    pub fn among(self, all: &mut [Batches], wanted: usize, random: &mut Random) -> Option<u64> {
        let places = all.iter().enumerate();
        let places = places.flat_map(|(part, b)| (0..b.whole.len()).map(move |at| (part, at)));
        let places: Vec<(usize, usize)> = places.skip(wanted).collect();
        places.into_iter().find_map(|(part, at)| self.at(all, part, at, random))
    }

    fn at(self, all: &mut [Batches], part: usize, at: usize, random: &mut Random) -> Option<u64> {
        let batch = all[part].whole[at].clone();
        let records = count(&batch);
        let next = all[part].whole.get(at + 1).filter(|next| count(next) == records).cloned();
        match self {
            Self::Flip | Self::FlipSealed => self.flip(&mut all[part].whole[at], random),
            // Without a successor it would be asked for again.
            Self::Drop => drop(next.map(|_| all[part].whole.remove(at))?),
            Self::Duplicate => next.map(|_| all[part].replace(at + 1, &batch))?,
            Self::Reorder => {
                let next = next?;
                all[part].replace(at, &next);
                all[part].replace(at + 1, &batch);
            }
            Self::Misdirect => {
                let others = 0..all.len();
                let fits = |other: &usize| {
                    let there = all[*other].whole.get(at);
                    *other != part && there.is_some_and(|there| count(there) == records)
                };
                let other = others.into_iter().find(fits)?;
                all[other].replace(at, &batch);
            }
        }
        Some(records)
    }
}

/// Where the values of an uncompressed batch's records are.
fn values(batch: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut at = RECORDS_AT;
    let varint = |at: &mut usize| {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let byte = batch[*at];
            *at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return (value >> 1) as i64 ^ -((value & 1) as i64);
            }
        }
    };
    let mut found = Vec::new();
    for _ in 0..count(batch) {
        let length = varint(&mut at);
        let end = at + length as usize;
        at += 1; // attributes
        varint(&mut at); // timestamp
        varint(&mut at); // offset
        let key = varint(&mut at).max(0);
        at += key as usize;
        let value = varint(&mut at) as usize;
        found.push(at..at + value);
        at = end;
    }
    found
}
