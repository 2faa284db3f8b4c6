//! What `thalweg serve` prints about itself on standard output.
//!
//! Tools read two of the lines: `listening on HOST:PORT` and `ready in N ms`. The rest is for
//! people and may change.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use super::preflight::Report;
use crate::config::{Config, show_bytes};

/// Everything that is known before the listener is bound.
pub fn opening(config: &Config, report: &Report) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<11} {value}");
    };
    line("node", config.node_id.to_string());
    let direct = if report.is_direct { "direct I/O" } else { "no direct I/O" };
    let free = show_bytes(report.free_bytes);
    let directory = config.data_dir.display();
    line("data", format!("{directory} ({}, {direct}, {free} free)", report.filesystem));
    line("shards", format!("{} on cores {}", config.shards(), core_list(&config.cores)));
    let bounded = show_bytes(config.limits.memory_bytes_max(config.shards()));
    let memory = show_bytes(config.machine.memory_bytes);
    line("memory", format!("buffers and caches up to {bounded} of {memory}"));
    let promise = match config.durability.word() {
        "write" => "write: acks=all survives kill -9, not a power cut",
        _ => "flush: acks=all survives a power cut, acks=1 survives kill -9",
    };
    line("durability", promise.into());
    line("kernel", report.kernel.clone());
    let mut whole = format!("thalweg {}\n{text}", env!("CARGO_PKG_VERSION"));
    for warning in &report.warnings {
        let _ = writeln!(whole, "  warning     {warning}");
    }
    whole
}

/// Everything that is known once requests are answered.
pub fn closing(
    config: &Config,
    bound: SocketAddr,
    metrics: Option<SocketAddr>,
    took: Duration,
) -> String {
    let told = config.advertised(bound);
    let mut text = String::new();
    if let Some(address) = metrics {
        let _ = writeln!(text, "  metrics     http://{address}/metrics");
    }
    let _ = writeln!(text, "  advertised  {told}");
    let _ = writeln!(text, "  try         thalweg topic list --bootstrap-server {told}");
    let _ = writeln!(text, "listening on {bound}");
    let _ = writeln!(text, "ready in {} ms", took.as_millis());
    text
}

/// `0-3,6`: cores in order, runs drawn together.
fn core_list(cores: &[usize]) -> String {
    let mut sorted = cores.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for core in sorted {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == core => *last = core,
            _ => parts.push((core, core)),
        }
    }
    let show = |(first, last): &(usize, usize)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    parts.iter().map(show).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_drawn_together() {
        assert_eq!(core_list(&[0, 1, 2, 3, 6]), "0-3,6");
        assert_eq!(core_list(&[5, 0, 0]), "0,5");
    }

    #[test]
    fn tools_find_their_two_lines() {
        let config =
            Config::from_pairs(&[("listeners", "127.0.0.1:0"), ("thalweg.durability", "write")])
                .unwrap();
        let bound = "127.0.0.1:4711".parse().unwrap();
        let text = closing(&config, bound, None, Duration::from_millis(42));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.contains(&"listening on 127.0.0.1:4711"), "{text}");
        assert_eq!(lines.last(), Some(&"ready in 42 ms"));
        let report = Report { warnings: vec!["mind the gap".into()], ..Report::default() };
        let text = opening(&config, &report);
        assert!(text.contains("not a power cut") && text.contains("mind the gap"), "{text}");
    }
}
