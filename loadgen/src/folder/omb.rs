//! The result of a run in the words of the OpenMessaging Benchmark, for tools that read those:
//! its field names, its units, a point for every ten seconds.
//!
//! Fields, units and what they mean: `TestResult.java` and `WorkloadGenerator.java` of
//! openmessaging/benchmark. Its publish and end-to-end latencies are milliseconds, its publish
//! delay is microseconds. Its publish latency runs from the actual send.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::hlog;
use crate::histogram::{Latency, Series};
use crate::report::{RunResult, json};

/// Seconds of a point of its time series.
const POINT_S: u64 = 10;
/// Percentiles by the end of their field names.
const PERCENTILES: [(&str, f64); 7] = [
    ("50pct", 0.5),
    ("75pct", 0.75),
    ("95pct", 0.95),
    ("99pct", 0.99),
    ("999pct", 0.999),
    ("9999pct", 0.9999),
    ("99999pct", 0.99999),
];
/// Points of a map of quantiles per halving of what is left.
const QUANTILES_PER_HALF: u32 = 100;

/// A latency of that benchmark.
struct Kind {
    name: &'static str,
    /// Behind `aggregated`.
    map: &'static str,
    series: Series,
    /// Nanoseconds of its unit.
    unit: f64,
    /// Whether its percentiles are whole numbers.
    is_whole: bool,
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "publishLatency",
        map: "PublishLatency",
        series: Series::ProduceSent,
        unit: 1e6,
        is_whole: false,
    },
    Kind {
        name: "publishDelayLatency",
        map: "PublishDelayLatency",
        series: Series::SendDelay,
        unit: 1e3,
        is_whole: true,
    },
    Kind {
        name: "endToEndLatency",
        map: "EndToEndLatency",
        series: Series::EndToEnd,
        unit: 1e6,
        is_whole: false,
    },
];

impl Kind {
    fn number(&self, ns: u64) -> Value {
        let value = ns as f64 / self.unit;
        if self.is_whole { json!(value.round() as u64) } else { json!(value) }
    }

    fn average(&self, latency: &Latency) -> Value {
        let mean = if latency.is_empty() { 0.0 } else { latency.counts().mean() };
        json!(mean / self.unit)
    }

    /// Field names without their begin, and values.
    fn figures(&self, latency: &Latency) -> Vec<(String, Value)> {
        let mut all = vec![("Avg".to_owned(), self.average(latency))];
        let at = |quantile| if latency.is_empty() { 0 } else { latency.value_at(quantile) };
        let percentiles = PERCENTILES.iter();
        all.extend(percentiles.map(|(name, q)| ((*name).to_owned(), self.number(at(*q)))));
        let max = if latency.is_empty() { 0 } else { latency.value_at(1.0) };
        all.push(("Max".to_owned(), self.number(max)));
        all
    }

    /// Percentiles, 0 to 100, with their values.
    fn quantiles(&self, latency: &Latency) -> Value {
        let mut map = Map::new();
        for step in latency.counts().iter_quantiles(QUANTILES_PER_HALF) {
            let ns = step.value_iterated_to().min(latency.value_at(1.0));
            map.insert(format!("{}", step.quantile_iterated_to() * 100.0), self.number(ns));
        }
        Value::Object(map)
    }
}

/// Histograms by number of the ten seconds that they belong to; the measured time begins with 0.
type Points = BTreeMap<u64, Latency>;

/// Write `result` to `path`; `log` has its histograms.
///
/// # Errors
/// When the log cannot be read or the file not be written.
pub fn write(path: &Path, result: &RunResult, log: &Path) -> Result<(), String> {
    let first = result.plan.warmup_s.floor() as u64;
    let mut points: [Points; KINDS.len()] = Default::default();
    hlog::read(log, |entry| {
        let kind = KINDS.iter().position(|kind| kind.series == entry.series);
        if let (Some(kind), true) = (kind, entry.second >= first) {
            let point = points[kind].entry((entry.second - first) / POINT_S).or_default();
            point.add(&entry.latency);
        }
    })?;
    json::write(path, &document(result, first, &points))
}

