//! The coordinator driven as a job drives it, over a simulated disk.

mod asked;
mod crashes;
mod damaged;
mod drawn;
mod ends;
mod interleaved;
mod leaders_drawn;
mod listing;
mod outlived;
mod regions;
mod scenarios;
mod two_leaders;

use std::collections::BTreeMap;

use thalweg_core::config::Configuration;
use thalweg_core::ids::{OperatorId, SubtaskId, VertexId};
use thalweg_state::CutKind;
use thalweg_state::snapshot::{OperatorSnapshot, RunHandle, SnapshotEffort, TaskSnapshot};

use super::*;
use crate::checkpoint::home::takeover::take_over;
use crate::checkpoint::metadata::model::FileFacts;
use crate::checkpoint::metadata::{CheckpointKind, PendingCommittable};
use crate::checkpoint::protocol::{AfterFailure, Completed};
use crate::checkpoint::storage::simulated::SimulatedDisk;
use crate::checkpoint::storage::{CheckpointStorage, DirectoryStorage, StorageError, perform};
use crate::checkpoint::tasks::VertexShape;

pub(super) type Storage = DirectoryStorage<SimulatedDisk>;

pub(super) const JOB: JobId = JobId(0xB0B);
pub(super) const COUNT: OperatorId = OperatorId(7);

pub(super) fn root() -> Location {
    Location::parse("/checkpoints").unwrap()
}

/// One vertex with so many subtasks.
pub(super) fn vertices(tasks: u32) -> Vec<VertexShape> {
    vec![VertexShape {
        vertex: VertexId(0),
        name: "count".to_owned(),
        parallelism: tasks,
        max_parallelism: 128,
        operators: vec![(COUNT, "count".to_owned())],
    }]
}

pub(super) fn task(index: u32) -> SubtaskId {
    SubtaskId::new(VertexId(0), index)
}

pub(super) fn settings(change: impl FnOnce(&mut CheckpointSettings)) -> CheckpointSettings {
    let mut settings = CheckpointSettings::of(&Configuration::new()).unwrap();
    settings.interval_ms = Some(100);
    settings.timeout_ms = 1_000;
    change(&mut settings);
    settings
}

/// A job: its coordinator, its disk, and tasks that write a run for each checkpoint.
pub(super) struct Rig {
    pub(super) storage: Storage,
    pub(super) coordinator: CheckpointCoordinator,
    pub(super) layout: JobLayout,
    pub(super) now: Now,
    pub(super) attempt: AttemptId,
    pub(super) tasks: u32,
    /// Of each task: its runs, newest first.
    pub(super) chains: BTreeMap<u32, Vec<RunHandle>>,
    /// What came out, but for storage commands, which were performed.
    pub(super) seen: Vec<Output>,
}

impl Rig {
    /// A job that runs with so many tasks, on a disk.
    pub(super) fn start(settings: &CheckpointSettings, tasks: u32, storage: Storage) -> Rig {
        let mut rig = Rig::still(settings, tasks, storage, None);
        rig.run();
        rig
    }

    /// A job none of whose tasks run yet.
    pub(super) fn still(
        settings: &CheckpointSettings,
        tasks: u32,
        storage: Storage,
        restored: Option<Found>,
    ) -> Rig {
        let rig = Rig::try_still(settings, tasks, storage, restored);
        rig.unwrap_or_else(|_| panic!("the job's checkpoints cannot be taken over"))
    }

    /// The same, on a disk that may fail.
    pub(super) fn try_still(
        settings: &CheckpointSettings,
        tasks: u32,
        mut storage: Storage,
        restored: Option<Found>,
    ) -> Result<Rig, Box<Storage>> {
        let layout = JobLayout::new(&root(), JOB);
        let Ok(takeover) = take_over(&mut storage, &layout, settings.retained) else {
            return Err(Box::new(storage));
        };
        let job = (JOB, "job".to_owned());
        let attempt = takeover.leadership.attempt(0);
        Ok(Rig {
            storage,
            coordinator: CheckpointCoordinator::new(
                settings,
                job,
                layout.clone(),
                takeover,
                restored,
            ),
            layout,
            now: Now {
                ms: 1_000,
                wall_ms: 1_790_000_000_000,
            },
            attempt,
            tasks,
            chains: BTreeMap::new(),
            seen: Vec::new(),
        })
    }

