//! Who may import whom. The table repeats `src/lib.rs` exactly enough to be checked.

use super::source::Source;

/// Folder, and the folders it may import besides itself.
const LAYERS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("wire", &["model"]),
    ("record", &["model", "wire"]),
    ("config", &["model"]),
    ("metrics", &["model"]),
    ("protocol", &["model", "wire", "record"]),
    // The two seams know each other: their simulated sides share one world.
    ("disk", &["model", "config", "metrics", "runtime"]),
    ("runtime", &["model", "config", "metrics", "disk"]),
    ("storage", &["model", "record", "config", "metrics", "disk", "runtime"]),
    ("partition", &["model", "record", "config", "metrics", "runtime", "storage"]),
    (
        "cluster",
        &["model", "wire", "record", "protocol", "config", "metrics", "runtime", "disk", "storage"],
    ),
    ("coordinator", &["model", "wire", "record", "protocol", "config", "cluster"]),
    (
        "shard",
        &[
            "model",
            "wire",
            "record",
            "config",
            "metrics",
            "disk",
            "runtime",
            "storage",
            "partition",
            "cluster",
            "coordinator",
        ],
    ),
    ("client", &["model", "wire", "record", "protocol"]),
    (
        "server",
        &[
            "model",
            "wire",
            "record",
            "config",
            "metrics",
            "protocol",
            "disk",
            "runtime",
            "storage",
            "partition",
            "cluster",
            "coordinator",
            "shard",
        ],
    ),
    (
        "cli",
        &[
            "model",
            "wire",
            "record",
            "config",
            "metrics",
            "protocol",
            "disk",
            "runtime",
            "storage",
            "partition",
            "cluster",
            "coordinator",
            "shard",
            "client",
            "server",
        ],
    ),
];

/// What the load generator may use of the broker's library: the wire, nothing behind it.
const LOADGEN: &[&str] = &["model", "wire", "record", "protocol", "client"];

/// Findings about the imports of one file.
pub fn imports_point_down(file: &Source) -> Vec<String> {
    let Some((owner, allowed, prefix)) = rule_for(file) else { return Vec::new() };
    let mut findings = Vec::new();
    for (number, line) in file.code().lines().enumerate() {
        for name in named_after(line, prefix) {
            let is_layer = LAYERS.iter().any(|(layer, _)| *layer == name);
            if is_layer && name != owner && !allowed.contains(&name.as_str()) {
                findings.push(file.at(
                    number,
                    format!(
                        "{owner} must not import {name}: move the code up, or pass what it needs \
                         down as a value or a trait of {owner}"
                    ),
                ));
            }
        }
    }
    findings
}

fn rule_for(file: &Source) -> Option<(&str, &'static [&'static str], &'static str)> {
    if !file.is_rust() {
        return None;
    }
    if file.path.starts_with("loadgen/") {
        return Some(("loadgen", LOADGEN, "thalweg::"));
    }
    let folder = file.path.strip_prefix("src/")?.split_once('/')?.0;
    let (layer, allowed) = LAYERS.iter().find(|(layer, _)| *layer == folder)?;
    Some((layer, allowed, "crate::"))
}

/// First path segments after `prefix` in a line, also in `{a, b::c}` groups.
fn named_after(line: &str, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = line;
    while let Some(at) = rest.find(prefix) {
        let is_word = rest[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
        rest = &rest[at + prefix.len()..];
        if is_word {
            continue;
        }
        let parts = match rest.strip_prefix('{') {
            Some(group) => group.split(',').map(str::trim).collect(),
            None => vec![rest],
        };
        for part in parts {
            let end = part.find(|c: char| !(c.is_alphanumeric() || c == '_'));
            names.push(part[..end.unwrap_or(part.len())].to_owned());
        }
    }
    names
}

/// Folders below `src` and rows of the table are the same set, and so is the list in `lib.rs`.
pub fn every_folder_is_a_layer(files: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    let mut folders: Vec<&str> = files
        .iter()
        .filter_map(|file| file.path.strip_prefix("src/")?.split_once('/').map(|(top, _)| top))
        .collect();
    folders.sort_unstable();
    folders.dedup();
    for folder in &folders {
        if !LAYERS.iter().any(|(layer, _)| layer == folder) {
            findings.push(format!(
                "src/{folder}: no such layer; add it to src/lib.rs and tests/tidy/layers.rs"
            ));
        }
    }
    let front = files.iter().find(|file| file.path == "src/lib.rs").map_or("", |file| &file.text);
    for (layer, _) in LAYERS {
        if !folders.contains(layer) {
            findings.push(format!("src/{layer}: in the table of layers, but not there; drop it"));
        }
        if !front.contains(&format!("| [`{layer}`] |")) {
            findings.push(format!("src/lib.rs: the table of layers does not list {layer}"));
        }
    }
    findings
}

#[test]
fn an_import_that_points_up_is_found() {
    let found = |path: &str, text: &str| imports_point_down(&Source::of(path, text)).len();
    assert_eq!(found("src/model/a.rs", "use crate::storage::Log;"), 1);
    assert_eq!(found("src/storage/a.rs", "let x = crate::server::run();"), 1);
    assert_eq!(found("src/storage/a.rs", "use crate::{model::Offset, partition::P};"), 1);
    assert_eq!(found("src/storage/a.rs", "use crate::model::Offset; // crate::server"), 0);
    assert_eq!(found("src/storage/a.rs", "pub(crate) use crate::storage::x;"), 0);
    assert_eq!(found("loadgen/src/a.rs", "use thalweg::storage::Log;"), 1);
    assert_eq!(found("loadgen/src/a.rs", "use thalweg::protocol::Frame;"), 0);
}

#[test]
fn a_folder_without_a_layer_is_found() {
    let mut files: Vec<Source> =
        LAYERS.iter().map(|(layer, _)| Source::of(&format!("src/{layer}/mod.rs"), "")).collect();
    let table: String = LAYERS.iter().map(|(layer, _)| format!("| [`{layer}`] |\n")).collect();
    files.push(Source::of("src/lib.rs", &table));
    assert_eq!(every_folder_is_a_layer(&files).len(), 0);
    files.push(Source::of("src/extra/mod.rs", ""));
    assert_eq!(every_folder_is_a_layer(&files).len(), 1);
    files.retain(|file| !file.path.starts_with("src/client"));
    assert_eq!(every_folder_is_a_layer(&files).len(), 2);
}
