//! The ratios of a comparison: per figure the rounds of B beside A as dots with their interval,
//! the rounds of A beside A as circles, and the noise floor as a band around 1.

use std::fmt::Write;

use serde_json::Value;

use super::chart::short;
use super::escape;

const WIDTH: f64 = 1120.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 10.0;
const ROW: f64 = 40.0;
const BOTTOM: f64 = 34.0;
/// The axis is never narrower than this either side of 1.
const LEAST: f64 = 1.12;
/// Ratios beyond are drawn at the border.
const MOST: f64 = 1000.0;

fn numbers(list: &Value) -> impl Iterator<Item = f64> {
    list.as_array().into_iter().flatten().filter_map(Value::as_f64).filter(|value| *value > 0.0)
}

fn ends(interval: &Value) -> Option<[f64; 3]> {
    let end = |name: &str| interval[name].as_f64().filter(|value| *value > 0.0);
    Some([end("low")?, end("median")?, end("high")?])
}

/// From ratios to places: 1 in the middle, equal ratios equally far.
struct Axis {
    reach: f64,
}

impl Axis {
    /// Wide enough for all `values`.
    fn around(values: impl Iterator<Item = f64>) -> Self {
        let farthest = values.map(|value| value.max(1.0 / value)).fold(LEAST, f64::max);
        Self { reach: farthest.min(MOST).ln() * 1.06 }
    }

    fn at(&self, ratio: f64) -> f64 {
        let share = (ratio.ln() / self.reach).clamp(-1.0, 1.0);
        let middle = LEFT + (WIDTH - LEFT - RIGHT) / 2.0;
        middle + share * (WIDTH - LEFT - RIGHT) / 2.0
    }

    fn ticks(&self) -> Vec<f64> {
        let above: &[f64] = match self.reach.exp() {
            r if r < 1.6 => &[1.05, 1.1, 1.2, 1.3, 1.5],
            r if r < 12.0 => &[1.5, 2.0, 3.0, 5.0, 10.0],
            _ => &[2.0, 5.0, 10.0, 30.0, 100.0, 1000.0],
        };
        let above = above.iter().copied().filter(|tick| tick.ln() < self.reach);
        let both = above.flat_map(|tick| [1.0 / tick, tick]);
        std::iter::once(1.0).chain(both).collect()
    }
}

/// The figure of a stored comparison.
pub fn figure(comparison: &Value) -> String {
    let judged = comparison["judged"].as_array().map_or(&[][..], Vec::as_slice);
    let floors = comparison["floor"].as_array().map_or(&[][..], Vec::as_slice);
    let floor_of = |metric: &Value| floors.iter().find(|floor| floor["metric"] == *metric);
    let dots = |one: &Value| {
        let floor = floor_of(&one["metric"]).map_or(&Value::Null, |floor| &floor["rounds"]);
        numbers(&one["rounds"]).chain(numbers(floor)).collect::<Vec<f64>>()
    };
    let all: Vec<f64> = judged.iter().flat_map(dots).collect();
    if all.is_empty() {
        return "<p class=\"absent\"><b>Ratios</b>: no figure was measured in every run</p>\n"
            .into();
    }
    let axis = Axis::around(all.iter().copied());
    let height = TOP + ROW * judged.len() as f64 + BOTTOM;
    let mut out = format!(
        "<figure id=\"ratios\" class=\"plot\" data-points=\"{}\">\n<figcaption>B beside A, round \
         by round<small>dots: rounds of A against B, bar: 95 % interval of their median; circles: \
         rounds of A against A, grey band: the noise floor that follows from them. A bar that \
         leaves the band is a difference.</small></figcaption>\n<svg viewBox=\"0 0 {WIDTH} \
         {height}\" role=\"img\" aria-label=\"ratios of B to A\">\n",
        all.len()
    );
    let bottom = height - BOTTOM;
    for tick in axis.ticks() {
        let (x, name) = (axis.at(tick), short(tick));
        let class = if tick == 1.0 { "axis" } else { "grid" };
        let _ = writeln!(
            out,
            "<line class=\"{class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
             <text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{name}</text>",
            bottom + 15.0
        );
    }
    for (index, one) in judged.iter().enumerate() {
        let middle = TOP + ROW * (index as f64 + 0.5);
        row(&mut out, &axis, one, floor_of(&one["metric"]), middle);
    }
    let _ = writeln!(
        out,
        "<text class=\"unit\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">B / A</text>\n</svg>\n\
         </figure>",
        WIDTH - 4.0,
        height - 4.0
    );
    out
}

