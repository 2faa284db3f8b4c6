//! The page of a comparison: the verdict and what it rests on, both targets' curves and time
//! series, every run, and where and on what they were made.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::chart::{Chart, Line};
use super::{Histograms, document, escape, plots, ratios, tables};
use crate::histogram::Latency;
use crate::report::text::{grouped, millis};

/// The two targets: their name, the colour of their lines.
const SIDES: [(&str, usize); 2] = [("A", 1), ("B", 2)];
/// Settings shown of a broker: those that somebody set, not its defaults.
const BROKER_FIELDS: [&str; 5] = ["address", "cluster_id", "features", "nodes", "settings"];

/// The page for a stored comparison in the folder `root`.
///
/// # Errors
/// When a run's histogram log cannot be read.
pub fn page(comparison: &Value, root: &Path) -> Result<String, String> {
    let names = ["a", "b"].map(|side| target_name(&comparison[side]));
    let title = format!("loadgen ab: {} against {}", names[0], names[1]);
    let mut out = verdict(comparison, &names);
    out.push_str("<h2>Figures</h2>\n");
    out.push_str(&figures(comparison));
    out.push_str(&ratios::figure(comparison));
    out.push_str(
        "<h2>Both targets</h2>\n<p class=\"soft\">Thick: all rounds of A against B \
                  together (over time: the median of the rounds). Thin: each round.</p>\n\
                  <div class=\"plots\">\n",
    );
    out.push_str(&percentiles(comparison, root)?);
    out.push_str(&over_time(comparison));
    out.push_str("</div>\n");
    out.push_str(&runs(comparison));
    out.push_str("<h2>Where and what</h2>\n");
    out.push_str(&environments(comparison));
    Ok(document(&title, &out))
}

/// A target in the words of the command line.
fn target_name(target: &Value) -> String {
    if let Some(address) = target["address"].as_str() {
        return address.to_owned();
    }
    let (kind, path) = match (&target["command"], &target["kafka"]) {
        (Value::Object(command), _) => (command, "binary"),
        (_, Value::Object(kafka)) => (kafka, "jars"),
        _ => return "?".into(),
    };
    let place = kind[path].as_str().unwrap_or("?");
    let more = kind["more"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let words: Vec<&str> = std::iter::once(place).chain(more).collect();
    let prefix = if path == "jars" { "kafka:" } else { "" };
    format!("{prefix}{}", words.join(" "))
}

fn verdict(comparison: &Value, names: &[String; 2]) -> String {
    let doubts = comparison["doubtful"].as_array().map_or(&[][..], Vec::as_slice);
    let class = if doubts.is_empty() { "ok" } else { "suspect" };
    let text = comparison["verdict"].as_str().unwrap_or("");
    let rounds = &comparison["rounds"];
    let course = if comparison["interrupted"] == true {
        format!(
            "It was interrupted. Planned were {rounds} rounds of A against A, for the noise \
             floor, then {rounds} rounds of A against B"
        )
    } else {
        format!(
            "{rounds} rounds of A against A came first: they are the noise floor. Then {rounds} \
             rounds of A against B"
        )
    };
    let mut out = format!(
        "<section class=\"verdict {class}\"><b>{}</b>\n<p>A is <code>{}</code>, B is \
         <code>{}</code>. {course}, in shuffled order, every run with a fresh directory or \
         topic.</p>\n<ul>\n",
        escape(text),
        escape(&names[0]),
        escape(&names[1])
    );
    for doubt in doubts.iter().filter_map(Value::as_str) {
        let _ = writeln!(out, "<li>doubtful: {}</li>", escape(doubt));
    }
    for (side, _) in SIDES {
        let durability = runs_of(comparison, side).next().map(|run| &run["result"]["durability"]);
        let durability = durability.and_then(Value::as_str).unwrap_or("unknown");
        let _ = writeln!(out, "<li>durability of {side}: {}</li>", escape(durability));
    }
    out + "</ul></section>\n"
}

/// A figure as it is written: by its name's unit.
fn figure(metric: &str, value: &Value) -> String {
    let value = value.as_f64().unwrap_or(0.0);
    if metric.contains(" p") {
        format!("{} ms", millis(value as u64))
    } else if metric.contains("bytes") || metric.contains("read") {
        crate::report::text::megabytes(value)
    } else {
        format!("{}/s", grouped(value as u64))
    }
}

fn figures(comparison: &Value) -> String {
    let mut out = String::from(
        "<div class=\"wide\"><table>\n<tr><th></th><th class=\"n\">A</th><th class=\"n\">B</th>\
         <th class=\"n\">B/A</th><th class=\"n\">95 % interval</th><th class=\"n\">noise floor</th>\
         <th></th></tr>\n",
    );
    for one in comparison["judged"].as_array().into_iter().flatten() {
        let metric = one["metric"].as_str().unwrap_or("");
        let number = |pointer: &str| one.pointer(pointer).and_then(Value::as_f64).unwrap_or(0.0);
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{:.3}\
             </td><td class=\"n\">{:.3} to {:.3}</td><td class=\"n\">{:.1} %</td><td>{}</td></tr>",
            escape(metric),
            figure(metric, &one["a"]),
            figure(metric, &one["b"]),
            number("/ratio/median"),
            number("/ratio/low"),
            number("/ratio/high"),
            number("/noise") * 100.0,
            escape(one["word"].as_str().unwrap_or(""))
        );
    }
    out + "</table></div>\n"
}

