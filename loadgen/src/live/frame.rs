//! One frame of the view, and one line where there is no view: text from a tally, nothing else.
//!
//! Always true: no line is wider and no frame higher than the terminal.

use std::fmt::Write;

use super::doubts::doubts;
use super::tally::{Latencies, Tally};
use super::{Moment, Shown};
use crate::histogram::{Latency, Percentile, ROWS_PER_DECADE};
use crate::plan::{Consume, Load, Plan};
use crate::report::Validity;
use crate::report::text::{grouped, megabytes, millis, per_second};

/// From few records to many.
const SHADES: &[u8] = b".:-=+*#%@";
/// Their colours among the 256 of a terminal, from blue to yellow.
const SHADE_COLOURS: [u8; 9] = [18, 19, 26, 31, 37, 71, 107, 178, 226];
const GREEN: u8 = 2;
const YELLOW: u8 = 3;
const RED: u8 = 1;
const GREY: u8 = 8;
/// Rows of the heat map.
const HEAT_ROWS: (usize, usize) = (4, 16);
/// Columns in front of the heat map: `  10.00 |`.
const HEAT_LEFT: usize = 10;

/// Part of a line in one colour.
struct Span(String, Option<u8>);

/// Lines on their way to a frame of a certain size.
struct Page {
    width: usize,
    lines: Vec<Vec<Span>>,
}

impl Page {
    fn plain(&mut self, text: impl Into<String>) {
        self.lines.push(vec![Span(text.into(), None)]);
    }

    /// The lines as a terminal takes them, cut to its size.
    fn text(&self, height: usize, colours: bool) -> String {
        let mut out = String::new();
        for (index, line) in self.lines.iter().take(height).enumerate() {
            if index > 0 {
                out.push_str("\r\n");
            }
            let mut left = self.width;
            for Span(text, colour) in line {
                let shown: String = text.chars().take(left).collect();
                left -= shown.chars().count();
                match colour.filter(|_| colours) {
                    Some(colour) => {
                        let _ = write!(out, "\x1b[38;5;{colour}m{shown}\x1b[0m");
                    }
                    None => out.push_str(&shown),
                }
            }
            out.push_str("\x1b[K");
        }
        out
    }
}

/// What the latency from the intended time, or in a closed loop from the send, is called.
fn produce_name(plan: &Plan) -> &'static str {
    if plan.load == Load::Max { "acknowledged (from send)" } else { "acknowledged" }
}

fn percentile(value: Percentile) -> String {
    value.known_ns().map_or_else(|| "-".into(), millis)
}

/// Median, p99 and maximum, each right-aligned; hyphens where nobody can know.
fn three(latency: Option<&Latency>) -> String {
    let summary = latency.filter(|latency| !latency.is_empty()).map(Latency::summary);
    let [p50, p99, max] = match summary {
        Some(s) => [percentile(s.p50), percentile(s.p99), millis(s.max_ns)],
        None => ["-".to_owned(), "-".to_owned(), "-".to_owned()],
    };
    format!("{p50:>8}{p99:>8}{max:>8}")
}

fn word(validity: Validity) -> (&'static str, u8) {
    match validity {
        Validity::Ok => ("OK", GREEN),
        Validity::Suspect => ("SUSPECT", YELLOW),
        Validity::Invalid => ("INVALID", RED),
    }
}

/// A frame for a terminal of `size` columns and rows.
pub fn frame(
    shown: &Shown,
    moment: &Moment,
    tally: &Tally,
    size: (usize, usize),
    colours: bool,
) -> String {
    let (width, height) = size;
    let plan = &shown.plan;
    let mut page = Page { width, lines: Vec::new() };
    let name = plan.workload.as_deref().unwrap_or(&plan.topic);
    page.plain(format!("loadgen {name} on {}   {}", plan.bootstrap_server, load(plan)));
    let bar = (width.saturating_sub(2)).min(40);
    let done = (bar as f64 * moment.share) as usize;
    page.plain(format!(
        "[{}{}] {}; {:.0} s left",
        "=".repeat(done),
        " ".repeat(bar - done),
        moment.phase,
        moment.left_s.ceil()
    ));
    page.plain("");
    rates(&mut page, shown, moment, tally);
    page.plain("");
    latencies(&mut page, shown, moment, tally);
    validity(&mut page, shown, moment, tally);
    // The last line tells how to leave; what is above it must leave it room.
    let left = height.saturating_sub(page.lines.len() + 1);
    heat(&mut page, plan, tally, left, width);
    page.lines.truncate(height.saturating_sub(1));
    let keys = "q or Ctrl-C: end early, with a report   Ctrl-C again: end at once, without one";
    page.lines.push(vec![Span(keys.into(), Some(GREY))]);
    page.text(height, colours)
}

fn load(plan: &Plan) -> String {
    match &plan.load {
        Load::Rate(rate) => format!("{} records/s, open loop", per_second(*rate)),
        Load::Stages(stages) => format!("open loop in {} stages", stages.len()),
        Load::Max => "closed loop, as fast as answers come".into(),
    }
}

