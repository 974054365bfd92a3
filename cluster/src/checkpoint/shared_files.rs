//! How many checkpoints need each run file, and which files nobody needs any more.
//!
//! Owned by the store. Runs belong to the backend that wrote them, not to one checkpoint: what a checkpoint
//! that failed wrote is part of the next one. So a file that no checkpoint holds may be deleted only when a
//! checkpoint has completed after the last one that named it: every task has then answered without it, and
//! what a task has once left out it does not name again. Plain data.
//!
//! Invariant: a file that is held is never called needless; a file that is no longer held and was last named
//! before a completed checkpoint is called needless once.

use std::collections::BTreeMap;

use thalweg_core::ids::CheckpointId;

#[derive(Clone, Copy, Debug)]
struct Need {
    /// How many checkpoints and savepoints hold it.
    holders: u32,
    /// The last checkpoint that named it.
    named_by: CheckpointId,
}

/// The files of one job.
#[derive(Clone, Debug, Default)]
pub struct SharedFiles {
    files: BTreeMap<String, Need>,
}

impl SharedFiles {
    /// A task named the file in its answer to a checkpoint.
    pub fn note(&mut self, file: &str, checkpoint: CheckpointId) {
        let nobody = Need {
            holders: 0,
            named_by: checkpoint,
        };
        let need = self.files.entry(file.to_owned()).or_insert(nobody);
        need.named_by = need.named_by.max(checkpoint);
    }

    /// A checkpoint needs these files, each given once.
    pub fn hold<'a>(&mut self, files: impl Iterator<Item = &'a str>, checkpoint: CheckpointId) {
        for file in files {
            self.note(file, checkpoint);
            if let Some(need) = self.files.get_mut(file) {
                need.holders += 1;
            }
        }
    }

    /// A checkpoint that held these files needs them no more.
    pub fn release<'a>(&mut self, files: impl Iterator<Item = &'a str>) {
        for file in files {
            if let Some(need) = self.files.get_mut(file) {
                need.holders = need.holders.saturating_sub(1);
            }
        }
    }

    /// Takes out the files nobody needs, now that this checkpoint has completed.
    pub fn needless(&mut self, completed: CheckpointId) -> Vec<String> {
        let needless = |need: &Need| need.holders == 0 && need.named_by <= completed;
        let files = self.files.extract_if(.., |_, need| needless(need));
        files.map(|(file, _)| file).collect()
    }

    /// Forgets all files nobody holds: nobody will name them again.
    pub fn forget_unheld(&mut self) {
        self.files.retain(|_, need| need.holders > 0);
    }

    /// The files somebody holds.
    pub fn held(&self) -> impl Iterator<Item = &str> {
        let held = self.files.iter().filter(|(_, need)| need.holders > 0);
        held.map(|(file, _)| file.as_str())
    }
}
