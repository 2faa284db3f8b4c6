//! Documents and lists that must agree with the tree.

use super::source::Source;
use thalweg::{config, metrics};

/// Findings about paths that documents and comments mention and that are not there.
pub fn paths_that_are_mentioned_exist(files: &[Source]) -> Vec<String> {
    let is_there = |path: &str| {
        let folder = format!("{}/", path.trim_end_matches('/'));
        files.iter().any(|file| file.path == path || file.path.starts_with(&folder))
    };
    let mut findings = Vec::new();
    for file in files {
        let is_prose = file.path.ends_with(".md");
        for (number, line) in file.text.lines().enumerate() {
            let comment = match line.find("//") {
                Some(at) if file.is_rust() => &line[at..],
                _ if is_prose => line,
                _ => continue,
            };
            for path in paths_in(comment) {
                let beside = file.path.split_once('/').map(|(top, _)| format!("{top}/{path}"));
                if !is_there(path) && !beside.is_some_and(|beside| is_there(&beside)) {
                    findings.push(file.at(number, format!("{path} is not there: mend or drop it")));
                }
            }
        }
    }
    findings
}

/// Words of `line` that are paths of this project.
fn paths_in(line: &str) -> Vec<&str> {
    let is_path = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    line.split(|c: char| !is_path(c))
        .map(|word| word.trim_end_matches(['.', '/']))
        .filter(|word| {
            let has_ending = word
                .rsplit('/')
                .next()
                .and_then(|name| name.rsplit_once('.'))
                .is_some_and(|(_, e)| matches!(e, "rs" | "md" | "toml" | "py" | "java" | "go"));
            let tops = ["src/", "docs/", "tests/", "benches/", "loadgen/"];
            has_ending && tops.iter().any(|top| word.starts_with(top))
        })
        .collect()
}

/// Findings about a file in a document that is followed by the name of something it lacks:
/// a path and a name in backticks with one space between them.
pub fn routes_name_what_is_there(files: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for page in files.iter().filter(|file| file.path.ends_with(".md")) {
        for (number, line) in page.text.lines().enumerate() {
            let parts: Vec<&str> = line.split('`').collect();
            for four in parts.windows(4).filter(|four| four[2] == " ") {
                let (path, name) = (four[1], four[3].rsplit("::").next().unwrap_or(four[3]));
                let Some(file) = files.iter().find(|f| f.path == path && f.is_rust()) else {
                    continue;
                };
                let forms = ["fn", "struct", "enum", "trait"].map(|kind| format!("{kind} {name}"));
                if !forms.iter().any(|form| file.text.contains(form)) {
                    findings.push(page.at(number, format!("{path} has no {name}: mend the page")));
                }
            }
        }
    }
    findings
}

/// Findings about test and bench binaries that are listed and missing, or there and not listed.
pub fn every_test_binary_is_listed(files: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for manifest in files.iter().filter(|file| file.path.ends_with("Cargo.toml")) {
        let home = manifest.path.trim_end_matches("Cargo.toml");
        let table: toml::Table = match manifest.text.parse() {
            Ok(table) => table,
            Err(error) => {
                findings.push(manifest.at(0, format!("no TOML: {error}")));
                continue;
            }
        };
        let mut listed = Vec::new();
        for kind in ["test", "bench"] {
            let entries = table.get(kind).and_then(toml::Value::as_array);
            for entry in entries.into_iter().flatten() {
                let text = |key| entry.get(key).and_then(toml::Value::as_str);
                let folder = if kind == "test" { "tests" } else { "benches" };
                let path = match (text("path"), text("name")) {
                    (Some(path), _) => format!("{home}{path}"),
                    (None, Some(name)) => {
                        let file = format!("{home}{folder}/{name}.rs");
                        let is_file = files.iter().any(|source| source.path == file);
                        if is_file { file } else { format!("{home}{folder}/{name}/main.rs") }
                    }
                    (None, None) => continue,
                };
                if !files.iter().any(|file| file.path == path) {
                    findings.push(manifest.at(0, format!("{path} is listed but not there")));
                }
                listed.push(path);
            }
        }
        // Without this line cargo finds them by itself.
        let is_by_hand = manifest.text.lines().any(|line| line == "autotests = false");
        if is_by_hand {
            findings.extend(unlisted(files, home, &listed));
        }
    }
    findings
}

