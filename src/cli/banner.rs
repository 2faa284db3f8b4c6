//! What `thalweg serve` prints about itself on standard output.
//!
//! Tools read two of the lines: `listening on HOST:PORT` and `ready in N ms`. The rest is for
//! people and may change.

use std::fmt::Write;
use std::time::Duration;

use super::preflight::Report;
use super::topic::plural;
use crate::config::{Config, Durability, show_bytes};
use crate::server::start::Ready;

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
    line("kernel", report.kernel.clone());
    let mut whole = format!("thalweg {}\n{text}", env!("CARGO_PKG_VERSION"));
    for warning in &report.warnings {
        let _ = writeln!(whole, "  warning     {warning}");
    }
    whole
}

/// Everything that is known once requests are answered.
pub fn closing(config: &Config, ready: &Ready, took: Duration) -> String {
    let told = config.advertised(ready.listening);
    let mut text = String::new();
    let promise = match ready.durability {
        Durability::Write => "write: acks=all survives kill -9, not a power cut",
        Durability::Flush => "flush: acks=all survives a power cut, acks=1 survives kill -9",
    };
    let _ = writeln!(text, "  durability  {promise}");
    if ready.relaxed_topics > 0 {
        let topics = plural(ready.relaxed_topics, "topic");
        let _ = writeln!(
            text,
            "  warning     {topics} with thalweg.durability=write: acks=all does not survive a \
             power cut there"
        );
    }
    if let Some(address) = ready.metrics {
        let _ = writeln!(text, "  metrics     http://{address}/metrics");
    }
    let _ = writeln!(text, "  advertised  {told}");
    let _ = writeln!(text, "  try         thalweg topic list --bootstrap-server {told}");
    let _ = writeln!(text, "listening on {}", ready.listening);
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
    use crate::config::HostPort;

    #[test]
    fn cores_are_drawn_together() {
        assert_eq!(core_list(&[0, 1, 2, 3, 6]), "0-3,6");
        assert_eq!(core_list(&[5, 0, 0]), "0,5");
    }

    fn ready(durability: Durability, relaxed_topics: usize) -> Ready {
        let listening = "127.0.0.1:4711".parse().unwrap();
        let advertised = HostPort { host: "127.0.0.1".into(), port: 4711 };
        let cluster_id = "c".into();
        Ready { listening, advertised, metrics: None, cluster_id, durability, relaxed_topics }
    }

    #[test]
    fn tools_find_their_two_lines() {
        let config = Config::from_pairs(&[("listeners", "127.0.0.1:0")]).unwrap();
        let text = closing(&config, &ready(Durability::Flush, 0), Duration::from_millis(42));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.contains(&"listening on 127.0.0.1:4711"), "{text}");
        assert_eq!(lines.last(), Some(&"ready in 42 ms"));
        let report = Report { warnings: vec!["mind the gap".into()], ..Report::default() };
        assert!(opening(&config, &report).contains("mind the gap"));
    }

    #[test]
    fn nothing_relaxes_silently() {
        let config = Config::from_pairs(&[("listeners", "127.0.0.1:0")]).unwrap();
        let banner = |durability, relaxed| {
            closing(&config, &ready(durability, relaxed), Duration::from_millis(42))
        };
        assert!(!banner(Durability::Flush, 0).contains("not"));
        assert!(banner(Durability::Flush, 2).contains("2 topics with thalweg.durability=write"));
        // Set at run time, which the file and the flags do not know.
        assert!(banner(Durability::Write, 0).contains("write: acks=all survives kill -9, not"));
    }
}
