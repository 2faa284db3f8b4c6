//! `seconds.csv`: one line per second for spreadsheets and plotting tools. Empty where nothing
//! was measured.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use crate::collect::{Brief, Second};
use crate::observe::Sample;
use crate::report::RunResult;

const COLUMNS: &str = "second,phase,produced_records,produced_bytes,refused_records,\
    consumed_records,consumed_bytes,produce_p50_ns,produce_p99_ns,produce_max_ns,\
    end_to_end_p50_ns,end_to_end_p99_ns,end_to_end_max_ns";

/// Write the seconds of `result` to `path`.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, result: &RunResult) -> Result<(), String> {
    std::fs::write(path, text(result)).map_err(|error| format!("{}: {error}", path.display()))
}

fn text(result: &RunResult) -> String {
    let names = columns_of(&Sample::default());
    let samples: BTreeMap<u64, &Sample> = result.samples.iter().map(|s| (s.second, s)).collect();
    let mut out = COLUMNS.to_owned();
    for name in &names {
        let _ = write!(out, ",{name}");
    }
    out.push('\n');
    for second in &result.seconds {
        line(&mut out, second, phase(result, second.second));
        let sample = samples.get(&second.second).map(|s| values_of(s)).unwrap_or_default();
        for name in &names {
            let value = sample.get(name).filter(|value| !value.is_null());
            let _ = write!(out, ",{}", value.map(Value::to_string).unwrap_or_default());
        }
        out.push('\n');
    }
    out
}

fn phase(result: &RunResult, second: u64) -> &'static str {
    let (at, warmup) = (second as f64 + 0.5, result.plan.warmup_s);
    if at < warmup {
        "warmup"
    } else if at < warmup + result.measured_s {
        "measured"
    } else {
        "drain"
    }
}

fn line(out: &mut String, second: &Second, phase: &str) {
    let _ = write!(
        out,
        "{},{phase},{},{},{},{},{}",
        second.second,
        second.produced_records,
        second.produced_bytes,
        second.refused_records,
        second.consumed_records,
        second.consumed_bytes
    );
    for brief in [&second.produce, &second.end_to_end] {
        let number = |value: fn(&Brief) -> Option<u64>| {
            brief.as_ref().and_then(value).map(|ns| ns.to_string()).unwrap_or_default()
        };
        let (p50, p99) = (number(|b| b.p50.known_ns()), number(|b| b.p99.known_ns()));
        let _ = write!(out, ",{p50},{p99},{}", number(|b| Some(b.max_ns)));
    }
}

fn values_of(sample: &Sample) -> BTreeMap<String, Value> {
    let value = serde_json::to_value(sample).unwrap_or_default();
    value.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn columns_of(sample: &Sample) -> Vec<String> {
    values_of(sample).into_keys().filter(|name| name != "second").collect()
}
