//! What records look like: sizes, keys and how often each is used, headers, where bodies come
//! from.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::payload::Filler;

/// Bytes of a record's value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Sizes {
    /// All the same.
    Fixed(usize),
    /// Evenly from `from` to `to`.
    Range {
        /// The smallest.
        from: usize,
        /// The largest.
        to: usize,
    },
    /// Several, each with its share.
    Mix(Vec<(usize, f64)>),
}

impl From<usize> for Sizes {
    fn from(bytes: usize) -> Self {
        Self::Fixed(bytes)
    }
}

/// Most different sizes of a mix.
const MIX_MAX: usize = 64;

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            text.trim().parse::<usize>().map_err(|_| format!("{text:?} is no number of bytes"))
        };
        if let Some((from, to)) = text.split_once("..") {
            let (from, to) = (number(from)?, number(to)?);
            if from > to {
                return Err(format!("{text}: give the smaller one first"));
            }
            return Ok(Self::Range { from, to });
        }
        if !text.contains(':') {
            return Ok(Self::Fixed(number(text)?));
        }
        let part = |part: &str| -> Result<(usize, f64), String> {
            let (bytes, share) = part.split_once(':').ok_or("give BYTES:SHARE,BYTES:SHARE")?;
            let share: f64 = share.trim().parse().map_err(|_| format!("{share:?} is no share"))?;
            if share.is_finite() && share > 0.0 {
                Ok((number(bytes)?, share))
            } else {
                Err(format!("{share}: give a positive share"))
            }
        };
        let mix = text.split(',').map(part).collect::<Result<Vec<_>, _>>()?;
        if mix.len() > MIX_MAX {
            Err(format!("more than {MIX_MAX} sizes"))
        } else {
            Ok(Self::Mix(mix))
        }
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(bytes) => write!(f, "{bytes}"),
            Self::Range { from, to } => write!(f, "{from}..{to}"),
            Self::Mix(mix) => {
                let parts: Vec<String> =
                    mix.iter().map(|(b, share)| format!("{b}:{share}")).collect();
                f.write_str(&parts.join(","))
            }
        }
    }
}

impl Sizes {
    /// The smallest one.
    pub fn least(&self) -> usize {
        match self {
            Self::Fixed(bytes) => *bytes,
            Self::Range { from, .. } => *from,
            Self::Mix(mix) => mix.iter().map(|(bytes, _)| *bytes).min().unwrap_or(0),
        }
    }

    /// The largest one.
    pub fn most(&self) -> usize {
        match self {
            Self::Fixed(bytes) => *bytes,
            Self::Range { to, .. } => *to,
            Self::Mix(mix) => mix.iter().map(|(bytes, _)| *bytes).max().unwrap_or(0),
        }
    }

    /// What they are on average.
    pub fn mean(&self) -> usize {
        match self {
            Self::Fixed(bytes) => *bytes,
            Self::Range { from, to } => usize::midpoint(*from, *to),
            Self::Mix(mix) => {
                let all: f64 = mix.iter().map(|(_, share)| share).sum();
                let sum: f64 = mix.iter().map(|(bytes, share)| *bytes as f64 * share).sum();
                (sum / all.max(f64::MIN_POSITIVE)) as usize
            }
        }
    }

    /// One of them.
    pub fn draw(&self, random: &mut Filler) -> usize {
        match self {
            Self::Fixed(bytes) => *bytes,
            Self::Range { from, to } => {
                from + (random.next_u64() % (to - from + 1) as u64) as usize
            }
            Self::Mix(mix) => {
                let all: f64 = mix.iter().map(|(_, share)| share).sum();
                let mut left = random.next_share() * all;
                let found = mix.iter().find(|(_, share)| {
                    left -= share;
                    left < 0.0
                });
                found.or(mix.last()).map_or(0, |(bytes, _)| *bytes)
            }
        }
    }
}

/// How keys look and how often each is used.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// Bytes of a key: the key's number in decimal digits, zero-padded.
    pub bytes: u32,
    /// Number of different keys in the topic. Key k always goes to partition k mod partitions.
    pub space: u64,
    /// Exponent of Zipf's law: key k is used in proportion to (k+1)^-zipf; 0 all alike.
    pub zipf: f64,
}

impl Default for Keys {
    fn default() -> Self {
        Self { bytes: 16, space: 10_000, zipf: 0.0 }
    }
}

/// Headers of each record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Headers {
    /// How many.
    pub count: u32,
    /// Bytes of each one's value.
    pub bytes: u32,
}

/// Everything about a run's records.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// Bytes of values.
    pub sizes: Option<Sizes>,
    /// Keys, and the number of partitions they are spread over.
    pub keys: Option<(Keys, u64)>,
    /// Headers.
    pub headers: Option<Headers>,
    /// Share of each value that is random.
    pub random_share: f64,
    /// The bodies' bytes instead of random ones.
    pub file: Option<(PathBuf, Vec<u8>)>,
}

/// Keys of a partition whose weights are summed one by one; beyond them the sum is an integral.
const HEAD_KEYS: u64 = 64;

