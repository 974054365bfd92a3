//! How large a state is, as whoever keeps it counts anyway.
//!
//! Plain data. Invariant: nothing is walked over to know it.

use std::ops::AddAssign;

/// What one state takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateSize {
    /// Entries in memory: keys with their namespace; of a map its entries, of a list its chunks of elements, of timers
    /// each.
    pub entries: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Rows of files on disk. An entry that was written several times has several, and may be in memory too.
    pub disk_rows: u64,
    /// Bytes of these files.
    pub disk_bytes: u64,
}

impl StateSize {
    /// The size of a state that is in memory alone.
    #[must_use]
    pub fn in_memory(entries: usize, memory_bytes: u64) -> StateSize {
        StateSize {
            entries: entries as u64,
            memory_bytes,
            ..StateSize::default()
        }
    }
}

impl AddAssign for StateSize {
    fn add_assign(&mut self, other: StateSize) {
        self.entries += other.entries;
        self.memory_bytes += other.memory_bytes;
        self.disk_rows += other.disk_rows;
        self.disk_bytes += other.disk_bytes;
    }
}
