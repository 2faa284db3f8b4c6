//! How the client commands reach a broker, and how they print tables and JSON.

use std::io::{self, BufWriter, Stdout, Write};
use std::time::Duration;

use clap::ValueEnum;

use super::Failure;
use crate::client::{BrokerAddress, Client, ClientOptions};

/// Which broker to talk to.
#[derive(Debug, clap::Args)]
pub(super) struct BrokerArguments {
    /// Brokers to ask first: HOST[:PORT], several with commas between them
    #[arg(
        short = 'b',
        long,
        value_name = "HOST:PORT",
        default_value = "localhost:9092",
        global = true
    )]
    bootstrap_server: String,

    /// How long to wait for a broker's answer, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 30_000, global = true)]
    timeout_ms: u64,
}

impl BrokerArguments {
    /// Connect to the cluster.
    pub(super) fn connect(&self) -> Result<Client, Failure> {
        self.connect_until(None)
    }

    /// Connect; a wait for a whole group ends when `gives_up` says so.
    pub(super) fn connect_until(&self, gives_up: Option<fn() -> bool>) -> Result<Client, Failure> {
        let bootstrap =
            BrokerAddress::parse_list(&self.bootstrap_server).map_err(Failure::Usage)?;
        if self.timeout_ms == 0 {
            return Err(Failure::Usage("--timeout-ms must be at least 1".into()));
        }
        let mut options = ClientOptions::new(bootstrap);
        options.connection.request_timeout = Duration::from_millis(self.timeout_ms);
        options.connection.connect_timeout = Duration::from_millis(self.timeout_ms.min(10_000));
        options.connection.gives_up = gives_up;
        Ok(Client::connect(options)?)
    }
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// Columns for people
    Table,
    /// One JSON document
    Json,
}

/// Standard output, written in large pieces.
pub(super) fn stdout() -> BufWriter<Stdout> {
    BufWriter::with_capacity(64 * 1024, io::stdout())
}

/// Print rows in aligned columns below their titles.
pub(super) fn print_table(
    out: &mut impl Write,
    titles: &[&str],
    rows: &[Vec<String>],
) -> io::Result<()> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(titles.get(column).map(|title| title.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    let mut line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> =
            cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(out, "{}", padded.join("  ").trim_end())
    };
    line(&mut titles.iter().copied())?;
    rows.iter().try_for_each(|row| line(&mut row.iter().map(String::as_str)))
}

/// Print a JSON document, indented.
pub(super) fn print_json(out: &mut impl Write, value: &serde_json::Value) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}
