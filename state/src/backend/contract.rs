//! What every state backend can do, and what it may ask of a table.
//!
//! Entered once per batch and at cuts. Invariant: after [`Residency::Ready`] the entries of the batch's
//! keys stay where they are until the batch is done. Lives on one shard's thread.

use std::rc::Rc;

use thalweg_core::KeyHash;

use crate::descriptor::StateDescriptor;
use crate::error::StateError;
use crate::snapshot::{Snapshot, StateVisitor};

/// What is done with the copying of a state.
pub type SnapshotWork<'a> = dyn FnMut(&mut dyn Snapshot) -> Result<(), StateError> + 'a;

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

    /// The same, by the first step of [`KeyedTable::approach`] where it is one table by key alone.
    ///
    /// [`KeyedTable::approach`]: crate::KeyedTable::approach
    fn approach(&self, from: u8, hashes: &[KeyHash]) {
        let _ = from;
        self.prefetch_batch(hashes);
    }

    /// Finds the entries of records that were approached, as [`KeyedTable::locate`] does.
    ///
    /// [`KeyedTable::locate`]: crate::KeyedTable::locate
    fn locate(&self, from: u8, records: usize) {
        let _ = (from, records);
    }

    /// Does what copies are for: cuts, slices of their rows, rows taken back.
    ///
    /// # Errors
    /// Those of `work`.
    fn snapshot(&self, work: &mut SnapshotWork<'_>) -> Result<(), StateError>;

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

    /// Makes the entries of records with these hashes resident and near, or starts to. The first of
    /// them has the place `from` in the window of records ahead (their number modulo
    /// [`WINDOW`](crate::WINDOW)), the others those behind it.
    ///
    /// # Errors
    /// When there is no memory for them.
    fn residency(&mut self, from: u8, hashes: &[KeyHash]) -> Result<Residency, StateError>;

    /// Finds the entries of so many records that are resident, before they are applied.
    fn locate(&mut self, from: u8, records: usize);

    /// Shows all states, in the order of registration.
    ///
    /// # Errors
    /// That of the visitor; no further state is shown.
    fn visit(&mut self, visitor: &mut dyn StateVisitor) -> Result<(), StateError>;

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
