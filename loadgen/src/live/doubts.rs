//! Validity so far: the same signs and limits that judge a finished run, on what is known by now.

use super::tally::Tally;
use super::{Moment, Shown};
use crate::histogram::Summary;
use crate::plan::Load;
use crate::report::Validity;
use crate::warnings::{self, Signs, Warning, Weight};

/// The doubts that a run of this kind would end with if it ended now, and their verdict; none
/// before there is anything to doubt.
pub fn doubts(shown: &Shown, moment: &Moment, tally: &Tally) -> Option<(Validity, Vec<Warning>)> {
    let (achieved, seconds) = tally.achieved(shown.plan.warmup_s, moment.at_s)?;
    let summary = |latency: &crate::histogram::Latency| -> Option<Summary> {
        (!latency.is_empty()).then(|| latency.summary())
    };
    let is_open = shown.plan.load != Load::Max;
    let offered = shown.plan.offered_per_s(seconds);
    let refused = tally.refused as f64 / moment.at_s.max(1.0);
    let signs = Signs {
        offered,
        achieved,
        refused,
        // Only its lanes know what is unsent: here, all that has no answer.
        backlog: ((offered.unwrap_or(0.0) - achieved - refused) * seconds) as u64,
        threads: tally.shares.clone(),
        lag: summary(&tally.all.lag),
        produce: summary(&tally.all.produce).filter(|_| is_open),
        end_to_end: summary(&tally.all.end_to_end),
        ..Signs::default()
    };
    let mut found = warnings::doubts(&signs);
    if tally.refused > 0 {
        found.push(Warning::Refused { records: tally.refused, errors: Vec::new() });
    }
    found.retain(|doubt| doubt.weight() > Weight::Note);
    let worst = found.iter().map(Warning::weight).max();
    let validity = match worst {
        Some(Weight::Invalid) => Validity::Invalid,
        Some(_) => Validity::Suspect,
        None => Validity::Ok,
    };
    Some((validity, found))
}
