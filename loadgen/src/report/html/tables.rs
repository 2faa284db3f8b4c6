//! The words and tables of a run's page.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use super::escape;
use crate::report::text::{grouped, megabytes, millis};

/// The rows of the latency table: field, name.
const LATENCIES: [(&str, &str); 6] = [
    ("produce_latency", "acknowledged, from the intended time"),
    ("produce_latency_from_send", "acknowledged, from the actual send (uncorrected)"),
    ("send_delay", "send delay: intended to actual send"),
    ("end_to_end_latency", "at the consumer, from the intended time"),
    ("fetch_latency", "fetch: request to answer with records"),
    ("schedule_lag", "pacing error: the generator's own lateness"),
];

fn text<'a>(value: &'a Value, otherwise: &'a str) -> &'a str {
    value.as_str().unwrap_or(otherwise)
}

/// The verdict with its reasons.
pub fn verdict(result: &Value) -> String {
    let verdict = &result["verdict"];
    let is_broken = ["lost", "duplicated", "reordered", "misdirected", "corrupt_batches"]
        .iter()
        .any(|name| verdict[*name].as_u64().unwrap_or(0) > 0);
    let judged = result["objectives"].as_array().map_or(&[][..], Vec::as_slice);
    let is_missed = judged.iter().any(|one| one["is_met"].as_bool() == Some(false));
    let validity = text(&result["validity"], "ok");
    let (class, word) = match validity {
        _ if is_broken => ("broken", "BROKEN PROMISE"),
        _ if !result["failure"].is_null() => ("broken", "FAILED"),
        "invalid" => ("invalid", "INVALID"),
        _ if is_missed => ("suspect", "OBJECTIVE MISSED"),
        "suspect" => ("suspect", "SUSPECT"),
        _ => ("ok", "OK"),
    };
    let mut out = format!("<section class=\"verdict {class}\"><b>{word}</b>\n<ul>\n");
    if let Some(why) = result["failure"].as_str() {
        let _ = writeln!(out, "<li>{}</li>", escape(why));
    }
    for doubt in result["doubts"].as_array().into_iter().flatten() {
        let _ = writeln!(
            out,
            "<li>{}: {} <span class=\"soft\">{}</span></li>",
            text(&doubt["weight"], "note"),
            escape(text(&doubt["text"], "")),
            escape(text(&doubt["remedy"], ""))
        );
    }
    for judged in judged {
        let word = match judged["is_met"].as_bool() {
            Some(true) => "kept",
            Some(false) => "MISSED",
            None => "unknown: too few samples",
        };
        let _ =
            writeln!(out, "<li>objective {}: {word}</li>", escape(text(&judged["objective"], "")));
    }
    let _ = writeln!(
        out,
        "</ul>\n<p>durability: {}</p></section>",
        escape(text(&result["durability"], "unknown"))
    );
    out
}

/// The figures one looks for first.
pub fn tiles(result: &Value) -> String {
    let rate = |flow: &Value| {
        let bytes = flow["bytes_per_s"].as_f64().unwrap_or(0.0);
        let records = flow["records_per_s"].as_f64().unwrap_or(0.0);
        (bytes > 0.0).then(|| (megabytes(bytes), format!("{} records/s", grouped(records as u64))))
    };
    let ms = |latency: &Value| {
        let p99 = latency["p99"]["ns"].as_u64().map(|ns| format!("{} ms", millis(ns)))?;
        let max = millis(latency["max_ns"].as_u64()?);
        Some((p99, format!("p99; max {max} ms")))
    };
    let tiles = [
        ("produced", rate(&result["produced"])),
        ("consumed", rate(&result["consumed"])),
        ("backlog read", rate(&result["backlog"]["read"])),
        ("acknowledged", ms(&result["produce_latency"])),
        ("at the consumer", ms(&result["end_to_end_latency"])),
    ];
    let mut out = String::from("<div class=\"tiles\">\n");
    for (name, tile) in tiles {
        if let Some((value, note)) = tile {
            let _ = writeln!(
                out,
                "<div class=\"tile\"><span class=\"soft\">{name}</span><b>{value}</b>\
                 <small>{note}</small></div>"
            );
        }
    }
    out + "</div>\n"
}

