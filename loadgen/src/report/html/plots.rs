//! Which plots a run's page has, and where their points come from.

use std::fmt::Write;

use serde_json::Value;

use super::Histograms;
use super::chart::{Chart, Line, Scale};
use crate::histogram::{Latency, samples_needed};
use crate::report::text::megabytes;

/// Points of a percentile curve.
const CURVE_POINTS: usize = 240;
/// The curve ends here at the latest: p99.9999.
const CURVE_END: f64 = 1e6;

/// Most groups in one chart: it has no more colours.
const GROUPS_MAX: usize = 6;

/// How many times what was reached a ceiling may be to be drawn.
const FAR_ABOVE: f64 = 5.0;

fn warmup(result: &Value) -> f64 {
    result["plan"]["warmup_s"].as_f64().unwrap_or(0.0)
}

/// A chart over the seconds of a run.
pub fn over_time(result: &Value, id: &'static str, title: &str, y_unit: &'static str) -> Chart {
    Chart {
        id,
        title: title.into(),
        note: String::new(),
        x_unit: "s",
        x_scale: Scale::Linear,
        y_unit,
        y_scale: Scale::Linear,
        lines: Vec::new(),
        levels: Vec::new(),
        warmup: warmup(result),
    }
}

/// A line from one number of each entry of `list`; entries without it leave a gap in it.
pub fn line(list: &Value, name: &str, color: usize, value: impl Fn(&Value) -> Option<f64>) -> Line {
    let entries = list.as_array().into_iter().flatten();
    let point = |entry: &Value| Some((entry["second"].as_f64()? + 0.5, value(entry)?));
    Line { name: name.into(), color, points: entries.filter_map(point).collect() }
}

/// The curve of a latency behind which there are this many completions: it ends where fewer than
/// ten lie beyond.
pub fn curve(latency: &Latency, completions: u64) -> Vec<(f64, f64)> {
    let point = |step: usize| {
        let x = CURVE_END.powf(step as f64 / CURVE_POINTS as f64);
        let quantile = 1.0 - 1.0 / x;
        // Below the median ten samples are plenty.
        let enough = completions >= samples_needed(quantile.max(0.5));
        enough.then(|| (x, latency.value_at(quantile) as f64 / 1e6))
    };
    (0..=CURVE_POINTS).map_while(point).collect()
}

/// A chart of latencies by percentile.
pub fn by_percentile(id: &'static str, title: String, lines: Vec<Line>) -> Chart {
    Chart {
        id,
        title,
        note: "a curve ends where fewer than ten answers lie beyond it".into(),
        x_unit: "percentile",
        x_scale: Scale::Percentile,
        y_unit: "ms",
        y_scale: Scale::Log,
        lines,
        levels: Vec::new(),
        warmup: 0.0,
    }
}

/// Latency by percentile, all series that were measured.
pub fn percentiles(result: &Value, histograms: &Histograms) -> String {
    let series = [
        ("produce", "produce_latency", "acknowledged", 1),
        ("produce_from_send", "produce_latency_from_send", "acknowledged, from the send", 6),
        ("end_to_end", "end_to_end_latency", "at the consumer", 2),
        ("send_delay", "send_delay", "send delay", 3),
        ("fetch", "fetch_latency", "fetch", 4),
        ("schedule_lag", "schedule_lag", "pacing error", 5),
    ];
    let lines = series.into_iter().filter_map(|(tag, field, name, color)| {
        let latency = histograms.sums.get(tag)?;
        let completions = result[field]["completions"].as_u64()?;
        Some(Line { name: name.into(), color, points: curve(latency, completions) })
    });
    by_percentile("percentiles", "Latency by percentile".into(), lines.collect()).figure()
}

/// Median, p99 and maximum of each second.
pub fn latency_over_time(result: &Value, series: &'static str, title: &str) -> String {
    let seconds = &result["seconds"];
    let id = if series == "produce" { "produce-time" } else { "end-to-end-time" };
    let ms = |field: &'static str| {
        move |second: &Value| {
            let brief = &second[series];
            let ns = brief[field].as_u64().or_else(|| brief[field]["ns"].as_u64())?;
            Some(ns as f64 / 1e6)
        }
    };
    Chart {
        y_scale: Scale::Log,
        note: "of each second; p99 where enough answers came".into(),
        lines: vec![
            line(seconds, "max", 6, ms("max_ns")),
            line(seconds, "p99", 2, ms("p99")),
            line(seconds, "p50", 1, ms("p50")),
        ],
        ..over_time(result, id, title, "ms")
    }
    .figure()
}

