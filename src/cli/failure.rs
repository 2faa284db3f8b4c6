//! How a command ends when it does not end well.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::client::ClientError;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// It failed; the text names what, the likely cause and the fix. Exit code 1.
    Error(String),
    /// A broker could not be asked, or said no. Exit code 1.
    Client(ClientError),
    /// The arguments contradict each other or make no sense. Exit code 2, as clap's own errors.
    Usage(String),
    /// What is wrong has been printed as the command's result. Exit code 1.
    Reported,
    /// Who read our output has gone (`thalweg consume t | head`): nothing to complain about.
    PipeClosed,
    /// A signal of this number ended it, in good order. Exit code 128 and the number, as of a
    /// command that the signal ends, and of Kafka's tools.
    Signal(i32),
}

impl Failure {
    /// Print it and give the exit code.
    pub fn report(self) -> ExitCode {
        let (text, code) = match self {
            Self::Error(text) => (text, 1),
            Self::Client(error) => (error.to_string(), 1),
            Self::Usage(text) => (format!("{text}\n\nFor more information, try '--help'."), 2),
            Self::Reported => return ExitCode::from(1),
            Self::PipeClosed => return ExitCode::SUCCESS,
            Self::Signal(number) => {
                return ExitCode::from(u8::try_from(128 + number).unwrap_or(u8::MAX));
            }
        };
        // When standard error is gone too, the exit code has to say it all.
        let _ = writeln!(io::stderr(), "error: {text}");
        ExitCode::from(code)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

/// Errors of writing results: anything else is turned into text where its cause is known.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::PipeClosed
        } else {
            Self::Error(format!("cannot write the output: {error}"))
        }
    }
}
