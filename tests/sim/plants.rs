//! Bugs planted on purpose, each of a kind that has lost somebody's data: the oracle must find every one.
//!
//! Those of the engine are [`Defect`]s of its checkpoints; the others are mistakes a sink can make, and are made
//! by the `shelf`. Plain data.

use thalweg_dataflow::checkpoint::Defect;

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// One of the engine.
    Engine(Defect),
    /// A writer takes records that came after a barrier as part of the epoch that it ended.
    LateRecordsInOldEpoch,
    /// A writer tells of an epoch before it is on the disk.
    WriteNotAwaited,
    /// A sink that is opened removes whatever is pending, and takes a commit of something that is gone as done.
    PendingSweptAtStart,
    /// An epoch without records is told of as if there were something to commit.
    EmptyEpochTold,
    /// What was committed already cannot be committed again.
    CommittedTwiceFails,
    /// A commit is answered before it would survive a loss of power.
    CommitNotSynced,
    /// What was written last before the end of the input is not told of.
    LastEpochNotTold,
    /// What came after the last flush before a barrier is forgotten at it.
    LateFlushForgotten,
    /// What is pending for long is removed, as by a broker that ends transactions by their timeout, and a commit of
    /// something that is gone counts as done.
    PendingTimesOut,
    /// A commit that fails is told of as done.
    FailedCommitPassedOver,
}

impl Plant {
    /// All of them.
    #[must_use]
    pub fn all() -> Vec<Plant> {
        let sinks = [
            Plant::LateRecordsInOldEpoch,
            Plant::WriteNotAwaited,
            Plant::PendingSweptAtStart,
            Plant::EmptyEpochTold,
            Plant::CommittedTwiceFails,
            Plant::CommitNotSynced,
            Plant::LastEpochNotTold,
            Plant::LateFlushForgotten,
            Plant::PendingTimesOut,
            Plant::FailedCommitPassedOver,
        ];
        let engine = Defect::ALL.into_iter().map(Plant::Engine);
        sinks.into_iter().chain(engine).collect()
    }

    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Plant> {
        Plant::all()
            .into_iter()
            .find(|plant| plant.to_string() == name)
    }

    /// Whether it can only be seen where barriers overtake records.
    #[must_use]
    pub fn is_of_overtaking(self) -> bool {
        matches!(
            self.defect(),
            Some(Defect::InFlightDropped | Defect::CutBeforeReplayed | Defect::InFlightMisdealt)
        )
    }

    /// Whether it can only be seen where state is larger than memory.
    #[must_use]
    pub fn is_of_runs(self) -> bool {
        matches!(
            self.defect(),
            Some(Defect::RunLeftBehind | Defect::CopyNotSynced)
        )
    }

    /// The engine's part in it.
    #[must_use]
    pub fn defect(self) -> Option<Defect> {
        match self {
            Plant::Engine(defect) => Some(defect),
            _ => None,
        }
    }
}

impl std::fmt::Display for Plant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Plant::Engine(defect) => write!(f, "{defect:?}"),
            sink => write!(f, "{sink:?}"),
        }
    }
}