/// Files that look like a test binary and are none: nobody would ever run them.
fn unlisted(files: &[Source], home: &str, listed: &[String]) -> Vec<String> {
    let is_binary = |path: &str| {
        let Some(rest) = path.strip_prefix(home) else { return false };
        let mut parts = rest.split('/');
        let top = parts.next().unwrap_or("");
        let inner: Vec<&str> = parts.collect();
        matches!(top, "tests" | "benches")
            && match inner[..] {
                [name] => name.ends_with(".rs"),
                [folder, "main.rs"] => folder != "fuzz",
                _ => false,
            }
    };
    let missing = files.iter().filter(|file| is_binary(&file.path) && !listed.contains(&file.path));
    missing.map(|file| file.at(0, format!("not listed in {home}Cargo.toml: add it"))).collect()
}

/// Settings whose feature is being written. Must be empty when the tree is handed over.
const AWAITED: &[&str] = &[];

/// Findings about fields of `Config` and `Limits` that nothing outside `config` reads: a setting
/// that is taken and not acted on is a broken promise.
pub fn every_setting_is_acted_on(files: &[Source]) -> Vec<String> {
    let fields = files
        .iter()
        .filter(|file| matches!(file.path.as_str(), "src/config/mod.rs" | "src/config/limits.rs"))
        .flat_map(|file| {
            let code = file.text.as_str();
            let structs = ["pub struct Config {", "pub struct Limits {"];
            let body = structs.iter().find_map(|head| code.split_once(head)).map_or("", |(_, b)| b);
            body.split("\n}").next().unwrap_or("").lines().filter_map(field_name)
        });
    let readers: Vec<&Source> = files
        .iter()
        .filter(|file| file.is_rust() && file.path.starts_with("src/"))
        .filter(|file| !file.path.starts_with("src/config/"))
        .collect();
    let is_read = |field: &str| {
        let access = format!(".{field}");
        readers.iter().any(|file| file.text.contains(&access))
    };
    fields
        .filter(|field| !AWAITED.contains(field) && !is_read(field))
        .map(|field| format!("src/config: nothing reads {field}: act on it, or drop the setting"))
        .collect()
}

fn field_name(line: &str) -> Option<&str> {
    line.strip_prefix("    pub ")?.split(':').next()
}

/// Findings about rows of settings and metrics that the page lacks or words otherwise, and about
/// names of ours that it has and nothing else.
pub fn operations_is_complete(page: &str) -> Vec<String> {
    let rows: Vec<String> = topic_rows().chain(broker_rows()).chain(metric_rows()).collect();
    let mut findings: Vec<String> = rows
        .iter()
        .filter(|row| !page.lines().any(|line| line == row.as_str()))
        .map(|row| format!("docs/OPERATIONS.md lacks this row: {row}"))
        .collect();
    let known: Vec<&str> = rows.iter().flat_map(|row| names_in(row)).collect();
    let is_ours = |name: &str| name.starts_with("thalweg_") || name.starts_with("thalweg.");
    findings.extend(
        names_in(page)
            .filter(|name| is_ours(name) && !known.contains(name))
            .map(|name| format!("docs/OPERATIONS.md names `{name}`, which nothing has: drop it")),
    );
    findings.extend(dynamic_settings_are_listed(page));
    findings
}

/// Findings about broker settings that the lists of what changes at run time lack or have wrongly.
fn dynamic_settings_are_listed(page: &str) -> Vec<String> {
    let heads = ["- Of the broker:", "- Accepted without effect:"];
    let lists = page.lines().filter(|line| heads.iter().any(|head| line.starts_with(head)));
    let listed: Vec<&str> = lists.flat_map(names_in).collect();
    let keys = config::BROKER_KEYS.iter().map(|key| key.name);
    keys.filter(|name| config::is_dynamic(name) != listed.contains(name))
        .map(|name| {
            format!("docs/OPERATIONS.md: `{name}` is listed and fixed, or dynamic and not listed")
        })
        .collect()
}

/// First words of what stands in backticks.
fn names_in(text: &str) -> impl Iterator<Item = &str> {
    let spans = text.split('`').skip(1).step_by(2);
    spans.filter_map(|span| span.split(['=', ' ', '{']).next())
}

