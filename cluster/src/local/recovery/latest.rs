//! Which job's checkpoints are meant by `latest`: those of the job that has the newest one of all.
//!
//! Entered by the control thread when a job starts. Blocking. Invariant: where a job's newest checkpoint is damaged,
//! no other job's is taken for it without a word; the refusal names both.

use std::fmt::Display;

use thalweg_core::ErrorKind;
use thalweg_core::ids::{CheckpointId, JobId};
use thalweg_dataflow::executor::JobError;

use super::unusable;
use crate::checkpoint::home::find::{FindError, find};
use crate::checkpoint::home::layout::JobLayout;
use crate::checkpoint::home::older::{Whole, find_whole};
use crate::checkpoint::metadata::CheckpointMetadata;
use crate::checkpoint::storage::{CheckpointStorage, Location};
use crate::local::coordination::refused;

/// The job that has the newest checkpoint of all.
pub(super) struct Latest {
    /// Which one.
    pub(super) job: JobId,
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
    fall_back: bool,
) -> Result<Option<Latest>, JobError> {
    let (mut homes, mut lost) = (Vec::new(), None);
    for entry in storage.list(directory).map_err(refused)? {
        let Some(job) = JobLayout::job_of(&entry.name) else {
            continue;
        };
        let at = directory.child(&entry.name);
        if !entry.directory {
            return Err(refused(format!(
                "{at} has the name of a job and is no directory, so the checkpoints of that job are not to be found: \
                 put the directory itself there instead of a link to it, or move {at} away"
            )));
        }
        match look_into(storage, &at, fall_back) {
            Ok(whole) => homes.push(Home { job, at, whole }),
            // Never begun, or over: where something is damaged that is said.
            Err(FindError::Nothing(_)) => {}
            Err(error @ FindError::Storage(_)) => return Err(unusable(error)),
            Err(error) => lost = lost.or(Some((at, error))),
        }
    }
    homes.sort_by_key(Home::age);
    let whole = (homes.iter().rev()).find(|home| home.whole.passed_over.is_empty());
    if let Some((at, error)) = lost {
        return Err(lies_beside(&error, &at, whole));
    }
    let Some(newest) = homes.pop() else {
        tracing::warn!(
            %directory,
            "execution.state-recovery.path is latest, and there is no checkpoint: the job begins empty"
        );
        return Ok(None);
    };
    // The newest of a job that is damaged may have been newer than that of the one that is not: nobody knows which of
    // the two is to go on.
    let mut damaged =
        (homes.iter().rev()).filter_map(|home| Some((home, home.whole.passed_over.first()?)));
    if let Some((home, damage)) = damaged.next() {
        return Err(lies_beside(damage, &home.at, Some(&newest)));
    }
    let Home { job, at, whole } = newest;
    let whole = match fall_back && whole.passed_over.is_empty() {
        true => find_whole(storage, &at).map_err(unusable)?,
        false => whole,
    };
    let metadata = whole.found.metadata.clone();
    let instead = Some(whole).filter(|whole| !whole.passed_over.is_empty());
    Ok(Some(Latest {
        job,
        metadata,
        instead,
    }))
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
