//! Which job a start is, and what it goes on from, as far as its settings and what is in storage tell.
//!
//! Entered by the control thread when a job starts. Blocking. Invariant: nothing is overtaken or changed yet, but for
//! what a job that has ended left behind; a job that has ended is not run again unless its user asks for that, and with
//! an identity no checkpoint is passed by.

use thalweg_core::config::{Configuration, options};
use thalweg_core::ids::JobId;
use thalweg_dataflow::executor::JobError;
use thalweg_dataflow::graph::Job;

use super::latest::{Latest, latest, latest_of};
use super::{LATEST, found_at, unusable};
use crate::checkpoint::CheckpointSettings;
use crate::checkpoint::home::EndedJob;
use crate::checkpoint::home::find::{FindError, Found, find};
use crate::checkpoint::home::layout::JobLayout;
use crate::checkpoint::metadata::CheckpointMetadata;
use crate::checkpoint::storage::{CheckpointStorage, Location, StorageCommand, perform};
use crate::local::coordination::refused;

/// What a job begins with.
#[derive(Default)]
pub(super) struct Origin {
    /// Which job it is, if it is one that was there before or has an identity.
    pub(super) id: Option<JobId>,
    /// What its user named.
    pub(super) restored: Option<Found>,
    /// The job it goes on as.
    pub(super) latest: Option<Latest>,
    /// Whether no checkpoint of it may be there, nor come before it leads.
    pub(super) is_new: bool,
    /// Whether it may have ended before, and begins anew then.
    pub(super) anew: bool,
    /// Jobs that have finished, in whose place it begins.
    pub(super) replaces: Vec<EndedJob>,
}

impl Origin {
    /// What is there of former processes and is to fit the program.
    pub(super) fn metadata(&self) -> Option<&CheckpointMetadata> {
        let latest = self.latest.as_ref().map(|latest| &latest.metadata);
        latest.or(self.restored.as_ref().map(|found| &found.metadata))
    }
}

/// How a start is told which job is meant.
pub(super) struct Asked<'a> {
    /// How the job is called.
    pub(super) name: &'a str,
    pub(super) fall_back: bool,
    /// Whether one that has finished is begun anew.
    pub(super) begins_anew: bool,
}

/// What the job begins with.
pub(super) fn origin_of(
    storage: &mut dyn CheckpointStorage,
    job: &Job,
    settings: &CheckpointSettings,
) -> Result<Origin, JobError> {
    let configuration = &job.configuration;
    let asked = Asked {
        name: &job.graph.name,
        fall_back: settings.fall_back,
        begins_anew: configuration.get(&options::BEGIN_ANEW_WHEN_FINISHED),
    };
    let home = home_of(configuration, settings)?;
    if configuration.get(&options::RECOVERY_PATH).as_deref() == Some(LATEST) {
        let Some(directory) = &settings.directory else {
            return Err(refused(
                "execution.state-recovery.path is latest: set execution.checkpointing.dir to the directory of \
                 all checkpoints",
            ));
        };
        return match home {
            Some((id, home)) => latest_of(storage, (id, home), &asked),
            None => latest(storage, directory, &asked),
        };
    }
    if let Some((_, home)) = &home {
        has_no_checkpoint(storage, home)?;
    }
    let named = settings.recovery.as_ref();
    let restored = named.map(|at| found_at(storage, at, settings.fall_back));
    Ok(Origin {
        restored: restored.transpose()?,
        is_new: home.is_some(),
        anew: home.is_some(),
        id: home.map(|(id, _)| id),
        ..Origin::default()
    })
}

/// Where the job of the identity its user gave has its checkpoints, if they gave one.
fn home_of(
    configuration: &Configuration,
    settings: &CheckpointSettings,
) -> Result<Option<(JobId, Location)>, JobError> {
    let Some(identity) = configuration.get(&options::JOB_IDENTITY) else {
        return Ok(None);
    };
    let Some(directory) = &settings.directory else {
        return Err(refused(format!(
            "thalweg.job.identity is {identity}, and only where checkpoints are kept is it seen who else has it: set \
             execution.checkpointing.dir to a directory"
        )));
    };
    let id = JobId::of_identity(&identity);
    let home = JobLayout::new(directory, id).home().clone();
    tracing::info!(%identity, %id, "the job has an identity");
    Ok(Some((id, home)))
}

/// Sees that a job that begins anew, or with what its user named, leaves no checkpoint of its identity behind.
fn has_no_checkpoint(storage: &mut dyn CheckpointStorage, home: &Location) -> Result<(), JobError> {
    match find(storage, home) {
        Ok(found) => Err(goes_on_already(home, &found.directory)),
        Err(FindError::Nothing(_) | FindError::Ended(_)) => Ok(()),
        Err(error @ FindError::Storage(_)) => Err(unusable(error)),
        Err(error) => Err(refused(format!(
            "the job's identity, thalweg.job.identity, has checkpoints: {error}; or begin under another identity"
        ))),
    }
}

/// There is a checkpoint of the job's identity, and it was not asked for.
pub(super) fn goes_on_already(home: &Location, checkpoint: &Location) -> JobError {
    refused(format!(
        "a job with this thalweg.job.identity has not ended, and {checkpoint} is its newest checkpoint: go on with it by \
         execution.state-recovery.path: latest; or begin under another identity; or, if it is not to go on, delete {home}"
    ))
}

/// A job has ended that was to go on. What was left of it by a process that was killed goes.
pub(super) fn has_ended(storage: &mut dyn CheckpointStorage, job: &EndedJob) -> JobError {
    let clear = StorageCommand::ClearHome {
        home: job.home.clone(),
        last: job.pointer.clone(),
    };
    if let Err(error) = perform(storage, &clear) {
        tracing::warn!(%error, "something of a job that has ended stays");
    }
    JobError::Ended {
        message: ended_message(job),
        savepoint: job.savepoint.as_ref().map(Location::to_string),
    }
}

/// What to say of a job that has ended and was to go on.
pub(super) fn ended_message(job: &EndedJob) -> String {
    match &job.savepoint {
        None => format!(
            "{job}, and nothing was run; to begin anew start without execution.state-recovery.path: latest, or let that \
             be done whenever the job has finished (thalweg.job.begin-anew-when-finished: true), or give each run an \
             identity of its own (thalweg.job.identity)"
        ),
        Some(savepoint) => format!(
            "{job}, and nothing was run; go on with execution.state-recovery.path: {savepoint}, or begin anew without a path"
        ),
    }
}
