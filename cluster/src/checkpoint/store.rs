//! The completed checkpoints that are kept.
//!
//! Owned by the coordinator. A plain state machine. Invariant: the newest is never given up; a file is never
//! called needless while a kept checkpoint, or a savepoint that is still being copied, names it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use thalweg_core::ids::CheckpointId;

use super::metadata::CheckpointMetadata;
use super::shared_files::SharedFiles;

/// What a completed checkpoint made needless.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subsumed {
    /// Checkpoints that are not kept any more.
    pub checkpoints: Vec<CheckpointId>,
    /// Run files nobody needs any more, by name.
    pub files: Vec<String>,
}

/// The kept checkpoints of one job, oldest first.
#[derive(Clone, Debug)]
pub struct CheckpointStore {
    kept: VecDeque<Arc<CheckpointMetadata>>,
    most: usize,
    files: SharedFiles,
}

impl CheckpointStore {
    /// A store that keeps `most` checkpoints, and these to begin with, oldest first.
    #[must_use]
    pub fn new(most: usize, kept: Vec<Arc<CheckpointMetadata>>) -> CheckpointStore {
        let mut files = SharedFiles::default();
        for metadata in &kept {
            files.hold(metadata.files().into_keys(), metadata.checkpoint);
        }
        CheckpointStore {
            kept: kept.into(),
            most: most.max(1),
            files,
        }
    }

    /// Damaged checkpoints of former leaders stay, and with them their files. Which files one needs whose metadata
    /// cannot be read nobody knows: then all that were there stay.
    pub fn keep_aside<'a>(
        &mut self,
        aside: impl Iterator<Item = (CheckpointId, Option<&'a CheckpointMetadata>)>,
    ) {
        for (checkpoint, metadata) in aside {
            match metadata {
                Some(metadata) => self.files.hold(metadata.files().into_keys(), checkpoint),
                None => {
                    for kept in &self.kept {
                        (self.files).hold(kept.files().into_keys(), kept.checkpoint);
                    }
                }
            }
        }
    }

    /// The newest.
    #[must_use]
    pub fn newest(&self) -> Option<&Arc<CheckpointMetadata>> {
        self.kept.back()
    }

    /// All kept ones, oldest first.
    pub fn kept(&self) -> impl Iterator<Item = &Arc<CheckpointMetadata>> {
        self.kept.iter()
    }

    /// The files and who needs them.
    pub fn files(&mut self) -> &mut SharedFiles {
        &mut self.files
    }

    /// Names of all files that must stay.
    #[must_use]
    pub fn needed_files(&self) -> BTreeSet<String> {
        self.files.held().map(str::to_owned).collect()
    }

    /// A checkpoint has completed: it is the newest now. Answers what may go.
    pub fn completed(&mut self, metadata: Arc<CheckpointMetadata>) -> Subsumed {
        let completed = metadata.checkpoint;
        debug_assert!(
            self.newest()
                .is_none_or(|newest| newest.checkpoint < completed)
        );
        self.files.hold(metadata.files().into_keys(), completed);
        self.kept.push_back(metadata);
        let mut subsumed = Subsumed::default();
        while self.kept.len() > self.most {
            if let Some(oldest) = self.kept.pop_front() {
                self.files.release(oldest.files().into_keys());
                subsumed.checkpoints.push(oldest.checkpoint);
            }
        }
        subsumed.files = self.files.needless(completed);
        subsumed
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use thalweg_core::ids::{JobId, OperatorId, VertexId};
    use thalweg_state::snapshot::RunHandle;

    use super::*;
    use crate::checkpoint::metadata::{CheckpointKind, OperatorState, SubtaskState, VertexState};

    /// A checkpoint of one task with these runs.
    fn metadata(checkpoint: u64, files: &[String]) -> Arc<CheckpointMetadata> {
        let runs = files.iter().map(|file| RunHandle {
            file: file.clone(),
            bytes: 1,
            checksum: 0,
            rows: 1,
            groups: 0..128,
            full: true,
            only: None,
        });
        let state = SubtaskState {
            subtask: 0,
            runs: runs.collect(),
            parts: Vec::new(),
        };
        let operator = OperatorState {
            operator: OperatorId(1),
            name: "count".to_owned(),
            subtasks: vec![state],
        };
        Arc::new(CheckpointMetadata {
            job: JobId(1),
            job_name: "job".to_owned(),
            checkpoint: CheckpointId(checkpoint),
            kind: CheckpointKind::Checkpoint,
            started_ms: 0,
            vertices: vec![VertexState {
                vertex: VertexId(0),
                name: "count".to_owned(),
                parallelism: 1,
                max_parallelism: 128,
                finished: Vec::new(),
                operators: vec![operator],
            }],
            committables: Vec::new(),
            in_flight: Vec::new(),
        })
    }

    proptest! {
        /// A backend whose chain of runs grows with every cut and is merged now and then; checkpoints fail by
        /// chance. Whatever is kept has all its files, and what nobody needs is gone, though the files of
        /// failed checkpoints are needed by later ones.
        #[test]
        fn kept_checkpoints_have_their_files_and_nothing_else_stays(
            most in 1..5_usize,
            cuts in proptest::collection::vec((any::<bool>(), 0..5_u8), 1..80),
        ) {
            let mut store = CheckpointStore::new(most, Vec::new());
            let mut disk = BTreeSet::new();
            let mut chain: Vec<String> = Vec::new();
            let mut kept: BTreeMap<u64, Vec<String>> = BTreeMap::new();
            for (at, (completes, merge)) in cuts.into_iter().enumerate() {
                let checkpoint = at as u64 + 1;
                if merge == 0 {
                    chain.clear();
                }
                chain.insert(0, format!("run-{checkpoint}"));
                disk.insert(format!("run-{checkpoint}"));
                for file in &chain {
                    store.files().note(file, CheckpointId(checkpoint));
                }
                if !completes {
                    continue;
                }
                kept.insert(checkpoint, chain.clone());
                let subsumed = store.completed(metadata(checkpoint, &chain));
                for gone in &subsumed.checkpoints {
                    prop_assert!(kept.remove(&gone.0).is_some());
                }
                for file in &subsumed.files {
                    prop_assert!(disk.remove(file), "{} was deleted twice", file);
                }
                let needed: BTreeSet<String> = kept.values().flatten().cloned().collect();
                prop_assert_eq!(&disk, &needed);
                prop_assert_eq!(store.needed_files(), needed);
                prop_assert!(kept.len() <= most && kept.contains_key(&checkpoint));
            }
        }
    }

    #[test]
    fn a_file_held_by_a_savepoint_outlives_the_checkpoints_that_named_it() {
        let mut store = CheckpointStore::new(1, Vec::new());
        let (one, two) = (vec!["a".to_owned()], vec!["b".to_owned()]);
        store.completed(metadata(1, &one));
        store.files().hold(["a"].into_iter(), CheckpointId(2));
        let subsumed = store.completed(metadata(3, &two));
        assert_eq!(
            (subsumed.checkpoints, subsumed.files),
            (vec![CheckpointId(1)], Vec::new())
        );
        store.files().release(["a"].into_iter());
        let subsumed = store.completed(metadata(4, &two));
        assert_eq!(subsumed.files, one);
    }
}
