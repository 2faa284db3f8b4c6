//! Results for people: plain lines, the same units everywhere, the doubts last and in full.

use std::fmt::Write;

use crate::consume::group::GroupResult;
use crate::histogram::{Percentile, Summary};
use crate::observe::pauses::{PAUSE_NS, Pauses, Stretches};
use crate::pace::Arrivals;
use crate::plan::{Consume, Load, Plan};
use crate::report::{Flow, OBJECTIVE_MISSED, RunResult, StageResult, Validity};
use crate::slo::Judged;
use crate::verify::Verdict;
use crate::warnings::{Warning, Weight};

/// Megabytes (10^6) per second.
pub fn megabytes(bytes_per_s: f64) -> String {
    if bytes_per_s >= 1e9 {
        format!("{:.2} GB/s", bytes_per_s / 1e9)
    } else {
        format!("{:.1} MB/s", bytes_per_s / 1e6)
    }
}

/// A count with thousands apart.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// What happens so often in a second: a small number with its fraction.
pub fn per_second(rate: f64) -> String {
    if rate < 10.0 && rate.fract() > 0.0 { format!("{rate:.3}") } else { grouped(rate as u64) }
}

/// Milliseconds, with more digits the shorter it is.
pub fn millis(ns: u64) -> String {
    let ms = ns as f64 / 1e6;
    if ms < 1.0 {
        format!("{ms:.3}")
    } else if ms < 100.0 {
        format!("{ms:.2}")
    } else {
        format!("{ms:.0}")
    }
}

fn percentile(value: Percentile) -> String {
    match value {
        Percentile::Known { ns } => millis(ns),
        Percentile::TooFew { have, needed } => format!("({have} of {needed} samples)"),
    }
}

/// `p50 0.31  p99 0.92 ...` in milliseconds; percentiles nobody can know are left out, but said.
pub fn latency(summary: &Summary) -> String {
    let known = [
        ("p50", summary.p50),
        ("p90", summary.p90),
        ("p99", summary.p99),
        ("p99.9", summary.p999),
        ("p99.99", summary.p9999),
    ];
    let mut out = String::new();
    for (name, value) in known {
        let _ = write!(out, "{name} {}  ", percentile(value));
        if value.known_ns().is_none() {
            break;
        }
    }
    let _ = write!(out, "max {} ms", millis(summary.max_ns));
    out
}

/// What was offered, in one line.
pub fn plan(plan: &Plan) -> String {
    let load = match &plan.load {
        Load::Rate(rate) => format!("open loop at {} records/s", per_second(*rate)),
        Load::Stages(stages) => format!("open loop, {} stages", stages.len()),
        Load::Max => "closed loop, as fast as answers come".into(),
    };
    let arrivals = match plan.arrivals {
        _ if plan.load == Load::Max => String::new(),
        Arrivals::Uniform => " evenly".into(),
        Arrivals::Poisson => " at random (Poisson)".into(),
        Arrivals::Bursts(ns) => format!(" in bursts every {} ms", millis(ns)),
    };
    format!(
        "{load}{arrivals}; acks={}; {} B records, up to {} a batch; {} partitions; \
         {} producers x {} connections x {} in flight; {}{} consumers; {} s after {} s of warm-up",
        plan.acks_name(),
        plan.record_bytes,
        plan.records_per_batch,
        plan.partitions,
        plan.producers,
        plan.connections,
        plan.in_flight,
        if plan.subscriptions > 1 {
            format!("{} sets of ", plan.subscriptions)
        } else {
            String::new()
        },
        if plan.consume == Consume::Never { 0 } else { plan.consumers },
        plan.duration_s,
        plan.warmup_s
    )
}

/// A throughput in its three units.
pub fn flow(flow: &Flow) -> String {
    format!(
        "{}  {} records/s  {} requests/s",
        megabytes(flow.bytes_per_s),
        grouped(flow.records_per_s as u64),
        grouped(flow.answers_per_s as u64)
    )
}

/// What was verified, in one line.
pub fn verdict(verdict: &Verdict) -> String {
    if !verdict.checked {
        let sent = grouped(verdict.sent);
        return format!("not verified: nothing was read back of {sent} records");
    }
    let least = if verdict.at_least { "at least " } else { "" };
    let odd = &verdict.oddities;
    let mut out = format!(
        "lost {least}{}  duplicated {}  reordered {}  corrupt {}  of {} acknowledged, {} read",
        grouped(verdict.lost),
        grouped(verdict.duplicated),
        grouped(verdict.reordered),
        grouped(odd.corrupt_records + odd.corrupt_batches),
        grouped(verdict.acknowledged),
        grouped(verdict.read)
    );
    for (name, count) in [
        ("misdirected", odd.misdirected),
        ("unread", verdict.unread),
        ("refused", verdict.refused),
        ("unanswered", verdict.unknown),
        ("foreign", odd.foreign),
        ("offset gaps", odd.offset_gaps),
        ("deleted unread", odd.skipped),
    ] {
        if count > 0 {
            let _ = write!(out, "  {name} {}", grouped(count));
        }
    }
    out
}

