//! Which job's checkpoints are meant by `latest`: those of the job that has the newest one of all.
//!
//! Entered by the control thread when a job starts. Blocking. Invariant: where a job's newest checkpoint is damaged,
//! no other job's is taken for it without a word; the refusal names both.

use std::fmt::Display;

use thalweg_core::ErrorKind;
use thalweg_core::ids::{CheckpointId, JobId};
use thalweg_dataflow::executor::JobError;

use super::coordination::refused;
use super::recovery::unusable;
use crate::checkpoint::home::damage::Damage;
use crate::checkpoint::home::find::{FindError, Found, find};
use crate::checkpoint::home::older::{Whole, find_whole};
use crate::checkpoint::storage::{CheckpointStorage, Location};

/// The directory of a job's checkpoints, and what of it would be begun with.
struct Home {
    at: Location,
    found: Found,
    /// What is wrong with its newest checkpoint, if an older one would be taken.
    damage: Option<Damage>,
}

impl Home {
    /// Which checkpoint is newer than which of another job.
    fn age(&self) -> (i64, CheckpointId) {
        (
            self.found.metadata.started_ms,
            self.found.metadata.checkpoint,
        )
    }
}

/// The directory of the job that has the newest checkpoint of all below a directory; none where there is none.
pub(super) fn latest(
    storage: &mut dyn CheckpointStorage,
    directory: &Location,
    fall_back: bool,
) -> Result<Option<Location>, JobError> {
    let (mut homes, mut lost) = (Vec::new(), None);
    for entry in storage.list(directory).map_err(refused)? {
        if !entry.directory || entry.name.parse::<JobId>().is_err() {
            continue;
        }
        let at = directory.child(&entry.name);
        match look_into(storage, &at, fall_back) {
            Ok((found, damage)) => homes.push(Home { at, found, damage }),
            // Never begun, or over: where something is damaged that is said.
            Err(FindError::Nothing(_)) => {}
            Err(error @ FindError::Storage(_)) => return Err(unusable(error)),
            Err(error) => lost = lost.or(Some((at, error))),
        }
    }
    homes.sort_by_key(Home::age);
    let whole = (homes.iter().rev()).find(|home| home.damage.is_none());
    if let Some((at, error)) = lost {
        return Err(lies_beside(&error, &at, whole));
    }
    let Some(newest) = homes.last() else {
        return Ok(None);
    };
    // The newest of a job that is damaged may have been newer than that of the one that is not: nobody knows which of
    // the two is to go on.
    let mut damaged =
        (homes.iter().rev().skip(1)).filter_map(|home| Some((home, home.damage.as_ref()?)));
    match damaged.next() {
        Some((home, damage)) => Err(lies_beside(damage, &home.at, Some(newest))),
        None => Ok(Some(newest.at.clone())),
    }
}

fn look_into(
    storage: &mut dyn CheckpointStorage,
    home: &Location,
    fall_back: bool,
) -> Result<(Found, Option<Damage>), FindError> {
    match find(storage, home) {
        Err(FindError::Damaged(_)) if fall_back => {
            let Whole { found, passed_over } = find_whole(storage, home)?;
            Ok((found, passed_over.into_iter().next()))
        }
        other => other.map(|found| (found, None)),
    }
}

/// A job's checkpoints are damaged, and another's are there, which perhaps has gone on from them.
fn lies_beside(wrong: &dyn Display, at: &Location, other: Option<&Home>) -> JobError {
    let what = match other {
        Some(Home {
            at: other, found, ..
        }) => format!(
            "{wrong}; or, if a later job has gone on from it, move {at} away: the newest whole checkpoint elsewhere is \
             {} (execution.state-recovery.path: {other} begins with it)",
            found.directory
        ),
        None => wrong.to_string(),
    };
    JobError::rejected(ErrorKind::Data, what)
}