/// What was offered, acknowledged and read.
pub fn throughput(result: &Value) -> String {
    let seconds = &result["seconds"];
    let count = |field: &'static str| {
        move |second: &Value| second[field].as_f64().filter(|count| *count > 0.0)
    };
    let mut chart = Chart {
        note: "per second".into(),
        lines: vec![
            line(seconds, "acknowledged", 1, count("produced_records")),
            line(seconds, "read", 2, count("consumed_records")),
            line(seconds, "refused", 4, count("refused_records")),
        ],
        ..over_time(result, "records", "Records", "records/s")
    };
    if let Some(rate) = result["plan"]["load"]["rate"].as_f64() {
        chart.levels.push((rate, "offered".into()));
    }
    let mut bytes = Chart {
        note: "bytes of batches per second".into(),
        lines: vec![
            line(seconds, "acknowledged", 1, count("produced_bytes")),
            line(seconds, "read", 2, count("consumed_bytes")),
        ],
        ..over_time(result, "bytes", "Bytes", "bytes/s")
    };
    let reached = result["produced"]["bytes_per_s"].as_f64().unwrap_or(0.0);
    for (field, name) in [("write", "direct writes"), ("write_flush", "writes with flush")] {
        let Some(ceiling) = best(&result["device"][field]) else { continue };
        let share = reached / ceiling * 100.0;
        let _ = write!(
            bytes.note,
            "; device, {name}: {}, {share:.1} % of it reached",
            megabytes(ceiling)
        );
        // A ceiling far above would press the lines flat.
        if reached * FAR_ABOVE > ceiling {
            bytes.levels.push((ceiling, format!("device, {name}")));
        }
    }
    chart.figure() + &bytes.figure()
}

fn best(rates: &Value) -> Option<f64> {
    let rates = rates.as_array()?.iter().filter_map(|rate| rate["bytes_per_s"].as_f64());
    rates.max_by(f64::total_cmp)
}

/// How far consumer groups were behind; nothing without groups.
pub fn groups(result: &Value) -> String {
    let groups = result["groups"].as_array().map_or(&[][..], Vec::as_slice);
    if groups.is_empty() {
        return String::new();
    }
    let lag = |(index, group): (usize, &Value)| {
        let name = format!("group {}", index + 1);
        line(&group["lag"], &name, index + 1, |lag| lag["records"].as_f64())
    };
    Chart {
        note: "log end minus committed offsets, at the end of each second".into(),
        lines: groups.iter().enumerate().take(GROUPS_MAX).map(lag).collect(),
        ..over_time(result, "group-lag", "Lag of the groups", "records")
    }
    .figure()
}

/// What broker, disk and CPUs did.
pub fn resources(result: &Value) -> String {
    let samples = &result["samples"];
    let field = |name: &'static str| move |sample: &Value| sample[name].as_f64();
    let chart = |id, title, unit, lines| Chart { lines, ..over_time(result, id, title, unit) };
    let cpus = result["environment"]["cpus"].as_f64().unwrap_or(1.0);
    let host = move |name: &'static str| {
        move |sample: &Value| sample[name].as_f64().map(|share| share * cpus)
    };
    [
        chart(
            "cpu",
            "CPU",
            "cores",
            vec![
                line(samples, "broker", 1, field("broker_cores")),
                line(samples, "generator", 2, field("generator_cores")),
                line(samples, "all of the machine", 6, host("host_busy")),
                line(samples, "taken by the hypervisor", 4, host("host_stolen")),
            ],
        ),
        chart(
            "memory",
            "Broker memory",
            "bytes",
            vec![line(samples, "resident", 1, field("broker_resident_bytes"))],
        ),
        chart(
            "disk",
            "Disk below the broker",
            "bytes/s",
            vec![
                line(samples, "written", 1, field("disk_write_bytes_per_s")),
                line(samples, "read", 2, field("disk_read_bytes_per_s")),
            ],
        ),
        chart(
            "flushes",
            "Flushes and writes of the disk",
            "per s",
            vec![
                line(samples, "writes", 1, field("disk_writes_per_s")),
                line(samples, "flushes", 2, field("disk_flushes_per_s")),
            ],
        ),
        chart(
            "switches",
            "Context switches of the broker",
            "per s",
            vec![
                line(samples, "it waited", 1, field("broker_switches_voluntary_per_s")),
                line(samples, "its time was up", 2, field("broker_switches_involuntary_per_s")),
            ],
        ),
    ]
    .map(Chart::figure)
    .concat()
}
