//! Objectives: what a run is asked to keep, in the words of the command line, and whether it did.
//!
//! `e2e.p99<5ms`, `produce.max<1s`, `rate>=100000`: a latency and one of its percentiles below a
//! time, or the acknowledged records per second above a number.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::histogram::Summary;
use crate::plan::{Consume, Load, Plan};
use crate::report::RunResult;

/// Which latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// From intended time to acknowledgement.
    Produce,
    /// From intended time to the consumer.
    EndToEnd,
    /// From a fetch to its answer.
    Fetch,
    /// From intended time to the send.
    Send,
}

/// One objective.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    text: String,
    wanted: Wanted,
}

#[derive(Clone, Debug, PartialEq)]
enum Wanted {
    Below { of: Of, percentile: String, ns: u64 },
    Rate { at_least: f64 },
}

impl Wanted {
    /// Nanoseconds or records per second, as the objective is one of time or of rate.
    fn is_met_by(&self, measured: f64) -> bool {
        match self {
            Self::Below { ns, .. } => measured < *ns as f64,
            Self::Rate { at_least } => measured >= *at_least,
        }
    }
}

/// What came of an objective.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// As it was given.
    pub objective: String,
    /// What was measured, nanoseconds or records per second; none when that cannot be known.
    pub measured: Option<f64>,
    /// Whether it was kept; none when too few samples stand behind the percentile.
    pub is_met: Option<bool>,
}

/// Percentiles that can be asked for.
const PERCENTILES: [&str; 6] = ["p50", "p90", "p99", "p99.9", "p99.99", "max"];

/// Read a time with its unit: `5ms`, `250us`, `1.5s`.
///
/// # Errors
/// Says what is no time.
pub fn nanoseconds(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ns" => 1.0,
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return Err(format!("{text:?}: give a number with a unit (ns, us, ms, s), e.g. 5ms")),
    };
    let number: f64 = digits.parse().map_err(|_| format!("{digits:?} is no number"))?;
    let ns = number * unit;
    if (0.0..=600e9).contains(&ns) { Ok(ns as u64) } else { Err(format!("{text}: 0 to 600 s")) }
}

impl FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let wanted = if let Some(rate) = plain.strip_prefix("rate>=") {
            let at_least: f64 = rate.parse().map_err(|_| format!("{rate:?} is no number"))?;
            if !(at_least.is_finite() && at_least >= 0.0) {
                return Err(format!("{text}: give records per second, e.g. rate>=100000"));
            }
            Wanted::Rate { at_least }
        } else {
            let example = "give e.g. e2e.p99<5ms, produce.p99.9<20ms or rate>=100000";
            let (what, time) = plain.split_once('<').ok_or(format!("{text:?}: {example}"))?;
            let (of, percentile) = what.split_once('.').ok_or(format!("{text:?}: {example}"))?;
            let of = match of {
                "produce" | "ack" => Of::Produce,
                "e2e" => Of::EndToEnd,
                "fetch" => Of::Fetch,
                "send" => Of::Send,
                _ => return Err(format!("{of:?} is none of produce, e2e, fetch, send; {example}")),
            };
            if !PERCENTILES.contains(&percentile) {
                return Err(format!("{percentile:?} is none of {}", PERCENTILES.join(", ")));
            }
            Wanted::Below { of, percentile: percentile.to_owned(), ns: nanoseconds(time)? }
        };
        Ok(Self { text: text.to_owned(), wanted })
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Objective {
    /// Refuse what a run of `plan` does not measure, before it is made for nothing.
    ///
    /// # Errors
    /// Says why it cannot be known, and what would do.
    pub fn check(&self, plan: &Plan) -> Result<(), String> {
        let Wanted::Below { of, .. } = self.wanted else { return Ok(()) };
        let why = match of {
            Of::Produce | Of::Send if plan.load == Load::Max => {
                "a closed loop has no intended times; use --rate instead of --max"
            }
            Of::Produce | Of::Send if plan.acks == 0 => {
                "nothing is answered with acks=0; use --acks 1 or all"
            }
            Of::EndToEnd if plan.consume != Consume::During => {
                "it is measured by consumers beside the load; use --consume during"
            }
            Of::Fetch if plan.consume == Consume::Never => {
                "nobody fetches; use --consume during or after"
            }
            _ => return Ok(()),
        };
        Err(format!("--slo {self}: {why}"))
    }

    /// Whether `result` keeps it.
    pub fn judge(&self, result: &RunResult) -> Judged {
        let measured = match &self.wanted {
            Wanted::Rate { .. } => Some(result.produced.records_per_s),
            Wanted::Below { of, percentile, .. } => {
                let summary: &Option<Summary> = match of {
                    Of::Produce => &result.produce_latency,
                    Of::EndToEnd => &result.end_to_end_latency,
                    Of::Fetch => &result.fetch_latency,
                    Of::Send => &result.send_delay,
                };
                let known = summary.as_ref().and_then(|summary| summary.named(percentile));
                known.map(|ns| ns as f64)
            }
        };
        let is_met = measured.map(|measured| self.wanted.is_met_by(measured));
        Judged { objective: self.text.clone(), measured, is_met }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_does_not_measure_is_refused_with_what_would_do() {
        let told = |text: &str, plan: Plan| {
            text.parse::<Objective>().unwrap().check(&plan).map_err(|why| why.contains("; use --"))
        };
        let open = || Plan { load: Load::Rate(1.0), acks: 1, ..Plan::default() };
        let closed = || Plan { load: Load::Max, ..open() };
        let silent = || Plan { acks: 0, ..open() };
        let consume = |consume| Plan { consume, ..open() };
        for (objective, plan) in [
            ("produce.p99<5ms", closed()),
            ("send.max<5ms", closed()),
            ("produce.p99<5ms", silent()),
            ("e2e.p99<5ms", consume(Consume::After)),
            ("fetch.p99<5ms", consume(Consume::Never)),
        ] {
            assert_eq!(told(objective, plan), Err(true), "{objective}");
            assert_eq!(told(objective, open()), Ok(()), "{objective}");
        }
        assert_eq!(told("rate>=5", closed()), Ok(()));
        assert_eq!(told("e2e.p99<5ms", closed()), Ok(()));
    }

    #[test]
    fn objectives_are_read_and_nonsense_is_refused_with_an_example() {
        let one: Objective = "e2e.p99 < 5ms".parse().unwrap();
        let (of, percentile) = (Of::EndToEnd, "p99".to_owned());
        assert_eq!(one.wanted, Wanted::Below { of, percentile, ns: 5_000_000 });
        let one: Objective = "produce.p99.9<250us".parse().unwrap();
        assert!(matches!(one.wanted, Wanted::Below { ns: 250_000, .. }));
        let one: Objective = "rate>=5e4".parse().unwrap();
        assert_eq!(one.wanted, Wanted::Rate { at_least: 50_000.0 });
        let wanted = |text: &str| text.parse::<Objective>().unwrap().wanted;
        let time = wanted("e2e.p99<5ms");
        assert!(time.is_met_by(4_999_999.0) && !time.is_met_by(5_000_000.0));
        let rate = wanted("rate>=5e4");
        assert!(rate.is_met_by(50_000.0) && !rate.is_met_by(49_999.0));
        for text in [
            "",
            "e2e.p99",
            "e2e<5ms",
            "x.p99<5ms",
            "e2e.p42<5ms",
            "e2e.p99<5",
            "rate>=x",
            "rate>=nan",
        ] {
            assert!(text.parse::<Objective>().is_err(), "{text:?}");
        }
    }
}
