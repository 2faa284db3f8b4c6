//! The page of a run or of a comparison: one HTML file with everything in it, made from stored
//! files. No network, no other file; it prints, and it is whole without its script.

mod chart;
mod comparison;
mod heat;
mod plots;
mod ratios;
mod tables;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::folder::hlog;
use crate::histogram::{Latency, Series};
use heat::Heat;

pub use comparison::page as comparison;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// What the histogram log of a run says.
#[derive(Default)]
pub struct Histograms {
    /// All seconds of each series added.
    sums: BTreeMap<&'static str, Latency>,
    /// End to end if there is any, otherwise produce.
    heat: Heat,
    heat_of: &'static str,
}

impl Histograms {
    fn read(path: &Path) -> Result<Self, String> {
        let mut found = Self::default();
        let (mut produce, mut end_to_end) = (Heat::default(), Heat::default());
        hlog::read(path, |entry| {
            found.sums.entry(entry.series.name()).or_default().add(&entry.latency);
            match entry.series {
                Series::EndToEnd => end_to_end.add(entry.second, &entry.latency),
                Series::Produce => produce.add(entry.second, &entry.latency),
                _ => {}
            }
        })?;
        (found.heat, found.heat_of) = if end_to_end.is_empty() {
            (produce, "send to acknowledgement")
        } else {
            (end_to_end, "intended time to consumer")
        };
        Ok(found)
    }
}

/// Text as HTML shows it.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            _ => out.push(c),
        }
    }
    out
}

/// The page for a stored result and its histogram log.
///
/// # Errors
/// When the log cannot be read.
pub fn page(result: &Value, hlog: &Path) -> Result<String, String> {
    let histograms = Histograms::read(hlog)?;
    let plan = &result["plan"];
    let title = format!(
        "loadgen: {} on {}",
        plan["topic"].as_str().unwrap_or("run"),
        plan["bootstrap_server"].as_str().unwrap_or("?")
    );
    let sections = [
        tables::verdict(result),
        tables::tiles(result),
        "<h2>Latency</h2>\n".into(),
        tables::latencies(result),
        "<div class=\"plots\">\n".into(),
        plots::percentiles(result, &histograms),
        histograms.heat.figure(histograms.heat_of),
        plots::latency_over_time(result, "produce", "From intended send time to acknowledgement"),
        plots::latency_over_time(result, "end_to_end", "From intended send time to the consumer"),
        "</div>\n<h2>Throughput and resources</h2>\n<div class=\"plots\">\n".into(),
        plots::throughput(result),
        plots::groups(result),
        plots::resources(result),
        "</div>\n".into(),
        tables::stages(result),
        tables::groups(result),
        tables::verification(result),
        tables::details(result),
    ];
    Ok(document(&title, &sections.concat()))
}

/// A whole page.
fn document(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta \
         name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta \
         name=\"generator\" content=\"loadgen {}\">\n<link rel=\"icon\" href=\"data:,\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n\
         {body}<script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escape("<b a=\"1\">&"), "&lt;b a=&quot;1&quot;&gt;&amp;");
    }

    #[test]
    fn the_page_asks_nothing_of_the_network() {
        for text in [STYLE, SCRIPT] {
            for word in ["http:", "https:", "url(", "@import", "fetch(", "import("] {
                let allowed = word == "http:" && text.contains("http://www.w3.org/2000/svg");
                assert!(allowed || !text.contains(word), "{word}");
            }
        }
    }

    #[test]
    fn an_empty_result_still_makes_a_page_that_says_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("latency.hlog");
        std::fs::write(&log, "").unwrap();
        let page = page(&serde_json::json!({"plan": {"topic": "<t>"}}), &log).unwrap();
        assert!(page.contains("&lt;t&gt;") && page.contains("class=\"absent\""), "{page}");
        assert!(page.ends_with("</html>\n"));
    }
}