fn rates(page: &mut Page, shown: &Shown, moment: &Moment, tally: &Tally) {
    let tick = tally.last(moment.at_s).map(|(_, tick, _)| tick);
    let line = |name: &str, last: Option<(u64, u64)>, all: u64| {
        let (records, bytes) = last.map_or(("-".into(), "-".into()), |(records, bytes)| {
            (grouped(records), megabytes(bytes as f64))
        });
        format!("{name:<16}{records:>14} records/s{bytes:>13}   {:>16} so far", grouped(all))
    };
    let produced = tick.map(|tick| (tick.produced, tick.produced_bytes));
    page.plain(line("acknowledged", produced, tally.produced));
    if shown.plan.consume == Consume::Never {
        return;
    }
    page.plain(line("read", tick.map(|t| (t.consumed, t.consumed_bytes)), tally.consumed));
    let wanted = tally.produced * u64::from(shown.plan.subscriptions);
    let behind = grouped(wanted.saturating_sub(tally.consumed));
    page.plain(format!("{:<16}{behind:>14} records", "behind"));
}

fn latencies(page: &mut Page, shown: &Shown, moment: &Moment, tally: &Tally) {
    let last = tally.last(moment.at_s).map(|(_, _, latencies)| latencies);
    page.plain(format!(
        "{:<24}{:>8}{:>8}{:>8}  {:>8}{:>8}{:>8}",
        "ms: last second, so far", "p50", "p99", "max", "p50", "p99", "max"
    ));
    type Of = fn(&Latencies) -> &Latency;
    let rows: [(&str, Of); 3] = [
        (produce_name(&shown.plan), |l| &l.produce),
        ("at the consumer", |l| &l.end_to_end),
        ("lag of the generator", |l| &l.lag),
    ];
    for (name, of) in rows {
        if !of(&tally.all).is_empty() {
            page.plain(format!(
                "{name:<24}{}  {}",
                three(last.map(of)),
                three(Some(of(&tally.all)))
            ));
        }
    }
}

fn validity(page: &mut Page, shown: &Shown, moment: &Moment, tally: &Tally) {
    page.plain("");
    let Some((validity, doubts)) = doubts(shown, moment, tally) else {
        page.plain("valid so far    nothing is measured yet");
        return;
    };
    let (word, colour) = word(validity);
    page.lines.push(vec![Span("valid so far    ".into(), None), Span(word.into(), Some(colour))]);
    for doubt in doubts.iter().take(3) {
        page.plain(format!("                {}", doubt.text()));
    }
    page.plain("");
}

/// The heat map: a column for each of the last seconds, latency upwards on a log scale.
fn heat(page: &mut Page, plan: &Plan, tally: &Tally, height: usize, width: usize) {
    let has_readers = !tally.all.end_to_end.is_empty();
    let name = if has_readers { "at the consumer" } else { produce_name(plan) };
    let columns = width.saturating_sub(HEAT_LEFT + 1);
    let newest = tally.seconds.keys().next_back().copied().unwrap_or(0);
    let first = (newest + 1).saturating_sub(columns as u64);
    let column = |second: u64| {
        let tick = tally.seconds.get(&second)?;
        Some(if has_readers { &tick.end_to_end } else { &tick.produce })
    };
    let shown: Vec<_> = (first..=newest).map(column).collect();
    let rows = shown.iter().flatten().flat_map(|column| column.keys()).copied();
    let (Some(low), Some(high)) = (rows.clone().min(), rows.max()) else { return };
    // Two lines are around it.
    let lines = height.saturating_sub(2).min(HEAT_ROWS.1);
    if lines < HEAT_ROWS.0 || columns == 0 {
        return;
    }
    let per_line = ((high - low + 1) as usize).div_ceil(lines).max(1) as i32;
    let lines = ((high - low + 1) as usize).div_ceil(per_line as usize) as i32;
    let cell = |column: &Option<&std::collections::BTreeMap<i32, u64>>, line: i32| {
        let from = low + line * per_line;
        column.map_or(0, |rows| rows.range(from..from + per_line).map(|(_, n)| n).sum::<u64>())
    };
    let cells = shown.iter().flat_map(|column| (0..lines).map(move |line| cell(column, line)));
    let most = cells.max().unwrap_or(1).max(1) as f64;
    page.plain(format!("{:>HEAT_LEFT$}{name}, ms; one column a second, the denser the more", ""));
    for line in (0..lines).rev() {
        let ms = 10f64.powf(f64::from(low + line * per_line) / ROWS_PER_DECADE);
        let mut spans = vec![Span(format!("{:>8} |", millis(ms as u64)), Some(GREY))];
        for column in &shown {
            let count = cell(column, line);
            if count == 0 {
                spans.push(Span(" ".into(), None));
                continue;
            }
            // By its logarithm: a single record must be seen beside a million.
            let share = (1.0 + count as f64).ln() / (1.0 + most).ln();
            let shade = ((share * SHADES.len() as f64) as usize).min(SHADES.len() - 1);
            let text = char::from(SHADES[shade]).to_string();
            spans.push(Span(text, Some(SHADE_COLOURS[shade])));
        }
        page.lines.push(spans);
    }
    page.plain(format!("{:>8} +{}", "", "-".repeat(shown.len())));
}

