//! Sizes, headers and names of files.

use super::source::Source;

/// Longest line of code, in characters.
const LINE_CHARS_MAX: usize = 100;

/// Longest file of code, in lines.
const FILE_LINES_MAX: usize = 800;

/// Longest function, in lines from its name to its closing brace.
const FUNCTION_LINES_MAX: usize = 100;

/// Findings about long files and lines. Lines with an address and raw literals are as long as
/// they must be.
pub fn files_and_lines_are_short(file: &Source) -> Vec<String> {
    let others = [".py", ".go", ".mjs"];
    let is_code = file.is_rust() || others.iter().any(|ending| file.path.ends_with(ending));
    if !is_code {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let lines = file.text.lines().count();
    if lines > FILE_LINES_MAX {
        let message = format!("{lines} lines; split it by idea below {FILE_LINES_MAX}");
        findings.push(file.at(lines - 1, message));
    }
    for (number, line) in file.text.lines().enumerate() {
        // The formatter does not count the comma behind a variant.
        let width = line.trim_end_matches(',').chars().count();
        let is_literal = line.trim_start().starts_with("r#\"");
        if width > LINE_CHARS_MAX && !line.contains("://") && !is_literal {
            findings
                .push(file.at(number, format!("{width} columns; break it at {LINE_CHARS_MAX}")));
        }
    }
    findings
}

/// Findings about long functions. Relies on the formatter: a function ends at the first closing
/// brace with its own indentation.
pub fn functions_are_short(file: &Source) -> Vec<String> {
    if !file.is_rust() {
        return Vec::new();
    }
    let code = file.code();
    let lines: Vec<&str> = code.lines().collect();
    let mut findings = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = &line[..line.len() - line.trim_start().len()];
        let closing = format!("{indent}}}");
        let length = lines[start..].iter().position(|line| *line == closing);
        if let Some(length) = length.map(|length| length + 1)
            && length > FUNCTION_LINES_MAX
        {
            let message = format!(
                "fn {name} has {length} lines; name its steps and split it below \
                 {FUNCTION_LINES_MAX}"
            );
            findings.push(file.at(start, message));
        }
    }
    findings
}

fn function_name(line: &str) -> Option<&str> {
    let mut words = line.trim_start();
    // A one-line function closes where it opens.
    if line.ends_with('}') || line.ends_with(';') {
        return None;
    }
    for word in
        ["pub ", "pub(crate) ", "pub(super) ", "const ", "async ", "unsafe ", "extern \"C\" "]
    {
        words = words.strip_prefix(word).unwrap_or(words);
    }
    let rest = words.strip_prefix("fn ")?;
    rest.split(['(', '<']).next()
}

/// Findings about files that do not begin with what they own.
pub fn every_file_says_what_it_owns(file: &Source) -> Vec<String> {
    let first = file.text.lines().find(|line| !line.starts_with("#!")).unwrap_or("");
    let is_said = match file.path.rsplit('.').next() {
        Some("rs") => first.starts_with("//!"),
        Some("py") => first.starts_with("\"\"\"") || first.starts_with('#'),
        Some("go" | "mjs") => first.starts_with("// "),
        Some("md") => first.starts_with("# "),
        _ => true,
    };
    if is_said {
        return Vec::new();
    }
    vec![file.at(0, "begin with what this file owns, what always holds, what it leaves to whom")]
}

/// Names that say nothing.
const BANNED: &[&str] = &[
    "util", "utils", "helper", "helpers", "common", "misc", "manager", "impl", "base", "data",
    "types",
];

/// Findings about file and folder names.
pub fn names_are_the_trades(file: &Source) -> Vec<String> {
    if !(file.is_rust() || file.path.ends_with(".py")) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for part in file.path.split('/') {
        let stem = part.split('.').next().unwrap_or(part);
        if stem.split('_').any(|word| BANNED.contains(&word)) {
            findings
                .push(file.at(0, format!("{part:?} says nothing: name it after what it holds")));
        }
        if stem.ends_with(|c: char| c.is_ascii_digit()) {
            findings.push(file.at(0, format!("{part:?} ends with a number: say what differs")));
        }
    }
    findings
}

#[test]
fn long_things_are_found() {
    let found = |text: &str| files_and_lines_are_short(&Source::of("a.rs", text)).len();
    assert_eq!(found(&"x".repeat(101)), 1);
    assert_eq!(found(&"é".repeat(100)), 0);
    assert_eq!(found(&"x\n".repeat(801)), 1);
    assert_eq!(found(&"x\n".repeat(800)), 0);
}

#[test]
fn long_functions_are_found() {
    let found = |text: &str| functions_are_short(&Source::of("a.rs", text));
    let body = "        x();\n".repeat(99);
    let long = format!("impl A {{\n    pub async fn step(&self) {{\n{body}    }}\n}}\n");
    let findings = found(&long);
    assert_eq!(findings.len(), 1);
    assert!(findings[0].contains("fn step has 101 lines"), "{}", findings[0]);
    assert!(found(&long.replacen("        x();\n", "", 1)).is_empty());
    assert!(found("    fn declared(&self);\n").is_empty());
}

#[test]
fn silent_files_are_found() {
    let found =
        |path: &str, text: &str| every_file_says_what_it_owns(&Source::of(path, text)).len();
    assert_eq!(found("a.rs", "use std::fmt;"), 1);
    assert_eq!(found("a.rs", "//! Owns x."), 0);
    assert_eq!(found("a.py", "import os"), 1);
    assert_eq!(found("a.mjs", "import os from 'node:os'"), 1);
    assert_eq!(found("a.py", "#!/usr/bin/env python3\n\"\"\"Owns x.\"\"\""), 0);
    assert_eq!(found("a.go", "package main"), 1);
    assert_eq!(found("a.go", "// Package check runs cases."), 0);
    assert_eq!(found("docs/a.md", "text"), 1);
}

#[test]
fn empty_names_are_found() {
    let found = |path: &str| names_are_the_trades(&Source::of(path, "")).len();
    for bad in ["src/utils.rs", "src/common/a.rs", "src/log_manager.rs", "src/fetch2.rs"] {
        assert_eq!(found(bad), 1, "{bad}");
    }
    assert_eq!(found("src/storage/journal.rs"), 0);
}