/// The runs of one side in the rounds of A against B.
fn runs_of<'a>(comparison: &'a Value, side: &'a str) -> impl Iterator<Item = &'a Value> {
    let runs = comparison["runs"].as_array().into_iter().flatten();
    runs.filter(move |run| run["part"] == "compare" && run["which"] == side)
}

/// Percentile curves of what was measured, from the histogram logs of the runs.
fn percentiles(comparison: &Value, root: &Path) -> Result<String, String> {
    let series = [
        ("produce", "produce_latency", "percentiles-produce", "Acknowledged"),
        ("end_to_end", "end_to_end_latency", "percentiles-end-to-end", "At the consumer"),
        (
            "produce_from_send",
            "produce_latency_from_send",
            "percentiles-from-send",
            "From the send",
        ),
    ];
    let mut lines: [Vec<Line>; 3] = Default::default();
    for (side, color) in SIDES {
        let mut sums: [(Latency, u64); 3] = Default::default();
        for run in runs_of(comparison, side) {
            let Some(folder) = run["folder"].as_str() else { continue };
            let histograms = Histograms::read(&root.join(folder).join("latency.hlog"))?;
            for (index, (tag, field, ..)) in series.iter().enumerate() {
                let completions = run["result"][field]["completions"].as_u64();
                let found = histograms.sums.get(tag).zip(completions);
                let Some((latency, completions)) = found else { continue };
                let points = plots::curve(latency, completions);
                lines[index].push(Line { name: String::new(), color, points });
                sums[index].0.add(latency);
                sums[index].1 += completions;
            }
        }
        for (lines, (latency, completions)) in lines.iter_mut().zip(&sums) {
            if !latency.is_empty() {
                let points = plots::curve(latency, *completions);
                lines.push(Line { name: side.into(), color, points });
            }
        }
    }
    let charts = series.into_iter().zip(lines).map(|((_, _, id, what), lines)| {
        plots::by_percentile(id, format!("{what}: latency by percentile"), lines).figure()
    });
    Ok(charts.collect())
}

/// The median over the runs of each side of one number per second, and each run behind it.
fn sides(
    comparison: &Value,
    list: &str,
    value: impl Fn(&Value) -> Option<f64> + Copy,
) -> Vec<Line> {
    let mut lines = Vec::new();
    for (side, color) in SIDES {
        let mut seconds: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        for run in runs_of(comparison, side) {
            let line = plots::line(&run["result"][list], "", color, value);
            for (x, y) in &line.points {
                seconds.entry(*x as u64).or_default().push(*y);
            }
            lines.push(line);
        }
        let middle = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied()
        };
        let points = seconds.into_iter();
        let points = points.filter_map(|(x, all)| Some((x as f64 + 0.5, middle(all)?)));
        lines.push(Line { name: side.into(), color, points: points.collect() });
    }
    lines
}

fn over_time(comparison: &Value) -> String {
    let chart =
        |id, title, unit, lines| Chart { lines, ..plots::over_time(comparison, id, title, unit) };
    let plan = |field: &str| comparison["plan"][field].as_f64().unwrap_or(0.0);
    // Behind the end only stragglers come.
    let end = plan("warmup_s") + plan("duration_s");
    let count = |second: &Value| {
        let is_whole = second["second"].as_f64()? + 1.0 <= end;
        second["produced_records"].as_f64().filter(|_| is_whole)
    };
    let p50 = |second: &Value| Some(second["produce"]["p50"]["ns"].as_f64()? / 1e6);
    let sample = |name: &'static str| move |sample: &Value| sample[name].as_f64();
    let of = |list: &str, field: &'static str| sides(comparison, list, sample(field));
    [
        chart("throughput", "Acknowledged", "records/s", sides(comparison, "seconds", count)),
        chart("p50", "Median produce latency", "ms", sides(comparison, "seconds", p50)),
        chart("cpu", "CPU of the broker", "cores", of("samples", "broker_cores")),
        chart("memory", "Memory of the broker", "bytes", of("samples", "broker_resident_bytes")),
        chart(
            "disk",
            "Written to the disk below the broker",
            "bytes/s",
            of("samples", "disk_write_bytes_per_s"),
        ),
    ]
    .map(Chart::figure)
    .concat()
}

