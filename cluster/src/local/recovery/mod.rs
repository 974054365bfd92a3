//! What an attempt of a local job begins with: the newest checkpoint, or what its user named, or nothing.
//!
//! Entered by the control thread before the tasks are laid out. Blocking. Invariant: what a checkpoint lists is
//! committed before any task that was restored from it runs.

mod latest;
mod origin;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use thalweg_core::ErrorKind;
use thalweg_core::config::{CheckpointRetention, CheckpointingMode, Configuration, options};
use thalweg_core::ids::{JobId, SubtaskId};
use thalweg_dataflow::checkpoint::{CrashPoint, Defect, RestoredOperator};
use thalweg_dataflow::executor::JobError;
use thalweg_dataflow::graph::Job;

use self::origin::{Origin, ended_message, goes_on_already, origin_of};
use super::checkpointing::{Beginning, Restored};
use super::coordination::{Coordination, refused, shapes_of};
use super::ground::Surroundings;
use super::metrics::JobFigures;
use super::planted::misdeal_in_flight;
use crate::checkpoint::coordinator::home_goes;
use crate::checkpoint::home::find::{FindError, Found, check_lengths, find, settle};
use crate::checkpoint::home::layout::JobLayout;
use crate::checkpoint::home::older::{Whole, find_whole};
use crate::checkpoint::home::takeover::{Takeover, begin_anew, take_over, take_over_from};
use crate::checkpoint::protocol::Input;
use crate::checkpoint::restore::{TaskRestore, assign};
use crate::checkpoint::storage::{
    CheckpointStorage, Location, StorageCommand, StorageError, perform,
};
use crate::checkpoint::{CheckpointCoordinator, CheckpointSettings, RestorePoint};

/// Names the newest checkpoint of whatever job wrote last below the directory of all checkpoints.
const LATEST: &str = "latest";

impl<'j> Coordination<'j> {
    /// The coordination of a job, if it takes checkpoints or begins with one.
    ///
    /// A job that goes on from the latest checkpoint is the job that wrote it: it takes over its checkpoints, under
    /// its id, so that whoever led it before can complete none any more, and nothing of it is left when it ends.
    pub(crate) fn of(
        job: &'j Job,
        id: JobId,
        ground: &'j dyn Surroundings,
        figures: &JobFigures,
    ) -> Result<Option<Self>, JobError> {
        let configuration = &job.configuration;
        let mut settings = settings_of(configuration)?;
        let mut storage = ground.storage();
        let origin = origin_of(&mut *storage, job, &settings)?;
        // A process that leads the job goes on if this start is refused for it.
        if let Some(metadata) = origin.metadata() {
            assign(metadata, &shapes_of(job), settings.ignore_unclaimed).map_err(refused)?;
        }
        let id = origin.id.unwrap_or(id);
        let Some(layout) = layout_of(&mut settings, id, origin.restored.is_some())? else {
            return Ok(None);
        };
        let made = storage.make_directory(&layout.shared());
        made.map_err(|error| no_place(&error))?;
        let (takeover, restored) = taken_over(&mut *storage, &layout, settings.retained, origin)?;
        ground.passes(CrashPoint::TakenOver);
        // A former process that still runs may have completed others until now, and can complete none from here on.
        if let Some(newest) = takeover.kept.last() {
            let settled = storage.settle(&layout.metadata(newest.checkpoint));
            settled.map_err(|error| unusable(error.into()))?;
        }
        if let Some(savepoint) = &takeover.stopped_by {
            settle(&mut *storage, savepoint).map_err(unusable)?;
        }
        let named = (id, job.graph.name.clone());
        let coordinator =
            CheckpointCoordinator::new(&settings, named, layout.clone(), takeover, restored);
        let staging = ground.staging(&layout.shared(), configuration)?;
        let lead = (job, id);
        Ok(Some(Self::new(
            lead,
            ground,
            settings,
            layout,
            (storage, staging),
            coordinator,
            figures.clone(),
        )))
    }

    /// What the next attempt begins with.
    pub(crate) fn beginning(&mut self) -> Result<Beginning, JobError> {
        let beginning = self.beginning_of(None)?;
        self.first_attempt = self.attempt;
        Ok(beginning)
    }

