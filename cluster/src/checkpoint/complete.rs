//! How a checkpoint that all tasks have answered becomes true.
//!
//! Owned by the coordinator, one at a time, in the order of their numbers. A plain state machine: it says
//! which command storage is to perform next and is told the outcome.
//!
//! A checkpoint: metadata is written whole into its own directory, then the next pointer is created. Only the
//! pointer makes it true, so a crash before leaves the older one the newest, and one after the new one.
//! A savepoint: its files are copied into its directory, checked on the way, then its metadata is written:
//! that makes it true. One by which the job is stopped is committed, so it becomes the newest by a pointer too.
//!
//! All only as long as the leader's last pointer is there, which goes when it is overtaken and when the job ends.
//!
//! If nobody can know whether a pointer will last, another one, with the next number, says the same. If that
//! stays unknown too the job must stop: to go on as if it were not true would be as wrong as the opposite.
//! Invariant: no file is written twice under the same name after it failed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use thalweg_core::ids::{AttemptId, CheckpointId, JobId, SubtaskId};
use thalweg_state::snapshot::TaskSnapshot;

use super::home::layout::{JobLayout, METADATA};
use super::home::pointer::Pointer;
use super::metadata::facts::MetadataFacts;
use super::metadata::model::FileFacts;
use super::metadata::{
    CheckpointKind, CheckpointMetadata, MetadataError, OperatorState, PendingCommittable,
    SubtaskState, VertexState, encode,
};
use super::pending::PendingCheckpoint;
use super::savepoint;
use super::storage::{Location, StorageCommand, StorageError, StorageErrorKind};
use super::tasks::JobTasks;

/// How many further pointers are tried when nobody can know whether one will last.
const POINTER_RETRIES: u32 = 2;

/// Which leader this is, and which pointer comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// The number of the highest pointer this leader has created, or tried to.
    pub sequence: u64,
    /// The number of the last one it is sure of. Those above it are tries of which nobody knows whether they last.
    pub since: u64,
    /// How many leaders there were, with this one.
    pub term: u64,
    /// No checkpoint of this number or a higher one has begun.
    pub next: CheckpointId,
}

impl Leadership {
    /// The number of an attempt that no other leader of the job gives, for names of files that no two attempts
    /// may both write. `restarts` counts the attempts under this leader; beyond 65,535 it starts over.
    #[must_use]
    pub fn attempt(&self, restarts: u32) -> AttemptId {
        AttemptId(((self.term & 0xFFFF) as u32) << 16 | (restarts & 0xFFFF))
    }
}

/// Puts the metadata together from the answers.
#[must_use]
pub fn gather(
    job: (JobId, &str),
    pending: &PendingCheckpoint,
    tasks: &JobTasks,
    committables: Vec<PendingCommittable>,
) -> CheckpointMetadata {
    let mut states: BTreeMap<_, Vec<SubtaskState>> = BTreeMap::new();
    let left_behind = |task: &SubtaskId| tasks.left_behind(*task);
    let finished = pending.finished().iter().filter_map(left_behind);
    let mut answers: Vec<&TaskSnapshot> = pending.answers().values().chain(finished).collect();
    answers.sort_by_key(|snapshot| snapshot.subtask);
    let in_flight = answers.iter().flat_map(|answer| &answer.in_flight);
    let in_flight = in_flight.cloned().collect();
    for snapshot in answers {
        for operator in &snapshot.operators {
            if operator.runs.is_empty() && operator.parts.is_empty() {
                continue;
            }
            let state = SubtaskState {
                subtask: snapshot.subtask,
                runs: operator.runs.clone(),
                parts: operator.parts.clone(),
            };
            let of_operator = states.entry((snapshot.vertex, operator.operator));
            of_operator.or_default().push(state);
        }
    }
    let vertices = tasks.vertices().iter().map(|vertex| VertexState {
        vertex: vertex.vertex,
        name: vertex.name.clone(),
        parallelism: vertex.parallelism,
        max_parallelism: vertex.max_parallelism,
        finished: (pending.finished().iter())
            .filter(|task| task.vertex == vertex.vertex)
            .map(|task| task.index)
            .collect(),
        operators: (vertex.operators.iter())
            .map(|(operator, name)| OperatorState {
                operator: *operator,
                name: name.clone(),
                subtasks: states
                    .remove(&(vertex.vertex, *operator))
                    .unwrap_or_default(),
            })
            .collect(),
    });
    CheckpointMetadata {
        job: job.0,
        job_name: job.1.to_owned(),
        checkpoint: pending.checkpoint,
        kind: if pending.purpose.is_savepoint() {
            CheckpointKind::Savepoint
        } else {
            CheckpointKind::Checkpoint
        },
        started_ms: pending.started_wall_ms,
        vertices: vertices.collect(),
        committables,
        in_flight,
    }
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Storage is to do this; tell the outcome.
    Do(StorageCommand),
    /// It is true.
    Complete,
    /// It is not true and never will be; why.
    Failed(String),
    /// Somebody else leads the job; why. What removes the traces, if nobody can have gone on from them.
    Fenced(String, Option<StorageCommand>),
    /// Nobody can know whether it is true; why.
    Unknown(String),
}

