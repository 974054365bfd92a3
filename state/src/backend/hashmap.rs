//! The backend that keeps everything in memory.
//!
//! Invariant: every batch is resident, or was sought before where a restored state is still on its way into memory; what
//! does not fit the budget is refused when it is inserted.
//! Lives on one shard's thread.

use std::rc::Rc;

use thalweg_core::KeyHash;

use super::contract::{Backend, Residency, StateTable};
use crate::descriptor::StateDescriptor;
use crate::error::StateError;
use crate::snapshot::StateVisitor;

/// Tables that never leave memory.
#[derive(Default)]
pub struct HashMapBackend {
    tables: Vec<Rc<dyn StateTable>>,
}

impl HashMapBackend {
    /// A backend with no state.
    #[must_use]
    pub fn new() -> HashMapBackend {
        HashMapBackend::default()
    }
}

impl Backend for HashMapBackend {
    fn register(&mut self, table: Rc<dyn StateTable>) -> Result<(), StateError> {
        let new = table.descriptor();
        if let Some(first) = self
            .tables
            .iter()
            .find(|old| old.descriptor().name() == new.name())
        {
            return Err(StateError::DeclaredTwice {
                state: new.name().to_owned(),
                first: first.descriptor().to_string(),
                second: new.to_string(),
            });
        }
        self.tables.push(table);
        Ok(())
    }

    fn residency(&mut self, from: u8, hashes: &[KeyHash]) -> Result<Residency, StateError> {
        for table in &self.tables {
            table.approach(from, hashes);
        }
        Ok(Residency::Ready)
    }

    fn locate(&mut self, from: u8, records: usize) {
        for table in &self.tables {
            table.locate(from, records);
        }
    }

    fn visit(&mut self, visitor: &mut dyn StateVisitor) -> Result<(), StateError> {
        self.tables.iter().try_for_each(|table| {
            table.snapshot(&mut |state| visitor.visit(table.descriptor(), state))
        })
    }

    fn memory_bytes(&self) -> u64 {
        self.tables.iter().map(|table| table.memory_bytes()).sum()
    }

    fn clean_expired(&mut self, budget: usize) -> Result<usize, StateError> {
        self.tables
            .iter()
            .try_fold(0, |sum, table| Ok(sum + table.clean_expired(budget)?))
    }

    fn states(&self) -> Vec<StateDescriptor> {
        self.tables
            .iter()
            .map(|table| table.descriptor().clone())
            .collect()
    }
}