    /// What a region begins with, or all of the job.
    pub(in crate::local) fn beginning_of(
        &mut self,
        region: Option<&BTreeSet<SubtaskId>>,
    ) -> Result<Beginning, JobError> {
        self.attempt = self.coordinator.attempt(self.numbers);
        self.numbers += 1;
        let restored = match self.coordinator.restore_point() {
            Some(point) => {
                self.ground.passes(CrashPoint::BeforeRestore);
                let restored = self.restore(&point, region.is_none())?;
                self.ground.passes(CrashPoint::AfterRestore);
                self.figures.restored(self.ground.wall_ms());
                Some(restored)
            }
            None => None,
        };
        let directory = match (&self.staging, self.layout.shared().path()) {
            (Some(staging), _) => staging.directory().to_owned(),
            (None, Some(path)) => path.to_owned(),
            (None, None) => return Err(no_path(self.layout.home())),
        };
        Ok(Beginning {
            directory,
            attempt: self.attempt,
            exactly_once: self.settings.mode == CheckpointingMode::ExactlyOnce
                && !self.has_defect(Defect::NoAlignment),
            unaligned: self.settings.overtakes_after_ms.is_some(),
            defect: self.ground.defect(),
            crash_points: self.ground.crash_points(),
            restored,
        })
    }

    /// Deals a checkpoint out, and commits what it lists if `commits`: for a region that begins again all of it was
    /// committed when the checkpoint completed, or the whole job began.
    fn restore(&mut self, point: &RestorePoint, commits: bool) -> Result<Restored, JobError> {
        let shapes = shapes_of(self.job);
        let plan = assign(&point.metadata, &shapes, self.settings.ignore_unclaimed);
        let mut plan = plan.map_err(refused)?;
        if self.has_defect(Defect::EmptyAfterRescale) {
            self.forget_after_rescale(point, &mut plan);
        }
        if self.has_defect(Defect::InFlightMisdealt) {
            misdeal_in_flight(&mut plan);
        }
        let files = self.ground.runs_in(
            &point.runs,
            &point.metadata.files(),
            &self.job.configuration,
        )?;
        if !plan.dropped.is_empty() {
            tracing::warn!(operators = ?plan.dropped, "their state is left behind");
        }
        if commits {
            if !self.has_defect(Defect::CommitLostInRecovery) {
                self.commit(&plan.commit).map_err(refused)?;
            }
            let checkpoint = plan.checkpoint;
            self.step(Input::Committed { checkpoint });
        }
        tracing::info!(checkpoint = %plan.checkpoint, job = %point.metadata.job_name, "restored");
        let in_flight: BTreeMap<_, _> = (plan.tasks.iter_mut())
            .map(|(task, restore)| (*task, std::mem::take(&mut restore.in_flight)))
            .filter(|(_, sections)| !sections.is_empty())
            .collect();
        if !self.has_defect(Defect::CutBeforeReplayed) {
            self.replaying = in_flight.keys().copied().collect();
        }
        let tasks = plan.tasks.into_iter();
        Ok(Restored {
            in_flight,
            subtasks: tasks
                .map(|(task, restore)| (task, operators_of(restore)))
                .collect(),
            files,
            keeps_files: point.runs == self.layout.shared(),
            allow_unclaimed: self.settings.ignore_unclaimed,
        })
    }
}

/// Tasks cannot write to a place.
pub(crate) fn no_path(place: &Location) -> JobError {
    refused(format!(
        "{place} is no path of a file system, and tasks can write to no other here: set \
         execution.checkpointing.dir to a directory"
    ))
}

fn operators_of(restore: TaskRestore) -> Vec<(thalweg_core::ids::OperatorId, RestoredOperator)> {
    let operators = restore.operators.into_iter();
    let restored = operators.map(|operator| {
        let restored = RestoredOperator {
            runs: operator.runs,
            parts: operator.parts,
        };
        (operator.operator, restored)
    });
    restored.collect()
}

/// Where a job keeps its checkpoints; none for one that has nothing to do with any. One that is only restored, or
/// of which only savepoints are taken, gets a place that goes with it.
fn layout_of(
    settings: &mut CheckpointSettings,
    id: JobId,
    restored: bool,
) -> Result<Option<JobLayout>, JobError> {
    if let Some(directory) = &settings.directory {
        return Ok(Some(JobLayout::new(directory, id)));
    }
    if settings.interval_ms.is_some() {
        return Err(refused(
            "checkpoints need a place: set execution.checkpointing.dir to a directory",
        ));
    }
    if !restored && settings.savepoints.is_none() {
        return Ok(None);
    }
    settings.retention = CheckpointRetention::NoExternalizedCheckpoints;
    let passing = std::env::temp_dir().join(format!("thalweg-{id}"));
    let passing = Location::parse(&passing.to_string_lossy()).map_err(refused)?;
    Ok(Some(JobLayout::at(passing)))
}

fn settings_of(configuration: &Configuration) -> Result<CheckpointSettings, JobError> {
    let mut settings = CheckpointSettings::of(configuration).map_err(refused)?;
    settings.marks_end = configuration.get(&options::JOB_IDENTITY).is_some();
    if configuration.get(&options::RECOVERY_PATH).as_deref() == Some(LATEST) {
        settings.recovery = None;
        settings.marks_end = true;
        // Whoever goes on with what is there wants to find it there the next time, however this start ends.
        let said = configuration.origin(&options::CHECKPOINT_RETENTION);
        if said.is_none() {
            settings.retention = CheckpointRetention::RetainOnCancellation;
        }
    }
    Ok(settings)
}