fn row(out: &mut String, axis: &Axis, one: &Value, floor: Option<&Value>, middle: f64) {
    let noise = one["noise"].as_f64().unwrap_or(0.0).clamp(0.0, 0.99);
    let (from, to) = (axis.at(1.0 - noise), axis.at(1.0 + noise));
    let _ = writeln!(
        out,
        "<rect class=\"band\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\">\
         <title>noise floor {:.1} %</title></rect>",
        middle - ROW / 2.0 + 3.0,
        to - from,
        ROW - 6.0,
        noise * 100.0
    );
    let word = one["word"].as_str().unwrap_or("");
    let color = match word {
        "better" => "good",
        "worse" => "bad",
        _ => "c6",
    };
    if let Some(floor) = floor {
        dots(out, axis, &floor["rounds"], "again", middle - 8.0);
    }
    if let Some([low, median, high]) = ends(&one["ratio"]) {
        let y = middle + 5.0;
        let _ = writeln!(
            out,
            "<line class=\"bar {color}\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y}\" y2=\"{y}\"/>\
             <text class=\"name\" x=\"{:.1}\" y=\"{:.1}\">{median:.3} {}</text>",
            axis.at(low),
            axis.at(high),
            WIDTH - RIGHT + 10.0,
            middle + 4.0,
            escape(word)
        );
    }
    dots(out, axis, &one["rounds"], color, middle + 5.0);
    let _ = writeln!(
        out,
        "<text class=\"name\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
        LEFT - 10.0,
        middle + 4.0,
        escape(one["metric"].as_str().unwrap_or(""))
    );
}

fn dots(out: &mut String, axis: &Axis, rounds: &Value, class: &str, y: f64) {
    for (index, ratio) in numbers(rounds).enumerate() {
        let _ = writeln!(
            out,
            "<circle class=\"dot {class}\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"3.5\"><title>round {}: \
             {ratio:.3}</title></circle>",
            axis.at(ratio),
            index + 1
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn equal_ratios_lie_equally_far_from_the_middle() {
        let axis = Axis::around([0.5, 1.1].into_iter());
        let middle = axis.at(1.0);
        assert!((axis.at(2.0) - middle - (middle - axis.at(0.5))).abs() < 1e-9);
        assert!(axis.at(1e9) <= WIDTH - RIGHT && axis.at(1e-9) >= LEFT);
        assert!(axis.ticks().contains(&2.0) && axis.ticks().contains(&0.5));
        let narrow = Axis::around([1.001].into_iter());
        assert!(narrow.ticks().contains(&1.1), "never narrower than 10 %");
    }

    #[test]
    fn each_round_is_a_dot_and_a_name_cannot_break_the_page() {
        let page = figure(&json!({
            "judged": [{"metric": "<p50>", "noise": 0.05, "word": "worse", "rounds": [1.4, 1.5],
                "ratio": {"low": 1.4, "median": 1.45, "high": 1.5}}],
            "floor": [{"metric": "<p50>", "rounds": [1.0, 0.97]}],
        }));
        assert!(page.contains("data-points=\"4\"") && page.contains("&lt;p50&gt;"), "{page}");
        assert_eq!(page.matches("class=\"dot again\"").count(), 2);
        assert_eq!(page.matches("class=\"dot bad\"").count(), 2);
        assert!(page.contains("noise floor 5.0 %") && page.contains("1.450 worse"), "{page}");
        assert!(figure(&json!({})).contains("class=\"absent\""));
    }
}
