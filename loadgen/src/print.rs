//! What loadgen says: on standard output what it was asked for, on standard error how it gets on.
//!
//! Always true: a reader who has left (`| head -2`) has read enough. Nothing more is printed, the
//! command goes on and its exit code is its own. Any other error of standard output is told when
//! the command ends, and makes it fail: an answer that is not there must not look like one.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;

/// The first error of standard output; nothing is printed behind it.
static BROKEN: OnceLock<io::Error> = OnceLock::new();

/// Print `text` as it is.
pub fn out(text: impl Display) {
    if BROKEN.get().is_none() {
        let mut out = io::stdout().lock();
        keep(write!(out, "{text}").and_then(|()| out.flush()));
    }
}

/// Print `text` and end the line.
pub fn line(text: impl Display) {
    out(format_args!("{text}\n"));
}

/// Say `text` on standard error; if nobody listens there, nobody needs to know.
pub fn aside(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Remember an error of somebody else who has printed to standard output.
pub fn keep(printed: io::Result<()>) {
    if let Err(error) = printed {
        let _ = BROKEN.set(error);
    }
}

/// Whether the reader of standard output has left.
pub fn has_no_reader() -> bool {
    BROKEN.get().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// Why something is missing from standard output that its reader waits for.
pub fn failure() -> Option<String> {
    let error = BROKEN.get().filter(|error| error.kind() != ErrorKind::BrokenPipe)?;
    Some(format!(
        "cannot write to standard output: {error}; what was to be read there is missing. Send it \
         where there is space, or use --json FILE"
    ))
}
