//! Points at which a crash is most dangerous, told to whoever wants to crash there.
//!
//! The control thread tells of each before it goes on. Nobody listens but tests of recovery, in a process of their own
//! that they end. Invariant: without a listener nothing of this happens.

use std::fmt;
use std::sync::Arc;

use crate::checkpoint::storage::StorageCommand;

/// What the control thread has just done, or is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
}

impl CrashPoint {
    /// All of them.
    pub const ALL: [CrashPoint; 13] = [
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
    ];

    /// The point before this is asked of storage, if there is one.
    pub(in crate::local) fn before(command: &StorageCommand) -> Option<CrashPoint> {
        match command {
            StorageCommand::WriteNew { .. } => Some(CrashPoint::BeforeMetadata),
            StorageCommand::CopyNew { .. } => Some(CrashPoint::BeforeCopy),
            StorageCommand::Delete(_)
            | StorageCommand::DeleteDirectory(_)
            | StorageCommand::DeleteIfEmpty(_)
            | StorageCommand::DeleteHome { .. }
            | StorageCommand::ClearHome { .. }
            | StorageCommand::Sweep { .. } => Some(CrashPoint::BeforeDelete),
            StorageCommand::Point { pointer, .. } if pointer.ended.is_some() => {
                Some(CrashPoint::BeforeEnd)
            }
            StorageCommand::Point { .. }
            | StorageCommand::Withdraw { .. }
            | StorageCommand::NewDirectory(_) => None,
        }
    }

    /// The point after this was done, if there is one.
    pub(in crate::local) fn after(command: &StorageCommand) -> Option<CrashPoint> {
        match command {
            StorageCommand::WriteNew { .. } => Some(CrashPoint::AfterMetadata),
            StorageCommand::Point { pointer, .. } => Some(match pointer.ended {
                Some(_) => CrashPoint::AfterEnd,
                None => CrashPoint::AfterPointer,
            }),
            _ if CrashPoint::before(command) == Some(CrashPoint::BeforeDelete) => {
                Some(CrashPoint::AfterDelete)
            }
            _ => None,
        }
    }
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
        })
    }
}

/// Whoever is told.
#[derive(Clone, Default)]
pub(in crate::local) struct Listener(Option<Arc<dyn Fn(CrashPoint) + Send + Sync>>);

impl Listener {
    pub(in crate::local) fn new(listener: impl Fn(CrashPoint) + Send + Sync + 'static) -> Listener {
        Listener(Some(Arc::new(listener)))
    }

    pub(in crate::local) fn tell(&self, point: CrashPoint) {
        if let Some(listener) = &self.0 {
            listener(point);
        }
    }
}
