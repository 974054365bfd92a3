//! What checkpoints can be told to do wrong on purpose, so that it is seen that the simulator finds it.
//!
//! Each is a way in which an engine has lost data, or could. Asked for only where barriers, files and attempts
//! are handled, never where records are; a job has none unless the simulator gives it one. Plain data.

/// A bug made on purpose.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// A task takes a barrier as come from all channels when it has come from one, and says exactly once.
    NoAlignment,
    /// A source notes its position only after the records behind the barrier.
    LatePosition,
    /// A state file counts as durable before it was synced.
    StateNotSynced,
    /// What sinks prepared is committed before its checkpoint is complete.
    CommitTooEarly,
    /// What a checkpoint lists is not committed when a job begins with it.
    CommitLostInRecovery,
    /// What a task that has finished left behind is no part of later checkpoints.
    FinishedForgotten,
    /// After a change of the parallelism a job begins without its state, where its sources were.
    EmptyAfterRescale,
    /// Metadata and pointers count as durable before they were synced.
    MetadataNotSynced,
    /// Run files that older checkpoints wrote are deleted though newer ones need them.
    SharedRunsDeleted,
    /// Of the channels whose records a barrier overtook, one is left out of the checkpoint.
    InFlightDropped,
    /// A task cuts its state before the records that were in flight at the last checkpoint were read again.
    CutBeforeReplayed,
    /// After a change of the parallelism records in flight go to one of the tasks that share their key groups.
    InFlightMisdealt,
    /// Of the runs that state larger than memory has on disk, one is left out of the checkpoint.
    RunLeftBehind,
    /// Runs that state larger than memory has on disk count as copied into a checkpoint before the copy was synced.
    CopyNotSynced,
}

impl Defect {
    /// All of them.
    pub const ALL: [Defect; 14] = [
        Defect::NoAlignment,
        Defect::LatePosition,
        Defect::StateNotSynced,
        Defect::CommitTooEarly,
        Defect::CommitLostInRecovery,
        Defect::FinishedForgotten,
        Defect::EmptyAfterRescale,
        Defect::MetadataNotSynced,
        Defect::SharedRunsDeleted,
        Defect::InFlightDropped,
        Defect::CutBeforeReplayed,
        Defect::InFlightMisdealt,
        Defect::RunLeftBehind,
        Defect::CopyNotSynced,
    ];
}
