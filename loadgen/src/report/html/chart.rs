//! Line charts as inline SVG: axes, grid, lines, a legend, and the points once more as JSON for
//! the small script that shows values under the pointer. Colours come from the page's style.

use std::fmt::Write;

use super::escape;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 250.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 34.0;
/// More points than pixels show nothing more.
const POINTS_MAX: usize = 600;

/// How numbers become places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Equal steps, from 0.
    Linear,
    /// Equal ratios.
    Log,
    /// Equal ratios of 1/(1-q): p90, p99 and p99.9 at equal distances.
    Percentile,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    /// What it shows; a line without a name stays in the background.
    pub name: String,
    /// Colour, 1 to 6.
    pub color: usize,
    /// Places, ascending in x.
    pub points: Vec<(f64, f64)>,
}

/// A chart.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Names the figure in the page.
    pub id: &'static str,
    /// Its heading.
    pub title: String,
    /// What to see in it.
    pub note: String,
    /// Unit of x.
    pub x_unit: &'static str,
    /// Scale of x.
    pub x_scale: Scale,
    /// Unit of y.
    pub y_unit: &'static str,
    /// Scale of y.
    pub y_scale: Scale,
    /// The lines; those without points are left out.
    pub lines: Vec<Line>,
    /// Horizontal lines with their names.
    pub levels: Vec<(f64, String)>,
    /// Part of x that was not measured, from its begin to here.
    pub warmup: f64,
}

/// From numbers to places on one axis.
struct Axis {
    scale: Scale,
    from: f64,
    to: f64,
    begin: f64,
    end: f64,
}

impl Axis {
    fn at(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Linear => (value - self.from) / (self.to - self.from),
            Scale::Log | Scale::Percentile => {
                (value.max(self.from) / self.from).ln() / (self.to / self.from).ln()
            }
        };
        self.begin + share.clamp(0.0, 1.0) * (self.end - self.begin)
    }

    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let rough = (self.to - self.from) / 5.0;
                let decade = 10f64.powf(rough.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0].iter().map(|m| m * decade).find(|s| *s >= rough);
                let step = step.unwrap_or(rough);
                let first = (self.from / step).ceil() as i64;
                let last = (self.to / step + 1e-9).floor() as i64;
                (first..=last).map(|i| i as f64 * step).collect()
            }
            Scale::Log | Scale::Percentile => {
                let (first, last) = (self.from.log10(), self.to.log10());
                let decades = (first.ceil() as i32..=last.floor() as i32).map(|e| 10f64.powi(e));
                let mut ticks: Vec<f64> = decades.collect();
                if ticks.len() < 2 && self.scale == Scale::Log {
                    let floor = 10f64.powf(first.floor());
                    let all = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0].map(|m| m * floor);
                    ticks = all.into_iter().filter(|t| *t >= self.from && *t <= self.to).collect();
                }
                ticks
            }
        }
    }
}

