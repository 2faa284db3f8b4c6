//! `thalweg serve`: run a broker. The slot for it; wired when the server lands.

use super::Failure;

/// Run a broker.
#[derive(Debug, clap::Args)]
pub struct ServeArguments {}

/// Run the broker until it is told to stop.
pub fn run(_arguments: &ServeArguments) -> Result<(), Failure> {
    Err(Failure::Error("the broker itself is not in this build yet".into()))
}
