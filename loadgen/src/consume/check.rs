//! Reading record batches in place: where the next fetch begins, and whether every record is
//! what its head says. One pass over the headers decides the next offset, so that the next
//! request is on its way while the second pass verifies.

use crate::batch::HEADER_BYTES;
use crate::payload::{self, Head, HeadError};
use crate::request::{Malformed, Walk};
use crate::verify::{Oddities, Seen};

/// One partition as a consumer follows it.
#[derive(Debug)]
pub struct Followed {
    /// The partition.
    pub partition: u32,
    /// Offset of the next record wanted.
    pub position: i64,
    /// Offset of the next record to verify; behind `position` while an answer is being verified.
    pub verified: i64,
    /// The broker's last word on how far readers may go.
    pub high_watermark: i64,
    /// Whether the broker, asked for what is still to come after all of it was written, has given
    /// nothing: then it is lost, while nobody knows of what the time did not suffice to read.
    pub is_denied: bool,
    /// What was seen of each producer, by its number.
    pub seen: Vec<Seen>,
}

impl Followed {
    /// Begin at `offset`.
    pub fn new(partition: u32, offset: i64) -> Self {
        Self {
            partition,
            position: offset,
            verified: offset,
            high_watermark: -1,
            is_denied: false,
            seen: Vec::new(),
        }
    }
}

/// What to check and against which run.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Random number of the run.
    pub run: u32,
    /// Producers are numbered below this.
    pub producers: u32,
    /// Compute every batch's CRC-32C.
    pub check_crc: bool,
    /// Compare sequences; false against a source that repeats itself.
    pub check_order: bool,
}

/// One whole batch: its header's fields that matter here, and its bytes.
#[derive(Clone, Copy, Debug)]
struct Batch<'a> {
    base_offset: i64,
    last_offset: i64,
    bytes: &'a [u8],
}

impl Rules {
    /// Whether this run wrote it, as far as that matters.
    #[inline]
    fn is_mine(&self, head: &Head) -> bool {
        !self.check_order || (head.run == self.run && head.producer < self.producers)
    }
}

/// The next whole batch of `records`, which is cut off behind it; `None` when only a part of one
/// (or nothing) is left.
fn next_batch<'a>(records: &mut &'a [u8]) -> Result<Option<Batch<'a>>, Malformed> {
    let Some(header) = records.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let mut walk = Walk(header);
    let base_offset = walk.i64()?;
    let length = walk.i32()?;
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length >= HEADER_BYTES - 12)
        .ok_or(Malformed("a batch length is too small"))?;
    if header[16] != 2 {
        return Err(Malformed("a batch is not of magic 2"));
    }
    let Some((bytes, rest)) = records.split_at_checked(12 + length) else { return Ok(None) };
    if base_offset < 0 {
        return Err(Malformed("a batch has a negative offset"));
    }
    let last_offset = base_offset
        .checked_add(last_delta(header, bytes)?)
        .ok_or(Malformed("a batch passes the largest offset"))?;
    *records = rest;
    Ok(Some(Batch { base_offset, last_offset, bytes }))
}

/// How many offsets behind its first a batch ends. A flipped bit there must not carry a reader
/// past records that it never saw: unless the count of records says the same (it does not after a
/// compaction), the checksum has to hold, or the smaller of both counts.
fn last_delta(header: &[u8; HEADER_BYTES], batch: &[u8]) -> Result<i64, Malformed> {
    let delta = i64::from(Walk(&header[23..]).i32()?);
    let by_count = i64::from(Walk(&header[57..]).i32()?) - 1;
    let is_sound = delta == by_count || crc_matches(batch);
    let found = if is_sound { delta } else { delta.min(by_count) };
    Ok(found.max(0))
}

/// The offset behind the last whole batch of `records`, at least `position`.
///
/// # Errors
/// When a header is not one.
pub fn next_position(mut records: &[u8], position: i64) -> Result<i64, Malformed> {
    let mut next = position;
    while let Some(batch) = next_batch(&mut records)? {
        next = next.max(batch.last_offset + 1);
    }
    Ok(next)
}

