//! What one setting is: name, type, default, check, and whether Thalweg acts on it.
//!
//! Owns the shape of the two tables (`broker.rs`, `topic.rs`) and the step from outside text to a
//! normal form. Always true: a value that passed [`Key::normalize`] parses as the key's type, is
//! inside its range, and means what Kafka's setting of that name means.

use super::error::ConfigError;
use super::machine::Machine;
use super::units;

/// Type of a value, with Kafka's codes (`DescribeConfigsResponse.ConfigType`, KIP-569).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Kind {
    /// `true` or `false`.
    Boolean = 1,
    /// Text.
    String = 2,
    /// 32-bit number.
    Int = 3,
    /// 64-bit number.
    Long = 5,
    /// Fraction.
    Double = 6,
    /// Texts with commas between them.
    List = 7,
}

/// What a number counts; decides which human forms ("64MiB", "7d") a flag or file may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Anything that is not below.
    Plain,
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Millis,
}

/// Which values are allowed.
#[derive(Clone, Copy, Debug)]
pub enum Check {
    /// Every value of the type.
    Any,
    /// A number from the first to the second, both included.
    Range(i64, i64),
    /// A fraction from the first to the second, both included.
    Ratio(f64, f64),
    /// One (or, for lists, some) of these words; for known words that are refused, why.
    Words {
        /// The words that are taken.
        allowed: &'static [&'static str],
        /// Words that Kafka knows and Thalweg refuses, each with its reason.
        refused: &'static [(&'static str, &'static str)],
    },
    /// `HOST:PORT`, also as `PLAINTEXT://HOST:PORT`.
    HostPort,
    /// The same, for clients to go to: an address that stands for all of them leads nowhere.
    Reachable,
}

