//! The verbs of the binary, one file each, and what several of them share.
//!
//! Entered by `main`. A verb is a clap struct with an `execute` that answers the exit code.

pub(crate) mod cancel;
pub(crate) mod checkpoint;
pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod info;
pub(crate) mod list;
mod output;
pub(crate) mod program;
pub(crate) mod run;
pub(crate) mod savepoint;
pub(crate) mod stop;
mod text;

use std::io::{self, Write as _};
use std::path::Path;

use thalweg_core::seam::standard_streams::{Stream, is_writable};

/// Prints to standard output. A reader that has gone is no failure of ours.
pub(crate) fn print(text: &str) -> io::Result<()> {
    if !is_writable(Stream::Output) {
        return Err(io::Error::other(
            "standard output is closed: leave it open, or send it to a file",
        ));
    }
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// A directory as another process is to understand it, which may have another working directory.
pub(crate) fn absolute(directory: Option<String>) -> io::Result<Option<String>> {
    // An address such as file:///a says itself where it is.
    let is_address = |text: &str| {
        text.split_once(':')
            .is_some_and(|(scheme, _)| !scheme.contains('/'))
    };
    let Some(text) = directory else {
        return Ok(None);
    };
    if is_address(&text) {
        return Ok(Some(text));
    }
    let path = std::path::absolute(Path::new(&text))?;
    Ok(Some(path.to_string_lossy().into_owned()))
}