/// What one pass over an answer found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pass {
    /// Records of this run.
    pub records: u64,
    /// Bytes of whole batches.
    pub bytes: u64,
}

/// Verify all whole batches of `records`. `latency` is called with an intended time and how many
/// consecutive records have it.
pub fn verify(
    rules: &Rules,
    followed: &mut Followed,
    mut records: &[u8],
    odd: &mut Oddities,
    scratch: &mut Vec<u8>,
    mut latency: impl FnMut(u64, u64),
) -> Pass {
    let mut pass = Pass::default();
    loop {
        match next_batch(&mut records) {
            Ok(None) => return pass,
            Err(_) => {
                odd.corrupt_batches += 1;
                return pass;
            }
            Ok(Some(batch)) => {
                pass.bytes += batch.bytes.len() as u64;
                let sound = !rules.check_crc || crc_matches(batch.bytes);
                let read = sound
                    .then(|| read_batch(rules, followed, &batch, odd, scratch, &mut latency))
                    .and_then(Result::ok);
                match read {
                    Some(read) => pass.records += read,
                    None => odd.corrupt_batches += 1,
                }
                followed.verified = followed.verified.max(batch.last_offset + 1);
            }
        }
    }
}

fn crc_matches(batch: &[u8]) -> bool {
    let stored = u32::from_be_bytes([batch[17], batch[18], batch[19], batch[20]]);
    crc32c::crc32c(&batch[21..]) == stored
}

/// Verify the records of one batch; returns how many belong to this run.
fn read_batch(
    rules: &Rules,
    followed: &mut Followed,
    batch: &Batch<'_>,
    odd: &mut Oddities,
    scratch: &mut Vec<u8>,
    latency: &mut impl FnMut(u64, u64),
) -> Result<u64, Malformed> {
    let attributes = u16::from_be_bytes([batch.bytes[21], batch.bytes[22]]);
    let is_control = attributes & 0x20 != 0;
    if is_control {
        return Ok(0);
    }
    let mut walk = match attributes & 7 {
        0 => Walk(&batch.bytes[HEADER_BYTES..]),
        _ => {
            crate::compress::decompress(batch.bytes, scratch)
                .map_err(|_| Malformed("a batch does not decompress"))?;
            Walk(scratch)
        }
    };
    let count = Walk(&batch.bytes[57..]).i32()?;
    let mut mine = 0;
    let mut same = (0u64, 0u64);
    for _ in 0..count {
        let length = usize::try_from(walk.varint()?).map_err(|_| Malformed("a negative length"))?;
        let mut record = Walk(walk.take(length)?);
        // Ours have no attributes, and all the timestamp of their batch.
        let (attributes, delta) = (record.take(1)?, record.varint()?);
        let is_plain = attributes == [0] && delta == 0;
        let offset = batch.base_offset.saturating_add(record.varint()?);
        let key = record.varint()?;
        let key = record.take(usize::try_from(key).unwrap_or(0))?;
        let value = usize::try_from(record.varint()?).unwrap_or(0);
        if value > record.0.len() {
            return Err(Malformed("a value passes its record's end"));
        }
        if offset < followed.verified {
            // A fetch from the middle of a batch brings the whole batch.
            continue;
        }
        odd.offset_gaps += u64::from(offset != followed.verified);
        followed.verified = offset + 1;
        match payload::read(key, record.0, value) {
            Ok(_) if !is_plain => odd.corrupt_records += 1,
            Ok(head) if rules.is_mine(&head) => {
                mine += 1;
                if rules.check_order {
                    if head.partition == followed.partition {
                        observe(followed, head.producer, head.sequence);
                    } else {
                        odd.misdirected += 1;
                    }
                }
                if head.intended_ns == same.0 {
                    same.1 += 1;
                } else {
                    if same.1 > 0 {
                        latency(same.0, same.1);
                    }
                    same = (head.intended_ns, 1);
                }
            }
            Ok(_) | Err(HeadError::Foreign) => odd.foreign += 1,
            Err(HeadError::Corrupt) => odd.corrupt_records += 1,
        }
    }
    if same.1 > 0 {
        latency(same.0, same.1);
    }
    if walk.0.is_empty() { Ok(mine) } else { Err(Malformed("bytes behind the last record")) }
}

