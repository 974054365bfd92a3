//! What every state backend can do, and what it may ask of a table.
//!
//! Entered once per batch and at cuts. Invariant: after [`Residency::Ready`] the entries of the batch's
//! keys stay where they are until the batch is done. Lives on one shard's thread.

use std::rc::Rc;

use thalweg_core::{Epoch, KeyHash};

use crate::descriptor::StateDescriptor;
use crate::error::StateError;

/// Whether the entries of a batch are in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residency {
    /// All of them: apply the batch.
    Ready,
    /// Some are being read: end the turn and ask again later.
    Pending,
}

/// A table of any types, as a backend sees it.
pub trait StateTable {
    /// What it is.
    fn descriptor(&self) -> &StateDescriptor;

    /// Brings the places of all `hashes` near.
    fn prefetch_batch(&self, hashes: &[KeyHash]);

    /// Entries that change from now on are stamped with `epoch`.
    fn set_epoch(&self, epoch: Epoch);

    /// The number of entries.
    fn entries(&self) -> usize;

    /// Bytes held.
    fn memory_bytes(&self) -> u64;

    /// Removes what has expired among the next `budget` entries; answers how much that was. Nothing
    /// expires in a state without a time to live.
    ///
    /// # Errors
    /// When a change does not fit the memory.
    fn clean_expired(&self, budget: usize) -> Result<usize, StateError> {
        let _ = budget;
        Ok(0)
    }
}

/// A way of keeping the states of one operator.
pub trait Backend {
    /// Takes a table into its care.
    ///
    /// # Errors
    /// When there is a state of that name.
    fn register(&mut self, table: Rc<dyn StateTable>) -> Result<(), StateError>;

    /// Makes the entries of all `hashes` resident and near, or starts to.
    ///
    /// # Errors
    /// When there is no memory for them.
    fn residency(&mut self, hashes: &[KeyHash]) -> Result<Residency, StateError>;

    /// Moves all tables on to `epoch`.
    fn set_epoch(&mut self, epoch: Epoch);

    /// Bytes held by all tables.
    fn memory_bytes(&self) -> u64;

    /// Removes what has expired among the next `budget` entries of each table; answers how much that was.
    ///
    /// # Errors
    /// When a change does not fit the memory.
    fn clean_expired(&mut self, budget: usize) -> Result<usize, StateError>;

    /// The descriptions of all states, in the order of registration.
    fn states(&self) -> Vec<StateDescriptor>;
}
