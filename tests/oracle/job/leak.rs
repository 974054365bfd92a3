//! The control in every run: an output that is not transactional.
//!
//! What comes is in its file at once, so a job that goes on from a checkpoint writes again what it wrote after it.
//! Were nothing there twice in the end, the kills would have missed every window and proved nothing. Lives on the
//! shard of its subtask, and blocks it: it is a control and nothing else.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;

use thalweg_core::error::ErrorKind;
use thalweg_core::event_time::Timestamp;
use thalweg_core::seam::clock::entropy;
use thalweg_core::shard::step::TurnContext;
use thalweg_dataflow::sink::{Sink, SinkError, SinkStatus, SinkWriter};
use thalweg_dataflow::task::{InputStatus, SubtaskInfo};

/// Writes lines as they come into a file of each subtask of each process.
#[derive(Clone)]
pub(super) struct Leak {
    pub(super) directory: PathBuf,
}

pub(super) struct LeakWriter {
    file: File,
}

fn failed(error: &io::Error) -> SinkError {
    SinkError::new(
        ErrorKind::Resource,
        format!("the control cannot write: {error}"),
    )
}

impl Sink<String> for Leak {
    type Writer = LeakWriter;

    fn name(&self) -> String {
        "leak".to_owned()
    }

    fn open(&self, subtask: &SubtaskInfo) -> Result<LeakWriter, SinkError> {
        let name = format!("part-{:016x}-{}", entropy(), subtask.index);
        let file = std::fs::create_dir_all(&self.directory)
            .and_then(|()| File::create_new(self.directory.join(name)));
        file.map(|file| LeakWriter { file })
            .map_err(|error| failed(&error))
    }
}

impl SinkWriter<String> for LeakWriter {
    fn write(&mut self, line: String, _at: Timestamp) -> Result<(), SinkError> {
        let line = format!("{line}\n");
        let written = self.file.write_all(line.as_bytes());
        written.map_err(|error| failed(&error))
    }

    fn end_turn(
        &mut self,
        _context: &mut TurnContext<'_>,
        _input: InputStatus,
    ) -> Result<SinkStatus, SinkError> {
        Ok(SinkStatus::Done)
    }
}
