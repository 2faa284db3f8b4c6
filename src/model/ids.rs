//! Identities of brokers, shards, topics and producers.

use std::fmt;
use std::str::FromStr;

/// A broker's number in the cluster (`node.id`).
pub type NodeId = i32;

/// One shard: a core and everything it owns. Shards count from 0.
pub type ShardId = u16;

/// Identity of an idempotent producer; -1 means "not idempotent".
pub type ProducerId = i64;

/// Incarnation of an idempotent producer; -1 with producer id -1.
pub type ProducerEpoch = i16;

/// 128-bit identity of a topic, a directory or a cluster.
///
/// Kafka prints it as 22 characters of URL-safe base64 without padding
/// (`org.apache.kafka.common.Uuid`); so do we.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Uuid(pub [u8; 16]);

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl Uuid {
    /// "No id": all bits zero.
    pub const ZERO: Self = Self([0; 16]);
    /// The fixed id of `__cluster_metadata` (KIP-516, KIP-595).
    pub const METADATA_TOPIC: Self = Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    /// A random id from the kernel's generator; never zero, never one of the reserved ids, and
    /// never printed with a leading dash (as in Kafka: tools would take it for an option).
    ///
    /// # Panics
    /// When the kernel refuses random bytes, which it does not after boot.
    pub fn random() -> Self {
        loop {
            let mut bytes = [0u8; 16];
            getrandom::fill(&mut bytes).expect("getrandom(2) works once the kernel has booted");
            // Version 4, variant 1, as RFC 9562 asks.
            bytes[6] = (bytes[6] & 0x0f) | 0x40;
            bytes[8] = (bytes[8] & 0x3f) | 0x80;
            let id = Self(bytes);
            if !id.to_string().starts_with('-') {
                return id;
            }
        }
    }

    /// Whether this is [`Uuid::ZERO`].
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = [0u8; 22];
        let bits = u128::from_be_bytes(self.0);
        for (i, slot) in out.iter_mut().enumerate() {
            // 21 whole groups of six bits, then two bits followed by four zeros.
            let group = if i < 21 { (bits >> (122 - 6 * i)) & 0x3f } else { (bits << 4) & 0x3f };
            *slot = ALPHABET[group as usize];
        }
        f.write_str(std::str::from_utf8(&out).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Uuid {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() != 22 {
            return Err(format!("id {text:?} has {} characters; ids have 22", text.len()));
        }
        let mut bits: u128 = 0;
        for (i, c) in text.bytes().enumerate() {
            let value = ALPHABET.iter().position(|a| *a == c).ok_or_else(|| {
                format!("id {text:?} has {:?} in it; ids use A-Z a-z 0-9 - _", c as char)
            })? as u128;
            bits = if i < 21 { (bits << 6) | value } else { (bits << 2) | (value >> 4) };
        }
        Ok(Self(bits.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuid_text_is_kafkas_and_round_trips() {
        // Kafka prints the metadata topic's id so (Uuid.METADATA_TOPIC_ID).
        assert_eq!(Uuid::METADATA_TOPIC.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        for _ in 0..1000 {
            let id = Uuid::random();
            assert_eq!(id.to_string().parse::<Uuid>().unwrap(), id);
            assert!(!id.to_string().starts_with('-'));
        }
        assert!("short".parse::<Uuid>().is_err());
        assert!("!AAAAAAAAAAAAAAAAAAAAQ".parse::<Uuid>().is_err());
    }
}
