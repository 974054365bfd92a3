//! Points at which a crash is most dangerous, told to whoever wants to crash there.
//!
//! The control thread and the tasks tell of each before they go on; tasks only for checkpoints, never for records. Nobody
//! listens but tests of recovery, in a process of their own that they end. Invariant: without a listener nothing of this
//! happens.

use std::fmt;
use std::sync::Arc;

/// What the control thread, or a task, has just done, or is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CrashPoint {
    /// All files of a checkpoint or savepoint are durable; nothing says so yet.
    BeforeMetadata,
    /// Its metadata is there. A checkpoint is not true before a pointer names it.
    AfterMetadata,
    /// A pointer names it. Nothing of what it lists is committed.
    AfterPointer,
    /// A file is about to be copied into a savepoint.
    BeforeCopy,
    /// The output of one more sink is about to be committed.
    BeforeCommit,
    /// It was: others may be left.
    AfterCommit,
    /// Something of an older checkpoint is about to be deleted.
    BeforeDelete,
    /// It was: more may be left.
    AfterDelete,
    /// The job is about to be said to have ended. All of its output is committed.
    BeforeEnd,
    /// That was said; its checkpoints are still there.
    AfterEnd,
    /// The lead of the job's checkpoints was taken over; nothing was restored.
    TakenOver,
    /// A checkpoint is about to be dealt out over the tasks.
    BeforeRestore,
    /// What it lists is committed, and no task runs yet.
    AfterRestore,
    /// A file of metadata, a pointer or a copy is written, and about to be synced.
    BeforeSync,
    /// It is durable under a name that is ignored, and about to be given its own.
    BeforeName,
    /// It has its name, which a loss of power may take from it.
    AfterName,
    /// Tasks: the barriers of all channels have come; nothing is cut.
    Aligned,
    /// Every state of an operator is frozen; nothing of it is written.
    Frozen,
    /// All of an operator's file is written, and about to be synced.
    BeforeStateSync,
    /// It is durable, with its name; the task has not said so.
    StateDurable,
    /// A barrier is about to leave a task.
    BeforeBarrier,
    /// It has left by all outputs.
    AfterBarrier,
    /// All that a task has of a checkpoint is durable, and it is about to say so.
    BeforeAnswer,
    /// It has said so.
    AfterAnswer,
    /// The state of an operator was given back to it.
    GivenBack,
}

impl CrashPoint {
    /// All of them.
    pub const ALL: [CrashPoint; 25] = [
        CrashPoint::BeforeMetadata,
        CrashPoint::AfterMetadata,
        CrashPoint::AfterPointer,
        CrashPoint::BeforeCopy,
        CrashPoint::BeforeCommit,
        CrashPoint::AfterCommit,
        CrashPoint::BeforeDelete,
        CrashPoint::AfterDelete,
        CrashPoint::BeforeEnd,
        CrashPoint::AfterEnd,
        CrashPoint::TakenOver,
        CrashPoint::BeforeRestore,
        CrashPoint::AfterRestore,
        CrashPoint::BeforeSync,
        CrashPoint::BeforeName,
        CrashPoint::AfterName,
        CrashPoint::Aligned,
        CrashPoint::Frozen,
        CrashPoint::BeforeStateSync,
        CrashPoint::StateDurable,
        CrashPoint::BeforeBarrier,
        CrashPoint::AfterBarrier,
        CrashPoint::BeforeAnswer,
        CrashPoint::AfterAnswer,
        CrashPoint::GivenBack,
    ];
}

/// As a command line names it.
impl fmt::Display for CrashPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CrashPoint::BeforeMetadata => "before-metadata",
            CrashPoint::AfterMetadata => "after-metadata",
            CrashPoint::AfterPointer => "after-pointer",
            CrashPoint::BeforeCopy => "before-copy",
            CrashPoint::BeforeCommit => "before-commit",
            CrashPoint::AfterCommit => "after-commit",
            CrashPoint::BeforeDelete => "before-delete",
            CrashPoint::AfterDelete => "after-delete",
            CrashPoint::BeforeEnd => "before-end",
            CrashPoint::AfterEnd => "after-end",
            CrashPoint::TakenOver => "taken-over",
            CrashPoint::BeforeRestore => "before-restore",
            CrashPoint::AfterRestore => "after-restore",
            CrashPoint::BeforeSync => "before-sync",
            CrashPoint::BeforeName => "before-name",
            CrashPoint::AfterName => "after-name",
            CrashPoint::Aligned => "aligned",
            CrashPoint::Frozen => "frozen",
            CrashPoint::BeforeStateSync => "before-state-sync",
            CrashPoint::StateDurable => "state-durable",
            CrashPoint::BeforeBarrier => "before-barrier",
            CrashPoint::AfterBarrier => "after-barrier",
            CrashPoint::BeforeAnswer => "before-answer",
            CrashPoint::AfterAnswer => "after-answer",
            CrashPoint::GivenBack => "given-back",
        })
    }
}

/// Whoever is told; nobody by default.
#[derive(Clone, Default)]
pub struct CrashListener(Option<Arc<dyn Fn(CrashPoint) + Send + Sync>>);

impl CrashListener {
    /// One that is told, on whichever thread comes to a point.
    pub fn new(listener: impl Fn(CrashPoint) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listener)))
    }

    /// Whoever calls has come to this point.
    pub fn passes(&self, point: CrashPoint) {
        if let Some(listener) = &self.0 {
            listener(point);
        }
    }
}

impl fmt::Debug for CrashListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Some(_) => "CrashListener",
            None => "no CrashListener",
        })
    }
}
