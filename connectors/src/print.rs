//! A sink that shows records to a person, on standard output or another writer.
//!
//! Each subtask formats into a buffer of its own on its shard; at the end of a turn the buffer goes
//! out under the lock of the one writer. Invariants: lines never interleave; a line's newline goes out
//! with it; nothing is held back when a turn has ended.

use std::fmt::Write as _;
use std::io::{self, ErrorKind as IoErrorKind, Write};
use std::sync::{Arc, Mutex, PoisonError};

use thalweg_core::error::ErrorKind;
use thalweg_core::event_time::Timestamp;
use thalweg_core::ids::CheckpointId;
use thalweg_core::seam::standard_streams::{Stream, is_writable};
use thalweg_core::shard::step::TurnContext;
use thalweg_dataflow::sink::{Epoch, Sink, SinkError, SinkStatus, SinkWriter};
use thalweg_dataflow::task::{InputStatus, SubtaskInfo};
use thalweg_memory::record::Item;

use crate::format::{Format, Shown};

/// A subtask asks for the end of its turn when it holds so many bytes.
const BUFFER_BYTES: usize = 64 << 10;

/// Who is written to.
#[derive(Clone)]
enum Target {
    Stdout,
    Stderr,
    Writer(Arc<Mutex<dyn Write + Send>>),
}

impl Target {
    fn name(&self) -> &'static str {
        match self {
            Target::Stdout => "standard output",
            Target::Stderr => "standard error",
            Target::Writer(_) => "the given writer",
        }
    }

    /// Whether what is put may arrive.
    fn is_writable(&self) -> bool {
        match self {
            Target::Stdout => is_writable(Stream::Output),
            Target::Stderr => is_writable(Stream::Error),
            Target::Writer(_) => true,
        }
    }

    fn put(&self, text: &[u8]) -> io::Result<()> {
        match self {
            Target::Stdout => write_out(&mut io::stdout().lock(), text),
            Target::Stderr => write_out(&mut io::stderr().lock(), text),
            Target::Writer(writer) => {
                let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
                write_out(&mut *writer, text)
            }
        }
    }
}

fn write_out(writer: &mut dyn Write, text: &[u8]) -> io::Result<()> {
    writer.write_all(text)?;
    writer.flush()
}

/// Prints every record on a line of its own, `subtask> record` when several subtasks print (counted
/// from 1). Blocks the shard while its reader is slow: for people, not for bulk.
#[derive(Clone)]
pub struct Print<F = Shown> {
    format: F,
    target: Target,
}

impl Print {
    /// Prints to standard output.
    pub fn new() -> Self {
        Self::with_target(Target::Stdout)
    }

    /// Prints to standard error.
    pub fn to_stderr() -> Self {
        Self::with_target(Target::Stderr)
    }

    /// Prints to a writer that the subtasks share.
    pub fn to_writer(writer: Arc<Mutex<dyn Write + Send>>) -> Self {
        Self::with_target(Target::Writer(writer))
    }

    fn with_target(target: Target) -> Self {
        Self {
            format: Shown,
            target,
        }
    }
}

impl Default for Print {
    fn default() -> Self {
        Self::new()
    }
}

impl<F> Print<F> {
    /// The same with another format.
    pub fn format<G>(self, format: G) -> Print<G> {
        Print {
            format,
            target: self.target,
        }
    }
}

impl<I: Item, F: Format<I>> Sink<I> for Print<F> {
    type Writer = PrintWriter<F>;

    fn name(&self) -> String {
        match self.target {
            Target::Stdout => "print".to_owned(),
            Target::Stderr => "print to stderr".to_owned(),
            Target::Writer(_) => "print to writer".to_owned(),
        }
    }

    fn prepare(&self, _parallelism: u32) -> Result<(), SinkError> {
        match self.target.is_writable() {
            true => Ok(()),
            false => Err(closed(self.target.name())),
        }
    }

    fn open(&self, subtask: &SubtaskInfo) -> Result<PrintWriter<F>, SinkError> {
        let mut prefix = String::new();
        if subtask.parallelism > 1 {
            let written = write!(prefix, "{}> ", subtask.index + 1);
            debug_assert!(written.is_ok(), "a string takes everything");
        }
        Ok(PrintWriter {
            format: self.format.clone(),
            target: self.target.clone(),
            prefix,
            lines: String::new(),
        })
    }
}

/// One subtask's part of a [`Print`].
pub struct PrintWriter<F> {
    format: F,
    target: Target,
    prefix: String,
    lines: String,
}

impl<I: Item, F: Format<I>> SinkWriter<I> for PrintWriter<F> {
    fn write(&mut self, item: I::Of<'_>, _at: Timestamp) -> Result<(), SinkError> {
        self.lines.push_str(&self.prefix);
        self.format.format(&item, &mut self.lines);
        self.lines.push('\n');
        Ok(())
    }

    fn ready(&self) -> bool {
        self.lines.len() < BUFFER_BYTES
    }

    fn end_turn(
        &mut self,
        _context: &mut TurnContext<'_>,
        _input: InputStatus,
    ) -> Result<SinkStatus, SinkError> {
        self.put()?;
        Ok(SinkStatus::Done)
    }

    fn barrier(&mut self, _checkpoint: CheckpointId) -> Result<Epoch, SinkError> {
        self.put()?;
        Ok(Epoch::Published)
    }
}

impl<F> PrintWriter<F> {
    fn put(&mut self) -> Result<(), SinkError> {
        if self.lines.is_empty() {
            return Ok(());
        }
        debug_assert!(self.lines.ends_with('\n'), "only whole lines go out");
        let put = self.target.put(self.lines.as_bytes());
        self.lines.clear();
        put.map_err(|error| refused(self.target.name(), &error))
    }
}

fn closed(target: &str) -> SinkError {
    let message = format!(
        "{target} is closed, so what is printed would be lost: leave it open, send it to a file or to \
         /dev/null, or write with write_text"
    );
    SinkError::new(ErrorKind::Invalid, message)
}

fn refused(target: &str, error: &io::Error) -> SinkError {
    match error.kind() {
        IoErrorKind::BrokenPipe => SinkError::new(
            ErrorKind::Cancelled,
            format!(
                "{target} was closed by its reader (broken pipe), so nobody sees what is printed: \
                 let the reader read to the end, or write to a file with write_text"
            ),
        ),
        _ => SinkError::new(
            ErrorKind::Resource,
            format!("cannot write to {target}: {error}; check where it leads to"),
        ),
    }
}
