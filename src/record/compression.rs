//! Kafka's four codecs behind one enum, with a ceiling on what comes out.
//!
//! Sizes that the compressed bytes declare are believed only as far as the format can keep the
//! promise (snappy) or not at all (the others stream). What may come out is the caller's number;
//! besides it, a decoder holds at most its window: 8 MiB for lz4, 128 MiB of address space for
//! zstd (level 22 declares that much; it becomes resident only as output is produced).
//! The broker decompresses to check, never to serve.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read, Write};

/// How the records of a batch are compressed (attribute bits 0 to 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Codec {
    /// Not at all.
    #[default]
    None = 0,
    /// RFC 1952.
    Gzip = 1,
    /// Snappy blocks; framed as in the xerial library by Java, bare by librdkafka.
    Snappy = 2,
    /// The LZ4 frame format.
    Lz4 = 3,
    /// Zstandard (KIP-110); Produce from version 7, Fetch from version 10.
    Zstd = 4,
}

impl Codec {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// Number on the wire.
    pub fn id(self) -> u8 {
        self as u8
    }

    /// The codec of a number on the wire.
    pub fn from_id(id: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.id() == id)
    }

    /// Kafka's name of it, as in `compression.type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Codec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|codec| codec.name() == text).ok_or_else(|| {
            format!("unknown codec {text:?}; there are none, gzip, snappy, lz4 and zstd")
        })
    }
}

/// Why bytes could not be decompressed (or compressed).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompressionError {
    /// More comes out than the caller allows.
    TooLarge {
        /// The codec.
        codec: Codec,
        /// The ceiling, in bytes.
        output_max: usize,
    },
    /// The bytes are not what the codec writes.
    Malformed {
        /// The codec.
        codec: Codec,
        /// What the decoder says.
        reason: String,
    },
}

impl CompressionError {
    pub(super) fn malformed(codec: Codec, error: &io::Error) -> Self {
        Self::Malformed { codec, reason: error.to_string() }
    }
}

impl fmt::Display for CompressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { codec, output_max } => write!(
                f,
                "the {codec} block decompresses to more than the {output_max} bytes allowed here"
            ),
            Self::Malformed { codec, reason } => {
                write!(f, "the {codec} block cannot be decompressed: {reason}")
            }
        }
    }
}

impl std::error::Error for CompressionError {}

/// Decompress `input`; without a codec it is returned as it is.
///
/// # Errors
/// When the bytes are malformed, or more than `output_max` bytes come out.
pub fn decompress(
    codec: Codec,
    input: &[u8],
    output_max: usize,
) -> Result<Cow<'_, [u8]>, CompressionError> {
    if codec == Codec::None {
        let too_large = CompressionError::TooLarge { codec, output_max };
        return if input.len() > output_max { Err(too_large) } else { Ok(Cow::Borrowed(input)) };
    }
    let mut decompression = Decompression::new(codec, input, output_max)?;
    while !decompression.step(usize::MAX)? {}
    Ok(Cow::Owned(decompression.finish()))
}

/// A decompression that is done piece by piece, for callers that have others to think of.
///
/// A piece may be as large as one block of the format: 4 MiB for lz4, and for snappy what one
/// block expands to, which may be all of it.
pub struct Decompression<'a> {
    reader: Box<dyn Read + 'a>,
    codec: Codec,
    output_max: usize,
    output: Vec<u8>,
}

impl<'a> Decompression<'a> {
    /// Of `input`, out of which at most `output_max` bytes may come.
    ///
    /// # Errors
    /// When the decoder cannot begin.
    pub fn new(codec: Codec, input: &'a [u8], output_max: usize) -> Result<Self, CompressionError> {
        let reader = open(codec, input).map_err(|e| CompressionError::malformed(codec, &e))?;
        Ok(Self { reader, codec, output_max, output: Vec::new() })
    }

