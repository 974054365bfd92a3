//! Which job's checkpoints are meant by `latest`: those of the job's identity, or, without one, of the job that has the
//! newest one of all without one.
//!
//! Entered by the control thread when a job starts. Blocking. Invariant: where a job's newest checkpoint is damaged,
//! no other job's is taken for it without a word; the refusal names both. A job that has ended, and of whose name there
//! is nothing newer, is not begun again without a word either.

use std::fmt::Display;

use thalweg_core::ErrorKind;
use thalweg_core::ids::{CheckpointId, JobId};
use thalweg_dataflow::executor::JobError;

use super::origin::{Asked, Origin, has_ended};
use super::unusable;
use crate::checkpoint::home::EndedJob;
use crate::checkpoint::home::find::{FindError, find};
use crate::checkpoint::home::layout::JobLayout;
use crate::checkpoint::home::older::{Whole, find_whole};
use crate::checkpoint::metadata::CheckpointMetadata;
use crate::checkpoint::storage::{CheckpointStorage, Location};
use crate::local::coordination::refused;

/// The job that goes on.
pub(super) struct Latest {
    /// What it goes on from, if no process of the job that still runs completes another.
    pub(super) metadata: CheckpointMetadata,
    /// What it goes on from, if its newest checkpoint is damaged.
    pub(super) instead: Option<Whole>,
}

/// The directory of a job's checkpoints, and what of it would be begun with.
struct Home {
    job: JobId,
    at: Location,
    whole: Whole,
}

impl Home {
    /// Which checkpoint is newer than which of another job.
    fn age(&self) -> (i64, CheckpointId) {
        (
            self.whole.found.metadata.started_ms,
            self.whole.found.metadata.checkpoint,
        )
    }
}

/// The job that has the newest checkpoint of all below a directory; none where there is none.
pub(super) fn latest(
    storage: &mut dyn CheckpointStorage,
    directory: &Location,
    asked: &Asked<'_>,
) -> Result<Origin, JobError> {
    let (mut homes, mut lost, mut ended) = (Vec::new(), None, Vec::new());
    for entry in storage.list(directory).map_err(refused)? {
        // Who has an identity is gone on with by that.
        let Some(job) = JobLayout::job_of(&entry.name).filter(|job| !job.is_of_identity()) else {
            continue;
        };
        let at = directory.child(&entry.name);
        if !entry.directory {
            return Err(refused(format!(
                "{at} has the name of a job and is no directory, so the checkpoints of that job are not to be found: \
                 put the directory itself there instead of a link to it, or move {at} away"
            )));
        }
        match look_into(storage, &at, asked.fall_back) {
            Ok(whole) => homes.push(Home { job, at, whole }),
            // Never begun, or over: where something is damaged that is said.
            Err(FindError::Nothing(_)) => {}
            Err(FindError::Ended(job)) if job.ended.is_of(asked.name) => ended.push(*job),
            Err(FindError::Ended(_)) => {}
            Err(error @ FindError::Storage(_)) => return Err(unusable(error)),
            Err(error) => lost = lost.or(Some((at, error))),
        }
    }
    homes.sort_by_key(Home::age);
    let whole = (homes.iter().rev()).find(|home| home.whole.passed_over.is_empty());
    if let Some((at, error)) = lost {
        return Err(lies_beside(&error, &at, whole));
    }
    ended.sort_by_key(|job| job.ended.at_ms);
    let is_newest = |job: &&EndedJob| homes.last().is_none_or(|home| is_newer(job, home, asked));
    if let Some(last) = ended.last().filter(is_newest) {
        return after_the_end(storage, last.clone(), None, asked).map(|origin| Origin {
            replaces: ended,
            ..origin
        });
    }
    let Some(newest) = homes.pop() else {
        begins_empty(directory);
        return Ok(Origin::default());
    };
    // The newest of a job that is damaged may have been newer than that of the one that is not: nobody knows which of
    // the two is to go on.
    let mut damaged =
        (homes.iter().rev()).filter_map(|home| Some((home, home.whole.passed_over.first()?)));
    if let Some((home, damage)) = damaged.next() {
        return Err(lies_beside(damage, &home.at, Some(&newest)));
    }
    goes_on(storage, newest, asked)
}

/// The job of an identity, whose checkpoints are in this directory.
pub(super) fn latest_of(
    storage: &mut dyn CheckpointStorage,
    (job, at): (JobId, Location),
    asked: &Asked<'_>,
) -> Result<Origin, JobError> {
    match look_into(storage, &at, asked.fall_back) {
        Ok(whole) => goes_on(storage, Home { job, at, whole }, asked),
        Err(FindError::Nothing(home)) => {
            begins_empty(&home);
            Ok(Origin {
                id: Some(job),
                ..Origin::default()
            })
        }
        Err(FindError::Ended(ended)) => after_the_end(storage, *ended, Some(job), asked),
        Err(error) => Err(unusable(error)),
    }
}

/// Whether the end of a job of the name that is asked for came after the newest checkpoint of all, or that is of a job
/// of another name.
fn is_newer(job: &EndedJob, home: &Home, asked: &Asked<'_>) -> bool {
    let newest = &home.whole.found.metadata;
    newest.job_name != asked.name || job.ended.at_ms >= newest.started_ms
}

/// The job has ended: it begins anew if that was asked for and it had finished.
fn after_the_end(
    storage: &mut dyn CheckpointStorage,
    ended: EndedJob,
    id: Option<JobId>,
    asked: &Asked<'_>,
) -> Result<Origin, JobError> {
    if ended.savepoint.is_some() || !asked.begins_anew {
        return Err(has_ended(storage, &ended));
    }
    tracing::info!(home = %ended.home, "the job has finished and begins anew");
    Ok(Origin {
        id,
        anew: true,
        ..Origin::default()
    })
}

fn begins_empty(directory: &Location) {
    tracing::warn!(
        %directory,
        "execution.state-recovery.path is latest, and there is no checkpoint: the job begins empty"
    );
}

fn goes_on(
    storage: &mut dyn CheckpointStorage,
    Home { job, at, whole }: Home,
    asked: &Asked<'_>,
) -> Result<Origin, JobError> {
    let whole = match asked.fall_back && whole.passed_over.is_empty() {
        true => find_whole(storage, &at).map_err(unusable)?,
        false => whole,
    };
    let metadata = whole.found.metadata.clone();
    let instead = Some(whole).filter(|whole| !whole.passed_over.is_empty());
    let latest = Latest { metadata, instead };
    Ok(Origin {
        id: Some(job),
        latest: Some(latest),
        ..Origin::default()
    })
}

fn look_into(
    storage: &mut dyn CheckpointStorage,
    home: &Location,
    fall_back: bool,
) -> Result<Whole, FindError> {
    match find(storage, home) {
        Err(FindError::Damaged(_)) if fall_back => find_whole(storage, home),
        // A run of it may be damaged; that is looked for only if it is needed.
        other => other.map(Whole::of),
    }
}

/// A job's checkpoints are damaged, and another's are there, which perhaps has gone on from them.
fn lies_beside(wrong: &dyn Display, at: &Location, other: Option<&Home>) -> JobError {
    let what = match other {
        Some(Home {
            at: other, whole, ..
        }) => format!(
            "{wrong}; or, if a later job has gone on from it, move {at} away: the newest whole checkpoint elsewhere is \
             {} (execution.state-recovery.path: {other} begins with it)",
            whole.found.directory
        ),
        None => wrong.to_string(),
    };
    JobError::rejected(ErrorKind::Data, what)
}