/// How the keys of one partition are drawn by Zipf's law.
#[derive(Clone, Debug)]
pub struct ZipfKeys {
    exponent: f64,
    partition: f64,
    partitions: f64,
    /// Sums of the weights of the first keys.
    head: Vec<f64>,
    /// Places between which the integral runs.
    tail: (f64, f64),
    tail_weight: f64,
}

impl ZipfKeys {
    /// For the keys `partition`, `partition + partitions`, ... below `keys.space`.
    pub fn new(keys: &Keys, partition: u64, partitions: u64) -> Self {
        let here = keys.space.saturating_sub(partition).div_ceil(partitions).max(1);
        let rank = |index: u64| (partition + 1 + index * partitions) as f64;
        let exponent = keys.zipf;
        let mut sum = 0.0;
        let head = (0..here.min(HEAD_KEYS)).map(|index| {
            sum += rank(index).powf(-exponent);
            sum
        });
        let head: Vec<f64> = head.collect();
        let half = partitions as f64 / 2.0;
        let tail = (rank(HEAD_KEYS) - half, rank(here) - half);
        let has_tail = here > HEAD_KEYS;
        let mut zipf = Self {
            exponent,
            partition: partition as f64,
            partitions: partitions as f64,
            head,
            tail,
            tail_weight: 0.0,
        };
        if has_tail {
            zipf.tail_weight = zipf.area(tail.0, tail.1) / zipf.partitions;
        }
        zipf
    }

    /// How often this partition is used, beside the others.
    pub fn weight(&self) -> f64 {
        self.head.last().copied().unwrap_or(0.0) + self.tail_weight
    }

    /// The integral of x^-exponent.
    fn area(&self, from: f64, to: f64) -> f64 {
        let power = 1.0 - self.exponent;
        if power.abs() < 1e-9 {
            (to / from).ln()
        } else {
            (to.powf(power) - from.powf(power)) / power
        }
    }

    /// The key for a number in 0..1.
    pub fn key(&self, uniform: f64) -> u64 {
        let wanted = uniform * self.weight();
        let in_head = self.head.partition_point(|sum| *sum <= wanted);
        let index = if in_head < self.head.len() || self.tail_weight == 0.0 {
            in_head.min(self.head.len() - 1) as f64
        } else {
            let area = (wanted - self.head.last().copied().unwrap_or(0.0)) * self.partitions;
            let power = 1.0 - self.exponent;
            let place = if power.abs() < 1e-9 {
                self.tail.0 * area.exp()
            } else {
                (self.tail.0.powf(power) + area * power).powf(1.0 / power)
            };
            let place = place.clamp(self.tail.0, self.tail.1 - 1e-6);
            ((place - self.partition - 1.0) / self.partitions).round()
        };
        (self.partition + index * self.partitions) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_drawn_and_written_again() {
        let mut random = Filler::new(1);
        for (text, least, mean, most) in
            [("100", 100, 100, 100), ("100..300", 100, 200, 300), ("100:3,500:1", 100, 200, 500)]
        {
            let sizes: Sizes = text.parse().unwrap();
            assert_eq!((sizes.least(), sizes.mean(), sizes.most()), (least, mean, most));
            assert_eq!(sizes.to_string(), text);
            let drawn: Vec<usize> = (0..10_000).map(|_| sizes.draw(&mut random)).collect();
            let average = drawn.iter().sum::<usize>() / drawn.len();
            assert!(average.abs_diff(mean) < 5, "{text}: {average}");
            assert!(drawn.iter().all(|size| (least..=most).contains(size)));
            let json = serde_json::to_string(&sizes).unwrap();
            assert_eq!(serde_json::from_str::<Sizes>(&json).unwrap(), sizes);
        }
        for text in ["", "x", "5..1", "1:0", "1:x", "1:1,2"] {
            assert!(text.parse::<Sizes>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn zipf_keys_are_as_frequent_as_the_law_says() {
        for exponent in [0.7, 0.99, 1.0, 1.3] {
            let keys = Keys { bytes: 8, space: 100_000, zipf: exponent };
            let partitions = 4;
            let zipf: Vec<ZipfKeys> =
                (0..partitions).map(|p| ZipfKeys::new(&keys, p, partitions)).collect();
            let all: f64 = zipf.iter().map(ZipfKeys::weight).sum();
            let exact: f64 = (1..=keys.space).map(|k| (k as f64).powf(-exponent)).sum();
            assert!((all / exact - 1.0).abs() < 0.001, "{exponent}: {all} for {exact}");
            let mut random = Filler::new(3);
            let (mut first, mut beyond, draws) = (0, 0, 200_000);
            for _ in 0..draws {
                let key = zipf[1].key(random.next_share());
                assert!(key % partitions == 1 && key < keys.space, "{key}");
                first += u32::from(key == 1);
                beyond += u32::from(key > 10_000);
            }
            let weight = zipf[1].weight();
            let share = |count: u32| f64::from(count) / f64::from(draws);
            let expected = 2f64.powf(-exponent) / weight;
            assert!((share(first) - expected).abs() < 0.005, "{exponent}: key 1");
            let tail = (10_001..=keys.space).filter(|k| k % partitions == 1);
            let expected: f64 =
                tail.map(|k| ((k + 1) as f64).powf(-exponent)).sum::<f64>() / weight;
            assert!((share(beyond) - expected).abs() < 0.005, "{exponent}: the tail");
        }
    }
}