/// A number as short as it can be read.
pub fn short(value: f64) -> String {
    let magnitude = value.abs();
    let (scaled, suffix) = match magnitude {
        m if m >= 1e9 => (value / 1e9, "G"),
        m if m >= 1e6 => (value / 1e6, "M"),
        m if m >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = match scaled.abs() {
        s if s >= 100.0 || s == 0.0 => 0,
        s if s >= 10.0 => 1,
        s if s >= 1.0 => 2,
        s if s >= 0.01 => 3,
        _ => 5,
    };
    let text = format!("{scaled:.digits$}");
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{suffix}")
}

fn percentile_name(x: f64) -> String {
    match x {
        x if x <= 1.0 => "p0".into(),
        x => {
            let digits = (x.log10() - 2.0).ceil().max(0.0) as usize;
            format!("p{:.digits$}", 100.0 - 100.0 / x)
        }
    }
}

/// No more points than can be seen: of each group the highest, for peaks are what matters.
fn thin(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let group = points.len().div_ceil(POINTS_MAX).max(1);
    let highest = |group: &[(f64, f64)]| {
        group.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or_default()
    };
    points.chunks(group).map(highest).collect()
}

impl Chart {
    /// The figure; a sentence instead of it when there is nothing to draw.
    pub fn figure(mut self) -> String {
        let is_log = self.y_scale != Scale::Linear;
        for line in &mut self.lines {
            line.points.retain(|(x, y)| x.is_finite() && y.is_finite() && (!is_log || *y > 0.0));
            line.points = thin(&line.points);
        }
        self.lines.retain(|line| !line.points.is_empty());
        let title = escape(&self.title);
        if self.lines.is_empty() {
            let note = "nothing was measured for it in this run";
            return format!("<p class=\"absent\"><b>{title}</b>: {note}</p>\n");
        }
        let (x, y) = self.axes();
        let count: usize = self.lines.iter().map(|line| line.points.len()).sum();
        let mut out = format!(
            "<figure id=\"{}\" class=\"plot\" data-points=\"{count}\">\n<figcaption>{title}\
             <small>{}</small></figcaption>\n{}<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-label=\"{title}\">\n",
            self.id,
            escape(&self.note),
            self.legend()
        );
        self.draw(&mut out, &x, &y);
        out.push_str("<g class=\"hover\"></g></svg>\n");
        let _ = writeln!(
            out,
            "<script type=\"application/json\">{}</script>\n</figure>",
            self.data(&x, &y)
        );
        out
    }

    fn axes(&self) -> (Axis, Axis) {
        let all = || self.lines.iter().flat_map(|line| line.points.iter());
        let least = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::INFINITY, f64::min);
        let most = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
        let x_from = match self.x_scale {
            Scale::Percentile => 1.0,
            _ => least(&mut all().map(|p| p.0)),
        };
        let x_to = most(&mut all().map(|p| p.0)).max(x_from * 1.001 + 1e-9);
        let levels = self.levels.iter().map(|level| level.0);
        let top = most(&mut all().map(|p| p.1).chain(levels));
        let (y_from, y_to) = match self.y_scale {
            Scale::Linear => (0.0, if top > 0.0 { top * 1.06 } else { 1.0 }),
            _ => (least(&mut all().map(|p| p.1)) / 1.2, top * 1.2),
        };
        let x =
            Axis { scale: self.x_scale, from: x_from, to: x_to, begin: LEFT, end: WIDTH - RIGHT };
        let y =
            Axis { scale: self.y_scale, from: y_from, to: y_to, begin: HEIGHT - BOTTOM, end: TOP };
        (x, y)
    }

    fn legend(&self) -> String {
        let mut out = String::from("<div class=\"legend\">");
        for line in self.lines.iter().filter(|line| !line.name.is_empty()) {
            let name = escape(&line.name);
            let _ = write!(out, "<span class=\"c{}\"><i></i>{name}</span>", line.color);
        }
        out.push_str("</div>\n");
        out
    }

    fn draw(&self, out: &mut String, x: &Axis, y: &Axis) {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        if self.warmup > x.from {
            let width = x.at(self.warmup) - LEFT;
            let height = bottom - TOP;
            let _ = writeln!(
                out,
                "<rect class=\"warmup\" x=\"{LEFT}\" y=\"{TOP}\" width=\"{width:.1}\" \
                 height=\"{height}\"><title>warm-up, not measured</title></rect>"
            );
        }
        for tick in y.ticks() {
            let at = y.at(tick);
            let _ = writeln!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                at + 4.0,
                short(tick)
            );
        }
        for tick in x.ticks() {
            let at = x.at(tick);
            let name = match self.x_scale {
                Scale::Percentile => percentile_name(tick),
                _ => short(tick),
            };
            let _ = writeln!(
                out,
                "<text class=\"tick\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">\
                 {name}</text>",
                bottom + 15.0
            );
        }
        let _ = writeln!(
            out,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>\
             <text class=\"unit\" x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <text class=\"unit\" x=\"4\" y=\"{:.1}\">{}</text>",
            HEIGHT - 4.0,
            self.x_unit,
            HEIGHT - 4.0,
            self.y_unit
        );
        for (level, name) in &self.levels {
            let at = y.at(*level);
            let _ = writeln!(
                out,
                "<line class=\"level\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text class=\"unit\" x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                at - 4.0,
                escape(name)
            );
        }
        for line in &self.lines {
            let mut points = String::new();
            for (px, py) in &line.points {
                let _ = write!(points, "{:.1},{:.1} ", x.at(*px), y.at(*py));
            }
            let thin = if line.name.is_empty() { " thin" } else { "" };
            let color = line.color;
            let _ = writeln!(out, "<polyline class=\"line{thin} c{color}\" points=\"{points}\"/>");
            if let [(px, py)] = line.points.as_slice() {
                let (cx, cy) = (x.at(*px), y.at(*py));
                let _ = writeln!(
                    out,
                    "<circle class=\"dot c{}\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"3\"/>",
                    line.color
                );
            }
        }
    }

    /// What the script needs: per line its name, colour and [place, x, y in words].
    fn data(&self, x: &Axis, y: &Axis) -> String {
        let lines: Vec<serde_json::Value> = self
            .lines
            .iter()
            .filter(|line| !line.name.is_empty())
            .map(|line| {
                let points: Vec<serde_json::Value> = line
                    .points
                    .iter()
                    .map(|(px, py)| {
                        let name = match self.x_scale {
                            Scale::Percentile => percentile_name(*px),
                            _ => format!("{} {}", short(*px), self.x_unit),
                        };
                        let round = |v: f64| (v * 10.0).round() / 10.0;
                        let value = format!("{} {}", short(*py), self.y_unit);
                        serde_json::json!([round(x.at(*px)), round(y.at(*py)), name, value])
                    })
                    .collect();
                serde_json::json!({"name": line.name, "color": line.color, "points": points})
            })
            .collect();
        // A name must not be able to end the element it stands in.
        serde_json::Value::from(lines).to_string().replace('<', "\\u003c")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> Chart {
        Chart {
            id: "t",
            title: "a <b>".into(),
            note: String::new(),
            x_unit: "s",
            x_scale: Scale::Linear,
            y_unit: "ms",
            y_scale: Scale::Log,
            lines: vec![Line { name: "</script>".into(), color: 1, points }],
            levels: vec![(50.0, "level".into())],
            warmup: 1.0,
        }
    }

    #[test]
    fn a_chart_has_its_points_and_names_cannot_break_the_page() {
        let points = vec![(0.0, 1.0), (1.0, 10.0), (2.0, 0.0), (3.0, 100.0)];
        let figure = chart(points).figure();
        assert!(figure.contains("data-points=\"3\""), "0 has no place on a log axis: {figure}");
        assert!(figure.contains("a &lt;b&gt;") && figure.contains("class=\"warmup\""));
        assert_eq!(figure.matches("</script>").count(), 1);
        assert!(figure.contains("class=\"level\""));
        let absent = chart(Vec::new()).figure();
        assert!(absent.contains("class=\"absent\"") && !absent.contains("<svg"));
    }

    #[test]
    fn a_line_without_a_name_is_drawn_but_not_talked_about() {
        let mut two = chart(vec![(0.0, 1.0), (1.0, 2.0)]);
        two.lines.insert(0, Line { name: String::new(), ..two.lines[0].clone() });
        let figure = two.figure();
        assert!(figure.contains("class=\"line thin c1\"") && figure.contains("data-points=\"4\""));
        assert_eq!(figure.matches("<i></i>").count(), 1, "one in the legend");
    }

    #[test]
    fn a_long_run_keeps_its_peaks() {
        let points: Vec<(f64, f64)> =
            (0..100_000).map(|i| (f64::from(i), if i == 77_777 { 9.0 } else { 1.0 })).collect();
        let thinned = thin(&points);
        assert!(thinned.len() <= POINTS_MAX);
        assert!(thinned.contains(&(77_777.0, 9.0)));
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (1.5, "1.5"),
            (250.0, "250"),
            (20_000.0, "20k"),
            (1_310_000_000.0, "1.31G"),
            (0.05, "0.05"),
        ] {
            assert_eq!(short(value), text);
        }
        assert_eq!(
            (percentile_name(100.0), percentile_name(10_000.0)),
            ("p99".into(), "p99.99".into())
        );
    }
}