    /// Starts the tasks with what the restore point says.
    pub(super) fn run(&mut self) {
        self.chains.clear();
        if let Some(point) = self.coordinator.restore_point() {
            for state in point
                .metadata
                .operators()
                .flat_map(|(_, operator)| &operator.subtasks)
            {
                self.chains.insert(state.subtask, state.runs.clone());
            }
        }
        self.step(Input::Running {
            attempt: self.attempt,
            vertices: vertices(self.tasks),
        });
    }

    /// The attempt fails and the next one starts.
    pub(super) fn restart(&mut self) {
        self.step(Input::Failing {
            attempt: self.attempt,
            reason: "a task failed".to_owned(),
        });
        self.step(Input::Stopped);
        self.attempt = AttemptId(self.attempt.0 + 1);
        self.run();
    }

    /// A task alone fails, and has gone when `meanwhile` has happened.
    pub(super) fn rest(&mut self, index: u32, meanwhile: impl FnOnce(&mut Rig)) {
        let tasks = BTreeSet::from([task(index)]);
        self.step(Input::RegionFailing {
            attempt: self.attempt,
            tasks: tasks.clone(),
            reason: "a task failed".to_owned(),
        });
        meanwhile(self);
        self.step(Input::RegionStopped { tasks });
    }

    /// It runs again, with what the restore point says.
    pub(super) fn resume(&mut self, index: u32) {
        self.chains.remove(&index);
        if let Some(point) = self.coordinator.restore_point() {
            let operators = point.metadata.operators();
            let states = operators.flat_map(|(_, operator)| &operator.subtasks);
            for state in states.filter(|state| state.subtask == index) {
                self.chains.insert(index, state.runs.clone());
            }
        }
        self.step(Input::RegionRunning {
            attempt: self.attempt,
            tasks: BTreeSet::from([task(index)]),
            replaying: BTreeSet::new(),
        });
    }

    pub(super) fn step(&mut self, input: Input) {
        let mut storage = self.storage.clone();
        self.step_on(&mut storage, input);
    }

    /// The same on a disk as another process sees it.
    pub(super) fn step_on(&mut self, storage: &mut dyn CheckpointStorage, input: Input) {
        let mut outputs: VecDeque<Output> = self.coordinator.step(input, self.now).into();
        while let Some(output) = outputs.pop_front() {
            if let Output::Store { ticket, command } = output {
                let outcome = perform(storage, &command);
                let stored = Input::Stored { ticket, outcome };
                outputs.extend(self.coordinator.step(stored, self.now));
            } else {
                self.seen.push(output);
            }
        }
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now.ms += ms;
        self.now.wall_ms += ms.cast_signed();
        self.step(Input::Tick);
    }

    /// What a task answers: a run of its own for this checkpoint, on the disk, and something prepared.
    pub(super) fn answer_of(
        &mut self,
        index: u32,
        checkpoint: CheckpointId,
        kind: CutKind,
    ) -> TaskSnapshot {
        self.try_answer_of(index, checkpoint, kind).unwrap()
    }

    /// The same, unless the run cannot be made durable.
    pub(super) fn try_answer_of(
        &mut self,
        index: u32,
        checkpoint: CheckpointId,
        kind: CutKind,
    ) -> Result<TaskSnapshot, StorageError> {
        let file = format!("{index}-{}-{}.run", self.attempt.0, checkpoint.0);
        let content = format!("the rows of {file}").into_bytes();
        let groups = (index * 128 / self.tasks) as u16..((index + 1) * 128 / self.tasks) as u16;
        let run = RunHandle {
            file: file.clone(),
            bytes: content.len() as u64,
            checksum: crc32c::crc32c(&content),
            rows: 1,
            groups,
            full: kind.is_full(),
            only: None,
        };
        let place = self.layout.shared().child(&file);
        self.storage.write_new(&place, &content)?;
        let chain = self.chains.entry(index).or_default();
        let mut operator = OperatorSnapshot::empty(COUNT, "count");
        match kind {
            CutKind::Copy => operator.runs.push(run),
            CutKind::Everything => *chain = vec![run],
            CutKind::Changes => chain.insert(0, run),
        }
        if operator.runs.is_empty() {
            operator.runs.clone_from(chain);
        }
        operator.committables.push(prepared(index, checkpoint));
        Ok(TaskSnapshot {
            vertex: VertexId(0),
            subtask: index,
            checkpoint,
            operators: vec![operator],
            in_flight: Vec::new(),
            effort: SnapshotEffort {
                bytes_written: content.len() as u64,
                ..SnapshotEffort::default()
            },
        })
    }

