//! What users ask of a running job, on its way to the coordinator of its checkpoints and back.
//!
//! Entered by the control thread. Invariant: whoever asked is answered once: by what became of the savepoint or
//! checkpoint, or by the end of the job. What nobody waits for any more is not begun.

use std::collections::BTreeMap;

use thalweg_core::ids::JobId;
use thalweg_dataflow::executor::{CheckpointType, JobRequest, JobWish, TakenCheckpoint};

use crate::checkpoint::CheckpointSettings;
use crate::checkpoint::home::layout::savepoint;
use crate::checkpoint::protocol::{Completed, Wanted};
use crate::checkpoint::storage::{CheckpointStorage, Location, StorageError};
use crate::checkpoint::trigger::RequestId;

/// The requests that wait for a savepoint or checkpoint.
#[derive(Default)]
pub(super) struct Requests {
    next: u64,
    waiting: BTreeMap<RequestId, JobRequest>,
}

impl Requests {
    /// Takes a request in: what the coordinator is to be asked for, unless it was refused here. `drawn` tells its
    /// savepoint from others. A job is not stopped by a savepoint for which there is no place: that shows first.
    pub(super) fn take_in(
        &mut self,
        request: JobRequest,
        settings: &CheckpointSettings,
        (job, drawn): (JobId, u64),
        storage: &mut dyn CheckpointStorage,
    ) -> Option<(RequestId, Wanted)> {
        match wanted_by(&request.wish, settings, (job, drawn), storage) {
            Ok(wanted) => {
                let id = RequestId(self.next);
                self.next += 1;
                self.waiting.insert(id, request);
                Some((id, wanted))
            }
            Err(refusal) => {
                request.answer(Err(refusal));
                None
            }
        }
    }

    /// Those of which whoever asked has gone.
    pub(super) fn withdrawn(&self) -> Vec<RequestId> {
        let waiting = self.waiting.iter();
        let withdrawn = waiting.filter(|(_, request)| request.is_withdrawn());
        withdrawn.map(|(id, _)| *id).collect()
    }

    /// Tells who asked what became of it; `trouble` is why the attempt must end. Answers where the
    /// savepoint is that the job ends by.
    pub(super) fn answered(
        &mut self,
        id: RequestId,
        answer: Result<Completed, String>,
        trouble: Option<&str>,
    ) -> Option<Location> {
        let request = self.waiting.remove(&id)?;
        let stops = matches!(request.wish, JobWish::Stop { .. });
        let completed = match answer {
            Ok(completed) => completed,
            Err(reason) => {
                request.answer(Err(reason));
                return None;
            }
        };
        let directory = completed.directory;
        if let (true, Some(trouble)) = (stops, trouble) {
            request.answer(Err(format!(
                "the savepoint {directory} is complete, but the job could not end by it: {trouble}"
            )));
            return None;
        }
        request.answer(Ok(TakenCheckpoint {
            id: completed.metadata.checkpoint,
            path: directory.to_string(),
        }));
        stops.then_some(directory)
    }
}

/// What the coordinator is to be asked for, or why it is not.
fn wanted_by(
    wish: &JobWish,
    settings: &CheckpointSettings,
    (job, drawn): (JobId, u64),
    storage: &mut dyn CheckpointStorage,
) -> Result<Wanted, String> {
    let new = |named: &Option<String>| {
        let below = place_of(named.as_deref(), settings)?;
        Ok::<_, String>(savepoint(&below, job, drawn))
    };
    match wish {
        JobWish::Checkpoint { .. } if settings.directory.is_none() => Err(
            "the job was started without a directory for checkpoints: start it with \
             execution.checkpointing.dir set, or take a savepoint"
                .to_owned(),
        ),
        JobWish::Checkpoint { kind } => Ok(Wanted::Checkpoint {
            full: *kind == CheckpointType::Full,
        }),
        JobWish::Savepoint { directory } => Ok(Wanted::Savepoint {
            directory: new(directory)?,
        }),
        JobWish::Stop { directory, drain } => {
            let (directory, drain) = (new(directory)?, *drain);
            let made = can_be_made(&directory, storage);
            made.map_err(|error| format!("{error}; the job goes on"))?;
            Ok(Wanted::Stop { directory, drain })
        }
    }
}

/// Makes a directory, and takes it away again.
fn can_be_made(
    directory: &Location,
    storage: &mut dyn CheckpointStorage,
) -> Result<(), StorageError> {
    storage.make_new_directory(directory)?;
    storage.delete_directory(directory)
}

/// Below which directory a savepoint goes.
fn place_of(named: Option<&str>, settings: &CheckpointSettings) -> Result<Location, String> {
    match named {
        Some(named) => Location::parse(named).map_err(|error| error.to_string()),
        None => settings.savepoints.clone().ok_or_else(|| {
            "no directory is named for the savepoint: give one, or set \
             execution.checkpointing.savepoint-dir"
                .to_owned()
        }),
    }
}

/// Answers a request to a job whose tasks take no part in checkpoints.
pub(super) fn refuse(request: JobRequest) {
    request.answer(Err(
        "the job was started without a place for checkpoints, so its state is not copied: start it with \
         execution.checkpointing.dir or execution.checkpointing.savepoint-dir set"
            .to_owned(),
    ));
}
