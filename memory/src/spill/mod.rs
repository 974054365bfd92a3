//! The IOManager: files that memory overflows into, read and written without blocking a shard.
//!
//! Entered by whoever holds more than its budget: state, sorts, exchanges of bounded results. A process
//! claims its directories once ([`SpillSpace`]); each shard has an [`IoManager`] over them, which names
//! files by counter, spread over the directories; each task has an [`IoQueue`], in which requests wait until
//! its turn ends, go to the shard's reactor together and are answered in any order. Three forms stand on the
//! queue: [`Blocks`] of one size by number, a [`BufferSpool`] of buffers of any size in order, and bulk
//! ([`BulkWriter`], [`BulkReader`]).
//!
//! Invariants: nothing here waits; a file belongs to one queue and goes when its last handle does; a
//! directory goes with its process, and one whose process died goes when the next one claims a place beside
//! it; what a disk cannot do is an error that says where, how much and what to change. Nothing is synced:
//! what is spilled need not survive its process. Lives on one shard's thread, but for the space.

mod blocks;
mod bulk;
mod error;
mod file;
#[cfg(test)]
mod foreign_tests;
mod io_manager;
mod queue;
mod quota;
mod space;
mod spool;
#[cfg(test)]
mod tests;

pub use blocks::Blocks;
pub use bulk::{BulkReader, BulkWriter};
pub use error::SpillError;
pub use file::{FileEnumerator, SpillFile};
pub use io_manager::IoManager;
pub use queue::{IoDone, IoQueue, RequestId};
pub use quota::Quota;
pub use space::SpillSpace;
pub use spool::BufferSpool;
