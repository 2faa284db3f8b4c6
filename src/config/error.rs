//! The one error of settings: which key, which value, what is wrong, what to do.

use std::fmt;

/// A setting that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The key as it was given.
    pub key: String,
    /// The value as it was given, shortened to what fits a line.
    pub value: String,
    /// What is wrong with it.
    pub cause: String,
    /// What to write instead.
    pub fix: String,
}

/// Longest piece of a foreign value that is repeated in a message.
const VALUE_CHARS_MAX: usize = 120;

impl ConfigError {
    /// An error about `key`.
    pub fn new(
        key: impl Into<String>,
        value: impl AsRef<str>,
        cause: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        let value = value.as_ref();
        let mut shown: String = value.chars().take(VALUE_CHARS_MAX).collect();
        if shown.len() < value.len() {
            shown.push('…');
        }
        Self { key: key.into(), value: shown, cause: cause.into(), fix: fix.into() }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {:?}: {}; fix: {}", self.key, self.value, self.cause, self.fix)
    }
}

impl std::error::Error for ConfigError {}
