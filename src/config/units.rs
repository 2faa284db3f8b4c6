//! Sizes, durations and addresses as people write them.

use std::fmt;
use std::net::IpAddr;

use crate::model::{show_address, split_address};

/// Read a number of bytes: digits, or digits with `KiB MiB GiB TiB` (1024) or `kB MB GB TB` (1000).
///
/// # Errors
/// Says what is wrong in words that follow the value.
pub fn parse_bytes(text: &str) -> Result<i64, String> {
    let units: &[(&str, i64)] = &[
        ("", 1),
        ("B", 1),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("kB", 1_000),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
    ];
    scaled(text, units, "a size")
}

/// Read milliseconds: digits, or digits with `ms s min h d`.
///
/// # Errors
/// Says what is wrong in words that follow the value.
pub fn parse_millis(text: &str) -> Result<i64, String> {
    let units: &[(&str, i64)] = &[
        ("", 1),
        ("ms", 1),
        ("s", 1_000),
        ("min", 60_000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
    ];
    scaled(text, units, "a duration")
}

fn scaled(text: &str, units: &[(&str, i64)], what: &str) -> Result<i64, String> {
    let digits_end = text
        .char_indices()
        .find(|(i, c)| !(c.is_ascii_digit() || (*i == 0 && *c == '-')))
        .map_or(text.len(), |(i, _)| i);
    let (digits, unit) = text.split_at(digits_end);
    let unit = unit.trim();
    let number: i64 = digits.parse().map_err(|_| format!("it is not {what}"))?;
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        let names: Vec<&str> = units.iter().map(|(n, _)| *n).filter(|n| !n.is_empty()).collect();
        return Err(format!("the unit {unit:?} is none of {}", names.join(" ")));
    };
    number.checked_mul(*factor).ok_or_else(|| "it does not fit 64 bits".to_owned())
}

/// Print bytes the way people read them: `1536` is "1.5 KiB".
pub fn show_bytes(bytes: u64) -> String {
    let names = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut scale = 0;
    let mut value = bytes as f64;
    while value >= 1024.0 && scale + 1 < names.len() {
        value /= 1024.0;
        scale += 1;
    }
    if value.fract() < 0.05 || scale == 0 {
        format!("{value:.0} {}", names[scale])
    } else {
        format!("{value:.1} {}", names[scale])
    }
}

/// A host name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Name, IPv4 or IPv6 address without brackets; empty means every address.
    pub host: String,
    /// 0 lets the kernel choose.
    pub port: u16,
}

impl HostPort {
    /// Read `HOST:PORT`, `[IPV6]:PORT`, `:PORT`, each also behind `PLAINTEXT://`.
    ///
    /// # Errors
    /// Says what is wrong in words that follow the value.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains(',') {
            return Err("it lists several listeners; one is served".into());
        }
        let (host, port) = split_address(text)?;
        let port = port.ok_or("it has no port")?;
        Ok(Self { host: host.to_owned(), port })
    }

    /// Whether this stands for every address of the machine.
    pub fn is_wildcard(&self) -> bool {
        self.host.is_empty() || self.is_unspecified()
    }

    /// Whether one listener would be in the other's way; port 0 never is.
    pub fn overlaps(&self, other: &Self) -> bool {
        let is_all = |one: &Self, other: &Self| match one.host.as_str() {
            "0.0.0.0" => !other.host.contains(':'),
            _ => one.is_wildcard(),
        };
        let are_same = self.host == other.host || is_all(self, other) || is_all(other, self);
        self.port == other.port && self.port != 0 && are_same
    }

    /// Whether it says so by IP's own address for that.
    pub fn is_unspecified(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_address(f, &self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations() {
        assert_eq!(parse_bytes("64MiB"), Ok(64 << 20));
        assert_eq!(parse_bytes("64 MiB"), Ok(64 << 20));
        assert_eq!(parse_bytes("1MB"), Ok(1_000_000));
        assert_eq!(parse_bytes("-1"), Ok(-1));
        assert_eq!(parse_millis("7d"), Ok(604_800_000));
        for bad in ["", "MiB", "1.5GiB", "1 gib", "9223372036854775807KiB", "1-2", "٣"] {
            assert!(parse_bytes(bad).is_err(), "{bad:?}");
        }
        assert_eq!(show_bytes(1536), "1.5 KiB");
        assert_eq!(show_bytes(256 << 20), "256 MiB");
    }

    #[test]
    fn addresses() {
        let parse = |text: &str| HostPort::parse(text).map(|a| (a.host, a.port));
        assert_eq!(parse("127.0.0.1:9092"), Ok(("127.0.0.1".into(), 9092)));
        assert_eq!(parse("PLAINTEXT://:0"), Ok((String::new(), 0)));
        assert_eq!(parse("[::1]:80"), Ok(("::1".into(), 80)));
        assert_eq!(HostPort::parse("[::1]:80").unwrap().to_string(), "[::1]:80");
        let overlap = |a, b| HostPort::parse(a).unwrap().overlaps(&HostPort::parse(b).unwrap());
        assert!(overlap("h:1", "h:1") && overlap("h:1", ":1") && overlap("0.0.0.0:1", "h:1"));
        assert!(!overlap("h:1", "h:2") && !overlap("h:0", "h:0") && !overlap("h:1", "i:1"));
        assert!(!overlap("0.0.0.0:1", "[::1]:1") && overlap("[::]:1", "127.0.0.1:1"));
        for bad in ["", "host", "host:", "host:65536", "::1:80", "[::1:80", "SSL://h:1", "a b:1"] {
            assert!(HostPort::parse(bad).is_err(), "{bad:?}");
        }
    }
}
