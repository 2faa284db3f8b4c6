//! The configuration file: TOML whose keys are the settings' dotted names.
//!
//! `log.segment.bytes = "64MiB"`, the same under a `[log.segment]` heading, and a quoted
//! `"max.connections" = 100` all name a setting; the last form is needed where one name is the
//! beginning of another.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::error::ConfigError;

/// Largest configuration file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Deepest nesting of tables; no setting has as many parts.
const DEPTH_MAX: usize = 16;

/// Read `path` into pairs of key and value, in the file's order of keys.
///
/// # Errors
/// The file cannot be read, is no TOML, or a value is no text, number, boolean or list of those.
pub(super) fn read(path: &Path) -> Result<Vec<(String, String)>, ConfigError> {
    let refuse = |cause: String, fix: &str| {
        Err(ConfigError::new("--config", path.display().to_string(), cause, fix))
    };
    let readable = "give the path of a readable TOML file";
    match std::fs::metadata(path) {
        // A device or a pipe may have no end, or nobody who writes.
        Ok(found) if !found.is_file() => return refuse("it is no regular file".into(), readable),
        Ok(_) => {}
        Err(error) => return refuse(error.to_string(), readable),
    }
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text));
    if let Err(error) = read {
        return refuse(error.to_string(), readable);
    }
    if text.len() as u64 > FILE_BYTES_MAX {
        let cause = format!("it has more than {FILE_BYTES_MAX} bytes, which is the most");
        return refuse(cause, "give the configuration, not the log");
    }
    parse(&text).or_else(|cause| {
        refuse(cause, "write one `key = value` per line; texts in quotes, as in TOML")
    })
}

/// Pairs in `text`.
fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let line =
            error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count());
        let place = line.map_or(String::new(), |line| format!("line {}: ", line + 1));
        format!("{place}{}", error.message())
    })?;
    let mut pairs = Vec::new();
    flatten("", &table, 0, &mut pairs)?;
    Ok(pairs)
}

fn flatten(
    prefix: &str,
    table: &toml::Table,
    depth: usize,
    pairs: &mut Vec<(String, String)>,
) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err(format!("tables are nested deeper than {DEPTH_MAX} under {prefix:?}"));
    }
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            toml::Value::Table(inner) => flatten(&key, inner, depth + 1, pairs)?,
            toml::Value::Array(items) => {
                let words: Result<Vec<String>, String> =
                    items.iter().map(|item| scalar(&key, item)).collect();
                pairs.push((key, words?.join(",")));
            }
            other => pairs.push((key.clone(), scalar(&key, other)?)),
        }
    }
    Ok(())
}

fn scalar(key: &str, value: &toml::Value) -> Result<String, String> {
    match value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Float(number) => Ok(number.to_string()),
        toml::Value::Boolean(truth) => Ok(truth.to_string()),
        _ => Err(format!("{key} is no text, number or boolean")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_dots_and_quotes_name_the_same_key() {
        let text = "node.id = 3\n\"max.connections\" = 5\nx = [1, \"b\"]\n[log]\n\
                    segment.bytes = \"1MiB\"\n";
        let mut pairs = parse(text).unwrap();
        pairs.sort();
        let pairs: Vec<(&str, &str)> =
            pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let want = [
            ("log.segment.bytes", "1MiB"),
            ("max.connections", "5"),
            ("node.id", "3"),
            ("x", "1,b"),
        ];
        assert_eq!(pairs, want);
    }

    #[test]
    fn errors_name_the_line() {
        assert!(parse("a = 1\nb = = 2\n").unwrap_err().starts_with("line 2"), "no line");
        assert!(parse("a = 1979-05-27").unwrap_err().contains('a'));
        assert!(read(Path::new("/nonexistent.toml")).unwrap_err().to_string().contains("fix"));
    }

    #[test]
    fn what_has_no_end_is_not_read() {
        for endless in ["/dev/zero", "/dev", "/proc/self/fd"] {
            let error = read(Path::new(endless)).unwrap_err().to_string();
            assert!(error.contains("no regular file"), "{error}");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        let lines = "#\n".repeat(FILE_BYTES_MAX as usize / 2);
        std::fs::write(&file, &lines).unwrap();
        assert_eq!(read(file.path()).unwrap(), []);
        std::fs::write(&file, lines + "#").unwrap();
        let error = read(file.path()).unwrap_err().to_string();
        assert!(error.contains("more than 1048576 bytes"), "{error}");
    }
}