/// Each doubt with its remedy.
pub fn warnings(warnings: &[Warning]) -> String {
    let mut out = String::new();
    for warning in warnings {
        let weight = match warning.weight() {
            Weight::Note => "note   ",
            Weight::Suspect => "SUSPECT",
            Weight::Invalid => "INVALID",
        };
        let _ = writeln!(out, "{weight}     {}", warning.text());
        if warning.weight() > Weight::Note {
            let _ = writeln!(out, "            -> {}", warning.remedy());
        }
    }
    out
}

/// An objective and what became of it.
pub fn objective(judged: &Judged) -> String {
    let is_rate = judged.objective.contains("rate");
    let measured = match judged.measured {
        None => "too few samples to know".into(),
        Some(rate) if is_rate => format!("{} records/s", grouped(rate as u64)),
        Some(ns) => format!("{} ms", millis(ns as u64)),
    };
    let word = match judged.is_met {
        Some(true) => "kept",
        Some(false) => "MISSED",
        None => "UNKNOWN",
    };
    format!("{}: {word} ({measured})", judged.objective)
}

fn stage(result: &StageResult) -> String {
    let stage = &result.stage;
    let mut out = if stage.from == stage.to {
        format!("{} records/s", per_second(stage.from))
    } else {
        format!("{} to {} records/s", per_second(stage.from), per_second(stage.to))
    };
    let _ = write!(
        out,
        " for {} s: {} acknowledged/s",
        stage.seconds,
        grouped(result.produced_per_s as u64)
    );
    for (name, summary) in
        [("produce", &result.produce_latency), ("end to end", &result.end_to_end_latency)]
    {
        if let Some(summary) = summary {
            let max = millis(summary.max_ns);
            let p99 = percentile(summary.p99);
            let _ = write!(out, "; {name} p50 {} p99 {p99} max {max} ms", percentile(summary.p50));
        }
    }
    out
}

fn group(result: &GroupResult) -> String {
    let mut out =
        format!("{}: {} members, {} rebalances", result.group, result.members, result.rebalances);
    if let Some(summary) = &result.rebalance_latency {
        let _ = write!(out, " (of up to {} ms)", millis(summary.max_ns));
    }
    if let Some(summary) = &result.commit_latency {
        let max = millis(summary.max_ns);
        let _ = write!(out, ", {} commits (of up to {max} ms)", summary.completions);
    }
    let _ = write!(
        out,
        ", lag up to {} records, {} at the end",
        grouped(result.lag_max),
        grouped(result.lag_at_end)
    );
    if result.redelivered > 0 {
        let _ = write!(out, ", {} delivered again", grouped(result.redelivered));
    }
    out
}

/// What stood still for long, and which figures it may have made; nothing when nothing did.
pub fn pauses(result: &RunResult) -> Option<String> {
    let produce = result.produce_latency.as_ref().or(result.produce_latency_from_send.as_ref());
    let series = [("produce", produce), ("end to end", result.end_to_end_latency.as_ref())];
    let tail = |name: &str, summary: &Summary, figure: &str| {
        summary.named(figure).map(|ns| (format!("{name} {figure}"), ns))
    };
    let tails = series.iter().filter_map(|(name, summary)| Some((*name, (*summary)?)));
    let tails = tails.flat_map(|(name, of)| ["p99.9", "max"].map(|figure| tail(name, of, figure)));
    stood_still(&result.pauses, tails.flatten())
}

fn stood_still(pauses: &Pauses, tails: impl Iterator<Item = (String, u64)>) -> Option<String> {
    let long = pauses.each().filter(|(_, stretches)| stretches.count > 0);
    let longest_ns = long.map(|(_, stretches)| stretches.longest_ns).max()?;
    let mut out = String::new();
    for (what, Stretches { longest_ns, count, total_ns }) in pauses.each() {
        if count == 0 {
            let _ = write!(out, "{what} none over {} ms; ", millis(PAUSE_NS));
            continue;
        }
        let [longest, limit, all] = [longest_ns, PAUSE_NS, total_ns].map(millis);
        let _ = write!(out, "{what} up to {longest} ms ({count} over {limit}, {all} in all");
        if let Some(waited) = pauses.waited_ns.filter(|_| what == "machine") {
            let _ = write!(out, ", {} of it waiting for a core", millis(waited));
        }
        out.push_str("); ");
    }
    if pauses.device.is_none() {
        out.push_str("no device; ");
    }
    let short: Vec<String> =
        tails.filter(|(_, ns)| *ns <= longest_ns).map(|(figure, _)| figure).collect();
    let conclusion = if short.is_empty() {
        "every p99.9 and max is longer than any of them".into()
    } else {
        format!("{} may be theirs", short.join(", "))
    };
    Some(out + &conclusion)
}