/// Every latency with its percentiles.
pub fn latencies(result: &Value) -> String {
    let mut out = String::from(
        "<div class=\"wide\"><table>\n<tr><th>milliseconds</th><th class=\"n\">records</th>\
         <th class=\"n\">p50</th><th class=\"n\">p90</th><th class=\"n\">p99</th>\
         <th class=\"n\">p99.9</th><th class=\"n\">p99.99</th><th class=\"n\">max</th></tr>\n",
    );
    for (field, name) in LATENCIES {
        let latency = &result[field];
        if latency.is_null() {
            continue;
        }
        let records = grouped(latency["records"].as_u64().unwrap_or(0));
        let _ = write!(out, "<tr><td>{name}</td><td class=\"n\">{records}</td>");
        for percentile in ["p50", "p90", "p99", "p999", "p9999"] {
            let shown = match latency[percentile]["ns"].as_u64() {
                Some(ns) => millis(ns),
                None => "<small>too few</small>".into(),
            };
            let _ = write!(out, "<td class=\"n\">{shown}</td>");
        }
        let max = millis(latency["max_ns"].as_u64().unwrap_or(0));
        let _ = writeln!(out, "<td class=\"n\">{max}</td></tr>");
    }
    out + "</table></div>\n"
}

/// The parts of a changing load.
pub fn stages(result: &Value) -> String {
    let stages = result["stages"].as_array().map_or(&[][..], Vec::as_slice);
    if stages.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "<h2>Stages of the load</h2>\n<div class=\"wide\"><table>\n<tr><th>offered, records/s</th>\
         <th class=\"n\">s</th><th class=\"n\">acknowledged/s</th>\
         <th class=\"n\">produce p50, ms</th><th class=\"n\">p99</th>\
         <th class=\"n\">end to end p50, ms</th><th class=\"n\">p99</th></tr>\n",
    );
    for one in stages {
        let number = |value: &Value| grouped(value.as_f64().unwrap_or(0.0) as u64);
        let (from, to) = (number(&one["stage"]["from"]), number(&one["stage"]["to"]));
        let offered = if from == to { from } else { format!("{from} to {to}") };
        let _ = write!(
            out,
            "<tr><td>{offered}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>",
            one["stage"]["seconds"],
            number(&one["produced_per_s"])
        );
        for (series, percentile) in [
            ("produce_latency", "p50"),
            ("produce_latency", "p99"),
            ("end_to_end_latency", "p50"),
            ("end_to_end_latency", "p99"),
        ] {
            let ns = one[series][percentile]["ns"].as_u64();
            let _ = write!(out, "<td class=\"n\">{}</td>", ns.map_or("-".into(), millis));
        }
        out.push_str("</tr>\n");
    }
    out + "</table></div>\n"
}

/// Consumer groups; nothing without them.
pub fn groups(result: &Value) -> String {
    let groups = result["groups"].as_array().map_or(&[][..], Vec::as_slice);
    if groups.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "<h2>Consumer groups</h2>\n<div class=\"wide\"><table>\n<tr><th>group</th>\
         <th class=\"n\">members</th><th class=\"n\">rebalances</th>\
         <th class=\"n\">longest, ms</th><th class=\"n\">commits</th>\
         <th class=\"n\">slowest, ms</th><th class=\"n\">largest lag</th>\
         <th class=\"n\">at the end</th><th class=\"n\">delivered again</th></tr>\n",
    );
    for group in groups {
        let count = |value: &Value| grouped(value.as_u64().unwrap_or(0));
        let max = |latency: &Value| latency["max_ns"].as_u64().map_or("-".into(), millis);
        let _ = write!(out, "<tr><td>{}</td>", escape(text(&group["group"], "?")));
        for cell in [
            count(&group["members"]),
            count(&group["rebalances"]),
            max(&group["rebalance_latency"]),
            count(&group["commit_latency"]["completions"]),
            max(&group["commit_latency"]),
            count(&group["lag_max"]),
            count(&group["lag_at_end"]),
            count(&group["redelivered"]),
        ] {
            let _ = write!(out, "<td class=\"n\">{cell}</td>");
        }
        out.push_str("</tr>\n");
    }
    out + "</table></div>\n"
}

