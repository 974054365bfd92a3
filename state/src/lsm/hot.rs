//! What lies above the runs: the entries in memory, as whoever moves them out and back sees them.
//!
//! Entered by the overflow at the ends of turns. A table lets its entries go one by one; a map lets go all that a
//! key has in it, as nothing but the whole tells which entries a key has. Invariant: what is dropped is held by a
//! listed run as it is, or is over and said to be gone. Lives on one shard's thread.

use thalweg_core::KeyHash;
use thalweg_memory::{Key, Record};

use crate::error::StateError;
use crate::snapshot::{Row, RowSink, Snapshot};
use crate::table::{Filling, Gone, KeyedTable, Namespace, OverflowRows};

/// What may go: an entry, or all that a key has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    /// Where it lies, if it is an entry.
    pub(crate) slot: usize,
    /// The hash of its key.
    pub(crate) key: KeyHash,
    /// The hash of the entry, as [`entry_hash`](crate::table::entry_hash) says; that of the key if it is more.
    pub(crate) entry: KeyHash,
}

/// Which of them may go.
pub(crate) type Pick<'a> = dyn FnMut(Candidate) -> bool + 'a;

/// How the entries of a state leave memory and come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A key has few: each by itself.
    #[default]
    Entry,
    /// A key may have many, and one of them tells which: each by itself.
    Part,
    /// A key may have many, and only all of them tell which: all of a key at once.
    Key,
}

impl Unit {
    /// Whether a key may have so many entries that those of few keys fill the memory.
    pub(super) fn is_of_many(self) -> bool {
        self != Unit::Entry
    }

    /// By which hash it is known whether what may go is ahead. Of what a key has much all is.
    pub(super) fn hash_of(self, candidate: Candidate) -> KeyHash {
        match self {
            Unit::Entry => candidate.entry,
            Unit::Part | Unit::Key => candidate.key,
        }
    }
}

/// Entries in memory.
pub(crate) trait HotLayer {
    /// Buckets of a slice: what leaves with them is done at once.
    const SLICE_BUCKETS: usize;
    /// Whether entries may have something besides their places in the arrays.
    const HAS_HEAP: bool;

    /// How full the table of entries is, and what it takes to grow for so many more.
    fn filling(&self, more: usize) -> Filling;

    /// How full is what stands beside it, where there is something that grows with it.
    fn beside(&self, more: usize) -> Option<Filling> {
        let _ = more;
        None
    }

    /// Bytes of memory.
    fn memory_bytes(&self) -> u64;

    /// Whether rows of the last cut are still to be written.
    fn is_cutting(&self) -> bool;

    /// Buckets by which entries leave.
    fn bucket_count(&self) -> usize;

    /// Slots of all entries.
    fn slots(&self) -> usize;

    /// Ends a growth that is going on, a few buckets at a time; whether none is.
    fn settle(&mut self, buckets: usize) -> bool;

    /// Begins the move into smaller arrays, of about such a part of the places, if what is in memory fits there; whether
    /// it did. The move goes on with [`HotLayer::settle`].
    fn shrink(&mut self, part: (u64, u64)) -> bool;

    /// From now on entries may be elsewhere.
    fn bury_elsewhere(&mut self);

    /// Writes what some buckets let go and no cold run holds; answers how many rows.
    fn flush_buckets(
        &mut self,
        buckets: impl Iterator<Item = usize>,
        rows: &mut OverflowRows,
        pick: &mut Pick<'_>,
        out: &mut dyn RowSink,
    ) -> usize;

    /// Drops what some buckets let go and cold runs hold; answers how many entries. Those that are over, which
    /// runs may have left out, are shown to `gone`.
    fn drop_buckets(
        &mut self,
        buckets: impl Iterator<Item = usize>,
        rows: &mut OverflowRows,
        pick: &mut Pick<'_>,
        gone: &mut Gone<'_>,
    ) -> usize;

    /// Takes an entry in that a cold run holds as it is.
    ///
    /// # Errors
    /// When the row is not of the types of the table, or there is no memory for it.
    fn admit(&mut self, row: &Row<'_>, rows: &mut OverflowRows) -> Result<(), StateError>;

    /// Bytes that it takes to hold, beside its entries, what tells of so many that a key has, where all of them come at
    /// once.
    fn bytes_to_be_back(&self, entries: usize) -> u64 {
        let _ = entries;
        0
    }

    /// All entries of a key were taken in, those of these rows without values: said where all of a key come at once.
    /// Answers the namespaces of those that are no more where they were.
    ///
    /// # Errors
    /// When there is no memory for what is noted of them.
    fn is_back(
        &mut self,
        rows: &mut dyn Iterator<Item = Row<'_>>,
    ) -> Result<Vec<Vec<u8>>, StateError> {
        let _ = rows;
        Ok(Vec::new())
    }
}

impl<K: Key, V: Record, N: Namespace> HotLayer for KeyedTable<K, V, N> {
    const SLICE_BUCKETS: usize = 64;
    const HAS_HEAP: bool = KeyedTable::<K, V, N>::HAS_HEAP;

    fn filling(&self, more: usize) -> Filling {
        KeyedTable::filling(self, more)
    }

    fn memory_bytes(&self) -> u64 {
        KeyedTable::memory_bytes(self)
    }

    fn is_cutting(&self) -> bool {
        Snapshot::is_cutting(self)
    }

    fn bucket_count(&self) -> usize {
        KeyedTable::bucket_count(self)
    }

    fn slots(&self) -> usize {
        KeyedTable::bucket_count(self) * thalweg_memory::hash::SLOTS
    }

    fn settle(&mut self, buckets: usize) -> bool {
        KeyedTable::settle(self, buckets)
    }

    fn shrink(&mut self, part: (u64, u64)) -> bool {
        KeyedTable::shrink(self, part)
    }

    fn bury_elsewhere(&mut self) {
        KeyedTable::bury_elsewhere(self);
    }

    fn flush_buckets(
        &mut self,
        buckets: impl Iterator<Item = usize>,
        rows: &mut OverflowRows,
        pick: &mut Pick<'_>,
        out: &mut dyn RowSink,
    ) -> usize {
        KeyedTable::flush_buckets(self, buckets, rows, pick, out)
    }

    fn drop_buckets(
        &mut self,
        buckets: impl Iterator<Item = usize>,
        rows: &mut OverflowRows,
        pick: &mut Pick<'_>,
        gone: &mut Gone<'_>,
    ) -> usize {
        KeyedTable::drop_buckets(self, buckets, rows, pick, gone)
    }

    fn admit(&mut self, row: &Row<'_>, rows: &mut OverflowRows) -> Result<(), StateError> {
        KeyedTable::admit(self, row, rows)
    }
}
