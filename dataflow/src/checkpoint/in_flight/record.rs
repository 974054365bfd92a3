//! Files of records in flight on their way to the disk.
//!
//! Part of a task's answers. Invariant: a file is told of only when it is durable, and one that cannot be written
//! declines its checkpoint. Lives on one shard's thread.

use std::cell::{Cell, RefCell};
use std::io;

use crc32c::crc32c;
use thalweg_core::ids::CheckpointId;
use thalweg_core::shard::step::TurnContext;
use thalweg_network::Overtaken;
use thalweg_state::{InFlightFile, InFlightSection};

use super::format::{SectionContent, header, write_section};
use crate::checkpoint::setup::CheckpointSetup;
use crate::checkpoint::upload::{Upload, Uploading};

/// Bytes that go to the disk at once.
const CHUNK_BYTES: usize = 128 << 10;

/// The files of one task.
#[derive(Default)]
pub(crate) struct InFlightRecorder {
    writing: RefCell<Vec<Writing>>,
    /// How many were begun, so that no two have one name.
    begun: Cell<u64>,
}

struct Writing {
    checkpoint: CheckpointId,
    upload: Upload,
    file: InFlightFile,
}

/// A file that has come to its end.
pub(crate) struct Written {
    pub(crate) checkpoint: CheckpointId,
    pub(crate) outcome: Result<InFlightFile, String>,
}

impl InFlightRecorder {
    /// Whether any file is on its way.
    pub(crate) fn is_busy(&self) -> bool {
        !self.writing.borrow().is_empty()
    }

    /// Begins a file of `overtaken`, which is not empty.
    pub(crate) fn begin(
        &self,
        setup: &CheckpointSetup,
        task: (u32, u32),
        (checkpoint, at_sender): (CheckpointId, bool),
        overtaken: Vec<Overtaken>,
    ) {
        let mut bytes = header();
        let mut sections = Vec::with_capacity(overtaken.len());
        for Overtaken { channel, buffers } in overtaken {
            let Some(part) = setup.channels.get(&channel) else {
                debug_assert!(false, "{channel} may not be overtaken");
                continue;
            };
            let offset = bytes.len();
            let layout = part.layout;
            let checksum = write_section(&SectionContent { layout, buffers }, &mut bytes);
            sections.push(InFlightSection {
                path: part.path,
                at_sender,
                offset: offset as u64,
                bytes: (bytes.len() - offset) as u64,
                checksum,
            });
        }
        let (vertex, subtask) = task;
        let number = self.begun.replace(self.begun.get() + 1);
        let end = if at_sender { "out" } else { "in" };
        let name = format!(
            "v{vertex}-{subtask}.{number}.{end}-{}-{}.flight",
            setup.attempt, checkpoint.0
        );
        let mut upload = Upload::new(setup.directory.join(&name));
        let (length, checksum) = (bytes.len() as u64, crc32c(&bytes));
        for chunk in bytes.chunks(CHUNK_BYTES) {
            upload.push(chunk.to_vec());
        }
        upload.complete();
        self.writing.borrow_mut().push(Writing {
            checkpoint,
            upload,
            file: InFlightFile {
                file: name,
                bytes: length,
                checksum,
                sections,
            },
        });
    }

    /// Moves all files on; answers those that are over. Completions wake the task.
    pub(crate) fn poll(&self, context: &mut TurnContext<'_>) -> Vec<Written> {
        let mut over = Vec::new();
        let mut poll = |it: &mut Writing| -> bool {
            let outcome: io::Result<Uploading> = it.upload.poll(context);
            let outcome = match outcome {
                Ok(Uploading::Open) => return true,
                Ok(Uploading::Durable) => Ok(it.file.clone()),
                Err(error) => Err(format!(
                    "the records in flight could not be written to {}: {error}",
                    it.file.file
                )),
            };
            over.push(Written {
                checkpoint: it.checkpoint,
                outcome,
            });
            false
        };
        self.writing.borrow_mut().retain_mut(&mut poll);
        over
    }
}
