//! The page in Prometheus' text format, version 0.0.4.

use std::fmt::Write;
use std::time::Duration;

use super::{
    API_METRICS, ApiSnapshot, BOUNDS_MICROS, HistogramSnapshot, LATENCIES, Metric, PROCESS_METRICS,
    Shape, ShardSnapshot, StoreStatus, Unit, VALUES, Value,
};

/// What the process as a whole adds to the page.
#[derive(Clone, Debug)]
pub struct ProcessSnapshot {
    /// Version of the build.
    pub version: &'static str,
    /// Word of the durability mode: `flush` or `write`.
    pub durability: &'static str,
    /// Time since the broker was ready.
    pub uptime: Duration,
}

/// The whole page. `api_name` gives Kafka's name of an API.
pub fn render(
    process: &ProcessSnapshot,
    shards: &[ShardSnapshot],
    api_name: &dyn Fn(i16) -> &'static str,
) -> String {
    let mut page = String::with_capacity(16 * 1024);
    let [uptime, build, durability] = &PROCESS_METRICS;
    head(&mut page, uptime);
    line(&mut page, uptime.name, "", &seconds(process.uptime.as_micros() as u64));
    head(&mut page, build);
    line(&mut page, build.name, &format!("version=\"{}\"", process.version), "1");
    head(&mut page, durability);
    line(&mut page, durability.name, &format!("mode=\"{}\"", process.durability), "1");

    let api_values: [fn(&ApiSnapshot) -> u64; 4] =
        [|a| a.requests, |a| a.bytes_in, |a| a.bytes_out, |a| a.errors];
    for (metric, value) in API_METRICS.iter().zip(api_values) {
        head(&mut page, metric);
        for shard in shards {
            for api in &shard.apis {
                let labels = format!("shard=\"{}\",api=\"{}\"", shard.shard, api_name(api.api_key));
                line(&mut page, metric.name, &labels, &value(api).to_string());
            }
        }
    }

    let mut headed = "";
    for (value, label, metric) in VALUES {
        if headed != metric.name {
            head(&mut page, metric);
            headed = metric.name;
        }
        for shard in shards {
            let mut labels = format!("shard=\"{}\"", shard.shard);
            if let Some((name, text)) = label {
                let _ = write!(labels, ",{name}=\"{text}\"");
            }
            let number = shard.get(*value);
            let shown = match metric.unit {
                Unit::Micros => seconds(number),
                Unit::Count | Unit::Bytes => number.to_string(),
            };
            line(&mut page, metric.name, &labels, &shown);
        }
    }

    for (latency, metric) in &LATENCIES {
        head(&mut page, metric);
        for shard in shards {
            buckets(&mut page, metric.name, shard.shard, shard.latency(*latency));
        }
    }
    page
}

/// Whether the broker can take what its clients promise to keep, and the words for it.
pub fn health(shards: &[ShardSnapshot]) -> (bool, String) {
    let worst = shards.iter().map(|shard| shard.get(Value::StoreStatus)).max();
    match worst {
        None => (false, "starting: no shard has answered\n".into()),
        Some(status) if status == StoreStatus::Ok as u64 => (true, "ok\n".into()),
        Some(status) if status == StoreStatus::Full as u64 => {
            (false, "the disk is full: appends wait for space\n".into())
        }
        Some(_) => (false, "offline for writing after an I/O error: see the log\n".into()),
    }
}

fn head(page: &mut String, metric: &Metric) {
    let shape = match metric.shape {
        Shape::Counter => "counter",
        Shape::Gauge => "gauge",
        Shape::Histogram => "histogram",
    };
    let _ = writeln!(page, "# HELP {} {}", metric.name, metric.help);
    let _ = writeln!(page, "# TYPE {} {shape}", metric.name);
}

fn line(page: &mut String, name: &str, labels: &str, value: &str) {
    let _ = if labels.is_empty() {
        writeln!(page, "{name} {value}")
    } else {
        writeln!(page, "{name}{{{labels}}} {value}")
    };
}

