//! "Did you mean": the nearest known name to an unknown one.

use super::error::ConfigError;

/// Names longer than this are not compared: the cost grows with the product of the lengths.
const NAME_BYTES_MAX: usize = 100;

/// The error for a `name` that is not among `known`.
pub(super) fn unknown(
    what: &str,
    name: &str,
    value: &str,
    known: impl Iterator<Item = &'static str>,
) -> ConfigError {
    let shown: String = name.chars().take(NAME_BYTES_MAX).collect();
    let fix = match nearest(name, known) {
        Some(near) => format!("did you mean {near:?}?"),
        None => "docs/OPERATIONS.md lists every name".to_owned(),
    };
    ConfigError::new(shown, value, format!("there is no {what} setting of this name"), fix)
}

/// The known name with the smallest edit distance, when that is small enough to be meant.
fn nearest(name: &str, known: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let plain = name.to_ascii_lowercase().replace(['_', '-'], ".");
    known
        .map(|candidate| (distance(plain.as_bytes(), candidate.as_bytes()), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len() / 4 + 1)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance with one row of memory.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered() {
        let known = || ["retention.ms", "retention.bytes", "segment.ms"].into_iter();
        assert_eq!(nearest("retention.msec", known()), Some("retention.ms"));
        assert_eq!(nearest("RETENTION_BYTES", known()), Some("retention.bytes"));
        assert_eq!(nearest("zzz", known()), None);
        assert_eq!(nearest(&"x".repeat(5000), known()), None);
        assert_eq!(distance(b"kitten", b"sitting"), 3);
    }
}
