//! The verbs of the binary, one file each, and what several of them share.
//!
//! Entered by `main`. A verb is a clap struct with an `execute` that answers the exit code.

pub(crate) mod checkpoint;
pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod info;
pub(crate) mod program;
pub(crate) mod run;

use std::io::{self, Write as _};

/// Prints to standard output. A reader that has gone is no failure of ours.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
