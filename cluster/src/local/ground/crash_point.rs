//! The points at which a crash is most dangerous, around what is asked of storage.
//!
//! Plain functions, called on the control thread.

use thalweg_dataflow::checkpoint::CrashPoint;

use crate::checkpoint::storage::StorageCommand;

/// The point before this is asked of storage, if there is one.
pub(in crate::local) fn point_before(command: &StorageCommand) -> Option<CrashPoint> {
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
pub(in crate::local) fn point_after(command: &StorageCommand) -> Option<CrashPoint> {
    match command {
        StorageCommand::WriteNew { .. } => Some(CrashPoint::AfterMetadata),
        StorageCommand::Point { pointer, .. } => Some(match pointer.ended {
            Some(_) => CrashPoint::AfterEnd,
            None => CrashPoint::AfterPointer,
        }),
        _ if point_before(command) == Some(CrashPoint::BeforeDelete) => {
            Some(CrashPoint::AfterDelete)
        }
        _ => None,
    }
}