    /// Go on for `bytes` of output; whether that was all.
    ///
    /// # Errors
    /// When the input is malformed, or more comes out than may.
    pub fn step(&mut self, bytes: usize) -> Result<bool, CompressionError> {
        let (codec, output_max) = (self.codec, self.output_max);
        // One more than may come out, to see it.
        let left = output_max.saturating_add(1).saturating_sub(self.output.len());
        let wanted = bytes.min(left);
        let mut piece = (&mut self.reader).take(u64::try_from(wanted).unwrap_or(u64::MAX));
        let come = piece
            .read_to_end(&mut self.output)
            .map_err(|error| CompressionError::malformed(codec, &error))?;
        if self.output.len() > output_max {
            return Err(CompressionError::TooLarge { codec, output_max });
        }
        Ok(come < wanted)
    }

    /// What has come out.
    pub fn finish(self) -> Vec<u8> {
        self.output
    }
}

/// A reader of what `input` decompresses to. Memory: a window, never the whole output.
pub(super) fn open(codec: Codec, input: &[u8]) -> io::Result<Box<dyn Read + '_>> {
    Ok(match codec {
        Codec::None => Box::new(input),
        Codec::Gzip => Box::new(flate2::read::MultiGzDecoder::new(input)),
        Codec::Snappy => Box::new(SnappyReader::new(input)),
        Codec::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(input)),
        Codec::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Box::new(decoder)
        }
    })
}

/// The largest window that zstd's levels use, and what Kafka's Java decoder takes: 128 MiB.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Compress `input`, appending to `output`. `level` is gzip's 1-9 or zstd's 1-22; `None` takes
/// Kafka's default; snappy and lz4 have no levels here. Without a codec the bytes are copied.
///
/// # Errors
/// When the encoder refuses (an input beyond its format's limits).
pub fn compress(
    codec: Codec,
    level: Option<i32>,
    input: &[u8],
    output: &mut Vec<u8>,
) -> Result<(), CompressionError> {
    let mut compression = Compression::new(codec, level, output)?;
    compression.write(input)?;
    compression.finish().map(drop)
}

/// A compression that is fed piece by piece. How it is cut into pieces does not show in what comes
/// out, but in gzip's: that encoder chooses by the input it has seen. It opens to the same.
pub struct Compression<W: Write> {
    codec: Codec,
    encoder: Encoder<W>,
}

