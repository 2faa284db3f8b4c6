//! Workloads as files: what stands in a file is what could stand on the command line, key for
//! flag, so there is one description of each setting. Flags on the command line win.

use std::ffi::OsString;
use std::path::Path;

use super::omb;

/// A workload that comes with loadgen.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// Its file.
    pub text: &'static str,
}

macro_rules! scenarios {
    ($($name:literal),* $(,)?) => {
        /// All of them.
        pub const SCENARIOS: &[Scenario] = &[$(Scenario {
            name: $name,
            text: include_str!(concat!("../../scenarios/", $name, ".toml")),
        }),*];
    };
}

scenarios![
    "steady",
    "unbatched",
    "keyed",
    "keyed-zipf",
    "many-partitions",
    "many-clients",
    "large",
    "fan-out",
    "groups",
    "backlog",
    "catch-up",
    "retention",
    "soak",
];

/// Flags of which a run has one: those of a file step back behind one on the command line.
const LOAD_FLAGS: [&str; 5] = ["rate", "ramp", "steps", "sweep", "max"];
/// Largest workload file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A workload file, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// What it is, in a line.
    pub title: String,
    /// Why one would run it.
    pub about: String,
    /// Flags with their values; a switch has none.
    pub flags: Vec<(String, Option<String>)>,
}

impl Workload {
    /// A scenario by its name, or a file: TOML, or an OpenMessaging Benchmark workload in YAML.
    ///
    /// # Errors
    /// Says what is not there or not understood.
    pub fn load(named: &str) -> Result<Self, String> {
        if let Some(scenario) = SCENARIOS.iter().find(|scenario| scenario.name == named) {
            return Self::parse(scenario.text);
        }
        let path = Path::new(named);
        let failed = |why: String| format!("--workload {named}: {why}");
        let size = std::fs::metadata(path).map(|metadata| metadata.len());
        let size = size.map_err(|error| {
            failed(format!("no scenario and no file ({error}); see `loadgen scenarios`"))
        })?;
        if size > FILE_BYTES_MAX {
            return Err(failed(format!("larger than {FILE_BYTES_MAX} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let is_yaml = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
        if is_yaml { omb::workload(&text) } else { Self::parse(&text) }.map_err(failed)
    }

    /// Read a TOML workload.
    ///
    /// # Errors
    /// Says which key is not understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        let table: toml::Table = text.parse().map_err(|error| format!("no TOML: {error}"))?;
        let mut workload = Self { title: String::new(), about: String::new(), flags: Vec::new() };
        for (key, value) in table {
            match (key.as_str(), value) {
                ("title", toml::Value::String(text)) => workload.title = text,
                ("about", toml::Value::String(text)) => workload.about = text,
                ("run", toml::Value::Table(run)) => {
                    for (flag, value) in run {
                        workload.add(&flag, value)?;
                    }
                }
                (other, _) => {
                    return Err(format!(
                        "{other}: give title and about in words, and a table [run]"
                    ));
                }
            }
        }
        Ok(workload)
    }

    fn add(&mut self, flag: &str, value: toml::Value) -> Result<(), String> {
        // Underscores read as well as hyphens, and flags have hyphens.
        let flag = flag.replace('_', "-");
        let values = match value {
            toml::Value::Array(list) => list,
            toml::Value::Boolean(false) => return Ok(()),
            one => vec![one],
        };
        for value in values {
            let value = match value {
                toml::Value::Boolean(true) => None,
                toml::Value::String(text) => Some(text),
                toml::Value::Integer(number) => Some(number.to_string()),
                toml::Value::Float(number) => Some(number.to_string()),
                other => return Err(format!("{flag}: {other} is no value of a flag")),
            };
            self.flags.push((flag.clone(), value));
        }
        Ok(())
    }
}

/// The arguments of `loadgen run --workload NAME ...` with the workload's flags in front of
/// those that were given; any other command line as it is.
///
/// # Errors
/// When the workload cannot be read.
pub fn expand(arguments: Vec<OsString>) -> Result<Vec<OsString>, String> {
    let words: Vec<&str> = arguments.iter().map(|a| a.to_str().unwrap_or("")).collect();
    if words.get(1) != Some(&"run") {
        return Ok(arguments);
    }
    let named = words.iter().enumerate().find_map(|(index, word)| match *word {
        "--workload" | "-w" => words.get(index + 1).copied(),
        word => word.strip_prefix("--workload="),
    });
    let Some(named) = named else { return Ok(arguments) };
    let is_given = |flag: &str| {
        let long = format!("--{flag}");
        words.iter().any(|word| *word == long || word.starts_with(&format!("{long}=")))
    };
    let is_load_given = LOAD_FLAGS.iter().any(|flag| is_given(flag));
    let mut expanded: Vec<OsString> = arguments[..2].to_vec();
    for (flag, value) in Workload::load(named)?.flags {
        if is_load_given && LOAD_FLAGS.contains(&flag.as_str()) {
            continue;
        }
        // One word with an equals sign: a value may begin with a hyphen.
        expanded
            .push(value.map_or(format!("--{flag}"), |value| format!("--{flag}={value}")).into());
    }
    expanded.extend_from_slice(&arguments[2..]);
    Ok(expanded)
}

#[cfg(test)]
mod tests {
    use super::super::{Cli, Command};
    use super::*;
    use crate::plan::{Load, Plan};
    use clap::Parser;

    fn plan(words: &[&str]) -> Plan {
        let all = ["loadgen", "run", "-b", "h:1"].iter().chain(words).map(OsString::from).collect();
        let cli = Cli::try_parse_from(expand(all).unwrap()).unwrap_or_else(|e| panic!("{e}"));
        let Command::Run(args) = cli.command else { panic!("run") };
        args.plan()
    }

    #[test]
    fn every_scenario_is_a_good_plan_with_words_about_it() {
        for scenario in SCENARIOS {
            let workload = Workload::load(scenario.name).unwrap();
            assert!(!workload.title.is_empty() && !workload.about.is_empty(), "{}", scenario.name);
            let plan = plan(&["--workload", scenario.name]);
            plan.check().unwrap_or_else(|why| panic!("{}: {why}", scenario.name));
            assert_eq!(plan.topic, scenario.name);
        }
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let steady = plan(&["-w", "steady"]);
        assert_eq!((steady.load, steady.partitions), (Load::Rate(20_000.0), 8));
        let faster = plan(&["--workload=steady", "--rate", "5", "--partitions", "3"]);
        assert_eq!((faster.load, faster.partitions), (Load::Rate(5.0), 3));
        assert_eq!(plan(&["-w", "steady", "--max"]).load, Load::Max);
        let retention = plan(&["-w", "retention", "--topic-config", "a=b"]);
        assert_eq!(retention.topic_configs.len(), 3, "{:?}", retention.topic_configs);
    }

    #[test]
    fn a_file_with_a_mistake_is_refused_by_its_key() {
        assert!(Workload::parse("titel = \"x\"").unwrap_err().contains("titel"));
        assert!(Workload::parse("[run]\nrate = {}").unwrap_err().contains("rate"));
        assert!(Workload::load("no such thing").unwrap_err().contains("loadgen scenarios"));
        let unknown = Workload::parse("[run]\nrecord_size = 5\nquiet = false").unwrap();
        assert_eq!(unknown.flags, [("record-size".into(), Some("5".into()))]);
    }
}