fn topic_rows() -> impl Iterator<Item = String> {
    config::TOPIC_KEYS.iter().map(|row| {
        let names: Vec<String> = row.synonyms.iter().map(|(name, _)| format!("`{name}`")).collect();
        let (key, names) = (&row.key, names.join(", "));
        format!("| `{}` | {names} | {} | {} |", key.name, default(key), key.documentation())
    })
}

fn broker_rows() -> impl Iterator<Item = String> {
    config::BROKER_KEYS
        .iter()
        .map(|key| format!("| `{}` | {} | {} |", key.name, default(key), key.documentation()))
}

fn default(key: &config::Key) -> String {
    match key.default {
        config::Default::Text("") | config::Default::Unset => "not set".into(),
        config::Default::Text("9223372036854775807") => "never".into(),
        config::Default::Text(text) => text.into(),
        config::Default::Derived(_, how) => how.into(),
    }
}

fn metric_rows() -> impl Iterator<Item = String> {
    metrics::all_metrics().into_iter().map(|metric| {
        let shape = format!("{:?}", metric.shape).to_lowercase();
        format!("| `{}` | {shape} | {} |", metric.name, metric.help)
    })
}

#[test]
fn dead_paths_are_found() {
    let page = "See `docs/GONE.md` and src/lib.rs, tests/run and docs/decisions/.";
    let files = [
        Source::of("README.md", page),
        Source::of("src/lib.rs", &format!("{}! See docs/x.md.", "/".repeat(2))),
    ];
    let findings = paths_that_are_mentioned_exist(&files);
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert!(findings[0].contains("docs/GONE.md") && findings[1].contains("docs/x.md"));
    let beside =
        [Source::of("loadgen/README.md", "src/pace.rs"), Source::of("loadgen/src/pace.rs", "")];
    assert!(paths_that_are_mentioned_exist(&beside).is_empty());
}

#[test]
fn unlisted_binaries_are_found() {
    let manifest =
        "[package]\nautotests = false\n[[test]]\nname = \"a\"\n[[test]]\nname = \"gone\"\n";
    let files = [
        Source::of("Cargo.toml", manifest),
        Source::of("tests/a/main.rs", ""),
        Source::of("tests/a/part.rs", ""),
        Source::of("tests/b.rs", ""),
    ];
    let findings = every_test_binary_is_listed(&files);
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert!(findings[0].contains("gone") && findings[1].contains("tests/b.rs"));
}

#[test]
fn a_missing_setting_is_found() {
    let row = topic_rows().find(|row| row.contains("`segment.bytes`")).unwrap();
    let findings = operations_is_complete(&format!("{row}\n`thalweg_nothing_total`\n"));
    assert!(findings.iter().any(|finding| finding.contains("| `segment.ms` |")));
    assert!(findings.iter().any(|finding| finding.contains("| `thalweg_appends_total` |")));
    assert!(findings.iter().any(|finding| finding.contains("names `thalweg_nothing_total`")));
    assert!(!findings.iter().any(|finding| finding.contains("| `segment.bytes` |")));
    let other = row.replace("1073741824", "17");
    assert!(operations_is_complete(&other).iter().any(|f| f.contains("| `segment.bytes` |")));
}

#[test]
fn a_setting_that_nothing_reads_is_found() {
    let config =
        "pub struct Limits {\n    /// x\n    pub a_max: usize,\n    pub b_max: usize,\n}\n";
    let files = [
        Source::of("src/config/limits.rs", config),
        Source::of("src/server/a.rs", "let most = limits.a_max;"),
    ];
    let findings = every_setting_is_acted_on(&files);
    assert_eq!(findings, ["src/config: nothing reads b_max: act on it, or drop the setting"]);
}

#[test]
fn a_route_that_leads_nowhere_is_found() {
    let files = [
        Source::of("docs/A.md", "1. `src/a.rs` `A::go` then `src/a.rs` `gone`, `src/a.rs` or `x`."),
        Source::of("src/a.rs", "impl A { fn go() {} }"),
    ];
    assert_eq!(
        routes_name_what_is_there(&files),
        ["docs/A.md:1: src/a.rs has no gone: mend the page"]
    );
}