/// The same in one line, for logs.
pub fn line(shown: &Shown, moment: &Moment, tally: &Tally) -> String {
    let mut out = format!("{:>5.0} s  {}", moment.at_s, moment.phase);
    if let Some((_, tick, latencies)) = tally.last(moment.at_s) {
        let _ = write!(out, "  {} records/s acknowledged", grouped(tick.produced));
        if shown.plan.consume == Consume::During {
            let _ = write!(out, ", {} read", grouped(tick.consumed));
        }
        let (name, latency) = if latencies.end_to_end.is_empty() {
            (produce_name(&shown.plan), &latencies.produce)
        } else {
            ("at the consumer", &latencies.end_to_end)
        };
        if !latency.is_empty() {
            let summary = latency.summary();
            let (p50, p99) = (percentile(summary.p50), percentile(summary.p99));
            let max = millis(summary.max_ns);
            let _ = write!(out, "  {name} p50 {p50} p99 {p99} max {max} ms");
        }
    }
    if let Some((validity, _)) = doubts(shown, moment, tally) {
        let _ = write!(out, "  {}", word(validity).0);
    }
    let _ = write!(out, "  {:.0} s left", moment.left_s.ceil());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::Role;
    use crate::histogram::{Interval, Series};
    use crate::recorder::Window;
    use std::sync::Arc;

    const SECOND: u64 = 1_000_000_000;

    fn shown() -> Shown {
        let plan =
            Plan { load: Load::Rate(1000.0), warmup_s: 1.0, duration_s: 9.0, ..<_>::default() };
        let window = Window { start_ns: 0, warm_ns: SECOND, end_ns: 10 * SECOND };
        Shown { plan: Arc::new(plan), window }
    }

    fn tally(records: u64) -> Tally {
        let mut tally = Tally::default();
        for second in 0..5 {
            for (role, series) in
                [(Role::Producer, Series::Produce), (Role::Consumer, Series::EndToEnd)]
            {
                let mut interval = Interval { second, records, bytes: 100_000, ..<_>::default() };
                for _ in 0..records {
                    interval.of(series).completion();
                    interval.of(series).record(2_000_000, 1);
                }
                tally.add(role, &interval);
            }
        }
        tally
    }

    fn plain(tally: &Tally, size: (usize, usize)) -> Vec<String> {
        let shown = shown();
        let text = frame(&shown, &shown.moment(4 * SECOND + 1, false), tally, size, false);
        text.split("\r\n").map(|line| line.trim_end_matches("\x1b[K").to_owned()).collect()
    }

    #[test]
    fn a_frame_shows_rates_percentiles_heat_validity_and_the_time_left() {
        let lines = plain(&tally(1000), (100, 30));
        let all = lines.join("\n");
        for wanted in ["1,000 records/s", "5,000 so far", "6 s left", "OK", "q or Ctrl-C"] {
            assert!(all.contains(wanted), "{wanted}: {all}");
        }
        let consumer = lines.iter().find(|line| line.starts_with("at the consumer")).unwrap();
        let numbers: Vec<&str> = consumer.split_whitespace().skip(3).collect();
        assert_eq!(numbers, ["2.00"; 6], "{consumer}");
        assert!(all.contains("|@@@@@"), "five seconds of one latency: {all}");
        let line = line(&shown(), &shown().moment(4 * SECOND + 1, false), &tally(1000));
        assert!(line.contains("1,000 records/s") && line.contains("p99 2.00"), "{line}");
        assert!(line.contains("OK  6 s left"), "{line}");
    }

    #[test]
    fn no_frame_is_larger_than_its_terminal() {
        for size in [(200, 60), (80, 24), (40, 12), (20, 5), (3, 2), (1, 1)] {
            let lines = plain(&tally(1000), size);
            assert!(lines.len() <= size.1, "{size:?}: {} lines", lines.len());
            let widest = lines.iter().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= size.0, "{size:?}: {widest} columns");
        }
    }

    #[test]
    fn colours_come_only_when_wanted_and_a_load_that_is_not_carried_is_suspect() {
        let shown = shown();
        let moment = shown.moment(4 * SECOND + 1, false);
        let plain = frame(&shown, &moment, &tally(1000), (80, 30), false);
        assert!(!plain.contains("\x1b[38"), "{plain}");
        let coloured = frame(&shown, &moment, &tally(500), (80, 30), true);
        assert!(coloured.contains("\x1b[38;5;3mSUSPECT"), "{coloured}");
        assert!(coloured.contains("offered 1000 records/s, 500 were"), "{coloured}");
        let early = frame(&shown, &shown.moment(1, false), &Tally::default(), (80, 30), false);
        assert!(early.contains("nothing is measured yet"), "{early}");
    }
}
