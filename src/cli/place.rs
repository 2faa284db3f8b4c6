//! Where `consume` begins: `start`, `end`, an offset, so many before the end, a time.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::{Offset, TimestampMs};

/// A place to begin reading, in each partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Start,
    End,
    Offset(Offset),
    /// So many offsets before the end.
    BeforeEnd(i64),
    /// First record at or after this time.
    Time(TimestampMs),
}

impl std::str::FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "start" | "beginning" | "earliest" => return Ok(Self::Start),
            "end" | "latest" => return Ok(Self::End),
            _ => {}
        }
        if let Some(time) = text.strip_prefix('@') {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
            return parse_time(time, now_ms).map(Self::Time);
        }
        match text.parse::<i64>() {
            Ok(n) if n < 0 => Ok(Self::BeforeEnd(n.saturating_neg())),
            Ok(n) => Ok(Self::Offset(n)),
            Err(_) => Err("write start, end, an offset, -N (N before the end) or @TIME".into()),
        }
    }
}

/// Milliseconds since 1970, `-15m` before now, or a UTC date `2026-11-21` or
/// `2026-11-21T03:00:00Z`.
pub(super) fn parse_time(text: &str, now_ms: TimestampMs) -> Result<TimestampMs, String> {
    let wrong = || {
        format!(
            "time {text:?}: write milliseconds since 1970, -N with s, m, h or d (before now), \
             2026-11-21 or 2026-11-21T03:00:00Z"
        )
    };
    if let Ok(ms) = text.parse::<i64>()
        && ms >= 0
    {
        return Ok(ms);
    }
    if let Some(ago) = text.strip_prefix('-') {
        let unit_ms = match ago.chars().last() {
            Some('s') => 1000,
            Some('m') => 60_000,
            Some('h') => 3_600_000,
            Some('d') => 86_400_000,
            _ => return Err(wrong()),
        };
        let count: i64 = ago[..ago.len() - 1].parse().map_err(|_| wrong())?;
        let ago_ms = count.checked_mul(unit_ms).filter(|ms| *ms >= 0).ok_or_else(wrong)?;
        return Ok(now_ms.saturating_sub(ago_ms).max(0));
    }
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, time.strip_suffix('Z').ok_or_else(wrong)?),
        None => (text, "00:00:00"),
    };
    let number = |text: &str, digits: usize| -> Option<i64> {
        let is_number = text.len() == digits && text.bytes().all(|b| b.is_ascii_digit());
        is_number.then(|| text.parse().ok()).flatten()
    };
    let fields = |text: &str, separator: char, digits: [usize; 3]| -> Option<[i64; 3]> {
        let parts: Vec<&str> = text.split(separator).collect();
        let [a, b, c] = parts.as_slice() else { return None };
        Some([number(a, digits[0])?, number(b, digits[1])?, number(c, digits[2])?])
    };
    let [year, month, day] = fields(date, '-', [4, 2, 2]).ok_or_else(wrong)?;
    let [hour, minute, second] = fields(time, ':', [2, 2, 2]).ok_or_else(wrong)?;
    let is_real = year >= 1970
        && (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !is_real {
        return Err(wrong());
    }
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Ok(seconds * 1000)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let years: i64 = (1970..year).map(|y| 365 + i64::from(is_leap(y))).sum();
    let months: i64 = (1..month).map(|m| days_in_month(year, m)).sum();
    years + months + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_written() {
        assert_eq!("start".parse(), Ok(Place::Start));
        assert_eq!("latest".parse(), Ok(Place::End));
        assert_eq!("12".parse(), Ok(Place::Offset(12)));
        assert_eq!("-5".parse(), Ok(Place::BeforeEnd(5)));
        assert_eq!("@1700000000000".parse(), Ok(Place::Time(1_700_000_000_000)));
        assert!("soon".parse::<Place>().unwrap_err().contains("@TIME"));
    }

    #[test]
    fn times_are_utc() {
        let now = 1_700_000_000_000;
        let time = |text| parse_time(text, now);
        // From `date -u +%s -d ...`.
        assert_eq!(time("2026-11-21T03:04:05Z"), Ok(1_795_230_245_000));
        assert_eq!(time("2024-02-29"), Ok(1_709_164_800_000));
        assert_eq!(time("1970-01-01T00:00:00Z"), Ok(0));
        assert_eq!(time("-15m"), Ok(now - 900_000));
        assert_eq!(time("-2d"), Ok(now - 172_800_000));
        for bad in ["", "-5", "--5m", "2025-02-29", "2025-13-01", "2025-01-01T25:00:00Z", "5.5"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }
}
