//! What a record's value says about itself, so that a consumer can tell lost, duplicated,
//! reordered, corrupt and misdirected records apart without remembering every one of them.
//!
//! The head, big-endian like everything on this wire:
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | magic |
//! | 4..8 | run: random per run, so that records of another run are foreign, not wrong |
//! | 8..12 | producer: number of the lane that sent it |
//! | 12..16 | partition it was sent to |
//! | 16..24 | sequence: 0, 1, 2 ... per producer and partition |
//! | 24..32 | intended send time, `CLOCK_MONOTONIC` nanoseconds of the producing host |
//! | 32..36 | checksum of the above, and of the record's key, body and headers |
//!
//! The body behind it is random or constant filler. The batch's CRC-32C covers everything, but
//! whoever damages records before he computes it anew (a broker that packs batches again) is found
//! out by the checksum alone.

/// First bytes of every value: no text, no varint-encoded record begins so.
pub const MAGIC: u32 = 0xd1_7a_1e_97;
/// Bytes of the head; the smallest record size.
pub const HEAD_BYTES: usize = 36;

/// The head's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The run that wrote it.
    pub run: u32,
    /// The lane that sent it.
    pub producer: u32,
    /// The partition it was meant for.
    pub partition: u32,
    /// Place among the records of this producer in this partition, from 0.
    pub sequence: u64,
    /// When the plan wanted it sent, monotonic nanoseconds.
    pub intended_ns: u64,
}

/// Why a value has no readable head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// Too short or without the magic: not written by loadgen.
    Foreign,
    /// Has the magic, but the record does not match its checksum.
    Corrupt,
}

