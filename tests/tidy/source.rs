//! One file of the tree, and the tree.

use std::path::Path;

/// A text file.
pub struct Source {
    /// Path below the root, with '/'.
    pub path: String,
    /// Its text.
    pub text: String,
}

impl Source {
    /// For tests of rules.
    #[cfg(test)]
    pub fn of(path: &str, text: &str) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    /// Whether this is Rust.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The text with comments and the insides of string literals blanked; lines keep their
    /// numbers. Good enough for formatted Rust, which is all it sees.
    pub fn code(&self) -> String {
        let mut out = String::with_capacity(self.text.len());
        let mut rest = self.text.as_str();
        while let Some(first) = rest.chars().next() {
            let length = if rest.starts_with("//") {
                rest.find('\n').unwrap_or(rest.len())
            } else if rest.starts_with("/*") {
                rest.find("*/").map_or(rest.len(), |end| end + 2)
            } else if let Some(hashes) = raw_string(rest, &out) {
                let end = format!("\"{}", "#".repeat(hashes));
                let open = hashes + 2;
                rest[open..].find(&end).map_or(rest.len(), |at| open + at + end.len())
            } else if first == '"' {
                string_end(rest)
            } else if rest.starts_with("'\"'") || rest.starts_with("'\\'") {
                3
            } else {
                out.push(first);
                rest = &rest[first.len_utf8()..];
                continue;
            };
            out.extend(rest[..length].chars().filter(|c| *c == '\n'));
            rest = &rest[length..];
        }
        out
    }

    /// A finding in this file.
    pub fn at(&self, line: usize, message: impl AsRef<str>) -> String {
        format!("{}:{}: {}", self.path, line + 1, message.as_ref())
    }
}

/// Number of '#' of a raw string that starts here.
fn raw_string(rest: &str, before: &str) -> Option<usize> {
    let is_word = before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
    let inner = rest.strip_prefix('r').filter(|_| !is_word || before.ends_with('b'))?;
    let hashes = inner.len() - inner.trim_start_matches('#').len();
    inner[hashes..].starts_with('"').then_some(hashes)
}

/// Length of the string literal that `rest` starts with.
fn string_end(rest: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Endings of files whose text is looked at.
const ENDINGS: &[&str] =
    &["rs", "md", "toml", "py", "mjs", "sh", "yml", "java", "go", "xml", "json", "txt"];

/// Every text file that belongs to the project.
pub fn tree() -> Vec<Source> {
    // Cargo sets it for the run, too: the tree that is tested, wherever this was compiled.
    let root = std::env::var("CARGO_MANIFEST_DIR");
    let root = root.as_deref().unwrap_or(env!("CARGO_MANIFEST_DIR"));
    let root = Path::new(root);
    let mut files = Vec::new();
    for top in ["src", "loadgen", "tests", "benches", "docs", ".ci", ".cargo"] {
        walk(root, Path::new(top), &mut files);
    }
    for top in ["Cargo.toml", "README.md", ".clippy.toml", ".rustfmt.toml", ".gitignore"] {
        read(root, Path::new(top), &mut files);
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn walk(root: &Path, below: &Path, files: &mut Vec<Source>) {
    let Ok(entries) = std::fs::read_dir(root.join(below)) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = below.join(&name);
        // What .gitignore keeps out: caches, virtual environments, results.
        let is_foreign = name.starts_with('.') || name == "target" || name == "__pycache__";
        if is_foreign || name.ends_with("-data") {
            continue;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => walk(root, &path, files),
            Ok(kind) if kind.is_file() => read(root, &path, files),
            _ => {}
        }
    }
}

fn read(root: &Path, path: &Path, files: &mut Vec<Source>) {
    let ending = path.extension().map(|ending| ending.to_string_lossy().into_owned());
    let is_text = match ending.as_deref() {
        Some(ending) => ENDINGS.contains(&ending),
        // Scripts without an ending (tests/run) and dot-files.
        None => true,
    };
    if is_text && let Ok(text) = std::fs::read_to_string(root.join(path)) {
        files.push(Source { path: path.to_string_lossy().replace('\\', "/"), text });
    }
}

#[test]
fn comments_and_strings_are_blanked() {
    let text = "let a = \"x // \\\" y\"; // gone\nlet b = r#\"p\"q\"#; /* z\n*/ let c = '\"'; d\n";
    assert_eq!(Source::of("a.rs", text).code(), "let a = ; \nlet b = ; \n let c = ; d\n");
    assert_eq!(Source::of("a.rs", "fn f<'a>(x: &'a str)").code(), "fn f<'a>(x: &'a str)");
}