fn runs(comparison: &Value) -> String {
    let mut out = String::from(
        "<h2>Runs, in the order in which they were made</h2>\n<div class=\"wide\"><table>\n<tr>\
         <th>part</th><th class=\"n\">round</th><th></th><th class=\"n\">acknowledged/s</th>\
         <th class=\"n\">produce p50, ms</th><th class=\"n\">p99</th>\
         <th class=\"n\">end to end p50, ms</th><th class=\"n\">p99</th><th>validity</th>\
         <th></th></tr>\n",
    );
    for run in comparison["runs"].as_array().into_iter().flatten() {
        let result = &run["result"];
        let part = if run["part"] == "noise" { "A against A" } else { "A against B" };
        let rate = result["produced"]["records_per_s"].as_f64().unwrap_or(0.0) as u64;
        let _ = write!(
            out,
            "<tr><td>{part}</td><td class=\"n\">{}</td><td>{}</td><td class=\"n\">{}</td>",
            run["round"],
            escape(run["which"].as_str().unwrap_or("")),
            grouped(rate)
        );
        for (series, percentile) in [
            ("produce_latency", "p50"),
            ("produce_latency", "p99"),
            ("end_to_end_latency", "p50"),
            ("end_to_end_latency", "p99"),
        ] {
            let ns = result[series][percentile]["ns"].as_u64();
            let _ = write!(out, "<td class=\"n\">{}</td>", ns.map_or("-".into(), millis));
        }
        let link = run["folder"].as_str().map_or(String::new(), |folder| {
            format!("<a href=\"{}/report.html\">page</a>", escape(folder))
        });
        let validity = escape(result["validity"].as_str().unwrap_or(""));
        let _ = writeln!(out, "<td>{validity}</td><td>{link}</td></tr>");
    }
    out + "</table></div>\n"
}

fn environments(comparison: &Value) -> String {
    let first = |side| runs_of(comparison, side).next().map_or(&Value::Null, |run| &run["result"]);
    let [a, b] = SIDES.map(|(side, _)| first(side));
    let of_broker = |result: &Value| {
        let fields = BROKER_FIELDS.iter().map(|field| (*field, &result["broker"][*field]));
        let mut broker: BTreeMap<&str, Value> = fields.map(|(k, v)| (k, v.clone())).collect();
        broker.insert("durability", result["durability"].clone());
        broker.insert("process", result["broker_process"].clone());
        json!(broker)
    };
    let (broker_a, broker_b) = (of_broker(a), of_broker(b));
    [
        tables::fields("Machine", &a["environment"], true),
        tables::beside(
            "Machine, in the first run of each",
            ["A", "B"],
            [&a["environment"], &b["environment"]],
        ),
        tables::beside("Broker, what differs first", ["A", "B"], [&broker_a, &broker_b]),
        tables::fields("Plan, with every default filled in", &comparison["plan"], false),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_comparison_still_makes_a_page_that_says_what_is_missing() {
        let page = page(&json!({"a": {"address": "<h>:1"}}), Path::new("/nowhere")).unwrap();
        assert!(page.contains("&lt;h&gt;:1 against ?") && page.ends_with("</html>\n"), "{page}");
        assert!(page.contains("class=\"absent\""));
    }

    #[test]
    fn targets_are_named_as_they_were_given() {
        let more = ["--set", "a=b"];
        let command = json!({"command": {"binary": "new/thalweg", "more": more}});
        assert_eq!(target_name(&command), "new/thalweg --set a=b");
        let kafka = json!({"kafka": {"jars": "k/libs", "more": []}});
        assert_eq!(target_name(&kafka), "kafka:k/libs");
    }

    #[test]
    fn a_second_shows_the_median_of_the_rounds_over_each_of_them() {
        let run = |n: u64| {
            let seconds = json!([{"second": 0, "produced_records": n}]);
            json!({"part": "compare", "which": "A", "result": {"seconds": seconds}})
        };
        let comparison = json!({"runs": [run(10), run(30), run(20)]});
        let lines = sides(&comparison, "seconds", |s| s["produced_records"].as_f64());
        let named: Vec<_> = lines.iter().filter(|line| line.name == "A").collect();
        assert_eq!(named[0].points, [(0.5, 20.0)]);
        assert_eq!(lines.iter().filter(|line| line.name.is_empty()).count(), 3);
    }
}
