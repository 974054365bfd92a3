//! The backend that keeps everything in memory.
//!
//! Invariant: every batch is resident; what does not fit the budget is refused when it is inserted.
//! Lives on one shard's thread.

use std::rc::Rc;

use thalweg_core::{Epoch, KeyHash};

use super::contract::{Backend, Residency, StateTable};
use crate::descriptor::StateDescriptor;
use crate::error::StateError;

/// Tables that never leave memory.
#[derive(Default)]
pub struct HashMapBackend {
    tables: Vec<Rc<dyn StateTable>>,
    epoch: Option<Epoch>,
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
        if let Some(epoch) = self.epoch {
            table.set_epoch(epoch);
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

    fn set_epoch(&mut self, epoch: Epoch) {
        self.epoch = Some(epoch);
        for table in &self.tables {
            table.set_epoch(epoch);
        }
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