enum Encoder<W: Write> {
    None(W),
    Gzip(flate2::write::GzEncoder<W>),
    Snappy(Box<SnappyWriter<W>>),
    Lz4(lz4_flex::frame::FrameEncoder<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> Compression<W> {
    /// Into `output`; the levels are those of [`compress`].
    ///
    /// # Errors
    /// When the encoder cannot begin.
    pub fn new(codec: Codec, level: Option<i32>, output: W) -> Result<Self, CompressionError> {
        let encoder = match codec {
            Codec::None => Ok(Encoder::None(output)),
            Codec::Gzip => {
                let level = level.map_or(6, |level| level.clamp(1, 9) as u32);
                let level = flate2::Compression::new(level);
                Ok(Encoder::Gzip(flate2::write::GzEncoder::new(output, level)))
            }
            Codec::Snappy => SnappyWriter::new(output).map(Box::new).map(Encoder::Snappy),
            Codec::Lz4 => Ok(Encoder::Lz4(lz4_encoder(output))),
            Codec::Zstd => {
                zstd::stream::write::Encoder::new(output, level.unwrap_or(3)).map(Encoder::Zstd)
            }
        };
        let encoder = encoder.map_err(|error| CompressionError::malformed(codec, &error))?;
        Ok(Self { codec, encoder })
    }

    /// Compress `piece` behind those before it.
    ///
    /// # Errors
    /// When the encoder refuses (an input beyond its format's limits).
    pub fn write(&mut self, piece: &[u8]) -> Result<(), CompressionError> {
        let written = match &mut self.encoder {
            Encoder::None(output) => output.write_all(piece),
            Encoder::Gzip(encoder) => encoder.write_all(piece),
            Encoder::Snappy(encoder) => encoder.write_all(piece),
            Encoder::Lz4(encoder) => encoder.write_all(piece),
            Encoder::Zstd(encoder) => encoder.write_all(piece),
        };
        written.map_err(|error| CompressionError::malformed(self.codec, &error))
    }

    /// Write what the format ends with, and give the output back.
    ///
    /// # Errors
    /// See [`Self::write`].
    pub fn finish(self) -> Result<W, CompressionError> {
        let finished = match self.encoder {
            Encoder::None(output) => Ok(output),
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Snappy(encoder) => encoder.finish(),
            Encoder::Lz4(encoder) => encoder.finish().map_err(io::Error::other),
            Encoder::Zstd(encoder) => encoder.finish(),
        };
        finished.map_err(|error| CompressionError::malformed(self.codec, &error))
    }
}

fn lz4_encoder<W: Write>(output: W) -> lz4_flex::frame::FrameEncoder<W> {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    // Java's reader takes independent blocks only (`Lz4BlockInputStream`) and writes 64 KiB.
    let frame = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
    FrameEncoder::with_frame_info(frame, output)
}

/// What the xerial library writes first: a magic, its version and the oldest compatible one.
const XERIAL_HEADER: [u8; 16] =
    [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
/// Its magic alone; the two versions behind it are not judged (as in xerial's own reader).
const XERIAL_MAGIC: &[u8] = XERIAL_HEADER.split_at(8).0;
/// Uncompressed bytes of a block that xerial writes.
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;
/// A snappy copy turns at best 3 bytes into 64: no block can expand further.
const SNAPPY_EXPANSION_MAX: usize = 22;

/// Compresses into blocks as xerial writes them.
struct SnappyWriter<W> {
    output: W,
    encoder: snap::raw::Encoder,
    /// Of the next block, uncompressed.
    plain: Vec<u8>,
    packed: Vec<u8>,
}

impl<W: Write> SnappyWriter<W> {
    fn new(mut output: W) -> io::Result<Self> {
        output.write_all(&XERIAL_HEADER)?;
        let packed = vec![0; snap::raw::max_compress_len(XERIAL_BLOCK_BYTES)];
        let plain = Vec::with_capacity(XERIAL_BLOCK_BYTES);
        Ok(Self { output, encoder: snap::raw::Encoder::new(), plain, packed })
    }

    fn write_all(&mut self, mut piece: &[u8]) -> io::Result<()> {
        while !piece.is_empty() {
            let fits = piece.len().min(XERIAL_BLOCK_BYTES - self.plain.len());
            let (now, later) = piece.split_at(fits);
            self.plain.extend_from_slice(now);
            piece = later;
            if self.plain.len() == XERIAL_BLOCK_BYTES {
                self.end_block()?;
            }
        }
        Ok(())
    }

    fn end_block(&mut self) -> io::Result<()> {
        let len = self.encoder.compress(&self.plain, &mut self.packed)?;
        self.plain.clear();
        let prefix = u32::try_from(len).map_err(io::Error::other)?;
        self.output.write_all(&prefix.to_be_bytes())?;
        self.output.write_all(self.packed.get(..len).unwrap_or_default())
    }

    fn finish(mut self) -> io::Result<W> {
        if !self.plain.is_empty() {
            self.end_block()?;
        }
        Ok(self.output)
    }
}

/// Decompresses snappy block by block, framed or bare.
struct SnappyReader<'a> {
    /// Framed: what is left behind the current block. Bare: the only block, until it is taken.
    rest: &'a [u8],
    framed: bool,
    block: Vec<u8>,
    position: usize,
}

impl<'a> SnappyReader<'a> {
    fn new(input: &'a [u8]) -> Self {
        let framed = input.starts_with(XERIAL_MAGIC);
        let rest =
            if framed { input.get(XERIAL_HEADER.len()..).unwrap_or_default() } else { input };
        Self { rest, framed, block: Vec::new(), position: 0 }
    }

    /// The next compressed block; `None` at the end.
    fn next_block(&mut self) -> io::Result<Option<&'a [u8]>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        if !self.framed {
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        // Streams that were glued together repeat the header (xerial's reader allows it).
        if self.rest.starts_with(XERIAL_MAGIC) {
            self.rest = self.rest.get(XERIAL_HEADER.len()..).unwrap_or_default();
            return self.next_block_of_frame();
        }
        self.next_block_of_frame()
    }

    fn next_block_of_frame(&mut self) -> io::Result<Option<&'a [u8]>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let cut_off = || io::Error::other("a snappy block is cut off");
        let (prefix, rest) = self.rest.split_first_chunk::<4>().ok_or_else(cut_off)?;
        let len = usize::try_from(u32::from_be_bytes(*prefix)).map_err(io::Error::other)?;
        let (block, rest) = rest.split_at_checked(len).ok_or_else(cut_off)?;
        self.rest = rest;
        Ok(Some(block))
    }
}

