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
    let places = match request.wish {
        JobWish::Checkpoint { .. } => "execution.checkpointing.dir",
        JobWish::Savepoint { .. } | JobWish::Stop { .. } => {
            "execution.checkpointing.dir or execution.checkpointing.savepoint-dir"
        }
    };
    request.answer(Err(format!(
        "the job was started without a place for checkpoints, so its state is not copied: start it with {places} set"
    )));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use thalweg_core::config::Configuration;
    use thalweg_dataflow::executor::{Answered, JobControl};

    use super::*;
    use crate::checkpoint::storage::DirectoryStorage;
    use crate::checkpoint::storage::simulated::SimulatedDisk;

    const JOB: JobId = JobId(7);

    fn asked(wish: JobWish) -> (JobRequest, Answered) {
        let control = JobControl::new(JOB, "job");
        let answered = control.put(wish).unwrap();
        (control.take_request().unwrap(), answered)
    }

    fn checkpoint(kind: CheckpointType) -> JobWish {
        JobWish::Checkpoint { kind }
    }

    fn savepoint(directory: Option<&str>) -> JobWish {
        JobWish::Savepoint {
            directory: directory.map(str::to_owned),
        }
    }

    /// Why it was refused at once.
    fn reason(answered: &Answered) -> String {
        let answer = answered.wait_for(Duration::ZERO).unwrap();
        answer.unwrap_err().message
    }

    fn settings(directory: Option<&str>) -> CheckpointSettings {
        let mut settings = CheckpointSettings::of(&Configuration::new()).unwrap();
        settings.directory = directory.map(|path| Location::parse(path).unwrap());
        settings
    }

    #[test]
    fn a_checkpoint_is_wanted_as_it_was_asked_for_where_checkpoints_have_a_place() {
        let mut storage = DirectoryStorage::on(SimulatedDisk::new());
        let mut requests = Requests::default();
        let cases = [
            (CheckpointType::Full, true),
            (CheckpointType::Configured, false),
        ];
        for (at, (kind, full)) in (0..).zip(cases) {
            let (request, answered) = asked(checkpoint(kind));
            let refused = settings(None);
            let taken = requests.take_in(request, &refused, (JOB, 1), &mut storage);
            assert_eq!(taken, None);
            let why = reason(&answered);
            assert!(why.contains("execution.checkpointing.dir set"), "{why}");

            let (request, answered) = asked(checkpoint(kind));
            let has_place = settings(Some("/checkpoints"));
            let taken = requests.take_in(request, &has_place, (JOB, 1), &mut storage);
            assert_eq!(taken, Some((RequestId(at), Wanted::Checkpoint { full })));
            assert_eq!(answered.wait_for(Duration::ZERO), None);
            assert_eq!(requests.withdrawn(), []);
            drop(answered);
            assert_eq!(requests.withdrawn(), [RequestId(at)]);
            requests.answered(RequestId(at), Err("no".to_owned()), None);
            assert_eq!(requests.withdrawn(), [], "it was answered");
        }
    }

    #[test]
    fn a_job_that_takes_no_part_in_checkpoints_says_what_is_missing_for_what_was_asked() {
        let (request, answered) = asked(checkpoint(CheckpointType::Full));
        refuse(request);
        let why = reason(&answered);
        assert!(why.contains("execution.checkpointing.dir"), "{why}");
        let other = "execution.checkpointing.savepoint-dir";
        assert!(!why.contains(other), "that would not be enough: {why}");
        let (request, answered) = asked(savepoint(Some("/savepoints")));
        refuse(request);
        let why = reason(&answered);
        assert!(why.contains("execution.checkpointing.dir"), "{why}");
        assert!(why.contains(other), "{why}");
    }
}
