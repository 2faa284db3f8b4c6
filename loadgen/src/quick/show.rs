//! What `quick` prints while it runs: one line per finding, the doubts last.

use super::{Phase, QuickResult, SinkCeiling};
use crate::cli::QuickArgs;
use crate::device::{self, Device};
use crate::environment::Environment;
use crate::plan::Load;
use crate::print;
use crate::report::{Flow, text};
use crate::warnings::Weight;

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
    line("disk of", &args.dir.display().to_string());
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
    for wanted in ["shards", "durability", "ready in"] {
        let found = banner.iter().find(|l| l.trim_start().starts_with(wanted));
        if let Some(found) = found {
            let found = found.trim();
            line("broker", found);
        }
    }
}

/// One phase.
pub fn phase(phase: &Phase, moved: Option<Flow>) {
    let result = &phase.result;
    match moved {
        Some(moved) => throughput(phase, &moved),
        None => latencies(phase),
    }
    line("  verified", &text::verdict(&result.verdict));
    for warning in &result.warnings {
        if warning.weight() > Weight::Note {
            let weight = format!("{:?}", warning.weight()).to_uppercase();
            line(&format!("  {weight}"), &warning.text());
            line("", &format!("-> {}", warning.remedy()));
        }
    }
    if let Some(why) = &result.failure {
        line("  FAILED", why);
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
        line(phase.name, &format!("open loop at {} records/s", text::grouped(rate as u64)));
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
}

/// The conclusion.
pub fn closing(result: &QuickResult) {
    if !result.phases.is_empty() {
        line("durability", &result.durability);
        line("broker memory", &format!("{} MiB at most", result.broker_peak_bytes >> 20));
    }
    let verdict = match result.exit_code {
        0 => "valid",
        1 => "failed",
        3 => "INVALID in part: the phases marked so did not measure the broker alone",
        4 => "BROKEN PROMISE: records were lost, duplicated, reordered or damaged",
        _ => "INTERRUPTED: what is missing above was not measured",
    };
    line("verdict", verdict);
}
