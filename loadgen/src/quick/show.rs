//! What `quick` prints while it runs: one line per finding, the doubts last.

use super::{Phase, QuickResult, SinkCeiling};
use crate::cli::QuickArgs;
use crate::device::{self, Device};
use crate::environment::Environment;
use crate::plan::Load;
use crate::print;
use crate::report::{self, Flow, Validity, text};
use crate::warnings::{Warning, Weight};

fn line(name: &str, text: &str) {
    print::line(format_args!("{name:<17} {text}"));
}

/// Before anything is measured.
pub fn opening(environment: &Environment, args: &QuickArgs) {
    line(
        "machine",
        &format!(
            "{} CPUs, {}, {} GiB, kernel {}; broker and generator share it",
            environment.cpus,
            environment.cpu,
            environment.memory_bytes >> 30,
            environment.kernel
        ),
    );
    let disk = environment.disk.as_ref();
    let disk = disk.map_or(String::new(), |disk| match disk.device.as_str() {
        "" => format!(" ({})", disk.file_system),
        device => format!(" ({} on {device})", disk.file_system),
    });
    line("disk of", &format!("{}{disk}", args.dir.display()));
}

/// The disk's ceilings.
pub fn device(device: &Device) {
    for (name, text) in device::lines(device) {
        line(&format!("device {name}"), &text);
    }
}

/// The sink's ceilings.
pub fn sink(sink: &SinkCeiling) {
    line("sink produce", &format!("{} into nothing", text::flow(&sink.produce)));
    line("source fetch", &format!("{} from memory, verified", text::flow(&sink.fetch)));
}

/// What the broker says about itself.
pub fn broker(banner: &[String]) {
    told(banner).for_each(|found| line("broker", found));
}

/// The lines of a banner that matter to who reads figures, by their names: a broker may change
/// their order, and warn of several things or of none.
fn told(banner: &[String]) -> impl Iterator<Item = &str> {
    let wanted = ["shards", "durability", "warning", "ready in"];
    let lines = banner.iter().map(|line| line.trim());
    lines.filter(move |line| wanted.iter().any(|name| line.starts_with(name)))
}

/// One phase.
pub fn phase(phase: &Phase, moved: Option<Flow>) {
    let result = &phase.result;
    match moved {
        Some(moved) => throughput(phase, &moved),
        None => latencies(phase),
    }
    line("  verified", &text::verdict(&result.verdict));
    doubts("  ", &result.warnings);
    if let Some(why) = &result.failure {
        line("  FAILED", why);
    }
}

fn doubts(indent: &str, warnings: &[Warning]) {
    for warning in warnings.iter().filter(|warning| warning.weight() > Weight::Note) {
        let weight = format!("{:?}", warning.weight()).to_uppercase();
        line(&format!("{indent}{weight}"), &warning.text());
        line("", &format!("-> {}", warning.remedy()));
    }
}

fn throughput(phase: &Phase, moved: &Flow) {
    let result = &phase.result;
    let mut shown = text::flow(moved);
    let shares = [&phase.share, &phase.share_of_new_blocks];
    for (number, share) in shares.into_iter().flatten().enumerate() {
        let ceiling = text::megabytes(share.ceiling_bytes_per_s);
        let before = if number == 0 { "  =" } else { "," };
        shown += &format!("{before} {:.0} % of {} ({ceiling})", share.share * 100.0, share.of);
    }
    if let Some(cpu) = phase.broker_cpu_s_per_gb {
        shown += &format!("  broker {cpu:.2} CPU-s/GB");
    }
    line(phase.name, &shown);
    if result.consumed.bytes > 0 {
        line("  written beside", &text::flow(&result.produced));
    }
    let Some(backlog) = &result.backlog else { return };
    let mut shown = format!("{:.2} s", backlog.seconds);
    if *moved == backlog.read {
        shown += &format!(", {} sets of consumers", result.plan.subscriptions);
    } else {
        shown = format!("{} in {shown}", text::flow(&backlog.read));
    }
    if let Some(bytes) = phase.broker_read_bytes {
        shown += &format!(", {} MB of it from disk", bytes / 1_000_000);
    }
    line("  read back", &shown);
}

fn latencies(phase: &Phase) {
    let result = &phase.result;
    if let Load::Rate(rate) = result.plan.load {
        line(phase.name, &format!("open loop at {} records/s", text::per_second(rate)));
    }
    for (name, summary) in [
        ("  produce", &result.produce_latency),
        ("  end to end", &result.end_to_end_latency),
        ("  generator lag", &result.schedule_lag),
    ] {
        if let Some(summary) = summary {
            line(name, &text::latency(summary));
        }
    }
    if let Some(pauses) = text::pauses(result) {
        line("  pauses", &pauses);
    }
}

/// The conclusion.
pub fn closing(result: &QuickResult) {
    if !result.phases.is_empty() {
        line("durability", &result.durability);
        line("broker memory", &format!("{} MiB at most", result.broker_peak_bytes >> 20));
    }
    doubts("", &result.warnings);
    if let Some(why) = &result.failure {
        line("failed", why);
    }
    let phases = result.phases.iter().map(|phase| phase.result.validity);
    let mut all = phases.chain([report::validity(&result.warnings)]);
    let verdict = match result.exit_code {
        0 if all.any(|validity| validity != Validity::Ok) => "SUSPECT: see the doubts above",
        0 => "valid",
        1 => "FAILED: what is missing above was not measured",
        3 => "INVALID in part: the figures of the phases marked so are not the broker's",
        4 => "BROKEN PROMISE: records were lost, duplicated, reordered or damaged",
        _ => "INTERRUPTED: what is missing above was not measured",
    };
    line("verdict", verdict);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_banner_is_read_by_name_and_every_warning_is_shown() {
        let banner = [
            "thalweg 0.1.0",
            "  data        /dev/shm/x (tmpfs, 5 GiB free)",
            "  warning     /dev/shm/x is on tmpfs: a flush proves nothing",
            "  shards      2 on cores 0-1",
            "  metrics     http://127.0.0.1:1/metrics",
            "  durability  flush: acks=all survives a power cut",
            "  warning     2 topics have thalweg.durability=write",
            "listening on 127.0.0.1:4711",
            "ready in 86 ms",
        ];
        let banner = banner.map(str::to_owned);
        let names: Vec<&str> = told(&banner).filter_map(|l| l.split_whitespace().next()).collect();
        assert_eq!(names, ["warning", "shards", "durability", "warning", "ready"]);
    }
}