/// What a job begins with, for good: its files are there, and stay though power is lost.
fn found_at(
    storage: &mut dyn CheckpointStorage,
    at: &Location,
    fall_back: bool,
) -> Result<Found, JobError> {
    let found = match fall_back {
        true => {
            let whole = find_whole(storage, at).map_err(unusable)?;
            tell_passed_over(&whole);
            whole.found
        }
        false => {
            let found = find(storage, at).map_err(unusable)?;
            check_lengths(storage, &found).map_err(unusable)?;
            found
        }
    };
    settle(storage, &found).map_err(unusable)?;
    Ok(found)
}

fn tell_passed_over(whole: &Whole) {
    for damage in &whole.passed_over {
        tracing::warn!(
            %damage, instead = %whole.found.directory,
            "a checkpoint is damaged and stays as it is; the job goes on from an older one, as \
             execution.state-recovery.fallback-to-older-checkpoint allows: what it did since then is done \
             again, and output that was committed since then appears twice"
        );
    }
}

/// Takes over the checkpoints of a job; with an older one where its newest is damaged and that is allowed. Answers what
/// its user named too.
fn taken_over(
    storage: &mut dyn CheckpointStorage,
    layout: &JobLayout,
    retained: usize,
    origin: Origin,
) -> Result<(Takeover, Option<Found>), JobError> {
    let goes_on = origin.latest.is_some();
    let takeover = match origin.latest.and_then(|latest| latest.instead) {
        Some(whole) => {
            tell_passed_over(&whole);
            let takeover = take_over_from(storage, layout, retained, whole).map_err(unusable)?;
            return Ok((takeover, None));
        }
        None if origin.anew => begin_anew(storage, layout, retained).map_err(unusable)?,
        None => take_over(storage, layout, retained).map_err(unusable)?,
    };
    let newest = takeover.kept.last().map(|kept| kept.checkpoint);
    if goes_on && newest.is_none() && takeover.stopped_by.is_none() {
        return Err(ended_meanwhile(storage, layout, &takeover));
    }
    if origin.is_new {
        // A former process has completed it since it was looked for.
        let stopped = (takeover.stopped_by.as_ref()).map(|found| found.directory.clone());
        let newest = stopped.or(newest.map(|newest| layout.checkpoint(newest)));
        if let Some(newest) = newest {
            return Err(goes_on_already(layout.home(), &newest));
        }
    }
    for aside in &takeover.aside {
        tracing::warn!(
            checkpoint = %aside.checkpoint, damage = %aside.damage,
            "another checkpoint is damaged: it is kept aside as it is"
        );
    }
    for job in origin.replaces {
        let (home, last) = (job.home, job.pointer);
        if let Err(error) = perform(storage, &StorageCommand::DeleteHome { home, last }) {
            tracing::warn!(%error, "the mark of the end of a former run stays");
        }
    }
    Ok((takeover, origin.restored))
}

/// The job had a checkpoint when it was looked for, and has none now that it is taken over.
fn ended_meanwhile(
    storage: &mut dyn CheckpointStorage,
    layout: &JobLayout,
    takeover: &Takeover,
) -> JobError {
    let home = layout.home();
    // What the takeover has made again, and what the other process had not deleted yet.
    let last = layout.pointer(takeover.leadership.sequence);
    let is_shared = JobLayout::job_of(home.name()).is_some_and(JobId::is_of_identity);
    let clear = home_goes(home.clone(), last, is_shared);
    if let Err(error) = perform(storage, &clear) {
        tracing::warn!(%error, "the directory of a job that has ended stays");
    }
    refused(format!(
        "the job whose checkpoints were in {home} ended while it was taken over, so there is nothing to go on from; \
         start again if it is to begin anew"
    ))
}

/// What the job was to begin with cannot be used: as it began before, or at all.
fn unusable(error: FindError) -> JobError {
    if let FindError::Ended(job) = &error {
        return JobError::Ended {
            message: ended_message(job),
            savepoint: job.savepoint.as_ref().map(Location::to_string),
        };
    }
    let kind = match &error {
        FindError::Nothing(_) | FindError::Ended(_) => ErrorKind::Invalid,
        FindError::Storage(error) => error.error_kind(),
        FindError::Damaged(_) | FindError::NoneWhole { .. } => ErrorKind::Data,
    };
    JobError::rejected(kind, error.to_string())
}

/// The directory for checkpoints is of no use.
fn no_place(error: &StorageError) -> JobError {
    JobError::rejected(
        error.error_kind(),
        format!("{error}, or set execution.checkpointing.dir to another place"),
    )
}
