//! The names of a job's checkpoints in storage.
//!
//! ```text
//! <checkpoints>/<job id>/chk-<n>/_metadata       what checkpoint n is made of
//! <checkpoints>/<job id>/shared/<run file>       runs, of several checkpoints
//! <checkpoints>/<job id>/newest-<sequence>       which checkpoint is the newest: the highest sequence counts
//! <savepoints>/savepoint-<job>-<random>/         metadata and runs of one savepoint
//! ```
//!
//! Plain functions. Invariant: names are made here and read here and nowhere else.

use thalweg_core::ids::{CheckpointId, JobId};

use crate::checkpoint::metadata::CheckpointKind;
use crate::checkpoint::storage::Location;

/// The file that makes a directory a checkpoint.
pub const METADATA: &str = "_metadata";
/// The directory of runs, beside the checkpoints.
pub const SHARED: &str = "shared";

/// Where the checkpoints of one job are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobLayout {
    home: Location,
}

impl JobLayout {
    /// The job's place below the directory of all checkpoints.
    #[must_use]
    pub fn new(checkpoints: &Location, job: JobId) -> JobLayout {
        JobLayout {
            home: checkpoints.child(&job.to_string()),
        }
    }

    /// The layout whose home is this directory.
    #[must_use]
    pub fn at(home: Location) -> JobLayout {
        JobLayout { home }
    }

    /// The directory all of it is in.
    #[must_use]
    pub fn home(&self) -> &Location {
        &self.home
    }

    /// Where runs are written.
    #[must_use]
    pub fn shared(&self) -> Location {
        self.home.child(SHARED)
    }

    /// The directory of a checkpoint.
    #[must_use]
    pub fn checkpoint(&self, checkpoint: CheckpointId) -> Location {
        self.home.child(&format!("chk-{}", checkpoint.0))
    }

    /// The metadata of a checkpoint.
    #[must_use]
    pub fn metadata(&self, checkpoint: CheckpointId) -> Location {
        self.checkpoint(checkpoint).child(METADATA)
    }

    /// The pointer of this sequence number.
    #[must_use]
    pub fn pointer(&self, sequence: u64) -> Location {
        self.home.child(&format!("newest-{sequence:020}"))
    }

    /// The checkpoint a directory of this name is of.
    #[must_use]
    pub fn checkpoint_of(name: &str) -> Option<CheckpointId> {
        let number = name.strip_prefix("chk-")?.parse().ok()?;
        (name == format!("chk-{number}")).then_some(CheckpointId(number))
    }

    /// The job whose checkpoints a directory of this name holds.
    #[must_use]
    pub fn job_of(name: &str) -> Option<JobId> {
        let job = name.parse::<JobId>().ok()?;
        (name == job.to_string()).then_some(job)
    }

    /// The sequence number of a pointer of this name.
    #[must_use]
    pub fn pointer_of(name: &str) -> Option<u64> {
        let digits = name.strip_prefix("newest-")?;
        let well_formed = digits.len() == 20 && digits.bytes().all(|digit| digit.is_ascii_digit());
        well_formed.then(|| digits.parse().ok()).flatten()
    }
}

/// The directory of a new savepoint; `random` tells apart those of one job.
#[must_use]
pub fn savepoint(savepoints: &Location, job: JobId, random: u64) -> Location {
    let (job, random) = (job.to_string(), random & 0xFFFF_FFFF_FFFF);
    savepoints.child(&format!("savepoint-{}-{random:012x}", &job[..6]))
}

/// Where the runs lie of the checkpoint or savepoint in this directory; `None` for a checkpoint in the root of
/// everything, which has nothing beside it.
#[must_use]
pub fn runs_of(kind: CheckpointKind, directory: &Location) -> Option<Location> {
    match kind {
        CheckpointKind::Savepoint => Some(directory.clone()),
        CheckpointKind::Checkpoint => directory.parent().map(|home| home.child(SHARED)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_are_not() {
        let root = Location::parse("/c").unwrap();
        let layout = JobLayout::new(&root, JobId(0xAB));
        let chk = layout.checkpoint(CheckpointId(17));
        assert_eq!(JobLayout::checkpoint_of(chk.name()), Some(CheckpointId(17)));
        let pointer = layout.pointer(9);
        assert_eq!(JobLayout::pointer_of(pointer.name()), Some(9));
        for name in ["chk-", "chk-x", "chk-017", "chk-+1", "chk", "xchk-1"] {
            assert_eq!(JobLayout::checkpoint_of(name), None, "{name}");
        }
        for name in [
            "newest-9",
            "newest-0000000000000000000x",
            "newest-+0000000000000000009",
        ] {
            assert_eq!(JobLayout::pointer_of(name), None, "{name}");
        }
        let savepoint = savepoint(&root, JobId(0xAB << 120), u64::MAX);
        assert_eq!(savepoint.to_string(), "/c/savepoint-ab0000-ffffffffffff");
        let runs = runs_of(CheckpointKind::Checkpoint, &chk).unwrap();
        assert_eq!(runs, layout.shared());
        assert_eq!(
            runs_of(CheckpointKind::Savepoint, &savepoint),
            Some(savepoint)
        );
    }
}