fn document(result: &RunResult, first: u64, points: &[Points; KINDS.len()]) -> Value {
    let plan = &result.plan;
    let mut out = Map::new();
    let mut set = |name: String, value: Value| {
        out.insert(name, value);
    };
    let workload = plan.workload.as_deref().unwrap_or(&plan.topic);
    set("workload".into(), json!(workload));
    set("driver".into(), json!("loadgen"));
    set("messageSize".into(), json!(plan.record_bytes.mean()));
    set("topics".into(), json!(1));
    set("partitions".into(), json!(plan.partitions));
    set("producersPerTopic".into(), json!(plan.producers));
    set("consumersPerTopic".into(), json!(plan.consumers));

    let counts = counts(result, first);
    type Rate = fn(&Counts) -> f64;
    let rates: [(&str, Rate); 3] = [
        ("publishRate", |c| c.published as f64 / c.seconds as f64),
        ("publishErrorRate", |c| c.refused as f64 / c.seconds as f64),
        ("consumeRate", |c| c.consumed as f64 / c.seconds as f64),
    ];
    for (name, rate) in rates {
        set(name.into(), counts.values().map(rate).collect());
    }
    set("backlog".into(), counts.values().map(|c| c.backlog).collect());
    let nothing = Latency::default();
    for (kind, points) in KINDS.iter().zip(points) {
        let mut all = Latency::default();
        points.values().for_each(|point| all.add(point));
        let mut lists: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for number in counts.keys() {
            for (end, value) in kind.figures(points.get(number).unwrap_or(&nothing)) {
                lists.entry(format!("{}{end}", kind.name)).or_default().push(value);
            }
        }
        for (name, list) in lists {
            set(name, Value::Array(list));
        }
        for (end, value) in kind.figures(&all) {
            set(format!("aggregated{}{end}", kind.map), value);
        }
        set(format!("aggregated{}Quantiles", kind.map), kind.quantiles(&all));
    }
    Value::Object(out)
}

#[derive(Debug, Default, PartialEq)]
struct Counts {
    seconds: u64,
    published: u64,
    refused: u64,
    consumed: u64,
    /// Records that some subscription had yet to read at its end.
    backlog: u64,
}

/// Counts of the measured time's points. What is left over of it is a point of its own only if it
/// is the first.
fn counts(result: &RunResult, first: u64) -> BTreeMap<u64, Counts> {
    let whole = result.measured_s.round() as u64;
    let points = (whole / POINT_S).max(1);
    let mut counts: BTreeMap<u64, Counts> = BTreeMap::new();
    let subscriptions = u64::from(result.plan.subscriptions);
    let (mut published, mut consumed) = (0, 0);
    for second in &result.seconds {
        published += second.produced_records;
        consumed += second.consumed_records;
        let Some(number) = second.second.checked_sub(first).map(|at| at / POINT_S) else {
            continue;
        };
        if number >= points || second.second >= first + whole.max(1) {
            continue;
        }
        let point = counts.entry(number).or_default();
        point.seconds += 1;
        point.published += second.produced_records;
        point.refused += second.refused_records;
        point.consumed += second.consumed_records;
        point.backlog = (published * subscriptions).saturating_sub(consumed);
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_those_of_that_benchmark() {
        let mut latency = Latency::default();
        (1..=1000u64).for_each(|i| latency.record(i * 10_000, 1));
        let [publish, delay, _] = &KINDS;
        let value = |kind: &Kind, end: &str| {
            let figures = kind.figures(&latency);
            figures.into_iter().find(|(name, _)| name == end).expect("there").1
        };
        let near = |value: Value, wanted: f64| {
            let number = value.as_f64().unwrap();
            assert!((number / wanted - 1.0).abs() < 0.002, "{number} is not {wanted}");
        };
        near(value(publish, "50pct"), 5.0);
        near(value(publish, "Max"), 10.0);
        near(value(publish, "Avg"), 5.005);
        near(value(delay, "99pct"), 9900.0);
        assert!(value(delay, "99pct").is_u64() && value(publish, "99pct").is_f64());
        let quantiles = publish.quantiles(&latency);
        near(quantiles["100"].clone(), 10.0);
        assert!(quantiles.as_object().unwrap().len() > 100, "{quantiles}");
        assert_eq!(publish.figures(&Latency::default())[1].1, 0.0);
    }
}
