//! The heat map: seconds from left to right, latency upwards on a log scale, the darker the more
//! records. It shows what percentiles hide: two modes, stalls, drifts.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::chart::short;
use crate::histogram::{Latency, ROWS_PER_DECADE};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 270.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 34.0;
/// Most columns; longer runs put several seconds into one.
const COLUMNS_MAX: u64 = 240;
/// Shades from few to many.
const SHADES: usize = 7;

/// Counts by second and row.
#[derive(Clone, Debug, Default)]
pub struct Heat {
    cells: BTreeMap<(u64, i32), u64>,
}

impl Heat {
    /// Add one second's latencies.
    pub fn add(&mut self, second: u64, latency: &Latency) {
        for (row, records) in latency.rows() {
            *self.cells.entry((second, row)).or_default() += records;
        }
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// The figure; nothing without cells.
    pub fn figure(&self, what: &str) -> String {
        let seconds = self.cells.keys().map(|(second, _)| *second);
        let (Some(first), Some(last)) = (seconds.clone().min(), seconds.max()) else {
            return String::new();
        };
        let rows = self.cells.keys().map(|(_, row)| *row);
        let (low, high) = (rows.clone().min().unwrap_or(0), rows.max().unwrap_or(0) + 1);
        let group = (last - first + 1).div_ceil(COLUMNS_MAX).max(1);
        let mut cells: BTreeMap<(u64, i32), u64> = BTreeMap::new();
        for ((second, row), count) in &self.cells {
            *cells.entry(((second - first) / group, *row)).or_default() += count;
        }
        let columns = ((last - first) / group + 1) as f64;
        let width = (WIDTH - LEFT - RIGHT) / columns;
        let height = (HEIGHT - TOP - BOTTOM) / f64::from(high - low);
        let most = cells.values().copied().max().unwrap_or(1).max(2) as f64;
        let mut shades: [String; SHADES] = Default::default();
        for ((column, row), count) in &cells {
            let shade = ((*count as f64).ln() / most.ln() * (SHADES - 1) as f64).round() as usize;
            let x = LEFT + *column as f64 * width;
            let y = TOP + f64::from(high - 1 - row) * height;
            let _ = write!(
                shades[shade.min(SHADES - 1)],
                "M{x:.1} {y:.1}h{width:.2}v{height:.2}h-{width:.2}z"
            );
        }
        let mut out = format!(
            "<figure id=\"heat\" class=\"plot\" data-points=\"{}\">\n<figcaption>Latency heat map, \
             {what}<small>each column one {}; darker: more records</small></figcaption>\n\
             <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"latency heat map\">\n",
            cells.len(),
            if group == 1 { "second".to_owned() } else { format!("stretch of {group} s") }
        );
        for (shade, path) in shades.iter().enumerate().filter(|(_, path)| !path.is_empty()) {
            let _ = writeln!(out, "<path class=\"h{shade}\" d=\"{path}\"/>");
        }
        axes(&mut out, (low, high), (first, last + 1));
        out.push_str("</svg>\n</figure>\n");
        out
    }
}

fn axes(out: &mut String, (low, high): (i32, i32), (first, end): (u64, u64)) {
    let bottom = HEIGHT - BOTTOM;
    let decade = |row: i32| f64::from(row) / ROWS_PER_DECADE;
    for exponent in decade(low).ceil() as i32..=decade(high).floor() as i32 {
        let share = (f64::from(exponent) - decade(low)) / (decade(high) - decade(low));
        let y = bottom - share * (bottom - TOP);
        let _ = writeln!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"tick\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            y + 4.0,
            short(10f64.powi(exponent) / 1e6)
        );
    }
    for part in 0..=4u64 {
        let x = LEFT + (WIDTH - LEFT - RIGHT) * part as f64 / 4.0;
        let second = first as f64 + (end - first) as f64 * part as f64 / 4.0;
        let _ = writeln!(
            out,
            "<text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 15.0,
            short(second)
        );
    }
    let _ = writeln!(
        out,
        "<text class=\"unit\" x=\"{}\" y=\"{y}\" text-anchor=\"end\">s</text>\
         <text class=\"unit\" x=\"4\" y=\"{y}\">ms</text>",
        WIDTH - RIGHT,
        y = HEIGHT - 4.0
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_modes_are_two_rows_and_a_long_run_has_no_more_columns_than_can_be_seen() {
        let mut latency = Latency::default();
        latency.record(1_000_000, 90);
        latency.record(20_000_000, 10);
        let mut heat = Heat::default();
        assert!(heat.is_empty() && heat.figure("x").is_empty());
        (0..10).for_each(|second| heat.add(second, &latency));
        assert!(heat.figure("x").contains("data-points=\"20\""));
        (10..1000).for_each(|second| heat.add(second, &latency));
        let figure = heat.figure("x");
        assert!(figure.contains("data-points=\"400\""), "1000 s in columns of 5 s: {figure}");
        let row = |ns| {
            let mut latency = Latency::default();
            latency.record(ns, 1);
            latency.rows().next().expect("one").0
        };
        assert_eq!(row(1_000_000) - row(100_000), ROWS_PER_DECADE as i32);
    }
}