#[derive(Clone, Debug)]
enum Stage {
    /// A new directory for what is then copied.
    Directory(VecDeque<StorageCommand>),
    Copy(VecDeque<StorageCommand>),
    Metadata,
    Pointer {
        retries: u32,
    },
}

/// One checkpoint on its way to being true.
#[derive(Clone, Debug)]
pub struct Completion {
    /// What it was until now.
    pub pending: PendingCheckpoint,
    /// What it will be.
    pub metadata: Arc<CheckpointMetadata>,
    /// Its directory.
    pub directory: Location,
    layout: JobLayout,
    bytes: Vec<u8>,
    facts: FileFacts,
    stage: Stage,
}

impl Completion {
    /// Begins; [`Completion::next`] says with what.
    ///
    /// # Errors
    /// When the metadata cannot be written down.
    pub fn begin(
        pending: PendingCheckpoint,
        metadata: CheckpointMetadata,
        layout: &JobLayout,
    ) -> Result<Completion, MetadataError> {
        let bytes = encode(&metadata)?;
        let (directory, stage) = match pending.purpose.savepoint() {
            Some(directory) => {
                let copies = savepoint::copies(&metadata, &layout.shared(), directory);
                (directory.clone(), Stage::Directory(copies))
            }
            None => (layout.checkpoint(metadata.checkpoint), Stage::Metadata),
        };
        Ok(Completion {
            pending,
            metadata: Arc::new(metadata),
            directory,
            layout: layout.clone(),
            facts: MetadataFacts::of(&bytes).facts(),
            bytes,
            stage,
        })
    }

    /// Length and checksum of its metadata.
    #[must_use]
    pub fn facts(&self) -> FileFacts {
        self.facts
    }

    /// What storage is to do now.
    pub fn next(&mut self, leadership: &mut Leadership) -> StorageCommand {
        if let Stage::Directory(_) = self.stage {
            return StorageCommand::NewDirectory(self.directory.clone());
        }
        if let Stage::Copy(copies) = &mut self.stage {
            if let Some(copy) = copies.pop_front() {
                return copy;
            }
            self.stage = Stage::Metadata;
        }
        match self.stage {
            Stage::Pointer { .. } => {
                leadership.sequence += 1;
                let pointer = Pointer {
                    sequence: leadership.sequence,
                    term: leadership.term,
                    next: leadership.next,
                    newest: Some((self.metadata.checkpoint, self.facts)),
                    savepoint: self.pending.purpose.savepoint().cloned(),
                    ended: None,
                };
                StorageCommand::Point {
                    home: self.layout.home().clone(),
                    pointer,
                    since: leadership.since,
                }
            }
            Stage::Directory(_) | Stage::Copy(_) | Stage::Metadata => StorageCommand::WriteNew {
                at: self.directory.child(METADATA),
                bytes: self.bytes.clone(),
                led_by: self.layout.pointer(leadership.since),
            },
        }
    }