/// A whole run.
pub fn run(result: &RunResult) -> String {
    let mut out = String::new();
    let mut line = |name: &str, text: String| {
        let _ = writeln!(out, "{name:<11} {text}");
    };
    line("plan", plan(&result.plan));
    line("durability", result.durability.clone());
    line("produced", flow(&result.produced));
    if let Some(backlog) = &result.backlog {
        line("read back", format!("{} in {:.2} s", flow(&backlog.read), backlog.seconds));
    } else if result.plan.consume == Consume::During {
        line("consumed", flow(&result.consumed));
    }
    if let Some(summary) = &result.produce_latency {
        line("produce", format!("{} (from the intended time)", latency(summary)));
    }
    if let Some(summary) = &result.produce_latency_from_send {
        line("  from send", latency(summary));
    }
    if let Some(summary) = &result.send_delay {
        line("  send delay", latency(summary));
    }
    if let Some(summary) = &result.end_to_end_latency {
        line("end to end", latency(summary));
    }
    if let Some(summary) = &result.fetch_latency {
        line("  fetch", format!("{} (long polls wait for records)", latency(summary)));
    }
    if let Some(summary) = &result.schedule_lag {
        line("lag", format!("{} (the generator's own pacing error)", latency(summary)));
    }
    if let Some(pauses) = pauses(result) {
        line("pauses", pauses);
    }
    if result.plan.consumer_delay_s > 0.0 {
        let late = result.plan.consumer_delay_s;
        line(
            "catch-up",
            match result.caught_up_s {
                Some(seconds) => {
                    format!("consumers began {late} s late, at the end {seconds:.1} s on")
                }
                None => format!("consumers began {late} s late and never came to the end"),
            },
        );
    }
    for one in &result.stages {
        line("stage", stage(one));
    }
    for one in &result.groups {
        line("group", group(one));
    }
    line("verified", verdict(&result.verdict));
    for thread in &result.threads {
        line(
            "generator",
            format!(
                "{} thread: {:.0} % of a core ({:.1} % to verify), {:.0} % waiting for one",
                thread.role,
                thread.cpu_share * 100.0,
                thread.verify_share * 100.0,
                thread.waited_share * 100.0
            ),
        );
    }
    for judged in &result.objectives {
        line("objective", objective(judged));
    }
    out.push_str(&warnings(&result.warnings));
    if let Some(why) = &result.failure {
        let _ = writeln!(out, "FAILED      {why}");
    }
    let word = match result.exit_code() {
        0 if result.validity == Validity::Suspect => "SUSPECT: see the doubts above",
        0 => "OK",
        1 => "failed",
        3 if result.valid => "INVALID: too few samples behind an objective",
        3 => "INVALID: these are not the broker's figures",
        OBJECTIVE_MISSED => "OBJECTIVE MISSED",
        _ => "BROKEN PROMISE: see the line `verified`",
    };
    let _ = writeln!(out, "verdict     {word}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Latency;

    #[test]
    fn numbers_read_well() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(41_203_114), "41,203,114");
        assert_eq!([0.5, 10.0, 12_000.7].map(per_second), ["0.500", "10", "12,000"]);
        assert_eq!(megabytes(1_310_000_000.0), "1.31 GB/s");
        assert_eq!(megabytes(52_345_678.0), "52.3 MB/s");
        assert_eq!(millis(310_000), "0.310");
        assert_eq!(millis(11_800_000), "11.80");
    }

    #[test]
    fn a_tail_that_is_shorter_than_a_pause_may_be_its_own() {
        let ms = |longest: u64, count| Stretches {
            longest_ns: longest * 1_000_000,
            count,
            total_ns: 2 * longest * 1_000_000,
        };
        let told = |machine, device, tail| {
            let pauses = Pauses { machine, device, waited_ns: Some(9_000_000), ..<_>::default() };
            let tails = [("produce p99.9", tail), ("produce max", 60_000_000)];
            stood_still(&pauses, tails.into_iter().map(|(name, ns)| (name.into(), ns)))
        };
        assert_eq!(told(ms(4, 0), Some(ms(4, 0)), 1), None);
        let text = told(ms(4, 0), Some(ms(52, 2)), 44_000_000).unwrap();
        assert!(text.starts_with("machine none over 5.00 ms; device up to 52.00 ms (2 "), "{text}");
        assert!(text.ends_with("; produce p99.9 may be theirs"), "{text}");
        let text = told(ms(52, 2), None, 53_000_000).unwrap();
        assert!(text.contains("104 in all, 9.00 of it waiting for a core); no device; "), "{text}");
        assert!(text.ends_with("every p99.9 and max is longer than any of them"), "{text}");
    }

    #[test]
    fn a_percentile_without_samples_is_not_a_number() {
        let mut summary = Latency::default();
        for _ in 0..150 {
            summary.completion();
            summary.record(1_000_000, 1);
        }
        let text = latency(&summary.summary());
        assert!(text.contains("p90 ") && text.contains("p99 (150 of 1000 samples)"), "{text}");
        assert!(!text.contains("p99.9") && text.contains("max 1.00 ms"), "{text}");
    }
}