impl Read for SnappyReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.position == self.block.len() {
            let Some(block) = self.next_block()? else { return Ok(0) };
            let declared = snap::raw::decompress_len(block)?;
            if declared > block.len().saturating_mul(SNAPPY_EXPANSION_MAX) {
                return Err(io::Error::other(format!(
                    "a snappy block of {} bytes claims to hold {declared}",
                    block.len()
                )));
            }
            self.position = 0;
            self.block.resize(declared, 0);
            snap::raw::Decoder::new().decompress(block, &mut self.block)?;
        }
        let ready = self.block.get(self.position..).unwrap_or_default();
        let len = ready.len().min(out.len());
        if let (Some(out), Some(ready)) = (out.get_mut(..len), ready.get(..len)) {
            out.copy_from_slice(ready);
        }
        self.position += len;
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(len: usize) -> Vec<u8> {
        (0..len).map(|i| if i % 7 < 5 { b'a' } else { (i * i) as u8 }).collect()
    }

    #[test]
    fn every_codec_round_trips_every_size() {
        for codec in Codec::ALL {
            for len in [0, 1, 15, 16, 17, 1000, 32 * 1024, 32 * 1024 + 1, 300_000] {
                let plain = sample(len);
                let mut packed = Vec::new();
                compress(codec, None, &plain, &mut packed).unwrap();
                let back = decompress(codec, &packed, len).unwrap();
                assert_eq!(back, plain, "{codec} {len}");
                if len > 0 {
                    assert_eq!(
                        decompress(codec, &packed, len - 1),
                        Err(CompressionError::TooLarge { codec, output_max: len - 1 }),
                        "{codec} {len}"
                    );
                }
            }
        }
    }

    /// What the encoders make of an input that they are given whole.
    fn packed_at_once(codec: Codec, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match codec {
            Codec::None => out.extend_from_slice(plain),
            Codec::Gzip => {
                let level = flate2::Compression::new(6);
                let mut encoder = flate2::write::GzEncoder::new(&mut out, level);
                encoder.write_all(plain).unwrap();
                encoder.finish().unwrap();
            }
            Codec::Snappy => {
                out.extend_from_slice(&XERIAL_HEADER);
                for block in plain.chunks(XERIAL_BLOCK_BYTES) {
                    let packed = snap::raw::Encoder::new().compress_vec(block).unwrap();
                    out.extend_from_slice(&(packed.len() as u32).to_be_bytes());
                    out.extend_from_slice(&packed);
                }
            }
            Codec::Lz4 => {
                let mut encoder = lz4_encoder(&mut out);
                encoder.write_all(plain).unwrap();
                encoder.finish().unwrap();
            }
            Codec::Zstd => zstd::stream::copy_encode(plain, &mut out, 3).unwrap(),
        }
        out
    }

    #[test]
    fn pieces_give_the_same_bytes_as_the_whole() {
        for codec in Codec::ALL {
            for len in [0, 1000, 32 * 1024, 700_001] {
                let plain = sample(len);
                let packed = packed_at_once(codec, &plain);
                for piece in [1, 777, 32 * 1024, 256 << 10, 1 << 20] {
                    let mut compression = Compression::new(codec, None, Vec::new()).unwrap();
                    plain.chunks(piece).for_each(|piece| compression.write(piece).unwrap());
                    let pieced = compression.finish().unwrap();
                    let is_same = pieced == packed || codec == Codec::Gzip;
                    assert!(is_same, "{codec} {len} by {piece}");
                    let mut decompression = Decompression::new(codec, &pieced, len).unwrap();
                    let mut steps = 1;
                    while !decompression.step(piece).unwrap() {
                        steps += 1;
                    }
                    assert_eq!(steps, len / piece + 1, "{codec} {len} by {piece}");
                    assert!(decompression.finish() == plain, "{codec} {len} by {piece}");
                }
            }
        }
    }

    #[test]
    fn bare_snappy_and_glued_xerial_streams_are_read() {
        for len in [1, 16, 17, 100_000] {
            let plain = sample(len);
            let bare = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
            assert_eq!(decompress(Codec::Snappy, &bare, len).unwrap(), plain);
            let mut glued = Vec::new();
            compress(Codec::Snappy, None, &plain, &mut glued).unwrap();
            glued.extend_from_within(..);
            let twice = [plain.clone(), plain].concat();
            assert_eq!(decompress(Codec::Snappy, &glued, 2 * len).unwrap(), twice);
        }
    }

    #[test]
    fn a_snappy_block_cannot_claim_more_than_the_format_can_hold() {
        // A bare block that declares 2 GiB, and the same inside the framing.
        let bare = [0xff, 0xff, 0xff, 0xff, 0x07, 0, 0];
        let mut framed = XERIAL_HEADER.to_vec();
        framed.extend_from_slice(&(bare.len() as u32).to_be_bytes());
        framed.extend_from_slice(&bare);
        for input in [&bare[..], &framed[..]] {
            let error = decompress(Codec::Snappy, input, usize::MAX).unwrap_err();
            assert!(error.to_string().contains("claims to hold"), "{error}");
        }
    }

    #[test]
    fn a_bomb_ends_at_the_ceiling() {
        let zeros = vec![0u8; 64 << 20];
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let mut bomb = Vec::new();
            compress(codec, None, &zeros, &mut bomb).unwrap();
            let output_max = 1 << 20;
            assert_eq!(
                decompress(codec, &bomb, output_max),
                Err(CompressionError::TooLarge { codec, output_max })
            );
        }
    }

    #[test]
    fn cut_off_input_never_gives_the_whole() {
        let plain = sample(5000);
        for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let mut packed = Vec::new();
            compress(codec, None, &plain, &mut packed).unwrap();
            // An lz4 frame ends with a mark of four bytes that carries no content.
            let whole = if codec == Codec::Lz4 { packed.len() - 4 } else { packed.len() };
            for cut in 0..whole {
                if let Ok(got) = decompress(codec, &packed[..cut], plain.len()) {
                    assert!(got.len() < plain.len(), "{codec} cut at {cut}");
                }
            }
        }
    }

    #[test]
    fn names_and_numbers_are_kafkas() {
        for (id, name) in ["none", "gzip", "snappy", "lz4", "zstd"].into_iter().enumerate() {
            let codec = Codec::from_id(id as u8).unwrap();
            assert_eq!((codec.name(), name.parse::<Codec>()), (name, Ok(codec)));
        }
        assert_eq!(Codec::from_id(5), None);
        assert!("brotli".parse::<Codec>().unwrap_err().contains("zstd"));
    }
}