#[inline]
fn observe(followed: &mut Followed, producer: u32, sequence: u64) {
    let index = producer as usize;
    if index >= followed.seen.len() {
        followed.seen.resize(index + 1, Seen::default());
    }
    followed.seen[index].observe(sequence);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{BatchFields, Headers, Keys, Shape, Template};
    use crate::verify::{Ledger, Pair, Reading, Verdict};

    const RUN: u32 = 5;
    const RULES: Rules = Rules { run: RUN, producers: 2, check_crc: true, check_order: true };

    fn batch(base_offset: i64, first_sequence: u64, records: u32, partition: u32) -> Vec<u8> {
        let shape = Shape { sizes: Some(80.into()), random_share: 1.0, ..Shape::default() };
        batch_of(&shape, base_offset, first_sequence, records, partition)
    }

    fn batch_of(
        shape: &Shape,
        base_offset: i64,
        first_sequence: u64,
        records: u32,
        partition: u32,
    ) -> Vec<u8> {
        let template = Template::new(RUN, records, shape);
        let mut bytes = template.bytes().to_vec();
        let fields = BatchFields {
            producer: 1,
            partition,
            records,
            first_sequence,
            timestamp_ms: 1,
            producer_id: -1,
            producer_epoch: -1,
        };
        template.patch(&mut bytes, &fields, |i| 100 + u64::from(i / 2));
        bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
        bytes
    }

    fn check(sent: u32, stored: &[u8]) -> (Verdict, Pass) {
        let mut followed = Followed::new(3, 0);
        let mut odd = Oddities::default();
        let pass = verify(&RULES, &mut followed, stored, &mut odd, &mut Vec::new(), |_, _| ());
        let mut ledger = Ledger::default();
        ledger.take(sent);
        let pair = Pair { ledger: &ledger, seen: followed.seen.get(1), is_broken_off: false };
        (Verdict::judge([pair].into_iter(), odd, Reading::Whole), pass)
    }

    #[test]
    fn good_batches_are_clean_and_a_cut_off_one_waits_for_the_next_fetch() {
        let stored = [batch(0, 0, 10, 3), batch(10, 10, 5, 3), batch(15, 15, 5, 3)].concat();
        let (verdict, pass) = check(20, &stored);
        assert!(verdict.is_clean(), "{verdict:?}");
        assert_eq!((pass.records, pass.bytes as usize), (20, stored.len()));
        let cut = &stored[..stored.len() - 1];
        assert_eq!(next_position(cut, 0), Ok(15));
        let (verdict, pass) = check(15, cut);
        assert!(verdict.is_clean() && pass.records == 15);
        assert_eq!(next_position(&[], 7), Ok(7));
    }

    #[test]
    fn each_kind_of_trouble_has_its_name() {
        let (a, b, c) = (batch(0, 0, 10, 3), batch(10, 10, 10, 3), batch(20, 20, 10, 3));
        let lost = check(30, &[a.clone(), c.clone()].concat()).0;
        assert_eq!((lost.lost, lost.oddities.offset_gaps), (10, 1));
        let again = batch(20, 10, 10, 3);
        let twice = check(20, &[a.clone(), b.clone(), again].concat()).0;
        assert_eq!((twice.lost, twice.duplicated), (0, 10));
        let (early, late) = (batch(10, 20, 10, 3), batch(20, 10, 10, 3));
        let swapped = check(30, &[a.clone(), early, late].concat()).0;
        assert_eq!((swapped.lost, swapped.reordered), (0, 10));
        let astray = check(20, &[a.clone(), batch(10, 10, 10, 2)].concat()).0;
        assert_eq!(astray.oddities.misdirected, 10);
        let mut flipped = b;
        let last = flipped.len() - 5;
        flipped[last] ^= 4;
        let corrupt = check(20, &[a, flipped].concat()).0;
        assert_eq!((corrupt.oddities.corrupt_batches, corrupt.lost), (1, 10));
        for verdict in [lost, twice, swapped, astray, corrupt] {
            assert!(!verdict.is_clean());
        }
    }

    #[test]
    fn a_flipped_bit_is_noticed_wherever_it_is_even_if_the_crc_was_computed_anew() {
        let keys = Keys { bytes: 5, space: 100, zipf: 0.0 };
        let shape = Shape {
            sizes: Some(50.into()),
            keys: Some((keys, 4)),
            headers: Some(Headers { count: 1, bytes: 4 }),
            random_share: 1.0,
            ..Shape::default()
        };
        let good = batch_of(&shape, 0, 0, 3, 3);
        assert!(check(3, &good).0.is_clean());
        for bit in HEADER_BYTES * 8..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let crc = crc32c::crc32c(&bad[21..]);
            bad[17..21].copy_from_slice(&crc.to_be_bytes());
            let verdict = check(3, &bad).0;
            // A wrong offset is no broken promise by itself: compaction leaves gaps, too.
            let is_noticed = !verdict.is_clean() || verdict.oddities.offset_gaps > 0;
            assert!(is_noticed, "bit {bit}: {verdict:?}");
        }
    }

    #[test]
    fn a_damaged_header_hides_no_other_batch() {
        let stored = [batch(0, 0, 10, 3), batch(10, 10, 10, 3), batch(20, 20, 10, 3)];
        let first = stored[0].len();
        for bit in 21 * 8..HEADER_BYTES * 8 {
            let mut bad = stored.concat();
            bad[first + bit / 8] ^= 1 << (bit % 8);
            let verdict = check(30, &bad).0;
            assert_eq!(verdict.oddities.corrupt_batches, 1, "bit {bit}: {verdict:?}");
            assert_eq!((verdict.lost, verdict.read), (10, 20), "bit {bit}: {verdict:?}");
            let cut = &bad[..first + stored[1].len()];
            let next = next_position(cut, 0).unwrap();
            assert!((11..=20).contains(&next), "bit {bit}: {next}");
        }
    }

    #[test]
    fn a_fetch_from_the_middle_of_a_batch_counts_each_record_once() {
        let stored = batch(0, 0, 10, 3);
        let mut followed = Followed::new(3, 0);
        let mut odd = Oddities::default();
        for _ in 0..2 {
            verify(&RULES, &mut followed, &stored, &mut odd, &mut Vec::new(), |_, _| ());
        }
        assert_eq!((followed.verified, odd), (10, Oddities::default()));
    }

    #[test]
    fn latencies_come_with_their_counts() {
        let (mut followed, mut odd) = (Followed::new(3, 0), Oddities::default());
        let mut got = Vec::new();
        let stored = batch(0, 0, 5, 3);
        verify(&RULES, &mut followed, &stored, &mut odd, &mut Vec::new(), |at, n| {
            got.push((at, n));
        });
        assert_eq!(got, [(100, 2), (101, 2), (102, 1)]);
    }

    #[test]
    fn hostile_bytes_never_panic() {
        let good = batch(0, 0, 6, 3);
        let rules = Rules { check_crc: false, ..RULES };
        for at in 0..good.len() {
            for value in [0x00, 0x7f, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                let (mut followed, mut odd) = (Followed::new(3, 0), Oddities::default());
                let _ = next_position(&bad, 0);
                verify(&rules, &mut followed, &bad, &mut odd, &mut Vec::new(), |_, _| ());
            }
        }
    }
}