    /// A task answers, or declines if it cannot write.
    pub(super) fn answer(&mut self, index: u32, checkpoint: CheckpointId, kind: CutKind) {
        let attempt = self.attempt;
        let input = match self.try_answer_of(index, checkpoint, kind) {
            Ok(snapshot) => Input::Receipt { attempt, snapshot },
            Err(error) => Input::Declined {
                attempt,
                task: task(index),
                checkpoint,
                reason: error.message,
            },
        };
        self.step(input);
    }

    /// Waits for a checkpoint to be due and lets all tasks answer it.
    pub(super) fn checkpoint(&mut self) -> CheckpointId {
        self.pass(100);
        let (checkpoint, kind, tasks) = self.triggered();
        for task in tasks {
            self.answer(task.index, checkpoint, kind);
        }
        checkpoint
    }

    /// The one that was started last.
    pub(super) fn triggered(&self) -> (CheckpointId, CutKind, Vec<SubtaskId>) {
        let triggers = self.seen.iter().rev().filter_map(|output| match output {
            Output::Trigger {
                checkpoint,
                kind,
                tasks,
                ..
            } => Some((*checkpoint, *kind, tasks.iter().copied().collect())),
            _ => None,
        });
        triggers
            .into_iter()
            .next()
            .expect("a checkpoint has started")
    }

    /// The checkpoints that completed; savepoints are none.
    pub(super) fn completed(&self) -> Vec<CheckpointId> {
        let completed = self.seen.iter().filter_map(|output| match output {
            Output::Complete { completed, .. } => Some(&completed.metadata),
            _ => None,
        });
        let own = completed.filter(|metadata| metadata.kind == CheckpointKind::Checkpoint);
        own.map(|metadata| metadata.checkpoint).collect()
    }

    pub(super) fn answers(&self) -> Vec<(RequestId, Result<Completed, String>)> {
        let answers = self.seen.iter().filter_map(|output| match output {
            Output::Answer { request, answer } => Some((*request, answer.clone())),
            _ => None,
        });
        answers.collect()
    }

    pub(super) fn job_failures(&self) -> Vec<(String, bool)> {
        let failures = self.seen.iter().filter_map(|output| match output {
            Output::FailJob { reason, then } => {
                Some((reason.clone(), *then == AfterFailure::Restart))
            }
            _ => None,
        });
        failures.collect()
    }

    /// The disk as it is, on which faults to come do not happen.
    pub(super) fn look_at(&self) -> Storage {
        let mut storage = self.storage.clone();
        storage.disk().mend();
        storage
    }

    pub(super) fn shared_names(&mut self) -> BTreeSet<String> {
        let entries = self.look_at().list(&self.layout.shared()).unwrap();
        entries.into_iter().map(|entry| entry.name).collect()
    }

    pub(super) fn home_names(&mut self) -> Vec<String> {
        let entries = self.look_at().list(self.layout.home()).unwrap();
        entries.into_iter().map(|entry| entry.name).collect()
    }
}

pub(super) fn prepared(index: u32, checkpoint: CheckpointId) -> Vec<u8> {
    format!("output of {index} up to {}", checkpoint.0).into_bytes()
}

/// Every file a checkpoint names is there, byte for byte.
pub(super) fn assert_whole(
    storage: &mut Storage,
    metadata: &CheckpointMetadata,
    runs: &Location,
    when: &str,
) {
    for (file, facts) in metadata.files() {
        let found: Result<FileFacts, _> = storage.examine(&runs.child(file));
        assert_eq!(
            found.as_ref(),
            Ok(&facts),
            "{file} of {}: {when}",
            metadata.checkpoint
        );
    }
}

pub(super) fn bytes_of(committables: &[PendingCommittable]) -> Vec<Vec<u8>> {
    committables
        .iter()
        .map(|entry| entry.bytes.clone())
        .collect()
}