/// Microseconds as seconds, exactly.
fn seconds(micros: u64) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

fn buckets(page: &mut String, name: &str, shard: u16, histogram: &HistogramSnapshot) {
    let mut below = 0;
    for (bound, count) in BOUNDS_MICROS.iter().zip(&histogram.counts) {
        below += count;
        let bound = seconds(*bound);
        let _ = writeln!(page, "{name}_bucket{{shard=\"{shard}\",le=\"{bound}\"}} {below}");
    }
    let total = histogram.count();
    let _ = writeln!(page, "{name}_bucket{{shard=\"{shard}\",le=\"+Inf\"}} {total}");
    let _ = writeln!(page, "{name}_sum{{shard=\"{shard}\"}} {}", seconds(histogram.sum_micros));
    let _ = writeln!(page, "{name}_count{{shard=\"{shard}\"}} {total}");
}

#[cfg(test)]
mod tests {
    use super::super::{Latency, ShardMetrics, all_metrics};
    use super::*;

    fn page() -> String {
        let [zero, one] = [ShardMetrics::new(0), ShardMetrics::new(1)];
        zero.add(Value::FlushesJournal, 4);
        one.add(Value::FlushesSegment, 5);
        one.request(1, 80);
        one.raise(Value::LongestStall, 1_500_000);
        one.record(Latency::Fetch, Duration::from_micros(5));
        let uptime = Duration::from_millis(2500);
        let process = ProcessSnapshot { version: "9.9", durability: "write", uptime };
        render(&process, &[zero.snapshot(&[]), one.snapshot(&[])], &|key| match key {
            1 => "Fetch",
            _ => "?",
        })
    }

    #[test]
    fn the_page_says_what_was_counted() {
        let page = page();
        for want in [
            "thalweg_uptime_seconds 2.500000",
            "thalweg_build_info{version=\"9.9\"} 1",
            "thalweg_durability_info{mode=\"write\"} 1",
            "thalweg_requests_total{shard=\"1\",api=\"Fetch\"} 1",
            "thalweg_request_bytes_total{shard=\"1\",api=\"Fetch\"} 80",
            "thalweg_flushes_total{shard=\"0\",file=\"journal\"} 4",
            "thalweg_flushes_total{shard=\"1\",file=\"segment\"} 5",
            "thalweg_longest_stall_seconds{shard=\"1\"} 1.500000",
            "thalweg_fetch_seconds_bucket{shard=\"1\",le=\"0.000004\"} 0",
            "thalweg_fetch_seconds_bucket{shard=\"1\",le=\"0.000006\"} 1",
            "thalweg_fetch_seconds_bucket{shard=\"1\",le=\"+Inf\"} 1",
            "thalweg_fetch_seconds_sum{shard=\"1\"} 0.000005",
        ] {
            assert!(page.lines().any(|line| line == want), "missing {want}\n{page}");
        }
    }

    #[test]
    fn every_metric_is_headed_once() {
        let page = page();
        for metric in all_metrics() {
            let help = format!("# HELP {} ", metric.name);
            assert_eq!(page.matches(&help).count(), 1, "{}", metric.name);
        }
    }

    #[test]
    fn health_follows_the_worst_store() {
        assert!(!health(&[]).0);
        let good = ShardMetrics::new(0);
        let bad = ShardMetrics::new(1);
        assert!(health(&[good.snapshot(&[]), bad.snapshot(&[])]).0);
        bad.set(Value::StoreStatus, StoreStatus::Full as u64);
        assert!(health(&[good.snapshot(&[]), bad.snapshot(&[])]).1.contains("full"));
        bad.set(Value::StoreStatus, StoreStatus::Offline as u64);
        assert!(health(&[good.snapshot(&[]), bad.snapshot(&[])]).1.contains("offline"));
    }
}
