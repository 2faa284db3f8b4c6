//! Comparing: which figures of two runs stand side by side, and in which direction they are
//! better. `ab` makes the runs itself, `runs` takes stored ones.

pub mod ab;
mod stats;

use std::fmt::Write;

use serde_json::Value;

use crate::report::text::{grouped, megabytes, millis};

/// One figure of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Where it stands in the result.
    pub pointer: &'static str,
    /// Whether more of it is better.
    pub more_is_better: bool,
    /// How it is written.
    pub unit: Unit,
}

/// How a figure is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Records per second.
    Records,
    /// Bytes per second.
    Bytes,
    /// Nanoseconds, written as milliseconds.
    Time,
}

const fn time(name: &'static str, pointer: &'static str) -> Metric {
    Metric { name, pointer, more_is_better: false, unit: Unit::Time }
}

/// All that are compared; those that a run lacks are left out.
pub const METRICS: [Metric; 9] = [
    Metric {
        name: "acknowledged",
        pointer: "/produced/records_per_s",
        more_is_better: true,
        unit: Unit::Records,
    },
    Metric {
        name: "acknowledged bytes",
        pointer: "/produced/bytes_per_s",
        more_is_better: true,
        unit: Unit::Bytes,
    },
    Metric {
        name: "backlog read",
        pointer: "/backlog/read/bytes_per_s",
        more_is_better: true,
        unit: Unit::Bytes,
    },
    time("produce p50", "/produce_latency/p50/ns"),
    time("produce p99", "/produce_latency/p99/ns"),
    time("produce p99.9", "/produce_latency/p999/ns"),
    time("end to end p50", "/end_to_end_latency/p50/ns"),
    time("end to end p99", "/end_to_end_latency/p99/ns"),
    time("from send p50", "/produce_latency_from_send/p50/ns"),
];

impl Metric {
    /// Its value in a result; none without one, or when it is 0.
    pub fn of(&self, result: &Value) -> Option<f64> {
        result.pointer(self.pointer)?.as_f64().filter(|value| *value > 0.0)
    }

    /// `value` in words.
    pub fn text(&self, value: f64) -> String {
        match self.unit {
            Unit::Records => format!("{}/s", grouped(value as u64)),
            Unit::Bytes => megabytes(value),
            Unit::Time => format!("{} ms", millis(value as u64)),
        }
    }
}

/// What makes two stored runs hard to compare: settings that differ.
fn differences(a: &Value, b: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let plans = a["plan"].as_object().into_iter().flatten();
    for (key, value) in plans {
        let other = &b["plan"][key];
        if other != value && !["bootstrap_server", "seed", "topic"].contains(&key.as_str()) {
            found.push(format!("plan {key}: {value} and {other}"));
        }
    }
    for key in ["kernel", "cpu", "cpus"] {
        let (a, b) = (&a["environment"][key], &b["environment"][key]);
        if a != b {
            found.push(format!("machine {key}: {a} and {b}"));
        }
    }
    if a["durability"] != b["durability"] {
        found.push(format!("durability: {} and {}", a["durability"], b["durability"]));
    }
    found
}

/// Two stored runs side by side, for people.
pub fn runs(a: &Value, b: &Value) -> String {
    let mut out = format!("{:<20} {:>16} {:>16} {:>8}\n", "", "A", "B", "B/A");
    for metric in METRICS {
        if let (Some(in_a), Some(in_b)) = (metric.of(a), metric.of(b)) {
            let (shown_a, shown_b) = (metric.text(in_a), metric.text(in_b));
            let ratio = in_b / in_a;
            let _ = writeln!(out, "{:<20} {shown_a:>16} {shown_b:>16} {ratio:>8.3}", metric.name);
        }
    }
    for (name, result) in [("A", a), ("B", b)] {
        let validity = result["validity"].as_str().unwrap_or("unknown").to_uppercase();
        let _ = writeln!(out, "{name:<20} {validity}");
    }
    for difference in differences(a, b) {
        let _ = writeln!(out, "differs              {difference}");
    }
    let _ = writeln!(
        out,
        "verdict              none: one run each says nothing about what another run would have \
         given;\n                     `loadgen ab` makes interleaved rounds and measures the noise"
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn stored_runs_are_put_side_by_side_with_what_differs() {
        let run = |p50: u64, acks: i32| {
            json!({"produced": {"records_per_s": 1000.0}, "plan": {"acks": acks, "seed": p50},
                "produce_latency": {"p50": {"ns": p50}, "p99": {"have": 1, "needed": 1000}},
                "durability": "flush", "validity": "ok"})
        };
        let text = runs(&run(1_000_000, 1), &run(1_500_000, -1));
        assert!(text.contains("1.500") && text.contains("plan acks: 1 and -1"), "{text}");
        assert!(!text.contains("produce p99 ") && !text.contains("seed"), "{text}");
    }
}
