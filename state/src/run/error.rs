//! What can go wrong with a run, and how to mend it.
//!
//! Left by everything that writes or reads runs. Invariant: bytes that are not exactly what was written
//! end in one of these, never in rows. Plain data, lives on any thread.

use thalweg_core::ErrorKind;

/// A run that could not be written, or could not be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The file is something else.
    #[error("'{file}' is not a run of state: it does not begin as one; check which file is meant")]
    NotARun {
        /// The file.
        file: String,
    },
    /// The file was written by a later release.
    #[error(
        "'{file}' is a run of format {found}, and this release reads formats up to {known}: use the \
         release that wrote it, or a later one"
    )]
    Newer {
        /// The file.
        file: String,
        /// The version of its format.
        found: u32,
        /// The latest version that this release reads.
        known: u32,
    },
    /// The bytes are not what was written.
    #[error(
        "'{file}' is damaged at byte {offset}: {what}; put back the whole file from a copy, or restore \
         another checkpoint"
    )]
    Damaged {
        /// The file.
        file: String,
        /// Where in the file, in bytes from its start.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// The run is whole, but not the one that is meant.
    #[error(
        "'{file}' is another run than was written under this name: it has {} bytes with checksum {:08x}, and \
         should have {} with {:08x}; put back the file from a copy, or restore another checkpoint",
        found.0, found.1, expected.0, expected.1
    )]
    Other {
        /// The file.
        file: String,
        /// Its length and checksum.
        found: (u64, u32),
        /// Those that were written down when it was made.
        expected: (u64, u32),
    },
    /// The bytes could not be read.
    #[error("'{file}' cannot be read at byte {offset}, {bytes} bytes: {cause}")]
    Read {
        /// The file.
        file: String,
        /// Where in the file, in bytes from its start.
        offset: u64,
        /// How many bytes were asked for.
        bytes: usize,
        /// What the system said.
        cause: String,
        /// What to do about it.
        kind: ErrorKind,
    },
    /// An entry is larger than a run may hold.
    #[error(
        "an entry of state '{state}' has {bytes} bytes, and a run holds entries of at most {limit}: keep \
         it in pieces, as list or map state"
    )]
    RowTooLong {
        /// The name of the state.
        state: String,
        /// Bytes of key, namespace and value.
        bytes: usize,
        /// The most there may be.
        limit: usize,
    },
    /// A row belongs to a key group that cannot exist.
    #[error(
        "an entry of state '{state}' belongs to key group {group}, and there are at most {limit} groups"
    )]
    NoSuchGroup {
        /// The name of the state.
        state: String,
        /// The group.
        group: u16,
        /// The most groups there may be.
        limit: u32,
    },
    /// An operator has more states than can be numbered.
    #[error("an operator has more than {limit} states: state '{state}' has no number left")]
    TooManyStates {
        /// The name of the state that came too late.
        state: String,
        /// The most there may be.
        limit: usize,
    },
    /// Two states of one run have the same name.
    #[error(
        "state '{state}' is declared twice for one run: give each state of an operator its own name"
    )]
    DeclaredTwice {
        /// The name of the state.
        state: String,
    },
    /// Two runs to be merged describe a state differently.
    #[error(
        "state '{state}' is described differently in '{newer}' and in '{older}': write the state out in \
         full once with its new description instead of merging"
    )]
    DescriptorsDiffer {
        /// The name of the state.
        state: String,
        /// The newest run that has it.
        newer: String,
        /// The run that disagrees.
        older: String,
    },
    /// Runs to be merged hold all of a state for some of their key groups only.
    #[error(
        "state '{state}' is whole in some of the runs to be merged and not in others, for different key \
         groups: merge all runs of the operator, or those of each former subtask by themselves"
    )]
    PartlyFull {
        /// The name of the state.
        state: String,
    },
    /// A merge was to be finished before its end.
    #[error(
        "a merge was finished while rows of state '{state}' were left: advance it until it is done"
    )]
    MergeNotDone {
        /// The name of the state.
        state: String,
    },
    /// A state's number is not one of this run.
    #[error(
        "there is no state {number} in this run, which has {states}: numbers belong to one run"
    )]
    NoSuchState {
        /// The number.
        number: u16,
        /// How many states there are.
        states: usize,
    },
}

impl RunError {
    /// What the receiver should do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            RunError::NotARun { .. }
            | RunError::Newer { .. }
            | RunError::RowTooLong { .. }
            | RunError::TooManyStates { .. }
            | RunError::DeclaredTwice { .. }
            | RunError::DescriptorsDiffer { .. }
            | RunError::PartlyFull { .. } => ErrorKind::Invalid,
            RunError::Damaged { .. } | RunError::Other { .. } => ErrorKind::Data,
            RunError::Read { kind, .. } => *kind,
            RunError::NoSuchState { .. }
            | RunError::NoSuchGroup { .. }
            | RunError::MergeNotDone { .. } => ErrorKind::Internal,
        }
    }
}