/// What was verified.
pub fn verification(result: &Value) -> String {
    let verdict = &result["verdict"];
    if verdict["checked"].as_bool() != Some(true) {
        return "<h2>Verification</h2>\n<p>Nothing was read back, so nothing is verified.</p>\n"
            .into();
    }
    let mut out = String::from("<h2>Verification</h2>\n<div class=\"wide\"><table>\n");
    let (mut names, mut counts) = (String::new(), String::new());
    for name in [
        "sent",
        "acknowledged",
        "read",
        "lost",
        "unread",
        "duplicated",
        "reordered",
        "corrupt_batches",
        "corrupt_records",
        "misdirected",
        "refused",
        "unknown",
    ] {
        let _ = write!(names, "<th class=\"n\">{}</th>", name.replace('_', " "));
        let count = grouped(verdict[name].as_u64().unwrap_or(0));
        let _ = write!(counts, "<td class=\"n\">{count}</td>");
    }
    let _ = writeln!(out, "<tr>{names}</tr>\n<tr>{counts}</tr>");
    out + "</table></div>\n"
}

/// Everything else, folded away.
pub fn details(result: &Value) -> String {
    let mut out = String::from("<h2>Where and what</h2>\n");
    for (name, field) in [
        ("Machine", "environment"),
        ("Plan, with every default filled in", "plan"),
        ("Broker, in its own words", "broker"),
        ("Broker process", "broker_process"),
        ("Generator threads", "threads"),
        ("Pauses of machine and disk", "pauses"),
        ("Device ceilings", "device"),
    ] {
        if result[field].is_null() {
            continue;
        }
        out.push_str(&fields(name, &result[field], field == "environment"));
    }
    out
}

/// Two values side by side, field by field; those that differ first.
pub fn beside(title: &str, names: [&str; 2], values: [&Value; 2]) -> String {
    let mut all: BTreeMap<String, [String; 2]> = BTreeMap::new();
    for (side, value) in values.into_iter().enumerate() {
        flatten("", value, 0, &mut |name, shown| {
            all.entry(name.to_owned()).or_default()[side] = shown;
        });
    }
    let (same, differ): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, [a, b])| a == b);
    let [a, b] = names.map(escape);
    let mut out = format!(
        "<details><summary>{}</summary><div class=\"wide\"><table>\n<tr><th></th><th>{a}</th>\
         <th>{b}</th></tr>\n",
        escape(title)
    );
    for (name, shown) in differ.into_iter().chain(same) {
        let (name, [a, b]) = (escape(&name), shown.map(|text| escape(&text)));
        let _ = writeln!(
            out,
            "<tr><th>{name}</th><td><code>{a}</code></td><td><code>{b}</code></td></tr>"
        );
    }
    out + "</table></div></details>\n"
}

/// One value, field by field, folded or not.
pub fn fields(title: &str, value: &Value, is_open: bool) -> String {
    let open = if is_open { " open" } else { "" };
    let mut out = format!("<details{open}><summary>{}</summary><table>\n", escape(title));
    flatten("", value, 0, &mut |name, shown| {
        let (name, shown) = (escape(name), escape(&shown));
        let _ = writeln!(out, "<tr><th>{name}</th><td><code>{shown}</code></td></tr>");
    });
    out + "</table></details>\n"
}

/// Deepest nesting that is shown.
const DEPTH_MAX: usize = 6;

/// Each leaf of `value` with its path in words and itself as text; nothing for what is empty.
fn flatten(name: &str, value: &Value, depth: usize, each: &mut impl FnMut(&str, String)) {
    let below = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name} {key}") };
    match value {
        Value::Object(fields) if depth < DEPTH_MAX => {
            for (key, value) in fields {
                flatten(&below(&key.replace('_', " ")), value, depth + 1, each);
            }
        }
        Value::Array(list) if depth < DEPTH_MAX && list.iter().any(Value::is_object) => {
            for (index, value) in list.iter().enumerate() {
                flatten(&below(&(index + 1).to_string()), value, depth + 1, each);
            }
        }
        Value::Null => {}
        _ => {
            let shown = match value {
                Value::String(text) => text.clone(),
                Value::Array(list) => {
                    let words =
                        list.iter().map(|v| v.as_str().map_or(v.to_string(), str::to_owned));
                    words.collect::<Vec<_>>().join(" ")
                }
                other => other.to_string(),
            };
            if !shown.is_empty() {
                each(name, shown);
            }
        }
    }
}