/// What Thalweg does with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// Acts on it.
    Honoured,
    /// Takes any legal value, which changes nothing here, for this reason; so existing files
    /// and tools keep working and nobody is promised less than they asked for.
    Inert(&'static str),
    /// Takes the default and refuses everything else, for this reason.
    DefaultOnly(&'static str),
}

/// Where a default comes from.
#[derive(Clone, Copy, Debug)]
pub enum Default {
    /// The same on every machine.
    Text(&'static str),
    /// Not set: another key decides, or the feature is off.
    Unset,
    /// Derived from the machine; the text says how.
    Derived(fn(&Machine) -> String, &'static str),
}

/// One row of a settings table.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Kafka's dotted name, or our own below `thalweg.`.
    pub name: &'static str,
    /// Type of the value.
    pub kind: Kind,
    /// What a number counts.
    pub unit: Unit,
    /// Value when nobody sets it.
    pub default: Default,
    /// Allowed values.
    pub check: Check,
    /// What Thalweg does with it.
    pub treatment: Treatment,
    /// One sentence for DescribeConfigs and `docs/OPERATIONS.md`.
    pub doc: &'static str,
}

/// How strictly text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Flags and files: "64MiB" and "7d" are numbers too.
    Human,
    /// Requests of the Kafka protocol: plain numbers, as Kafka has it.
    Wire,
}

impl Key {
    /// The value when nobody sets it; `None` is Kafka's null.
    pub fn default_value(&self, machine: &Machine) -> Option<String> {
        match self.default {
            Default::Text(text) => Some(text.to_owned()),
            Default::Unset => None,
            Default::Derived(derive, _) => Some(derive(machine)),
        }
    }

    /// The sentence of the table, and what Thalweg does when that is not "acts on it".
    pub fn documentation(&self) -> String {
        match self.treatment {
            Treatment::Honoured => self.doc.to_owned(),
            Treatment::Inert(why) => format!("{} Accepted without effect: {why}.", self.doc),
            Treatment::DefaultOnly(why) => {
                format!("{} Only the default is accepted: {why}.", self.doc)
            }
        }
    }

    /// Check `text` and bring it to the form Kafka prints: trimmed, numbers in digits.
    ///
    /// # Errors
    /// Names the key, the value, the rule it breaks, and the fix.
    pub fn normalize(
        &self,
        text: &str,
        form: Form,
        machine: &Machine,
    ) -> Result<String, ConfigError> {
        let value = self.typed(text.trim(), form)?;
        self.check(&value)?;
        if let Treatment::DefaultOnly(why) = self.treatment {
            let default = self.default_value(machine).unwrap_or_default();
            if value != default {
                let fix = format!("leave it out, or set it to {default:?}");
                return Err(self.refuse(text, format!("only {default:?} works here: {why}"), fix));
            }
        }
        Ok(value)
    }

    fn typed(&self, text: &str, form: Form) -> Result<String, ConfigError> {
        let number = |limit: i64| -> Result<String, ConfigError> {
            let parsed = match (form, self.unit) {
                (Form::Human, Unit::Bytes) => units::parse_bytes(text),
                (Form::Human, Unit::Millis) => units::parse_millis(text),
                _ => text.parse::<i64>().map_err(|_| "it is not a whole number".to_owned()),
            };
            let example = match (form, self.unit) {
                (Form::Human, Unit::Bytes) => "a number of bytes such as 1048576 or \"1MiB\"",
                (Form::Human, Unit::Millis) => "milliseconds such as 60000 or \"1min\"",
                _ => "a whole number in digits",
            };
            let value = parsed.map_err(|why| self.refuse(text, why, format!("give {example}")))?;
            if value > limit || value < -limit - 1 {
                let why = format!("it does not fit; the most is {limit}");
                return Err(self.refuse(text, why, format!("give at most {limit}")));
            }
            Ok(value.to_string())
        };
        match self.kind {
            Kind::Boolean => match text.to_ascii_lowercase().as_str() {
                "true" => Ok("true".into()),
                "false" => Ok("false".into()),
                _ => Err(self.refuse(text, "it is neither true nor false", "give true or false")),
            },
            Kind::Int => number(i64::from(i32::MAX)),
            Kind::Long => number(i64::MAX),
            Kind::Double => match text.parse::<f64>() {
                Ok(value) if value.is_finite() => Ok(text.to_owned()),
                _ => Err(self.refuse(text, "it is not a number", "give a fraction such as 0.5")),
            },
            Kind::String => Ok(text.to_owned()),
            Kind::List => {
                Ok(text.split(',').map(str::trim).filter(|s| !s.is_empty()).collect::<Vec<_>>())
                    .map(|words| words.join(","))
            }
        }
    }

    fn check(&self, value: &str) -> Result<(), ConfigError> {
        match self.check {
            Check::Any => Ok(()),
            Check::Range(min, max) => match value.parse::<i64>() {
                Ok(number) if (min..=max).contains(&number) => Ok(()),
                Ok(number) if number < min => Err(self.refuse(
                    value,
                    format!("the least is {min}"),
                    format!("give at least {min}"),
                )),
                _ => Err(self.refuse(
                    value,
                    format!("the most is {max}"),
                    format!("give at most {max}"),
                )),
            },
            Check::Ratio(min, max) => match value.parse::<f64>() {
                Ok(number) if (min..=max).contains(&number) => Ok(()),
                _ => Err(self.refuse(
                    value,
                    format!("it is not between {min} and {max}"),
                    format!("give a fraction from {min} to {max}"),
                )),
            },
            Check::Words { allowed, refused } => self.check_words(value, allowed, refused),
            Check::HostPort | Check::Reachable => match units::HostPort::parse(value) {
                Ok(address)
                    if matches!(self.check, Check::Reachable) && address.is_unspecified() =>
                {
                    let why = format!(
                        "no client can go to {}: it stands for every address",
                        address.host
                    );
                    let fix = "give the name or address by which clients reach this machine";
                    Err(self.refuse(value, why, fix))
                }
                Ok(_) => Ok(()),
                Err(why) => Err(self.refuse(value, why, "give HOST:PORT, as in 127.0.0.1:9092")),
            },
        }
    }

    fn check_words(
        &self,
        value: &str,
        allowed: &[&str],
        refused: &[(&str, &str)],
    ) -> Result<(), ConfigError> {
        let words: Vec<&str> = match self.kind {
            Kind::List => value.split(',').collect(),
            _ => vec![value],
        };
        let fix = || format!("give {}", allowed.join(" or "));
        for word in words {
            if let Some((_, why)) = refused.iter().find(|(known, _)| *known == word) {
                return Err(self.refuse(value, format!("{word:?} is refused: {why}"), fix()));
            }
            if !allowed.contains(&word) {
                return Err(self.refuse(value, format!("{word:?} is not known here"), fix()));
            }
        }
        Ok(())
    }

    fn refuse(&self, value: &str, why: impl Into<String>, fix: impl Into<String>) -> ConfigError {
        ConfigError::new(self.name, value, why, fix)
    }
}
