//! A task's part in checkpoints as the local executor deals it out, and the way to tell tasks something.
//!
//! A [`TaskPart`] goes to the shard with the plan of its task; its [`TaskDoor`] stays with the control thread.
//! Invariant: what is told to a task before it is deployed is heard in its first turn. Crosses from the
//! control thread to shards.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use thalweg_core::ids::{AttemptId, OperatorId, SubtaskId};
use thalweg_core::shard::executor::Shard;
use thalweg_core::shard::mailbox::MailboxSender;
use thalweg_core::shard::step::TaskIndex;
use thalweg_dataflow::checkpoint::{
    ChannelPart, CheckpointAnswer, CheckpointSetup, CrashListener, Defect, RestoredOperator,
    RestoredSection, RestoredState, RunFiles, SPLITS, TaskCommand, TaskInbox,
};
use thalweg_network::ChannelId;
use thalweg_state::RunHandle;
use thalweg_state::run::ReadAt;

use crate::checkpoint::storage::{RunFile, StorageError};

/// What an attempt of a job that takes checkpoints begins with.
pub(crate) struct Beginning {
    /// The directory for runs; it exists.
    pub(crate) directory: PathBuf,
    /// Which attempt of the job, told apart from those of all leaders it had.
    pub(crate) attempt: AttemptId,
    /// Whether barriers are waited for on all channels.
    pub(crate) exactly_once: bool,
    /// Whether barriers may overtake records.
    pub(crate) unaligned: bool,
    /// What is done wrong on purpose.
    pub(crate) defect: Option<Defect>,
    /// Who is told of points at which to crash.
    pub(crate) crash_points: CrashListener,
    /// What it is restored from, if it is.
    pub(crate) restored: Option<Restored>,
}

/// A checkpoint dealt out over the subtasks of an attempt.
pub(crate) struct Restored {
    /// What each subtask gets back.
    pub(crate) subtasks: BTreeMap<SubtaskId, Vec<(OperatorId, RestoredOperator)>>,
    /// What was on its way to each subtask.
    pub(crate) in_flight: BTreeMap<SubtaskId, Vec<RestoredSection>>,
    /// Where the runs are read from.
    pub(crate) files: Arc<dyn RunFiles + Send + Sync>,
    /// Whether the files stay as long as the job needs them.
    pub(crate) keeps_files: bool,
    /// Whether state that no operator declares is left behind silently.
    pub(crate) allow_unclaimed: bool,
}

impl Beginning {
    /// Whether the checkpoint holds how far the source with this identity was read.
    pub(crate) fn holds_positions_of(&self, source: OperatorId) -> bool {
        let Some(restored) = &self.restored else {
            return false;
        };
        let mut operators = restored.subtasks.values().flatten();
        operators.any(|(id, operator)| *id == source && operator.items(SPLITS).is_some())
    }

    /// The part of one task, and the door to it.
    pub(crate) fn part_of(
        &mut self,
        subtask: SubtaskId,
        operators: Vec<OperatorId>,
        channels: BTreeMap<ChannelId, ChannelPart>,
    ) -> (TaskPart, TaskDoor) {
        let restored = self.restored.as_mut().map(|restored| RestoredState {
            operators: restored.subtasks.remove(&subtask).unwrap_or_default(),
            in_flight: restored.in_flight.remove(&subtask).unwrap_or_default(),
            files: Arc::clone(&restored.files),
            keeps_files: restored.keeps_files,
            allow_unclaimed: restored.allow_unclaimed,
        });
        let (inbox, place) = (TaskInbox::new(), Place::default());
        let door = TaskDoor {
            inbox: inbox.clone(),
            place: Arc::clone(&place),
        };
        let part = TaskPart {
            operators,
            channels,
            directory: self.directory.clone(),
            attempt: self.attempt,
            exactly_once: self.exactly_once,
            defect: self.defect,
            crash_points: self.crash_points.clone(),
            restored,
            inbox,
            place,
        };
        (part, door)
    }
}

/// Where a task was put.
type Place = Arc<OnceLock<(MailboxSender, TaskIndex)>>;

/// One task's part.
pub(crate) struct TaskPart {
    operators: Vec<OperatorId>,
    channels: BTreeMap<ChannelId, ChannelPart>,
    directory: PathBuf,
    attempt: AttemptId,
    exactly_once: bool,
    defect: Option<Defect>,
    crash_points: CrashListener,
    restored: Option<RestoredState>,
    inbox: TaskInbox,
    place: Place,
}

impl TaskPart {
    /// What the task is built with, on its shard.
    pub(crate) fn setup(&mut self, answer: impl Fn(CheckpointAnswer) + 'static) -> CheckpointSetup {
        CheckpointSetup {
            operators: self.operators.clone(),
            channels: std::mem::take(&mut self.channels),
            directory: self.directory.clone(),
            attempt: self.attempt.0,
            exactly_once: self.exactly_once,
            inbox: self.inbox.clone(),
            restored: self.restored.take().map(Rc::new),
            defect: self.defect,
            crash_points: self.crash_points.clone(),
            answer: Rc::new(answer),
        }
    }

    /// The task is on its shard.
    pub(crate) fn deployed(self, mailbox: MailboxSender, task: TaskIndex) {
        let before = self.place.set((mailbox, task));
        debug_assert!(before.is_ok(), "a task is deployed once");
    }
}

/// The control thread's way to a task.
#[derive(Clone)]
pub(crate) struct TaskDoor {
    inbox: TaskInbox,
    place: Place,
}

impl TaskDoor {
    /// Tells the task, between two of its turns.
    pub(crate) fn tell(&self, command: TaskCommand) {
        self.inbox.send(command);
        let Some((mailbox, task)) = self.place.get() else {
            return;
        };
        let task = *task;
        let wake = move |shard: &mut Shard| {
            if let Some(waker) = shard.waker_of(task) {
                waker.wake();
            }
        };
        // A shard that takes no more commands has ended, and its tasks with it; one whose mailbox is full
        // runs its tasks when it has run the commands.
        let _ = mailbox.send(Box::new(wake));
    }
}

/// The runs of a checkpoint in a directory of this host.
pub(crate) struct RunDirectory(pub(crate) PathBuf);

impl RunFiles for RunDirectory {
    fn open_file(&self, file: &str) -> io::Result<Box<dyn ReadAt>> {
        let path = self.0.join(file);
        match RunFile::open(&path) {
            Ok(file) => Ok(Box::new(file)),
            Err(error) => {
                let error = StorageError::of_io("open", &path.display(), &error);
                Err(io::Error::other(error))
            }
        }
    }

    fn path(&self, handle: &RunHandle) -> Option<PathBuf> {
        Some(self.0.join(&handle.file))
    }
}
