//! How the states of an operator are kept, behind one contract.
//!
//! Operators enter through [`KeyedBackend`], which makes typed handles; per batch they ask for
//! [`Backend::residency`]. Invariant: dynamic dispatch happens per batch, never per record. Lives on one
//! shard's thread.

mod contract;
mod facade;
mod hashmap;
mod kinds;
mod layered;

pub use contract::{Backend, Residency, SnapshotWork, StateTable};
pub use facade::KeyedBackend;
pub use hashmap::HashMapBackend;
pub use layered::{MakeOverflow, MakeRestoring};
