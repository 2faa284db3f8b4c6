//! What can be compared: a broker that runs already, a thalweg binary, or the artefacts of an
//! Apache Kafka. The last two are started for each run in a fresh directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::Serialize;

use crate::admin::Admin;
use crate::child::{Broker, kafka};
use crate::folder::Folder;
use crate::plan::Plan;
use crate::print;
use crate::report::RunResult;
use crate::run::{self, Extras};

/// What is measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A broker that runs already.
    Address(String),
    /// A broker to start: the binary, and what is added to `serve`.
    Command {
        /// The binary.
        binary: PathBuf,
        /// Further arguments.
        more: Vec<String>,
    },
    /// An Apache Kafka to start, as one node that is broker and controller.
    Kafka {
        /// The folder of its jars.
        jars: PathBuf,
        /// Further settings, `KEY=VALUE`.
        more: Vec<String>,
    },
}

impl Target {
    /// `HOST:PORT`, a binary with further arguments behind spaces, or `kafka:FOLDER` with further
    /// settings behind spaces.
    ///
    /// # Errors
    /// When it is none of them.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace().map(str::to_owned);
        let first = words.next().unwrap_or_default();
        let more: Vec<String> = words.collect();
        if let Some(folder) = first.strip_prefix("kafka:") {
            if let Some(word) = more.iter().find(|word| !word.contains('=')) {
                return Err(format!("{word:?} is no setting of Kafka; give KEY=VALUE"));
            }
            return Ok(Self::Kafka { jars: kafka::jars(Path::new(folder))?, more });
        }
        let binary = PathBuf::from(&first);
        if binary.is_file() {
            return Ok(Self::Command { binary, more });
        }
        let is_address =
            first.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        if is_address && more.is_empty() {
            return Ok(Self::Address(first));
        }
        Err(format!(
            "{text:?} is neither HOST:PORT, nor a file that could be started, nor kafka:FOLDER"
        ))
    }

    /// Run `plan` against it. `number` tells runs apart; started brokers get a folder in `dir`.
    ///
    /// # Errors
    /// What kept the run from being made.
    pub fn measure(
        &self,
        mut plan: Plan,
        dir: &Path,
        number: usize,
        folder: Option<&Folder>,
        stop: &Arc<AtomicBool>,
    ) -> Result<RunResult, String> {
        let extras = Extras { observes: true, folder, ..Extras::default() };
        if let Self::Address(address) = self {
            plan.bootstrap_server.clone_from(address);
            plan.topic = format!("{}-ab-{}-{number}", plan.topic, std::process::id());
            let topic = plan.topic.clone();
            let result = run::run_with(plan, stop, extras);
            Admin::connect(address)?.delete_topic(&topic)?;
            return result;
        }
        // Dropped behind the broker, which has ended by then.
        let place = Fresh::make(dir, number)?;
        let broker = match self {
            Self::Kafka { jars, more } => kafka::start(jars, more, &place.0, stop)?,
            Self::Command { binary, more } => Broker::start_with(binary, more, &place.0, stop)?,
            Self::Address(_) => return Err("an address is not started".into()),
        };
        plan.bootstrap_server = broker.address.to_string();
        run::run_with(plan, stop, extras)
    }
}

/// A directory that goes when it is dropped.
struct Fresh(PathBuf);

impl Fresh {
    fn make(dir: &Path, number: usize) -> Result<Self, String> {
        let path = dir.join(format!("loadgen-ab-{}-{number}", std::process::id()));
        let failed = |error| format!("--dir {}: {error}", dir.display());
        fs::create_dir(&path).map_err(failed)?;
        // Kafka takes no relative one.
        Ok(Self(path.canonicalize().map_err(failed)?))
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            print::aside(format_args!("loadgen: cannot remove {}: {error}", self.0.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_addresses_files_or_kafkas() {
        assert_eq!(Target::parse("h:9092"), Ok(Target::Address("h:9092".into())));
        let own = std::env::current_exe().unwrap();
        let text = format!("{} --set a=b", own.display());
        let more = vec!["--set".to_owned(), "a=b".to_owned()];
        assert_eq!(Target::parse(&text), Ok(Target::Command { binary: own, more }));
        assert!(Target::parse("nothing").is_err() && Target::parse("h:9092 --x").is_err());

        let dir = tempfile::tempdir().unwrap();
        let text = format!("kafka:{}", dir.path().display());
        let why = Target::parse(&text).unwrap_err();
        assert!(why.contains("no kafka_") && why.contains("libs"), "{why}");
        let libs = dir.path().join("libs");
        fs::create_dir(&libs).unwrap();
        fs::write(libs.join("kafka_2.13-4.9.9.jar"), "").unwrap();
        let more = vec!["num.io.threads=4".to_owned()];
        let with = Target::parse(&format!("{text} num.io.threads=4"));
        assert_eq!(with, Ok(Target::Kafka { jars: libs, more }));
        assert!(Target::parse(&format!("{text} threads")).unwrap_err().contains("KEY=VALUE"));
    }

    #[test]
    fn a_fresh_folder_goes_with_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let place = Fresh::make(dir.path(), 7).unwrap();
        fs::write(place.0.join("x"), "y").unwrap();
        assert!(Fresh::make(dir.path(), 7).is_err_and(|why| why.contains("--dir")), "not twice");
        drop(place);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