    /// Storage has done it, or not.
    pub fn outcome(
        &mut self,
        outcome: Result<(), StorageError>,
        leadership: &mut Leadership,
    ) -> Progress {
        let counts = self.pending.purpose.lists_for_good();
        match (&mut self.stage, outcome) {
            (Stage::Directory(copies), Ok(())) => {
                self.stage = Stage::Copy(std::mem::take(copies));
                Progress::Do(self.next(leadership))
            }
            (Stage::Copy(_), Ok(())) => Progress::Do(self.next(leadership)),
            (Stage::Metadata, Ok(())) if !counts => Progress::Complete,
            (Stage::Metadata, Ok(())) => {
                self.stage = Stage::Pointer { retries: 0 };
                Progress::Do(self.next(leadership))
            }
            (Stage::Pointer { .. }, Ok(())) => {
                leadership.since = leadership.sequence;
                Progress::Complete
            }
            (Stage::Pointer { retries }, Err(error)) => match error.kind {
                StorageErrorKind::AlreadyThere => {
                    let unseen = *retries == 0;
                    let withdraw = unseen.then(|| self.withdrawal());
                    Progress::Fenced(error.message, withdraw)
                }
                StorageErrorKind::Overtaken => Progress::Fenced(error.message, None),
                StorageErrorKind::Uncertain if *retries < POINTER_RETRIES => {
                    *retries += 1;
                    Progress::Do(self.next(leadership))
                }
                StorageErrorKind::Unknown => Progress::Unknown(error.message),
                // A pointer that failed for certain says nothing, but one before it may.
                _ if *retries > 0 || error.kind == StorageErrorKind::Uncertain => {
                    Progress::Unknown(error.message)
                }
                _ => {
                    // Its number is free and must not stay so below the next: who took it would overtake nobody.
                    leadership.sequence = leadership.since;
                    Progress::Failed(error.message)
                }
            },
            (_, Err(error)) if error.kind == StorageErrorKind::Overtaken => {
                let savepoint = self.pending.purpose.savepoint();
                Progress::Fenced(error.message, savepoint.map(|_| self.withdrawal()))
            }
            (_, Err(error)) => Progress::Failed(error.message),
        }
    }

    /// What removes one that nobody can have gone on from.
    fn withdrawal(&self) -> StorageCommand {
        match self.pending.purpose.savepoint() {
            Some(directory) => StorageCommand::DeleteDirectory(directory.clone()),
            None => StorageCommand::Withdraw {
                home: self.layout.home().clone(),
                checkpoint: self.metadata.checkpoint,
            },
        }
    }

