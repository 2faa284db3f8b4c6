//! Zigzag varints of records (`org.apache.kafka.common.utils.ByteUtils`).
//!
//! Reading is strict: at most 5 bytes for 32 bits and 10 for 64, and no bit beyond the width.
//! Padding a short number with continuation bytes is allowed, as in Kafka.

/// Read an unsigned varint of at most 32 bits from the front of `bytes`; its value and length.
#[inline]
fn read_u32(bytes: &[u8]) -> Option<(u32, usize)> {
    let first = *bytes.first()?;
    if first < 0x80 {
        return Some((u32::from(first), 1));
    }
    let mut value = u32::from(first & 0x7f);
    for (i, byte) in bytes.iter().enumerate().take(5).skip(1) {
        if i == 4 && *byte > 0x0f {
            return None;
        }
        value |= u32::from(byte & 0x7f) << (7 * i);
        if *byte < 0x80 {
            return Some((value, i + 1));
        }
    }
    None
}

/// Read an unsigned varint of at most 64 bits from the front of `bytes`; its value and length.
#[inline]
fn read_u64(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    if first < 0x80 {
        return Some((u64::from(first), 1));
    }
    let mut value = u64::from(first & 0x7f);
    for (i, byte) in bytes.iter().enumerate().take(10).skip(1) {
        if i == 9 && *byte > 0x01 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if *byte < 0x80 {
            return Some((value, i + 1));
        }
    }
    None
}

/// Read a "varint": zigzag, 32 bits. `None` when it is cut off, over-long or overflows.
#[inline]
pub(super) fn read_varint(bytes: &[u8]) -> Option<(i32, usize)> {
    let (raw, len) = read_u32(bytes)?;
    Some((((raw >> 1) as i32) ^ -((raw & 1) as i32), len))
}

/// Read a "varlong": zigzag, 64 bits. `None` when it is cut off, over-long or overflows.
#[inline]
pub(super) fn read_varlong(bytes: &[u8]) -> Option<(i64, usize)> {
    let (raw, len) = read_u64(bytes)?;
    Some((((raw >> 1) as i64) ^ -((raw & 1) as i64), len))
}

/// Bytes that [`write_varlong`] takes for `value`; the same for a "varint" of that value.
#[inline]
pub(super) fn varlong_len(value: i64) -> usize {
    let raw = ((value << 1) ^ (value >> 63)) as u64;
    // One byte per started group of seven bits; zero has one group.
    (70 - (raw | 1).leading_zeros() as usize) / 7
}

/// Append `value` as a "varlong"; for a value of 32 bits the same bytes are its "varint".
#[inline]
pub(super) fn write_varlong(out: &mut Vec<u8>, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)) as u64;
    while raw >= 0x80 {
        out.push(raw as u8 | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip_and_their_length_is_known() {
        let mut numbers = vec![0, 1, -1, 63, 64, -64, -65, i64::MAX, i64::MIN];
        numbers.extend((0..63).flat_map(|s| [1i64 << s, -(1i64 << s), (1i64 << s) - 1]));
        for n in numbers {
            let mut out = Vec::new();
            write_varlong(&mut out, n);
            assert_eq!(out.len(), varlong_len(n), "{n}");
            assert_eq!(read_varlong(&out), Some((n, out.len())), "{n}");
            let as_int = i32::try_from(n).ok().map(|n| (n, out.len()));
            assert_eq!(read_varint(&out), as_int, "{n}");
            for cut in 0..out.len() {
                assert_eq!(read_varlong(&out[..cut]), None, "{n} cut at {cut}");
            }
        }
    }

    #[test]
    fn over_long_and_overflowing_numbers_are_refused() {
        assert_eq!(read_varint(&[0x80; 6]), None);
        assert_eq!(read_varint(&[0xff, 0xff, 0xff, 0xff, 0x1f]), None);
        assert_eq!(read_varint(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Some((i32::MIN, 5)));
        assert_eq!(read_varlong(&[0x80; 11]), None);
        let mut widest = [0xff; 10];
        widest[9] = 0x01;
        assert_eq!(read_varlong(&widest), Some((i64::MIN, 10)));
        widest[9] = 0x02;
        assert_eq!(read_varlong(&widest), None);
        // Padding is allowed.
        assert_eq!(read_varint(&[0x82, 0x00]), Some((1, 2)));
    }
}
