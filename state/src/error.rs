//! What can go wrong with state, and how to mend it.
//!
//! Left by every call that may need memory or a current key. Invariant: a call that answers with an error
//! has lost nothing that was in the state before it. Plain data, lives on any thread.

use thalweg_core::ErrorKind;
use thalweg_memory::{BudgetExceeded, Damaged, DamagedKey, SpillError};

use crate::run::RunError;

/// An access to keyed state that could not be done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// The memory of the slot does not suffice.
    #[error(
        "keyed state does not fit its memory: {0}; streaming aggregates, windows, joins and the states of process \
         functions can be on disk (state.backend.type: lsm), other state cannot yet"
    )]
    OverBudget(#[from] BudgetExceeded),
    /// The system has no memory, though the slot does.
    #[error(
        "the system has no {bytes} bytes for keyed state: {cause}; lower taskmanager.memory.managed.size"
    )]
    NoMemory {
        /// Bytes asked for.
        bytes: u64,
        /// What the system said.
        cause: String,
    },
    /// A handle was used while no record or timer of a key was in work.
    #[error(
        "state '{state}' was used without a current key: keyed state exists only while a record or a \
         timer of a keyed stream is processed"
    )]
    NoCurrentKey {
        /// The name of the state.
        state: String,
    },
    /// A closure that works on a state called the same state again.
    #[error(
        "state '{state}' was used inside a closure that is already working on it: take what is needed \
         out of the closure first"
    )]
    Reentered {
        /// The name of the state.
        state: String,
    },
    /// Two states of one operator have the same name.
    #[error(
        "state '{state}' is declared twice, as {first} and as {second}: give each state of an operator \
         its own name"
    )]
    DeclaredTwice {
        /// The name of the state.
        state: String,
        /// What the first declaration says.
        first: String,
        /// What the second declaration says.
        second: String,
    },
    /// What is in a state would have expired when it is written.
    #[error(
        "state '{state}' has a time to live shorter than a millisecond: nothing could be read of it; give it one of \
         a millisecond or longer, or none"
    )]
    NoTimeToLive {
        /// The name of the state.
        state: String,
    },
    /// Namespaces of an aggregate are merged that has no function for it.
    #[error(
        "an aggregating state is merged but has no function for merging: give its aggregation one by \
         with_merge"
    )]
    CannotMerge,
    /// Entries moved since the scan's last slice.
    #[error(
        "the table grew, shrank or lost entries between two slices of a scan: scan again from the start"
    )]
    ScanOvertaken,
    /// The key or namespace of a row that is taken back is none.
    #[error("a row of the state that is restored has no key of its type: {0}")]
    DamagedKey(#[from] DamagedKey),
    /// The value of a row that is taken back is none.
    #[error("a row of the state that is restored has no value of its type: {0}")]
    DamagedValue(#[from] Damaged),
    /// A row that is taken back is for another subtask.
    #[error(
        "a row of key group {group} is restored into a state of the key groups {from} to {to}: the copy \
         was written with another maximum of the parallelism, which must stay what it was"
    )]
    ForeignRow {
        /// The group the row belongs to.
        group: u16,
        /// The first group of the state.
        from: u16,
        /// The group behind its last.
        to: u16,
    },
    /// A file of state that memory does not hold could not be used.
    #[error("keyed state that does not fit memory could not be kept on disk: {0}")]
    Spill(#[from] SpillError),
    /// A run could not be written, or cannot be trusted.
    #[error("{0}")]
    Run(Box<RunError>),
    /// Runs were given to a state that takes rows.
    #[error(
        "a state was given whole runs that takes back rows only; this is a defect of the engine"
    )]
    AdoptsNoRuns,
    /// The keys of a state were to be visited, and some are not in memory.
    #[error(
        "the keys of a state were to be visited of which some are on disk; this is a defect of the engine"
    )]
    WalkedOnDisk,
    /// Not even what a few records need fits.
    #[error("keyed state on disk needs memory for the entries in work: {0}")]
    TooLittleToSpill(BudgetExceeded),
    /// Not even what one key has fits.
    #[error(
        "state '{state}' on disk needs memory for all that one key has in it while a record of that key is in work, \
         and one has more than fits: {exceeded}"
    )]
    KeyTooLarge {
        /// The name of the state.
        state: String,
        /// What is missing.
        exceeded: BudgetExceeded,
    },
    /// A copy was written under another declaration of the state.
    #[error(
        "the {what} of state '{state}' was {old} when the copy was written and is {new} now: declare it as \
         it was, say how its values are changed (StateDescriptor::migrated_from), or give the state another \
         name and begin with nothing"
    )]
    Changed {
        /// The name of the state.
        state: String,
        /// Which part of the declaration.
        what: &'static str,
        /// What it was.
        old: String,
        /// What it is.
        new: String,
    },
    /// A copy was written while a type of the same name had other fields.
    #[error(
        "the {what} of state '{state}' had other fields when the copy was written: {difference}; {mending}"
    )]
    OtherFields {
        /// The name of the state.
        state: String,
        /// Which of its types.
        what: &'static str,
        /// What is different, in words, then what it was and what it is.
        difference: String,
        /// What to do about it.
        mending: &'static str,
    },
    /// A function is given for a former type that the copy does not hold.
    #[error(
        "the values of state '{state}' are to be migrated from {named}, but the copy holds other fields than that has: \
         {changes} (the copy holds {old}); declare the former type with the fields the copy holds"
    )]
    OtherFormer {
        /// The name of the state.
        state: String,
        /// The former type, as it was declared.
        named: String,
        /// What is different between what the copy holds and that type, in words.
        changes: String,
        /// What the copy holds.
        old: String,
    },
    /// A function is given for a former type of the same name, and the copy holds only the name.
    #[error(
        "the copy of state '{state}' holds what its values were called ({old}, version {version}) and not what they were \
         made of, as copies of an older engine do: say that they were of the former type (\
         StateDescriptor::migrated_from_named(\"{old}\", {version}, …)), or go on with the former program, take a \
         savepoint, and migrate from that"
    )]
    FieldsUnknown {
        /// The name of the state.
        state: String,
        /// What the copy calls the type.
        old: String,
        /// The version of the values in the copy.
        version: u32,
    },
}

impl From<RunError> for StateError {
    fn from(error: RunError) -> StateError {
        StateError::Run(Box::new(error))
    }
}

impl StateError {
    /// What the receiver should do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            StateError::OverBudget(_)
            | StateError::NoMemory { .. }
            | StateError::TooLittleToSpill(_)
            | StateError::KeyTooLarge { .. } => ErrorKind::Resource,
            StateError::Spill(error) => error.kind(),
            StateError::Run(error) => error.kind(),
            StateError::NoCurrentKey { .. }
            | StateError::Reentered { .. }
            | StateError::DeclaredTwice { .. }
            | StateError::NoTimeToLive { .. }
            | StateError::CannotMerge
            | StateError::ForeignRow { .. }
            | StateError::Changed { .. }
            | StateError::OtherFields { .. }
            | StateError::OtherFormer { .. }
            | StateError::FieldsUnknown { .. } => ErrorKind::Invalid,
            StateError::DamagedKey(_) | StateError::DamagedValue(_) => ErrorKind::Data,
            StateError::ScanOvertaken | StateError::AdoptsNoRuns | StateError::WalkedOnDisk => {
                ErrorKind::Internal
            }
        }
    }
}