/// The part of the checksum that is the same for all records of a batch.
#[inline]
pub fn checksum_seed(run: u32, producer: u32, partition: u32) -> u64 {
    let mixed = (u64::from(run) << 32 | u64::from(producer)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ u64::from(partition)).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

/// What the checksum knows of a record besides its head: the key, the value's length, and the
/// bytes from the head's end to the record's (body and headers). To be mixed into the seed.
#[inline]
pub fn content_sum(key: &[u8], value_bytes: usize, behind: &[u8]) -> u64 {
    let length = (value_bytes as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    key_sum(key) ^ length ^ u64::from(crc32c::crc32c(behind))
}

/// The key's part of [`content_sum`].
#[inline]
pub fn key_sum(key: &[u8]) -> u64 {
    if key.is_empty() { 0 } else { u64::from(crc32c::crc32c(key)) << 32 }
}

/// Two multiplications a record: this must not cost more than writing the fields. Each bit of
/// `seed`, `sequence` and `intended_ns` reaches the result.
#[inline]
pub fn checksum(seed: u64, sequence: u64, intended_ns: u64) -> u32 {
    let a = (seed ^ sequence).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let b = (a ^ (a >> 29) ^ intended_ns).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (b >> 32) as u32
}

/// Write the fields that stay the same in one lane's buffer: magic and run.
pub fn write_fixed(value: &mut [u8], run: u32) {
    value[0..4].copy_from_slice(&MAGIC.to_be_bytes());
    value[4..8].copy_from_slice(&run.to_be_bytes());
}

/// Write the fields that differ from record to record; `ids` is [`ids_word`] and `seed` is
/// [`checksum_seed`] of the same three numbers, with the record's [`content_sum`] mixed in.
#[inline]
pub fn write_varying(head: &mut [u8; HEAD_BYTES], ids: u64, seed: u64, sequence: u64, at_ns: u64) {
    head[8..16].copy_from_slice(&ids.to_be_bytes());
    head[16..24].copy_from_slice(&sequence.to_be_bytes());
    head[24..32].copy_from_slice(&at_ns.to_be_bytes());
    head[32..36].copy_from_slice(&checksum(seed, sequence, at_ns).to_be_bytes());
}

/// Producer and partition as they stand side by side in the head.
#[inline]
pub fn ids_word(producer: u32, partition: u32) -> u64 {
    u64::from(producer) << 32 | u64::from(partition)
}

/// Read the head of a value and hold it against its record: `rest` is the record from its value
/// on, of which the value is `value_bytes`.
///
/// # Errors
/// See [`HeadError`].
#[inline]
pub fn read(key: &[u8], rest: &[u8], value_bytes: usize) -> Result<Head, HeadError> {
    let value = rest.get(..value_bytes).ok_or(HeadError::Foreign)?;
    let (found, stored) = fields(value)?;
    let seed = checksum_seed(found.run, found.producer, found.partition)
        ^ content_sum(key, value_bytes, &rest[HEAD_BYTES..]);
    if stored != checksum(seed, found.sequence, found.intended_ns) {
        return Err(HeadError::Corrupt);
    }
    Ok(found)
}

/// The head of `value` as it stands there, and its checksum, not yet believed.
///
/// # Errors
/// When there is none.
#[inline]
pub fn fields(value: &[u8]) -> Result<(Head, u32), HeadError> {
    let Some(head) = value.first_chunk::<HEAD_BYTES>() else { return Err(HeadError::Foreign) };
    let u32_at =
        |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let u64_at = |at: usize| u64::from(u32_at(at)) << 32 | u64::from(u32_at(at + 4));
    if u32_at(0) != MAGIC {
        return Err(HeadError::Foreign);
    }
    let found = Head {
        run: u32_at(4),
        producer: u32_at(8),
        partition: u32_at(12),
        sequence: u64_at(16),
        intended_ns: u64_at(24),
    };
    Ok((found, u32_at(32)))
}

/// A small fast generator of filler bytes (splitmix64): the same seed gives the same bytes.
#[derive(Clone, Debug)]
pub struct Filler(u64);

impl Filler {
    /// Start at `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A random number in 0..1.
    pub fn next_share(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Fill `body`: the first `random_share` (0..=1) of it with random bytes, the rest with one
    /// letter, so that a compressor finds about `1 - random_share` to save.
    pub fn fill(&mut self, body: &mut [u8], random_share: f64) {
        let random = ((body.len() as f64) * random_share.clamp(0.0, 1.0)).round() as usize;
        let (noise, letters) = body.split_at_mut(random.min(body.len()));
        for chunk in noise.chunks_mut(8) {
            let bytes = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
        letters.fill(b'x');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"k17";

    fn read_all(value: &[u8]) -> Result<Head, HeadError> {
        read(KEY, value, value.len())
    }

    fn value() -> (Head, Vec<u8>) {
        let head = Head {
            run: 7,
            producer: 3,
            partition: 11,
            sequence: 1 << 40,
            intended_ns: 987_654_321,
        };
        let mut value = vec![0u8; 100];
        write_fixed(&mut value, head.run);
        let seed = checksum_seed(head.run, head.producer, head.partition)
            ^ content_sum(KEY, value.len(), &value[HEAD_BYTES..]);
        write_varying(
            value.first_chunk_mut().unwrap(),
            ids_word(head.producer, head.partition),
            seed,
            head.sequence,
            head.intended_ns,
        );
        (head, value)
    }

    #[test]
    fn what_is_written_is_read() {
        let (head, value) = value();
        assert_eq!(read_all(&value), Ok(head));
        assert_eq!(read(KEY, &value, 99), Err(HeadError::Corrupt), "another length");
        assert_eq!(read(KEY, &value, HEAD_BYTES - 1), Err(HeadError::Foreign));
        assert_eq!(read(KEY, &value, value.len() + 1), Err(HeadError::Foreign));
        assert_eq!(read(b"k18", &value, 100), Err(HeadError::Corrupt), "another's key");
    }

    #[test]
    fn every_flipped_bit_of_the_value_is_noticed() {
        let (_, value) = value();
        for bit in 0..value.len() * 8 {
            let mut bad = value.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(read_all(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn the_filler_is_as_random_as_asked_and_repeatable() {
        let mut half = vec![0u8; 1000];
        Filler::new(1).fill(&mut half, 0.5);
        assert!(half[500..].iter().all(|b| *b == b'x'));
        assert!(half[..500].iter().filter(|b| **b == b'x').count() < 20);
        let mut again = vec![0u8; 1000];
        Filler::new(1).fill(&mut again, 0.5);
        assert_eq!(half, again);
    }
}
