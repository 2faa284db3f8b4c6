//! The offered load as flags say it: rates, ramps, steps and sweeps, and what they become.

use super::LoadArgs;
use crate::pace::Stage;
use crate::payload::Filler;
use crate::plan::Load;

/// `--ramp FROM:TO`, records per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ramp {
    from: f64,
    to: f64,
}

/// `--sweep FROM:TO:COUNT`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sweep {
    from: f64,
    to: f64,
    count: usize,
}

/// Most rates of a sweep.
const SWEEP_MAX: usize = 100;

/// Largest number that any flag takes: more seconds or records/s than make sense, and far from
/// where a time in nanoseconds ends.
const NUMBER_MAX: f64 = 1e9;

/// Read a number that is not negative.
///
/// # Errors
/// When it is none: infinity and NaN would pass comparisons that nobody made with them in mind.
pub fn number(text: &str) -> Result<f64, String> {
    let number: f64 = text.trim().parse().map_err(|_| format!("{text:?} is no number"))?;
    if (0.0..=NUMBER_MAX).contains(&number) {
        Ok(number)
    } else {
        Err(format!("give a number of 0 to {NUMBER_MAX}"))
    }
}

/// Read a number above 0.
///
/// # Errors
/// When it is none.
pub fn positive(text: &str) -> Result<f64, String> {
    let number = number(text)?;
    if number > 0.0 {
        Ok(number)
    } else {
        Err(format!("give a number above 0, up to {NUMBER_MAX}"))
    }
}

/// Read a share.
///
/// # Errors
/// When it is not between 0 and 1.
pub fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.trim().parse().map_err(|_| format!("{text:?} is no share"))?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("give a share of 0 to 1".into()) }
}

/// Read `KEY=VALUE`.
///
/// # Errors
/// When there is no equals sign.
pub fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("give KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// Read `FROM:TO`.
///
/// # Errors
/// Says which part is no rate.
pub fn ramp(text: &str) -> Result<Ramp, String> {
    let (from, to) = text.split_once(':').ok_or("give FROM:TO in records/s, e.g. 1000:50000")?;
    Ok(Ramp { from: number(from)?, to: number(to)? })
}

/// Read `FROM:TO:COUNT`.
///
/// # Errors
/// Says which part is wrong.
pub fn sweep(text: &str) -> Result<Sweep, String> {
    let mut parts = text.split(':');
    let parts = (parts.next(), parts.next(), parts.next(), parts.next());
    let (Some(from), Some(to), Some(count), None) = parts else {
        return Err("give FROM:TO:COUNT, e.g. 1000:64000:7".into());
    };
    let sweep = Sweep {
        from: number(from)?,
        to: number(to)?,
        count: count.parse().map_err(|_| format!("{count:?} is no number of rates"))?,
    };
    if sweep.from <= 0.0 || sweep.to <= 0.0 || !(2..=SWEEP_MAX).contains(&sweep.count) {
        return Err(format!("{text}: give two positive rates and a count of 2 to {SWEEP_MAX}"));
    }
    Ok(sweep)
}

impl Sweep {
    /// Its rates, shuffled.
    fn rates(&self, seed: u64) -> Vec<f64> {
        let ratio = (self.to / self.from).powf(1.0 / (self.count - 1) as f64);
        let mut rates: Vec<f64> =
            (0..self.count).map(|i| (self.from * ratio.powi(i as i32)).round().max(1.0)).collect();
        let mut random = Filler::new(seed);
        for last in (1..rates.len()).rev() {
            rates.swap(last, (random.next_u64() % (last as u64 + 1)) as usize);
        }
        rates
    }
}

impl LoadArgs {
    /// The load these flags describe, over `duration_s`.
    pub fn load(&self, duration_s: f64, seed: u64) -> Load {
        let in_turn = |rates: &[f64]| {
            let seconds = duration_s / rates.len() as f64;
            Load::Stages(rates.iter().map(|rate| Stage::steady(*rate, seconds)).collect())
        };
        if let Some(rate) = self.rate {
            Load::Rate(rate)
        } else if let Some(Ramp { from, to }) = self.ramp {
            Load::Stages(vec![Stage { from, to, seconds: duration_s }])
        } else if !self.steps.is_empty() {
            in_turn(&self.steps)
        } else if let Some(sweep) = self.sweep {
            in_turn(&sweep.rates(seed))
        } else {
            Load::Max
        }
    }
}

/// A seed from the kernel; small enough to be typed again.
pub fn fresh_seed() -> u64 {
    let mut bytes = [0u8; 4];
    // Without randomness the seed is a fixed one, and it is printed all the same.
    let _ = getrandom::fill(&mut bytes);
    u64::from(u32::from_ne_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> LoadArgs {
        LoadArgs { rate: None, ramp: None, steps: Vec::new(), sweep: None, max: false }
    }

    #[test]
    fn each_flag_becomes_its_stages() {
        assert_eq!(args().load(10.0, 1), Load::Max);
        let ramp = LoadArgs { ramp: Some(ramp("100:2000").unwrap()), ..args() };
        let stage = Stage { from: 100.0, to: 2000.0, seconds: 10.0 };
        assert_eq!(ramp.load(10.0, 1), Load::Stages(vec![stage]));
        let steps = LoadArgs { steps: vec![10.0, 20.0], ..args() };
        let wanted = vec![Stage::steady(10.0, 5.0), Stage::steady(20.0, 5.0)];
        assert_eq!(steps.load(10.0, 1), Load::Stages(wanted));
    }

    #[test]
    fn a_sweep_visits_every_rate_in_an_order_that_the_seed_decides() {
        let sweep = sweep("1000:64000:7").unwrap();
        let (one, again, other) = (sweep.rates(1), sweep.rates(1), sweep.rates(2));
        assert_eq!(one, again);
        assert_ne!(one, other);
        let mut sorted = other;
        sorted.sort_by(f64::total_cmp);
        assert_eq!(sorted, [1000.0, 2000.0, 4000.0, 8000.0, 16000.0, 32000.0, 64000.0]);
    }

    #[test]
    fn only_numbers_that_can_be_reckoned_with_are_taken() {
        for text in ["nan", "inf", "-inf", "-1", "1e300", "5x", ""] {
            assert!(number(text).is_err() && positive(text).is_err() && share(text).is_err());
        }
        assert_eq!((number("0"), number("2.5"), share("1")), (Ok(0.0), Ok(2.5), Ok(1.0)));
        assert!(positive("0").is_err() && share("1.01").is_err() && share("5").is_err());
    }

    #[test]
    fn nonsense_is_refused_with_an_example() {
        for text in ["", "5", "a:b", "1:-2", "nan:5", "1:inf"] {
            assert!(ramp(text).is_err(), "{text:?}");
        }
        for text in ["1:2", "0:5:3", "1:2:1", "1:2:3:4", "1:2:x", "1:2:101"] {
            assert!(sweep(text).is_err(), "{text:?}");
        }
    }
}
