//! Compressed batches: the template's plain batch packed behind its own header, and back.
//!
//! Compression costs the generator far more than everything else it does per batch; that is the
//! price of producing like a compressing client, and the report's CPU line shows it.

use thalweg::record::{self, Codec, CompressionError};

use crate::batch::{HEADER_BYTES, reseal};

/// Most bytes one batch may decompress to.
const PLAIN_BYTES_MAX: usize = 512 << 20;

/// Room for one batch before and after.
#[derive(Debug)]
pub struct Press {
    codec: Codec,
    /// The plain batch: a copy of the template, to be patched.
    pub plain: Vec<u8>,
    packed: Vec<u8>,
}

impl Press {
    /// For batches that begin as `template`.
    pub fn new(codec: Codec, template: &[u8]) -> Self {
        Self { codec, plain: template.to_vec(), packed: Vec::new() }
    }

    /// Pack the first `len` bytes of the plain batch; returns the sealed compressed batch.
    ///
    /// # Errors
    /// When the encoder refuses, which none does for batches of this size.
    pub fn pack(&mut self, len: usize) -> Result<&[u8], CompressionError> {
        self.packed.clear();
        self.packed.extend_from_slice(&self.plain[..HEADER_BYTES]);
        record::compress(self.codec, None, &self.plain[HEADER_BYTES..len], &mut self.packed)?;
        reseal(&mut self.packed, self.codec.id());
        Ok(&self.packed)
    }
}

/// Room to leave for a compressed batch of `plain` bytes: noise grows when it is compressed,
/// with snappy by a sixth.
pub fn packed_bytes_max(plain: usize) -> usize {
    plain + plain / 5 + 4096
}

/// Decompress the records of `batch` into `out`.
///
/// # Errors
/// When the codec is unknown or the bytes are not what it writes.
pub fn decompress(batch: &[u8], out: &mut Vec<u8>) -> Result<(), CompressionError> {
    let codec = Codec::from_id(batch[22] & 7).ok_or(CompressionError::Malformed {
        codec: Codec::None,
        reason: format!("codec number {}", batch[22] & 7),
    })?;
    let plain = record::decompress(codec, &batch[HEADER_BYTES..], PLAIN_BYTES_MAX)?;
    out.clear();
    out.extend_from_slice(&plain);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchFields, Shape, Template};

    #[test]
    fn every_codec_comes_back_and_noise_fits_its_room() {
        for codec in Codec::ALL.into_iter().skip(1) {
            for random_share in [0.0, 0.5, 1.0] {
                let template = Template::new(
                    3,
                    100,
                    &Shape { sizes: Some(200.into()), random_share, ..Shape::default() },
                );
                let mut press = Press::new(codec, template.bytes());
                let fields = BatchFields {
                    producer: 0,
                    partition: 0,
                    records: 90,
                    first_sequence: 0,
                    timestamp_ms: 5,
                    producer_id: -1,
                    producer_epoch: -1,
                };
                let len = template.patch(&mut press.plain, &fields, |_| 1);
                let packed = press.pack(len).unwrap().to_vec();
                assert!(packed.len() <= packed_bytes_max(len), "{codec}: {}", packed.len());
                assert!(random_share > 0.9 || packed.len() < len, "{codec} saves something");
                let mut plain = Vec::new();
                decompress(&packed, &mut plain).unwrap();
                assert!(plain == press.plain[HEADER_BYTES..len], "{codec}");
                let mut oracle = bytes::Bytes::from(packed);
                let set =
                    kafka_protocol::records::RecordBatchDecoder::decode_with_custom_compression(
                        &mut oracle,
                        Some(|_: &mut bytes::Bytes, _| Ok(bytes::Bytes::from(plain.clone()))),
                    );
                assert_eq!(set.unwrap().records.len(), 90, "{codec}: header and checksum hold");
            }
        }
    }
}
