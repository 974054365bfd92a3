//! Runs: immutable files of rows, sorted in sections. A run is what one cut of a subtask's operator adds to
//! a checkpoint.
//!
//! Entered by whoever writes a cut out ([`RunWriter`]), takes it back in ([`RunReader::walk`]), looks for one
//! entry ([`RunSearch`]), makes one run of several ([`Merge`]), or looks whether a run is whole
//! ([`RunReader::verify`]) or the one that is meant ([`RunReader::check_receipt`]). It is bytes only: no file is opened here and no clock read;
//! the bytes that come out of a writer are put somewhere by others, and a reader reads from a [`ReadAt`].
//!
//! Reading rule: for each state and key group, runs count from the newest to the oldest, down to and
//! including the first in which the state is full ([`counting`]); of the rows of one entry that of the newest
//! run counts, and within a run a put before a tombstone, the later put before the earlier.
//!
//! Invariant: damage is noticed and named, never read as rows. The format is versioned; its bytes are
//! described in `docs/reference/formats.md`. Lives on one shard's thread.

mod compact;
#[cfg(test)]
mod crafted_tests;
mod error;
mod format;
mod merge;
mod order;
mod radix;
mod reader;
mod rule;
mod search;
mod section;
mod sorted;
mod source;
mod summary;
mod verify;
mod walk;
mod writer;

pub use compact::{ChainRun, CompactionPlan, CompactionPolicy};
pub use error::RunError;
pub(crate) use format::block::RowCursor;
pub(crate) use format::checksum::checksum;
pub(crate) use format::filter::filter_hash;
pub use format::footer::StateHeader;
pub(crate) use format::footer::{Footer, SectionEntry};
pub(crate) use format::index::{BlockEntry, SectionIndex};
pub use merge::{Below, Merge};
pub(crate) use order::Address;
pub use order::StateNumber;
pub use reader::RunReader;
pub use rule::{CountingRun, Part, counting};
pub(crate) use search::seek;
pub use search::{Found, RunSearch};
pub use sorted::SortedWalk;
pub use source::ReadAt;
pub use summary::{RunSummary, StateSummary};
pub use verify::Verification;
pub use walk::{Clip, RunWalk};
pub use writer::{MOST_ROW_BYTES, RunOptions, RunWriter, StateRows};