    /// What removes the traces of one that failed, without touching what somebody else may have made: of a
    /// savepoint its directory, if it was made for it; of a checkpoint its directory if nothing is in it.
    #[must_use]
    pub fn cleanup(&self) -> Option<StorageCommand> {
        let directory = self.directory.clone();
        match &self.stage {
            Stage::Directory(_) => None,
            _ if self.pending.purpose.is_savepoint() => {
                Some(StorageCommand::DeleteDirectory(directory))
            }
            _ => Some(StorageCommand::DeleteIfEmpty(directory)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::trigger::Purpose;
    use super::*;

    fn completion() -> (Completion, Leadership) {
        let nobody = BTreeSet::new();
        let purpose = Purpose::Periodic;
        let pending = PendingCheckpoint::new(CheckpointId(4), purpose, nobody.clone(), nobody);
        let tasks = JobTasks::of(Vec::new());
        let metadata = gather((JobId(1), "job"), &pending, &tasks, Vec::new());
        let layout = JobLayout::at(Location::parse("/c").unwrap());
        let completion = Completion::begin(pending, metadata, &layout).unwrap();
        let leadership = Leadership {
            sequence: 7,
            since: 7,
            term: 2,
            next: CheckpointId(5),
        };
        (completion, leadership)
    }

    fn error(kind: StorageErrorKind) -> Result<(), StorageError> {
        Err(StorageError {
            kind,
            message: "storage said no".to_owned(),
        })
    }

    fn pointer(progress: Progress) -> u64 {
        match progress {
            Progress::Do(StorageCommand::Point { pointer, .. }) => {
                assert_eq!(pointer.newest.unwrap().0, CheckpointId(4));
                pointer.sequence
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn metadata_first_then_the_pointer_and_only_then_it_is_true() {
        let (mut completion, mut leadership) = completion();
        let first = completion.next(&mut leadership);
        assert!(
            matches!(first, StorageCommand::WriteNew { at, .. } if at.to_string() == "/c/chk-4/_metadata")
        );
        let then = completion.outcome(Ok(()), &mut leadership);
        assert_eq!(pointer(then), 8);
        assert_eq!(
            completion.outcome(Ok(()), &mut leadership),
            Progress::Complete
        );
    }

    #[test]
    fn a_pointer_in_doubt_is_repeated_under_the_next_number_and_then_given_up() {
        let (mut completion, mut leadership) = completion();
        completion.next(&mut leadership);
        completion.outcome(Ok(()), &mut leadership);
        for number in [9, 10] {
            let again = completion.outcome(error(StorageErrorKind::Uncertain), &mut leadership);
            assert_eq!(pointer(again), number);
        }
        let last = completion.outcome(error(StorageErrorKind::Uncertain), &mut leadership);
        assert!(matches!(last, Progress::Unknown(_)));
    }

    #[test]
    fn a_pointer_that_is_surely_not_there_fails_the_checkpoint_unless_one_before_is_in_doubt() {
        let (mut completion, mut leadership) = completion();
        completion.next(&mut leadership);
        completion.outcome(Ok(()), &mut leadership);
        let mut other = completion.clone();
        let failed = other.outcome(error(StorageErrorKind::Full), &mut leadership);
        assert!(matches!(failed, Progress::Failed(_)));
        assert_eq!(leadership.sequence, 7, "its number comes again");
        leadership.sequence = 8;
        completion.outcome(error(StorageErrorKind::Uncertain), &mut leadership);
        let unknown = completion.outcome(error(StorageErrorKind::Full), &mut leadership);
        assert!(matches!(unknown, Progress::Unknown(_)));
    }

    #[test]
    fn a_pointer_that_may_be_anybodys_is_not_tried_again() {
        let (mut completion, mut leadership) = completion();
        completion.next(&mut leadership);
        completion.outcome(Ok(()), &mut leadership);
        let unknown = completion.outcome(error(StorageErrorKind::Unknown), &mut leadership);
        assert!(matches!(unknown, Progress::Unknown(_)));
    }

    #[test]
    fn a_pointer_somebody_else_made_is_the_end_of_this_leader() {
        let (mut completion, mut leadership) = completion();
        completion.next(&mut leadership);
        completion.outcome(Ok(()), &mut leadership);
        let mut other = completion.clone();
        let fenced = other.outcome(error(StorageErrorKind::AlreadyThere), &mut leadership);
        assert!(matches!(
            fenced,
            Progress::Fenced(_, Some(StorageCommand::Withdraw { .. }))
        ));
        // Where one of its pointers was to be seen, somebody may go on from the checkpoint.
        let fenced = completion.outcome(error(StorageErrorKind::Overtaken), &mut leadership);
        assert!(matches!(fenced, Progress::Fenced(_, None)));
        completion.outcome(error(StorageErrorKind::Uncertain), &mut leadership);
        let fenced = completion.outcome(error(StorageErrorKind::AlreadyThere), &mut leadership);
        assert!(matches!(fenced, Progress::Fenced(_, None)));
    }
}
